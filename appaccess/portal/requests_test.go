package portal_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// Somebody who signs in for the first time asks for access; a manager sees who
// and why, and lets them in; they are in.
func TestTheFirstSignInAsksForAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	n, m := w.visit("nobody"), w.visit("manager")
	page := n.get("/")
	assert.Equal(t, http.StatusForbidden, page.Status)
	has(t, page, prefix+"/request-access")
	has(t, n.get("/request-access"), `value="ada@contoso.example"`)
	refused := n.post("/request-access", "name", "Nora", "email", "nora@contoso.example", "reason", "")
	assert.Equal(t, http.StatusBadRequest, refused.Status)
	require.Equal(t, http.StatusSeeOther, n.post("/request-access", "name", "Nora", "email", "nora@contoso.example", "reason", "I build the web shop.").Status)
	has(t, n.get("/request-access"), "Your request waits for an API manager.")

	has(t, m.get("/"), "1 request waits for you")
	inbox := m.get("/requests")
	for _, text := range []string{"An account", "Nora", "nora@contoso.example", "I build the web shop.", "1</data> in all"} {
		has(t, inbox, text)
	}
	asked, err := w.service.Requests(t.Context(), root, appaccess.RequestFilter{})
	require.NoError(t, err)
	at := "/requests/" + asked.Items[0].ID
	has(t, m.get(at), "not verified")
	noAnswer := m.post(at, "decision", "reject", "answer", "")
	assert.Equal(t, http.StatusBadRequest, noAnswer.Status)
	require.Equal(t, http.StatusSeeOther, m.post(at, "decision", "reject", "answer", "Ask your team lead first.").Status)
	has(t, n.get("/request-access"), "Ask your team lead first.")

	require.Equal(t, http.StatusSeeOther, n.post("/request-access", "name", "Nora", "reason", "My team lead agrees.").Status)
	asked, err = w.service.Requests(t.Context(), root, appaccess.RequestFilter{Filter: appaccess.Filter{State: string(appaccess.RequestOpen)}})
	require.NoError(t, err)
	require.Len(t, asked.Items, 1)
	require.Equal(t, http.StatusSeeOther, m.post("/requests/"+asked.Items[0].ID, "decision", "approve", "answer", "Welcome.").Status)
	assert.Equal(t, prefix+"/my/applications", n.get("/").location())
	assert.Equal(t, http.StatusSeeOther, n.get("/request-access").Status)
}

// A developer asks for products, permissions and subscriptions from the catalog;
// a manager approves many at once, or less of one; the developer sees the answer.
func TestDevelopersAskAndManagersDecide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	_, err := w.service.SetPermissions(t.Context(), root, "orders", appaccess.PermissionsRequest{Permissions: []appaccess.Permission{{Name: "Read"}, {Name: "Write"}}})
	require.NoError(t, err)
	a, m := w.visit("ada"), w.visit("manager")
	has(t, a.get("/my/catalog"), prefix+"/my/catalog/orders/request")
	ask := "/my/catalog/orders/request"
	has(t, a.get(ask), `value="Write"`)
	assert.Equal(t, http.StatusBadRequest, a.post(ask, "name", "Shop", "reason", "Sells.").Status, "no permission chosen")
	require.Equal(t, http.StatusSeeOther, a.post(ask, "name", "Shop", "permissions", "Read", "permissions", "Write", "reason", "Sells things.").Status)
	require.Equal(t, http.StatusSeeOther, a.post(ask, "name", "Robot", "permissions", "All", "reason", "Packs things.").Status)
	require.Equal(t, http.StatusSeeOther, a.post("/my/catalog/orders/subscribe", "name", "Feed", "reason", "Reads at night.").Status)
	mine := a.get("/my/requests")
	has(t, mine, "Sells things.")
	has(t, mine, "Open")

	asked, err := w.service.Requests(t.Context(), root, appaccess.RequestFilter{Filter: appaccess.Filter{Order: appaccess.ByCreated}})
	require.NoError(t, err)
	require.Len(t, asked.Items, 3)
	var shop string
	query := url.Values{"action": {"approve"}}
	for _, r := range asked.Items {
		if r.Name == "Shop" {
			shop = r.ID
			continue
		}
		query.Add("id", r.ID)
	}
	// Less than what was asked for.
	has(t, m.get("/requests/"+shop), "Sells things.")
	require.Equal(t, http.StatusSeeOther, m.post("/requests/"+shop, "decision", "approve", "grants", "orders Read", "answer", "Reading is enough.").Status)
	page := m.get("/requests/-/many?" + query.Encode())
	has(t, page, "Approve 2 requests")
	has(t, page, "Reads at night.")
	require.Equal(t, http.StatusSeeOther, m.post("/requests/-/many?"+query.Encode(), "answer", "Fine.").Status)
	has(t, m.get("/requests"), "No request waits")
	has(t, m.get("/requests?state="), "3</data> in all")

	mine = a.get("/my/requests")
	has(t, mine, "Reading is enough.")
	has(t, mine, "Fine.")
	apps, err := w.service.Applications(t.Context(), root, appaccess.Filter{OwnerID: "ada", Order: appaccess.ByName})
	require.NoError(t, err)
	require.Len(t, apps.Items, 2)
	assert.Equal(t, appaccess.Grants{{Product: "orders", Permissions: []string{"Read"}}}, apps.Items[1].Grants)

	// One that is open can be withdrawn, by who asked.
	require.Equal(t, http.StatusSeeOther, a.post(ask, "application", apps.Items[1].ID, "permissions", "Write", "reason", "Writes, too.").Status)
	asked, err = w.service.Requests(t.Context(), root, appaccess.RequestFilter{Filter: appaccess.Filter{State: string(appaccess.RequestOpen)}})
	require.NoError(t, err)
	require.Len(t, asked.Items, 1)
	assert.Equal(t, http.StatusNotFound, w.visit("blaise").post("/my/requests/"+asked.Items[0].ID+"/withdraw").Status)
	require.Equal(t, http.StatusSeeOther, a.post("/my/requests/"+asked.Items[0].ID+"/withdraw").Status)
	has(t, a.get("/my/requests"), "Withdrawn")
}

// A developer requests access for a managed identity. The manager sees which one it is
// before the decision.
func TestADeveloperRequestsAManagedIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	vm, err := w.tenant.AddManagedIdentity("vm")
	require.NoError(t, err)
	a, m := w.visit("ada"), w.visit("manager")
	ask := []string{"name", "Nightly report", "permissions", "All", "servicePrincipal"}
	has(t, a.post("/my/catalog/orders/request", append(ask, "vm")...), `<li><a href="#f-servicePrincipal">`)
	sent := a.post("/my/catalog/orders/request", append(ask, vm.ObjectID)...)
	require.Equal(t, http.StatusSeeOther, sent.Status, sent.Body)
	open, err := w.service.Requests(t.Context(), root, appaccess.RequestFilter{})
	require.NoError(t, err)
	require.Len(t, open.Items, 1)
	path := "/requests/" + open.Items[0].ID
	has(t, m.get(path), vm.ObjectID)
	m.post(path, "grants", "orders All", "decision", "approve")
	apps, err := w.service.Applications(t.Context(), root, appaccess.Filter{})
	require.NoError(t, err)
	require.Len(t, apps.Items, 1)
	assert.Equal(t, appaccess.ManagedIdentityClient, apps.Items[0].ClientKind())
	assert.Equal(t, vm.AppID, apps.Items[0].Entra.AppID)
}
