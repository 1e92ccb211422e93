package appaccess_test

import (
	"context"
	"fmt"
	"log"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// A product gets application based access, a client application is registered
// for it, and its owner makes a secret. The tenant is a local one; against a
// real one only the Directory differs.
func ExampleService() {
	ctx := context.Background()
	tenant, err := entratest.New(entratest.Config{})
	check(err)
	identity, err := tenant.AddCaller("entragate", entratest.ApplicationAdministrator)
	check(err)
	store, err := sqlite.Open(ctx, sqlite.Temporary)
	check(err)
	defer store.Close()
	engine, err := provision.New(provision.Config{
		Directory: tenant.Directory(identity),
		Store:     store,
	})
	check(err)
	service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{
		Store: store, Provisioner: engine, TenantID: tenant.ID(), Authority: tenant.BaseURL(),
	})
	check(err)

	// The manager, in place of the pages Products and Applications.
	manager := appaccess.Manager("grace")
	_, err = service.CreateUser(ctx, manager, appaccess.UserRequest{ID: "ada", Name: "Ada Lovelace"})
	check(err)
	product, err := service.SetAccess(ctx, manager, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true, Key: true}})
	check(err)
	fmt.Println(product.Entra.Name, product.Entra.Role(appaccess.AllPermission))
	client, err := service.RegisterApplication(ctx, manager, appaccess.ApplicationRequest{
		Name: "Billing", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter"),
	})
	check(err)
	fmt.Println(client.Entra.Name, client.State)

	// The developer, in place of the developer portal.
	ada := appaccess.Developer("ada")
	issued, err := service.AddSecret(ctx, ada, client.ID, appaccess.SecretRequest{})
	check(err)
	settings, err := service.ApplicationSettings(ctx, ada, client.ID)
	check(err)
	fmt.Println(issued.Value, settings.ClientID == client.Entra.AppID, settings.Products[0].Scope == product.Entra.Scope())

	// Every gate refuses revoked access at once.
	client, err = service.SuspendApplication(ctx, manager, client.ID)
	check(err)
	fmt.Println(client.State)
	// Output:
	// APIMProductApplicationStarter Product.Starter.All
	// APIMApplicationStarter active
	// [secret] true true
	// suspended
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
