package appaccess_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// late are changes that a full Sync overwrites in Entra, because it had read
// the object before and writes after: which Apply of it that is, the change,
// and whether Entra holds what is wanted.
var late = map[string]struct {
	turn   int32
	change func(*house) error
	stands func(*house) bool
}{
	"application suspended": {
		2,
		func(h *house) error { _, err := h.SuspendApplication(ctx, boss, "billing"); return err },
		func(h *house) bool { return h.entra.apps["billing"].Disabled },
	},
	"application deleted": {
		2,
		func(h *house) error { return h.DeleteApplication(ctx, boss, "billing") },
		func(h *house) bool { _, there := h.entra.apps["billing"]; return !there },
	},
	"product described": {
		1,
		func(h *house) error {
			_, err := h.UpdateProduct(ctx, boss, "starter", appaccess.ProductUpdate{Description: new("New")})
			return err
		},
		func(h *house) bool { return h.entra.products["starter"].Description == "New" },
	},
	"product deleted": {
		1,
		func(h *house) error { return h.DeleteProduct(ctx, boss, "starter", true) },
		func(h *house) bool { _, there := h.entra.products["starter"]; return !there },
	},
}

// lateSync runs the full Sync of another replica, which writes to Entra after
// the change is in step there, and whose store fails as it is told meanwhile.
func lateSync(t *testing.T, turn int32, change func(*house) error, fail func(*faultyStore)) (*house, error) {
	h := newHouse(t, realClock).withGold()
	if turn == 2 {
		h = newHouse(t, realClock).withApp()
	}
	store := &faultyStore{Store: h.store}
	other, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store, Provisioner: h.entra, TenantID: tenantID})
	require.NoError(t, err)
	var applies atomic.Int32
	h.entra.hold = func(context.Context) {
		if applies.Add(1) == turn {
			time.Sleep(10 * time.Second)
			fail(store)
		}
	}
	ended := make(chan error, 1)
	go func() { _, err := other.Sync(ctx, boss, appaccess.SyncRequest{All: true}); ended <- err }()
	time.Sleep(5 * time.Second)
	require.NoError(t, change(h))
	err = <-ended
	h.entra.hold = nil
	return h, err
}

// A full Sync that cannot store what it did, and had overwritten what another
// call had left in Entra meanwhile, is remembered: its objects are looked at
// again when it can no longer be at work.
func TestAFullSyncWithoutAnOutcome(t *testing.T) {
	t.Parallel()
	for name, tt := range late {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, err := lateSync(t, tt.turn, tt.change, func(s *faultyStore) { s.die(true) })
				require.ErrorIs(t, err, appaccess.ErrUnavailable)
				require.False(t, tt.stands(h), "what the test is about")
				for _, stands := range []bool{false, true} {
					_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
					require.NoError(t, err)
					assert.Equal(t, stands, tt.stands(h))
					time.Sleep(30 * time.Minute)
				}
				h.noNotes()
			})
		})
	}
}

// Where the store fails but once, they are looked at again at the next Sync.
func TestAFullSyncWhoseOutcomeFailsOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range late {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, err := lateSync(t, tt.turn, tt.change, func(s *faultyStore) { s.arm(1, false) })
				require.ErrorIs(t, err, appaccess.ErrUnavailable)
				require.False(t, tt.stands(h), "what the test is about")
				_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
				require.NoError(t, err)
				assert.True(t, tt.stands(h))
				h.noNotes()
			})
		})
	}
}

// While it is at work nothing is looked at again, and a Sync that takes longer
// than it is remembered does no harm.
func TestAFullSyncThatTakesLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, realClock).withApp()
		var applies atomic.Int32
		h.entra.hold = func(context.Context) {
			if applies.Add(1) != 2 { // the applications of the full Sync
				return
			}
			for after, objects := range []int{0, 1} {
				time.Sleep(time.Duration(29*(after+1)) * time.Minute)
				report, err := h.Sync(ctx, boss, appaccess.SyncRequest{})
				assert.NoError(t, err)
				assert.Equal(t, objects, report.Objects)
			}
		}
		_, err := h.Sync(ctx, boss, appaccess.SyncRequest{All: true})
		require.NoError(t, err)
		report, err := h.Sync(ctx, boss, appaccess.SyncRequest{})
		require.NoError(t, err)
		assert.Zero(t, report.Objects)
		h.noNotes()
	})
}

// Whoever works on such an object meanwhile cannot say that it is in step.
func TestAFullSyncWithoutAnOutcomeOvertakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, realClock).withApp()
		time.AfterFunc(9*time.Second, func() { h.store.arm(1, false) })
		synced, called := h.overlap(func() error { _, err := h.SuspendApplication(ctx, boss, "billing"); return err })
		require.ErrorIs(t, synced, appaccess.ErrUnavailable)
		require.NoError(t, called)
		h.disabledUntilSync(false)
	})
}

// Nor does one that is forgotten by then and wakes up: what it wrote last is
// looked at again.
func TestAFullSyncThatWakesUpLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, realClock).withApp()
		store := &faultyStore{Store: h.store}
		other, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store, Provisioner: h.entra, TenantID: tenantID})
		require.NoError(t, err)
		var applies atomic.Int32
		h.entra.hold = func(context.Context) {
			if applies.Add(1) == 2 {
				time.Sleep(40 * time.Minute)
				store.arm(1, false)
			}
		}
		ended := make(chan error, 1)
		go func() { _, err := other.Sync(ctx, boss, appaccess.SyncRequest{All: true}); ended <- err }()
		time.Sleep(31 * time.Minute)
		_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
		require.NoError(t, err)
		_, err = h.SuspendApplication(ctx, boss, "billing")
		require.NoError(t, err)
		require.ErrorIs(t, <-ended, appaccess.ErrUnavailable)
		require.False(t, h.entra.apps["billing"].Disabled, "what the test is about")
		_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
		require.NoError(t, err)
		assert.True(t, h.entra.apps["billing"].Disabled)
		h.noNotes()
	})
}

// A full Sync that did not come to write has nothing looked at again.
func TestAFullSyncThatDidNotBegin(t *testing.T) {
	t.Parallel()
	tried := 0
	for at := range 6 {
		for _, after := range []bool{false, true} { // true: what it puts down stays, the answer is lost
			h, applies := newHouse(t).withApp(), 0
			before := h.objects()
			h.entra.hold = func(context.Context) { applies++ }
			h.store.arm(at, after)
			_, err := h.Sync(ctx, boss, appaccess.SyncRequest{All: true})
			if applies == 2 { // both rounds began
				continue
			}
			tried++
			require.ErrorIs(t, err, appaccess.ErrUnavailable)
			assert.Equal(t, before, h.objects(), "write %d fails", at)
			h.noNotes()
		}
	}
	assert.Equal(t, 4, tried)
}

// A trace that cannot be read is told, and hinders nothing else.
func TestAFullSyncThatCannotBeLookedUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t).withApp()
	_, err := h.store.Update(ctx, func(w appaccess.Writer) error {
		return w.Put(appaccess.Record{Kind: "unclaimed", ID: "x", Body: []byte(`{"until":1}`)})
	})
	require.NoError(t, err)
	gone, err := json.Marshal(map[string]any{"process": "elsewhere/1", "until": h.clock.Now(), "products": []string{"gold"}})
	require.NoError(t, err)
	_, err = h.store.Update(ctx, func(w appaccess.Writer) error {
		return w.Put(appaccess.Record{Kind: "unclaimed", ID: "y", Body: gone})
	})
	require.NoError(t, err)
	h.entra.arm(1, false)
	_, err = h.SuspendApplication(ctx, boss, "billing")
	require.ErrorIs(t, err, errEntra)
	report, err := h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.ErrorContains(t, err, "unclaimed x")
	assert.Equal(t, 2, report.Objects, "the application and the product of another round")
	assert.False(t, errors.Is(err, errEntra))
}
