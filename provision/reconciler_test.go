package provision_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision/entratest"
)

func starter() memstore.Desired {
	return memstore.Desired{
		Products:     products("starter"),
		Applications: []appaccess.DesiredApplication{wantClient("c1", "starter")},
	}
}

func TestApplyMakesWhatPlanSays(t *testing.T) {
	t.Parallel()
	for name, lag := range map[string]entratest.Lag{"calm": {}, "lagging": {Min: time.Second, Max: 40 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, entratest.Config{Lag: lag})
			e := w.engine()
			plan, err := e.Plan(t.Context(), starter())
			require.NoError(t, err)
			assert.Zero(t, w.tenant.Counts().Writes, "a plan writes nothing")
			t.Log("\n" + plan.String())

			var done []appaccess.Step
			applied, err := e.Apply(t.Context(), starter(), func(p appaccess.Progress) {
				if p.Done {
					done = append(done, appaccess.Step{Object: p.Object, Detail: p.Step})
				}
			})
			require.NoError(t, err)
			require.Empty(t, applied.Failed)
			assert.Len(t, done, len(plan.Steps), "Apply takes the steps of the plan")
			t.Log("\n" + stateOf(w.tenant))

			n := w.writes(func() {
				again := w.apply(starter())
				assert.Equal(t, applied.Products, again.Products)
				assert.Equal(t, applied.Applications, again.Applications)
			})
			assert.Zero(t, n, "a second Apply writes nothing")

			v := newVault()
			c, err := e.AddCredential(t.Context(), "c1", v.request("op-1"))
			require.NoError(t, err)
			w.settle()
			p := applied.Products["starter"]
			assert.NoError(t, w.token(applied.Applications["c1"].AppID, v.secrets[c.KeyID], p.AppID))
		})
	}
}
