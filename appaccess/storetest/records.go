package storetest

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

var records = map[string]func(*testing.T, appaccess.Store){
	"a new store is empty": func(t *testing.T, s appaccess.Store) {
		assert.Zero(t, revision(t, s))
		assert.Empty(t, list(t, s, appaccess.Query{Kind: kind}))
		view(t, s, func(r appaccess.Reader) {
			_, err := r.Get(kind, "a")
			require.ErrorIs(t, err, appaccess.ErrNotFound)
		})
	},

	"what was put comes back whole": func(t *testing.T, s appaccess.Store) {
		in := appaccess.Record{
			Kind: kind, ID: "a", Body: []byte(`{"b":"\u0000 <é>"}`),
			Index: []appaccess.IndexEntry{entry("owner", "u1"), uniqueEntry("key", "k1"), entry("owner", "u2")},
		}
		rev := put(t, s, in)
		in.Revision = rev
		view(t, s, func(r appaccess.Reader) {
			got, err := r.Get(kind, "a")
			require.NoError(t, err)
			assert.Equal(t, in, got)
			found, err := r.List(appaccess.Query{Kind: kind})
			require.NoError(t, err)
			assert.Equal(t, []appaccess.Record{in}, found)
			found, err = r.List(appaccess.Query{Kind: kind, Where: where("owner", "u2")})
			require.NoError(t, err)
			assert.Equal(t, []appaccess.Record{in}, found)
		})
	},

	"the body is kept byte by byte": func(t *testing.T, s appaccess.Store) {
		body := bytes.Repeat([]byte{0, 1, 0xff, '\'', '\\', '\n'}, 1000)
		put(t, s, appaccess.Record{Kind: kind, ID: "a", Body: body}, appaccess.Record{Kind: kind, ID: "b"})
		view(t, s, func(r appaccess.Reader) {
			got, err := r.Get(kind, "a")
			require.NoError(t, err)
			assert.Equal(t, body, got.Body)
			got, err = r.Get(kind, "b")
			require.NoError(t, err)
			assert.Empty(t, got.Body)
			assert.Empty(t, got.Index)
		})
	},

	"a second put replaces record, text and entries": func(t *testing.T, s appaccess.Store) {
		first := rec("a", entry("owner", "u1"), entry("tag", "x"), uniqueEntry("key", "k1"))
		put(t, s, first)
		second := rec("a", entry("owner", "u2"), entry("tag", "x"), uniqueEntry("key", "k2"))
		second.Body = []byte(`2`)
		second.Revision = put(t, s, second)
		view(t, s, func(r appaccess.Reader) {
			got, err := r.Get(kind, "a")
			require.NoError(t, err)
			assert.Equal(t, second, got)
		})
		for _, q := range []appaccess.Query{{Where: where("owner", "u1")}, {Where: where("key", "k1")}} {
			q.Kind = kind
			assert.Empty(t, list(t, s, q), "%+v", q)
		}
		for _, q := range []appaccess.Query{{Where: where("owner", "u2")}, {Where: where("tag", "x")}, {Where: where("key", "k2")}} {
			q.Kind = kind
			assert.Equal(t, []string{"a"}, list(t, s, q), "%+v", q)
		}
		put(t, s, rec("b", uniqueEntry("key", "k1"))) // is free again
	},

	"deleting frees ID and entries": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a", uniqueEntry("key", "k"), entry("owner", "u")))
		remove(t, s, "a")
		view(t, s, func(r appaccess.Reader) {
			_, err := r.Get(kind, "a")
			require.ErrorIs(t, err, appaccess.ErrNotFound)
		})
		assert.Empty(t, list(t, s, appaccess.Query{Kind: kind, Where: where("owner", "u")}))
		put(t, s, rec("b", uniqueEntry("key", "k")))
		put(t, s, rec("a"))
		assert.Empty(t, list(t, s, appaccess.Query{Kind: kind, Where: where("owner", "u")}))
	},

	"deleting what is not there is no error and no commit": func(t *testing.T, s appaccess.Store) {
		before := put(t, s, rec("a"))
		assert.Equal(t, before, remove(t, s, "b"))
		assert.Equal(t, before, revision(t, s))
	},

	"kinds are apart": func(t *testing.T, s appaccess.Store) {
		other := rec("a", uniqueEntry("key", "k"), entry("owner", "u"))
		other.Kind = "other"
		put(t, s, rec("a", uniqueEntry("key", "k")), other)
		assert.Equal(t, []string{"a"}, list(t, s, appaccess.Query{Kind: kind}))
		assert.Empty(t, list(t, s, appaccess.Query{Kind: kind, Where: where("owner", "u")}))
		assert.Empty(t, list(t, s, appaccess.Query{Kind: kind, OrderBy: "owner"}))
		remove(t, s, "a")
		assert.Equal(t, []string{"a"}, list(t, s, appaccess.Query{Kind: "other", Where: where("key", "k")}))
	},

	"a record carries the revision of its own last commit": func(t *testing.T, s appaccess.Store) {
		first := put(t, s, rec("a"), rec("b"))
		second := put(t, s, rec("b"))
		require.Greater(t, second, first)
		view(t, s, func(r appaccess.Reader) {
			a, err := r.Get(kind, "a")
			require.NoError(t, err)
			b, err := r.Get(kind, "b")
			require.NoError(t, err)
			assert.Equal(t, []appaccess.Revision{first, second}, []appaccess.Revision{a.Revision, b.Revision})
		})
	},

	"a unique entry of another record is a conflict that names it": func(t *testing.T, s appaccess.Store) {
		before := put(t, s, rec("a", uniqueEntry("key", "k")), rec("b", uniqueEntry("key", "free")))
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			return w.Put(rec("b", entry("owner", "u"), uniqueEntry("key", "k")))
		})
		conflict := new(appaccess.ConflictError)
		require.ErrorAs(t, err, &conflict)
		assert.Equal(t, "key", conflict.Field)
		assert.Equal(t, []string{"a"}, conflict.Objects)
		assert.Equal(t, before, revision(t, s))
		assert.Equal(t, []string{"b"}, list(t, s, appaccess.Query{Kind: kind, Where: where("key", "free")}))
		put(t, s, rec("a", uniqueEntry("key", "k"))) // no conflict with itself
		put(t, s, rec("c", uniqueEntry("other", "k")))
	},

	"after a conflict the transaction goes on unchanged": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a", uniqueEntry("key", "k")))
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			if err := w.Put(rec("b", entry("owner", "u"))); err != nil {
				return err
			}
			err := w.Put(rec("b", entry("owner", "v"), uniqueEntry("key", "k")))
			if !errors.As(err, new(*appaccess.ConflictError)) {
				return errors.New("no conflict")
			}
			got, err := w.Get(kind, "b")
			if err != nil {
				return err
			}
			assert.Equal(t, []appaccess.IndexEntry{entry("owner", "u")}, got.Index)
			return w.Put(rec("c"))
		})
		require.NoError(t, err)
		assert.Equal(t, []string{"a", "b", "c"}, list(t, s, appaccess.Query{Kind: kind}))
		assert.Equal(t, []string{"b"}, list(t, s, appaccess.Query{Kind: kind, Where: where("owner", "u")}))
	},

	"unique entries may change hands within a transaction": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a", uniqueEntry("key", "k")))
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			return errors.Join(w.Put(rec("a")), w.Put(rec("b", uniqueEntry("key", "k"))))
		})
		require.NoError(t, err)
		assert.Equal(t, []string{"b"}, list(t, s, appaccess.Query{Kind: kind, Where: where("key", "k")}))
	},

	"an entry that is given twice counts once": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a", entry("tag", "x"), entry("tag", "x"), uniqueEntry("key", "k"), uniqueEntry("key", "k")))
		assert.Equal(t, []string{"a"}, list(t, s, appaccess.Query{Kind: kind, Where: where("tag", "x")}))
		put(t, s, rec("a"))
		assert.Empty(t, list(t, s, appaccess.Query{Kind: kind, Where: where("tag", "x")}))
	},

	"no string is special": func(t *testing.T, s appaccess.Store) {
		for _, u := range unusual {
			put(t, s, rec(u, entry(u, u), uniqueEntry("key", u)))
		}
		for _, u := range unusual {
			view(t, s, func(r appaccess.Reader) {
				got, err := r.Get(kind, u)
				require.NoError(t, err, "%q", u)
				assert.Equal(t, u, got.ID)
			})
			assert.Equal(t, []string{u}, list(t, s, appaccess.Query{Kind: kind, Where: where(u, u)}), "%q", u)
			assert.Equal(t, []string{u}, list(t, s, appaccess.Query{Kind: kind, Where: where("key", u)}), "%q", u)
			assert.Equal(t, []string{u}, list(t, s, appaccess.Query{Kind: kind}.Prefix(u, u)), "%q", u)
			assert.Contains(t, list(t, s, appaccess.Query{Kind: kind}.Prefix("key", u)), u, "%q", u)
			view(t, s, func(r appaccess.Reader) {
				found, err := r.Find(kind, "key", []string{u, u + "?"})
				require.NoError(t, err)
				require.Len(t, found, 1)
				assert.Equal(t, u, found[0].ID)
			})
		}
		remove(t, s, unusual...)
		assert.Empty(t, list(t, s, appaccess.Query{Kind: kind}))
	},
}

var limits = map[string]func(*testing.T, appaccess.Store){
	"the largest record is accepted": func(t *testing.T, s appaccess.Store) {
		r := appaccess.Record{Kind: "abcdefghijklmnopqrstuvwxyzabcdef", ID: strings.Repeat("i", appaccess.MaxRecordID)}
		r.Body = bytes.Repeat([]byte("x"), appaccess.MaxRecordBody)
		for i := range appaccess.MaxRecordIndex {
			r.Index = append(r.Index, uniqueEntry("n", numbered(strings.Repeat("v", appaccess.MaxIndexValue-6), i)))
		}
		r.Revision = put(t, s, r)
		view(t, s, func(rd appaccess.Reader) {
			found, err := rd.List(appaccess.Query{Kind: r.Kind, Where: where("n", r.Index[7].Value)})
			require.NoError(t, err)
			assert.True(t, len(found) == 1 && bytes.Equal(found[0].Body, r.Body), "the body differs")
		})
	},

	"what is past a limit is refused by its name": func(t *testing.T, s appaccess.Store) {
		long := func(n int) string { return strings.Repeat("x", n) }
		many := make([]appaccess.IndexEntry, appaccess.MaxRecordIndex+1)
		for i := range many {
			many[i] = entry("n", numbered("", i))
		}
		for field, r := range map[string]appaccess.Record{
			"kind":    {ID: "a"},
			"id":      {Kind: kind},
			"body":    {Kind: kind, ID: "a", Body: make([]byte, appaccess.MaxRecordBody+1)},
			"index":   {Kind: kind, ID: "a", Index: many},
			"index n": {Kind: kind, ID: "a", Index: []appaccess.IndexEntry{entry("n", long(appaccess.MaxIndexValue+1))}},
		} {
			refused(t, s, field, r)
		}
		for _, k := range []appaccess.Kind{"A", "a-b", "é", "a1", "abcdefghijklmnopqrstuvwxyzabcdefg"} {
			refused(t, s, "kind", appaccess.Record{Kind: k, ID: "a"})
		}
		for _, id := range []string{long(appaccess.MaxRecordID + 1), "a\x00", "a\xff"} {
			refused(t, s, "id", appaccess.Record{Kind: kind, ID: id})
		}
		assert.Zero(t, revision(t, s))
	},

	"a query past a limit is refused": func(t *testing.T, s appaccess.Store) {
		for _, q := range []appaccess.Query{{}, {Kind: "A"}, {Kind: kind, Limit: -1}, {Kind: kind, Limit: appaccess.MaxPage + 1}, {Kind: kind, From: "\xff"},
			{Kind: kind, Where: where("", "u")}, {Kind: kind, Where: where("n", "a\x00")}, {Kind: kind, OrderBy: "n", After: "a"}, {Kind: kind, After: "a\x00b"}} {
			err := s.View(t.Context(), func(r appaccess.Reader) error {
				_, err := r.List(q)
				return err
			})
			assert.ErrorAs(t, err, new(*appaccess.InvalidError), "%+v", q)
		}
	},

	"looking for an ID that cannot be finds nothing": func(t *testing.T, s appaccess.Store) {
		for _, id := range []string{"", "a\x00b", "a\xff", strings.Repeat("x", 10_000)} {
			view(t, s, func(r appaccess.Reader) {
				_, err := r.Get(kind, id)
				require.ErrorIs(t, err, appaccess.ErrNotFound, "%q", id)
			})
			assert.Zero(t, remove(t, s, id))
		}
	},
}

func refused(t *testing.T, s appaccess.Store, field string, r appaccess.Record) {
	t.Helper()
	_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
		err := w.Put(r)
		invalid := new(appaccess.InvalidError)
		if assert.ErrorAs(t, err, &invalid) {
			assert.Equal(t, field, invalid.Field)
		}
		return nil // a refusal leaves the transaction whole
	})
	require.NoError(t, err)
}
