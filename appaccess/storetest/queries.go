package storetest

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/race"
)

var queries = map[string]func(*testing.T, appaccess.Store){
	"IDs are in byte order": func(t *testing.T, s appaccess.Store) {
		ids := []string{"B", "a", "A", "b", "a-b", "ab", "a b", "é", "z", "_", "10", "9", "Z", "\U0001F511", "\uffee"}
		for _, id := range ids {
			put(t, s, rec(id, entry("all", "1")))
		}
		slices.Sort(ids)
		down := slices.Clone(ids)
		slices.Reverse(down)
		for _, q := range []appaccess.Query{{Kind: kind}, {Kind: kind, Where: where("all", "1")}} {
			for _, q.Limit = range []int{0, 1, 4} {
				q.Descending = false
				assert.Equal(t, ids, all(t, s, limited(q)))
				q.Descending = true
				assert.Equal(t, down, all(t, s, limited(q)))
			}
		}
	},

	"pages begin after an ID that need not exist": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a"), rec("b"), rec("d"), rec("e"))
		for _, test := range []struct {
			q    appaccess.Query
			want []string
		}{
			{appaccess.Query{After: "b"}, []string{"d", "e"}},
			{appaccess.Query{After: "c"}, []string{"d", "e"}},
			{appaccess.Query{After: "e"}, []string{}},
			{appaccess.Query{After: "b", Limit: 1}, []string{"d"}},
			{appaccess.Query{After: "c", Descending: true}, []string{"b", "a"}},
			{appaccess.Query{After: "d", Descending: true, Limit: 1}, []string{"b"}},
			{appaccess.Query{After: "a", Descending: true}, []string{}},
		} {
			test.q.Kind = kind
			assert.Equal(t, test.want, list(t, s, test.q), "%+v", test.q)
		}
	},

	"an index entry is matched as a whole": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a", entry("owner", "u1")), rec("b", entry("owner", "u10")), rec("c", entry("owner", "U1")),
			rec("d", entry("other", "u1")), rec("e", entry("owner", "")))
		assert.Equal(t, []string{"a"}, list(t, s, appaccess.Query{Kind: kind, Where: where("owner", "u1")}))
		assert.Equal(t, []string{"e"}, list(t, s, appaccess.Query{Kind: kind, Where: where("owner", "")}))
		assert.Empty(t, list(t, s, appaccess.Query{Kind: kind, Where: where("own", "u1")}))
	},

	"a range of an index is in the order of its values": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a", entry("end", "2030")), rec("b", entry("end", "2029")), rec("c", entry("end", "2029")),
			rec("d"), rec("e", entry("end", "")), rec("f", entry("end", "2031")))
		for _, test := range []struct {
			q    appaccess.Query
			want []string
		}{
			{appaccess.Query{}, []string{"e", "b", "c", "a", "f"}},
			{appaccess.Query{From: "2029"}, []string{"b", "c", "a", "f"}},
			{appaccess.Query{To: "2030"}, []string{"e", "b", "c"}},
			{appaccess.Query{From: "2029", To: "2031"}, []string{"b", "c", "a"}},
			{appaccess.Query{From: "2031", To: "2029"}, []string{}},
			{appaccess.Query{After: "2029\x00b"}, []string{"c", "a", "f"}},
			{appaccess.Query{After: "2029\x00bb", To: "2031"}, []string{"c", "a"}},
			{appaccess.Query{After: "2000\x00x", From: "2030"}, []string{"a", "f"}},
			{appaccess.Query{After: "2031\x00f"}, []string{}},
			{appaccess.Query{Descending: true}, []string{"f", "a", "c", "b", "e"}},
			{appaccess.Query{Descending: true, After: "2029\x00c"}, []string{"b", "e"}},
			{appaccess.Query{Descending: true, After: "2029\x00c", From: "2020"}, []string{"b"}},
			{appaccess.Query{Descending: true, After: "2031\x00f", To: "2030"}, []string{"c", "b", "e"}},
			{appaccess.Query{Limit: 2}, []string{"e", "b"}},
		} {
			test.q.Kind, test.q.OrderBy = kind, "end"
			assert.Equal(t, test.want, list(t, s, test.q), "%+v", test.q)
		}
	},

	"a record with several values in the range is returned once": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a", entry("word", "order"), entry("word", "orders")), rec("b", entry("word", "ordering")),
			rec("c", entry("word", "zebra"), entry("word", "orders")))
		q := appaccess.Query{Kind: kind}.Prefix("word", "order")
		assert.Equal(t, []string{"a", "b", "c"}, list(t, s, q))
		assert.Equal(t, []string{"a", "c"}, list(t, s, appaccess.Query{Kind: kind}.Prefix("word", "orders")))
		q.Descending = true
		assert.Equal(t, []string{"c", "a", "b"}, list(t, s, q))
		q.Limit = 1
		assert.Equal(t, []string{"c", "a", "b"}, all(t, s, q))
	},

	"whatever is asked for, in pages of any size, is what a list would give": func(t *testing.T, s appaccess.Store) {
		model := someRecords(t, s)
		random := rand.New(rand.NewPCG(1, 2))
		value := func() string { return numbered("", random.IntN(12)) }
		asked := 200
		if race.Enabled {
			asked = 40
		}
		for range asked {
			q := appaccess.Query{Kind: kind, Limit: 1 + random.IntN(150), Descending: random.IntN(2) == 0}
			for _, name := range []string{"colour", "size"} {
				if random.IntN(3) == 0 {
					q.Where = append(q.Where, entry(name, value()))
				}
			}
			if random.IntN(2) == 0 {
				q.OrderBy = "time"
				if random.IntN(2) == 0 {
					q.From = value()
				}
				if random.IntN(2) == 0 {
					q.To = value()
				}
			}
			want := model.selects(q)
			require.Equal(t, want, all(t, s, q), "%+v", q)
			view(t, s, func(r appaccess.Reader) {
				n, err := r.Count(q, 1_000_000)
				require.NoError(t, err)
				if q.OrderBy == "" || len(q.Where) > 0 { // else once for each value
					require.Equal(t, len(want), n, "%+v", q)
				} else {
					require.GreaterOrEqual(t, n, len(want), "%+v", q)
				}
				few, err := r.Count(q, 3)
				require.NoError(t, err)
				require.Equal(t, min(n, 3), few)
			})
		}
	},

	"records are found by many values at once": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a", uniqueEntry("key", "k1"), uniqueEntry("key", "k2")), rec("b", uniqueEntry("key", "k3")), rec("c"))
		find := func(index string, values ...string) []string {
			ids := []string{}
			view(t, s, func(r appaccess.Reader) {
				found, err := r.Find(kind, index, values)
				require.NoError(t, err)
				for _, rec := range found {
					require.NotZero(t, rec.Revision)
					require.NotEmpty(t, rec.Body)
					ids = append(ids, rec.ID)
				}
			})
			slices.Sort(ids)
			return ids
		}
		assert.Equal(t, []string{"a", "b"}, find("key", "k1", "k2", "k3", "k4", "k1", "", "\xff", "a\x00"))
		assert.Equal(t, []string{"a", "c"}, find("", "a", "c", "x", "a"))
		assert.Empty(t, find("key"))
		assert.Empty(t, find("other", "k1"))
		err := s.View(t.Context(), func(r appaccess.Reader) error {
			_, err := r.Find(kind, "key", make([]string, appaccess.MaxPage+1))
			return err
		})
		assert.ErrorAs(t, err, new(*appaccess.InvalidError))
	},

	"look-ups read like views": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a"))
		require.NoError(t, s.Lookup(t.Context(), func(r appaccess.Reader) error {
			_, err := r.Get(kind, "a")
			return err
		}))
		assert.Equal(t, errRefused, s.Lookup(t.Context(), func(appaccess.Reader) error { return errRefused }))
	},

	"views that take all their connections delay neither look-ups, changes nor writes": func(t *testing.T, s appaccess.Store) {
		const views = 64 // more than a store has
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var running sync.WaitGroup
		for range views {
			running.Go(func() {
				_ = s.View(ctx, func(r appaccess.Reader) error {
					_, err := r.Get(kind, "a")
					<-ctx.Done()
					return err
				})
			})
		}
		var err error
		for err == nil || !strings.Contains(err.Error(), "reads are running") { // until all are taken
			brief, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
			err = s.View(brief, func(appaccess.Reader) error { return nil })
			stop()
		}
		require.ErrorIs(t, err, context.DeadlineExceeded)
		put(t, s, rec("a"))
		assert.Len(t, await(t, s, start, 1), 1)
		require.NoError(t, s.Lookup(t.Context(), func(r appaccess.Reader) error {
			_, err := r.Get(kind, "a")
			return err
		}))
		cancel()
		running.Wait()
		view(t, s, func(appaccess.Reader) {})
	},

	"a query reads the rows that it returns, however many there are": func(t *testing.T, s appaccess.Store) {
		const records, few = 2500, 20
		var recs []appaccess.Record
		for i := range records {
			r := rec(numbered("r", i), entry("all", "1"), entry("half", strconv.Itoa(i%2)), entry("time", numbered("", records-i)), uniqueEntry("key", numbered("k", i)))
			if i%(records/few) == 0 {
				r.Index = append(r.Index, entry("rare", "1"))
			}
			recs = append(recs, r)
		}
		put(t, s, recs...)
		const counted = 2 * (appaccess.MaxPage + 1) // rows of two conditions, to find the rarer one
		for _, test := range []struct {
			q    appaccess.Query
			rows int
		}{
			{appaccess.Query{}, few},
			{appaccess.Query{After: numbered("r", 2000)}, few},
			{appaccess.Query{After: numbered("r", 2000), Descending: true}, few},
			{appaccess.Query{Where: where("all", "1"), After: numbered("r", 1500)}, few},
			{appaccess.Query{OrderBy: "time", From: numbered("", 2000)}, few},
			{appaccess.Query{OrderBy: "time", After: numbered("", 1000) + "\x00r", Descending: true}, few},
			{appaccess.Query{Where: []appaccess.IndexEntry{entry("all", "1"), entry("rare", "1")}}, few + few + appaccess.MaxPage + 1},
			{appaccess.Query{OrderBy: "time", Where: where("rare", "1")}, few + few},
			{appaccess.Query{OrderBy: "time", Where: []appaccess.IndexEntry{entry("all", "1"), entry("half", "1")}}, counted + 5*few},
		} {
			test.q.Kind, test.q.Limit = kind, few
			view(t, s, func(r appaccess.Reader) {
				found, err := r.List(test.q)
				require.NoError(t, err)
				assert.Len(t, found, few, "%+v", test.q)
				checkRows(t, r, test.rows, test.q)
			})
		}
		view(t, s, func(r appaccess.Reader) {
			n, err := r.Count(appaccess.Query{Kind: kind, Where: where("all", "1")}, 100)
			require.NoError(t, err)
			assert.Equal(t, 100, n)
			checkRows(t, r, 100, "count")
		})
		view(t, s, func(r appaccess.Reader) {
			_, err := r.Find(kind, "key", []string{numbered("k", 7), numbered("k", 2400), "none"})
			require.NoError(t, err)
			checkRows(t, r, 2, "find")
		})
	},

	"more records than a page has": func(t *testing.T, s appaccess.Store) {
		const rows = 2 * appaccess.MaxPage
		want := make([]string, rows)
		for i := range want {
			want[i] = numbered("r", i)
		}
		for part := range slices.Chunk(want, appaccess.MaxPage) {
			recs := make([]appaccess.Record, len(part))
			for i, id := range part {
				recs[i] = rec(id, uniqueEntry("key", "k"+id), entry("owner", "u"+id[len(id)-2:]), entry("all", "1"))
			}
			put(t, s, recs...)
		}
		assert.Equal(t, want, all(t, s, appaccess.Query{Kind: kind, Limit: appaccess.MaxPage}))
		assert.Equal(t, want, all(t, s, appaccess.Query{Kind: kind, Where: where("all", "1"), Limit: 999}))
		assert.Len(t, list(t, s, appaccess.Query{Kind: kind}), appaccess.MaxPage, "0 is the largest page")
		assert.Len(t, list(t, s, appaccess.Query{Kind: kind, Where: where("owner", "u42")}), rows/100)
		assert.Equal(t, []string{want[777]}, list(t, s, appaccess.Query{Kind: kind, Where: where("key", "k"+want[777])}))
		assert.Equal(t, []string{want[1999]}, list(t, s, appaccess.Query{Kind: kind}.Prefix("key", "kr00199"))[9:])
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(rec("new", uniqueEntry("key", "k"+want[0]))) })
		require.ErrorAs(t, err, new(*appaccess.ConflictError))
	},
}

// checkRows checks how many rows a store read, if it counts them: the suite knows
// a Reader that has the method RowsRead.
func checkRows(t *testing.T, r appaccess.Reader, most int, what any) {
	t.Helper()
	if counts, ok := r.(interface{ RowsRead() int }); ok {
		assert.LessOrEqual(t, counts.RowsRead(), most, "rows read by %+v", what)
	}
}

// model is what a store should hold.
type model []appaccess.Record

// someRecords puts records with few values of some indexes.
func someRecords(t *testing.T, s appaccess.Store) model {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 4))
	var m model
	for i := range 400 {
		r := rec(numbered("r", i))
		for _, name := range []string{"colour", "size", "time", "time"} {
			if random.IntN(3) > 0 {
				r.Index = append(r.Index, entry(name, numbered("", random.IntN(12))))
			}
		}
		m = append(m, r)
	}
	put(t, s, m...)
	return m
}

// selects returns the IDs that a query selects, without its limit.
func (m model) selects(q appaccess.Query) []string {
	var found model
	for _, r := range m {
		has := func(fn func(appaccess.IndexEntry) bool) bool { return slices.ContainsFunc(r.Index, fn) }
		ok := q.OrderBy == "" || has(func(e appaccess.IndexEntry) bool {
			return e.Name == q.OrderBy && e.Value >= q.From && (q.To == "" || e.Value < q.To)
		})
		for _, w := range q.Where {
			ok = ok && has(func(e appaccess.IndexEntry) bool { return e == w })
		}
		if ok {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b appaccess.Record) int {
		if q.Descending {
			a, b = b, a
		}
		return strings.Compare(q.Cursor(a), q.Cursor(b))
	})
	ids := []string{}
	for _, r := range found {
		ids = append(ids, r.ID)
	}
	return ids
}

// limited gives a query without a limit the largest page, so that all can turn pages.
func limited(q appaccess.Query) appaccess.Query {
	if q.Limit == 0 {
		q.Limit = appaccess.MaxPage
	}
	return q
}
