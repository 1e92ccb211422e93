package entratest_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision/entratest"
)

// raw speaks to Graph over HTTP as curl would.
type raw struct {
	*testing.T
	*entratest.Tenant
	client *http.Client
	token  string
}

type object = map[string]any

// serve serves a tenant over plain HTTP, without minding misuses.
func serve(t *testing.T, cfg entratest.Config) *entratest.Server {
	t.Helper()
	tenant, err := entratest.New(cfg)
	require.NoError(t, err)
	s, err := entratest.Serve(tenant, false)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func newRaw(t *testing.T, cfg entratest.Config, rights ...string) raw {
	t.Helper()
	s := serve(t, cfg)
	if rights == nil {
		rights = []string{entratest.ApplicationAdministrator}
	}
	c, err := s.AddCaller("admin", rights...)
	require.NoError(t, err)
	resp, err := s.Client().PostForm(s.TokenURL(), url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.AppID}, "client_secret": {c.Secret.Reveal()}, "scope": {s.GraphScope()},
	})
	require.NoError(t, err)
	defer resp.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&token))
	return raw{t, s.Tenant, s.Client(), token.AccessToken}
}

// request makes a request; header are pairs of name and value.
func (r raw) request(method, path string, body any, header ...string) *http.Request {
	r.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		require.NoError(r, err)
		in = bytes.NewReader(b)
	}
	if !strings.HasPrefix(path, "http") {
		path = r.BaseURL() + "/v1.0" + path
	}
	req, err := http.NewRequestWithContext(r.Context(), method, path, in)
	require.NoError(r, err)
	req.Header.Set("Authorization", "Bearer "+r.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

func (r raw) do(req *http.Request) (int, object) {
	r.Helper()
	resp, err := r.client.Do(req)
	require.NoError(r, err)
	defer resp.Body.Close()
	var out object
	text, err := io.ReadAll(resp.Body)
	require.NoError(r, err)
	if len(text) > 0 {
		assert.Equal(r, "application/json", resp.Header.Get("Content-Type"))
		require.NoError(r, json.Unmarshal(text, &out), "%s", text)
	}
	return resp.StatusCode, out
}

func (r raw) send(method, path string, body any, header ...string) (int, object) {
	r.Helper()
	return r.do(r.request(method, path, body, header...))
}

// must sends what has to succeed.
func (r raw) must(status int, method, path string, body any, header ...string) object {
	r.Helper()
	got, out := r.send(method, path, body, header...)
	require.Equal(r, status, got, "%s %s: %v", method, path, out)
	return out
}

// refused sends what has to fail and returns the message.
func (r raw) refused(status int, code, method, path string, body any, header ...string) string {
	r.Helper()
	got, out := r.send(method, path, body, header...)
	require.Equal(r, status, got, "%s %s: %v", method, path, out)
	e := out["error"].(object)
	assert.Equal(r, code, e["code"])
	assert.NotEmpty(r, e["innerError"].(object)["request-id"])
	require.NotEmpty(r, e["message"])
	return e["message"].(string)
}

const badRequest = "Request_BadRequest"

func (r raw) app(body object) object {
	r.Helper()
	if body["displayName"] == nil {
		body["displayName"] = "app"
	}
	return r.must(201, "POST", "/applications", body)
}

func (r raw) principal(app object) object {
	r.Helper()
	return r.must(201, "POST", "/servicePrincipals", object{"appId": app["appId"]})
}

func path(app object) string { return "/applications/" + app["id"].(string) }

func role(value string) object {
	return object{
		"id": uuid.NewSHA1(uuid.NameSpaceURL, []byte(value)).String(), "value": value, "displayName": value, "description": value,
		"isEnabled": true, "allowedMemberTypes": []string{"Application"},
	}
}

func with(o object, name string, v any) object {
	c := object{}
	for k, old := range o {
		c[k] = old
	}
	c[name] = v
	return c
}

func TestCreateApplication(t *testing.T) {
	t.Parallel()
	r := newRaw(t, entratest.Config{})
	r.refused(400, badRequest, "POST", "/applications", object{})
	r.refused(400, badRequest, "POST", "/applications", object{"displayName": strings.Repeat("x", 121)})
	r.refused(400, badRequest, "POST", "/applications", object{"displayName": "x", "passwordCredentials": []object{{"displayName": "p"}}})
	r.refused(400, badRequest, "POST", "/applications", object{"displayName": "x", "tags": []string{"a b"}})
	r.refused(400, badRequest, "POST", "/applications", object{"displayName": "x", "appId": uuid.NewString()})
	assert.Contains(t, r.refused(501, "NotImplemented", "POST", "/applications", object{"displayName": "x", "addIns": []object{}}), "addIns")
	r.refused(400, badRequest, "POST", "/applications", object{"displayName": "x", "addInz": []object{}})
	spa := r.must(201, "POST", "/applications", object{"displayName": "x", "spa": object{"redirectUris": []string{"https://a.example"}}})["spa"]
	assert.Equal(t, object{"redirectUris": []any{"https://a.example"}}, spa)
	a := r.app(object{"displayName": "same", "uniqueName": "one"})
	b := r.app(object{"displayName": "same"})
	assert.NotEqual(t, a["appId"], b["appId"], "displayName is not unique")
	status, out := r.send("POST", "/applications", object{"displayName": "x", "uniqueName": "one"})
	assert.Equal(t, 400, status)
	assert.Equal(t, "Another object with the same value for property uniqueName already exists.", out["error"].(object)["message"])
	status, _ = r.send("PATCH", path(a), object{"uniqueName": "two"})
	assert.Equal(t, 400, status, "immutable once set")
	r.must(204, "PATCH", path(b), object{"uniqueName": "two"})
}

func TestUpsertOfAnApplication(t *testing.T) {
	t.Parallel()
	r := newRaw(t, entratest.Config{})
	const one = "/applications(uniqueName='one')"
	r.refused(404, "Request_ResourceNotFound", "PATCH", one, object{"displayName": "x"})
	a := r.must(201, "PATCH", one, object{"displayName": "x"}, "Prefer", "create-if-missing")
	assert.Equal(t, "one", a["uniqueName"])
	assert.Empty(t, r.must(204, "PATCH", one, object{"displayName": "y"}, "Prefer", "create-if-missing"))
	assert.Equal(t, "y", r.must(200, "GET", one, nil)["displayName"])
	r.must(204, "PATCH", one, object{"displayName": "z"})
	r.must(204, "DELETE", one, nil)
	status, _ := r.send("PATCH", one, object{"displayName": "x"}, "Prefer", "create-if-missing")
	assert.Equal(t, 400, status, "a deleted holder reserves the name")
	r.must(204, "DELETE", "/directory/deletedItems/"+a["id"].(string), nil)
	r.must(201, "PATCH", one, object{"displayName": "x"}, "Prefer", "create-if-missing")
}

func TestAppRoles(t *testing.T) {
	t.Parallel()
	r := newRaw(t, entratest.Config{})
	a := r.app(object{"appRoles": []object{role("Read")}})
	patch := func(roles ...object) object { return object{"appRoles": roles} }
	const enabled = "CannotDeleteOrUpdateEnabledEntitlement"
	r.refused(400, enabled, "PATCH", path(a), object{"appRoles": []object{}})
	r.refused(400, enabled, "PATCH", path(a), patch(with(role("Read"), "value", "Write")))
	r.refused(400, enabled, "PATCH", path(a), patch(with(with(role("Read"), "value", "Write"), "isEnabled", false)))
	r.must(204, "PATCH", path(a), patch(role("Read"), role("More")))
	r.must(204, "PATCH", path(a), patch(with(role("Read"), "isEnabled", false), role("More")))
	r.must(204, "PATCH", path(a), patch(role("More")))
	for name, bad := range map[string]object{
		"no id": with(role("x"), "id", nil), "space": role("a b"), "dot": role(".a"), "long": role(strings.Repeat("x", 121)),
		"no members": with(role("x"), "allowedMemberTypes", []string{}), "no description": with(role("x"), "description", nil),
	} {
		t.Log(name)
		r.refused(400, badRequest, "PATCH", path(a), patch(role("More"), bad))
	}
	_, out := r.send("PATCH", path(a), patch(role("More"), with(role("Other"), "value", "More")))
	assert.Equal(t, "DuplicateValue", out["error"].(object)["details"].([]any)[0].(object)["code"])
}

func TestIdentifierURIs(t *testing.T) {
	t.Parallel()
	r := newRaw(t, entratest.Config{})
	a, b := r.app(object{}), r.app(object{})
	set := func(uris ...string) object { return object{"identifierUris": uris} }
	good := "api://" + a["appId"].(string)
	r.must(204, "PATCH", path(a), set(good, "https://contoso.onmicrosoft.com/x", "api://"+r.ID()+"/y"))
	r.refused(400, badRequest, "PATCH", path(a), set("api://anything"))
	r.refused(400, badRequest, "PATCH", path(a), set("https://elsewhere.example/x"))
	r.refused(400, badRequest, "PATCH", path(a), set("api://"+a["appId"].(string)+strings.Repeat("x", 220)))
	assert.Contains(t, r.refused(400, badRequest, "PATCH", path(b), set("https://contoso.onmicrosoft.com/x")), "already exists")
	r.SetPolicy(entratest.Policy{AnyURI: true})
	r.must(204, "PATCH", path(b), set("api://anything"))
	r.must(204, "PATCH", path(b), set())
	r.must(204, "PATCH", path(a), set("api://anything"))
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	r := newRaw(t, entratest.Config{Now: c.Now})
	a := r.app(object{})
	p := r.must(200, "POST", path(a)+"/addPassword", object{"passwordCredential": object{"displayName": "d"}})
	assert.Equal(t, p["secretText"].(string)[:3], p["hint"])
	assert.Equal(t, c.Now().AddDate(2, 0, 0).Format(time.RFC3339), p["endDateTime"])
	read := r.must(200, "GET", path(a), nil)["passwordCredentials"].([]any)[0].(object)
	assert.Nil(t, read["secretText"])
	assert.Equal(t, p["keyId"], read["keyId"])
	assert.Contains(t, r.refused(400, badRequest, "POST", path(a)+"/removePassword", object{"keyId": uuid.NewString()}), "No password credential found with keyId")
	r.must(204, "POST", path(a)+"/removePassword", object{"keyId": p["keyId"]})
	r.SetPolicy(entratest.Policy{MaxSecretLifetime: 24 * time.Hour})
	r.refused(400, "CredentialInvalidLifetimeAsPerAppPolicy", "POST", path(a)+"/addPassword", object{"passwordCredential": object{}})
	r.SetPolicy(entratest.Policy{NoSecrets: true})
	r.refused(400, "CredentialTypeNotAllowedAsPerAppPolicy", "POST", path(a)+"/addPassword", object{"passwordCredential": object{}})
	r.SetPolicy(entratest.Policy{})
	var tags []string
	for i := range 999 {
		tags = append(tags, fmt.Sprint("t", i))
	}
	r.must(204, "PATCH", path(a), object{"tags": tags})
	r.must(200, "POST", path(a)+"/addPassword", nil)
	assert.Contains(t, r.refused(400, "Directory_ResourceSizeExceeded", "POST", path(a)+"/addPassword", nil), "size of the object has exceeded its limit")
}

func TestFederatedRules(t *testing.T) {
	t.Parallel()
	r := newRaw(t, entratest.Config{})
	a := r.app(object{})
	at := path(a) + "/federatedIdentityCredentials"
	f := object{"name": "ci-0", "issuer": "https://i.example", "subject": "s0", "audiences": []string{"api://AzureADTokenExchange"}}
	first := r.must(201, "POST", at, f)
	const taken = "Request_MultipleObjectsWithSameKeyValue"
	r.refused(409, taken, "POST", at, with(f, "subject", "other"))
	r.refused(409, taken, "POST", at, with(f, "name", "other"))
	r.refused(400, badRequest, "POST", at, with(f, "audiences", []string{}))
	r.refused(400, badRequest, "POST", at, with(f, "name", "a b"))
	r.refused(400, badRequest, "POST", at, with(f, "issuer", "http://plain.example"))
	for i := 1; i < 20; i++ {
		r.must(201, "POST", at, with(with(f, "name", fmt.Sprint("ci-", i)), "subject", fmt.Sprint("s", i)))
	}
	r.refused(400, badRequest, "POST", at, with(with(f, "name", "ci-20"), "subject", "s20"))
	assert.Len(t, r.must(200, "GET", at, nil)["value"], 20)
	assert.Equal(t, first["id"], r.must(200, "GET", at+"(name='ci-0')", nil)["id"])
	r.must(204, "DELETE", at+"/"+first["id"].(string), nil)
	r.refused(404, "Request_ResourceNotFound", "GET", at+"/"+first["id"].(string), nil)
}

func TestListsAndPages(t *testing.T) {
	t.Parallel()
	r := newRaw(t, entratest.Config{})
	for i := range 130 {
		r.app(object{"displayName": fmt.Sprintf("a%03d", i), "tags": []string{"ours"}})
	}
	one := r.must(200, "GET", "/applications?$filter=tags/any(t:t%20eq%20'ours')&$select=id,displayName", nil)
	assert.Len(t, one["value"], 100)
	next := one["@odata.nextLink"].(string)
	assert.True(t, strings.HasPrefix(next, r.BaseURL()+"/v1.0/applications?"))
	two := r.must(200, "GET", next, nil)
	assert.Len(t, two["value"], 30)
	assert.NotContains(t, two, "@odata.nextLink")
	assert.Len(t, two["value"].([]any)[0], 2, "$select is kept")
	assert.Len(t, r.must(200, "GET", "/applications?$top=999", nil)["value"], 131)
	r.refused(400, "Request_UnsupportedQuery", "GET", "/applications?$top=1000", nil)
	assert.Len(t, r.must(200, "GET", "/applications?$filter=startswith(displayName,'a00')", nil)["value"], 10)
	assert.Len(t, r.must(200, "GET", "/applications?$filter=displayName%20eq%20'A005'%20or%20(displayName%20eq%20'a006')", nil)["value"], 1+1)
	r.refused(400, "BadRequest", "GET", "/applications?$filter=displayName%20eq", nil)
	for _, filter := range []string{"nothing%20eq%20'x'", "displayName%20eq%20'a000'%20or%20startswith(nothing,'x')", "nothing/any(t:t%20eq%20'x')"} {
		r.refused(400, "BadRequest", "GET", "/applications?$filter="+filter, nil)
	}
	r.refused(501, "NotImplemented", "GET", "/applications?$filter=api/requestedAccessTokenVersion%20eq%202", nil)
	r.refused(400, "BadRequest", "GET", "/applications?$select=nothing", nil)
	r.refused(501, "NotImplemented", "GET", "/applications?$expand=owners", nil)
	r.refused(400, "Request_UnsupportedQuery", "GET", "/applications?$filter=displayName%20ne%20'x'", nil)
	many := r.must(200, "GET", "/applications?$count=true&$filter=displayName%20ne%20'a000'", nil, "ConsistencyLevel", "eventual")
	assert.EqualValues(t, 130, many["@odata.count"])
	assert.NotEmpty(t, r.Misuses())
}

func TestBatch(t *testing.T) {
	t.Parallel()
	r := newRaw(t, entratest.Config{})
	a := r.app(object{})
	send := func(items ...object) map[string]object {
		t.Helper()
		out := map[string]object{}
		for _, v := range r.must(200, "POST", "/$batch", object{"requests": items})["responses"].([]any) {
			out[v.(object)["id"].(string)] = v.(object)
		}
		return out
	}
	json := object{"Content-Type": "application/json"}
	got := send(
		object{"id": "1", "method": "PATCH", "url": path(a), "headers": json, "body": object{"displayName": "new"}},
		object{"id": "2", "method": "GET", "url": path(a), "dependsOn": []string{"1"}},
		object{"id": "3", "method": "GET", "url": "/applications/" + uuid.NewString()},
		object{"id": "4", "method": "GET", "url": path(a), "dependsOn": []string{"3"}},
		object{"id": "5", "method": "PATCH", "url": path(a), "body": object{"displayName": "no content type"}},
	)
	assert.EqualValues(t, 204, got["1"]["status"])
	assert.Equal(t, "new", got["2"]["body"].(object)["displayName"])
	assert.EqualValues(t, 404, got["3"]["status"])
	assert.EqualValues(t, 424, got["4"]["status"])
	assert.EqualValues(t, 400, got["5"]["status"])
	assert.Empty(t, r.Misuses())
	get := object{"id": "1", "method": "GET", "url": path(a)}
	r.refused(400, "BadRequest", "POST", "/$batch", object{"requests": []object{get, get}})
	var many []object
	for i := range 21 {
		many = append(many, with(get, "id", fmt.Sprint(i)))
	}
	r.refused(400, "BadRequest", "POST", "/$batch", object{"requests": many})
	assert.Len(t, r.Misuses(), 2)
	before := r.Counts()
	send(many[:20]...)
	after := r.Counts()
	assert.Equal(t, []int{1, 20, 21}, []int{after.Requests - before.Requests, after.Items - before.Items, after.Graph - before.Graph})
}

func TestBodies(t *testing.T) {
	t.Parallel()
	r := newRaw(t, entratest.Config{})
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(`{"displayName":"zipped"}`))
	require.NoError(t, z.Close())
	req := r.request("POST", "/applications", nil, "Content-Type", "application/json", "Content-Encoding", "gzip")
	req.Body = io.NopCloser(&zipped) // of unknown length: sent in chunks
	status, out := r.do(req)
	assert.Equal(t, 201, status)
	assert.Equal(t, "zipped", out["displayName"])
	r.refused(400, "BadRequest", "POST", "/applications", object{"displayName": "plain"}, "Content-Encoding", "gzip")
	assert.Len(t, r.Misuses(), 1, "a body that lies about itself is what the SDK's own retry sends")
	r.refused(400, "BadRequest", "POST", "/applications", []string{"no object"})
	resp, err := r.client.Do(r.request("GET", "/applications/x", nil, "client-request-id", "mine"))
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, "mine", resp.Header.Get("client-request-id"))
	assert.NotEmpty(t, resp.Header.Get("request-id"))
}

func TestNotImitated(t *testing.T) {
	t.Parallel()
	bare := newRaw(t, entratest.Config{})
	for _, version := range []string{"/v1.0", "/v1.0/", "/beta", "/beta/"} {
		status, _ := bare.send("GET", bare.BaseURL()+version, nil)
		assert.Contains(t, []int{400, 501}, status, version)
	}
	r := newRaw(t, entratest.Config{})
	a := r.app(object{})
	for _, p := range []string{"/users", "/groups", "/me", path(a) + "/extensionProperties", "/directory/administrativeUnits", "/policies/x"} {
		r.refused(501, "NotImplemented", "GET", p, nil)
	}
	r.refused(501, "NotImplemented", "POST", path(a)+"/addKey", object{})
	r.refused(501, "NotImplemented", "GET", r.BaseURL()+"/beta/applications", nil)
	for _, p := range []string{"/" + r.ID() + "/oauth2/authorize", "/" + r.ID() + "/oauth2/v2.0/devicecode", "/", "/favicon.ico"} {
		resp, err := r.client.Get(r.BaseURL() + p)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 501, resp.StatusCode, p)
	}
}

func TestAccessToken(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	r := newRaw(t, entratest.Config{Now: c.Now})
	valid := r.token
	for name, token := range map[string]string{
		"none": "", "garbage": "x", "other audience": r.MintToken(map[string]any{"aud": "api://x"}, nil),
		"changed": valid[:len(valid)-8] + "AAAAAAAA",
	} {
		r.token = token
		t.Log(name)
		r.refused(401, "InvalidAuthenticationToken", "GET", "/applications", nil)
	}
	r.token = valid
	r.must(200, "GET", "/applications", nil)
	c.Advance(time.Hour)
	r.refused(401, "InvalidAuthenticationToken", "GET", "/applications", nil)
}
