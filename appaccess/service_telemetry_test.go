package appaccess_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/entragate/entragate/appaccess"
)

func TestASyncIsMeasured(t *testing.T) {
	t.Parallel()
	reader, spans := sdkmetric.NewManualReader(), tracetest.NewSpanRecorder()
	h := newFixture(t, func(c *appaccess.ServiceConfig) {
		c.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
		c.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	})
	h.entra.arm(1, false)
	_, err := h.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}})
	require.Error(t, err)
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)

	var data metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(ctx, &data))
	measured := map[string]bool{}
	for _, m := range data.ScopeMetrics[0].Metrics {
		measured[m.Name] = true
		if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "entragate.service.objects.failed" {
			assert.Equal(t, int64(1), sum.DataPoints[0].Value)
		}
	}
	for _, name := range []string{"sync.duration", "objects.failed", "unconfirmed", "credentials.missing"} {
		assert.True(t, measured["entragate.service."+name], name)
	}
	require.Len(t, spans.Ended(), 1)
	assert.Equal(t, "entragate.service.sync", spans.Ended()[0].Name())
}
