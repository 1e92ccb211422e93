package middleware_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"testing"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
	"github.com/entragate/entragate/provision/entratest"
)

// A service that is one product's: tokens of one tenant, with the product's
// audience and role.
func Example() {
	gate, err := middleware.New(middleware.Config{
		Tenants: []string{"aaaabbbb-0000-cccc-1111-dddd2222eeee"},
		Products: []middleware.Product{{
			ID:        "starter",
			Audiences: []string{"55556666-ffff-7777-aaaa-8888bbbb9999"}, // the product's application ID
			Role:      "Product.Starter.All",
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer gate.Close()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /echo/resource", func(w http.ResponseWriter, r *http.Request) {
		caller, _ := middleware.PrincipalFrom(r.Context())
		fmt.Fprintf(w, "hello %s\n", caller.ClientID)
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
	// aud is "55556666-ffff-7777-aaaa-8888bbbb9999" (a client ID, as in version 2 tokens), allowed is "api://55556666-ffff-7777-aaaa-8888bbbb9999"
}

// The attacks of package entratest on a service of one's own.
func ExampleGate_Product_attacks() {
	var t *testing.T
	var service http.Handler // behind a gate whose Authority is tenant.BaseURL()
	test := func(tenant *entratest.Tenant, claims map[string]any) {
		target := entratest.AttackTarget{Tenant: tenant, Claims: claims, Handler: service, Path: "/echo"}
		for _, attack := range entratest.Attacks(target) {
			if err := attack.Run(target); err != nil {
				t.Error(err)
			}
		}
	}
	_ = test
}
