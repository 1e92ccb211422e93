package middleware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	keyRefresh     = time.Hour
	keyFetchTime   = 10 * time.Second // of one fetch
	maxKeySetBytes = 1 << 20
	firstRetry     = time.Second
	lastRetry      = 30 * time.Second
	maxWaiting     = 1024 // requests that wait for one tenant's keys
)

// keySource keeps the signing keys of one tenant. One goroutine fetches, at
// most once at a time and with a context of its own; a request only ever waits
// for it, and only if it brings a key ID that is not known. While fetching
// fails, that goroutine alone tries again, and known keys serve on for
// maxKeyAge.
type keySource struct {
	url      string
	client   *http.Client
	now      func() time.Time
	interval time.Duration // between fetches that requests cause
	wait     time.Duration // of one request for a fetch
	observed func(keySet *keySet, changed bool, err error)

	set     atomic.Pointer[keySet]
	kick    chan struct{}
	waiting atomic.Int32

	mu       sync.Mutex
	flight   chan struct{} // closed at the end of the fetch under way; nil if none is
	asked    bool          // a request caused the fetch under way
	askedAt  time.Time     // end of the last successful fetch that a request caused
	failures int           // in a row
	retryAt  time.Time     // when the next try follows, while failures > 0
	err      error         // of the last fetch
}

func newKeySource(addr string, c *Config) *keySource {
	return &keySource{
		url: addr, client: keyClient(c.HTTPClient), now: c.Now,
		interval: c.KeyInterval, wait: c.KeyWait,
		kick:   make(chan struct{}, 1),
		flight: make(chan struct{}), // run begins with a fetch
	}
}

// keyClient is a client that follows no redirect to another origin.
func keyClient(base *http.Client) *http.Client {
	c := &http.Client{}
	if base != nil {
		*c = *base
	}
	c.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		first := via[0].URL
		if len(via) > 3 || next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
			return errors.New("redirected to another origin")
		}
		return nil
	}
	return c
}

// errors that find returns.
var (
	errKeyUnknown      = errors.New("key not published")
	errKeysUnavailable = errors.New("keys unavailable")
)

// find returns the set that holds a key, waiting for a fetch if that may bring
// it. The error is errKeyUnknown, errKeysUnavailable or nil.
func (s *keySource) find(ctx context.Context, kid string) (*keySet, *signingKey, error) {
	if set, key := s.lookup(kid); key != nil {
		return set, key, nil
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > maxWaiting {
		return nil, nil, errKeysUnavailable
	}
	timer := time.NewTimer(s.wait)
	defer timer.Stop()
	for {
		flight, joined, err := s.ask(func() bool { _, key := s.lookup(kid); return key != nil })
		if err != nil {
			return nil, nil, err
		}
		select {
		case <-flight:
		case <-timer.C:
			return nil, nil, errKeysUnavailable
		case <-ctx.Done():
			return nil, nil, errKeysUnavailable
		}
		if set, key := s.lookup(kid); key != nil {
			return set, key, nil
		}
		if !joined {
			return nil, nil, s.missing()
		}
		// That fetch may have begun before the key was published.
	}
}

func (s *keySource) lookup(kid string) (*keySet, *signingKey) {
	set := s.current()
	if set == nil {
		return nil, nil
	}
	return set, set.keys[kid]
}

// missing says why a key is not there after a fetch.
func (s *keySource) missing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures > 0 || s.current() == nil {
		return errKeysUnavailable
	}
	return errKeyUnknown
}

// current is the set that is in use; nil if there is none or it is too old.
func (s *keySource) current() *keySet {
	set := s.set.Load()
	if set == nil || s.now().Sub(set.fetched) >= maxKeyAge {
		return nil
	}
	return set
}

// holds reports whether a key is still in use.
func (s *keySource) holds(kid string, k *signingKey) bool {
	set := s.current()
	return set != nil && set.keys[kid] == k
}

// ask begins a fetch, unless one is under way, what it is for is there by now,
// fetching fails at present or the last one that was asked for is too recent. It
// returns what to wait for, and whether that was begun by another.
func (s *keySource) ask(there func() bool) (flight <-chan struct{}, joined bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.flight != nil:
		return s.flight, true, nil
	case there(): // a fetch ended since the caller looked
		return noFlight, true, nil
	case s.failures > 0:
		return nil, false, errKeysUnavailable
	case s.current() != nil && !s.askedAt.IsZero() && s.now().Sub(s.askedAt) < s.interval:
		return nil, false, errKeyUnknown
	}
	s.flight, s.asked = make(chan struct{}), true
	s.kick <- struct{}{}
	return s.flight, false, nil
}

// noFlight is that of a fetch which ended.
var noFlight = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// run fetches until the context ends: at once, when asked, when the keys are
// an hour old, and again and again while that fails.
func (s *keySource) run(ctx context.Context) {
	defer s.end()
	for {
		timer := time.NewTimer(s.fetch(ctx))
		select {
		case <-s.kick:
		case <-timer.C:
			s.begin()
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// begin marks a fetch that the timer caused, unless a request just did.
func (s *keySource) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil {
		s.flight = make(chan struct{})
		return
	}
	<-s.kick // it is in the channel: ask sends under the lock
}

// end releases those who wait when the source is closed.
func (s *keySource) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures++
	s.err = errClosed
	if s.flight != nil {
		close(s.flight)
		s.flight = nil
	}
}

// fetch reads the keys once, publishes them or the failure, and says when to
// fetch again.
func (s *keySource) fetch(ctx context.Context) time.Duration {
	old := s.set.Load()
	set, err := s.read(ctx, old)
	changed := err == nil && !sameKeys(set, old)
	if s.observed != nil && ctx.Err() == nil { // told before they serve: a record that names them comes first
		s.observed(set, changed, err)
	}
	if err == nil {
		s.set.Store(set)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.record(err)
	close(s.flight)
	s.flight, s.asked = nil, false
	return next
}

func (s *keySource) record(err error) time.Duration {
	s.err = err
	if err == nil {
		s.failures = 0
		if s.asked {
			s.askedAt = s.now()
		}
		return jitter(keyRefresh)
	}
	next := jitter(min(firstRetry<<min(s.failures, 10), lastRetry))
	s.failures++
	s.retryAt = s.now().Add(next)
	return next
}

// jitter takes up to a tenth off, so that replicas do not ask all at once.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/10))
}

func sameKeys(a, b *keySet) bool {
	if b == nil || len(a.keys) != len(b.keys) {
		return false
	}
	for kid, k := range a.keys {
		if b.keys[kid] != k {
			return false
		}
	}
	return true
}

func (s *keySource) read(ctx context.Context, old *keySet) (*keySet, error) {
	ctx, cancel := context.WithTimeout(ctx, keyFetchTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("keys: %s answered %s", s.url, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySetBytes+1))
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", s.url, err)
	}
	if len(body) > maxKeySetBytes {
		return nil, fmt.Errorf("keys: %s: answered more than %d bytes", s.url, maxKeySetBytes)
	}
	set, err := parseKeySet(body, old, s.now())
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", s.url, err)
	}
	return set, nil
}

// What is behind errKeysUnavailable where no fetch has failed.
var (
	errFetching = errors.New("they are being fetched")
	errClosed   = errors.New("the gate is closed")
)

// cause is why there are no keys, or not those that are needed.
func (s *keySource) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return errFetching
	}
	return s.err
}

// ready waits for the first keys, or returns why there are none. It begins a
// fetch where those that there are have become too old unnoticed.
func (s *keySource) ready(ctx context.Context) error {
	for {
		if s.current() != nil {
			return nil
		}
		flight, _, err := s.ask(func() bool { return s.current() != nil })
		if err != nil {
			return fmt.Errorf("%w: %w", errKeysUnavailable, s.cause())
		}
		select {
		case <-flight:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errKeysUnavailable, ctx.Err())
		}
	}
}

// retryAfter is when asking again may help: at least a second.
func (s *keySource) retryAfter() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.retryAt.Sub(s.now()), time.Second)
}
