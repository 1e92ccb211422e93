package storetest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

const rows = 10_000

var queries = map[string]func(*testing.T, appaccess.Store){
	"order is that of bytes": func(t *testing.T, s appaccess.Store) {
		ids := []string{"B", "a", "A", "b", "a-b", "ab", "a b", "é", "z", "_", "10", "9", "Z", "\U0001F511", "\uffee"}
		for _, id := range ids {
			put(t, s, rec(id, entry("all", "1")))
		}
		slices.Sort(ids)
		down := slices.Clone(ids)
		slices.Reverse(down)
		for _, q := range []appaccess.Query{{Kind: kind}, {Kind: kind, Index: "all", Value: "1"}} {
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
		assert.Equal(t, []string{"a"}, list(t, s, appaccess.Query{Kind: kind, Index: "owner", Value: "u1"}))
		assert.Equal(t, []string{"e"}, list(t, s, appaccess.Query{Kind: kind, Index: "owner"}))
		assert.Empty(t, list(t, s, appaccess.Query{Kind: kind, Index: "own", Value: "u1"}))
		assert.Len(t, list(t, s, appaccess.Query{Kind: kind, Value: "u1"}), 5, "a value without an index selects nothing")
	},

	"text is found literally, whatever its ASCII case": func(t *testing.T, s appaccess.Store) {
		for id, text := range map[string]string{
			"a": "Contoso Orders", "b": "CONTOSO bills", "c": "100% cotton", "d": "under_score", "e": "ÄRGER", "f": "",
		} {
			r := rec(id)
			r.Text = text
			put(t, s, r)
		}
		for text, want := range map[string][]string{
			"contoso": {"a", "b"}, "TOSO B": {"b"}, "%": {"c"}, "r_s": {"d"}, "_": {"d"}, "o%r": {}, "ÄRG": {"e"}, "Ärg": {"e"}, "ärg": {},
			"": {"a", "b", "c", "d", "e", "f"},
		} {
			assert.Equal(t, want, list(t, s, appaccess.Query{Kind: kind, Text: text}), "%q", text)
		}
	},

	"index, text, page and order together": func(t *testing.T, s appaccess.Store) {
		var recs []appaccess.Record
		for i := range 60 {
			r := rec(numbered("", i), entry("owner", []string{"u0", "u1", "u2"}[i%3]))
			r.Text = []string{"red", "green"}[i%2]
			recs = append(recs, r)
		}
		put(t, s, recs...)
		q := appaccess.Query{Kind: kind, Index: "owner", Value: "u1", Text: "GREEN", Limit: 3}
		up := all(t, s, q)
		assert.Len(t, up, 10)
		assert.Equal(t, numbered("", 1), up[0])
		assert.True(t, slices.IsSorted(up))
		q.Descending = true
		down := all(t, s, q)
		slices.Reverse(down)
		assert.Equal(t, up, down)
	},

	"ten thousand records": func(t *testing.T, s appaccess.Store) {
		want := make([]string, rows)
		for i := range want {
			want[i] = numbered("r", i)
		}
		for part := range slices.Chunk(want, appaccess.MaxPage) {
			recs := make([]appaccess.Record, len(part))
			for i, id := range part {
				recs[i] = rec(id, uniqueEntry("key", "k"+id), entry("owner", "u"+id[len(id)-2:]), entry("all", "1"))
				recs[i].Text = "thing " + id
			}
			put(t, s, recs...)
		}
		assert.Equal(t, want, all(t, s, appaccess.Query{Kind: kind, Limit: appaccess.MaxPage}))
		assert.Equal(t, want, all(t, s, appaccess.Query{Kind: kind, Index: "all", Value: "1", Limit: 999}))
		assert.Len(t, list(t, s, appaccess.Query{Kind: kind}), appaccess.MaxPage, "0 is the largest page")
		assert.Len(t, list(t, s, appaccess.Query{Kind: kind, Index: "owner", Value: "u42"}), rows/100)
		assert.Equal(t, []string{want[777]}, list(t, s, appaccess.Query{Kind: kind, Index: "key", Value: "k" + want[777]}))
		assert.Equal(t, []string{want[9999]}, list(t, s, appaccess.Query{Kind: kind, Text: want[9999]}))
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(rec("new", uniqueEntry("key", "k"+want[0]))) })
		require.ErrorAs(t, err, new(*appaccess.ConflictError))
	},
}

// limited makes all turn pages: 0 stands for the largest page.
func limited(q appaccess.Query) appaccess.Query {
	if q.Limit == 0 {
		q.Limit = appaccess.MaxPage
	}
	return q
}
