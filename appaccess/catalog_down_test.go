package appaccess_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

var errReach = errors.New("out of reach")

// refuses checks that nothing is said of what is not known.
func (w *world) refuses(what string) {
	w.t.Helper()
	_, err := w.catalog.Client(w.t.Context(), what)
	require.ErrorIs(w.t, err, appaccess.ErrUnavailable)
	_, err = w.catalog.Key(w.t.Context(), appaccess.HashKey(what))
	require.ErrorIs(w.t, err, appaccess.ErrUnavailable)
}

func (w *world) answersWhatIsKnown() {
	w.t.Helper()
	require.Equal(w.t, "a1", w.client(appID).ApplicationID)
	require.Equal(w.t, "s1", w.key(primary).SubscriptionID)
	require.Equal(w.t, appaccess.UnknownKey, w.key("wrong").DenyReason, "an unknown key that was known to be so")
	require.NotNil(w.t, w.catalog.Snapshot())
	require.NoError(w.t, w.catalog.Ready(w.t.Context()))
}

func TestCatalogWithTheStoreDown(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]func(*moodyStore){
		"failing": func(s *moodyStore) { s.fail = errReach },
		"hanging": func(s *moodyStore) { s.hang = make(chan struct{}) },
	} {
		for staleFor, want := range map[time.Duration]time.Duration{0: 15 * time.Minute, time.Hour: time.Hour, -1: 0} {
			t.Run(fmt.Sprint(name, " ", staleFor), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, appaccess.CatalogConfig{StaleFor: staleFor})
					w.client(appID)
					w.key(primary)
					w.key("wrong")
					w.client("wrong")
					time.Sleep(10 * time.Second)
					assert.LessOrEqual(t, w.catalog.Staleness(), time.Second)
					w.store.set(down)

					start := time.Now()
					w.answersWhatIsKnown()
					w.refuses("new") // never a wrong refusal
					require.LessOrEqual(t, time.Since(start), 2*appaccess.LoadTimeout)
					for time.Since(start) < appaccess.DownAfter+want-time.Second {
						w.answersWhatIsKnown()
						time.Sleep(7 * time.Second)
						if time.Since(start) > appaccess.DownAfter+time.Second {
							now := time.Now()
							w.refuses("newer")
							assert.Equal(t, now, time.Now(), "a store that is down is left alone")
						}
						if want == 0 {
							break
						}
					}
					time.Sleep(10 * time.Second)
					w.refuses(appID)
					w.refuses(primary)
					w.refuses("wrong")
					assert.Nil(t, w.catalog.Snapshot())
					require.ErrorIs(t, w.catalog.Ready(t.Context()), appaccess.ErrUnavailable)

					w.app.State = appaccess.ApplicationSuspended
					w.write(put(&w.app))
					w.store.set(func(s *moodyStore) { s.fail, s.hang = nil, nil })
					time.Sleep(4 * time.Second)
					synctest.Wait()
					require.NoError(t, w.catalog.Ready(t.Context()))
					assert.Equal(t, appaccess.ApplicationNotActive, w.client(appID).DenyReason, "what was missed is made up for")
					assert.Equal(t, appaccess.UnknownClient, w.client("new").DenyReason)
				})
			})
		}
	}
}

// A feed that hangs is noticed by asking for the revision.
func TestCatalogWithASilentFeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{StaleFor: 20 * time.Second})
		w.client(appID)
		w.store.set(func(s *moodyStore) { s.silent = true })
		w.app.State = appaccess.ApplicationSuspended
		w.write(put(&w.app))
		time.Sleep(2 * time.Second)
		w.store.set(func(s *moodyStore) { s.silent = false })
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, appaccess.ApplicationNotActive, w.client(appID).DenyReason)

		// One that stays silent is as good as a store that is down.
		w.store.set(func(s *moodyStore) { s.silent = true })
		w.app.State = appaccess.ApplicationActive
		w.write(put(&w.app))
		time.Sleep(appaccess.DownAfter + 2*time.Second)
		w.refuses("new")
		time.Sleep(20 * time.Second)
		require.ErrorIs(t, w.catalog.Ready(t.Context()), appaccess.ErrUnavailable)
	})
}

// Products that cannot be read make a Catalog stale like a feed that is silent.
// The longest time that can be configured does not wrap around to none.
func TestCatalogStaleForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{StaleFor: math.MaxInt64})
		assert.NoError(t, w.catalog.Ready(t.Context()))
		assert.NotNil(t, w.catalog.Snapshot())
	})
}

func TestCatalogCannotReadProducts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{StaleFor: -1})
		w.store.set(func(s *moodyStore) { s.products = errReach })
		w.product.Suspended = true
		w.write(put(&w.product))
		time.Sleep(appaccess.DownAfter + time.Second)
		assert.Nil(t, w.catalog.Snapshot())
		w.refuses(appID)
		w.store.set(func(s *moodyStore) { s.products = nil })
		time.Sleep(2 * time.Second)
		assert.True(t, w.catalog.Snapshot().Product("starter").Suspended)
		assert.Equal(t, "a1", w.client(appID).ApplicationID)
	})
}

// Staleness stays low while others write all the time, and the products take
// their time to be read.
func TestCatalogUnderConstantWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, appaccess.CatalogConfig{})
		w.store.set(func(s *moodyStore) { s.slow = 700 * time.Millisecond })
		for i := range 50 {
			w.product.Description = fmt.Sprint(i)
			w.user.Name = fmt.Sprint(i)
			w.write(put(&w.product), put(&w.user))
			time.Sleep(90 * time.Millisecond)
			require.LessOrEqual(t, w.catalog.Staleness(), appaccess.DownAfter)
		}
	})
}
