package postgres_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/postgres"
	"github.com/entragate/entragate/appaccess/storetest"
	"github.com/entragate/entragate/internal/pgtest"
)

func open(t testing.TB, dsn string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), dsn)
	require.NoError(t, err)
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	t.Log(pgtest.Version(t, pgtest.Schema(t)))
	storetest.Run(t, func(t *testing.T) appaccess.Store { return open(t, pgtest.Schema(t)) })
}
