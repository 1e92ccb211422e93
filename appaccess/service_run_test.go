package appaccess_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// Run takes up what Entra could not follow, and whatever falls due meanwhile,
// without anybody asking. It ends with its context.
func TestRunKeepsEntraInSync(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t, func(c *appaccess.ServiceConfig) { c.Now = time.Now }).withApp()
		h.entra.arm(1, false)
		_, err := h.SuspendApplication(ctx, boss, "billing")
		require.Error(t, err)
		h.store.die(true) // the first turns fail as a whole
		_, err = h.Subscription(ctx, boss, "sub")
		require.ErrorIs(t, err, appaccess.ErrUnavailable)

		running, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(running, 0) }()
		synctest.Wait()
		assert.False(t, h.entra.apps["billing"].Disabled)
		h.store.die(false)
		time.Sleep(5*time.Minute + 31*time.Second)
		synctest.Wait()
		assert.True(t, h.entra.apps["billing"].Disabled, "the next turn is after at most five and a half minutes")

		_, err = h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "sub", Name: "S", Scope: appaccess.AllAPIs, Expires: time.Now().Add(time.Minute)})
		require.NoError(t, err)
		time.Sleep(12 * time.Minute)
		synctest.Wait()
		v, err := h.Subscription(ctx, boss, "sub")
		require.NoError(t, err)
		assert.Equal(t, appaccess.SubscriptionExpired, v.State)
		trail, err := h.Audit(ctx, boss, appaccess.AuditFilter{Action: "subscription.expire"})
		require.NoError(t, err)
		require.Len(t, trail.Items, 1)
		assert.Equal(t, "entragate:run", trail.Items[0].Actor)

		stop()
		require.NoError(t, <-ended)
		assert.Contains(t, h.log.String(), "sync left something undone")
	})
}

// Replicas that started together do not stay together, and none is ever idle
// for much longer than was asked.
func TestRunPausesSpread(t *testing.T) {
	t.Parallel()
	var turns atomic.Int64
	pauses := map[time.Duration]bool{}
	running, stop := context.WithCancel(t.Context())
	h := newFixture(t, func(c *appaccess.ServiceConfig) {
		c.Sleep = func(_ context.Context, d time.Duration) error {
			pauses[d] = true
			if turns.Add(1) == 20 {
				stop()
			}
			return nil
		}
	})
	require.NoError(t, h.Run(running, time.Minute))
	assert.Greater(t, len(pauses), 10)
	for d := range pauses {
		assert.InDelta(t, time.Minute, d, float64(6*time.Second))
	}
}

func TestRunRefusesAPauseThatIsTooShort(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	for _, every := range []time.Duration{-time.Minute, time.Second - 1} {
		assertInvalid(t, h.Run(ctx, every), "every")
	}
}

// Whoever names a user after one of the parts that work by themselves, and
// blocks them, stops nothing.
func TestRunCannotBeBlocked(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	_, err := h.CreateUser(ctx, boss, appaccess.UserRequest{ID: "entragate:run", Name: "x"})
	assertInvalid(t, err, "id")
}
