package middleware

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/go-json-experiment/json"
)

// Gate guards handlers. Make one with [New], share it among all handlers of a
// service, and close it when the service ends. It is safe for concurrent use.
type Gate struct {
	cfg      Config
	managed  bool
	catalog  Catalog
	uses     *uses               // nil: nobody wants to know
	statics  map[string]*Product // by ID, in static mode
	verifier *verifier
	observer *observer
	metadata string // URL of the protected-resource metadata

	compile sync.Mutex
	policy  atomic.Pointer[policy]

	stop    context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
}

// New checks a configuration and makes a Gate. It begins to fetch the signing
// keys and does not wait for them: requests that come first do, and
// [Gate.Ready] can. An error names the field that is wrong.
func New(c Config) (*Gate, error) {
	hosts, err := c.check()
	if err != nil {
		return nil, fmt.Errorf("middleware: %w", err)
	}
	g := &Gate{cfg: c, managed: c.Catalog != nil, catalog: c.Catalog, verifier: newVerifier(&c, hosts)}
	if !g.managed {
		g.catalog = newStatic(&c)
		g.statics = map[string]*Product{}
		for _, p := range g.cfg.Products {
			g.statics[p.ID] = &p
		}
	}
	g.uses = newUses(g.catalog)
	g.metadata = metadataURL(c.Resource)
	if g.observer, err = newObserver(&c, g.verifier); err != nil {
		return nil, fmt.Errorf("middleware: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	for _, tn := range g.verifier.tenants {
		g.running.Go(func() { tn.keys.run(ctx) })
	}
	return g, nil
}

// Close stops what the gate runs and waits for it. Afterwards the gate still
// decides, with the keys that it has.
func (g *Gate) Close() error {
	var err error
	g.closing.Do(func() {
		g.stop()
		g.running.Wait()
		err = g.observer.close()
	})
	return err
}

// Product guards a handler with one product: its audience, its role, its
// access. A key passes with the scope of the product or of all APIs; use
// [Gate.API] where keys of one API should pass. In static mode it panics on an
// ID that is not configured; in managed mode, where a product may come later,
// it answers 404 while the catalog has none of that ID, and logs that at Warn.
func (g *Gate) Product(id string) func(http.Handler) http.Handler {
	if !g.managed && g.current().single[id] == nil {
		panic(fmt.Sprintf("middleware: Gate.Product: %q is not among the configured products", id))
	}
	return g.guard(ofProduct(id))
}

// API guards a handler with the products that group an API, any of which may
// let a request pass. An unknown ID is treated as by [Gate.Product].
func (g *Gate) API(id string) func(http.Handler) http.Handler {
	if !g.managed && g.current().routes[id] == nil {
		panic(fmt.Sprintf("middleware: Gate.API: %q is not among the configured APIs", id))
	}
	return g.guard(ofAPI(id))
}

// Wrap guards a whole mux: the API is the one with the longest path that holds
// the request's, by whole segments of the URL path that the mux sees. Paths
// that two servers may read differently (dot segments, empty segments, encoded
// slashes, a parameter that begins with a semicolon where it would lead to
// another API) are refused with 400, those in no API, or in one of no product,
// with 404. Put nothing between gate and mux that changes the path. In static
// mode it panics where Config.APIs is empty.
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
	f := failure{reason: OperationNotFound, status: http.StatusNotFound, field: what, got: id}
	switch {
	case r == nil:
		f.want = "an ID of the configuration or the catalog"
	case len(r.products) == 0:
		f.want = "one that is in a product"
	default:
		return r, failure{}
	}
	return r, f
}

// guard makes the middleware of one way to find the route.
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
	c := g.find(r)
	untouched := r
	if c.keyInQuery && g.cfg.RedactKeyQuery {
		if g.cfg.ReportOnly {
			untouched = r.WithContext(r.Context())
		}
		redact(r, g.cfg.KeyQuery)
	}
	d := g.judge(r, &c, find)
	if g.uses != nil && d.ok() && d.caller.key != nil {
		g.uses.note(d.caller.key.SubscriptionID, g.cfg.Now())
	}
	if g.observer != nil {
		g.observer.observe(r, &d)
	}
	switch {
	case g.cfg.ReportOnly:
		next.ServeHTTP(w, g.principalOnly(untouched, &d))
	case d.ok():
		next.ServeHTTP(w, g.forward(r, &c, &d))
	default:
		g.refuse(w, r, &d)
	}
}

// judge decides on a request.
func (g *Gate) judge(r *http.Request, c *credentials, find finder) decision {
	p := g.current()
	if p == nil {
		return decision{failure: unavailable(CatalogUnavailable, "products", nil), credential: NoCredential}
	}
	route, f := find(p, r)
	if !f.ok() {
		return decision{failure: f, route: route, credential: NoCredential}
	}
	return g.decide(r.Context(), c, p, route, g.cfg.Now())
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
	useless := func(p *policy) bool { return p != nil && p.every.token && len(g.cfg.Tenants) == 0 }
	if useless(p) && !useless(old) && g.cfg.Logger != nil {
		g.cfg.Logger.Warn("no token can pass: Config.Tenants is empty, and a product accepts tokens")
	}
	return p
}

// compileSnapshot makes the newest snapshot the policy, unless another request
// just did. It returns the policy before as well.
func (g *Gate) compileSnapshot() (p, old *policy) {
	g.compile.Lock()
	defer g.compile.Unlock()
	old = g.policy.Load()
	s := g.catalog.Snapshot()
	switch {
	case s == nil: // too old by now
		return nil, old
	case old != nil && old.snapshot == s:
		return old, old
	}
	p = newPolicy(s, g.statics)
	g.policy.Store(p)
	return p, old
}

// Ready returns nil once requests can be decided: the keys of every tenant are
// there and not a day old, and in managed mode the catalog is ready. It waits
// for a fetch that is under way, until the context ends.
func (g *Gate) Ready(ctx context.Context) error { return g.ready(ctx, ctx) }

// ready takes a context of its own for waiting for keys.
func (g *Gate) ready(ctx, wait context.Context) error {
	if r, ok := g.catalog.(Readier); ok {
		if err := r.Ready(ctx); err != nil {
			return fmt.Errorf("middleware: catalog: %w", err)
		}
	}
	if g.catalog.Snapshot() == nil {
		return fmt.Errorf("middleware: catalog: no products yet")
	}
	for _, tn := range g.verifier.tenants {
		if err := tn.keys.ready(wait); err != nil {
			return fmt.Errorf("middleware: tenant %s: %w", tn.id, err)
		}
	}
	return nil
}

// ReadyHandler answers probes: 200 while [Gate.Ready] is nil, else 503, with
// the age of each tenant's keys as JSON. It waits for nothing.
func (g *Gate) ReadyHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		type keys struct {
			Tenant     string `json:"tenant"`
			AgeSeconds *int64 `json:"ageSeconds"` // null: there are none
		}
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		doc := struct {
			Ready bool   `json:"ready"`
			Keys  []keys `json:"keys"`
		}{Ready: g.ready(r.Context(), ctx) == nil, Keys: []keys{}}
		for _, tn := range g.verifier.tenants {
			k := keys{Tenant: tn.id}
			if set := tn.keys.set.Load(); set != nil {
				age := int64(g.cfg.Now().Sub(set.fetched).Seconds())
				k.AgeSeconds = &age
			}
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
