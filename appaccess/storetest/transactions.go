package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

var errRefused = errors.New("refused by the test")

var transactions = map[string]func(*testing.T, appaccess.Store){
	"an error of fn is returned unchanged and undoes everything": func(t *testing.T, s appaccess.Store) {
		before := put(t, s, rec("a", uniqueEntry("key", "k")))
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			require.NoError(t, errors.Join(w.Put(rec("b")), w.Delete(kind, "a")))
			return errRefused
		})
		assert.Equal(t, errRefused, err)
		assert.Equal(t, before, revision(t, s))
		assert.Equal(t, []string{"a"}, list(t, s, appaccess.Query{Kind: kind, Where: where("key", "k")}))
		assert.Equal(t, errRefused, s.View(t.Context(), func(appaccess.Reader) error { return errRefused }))
	},

	"a panic of fn undoes everything": func(t *testing.T, s appaccess.Store) {
		assert.PanicsWithValue(t, "test", func() {
			_, _ = s.Update(t.Context(), func(w appaccess.Writer) error {
				require.NoError(t, w.Put(rec("a")))
				panic("test")
			})
		})
		assert.Empty(t, list(t, s, appaccess.Query{Kind: kind}))
		put(t, s, rec("b"))
	},

	"a writer reads its own writes": func(t *testing.T, s appaccess.Store) {
		base := put(t, s, rec("a", entry("owner", "u")), rec("b", entry("owner", "u")))
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			r := rec("c", entry("owner", "u"), entry("word", "word"))
			require.NoError(t, errors.Join(w.Put(r), w.Delete(kind, "a"), w.Put(rec("b"))))
			_, err := w.Get(kind, "a")
			require.ErrorIs(t, err, appaccess.ErrNotFound)
			for _, q := range []appaccess.Query{{Where: where("owner", "u")}, appaccess.Query{}.Prefix("word", "w")} {
				q.Kind = kind
				found, err := w.List(q)
				require.NoError(t, err)
				require.Len(t, found, 1)
				require.Equal(t, "c", found[0].ID)
			}
			at, err := w.Position()
			require.NoError(t, err)
			assert.Equal(t, base, at.Revision)
			return nil
		})
		require.NoError(t, err)
	},

	"a record that was not read is replaced with all of its entries": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a", uniqueEntry("key", "k"), entry("owner", "u1")), rec("b", entry("owner", "u1")))
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			require.NoError(t, errors.Join(
				w.Put(rec("a", entry("owner", "u2"))),
				w.Put(rec("c", uniqueEntry("key", "k"))), // is free now
				w.Put(rec("b", entry("owner", "u2"))), w.Put(rec("b", entry("owner", "u3"))),
				w.Put(rec("d", entry("owner", "u2"))), w.Delete(kind, "d"),
			))
			n, err := w.Count(appaccess.Query{Kind: kind, Where: where("owner", "u2")}, 10)
			require.NoError(t, err)
			assert.Equal(t, 1, n)
			return w.Put(rec("e", entry("owner", "u3")))
		})
		require.NoError(t, err)
		for value, expected := range map[string][]string{"u1": nil, "u2": {"a"}, "u3": {"b", "e"}} {
			assert.ElementsMatch(t, expected, list(t, s, appaccess.Query{Kind: kind, Where: where("owner", value)}), value)
		}
		assert.Equal(t, []string{"c"}, list(t, s, appaccess.Query{Kind: kind, Where: where("key", "k")}))
	},

	"each commit raises the revision, and only a commit": func(t *testing.T, s appaccess.Store) {
		last := revision(t, s)
		for i := range 5 {
			next := put(t, s, rec(strconv.Itoa(i)))
			require.Greater(t, next, last)
			require.Equal(t, next, revision(t, s))
			last = next
		}
		rev, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			_, err := w.Get(kind, "1")
			return err
		})
		require.NoError(t, err)
		assert.Equal(t, last, rev)
		assert.Equal(t, last, revision(t, s))
	},

	"a view shows one state while others commit": func(t *testing.T, s appaccess.Store) {
		before := put(t, s, rec("a"))
		view(t, s, func(r appaccess.Reader) {
			_, err := r.Get(kind, "a")
			require.NoError(t, err)
			put(t, s, rec("b"))
			remove(t, s, "a")
			_, err = r.Get(kind, "a")
			require.NoError(t, err)
			found, err := r.List(appaccess.Query{Kind: kind})
			require.NoError(t, err)
			require.Len(t, found, 1)
			at, err := r.Position()
			require.NoError(t, err)
			assert.Equal(t, before, at.Revision)
		})
		assert.Equal(t, []string{"b"}, list(t, s, appaccess.Query{Kind: kind}))
	},

	"what is not committed is not seen": func(t *testing.T, s appaccess.Store) {
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			require.NoError(t, w.Put(rec("a")))
			assert.Empty(t, list(t, s, appaccess.Query{Kind: kind}))
			return nil
		})
		require.NoError(t, err)
	},

	"writers lose no update of each other": func(t *testing.T, s appaccess.Store) {
		const writers, turns = 8, 20
		put(t, s, counter(0))
		var mu sync.Mutex
		seen := map[appaccess.Revision]bool{}
		concurrently(t, writers, func(int) error {
			for range turns {
				rev, err := s.Update(t.Context(), increment)
				if err != nil {
					return err
				}
				mu.Lock()
				if seen[rev] {
					err = fmt.Errorf("two commits have revision %d", rev)
				}
				seen[rev] = true
				mu.Unlock()
				if err != nil {
					return err
				}
			}
			return nil
		})
		view(t, s, func(r appaccess.Reader) {
			got, err := r.Get(kind, "counter")
			require.NoError(t, err)
			assert.Equal(t, strconv.Itoa(writers*turns), string(got.Body))
		})
	},

	"writers see no gap between reading and writing": func(t *testing.T, s appaccess.Store) {
		// Each takes a place only while it finds less than three taken: write
		// skew would let more in.
		concurrently(t, 8, func(i int) error {
			_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
				found, err := w.List(appaccess.Query{Kind: kind, Where: where("place", "1")})
				if err != nil || len(found) >= 3 {
					return err
				}
				return w.Put(rec(numbered("p", i), entry("place", "1")))
			})
			return err
		})
		assert.Len(t, list(t, s, appaccess.Query{Kind: kind}), 3)
	},

	"of those who want a unique entry one gets it": func(t *testing.T, s appaccess.Store) {
		var mu sync.Mutex
		won := 0
		concurrently(t, 8, func(i int) error {
			_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
				return w.Put(rec(numbered("r", i), uniqueEntry("key", "k")))
			})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
				return nil
			}
			if errors.As(err, new(*appaccess.ConflictError)) {
				return nil
			}
			return err
		})
		assert.Equal(t, 1, won)
		assert.Len(t, list(t, s, appaccess.Query{Kind: kind}), 1)
	},

	"readers and writers at once": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a", entry("half", "1")), rec("b", entry("half", "1")))
		concurrently(t, 8, func(i int) error {
			for range 20 {
				if i%2 == 0 {
					value := strconv.Itoa(i)
					if _, err := s.Update(t.Context(), func(w appaccess.Writer) error {
						return errors.Join(w.Put(rec("a", entry("half", value))), w.Put(rec("b", entry("half", value))))
					}); err != nil {
						return err
					}
					continue
				}
				if err := s.View(t.Context(), sameHalves); err != nil {
					return err
				}
			}
			return nil
		})
	},

	"an ended context does nothing": func(t *testing.T, s appaccess.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Update(ctx, func(w appaccess.Writer) error { return w.Put(rec("a")) })
		require.ErrorIs(t, err, context.Canceled)
		err = s.View(ctx, func(r appaccess.Reader) error { _, err := r.Get(kind, "a"); return err })
		require.ErrorIs(t, err, context.Canceled)
		assert.Empty(t, list(t, s, appaccess.Query{Kind: kind}))
	},

	"a context that ends within fn undoes everything": func(t *testing.T, s appaccess.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.Update(ctx, func(w appaccess.Writer) error {
			require.NoError(t, w.Put(rec("a")))
			cancel()
			_ = w.Put(rec("b")) // hidden: must not become a commit of a half
			return nil
		})
		require.ErrorIs(t, err, context.Canceled)
		assert.Empty(t, list(t, s, appaccess.Query{Kind: kind}))
		put(t, s, rec("c"))
	},

	"a context bounds the wait for another writer": func(t *testing.T, s appaccess.Store) {
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			require.NoError(t, w.Put(rec("a")))
			ctx, cancel := context.WithCancel(t.Context())
			waits := make(chan error, 1)
			go func() {
				_, err := s.Update(ctx, func(w appaccess.Writer) error { return w.Put(rec("b")) })
				waits <- err
			}()
			cancel()
			require.ErrorIs(t, <-waits, context.Canceled)
			return nil
		})
		require.NoError(t, err)
		assert.Equal(t, []string{"a"}, list(t, s, appaccess.Query{Kind: kind}))
	},

	"a closed store is unavailable": func(t *testing.T, s appaccess.Store) {
		put(t, s, rec("a"))
		require.NoError(t, s.Close())
		require.ErrorIs(t, s.View(t.Context(), func(appaccess.Reader) error { return nil }), appaccess.ErrUnavailable)
		_, err := s.Update(t.Context(), func(appaccess.Writer) error { return nil })
		require.ErrorIs(t, err, appaccess.ErrUnavailable)
		for _, err := range s.Changes(t.Context(), start) {
			require.ErrorIs(t, err, appaccess.ErrUnavailable)
		}
	},

	"close waits for calls": func(t *testing.T, s appaccess.Store) {
		closed := make(chan error, 1)
		rev, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			go func() { closed <- s.Close() }()
			for s.View(t.Context(), func(appaccess.Reader) error { return nil }) == nil { // until Close has begun
			}
			for range 100 { // time for it to end, if it does not wait
				runtime.Gosched()
				require.Error(t, s.View(t.Context(), func(appaccess.Reader) error { return nil }))
			}
			require.Empty(t, closed, "it did not wait")
			return w.Put(rec("a"))
		})
		require.NoError(t, err)
		assert.Positive(t, rev)
		require.NoError(t, <-closed)
	},
}

func counter(n int) appaccess.Record {
	return appaccess.Record{Kind: kind, ID: "counter", Body: []byte(strconv.Itoa(n))}
}

func increment(w appaccess.Writer) error {
	got, err := w.Get(kind, "counter")
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(got.Body))
	if err != nil {
		return err
	}
	return w.Put(counter(n + 1))
}

func sameHalves(r appaccess.Reader) error {
	a, err := r.Get(kind, "a")
	if err != nil {
		return err
	}
	b, err := r.Get(kind, "b")
	if err != nil {
		return err
	}
	if a.Revision != b.Revision || a.Index[0] != b.Index[0] {
		return fmt.Errorf("halves of two commits: %v and %v", a, b)
	}
	return nil
}

// concurrently runs fn n times at once.
func concurrently(t *testing.T, n int, fn func(i int) error) {
	t.Helper()
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- fn(i) }()
	}
	for range n {
		require.NoError(t, <-errs)
	}
}
