package postgres_test

import (
	"context"
	"testing"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/postgres"
	"github.com/entragate/entragate/internal/pgtest"
	"github.com/entragate/entragate/internal/sqlstore/schematest"
)

func TestUpgrades(t *testing.T) {
	t.Parallel()
	schematest.Run(t, schematest.Opener{
		Name: func(t *testing.T) string { return pgtest.Schema(t) },
		Open: func(ctx context.Context, dsn string) (appaccess.Store, error) { return postgres.Open(ctx, dsn) },
		OpenNewer: func(ctx context.Context, dsn string, oldest int) (appaccess.Store, error) {
			return postgres.OpenNewer(ctx, dsn, oldest)
		},
		Version: postgres.Version(),
	})
}
