package middleware

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// observer tells of decisions: a hook, a log, metrics, spans. A gate that is
// configured for none of them has none.
type observer struct {
	audit      func(*http.Request, Decision)
	log        *slog.Logger
	span       bool
	reportOnly bool
	now        func() time.Time
	meters     *meters
	usage      *usage
}

type meters struct {
	decisions metric.Int64Counter
	cache     metric.Int64Counter
	fetches   metric.Int64Counter
	age       metric.Registration
}

// newObserver makes the observer of a gate, nil if nothing is to be told, and
// lets the key sources tell it of their fetches.
func newObserver(c *Config, v *verifier) (*observer, error) {
	o := &observer{
		audit: c.Audit, log: c.Logger, span: c.SpanAttributes, reportOnly: c.ReportOnly, now: c.Now,
	}
	if c.ReportOnly {
		o.usage = newUsage()
		if o.log != nil {
			o.log.Warn("report-only mode: every request passes")
		}
	}
	if c.MeterProvider != nil {
		var err error
		if o.meters, err = newMeters(c.MeterProvider, v); err != nil {
			return nil, err
		}
	}
	if o.audit == nil && o.log == nil && !o.span && o.usage == nil && o.meters == nil {
		return nil, nil
	}
	for _, tn := range v.tenants {
		tn.keys.observed = func(set *keySet, changed bool, err error) { o.fetched(tn.id, set, changed, err) }
	}
	return o, nil
}

func newMeters(p metric.MeterProvider, v *verifier) (*meters, error) {
	m := p.Meter("github.com/entragate/entragate/middleware")
	out := &meters{}
	var err error
	if out.decisions, err = m.Int64Counter("entragate.gate.decisions",
		metric.WithDescription("Requests by outcome, reason, credential, product and API"), metric.WithUnit("{request}")); err != nil {
		return nil, err
	}
	if out.cache, err = m.Int64Counter("entragate.gate.cache",
		metric.WithDescription("Genuine tokens by whether they had been checked before"), metric.WithUnit("{token}")); err != nil {
		return nil, err
	}
	if out.fetches, err = m.Int64Counter("entragate.gate.key_fetches",
		metric.WithDescription("Fetches of signing keys by tenant and outcome"), metric.WithUnit("{fetch}")); err != nil {
		return nil, err
	}
	age, err := m.Float64ObservableGauge("entragate.gate.key_age",
		metric.WithDescription("Age of a tenant's signing keys; absent while there are none"), metric.WithUnit("s"))
	if err != nil {
		return nil, err
	}
	out.age, err = m.RegisterCallback(func(_ context.Context, obs metric.Observer) error {
		for _, tn := range v.tenants {
			if set := tn.keys.set.Load(); set != nil {
				obs.ObserveFloat64(age, tn.keys.now().Sub(set.fetched).Seconds(), metric.WithAttributes(attribute.String("entragate.tenant", tn.id)))
			}
		}
		return nil
	}, age)
	return out, err
}

func (o *observer) close() error {
	if o == nil || o.meters == nil {
		return nil
	}
	return o.meters.age.Unregister()
}

// observe tells of one decision.
func (o *observer) observe(r *http.Request, d *decision) {
	rec := d.public(o.now(), o.reportOnly)
	if o.usage != nil {
		o.usage.count(&rec)
	}
	if o.meters != nil {
		o.meters.count(r.Context(), &rec, d.caller.token != nil)
	}
	if o.span {
		if s := trace.SpanFromContext(r.Context()); s.IsRecording() {
			s.SetAttributes(rec.attributes()...)
		}
	}
	if o.log != nil {
		o.write(r, &rec)
	}
	if o.audit != nil {
		o.audit(r, rec)
	}
}

func (m *meters) count(ctx context.Context, d *Decision, genuine bool) {
	m.decisions.Add(ctx, 1, metric.WithAttributes(d.attributes()...))
	if genuine {
		m.cache.Add(ctx, 1, metric.WithAttributes(attribute.Bool("entragate.hit", d.Cached)))
	}
}

func (d *Decision) attributes() []attribute.KeyValue {
	all := [6]attribute.KeyValue{
		attribute.Bool("entragate.allowed", d.Allowed),
		attribute.String("entragate.reason", string(d.Reason)),
		attribute.String("entragate.credential", string(d.Credential)),
		attribute.String("entragate.product", d.Product),
		attribute.String("entragate.api", d.API),
		attribute.Bool("entragate.report_only", true),
	}
	if !d.ReportOnly {
		return all[:5]
	}
	return all[:]
}

// write logs one decision: what passes and what came without a credential at
// Debug, refusals at Info, what an operator has to mend at Warn.
func (o *observer) write(r *http.Request, d *Decision) {
	level, message := slog.LevelInfo, "request refused"
	switch {
	case d.Allowed:
		level, message = slog.LevelDebug, "request allowed"
	case r.Context().Err() != nil: // the caller has gone: nobody was refused
		level = slog.LevelDebug
	case d.Status == http.StatusServiceUnavailable, d.Reason == OperationNotFound && d.Detail.Field != "path":
		level = slog.LevelWarn
	case d.Credential == NoCredential && d.Status != http.StatusBadRequest && !d.ReportOnly:
		level = slog.LevelDebug
	}
	if !d.Allowed && d.ReportOnly {
		message = "request would be refused"
	}
	if !o.log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("reason", string(d.Reason)), slog.String("credential", string(d.Credential)),
		slog.String("product", d.Product), slog.String("api", d.API),
		slog.String("method", clip(r.Method)), slog.String("path", clip(r.URL.Path)),
	}
	if p := d.Principal; p != nil {
		attrs = append(attrs, slog.String("client", p.ClientID), slog.String("subscription", p.SubscriptionID))
	} else if d.ClaimedClient != "" {
		attrs = append(attrs, slog.String("claimed_client", d.ClaimedClient))
	}
	if !d.Allowed {
		attrs = append(attrs, slog.Int("status", d.Status), slog.String("detail", d.Detail.String()))
	}
	o.log.LogAttrs(r.Context(), level, message, attrs...)
}

// fetched tells of one fetch of keys.
func (o *observer) fetched(tenant string, set *keySet, changed bool, err error) {
	ctx := context.Background()
	if o.meters != nil {
		o.meters.fetches.Add(ctx, 1, metric.WithAttributes(attribute.String("entragate.tenant", tenant), attribute.Bool("entragate.ok", err == nil)))
	}
	switch {
	case o.log == nil:
	case err != nil:
		o.log.LogAttrs(ctx, slog.LevelWarn, "signing keys not fetched", slog.String("tenant", tenant), slog.String("error", err.Error()))
	case changed:
		o.log.LogAttrs(ctx, slog.LevelInfo, "signing keys changed", slog.String("tenant", tenant), slog.Int("keys", len(set.keys)))
	default:
		o.log.LogAttrs(ctx, slog.LevelDebug, "signing keys unchanged", slog.String("tenant", tenant))
	}
}

// Usage counts what report-only mode has seen.
type Usage struct {
	Requests uint64 `json:"requests"`
	Refused  uint64 `json:"refused"` // would have been
	Token    uint64 `json:"token"`   // valid tokens
	Key      uint64 `json:"key"`     // valid keys
	// TokenCallers and KeyCallers are the distinct client applications and
	// subscriptions that a valid credential named, counted up to 10,000.
	TokenCallers int `json:"tokenCallers"`
	KeyCallers   int `json:"keyCallers"`
	// Reasons are how many requests each reason had, those of requests that
	// pass among them.
	Reasons map[Reason]uint64 `json:"reasons,omitempty"`
}

const mostCallers = 10_000

// usage counts. Callers are those of valid credentials, so nobody can fill it
// with invented names.
type usage struct {
	requests, refused, token, key atomic.Uint64
	clients, subscriptions        callers
	reasons                       map[Reason]*atomic.Uint64 // all that there are
}

func newUsage() *usage {
	u := &usage{reasons: map[Reason]*atomic.Uint64{Allowed: {}, Open: {}}}
	for reason := range messages {
		u.reasons[reason] = &atomic.Uint64{}
	}
	return u
}

type callers struct {
	seen sync.Map
	n    atomic.Int64
}

func (c *callers) add(id string) {
	if _, ok := c.seen.Load(id); ok || c.n.Load() >= mostCallers {
		return
	}
	if _, loaded := c.seen.LoadOrStore(id, struct{}{}); !loaded {
		c.n.Add(1)
	}
}

func (u *usage) count(d *Decision) {
	u.requests.Add(1)
	if n := u.reasons[d.Reason]; n != nil {
		n.Add(1)
	}
	if !d.Allowed {
		u.refused.Add(1)
	}
	switch p := d.Principal; {
	case p == nil:
	case p.Credential == KeyCredential:
		u.key.Add(1)
		u.subscriptions.add(p.SubscriptionID)
	default:
		u.token.Add(1)
		u.clients.add(p.ClientID)
	}
}

// Usage is what report-only mode has counted; zero in other modes, where
// metrics tell.
func (g *Gate) Usage() Usage {
	if g.observer == nil || g.observer.usage == nil {
		return Usage{}
	}
	u := g.observer.usage
	reasons := map[Reason]uint64{}
	for reason, n := range u.reasons {
		if n := n.Load(); n > 0 {
			reasons[reason] = n
		}
	}
	return Usage{
		Reasons:  reasons,
		Requests: u.requests.Load(), Refused: u.refused.Load(), Token: u.token.Load(), Key: u.key.Load(),
		TokenCallers: int(u.clients.n.Load()), KeyCallers: int(u.subscriptions.n.Load()),
	}
}
