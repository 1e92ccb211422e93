package provision_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

func TestAReconcilerMeasuresObjectsAndSteps(t *testing.T) {
	t.Parallel()
	tenant, err := entratest.New(entratest.Config{})
	require.NoError(t, err)
	caller, err := tenant.AddCaller("entragate", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	reader, spans := sdkmetric.NewManualReader(), tracetest.NewSpanRecorder()
	r, err := provision.New(provision.Config{
		Directory: tenant.Directory(caller), Store: memstore.New(),
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
	})
	require.NoError(t, err)
	desired := memstore.Desired{Products: []appaccess.DesiredProduct{{
		ID: "starter", ApplicationName: "Starter", Roles: []appaccess.Role{{Permission: "All", Value: "Product.Starter.All"}},
	}}}
	_, err = r.Apply(t.Context(), desired.Objects(), desired, nil)
	require.NoError(t, err)

	var data metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &data))
	counted := map[string]int64{}
	for _, m := range data.ScopeMetrics[0].Metrics {
		if sum, ok := m.Data.(metricdata.Sum[int64]); ok {
			for _, p := range sum.DataPoints {
				action, _ := p.Attributes.Value("entragate.action")
				result, _ := p.Attributes.Value("entragate.outcome")
				counted[m.Name+" "+action.AsString()+" "+result.AsString()] += p.Value
			}
		}
	}
	assert.Equal(t, map[string]int64{
		"entragate.provision.objects  ok":     1,
		"entragate.provision.steps create ok": 2,
		"entragate.provision.steps change ok": 1,
	}, counted)
	ended := spans.Ended()
	require.Len(t, ended, 1)
	assert.Equal(t, "entragate.provision.object", ended[0].Name())
	assert.Len(t, ended[0].Events(), 3)
}
