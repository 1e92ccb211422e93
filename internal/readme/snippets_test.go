package readme_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/postgres"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/middleware"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/tokenclient"
)

// A tenant that is reconciled with the desired state.
func Example_platformEngineer() {
	var ctx context.Context
	setUp := func(directory provision.Directory) error {
		store, err := sqlite.Open(ctx, "access.db") // or postgres.Open
		if err != nil {
			return err
		}
		defer store.Close()
		reconciler, err := provision.New(provision.Config{
			Directory: directory, // msgraph.New, or a local tenant's: entratest
			Store:     store,
		})
		if err != nil {
			return err
		}
		service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{
			Store: store, Provisioner: reconciler, TenantID: "<tenant ID>",
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
			Name: "Order sync", OwnerID: "dana", Grants: appaccess.GrantsOfAll("starter"),
		})
		if err != nil {
			return err // the same call again continues where it stopped
		}
		fmt.Println("Client ID", app.Entra.AppID)
		return nil
	}
	_ = setUp
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

// A gate in managed mode.
func Example_managed() {
	var ctx context.Context
	var mux *http.ServeMux
	serve := func() error {
		store, err := postgres.Open(ctx, os.Getenv("ACCESS_DATABASE"))
		if err != nil {
			return err
		}
		defer store.Close()
		catalog, err := appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: store})
		if err != nil {
			return err
		}
		defer catalog.Close()
		gate, err := middleware.New(middleware.Config{Tenants: []string{"<tenant ID>"}, Catalog: catalog})
		if err != nil {
			return err
		}
		defer gate.Close()
		return http.ListenAndServe("localhost:8080", gate.Wrap(mux))
	}
	_ = serve
}

// A caller that is configured by its environment.
func Example_callerFromEnvironment() {
	call := func() error {
		config, err := tokenclient.FromEnvironment(os.Getenv) // AZURE_TENANT_ID, AZURE_CLIENT_ID, ...
		if err != nil {
			return err
		}
		client, err := tokenclient.New(config)
		if err != nil {
			return err
		}
		defer client.Close()
		api, err := client.Source("api://<the product's application ID>/.default").Client("api.contoso.com")
		if err != nil {
			return err
		}
		resp, err := api.Get("https://api.contoso.com/echo/resource")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return nil
	}
	_ = call
}
