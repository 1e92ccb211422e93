package main

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/apim"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/internal/armtest"
	"github.com/entragate/entragate/middleware"
	"github.com/entragate/entragate/provision/entratest"
)

// Somebody moves an instance of API Management: a report first, then the keys, then
// plan and apply. A caller's key opens the gate as it opened the instance.
func TestAMoverKeepsTheKeysOfCallers(t *testing.T) {
	t.Parallel()
	const recording = "../../appaccess/apim/testdata"
	w := newWorkplace(t)
	arm := armtest.New(t, recording)
	_, err := w.tenant.AddApplication(entratest.App{Name: "Azure Resource Manager", URIs: []string{"https://management.core.windows.net/"}})
	require.NoError(t, err)
	ca, err := os.OpenFile(w.file("ca.pem"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	require.NoError(t, pem.Encode(ca, &pem.Block{Type: "CERTIFICATE", Bytes: arm.Certificate().Raw}))
	require.NoError(t, ca.Close())
	args := []string{
		"import", "-arm", arm.URL, "-out", w.file("products.json"), "-json",
		"-apim", "/subscriptions/1a2b3c4d-0001-4a00-8a00-00000000a001/resourceGroups/brightwater-integration/providers/Microsoft.ApiManagement/service/brightwater-apim",
	}

	status, _, report := w.run(args...)
	require.Equal(t, 1, status, "what opens access must be acknowledged")
	assert.NoFileExists(t, w.file("products.json"))
	for range 2 { // the keys that are read may need a decision, too
		var findings []apim.Finding
		require.NoError(t, json.NewDecoder(strings.NewReader(report)).Decode(&findings), report)
		for _, f := range findings {
			if f.Severity == apim.Opens || strings.HasPrefix(f.ID, "weak-key") || strings.HasPrefix(f.ID, "shared-key") {
				args = append(args, "-acknowledge", f.ID)
			}
		}
		status, _, report = w.run(append(args, "-keys", w.file("keys.json"), "-quiet")...)
		if status == 0 {
			break
		}
	}
	require.Zero(t, status, report)
	document, err := os.ReadFile(w.file("products.json"))
	require.NoError(t, err)
	key := recordedKey(t, recording, "orders-nightly")
	assert.NotContains(t, string(document), key, "only hashes are written")

	for _, command := range []string{"plan -create", "apply -create -quiet", "plan -detailed-exitcode"} {
		status, out, errOut := w.run(append(strings.Fields(command), "-config", w.file("products.json"))...)
		require.Zero(t, status, "%s: %s%s", command, out, errOut)
	}

	store, err := sqlite.Open(t.Context(), w.env["ENTRAGATE_STORE"])
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	catalog, err := appaccess.NewCatalog(t.Context(), appaccess.CatalogConfig{Store: store})
	require.NoError(t, err)
	t.Cleanup(func() { _ = catalog.Close() })
	gate, err := middleware.New(middleware.Config{Catalog: catalog})
	require.NoError(t, err)
	t.Cleanup(func() { _ = gate.Close() })
	server := httptest.NewServer(gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "orders") })))
	t.Cleanup(server.Close)
	for sent, expected := range map[string]int{key: http.StatusOK, key + "x": http.StatusUnauthorized} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/orders", http.NoBody)
		require.NoError(t, err)
		r.Header.Set("X-Orders-Key", sent) // the API's own header, as before
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		assert.Equal(t, expected, answer.StatusCode)
	}
}

func recordedKey(t *testing.T, recording, subscription string) string {
	t.Helper()
	raw, err := os.ReadFile(recording + "/arm-2024-05-01/subscriptions.listSecrets/" + subscription + ".json")
	require.NoError(t, err)
	var v struct{ PrimaryKey string }
	require.NoError(t, json.Unmarshal(raw, &v))
	return v.PrimaryKey
}

// Two pipelines apply one document at the same moment: both succeed, and nothing is
// made twice.
func TestTwoPipelinesMayApplyAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	status, _, errOut := w.run("apply", "-create", "-config", w.file("keys-only.json"), "-quiet")
	require.Zero(t, status, errOut)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			status, _, errOut := w.run("apply", "-config", w.file("plan-base.json"), "-quiet")
			assert.Zero(t, status, errOut)
		})
	}
	both.Wait()
	status, out, _ := w.run("plan", "-config", w.file("plan-base.json"), "-detailed-exitcode")
	assert.Zero(t, status, out)
	assert.Len(t, w.tenant.State().Applications, 8+1, "the pipeline's own and one for each object")
}

// A store is restored from a backup: what was made after it is found, and apply
// brings everything in sync again.
func TestARestoredStoreIsBroughtInSync(t *testing.T) {
	t.Parallel()
	w := newWorkplace(t)
	raw, err := os.ReadFile(w.file("plan-base.json"))
	require.NoError(t, err)
	before, err := appaccess.ParseDocument(strings.NewReader(string(raw)))
	require.NoError(t, err)
	before.Applications = before.Applications[:4] // c5 comes after the backup
	var text strings.Builder
	require.NoError(t, before.Write(&text))
	require.NoError(t, os.WriteFile(w.file("before.json"), []byte(text.String()), 0o600))
	status, _, errOut := w.run("apply", "-create", "-config", w.file("before.json"), "-quiet")
	require.Zero(t, status, errOut)
	w.line("backup backup.db")
	status, _, errOut = w.run("apply", "-config", w.file("plan-base.json"), "-quiet")
	require.Zero(t, status, errOut)
	status, _, errOut = w.run("backup", "check", w.file("backup.db"))
	require.Zero(t, status, errOut)

	for _, suffix := range []string{"", "-wal", "-shm"} {
		_ = os.Remove(w.env["ENTRAGATE_STORE"] + suffix) // not each exists
	}
	require.NoError(t, sqlite.Restore(t.Context(), w.file("backup.db"), w.env["ENTRAGATE_STORE"]))
	status, out, errOut := w.run("apply", "-config", w.file("plan-base.json"), "-quiet")
	require.Zero(t, status, out+errOut)
	status, out, _ = w.run("plan", "-config", w.file("plan-base.json"), "-detailed-exitcode")
	assert.Zero(t, status, out)
	assert.Len(t, w.tenant.State().Applications, 8+1, "what was made after the backup is used again")
}
