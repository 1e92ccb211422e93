package appaccess_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/middleware"
)

// A service in static mode knows a key by its hash, which may be in its
// configuration; examples/service takes it from SUBSCRIPTION_KEY_SHA256. Only the
// caller gets the key itself.
func ExampleNewKey() {
	key, hash := appaccess.NewKey()
	fmt.Println(key) // Reveal gives the key itself

	var known appaccess.KeyHash
	check(known.UnmarshalText([]byte(hash.String())))
	gate, err := middleware.New(middleware.Config{
		Products: []middleware.Product{{ID: "product", Keys: true}},
		Subscriptions: []appaccess.Subscription{{
			ID: "key", Scope: appaccess.ProductScope("product"), State: appaccess.SubscriptionActive, PrimaryHash: known,
		}},
	})
	check(err)
	defer gate.Close()
	service := gate.Product("product")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := middleware.PrincipalFrom(r.Context())
		_, _ = io.WriteString(w, "hello, "+caller.SubscriptionID)
	}))

	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Ocp-Apim-Subscription-Key", key.Reveal())
	w := httptest.NewRecorder()
	service.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output:
	// [secret]
	// 200 hello, key
}

// A move from API Management: its callers keep their keys. What its
// listSecrets returns is hashed here, and only the hashes are stored.
func ExampleService_CreateSubscription() {
	store, err := sqlite.Open(ctx, sqlite.Temporary)
	check(err)
	defer store.Close()
	service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store})
	check(err)
	primary, secondary := "5f1c3a9e0b7d4e2c8a6f1d3b5c7e9a0f", "a0b1c2d3e4f5061728394a5b6c7d8e9f"
	made, err := service.CreateSubscription(ctx, appaccess.Manager("migration"), appaccess.SubscriptionRequest{
		ID: "lobby", Name: "Dashboard in the lobby", Scope: appaccess.ProductScope("starter"),
		PrimaryHash: appaccess.HashKey(primary), SecondaryHash: appaccess.HashKey(secondary),
	})
	check(err)
	fmt.Println(made.Subscription.State, made.Primary.IsZero(), made.Secondary.IsZero())
	// Output: active true true
}
