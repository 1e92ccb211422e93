package middleware_test

import (
	"context"
	"fmt"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
	"github.com/entragate/entragate/middleware/gatetest"
	"github.com/entragate/entragate/provision/entratest"
)

// A service that is one product's: tokens of one tenant, with the product's
// audience and role.
func Example() {
	gate, err := middleware.New(middleware.Config{
		Tenants: []string{"aaaabbbb-0000-cccc-1111-dddd2222eeee"},
		Products: []middleware.Product{{
			ID: "starter",
			// The product's application ID: the audience of version 2 and version 1 tokens.
			Audiences: []string{"55556666-ffff-7777-aaaa-8888bbbb9999", "api://55556666-ffff-7777-aaaa-8888bbbb9999"},
			Role:      "Product.Starter.All",
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer gate.Close()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /echo/resource", func(w http.ResponseWriter, r *http.Request) {
		if caller, ok := middleware.PrincipalFrom(r.Context()); ok { // nobody in report-only mode
			fmt.Fprintf(w, "hello %s\n", caller.ClientID)
		}
	})
	server := &http.Server{Addr: "localhost:8080", Handler: gate.Product("starter")(mux)}
	_ = server // server.ListenAndServe()
}

// A gateway in managed mode: products, grants, subscriptions and revocation
// come from the catalog.
func ExampleGate_Wrap() {
	var store appaccess.Store // sqlite.Open(...) or postgres.Open(...)
	var routes http.Handler   // the mux of all APIs

	serve := func(ctx context.Context) error {
		catalog, err := appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: store})
		if err != nil {
			return err
		}
		defer catalog.Close()
		gate, err := middleware.New(middleware.Config{
			Tenants: []string{"aaaabbbb-0000-cccc-1111-dddd2222eeee"},
			Catalog: catalog,
		})
		if err != nil {
			return err
		}
		defer gate.Close()
		mux := http.NewServeMux()
		mux.Handle("/ready", gate.ReadyHandler())
		mux.Handle("/", gate.Wrap(routes))
		return http.ListenAndServe("localhost:8080", mux)
	}
	_ = serve
}

// A test that no route of a mux is left unguarded.
func ExampleGate_CheckRoutes() {
	gate, err := middleware.New(middleware.Config{
		Products: []middleware.Product{{ID: "starter", Keys: true, APIs: []string{"echo"}}},
		APIs:     []appaccess.API{{ID: "echo", Path: "/echo"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer gate.Close()
	for _, problem := range gate.CheckRoutes("GET /echo/{id}", "GET /admin") {
		fmt.Println(problem)
	}
	// Output:
	// GET /admin: uncovered: a path of it is in no API
}

// Why was this request refused?
func ExampleGate_Explain() {
	tenant, err := entratest.New(entratest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	gate, err := middleware.New(middleware.Config{
		Tenants: []string{tenant.ID()}, Authority: tenant.BaseURL(), HTTPClient: &http.Client{Transport: tenant.Transport()},
		Products: []middleware.Product{{
			ID: "starter", Audiences: []string{"api://55556666-ffff-7777-aaaa-8888bbbb9999"}, Role: "Product.Starter.All",
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer gate.Close()
	r, _ := http.NewRequest(http.MethodGet, "http://localhost/echo", nil)
	r.Header.Set("Authorization", "Bearer "+tenant.MintToken(map[string]any{
		"aud": "55556666-ffff-7777-aaaa-8888bbbb9999", "azp": "00001111-aaaa-2222-bbbb-3333cccc4444",
	}, nil))
	d := gate.Explain(r)
	fmt.Println(d.Status, d.Reason)
	fmt.Println(d.Detail)
	// Output:
	// 401 TokenAudienceNotAllowed
	// aud is "55556666-ffff-7777-aaaa-8888bbbb9999" (a client ID, as in version 2 tokens), expected "api://55556666-ffff-7777-aaaa-8888bbbb9999"
}

// A handler's own test needs no gate.
func ExampleWithPrincipal() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		if caller, _ := middleware.PrincipalFrom(r.Context()); !caller.HasRole("Orders.Write") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprint(w, "written")
	}
	for _, role := range []string{"Orders.Read", "Orders.Write"} {
		r := httptest.NewRequest(http.MethodPost, "/orders", nil)
		r = r.WithContext(middleware.WithPrincipal(r.Context(), middleware.Principal{
			Credential: middleware.TokenCredential, ClientID: "00001111-aaaa-2222-bbbb-3333cccc4444", Roles: []string{role},
		}))
		w := httptest.NewRecorder()
		handler(w, r)
		fmt.Println(role, w.Code)
	}
	// Output:
	// Orders.Read 403
	// Orders.Write 200
}

// An access log outside of everything never sees a key that was sent in the URL.
func ExampleGate_HideKeys() {
	gate, err := middleware.New(middleware.Config{
		Products: []middleware.Product{{ID: "starter", Keys: true}},
		Subscriptions: []appaccess.Subscription{{
			ID: "sample", Scope: appaccess.ProductScope("starter"), State: appaccess.SubscriptionActive,
			PrimaryHash: appaccess.HashKey("6d1f0c"), // a real one is made by appaccess.NewKey
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer gate.Close()
	accessLog := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			fmt.Println(r.RequestURI)
		})
	}
	echo := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fmt.Println("the handler is reached") })
	h := gate.HideKeys(accessLog(http.TimeoutHandler(gate.Product("starter")(echo), time.Minute, "")))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/echo?a=b&subscription-key=6d1f0c", nil))
	// Output:
	// the handler is reached
	// /echo?a=b
}

// The test that a service should have: who may call it, who may not, no route
// left unguarded, and the attacks of package entratest.
func Example_test() {
	var ahead atomic.Int64 // the attacks move this clock, so that nobody has to wait
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	tenant, err := entratest.New(entratest.Config{Now: now})
	if err != nil {
		log.Fatal(err)
	}
	gate, err := middleware.New(middleware.Config{
		Tenants: []string{tenant.ID()}, Authority: tenant.BaseURL(), HTTPClient: &http.Client{Transport: tenant.Transport()},
		Products: []middleware.Product{{
			ID: "starter", Audiences: []string{"55556666-ffff-7777-aaaa-8888bbbb9999"}, Role: "Product.Starter.All",
		}},
		Now:         now,
		KeyInterval: time.Nanosecond, // the attacks change the tenant's keys more often than is real
	})
	if err != nil {
		log.Fatal(err)
	}
	defer gate.Close()
	mux := http.NewServeMux()
	mux.Handle("GET /echo/resource", gate.Product("starter")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))

	claims := map[string]any{
		"aud": "55556666-ffff-7777-aaaa-8888bbbb9999", "azp": "00001111-aaaa-2222-bbbb-3333cccc4444", "roles": []string{"Product.Starter.All"},
	}
	call := func(claims map[string]any) int {
		r := httptest.NewRequest(http.MethodGet, "/echo/resource", nil)
		r.Header.Set("Authorization", "Bearer "+tenant.MintToken(claims, nil))
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Code
	}
	fmt.Println("with the role:", call(claims))
	other := maps.Clone(claims)
	other["roles"] = []string{"Product.Unlimited.All"}
	fmt.Println("with another:", call(other))
	fmt.Println("unguarded:", gatetest.Unguarded(mux, "GET /echo/resource"))

	passed := 0
	target := gatetest.Target{
		Tenant: tenant, Claims: claims, Handler: mux, Path: "/echo/resource",
		Advance: func(d time.Duration) { ahead.Add(int64(d)) },
	}
	for _, attack := range gatetest.Attacks(target) {
		if err := attack.Run(target); err != nil {
			fmt.Println(err)
			passed++
		}
	}
	fmt.Println("attacks that pass:", passed)
	// Output:
	// with the role: 200
	// with another: 403
	// unguarded: []
	// attacks that pass: 0
}

// A product may let users' tokens pass, if named applications ask for them. What
// the user may do there is the handler's decision.
func ExampleProduct_users() {
	_ = middleware.Product{
		ID:        "orders",
		Audiences: []string{"00001111-aaaa-2222-bbbb-3333cccc4444"},
		Role:      "Product.Orders.All",                             // of applications
		Scopes:    []string{"Orders.Read"},                          // of users
		Clients:   []string{"22223333-cccc-4444-dddd-5555eeee6666"}, // who may call, also for users
		Claims:    map[string][]string{"azpacr": {"1", "2"}},        // with a secret or a certificate
	}
	_ = func(w http.ResponseWriter, r *http.Request) {
		p, ok := middleware.PrincipalFrom(r.Context())
		if !ok || p.User && !mayRead(p.TenantID, p.ObjectID) {
			http.Error(w, "not yours", http.StatusForbidden)
			return
		}
		var more struct {
			Name string `json:"preferred_username"`
		}
		if err := p.Claims(&more); err != nil { // a key has none
			http.Error(w, "a token is needed", http.StatusForbidden)
		}
	}
}

func mayRead(tenant, user string) bool { return tenant != "" && user != "" }

// A service for many tenants follows its customers: tenants come and go while it
// runs.
func ExampleGate_SetTenants() {
	gate, err := middleware.New(middleware.Config{
		Tenants: []string{"aaaabbbb-0000-cccc-1111-dddd2222eeee"},
		Products: []middleware.Product{{
			ID: "orders", Audiences: []string{"00001111-aaaa-2222-bbbb-3333cccc4444"}, Role: "Product.Orders.All",
		}},
	})
	if err != nil {
		panic(err)
	}
	defer func() { _ = gate.Close() }()
	err = gate.SetTenants([]middleware.Tenant{
		{ID: "aaaabbbb-0000-cccc-1111-dddd2222eeee"},
		{ID: "bbbbcccc-1111-dddd-2222-eeee3333ffff", Authority: "https://contoso.ciamlogin.com"},
	})
	fmt.Println(err)
	// Output: <nil>
}
