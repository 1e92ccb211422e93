package entratest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
	)
	for _, tc := range []struct {
		right  string
		strict bool
		may    int
	}{
		{"", false, 0},
		{entratest.ApplicationAdministrator, false, reads | creates | writes | assigns | relations},
		{entratest.CloudApplicationAdministrator, false, reads | creates | writes | assigns | relations},
		{entratest.ReadWriteAll, false, reads | creates | writes | relations},
		{entratest.ReadWriteOwned, false, reads | creates | relations},
		{entratest.ReadWriteOwned, true, creates | relations},
		{entratest.AssignAll, false, assigns | relations},
		{entratest.ReadApplications, false, reads | relations},
		{entratest.ReadDirectory, false, reads | relations},
		{entratest.DirectoryReaders, false, reads | relations},
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
				{reads, "GET", "/directory/deletedItems/microsoft.graph.application", nil},
				{reads, "GET", "/directory/deletedItems/microsoft.graph.servicePrincipal", nil},
				{reads, "GET", "/roleManagement/directory/roleAssignments", nil},
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
	held := r.must(200, "GET", "/roleManagement/directory/roleAssignments?"+
		url.Values{"$filter": {"principalId eq '" + me["id"].(string) + "'"}}.Encode(), nil)["value"].([]any)
	require.Len(t, held, 1)
	assert.Equal(t, "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3", held[0].(object)["roleDefinitionId"])
}

// TestProperties: what is refused changes nothing, and what is set stays.
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
}
