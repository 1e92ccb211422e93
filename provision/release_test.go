package provision_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// Only the lock holder can release a lock, and a lock ends at its instant, not
// after it.
func TestOnlyTheLockHolderReleases(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	end := now.Add(time.Minute)
	lock := func(holder string, at time.Time) error {
		return provision.Lock(t.Context(), store, "o", holder, at, at.Add(time.Minute))
	}
	require.NoError(t, lock("first", now))
	require.NoError(t, provision.Unlock(t.Context(), store, "o", "second"))
	var locked *provision.LockedError
	require.True(t, errors.As(lock("second", end.Add(-1)), &locked))
	assert.Equal(t, end, locked.Until)
	require.NoError(t, lock("second", end))
	require.ErrorIs(t, provision.SaveEmpty(t.Context(), store, "o", "first"), provision.ErrLockLost)
}

// A Reconciler is stopped while it holds a lock. If it goes on one nanosecond before
// the lock ends, it prolongs the lock and finishes. At the instant at which the lock
// ends another Reconciler may have it, so it writes nothing.
func TestAReconcilerWritesNothingFromTheInstantAtWhichItsLockEnds(t *testing.T) {
	t.Parallel()
	for early, finishes := range map[time.Duration]bool{1: true, 0: false, -1: false} {
		w := newWorld(t, entratest.Config{})
		w.apply(memstore.Desired{Products: products("starter")})
		w.settle()
		stopped := false
		w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
			if until := w.lockEnd("entragate-test-application-c1"); !stopped && !until.IsZero() {
				stopped = true
				w.clock.Advance(until.Add(-early).Sub(w.clock.Now()))
			}
			return entratest.Fault{}
		})
		writes := w.writes(func() {
			applied, err := w.engine().Apply(t.Context(), starter(), nil)
			require.NoError(t, err)
			require.True(t, stopped)
			if err := applied.Failed["application c1"]; finishes {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, provision.ErrLockLost)
			}
		})
		if !finishes {
			assert.LessOrEqual(t, writes, 1, "the request that was under way when the lock ended")
		}
	}
}

// lockEnd is the instant at which the lock of an object ends; zero: it is not locked.
func (w *world) lockEnd(object string) time.Time {
	for _, rec := range w.store.Records() {
		if rec.Kind == appaccess.KindLock && rec.ID == object {
			var lock struct{ Until time.Time }
			require.NoError(w.t, json.Unmarshal(rec.Body, &lock))
			return lock.Until
		}
	}
	return time.Time{}
}
