package middleware

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// ChangeNotifier is an optional interface of a [Catalog] that reports changes, so that
// the gate ends open responses at once after a revocation. Changed returns a channel
// that is closed as soon as an answer of the catalog may have changed since the call of
// Changed. Without ChangeNotifier the gate checks once a second those open responses
// whose handlers listen to their context, flush or hijack the connection.
type ChangeNotifier interface {
	Changed() <-chan struct{}
}

const (
	watchTick   = 500 * time.Millisecond // between two checks of expiry
	watchPause  = 50 * time.Millisecond  // least time between two rounds of decisions
	watchTime   = 5 * time.Second        // longest time of one round
	watchAtOnce = 64                     // decisions at a time
)

// watcher holds the open responses, and ends those whose caller lost access. One
// goroutine decides on them again after a change; it sleeps while nothing is open.
type watcher struct {
	gate     *Gate
	notifier ChangeNotifier  // nil if the catalog is none
	news     <-chan struct{} // closed at the next change of the catalog; nil without notifier
	kick     chan struct{}   // wakes the goroutine

	// epoch counts changes. If a request was decided in an older epoch, the watcher
	// decides on it again when it is added.
	epoch atomic.Uint64

	mu    sync.Mutex
	first *passage
	count int
}

func newWatcher(g *Gate) *watcher {
	w := &watcher{gate: g, kick: make(chan struct{}, 1)}
	w.notifier, _ = g.catalog.(ChangeNotifier)
	w.news = w.changed() // before the first decision, so that no change is missed
	return w
}

func (w *watcher) add(p *passage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.next, p.watched = w.first, true
	if w.first != nil {
		w.first.prev = p
	}
	w.first = p
	w.count++
	if p.ask = p.epoch.Load() != w.epoch.Load(); p.ask || w.count == 1 {
		w.wake()
	}
}

func (w *watcher) remove(p *passage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(p)
}

// unlink removes a passage, unless it was removed before. The caller holds mu.
func (w *watcher) unlink(p *passage) {
	if !p.watched {
		return
	}
	if p.watched = false; p.prev == nil {
		w.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	}
	p.prev, p.next = nil, nil
	w.count--
}

// askAbout makes the goroutine decide on one passage again.
func (w *watcher) askAbout(p *passage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.ask = true
	w.wake()
}

// askAll makes the goroutine decide on all open responses again.
func (w *watcher) askAll() {
	w.epoch.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := w.first; p != nil; p = p.next {
		p.ask = true
	}
	w.wake()
}

func (w *watcher) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

func (w *watcher) run(ctx context.Context) {
	asked := time.Now()
	for {
		timer := time.NewTimer(watchTick)
		if w.idle() {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-w.news:
			w.news = w.changed() // before deciding, so that no change is missed
			w.askAll()
		case <-w.kick:
		case <-timer.C:
			if w.notifier == nil && w.gate.managed && time.Since(asked) >= 2*watchTick {
				w.askAll()
			}
		}
		timer.Stop()
		expired, questions := w.due(w.gate.cfg.Now())
		for _, p := range expired {
			w.end(p, credentialExpired(p), ErrCredentialExpired)
		}
		if len(questions) == 0 {
			continue
		}
		asked = time.Now()
		w.askEach(ctx, questions)
		pause := time.NewTimer(watchPause) // a busy store must not keep the gate busy
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// changed returns the channel that the catalog closes at its next change; nil if the
// catalog reports no changes.
func (w *watcher) changed() <-chan struct{} {
	if w.notifier == nil {
		return nil
	}
	return w.notifier.Changed()
}

func (w *watcher) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count == 0
}

// due returns the streams whose credential has expired, and the passages to decide on
// again.
func (w *watcher) due(now time.Time) (expired, questions []*passage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := w.first; p != nil; p = p.next {
		switch {
		case p.expired(now):
			expired = append(expired, p)
		case p.ask:
			p.ask = false
			questions = append(questions, p)
		}
	}
	return expired, questions
}

// askEach ends the passages whose requests would be refused now. It marks those that
// cannot be decided for the next round.
func (w *watcher) askEach(ctx context.Context, questions []*passage) {
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(watchAtOnce)
	for _, p := range questions {
		group.Go(func() error {
			d := w.gate.rejudge(ctx, p)
			switch {
			case d.status == http.StatusServiceUnavailable:
				w.mu.Lock()
				p.ask = true
				w.mu.Unlock()
			case !d.ok() && p.endable():
				w.end(p, d, ErrAccessRevoked)
			}
			return nil
		})
	}
	_ = group.Wait()
}

// end ends an open response. If another call has ended it, end does nothing, and over is
// set already.
func (w *watcher) end(p *passage, d *decision, cause error) {
	w.mu.Lock()
	open := p.watched
	if open {
		p.refusal = d
		p.over.Store(true)
		w.unlink(p)
	}
	w.mu.Unlock()
	if !open {
		return
	}
	p.end(cause)
	if w.gate.observer != nil {
		w.gate.observer.ended(p, d)
	}
}

// rejudge decides whether an allowed request would still be allowed now. It ignores
// that the token or key has expired in the meantime: expiry ends only streams.
func (g *Gate) rejudge(ctx context.Context, p *passage) *decision {
	d := &decision{credential: p.caller.kind(), caller: p.caller}
	policy := g.current()
	if policy == nil {
		d.failure = unavailable(CatalogUnavailable, "products", nil)
		return d
	}
	if d.route, d.failure = p.find(policy, p.request()); !d.ok() {
		return d
	}
	if d.op, _, d.failure = policy.operation(p.request(), d.route); !d.ok() {
		return d
	}
	switch {
	case p.caller.token != nil:
		if d.failure = g.verifier.keyStillTrusted(p.caller.token); d.ok() {
			d.failure = g.grants(ctx, p.caller.token, policy, d.route, d.op, d)
		}
	case p.caller.key != nil:
		d.failure = g.keyGrants(ctx, p.caller.key.hash, d.route, time.Time{}, d)
	default:
		d.failure = g.anonymous(d.route)
	}
	return d
}

// credentialExpired is the decision for a stream whose credential has expired.
func credentialExpired(p *passage) *decision {
	reason, field := TokenExpired, "exp"
	if p.caller.key != nil {
		reason, field = SubscriptionKeyInvalid, "subscription "+p.caller.key.SubscriptionID
	}
	d := &decision{credential: p.caller.kind(), caller: p.caller, route: &route{api: p.caller.api}}
	d.failure = unauthorized(reason, field, second(p.expires), "a credential that has not expired")
	return d
}
