package tokenclient

import (
	"context"
	"sync/atomic"
	"time"
)

// forcedEvery is how often a refused token may force a fetch.
const forcedEvery = 30 * time.Second

// Source gives the tokens of one scope of one client. Make it with
// [Client.Source]. Safe for concurrent use.
type Source struct {
	current atomic.Pointer[snapshot]
	client  *Client
	scope   string
	refused *Error // the scope cannot be used

	flight atomic.Pointer[flight] // written under client.mu
	pause  atomic.Pointer[pause]  // written under client.mu
	forced *instant               // under client.mu: the last forced refresh
}

// Token returns a token that is valid now. If one is kept, it is returned at
// once, whatever the context. Otherwise the call waits for the fetch that all
// callers share, until ctx ends or, without a deadline, until the third attempt
// has failed: about three times Config.Timeout, twice that with a Fallback. The
// token is shared and immutable.
//
// Every error is an [*Error]; one that is due to ctx wraps ctx.Err().
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

// Scope is what the source was made for.
func (s *Source) Scope() string { return s.scope }

// Invalidate says that a server refused t as invalid. If t is the token that
// the source hands out, the next call of Token gets a new one; another token,
// such as one that was replaced already, changes nothing. To keep a server that
// refuses every token from causing a storm, this works at most once in 30
// seconds; the result tells whether Token will now give another one than t.
//
// A refused token is not forgotten: if no new one can be had it is served until
// it expires, because other servers may still take it.
//
// [Transport] does this for HTTP; it is for protocols that say it otherwise.
func (s *Source) Invalidate(t *Token) bool {
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
	s.forced = &now
	s.current.Store(&snapshot{token: snap.token, from: snap.from, refresh: snap.refresh, life: snap.life, rejected: true})
	return true
}

// obtain is Token when the kept token is not fresh.
func (s *Source) obtain(ctx context.Context) (*Token, error) {
	if s.refused != nil {
		return nil, s.refused
	}
	var waited *pause // slept through by this caller
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
				return f.token, nil // however short its life: the next would be no better
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

// troubled reports whether the last fetch failed: then nobody who has a token
// left waits for the next.
func (s *Source) troubled() bool { return s.client.pause.Load() != nil || s.pause.Load() != nil }

// refresh starts a fetch in the background unless one is under way or has to
// wait. The two looks before begin keep an outage free of locks.
func (s *Source) refresh(snap *snapshot, now instant) {
	if s.flight.Load() != nil || s.client.pause.Load().holds(now) || s.pause.Load().holds(now) {
		return
	}
	s.client.begin(s, snap, now, nil)
}

// interrupted is the error of a caller whose context ended first.
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
	lastResort              // nearly over, or refused by a server: only if no other can be had
	stale                   // usable, but refresh in the background
	fresh
)

// snapshot is a token with everything that Token needs to know of it. Immutable
// but for its glance.
type snapshot struct {
	glance   glance
	token    *Token
	from     instant // before its request was sent
	refresh  time.Duration
	life     time.Duration
	rejected bool
}

// fresh is stage(now) == fresh, as cheap as can be: it is the hot path.
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

// margin is the end of a token's life in which it is no longer handed out
// gladly: it has to reach its server, whose clock may differ.
func margin(life time.Duration) time.Duration { return min(10*time.Second, life/10) }
