package postgres_test

import (
	"context"
	"log"
	"os"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/postgres"
)

// Any number of replicas open the same database, at the same time if they like:
// the first one makes the tables.
func Example() {
	ctx := context.Background()
	store, err := postgres.Open(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store})
	if err != nil {
		log.Fatal(err)
	}
	_ = service
}
