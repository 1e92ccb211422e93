package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/postgres"
	"github.com/entragate/entragate/appaccess/storetest"
	"github.com/entragate/entragate/internal/growth"
	"github.com/entragate/entragate/internal/pgtest"
)

const (
	kind     = appaccess.Kind("thing")
	patience = time.Minute
)

func open(t testing.TB, dsn string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// connect gives a test its own way to the database.
func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })
	return conn
}

func rec(id string) appaccess.Record { return appaccess.Record{Kind: kind, ID: id} }

func put(t testing.TB, s *postgres.Store, id string) appaccess.Revision {
	t.Helper()
	rev, err := s.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(rec(id)) })
	require.NoError(t, err)
	return rev
}

func has(t testing.TB, s *postgres.Store, id string) bool {
	t.Helper()
	err := s.View(t.Context(), func(r appaccess.Reader) error {
		_, err := r.Get(kind, id)
		return err
	})
	if err != nil {
		require.ErrorIs(t, err, appaccess.ErrNotFound)
	}
	return err == nil
}

// TestMain lets the test binary be other processes on the same database.
func TestMain(m *testing.M) {
	var err error
	switch {
	case os.Getenv(growth.EnvReplica) != "":
		err = growth.RunReplica(func(ctx context.Context) (appaccess.Store, error) {
			return postgres.Open(ctx, os.Getenv(growth.EnvReplica))
		})
	case os.Getenv(envWriter) != "":
		err = writer(os.Getenv(envWriter))
	case os.Getenv(envGateway) != "":
		err = gateway(os.Getenv(envGateway))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	t.Log(pgtest.Version(t, pgtest.Schema(t)))
	storetest.Run(t, func(t *testing.T) appaccess.Store { return open(t, pgtest.Schema(t)) })
}

func TestReplicasStartAtOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s, err := postgres.Open(t.Context(), dsn)
			if !assert.NoError(t, err) {
				return
			}
			_, err = s.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(rec(fmt.Sprint(i))) })
			assert.NoError(t, err)
			assert.NoError(t, s.Close())
		})
	}
	wg.Wait()
	require.NoError(t, open(t, dsn).View(t.Context(), func(r appaccess.Reader) error {
		at, err := r.Position()
		assert.EqualValues(t, 8, at.Revision)
		return err
	}))
}

// A newer replica may have added to the schema.
func TestOlderReplicaSurvivesNewerSchema(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	running := open(t, dsn)
	put(t, running, "before")
	newer := connect(t, dsn)
	_, err := newer.Exec(t.Context(), `ALTER TABLE entragate_records ADD COLUMN extra text NOT NULL DEFAULT 'x';
		ALTER TABLE entragate_entries ADD COLUMN extra text NOT NULL DEFAULT 'x';
		ALTER TABLE entragate_changes ADD COLUMN extra text NOT NULL DEFAULT 'x';
		ALTER TABLE entragate_meta ADD COLUMN extra text NOT NULL DEFAULT 'x';
		UPDATE entragate_meta SET version = 99`)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // statements that were prepared before may fail once
		_, err := running.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(rec("after")) })
		return err == nil
	}, patience, time.Millisecond)
	put(t, open(t, dsn), "started later")
	assert.True(t, has(t, running, "before") && has(t, running, "after") && has(t, running, "started later"))
	var version int
	require.NoError(t, newer.QueryRow(t.Context(), "SELECT version FROM entragate_meta").Scan(&version))
	assert.Equal(t, 99, version)
}

func TestCommitsAreAnnounced(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	s := open(t, dsn)
	conn := connect(t, dsn)
	_, err := conn.Exec(t.Context(), "LISTEN entragate")
	require.NoError(t, err)
	put(t, s, "a")
	rev := fmt.Sprint(put(t, s, "b"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		notice, err := conn.WaitForNotification(ctx)
		require.NoError(t, err)
		if notice.Payload == rev {
			return
		}
	}
}

// follow collects the IDs of changes, beginning again after errors, until one
// is done.
func follow(ctx context.Context, s *postgres.Store, done string) (ids []string, restarts int, err error) {
	var last appaccess.Position
	for ctx.Err() == nil {
		for c, err := range s.Changes(ctx, last) {
			if err != nil {
				if !errors.Is(err, appaccess.ErrUnavailable) {
					return ids, restarts, err
				}
				restarts++
				time.Sleep(5 * time.Millisecond)
				break
			}
			if last = c.Position; !c.AsOf.IsZero() {
				continue
			}
			if ids = append(ids, c.ID); c.ID == done {
				return ids, restarts, nil
			}
		}
	}
	return ids, restarts, ctx.Err()
}

func TestFeedMissesNothingWhenConnectionsAreLost(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	proxy := pgtest.NewProxy(t, dsn)
	writer, reader := open(t, dsn), open(t, proxy.DSN)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	type result struct {
		ids []string
		err error
	}
	followed := make(chan result, 1)
	go func() {
		ids, restarts, err := follow(ctx, reader, "done")
		t.Log("the feed began again", restarts, "times")
		followed <- result{ids, err}
	}()
	var want []string
	for i := range 60 {
		switch i % 20 {
		case 7:
			proxy.Cut()
		case 14:
			proxy.Restore()
		}
		want = append(want, fmt.Sprintf("r%03d", i))
		put(t, writer, want[i])
	}
	proxy.Restore()
	put(t, writer, "done")
	got := <-followed
	require.NoError(t, got.err)
	assert.Equal(t, append(want, "done"), got.ids)
}

func TestStoreSurvivesAnOutage(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	proxy := pgtest.NewProxy(t, dsn)
	s := open(t, proxy.DSN)
	put(t, s, "a")
	for range 3 {
		proxy.Cut()
		err := s.View(t.Context(), func(r appaccess.Reader) error { _, err := r.Get(kind, "a"); return err })
		require.ErrorIs(t, err, appaccess.ErrUnavailable)
		_, err = s.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(rec("b")) })
		require.ErrorIs(t, err, appaccess.ErrUnavailable)
		proxy.Restore()
		assert.True(t, has(t, s, "a"), "no dead connection is handed out")
	}
	put(t, s, "c")
	assert.False(t, has(t, s, "b"))
}

// A server that says nothing is given up when the context says so, also in the
// middle of a transaction, and delays no other caller.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	proxy := pgtest.NewProxy(t, dsn)
	s := open(t, proxy.DSN)
	put(t, s, "a")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Update(ctx, func(w appaccess.Writer) error {
		require.NoError(t, w.Put(rec("b")))
		proxy.Silence()
		time.AfterFunc(10*time.Millisecond, cancel)
		return w.Put(rec("c"))
	})
	require.ErrorIs(t, err, context.Canceled)
	proxy.Restore()
	put(t, open(t, dsn), "d")
	assert.True(t, has(t, s, "d"))
	assert.False(t, has(t, s, "b"))
}

// Locks of another program can make the server undo an Update: it is run again.
func TestCollisionsAreTriedAgain(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	s := open(t, dsn)
	put(t, s, "a")
	other := connect(t, dsn)
	for range 20 {
		if collide(t, s, other, connect(t, dsn)) > 1 {
			return
		}
	}
	t.Fatal("no collision could be made")
}

// collide makes an Update and another transaction wait for each other, and
// returns how often the Update ran.
func collide(t *testing.T, s *postgres.Store, other, watch *pgx.Conn) (runs int) {
	t.Helper()
	tx, err := other.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT FROM entragate_records WHERE id = 'a' FOR UPDATE")
	require.NoError(t, err)
	updated := make(chan error, 1)
	go func() {
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			runs++
			return w.Put(rec("a"))
		})
		updated <- err
	}()
	require.Eventually(t, func() bool {
		var waiting bool
		err := watch.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity"+
			" WHERE application_name = current_setting('application_name') AND wait_event_type = 'Lock')").Scan(&waiting)
		return err == nil && waiting
	}, patience, time.Millisecond)
	// The server ends one of the two transactions.
	_, err = tx.Exec(t.Context(), "SELECT FROM entragate_meta FOR UPDATE")
	if err != nil {
		e := new(pgconn.PgError)
		require.ErrorAs(t, err, &e)
		require.Equal(t, "40P01", e.Code)
	}
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-updated, "the Update succeeds whichever transaction the server ended")
	return runs
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	for _, bad := range []string{"postgres://u:hunter2@[", "host=127.0.0.1 port=x password=hunter2", "postgres://u:hunter2@127.0.0.1:1/x?connect_timeout=1"} {
		_, err := postgres.Open(t.Context(), bad)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "hunter2")
	}
	_, err := postgres.Open(t.Context(), "host=127.0.0.1 port=1 user=u dbname=d")
	require.ErrorIs(t, err, appaccess.ErrUnavailable)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = postgres.Open(ctx, dsn)
	require.ErrorIs(t, err, context.Canceled)

	conn := connect(t, dsn)
	var name string
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT current_schema()").Scan(&name))
	_, err = conn.Exec(t.Context(), "CREATE DATABASE "+name+" ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
	require.NoError(t, err)
	defer func() {
		_, err := conn.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
		require.NoError(t, err)
	}()
	_, err = postgres.Open(t.Context(), pgtest.With(pgtest.With(dsn, "dbname", name), "search_path", "public"))
	require.ErrorContains(t, err, "UTF8")
}
