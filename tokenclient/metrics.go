package tokenclient

import (
	"context"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// durations are the histogram's bucket boundaries in seconds, from OpenTelemetry's HTTP
// conventions. The SDK's defaults are for milliseconds.
var durations = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// meter holds the instruments. A nil meter measures nothing.
type meter struct {
	fetches  metric.Int64Counter
	duration metric.Float64Histogram
	ages     metric.Registration
}

func newMeter(provider metric.MeterProvider, c *Client) (*meter, error) {
	m := provider.Meter("github.com/entragate/entragate/tokenclient")
	var (
		out meter
		err error
	)
	if out.fetches, err = m.Int64Counter("entragate.tokenclient.fetches", metric.WithUnit("{request}"),
		metric.WithDescription("Requests to the token endpoint, by client, scope and outcome")); err != nil {
		return nil, err
	}
	if out.duration, err = m.Float64Histogram("entragate.tokenclient.fetch.duration", metric.WithUnit("s"),
		metric.WithDescription("Time of one request to the token endpoint"),
		metric.WithExplicitBucketBoundaries(durations...)); err != nil {
		return nil, err
	}
	age, err := m.Float64ObservableGauge("entragate.tokenclient.token.age", metric.WithUnit("s"),
		metric.WithDescription("Age of the token that is kept, by client and scope"))
	if err != nil {
		return nil, err
	}
	out.ages, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		c.observeAges(func(scope string, d time.Duration) {
			o.ObserveFloat64(age, d.Seconds(), metric.WithAttributes(of(c.clientID, scope)...))
		})
		return nil
	}, age)
	return &out, err
}

func (m *meter) close() {
	if m != nil {
		_ = m.ages.Unregister()
	}
}

func (m *meter) fetched(clientID, scope string, err *Error, took time.Duration) {
	if m == nil {
		return
	}
	attrs := append(of(clientID, scope), attribute.String("entragate.outcome", outcome(err)))
	m.duration.Record(context.Background(), took.Seconds(), metric.WithAttributes(attrs...))
	if err != nil && advice[err.AADSTS] != "" { // known numbers only: attributes stay few
		attrs = append(attrs, attribute.Int("entragate.aadsts", err.AADSTS))
	}
	m.fetches.Add(context.Background(), 1, metric.WithAttributes(attrs...))
}

// traced begins the span of one request to the token endpoint and returns the function
// that ends it. The span has no parent, because many callers wait for one request.
func (c *Client) traced(ctx context.Context, scope string) (end func(*Error)) {
	end = func(*Error) {}
	if c.tracer == nil {
		return end
	}
	c.watch(func() {
		_, span := c.tracer.Start(ctx, "entragate.tokenclient.fetch", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(of(c.clientID, scope)...))
		end = func(err *Error) {
			span.SetAttributes(attribute.String("entragate.outcome", outcome(err)))
			if err != nil {
				span.SetStatus(codes.Error, outcome(err))
			}
			span.End()
		}
	})
	return end
}

// of returns the attributes of every measurement. The client ID is one of them, because
// two clients of one process may have the same scope.
func of(clientID, scope string) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("entragate.client_id", clientID), attribute.String("entragate.scope", scope)}
}

// outcome returns the value of entragate.outcome. Error codes that are not known become
// the status, so that a server cannot create new time series.
func outcome(err *Error) string {
	switch {
	case err == nil:
		return "ok"
	case err.credential:
		return "credential"
	case err.StatusCode == 0:
		return "transport"
	case knownCodes[err.Code]:
		return err.Code
	}
	return strconv.Itoa(err.StatusCode)
}

var knownCodes = map[string]bool{
	"invalid_request": true, "invalid_client": true, "invalid_grant": true, "unauthorized_client": true,
	"unsupported_grant_type": true, "invalid_scope": true, "invalid_resource": true, "invalid_target": true,
	"access_denied": true, "server_error": true, "temporarily_unavailable": true,
}

// observeAges calls f for each scope that has a token.
func (c *Client) observeAges(f func(scope string, age time.Duration)) {
	c.mu.Lock()
	sources := make([]*Source, 0, len(c.sources))
	for _, s := range c.sources {
		sources = append(sources, s)
	}
	c.mu.Unlock()
	now := c.clock()
	for _, s := range sources {
		if snap := s.current.Load(); snap != nil {
			age, _ := now.since(snap.from)
			f(s.scope, age)
		}
	}
}
