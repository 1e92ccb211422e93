package provision

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

	"github.com/entragate/entragate/appaccess"
)

// telemetry measures and traces what a Reconciler does. Its names are listed in
// the package documentation.
type telemetry struct {
	tracer   trace.Tracer
	steps    metric.Int64Counter
	objects  metric.Int64Counter
	duration metric.Float64Histogram
}

const scope = "github.com/entragate/entragate/provision"

func newTelemetry(meters metric.MeterProvider, traces trace.TracerProvider) (*telemetry, error) {
	if meters == nil {
		meters = metricnoop.NewMeterProvider()
	}
	if traces == nil {
		traces = tracenoop.NewTracerProvider()
	}
	meter := meters.Meter(scope)
	t := &telemetry{tracer: traces.Tracer(scope)}
	var err1, err2, err3 error
	t.steps, err1 = meter.Int64Counter("entragate.provision.steps", metric.WithUnit("{step}"),
		metric.WithDescription("Changes in Entra, by action and outcome"))
	t.objects, err2 = meter.Int64Counter("entragate.provision.objects", metric.WithUnit("{object}"),
		metric.WithDescription("Objects that were locked and reconciled, by kind and outcome"))
	t.duration, err3 = meter.Float64Histogram("entragate.provision.object.duration", metric.WithUnit("s"),
		metric.WithDescription("Time for which one object was reconciled, with waiting"),
		metric.WithExplicitBucketBoundaries(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600))
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return nil, fmt.Errorf("provision: Config.MeterProvider: %w", err)
		}
	}
	return t, nil
}

// object begins the span of one object. The function that it returns ends it.
func (t *telemetry) object(ctx context.Context, kind, name string) (context.Context, func(error)) {
	began := time.Now()
	ctx, span := t.tracer.Start(ctx, "entragate.provision.object", trace.WithAttributes(attribute.String("entragate.object", name)))
	return ctx, func(err error) {
		of := metric.WithAttributes(attribute.String("entragate.kind", kind), outcome(err))
		t.objects.Add(ctx, 1, of)
		t.duration.Record(ctx, time.Since(began).Seconds(), of)
		fail(span, err)
		span.End()
	}
}

// step measures one change in Entra.
func (t *telemetry) step(ctx context.Context, action appaccess.Action, err error) {
	t.steps.Add(ctx, 1, metric.WithAttributes(attribute.String("entragate.action", string(action)), outcome(err)))
	trace.SpanFromContext(ctx).AddEvent("entragate.provision.step", trace.WithAttributes(attribute.String("entragate.action", string(action)), outcome(err)))
}

func outcome(err error) attribute.KeyValue {
	if err != nil {
		return attribute.String("entragate.outcome", "failed")
	}
	return attribute.String("entragate.outcome", "ok")
}

func fail(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
}
