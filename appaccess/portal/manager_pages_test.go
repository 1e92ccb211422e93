package portal_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/portal"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/provision/entratest"
)

// pagesOfMethods names a page for each method of Service that a manager may call.
var pagesOfMethods = map[string]string{
	"API": "/apis/{api}", "APIDocument": "/apis/{api}/docs", "APIs": "/apis", "APIsOf": "/my/catalog",
	"AcceptTransfer": "/my/transfers/{transfer}/accept", "AccountRequestOf": "/request-access",
	"AddCertificate": "/applications/{application}/credentials/new", "AddFederatedCredential": "/applications/{application}/credentials/new",
	"AddSecret": "/applications/{application}/secrets/new", "Application": "/applications/{application}",
	"ApplicationSettings": "/applications/{application}", "Applications": "/applications", "ApproveRequest": "/requests/{request}",
	"AssignAPIs": "/products/{id}/apis", "Audit": "/audit", "BindUser": "/users/{user}/account", "BlockUser": "/users/{user}/block",
	"CreateAPI": "/apis/-/new", "CreateOneTimeSecret": "/applications/{application}/secrets/new", "CreateProduct": "/products/-/new",
	"CreateSubscription": "/subscriptions/-/new", "CreateUser": "/users/-/new", "Credentials": "/applications/{application}/credentials/{credential}/remove",
	"CredentialsOf": "/my/applications", "DeleteAPI": "/apis/{api}/delete", "DeleteApplication": "/applications/{application}/delete",
	"DeleteProduct": "/products/{id}/delete", "DeleteSubscription": "/subscriptions/{subscription}/delete", "DeleteUser": "/users/{user}/delete",
	"Diff": "/configuration", "EndTransfer": "/my/transfers/{transfer}/end", "Expiring": "/expiring", "Export": "/configuration/export",
	"ExportAudit": "/audit/export", "GrantApplications": "/products/{id}/applications", "GrantProducts": "/applications/{application}/products",
	"GrantedApplications": "/products/{id}/applications", "Import": "/configuration", "ImportOperations": "/apis/{api}/operations", "LastUsed": "/subscriptions/{subscription}",
	"Names": "/audit", "OfferTransfer": "/my/applications/{application}/transfer", "OneTimeSecrets": "/my/applications/{application}/one-time-secrets/{secret}",
	"Plan": "/entra/preview", "PlanAccess": "/products/{id}/properties", "PlanApplication": "/applications/-/new", "PlanProduct": "/products/-/new",
	"Preflight": "/entra/diagnosis", "Product": "/products/{id}", "Products": "/products", "PruneAudit": "/audit/prune", "PublishProduct": "/products/{id}/publish",
	"Readiness": "/products/{id}", "ReceiveSecret": "/my/applications/{application}/one-time-secrets/{secret}", "RegenerateKey": "/subscriptions/{subscription}/keys/{slot}/regenerate",
	"RegisterApplication": "/applications/-/new", "RejectRequest": "/requests/{request}", "RemoveCredential": "/applications/{application}/credentials/{credential}/remove",
	"RemoveOperation": "/apis/{api}/operations/{operation}/remove", "RemoveUnknown": "/entra/unknown/remove", "Request": "/requests/{request}",
	"RequestAccount": "/request-access", "RequestApplication": "/my/catalog/{id}/request", "RequestProducts": "/my/catalog/{id}/request",
	"RequestSubscription": "/my/catalog/{id}/subscribe", "Requests": "/requests", "RequirePermissions": "/apis/{api}/operations/{operation}",
	"ResumeApplication": "/applications/{application}/resume", "ResumeProduct": "/products/{id}/resume", "Review": "/products/{id}/review", "Revision": "/products/{id}/properties",
	"RevokeApplications": "/products/{id}/applications/-/many", "RevokeProducts": "/applications/{application}/products/{id}/revoke",
	"SetAccess": "/products/{id}/properties", "SetEnforcement": "/apis/{api}/operations", "SetOperations": "/apis/{api}/operations/-/new",
	"SetPermissions": "/products/{id}/permissions", "SetSubscriptionState": "/subscriptions/{subscription}/activate", "SpendForm": "/products/-/new",
	"Subscription": "/subscriptions/{subscription}", "Subscriptions": "/subscriptions", "SuspendApplication": "/applications/{application}/suspend",
	"SuspendProduct": "/products/{id}/suspend", "Sync": "/entra/apply", "TransferAll": "/users/{user}/transfer", "TransferApplication": "/applications/{application}/transfer",
	"TransferSubscription": "/subscriptions/{subscription}/transfer", "Transfers": "/my/transfers", "UnassignAPIs": "/products/{id}/apis/{api}/unassign",
	"UnblockUser": "/users/{user}/unblock", "UnpublishProduct": "/products/{id}/unpublish", "UpdateAPI": "/apis/{api}", "UpdateApplication": "/applications/{application}",
	"UpdateProduct": "/products/{id}/properties", "UpdateSubscription": "/subscriptions/{subscription}", "UpdateUser": "/users/{user}", "Usage": "/usage",
	"User": "/users/{user}", "UserByAccount": "/{$}", "Users": "/users", "WithdrawRequest": "/my/requests/{request}/withdraw",
}

// withoutPage are the methods that no manager needs a page for.
var withoutPage = map[string]string{
	"Run":           "the host calls it",
	"Drift":         "a part of Plan, whose page shows all of it; the command reports it for alarms",
	"PlanDocument":  "Diff and Plan together: the pages Configuration and Preview changes show them",
	"ApplyDocument": "Import and Sync together: the pages Configuration and Apply now do them",
}

// Nothing that Service offers a manager is without a page, and the portal calls
// the methods that have one.
func TestEveryMethodOfServiceHasAPage(t *testing.T) {
	t.Parallel()
	var routes []string
	for _, r := range portal.Routes() {
		routes = append(routes, r.Path)
	}
	var code strings.Builder
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.go") {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			code.Write(text)
		}
	}
	service := reflect.TypeFor[*appaccess.Service]()
	for i := range service.NumMethod() {
		name := service.Method(i).Name
		page, reason := pagesOfMethods[name], withoutPage[name]
		assert.True(t, (page == "") != (reason == ""), "Service.%s has either a page or a reason to have none", name)
		if page != "" {
			assert.Contains(t, routes, page, name)
			assert.Contains(t, code.String(), "service."+name+"(", name)
		}
	}
	assert.Equal(t, service.NumMethod(), len(pagesOfMethods)+len(withoutPage), "a method that is gone is still listed")
}

// What Entra holds and nobody desires is removed after a page that names it; what
// was not ticked stays.
func TestUnknownGrantsAreRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	product := w.orders()
	for _, name := range []string{"first", "second"} {
		outsider, err := w.tenant.AddCaller(name)
		require.NoError(t, err)
		require.NoError(t, w.tenant.Grant(outsider.AppID, product.Entra.AppID, product.Entra.Roles[0].Value))
	}
	w.clock.Advance(time.Hour)
	m := w.visit("manager")
	page := m.get("/entra/preview")
	has(t, page, "Unknown to the portal")
	ticks := regexp.MustCompile(`name="id" value="([^"]+)"`).FindAllStringSubmatch(page.Body, -1)
	require.Len(t, ticks, 2)
	remove := "/entra/unknown/remove?" + url.Values{"id": {ticks[0][1]}}.Encode()
	page = m.get(remove)
	has(t, page, "Remove 1 unknown object from Entra")
	has(t, page, "Orders")
	has(t, page, ticks[0][1])
	hasNot(t, page, ticks[1][1])
	assert.Equal(t, http.StatusSeeOther, m.post(remove).Status)
	w.clock.Advance(time.Hour)
	page = m.get("/entra/preview")
	hasNot(t, page, ticks[0][1])
	has(t, page, ticks[1][1])
	assert.Equal(t, http.StatusConflict, m.get(remove).Status, "it is gone")
	assert.Equal(t, http.StatusBadRequest, m.get("/entra/unknown/remove").Status)
	has(t, m.get("/audit"), "Unknown grant revoked in Entra")
}

// An application in Entra is taken over only after its author saw what that
// changes, and again after the form was changed.
func TestAdoptionIsShownFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old, err := w.tenant.AddApplication(entratest.App{Name: "Old API"})
	require.NoError(t, err)
	m, ctx := w.visit("manager"), t.Context()
	planned := func(path string, form ...string) string {
		t.Helper()
		page := m.post(path, form...)
		require.Equal(t, http.StatusOK, page.Status)
		has(t, page, "What this changes in Entra")
		has(t, page, "Adopt: ")
		return regexp.MustCompile(`name="planned" value="([^"]+)"`).FindStringSubmatch(page.Body)[1]
	}
	properties := []string{"name", "Starter", "access", "token", "access", "key", "adopt", old.AppID}
	token := planned("/products/starter/properties", properties...)
	before, err := w.service.Product(ctx, root, "starter")
	require.NoError(t, err)
	assert.False(t, before.Access.Token, "nothing is changed yet")
	renamed := planned("/products/starter/properties", append(slices.Clone(properties), "planned", token, "rename", "yes")...)
	assert.NotEqual(t, token, renamed, "a form that was changed is planned again")
	require.Equal(t, http.StatusSeeOther, m.post("/products/starter/properties", append(slices.Clone(properties), "planned", token)...).Status)
	after, err := w.service.Product(ctx, root, "starter")
	require.NoError(t, err)
	assert.Equal(t, "Old API", after.Entra.Name)

	another, err := w.tenant.AddApplication(entratest.App{Name: "Another API"})
	require.NoError(t, err)
	create := []string{"name", "Another", "access", "token", "apis", "echo-api", "published", "yes", "adopt", another.AppID}
	token = planned("/products/-/new", create...)
	require.Equal(t, http.StatusSeeOther, m.post("/products/-/new", append(create, "planned", token)...).Status)
	made, err := w.service.Product(ctx, root, "another")
	require.NoError(t, err)
	assert.Equal(t, another.AppID, made.Entra.AppID)

	client, err := w.tenant.AddApplication(entratest.App{Name: "Old client"})
	require.NoError(t, err)
	register := []string{"name", "Taken over", "ownerId", "ada", "grants", "another", "adopt", client.AppID}
	token = planned("/applications/-/new", register...)
	require.Equal(t, http.StatusSeeOther, m.post("/applications/-/new", append(register, "planned", token)...).Status)
	assert.Equal(t, client.AppID, w.only().Entra.AppID)
	refused := m.post("/products/-/new", "name", "Third", "access", "token", "adopt", "not an ID")
	assert.Equal(t, http.StatusBadRequest, refused.Status)
	has(t, refused, `id="e-adopt"`)
}

// Audit records are deleted after their export was confirmed. Records of the last 30
// days always stay.
func TestAuditIsPrunedAfterAnExport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clock.Advance(400 * 24 * time.Hour)
	w.orders()
	m := w.visit("manager")
	day := w.clock.Now().Add(-60 * 24 * time.Hour).Format(time.DateOnly)
	page := m.get("/audit/prune?before=" + day)
	has(t, page, "audit records are older than this day")
	file := regexp.MustCompile(`href="` + prefix + `(/audit/export\?to=[^"]+)"`).FindStringSubmatch(page.Body)
	require.NotNil(t, file)
	assert.Contains(t, m.get(file[1]).Body, `"user.create"`)
	assert.NotContains(t, m.get(file[1]).Body, `"orders"`)
	refused := m.post("/audit/prune", "before", day)
	assert.Equal(t, http.StatusBadRequest, refused.Status)
	has(t, refused, `id="e-exported"`)
	recent := m.post("/audit/prune", "before", w.clock.Now().Format(time.DateOnly), "exported", "yes")
	assert.Equal(t, http.StatusBadRequest, recent.Status)
	has(t, recent, `id="e-before"`)
	require.Equal(t, http.StatusSeeOther, m.post("/audit/prune", "before", day, "exported", "yes").Status)
	left := m.get("/audit/export").Body
	assert.NotContains(t, left, `"user.create"`)
	assert.Contains(t, left, `"product.create"`)
	assert.Contains(t, left, `"audit.prune"`)
}

// A user who owns something is offered a transfer in place of an error, and the
// deletion follows it.
func TestDeletingAUserOffersATransfer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	w.application("shop", "ada")
	m := w.visit("manager")
	page := m.get("/users/ada/delete")
	has(t, page, "/users/ada/transfer?then=delete")
	assert.Equal(t, http.StatusConflict, m.post("/users/ada/delete").Status)
	given := m.post("/users/ada/transfer?then=delete", "to", "blaise")
	require.Equal(t, prefix+"/users/ada/delete", given.location())
	hasNot(t, m.get("/users/ada/delete"), "then=delete")
	require.Equal(t, http.StatusSeeOther, m.post("/users/ada/delete").Status)
	assert.Equal(t, "blaise", w.only().OwnerID)
}

// A product is taken from several applications at once.
func TestGrantsAreRevokedTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	for _, id := range []string{"first", "second", "third"} {
		w.application(id, "ada")
	}
	m := w.visit("manager")
	has(t, m.get("/products/orders/applications"), "Remove from the product")
	path := "/products/orders/applications/-/many?action=revoke&id=first&id=third"
	has(t, m.get(path), "Revoke Orders from 2 applications")
	require.Equal(t, http.StatusSeeOther, m.post(path).Status)
	page := m.get("/products/orders/applications")
	hasNot(t, page, "/applications/first/revoke")
	has(t, page, "/applications/second/revoke")
	hasNot(t, page, "/applications/third/revoke")
}

// A manager lists an operation by hand, says what it needs, gives it the needs of
// the document again, and removes it; a form that is out of date changes nothing.
func TestOperationsAreManaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	m, ctx := w.visit("manager"), t.Context()
	operation := func(id string) *appaccess.Operation {
		t.Helper()
		api, err := w.service.API(ctx, root, "orders-api")
		require.NoError(t, err)
		for i := range api.Operations {
			if api.Operations[i].ID == id {
				return &api.Operations[i]
			}
		}
		return nil
	}
	base := "/apis/orders-api/operations"
	has(t, m.get(base), "GET /{id}")
	refused := m.post(base+"/-/new", "method", "GET", "path", "metrics")
	assert.Equal(t, http.StatusBadRequest, refused.Status)
	require.Equal(t, http.StatusSeeOther, m.post(base+"/-/new", "method", "get", "path", "/metrics/all", "summary", "Numbers", "anyOf", "Read Audit\r\n\r\nAdmin").Status)
	require.Equal(t, http.StatusSeeOther, m.post(base+"/-/new", "method", "GET", "path", "/health/all").Status)
	page := m.get(base)
	has(t, page, "Admin, or Audit and Read, or All")
	made := regexp.MustCompile(`href="` + prefix + base + `/([^"/]+)"><code>GET /metrics/all`).FindStringSubmatch(page.Body)
	require.NotNil(t, made)
	assert.Equal(t, [][]string{{"Admin"}, {"Audit", "Read"}}, operation(made[1]).AnyOf)

	// The permissions of an operation of the document are set, and given back.
	assert.Equal(t, [][]string{{"Read"}}, operation("getorder").AnyOf)
	open := m.get(base + "/getorder")
	require.Equal(t, http.StatusSeeOther, m.post(base+"/getorder", "anyOf", "Write").Status)
	assert.Equal(t, [][]string{{"Write"}}, operation("getorder").AnyOf)
	stale := m.send(base+"/getorder", "anyOf", "Admin", "base", basePattern.FindStringSubmatch(open.Body)[1])
	assert.Equal(t, http.StatusConflict, stale.Status)
	has(t, stale, "<td dir=\"auto\">Write</td><td dir=\"auto\">Admin</td>")
	assert.Equal(t, [][]string{{"Write"}}, operation("getorder").AnyOf)
	require.Equal(t, http.StatusSeeOther, m.post(base+"/getorder", "anyOf", "Write", "do", "declared").Status)
	assert.Equal(t, [][]string{{"Read"}}, operation("getorder").AnyOf)

	// So are enforcement and import.
	open = m.get(base)
	_, err := w.service.SetEnforcement(ctx, root, "orders-api", appaccess.EnforceOperations, 0)
	require.NoError(t, err)
	stale = m.send(base, "do", "enforce", "enforcement", "report", "base", basePattern.FindStringSubmatch(open.Body)[1])
	assert.Equal(t, http.StatusConflict, stale.Status)
	require.Equal(t, http.StatusSeeOther, m.post(base+"/"+made[1]+"/remove").Status)
	assert.Nil(t, operation(made[1]))
	stale = m.send(base, "do", "import", "document", ordersDocument, "base", basePattern.FindStringSubmatch(open.Body)[1])
	assert.Equal(t, http.StatusConflict, stale.Status)
	assert.Equal(t, http.StatusConflict, m.post(base+"/getorder/remove").Status, "it is in the document")

	// What a document says and has no effect is part of the preview.
	noted := m.post(base, "do", "preview", "document", strings.Replace(ordersDocument, `"paths":{`, `"webhooks":{"ping":{}},"paths":{`, 1))
	require.Equal(t, http.StatusOK, noted.Status)
	has(t, noted, "webhooks are requests that the API sends")
}

// A store that replaces a lost one finds objects in Entra that it cannot prove to
// have made: the preview says which installation made them and how they are taken
// over. The diagnosis names the installation.
func TestALostStoreIsHintedAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	product := w.orders()
	id := regexp.MustCompile(`id="installation-id">([^<]+)<`).FindStringSubmatch(w.visit("manager").get("/entra/diagnosis").Body)
	require.NotNil(t, id)
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "new.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	w.store = store
	w.manage()
	w.serve()
	_, err = w.service.CreateProduct(t.Context(), root, appaccess.ProductRequest{ID: product.ID, Name: product.Name, Access: appaccess.Access{Token: true}})
	require.Error(t, err, "it exists in Entra")
	page := w.visit("manager").get("/entra/preview")
	has(t, page, "Was the store of this installation lost or replaced?")
	has(t, page, "Installation "+id[1])
}
