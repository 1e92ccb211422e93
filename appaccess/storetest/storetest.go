// Package storetest is the suite that every [appaccess.Store] passes. A test of
// a store is one call of [Run].
package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// Run tests a kind of store. open returns a new, empty store for each call; it
// is called from several goroutines, and the suite closes what it returns. The
// tests run in parallel; with a disk of ordinary speed they take a few seconds.
func Run(t *testing.T, open func(t *testing.T) appaccess.Store) {
	t.Helper()
	for _, group := range []map[string]func(*testing.T, appaccess.Store){records, queries, transactions, changes, limits} {
		for name, test := range group {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := open(t)
				t.Cleanup(func() { require.NoError(t, s.Close()) })
				test(t, s)
			})
		}
	}
}

// kind is the kind of most records in the suite.
const kind appaccess.Kind = "thing"

// patience bounds what is awaited. It is never waited out where a store works.
const patience = 60 * time.Second

func rec(id string, index ...appaccess.IndexEntry) appaccess.Record {
	return appaccess.Record{Kind: kind, ID: id, Body: []byte(`{"id":"` + id + `"}`), Index: index}
}

func entry(name, value string) appaccess.IndexEntry {
	return appaccess.IndexEntry{Name: name, Value: value}
}

func uniqueEntry(name, value string) appaccess.IndexEntry {
	return appaccess.IndexEntry{Name: name, Value: value, Unique: true}
}

// put commits records.
func put(t *testing.T, s appaccess.Store, recs ...appaccess.Record) appaccess.Revision {
	t.Helper()
	rev, err := s.Update(t.Context(), func(w appaccess.Writer) error {
		for part := range slices.Chunk(recs, appaccess.MaxPage) { // so that a store need not read each by itself
			ids := make([]string, len(part))
			for i, r := range part {
				ids[i] = r.ID
			}
			if _, err := w.Find(part[0].Kind, "", ids); err != nil {
				return err
			}
		}
		for _, r := range recs {
			if err := w.Put(r); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	return rev
}

func remove(t *testing.T, s appaccess.Store, ids ...string) appaccess.Revision {
	t.Helper()
	rev, err := s.Update(t.Context(), func(w appaccess.Writer) error {
		for _, id := range ids {
			if err := w.Delete(kind, id); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	return rev
}

func view(t *testing.T, s appaccess.Store, fn func(appaccess.Reader)) {
	t.Helper()
	require.NoError(t, s.View(t.Context(), func(r appaccess.Reader) error {
		fn(r)
		return nil
	}))
}

func revision(t *testing.T, s appaccess.Store) (rev appaccess.Revision) {
	t.Helper()
	view(t, s, func(r appaccess.Reader) {
		at, err := r.Position()
		require.NoError(t, err)
		rev = at.Revision
	})
	return rev
}

func position(t *testing.T, s appaccess.Store) (at appaccess.Position) {
	t.Helper()
	view(t, s, func(r appaccess.Reader) {
		var err error
		at, err = r.Position()
		require.NoError(t, err)
	})
	return at
}

// list returns the IDs that a query selects.
func list(t *testing.T, s appaccess.Store, q appaccess.Query) []string {
	t.Helper()
	ids := []string{}
	view(t, s, func(r appaccess.Reader) {
		found, err := r.List(q)
		require.NoError(t, err)
		for _, f := range found {
			ids = append(ids, f.ID)
		}
	})
	return ids
}

// all reads every page of a query.
func all(t *testing.T, s appaccess.Store, q appaccess.Query) []string {
	t.Helper()
	ids := []string{}
	view(t, s, func(r appaccess.Reader) {
		for {
			page, err := r.List(q)
			require.NoError(t, err)
			for _, rec := range page {
				ids = append(ids, rec.ID)
			}
			if len(page) < q.Limit {
				return
			}
			q.After = q.Cursor(page[len(page)-1])
		}
	})
	return ids
}

// where selects the records that have an entry.
func where(name, value string) []appaccess.IndexEntry {
	return []appaccess.IndexEntry{entry(name, value)}
}

// start is before all changes.
var start appaccess.Position

// await reads a feed until want is reached: that many changes.
func await(t *testing.T, s appaccess.Store, after appaccess.Position, want int) []appaccess.Change {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got := []appaccess.Change{}
	if want == 0 {
		return got
	}
	for c, err := range s.Changes(ctx, after) {
		require.NoError(t, err, "after %d of %d changes", len(got), want)
		if !c.AsOf.IsZero() {
			continue
		}
		got = append(got, c)
		if len(got) == want {
			break
		}
	}
	return got
}

// changed is a change of one record at a position.
func changed(at appaccess.Position, id string) appaccess.Change {
	return appaccess.Change{Position: at, Kind: kind, ID: id}
}

var serial atomic.Int64

// unusual are strings that a careless store trips over.
var unusual = []string{
	`'`, `"`, `''; DROP TABLE records; --`, `" OR "1"="1`, `%`, `_`, `\`, `\%`, `$1`, `?`, `:id`, `@p1`,
	"a\nb", "a\tb", " leading", "trailing ", "é", "e\u0301", "日本語", "\U0001F511", "İ", "ß", "null", "0", "[a-z]", "*", ".",
	`{"json":1}`, `</script>`, "\u2028", "\ufeff", "\x01", "a/b", "a;b", "a,b", `a\'b`, "--", "/*", "{}", "%s", "%00",
}

func numbered(prefix string, i int) string { return fmt.Sprintf("%s%06d", prefix, i) }
