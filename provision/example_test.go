package provision_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// A product and a client application, planned, brought about and given a
// secret. Against a real tenant the Directory comes from package msgraph, and
// nothing else changes.
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
		Journal:   provision.NewStoreJournal(store),
		Instance:  "dev",
	})
	if err != nil {
		log.Fatal(err)
	}
	want := appaccess.Wanted{
		Products: []appaccess.WantedProduct{{
			ID: "starter", ApplicationName: "APIMProductApplicationStarter", Role: "Product.Starter.All",
		}},
		Applications: []appaccess.WantedApplication{{
			ID: "billing", ApplicationName: "APIMApplicationStarter", Name: "Billing", OwnerID: "ann", Products: []string{"starter"},
		}},
	}
	plan, err := engine.Plan(ctx, want)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(plan)

	applied, err := engine.Apply(ctx, want, nil)
	if err != nil || len(applied.Failed) > 0 {
		log.Fatal(err, applied.Failed)
	}
	secret, err := engine.AddCredential(ctx, "billing", appaccess.CredentialRequest{
		OperationID: "billing-2026", Kind: appaccess.SecretCredential, Name: "production",
		Deliver: func(_ context.Context, c appaccess.Credential, s appaccess.Secret) error {
			return nil // put s.Reveal() into a vault, and return once it is safe there
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("valid for", secret.End.Sub(secret.Start).Round(time.Hour))

	plan, err = engine.Plan(ctx, want)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(plan)
	// Output:
	// product starter
	//   create  application "APIMProductApplicationStarter" (entragate-dev-product-starter) with the app role Product.Starter.All
	//   change  add the optional access-token claim idtyp; add the identifier URI api://<appId>
	//   create  service principal of "APIMProductApplicationStarter", for assigned clients only
	// application billing
	//   create  application "APIMApplicationStarter" (entragate-dev-application-billing)
	//   create  service principal of "APIMApplicationStarter"
	//   grant   Product.Starter.All of product starter
	// Steps: 4 to create, 1 to change, 1 to grant.
	// valid for 8760h0m0s
	// Nothing to do: Entra is in step.
}
