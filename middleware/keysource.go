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

	"github.com/entragate/entragate/internal/wait"
)

const (
	keyRefresh     = time.Hour
	missingRefresh = 5 * time.Minute  // while a key in use was missing in the last answer
	keyFetchTime   = 10 * time.Second // of one fetch
	maxKeySetBytes = 1 << 20
	firstRetry     = time.Second
	lastRetry      = 30 * time.Second
	longestRetry   = 10 * time.Minute // longest Retry-After of the endpoint that is followed
	maxWaiting     = 1024             // requests that wait for one tenant's keys
)

// keySource keeps the signing keys of one key endpoint. One goroutine fetches them.
// A request waits for a fetch only if its token has an unknown key ID. While fetches
// fail, only that goroutine retries, and the known keys are used for maxKeyAge.
type keySource struct {
	url      string
	client   *http.Client
	now      func() time.Time
	denied   *denials
	interval time.Duration // Config.KeyInterval
	patience time.Duration // Config.KeyWait
	memory   KeyMemory     // nil: keys are not remembered
	tenant   string
	observer *observer // may be nil
	changed  func()    // called after the set has changed; may be nil

	set         atomic.Pointer[keySet]
	kick        chan struct{}
	waiting     atomic.Int32
	remembering atomic.Bool

	mu       sync.Mutex
	flight   chan struct{} // closed at the end of the current fetch; nil between fetches
	failures int           // in a row
	retryAt  time.Time     // when the next try follows, while failures > 0
	err      error         // of the last fetch
}

func newKeySource(addr string, c *Config) *keySource {
	return &keySource{
		url: addr, client: keyClient(c.HTTPClient), now: c.Now,
		denied: c.denied, interval: c.KeyInterval, patience: c.KeyWait, memory: c.memory,
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

// The errors that find returns.
var (
	errKeyUnknown      = errors.New("key not published")
	errKeysUnavailable = errors.New("keys unavailable")
)

// find returns a key and the set that holds it. If the key is unknown, it waits for
// a fetch. The error is errKeyUnknown, errKeysUnavailable or nil.
func (s *keySource) find(ctx context.Context, kid string) (*keySet, *signingKey, error) {
	if set, key := s.lookup(kid); key != nil {
		return set, key, nil
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > maxWaiting {
		return nil, nil, errKeysUnavailable
	}
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	flight, err := s.ask(kid)
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
	return nil, nil, s.missing()
}

func (s *keySource) lookup(kid string) (*keySet, *signingKey) {
	set := s.current()
	if set == nil {
		return nil, nil
	}
	return set, set.keys[kid]
}

// missing returns why a key is still unknown after a fetch.
func (s *keySource) missing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if set := s.current(); s.failures > 0 || set == nil || set.remembered {
		return errKeysUnavailable
	}
	return errKeyUnknown
}

// current returns the set that is in use; nil if there is none or it is too old.
func (s *keySource) current() *keySet {
	set := s.set.Load()
	if set == nil || s.now().Sub(set.fetched) >= maxKeyAge {
		return nil
	}
	return set
}

// recalled reports whether the keys in use are remembered ones.
func (s *keySource) recalled() bool {
	set := s.current()
	return set != nil && set.remembered
}

// holds reports whether a key is still in use.
func (s *keySource) holds(kid string, k *signingKey) bool {
	set := s.current()
	return set != nil && set.keys[kid] == k
}

// ask starts a fetch for a key, or for any keys if kid is empty, and returns the
// channel that is closed when the fetch is over. If a fetch is under way, ask returns
// its channel. It starts no fetch for a denied key, after a failed fetch (the
// goroutine retries), and within the interval after a successful one.
func (s *keySource) ask(kid string) (flight <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.current()
	switch {
	case s.denied.has(kid):
		return nil, errKeyUnknown
	case s.flight != nil:
		return s.flight, nil
	case set != nil && (kid == "" || set.keys[kid] != nil): // a fetch has ended in the meantime
		return noFlight, nil
	case s.failures > 0:
		return nil, errKeysUnavailable
	case set != nil && s.now().Sub(set.fetched) < s.interval:
		return nil, errKeyUnknown
	}
	s.flight = make(chan struct{})
	s.kick <- struct{}{}
	return s.flight, nil
}

// dropDenied drops the keys that were denied since the set was published.
func (s *keySource) dropDenied() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.publish(s.set.Load())
}

// publish makes set, without denied keys, the set in use. The caller holds mu.
func (s *keySource) publish(set *keySet) error {
	if set == nil {
		return nil
	}
	set, err := set.without(s.denied)
	if err == nil {
		s.set.Store(set)
	}
	return err
}

// noFlight is a closed channel: there is nothing to wait for.
var noFlight = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// run fetches the keys until the context ends: at once, when ask requests it, every
// hour, and repeatedly while fetches fail.
func (s *keySource) run(ctx context.Context) {
	defer s.end()
	var remembering sync.WaitGroup
	defer remembering.Wait()
	for {
		next := s.fetch(ctx)
		if s.remembering.CompareAndSwap(false, true) { // skip if the last write still runs
			remembering.Go(func() {
				defer s.remembering.Store(false)
				s.remember(ctx)
			})
		}
		timer := time.NewTimer(next)
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

// begin registers a fetch that the timer starts, unless ask registered one in the
// meantime.
func (s *keySource) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil {
		s.flight = make(chan struct{})
		return
	}
	<-s.kick // does not block: ask sends while it holds mu
}

// end releases waiting requests when the source is closed.
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

// fetch reads the keys once, publishes the keys or the failure, and returns the time
// until the next fetch.
func (s *keySource) fetch(ctx context.Context) time.Duration {
	ended := s.recallWhile(ctx)
	set, err := s.read(ctx)
	ended(err)
	changed := err == nil && !sameKeys(set, s.set.Load())
	if ctx.Err() == nil { // before publish, so that the log names keys before they are used
		s.observer.fetched(s.tenant, set, changed, err)
	}
	if changed && s.changed != nil {
		defer s.changed()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = s.publish(set)
	}
	next := s.record(set, err)
	close(s.flight)
	s.flight = nil
	return next
}

// record stores the outcome of a fetch and returns the time until the next one.
func (s *keySource) record(set *keySet, err error) time.Duration {
	s.err = err
	switch {
	case err == nil && len(set.missing) > 0:
		s.failures = 0
		return jitter(missingRefresh)
	case err == nil:
		s.failures = 0
		return jitter(keyRefresh)
	}
	next := jitter(min(firstRetry<<min(s.failures, 10), lastRetry))
	var refused *keysRefused
	if errors.As(err, &refused) {
		next = max(next, min(refused.retryAfter, longestRetry))
	}
	s.failures++
	s.retryAt = s.now().Add(next)
	return next
}

// jitter shortens d by up to a tenth, so that replicas do not fetch at the same time.
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

func (s *keySource) read(ctx context.Context) (*keySet, error) {
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
		return nil, &keysRefused{s.url, resp.Status, wait.RetryAfter(resp.Header, s.now())}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySetBytes+1))
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", s.url, err)
	}
	if len(body) > maxKeySetBytes {
		return nil, fmt.Errorf("keys: %s: the answer has more than %d bytes", s.url, maxKeySetBytes)
	}
	old := s.set.Load()
	if old != nil && old.remembered {
		old = nil // the first answer replaces remembered keys completely
	}
	set, err := parseKeySet(body, old, s.now())
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", s.url, err)
	}
	return set, nil
}

// keysRefused is an answer of the key endpoint with another status than 200.
type keysRefused struct {
	url, status string
	retryAfter  time.Duration // 0 if the answer has no Retry-After
}

func (e *keysRefused) Error() string { return "keys: " + e.url + " answered " + e.status }

// The causes of errKeysUnavailable if no fetch has failed.
var (
	errFetching = errors.New("the keys are being fetched")
	errClosed   = errors.New("the gate is closed")
)

// cause is why the needed keys are unavailable.
func (s *keySource) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return errFetching
	}
	return s.err
}

// ready waits for usable keys, or returns why there are none. It starts a fetch if
// the keys have become too old.
func (s *keySource) ready(ctx context.Context) error {
	for {
		if s.current() != nil {
			return nil
		}
		flight, err := s.ask("")
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

// retryAfter is the time until a retry may succeed: at least a second.
func (s *keySource) retryAfter() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.retryAt.Sub(s.now()), time.Second)
}
