package appaccess_test

import (
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/process"
)

// TestClaimsOfADeadProcess: what a process that died on this machine had
// claimed is taken up at once; what one elsewhere has is waited for.
func TestClaimsOfADeadProcess(t *testing.T) {
	t.Parallel()
	if process.ID() == "" {
		t.Skip("this system does not tell which processes run")
	}
	child := exec.Command("true")
	require.NoError(t, child.Run())
	dead := process.ID()[:strings.LastIndexByte(process.ID(), '/')+1] + strconv.Itoa(child.Process.Pid)

	h := newHouse(t).withApp()
	put := func(kind appaccess.Kind, id string, claim map[string]any) {
		claim["until"] = h.clock.Now().Add(time.Hour)
		body, err := json.Marshal(claim)
		require.NoError(t, err)
		_, err = h.store.Update(ctx, func(w appaccess.Writer) error {
			return w.Put(appaccess.Record{Kind: kind, ID: id, Body: body})
		})
		require.NoError(t, err)
	}
	secret := func(process string) error {
		put("operation", "billing", map[string]any{"id": "op", "applicationId": "billing", "claim": "c", "process": process})
		_, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
		return err
	}
	assert.NoError(t, secret(dead))
	assertConflict(t, secret("elsewhere/1"), "credential")

	suspend := func(process string) error {
		put("holder", "c", map[string]any{"process": process})
		put("applying", "application billing", map[string]any{"holder": "c"})
		_, err := h.SuspendApplication(ctx, boss, "billing")
		return err
	}
	assert.NoError(t, suspend(dead))

	looked := func(process string) int {
		put("unclaimed", "r", map[string]any{"process": process, "applications": []string{"billing"}})
		report, err := h.Sync(ctx, boss, appaccess.SyncRequest{})
		require.NoError(t, err)
		return report.Objects
	}
	assert.Equal(t, 1, looked(dead))
	assert.Zero(t, looked("elsewhere/1"))
}
