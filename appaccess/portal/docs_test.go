package portal_test

import (
	"html"
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/portal"
)

// The documentation of an API shows parameters, bodies, examples and schemas, the
// permission that each operation needs and whether the reader's application has
// it; the document can be downloaded; the Try it box opens filled in.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	ctx := t.Context()
	_, err := w.service.SetPermissions(ctx, root, "orders", appaccess.PermissionsRequest{Permissions: []appaccess.Permission{{Name: "Read"}, {Name: "Write"}}})
	require.NoError(t, err)
	_, err = w.service.RegisterApplication(ctx, root, appaccess.ApplicationRequest{
		ID: "reader", Name: "Reader", OwnerID: "ada", Grants: appaccess.Grants{{Product: "orders", Permissions: []string{"Read"}}},
	})
	require.NoError(t, err)
	_, err = w.service.SetEnforcement(ctx, root, "orders-api", appaccess.EnforceOperations, 0)
	require.NoError(t, err)
	a, m := w.visit("ada"), w.visit("manager")
	page := a.get("/my/apis/orders-api/docs?application=reader")
	for _, text := range []string{
		"GET /{id}", "POST /", "Which order.", "The number of the order.", "o-2", "Orders of all shops.", "Permission needed: <b>Read, or All</b>",
		"Your application may call it", "Permission missing", `href="#schema-Order"`, `id="schema-Order"`,
	} {
		has(t, page, text)
	}
	file := a.get("/my/apis/orders-api/docs/export")
	assert.Equal(t, "application/json", file.Header.Get("Content-Type"))
	has(t, file, w.api.URL+"/echo")
	links := regexp.MustCompile(`href="` + prefix + `(/my/applications/reader/try[^"]*place[^"]*)"`).FindStringSubmatch(page.Body)
	require.NotNil(t, links)
	tried := a.get(html.UnescapeString(links[1]))
	has(t, tried, `name="param-query-dryRun"`)
	has(t, tried, "apple")
	has(t, m.get("/apis/orders-api/docs"), "GET /{id}")

	// Where gates do not enforce, any permission of the API's product is enough, and
	// one of another product is not.
	_, err = w.service.SetEnforcement(ctx, root, "orders-api", appaccess.ShowOperations, 0)
	require.NoError(t, err)
	_, err = w.service.CreateProduct(ctx, root, appaccess.ProductRequest{ID: "stock", Name: "Stock", APIs: []string{"echo-api"}, Access: appaccess.Access{Token: true}, Published: true})
	require.NoError(t, err)
	_, err = w.service.RegisterApplication(ctx, root, appaccess.ApplicationRequest{ID: "counter", Name: "Counter", OwnerID: "ada", Grants: appaccess.GrantsOfAll("stock")})
	require.NoError(t, err)
	has(t, a.get("/my/apis/orders-api/docs?application=reader"), "Your application may call it")
	hasNot(t, a.get("/my/apis/orders-api/docs?application=reader"), "Permission missing")
	has(t, a.get("/my/apis/orders-api/docs?application=counter"), "Permission missing")
	hasNot(t, a.get("/my/apis/orders-api/docs?application=counter"), "Your application may call it")
	require.NoError(t, func() error { _, err := w.service.UnpublishProduct(ctx, root, "orders"); return err }())
	assert.Equal(t, http.StatusNotFound, w.visit("blaise").get("/my/apis/orders-api/docs").Status)
}

// A manager imports an OpenAPI document after having seen what it would do, and
// says what gates do with its operations.
func TestOperationsAreImportedAndEnforced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.visit("manager")
	page := m.post("/apis/echo-api/operations", "document", ordersDocument, "do", "preview")
	require.Equal(t, http.StatusOK, page.Status)
	has(t, page, "Adds <code>GET /{id}</code>")
	one, err := w.service.API(t.Context(), root, "echo-api")
	require.NoError(t, err)
	assert.Empty(t, one.Operations)
	require.Equal(t, http.StatusSeeOther, m.post("/apis/echo-api/operations", "document", ordersDocument, "do", "import").Status)
	refused := m.post("/apis/echo-api/operations", "document", "{", "do", "import")
	assert.Equal(t, http.StatusBadRequest, refused.Status)
	require.Equal(t, http.StatusSeeOther, m.post("/apis/echo-api/operations", "do", "enforce", "enforcement", "report").Status)
	one, err = w.service.API(t.Context(), root, "echo-api")
	require.NoError(t, err)
	assert.Len(t, one.Operations, 2)
	assert.Equal(t, appaccess.ReportOperations, one.Enforcement)
}

// What a manager can do about permissions, owners and the whole configuration
// has a page, and so has an owner's offer.
func TestPermissionsTransfersAndConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	ctx := t.Context()
	one := w.application("shop", "ada")
	m, a, b := w.visit("manager"), w.visit("ada"), w.visit("blaise")

	require.Equal(t, http.StatusSeeOther, m.post("/products/orders/permissions", "permissions", "Read: Reads orders.\r\nWrite", "selfService", "open", "perDeveloper", "3").Status)
	p, err := w.service.Product(ctx, root, "orders")
	require.NoError(t, err)
	assert.Equal(t, []appaccess.Permission{{Name: "Read", Description: "Reads orders."}, {Name: "Write"}}, p.Permissions)
	assert.Equal(t, appaccess.SelfServiceOpen, p.SelfService)
	has(t, m.get("/products/orders/permissions"), "Read: Reads orders.")
	_, err = w.service.GrantProducts(ctx, root, one.ID, appaccess.Grants{{Product: "orders", Permissions: []string{"Read"}}})
	require.NoError(t, err)
	asks := m.post("/products/orders/permissions", "permissions", "Write", "selfService", "open", "perDeveloper", "3")
	assert.Equal(t, http.StatusConflict, asks.Status)
	has(t, asks, "This revokes permissions that are in use")
	require.Equal(t, http.StatusSeeOther, m.post("/products/orders/permissions", "permissions", "Write", "selfService", "open", "perDeveloper", "3", "force", "yes").Status)

	require.Equal(t, http.StatusSeeOther, m.post("/applications/shop/transfer", "to", "blaise").Status)
	assert.Equal(t, http.StatusNotFound, a.get("/my/applications/shop").Status)
	require.Equal(t, http.StatusSeeOther, b.post("/my/applications/shop/transfer", "to", "ada").Status)
	offers, err := w.service.Transfers(ctx, appaccess.Developer("ada"))
	require.NoError(t, err)
	require.Len(t, offers, 1)
	has(t, a.get("/my/transfers"), "Blaise Pascal")
	assert.Equal(t, http.StatusNotFound, b.get("/my/transfers/"+offers[0].ID+"/accept").Status)
	require.Equal(t, http.StatusSeeOther, a.post("/my/transfers/"+offers[0].ID+"/accept").Status)
	has(t, a.get("/my/applications/shop"), "Web shop")
	require.Equal(t, http.StatusSeeOther, m.post("/users/ada/transfer", "to", "blaise").Status)
	has(t, b.get("/my/applications"), "Web shop")

	file := m.get("/configuration/export")
	has(t, file, "Web shop")
	assert.Equal(t, http.StatusForbidden, a.get("/configuration/export").Status)
	document := `{"version":1,"apis":[{"id":"stock","name":"Stock","path":"/stock"}]}`
	preview := m.post("/configuration", "document", document, "do", "preview")
	has(t, preview, "Create api")
	_, err = w.service.API(ctx, root, "stock")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	require.Equal(t, http.StatusSeeOther, m.post("/configuration", "document", document, "do", "import").Status)
	_, err = w.service.API(ctx, root, "stock")
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, m.post("/configuration", "document", "nonsense", "do", "import").Status)
}

// A refusal in the Try it box says who refused, the gate or the API, and what to
// do.
func TestTryItExplainsRefusals(t *testing.T) {
	t.Parallel()
	for status, text := range map[int]string{http.StatusForbidden: "the permission is missing", http.StatusUnauthorized: "did not accept the token", http.StatusServiceUnavailable: "cannot decide"} {
		got := http.Response{StatusCode: status, Header: http.Header{"Entragate-Decision-Id": {"x"}}}
		assert.Contains(t, portal.Advice(&got, false), text)
		got.Header = http.Header{}
		assert.Contains(t, portal.Advice(&got, false), "The API itself")
	}
}
