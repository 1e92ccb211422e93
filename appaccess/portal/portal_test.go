package portal_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

func TestManagerFollowsTheStory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.visit("manager")

	// Enable application based access for the product Starter.
	page := m.get("/products/starter/properties")
	require.Equal(t, http.StatusOK, page.Status)
	has(t, page, "OAuth 2.0 token (most secure)")
	has(t, page, "Application based access")
	saved := m.post("/products/starter/properties", "name", "Starter", "description", "", "access", "token", "access", "key")
	require.Equal(t, http.StatusSeeOther, saved.Status)
	page = m.get("/products/starter/properties")
	starter, err := w.service.Product(t.Context(), root, "starter")
	require.NoError(t, err)
	require.NotEmpty(t, starter.Entra.AppID)
	has(t, page, "Saved.")
	has(t, page, "APIMProductApplicationStarter")
	has(t, page, starter.Entra.AppID)
	has(t, page, "Product.Starter.All")
	hasNot(t, m.get("/products/starter/properties"), "Saved.", "a message shows once")

	// Review it in Entra.
	page = m.get("/products/starter/review")
	assert.Equal(t, http.StatusOK, page.Status)
	has(t, page, "Product.Starter.All")
	has(t, page, "Enabled")

	// Register a client application.
	page = m.get("/applications/-/new?product=starter")
	has(t, page, "Ada Lovelace")
	made := m.post("/applications/-/new", "name", "Web shop", "ownerId", "ada", "grants", "starter", "description", "Sells.")
	require.Equal(t, http.StatusSeeOther, made.Status)
	id := strings.TrimPrefix(made.location(), prefix+"/applications/")
	one, err := w.service.Application(t.Context(), root, id)
	require.NoError(t, err)
	assert.Equal(t, appaccess.ApplicationActive, one.State)
	page = m.get("/applications/" + id)
	has(t, page, one.Entra.AppID)
	has(t, page, "Application registered.")
	page = m.get("/applications")
	has(t, page, "Web shop")
	has(t, page, one.Entra.AppID)
	has(t, m.get("/applications/"+id+"/review"), "APIMApplicationStarter")

	// Generate a client secret.
	secret := "/applications/" + id + "/secrets/new"
	page = m.post(secret, "lifetime", "365", "old", "keep", "to", "me")
	require.Equal(t, http.StatusOK, page.Status)
	require.Len(t, page.values(), 1)
	assert.GreaterOrEqual(t, len(page.values()[0]), 30)
	has(t, m.get("/applications/"+id+"/credentials"), "23 Nov 2027")

	// The owner sees it in the developer's pages.
	a := w.visit("ada")
	assert.Equal(t, prefix+"/my/applications", a.get("/").location())
	has(t, a.get("/my/applications"), "Web shop")
	page = a.get("/my/applications/" + id)
	for _, want := range []string{one.Entra.AppID, starter.Entra.Scope(), w.tenant.TokenURL(), w.tenant.ID(), "tokenclient.New", "Invoke-RestMethod"} {
		has(t, page, want)
	}
}

func TestEveryPageOfAnEmptyAndAFullPortal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	one := w.application("shop", "ada")
	sub, err := w.service.CreateSubscription(t.Context(), root, appaccess.SubscriptionRequest{ID: "s1", Name: "Reporting", OwnerID: "ada", Scope: appaccess.ProductScope("orders")})
	require.NoError(t, err)
	hand, err := w.service.CreateOneTimeSecret(t.Context(), root, one.ID, appaccess.SecretRequest{})
	require.NoError(t, err)
	cred, err := w.service.AddSecret(t.Context(), root, one.ID, appaccess.SecretRequest{})
	require.NoError(t, err)
	o := ids{one.ID, sub.Subscription.ID, hand.ID, cred.Credential.ID, w.asked("ada"), w.offered()}
	for _, path := range managerPaths(o) {
		assertPage(t, w.visit("manager"), path)
	}
	for _, path := range ownerPaths(o) {
		assertPage(t, w.visit("ada"), path)
	}
	for _, path := range []string{"/my/applications", "/my/subscriptions", "/my/catalog"} {
		assertPage(t, w.visit("blaise"), path)
	}
}

func assertPage(t *testing.T, v *visitor, path string) {
	t.Helper()
	page := v.get(path)
	assert.Equal(t, http.StatusOK, page.Status, path)
	if strings.HasSuffix(path, "/export") {
		assert.Contains(t, page.Header.Get("Content-Disposition"), "attachment", path)
		return
	}
	has(t, page, "</html>", path)
	hasNot(t, page, "<nil>", path)
	hasNot(t, page, "ZgotmplZ", path)
	hasNot(t, page, "0001-01-01", path)
}

func TestManagerWorks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	one := w.application("shop", "ada")
	m := w.visit("manager")
	ctx := t.Context()
	done := func(path string, pairs ...string) {
		t.Helper()
		got := m.post(path, pairs...)
		require.Equal(t, http.StatusSeeOther, got.Status, path)
	}

	done("/apis/-/new", "name", "Stock", "path", "/stock")
	done("/apis/stock", "name", "Stock API", "path", "/stock", "serviceUrl", "https://stock.contoso.example", "allowEncodedSlash", "yes")
	done("/products/-/new", "name", "Reporting", "id", "reporting", "access", "token", "apis", "stock", "published", "yes")
	done("/products/reporting/apis", "apis", "echo-api")
	done("/products/reporting/apis/stock/unassign")
	p, err := w.service.Product(ctx, root, "reporting")
	require.NoError(t, err)
	assert.Equal(t, []string{"echo-api"}, p.APIs)
	assert.Equal(t, appaccess.Published, p.State)

	done("/products/reporting/unpublish")
	done("/products/reporting/suspend")
	p, _ = w.service.Product(ctx, root, "reporting")
	assert.True(t, p.Suspended)
	assert.Equal(t, appaccess.NotPublished, p.State)
	has(t, m.get("/products/reporting"), "Developers cannot use this product yet")
	done("/products/reporting/publish")
	done("/products/reporting/resume")

	done("/products/reporting/applications", "applications", one.ID)
	got, _ := w.service.Application(ctx, root, one.ID)
	assert.Equal(t, []string{"orders", "reporting"}, got.Grants.Products())
	done("/applications/" + one.ID + "/products/reporting/revoke")
	done("/applications/"+one.ID+"/products", "grants", "reporting")
	done("/products/reporting/applications/" + one.ID + "/revoke")
	got, _ = w.service.Application(ctx, root, one.ID)
	assert.Equal(t, []string{"orders"}, got.Grants.Products())

	done("/applications/"+one.ID, "name", "Shop renamed", "description", "")
	done("/applications/" + one.ID + "/suspend")
	got, _ = w.service.Application(ctx, root, one.ID)
	assert.Equal(t, appaccess.ApplicationSuspended, got.State)
	assert.Equal(t, "Shop renamed", got.Name)
	done("/applications/" + one.ID + "/resume")

	done("/users/-/new", "name", "Emmy Noether", "email", "emmy@contoso.example", "id", "emmy", "tenantId", w.tenant.ID(), "objectId", nobodyOID)
	u, err := w.service.User(ctx, root, "emmy")
	require.NoError(t, err)
	assert.Equal(t, nobodyOID, u.ObjectID)
	done("/users/emmy/account", "tenantId", "", "objectId", "")
	done("/users/emmy", "name", "Amalie Emmy Noether", "email", "")
	done("/users/emmy/block")
	done("/users/emmy/unblock")
	done("/users/emmy/delete")

	conflict := m.post("/products/orders/properties", "name", "Orders", "description", "", "access", "key")
	assert.Equal(t, http.StatusConflict, conflict.Status)
	has(t, conflict, "This revokes access that is in use")
	done("/products/orders/properties", "name", "Orders", "description", "", "access", "key", "force", "yes")
	p, _ = w.service.Product(ctx, root, "orders")
	assert.Equal(t, appaccess.Access{Key: true}, p.Access)

	done("/applications/" + one.ID + "/delete")
	assert.Equal(t, http.StatusNotFound, m.get("/applications/"+one.ID).Status)
	done("/products/reporting/delete")
	refused := m.post("/apis/echo-api/delete")
	assert.Equal(t, http.StatusConflict, refused.Status)
	has(t, refused, "unassign it first")
	assert.Equal(t, http.StatusNotFound, m.post("/users/ada/promote").Status)
}

func TestFormsKeepWhatWasEnteredAndNameTheField(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.visit("manager")
	page := m.post("/apis/-/new", "name", "Stock", "path", "no-slash", "description", "Counts things.")
	assert.Equal(t, http.StatusBadRequest, page.Status)
	has(t, page, `value="no-slash" dir="auto" autocomplete="off" aria-describedby="h-path e-path" aria-invalid="true"`)
	has(t, page, "Must begin with a slash")
	has(t, page, "Counts things.")

	page = m.post("/applications/-/new", "name", "", "ownerId", "ada")
	assert.Equal(t, http.StatusBadRequest, page.Status)
	has(t, page, `value="ada" checked`)
	page = m.post("/users/-/new", "name", "X", "email", "not an address")
	assert.Equal(t, http.StatusBadRequest, page.Status)
	page = m.post("/products/-/new", "name", "Starter", "access", "key")
	assert.Equal(t, http.StatusConflict, page.Status)
}

func TestListsHavePages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 30 {
		_, err := w.service.CreateUser(t.Context(), root, appaccess.UserRequest{Name: "Person " + string(rune('A'+i%26)) + strings.Repeat("x", i/26)})
		require.NoError(t, err)
	}
	m := w.visit("manager")
	first := m.get("/users")
	has(t, first, "Next page")
	hasNot(t, first, "First page")
	next := nextPage(t, first.Body)
	second := m.get("/users" + next)
	assert.Equal(t, http.StatusOK, second.Status)
	has(t, second, "First page")
	hasNot(t, second, "Next page")
	assert.Equal(t, 32, strings.Count(first.Body+second.Body, `data-label="Since"`))
}

func nextPage(t *testing.T, body string) string {
	t.Helper()
	_, rest, ok := strings.Cut(body, `<a href="?after=`)
	require.True(t, ok)
	id, _, _ := strings.Cut(rest, `"`)
	return "?after=" + id
}

func TestEntraPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	m := w.visit("manager")
	has(t, m.get("/entra"), "Everything is in sync")
	has(t, m.get("/entra/preview"), "Nothing to do")
	has(t, m.get("/entra/diagnosis"), "All is well")

	// The role is taken away: registering fails, and the pages say why.
	require.NoError(t, w.tenant.SetRights(w.caller))
	w.tenant.RevokeTokens(w.caller)
	made := m.post("/products/-/new", "name", "Reporting", "id", "reporting", "access", "token", "apis", "echo-api", "published", "yes")
	require.Equal(t, http.StatusSeeOther, made.Status)
	has(t, m.get("/products/reporting"), "Entra is not in sync")
	has(t, m.get("/entra"), "Failed")
	sick := m.get("/entra/diagnosis")
	has(t, sick, "Something is missing")
	has(t, sick, "What to do:")
	has(t, sick, "Privileged Role Administrator")

	require.NoError(t, w.tenant.SetRights(w.caller, entratestRights()...))
	w.tenant.RevokeTokens(w.caller)
	has(t, m.get("/entra/preview"), "APIMProductApplicationReporting")
	w.clock.Advance(time.Hour)
	run := m.post("/entra/apply")
	assert.Equal(t, http.StatusOK, run.Status)
	has(t, run, "Finished: Entra is in sync")
	has(t, run, ">Reporting</bdi>")
	has(t, m.get("/entra"), "Everything is in sync")
}
