package appaccess_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

const sampleDocument = `{
  "version": 1,
  "apis":     [{"id": "orders", "name": "Orders", "path": "/orders"}],
  "products": [{"id": "gold", "name": "Gold", "published": true, "access": {"token": true, "key": true}, "apis": ["orders"]}],
  "users":    [{"id": "ada", "name": "Ada", "email": "ada@example.com"}],
  "applications":  [{"id": "billing", "name": "Billing", "ownerId": "ada", "grants": [{"product": "gold", "permissions": ["All"]}]}],
  "subscriptions": [{"id": "try-out", "name": "Try out", "ownerId": "ada", "scope": "/products/gold", "state": "active"}]
}`

func parse(t *testing.T, text string) appaccess.Document {
	t.Helper()
	d, err := appaccess.ParseDocument(strings.NewReader(text))
	require.NoError(t, err)
	return d
}

// exported is what a Service exports.
func exported(s *appaccess.Service) (appaccess.Document, error) {
	var text bytes.Buffer
	if err := s.Export(ctx, boss, &text); err != nil {
		return appaccess.Document{}, err
	}
	return appaccess.ParseDocument(&text)
}

// diff is all that Diff yields.
func diff(s *appaccess.Service, source appaccess.DocumentSource, req appaccess.ImportRequest) ([]appaccess.Difference, error) {
	var found []appaccess.Difference
	for d, err := range s.Diff(ctx, boss, source, req) {
		if err != nil {
			return found, err
		}
		found = append(found, d)
	}
	return found, nil
}

func TestImportMakesWhatTheDocumentSays(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	d := parse(t, sampleDocument)
	diff, err := diff(h.Service, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	var words []string
	for _, x := range diff {
		words = append(words, x.String())
	}
	assert.Equal(t, []string{"create user ada", "create api orders", "create product gold", "create application billing", "create subscription try-out"}, words)

	report, err := h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Equal(t, diff, report.Differences)
	require.Len(t, report.Subscriptions, 1)
	assert.True(t, appaccess.CheckKeyFormat(report.Subscriptions[0].Primary.Reveal()))
	assert.Equal(t, appaccess.HashKey(report.Subscriptions[0].Secondary.Reveal()), report.Subscriptions[0].Subscription.SecondaryHash)
	a, err := h.Application(ctx, ada, "billing")
	require.NoError(t, err)
	assert.Equal(t, appaccess.ApplicationActive, a.State)
	assert.Equal(t, "APIMApplicationGold", a.Entra.Name)
	assert.Equal(t, []string{"gold"}, h.entra.apps["billing"].Grants.Products())

	before := h.revision()
	report, err = h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Empty(t, report.Differences)
	assert.Equal(t, before, h.revision(), "a second import writes nothing")
}

func TestExportComesBackTheSame(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{Name: "S <&>", OwnerID: "ada", Scope: appaccess.ProductScope("starter"), Expires: h.clock.Now().Add(time.Hour)})
	require.NoError(t, err)
	_, err = h.SuspendApplication(ctx, boss, "billing")
	require.NoError(t, err)
	_, err = h.UnpublishProduct(ctx, boss, "starter")
	require.NoError(t, err)
	_, err = h.BlockUser(ctx, boss, "eve")
	require.NoError(t, err)
	h.clock.Advance(2 * time.Hour)
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)

	first, err := exported(h.Service)
	require.NoError(t, err)
	var text bytes.Buffer
	require.NoError(t, first.Write(&text))
	read := parse(t, text.String())
	diff, err := diff(h.Service, read, appaccess.ImportRequest{Prune: true})
	require.NoError(t, err)
	assert.Empty(t, diff)

	other := newFixture(t)
	_, err = other.Import(ctx, boss, read, appaccess.ImportRequest{Prune: true})
	require.NoError(t, err)
	second, err := exported(other.Service)
	require.NoError(t, err)
	assert.Equal(t, first, second)
	assert.True(t, other.entra.apps["billing"].Disabled)
}

func TestPruneDeletesWhatTheDocumentDoesNotContain(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	_, err := h.Import(ctx, boss, parse(t, sampleDocument), appaccess.ImportRequest{})
	require.NoError(t, err)
	empty := parse(t, `{"version": 1, "apis": [], "products": [], "users": [], "applications": [], "subscriptions": []}`)
	report, err := h.Import(ctx, boss, empty, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Empty(t, report.Differences, "without prune nothing goes")
	// Sections that are missing say nothing about their objects.
	_, err = h.Import(ctx, boss, parse(t, `{"version": 1, "apis": []}`), appaccess.ImportRequest{Prune: true})
	assertConflict(t, err, "api echo-api.id")
	_, err = h.Import(ctx, boss, parse(t, `{"version": 1, "users": []}`), appaccess.ImportRequest{Prune: true})
	assertConflict(t, err, "user ada.id")
	report, err = h.Import(ctx, boss, empty, appaccess.ImportRequest{Prune: true})
	require.NoError(t, err)
	assert.Len(t, report.Differences, 7)
	assert.Empty(t, h.entra.products)
	assert.Empty(t, h.entra.apps)
	d, err := exported(h.Service)
	require.NoError(t, err)
	assert.Equal(t, empty, d)
}

func TestADiffNamesFields(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	d, err := exported(h.Service)
	require.NoError(t, err)
	d.Products[0].Description = ""
	d.Products[0].Suspended = true
	d.Products[0].Access.Token = true
	diff, err := diff(h.Service, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	require.Len(t, diff, 1)
	assert.Equal(t, `change product starter: access: {"token":false,"key":true} -> {"token":true,"key":true}, description: "A first product, to try things out." -> none, suspended: none -> true`, diff[0].String())
	_, err = h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Contains(t, h.entra.products, "starter")
}

// What an import refuses leaves everything as it was.
func TestImportIsAllOrNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*appaccess.Document)
		field  string
	}{
		"unknown API":           {func(d *appaccess.Document) { d.Products[0].APIs = []string{"nothing"} }, "product gold.apis"},
		"unknown owner":         {func(d *appaccess.Document) { d.Applications[0].OwnerID = "nobody" }, "application billing.ownerId"},
		"unknown product":       {func(d *appaccess.Document) { d.Applications[0].Grants = appaccess.GrantsOfAll("nothing") }, "application billing.grants"},
		"product without token": {func(d *appaccess.Document) { d.Products[0].Access.Token = false }, "product gold.access.token"},
		"unknown scope":         {func(d *appaccess.Document) { d.Subscriptions[0].Scope = "/products/nothing" }, "subscription try-out.scope"},
		"taken path":            {func(d *appaccess.Document) { d.APIs[0].Path = "/echo" }, "api orders.path"},
		"path, other case":      {func(d *appaccess.Document) { d.APIs[0].Path = "/Echo" }, "api orders.path"},
		"taken name":            {func(d *appaccess.Document) { d.Products[0].Name = "STARTER" }, "product gold.name"},
		"name without a role":   {func(d *appaccess.Document) { d.Products[0].Name = "Größe" }, "product gold.name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFixture(t)
			d := parse(t, sampleDocument)
			c.change(&d)
			before := h.revision()
			_, err := h.Import(ctx, boss, d, appaccess.ImportRequest{})
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.field)
			assert.Contains(t, []int{400, 409}, appaccess.Status(err))
			assert.Equal(t, before, h.revision())
			assert.Zero(t, h.entra.calls)
		})
	}
}

// What never changes by the single methods does not change by an import.
func TestImportKeepsToTheRules(t *testing.T) {
	t.Parallel()
	for field, change := range map[string]func(*appaccess.Document){
		"subscription try-out.scope": func(d *appaccess.Document) { d.Subscriptions[0].Scope = appaccess.AllAPIs },
		"subscription try-out.state": func(d *appaccess.Document) { d.Subscriptions[0].State = appaccess.SubscriptionSubmitted },
		"product gold.name":          func(d *appaccess.Document) { d.Products[0].Name = "Platinum" },
		"product gold.access.token": func(d *appaccess.Document) {
			d.Products[0].Access.Token = false
			d.Applications = nil
		},
	} {
		h := newFixture(t)
		d := parse(t, sampleDocument)
		_, err := h.Import(ctx, boss, d, appaccess.ImportRequest{})
		require.NoError(t, err)
		_, err = h.CreateUser(ctx, boss, appaccess.UserRequest{ID: "eve", Name: "Eve"})
		require.NoError(t, err)
		change(&d)
		before := h.revision()
		_, err = h.Import(ctx, boss, d, appaccess.ImportRequest{})
		assertConflict(t, err, field)
		assert.Equal(t, before, h.revision(), field)
	}
}

func TestImportCutOffInEntra(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	h.entra.arm(1, false)
	report, err := h.Import(ctx, boss, parse(t, sampleDocument), appaccess.ImportRequest{})
	var failed *appaccess.ProvisionError
	require.ErrorAs(t, err, &failed)
	assert.Len(t, report.Subscriptions, 1, "the keys are shown whatever Entra does")
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.Contains(t, h.entra.apps, "billing")
}

func TestDocumentsAreReadStrictly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string][2]string{
		"no version":       {`{}`, "version"},
		"other version":    {`{"version": 2}`, "version"},
		"unknown member":   {`{"version": 1, "secrets": []}`, "document"},
		"other case":       {`{"version": 1, "Users": []}`, "document"},
		"twice":            {`{"version": 1, "version": 1}`, "document"},
		"trailing":         {`{"version": 1} {}`, "document"},
		"no JSON":          {`version: 1`, "document"},
		"bad UTF-8":        {"{\"version\": 1, \"users\": [{\"id\": \"a\", \"name\": \"\xff\"}]}", "document"},
		"wrong type":       {`{"version": "1"}`, "document"},
		"bad ID":           {`{"version": 1, "users": [{"id": "../x", "name": "n"}]}`, "users[0].id"},
		"no name":          {`{"version": 1, "products": [{"id": "x", "access": {}}]}`, "products[0].name"},
		"same ID twice":    {`{"version": 1, "users": [{"id": "a", "name": "A"}, {"id": "a", "name": "B"}]}`, "users[1].id"},
		"half an account":  {`{"version": 1, "users": [{"id": "a", "name": "A", "tenantId": "aaaabbbb-0000-cccc-1111-dddd2222eeee"}]}`, "users[0].objectId"},
		"state":            {`{"version": 1, "subscriptions": [{"id": "a", "name": "A", "scope": "/apis", "state": "on"}]}`, "subscriptions[0].state"},
		"scope":            {`{"version": 1, "subscriptions": [{"id": "a", "name": "A", "scope": "/users/x", "state": "active"}]}`, "subscriptions[0].scope"},
		"product twice":    {`{"version": 1, "applications": [{"id": "a", "name": "A", "ownerId": "o", "grants": [{"product": "p", "permissions": ["All"]}, {"product": "p", "permissions": ["All"]}]}]}`, "applications[0].grants"},
		"traversal":        {`{"version": 1, "apis": [{"id": "a", "name": "A", "path": "/a/../b"}]}`, "apis[0].path"},
		"key of a product": {`{"version": 1, "products": [{"id": "a", "name": "A", "access": {"token": true, "tok": 1}}]}`, "document"},
	} {
		_, err := appaccess.ParseDocument(strings.NewReader(c[0]))
		var invalid *appaccess.InvalidError
		require.ErrorAs(t, err, &invalid, name)
		assert.Equal(t, c[1], invalid.Field, name)
	}
}

// Whatever is read and written is the same when it is read again.
func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(sampleDocument))
	f.Add([]byte(`{"version":1,"apis":[],"users":null}`))
	f.Add([]byte(`{"version":1,"subscriptions":[{"id":"a","name":"\u2028","scope":"/apis","state":"active","expires":"2026-01-02T03:04:05.678+02:00"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := appaccess.ParseDocument(bytes.NewReader(raw))
		if err != nil {
			if !reflect.DeepEqual(d, appaccess.Document{}) {
				t.Fatal("a refused document is not empty")
			}
			return
		}
		var out bytes.Buffer
		if err := d.Write(&out); err != nil {
			t.Fatal(err)
		}
		again, err := appaccess.ParseDocument(&out)
		if err != nil {
			t.Fatalf("what was written is refused: %v", err)
		}
		var second bytes.Buffer
		if err := again.Write(&second); err != nil {
			t.Fatal(err)
		}
		var first bytes.Buffer
		_ = d.Write(&first)
		if first.String() != second.String() {
			t.Fatalf("%s\n%s", first.String(), second.String())
		}
	})
}
