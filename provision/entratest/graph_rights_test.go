package entratest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// TestWhoMayDoWhat sends every kind of request as callers with different
// rights, on objects that none of them owns.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	const (
		reads   = 1 << iota // of applications and service principals
		creates             // of own
		writes              // of all
		assigns
		relations // reads of assignments
		deleted   // reads of deleted objects
	)
	for _, tc := range []struct {
		right  string
		strict bool
		may    int
	}{
		{"", false, 0},
		{entratest.ApplicationAdministrator, false, reads | creates | writes | assigns | relations | deleted},
		{entratest.CloudApplicationAdministrator, false, reads | creates | writes | assigns | relations | deleted},
		{entratest.ReadWriteAll, false, reads | creates | writes | assigns | relations | deleted},
		{entratest.ReadWriteOwned, false, reads | creates | relations},
		{entratest.ReadWriteOwned, true, creates | relations},
		{entratest.AssignAll, false, 0},
		{entratest.ReadApplications, false, reads | relations | deleted},
		{entratest.ReadDirectory, false, reads | relations | deleted},
		{entratest.DirectoryReaders, false, reads | relations | deleted},
	} {
		t.Run(fmt.Sprint(tc.right, tc.strict), func(t *testing.T) {
			t.Parallel()
			rights := []string{}
			if tc.right != "" {
				rights = append(rights, tc.right)
			}
			r := newRaw(t, entratest.Config{Policy: entratest.Policy{StrictOwnedBy: tc.strict}}, rights...)
			foreign, err := r.AddApplication(entratest.App{Name: "foreign", UniqueName: "foreign", Roles: []string{"Read"}})
			require.NoError(t, err)
			app, sp := "/applications/"+foreign.ApplicationID, "/servicePrincipals/"+foreign.ObjectID
			federated := object{"name": "abc", "issuer": "https://i.example", "subject": "s", "audiences": []string{"a"}}
			for _, q := range []struct {
				needs        int
				method, path string
				body         any
			}{
				{reads, "GET", app, nil},
				{reads, "GET", "/applications(uniqueName='foreign')", nil},
				{reads, "GET", "/applications", nil},
				{reads, "GET", app + "/owners", nil},
				{reads, "GET", app + "/federatedIdentityCredentials", nil},
				{reads, "GET", sp, nil},
				{reads, "GET", "/servicePrincipals", nil},
				{reads, "GET", sp + "/memberOf", nil},
				{deleted, "GET", "/directory/deletedItems/microsoft.graph.application", nil},
				{deleted, "GET", "/directory/deletedItems/microsoft.graph.servicePrincipal", nil},
				{relations, "GET", sp + "/appRoleAssignedTo", nil},
				{relations, "GET", sp + "/appRoleAssignments", nil},
				{creates, "POST", "/applications", object{"displayName": "x"}},
				{writes, "PATCH", app, object{"displayName": "x"}},
				{writes, "POST", app + "/addPassword", object{}},
				{writes, "POST", app + "/federatedIdentityCredentials", federated},
				{writes, "POST", app + "/owners/$ref", object{"@odata.id": "/" + foreign.ObjectID}},
				{writes, "PATCH", sp, object{"accountEnabled": true}},
				{assigns, "POST", sp + "/appRoleAssignedTo", object{
					"principalId": foreign.ObjectID, "resourceId": foreign.ObjectID, "appRoleId": foreign.Roles["Read"]}},
				{writes, "DELETE", sp, nil},
				{writes, "DELETE", app, nil},
			} {
				status, out := r.send(q.method, q.path, q.body)
				if q.needs&tc.may != 0 {
					assert.Less(t, status, 300, "%s %s: %v", q.method, q.path, out)
					continue
				}
				if assert.Equal(t, http.StatusForbidden, status, "%s %s", q.method, q.path) {
					assert.Equal(t, object{"code": "Authorization_RequestDenied", "message": "Insufficient privileges to complete the operation."},
						object{"code": out["error"].(object)["code"], "message": out["error"].(object)["message"]})
				}
			}
		})
	}
}

func TestSetRights(t *testing.T) {
	t.Parallel()
	tenant := newTenant(t, entratest.Config{})
	c, err := tenant.AddCaller("c", entratest.ApplicationAdministrator, entratest.AssignAll)
	require.NoError(t, err)
	require.NoError(t, tenant.SetRights(c, entratest.ReadWriteOwned))
	id, err := tenant.Directory(c).Identity(t.Context())
	require.NoError(t, err)
	assert.Empty(t, id.Roles)
	assert.Equal(t, []string{entratest.ReadWriteOwned}, id.GraphRoles)
	require.Error(t, tenant.SetRights(c, "nonsense"))
}

func TestWhoIsWho(t *testing.T) {
	t.Parallel()
	r := newRaw(t, entratest.Config{})
	org := r.must(200, "GET", "/organization", nil)["value"].([]any)[0].(object)
	assert.Equal(t, []any{r.ID(), "Contoso"}, []any{org["id"], org["displayName"]})
	me := r.must(200, "GET", "/servicePrincipals?"+url.Values{"$filter": {"displayName eq 'admin'"}}.Encode(), nil)["value"].([]any)[0].(object)
	roles := r.must(200, "GET", "/servicePrincipals/"+me["id"].(string)+"/transitiveMemberOf", nil)["value"].([]any)
	require.Len(t, roles, 1)
	assert.Equal(t, "#microsoft.graph.directoryRole", roles[0].(object)["@odata.type"])
	assert.Equal(t, "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3", roles[0].(object)["roleTemplateId"])
}

// AppRoleAssignment.ReadWrite.All grants together with Application.Read.All only,
// and revokes alone. Application.ReadWrite.All grants roles of every resource but Graph.
func TestGranting(t *testing.T) {
	t.Parallel()
	tenant := newTenant(t, entratest.Config{})
	product, err := tenant.AddApplication(entratest.App{Name: "product", Roles: []string{"Buy"}})
	require.NoError(t, err)
	for rights, may := range map[[2]string]bool{
		{entratest.AssignAll, ""}:                         false,
		{entratest.AssignAll, entratest.ReadWriteOwned}:   false,
		{entratest.AssignAll, entratest.ReadApplications}: true,
		{entratest.ReadWriteAll, ""}:                      true,
		{entratest.ReadWriteOwned, ""}:                    false,
	} {
		client, err := tenant.AddCaller("client")
		require.NoError(t, err)
		d := directory(t, tenant, slices.DeleteFunc(rights[:], func(r string) bool { return r == "" })...)
		_, err = d.Assign(t.Context(), provision.Assignment{PrincipalID: client.ObjectID, ResourceID: product.ObjectID, RoleID: product.Roles["Buy"]})
		assert.Equal(t, may, err == nil, "%v: %v", rights, err)
	}
	all, errs := directory(t, tenant, entratest.ReadApplications).AssignedTo(t.Context(), []string{product.ObjectID})
	require.NoError(t, errs[0])
	require.NotEmpty(t, all[0])
	require.NoError(t, directory(t, tenant, entratest.AssignAll).Unassign(t.Context(), product.ObjectID, all[0][0].ID))
}

// A caller without an administrator's rights creates 250 objects and no more.
// Deleting them does not help.
func TestQuota(t *testing.T) {
	t.Parallel()
	tenant := newTenant(t, entratest.Config{Policy: entratest.Policy{Quota: 3}})
	d := directory(t, tenant, entratest.ReadWriteOwned)
	for i := range 3 {
		_, err := create(t.Context(), d, fmt.Sprint("app", i), productPatch())
		require.NoError(t, err)
	}
	_, err := create(t.Context(), d, "more", productPatch())
	require.ErrorContains(t, err, "Directory_QuotaExceeded")
	apps, errs := d.Applications(t.Context(), []provision.AppRef{byName("app0")})
	require.NoError(t, errs[0])
	require.NoError(t, d.DeleteApplication(t.Context(), apps[0].ObjectID))
	_, err = create(t.Context(), d, "more", productPatch())
	require.ErrorContains(t, err, "Directory_QuotaExceeded")
	_, err = create(t.Context(), directory(t, tenant, entratest.ApplicationAdministrator), "more", productPatch())
	require.NoError(t, err)
}

// A deleted object counts in full for 30 days and a quarter for 30 more.
func TestQuotaOfDeletedObjects(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tenant := newTenant(t, entratest.Config{Policy: entratest.Policy{Quota: 4}, Now: func() time.Time { return now }})
	d := directory(t, tenant, entratest.ReadWriteOwned)
	room := func() (n int) {
		for ; ; n++ {
			app, err := d.CreateApplication(t.Context(), provision.ApplicationPatch{DisplayName: new("app")})
			if err != nil {
				require.ErrorContains(t, err, "Directory_QuotaExceeded")
				return n
			}
			require.NoError(t, d.DeleteApplication(t.Context(), app.ObjectID))
		}
	}
	assert.Equal(t, 4, room())
	now = now.Add(29 * 24 * time.Hour)
	assert.Zero(t, room())
	now = now.Add(2 * 24 * time.Hour)
	assert.Equal(t, 3, room(), "four deleted ones count as one")
	now = now.Add(60 * 24 * time.Hour)
	assert.Equal(t, 4, room())
}

// Directory roles are in the access token: one that is assigned later counts from
// the next token. A disabled identity is refused at once.
func TestRightsOfTheToken(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	tenant := newTenant(t, entratest.Config{Now: c.Now})
	admin, err := tenant.AddCaller("admin")
	require.NoError(t, err)
	d := tenant.Directory(admin)
	_, err = create(t.Context(), d, "one", productPatch())
	require.ErrorContains(t, err, "403")
	require.NoError(t, tenant.SetRights(admin, entratest.ApplicationAdministrator))
	_, err = create(t.Context(), d, "one", productPatch())
	require.ErrorContains(t, err, "403", "the token is older than the role")
	c.Advance(time.Hour)
	_, err = create(t.Context(), d, "one", productPatch())
	require.NoError(t, err)

	require.NoError(t, tenant.SetRights(admin))
	tenant.RevokeTokens(admin)
	_, err = create(t.Context(), d, "one", productPatch())
	require.ErrorContains(t, err, "403", "a refused token is renewed, once")
	_, _, err = directory(t, tenant, entratest.ApplicationAdministrator).UpsertServicePrincipal(t.Context(), admin.AppID, provision.ServicePrincipalPatch{AccountEnabled: ref(false)})
	require.NoError(t, err)
	_, errs := d.Applications(t.Context(), []provision.AppRef{byName("one")})
	require.Error(t, errs[0])
}

// TestProperties: a refused change changes nothing, and an accepted one stays.
func TestProperties(t *testing.T) {
	t.Parallel()
	r := newRaw(t, entratest.Config{})
	a := r.app(object{"notes": "n", "web": object{"redirectUris": []string{"https://a.example/"}}, "signInAudience": "AzureADMultipleOrgs"})
	r.must(204, "PATCH", path(a), object{"web": object{"homePageUrl": "https://a.example/"}, "api": object{"requestedAccessTokenVersion": 2}})
	before := r.must(200, "GET", path(a), nil)
	assert.Equal(t, []any{"https://a.example/"}, before["web"].(object)["redirectUris"], "members of a complex property stay")
	access := object{"resourceAppId": uuid.NewString(), "resourceAccess": []object{{"id": uuid.NewString(), "type": "Role"}}}
	for name, bad := range map[string]object{
		"audience":         {"displayName": "y", "signInAudience": "Everyone"},
		"description":      {"displayName": "y", "description": 1},
		"token version":    {"displayName": "y", "api": object{"requestedAccessTokenVersion": 3}},
		"unknown member":   {"displayName": "y", "api": object{"what": 3}},
		"tags":             {"displayName": "y", "tags": "t"},
		"access twice":     {"displayName": "y", "requiredResourceAccess": []object{access, access}},
		"access type":      {"displayName": "y", "requiredResourceAccess": []object{with(access, "resourceAccess", []object{{"id": uuid.NewString(), "type": "X"}})}},
		"key":              {"displayName": "y", "keyCredentials": []object{{"type": "AsymmetricX509Cert", "usage": "Verify", "key": "AAAA"}}},
		"key without key":  {"displayName": "y", "keyCredentials": []object{{"type": "AsymmetricX509Cert", "usage": "Verify"}}},
		"read-only":        {"displayName": "y", "createdDateTime": "2026-01-01T00:00:00Z"},
		"name of nothing":  {"displayName": nil},
		"uri with a slash": {"displayName": "y", "identifierUris": []string{"api://" + a["appId"].(string) + "/"}},
		"uri twice":        {"displayName": "y", "identifierUris": []string{"api://" + a["appId"].(string), "api://" + a["appId"].(string)}},
	} {
		status, _ := r.send("PATCH", path(a), bad)
		assert.Equal(t, 400, status, name)
	}
	assert.Equal(t, before, r.must(200, "GET", path(a), nil), "nothing half done")
	sp := "/servicePrincipals/" + r.principal(a)["id"].(string)
	r.must(204, "PATCH", sp, object{"notes": "n", "description": "d", "tags": []string{"t"}, "appId": a["appId"], "accountEnabled": false})
	for name, bad := range map[string]object{
		"null": {"accountEnabled": nil}, "type": {"accountEnabled": "yes"}, "tags": {"tags": []string{"a b"}}, "appId": {"appId": uuid.NewString()},
	} {
		status, _ := r.send("PATCH", sp, bad)
		assert.Equal(t, 400, status, name)
	}
	got := r.must(200, "GET", sp, nil)
	assert.Equal(t, []any{"n", "d", []any{"t"}, false}, []any{got["notes"], got["description"], got["tags"], got["accountEnabled"]})
	r.refused(501, "NotImplemented", "PATCH", sp, object{"homepage": "x"})
	r.refused(400, badRequest, "PATCH", sp, object{"homePag": "x"})
}
