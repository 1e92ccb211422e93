package storetest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

var changes = map[string]func(*testing.T, appaccess.Store){
	"every put and delete is a change, in commit order": func(t *testing.T, s appaccess.Store) {
		revs := []appaccess.Revision{put(t, s, rec("b")), put(t, s, rec("a")), put(t, s, rec("b")), remove(t, s, "a"), put(t, s, rec("c"))}
		want := []appaccess.Change{}
		for i, id := range []string{"b", "a", "b", "a", "c"} {
			want = append(want, appaccess.Change{Revision: revs[i], Kind: kind, ID: id})
		}
		assert.Equal(t, want, await(t, s, 0, len(want)))
		for i, rev := range revs[:len(revs)-1] {
			assert.Equal(t, want[i+1:], await(t, s, rev, len(want)-i-1))
		}
	},

	"a record that a commit touches twice is one change": func(t *testing.T, s appaccess.Store) {
		rev := put(t, s, rec("a"), rec("b"), rec("a"))
		got := await(t, s, 0, 2)
		assert.ElementsMatch(t, []appaccess.Change{{Revision: rev, Kind: kind, ID: "a"}, {Revision: rev, Kind: kind, ID: "b"}}, got)
	},

	"what is undone is no change": func(t *testing.T, s appaccess.Store) {
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			require.NoError(t, w.Put(rec("a")))
			return errRefused
		})
		require.ErrorIs(t, err, errRefused)
		rev := put(t, s, rec("b"))
		assert.Equal(t, []appaccess.Change{{Revision: rev, Kind: kind, ID: "b"}}, await(t, s, 0, 1))
	},

	"the feed goes on with what is committed later": func(t *testing.T, s appaccess.Store) {
		const commits = 30
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		put(t, s, rec(numbered("r", 0)))
		seen := 0
		for c, err := range s.Changes(ctx, 0) {
			require.NoError(t, err)
			require.Equal(t, numbered("r", seen), c.ID)
			if seen++; seen == commits {
				break
			}
			put(t, s, rec(numbered("r", seen)))
		}
		assert.Equal(t, commits, seen)
	},

	"a feed that began before the commit is woken by it": func(t *testing.T, s appaccess.Store) {
		start := revision(t, s)
		const readers = 5
		got := make(chan []appaccess.Change, readers)
		for range readers {
			go func() { got <- await(t, s, start, 1) }()
		}
		rev := put(t, s, rec("a"))
		for range readers {
			assert.Equal(t, []appaccess.Change{{Revision: rev, Kind: kind, ID: "a"}}, <-got)
		}
	},

	"concurrent commits arrive complete and in order": func(t *testing.T, s appaccess.Store) {
		const writers, turns, size = 6, 10, 3
		done := make(chan []appaccess.Change, 1)
		go func() { done <- await(t, s, 0, writers*turns*size) }()
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
		for _, err := range s.Changes(ctx, 0) {
			if last = err; err != nil {
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
		for _, err := range s.Changes(ctx, 0) {
			require.ErrorIs(t, err, context.Canceled)
			n++
		}
		assert.Equal(t, 1, n)
	},

	"a revision that is ahead of the store is a reset": func(t *testing.T, s appaccess.Store) {
		rev := put(t, s, rec("a"))
		got := await(t, s, rev+100, 1)
		assert.Equal(t, []appaccess.Change{{Revision: rev, Reset: true}}, got)
	},

	"a history that is forgotten is a reset, and then goes on": func(t *testing.T, s appaccess.Store) {
		first := put(t, s, rec("first"))
		recs := make([]appaccess.Record, appaccess.MaxPage)
		for i := range recs {
			recs[i] = appaccess.Record{Kind: kind, ID: numbered("r", i)}
		}
		var newest appaccess.Revision
		forgot := false
		for range 100 { // a bounded history is shorter than 100,000 changes
			newest = put(t, s, recs...)
			if got := await(t, s, first, 1); got[0].Reset {
				assert.Equal(t, appaccess.Change{Revision: newest, Reset: true}, got[0])
				forgot = true
				break
			}
		}
		require.True(t, forgot, "the store keeps every change for ever")
		next := put(t, s, rec("next"))
		assert.Equal(t, []appaccess.Change{{Revision: next, Kind: kind, ID: "next"}}, await(t, s, newest, 1), "what is recent is still known")
		got := await(t, s, newest-1, len(recs)+1)
		assert.Equal(t, appaccess.Change{Revision: next, Kind: kind, ID: "next"}, got[len(recs)])
	},

	"closing the store ends the feed": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a"))
		var last error
		for _, err := range s.Changes(t.Context(), 0) {
			if last = err; err == nil {
				require.NoError(t, s.Close())
			}
		}
		require.ErrorIs(t, last, appaccess.ErrUnavailable)
	},
}
