package postgres_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/outage"
	"github.com/entragate/entragate/internal/pgtest"
)

func TestGateWhenTheNetworkIsCutWithoutFIN(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	proxy := pgtest.NewProxy(t, dsn)
	outage.Run(t, open(t, dsn), open(t, proxy.DSN), proxy.Silence, proxy.Restore)
}

func TestGateWhenTheServerRefusesConnections(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	proxy := pgtest.NewProxy(t, dsn)
	outage.Run(t, open(t, dsn), open(t, proxy.DSN), proxy.Cut, proxy.Restore)
}

// The server has no connection slot left for the gate's role.
func TestGateWhenConnectionSlotsAreExhausted(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	writer := open(t, dsn)
	admin := connect(t, dsn)
	exec := func(sql string) {
		t.Helper()
		_, err := admin.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	var name string
	require.NoError(t, admin.QueryRow(t.Context(), "SELECT current_schema()").Scan(&name))
	exec("CREATE ROLE " + name + " LOGIN; GRANT USAGE ON SCHEMA " + name + " TO " + name + "; GRANT ALL ON ALL TABLES IN SCHEMA " + name + " TO " + name)
	t.Cleanup(func() {
		_, err := admin.Exec(context.Background(), "DROP OWNED BY "+name+"; DROP ROLE "+name)
		assert.NoError(t, err)
	})
	outage.Run(t, writer, open(t, pgtest.With(dsn, "user", name)), func() {
		exec("ALTER ROLE " + name + " CONNECTION LIMIT 0")
		exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '" + name + "'")
	}, func() { exec("ALTER ROLE " + name + " CONNECTION LIMIT -1") })
}

// Every statement of the gate is ended by the server after a time, because another
// program locks a table.
func TestGateWhenStatementsTimeOut(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	writer, other := open(t, dsn), connect(t, dsn)
	var locked pgx.Tx
	outage.Run(t, writer, open(t, pgtest.With(dsn, "statement_timeout", "300ms")), func() {
		var err error
		locked, err = other.Begin(t.Context())
		require.NoError(t, err)
		_, err = locked.Exec(t.Context(), "LOCK TABLE entragate_meta, entragate_records IN ACCESS EXCLUSIVE MODE")
		require.NoError(t, err)
	}, func() { require.NoError(t, locked.Rollback(t.Context())) })
}
