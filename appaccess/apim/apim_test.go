package apim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/apim"
	"github.com/entragate/entragate/appaccess/sqlite"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := "testdata/" + name
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
	}
	expected, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(expected), got)
}

func day() time.Time { return time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC) }

func options() apim.Options { return apim.Options{TenantID: tenantID, Now: day} }

// plan reads the recorded instance.
func plan(t *testing.T, f *fakeARM, o apim.Options) *apim.Plan {
	t.Helper()
	in, err := f.client(t).Read(t.Context())
	require.NoError(t, err)
	p, err := apim.NewPlan(in, o)
	require.NoError(t, err)
	return p
}

// acknowledgeAll accepts every finding that needs a decision.
func acknowledgeAll(p *apim.Plan) []string {
	var ids []string
	for _, f := range p.Unacknowledged() {
		ids = append(ids, f.ID)
	}
	return ids
}

func report(t *testing.T, p *apim.Plan) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, p.WriteReport(&b))
	return b.String()
}

func TestReportOfAnInstance(t *testing.T) {
	t.Parallel()
	golden(t, "report.golden", report(t, plan(t, newFakeARM(t), options())))
}

func TestReportOfAnAPIOpsExtract(t *testing.T) {
	t.Parallel()
	in, err := apim.ReadFS(os.DirFS("testdata/apiops-artifacts"))
	require.NoError(t, err)
	p, err := apim.NewPlan(in, options())
	require.NoError(t, err)
	golden(t, "report-apiops.golden", report(t, p))
}

func TestSavedAnswersReadLikeTheInstance(t *testing.T) {
	t.Parallel()
	live, err := newFakeARM(t).client(t).Read(t.Context())
	require.NoError(t, err)
	files := os.DirFS("testdata/arm-2024-05-01")
	saved, err := apim.ReadFS(files)
	require.NoError(t, err)
	assert.ElementsMatch(t, names(live), names(saved))
	assert.Contains(t, saved.Missing, apim.KindApplication, "the stable version shows none")
}

func names(in *apim.Instance) []string {
	var all []string
	for _, a := range in.APIs {
		all = append(all, "api "+a.ID)
	}
	for _, p := range in.Products {
		all = append(all, "product "+p.ID+" "+strings.Join(p.APIs, " "))
	}
	for _, u := range in.Users {
		all = append(all, "user "+u.ID)
	}
	for _, s := range in.Subscriptions {
		all = append(all, "subscription "+s.ID+" "+s.Scope)
	}
	return all
}

func TestNoDocumentBeforeWhatOpensIsAcknowledged(t *testing.T) {
	t.Parallel()
	f := newFakeARM(t)
	p := plan(t, f, options())
	_, err := p.Document()
	var open *apim.UnacknowledgedError
	require.ErrorAs(t, err, &open)
	require.NotEmpty(t, open.Findings)

	o := options()
	o.Acknowledge = acknowledgeAll(p)[1:]
	_, err = plan(t, f, o).Document()
	require.ErrorAs(t, err, &open)
	require.Len(t, open.Findings, 1)

	o.Acknowledge = acknowledgeAll(p)
	_, err = plan(t, f, o).Document()
	require.NoError(t, err)
}

// moved plans, reads the keys, accepts everything and returns the document.
func moved(t *testing.T, f *fakeARM) appaccess.Document {
	t.Helper()
	c := f.client(t)
	in, err := c.Read(t.Context())
	require.NoError(t, err)
	p, err := apim.NewPlan(in, options())
	require.NoError(t, err)
	keys, err := c.ReadKeys(t.Context(), p, apim.ReadKeysConfig{PerSecond: 1e6})
	require.NoError(t, err)
	p.AddKeys(keys)
	o := options()
	o.Acknowledge = acknowledgeAll(p)
	p, err = apim.NewPlan(in, o)
	require.NoError(t, err)
	p.AddKeys(keys)
	d, err := p.Document()
	require.NoError(t, err)
	return d
}

func TestDocumentOfAnInstance(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, moved(t, newFakeARM(t)).Write(&b))
	golden(t, "document.golden", b.String())
	assert.NotContains(t, b.String(), "orders-team-2019", "no key in clear")
}

// The keys that callers have open the same products after the move, and a
// second run changes nothing.
func TestImportedKeysGoOnWorking(t *testing.T) {
	t.Parallel()
	store, err := sqlite.Open(t.Context(), sqlite.Temporary)
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	service, err := appaccess.NewService(t.Context(), appaccess.ServiceConfig{Store: store})
	require.NoError(t, err)
	manager := appaccess.Actor{UserID: "mover", Manager: true}

	f := newFakeARM(t)
	d := moved(t, f)
	d.Applications = nil // without a Provisioner nothing exists in Entra
	for i := range d.Products {
		d.Products[i].Access.Token, d.Products[i].Adopt = false, ""
	}
	_, err = service.Import(t.Context(), manager, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	again, err := service.Import(t.Context(), manager, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Empty(t, again.Differences)

	catalog, err := appaccess.NewCatalog(t.Context(), appaccess.CatalogConfig{Store: store})
	require.NoError(t, err)
	t.Cleanup(func() { _ = catalog.Close() })
	for id, key := range map[string]string{
		"orders-nightly": recordedKey(t, "orders-nightly"),
		"hand-made-key":  "orders-team-2019",
	} {
		state, err := catalog.Key(t.Context(), appaccess.HashKey(key))
		require.NoError(t, err, id)
		assert.Equal(t, id, state.SubscriptionID)
	}
}

func recordedKey(t *testing.T, id string) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/arm-2024-05-01/subscriptions.listSecrets/" + id + ".json")
	require.NoError(t, err)
	var v struct{ PrimaryKey string }
	require.NoError(t, json.Unmarshal(raw, &v))
	return v.PrimaryKey
}

func TestReadKeysAsksForNothingElse(t *testing.T) {
	t.Parallel()
	f := newFakeARM(t)
	p := plan(t, f, options())
	before := len(f.Requests())
	keys, err := f.client(t).ReadKeys(t.Context(), p, apim.ReadKeysConfig{PerSecond: 1e6})
	require.NoError(t, err)
	asked := f.Requests()[before:]
	assert.Len(t, asked, len(keys))
	for _, r := range asked {
		assert.True(t, strings.HasPrefix(r, "POST ") && strings.HasSuffix(r, "/listSecrets"), r)
		assert.NotContains(t, r, "/master/")
		assert.NotContains(t, r, "clientApplications")
	}
}

func TestReadKeysGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	f := newFakeARM(t)
	p := plan(t, f, options())
	ctx, stop := context.WithCancel(t.Context())
	var saved []byte
	_, err := f.client(t).ReadKeys(ctx, p, apim.ReadKeysConfig{PerSecond: 1e6, Progress: func(done, _ int, sofar apim.Keys) {
		saved, _ = json.Marshal(sofar)
		if done == 6 {
			stop()
		}
	}})
	require.Error(t, err)
	assert.NotContains(t, string(saved), "orders-team-2019")
	var have apim.Keys
	require.NoError(t, json.Unmarshal(saved, &have))
	require.NotEmpty(t, have)

	before := len(f.Requests())
	keys, err := f.client(t).ReadKeys(t.Context(), p, apim.ReadKeysConfig{PerSecond: 1e6, Have: have})
	require.NoError(t, err)
	assert.Len(t, f.Requests()[before:], len(keys)-len(have))
}

func TestHashesOfWeakKeysAreNotSaved(t *testing.T) {
	t.Parallel()
	f := newFakeARM(t)
	keys, err := f.client(t).ReadKeys(t.Context(), plan(t, f, options()), apim.ReadKeysConfig{PerSecond: 1e6})
	require.NoError(t, err)
	require.True(t, keys["hand-made-key"].WeakPrimary)
	raw, err := json.Marshal(keys)
	require.NoError(t, err)
	assert.NotContains(t, string(raw), "hand-made-key")
	assert.Contains(t, string(raw), "orders-nightly")
}

func TestNoRightToReadKeys(t *testing.T) {
	t.Parallel()
	f := newFakeARM(t)
	p := plan(t, f, options())
	f.Instead("/listSecrets", "403-listSecrets.json")
	before := len(f.Requests())
	keys, err := f.client(t).ReadKeys(t.Context(), p, apim.ReadKeysConfig{PerSecond: 1e6})
	var denied *apim.KeysDeniedError
	require.ErrorAs(t, err, &denied)
	assert.Empty(t, keys)
	assert.Len(t, f.Requests()[before:], 1, "the first refusal ends the run")
	assert.Contains(t, denied.Role(), "listSecrets/action")
	assert.Contains(t, denied.Role(), instanceID)
}

func TestSubscriptionDeletedWhileKeysAreRead(t *testing.T) {
	t.Parallel()
	f := newFakeARM(t)
	p := plan(t, f, options())
	f.Instead("/twin-key/listSecrets", "404-subscription-deleted-meanwhile.json")
	keys, err := f.client(t).ReadKeys(t.Context(), p, apim.ReadKeysConfig{PerSecond: 1e6})
	require.NoError(t, err)
	p.AddKeys(keys)
	assert.True(t, slices.ContainsFunc(p.Findings, func(x apim.Finding) bool { return x.ID == "keys-missing:subscriptions/twin-key" }))
}

// An instance outside the applications preview, and one whose tier has no users,
// are read; what could not be read is named and stays out of the document.
func TestKindsThatAnInstanceDoesNotHave(t *testing.T) {
	t.Parallel()
	for suffix, c := range map[string]struct {
		file string
		kind apim.Kind
	}{
		"/clientApplications": {"404-preview-type.json", apim.KindApplication},
		"/users":              {"400-pricing-tier.json", apim.KindUser},
	} {
		f := newFakeARM(t)
		f.Instead(suffix, c.file)
		p := plan(t, f, options())
		assert.Contains(t, p.Missing, c.kind)
		assert.Contains(t, report(t, p), "not read, left alone")
		o := options()
		o.Acknowledge = acknowledgeAll(p)
		d, err := plan(t, f, o).Document()
		require.NoError(t, err)
		if c.kind == apim.KindUser {
			assert.Nil(t, d.Users)
		} else {
			assert.Nil(t, d.Applications)
		}
	}
}

// Without the preview version a product that takes tokens only looks open.
func TestAProductIsNotOpenedByChance(t *testing.T) {
	t.Parallel()
	f := newFakeARM(t)
	f.Fail(func(r *http.Request) (string, bool) {
		return "400-version-constraint.json", strings.Contains(r.URL.RawQuery, "preview")
	})
	p := plan(t, f, options())
	var ids []string
	for _, x := range p.Unacknowledged() {
		ids = append(ids, x.ID)
	}
	assert.Contains(t, ids, "open-product:products/machines")
	assert.Contains(t, ids, "open-product:products/open-data")
}

func TestReadEndsOnFailures(t *testing.T) {
	t.Parallel()
	for suffix, file := range map[string]string{
		"/brightwater-apim": "404-service.json",
		"/subscriptions":    "403-linked-tenant.json",
		"/products":         "401-token.json",
	} {
		f := newFakeARM(t)
		f.Instead(suffix, file)
		_, err := f.client(t).Read(t.Context())
		require.Error(t, err, suffix)
	}
}

func TestNewClientRefusesAnotherResource(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"", "brightwater-apim", "/subscriptions/1/resourceGroups/x", strings.ReplaceAll(instanceID, "ApiManagement", "Storage")} {
		_, err := apim.NewClient(apim.ClientConfig{ResourceID: id, Credential: fakeCredential{}})
		require.ErrorContains(t, err, "ResourceID", id)
	}
	_, err := apim.NewClient(apim.ClientConfig{ResourceID: instanceID})
	require.ErrorContains(t, err, "Credential")
}

func TestLeavingOutWhatDoesNotExist(t *testing.T) {
	t.Parallel()
	in, err := newFakeARM(t).client(t).Read(t.Context())
	require.NoError(t, err)
	o := options()
	o.LeaveOut = []string{"products/starter", "products/startr"}
	_, err = apim.NewPlan(in, o)
	require.ErrorContains(t, err, "products/startr")
	assert.NotContains(t, err.Error(), "products/starter\n")
}

func TestTemplatesAreRead(t *testing.T) {
	t.Parallel()
	in, err := apim.ReadFS(os.DirFS("testdata/arm-template"))
	require.NoError(t, err)
	assert.Empty(t, in.Ignored)
	ids := func(what string) []string {
		var found []string
		for _, p := range in.Products {
			if what == "products" {
				found = append(found, p.ID)
			}
		}
		for _, a := range in.APIs {
			if what == "apis" {
				found = append(found, a.ID)
			}
		}
		for _, s := range in.Subscriptions {
			if what == "subscriptions" {
				found = append(found, s.ID+" "+s.Name+" "+s.Scope)
			}
		}
		slices.Sort(found)
		return found
	}
	assert.Equal(t, "brightwater-apim", in.Name)
	assert.Contains(t, ids("products"), "starter")
	assert.Contains(t, ids("apis"), "echo-api")
	assert.Contains(t, ids("subscriptions"), "orders-nightly Orders nightly /products/unlimited", "a parameter and a resourceId are evaluated")
	for _, p := range in.Products {
		if p.ID == "starter" {
			assert.Contains(t, p.APIs, "echo-api")
			assert.True(t, p.Published)
		}
	}
	plan, err := apim.NewPlan(in, options())
	require.NoError(t, err)
	var text strings.Builder
	require.NoError(t, plan.WriteReport(&text))
	golden(t, "report-template.golden", text.String())
}

func TestTemplatesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	const head = `{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "resources": [{"type": "Microsoft.ApiManagement/service/products", "name": `
	for name, c := range map[string][2]string{
		"a parameter without a value": {`"[concat(parameters('svc'), '/gold')]"`, "parameters('svc') has no value"},
		"an unknown function":         {`"[toLower('x/gold')]"`, "the function tolower cannot be evaluated"},
		"a name of one part":          {`"gold"`, "must have 2 parts"},
		"an open call":                {`"[concat('x/gold'"]`, ""},
		"an open quote":               {`"[concat('x)]"`, "open quote"},
	} {
		_, err := apim.ReadFS(fstest.MapFS{"t.json": {Data: []byte(head + c[0] + "}]}")}})
		require.Error(t, err, name)
		assert.Contains(t, err.Error(), c[1], name)
	}
}
