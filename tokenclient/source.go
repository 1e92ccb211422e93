package tokenclient

import (
	"context"
	"sync/atomic"
	"time"
)

// forcedEvery is the least time between two fetches that refused tokens cause.
const forcedEvery = 30 * time.Second

// Source returns the tokens of one scope of one client. Make it with [Client.Source]. It
// is safe for concurrent use.
type Source struct {
	current atomic.Pointer[snapshot]
	client  *Client
	scope   string
	refused *Error // set if the scope cannot be used

	flight atomic.Pointer[flight] // written under client.mu
	pause  atomic.Pointer[pause]  // written under client.mu
	forced *instant               // under client.mu: the last forced refresh
	claims string                 // under client.mu: claims that an API asked for
}

// Token returns a token that is valid now. If the Source has a fresh token, Token returns
// it at once, even if ctx has ended. Otherwise Token waits for the fetch that all callers
// share, until ctx ends or, without a deadline, until the third attempt has failed: about
// three times Config.Timeout, twice that with a Fallback. Several callers get the same
// immutable token.
//
// Every error is an [*Error]. If ctx ended first, it wraps ctx.Err().
func (s *Source) Token(ctx context.Context) (*Token, error) {
	if snap := s.current.Load(); snap != nil {
		if snap.glance.recent() {
			return snap.token, nil
		}
		if now := s.client.clock(); snap.fresh(now) {
			if s.client.realTime {
				snap.glance.remember(now)
			}
			return snap.token, nil
		}
	}
	return s.obtain(ctx)
}

// Scope returns the scope of the source.
func (s *Source) Scope() string { return s.scope }

// Invalidate reports to the source that a server refused t as invalid. If t is the
// source's current token, the next call of Token fetches a new one. If t was replaced
// already, Invalidate changes nothing. It causes at most one fetch in 30 seconds, so that
// a server that refuses every token does not cause a fetch for each call. It returns
// whether Token will try to return another token than t.
//
// If no new token can be fetched, Token returns t until it expires, because other servers
// may still accept it.
//
// [Transport] calls Invalidate for HTTP. Call it yourself for other protocols.
func (s *Source) Invalidate(t *Token) bool { return s.invalidate(t, "") }

// invalidate is Invalidate. The next fetch requests claims, if claims is not empty.
func (s *Source) invalidate(t *Token, claims string) bool {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	snap, now := s.current.Load(), c.clock()
	if snap == nil || snap.token != t {
		return true
	}
	if snap.rejected {
		return true
	}
	if s.forced != nil && now.remaining(*s.forced, forcedEvery) > 0 {
		return false
	}
	s.forced, s.claims = &now, claims
	s.current.Store(&snapshot{token: snap.token, from: snap.from, refresh: snap.refresh, life: snap.life, rejected: true})
	return true
}

// obtain is the slow path of Token.
func (s *Source) obtain(ctx context.Context) (*Token, error) {
	if s.refused != nil {
		return nil, s.refused
	}
	var waited *pause // the pause that this call has waited for
	for {
		snap, now := s.current.Load(), s.client.clock()
		stage := snap.stage(now)
		switch {
		case stage == fresh:
			return snap.token, nil
		case stage == stale, stage == lastResort && s.troubled():
			s.refresh(snap, now)
			return snap.token, nil
		case ctx.Err() != nil:
			return nil, s.interrupted(ctx)
		}
		f, p := s.client.begin(s, snap, now, waited)
		var err error
		switch {
		case f != nil:
			if err = f.wait(ctx); err == nil && f.source == s && f.token != nil {
				return f.token, nil // even if its life is short: another one would not be better
			}
		case p != nil && stage == lastResort:
			return snap.token, nil
		case p != nil && p.worthWaiting(ctx, now):
			err, waited = s.client.sleep(ctx, p.remaining(now)), p
		case p != nil:
			return nil, p.err.forScope(s.scope)
		}
		if err != nil {
			return nil, s.interrupted(ctx)
		}
	}
}

// troubled reports whether the last fetch failed. Then a caller does not wait for the next
// fetch while there is a valid token.
func (s *Source) troubled() bool { return s.client.pause.Load() != nil || s.pause.Load() != nil }

// refresh starts a fetch in the background, unless one is running or a pause delays it. It
// checks this before begin, so that calls during an outage take no lock.
func (s *Source) refresh(snap *snapshot, now instant) {
	if s.flight.Load() != nil || s.client.pause.Load().holds(now) || s.pause.Load().holds(now) {
		return
	}
	s.client.begin(s, snap, now, nil)
}

// interrupted returns the error for a caller whose context ended first.
func (s *Source) interrupted(ctx context.Context) *Error {
	return &Error{
		Scope: s.scope, Err: ctx.Err(), Retryable: true,
		Advice: "the caller's context ended first; the fetch goes on for other callers",
	}
}

// stage of a token's life.
type stage int

const (
	dead       stage = iota // never use
	lastResort              // nearly expired, or refused by a server: only if there is no new one
	stale                   // usable, but refresh in the background
	fresh
)

// snapshot is a token with its times. It is immutable except for its glance.
type snapshot struct {
	glance   glance
	token    *Token
	from     instant // before its request was sent
	refresh  time.Duration
	life     time.Duration
	rejected bool
}

// fresh reports whether stage(now) is fresh. It is the fast path of Token.
func (n *snapshot) fresh(now instant) bool {
	age, back := now.since(n.from)
	return age < n.refresh && !back && !n.rejected
}

func (n *snapshot) stage(now instant) stage {
	if n == nil {
		return dead
	}
	age, _ := now.since(n.from)
	switch {
	case age >= n.life:
		return dead
	case n.rejected || age >= n.life-margin(n.life):
		return lastResort
	case !n.fresh(now):
		return stale
	}
	return fresh
}

// margin is the last part of a token's life, in which a new token is preferred: the token
// has to reach a server whose clock may differ.
func margin(life time.Duration) time.Duration { return min(10*time.Second, life/10) }
