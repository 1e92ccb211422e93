package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

var changes = map[string]func(*testing.T, appaccess.Store){
	"every put and delete is a change, in commit order": func(t *testing.T, s appaccess.Store) {
		want := []appaccess.Change{}
		for i, id := range []string{"b", "a", "b", "a", "c"} {
			if i == 3 {
				remove(t, s, id)
			} else {
				put(t, s, rec(id))
			}
			want = append(want, changed(position(t, s), id))
		}
		assert.Equal(t, want, await(t, s, start, len(want)))
		for i, c := range want {
			assert.Equal(t, want[i+1:], await(t, s, c.Position, len(want)-i-1))
		}
	},

	"a record that a commit touches twice is one change": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a"), rec("b"), rec("a"))
		at := position(t, s)
		assert.ElementsMatch(t, []appaccess.Change{changed(at, "a"), changed(at, "b")}, await(t, s, start, 2))
	},

	"what is undone is no change": func(t *testing.T, s appaccess.Store) {
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			require.NoError(t, w.Put(rec("a")))
			return errRefused
		})
		require.ErrorIs(t, err, errRefused)
		put(t, s, rec("b"))
		assert.Equal(t, []appaccess.Change{changed(position(t, s), "b")}, await(t, s, start, 1))
	},

	"rows of usage are no change and raise no revision": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a"))
		at := position(t, s)
		usage := appaccess.Record{Kind: appaccess.KindUsage, ID: "u", Body: []byte(`{"calls":1}`)}
		put(t, s, usage)
		require.Equal(t, at, position(t, s))
		require.NoError(t, s.View(t.Context(), func(r appaccess.Reader) error {
			_, err := r.Get(usage.Kind, usage.ID)
			return err
		}))
		put(t, s, usage, rec("b"))
		assert.Equal(t, []appaccess.Change{changed(at, "a"), changed(position(t, s), "b")}, await(t, s, start, 2))
	},

	"the feed goes on with what is committed later": func(t *testing.T, s appaccess.Store) {
		const commits = 30
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		put(t, s, rec(numbered("r", 0)))
		seen := 0
		for c, err := range s.Changes(ctx, start) {
			require.NoError(t, err)
			if !c.AsOf.IsZero() {
				continue
			}
			require.Equal(t, numbered("r", seen), c.ID)
			if seen++; seen == commits {
				break
			}
			put(t, s, rec(numbered("r", seen)))
		}
		assert.Equal(t, commits, seen)
	},

	"a feed that began before the commit is woken by it": func(t *testing.T, s appaccess.Store) {
		before := position(t, s)
		const readers = 5
		got := make(chan []appaccess.Change, readers)
		for range readers {
			go func() { got <- await(t, s, before, 1) }()
		}
		put(t, s, rec("a"))
		want := []appaccess.Change{changed(position(t, s), "a")}
		for range readers {
			assert.Equal(t, want, <-got)
		}
	},

	"concurrent commits arrive complete and in order": func(t *testing.T, s appaccess.Store) {
		const writers, turns, size = 6, 10, 3
		done := make(chan []appaccess.Change, 1)
		go func() { done <- await(t, s, start, writers*turns*size) }()
		concurrently(t, writers, func(i int) error {
			for range turns {
				_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
					for range size {
						if err := w.Put(rec(numbered("r", int(serial.Add(1))))); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		perCommit, last := map[appaccess.Revision]int{}, appaccess.Revision(0)
		for _, c := range <-done {
			require.False(t, c.Reset)
			require.GreaterOrEqual(t, c.Revision, last)
			last = c.Revision
			perCommit[c.Revision]++
		}
		assert.Len(t, perCommit, writers*turns)
		for rev, n := range perCommit {
			assert.Equal(t, size, n, "revision %d", rev)
		}
	},

	"an ended context ends the feed, but not within a commit": func(t *testing.T, s appaccess.Store) {
		const size = 2500
		recs := make([]appaccess.Record, size)
		for i := range recs {
			recs[i] = rec(numbered("r", i))
		}
		put(t, s, recs...)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seen := 0
		var last error
		for c, err := range s.Changes(ctx, start) {
			if last = err; err != nil || !c.AsOf.IsZero() {
				continue
			}
			seen++
			cancel()
		}
		require.ErrorIs(t, last, context.Canceled)
		assert.Equal(t, size, seen)
	},

	"an ended context yields one error": func(t *testing.T, s appaccess.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		n := 0
		for _, err := range s.Changes(ctx, start) {
			require.ErrorIs(t, err, context.Canceled)
			n++
		}
		assert.Equal(t, 1, n)
	},

	"a position that is not in the history is a reset": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a"))
		first := position(t, s)
		put(t, s, rec("b"))
		newest := position(t, s)
		assert.NotEqual(t, first.Commit, newest.Commit)
		for _, other := range []appaccess.Position{
			{Revision: newest.Revision + 100, Commit: newest.Commit}, // the store is older
			{Revision: newest.Revision, Commit: newest.Commit + 1},   // another commit, of the same revision
			{Revision: first.Revision, Commit: first.Commit + 1},
			{Revision: 0, Commit: 1},
		} {
			assert.Equal(t, []appaccess.Change{{Position: newest, Reset: true}}, await(t, s, other, 1), "%+v", other)
		}
		assert.Equal(t, []appaccess.Change{changed(newest, "b")}, await(t, s, first, 1))
	},

	"the feed says when it has yielded everything, and again at least every second": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a"))
		began, seen, marks := time.Now(), 0, []appaccess.Change{}
		for c, err := range s.Changes(t.Context(), start) {
			require.NoError(t, err)
			if c.AsOf.IsZero() {
				seen++
				continue
			}
			require.Equal(t, 1, seen, "before the change that it covers")
			require.Empty(t, c.Kind+appaccess.Kind(c.ID))
			require.Equal(t, position(t, s), c.Position)
			require.False(t, c.AsOf.Before(began) || c.AsOf.After(time.Now()))
			if marks = append(marks, c); len(marks) == 3 {
				break
			}
		}
		assert.True(t, marks[1].AsOf.After(marks[0].AsOf) && marks[2].AsOf.After(marks[1].AsOf))
	},

	"a history that is forgotten is a reset, and then goes on": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("first"))
		first := position(t, s)
		recs := make([]appaccess.Record, appaccess.MaxPage)
		for i := range recs {
			recs[i] = appaccess.Record{Kind: kind, ID: numbered("r", i)}
		}
		var before, newest appaccess.Position
		forgot := false
		for range 100 { // a bounded history is shorter than 100,000 changes
			before = newest
			put(t, s, recs...)
			newest = position(t, s)
			if got := await(t, s, first, 1); got[0].Reset {
				assert.Equal(t, appaccess.Change{Position: newest, Reset: true}, got[0])
				forgot = true
				break
			}
		}
		require.True(t, forgot, "the store keeps every change for ever")
		put(t, s, rec("next"))
		next := changed(position(t, s), "next")
		assert.Equal(t, []appaccess.Change{next}, await(t, s, newest, 1), "what is recent is still known")
		got := await(t, s, before, len(recs)+1)
		assert.Equal(t, next, got[len(recs)])
	},

	"closing the store ends the feed": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a"))
		var last error
		for _, err := range s.Changes(t.Context(), start) {
			if last = err; err == nil {
				require.NoError(t, s.Close())
			}
		}
		require.ErrorIs(t, last, appaccess.ErrUnavailable)
	},
}
