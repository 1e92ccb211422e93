package tokenclient

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	firstPause = 500 * time.Millisecond
	longPause  = 30 * time.Second
	// maxRetryAfter is the longest Retry-After of a server that is followed.
	maxRetryAfter = time.Hour
	// outage is after how many failures in a row callers without a token no longer wait
	// for the next attempt.
	outage = 3
	// patience is the longest pause that a caller waits for.
	patience = 2 * time.Second
	// maxFetches is how many fetches of one client run at once.
	maxFetches = 8
)

// flight is one fetch, shared by all callers that wait for it.
type flight struct {
	source *Source
	claims string // requested claims; may be empty
	began  instant
	done   chan struct{} // closed when token, source and pauses are up to date
	token  *Token        // nil if it failed
}

// wait returns when the flight is over, or with ctx's error.
func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pause delays fetches after failures in a row. It is immutable. A nil pause delays
// nothing.
type pause struct {
	failures int
	from     instant
	length   time.Duration
	err      *Error
	probe    *flight // the attempt that runs after the pause; nil if none does
}

func (p *pause) remaining(now instant) time.Duration {
	if p == nil {
		return 0
	}
	return now.remaining(p.from, p.length)
}

// holds reports whether no fetch may begin now.
func (p *pause) holds(now instant) bool {
	return p != nil && (p.probe != nil || p.remaining(now) > 0)
}

// worthWaiting reports whether a caller without a token should wait until the pause is
// over: a retry may help, there were few failures, the pause is short, and the caller's
// deadline is later.
func (p *pause) worthWaiting(ctx context.Context, now instant) bool {
	left := p.remaining(now)
	if !p.err.Retryable || p.failures >= outage || left > patience {
		return false
	}
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) > left
}

// begin starts the fetch for s and returns its flight. Otherwise it returns what the
// caller has to wait for: the running flight of s, another source's probe, or the pause.
// It returns nil, nil if the source's token is no longer seen. waited is a pause that the
// caller has waited for: begin treats it as over.
func (c *Client) begin(s *Source, seen *snapshot, now instant, waited *pause) (*flight, *pause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.current.Load() != seen {
		return nil, nil
	}
	if f := s.flight.Load(); f != nil {
		return f, nil
	}
	if c.closed {
		return nil, &pause{err: &Error{Err: ErrClosed}}
	}
	shared, own := c.pause.Load(), s.pause.Load()
	for _, p := range []*pause{shared, own} {
		if p != nil && p.probe != nil {
			return p.probe, nil
		}
		if p != waited && p.remaining(now) > 0 {
			return nil, p
		}
	}
	f := &flight{source: s, claims: s.claims, began: now, done: make(chan struct{})}
	c.pause.Store(shared.probedBy(f))
	s.pause.Store(own.probedBy(f))
	s.flight.Store(f)
	c.active.Go(f.run)
	return f, nil
}

func (p *pause) probedBy(f *flight) *pause {
	if p == nil {
		return nil
	}
	probed := *p
	probed.probe = f
	return &probed
}

// run is the flight's goroutine. It waits for a slot and fetches, unless a pause has begun
// in the meantime. land is deferred, so that waiting callers continue even if a
// function of the Config panics or calls runtime.Goexit.
func (f *flight) run() {
	c := f.source.client
	var snap *snapshot
	err := &Error{Scope: f.source.scope, Err: errAborted}
	now := f.began
	defer func() { c.land(f, snap, err, now) }()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-c.life.Done():
		err.Err = ErrClosed
		return
	}
	aborted := err
	failed := guarded(func() error {
		if now = c.clock(); c.pausedFor(f, now) {
			err = nil
			return nil
		}
		snap, err = c.fetch(c.life, f.source.scope, f.claims)
		now = c.clock()
		return nil
	})
	if failed != nil {
		snap, err = nil, aborted
		err.Err = failed
	}
}

// pausedFor reports whether a pause delays f, other than the pause whose probe f is.
func (c *Client) pausedFor(f *flight, now instant) bool {
	for _, p := range []*pause{c.pause.Load(), f.source.pause.Load()} {
		if p != nil && p.probe != f && p.holds(now) {
			return true
		}
	}
	return false
}

// land publishes a flight's outcome: the token, or a pause. If snap and err are nil, the
// flight made no request.
func (c *Client) land(f *flight, snap *snapshot, err *Error, now instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(f.done)
	s := f.source
	s.flight.Store(nil)
	if err == nil && snap == nil {
		for _, brake := range []*atomic.Pointer[pause]{&c.pause, &s.pause} {
			if p := brake.Load(); p != nil && p.probe == f {
				brake.Store(p.probedBy(nil))
			}
		}
		return
	}
	if err == nil {
		f.token = snap.token
		if s.claims == f.claims {
			s.claims = ""
		}
		s.current.Store(snap)
		c.pause.Store(c.pause.Load().lifted(f))
		s.pause.Store(s.pause.Load().lifted(f))
		return
	}
	brake, other := &s.pause, &c.pause
	if err.concernsClient() {
		brake, other = &c.pause, &s.pause
	}
	brake.Store(brake.Load().after(f, err, now))
	if p := other.Load(); p != nil && p.probe == f {
		other.Store(p.probedBy(nil))
	}
}

// lifted returns the pause after f has succeeded: nil, or p if it began while f was
// running.
func (p *pause) lifted(f *flight) *pause {
	if p == nil || p.probe == f {
		return nil
	}
	return p
}

// after returns the pause that follows p when f has failed with err. If p began while f
// was running, both failures count as one, and the pause that ends later is used.
func (p *pause) after(f *flight, err *Error, now instant) *pause {
	next := &pause{failures: 1, from: now, err: err}
	same := p != nil && p.probe != f
	switch {
	case same:
		next.failures, next.probe = p.failures, p.probe
	case p != nil:
		next.failures = p.failures + 1
	}
	if err.timeout {
		next.failures = max(next.failures, outage) // callers have waited for Config.Timeout already
	}
	next.length = pauseLength(next.failures, err.RetryAfter)
	if same && p.remaining(now) >= next.length {
		return p
	}
	return next
}

// pauseLength doubles with each failure up to longPause. Up to half of it is subtracted at
// random, so that clients do not retry together. It is never below retryAfter.
func pauseLength(failures int, retryAfter time.Duration) time.Duration {
	full := min(longPause, firstPause<<min(failures-1, 10))
	d := full/2 + rand.N(full/2)
	if asked := min(retryAfter, maxRetryAfter); asked > 0 {
		d = max(d, asked+rand.N(asked/10+1))
	}
	return d
}
