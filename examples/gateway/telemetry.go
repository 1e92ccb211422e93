package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// telemetry exports metrics and traces as OpenTelemetry's variables say. A nil
// telemetry does nothing, at no cost.
type telemetry struct {
	meters  *metric.MeterProvider
	tracers *trace.TracerProvider
	options []otelhttp.Option
}

// newTelemetry is nil if no variable asks for an exporter.
func newTelemetry(ctx context.Context, getenv func(string) string) (*telemetry, error) {
	asked := func(signal string) bool {
		return getenv("OTEL_"+signal+"_EXPORTER") != "" || getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" ||
			getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
	}
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || !asked("METRICS") && !asked("TRACES") {
		return nil, nil
	}
	named, err := resource.Merge(resource.NewSchemaless(attribute.String("service.name", "entragate-gateway")), resource.Environment())
	if err != nil {
		return nil, fmt.Errorf("OpenTelemetry: %w", err)
	}
	meters, tracers := []metric.Option{metric.WithResource(named)}, []trace.TracerProviderOption{trace.WithResource(named)}
	if asked("METRICS") {
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return nil, fmt.Errorf("OTEL_METRICS_EXPORTER: %w", err)
		}
		meters = append(meters, metric.WithReader(reader))
	}
	if asked("TRACES") {
		exporter, err := autoexport.NewSpanExporter(ctx)
		if err != nil {
			return nil, fmt.Errorf("OTEL_TRACES_EXPORTER: %w", err)
		}
		tracers = append(tracers, trace.WithBatcher(exporter))
	}
	t := &telemetry{meters: metric.NewMeterProvider(meters...), tracers: trace.NewTracerProvider(tracers...)}
	t.options = []otelhttp.Option{
		otelhttp.WithMeterProvider(t.meters), otelhttp.WithTracerProvider(t.tracers),
		otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})),
	}
	return t, nil
}

// server measures the requests of callers. A stranger does not choose the trace
// that a request belongs to.
func (t *telemetry) server(next http.Handler, f *forwarding) http.Handler {
	if t == nil {
		return next
	}
	stranger := otelhttp.WithPublicEndpointFn(func(r *http.Request) bool { return !f.fromTrusted(r) })
	return otelhttp.NewHandler(next, "gateway", append(t.options, stranger)...)
}

// client measures the requests to the APIs.
func (t *telemetry) client(base http.RoundTripper) http.RoundTripper {
	if t == nil {
		return base
	}
	return otelhttp.NewTransport(base, t.options...)
}

// close exports what is left.
func (t *telemetry) close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = errors.Join(t.meters.Shutdown(ctx), t.tracers.Shutdown(ctx))
}
