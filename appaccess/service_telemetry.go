package appaccess

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// telemetry has a Service's metrics and spans. [ServiceConfig] lists their names.
type telemetry struct {
	tracer      trace.Tracer
	syncs       metric.Float64Histogram
	failed      metric.Int64Counter
	unconfirmed metric.Int64Gauge
	missing     metric.Int64Gauge
}

func newTelemetry(cfg ServiceConfig) (*telemetry, error) {
	meters, traces := cfg.MeterProvider, cfg.TracerProvider
	if meters == nil {
		meters = metricnoop.NewMeterProvider()
	}
	if traces == nil {
		traces = tracenoop.NewTracerProvider()
	}
	const scope = "github.com/entragate/entragate/appaccess"
	meter := meters.Meter(scope)
	t := &telemetry{tracer: traces.Tracer(scope)}
	var err1, err2, err3, err4 error
	t.syncs, err1 = meter.Float64Histogram("entragate.service.sync.duration", metric.WithUnit("s"),
		metric.WithDescription("Time of one Sync, by outcome"),
		metric.WithExplicitBucketBoundaries(0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600))
	t.failed, err2 = meter.Int64Counter("entragate.service.objects.failed", metric.WithUnit("{object}"),
		metric.WithDescription("Objects that could not be brought in sync with Entra; each is tried again"))
	t.unconfirmed, err3 = meter.Int64Gauge("entragate.service.unconfirmed", metric.WithUnit("{revocation}"),
		metric.WithDescription("What was deleted in Entra and reads have not confirmed, after the last Sync"))
	t.missing, err4 = meter.Int64Gauge("entragate.service.credentials.missing", metric.WithUnit("{application}"),
		metric.WithDescription("Applications whose credentials Entra no longer has, after the last Sync"))
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			return nil, fmt.Errorf("appaccess: ServiceConfig.MeterProvider: %w", err)
		}
	}
	return t, nil
}

// sync begins the span of one Sync. The returned function ends it.
func (t *telemetry) sync(ctx context.Context) (context.Context, func(SyncReport, error)) {
	began := time.Now()
	ctx, span := t.tracer.Start(ctx, "entragate.service.sync")
	return ctx, func(report SyncReport, err error) {
		outcome := "ok"
		if err != nil {
			outcome = "failed"
			span.SetStatus(codes.Error, err.Error())
		}
		t.syncs.Record(ctx, time.Since(began).Seconds(), metric.WithAttributes(attribute.String("entragate.outcome", outcome)))
		t.unconfirmed.Record(ctx, int64(report.Unconfirmed))
		t.missing.Record(ctx, int64(len(report.MissingInEntra)))
		span.SetAttributes(attribute.Int("entragate.objects", report.Objects))
		span.End()
	}
}
