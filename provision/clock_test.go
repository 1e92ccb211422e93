package provision_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision/entratest"
)

// TestClockSetBack: a clock that is set back by a day, between runs or within
// one, makes nobody wait for a day.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	for name, within := range map[string]bool{"between runs": false, "within a run": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, entratest.Config{Now: time.Now}) // the tenant's clock is right
			applied, v := w.apply(starter()), newVault()
			c, err := w.engine().AddCredential(t.Context(), "c1", v.request("1"))
			require.NoError(t, err)
			// What somebody else removed may be lag, and is waited for.
			require.NoError(t, w.dir.RemovePassword(t.Context(), applied.Applications["c1"].ObjectID, c.KeyID))

			var slept time.Duration
			back := func() { w.clock.Advance(-24 * time.Hour) }
			cfg := w.config()
			cfg.Sleep = func(ctx context.Context, d time.Duration) error {
				if slept == 0 && within {
					back()
				}
				slept += d
				return w.clock.Sleep(ctx, d)
			}
			if !within {
				back()
			}
			e := w.engineOf(cfg)
			calm := func(err error) {
				t.Helper()
				require.NoError(t, err)
				assert.Less(t, slept, 5*time.Minute)
				slept = 0
			}
			after, err := e.Apply(t.Context(), starter(), nil)
			calm(err)
			assert.Len(t, after.MissingInEntra["c1"], 1)
			_, err = e.AddCredential(t.Context(), "c1", v.request("2"))
			calm(err)
			calm(e.RemoveCredential(t.Context(), "c1", c))
			_, err = e.Plan(t.Context(), starter())
			calm(err)
		})
	}
}
