package provision_test

import (
	"context"
	"fmt"
	"log"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// A Service that stores what is desired, and a Reconciler that makes Entra hold
// it. Against a real tenant the Directory comes from package msgraph, and nothing
// else changes.
func Example() {
	ctx := context.Background()
	tenant, err := entratest.New(entratest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	identity, err := tenant.AddCaller("entragate", entratest.ApplicationAdministrator)
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlite.Open(ctx, sqlite.Temporary)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = store.Close() }()

	engine, err := provision.New(provision.Config{
		Directory: tenant.Directory(identity),
		Store:     store,
		Instance:  "dev",
	})
	if err != nil {
		log.Fatal(err)
	}
	service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store, Provisioner: engine, TenantID: tenant.ID()})
	if err != nil {
		log.Fatal(err)
	}
	manager := appaccess.Manager("grace")
	if _, err := service.CreateUser(ctx, manager, appaccess.UserRequest{ID: "ann", Name: "Ann"}); err != nil {
		log.Fatal(err)
	}
	if _, err := service.SetAccess(ctx, manager, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}}); err != nil {
		log.Fatal(err)
	}
	app, err := service.RegisterApplication(ctx, manager, appaccess.ApplicationRequest{Name: "Billing", OwnerID: "ann", Grants: appaccess.GrantsOfAll("starter")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(app.Entra.Name, app.Sync.InSync())

	// The same Reconciler says what it would change: nothing, or what somebody
	// changed in Entra since.
	plan, err := service.Plan(ctx, manager)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(plan)
	// Output:
	// APIMApplicationStarter true
	// Nothing to do: Entra is in sync.
}
