package appaccess_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// claims are the two ways to work on an application: have Entra follow, and
// make a secret. work does it, and hold is set to what happens meanwhile.
var claims = map[string]struct {
	work func(*house) error
	hold func(*house, func(context.Context))
	// The record of the claim, and the field that names its holder.
	kind       appaccess.Kind
	id, holder string
}{
	"follow": {
		func(h *house) error { _, err := h.SuspendApplication(ctx, boss, "billing"); return err },
		func(h *house, f func(context.Context)) { h.entra.hold = f },
		"applying", "application billing", "holder",
	},
	"secret": {
		func(h *house) error {
			_, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
			return err
		},
		func(h *house, f func(context.Context)) { h.entra.block = f },
		"operation", "billing", "claim",
	},
}

// However long Entra takes, nobody else begins meanwhile, and the work is done
// in one go.
func TestAClaimIsKeptWhileItsCallWorks(t *testing.T) {
	t.Parallel()
	for name, c := range claims {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, func(c *appaccess.ServiceConfig) { c.Now = time.Now }).withApp()
			var once atomic.Bool
			c.hold(h, func(context.Context) {
				if !once.Swap(true) {
					time.Sleep(time.Hour)
				}
			})
			first := make(chan error, 1)
			go func() { first <- c.work(h) }()
			for range 5 {
				time.Sleep(10 * time.Minute)
				err := c.work(h)
				require.Error(t, err, name)
				assert.Contains(t, []int{409, 503}, appaccess.Status(err), name)
			}
			require.NoError(t, <-first, name)
			require.NoError(t, c.work(h), name)
		})
	}
}

// A call that cannot keep its claim stops while it still has it.
func TestACallStopsBeforeItsClaimEnds(t *testing.T) {
	t.Parallel()
	for name, c := range claims {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, func(c *appaccess.ServiceConfig) { c.Now = time.Now }).withApp()
			c.hold(h, func(ctx context.Context) {
				start := time.Now()
				time.Sleep(10 * time.Minute) // it was prolonged all the time
				h.store.die(true)
				<-ctx.Done()
				h.store.die(false)
				assert.Less(t, time.Since(start), 10*time.Minute+90*time.Second, name)
				assert.Greater(t, time.Since(start), 10*time.Minute+30*time.Second, "%s: a short outage does no harm", name)
			})
			err := c.work(h)
			require.ErrorIs(t, err, appaccess.ErrUnavailable, name)
			assert.ErrorContains(t, err, "claim", name)
			c.hold(h, nil)
			require.NoError(t, c.work(h), name)
		})
	}
}

// A call stops when another has its claim: this process stood still too long.
func TestACallStopsWhenItsClaimIsTaken(t *testing.T) {
	t.Parallel()
	for name, c := range claims {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, func(c *appaccess.ServiceConfig) { c.Now = time.Now }).withApp()
			c.hold(h, func(work context.Context) {
				_, err := h.store.Update(ctx, func(w appaccess.Writer) error {
					rec, err := w.Get(c.kind, c.id)
					require.NoError(t, err, name)
					claim := map[string]any{}
					require.NoError(t, json.Unmarshal(rec.Body, &claim))
					require.Contains(t, claim, c.holder)
					claim[c.holder] = "another"
					rec.Body, err = json.Marshal(claim)
					require.NoError(t, err)
					return w.Put(rec)
				})
				assert.NoError(t, err)
				start := time.Now()
				<-work.Done()
				assert.Equal(t, 30*time.Second, time.Since(start), name)
			})
			err := c.work(h)
			require.ErrorIs(t, err, appaccess.ErrUnavailable, name)
			rec := appaccess.Record{}
			require.NoError(t, h.store.View(ctx, func(r appaccess.Reader) (err error) {
				rec, err = r.Get(c.kind, c.id)
				return err
			}), "%s: the other's claim stands", name)
			assert.Contains(t, string(rec.Body), "another")
		})
	}
}
