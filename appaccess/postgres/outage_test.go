package postgres_test

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/outage"
	"github.com/entragate/entragate/internal/pgtest"
)

func TestGateWhenTheNetworkIsCutWithoutFIN(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	proxy := pgtest.NewProxy(t, dsn)
	outage.Run(t, open(t, dsn), open(t, proxy.DSN), "the feed of changes is silent", proxy.Silence, proxy.Restore)
}

func TestGateWhenTheServerRefusesConnections(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	proxy := pgtest.NewProxy(t, dsn)
	outage.Run(t, open(t, dsn), open(t, proxy.DSN), "the store is unreachable", proxy.Cut, proxy.Restore)
}

// The server has no connection slot left for the gate's role.
func TestGateWhenConnectionSlotsAreExhausted(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	writer := open(t, dsn)
	role := newRole(t, dsn)
	outage.Run(t, writer, open(t, role.dsn), "SQLSTATE 53300", func() {
		role.limit(0)
		role.disconnect()
	}, func() { role.limit(-1) })
}

// A pool of many connections that are all dead does not hide why there are no others:
// the first error says so.
func TestTheFirstErrorSaysThatConnectionSlotsAreExhausted(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	put(t, open(t, dsn), "a")
	role := newRole(t, dsn)
	s := open(t, pgtest.With(role.dsn, "pool_max_conns", "8"))
	views := func() {
		var all, begun sync.WaitGroup
		begun.Add(8)
		for range 8 {
			all.Go(func() {
				assert.NoError(t, s.View(t.Context(), func(appaccess.Reader) error {
					begun.Done()
					begun.Wait() // so that each has a connection
					return nil
				}))
			})
		}
		all.Wait()
	}
	views()
	role.limit(0)
	views()
	role.disconnect() // while all were used so lately that the pool trusts them
	var err error
	for err == nil {
		err = s.View(t.Context(), func(appaccess.Reader) error { return nil })
	}
	require.ErrorIs(t, err, appaccess.ErrUnavailable)
	require.ErrorContains(t, err, "SQLSTATE 53300")
	role.limit(-1)
	assert.True(t, has(t, s, "a"))
}

// A connection that breaks in the middle of a transaction is called lost.
func TestALostConnectionIsCalledSo(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	proxy := pgtest.NewProxy(t, dsn)
	s := open(t, proxy.DSN)
	err := s.View(t.Context(), func(r appaccess.Reader) error {
		proxy.Cut()
		_, err := r.Get(kind, "a")
		return err
	})
	require.ErrorIs(t, err, appaccess.ErrUnavailable)
	require.ErrorContains(t, err, "connection lost")
}

// role is a role that may use a schema.
type role struct {
	t         *testing.T
	admin     *pgx.Conn
	name, dsn string
}

func newRole(t *testing.T, dsn string) *role {
	t.Helper()
	r := &role{t: t, admin: connect(t, dsn)}
	require.NoError(t, r.admin.QueryRow(t.Context(), "SELECT current_schema()").Scan(&r.name))
	r.dsn = pgtest.With(dsn, "user", r.name)
	r.exec("CREATE ROLE " + r.name + " LOGIN; GRANT USAGE ON SCHEMA " + r.name + " TO " + r.name + "; GRANT ALL ON ALL TABLES IN SCHEMA " + r.name + " TO " + r.name)
	t.Cleanup(func() {
		_, err := r.admin.Exec(context.Background(), "DROP OWNED BY "+r.name+"; DROP ROLE "+r.name)
		assert.NoError(t, err)
	})
	return r
}

func (r *role) exec(sql string) {
	r.t.Helper()
	_, err := r.admin.Exec(r.t.Context(), sql)
	require.NoError(r.t, err)
}

// limit sets how many connections the role may have; -1 allows any number.
func (r *role) limit(n int) { r.exec("ALTER ROLE " + r.name + " CONNECTION LIMIT " + strconv.Itoa(n)) }

// disconnect ends the connections of the role, a moment later.
func (r *role) disconnect() {
	r.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '" + r.name + "'")
}

// Every statement of the gate is ended by the server after a time, because another
// program locks a table.
func TestGateWhenStatementsTimeOut(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	writer, other := open(t, dsn), connect(t, dsn)
	var locked pgx.Tx
	outage.Run(t, writer, open(t, pgtest.With(dsn, "statement_timeout", "300ms")), "SQLSTATE 57014", func() {
		var err error
		locked, err = other.Begin(t.Context())
		require.NoError(t, err)
		_, err = locked.Exec(t.Context(), "LOCK TABLE entragate_meta, entragate_records IN ACCESS EXCLUSIVE MODE")
		require.NoError(t, err)
	}, func() { require.NoError(t, locked.Rollback(t.Context())) })
}
