package middleware

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-json-experiment/json"
)

// Gate guards HTTP handlers. Make one with [New], share it among all handlers of a
// service, and close it at shutdown. It is safe for concurrent use.
type Gate struct {
	cfg      Config
	managed  bool
	catalog  Catalog
	calls    CallRecorder        // nil: calls are not counted
	statics  map[string]*Product // by ID, in static mode
	verifier *verifier
	watcher  *watcher
	observer *observer
	metadata string // URL of the protected-resource metadata

	compile sync.Mutex
	policy  atomic.Pointer[policy]

	tenants sync.Mutex // held while tenants change
	closed  bool
	start   func(*tenant) // starts to fetch a tenant's keys

	stop    context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
}

// New checks a configuration and makes a Gate. It starts to fetch the signing keys
// in the background: the first requests wait for them, and [Gate.Ready] can wait. An
// error names the field that is wrong.
func New(c Config) (*Gate, error) {
	tr, err := c.check()
	if err != nil {
		return nil, fmt.Errorf("middleware: %w", err)
	}
	g := &Gate{cfg: c, managed: c.Catalog != nil, catalog: c.Catalog, verifier: newVerifier(&c, tr)}
	if !g.managed {
		g.catalog = newStatic(&c)
		g.statics = map[string]*Product{}
		for _, p := range g.cfg.Products {
			g.statics[p.ID] = &p
		}
	}
	g.calls, _ = g.catalog.(CallRecorder)
	g.watcher = newWatcher(g)
	g.metadata = metadataURL(c.Resource)
	if g.observer, err = newObserver(&c, g.verifier); err != nil {
		return nil, fmt.Errorf("middleware: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	g.start = func(tn *tenant) { g.fetchKeys(ctx, tn) }
	for _, tn := range tr.tenants {
		g.start(tn)
	}
	g.running.Go(func() { g.watcher.run(ctx) })
	return g, nil
}

// fetchKeys starts the goroutines that fetch a tenant's keys, until the context
// ends or the tenant is removed.
func (g *Gate) fetchKeys(ctx context.Context, tn *tenant) {
	ctx, tn.stop = context.WithCancel(ctx)
	g.observer.watch(tn)
	var all sync.WaitGroup
	for _, s := range tn.sources() {
		s.changed = g.watcher.askAll
		all.Go(func() { s.run(ctx) })
	}
	g.running.Go(func() {
		all.Wait()
		close(tn.stopped)
	})
}

// Close stops the gate's goroutines and waits for them. Afterwards the gate still
// decides on requests with the keys that it has, but no longer ends open responses.
// It returns the error of the MeterProvider. Further calls return nil.
func (g *Gate) Close() error {
	var err error
	g.closing.Do(func() {
		g.tenants.Lock()
		g.closed = true
		g.tenants.Unlock()
		g.stop()
		g.running.Wait()
		err = g.observer.close()
	})
	return err
}

// Product guards a handler with one product. A key passes if its scope is the
// product or all APIs; use [Gate.API] if keys of one API should pass. In static mode
// Product panics if the ID is not configured. In managed mode, where the product may
// be created later, the gate answers 404 and logs a warning for each request while
// the catalog has no product of that ID.
func (g *Gate) Product(id string) func(http.Handler) http.Handler {
	if !g.managed && g.current().single[id] == nil {
		panic(fmt.Sprintf("middleware: Gate.Product: %q is not among the configured products", id))
	}
	return g.guard(ofProduct(id))
}

// API guards a handler with the products that group an API. Each of them can let a
// request pass. An unknown ID is treated like in [Gate.Product].
func (g *Gate) API(id string) func(http.Handler) http.Handler {
	if !g.managed && g.current().routes[id] == nil {
		panic(fmt.Sprintf("middleware: Gate.API: %q is not among the configured APIs", id))
	}
	return g.guard(ofAPI(id))
}

// Wrap guards a whole mux. It finds the API whose path is the longest prefix of the
// request's path, by whole segments, and accepts credentials for the products that
// group this API. Paths that servers may read differently (dot segments, empty
// segments, encoded slashes, other spellings that lead to another API) are refused
// with 400: see Paths in the package documentation. A path in no API, or in an API
// without a product, is refused with 404. Put nothing between gate and mux that
// changes the path. In static mode Wrap panics if Config.APIs is empty.
func (g *Gate) Wrap(next http.Handler) http.Handler {
	if !g.managed && len(g.current().routes) == 0 {
		panic("middleware: Gate.Wrap: Config.APIs is empty, so every path would be refused: name the APIs, or use Gate.Product")
	}
	return g.guard(byPath)(next)
}

// finder finds the route of a request.
type finder func(*policy, *http.Request) (*route, failure)

func byPath(p *policy, r *http.Request) (*route, failure) {
	return p.routeOf(r.URL.Path, r.URL.RawPath)
}

func ofProduct(id string) finder {
	return func(p *policy, _ *http.Request) (*route, failure) { return found(p.single[id], "product", id) }
}

func ofAPI(id string) finder {
	return func(p *policy, _ *http.Request) (*route, failure) { return found(p.routes[id], "API", id) }
}

func found(r *route, what, id string) (*route, failure) {
	f := failure{reason: OperationNotFound, status: http.StatusNotFound, field: what, actual: id}
	switch {
	case r == nil:
		f.expected = "an ID of the configuration or the catalog"
	case len(r.products) == 0:
		f.expected = "one that is in a product"
	default:
		return r, failure{}
	}
	return r, f
}

// guard makes the middleware for one finder.
func (g *Gate) guard(find finder) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if next == nil {
			panic("middleware: the handler to guard is nil")
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.serve(w, r, next, find)
		})
	}
}

func (g *Gate) serve(w http.ResponseWriter, r *http.Request, next http.Handler, find finder) {
	epoch := g.watcher.epoch.Load() // before the policy is read, so that no later change is missed
	p := g.current()
	route, missed := p.find(find, r)
	c := g.find(r, g.keysAt(route))
	untouched := r
	if (c.keyInQuery || c.strayQuery) && g.cfg.RedactKeyQuery {
		if g.cfg.ReportOnly {
			untouched = r.WithContext(r.Context())
		}
		c.redactFrom(r, g.cfg.KeyQuery)
	}
	d := g.judge(r, &c, p, route, missed)
	if !d.ok() {
		if d.status == http.StatusServiceUnavailable && errors.Is(r.Context().Err(), context.Canceled) {
			d.gone()
		}
		d.id = max(rand.Uint64(), 1)
	}
	if g.calls != nil && (g.cfg.ReportOnly || !d.ok()) {
		g.calls.CountCall(d.call(g.cfg.Now(), g.cfg.ReportOnly))
	}
	if g.observer != nil {
		g.observer.observe(r, &d)
	}
	switch {
	case g.cfg.ReportOnly:
		inner := g.principalOnly(untouched, &d)
		defer func() { r.Pattern = inner.Pattern }()
		next.ServeHTTP(w, inner)
	case d.ok():
		p := g.newPassage(w, r, find, &d, epoch)
		inner := g.forward(r, p, &c, &d)
		returned := false
		defer func() {
			p.finish(r, inner)
			if g.calls != nil {
				call := d.call(g.cfg.Now(), false)
				call.Error = p.status >= http.StatusInternalServerError || !returned && !p.begun
				g.calls.CountCall(call)
			}
		}()
		next.ServeHTTP((*openWriter)(p), inner)
		returned = true
		p.settle(r)
	default:
		g.refuse(w, r, &d)
	}
}

// find finds the route of a request. It fails if p is nil.
func (p *policy) find(find finder, r *http.Request) (*route, failure) {
	if p == nil {
		return nil, unavailable(CatalogUnavailable, "products", nil)
	}
	return find(p, r)
}

// judge decides on a request. route and f are the result of p.find.
func (g *Gate) judge(r *http.Request, c *credentials, p *policy, route *route, f failure) decision {
	if !f.ok() {
		return decision{failure: f, route: route, credential: NoCredential}
	}
	op, reported, f := p.operation(r, route)
	if !f.ok() {
		return decision{failure: f, route: route, credential: NoCredential}
	}
	d := g.decide(r.Context(), c, p, route, op, g.cfg.Now())
	d.reported = reported.reason
	return d
}

// current is the policy of the catalog's newest snapshot; nil if there is none.
func (g *Gate) current() *policy {
	s := g.catalog.Snapshot()
	if s == nil {
		return nil
	}
	if p := g.policy.Load(); p != nil && p.snapshot == s {
		return p
	}
	p, old := g.compileSnapshot()
	useless := func(p *policy) bool { return p != nil && p.every.token && len(g.verifier.trust.Load().tenants) == 0 }
	if useless(p) && !useless(old) && g.cfg.Logger != nil {
		g.cfg.Logger.Warn("no token can pass: Config.Tenants is empty, and a product accepts tokens")
	}
	return p
}

// compileSnapshot compiles the newest snapshot to the current policy, unless
// another request just did. It also returns the policy before.
func (g *Gate) compileSnapshot() (p, old *policy) {
	g.compile.Lock()
	defer g.compile.Unlock()
	old = g.policy.Load()
	s := g.catalog.Snapshot()
	switch {
	case s == nil: // the catalog dropped its snapshot in the meantime
		return nil, old
	case old != nil && old.snapshot == s:
		return old, old
	}
	p = newPolicy(s, g.statics)
	g.policy.Store(p)
	return p, old
}

// DenyKeys stops trusting signing keys by their key IDs (kid), at once and for as
// long as the Gate exists. Use it for a key that is known to be compromised. Tokens
// of such a key are refused with 401, and their open responses end as [CancelPolicy]
// says. Without DenyKeys, the gate drops a key that the tenant no longer publishes
// after three answers without it, at most 75 minutes later.
func (g *Gate) DenyKeys(keyIDs ...string) error {
	g.tenants.Lock()
	defer g.tenants.Unlock()
	g.cfg.denied.add(keyIDs)
	var errs []error
	for _, tn := range g.verifier.trust.Load().tenants {
		for _, s := range tn.sources() {
			errs = append(errs, s.dropDenied())
		}
	}
	g.watcher.askAll()
	return errors.Join(errs...)
}

// Ready returns nil if the gate can decide on requests: at least one tenant has
// signing keys, no tenant has lost its keys because they are older than 24 hours,
// and in managed mode the catalog is ready. A tenant whose keys were never read, for
// example because its ID is wrong, does not count as long as another tenant has
// keys; its tokens are answered with 503. Ready waits for fetches that are under
// way, until the context ends. The error says what is missing.
func (g *Gate) Ready(ctx context.Context) error { return g.ready(ctx, ctx) }

// ready is Ready with a second context, wait, for the keys.
func (g *Gate) ready(ctx, wait context.Context) error {
	if r, ok := g.catalog.(ReadinessChecker); ok {
		if err := r.Ready(ctx); err != nil {
			return fmt.Errorf("middleware: catalog: %w", err)
		}
	}
	if g.catalog.Snapshot() == nil {
		return fmt.Errorf("middleware: catalog: no products yet")
	}
	return g.verifier.trust.Load().ready(wait)
}

// ReadyHandler returns a handler for readiness probes. It answers 200 if
// [Gate.Ready] would return nil at once, otherwise 503, with readiness and age of
// each tenant's keys as JSON. A tenant that uses remembered keys, because no fetch
// succeeded since the start, is ready and has "remembered": true. The handler does
// not wait for keys.
func (g *Gate) ReadyHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		type keys struct {
			Tenant     string `json:"tenant"`
			Ready      bool   `json:"ready"`
			AgeSeconds *int64 `json:"ageSeconds"` // null: there are no keys
			Remembered bool   `json:"remembered,omitzero"`
		}
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		doc := struct {
			Ready bool   `json:"ready"`
			Keys  []keys `json:"keys"`
		}{Ready: g.ready(r.Context(), ctx) == nil, Keys: []keys{}}
		for _, tn := range g.verifier.trust.Load().tenants {
			k := keys{Tenant: tn.id, Ready: tn.ready(ctx) == nil}
			if set := tn.keys.set.Load(); set != nil {
				age := int64(g.cfg.Now().Sub(set.fetched).Seconds())
				k.AgeSeconds = &age
			}
			k.Remembered = slices.ContainsFunc(tn.sources(), (*keySource).recalled)
			doc.Keys = append(doc.Keys, k)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !doc.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.MarshalWrite(w, doc)
	})
}
