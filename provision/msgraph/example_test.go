package msgraph_test

import (
	"context"
	"fmt"
	"log"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/entragate/entragate/provision/msgraph"
)

// In Azure the identity is a managed identity that holds the Application
// Administrator role. Assigning that role needs Privileged Role Administrator.
func ExampleNew() {
	credential, err := azidentity.NewManagedIdentityCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	directory, err := msgraph.New(msgraph.Config{Credential: credential})
	if err != nil {
		log.Fatal(err)
	}
	who, err := directory.Identity(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(who.Name, "holds", who.Roles)
}
