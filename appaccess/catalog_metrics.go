package appaccess

import (
	"context"
	"fmt"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// measure registers the Catalog's metrics with a provider.
func (c *Catalog) measure(provider metric.MeterProvider) error {
	if provider == nil {
		return nil
	}
	meter := provider.Meter("github.com/entragate/entragate/appaccess")
	staleness, err1 := meter.Float64ObservableGauge("entragate.catalog.staleness", metric.WithUnit("s"),
		metric.WithDescription("Time since all answers were last known to be current"))
	entries, err2 := meter.Int64ObservableGauge("entragate.catalog.entries", metric.WithUnit("{entry}"),
		metric.WithDescription("Clients and keys that are remembered"))
	hits, err3 := meter.Int64ObservableCounter("entragate.catalog.hits", metric.WithUnit("{lookup}"),
		metric.WithDescription("Look-ups of clients and keys that were answered from memory"))
	loads, err4 := meter.Int64ObservableCounter("entragate.catalog.loads", metric.WithUnit("{load}"),
		metric.WithDescription("Clients and keys that were read from the store"))
	failures, err5 := meter.Int64ObservableCounter("entragate.catalog.failures", metric.WithUnit("{load}"),
		metric.WithDescription("Reads of clients and keys that failed"))
	dropped, err6 := meter.Int64ObservableCounter("entragate.calls.dropped", metric.WithUnit("{call}"),
		metric.WithDescription("Calls that could not be written: the usage pages miss them"))
	calls, err7 := meter.Int64ObservableCounter("entragate.calls", metric.WithUnit("{call}"),
		metric.WithDescription("Calls by API, operation and outcome, as the usage pages count them"))
	for _, err := range []error{err1, err2, err3, err4, err5, err6, err7} {
		if err != nil {
			return fmt.Errorf("appaccess: metrics: %w", err)
		}
	}
	client := metric.WithAttributes(attribute.String("entragate.entry", "client"))
	key := metric.WithAttributes(attribute.String("entragate.entry", "key"))
	c.clients.known.hits, c.keys.known.hits = new(atomic.Int64), new(atomic.Int64)
	var err error
	c.metrics, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveFloat64(staleness, c.Staleness().Seconds())
		o.ObserveInt64(entries, c.clients.known.count(), client)
		o.ObserveInt64(hits, c.clients.known.hits.Load(), client)
		o.ObserveInt64(entries, c.keys.known.count(), key)
		o.ObserveInt64(hits, c.keys.known.hits.Load(), key)
		o.ObserveInt64(loads, c.loadCount.Load())
		o.ObserveInt64(failures, c.loadFails.Load())
		o.ObserveInt64(dropped, c.calls.dropped.Load())
		c.calls.observe(func(key outcomeKey, n int64) {
			o.ObserveInt64(calls, n, metric.WithAttributes(
				attribute.String("entragate.api", key.api), attribute.String("entragate.operation", key.operation), attribute.String("entragate.outcome", key.outcome),
			))
		})
		return nil
	}, staleness, entries, hits, loads, failures, dropped, calls)
	if err != nil {
		return fmt.Errorf("appaccess: metrics: %w", err)
	}
	return nil
}
