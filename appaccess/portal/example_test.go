package portal_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/portal"
	"github.com/entragate/entragate/appaccess/sqlite"
)

// A service mounts the portal in its own mux, with the ready sign-in.
func ExampleNew() {
	ctx := context.Background()
	store, err := sqlite.Open(ctx, sqlite.Temporary)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store})
	if err != nil {
		log.Fatal(err)
	}

	pages, err := portal.New(portal.Config{
		Service: service,
		Prefix:  "/portal",
		Title:   "Contoso API access",
		SignIn: &portal.SignIn{
			TenantID:     "aaaabbbb-0000-cccc-1111-dddd2222eeee",
			ClientID:     "00001111-aaaa-2222-bbbb-3333cccc4444",
			ClientSecret: func(context.Context) (string, error) { return os.Getenv("PORTAL_CLIENT_SECRET"), nil },
			RedirectURL:  "https://apis.contoso.com/portal/signin/callback",
		},
		APIHosts: []string{"apis.contoso.com"},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/portal/", pages)

	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "https://apis.contoso.com/portal/products", nil))
	fmt.Println(answer.Code, answer.Header().Get("Location"))
	// Output: 303 /portal/signin?return=%2Fportal%2Fproducts
}

// A host that signs its users in by itself says who they are.
func ExampleNew_authenticate() {
	ctx := context.Background()
	store, err := sqlite.Open(ctx, sqlite.Temporary)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store})
	if err != nil {
		log.Fatal(err)
	}

	type session struct {
		name, tid, oid string
		roles          map[string]bool
	}
	sessionOf := func(*http.Request) *session { // your own session
		return &session{"Grace Hopper", "aaaabbbb-0000-cccc-1111-dddd2222eeee", "10000000-0000-4000-8000-000000000001", map[string]bool{"ApiManager": true}}
	}
	pages, err := portal.New(portal.Config{
		Service: service,
		Authenticate: func(r *http.Request) (portal.User, error) {
			s := sessionOf(r)
			if s == nil {
				return portal.User{}, portal.ErrSignedOut
			}
			return portal.User{Name: s.name, TenantID: s.tid, ObjectID: s.oid, Manager: s.roles["ApiManager"]}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	answer := httptest.NewRecorder()
	pages.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/products", nil))
	fmt.Println(answer.Code)
	// Output: 200
}
