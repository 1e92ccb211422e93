package appaccess_test

import (
	"context"
	"fmt"
	"log"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
)

// A gateway follows the store that the management plane writes, here another
// process on the same file; replicas on several machines use package postgres.
// The Catalog is what middleware.Config.Catalog takes.
func ExampleNewCatalog() {
	ctx := context.Background()
	store, err := sqlite.Open(ctx, sqlite.Temporary) // or /var/lib/entragate/store.db
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	catalog, err := appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: store})
	if err != nil {
		log.Fatal(err)
	}
	defer catalog.Close()

	key, err := catalog.Key(ctx, appaccess.HashKey("a key that nobody has"))
	fmt.Println(key.DenyReason, err)
	// Output: key unknown <nil>
}
