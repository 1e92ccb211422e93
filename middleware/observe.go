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

// observer reports decisions to Config.Audit, Logger, MeterProvider and spans. It is
// nil if none of them is configured.
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
	ended     metric.Int64Counter
	age       metric.Registration
}

// newObserver makes the observer of a gate; nil if nothing is to be reported.
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
	return o, nil
}

// watch makes a tenant's key sources report to the observer. It is called before the
// first fetch.
func (o *observer) watch(tn *tenant) {
	if o == nil {
		return
	}
	for _, s := range tn.sources() {
		s.observer, s.tenant = o, tn.id
	}
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
	if out.ended, err = m.Int64Counter("entragate.gate.ended",
		metric.WithDescription("Open responses that the gate ended, by reason, credential, product and API"), metric.WithUnit("{response}")); err != nil {
		return nil, err
	}
	age, err := m.Float64ObservableGauge("entragate.gate.key_age",
		metric.WithDescription("Age of a tenant's signing keys; missing while there are none"), metric.WithUnit("s"))
	if err != nil {
		return nil, err
	}
	out.age, err = m.RegisterCallback(func(_ context.Context, obs metric.Observer) error {
		for _, tn := range v.trust.Load().tenants {
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

// observe reports one decision.
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
			if rec.ID != "" {
				s.SetAttributes(attribute.String("entragate.decision_id", rec.ID))
			}
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
	all := [7]attribute.KeyValue{
		attribute.Bool("entragate.allowed", d.Allowed),
		attribute.String("entragate.reason", string(d.Reason)),
		attribute.String("entragate.credential", string(d.Credential)),
		attribute.String("entragate.product", d.Product),
		attribute.String("entragate.api", d.API),
	}
	n := 5
	if d.ReportOnly {
		all[n] = attribute.Bool("entragate.report_only", true)
		n++
	}
	if d.WouldRefuse != "" {
		all[n] = attribute.String("entragate.would_refuse", string(d.WouldRefuse))
		n++
	}
	return all[:n]
}

// write logs one decision: allowed requests and requests without a credential at
// Debug, refusals at Info, conditions that need an operator at Warn.
func (o *observer) write(r *http.Request, d *Decision) {
	level, message := slog.LevelInfo, "request refused"
	switch {
	case d.Allowed:
		level, message = slog.LevelDebug, "request allowed"
	case d.Reason == CallerGone: // the caller did not wait for the decision
		level = slog.LevelDebug
	case d.Status == http.StatusServiceUnavailable, d.Reason == OperationNotFound && d.Detail.Field != "path" && d.Detail.Field != "operation":
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
		attrs = append(attrs, slog.String("decision", d.ID), slog.Int("status", d.Status), slog.String("detail", d.Detail.String()))
		if d.Remedy != "" {
			attrs = append(attrs, slog.String("remedy", d.Remedy))
		}
	}
	o.log.LogAttrs(r.Context(), level, message, attrs...)
}

// ended reports that the gate ended an open response.
func (o *observer) ended(p *passage, d *decision) {
	ctx := context.WithoutCancel(p.Context)
	rec := d.public(o.now(), false)
	if o.meters != nil {
		o.meters.ended.Add(ctx, 1, metric.WithAttributes(rec.attributes()...))
	}
	if o.log == nil {
		return
	}
	attrs := []slog.Attr{
		slog.String("reason", string(rec.Reason)), slog.String("credential", string(rec.Credential)),
		slog.String("product", rec.Product), slog.String("api", rec.API),
		slog.String("method", clip(p.method)), slog.String("path", clip(p.path)), slog.String("detail", rec.Detail.String()),
	}
	if who := rec.Principal; who != nil {
		attrs = append(attrs, slog.String("client", who.ClientID), slog.String("subscription", who.SubscriptionID))
	}
	o.log.LogAttrs(ctx, slog.LevelInfo, "open response ended", attrs...)
}

// fetched reports one fetch of keys.
func (o *observer) fetched(tenant string, set *keySet, changed bool, err error) {
	if o == nil {
		return
	}
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

// recalled logs that remembered keys are used, or why they cannot be.
func (o *observer) recalled(tenant string, set *keySet, err error) {
	switch {
	case o == nil || o.log == nil:
	case err != nil:
		o.log.LogAttrs(context.Background(), slog.LevelWarn, "remembered signing keys not used", slog.String("tenant", tenant), slog.String("error", err.Error()))
	default:
		o.log.LogAttrs(context.Background(), slog.LevelWarn, "remembered signing keys used", slog.String("tenant", tenant), slog.Int("keys", len(set.keys)),
			slog.String("fetched", second(set.fetched)), slog.String("until", second(set.fetched.Add(maxKeyAge))))
	}
}

// notRemembered logs that keys could not be remembered.
func (o *observer) notRemembered(tenant string, err error) {
	if o != nil && o.log != nil {
		o.log.LogAttrs(context.Background(), slog.LevelWarn, "signing keys not remembered", slog.String("tenant", tenant), slog.String("error", err.Error()))
	}
}

// Usage counts the requests in report-only mode since the gate was made.
type Usage struct {
	Requests uint64 `json:"requests"`
	Refused  uint64 `json:"refused"` // requests that would be refused
	Token    uint64 `json:"token"`   // requests that a valid token identified
	Key      uint64 `json:"key"`     // requests that a valid key identified
	// TokenCallers and KeyCallers are the numbers of distinct client applications
	// and subscriptions with a valid credential, each counted up to 10,000.
	TokenCallers int `json:"tokenCallers"`
	KeyCallers   int `json:"keyCallers"`
	// Reasons are the numbers of requests by reason, including Allowed and Open.
	Reasons map[Reason]uint64 `json:"reasons,omitempty"`
}

const mostCallers = 10_000

// usage holds the counters of Usage. It stores only callers with a valid credential,
// so that nobody can fill it with invented names.
type usage struct {
	requests, refused, token, key atomic.Uint64
	clients, subscriptions        callers
	reasons                       map[Reason]*atomic.Uint64 // has every reason
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

// Usage returns the counts of report-only mode. Without Config.ReportOnly it is zero:
// use the metrics.
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
