package entratest_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// A product and a client that is granted it, in a tenant that no network
// reaches: the client gets a token that carries the product's role.
func Example() {
	tenant, err := entratest.New(entratest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	product, err := tenant.AddApplication(entratest.App{
		Name: "APIMProductApplicationStarter", URIs: []string{"api://{appId}"},
		Roles: []string{"Product.Starter.All"}, TokenVersion: 2, IDType: true, AssignmentRequired: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	client, err := tenant.AddCaller("APIMApplicationStarter")
	if err != nil {
		log.Fatal(err)
	}
	if err := tenant.Grant(client.AppID, product.AppID, "Product.Starter.All"); err != nil {
		log.Fatal(err)
	}

	source := clientcredentials.Config{
		ClientID: client.AppID, ClientSecret: client.Secret.Reveal(), TokenURL: tenant.TokenURL(),
		Scopes: []string{"api://" + product.AppID + "/.default"}, AuthStyle: oauth2.AuthStyleInParams,
	}
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Transport: tenant.Transport()})
	token, err := source.Token(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.TokenType, tenant.Counts().Tokens)
	// Output: Bearer 1
}

// Provisioning against a tenant that lags by up to half a minute and loses the
// answer to its third request, though the write was done. Time is the caller's
// own.
func ExampleTenant_Directory() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tenant, err := entratest.New(entratest.Config{
		Lag: entratest.Lag{Min: time.Second, Max: 30 * time.Second}, Seed: 7,
		Now: func() time.Time { return now },
	})
	if err != nil {
		log.Fatal(err)
	}
	admin, err := tenant.AddCaller("provisioner", entratest.ApplicationAdministrator)
	if err != nil {
		log.Fatal(err)
	}
	tenant.FailAt(3, entratest.Fault{Kind: entratest.CutAfter})

	var d provision.Directory = tenant.Directory(admin)
	key, name := "starter", "Starter"
	app, err := d.CreateApplication(context.Background(), provision.ApplicationPatch{UniqueName: &key, DisplayName: &name})
	fmt.Println(app.UniqueName, err)
	for range 2 {
		now = now.Add(30 * time.Second)
		fmt.Println(d.PatchApplication(context.Background(), app.ObjectID, provision.ApplicationPatch{Description: &name}))
	}
	now = now.Add(30 * time.Second)
	fmt.Print(tenant.State())
	// Output:
	// starter <nil>
	// <nil>
	// graph: PATCH: entratest: connection cut: unexpected EOF
	// application provisioner "provisioner" ""
	//   token version: 0, secrets: 1
	//   service principals: 1, enabled: true, assignment required: false
	// application starter "Starter" "Starter"
	//   token version: 0, secrets: 0
	//   service principals: 0, enabled: false, assignment required: false
}
