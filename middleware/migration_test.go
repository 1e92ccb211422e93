package middleware_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/middleware"
)

// A refused request never says 200, whatever a hook that writes the answer
// leaves out.
func TestRefuseHookWithoutAStatus(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		hook   func(http.ResponseWriter)
		status int
	}{
		"nothing":       {func(http.ResponseWriter) {}, 401},
		"body":          {func(w http.ResponseWriter) { fmt.Fprint(w, "no") }, 401},
		"flush":         {func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }, 401},
		"old flush":     {func(w http.ResponseWriter) { w.(http.Flusher).Flush() }, 401},
		"early hints":   {func(w http.ResponseWriter) { w.WriteHeader(103); fmt.Fprint(w, "no") }, 401},
		"own":           {func(w http.ResponseWriter) { w.WriteHeader(404) }, 404},
		"what it wraps": {func(w http.ResponseWriter) { _ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) }, 401},
	} {
		cfg := config(newEntra())
		cfg.Refuse = func(w http.ResponseWriter, _ *http.Request, d middleware.Decision) {
			assert.Equal(t, 401, d.Status, name)
			tc.hook(w)
		}
		srv := httptest.NewServer(open(t, cfg).Product("starter")(echo))
		res, err := srv.Client().Get(srv.URL)
		require.NoError(t, err, name)
		require.NoError(t, res.Body.Close())
		srv.Close()
		assert.Equal(t, tc.status, res.StatusCode, name)
		assert.NotEmpty(t, res.Header.Get("WWW-Authenticate"), name)
	}
}

// The challenge names a scope that helps: the scope of the product that came closest,
// or of a product that takes tokens.
func TestChallengeNamesAScopeThatHelps(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	h := open(t, managed(newEntra(), c)).Wrap(echo)
	scope := func(app string) string { return `scope="api://` + app + `/.default"` }
	bearer := func(w *httptest.ResponseRecorder) string { return w.Header().Values("WWW-Authenticate")[0] }
	assert.Contains(t, bearer(get(h, "/echo")), scope(appID))
	assert.Contains(t, bearer(call(h, mint(t, claims(object{"aud": otherApp, "roles": nil})))), scope(otherApp))
	for name, change := range map[string]func(*appaccess.Product){
		"suspended": func(p *appaccess.Product) { p.Suspended = true },
		"no role":   func(p *appaccess.Product) { p.Entra.Roles = allRole("") },
		"no tokens": func(p *appaccess.Product) { p.Access.Token = false },
	} {
		p := products()
		change(&p[0])
		c.publish(p, apis())
		assert.Contains(t, bearer(get(h, "/echo")), scope(otherApp), name)
	}
	p := products()
	p[0].Suspended, p[1].Suspended = true, true
	c.publish(p, apis())
	assert.NotContains(t, bearer(get(h, "/echo")), "scope")
}

// The refusal of another product's token says what to do.
func TestTheRefusalOfAnotherProductsTokenNamesBoth(t *testing.T) {
	t.Parallel()
	w := get(open(t, managed(newEntra(), newCatalog())).Wrap(echo), "/echo/admin", "Authorization", "Bearer "+mint(t, claims(nil)))
	assert.Equal(t, 403, w.Code)
	assert.Contains(t, w.Body.String(), "another product")
	assert.Contains(t, w.Header().Get("WWW-Authenticate"), `scope="api://`+otherApp+`/.default"`)

	c := newCatalog()
	p := products()
	p[1].Suspended = true
	c.publish(p, apis())
	w = get(open(t, managed(newEntra(), c)).Wrap(echo), "/echo/admin", "Authorization", "Bearer "+mint(t, claims(nil)))
	assert.Equal(t, 403, w.Code)
	assert.NotContains(t, w.Header().Get("WWW-Authenticate"), "scope=")
	assert.NotContains(t, w.Body.String(), "WWW-Authenticate", "where no scope would help")
}

// Where the metadata is served is where challenges point to.
func TestMetadataPath(t *testing.T) {
	t.Parallel()
	for resource, path := range map[string]string{
		"": "", "https://api.example.com": "", "https://api.example.com/": "", "https://api.example.com/shop/v1/": "/shop/v1",
	} {
		cfg := config(newEntra())
		cfg.Resource = resource
		g := open(t, cfg)
		path = "/.well-known/oauth-protected-resource" + path
		assert.Equal(t, path, g.MetadataPath())
		if resource != "" {
			assert.Contains(t, get(g.Product("starter")(echo), "/x").Header().Get("WWW-Authenticate"), `resource_metadata="https://api.example.com`+path+`"`)
		}
	}
}

// HideKeys keeps a key in the query from everything behind it that logs or
// copies the request, and the gate finds it all the same.
func TestHideKeys(t *testing.T) {
	t.Parallel()
	g := open(t, managed(newEntra(), newCatalog()))
	guarded := g.Wrap(echo)
	for query, want := range map[string]struct {
		left   string
		status int
	}{
		"subscription-key=key-starter":                      {"", 200},
		"a=b&subscription-key=key-starter&c=d":              {"a=b&c=d", 200},
		"subscription%2Dkey=key-starter":                    {"", 200},
		"subscription-key=wrong":                            {"", 401},
		"subscription-key=":                                 {"", 401},
		"subscription-key=key-starter&subscription-key=key": {"", 400},
		"a=b": {"a=b", 401},
		"":    {"", 401},
	} {
		var seen *http.Request
		h := g.HideKeys(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen = r
			http.StripPrefix("/v1", guarded).ServeHTTP(w, r.WithContext(r.Context()))
		}))
		r := request("/v1/echo?" + query)
		assert.Equal(t, want.status, do(h, r).Code, query)
		assert.Equal(t, want.left, seen.URL.RawQuery, query)
		assert.NotContains(t, seen.RequestURI, "key")
		assert.Equal(t, query, r.URL.RawQuery, "the caller's own request stays as it is")
		assert.Empty(t, r.Header)
	}
	r := request("/echo?subscription-key=key-starter")
	r.Header = nil
	assert.Equal(t, 200, do(g.HideKeys(guarded), r).Code)
	r = request("/echo?subscription-key=wrong", keyHeader, "key-starter")
	assert.Equal(t, 200, do(g.HideKeys(guarded), r).Code, "the header is what counts")

	cfg := managed(newEntra(), newCatalog())
	cfg.KeyQuery = "-"
	none := open(t, cfg)
	for _, query := range []string{"subscription-key=key-starter", "=key-starter"} {
		assert.Equal(t, 401, do(none.HideKeys(none.Wrap(echo)), request("/echo?"+query)).Code, "no query is looked at")
	}
}

// A key that was parsed from the query before the gate does not reach the
// handler in the form either; what was posted under its name does.
func TestKeyInAParsedForm(t *testing.T) {
	t.Parallel()
	for name, redact := range map[string]bool{"as it is": false, "redacted": true} {
		cfg := managed(newEntra(), newCatalog())
		cfg.RedactKeyQuery = redact
		var form map[string][]string
		h := open(t, cfg).Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { form = r.Form }))
		for body, want := range map[string][]string{"": nil, "subscription-key=mine": {"mine"}} {
			r := httptest.NewRequest(http.MethodPost, "/echo?a=b&subscription-key=unverified", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Authorization", "Bearer "+mint(t, claims(nil)))
			require.NoError(t, r.ParseForm())
			require.Equal(t, 200, do(h, r).Code, name)
			assert.Equal(t, want, form["subscription-key"], name)
			assert.Equal(t, []string{"b"}, form["a"], name)
			assert.Equal(t, !redact, slices.Contains(r.Form["subscription-key"], "unverified"), "the log outside: "+name)
		}
	}
}

// The URL that requests share with copies of them is not written to.
func TestRedactingWritesToNothingShared(t *testing.T) {
	t.Parallel()
	cfg := managed(newEntra(), newCatalog())
	cfg.RedactKeyQuery = true
	h := open(t, cfg).Wrap(echo)
	r := request("/echo?subscription-key=key-starter")
	own := r.WithContext(t.Context())
	assert.Equal(t, 200, do(h, own).Code)
	assert.Empty(t, own.URL.RawQuery)
	assert.Equal(t, "subscription-key=key-starter", r.URL.RawQuery)
}

// The innermost gate says who calls, also that it is nobody.
func TestNestedGates(t *testing.T) {
	t.Parallel()
	cfg := config(newEntra())
	outer := open(t, cfg).Product("starter")
	cfg.ReportOnly = true
	var who *middleware.Principal
	var ok bool
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { who, ok = middleware.PrincipalFrom(r.Context()) })
	call(outer(open(t, cfg).Product("other")(h)), mint(t, claims(nil)))
	assert.Nil(t, who)
	assert.False(t, ok)
	call(outer(h), mint(t, claims(nil)))
	assert.True(t, ok)
}

// A handler can be tested without a gate, and one that asks nobody's role gets
// an answer.
func TestWithPrincipal(t *testing.T) {
	t.Parallel()
	p := middleware.Principal{ClientID: clientID, Product: "starter", Roles: []string{role}}
	ctx := middleware.WithPrincipal(t.Context(), p)
	got, ok := middleware.PrincipalFrom(ctx)
	require.True(t, ok)
	assert.Equal(t, p, *got)
	assert.True(t, got.HasRole(role))
	got.Roles[0] = "changed"
	again, _ := middleware.PrincipalFrom(ctx)
	assert.Equal(t, []string{role}, again.Roles)
	nobody, ok := middleware.PrincipalFrom(t.Context())
	assert.False(t, ok)
	assert.False(t, nobody.HasRole(role))

	h := open(t, config(newEntra())).Product("starter")(echo)
	assert.Equal(t, 401, do(h, request("/x").WithContext(ctx)).Code, "no gate looks at it")
}

// However many products an API is in, a refusal stays short.
func TestRefusalsOfManyProductsAreShort(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	var many []appaccess.Product
	for n := range 500 {
		id := fmt.Sprintf("p%d", n)
		many = append(many, appaccess.Product{
			ID: id, Access: appaccess.Access{Token: true}, APIs: []string{"echo"},
			Entra: appaccess.ProductApplication{AppID: otherApp, Roles: []appaccess.Role{{Permission: appaccess.AllPermission, Value: "Role." + id}}},
		})
	}
	c.publish(append(many, products()...), []appaccess.API{{ID: "echo", Path: "/echo"}, {ID: "admin", Path: "/echo/admin"}})
	g := open(t, managed(newEntra(), c))
	for _, change := range []object{{"aud": otherApp, "roles": nil}, {"aud": "api://" + appID, "roles": nil}, {"aud": "x"}} {
		d := g.ExplainAPI("echo", bearerRequest(mint(t, claims(change))))
		assert.False(t, d.Allowed)
		assert.Less(t, len(d.Detail.Expected), 600, d.Detail.Expected)
	}
	d := g.ExplainAPI("echo", bearerRequest(mint(t, claims(object{"aud": otherApp, "roles": nil}))))
	assert.Contains(t, d.Detail.Expected, "Role.p0 or Role.p1", "any of them would do")
}

// The Detail says that Entra does not have the product yet, and names each audience
// and role once.
func TestProductWithoutARole(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	g := open(t, managed(newEntra(), c))
	detail := func(token object, change func(p []appaccess.Product)) string {
		p := products()
		p[1].Entra.AppID, p[1].Entra.IdentifierURI = appID, p[0].Entra.IdentifierURI
		change(p)
		c.publish(p, apis())
		return g.Explain(bearerRequest(mint(t, claims(token)))).Detail.String()
	}
	assert.Equal(t, `role of product starter is missing, expected "one (it is not in Entra yet)"`,
		detail(nil, func(p []appaccess.Product) { p[0].Entra.Roles, p[1].Entra.Roles = allRole(""), allRole("") }))
	assert.Equal(t, `roles is "x", expected "Product.Starter.All or Product.Other.All"`, detail(object{"roles": []string{"x"}}, func([]appaccess.Product) {}))
	assert.Equal(t, `roles is "x", expected "Product.Starter.All"`,
		detail(object{"roles": []string{"x"}}, func(p []appaccess.Product) { p[1].Entra.Roles = allRole(role) }))
	assert.Contains(t, detail(object{"aud": []string{appID, otherApp}}, func(p []appaccess.Product) { p[1].Entra.AppID = otherApp }), `aud is "`+appID+" "+otherApp+`", expected`)
}

// What people mix up most often is named, and only there.
func TestAudienceHints(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		allowed, got, hint string
	}{
		"client ID for a URI": {"api://x", otherApp, "(a client ID, as in version 2 tokens), "},
		"client IDs":          {appID, otherApp, `" expected`},
		"URI for a client ID": {appID, "api://" + appID, "(an App ID URI, as in version 1 tokens), "},
		"URIs":                {"api://x", "api://y", `" expected`},
		"a name":              {appID, "y", `" expected`},
	} {
		cfg := config(newEntra())
		cfg.Products = []middleware.Product{{ID: "p", Audiences: []string{tc.allowed}, Role: role}}
		detail := open(t, cfg).Explain(bearerRequest(mint(t, claims(object{"aud": tc.got})))).Detail.String()
		assert.Contains(t, strings.ReplaceAll(detail, `", expected`, `" expected`), tc.hint, name)
		assert.Equal(t, tc.hint[0] == '(', strings.Contains(detail, "(a"), name)
	}
	c := newCatalog()
	c.publish(nil, nil)
	assert.Equal(t, middleware.OperationNotFound, open(t, managed(newEntra(), c)).Explain(request("/echo")).Reason)
}

// A 503 shows the operator its cause.
func TestUnavailableNamesItsCause(t *testing.T) {
	t.Parallel()
	e, c := newEntra(), newCatalog()
	e.answer = func(*http.Request) (*http.Response, error) { return nil, errors.New("certificate of nobody") }
	g := open(t, managed(e, c))
	require.Error(t, g.Ready(t.Context()))
	d := g.Explain(bearerRequest(mint(t, claims(nil))))
	assert.Equal(t, middleware.KeysUnavailable, d.Reason)
	assert.Contains(t, d.Detail.String(), "keys of "+tenantID+": Get ")
	assert.Contains(t, d.Detail.String(), "certificate of nobody")
	assert.Equal(t, clientID, d.ClaimedClient)

	c.set(func(c *catalog) { c.err = io.ErrUnexpectedEOF })
	assert.Equal(t, "subscription: unexpected EOF", g.Explain(request("/echo", keyHeader, "key-starter")).Detail.String())
	c.snapshot.Store(nil)
	assert.Equal(t, "products: unavailable", g.Explain(request("/echo")).Detail.String())
}

// Keys that became too old without anybody asking are fetched when the gate is
// asked whether it is ready.
func TestReadyFetchesOldKeys(t *testing.T) {
	t.Parallel()
	e := newEntra()
	cfg := config(e)
	var hours atomic.Int64
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(hours.Load()) * time.Hour) }
	g := open(t, cfg)
	require.NoError(t, g.Ready(t.Context()))
	hours.Store(25)
	require.NoError(t, g.Ready(t.Context()))
	assert.Equal(t, 2, e.count())
	hours.Store(50)
	require.NoError(t, g.Close())
	err := g.Ready(t.Context())
	require.ErrorContains(t, err, "the gate is closed")
	assert.NotContains(t, err.Error(), "%!")
}

// The client ID of a refused token is reported as a claim that nobody verified.
func TestClaimedClient(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	cfg := managed(newEntra(), newCatalog())
	cfg.Logger = log.Logger(slog.LevelInfo)
	g := open(t, cfg)
	for name, tc := range map[string]struct {
		token, claimed string
	}{
		"expired":        {mint(t, claims(object{"exp": 1})), clientID},
		"wrong audience": {mint(t, claims(object{"aud": "x"})), clientID},
		"of a user":      {mint(t, claims(object{"scp": "x"})), clientID},
		"forged":         {mint(t, claims(nil))[:20] + "x", ""},
		"long":           {mint(t, claims(object{"exp": 1, "azp": strings.Repeat("z", 1000)})), strings.Repeat("z", 200) + "..."},
		"genuine":        {mint(t, claims(object{"roles": nil})), ""}, // the principal says
	} {
		before := len(log.String())
		d := g.Explain(bearerRequest(tc.token))
		assert.Equal(t, tc.claimed, d.ClaimedClient, name)
		assert.Equal(t, name == "genuine", d.Principal != nil, name)
		call(g.Wrap(echo), tc.token)
		assert.Equal(t, tc.claimed != "", strings.Contains(log.String()[before:], "claimed_client="+tc.claimed), name)
	}
}

// Report-only mode delays nobody: what cannot be known at once is counted.
func TestReportOnlyDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		e.hold = make(chan struct{})
		cfg := managed(e, newCatalog())
		cfg.ReportOnly = true
		g := open(t, cfg)
		defer func() { require.NoError(t, g.Close()) }()
		h := g.Wrap(echo)
		began := time.Now()
		assert.Equal(t, 200, call(h, mint(t, claims(nil))).Code)
		assert.Zero(t, time.Since(began))
		assert.EqualValues(t, 1, g.Usage().Reasons[middleware.KeysUnavailable])
		close(e.hold)
		require.NoError(t, g.Ready(t.Context()))
		call(h, mint(t, claims(nil)))
		assert.EqualValues(t, 1, g.Usage().Reasons[middleware.Allowed])
	})
}

// Mistakes in the use of a gate are logged at Warn; what is
// nobody's fault is not.
func TestWarnings(t *testing.T) {
	t.Parallel()
	warned := func(cfg middleware.Config, use func(*middleware.Gate)) string {
		var log testkit.Log
		cfg.Logger = log.Logger(slog.LevelWarn)
		use(open(t, cfg))
		return log.String()
	}
	token := mint(t, claims(nil))
	cfg := managed(newEntra(), newCatalog())
	assert.Empty(t, warned(cfg, func(g *middleware.Gate) { get(g.Wrap(echo), "/nowhere", keyHeader, "key-starter") }))
	assert.Contains(t, warned(cfg, func(g *middleware.Gate) { call(g.Product("glod")(echo), token) }), `product is \"glod\", expected \"an ID of the configuration or the catalog\"`)
	assert.Contains(t, warned(cfg, func(g *middleware.Gate) { call(g.API("glod")(echo), token) }), `API is \"glod\"`)

	cfg.Tenants = nil
	assert.Contains(t, warned(cfg, func(g *middleware.Gate) { get(g.Wrap(echo), "/echo", keyHeader, "key-starter") }), "Config.Tenants is empty")

	assert.Equal(t, 200, get(open(t, cfg).Wrap(echo), "/echo", keyHeader, "key-starter").Code, "without a log")
	onlyKeys := newCatalog()
	p := products()
	p[0].Access, p[1].Access = appaccess.Access{Key: true}, appaccess.Access{Key: true}
	onlyKeys.publish(p, apis())
	cfg.Catalog = onlyKeys
	assert.Empty(t, warned(cfg, func(g *middleware.Gate) { get(g.Wrap(echo), "/echo", keyHeader, "key-starter") }))

	e := newEntra()
	e.hold = make(chan struct{})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Empty(t, warned(managed(e, newCatalog()), func(g *middleware.Gate) { do(g.Wrap(echo), bearerRequest(token).WithContext(gone)) }))
	close(e.hold)
}

// A decision as JSON names everything that it holds.
func TestDecisionAsJSON(t *testing.T) {
	t.Parallel()
	g := open(t, managed(newEntra(), newCatalog()))
	body, err := json.Marshal(g.Explain(bearerRequest(mint(t, claims(object{"aud": otherApp})))))
	require.NoError(t, err)
	for _, want := range []string{`"allowed":false`, `"status":403`, `"reason":"RoleMissing"`, `"product":"other"`, `"clientId":"` + clientID, `"roles":["` + role + `"]`, `"detail":{"field":"roles","actual":`} {
		assert.Contains(t, string(body), want)
	}
	out, err := jsonv2.Marshal(g.Explain(bearerRequest(mint(t, claims(object{"aud": otherApp})))))
	require.NoError(t, err)
	assert.Contains(t, string(out), `"clientId":"`+clientID)
}

// A request whose path is escaped in ways that routers agree on passes.
func TestEscapesOfAnAPIPath(t *testing.T) {
	t.Parallel()
	cfg := config(newEntra())
	cfg.APIs = []appaccess.API{{ID: "items", Path: "/a-b.c_d~e"}}
	cfg.Products[0].APIs = []string{"items"}
	h := open(t, cfg).Wrap(echo)
	srv := httptest.NewServer(h)
	defer srv.Close()
	for path, status := range map[string]int{
		"/a-b.c_d~e/items(1)": 200, "/a-b.c_d~e/gr%c3%b6%c3%9fe": 200, "/a-b.c_d~e/it's": 200, "/a%2Db.c_d~e/x": 400,
	} {
		r, err := http.NewRequest(http.MethodGet, srv.URL+path, nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+mint(t, claims(nil)))
		res, err := srv.Client().Do(r)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		assert.Equal(t, status, res.StatusCode, path)
	}
}
