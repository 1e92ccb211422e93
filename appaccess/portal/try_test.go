package portal_test

import (
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/portal"
)

// patient makes a visitor whom the limit on tries does not meet.
func (v *visitor) patient() *visitor {
	v.pause = time.Minute
	return v
}

// tryWorld is one in which ada has an application with a secret.
func tryWorld(t *testing.T, setups ...setup) (w *world, a *visitor, secret string) {
	t.Helper()
	w = newWorld(t, setups...)
	w.orders()
	one := w.application("shop", "ada")
	made, err := w.service.AddSecret(t.Context(), appaccess.Developer("ada"), one.ID, appaccess.SecretRequest{})
	require.NoError(t, err)
	return w, w.visit("ada"), made.Value.Reveal()
}

const tryPath = "/my/applications/shop/try"

func try(a *visitor, pairs ...string) answer {
	form := url.Values{"target": {"orders orders-api"}, "method": {"GET"}, "with": {"secret"}}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return a.do(http.MethodPost, prefix+tryPath, form)
}

// An operation has a field for each of its parameters; the portal makes path,
// query and headers of them, and says which are missing.
func TestTryAnOperation(t *testing.T) {
	t.Parallel()
	w, a, secret := tryWorld(t)
	ctx := t.Context()
	header := "X-Orders-Key"
	_, err := w.service.UpdateAPI(ctx, root, "orders-api", appaccess.APIUpdate{KeyHeader: &header})
	require.NoError(t, err)
	document := strings.Replace(ordersDocument, `"get":{`, `"get":{"parameters":[
		{"name":"expand","in":"query","schema":{"type":"string"},"description":"What to add."},
		{"name":"X-Note","in":"header","required":true,"schema":{"type":"string"}},
		{"name":"Cookie","in":"header","schema":{"type":"string"}},{"name":"X-Orders-Key","in":"header","schema":{"type":"string"}}],`, 1)
	_, err = w.service.ImportOperations(ctx, root, "orders-api", appaccess.OperationsImport{Document: []byte(document)})
	require.NoError(t, err)
	page := a.get(tryPath + "?target=orders+orders-api&operation=getorder")
	for _, field := range []string{"param-path-id", "param-query-expand", "param-header-X-Note"} {
		has(t, page, `name="`+field+`"`)
	}
	has(t, page, "In the path, string. Which order.")
	has(t, page, "In the query, string, optional. What to add.")
	for _, none := range []string{"param-header-Cookie", "param-header-X-Orders-Key", `name="path"`} {
		hasNot(t, page, none)
	}
	got := try(a.patient(), "operation", "getorder", "with", "key", "secret", secret, "param-query-expand", "lines & more")
	assert.Equal(t, http.StatusBadRequest, got.Status)
	has(t, got, `id="e-param-path-id"`)
	has(t, got, `id="e-param-header-X-Note"`)
	assert.Zero(t, w.calls.Load())
	got = try(a, "operation", "getorder", "with", "key", "secret", secret, "param-path-id", "a/b c", "param-query-expand", "lines & more", "param-header-X-Note", "hello", "param-header-Cookie", "who=manager")
	text := html.UnescapeString(got.Body)
	for _, part := range []string{"GET " + w.api.URL + "/echo/a%2Fb%20c?expand=lines+%26+more\nX-Orders-Key: ••••••\nX-Note: hello", `"orders-key": true`, `"note": "hello"`} {
		assert.True(t, strings.Contains(text, part), part)
	}
	got = try(a, "operation", "getorder", "with", "key", "secret", secret, "param-path-id", "..", "param-header-X-Note", "x")
	assert.Equal(t, http.StatusBadRequest, got.Status)
	got = try(a, "operation", "getorder", "with", "key", "secret", secret, "param-path-id", "1", "param-header-X-Note", "x\r\nCookie: a")
	assert.Equal(t, http.StatusBadRequest, got.Status)
	assert.Equal(t, int64(1), w.calls.Load())
}

func TestTryItWithASecret(t *testing.T) {
	t.Parallel()
	w, a, secret := tryWorld(t)
	has(t, a.get("/my/applications/shop"), "Try it")
	got := try(a, "secret", secret, "path", "/42?lines=1", "method", "POST", "body", `{"hello":"world"}`)
	require.Equal(t, http.StatusOK, got.Status)
	text := html.UnescapeString(got.Body)
	for _, want := range []string{
		"200 OK", `"roles": [`, "Product.Orders.All", `"idtyp": "app"`, `"alg": "RS256"`, "POST " + w.api.URL + "/echo/42?lines=1",
		`"path": "/echo/42?lines=1"`, `"method": "POST"`, "Content-Type: application/json", "client_secret=••••••", "Bearer (the token above)",
	} {
		assert.True(t, strings.Contains(text, want), want)
	}
	assert.Equal(t, int64(1), w.calls.Load())
	// Neither the secret nor anything of a token that could be used comes back.
	hasNot(t, got, secret)
	for _, begin := range []string{`{"typ":`, `{"alg":`, `{"aud":`} { // a shorter one may stand in a random claim
		hasNot(t, got, base64.RawURLEncoding.EncodeToString([]byte(begin))[:9])
	}
	hasNot(t, got, "api=secret", "cookies of the API are not shown")

	wrong := try(a, "secret", "not-the-secret")
	has(t, wrong, "AADSTS7000215")
	has(t, wrong, "Paste the whole value as it was shown once")
	hasNot(t, wrong, "not-the-secret")
	_, err := w.service.SuspendApplication(t.Context(), root, "shop")
	require.NoError(t, err)
	has(t, try(a, "secret", secret), "it is suspended, or its owner is blocked")
	assert.Equal(t, int64(1), w.calls.Load(), "without a token nothing is called")
}

// The page offers the credentials that can work.
func TestTryItOffersWhatCanWork(t *testing.T) {
	t.Parallel()
	w, a, _ := tryWorld(t)
	key, token := `name="with" value="key"`, `name="with" value="secret"`
	page := a.get("/my/applications/shop/try")
	has(t, page, key)
	has(t, page, token)
	vm, err := w.tenant.AddManagedIdentity("vm")
	require.NoError(t, err)
	_, err = w.service.RegisterApplication(t.Context(), root, appaccess.ApplicationRequest{
		ID: "vm", Name: "VM", OwnerID: "ada", Grants: appaccess.GrantsOfAll("orders"), ServicePrincipal: appaccess.ServicePrincipal{ObjectID: vm.ObjectID},
	})
	require.NoError(t, err)
	page = a.get("/my/applications/vm/try")
	has(t, page, key)
	hasNot(t, page, token, "the portal cannot get the identity's tokens")
	_, err = w.service.SetAccess(t.Context(), root, "orders", appaccess.AccessRequest{Access: appaccess.Access{Token: true}})
	require.NoError(t, err)
	hasNot(t, a.get("/my/applications/shop/try"), key, "the product accepts no keys")
	has(t, a.get("/my/applications/vm/try"), "Nothing to try")
}

func TestTryItWithAKey(t *testing.T) {
	t.Parallel()
	w, a, _ := tryWorld(t)
	got := try(a, "with", "key", "secret", "sk-test-value")
	has(t, got, "200 OK")
	has(t, got, "Ocp-Apim-Subscription-Key: ••••••")
	hasNot(t, got, "sk-test-value")
	assert.Equal(t, int64(1), w.calls.Load())
}

func TestTryItStaysWhereItBelongs(t *testing.T) {
	t.Parallel()
	w, a, secret := tryWorld(t)
	a.patient()
	ctx := t.Context()
	for _, api := range []appaccess.APIRequest{
		{ID: "elsewhere", Name: "Elsewhere", Path: "/elsewhere", ServiceURL: "https://elsewhere.example/x"},
		{ID: "plain", Name: "Plain", Path: "/plain", ServiceURL: strings.Replace(w.api.URL, "https:", "http:", 1)},
		{ID: "foreign", Name: "Foreign", Path: "/foreign", ServiceURL: w.api.URL},
	} {
		_, err := w.service.CreateAPI(ctx, root, api)
		require.NoError(t, err)
	}
	_, err := w.service.AssignAPIs(ctx, root, "orders", []string{"elsewhere"})
	require.NoError(t, err)
	_, err = w.service.AssignAPIs(ctx, root, "starter", []string{"foreign"})
	require.NoError(t, err)
	for _, target := range []string{"orders elsewhere", "starter foreign", "orders foreign", "", "orders", w.api.URL} {
		assert.Equal(t, http.StatusBadRequest, try(a, "secret", secret, "target", target).Status, target)
	}
	for _, path := range []string{
		"x", "@elsewhere.example/", "/../../admin", "/%2e%2e/admin", "/a/%2E%2E/%2e%2e/b", `/\elsewhere.example`, "/a b", "/a\r\nX: y", "/#frag", "://elsewhere.example", "/%zz", "/%5c..%5cadmin", "/..;/admin", "/a/..;x=1/..;/admin", "/%2e%2e%3b/admin",
	} {
		got := try(a, "secret", secret, "path", path)
		assert.Equal(t, http.StatusBadRequest, got.Status, path)
	}
	for _, bad := range []string{"", " ", strings.Repeat("x", 5000), "a\r\nb", "sécret"} {
		assert.Equal(t, http.StatusBadRequest, try(a, "secret", bad).Status)
	}
	assert.Equal(t, http.StatusBadRequest, try(a, "secret", secret, "method", "CONNECT").Status)
	assert.Zero(t, w.calls.Load())

	moved := try(a, "with", "key", "secret", "k", "path", "/elsewhere")
	has(t, moved, "302 Found")
	assert.Equal(t, int64(1), w.calls.Load(), "a redirect is shown, not followed")
	long := try(a, "with", "key", "secret", "k", "path", "/long")
	has(t, long, "this is its first MiB")
	assert.Less(t, len(long.Body), 1<<20+64<<10)
}

// An answer that nests deeply is shown as it came: laid out, these 60 KB would
// have 800 MB.
func TestTryItDoesNotLayOutWhatWouldNotFit(t *testing.T) {
	t.Parallel()
	_, a, _ := tryWorld(t)
	got := try(a, "with", "key", "secret", "k", "path", "/deep")
	require.Equal(t, http.StatusOK, got.Status)
	has(t, got, "[[[[[[[[")
	assert.Less(t, len(got.Body), 200<<10)
}

// With a gateway, an API's service URL is what lies behind it: developers
// neither see it nor reach it past the gate.
func TestTryItAndSnippetsGoThroughTheGateway(t *testing.T) {
	t.Parallel()
	behind := "https://10.0.0.7:9443/internal"
	w, a, _ := tryWorld(t, func(w *world, c *portal.Config) {
		c.Gateway, c.APIHosts = w.api.URL+"/", append(c.APIHosts, "10.0.0.7:9443")
	})
	_, err := w.service.UpdateAPI(t.Context(), root, "orders-api", appaccess.APIUpdate{ServiceURL: &behind})
	require.NoError(t, err)
	got := try(a, "with", "key", "secret", "k", "path", "/42")
	has(t, got, w.api.URL+"/orders/42")
	for _, page := range []answer{got, a.get("/my/applications/shop"), a.get(tryPath)} {
		has(t, page, w.api.URL+"/orders")
		hasNot(t, page, "10.0.0.7")
	}
}

func TestTryItIsOffWithoutHosts(t *testing.T) {
	t.Parallel()
	_, a, _ := tryWorld(t, func(_ *world, c *portal.Config) { c.APIHosts = nil })
	hasNot(t, a.get("/my/applications/shop"), "Try it")
	assert.Equal(t, http.StatusNotFound, a.get(tryPath).Status)
	assert.Equal(t, http.StatusNotFound, try(a, "secret", "x").Status)
}

func TestTriesAreLimited(t *testing.T) {
	t.Parallel()
	w, a, _ := tryWorld(t)
	limited := 0
	for range 20 {
		if try(a, "with", "key", "secret", "k").Status == http.StatusTooManyRequests {
			limited++
		}
	}
	assert.Equal(t, 8, limited)
	assert.Equal(t, int64(12), w.calls.Load())
}

func snippetOf(t *testing.T, page answer, i int) string {
	t.Helper()
	_, rest, ok := strings.Cut(page.Body, `<code id="snippet-`+string(rune('0'+i))+`">`)
	require.True(t, ok)
	code, _, ok := strings.Cut(rest, "</code>")
	require.True(t, ok)
	return html.UnescapeString(code)
}
