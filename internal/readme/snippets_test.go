package readme_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/middleware"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/tokenclient"
)

// A route that one product protects.
func Example_serviceOwner() {
	serve := func() error {
		gate, err := middleware.New(middleware.Config{
			Tenants: []string{"<tenant ID>"},
			Products: []middleware.Product{{
				ID:        "starter",
				Audiences: []string{"<the product's application ID>"},
				Role:      "Product.Starter.All",
			}},
		})
		if err != nil {
			return err
		}
		defer gate.Close()
		mux := http.NewServeMux()
		mux.HandleFunc("GET /echo/resource", func(w http.ResponseWriter, r *http.Request) {
			if caller, ok := middleware.PrincipalFrom(r.Context()); ok { // nobody in report-only mode
				fmt.Fprintf(w, "hello %s\n", caller.ClientID)
			}
		})
		return http.ListenAndServe("localhost:8080", gate.Product("starter")(mux))
	}
	_ = serve
}

// A tenant that follows what is wanted.
func Example_platformEngineer() {
	var ctx context.Context
	setUp := func(directory provision.Directory) error {
		store, err := sqlite.Open(ctx, "access.db") // or postgres.Open
		if err != nil {
			return err
		}
		defer store.Close()
		engine, err := provision.New(provision.Config{
			Directory: directory, // msgraph.New, or a local tenant's: entratest
			Journal:   provision.NewStoreJournal(store),
		})
		if err != nil {
			return err
		}
		service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{
			Store: store, Provisioner: engine, TenantID: "<tenant ID>",
		})
		if err != nil {
			return err
		}
		me := appaccess.Manager("platform")
		if _, err := service.SetAccess(ctx, me, "starter", appaccess.AccessRequest{
			Access: appaccess.Access{Token: true},
		}); err != nil {
			return err
		}
		if _, err := service.CreateUser(ctx, me, appaccess.UserRequest{ID: "dana", Name: "Dana Fuchs"}); err != nil {
			return err
		}
		app, err := service.RegisterApplication(ctx, me, appaccess.ApplicationRequest{
			Name: "Order sync", OwnerID: "dana", Products: []string{"starter"},
		})
		if err != nil {
			return err // the same call again goes on where it stopped
		}
		fmt.Println("Client ID", app.Entra.AppID)
		return nil
	}
	_ = setUp
}

// A program that calls the API.
func Example_caller() {
	call := func() error {
		client, err := tokenclient.New(tokenclient.Config{
			TenantID:   "<tenant ID>",
			ClientID:   "<client ID>",
			Credential: tokenclient.SecretFile("/run/secrets/client-secret"),
		})
		if err != nil {
			return err
		}
		defer client.Close()
		api, err := client.Source("api://<the product's application ID>/.default").Client("api.contoso.com")
		if err != nil {
			return err
		}
		api.Timeout = 30 * time.Second
		resp, err := api.Get("https://api.contoso.com/echo/resource") // with a fresh token, each time
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		fmt.Println(resp.Status)
		return nil
	}
	_ = call
}

// Rotation with an overlap.
func Example_rotation() {
	var ctx context.Context
	var service *appaccess.Service
	rotate := func(owner appaccess.Actor, applicationID string) error {
		issued, err := service.AddSecret(ctx, owner, applicationID, appaccess.SecretRequest{Rotate: true, Overlap: 24 * time.Hour})
		if err != nil {
			return err
		}
		fmt.Println("valid until", issued.Credential.End)
		return nil
	}
	_ = rotate
}
