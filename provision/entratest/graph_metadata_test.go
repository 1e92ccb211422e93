package entratest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/internal/graph"
	"github.com/entragate/entragate/provision/internal/metadata"
)

// inspector checks every request and every answer that passes it against
// Microsoft's metadata, and counts the operations that it saw.
type inspector struct {
	next   http.RoundTripper
	mu     sync.Mutex
	seen   map[string]int // "GET /applications/{application}"
	wrong  []string
	checks int
}

func (i *inspector) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := i.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(answer))
	if err == nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.inspect(r.Method, strings.TrimPrefix(r.URL.RequestURI(), "/v1.0"), body, resp.StatusCode, answer)
	}
	return resp, err
}

func (i *inspector) inspect(method, path string, body []byte, status int, answer []byte) {
	if path == "/$batch" {
		i.batch(body, answer)
		return
	}
	op, err := metadata.Graph().Resolve(method, path)
	if err != nil {
		i.wrong = append(i.wrong, err.Error())
		return
	}
	i.seen[i.operation(method, path)]++
	i.request(method+" "+path, op, body)
	if status/100 == 2 && len(answer) > 0 && !op.Count {
		i.answer(method+" "+path, op, answer)
	}
}

// operation names the route of a path.
func (i *inspector) operation(method, path string) string {
	path, _, _ = strings.Cut(path, "?")
	segments, failed := parsePath(strings.Split(path[1:], "/"), nil)
	if failed != nil {
		return path
	}
	c := &graphCall{method: method, path: segments}
	if r := c.findRoute(); r != nil {
		return r.method + " " + r.pattern
	}
	return method + " " + path
}

func (i *inspector) request(what string, op metadata.Operation, body []byte) {
	if len(body) == 0 || op.Ref {
		return
	}
	var object map[string]any
	if err := json.Unmarshal(body, &object); err != nil {
		i.wrong = append(i.wrong, what+": the request is no JSON object")
		return
	}
	i.checks++
	var wrong []string
	if op.Action != nil {
		wrong = metadata.Graph().CheckParameters(*op.Action, object)
	} else {
		wrong = metadata.Graph().Check(op.Type, object, false)
	}
	for _, w := range wrong {
		i.wrong = append(i.wrong, what+": request: "+w)
	}
}

func (i *inspector) answer(what string, op metadata.Operation, answer []byte) {
	var object map[string]any
	if err := json.Unmarshal(answer, &object); err != nil {
		i.wrong = append(i.wrong, what+": the answer is no JSON object")
		return
	}
	i.checks++
	note := func(format string, args ...any) {
		i.wrong = append(i.wrong, what+": answer: "+fmt.Sprintf(format, args...))
	}
	context, _ := object["@odata.context"].(string)
	_, fragment, ok := strings.Cut(context, "/v1.0/$metadata#")
	isList := op.Collection && !strings.HasPrefix(what, "POST ")
	entity := metadata.Graph().Type(op.Type).Entity
	switch {
	case !ok:
		note("@odata.context is %q", context)
	case !entity && fragment != "microsoft.graph."+op.Type, entity && isList == strings.HasSuffix(fragment, "/$entity"):
		note("@odata.context %q does not fit", context)
	}
	selected := strings.Contains(what, "$select=")
	objects := []any{object}
	if isList {
		objects, ok = object["value"].([]any)
		if !ok {
			note("a list without its value")
		}
	}
	for _, o := range objects {
		complete := !selected
		for _, w := range metadata.Graph().Check(op.Type, o.(map[string]any), complete) {
			note("%s", w)
		}
	}
}

func (i *inspector) batch(body, answer []byte) {
	var in struct {
		Requests []struct{ ID, Method, URL string }
	}
	var out struct {
		Responses []struct {
			ID     string
			Status int
			Body   json.RawMessage
		}
	}
	if json.Unmarshal(body, &in) != nil || json.Unmarshal(answer, &out) != nil {
		i.wrong = append(i.wrong, "$batch: not JSON")
		return
	}
	for _, q := range in.Requests {
		for _, a := range out.Responses {
			if a.ID == q.ID {
				i.inspect(q.Method, q.URL, nil, a.Status, a.Body)
			}
		}
	}
}

// Every route of the table is an operation of Microsoft's metadata.
func TestRoutesAreGraphs(t *testing.T) {
	t.Parallel()
	require.NotEmpty(t, routes)
	seen := map[string]bool{}
	for _, r := range routes {
		_, err := metadata.Graph().Resolve(r.method, r.pattern)
		assert.NoError(t, err)
		name := r.method + " " + r.pattern
		assert.False(t, seen[name], "%s is there twice", name)
		seen[name] = true
		assert.NotEmpty(t, r.right.name, name)
	}
}

// TestMetadata makes every call of the one Graph client and every other request
// that entratest answers, and checks requests and answers against Microsoft's
// metadata. It fails if a route is not covered.
func TestMetadata(t *testing.T) {
	t.Parallel()
	tenant, err := New(Config{})
	require.NoError(t, err)
	admin, err := tenant.AddCaller("admin", ApplicationAdministrator)
	require.NoError(t, err)
	i := &inspector{next: tenant.Transport(), seen: map[string]int{}}
	tokens := &callerTokens{tenant: tenant, caller: admin}
	client := graph.New(graph.Config{Base: tenant.BaseURL, Token: tokens.get, Transport: i})
	everyCall(t, client, tenant)
	clients := len(i.seen)
	everyRoute(t, i, tokens)

	assert.Empty(t, i.wrong)
	for _, r := range routes {
		assert.NotZero(t, i.seen[r.method+" "+r.pattern], "%s %s is not covered", r.method, r.pattern)
	}
	assert.Greater(t, clients, 15, "operations of the client")
	assert.Greater(t, i.checks, 50)
	t.Logf("%d operations, %d of them by the client; %d bodies checked", len(i.seen), clients, i.checks)
}

// everyCall calls every method of provision.Directory.
func everyCall(t *testing.T, d *graph.Client, tenant *Tenant) {
	t.Helper()
	ctx := t.Context()
	role := provision.AppRole{ID: guidFrom("role"), Value: "R", DisplayName: "R", Description: "R", Enabled: true, AllowedMemberTypes: []string{"Application"}}
	full := provision.ApplicationPatch{
		UniqueName: ptr("one"), DisplayName: ptr("one"), Description: ptr("d"), SignInAudience: ptr("AzureADMyOrg"), Tags: &[]string{"t"},
		AppRoles: &[]provision.AppRole{role}, AccessTokenVersion: ptr(2), AccessTokenClaims: &[]string{"idtyp"},
		RequiredAccess: &[]provision.RequiredAccess{{ResourceAppID: GraphAppID, Roles: []string{graphRoles[0].id}, Scopes: []string{graphRoles[1].id}}},
		Keys:           &[]provision.KeyCredential{},
	}
	app, err := d.CreateApplication(ctx, full)
	require.NoError(t, err)
	_, err = d.CreateApplication(ctx, provision.ApplicationPatch{DisplayName: ptr("posted")})
	require.NoError(t, err)
	require.NoError(t, d.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{
		Description: ptr(""), IdentifierURIs: &[]string{"api://" + app.AppID}, AccessTokenVersion: ptr(0), Tags: &[]string{},
	}))
	sp, _, err := d.UpsertServicePrincipal(ctx, app.AppID, provision.ServicePrincipalPatch{AccountEnabled: ptr(true), AssignmentRequired: ptr(true), Tags: &[]string{}})
	require.NoError(t, err)
	_, errs := d.Applications(ctx, []provision.AppRef{{UniqueName: "one"}, {ObjectID: app.ObjectID}, {AppID: app.AppID}})
	require.NoError(t, errs[0])
	_, errs = d.ServicePrincipals(ctx, []provision.PrincipalRef{{AppID: app.AppID}, {AppID: GraphAppID}})
	require.NoError(t, errs[0])
	grant, err := d.Assign(ctx, provision.Assignment{PrincipalID: sp.ObjectID, ResourceID: sp.ObjectID, RoleID: role.ID})
	require.NoError(t, err)
	for _, list := range []func() ([][]provision.Assignment, []error){
		func() ([][]provision.Assignment, []error) { return d.Assignments(ctx, []string{sp.ObjectID}) },
		func() ([][]provision.Assignment, []error) { return d.AssignedTo(ctx, []string{sp.ObjectID}) },
	} {
		all, errs := list()
		require.NoError(t, errs[0])
		require.Len(t, all[0], 1)
	}
	require.NoError(t, d.Unassign(ctx, sp.ObjectID, grant.ID))
	p, err := d.AddPassword(ctx, app.ObjectID, provision.PasswordRequest{DisplayName: "p", End: tenant.now().Add(time.Hour)})
	require.NoError(t, err)
	require.NoError(t, d.RemovePassword(ctx, app.ObjectID, p.KeyID))
	f, err := d.AddFederatedCredential(ctx, app.ObjectID, provision.FederatedCredential{Name: "abc", Issuer: "https://i.example", Subject: "s", Audiences: []string{"a"}})
	require.NoError(t, err)
	_, errs = d.FederatedCredentials(ctx, []string{app.ObjectID})
	require.NoError(t, errs[0])
	require.NoError(t, d.RemoveFederatedCredential(ctx, app.ObjectID, f.ID))
	_, err = d.Identity(ctx)
	require.NoError(t, err)
	require.NoError(t, d.DeleteApplication(ctx, app.ObjectID))
	_, err = d.DeletedApplication(ctx, provision.AppRef{UniqueName: "one"})
	require.NoError(t, err)
	_, err = d.DeletedApplication(ctx, provision.AppRef{ObjectID: app.ObjectID})
	require.NoError(t, err)
	require.NoError(t, d.Restore(ctx, app.ObjectID))
	require.NoError(t, d.Restore(ctx, sp.ObjectID))
	require.NoError(t, d.DeleteServicePrincipal(ctx, sp.ObjectID))
}

// everyRoute sends what the client does not: the rest of the table.
func everyRoute(t *testing.T, i *inspector, tokens *callerTokens) {
	t.Helper()
	tenant := tokens.tenant
	send := func(want int, method, path string, body any) map[string]any {
		t.Helper()
		token, err := tokens.get(t.Context(), "")
		require.NoError(t, err)
		raw, err := json.Marshal(body)
		require.NoError(t, err)
		if body == nil {
			raw = nil
		}
		req, err := http.NewRequestWithContext(t.Context(), method, tenant.BaseURL()+"/v1.0"+path, bytes.NewReader(raw))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("ConsistencyLevel", "eventual")
		req.Header.Set("Content-Type", "application/json")
		resp, err := i.RoundTrip(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, want, resp.StatusCode, "%s %s: %s", method, path, answer)
		var object map[string]any
		_ = json.Unmarshal(answer, &object) // a number has no properties
		return object
	}
	type object = map[string]any
	app := send(201, post, "/applications", object{
		"displayName": "raw", "web": object{"redirectUris": []string{"https://a.example"}}, "spa": object{"redirectUris": []string{}}, "info": object{"marketingUrl": "https://a.example"},
		"appRoles": []object{{"id": guidFrom("raw"), "value": "R", "displayName": "R", "description": "R", "isEnabled": true, "allowedMemberTypes": []string{"Application"}}},
	})
	path := "/applications/" + app["id"].(string)
	sp := send(201, post, "/servicePrincipals", object{"appId": app["appId"]})
	id := sp["id"].(string)
	principal := "/servicePrincipals/" + id
	send(200, get, "/applications", nil)
	send(200, get, "/applications/$count", nil)
	send(200, get, "/servicePrincipals/$count", nil)
	send(200, get, "/applications(appId='"+app["appId"].(string)+"')", nil)
	send(200, get, path+"?$select=keyCredentials,addIns", nil)
	send(200, get, "/servicePrincipals", nil)
	send(204, patch, path, object{"isFallbackPublicClient": true})
	send(204, patch, principal, object{"notes": "n"})
	fic := send(201, post, path+"/federatedIdentityCredentials", object{"name": "abc", "issuer": "https://i.example", "subject": "s", "audiences": []string{"a"}})
	send(200, get, path+"/federatedIdentityCredentials/"+fic["id"].(string), nil)
	for _, owned := range []string{path, principal} {
		send(204, post, owned+"/owners/$ref", object{"@odata.id": tenant.BaseURL() + "/v1.0/directoryObjects/" + id})
		send(200, get, owned+"/owners", nil)
		send(200, get, principal+"/ownedObjects", nil)
		send(204, del, owned+"/owners/"+id+"/$ref", nil)
	}
	caller := "/servicePrincipals/" + tokens.caller.ObjectID
	send(200, get, caller+"/createdObjects", nil)
	for _, end := range []string{"memberOf", "memberOf/microsoft.graph.directoryRole", "transitiveMemberOf", "transitiveMemberOf/microsoft.graph.directoryRole"} {
		require.Len(t, send(200, get, caller+"/"+end, nil)["value"], 1)
	}
	for _, end := range []string{"appRoleAssignedTo", "appRoleAssignments"} {
		grant := send(201, post, principal+"/"+end, object{"principalId": id, "resourceId": id, "appRoleId": guidFrom("raw")})["id"].(string)
		send(200, get, principal+"/"+end+"/"+grant, nil)
		send(204, del, principal+"/"+end+"/"+grant, nil)
	}
	send(200, get, "/organization", nil)
	send(204, del, path, nil)
	send(200, get, "/directory/deletedItems/microsoft.graph.application", nil)
	send(200, get, "/directory/deletedItems/microsoft.graph.servicePrincipal", nil)
	send(204, del, "/directory/deletedItems/"+app["id"].(string), nil)
}
