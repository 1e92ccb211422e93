package entratest_test

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision/entratest"
)

func TestServicePrincipals(t *testing.T) {
	t.Parallel()
	r := newRaw(t, entratest.Config{})
	a := r.app(object{"appRoles": []object{role("Read")}})
	sp := r.principal(a)
	assert.Equal(t, false, sp["appRoleAssignmentRequired"])
	assert.Len(t, sp["appRoles"], 1)
	r.refused(409, "Request_MultipleObjectsWithSameKeyValue", "POST", "/servicePrincipals", object{"appId": a["appId"]})
	r.refused(400, "NoBackingApplicationObject", "POST", "/servicePrincipals", object{"appId": uuid.NewString()})
	byApp := fmt.Sprintf("/servicePrincipals(appId='%s')", a["appId"])
	r.must(204, "PATCH", byApp, object{"appRoleAssignmentRequired": true}, "Prefer", "create-if-missing")
	assert.Equal(t, true, r.must(200, "GET", byApp, nil)["appRoleAssignmentRequired"])
	r.must(204, "DELETE", byApp, nil)
	r.refused(404, "Request_ResourceNotFound", "PATCH", byApp, object{})
	again := r.must(201, "PATCH", byApp, object{"tags": []string{"t"}}, "Prefer", "create-if-missing")
	assert.NotEqual(t, sp["id"], again["id"])
	r.refused(409, "Request_MultipleObjectsWithSameKeyValue", "POST", "/directory/deletedItems/"+sp["id"].(string)+"/restore", nil)
}

func TestAssignments(t *testing.T) {
	t.Parallel()
	r := newRaw(t, entratest.Config{})
	product := r.principal(r.app(object{"appRoles": []object{role("Read"), with(role("Off"), "isEnabled", false)}}))
	client := r.principal(r.app(object{}))
	given, held := "/servicePrincipals/"+product["id"].(string)+"/appRoleAssignedTo", "/servicePrincipals/"+client["id"].(string)+"/appRoleAssignments"
	grant := object{"principalId": client["id"], "resourceId": product["id"], "appRoleId": role("Read")["id"]}
	for name, tc := range map[string]struct {
		change object
		want   string
	}{
		"principal": {with(grant, "principalId", uuid.NewString()), "Not a valid reference update"},
		"role":      {with(grant, "appRoleId", uuid.NewString()), "Permission being assigned was not found on application"},
		"disabled":  {with(grant, "appRoleId", role("Off")["id"]), "Permission being assigned was not found on application"},
		"no role":   {with(grant, "appRoleId", uuid.Nil.String()), "Permission being assigned was not found on application"},
		"resource":  {with(grant, "resourceId", client["id"]), "does not match"},
	} {
		assert.Contains(t, r.refused(400, badRequest, "POST", given, tc.change), tc.want, name)
	}
	assert.Contains(t, r.refused(400, badRequest, "POST", held, with(grant, "resourceId", uuid.NewString())), "Specified resourceId was not found")
	g := r.must(201, "POST", given, grant)
	assert.Contains(t, r.refused(400, badRequest, "POST", held, grant), "Permission being assigned already exists on the object")
	for _, list := range []string{given, held} {
		value := r.must(200, "GET", list, nil)["value"].([]any)
		require.Len(t, value, 1)
		assert.Equal(t, g["id"], value[0].(object)["id"])
	}
	r.must(204, "DELETE", given+"/"+g["id"].(string), nil)
	assert.Equal(t, "EntitlementGrant being updated or deleted is not found.", r.refused(400, badRequest, "DELETE", given+"/"+g["id"].(string), nil))
	assert.Empty(t, r.must(200, "GET", held, nil)["value"])

	graph := r.must(200, "GET", "/servicePrincipals(appId='"+entratest.GraphAppID+"')", nil)
	r.refused(403, "Authorization_RequestDenied", "POST", "/servicePrincipals/"+graph["id"].(string)+"/appRoleAssignedTo",
		object{"principalId": client["id"], "resourceId": graph["id"], "appRoleId": graph["appRoles"].([]any)[0].(object)["id"]})
}

func TestDelete(t *testing.T) {
	t.Parallel()
	for _, keeps := range []bool{false, true} {
		c := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		r := newRaw(t, entratest.Config{Now: c.Now, Policy: entratest.Policy{RestoreGrants: keeps}})
		product := r.principal(r.app(object{"appRoles": []object{role("Read")}}))
		a := r.app(object{"uniqueName": "one"})
		client := r.principal(a)
		r.must(201, "POST", "/servicePrincipals/"+product["id"].(string)+"/appRoleAssignedTo",
			object{"principalId": client["id"], "resourceId": product["id"], "appRoleId": role("Read")["id"]})
		r.must(204, "DELETE", path(a), nil)
		r.refused(404, "Request_ResourceNotFound", "GET", path(a), nil)
		r.refused(404, "Request_ResourceNotFound", "GET", "/servicePrincipals/"+client["id"].(string), nil)
		assert.Equal(t, []string{"one"}, r.State().Deleted)
		bin := "/directory/deletedItems/"
		assert.Equal(t, "#microsoft.graph.application", r.must(200, "GET", bin+a["id"].(string), nil)["@odata.type"])
		assert.Len(t, r.must(200, "GET", bin+"microsoft.graph.application?$filter=uniqueName%20eq%20'one'", nil)["value"], 1)
		r.refused(400, "NoBackingApplicationObject", "POST", bin+client["id"].(string)+"/restore", nil)
		r.must(200, "POST", bin+a["id"].(string)+"/restore", nil)
		r.refused(404, "Request_ResourceNotFound", "GET", "/servicePrincipals/"+client["id"].(string), nil)
		r.must(200, "POST", bin+client["id"].(string)+"/restore", nil)
		held := r.must(200, "GET", "/servicePrincipals/"+client["id"].(string)+"/appRoleAssignments", nil)["value"].([]any)
		assert.Equal(t, keeps, len(held) == 1)

		r.must(204, "DELETE", path(a), nil)
	}
}

func TestDeletedItemsEndAfterThirtyDays(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	tenant := newTenant(t, entratest.Config{Now: c.Now})
	d := directory(t, tenant, entratest.ApplicationAdministrator)
	a, err := create(t.Context(), d, "one", productPatch())
	require.NoError(t, err)
	require.NoError(t, d.DeleteApplication(t.Context(), a.ObjectID))
	c.Advance(29 * 24 * time.Hour)
	_, err = create(t.Context(), d, "one", productPatch())
	require.ErrorContains(t, err, "already exists")
	c.Advance(2 * 24 * time.Hour)
	b, err := create(t.Context(), d, "one", productPatch())
	require.NoError(t, err)
	assert.NotEqual(t, a.ObjectID, b.ObjectID)
}

func TestOwners(t *testing.T) {
	t.Parallel()
	r := newRaw(t, entratest.Config{}, entratest.ReadWriteOwned, entratest.ReadDirectory)
	a := r.app(object{})
	owners := r.must(200, "GET", path(a)+"/owners", nil)["value"].([]any)
	require.Len(t, owners, 1, "who may write only what it owns owns what it makes")
	me := owners[0].(object)
	assert.Equal(t, "admin", me["displayName"])
	other := r.principal(r.app(object{}))
	link := object{"@odata.id": r.BaseURL() + "/v1.0/directoryObjects/" + other["id"].(string)}
	r.must(204, "POST", path(a)+"/owners/$ref", link)
	r.refused(400, badRequest, "POST", path(a)+"/owners/$ref", link)
	r.must(204, "DELETE", path(a)+"/owners/"+me["id"].(string)+"/$ref", nil)
	r.refused(403, "Authorization_RequestDenied", "PATCH", path(a), object{"displayName": "x"})
}

// TestLagOfRelations meets every error that lag has for what depends on an
// object that a replica does not know.
func TestLagOfRelations(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	seen := map[string]bool{}
	for seed := range uint64(6) {
		r := newRaw(t, entratest.Config{Seed: seed, Now: c.Now})
		note := func(status int, out object) {
			if status >= 400 {
				seen[fmt.Sprintf("%d %.18s", status, out["error"].(object)["message"])] = true
			}
		}
		retry := func(method, path string, body any, header ...string) object {
			for range 200 {
				status, out := r.send(method, path, body, header...)
				if status < 300 {
					return out
				}
				note(status, out)
			}
			t.Fatal("never replicated")
			return nil
		}
		r.SetLag(entratest.Lag{Min: time.Second, Max: 10 * time.Second})
		upsert := []string{"Prefer", "create-if-missing"}
		product := retry("POST", "/applications", object{"displayName": "p"})
		client := retry("POST", "/applications", object{"displayName": "c"})
		resource := retry("PATCH", fmt.Sprintf("/servicePrincipals(appId='%s')", product["appId"]), object{}, upsert...)
		c.Advance(10 * time.Second)
		retry("PATCH", path(product), object{"appRoles": []object{role("Read")}})
		principal := retry("PATCH", fmt.Sprintf("/servicePrincipals(appId='%s')", client["appId"]), object{}, upsert...)
		p := retry("POST", path(client)+"/addPassword", nil)
		at := "/servicePrincipals/" + resource["id"].(string) + "/appRoleAssignedTo"
		retry("POST", at, object{"principalId": principal["id"], "resourceId": resource["id"], "appRoleId": role("Read")["id"]})
		retry("POST", path(client)+"/removePassword", object{"keyId": p["keyId"]})
		retry("POST", "/servicePrincipals/"+principal["id"].(string)+"/appRoleAssignedTo", object{
			"principalId": principal["id"], "resourceId": principal["id"], "appRoleId": uuid.Nil.String(),
		})
		c.Advance(10 * time.Second)
		r.must(200, "GET", path(client), nil)
		retry("PATCH", path(product), object{"appRoles": []object{role("Read"), role("Write")}})
		retry("POST", at, object{"principalId": principal["id"], "resourceId": resource["id"], "appRoleId": role("Write")["id"]})
	}
	for _, want := range []string{
		"400 The appId '", "403 When using this ", "404 Resource '", "400 Not a valid refere", "400 Specified resourc",
		"400 Permission being", "400 No password crede",
	} {
		assert.True(t, slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(got string) bool {
			return strings.HasPrefix(got, want) || strings.HasPrefix(want, got)
		}), "%q in %v", want, seen)
	}
}

// TestSecretLag: a new secret is refused until it is replicated.
func TestSecretLag(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	r := newRaw(t, entratest.Config{Now: c.Now})
	a := r.app(object{})
	r.principal(a)
	r.SetLag(entratest.Lag{Min: 5 * time.Second, Max: 10 * time.Second})
	var p object
	for p["secretText"] == nil {
		_, p = r.send("POST", path(a)+"/addPassword", nil)
	}
	try := func() string {
		resp, err := r.client.PostForm(r.TokenURL(), url.Values{
			"grant_type": {"client_credentials"}, "client_id": {a["appId"].(string)}, "client_secret": {p["secretText"].(string)},
			"scope": {r.GraphScope()},
		})
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(b)
	}
	refused := 0
	for range 40 {
		if strings.Contains(try(), "AADSTS7000215") {
			refused++
		}
	}
	assert.Positive(t, refused)
	assert.Less(t, refused, 40, "one replica knows it at once")
	c.Advance(10 * time.Second)
	for range 20 {
		assert.Contains(t, try(), "access_token")
	}
}
