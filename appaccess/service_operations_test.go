package appaccess_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/openapi"
)

const ordersHead = `
openapi: 3.1.0
info: {title: Orders, version: "1"}
servers: [{url: "https://orders.example/v1"}]
components:
  securitySchemes:
    entra: {type: oauth2, flows: {clientCredentials: {tokenUrl: "https://login.example/", scopes: {Read: reads, Product.Starter.Write: writes, Admin: does all, All: all}}}}
    key: {type: apiKey, in: header, name: K}
security: [{entra: [Read]}]
paths:
`

const ordersV1 = ordersHead + `
  /orders:
    get: {operationId: listOrders, summary: Lists orders, tags: [orders]}
    post: {operationId: createOrder, security: [{entra: [Product.Starter.Write]}, {key: []}]}
  /orders/{id}:
    get: {operationId: getOrder}
    delete: {operationId: deleteOrder, security: []}
  /orders/secret:
    get: {operationId: getSecret, security: [{entra: [Admin]}]}
  /health:
    get: {security: [{entra: [All]}]}
`

func (h *fixture) imports(document string) appaccess.OperationsReport {
	h.t.Helper()
	r, err := h.ImportOperations(ctx, boss, "echo-api", appaccess.OperationsImport{Document: []byte(document)})
	require.NoError(h.t, err)
	return r
}

// lines are an API's operations, one a line.
func lines(a appaccess.API) []string {
	var out []string
	for _, o := range a.Operations {
		line := fmt.Sprintf("%s %s %s %v", o.ID, o.Method, o.Path, o.AnyOf)
		for mark, set := range map[string]bool{" set": o.Set, " gone": o.Gone, " by hand": o.ByHand} {
			if set {
				line += mark
			}
		}
		out = append(out, line)
	}
	return out
}

func changes(list []appaccess.OperationChange) []string {
	var out []string
	for _, c := range list {
		line := c.Operation.ID
		if len(c.Fields) > 0 {
			line += " (" + strings.Join(c.Fields, ", ") + ")"
		}
		if c.Widened {
			line += " widened"
		}
		if c.Kept {
			line += " kept"
		}
		out = append(out, line)
	}
	return out
}

func TestImportOperations(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	r := h.imports(ordersV1)
	assert.Equal(t, []string{
		"listorders GET /orders [[Read]]",
		"createorder POST /orders [[Write]]",
		"getorder GET /orders/{id} [[Read]]",
		"deleteorder DELETE /orders/{id} []",
		"getsecret GET /orders/secret [[Admin]]",
		"get-health GET /health []",
	}, lines(r.API))
	assert.Len(t, r.Added, 6)
	assert.Empty(t, r.Changed)
	assert.Equal(t, "https://orders.example/v1", r.ServiceURL)
	assert.Empty(t, r.NotEnforceable)
	require.Len(t, r.Notes, 3)
	assert.Contains(t, r.Notes[0].Text, "{id}")

	a, err := h.API(ctx, ada, "echo-api")
	require.NoError(t, err)
	assert.Equal(t, r.API, a)
	doc, err := h.APIDocument(ctx, ada, "echo-api")
	require.NoError(t, err)
	assert.Equal(t, ordersV1, string(doc.Source))
	assert.Equal(t, "Orders", doc.Title)
	assert.Equal(t, r.SHA256, doc.SHA256)

	again := h.imports(ordersV1)
	assert.Empty(t, again.Added)
	assert.Empty(t, again.Changed)
	assert.Empty(t, again.Removed)
}

func TestImportOfANewVersion(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	h.imports(ordersV1)
	_, err := h.RequirePermissions(ctx, boss, "echo-api", "createorder", [][]string{{"Write", "Audit"}, {"Admin"}}, 0)
	require.NoError(t, err)
	_, err = h.SetOperations(ctx, boss, "echo-api", []appaccess.Operation{{Method: "GET", Path: "/metrics"}}, 0)
	require.NoError(t, err)

	v2 := ordersHead + `
  /orders:
    get: {operationId: listAllOrders, summary: Lists orders, tags: [orders]}
    post: {operationId: createOrder, security: [{entra: [Read]}]}
  /orders/{order}:
    get: {operationId: getOrder, security: [{entra: [Read]}, {entra: [Admin]}]}
  /customers:
    get: {operationId: listCustomers}
`
	dry, err := h.ImportOperations(ctx, boss, "echo-api", appaccess.OperationsImport{Document: []byte(v2), DryRun: true})
	require.NoError(t, err)
	before, err := h.API(ctx, boss, "echo-api")
	require.NoError(t, err)
	assert.Len(t, before.Operations, 7, "a dry run stores nothing")

	r := h.imports(v2)
	assert.Equal(t, []string{"listcustomers"}, changes(r.Added))
	assert.Equal(t, []string{"listallorders (id)", "getorder (path, permissions) widened"}, changes(r.Changed))
	// GET /orders/secret would else be what GET /orders/{order} is.
	assert.Equal(t, []string{"deleteorder", "getsecret kept", "get-health"}, changes(r.Removed))
	assert.Equal(t, changes(dry.Changed), changes(r.Changed))
	assert.Equal(t, []string{
		"listallorders GET /orders [[Read]]",
		"createorder POST /orders [[Admin] [Audit Write]] set",
		"getorder GET /orders/{order} [[Admin] [Read]]",
		"listcustomers GET /customers [[Read]]",
		"getsecret GET /orders/secret [[Admin]] gone",
		"get-metrics GET /metrics [] by hand",
	}, lines(r.API))

	a, err := h.RequirePermissions(ctx, boss, "echo-api", "createorder", nil, 0)
	require.NoError(t, err)
	assert.Contains(t, lines(a), "createorder POST /orders [[Read]]", "back to what the document asks for")
	a, err = h.RemoveOperation(ctx, boss, "echo-api", "getsecret")
	require.NoError(t, err)
	assert.Len(t, a.Operations, 5)
	_, err = h.RemoveOperation(ctx, boss, "echo-api", "getorder")
	assertConflict(t, err, "operation")
	_, err = h.RemoveOperation(ctx, boss, "echo-api", "nothing")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
}

// An import that would open what is enforced needs a word more.
func TestImportDoesNotWidenWhatIsEnforced(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	h.imports(ordersV1)
	_, err := h.SetEnforcement(ctx, boss, "echo-api", appaccess.EnforceOperations, 0)
	require.NoError(t, err)
	wider := strings.Replace(ordersV1, "security: [{entra: [Admin]}]", "security: [{entra: [Read]}]", 1)
	_, err = h.ImportOperations(ctx, boss, "echo-api", appaccess.OperationsImport{Document: []byte(wider)})
	assertConflict(t, err, "document")
	assert.ErrorContains(t, err, "getsecret")
	_, err = h.ImportOperations(ctx, boss, "echo-api", appaccess.OperationsImport{Document: []byte(wider), Force: true})
	require.NoError(t, err)

	narrower := strings.Replace(ordersV1, "security: [{entra: [Admin]}]", "security: [{entra: [Read, Admin]}]", 1)
	h.imports(narrower)
	open := strings.Replace(ordersV1, "security: [{entra: [Admin]}]", "security: []", 1)
	r := h.imports(open)
	assert.Contains(t, lines(r.API), "getsecret GET /orders/secret []", "no security: the product's own role is needed")
}

func TestImportRefusals(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	for document, want := range map[string]string{
		"":                   "is empty",
		`{"swagger": "2.0"}`: "version 2 is not supported",
		strings.Replace(ordersHead+"  /a: {get: {}}", "Read: reads", `"a b": reads, Read: reads`, 1) +
			"\n  /b: {get: {security: [{entra: [a b]}]}}": "a permission must have",
	} {
		_, err := h.ImportOperations(ctx, boss, "echo-api", appaccess.OperationsImport{Document: []byte(document)})
		assertInvalid(t, err, "document")
		assert.ErrorContains(t, err, want)
	}
	_, err := h.ImportOperations(ctx, boss, "nothing", appaccess.OperationsImport{Document: []byte(ordersV1)})
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	_, err = h.APIDocument(ctx, boss, "echo-api")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	_, err = h.ImportOperations(ctx, boss, "echo-api", appaccess.OperationsImport{Document: []byte(ordersV1), Revision: 999})
	assertConflict(t, err, appaccess.RevisionField)

	plain := newFixture(t, func(cfg *appaccess.ServiceConfig) { cfg.ReadOpenAPI = nil })
	_, err = plain.ImportOperations(ctx, boss, "echo-api", appaccess.OperationsImport{Document: []byte(ordersV1)})
	assertConflict(t, err, "document")
}

// A document within the reader's limits is within the store's limits.
func TestImportOfALargeDocument(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	var b strings.Builder
	b.WriteString(`{"openapi":"3.1.0","info":{"title":"x","version":"1"},"paths":{`)
	for i := range 2000 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"/p%d/{id}":{"get":{"operationId":"%s%d","summary":%q,"tags":["orders"]}}`, i, strings.Repeat("operation", 10), i, strings.Repeat("é", 150))
	}
	b.WriteString("}}")
	require.Less(t, b.Len(), openapi.MaxSize)
	r, err := h.ImportOperations(ctx, boss, "echo-api", appaccess.OperationsImport{Document: []byte(b.String())})
	if err != nil {
		assertInvalid(t, err, "body")
	} else {
		assert.Len(t, r.API.Operations, 2000)
	}
}

func TestOperationsByHand(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	a, err := h.SetOperations(ctx, boss, "echo-api", []appaccess.Operation{
		{Method: "GET", Path: "/"}, {Method: "PURGE", Path: "/{key}", AnyOf: [][]string{{"Write"}, {"Write", "Write"}}, Set: true, Gone: true},
	}, 0)
	require.NoError(t, err)
	assert.Equal(t, []string{"get GET / [] by hand", "purge-key PURGE /{key} [[Write]] by hand"}, lines(a))
	a, err = h.SetOperations(ctx, boss, "echo-api", nil, 0)
	require.NoError(t, err)
	assert.Empty(t, a.Operations)

	h.imports(ordersV1)
	_, err = h.SetOperations(ctx, boss, "echo-api", []appaccess.Operation{{Method: "GET", Path: "/orders/{other}"}}, 0)
	assertConflict(t, err, "operations")
	for _, bad := range [][]appaccess.Operation{
		{{Method: "", Path: "/a"}},
		{{Method: "GE T", Path: "/a"}},
		{{Method: "GET", Path: "a"}},
		{{Method: "GET", Path: "/a//b"}},
		{{Method: "GET", Path: "/a/../b"}},
		{{Method: "GET", Path: "/a%20b"}},
		{{Method: "GET", Path: "/a;b"}},
		{{Method: "GET", Path: "/a/"}},
		{{Method: "GET", Path: "/{id}.json"}},
		{{Method: "GET", Path: "/{a}/{a}"}},
		{{Method: "GET", Path: "/ü"}},
		{{Method: "GET", Path: "/a"}, {Method: "GET", Path: "/a"}},
		{{Method: "GET", Path: "/{a}"}, {Method: "GET", Path: "/{b}"}},
		{{Method: "GET", Path: "/a", ID: "A"}},
		{{Method: "GET", Path: "/a", ID: "a"}, {Method: "GET", Path: "/b", ID: "a"}},
		{{Method: "GET", Path: "/a", AnyOf: [][]string{{}}}},
		{{Method: "GET", Path: "/a", AnyOf: [][]string{{"All"}}}},
		{{Method: "GET", Path: "/a", AnyOf: [][]string{{"a b"}}}},
		{{Method: "GET", Path: "/a", Tags: []string{""}}},
		{{Method: "GET", Path: "/a", Summary: "a\nb"}},
	} {
		_, err = h.SetOperations(ctx, boss, "echo-api", bad, 0)
		assertInvalid(t, err, "operations")
	}
}

// What a gate could match otherwise than the API's router is not enforced.
func TestEnforcementRefusesAmbiguousOperations(t *testing.T) {
	t.Parallel()
	read, write := [][]string{{"Read"}}, [][]string{{"Write"}}
	for name, c := range map[string]struct {
		ops []appaccess.Operation
		ok  bool
	}{
		"literal beside template":     {[]appaccess.Operation{{Method: "GET", Path: "/a/{x}", AnyOf: read}, {Method: "GET", Path: "/a/b", AnyOf: write}}, true},
		"neither is more specific":    {[]appaccess.Operation{{Method: "GET", Path: "/{e}/me", AnyOf: read}, {Method: "GET", Path: "/books/{id}", AnyOf: write}}, false},
		"the same permissions":        {[]appaccess.Operation{{Method: "GET", Path: "/{e}/me", AnyOf: read}, {Method: "GET", Path: "/books/{id}", AnyOf: read}}, true},
		"another method":              {[]appaccess.Operation{{Method: "GET", Path: "/{e}/me", AnyOf: read}, {Method: "POST", Path: "/books/{id}", AnyOf: write}}, true},
		"HEAD below GET":              {[]appaccess.Operation{{Method: "GET", Path: "/a/b", AnyOf: write}, {Method: "HEAD", Path: "/a/{x}", AnyOf: read}}, false},
		"HEAD beside GET":             {[]appaccess.Operation{{Method: "GET", Path: "/a/{x}", AnyOf: write}, {Method: "HEAD", Path: "/a/{x}", AnyOf: read}}, true},
		"literals of different case":  {[]appaccess.Operation{{Method: "GET", Path: "/Admin", AnyOf: write}, {Method: "GET", Path: "/admin", AnyOf: read}}, false},
		"different case, same rights": {[]appaccess.Operation{{Method: "GET", Path: "/Admin", AnyOf: read}, {Method: "GET", Path: "/admin", AnyOf: read}}, true},
		"unenforceable":               {[]appaccess.Operation{{Method: "GET", Path: "/a", Unenforceable: "it asks for mutualTLS"}}, false},
	} {
		err := appaccess.CheckOperations(c.ops)
		if c.ok {
			assert.NoError(t, err, name)
		} else {
			assertInvalid(t, err, "operations")
		}
	}

	h := newFixture(t).withPeople()
	_, err := h.SetEnforcement(ctx, boss, "echo-api", appaccess.EnforceOperations, 0)
	assertConflict(t, err, "enforcement")
	assert.ErrorContains(t, err, "no operations")
	_, err = h.SetEnforcement(ctx, boss, "echo-api", "maybe", 0)
	assertInvalid(t, err, "enforcement")
	r := h.imports(ordersHead + "  /a: {get: {security: [{entra: [Read], key: []}]}}\n")
	assert.Contains(t, r.NotEnforceable, "apiKey together with a token")
	for _, e := range []appaccess.Enforcement{appaccess.ReportOperations, appaccess.EnforceOperations} {
		_, err = h.SetEnforcement(ctx, boss, "echo-api", e, 0)
		assertConflict(t, err, "enforcement")
	}
	h.imports(ordersV1)
	_, err = h.SetEnforcement(ctx, boss, "echo-api", appaccess.ReportOperations, 0)
	require.NoError(t, err)
	_, err = h.ImportOperations(ctx, boss, "echo-api", appaccess.OperationsImport{Document: []byte(ordersHead + "  /a: {get: {security: [{entra: [Read], key: []}]}}\n")})
	assertConflict(t, err, "enforcement")
}

func TestEveryReadableCaseIsImported(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	files, err := os.ReadDir("openapi/testdata/cases")
	require.NoError(t, err)
	read := 0
	for _, f := range files {
		doc, err := os.ReadFile("openapi/testdata/cases/" + f.Name())
		require.NoError(t, err)
		r, err := h.ImportOperations(ctx, boss, "echo-api", appaccess.OperationsImport{Document: doc, DryRun: true})
		if err != nil {
			assertInvalid(t, err, "document")
			continue
		}
		read++
		for _, o := range r.API.Operations {
			for _, together := range o.AnyOf {
				assert.NotEmpty(t, together, f.Name())
			}
		}
	}
	assert.GreaterOrEqual(t, read, 10)
}

// Documents of an importer or an older export do not know what a manager enforced
// since. Only a document that says "show" ends enforcement.
func TestOnlyADocumentThatSaysSoEndsEnforcement(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	h.imports(ordersV1)
	_, err := h.SetEnforcement(ctx, boss, "echo-api", appaccess.EnforceOperations, 0)
	require.NoError(t, err)
	for _, c := range []struct {
		change   func(*appaccess.DocumentAPI)
		expected appaccess.Enforcement
	}{
		{func(v *appaccess.DocumentAPI) { v.Operations, v.Enforcement = nil, "" }, appaccess.EnforceOperations},
		{func(v *appaccess.DocumentAPI) { v.Enforcement, v.Operations[0].Summary = "", "changed" }, appaccess.EnforceOperations},
		{func(v *appaccess.DocumentAPI) { v.Enforcement = "show" }, appaccess.ShowOperations},
		{func(v *appaccess.DocumentAPI) { v.Operations = []appaccess.Operation{} }, appaccess.ShowOperations},
	} {
		document, err := exported(h.Service)
		require.NoError(t, err)
		c.change(&document.APIs[0])
		document.APIs[0].Description += "."
		_, err = h.Import(ctx, boss, document, appaccess.ImportRequest{})
		require.NoError(t, err)
		a, err := h.API(ctx, boss, "echo-api")
		require.NoError(t, err)
		assert.Equal(t, c.expected, a.Enforcement)
		left, err := diff(h.Service, document, appaccess.ImportRequest{})
		require.NoError(t, err)
		assert.Empty(t, left)
	}
}

func TestOperationsInADocument(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	h.imports(ordersV1)
	_, err := h.RequirePermissions(ctx, boss, "echo-api", "createorder", [][]string{{"Audit"}}, 0)
	require.NoError(t, err)
	_, err = h.SetEnforcement(ctx, boss, "echo-api", appaccess.EnforceOperations, 0)
	require.NoError(t, err)
	h.opens("starter")
	document, err := exported(h.Service)
	require.NoError(t, err)
	diff, err := diff(h.Service, document, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Empty(t, diff)

	other := newFixture(t)
	_, err = other.Import(ctx, boss, document, appaccess.ImportRequest{})
	require.NoError(t, err)
	before, err := h.API(ctx, boss, "echo-api")
	require.NoError(t, err)
	after, err := other.API(ctx, boss, "echo-api")
	require.NoError(t, err)
	assert.Equal(t, before.Operations, after.Operations)
	assert.Equal(t, appaccess.EnforceOperations, after.Enforcement)
	p, err := other.Product(ctx, boss, "starter")
	require.NoError(t, err)
	assert.Equal(t, appaccess.SelfServiceOpen, p.SelfService)

	for _, bad := range []func(*appaccess.DocumentAPI){
		func(v *appaccess.DocumentAPI) { v.Enforcement = "maybe" },
		func(v *appaccess.DocumentAPI) { v.Operations = nil },
		func(v *appaccess.DocumentAPI) { v.Operations = []appaccess.Operation{} },
		func(v *appaccess.DocumentAPI) { v.Operations, v.Enforcement = []appaccess.Operation{}, "" },
		func(v *appaccess.DocumentAPI) { v.Operations[0].ID = "No ID" },
		func(v *appaccess.DocumentAPI) { v.Operations[1].ID = v.Operations[0].ID },
		func(v *appaccess.DocumentAPI) { v.Operations[0].AnyOf = [][]string{{"All"}} },
		func(v *appaccess.DocumentAPI) { v.Operations[0].Path = "/a/../b" },
	} {
		document, err := exported(h.Service)
		require.NoError(t, err)
		bad(&document.APIs[0])
		_, err = h.Import(ctx, boss, document, appaccess.ImportRequest{})
		require.Error(t, err)
		assert.Equal(t, true, appaccess.Status(err) == 400 || appaccess.Status(err) == 409, err)
	}
}
