package tokenclient

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	firstPause = 500 * time.Millisecond
	longPause  = 30 * time.Second
	// maxRetryAfter bounds what a server may ask for.
	maxRetryAfter = time.Hour
	// outage is the number of failures in a row from which on callers without a
	// token are no longer made to wait for the next attempt.
	outage = 3
	// patience is the longest pause that a caller is made to wait out.
	patience = 2 * time.Second
)

// flight is one fetch, shared by all who wait for it.
type flight struct {
	source *Source
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

// pause keeps fetches back after failures in a row. Immutable. A nil pause
// holds nothing back.
type pause struct {
	failures int
	from     instant
	length   time.Duration
	err      *Error
	probe    *flight // the one attempt that is made when the pause is over
}

func (p *pause) remaining(now instant) time.Duration {
	if p == nil {
		return 0
	}
	return now.remaining(p.from, p.length)
}

// holds reports whether nobody may begin a fetch now.
func (p *pause) holds(now instant) bool {
	return p != nil && (p.probe != nil || p.remaining(now) > 0)
}

// worthWaiting reports whether a caller without a token should wait the pause
// out: the trouble is young, a retry helps, and the caller's deadline is later.
func (p *pause) worthWaiting(ctx context.Context, now instant) bool {
	left := p.remaining(now)
	if !p.err.Retryable || p.failures >= outage || left > patience {
		return false
	}
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) > left
}

// begin makes the fetch for s start, or finds what to wait for instead: the
// flight under way for s, another source's probe, or the pause. It returns
// neither if the source's token is no longer the one that the caller saw. A
// pause that the caller has slept through counts as over, whatever the clock.
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
	f := &flight{source: s, done: make(chan struct{})}
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

var errAborted = errors.New("a credential function ended its goroutine")

// run is the flight's goroutine. The deferred landing also serves a credential
// function that calls runtime.Goexit, so that nobody waits forever.
func (f *flight) run() {
	c := f.source.client
	var snap *snapshot
	err := &Error{Scope: f.source.scope, Err: errAborted, credential: true}
	defer func() { c.land(f, snap, err) }()
	snap, err = c.fetch(c.life, f.source.scope)
}

// land makes a flight's outcome known: the token, or a pause.
func (c *Client) land(f *flight, snap *snapshot, err *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(f.done)
	s := f.source
	s.flight.Store(nil)
	if err == nil {
		f.token = snap.token
		s.current.Store(snap)
		c.pause.Store(c.pause.Load().lifted(f))
		s.pause.Store(s.pause.Load().lifted(f))
		return
	}
	brake, other := &s.pause, &c.pause
	if err.concernsClient() {
		brake, other = &c.pause, &s.pause
	}
	brake.Store(brake.Load().after(f, err, c.clock()))
	if p := other.Load(); p != nil && p.probe == f {
		other.Store(p.probedBy(nil))
	}
}

// lifted is the pause that is left when f has succeeded: none, unless it began
// while f was under way.
func (p *pause) lifted(f *flight) *pause {
	if p == nil || p.probe == f {
		return nil
	}
	return p
}

// after is the pause that follows p when f has failed with err. If p began
// while f was under way both met the same trouble: it is counted once, and the
// later end holds.
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
		next.failures = max(next.failures, outage) // it has been waited for long enough
	}
	next.length = pauseLength(next.failures, err.RetryAfter)
	if same && p.remaining(now) >= next.length {
		return p
	}
	return next
}

// pauseLength doubles with each failure, takes a random half off so that
// clients spread, and is never below retryAfter.
func pauseLength(failures int, retryAfter time.Duration) time.Duration {
	full := min(longPause, firstPause<<min(failures-1, 10))
	d := full/2 + rand.N(full/2)
	if asked := min(retryAfter, maxRetryAfter); asked > 0 {
		d = max(d, asked+rand.N(asked/10+1))
	}
	return d
}
