package middleware_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/middleware"
)

func op(method, path string, anyOf ...[]string) appaccess.Operation {
	return appaccess.Operation{ID: strings.ToLower(method) + path, Method: method, Path: path, AnyOf: anyOf}
}

var orderOperations = []appaccess.Operation{
	op("GET", "/orders", []string{"Read"}),
	op("POST", "/orders", []string{"Write"}, []string{"Read", "Admin"}),
	op("GET", "/orders/{id}", []string{"Read"}),
	op("GET", "/orders/mine", []string{"Read"}),
	op("DELETE", "/orders/{id}"),
	op("HEAD", "/orders/{id}/lines/{line}", []string{"Admin"}),
	op("GET", "/orders/{id}/lines/{line}", []string{"Read"}),
	op("GET", "/", []string{"Read"}),
	{ID: "secret", Method: "GET", Path: "/orders/secret", Gone: true},
}

// withOperations is a static gate whose API at /echo enforces operations.
func withOperations(e appaccess.Enforcement, operations []appaccess.Operation) middleware.Config {
	c := config(newEntra())
	c.APIs = []appaccess.API{{ID: "echo", Path: "/echo", Enforcement: e, Operations: operations}}
	c.Products[0].APIs, c.Products[0].Keys = []string{"echo"}, true
	c.Products[0].Permissions = map[string]string{"Read": "Product.Starter.Read", "Write": "Product.Starter.Write", "Admin": "Product.Starter.Admin"}
	c.Subscriptions = []appaccess.Subscription{{
		ID: "s1", Scope: appaccess.AllAPIs, State: appaccess.SubscriptionActive, PrimaryHash: appaccess.HashKey("key"),
	}}
	return c
}

func send(method, path string, header ...string) *http.Request {
	r := httptest.NewRequest(method, "http://gate.example"+path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// A key reaches every operation, so its answers show what is matched.
func TestOperationsAreMatched(t *testing.T) {
	t.Parallel()
	g := open(t, withOperations(appaccess.EnforceOperations, orderOperations))
	for _, c := range []struct {
		rule         int // of the package documentation, section Operations
		method, path string
		reason       middleware.Reason
		operation    string
	}{
		{1, "GET", "/echo/orders", middleware.Allowed, "get/orders"},
		{1, "GET", "/echo/orders/7", middleware.Allowed, "get/orders/{id}"},
		{1, "GET", "/echo/orders/mine", middleware.Allowed, "get/orders/mine"},
		{1, "GET", "/echo/orders/7/lines/8", middleware.Allowed, "get/orders/{id}/lines/{line}"},
		{1, "GET", "/echo", middleware.Allowed, "get/"},
		{1, "GET", "/echo/", middleware.Allowed, "get/"},
		{1, "DELETE", "/echo/orders/mine", middleware.Allowed, "delete/orders/{id}"}, // within the method
		{5, "HEAD", "/echo/orders", middleware.Allowed, "get/orders"},
		{5, "HEAD", "/echo/orders/7/lines/8", middleware.Allowed, "head/orders/{id}/lines/{line}"},
		{1, "GET", "/echo/orders/a%20b", middleware.Allowed, "get/orders/{id}"},
		{1, "GET", "/echo/orders/a;b", middleware.Allowed, "get/orders/{id}"},

		{4, "GET", "/echo/orders/", middleware.OperationNotFound, ""}, // trailing slash: exact
		{4, "GET", "/echo/orders/7/", middleware.OperationNotFound, ""},
		{4, "GET", "/echo/unknown", middleware.OperationNotFound, ""},
		{4, "GET", "/echo/orders/secret", middleware.OperationNotFound, ""}, // gone, never its template
		{4, "PUT", "/echo/orders", middleware.OperationNotFound, ""},
		{5, "get", "/echo/orders", middleware.OperationNotFound, ""},
		{5, "OPTIONS", "/echo/orders", middleware.OperationNotFound, ""},
		{4, "GET", "/echo/Orders", middleware.OperationNotFound, ""},

		{2, "GET", "/echo/orders/%6dine", middleware.PathNotAllowed, ""}, // the literal for one, the template for another
		{3, "GET", "/echo/orders/mine;x", middleware.PathNotAllowed, ""},
		{3, "GET", "/echo/orders/MINE", middleware.PathNotAllowed, ""},
		{3, "GET", "/echo/orders/mine.", middleware.PathNotAllowed, ""},
		{3, "GET", "/echo/orders/mine%20", middleware.PathNotAllowed, ""},
		{3, "GET", "/echo/orders/%20", middleware.PathNotAllowed, ""},
		{2, "GET", "/echo/orders/%256dine", middleware.PathNotAllowed, ""},
		{3, "GET", "/echo/orders/Secret", middleware.PathNotAllowed, ""},
		{1, "GET", "/echo/orders/a%2Fb", middleware.PathNotAllowed, ""},
		{1, "GET", "/echo/orders/../orders", middleware.PathNotAllowed, ""},
		{1, "GET", "/echo//orders", middleware.PathNotAllowed, ""},
	} {
		d := g.Explain(send(c.method, c.path, keyHeader, "key"))
		assert.Equal(t, c.reason, d.Reason, "rule %d: %s %s", c.rule, c.method, c.path)
		assert.Equal(t, c.operation, d.Operation, "rule %d: %s %s", c.rule, c.method, c.path)
	}
	for _, header := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_Method_Override", "x-http_method", "X.Method.Override"} {
		assert.Equal(t, middleware.RequestAmbiguous, g.Explain(send("GET", "/echo/orders/7", keyHeader, "key", header, "DELETE")).Reason, "rule 6: %s", header)
		assert.Equal(t, middleware.Allowed, g.Explain(send("GET", "/echo/orders/7", keyHeader, "key", header, "GET")).Reason, header)
	}
}

func TestOperationsAskForPermissions(t *testing.T) {
	t.Parallel()
	g := open(t, withOperations(appaccess.EnforceOperations, orderOperations))
	for _, c := range []struct {
		method, path string
		roles        []string
		allowed      bool
	}{
		{"GET", "/echo/orders", []string{"Read"}, true},
		{"GET", "/echo/orders", []string{"Write"}, false},
		{"POST", "/echo/orders", []string{"Read"}, false},
		{"POST", "/echo/orders", []string{"Write"}, true},
		{"POST", "/echo/orders", []string{"Admin"}, false},
		{"POST", "/echo/orders", []string{"Admin", "Read"}, true},
		{"POST", "/echo/orders", []string{"All"}, true},
		{"DELETE", "/echo/orders/7", []string{"Read", "Write", "Admin"}, false}, // names none: All is needed
		{"DELETE", "/echo/orders/7", []string{"All"}, true},
		{"HEAD", "/echo/orders", []string{"Read"}, true},
		{"HEAD", "/echo/orders/7/lines/8", []string{"Read"}, false},
		{"HEAD", "/echo/orders/7/lines/8", []string{"Admin"}, true},
	} {
		var roles []string
		for _, r := range c.roles {
			roles = append(roles, "Product.Starter."+r)
		}
		r := send(c.method, c.path, "Authorization", "Bearer "+mint(t, claims(object{"roles": roles})))
		d := g.Explain(r)
		assert.Equal(t, c.allowed, d.Allowed, "%s %s by %v: %s", c.method, c.path, c.roles, d.Detail)
		if !c.allowed {
			assert.Equal(t, middleware.RoleMissing, d.Reason)
			assert.NotEmpty(t, d.Operation)
		}
	}
	d := g.Explain(send("POST", "/echo/orders", "Authorization", "Bearer "+mint(t, claims(object{"roles": []string{"Product.Starter.Read"}}))))
	assert.Equal(t, "Product.Starter.Write", d.Detail.Expected, "the missing permission is named")
	w := do(g.Wrap(echo), send("POST", "/echo/orders", "Authorization", "Bearer "+mint(t, claims(object{"roles": []string{"Product.Starter.Read"}}))))
	assert.Contains(t, w.Header().Get("WWW-Authenticate"), `error="insufficient_scope",error_description="RoleMissing: operation post/orders needs Product.Starter.Write",scope="api://`+appID+`/.default"`)
	assert.Contains(t, w.Body.String(), "operation post/orders needs Product.Starter.Write")
	d = g.Explain(send("GET", "/echo/orders", "Authorization", "Bearer "+mint(t, claims(object{"roles": []string{"Product.Other.Read"}}))))
	assert.False(t, d.Allowed, "the permission of another product")
}

func TestOperationsThatAreReported(t *testing.T) {
	t.Parallel()
	g := open(t, withOperations(appaccess.ReportOperations, orderOperations))
	d := g.Explain(send("GET", "/echo/unknown", keyHeader, "key"))
	assert.True(t, d.Allowed)
	assert.Equal(t, middleware.OperationNotFound, d.WouldRefuse)
	d = g.Explain(send("GET", "/echo/orders", keyHeader, "key"))
	assert.True(t, d.Allowed)
	assert.Empty(t, d.WouldRefuse)
	read := mint(t, claims(object{"roles": []string{"Product.Starter.Read"}}))
	assert.False(t, g.Explain(send("GET", "/echo/orders", "Authorization", "Bearer "+read)).Allowed, "as long as they are only reported, the product's own role is needed")

	shown := open(t, withOperations(appaccess.ShowOperations, orderOperations))
	assert.True(t, shown.Explain(send("GET", "/echo/unknown", keyHeader, "key")).Allowed)
}

// Ways to a handler that do not go by the API's path do not go around its
// operations.
func TestOperationsBehindProductAndAPI(t *testing.T) {
	t.Parallel()
	g := open(t, withOperations(appaccess.EnforceOperations, orderOperations))
	for path, want := range map[string]int{"/echo/orders": 200, "/echo/unknown": 404, "/elsewhere": 404, "/orders": 404} {
		assert.Equal(t, want, do(g.API("echo")(echo), send("GET", path, keyHeader, "key")).Code, path)
		assert.Equal(t, want, do(g.Product("starter")(echo), send("GET", path, keyHeader, "key")).Code, path)
		assert.Equal(t, want, do(g.Wrap(echo), send("GET", path, keyHeader, "key")).Code, path)
	}
}

// enforce publishes the sample products with Read and Write and the operations of /echo.
func (c *catalog) enforce(operations []appaccess.Operation) {
	p, a := products(), apis()
	for _, name := range []string{"Read", "Write"} {
		p[0].Permissions = append(p[0].Permissions, appaccess.Permission{Name: name})
		p[0].Entra.Roles = append(p[0].Entra.Roles, appaccess.Role{Permission: name, Value: "Product.Starter." + name})
	}
	for i := range a {
		if a[i].Path == "/echo" {
			a[i].Enforcement, a[i].Operations = appaccess.EnforceOperations, operations
		}
	}
	c.publish(p, a)
}

func TestOperationsOfManagedMode(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	c.enforce(orderOperations)
	g := open(t, managed(newEntra(), c))
	restore := c.change(func(s *appaccess.ClientState) {
		s.Grants = appaccess.Grants{{Product: "starter", Permissions: []string{"Read"}}}
	})
	defer restore()
	both := mint(t, claims(object{"roles": []string{"Product.Starter.Read", "Product.Starter.Write"}}))
	d := g.Explain(send("GET", "/echo/orders", "Authorization", "Bearer "+both))
	assert.True(t, d.Allowed, d.Detail)
	require.NotNil(t, d.Principal)
	assert.Equal(t, "get/orders", d.Principal.Operation)
	d = g.Explain(send("POST", "/echo/orders", "Authorization", "Bearer "+both))
	assert.Equal(t, middleware.ClientNotGranted, d.Reason, "a permission that was revoked is gone before the token ends")
	all := mint(t, claims(object{"roles": []string{role}}))
	d = g.Explain(send("POST", "/echo/orders", "Authorization", "Bearer "+all))
	assert.Equal(t, middleware.ClientNotGranted, d.Reason, "likewise the product's own role")
}

func TestOperationsOfStaticModeAreChecked(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*middleware.Config){
		"at least one is needed": func(c *middleware.Config) { c.APIs[0].Operations = nil },
		`Enforcement: "maybe"`:   func(c *middleware.Config) { c.APIs[0].Enforcement = "maybe" },
		"neither is more specific": func(c *middleware.Config) {
			c.APIs[0].Operations = []appaccess.Operation{op("GET", "/{a}/b", []string{"Read"}), op("GET", "/a/{b}")}
		},
		"Permissions":                func(c *middleware.Config) { c.Products[0].Permissions["All"] = "x" },
		"a value of its own without": func(c *middleware.Config) { c.Products[0].Permissions["Read"] = role },
	} {
		c := withOperations(appaccess.EnforceOperations, orderOperations)
		change(&c)
		_, err := middleware.New(c)
		assert.ErrorContains(t, err, want)
	}
}

// The gate chooses as the most specific template does, which is what net/http's
// ServeMux chooses where it accepts the patterns.
func TestOperationsAgreeWithServeMux(t *testing.T) {
	t.Parallel()
	compared := 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		var operations []appaccess.Operation
		mux := http.NewServeMux()
		for range 1 + r.IntN(8) {
			var path strings.Builder
			for i := range 1 + r.IntN(4) {
				path.WriteString([]string{"/a", "/b", "/mine", fmt.Sprintf("/{x%d}", i), fmt.Sprintf("/{y%d}", i)}[r.IntN(5)])
			}
			o := op([]string{"GET", "POST"}[r.IntN(2)], path.String(), []string{fmt.Sprintf("P%d", r.IntN(3))})
			o.ID = fmt.Sprintf("op%d", len(operations))
			if appaccess.CheckOperations(append(operations, o)) != nil {
				continue
			}
			if !registers(mux, o.Method+" /echo"+o.Path, o.ID) {
				continue
			}
			operations = append(operations, o)
		}
		if len(operations) == 0 {
			continue
		}
		g, err := middleware.New(withOperations(appaccess.EnforceOperations, operations))
		require.NoError(t, err)
		for range 60 {
			var path strings.Builder
			for range r.IntN(5) {
				path.WriteString([]string{"/a", "/b", "/mine", "/7", "/x y", "/"}[r.IntN(6)])
			}
			req := send([]string{"GET", "POST", "HEAD"}[r.IntN(3)], "/echo"+strings.ReplaceAll(path.String(), " ", "%20"), keyHeader, "key")
			d := g.Explain(req)
			handler, pattern := mux.Handler(req)
			if _, own := handler.(named); !own { // not found, or a redirect of unclean paths
				pattern = ""
			}
			switch {
			case d.Reason == middleware.PathNotAllowed: // stricter than the mux
			case d.Allowed:
				require.NotEmpty(t, pattern, "seed %d: %s %s is %s", seed, req.Method, req.URL, d.Operation)
				require.Equal(t, string(handler.(named)), d.Operation, "seed %d: %s %s", seed, req.Method, req.URL)
				compared++
			default:
				require.Empty(t, pattern, "seed %d: %s %s: %s", seed, req.Method, req.URL, d.Reason)
			}
		}
		require.NoError(t, g.Close())
	}
	assert.Greater(t, compared, 1000)
}

type named string

func (named) ServeHTTP(http.ResponseWriter, *http.Request) {}

// registers reports whether the mux takes a pattern beside the others.
func registers(mux *http.ServeMux, pattern, id string) (ok bool) {
	defer func() { ok = recover() == nil }()
	mux.Handle(pattern, named(id))
	return true
}

// BenchmarkOperations compares a seen token with and without 500 operations.
func BenchmarkOperations(b *testing.B) {
	var operations []appaccess.Operation
	for i := range 100 {
		root := fmt.Sprintf("/resource%d", i)
		operations = append(operations, op("GET", root), op("POST", root), op("GET", root+"/{id}"), op("DELETE", root+"/{id}"), op("GET", root+"/{id}/parts/{part}"))
	}
	paths := []string{"/echo/resource3", "/echo/resource77/12", "/echo/resource50/a/parts/b", "/echo/resource99", "/echo/resource0/x"}
	for _, mode := range []appaccess.Enforcement{appaccess.ShowOperations, appaccess.EnforceOperations} {
		name := string(mode)
		if name == "" {
			name = "none"
		}
		b.Run(name, func(b *testing.B) {
			g := open(b, withOperations(mode, operations))
			token := mint(b, claims(nil))
			var requests []*http.Request
			for _, p := range paths {
				requests = append(requests, send("GET", p, "Authorization", "Bearer "+token))
			}
			measure(b, g.Wrap(nothing), 200, requests...)
		})
	}
}

// Anybody can ask for an operation that does not exist, so that is no warning.
func TestUnknownOperationsAreNotWarnedOf(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	c := withOperations(appaccess.EnforceOperations, orderOperations)
	c.Logger = log.Logger(slog.LevelDebug)
	h := open(t, c).Wrap(echo)
	get(h, "/echo/nothing/like/this")
	get(h, "/echo/nothing/like/this", "Authorization", "Bearer x")
	assert.Contains(t, log.String(), "reason=OperationNotFound")
	assert.NotContains(t, log.String(), "WARN")
}
