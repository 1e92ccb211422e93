package appaccess_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/entragate/entragate/appaccess"
)

func (w *world) revision() (rev appaccess.Revision) {
	w.t.Helper()
	require.NoError(w.t, w.store.Store.View(w.t.Context(), func(r appaccess.Reader) (err error) {
		at, err := r.Position()
		rev = at.Revision
		return err
	}))
	return rev
}

// measured reads one metric.
func measured(t *testing.T, reader *metric.ManualReader, name string) (sum float64) {
	t.Helper()
	var rm metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &rm))
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Gauge[float64]:
				return data.DataPoints[0].Value
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					sum += float64(p.Value)
				}
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					sum += float64(p.Value)
				}
			}
			return sum
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestCatalogMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reader := metric.NewManualReader()
		w := newWorld(t, appaccess.CatalogConfig{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader))})
		w.client(appID)
		w.key(primary)
		w.key(primary)
		w.key("unknown")
		assert.InDelta(t, 2, measured(t, reader, "entragate.catalog.entries"), 0)
		assert.InDelta(t, 1, measured(t, reader, "entragate.catalog.hits"), 0)
		assert.InDelta(t, 3, measured(t, reader, "entragate.catalog.loads"), 0)
		time.Sleep(5 * time.Second)
		assert.LessOrEqual(t, measured(t, reader, "entragate.catalog.staleness"), 1.0)
		w.store.set(func(s *moodyStore) { s.fail = errReach })
		w.refuses("new")
		assert.InDelta(t, 2, measured(t, reader, "entragate.catalog.failures"), 0)
		time.Sleep(time.Minute)
		assert.InDelta(t, 60, measured(t, reader, "entragate.catalog.staleness"), 1)
		for range 5 {
			w.catalog.CountCall(appaccess.Call{SubscriptionID: "s1", Time: time.Now()})
		}
		time.Sleep(time.Minute)
		assert.InDelta(t, 5, measured(t, reader, "entragate.calls.dropped"), 0)
		require.NoError(t, w.catalog.Close())
		var rm metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(t.Context(), &rm))
		assert.Empty(t, rm.ScopeMetrics, "nothing is left registered")
	})
}
