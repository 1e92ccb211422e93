package middleware_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
)

const keyHeader = "Ocp-Apim-Subscription-Key"

// What the handler sees of the credentials, and what stays in the caller's
// request.
func TestCredentialsRemoved(t *testing.T) {
	t.Parallel()
	bearer := "Bearer " + mint(t, claims(nil))
	type seen struct{ auth, key, query string }
	run := func(change func(*middleware.Config), path string, header ...string) (seen, *http.Request) {
		cfg := managed(newEntra(), newCatalog())
		if change != nil {
			change(&cfg)
		}
		var got seen
		h := open(t, cfg).Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got = seen{r.Header.Get("Authorization"), r.Header.Get(keyHeader), r.URL.RawQuery}
			assert.Equal(t, r.URL.RawQuery, strings.TrimPrefix(strings.TrimPrefix(r.RequestURI, "/echo"), "?"))
		}))
		r := request(path, header...)
		require.Equal(t, 200, do(h, r).Code)
		return got, r
	}
	remove := func(c *middleware.Config) { c.RemoveCredentials = true }
	redact := func(c *middleware.Config) { c.RedactKeyQuery = true }

	got, r := run(nil, "/echo?a=b", "Authorization", bearer, keyHeader, "wrong")
	assert.Equal(t, seen{bearer, "", "a=b"}, got, "a wrong key beside a valid token")
	assert.Equal(t, "wrong", r.Header.Get(keyHeader), "the request outside is not changed")
	got, _ = run(nil, "/echo?a=b", "Authorization", bearer, keyHeader, "key-starter")
	assert.Equal(t, seen{bearer, "", "a=b"}, got, "a right key that was not needed was not verified")
	got, _ = run(nil, "/echo?a=b&subscription-key=x&c=d", "Authorization", bearer)
	assert.Equal(t, seen{bearer, "", "a=b&c=d"}, got)
	got, _ = run(nil, "/echo", "Authorization", "Bearer x", keyHeader, "key-starter")
	assert.Equal(t, seen{"", "key-starter", ""}, got)
	got, _ = run(nil, "/echo", "Authorization", "Basic eDp5", keyHeader, "key-starter")
	assert.Equal(t, seen{"", "key-starter", ""}, got)
	got, _ = run(nil, "/echo?subscription-key=other", keyHeader, "key-starter")
	assert.Equal(t, seen{"", "key-starter", ""}, got, "one in the query is not looked at beside the header")
	got, r = run(nil, "/echo?subscription-key=key-starter&a=b")
	assert.Equal(t, seen{"", "", "subscription-key=key-starter&a=b"}, got)
	assert.Contains(t, r.RequestURI, "key-starter")
	got, r = run(redact, "/echo?subscription-key=key-starter&a=b")
	assert.Equal(t, seen{"", "", "a=b"}, got)
	assert.Equal(t, "/echo?a=b a=b", r.RequestURI+" "+r.URL.RawQuery, "an access log outside does not see it")
	got, _ = run(remove, "/echo?a=b", "Authorization", bearer)
	assert.Equal(t, seen{"", "", "a=b"}, got)
	got, _ = run(remove, "/echo?a=b&subscription-key=key-starter")
	assert.Equal(t, seen{"", "", "a=b"}, got)
	got, _ = run(remove, "/echo", keyHeader, "key-starter")
	assert.Equal(t, seen{}, got)
}

// Which answer is given where several credentials fail, and that a valid one
// passes whatever the other is.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	e := newEntra()
	g := open(t, managed(e, c))
	require.NoError(t, g.Ready(t.Context()))
	h := g.Wrap(echo)
	good := "Bearer " + mint(t, claims(nil))
	noRole := "Bearer " + mint(t, claims(object{"roles": nil}))
	const key, wrong = "key-starter", "wrong"
	with := func(auth []string, keys ...string) *http.Request {
		r := request("/echo")
		r.Header["Authorization"] = auth
		if len(keys) > 0 {
			r.Header[keyHeader] = keys
		}
		return r
	}
	for name, tc := range map[string]struct {
		r      *http.Request
		status int
	}{
		"two tokens":                       {with([]string{good, good}), 400},
		"two tokens and a right key":       {with([]string{good, good}, key), 400},
		"two tokens and a wrong key":       {with([]string{good, good}, wrong), 400},
		"two keys":                         {with(nil, key, key), 400},
		"two keys and a right token":       {with([]string{good}, key, key), 200},
		"two keys, token without the role": {with([]string{noRole}, key, key), 400},
		"no role and a wrong key":          {with([]string{noRole}, wrong), 403},
		"garbage and a wrong key":          {with([]string{"Bearer x"}, wrong), 401},
		"two keys in the query":            {request("/echo?subscription-key=" + key + "&subscription-key=" + key), 400},
	} {
		assert.Equal(t, tc.status, do(h, tc.r).Code, name)
	}
	c.set(func(c *catalog) { c.err = io.ErrUnexpectedEOF })
	assert.Equal(t, 503, do(h, with([]string{noRole}, key)).Code, "the key might have let it pass")
	assert.Equal(t, 503, do(h, with([]string{good}, "")).Code)
	assert.Equal(t, 400, do(h, with([]string{good, good}, key)).Code)
}

func TestChallenges(t *testing.T) {
	t.Parallel()
	cfg := managed(newEntra(), newCatalog())
	cfg.Resource = "https://api.example.com/v1/"
	g := open(t, cfg)
	h := g.Wrap(echo)
	const meta = `resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/v1"`
	scope := `scope="api://` + appID + `/.default"`
	key := `AzureApiManagementKey realm="https://api.example.com/v1/echo",name="Ocp-Apim-Subscription-Key",type="header"`
	assert.Equal(t, []string{"Bearer " + scope + "," + meta, key}, get(h, "/echo").Header().Values("WWW-Authenticate"))
	assert.Equal(t, []string{`Bearer error="invalid_token",error_description="JwtInvalid",` + scope + "," + meta, key}, call(h, "x").Header().Values("WWW-Authenticate"))
	assert.Equal(t, []string{`Bearer error="insufficient_scope",error_description="RoleMissing",` + scope + "," + meta},
		call(h, mint(t, claims(object{"roles": nil}))).Header().Values("WWW-Authenticate"))
	assert.Empty(t, get(h, "/nothing").Header().Values("WWW-Authenticate"))
	r := request("/echo")
	r.Host = "evil\"\r\n,x"
	assert.Contains(t, do(open(t, managed(newEntra(), newCatalog())).Wrap(echo), r).Header().Values("WWW-Authenticate")[1], `realm="https://evil,x/echo"`)
	w := get(h, "/echo")
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))

	w = get(g.Metadata(), "/.well-known/oauth-protected-resource/v1")
	assert.Equal(t, 200, w.Code)
	assert.JSONEq(t, `{"resource":"https://api.example.com/v1/","authorization_servers":["`+authority+"/"+tenantID+`/v2.0"],
		"scopes_supported":["api://`+appID+`/.default"],"bearer_methods_supported":["header"]}`, w.Body.String(), "products that are not published are not listed")
	cfg.Resource = ""
	assert.Equal(t, 404, get(open(t, cfg).Metadata(), "/").Code)
}

// The scope to ask for belongs to a product that takes tokens, and only what
// may stand in a challenge.
func TestScopeOfTheChallenge(t *testing.T) {
	t.Parallel()
	token, key := appaccess.Access{Token: true}, appaccess.Access{Key: true}
	for id, want := range map[string]string{
		"x": `Bearer scope="api://x/.default"`, "x~!": `Bearer scope="api://x~!/.default"`, "": `Bearer`,
		`x"y`: `Bearer`, `x\y`: `Bearer`, "x y": `Bearer`, "x\r\ny": `Bearer`, "\u00fc": `Bearer`, "x\x7f": `Bearer`,
	} {
		c := newCatalog()
		p := products()
		p[0].Access, p[0].Entra.AppID = token, id
		c.publish(p[:1], apis())
		assert.Equal(t, []string{want}, get(open(t, managed(newEntra(), c)).Wrap(echo), "/echo").Header().Values("WWW-Authenticate"), "%q: and none for keys", id)
	}
	c := newCatalog()
	p := products()
	p[0].Access, p[1].Access = key, token
	c.publish(p, apis())
	h := open(t, managed(newEntra(), c)).Wrap(echo)
	assert.Equal(t, `Bearer scope="api://`+otherApp+`/.default"`, get(h, "/echo").Header().Get("WWW-Authenticate"), "the first product takes no tokens")
}

// A Bearer challenge names an error only where a token was presented.
func TestErrorOfTheChallenge(t *testing.T) {
	t.Parallel()
	h := open(t, managed(newEntra(), newCatalog())).Wrap(echo)
	for name, tc := range map[string]struct {
		header []string
		want   string
	}{
		"nothing":             {nil, ""},
		"a wrong key":         {[]string{keyHeader, "wrong"}, ""},
		"another scheme":      {[]string{"Authorization", "Basic eDp5"}, ""},
		"Bearer and no token": {[]string{"Authorization", "Bearer"}, `error="invalid_token"`},
		"no token at all":     {[]string{"Authorization", "Bearer x"}, `error="invalid_token"`},
		"beside a wrong key":  {[]string{"Authorization", "Bearer x", keyHeader, "wrong"}, `error="invalid_token"`},
	} {
		challenges := get(h, "/echo", tc.header...).Header().Values("WWW-Authenticate")
		require.Len(t, challenges, 2, name)
		assert.Contains(t, challenges[0], "Bearer ", name)
		assert.Contains(t, challenges[0], tc.want, name)
		assert.Equal(t, tc.want != "", strings.Contains(challenges[0], "error"), name)
		assert.NotContains(t, challenges[1], "error", name)
	}
	refused := call(h, mint(t, claims(object{"roles": nil}))).Header().Values("WWW-Authenticate")
	assert.Len(t, refused, 1, "403: another kind of credential is not asked for")
}

// Nothing of a request can end a quoted string or a header.
func TestHostInAChallenge(t *testing.T) {
	t.Parallel()
	h := open(t, managed(newEntra(), newCatalog())).Wrap(echo)
	for host, want := range map[string]string{
		"api.example.com:8443": "api.example.com:8443", `a"b`: "ab", `a\b`: "ab", "a\x7fb": "ab", "a\u00fcb": "ab", "a\r\nb": "ab", "a b~": "a b~",
	} {
		r := request("/echo")
		r.Host = host
		assert.Contains(t, do(h, r).Header().Values("WWW-Authenticate")[1], `realm="https://`+want+`/echo",`, "%q", host)
	}
}

// The metadata names the scopes of published products that take tokens, in one
// order.
func TestMetadataScopes(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	cfg := managed(newEntra(), c)
	cfg.Resource = "https://api.example.com"
	h := open(t, cfg).Metadata()
	p := products()
	p[0].Entra.AppID, p[1].Entra.AppID, p[1].State = "b", "a", appaccess.Published
	p = append(p, appaccess.Product{ID: "keys", State: appaccess.Published, Access: appaccess.Access{Key: true}, Entra: appaccess.ProductApplication{AppID: "c"}},
		appaccess.Product{ID: "soon", State: appaccess.Published, Access: appaccess.Access{Token: true}})
	c.publish(p, apis())
	for range 5 {
		w := get(h, "/")
		assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
		assert.Contains(t, w.Body.String(), `"scopes_supported":["api://a/.default","api://b/.default"]`)
	}
	c.snapshot.Store(nil)
	assert.Equal(t, 503, get(h, "/").Code)
}

// A person can read which audiences exist, but not hundreds of them.
func TestRefusalsNameTheAudiences(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{
		1: "a0", 10: "a0 or a1 or a2 or a3 or a4 or a5 or a6 or a7 or a8 or a9", 11: "a0 or a1 or a2 or a3 or a4 or a5 or a6 or a7 or a8 or a9 or another",
	} {
		cfg := config(newEntra())
		cfg.Products = nil
		for i := range n {
			cfg.Products = append(cfg.Products, middleware.Product{ID: fmt.Sprint("p", i), Audiences: []string{fmt.Sprintf("a%x", i)}, Role: role})
		}
		d := open(t, cfg).Explain(bearerRequest(mint(t, claims(nil))))
		assert.Equal(t, []any{middleware.TokenAudienceNotAllowed, want}, []any{d.Reason, d.Detail.Expected}, n)
	}
}

// Every answer has API Management's shape and its own status.
func TestBodies(t *testing.T) {
	t.Parallel()
	h := open(t, managed(newEntra(), newCatalog())).Wrap(echo)
	for path, header := range map[string][]string{
		"/echo": nil, "/none": nil, "/echo//x": nil, "/echo?a": {"Authorization", "Bearer x"}, "/echo?b": {keyHeader, "x"},
	} {
		w := get(h, path, header...)
		var body struct {
			StatusCode int
			Message    string
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body), w.Body.String())
		assert.Equal(t, w.Code, body.StatusCode)
		assert.NotEmpty(t, body.Message)
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(open(t, managed(newEntra(), newCatalog())).Wrap(echo))
	defer srv.Close()
	for _, method := range []string{"HEAD", "OPTIONS", "POST", "TRACE", "PROPFIND"} {
		r, err := http.NewRequest(method, srv.URL+"/echo", nil)
		require.NoError(t, err)
		resp, err := srv.Client().Do(r)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, 401, resp.StatusCode, method)
		assert.Equal(t, method == "HEAD", len(body) == 0, method)
	}
}

func TestRefuseHook(t *testing.T) {
	t.Parallel()
	cfg := config(newEntra())
	cfg.Refuse = func(w http.ResponseWriter, _ *http.Request, d middleware.Decision) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(d.Status)
		_, _ = io.WriteString(w, `{"type":"`+string(d.Reason)+`"}`)
	}
	w := call(open(t, cfg).Product("starter")(echo), "x")
	assert.Equal(t, 401, w.Code)
	assert.JSONEq(t, `{"type":"JwtInvalid"}`, w.Body.String())
	assert.NotEmpty(t, w.Header().Get("WWW-Authenticate"))
}

// Paths that routers may read differently are refused; others are held against
// whole segments.
func TestPaths(t *testing.T) {
	t.Parallel()
	h := open(t, managed(newEntra(), newCatalog())).Wrap(echo)
	srv := httptest.NewServer(h)
	defer srv.Close()
	for path, status := range map[string]int{
		"/echo": 401, "/echo/": 401, "/echo/x": 401, "/echo/a.b/..x/.hidden": 401, "/echo/%20": 401, "/echo/caf%C3%A9": 401,
		"/echoes": 404, "/Echo": 400, "/ECHO/x": 400, "/echo/Admin": 400, "/echo/X": 401, "/": 404, "/ech": 404,
		"/echo/../x": 400, "/./echo": 400, "/echo/.": 400, "/echo/..": 400, "//echo": 400, "/echo//x": 400, "/echo/..;/x": 400, "/echo/.;a=b/x": 400,
		"/echo%2fx": 400, "/echo%2Fadmin": 400, "/echo%5cx": 400, "/echo/%2e%2e/x": 400, "/echo/%2E": 400, "/echo/%00": 400, "/echo/%0d%0a": 400,
		"/echo/a%2fb": 400, "/echo/a%2Fb": 400, "/echo/a%5cb": 400, "/echo/a%5Cb": 400, "/echo/a%252fb": 401, "/echo/a%3bb": 401,
		"/%65cho": 400, "/echo/%61dmin": 400, "/echo/%78": 401,
	} {
		req, err := http.NewRequest(http.MethodGet, srv.URL, nil)
		require.NoError(t, err)
		req.URL.Opaque = path
		resp, err := srv.Client().Do(req)
		require.NoError(t, err, path)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, status, resp.StatusCode, path)
	}
	r := request("/")
	r.URL.Path = "*"
	assert.Equal(t, 400, do(h, r).Code)
	r.URL.Path = ""
	assert.Equal(t, 400, do(h, r).Code)
}
