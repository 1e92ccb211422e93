package appaccess_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

func TestCatalogAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{})
		s := w.catalog.Snapshot()
		assert.Equal(t, "Starter", s.Product("starter").Name)
		assert.Equal(t, "echo", s.Match("/echo/resource").ID)
		assert.Equal(t, appaccess.ClientState{
			ApplicationID: "a1", AppID: appID, Name: "Orders", OwnerID: "u1", Grants: appaccess.GrantsOfAll("starter"),
			Kind: appaccess.RegisteredClient,
		}, w.client(appID))
		want := appaccess.KeyState{SubscriptionID: "s1", Name: "Orders", OwnerID: "u1", Scope: "/products/starter", Primary: true, Expires: w.sub.Expires}
		assert.Equal(t, want, w.key(primary))
		want.Primary = false
		assert.Equal(t, want, w.key(second))
		assert.Equal(t, appaccess.ClientState{AppID: "another", DenyReason: appaccess.UnknownClient}, w.client("another"))
		assert.Equal(t, appaccess.KeyState{DenyReason: appaccess.UnknownKey}, w.key("another"))
		for _, odd := range []string{"", "a\xff", "a\x00b", string(make([]byte, 10_000))} {
			assert.Equal(t, appaccess.UnknownClient, w.client(odd).DenyReason, "%q", odd)
		}
		assert.NoError(t, w.catalog.Ready(t.Context()))
	})
}

func TestCatalogQueries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{})
		for _, ask := range []struct {
			do      func()
			queries int64
		}{
			{func() { w.client(appID) }, 2}, // the application and its owner
			{func() { w.key(primary) }, 2},
			{func() { w.client("unknown") }, 1},
			{func() { w.key("unknown") }, 1},
		} {
			w.store.reads.Store(0)
			ask.do()
			assert.Equal(t, ask.queries, w.store.reads.Load(), "a miss")
			ask.do()
			assert.Equal(t, ask.queries, w.store.reads.Load(), "a hit")
		}
	})
}

// Each change is made after the answer was remembered.
func TestCatalogFollowsChanges(t *testing.T) {
	t.Parallel()
	const none = appaccess.NotDenied
	for name, test := range map[string]struct {
		change      func(w *world) write
		client, key appaccess.DenyReason
	}{
		"application suspended": {func(w *world) write { w.app.State = appaccess.ApplicationSuspended; return put(&w.app) }, appaccess.ApplicationNotActive, none},
		"application pending":   {func(w *world) write { w.app.State = appaccess.ApplicationPending; return put(&w.app) }, appaccess.ApplicationNotActive, none},
		"application deleted":   {func(w *world) write { w.app.Deleted = true; return put(&w.app) }, appaccess.UnknownClient, none},
		"application gone": {func(w *world) write {
			return func(wr appaccess.Writer) error { return wr.Delete(appaccess.KindApplication, "a1") }
		}, appaccess.UnknownClient, none},
		"owner blocked": {func(w *world) write { w.user.State = appaccess.UserBlocked; return put(&w.user) }, appaccess.OwnerBlocked, appaccess.OwnerBlocked},
		"owner gone": {func(w *world) write {
			return func(wr appaccess.Writer) error { return wr.Delete(appaccess.KindUser, "u1") }
		}, appaccess.OwnerBlocked, appaccess.OwnerBlocked},
		"another's owner blocked": {func(w *world) write {
			return put(&appaccess.User{ID: "u2", State: appaccess.UserBlocked})
		}, none, none},
		"subscription without owner": {func(w *world) write { w.sub.OwnerID = ""; return put(&w.sub) }, none, none},
		"key regenerated":            {func(w *world) write { w.sub.PrimaryHash = appaccess.HashKey("new"); return put(&w.sub) }, none, appaccess.UnknownKey},
		"subscription gone": {func(w *world) write {
			return func(wr appaccess.Writer) error { return wr.Delete(appaccess.KindSubscription, "s1") }
		}, none, appaccess.UnknownKey},
		"submitted": {stateOf(appaccess.SubscriptionSubmitted), none, appaccess.SubscriptionNotActive},
		"suspended": {stateOf(appaccess.SubscriptionSuspended), none, appaccess.SubscriptionNotActive},
		"rejected":  {stateOf(appaccess.SubscriptionRejected), none, appaccess.SubscriptionNotActive},
		"cancelled": {stateOf(appaccess.SubscriptionCancelled), none, appaccess.SubscriptionNotActive},
		"expired":   {stateOf(appaccess.SubscriptionExpired), none, appaccess.SubscriptionNotActive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, appaccess.CatalogConfig{})
				require.Equal(t, none, w.client(appID).DenyReason)
				require.Equal(t, none, w.key(primary).DenyReason)
				changed := w.catalog.Changed()
				w.write(test.change(w))
				if test.client != none || test.key != none {
					<-changed
					require.Equal(t, test.client, w.client(appID).DenyReason, "asked again when Changed says so")
					require.Equal(t, test.key, w.key(primary).DenyReason)
				}
				w.soon(func() bool {
					return w.client(appID).DenyReason == test.client && w.key(primary).DenyReason == test.key
				}, "the change is not seen")
			})
		})
	}
}

func stateOf(s appaccess.SubscriptionState) func(*world) write {
	return func(w *world) write { w.sub.State = s; return put(&w.sub) }
}

func TestCatalogFollowsGrantsAndSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{})
		st := w.client(appID)
		assert.True(t, st.Grants.Has("starter"))
		first := w.catalog.Snapshot()
		w.app.Grants = appaccess.GrantsOfAll("gold")
		w.write(put(&w.app))
		w.soon(func() bool { st := w.client(appID); return st.Grants.Has("gold") && !st.Grants.Has("starter") }, "the grant is not seen")
		assert.Same(t, first, w.catalog.Snapshot(), "it stays the same as long as products and APIs do")
		changed := w.catalog.Changed()

		w.product.Suspended = true
		w.write(put(&w.product))
		<-changed
		assert.True(t, w.catalog.Snapshot().Product("starter").Suspended, "Changed comes after the new snapshot")
		w.api.Path = "/v2"
		w.write(put(&w.api), func(wr appaccess.Writer) error { return wr.Delete(appaccess.KindProduct, "starter") })
		w.soon(func() bool {
			s := w.catalog.Snapshot()
			return s.Match("/v2") != nil && s.Match("/echo") == nil && s.Product("starter") == nil
		}, "the API's path is not seen")
		assert.False(t, first.Product("starter").Suspended, "a snapshot never changes")
	})
}

// The catalog finds a new key or client, although it remembered that it did not exist.
func TestCatalogLearnsWhatWasUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{})
		require.Equal(t, appaccess.UnknownClient, w.client("later").DenyReason)
		require.Equal(t, appaccess.UnknownKey, w.key("later").DenyReason)
		w.sub.SecondaryHash = appaccess.HashKey("later")
		w.app.Entra.AppID = "later"
		w.write(put(&w.sub), put(&w.app))
		w.soon(func() bool {
			return w.client("later").DenyReason == appaccess.NotDenied && w.key("later").DenyReason == appaccess.NotDenied
		}, "they stay unknown")
		assert.Equal(t, appaccess.UnknownKey, w.key(second).DenyReason)
		assert.Equal(t, appaccess.UnknownClient, w.client(appID).DenyReason)
	})
}

func TestCatalogAsksOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{})
		release := make(chan struct{})
		w.store.set(func(s *moodyStore) { s.hang = release })
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() { assert.Equal(t, "s1", w.key(primary).SubscriptionID) })
		}
		w.soon(func() bool { return w.store.views.Load() > 0 }, "nobody asks")
		w.store.set(func(s *moodyStore) { s.hang = nil })
		close(release)
		wg.Wait()
		asked := w.store.views.Load()
		for range 100 {
			w.key(primary)
		}
		assert.Equal(t, asked, w.store.views.Load(), "what is remembered needs no query")
		w.key("unknown")
		for range 100 {
			w.key("unknown")
		}
		assert.Equal(t, asked+1, w.store.views.Load(), "nor what is known to be unknown")
	})
}

// The first who asks may leave; the others get their answer.
func TestCatalogGoesOnWhenACallerLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{})
		release := make(chan struct{})
		w.store.set(func(s *moodyStore) { s.hang = release })
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := w.catalog.Client(ctx, appID)
			left <- err
		}()
		w.soon(func() bool { return w.store.views.Load() > 0 }, "nobody asks")
		cancel()
		err := <-left
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, appaccess.ErrUnavailable)
		w.store.set(func(s *moodyStore) { s.hang = nil })
		close(release)
		w.soon(func() bool { return w.client(appID).DenyReason == appaccess.NotDenied }, "no answer")
	})
}

// Random keys neither push out real entries nor flood the store.
func TestCatalogUnderRandomKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{Keys: 16, Clients: 16, Unknown: 16})
		w.key(primary)
		w.client(appID)
		for i := range 400 {
			require.Equal(t, appaccess.UnknownKey, w.key(fmt.Sprint("random", i)).DenyReason)
			require.Equal(t, appaccess.UnknownClient, w.client(fmt.Sprint("random", i)).DenyReason)
		}
		before := w.store.views.Load()
		assert.Equal(t, "s1", w.key(primary).SubscriptionID)
		assert.Equal(t, "a1", w.client(appID).ApplicationID)
		assert.Equal(t, before, w.store.views.Load(), "the real ones were pushed out")
	})
}

// Missing keys share queries: they are not asked for one by one.
func TestCatalogBatchesQueries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{Unknown: -1})
		release := make(chan struct{})
		w.store.set(func(s *moodyStore) { s.hang = release })
		const asked = 2500
		var wg sync.WaitGroup
		for i := range asked {
			wg.Go(func() { assert.Equal(t, appaccess.UnknownKey, w.key(fmt.Sprint("random", i)).DenyReason) })
		}
		wg.Go(func() { assert.Equal(t, "s1", w.key(primary).SubscriptionID) })
		synctest.Wait()
		assert.EqualValues(t, 1, w.store.most.Load(), "queries at a time")
		w.store.set(func(s *moodyStore) { s.hang = nil })
		close(release)
		wg.Wait()
		assert.LessOrEqual(t, w.store.reads.Load(), int64(1+3+1), "the first key, the others in batches, and an owner")
	})
}

func TestCatalogBoundsWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{})
		w.key(primary)
		release := make(chan struct{})
		w.store.set(func(s *moodyStore) { s.hang = release })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		const asked = appaccess.MaxWaiting + 100
		errs := make(chan error, asked)
		for i := range asked {
			go func() {
				_, err := w.catalog.Key(ctx, appaccess.HashKey(fmt.Sprint("random", i)))
				errs <- err
			}()
		}
		start := time.Now()
		for range asked - appaccess.MaxWaiting {
			require.ErrorIs(t, <-errs, appaccess.ErrUnavailable, "more than the bound wait")
		}
		assert.Equal(t, start, time.Now(), "they are refused at once")
		assert.Equal(t, "s1", w.key(primary).SubscriptionID, "what is known is not held up")
		cancel()
		for range appaccess.MaxWaiting {
			require.ErrorIs(t, <-errs, appaccess.ErrUnavailable)
		}
		w.store.set(func(s *moodyStore) { s.hang = nil })
		close(release)
	})
}

// An answer that was read before a change and arrives after it is not
// remembered.
func TestCatalogDoesNotRememberTheOvertaken(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(w *world) write{
		"application": func(w *world) write { w.app.State = appaccess.ApplicationSuspended; return put(&w.app) },
		"owner":       func(w *world) write { w.user.State = appaccess.UserBlocked; return put(&w.user) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, appaccess.CatalogConfig{})
				w.store.set(func(s *moodyStore) {
					s.leaving = func() { // the view has read the client as active
						w.write(change(w))
						time.Sleep(time.Second) // the feed is past the change
					}
				})
				assert.NotEqual(t, appaccess.NotDenied, w.client(appID).DenyReason)
				assert.NotEqual(t, appaccess.NotDenied, w.client(appID).DenyReason)
			})
		})
	}
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, appaccess.CatalogConfig{})
			w.store.set(func(s *moodyStore) {
				s.leaving = func() {
					w.app.Entra.AppID = "later"
					w.write(put(&w.app))
					time.Sleep(time.Second)
				}
			})
			assert.Equal(t, appaccess.NotDenied, w.client("later").DenyReason)
		})
	})
}

// Missed changes make everything be asked again.
func TestCatalogReset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{})
		w.client(appID)
		w.key(primary)
		w.key("unknown")
		w.store.set(func(s *moodyStore) { s.fail = errors.New("cut off") })
		w.app.State = appaccess.ApplicationSuspended
		w.product.Suspended = true
		w.sub.PrimaryHash, w.sub.SecondaryHash = appaccess.HashKey("new"), appaccess.HashKey("unknown")
		w.write(put(&w.app), put(&w.product), put(&w.sub))
		w.store.set(func(s *moodyStore) { s.fail, s.forgetful = nil, true })
		w.soon(func() bool {
			return w.catalog.Snapshot().Product("starter").Suspended &&
				w.client(appID).DenyReason == appaccess.ApplicationNotActive &&
				w.key("unknown").DenyReason == appaccess.NotDenied && w.key(primary).DenyReason == appaccess.UnknownKey
		}, "the reset is not seen")
	})
}

func TestCatalogAfterClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{})
		w.client(appID)
		require.NoError(t, w.catalog.Close())
		require.NoError(t, w.catalog.Close(), "twice")
		_, err := w.catalog.Client(t.Context(), appID)
		require.ErrorIs(t, err, appaccess.ErrUnavailable)
		_, err = w.catalog.Key(t.Context(), appaccess.HashKey(primary))
		require.ErrorIs(t, err, appaccess.ErrUnavailable)
		assert.Nil(t, w.catalog.Snapshot())
		require.ErrorIs(t, w.catalog.Ready(t.Context()), appaccess.ErrUnavailable)
	})
}

func TestNewCatalogRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, err := appaccess.NewCatalog(t.Context(), appaccess.CatalogConfig{})
		require.ErrorContains(t, err, "Store")
		w := newWorld(t, appaccess.CatalogConfig{})
		w.store.set(func(s *moodyStore) { s.fail = errors.New("out of reach") })
		_, err = appaccess.NewCatalog(t.Context(), appaccess.CatalogConfig{Store: w.store})
		require.ErrorIs(t, err, appaccess.ErrUnavailable)
	})
}
