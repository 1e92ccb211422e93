package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/postgres"
	"github.com/entragate/entragate/appaccess/storetest"
	"github.com/entragate/entragate/internal/pgtest"
	"github.com/entragate/entragate/internal/race"
)

// The whole suite behind a pooler that gives every transaction another session.
func TestStoreBehindPgBouncer(t *testing.T) {
	t.Parallel()
	if race.Enabled {
		t.Skip("TestStore runs the same code")
	}
	storetest.Run(t, func(t *testing.T) appaccess.Store {
		return open(t, pgtest.PgBouncer(t, pgtest.Schema(t), "transaction"))
	})
}

const (
	envWriter = "ENTRAGATE_TEST_WRITER"
	turns     = 25 // of each process
)

// writer is a process that counts up, and ends when it has seen the last commit of
// the other one.
func writer(dsn string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := postgres.Open(ctx, dsn)
	if err != nil {
		return err
	}
	if err := countUp(ctx, s); err != nil {
		return err
	}
	for c, err := range s.Changes(ctx, appaccess.Position{}) {
		if err != nil || c.ID == "last" {
			return errors.Join(err, s.Close())
		}
	}
	return errors.New("the feed ended")
}

// countUp raises a counter, from two goroutines.
func countUp(ctx context.Context, s *postgres.Store) error {
	var group errgroup.Group
	for part := range 2 {
		group.Go(func() error {
			for range turns/2 + part*(turns%2) {
				if _, err := s.Update(ctx, func(w appaccess.Writer) error {
					n := 0
					switch found, err := w.Get(kind, "counter"); {
					case err == nil:
						if n, err = strconv.Atoi(string(found.Body)); err != nil {
							return err
						}
					case !errors.Is(err, appaccess.ErrNotFound):
						return err
					}
					return w.Put(appaccess.Record{Kind: kind, ID: "counter", Body: []byte(strconv.Itoa(n + 1))})
				}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// Two processes behind one pooler, in either mode: no update is lost, and each sees
// the other's commits.
func TestTwoProcessesBehindPgBouncer(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"session", "transaction"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.PgBouncer(t, pgtest.Schema(t), mode)
			s := open(t, dsn)
			exe, err := os.Executable()
			require.NoError(t, err)
			other := exec.CommandContext(t.Context(), exe)
			other.Env = append(os.Environ(), envWriter+"="+dsn)
			other.Stderr = os.Stderr
			require.NoError(t, other.Start())
			require.NoError(t, countUp(t.Context(), s))
			require.Eventually(t, func() bool {
				body := ""
				require.NoError(t, s.View(t.Context(), func(r appaccess.Reader) error {
					found, err := r.Get(kind, "counter")
					body = string(found.Body)
					return err
				}))
				return body == strconv.Itoa(2*turns)
			}, patience, 10*time.Millisecond)
			began := time.Now()
			put(t, s, "last")
			require.NoError(t, other.Wait())
			t.Log("the other process saw the last commit and ended after", time.Since(began))
		})
	}
}

// A copy without the newest commits takes the database's name, and has as
// many commits before, while or after a gate connects again: what the lost
// commits had allowed does not pass, and what remains does.
func TestFailoverToAnOlderCopy(t *testing.T) {
	t.Parallel()
	const lost, later = 8, 12
	for _, laterFirst := range []int{later, later / 2, 0} { // commits before the gate is back
		t.Run(fmt.Sprint(laterFirst, " commits before"), func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Schema(t)
			admin := connect(t, dsn)
			proxy := pgtest.NewProxy(t, dsn)
			s := open(t, dsn)
			hash := appaccess.HashKey("key").String()
			sub := func(state string) appaccess.Record {
				return appaccess.Record{Kind: appaccess.KindSubscription, ID: "s1",
					Body:  []byte(`{"id":"s1","state":"` + state + `","scope":"/apis","primaryHash":"` + hash + `"}`),
					Index: []appaccess.IndexEntry{{Name: "key", Value: hash, Unique: true}}}
			}
			write := func(s *postgres.Store, r appaccess.Record) {
				_, err := s.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(r) })
				require.NoError(t, err)
			}
			write(s, sub("suspended"))
			var schema string
			require.NoError(t, admin.QueryRow(t.Context(), "SELECT current_schema()").Scan(&schema))
			tables := []string{"entragate_meta", "entragate_records", "entragate_entries", "entragate_changes"}
			for _, table := range tables { // the copy at this revision
				_, err := admin.Exec(t.Context(), fmt.Sprintf("CREATE TABLE copy_%s AS TABLE %s", table, table))
				require.NoError(t, err)
			}
			catalog, err := appaccess.NewCatalog(t.Context(), appaccess.CatalogConfig{Store: open(t, proxy.DSN)})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, catalog.Close()) })
			key := func() appaccess.DenyReason {
				st, err := catalog.Key(t.Context(), appaccess.HashKey("key"))
				if err != nil {
					require.ErrorIs(t, err, appaccess.ErrUnavailable)
					return "unavailable"
				}
				return st.DenyReason
			}
			write(s, sub("active"))
			for i := range lost - 1 {
				put(t, s, fmt.Sprint("lost", i))
			}
			require.Eventually(t, func() bool { return key() == appaccess.NotDenied }, patience, 10*time.Millisecond)
			require.Eventually(t, func() bool { return catalog.Staleness() < time.Second }, patience, 10*time.Millisecond)

			proxy.Cut()
			tx, err := admin.Begin(t.Context()) // the copy is promoted
			require.NoError(t, err)
			for _, table := range tables {
				_, err = tx.Exec(t.Context(), "TRUNCATE "+table)
				require.NoError(t, err)
				overriding := ""
				if table == "entragate_changes" {
					overriding = " OVERRIDING SYSTEM VALUE"
				}
				_, err = tx.Exec(t.Context(), fmt.Sprintf("INSERT INTO %s%s TABLE copy_%s", table, overriding, table))
				require.NoError(t, err)
			}
			require.NoError(t, tx.Commit(t.Context()))
			for i := range later {
				if i == laterFirst {
					proxy.Restore()
				}
				put(t, s, fmt.Sprint("later", i))
			}
			proxy.Restore()
			began := time.Now()
			require.Eventually(t, func() bool { return key() == appaccess.SubscriptionNotActive }, patience, 5*time.Millisecond,
				"the lost activation still passes")
			t.Log("right after", time.Since(began))
		})
	}
}

// A server that became read-only answers Unavailable, and the store is right
// again as soon as the server is.
func TestReadOnlyServer(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	s := open(t, dsn)
	put(t, s, "a")
	admin := connect(t, dsn)
	_, err := admin.Exec(t.Context(), `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'cannot execute UPDATE in a read-only transaction' USING ERRCODE = '25006'; END $$;
		CREATE TRIGGER refuse BEFORE UPDATE ON entragate_meta FOR EACH ROW EXECUTE FUNCTION refuse()`)
	require.NoError(t, err)
	for range 3 {
		_, err = s.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(rec("b")) })
		require.ErrorIs(t, err, appaccess.ErrUnavailable)
		assert.True(t, has(t, s, "a"))
	}
	_, err = admin.Exec(t.Context(), "DROP TRIGGER refuse ON entragate_meta")
	require.NoError(t, err)
	put(t, s, "b")
}

// A column that changes under running stores makes no statement fail.
func TestColumnChangesUnderARunningStore(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	s := open(t, dsn)
	put(t, s, "a")
	require.True(t, has(t, s, "a"))
	_, err := connect(t, dsn).Exec(t.Context(), "ALTER TABLE entragate_records ALTER COLUMN entries TYPE varchar, ADD COLUMN more text")
	require.NoError(t, err)
	for range 5 {
		assert.True(t, has(t, s, "a"))
		put(t, s, "b")
	}
}
