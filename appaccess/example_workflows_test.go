package appaccess_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/openapi"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// exampleService is a Service with a store in memory and a local tenant. It has
// the API echo-api, the product starter with token access and the permission
// Read, and the users ada and bob.
func exampleService() (s *appaccess.Service, tenant *entratest.Tenant, done func()) {
	tenant, err := entratest.New(entratest.Config{})
	check(err)
	identity, err := tenant.AddCaller("entragate", entratest.ApplicationAdministrator)
	check(err)
	store, err := sqlite.Open(ctx, sqlite.Temporary)
	check(err)
	engine, err := provision.New(provision.Config{Directory: tenant.Directory(identity), Store: store})
	check(err)
	s, err = appaccess.NewService(ctx, appaccess.ServiceConfig{
		Store: store, Provisioner: engine, TenantID: tenant.ID(), Authority: tenant.BaseURL(), ReadOpenAPI: openapi.Import,
	})
	check(err)
	manager := appaccess.Manager("grace")
	for _, id := range []string{"ada", "bob"} {
		_, err = s.CreateUser(ctx, manager, appaccess.UserRequest{ID: id, Name: id})
		check(err)
	}
	_, err = s.SetAccess(ctx, manager, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}})
	check(err)
	_, err = s.SetPermissions(ctx, manager, "starter", appaccess.PermissionsRequest{
		Permissions: []appaccess.Permission{{Name: "Read", Description: "Reads echoes"}},
	})
	check(err)
	return s, tenant, func() { check(store.Close()) }
}

// A product gets a second permission, a client application is granted one of
// them, and the permission cannot go while the application has it.
func ExampleService_SetPermissions() {
	service, _, done := exampleService()
	defer done()
	manager := appaccess.Manager("grace")
	product, err := service.SetPermissions(ctx, manager, "starter", appaccess.PermissionsRequest{
		Permissions: []appaccess.Permission{{Name: "Read"}, {Name: "Write"}},
	})
	check(err)
	for _, role := range product.Entra.Roles {
		fmt.Println(role.Value)
	}
	_, err = service.RegisterApplication(ctx, manager, appaccess.ApplicationRequest{
		ID: "billing", Name: "Billing", OwnerID: "ada",
		Grants: appaccess.Grants{{Product: "starter", Permissions: []string{"Write"}}},
	})
	check(err)
	_, err = service.SetPermissions(ctx, manager, "starter", appaccess.PermissionsRequest{
		Permissions: []appaccess.Permission{{Name: "Read"}},
	})
	var conflict *appaccess.ConflictError
	fmt.Println(errors.As(err, &conflict), conflict.Objects)
	// Output:
	// Product.Starter.All
	// Product.Starter.Read
	// Product.Starter.Write
	// true [billing]
}

// A managed identity becomes a client application. It has no credentials here,
// and nothing but its grants changes in Entra.
func ExampleService_RegisterApplication_managedIdentity() {
	service, tenant, done := exampleService()
	defer done()
	vm, err := tenant.AddManagedIdentity("vm") // az identity create
	check(err)
	client, err := service.RegisterApplication(ctx, appaccess.Manager("grace"), appaccess.ApplicationRequest{
		Name: "Nightly job", OwnerID: "ada",
		Grants:           appaccess.Grants{{Product: "starter", Permissions: []string{"Read"}}},
		ServicePrincipal: appaccess.ServicePrincipal{ObjectID: vm.ObjectID, ClientID: vm.AppID},
	})
	check(err)
	fmt.Println(client.State, client.ClientKind(), client.Entra.AppID == vm.AppID)
	_, err = service.AddSecret(ctx, appaccess.Developer("ada"), client.ID, appaccess.SecretRequest{})
	fmt.Println(err != nil)
	// Output:
	// active managedIdentity true
	// true
}

// A developer requests a client application with two permissions, and a manager
// approves one of them.
func ExampleService_ApproveRequest() {
	service, _, done := exampleService()
	defer done()
	ada, manager := appaccess.Developer("ada"), appaccess.Manager("grace")
	request, err := service.RequestApplication(ctx, ada, appaccess.ApplicationRequest{
		Name: "Billing", Grants: appaccess.GrantsOfAll("starter"),
	}, "invoices read echoes")
	check(err)
	fmt.Println(request.State, request.Grants)
	request, err = service.ApproveRequest(ctx, manager, request.ID, appaccess.Approval{
		Grants: appaccess.Grants{{Product: "starter", Permissions: []string{"Read"}}}, Answer: "Read is enough",
	})
	check(err)
	client, err := service.Application(ctx, ada, request.Result)
	check(err)
	fmt.Println(request.State, client.State, client.Grants)
	// Output:
	// open starter(All)
	// approved active starter(Read)
}

// An owner offers a client application, and the recipient accepts it. Its client
// ID and secrets stay.
func ExampleService_OfferTransfer() {
	service, _, done := exampleService()
	defer done()
	ada, bob := appaccess.Developer("ada"), appaccess.Developer("bob")
	before, err := service.RegisterApplication(ctx, appaccess.Manager("grace"), appaccess.ApplicationRequest{
		Name: "Billing", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter"),
	})
	check(err)
	offer, err := service.OfferTransfer(ctx, ada, appaccess.KindApplication, before.ID, "bob")
	check(err)
	_, err = service.AcceptTransfer(ctx, bob, offer.ID)
	check(err)
	after, err := service.Application(ctx, bob, before.ID)
	check(err)
	fmt.Println(after.OwnerID, after.Entra.AppID == before.Entra.AppID)
	_, err = service.Application(ctx, ada, before.ID)
	fmt.Println(errors.Is(err, appaccess.ErrNotFound))
	// Output:
	// bob true
	// true
}

// An API's operations come from its OpenAPI document, and a gate then enforces
// the permissions that they need.
func ExampleService_ImportOperations() {
	service, _, done := exampleService()
	defer done()
	manager := appaccess.Manager("grace")
	report, err := service.ImportOperations(ctx, manager, "echo-api", appaccess.OperationsImport{Document: []byte(`
openapi: 3.1.0
info: {title: Echo, version: "1"}
paths:
  /resource:
    get: {operationId: read, security: [{entra: [Read]}]}
    post: {operationId: write}
components:
  securitySchemes:
    entra:
      type: oauth2
      flows: {clientCredentials: {tokenUrl: "https://login.microsoftonline.com/", scopes: {Read: reads}}}
`)})
	check(err)
	for _, added := range report.Added {
		fmt.Println(added.Operation.ID, added.Operation.String(), added.Operation.AnyOf)
	}
	api, err := service.SetEnforcement(ctx, manager, "echo-api", appaccess.EnforceOperations, 0)
	check(err)
	fmt.Println(api.Enforcement)
	// Output:
	// read GET /resource [[Read]]
	// write POST /resource []
	// enforce
}

// A new secret replaces the old one, which goes on working for a day.
func ExampleService_AddSecret_rotate() {
	service, _, done := exampleService()
	defer done()
	client, err := service.RegisterApplication(ctx, appaccess.Manager("grace"), appaccess.ApplicationRequest{
		Name: "Billing", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter"),
	})
	check(err)
	ada := appaccess.Developer("ada")
	_, err = service.AddSecret(ctx, ada, client.ID, appaccess.SecretRequest{Name: "first"})
	check(err)
	_, err = service.AddSecret(ctx, ada, client.ID, appaccess.SecretRequest{Name: "second", Rotate: true, Overlap: 24 * time.Hour})
	check(err)
	credentials, err := service.Credentials(ctx, ada, client.ID)
	check(err)
	for _, c := range credentials {
		fmt.Println(c.Name, "is replaced:", !c.RemoveAfter.IsZero())
	}
	// Output:
	// first is replaced: true
	// second is replaced: false
}
