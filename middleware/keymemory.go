package middleware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/wait"
)

// KeyMemory is an optional interface of a [Catalog] that stores the signing keys
// that a gate fetched, for a gate that starts while the key endpoint is
// unreachable. Both methods must return soon after their context ends.
type KeyMemory interface {
	// SigningKeys returns the stored keys of a key endpoint. The error is
	// [appaccess.ErrNotFound] if there are none.
	SigningKeys(ctx context.Context, url string) (appaccess.SigningKeys, error)
	// RememberSigningKeys stores the keys of the endpoint keys.URL. It keeps stored
	// keys that were fetched later.
	RememberSigningKeys(ctx context.Context, keys appaccess.SigningKeys) error
}

const (
	recallAfter   = 2 * time.Second // less than Config.KeyWait, so that requests can still pass
	rememberEvery = 3 * time.Hour   // where the keys have not changed
	memoryTimeout = 5 * time.Second
	maxRemembered = 256 << 10       // bytes of one key set
	maxClockSkew  = 5 * time.Minute // between replicas
)

// newKeyMemory returns the KeyMemory of a configuration; nil if there is none.
func newKeyMemory(c *Config) KeyMemory {
	if c.KeyFile != "" {
		return newKeyFile(c.KeyFile, c.Now)
	}
	m, _ := c.Catalog.(KeyMemory)
	return m
}

// recallWhile is called when a fetch begins. If there are no keys, and the fetch
// fails or takes longer than recallAfter, it uses the remembered keys. The caller
// must call ended with the outcome of the fetch.
func (s *keySource) recallWhile(ctx context.Context) (ended func(error)) {
	if s.memory == nil || s.current() != nil {
		return func(error) {}
	}
	ctx, cancel := context.WithCancel(ctx)
	failed := make(chan struct{})
	var recall sync.WaitGroup
	recall.Go(func() {
		if wait.ForEvent(ctx, failed, recallAfter) == nil && ctx.Err() == nil {
			s.recall(ctx)
		}
	})
	return func(err error) {
		defer cancel()
		if err == nil {
			cancel()
		} else {
			close(failed)
		}
		recall.Wait()
	}
}

// recall reads the remembered keys and uses them, unless there are keys by then.
func (s *keySource) recall(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, memoryTimeout)
	defer cancel()
	set, err := s.remembered(ctx)
	if errors.Is(err, appaccess.ErrNotFound) || errors.Is(err, context.Canceled) {
		return
	}
	if last := s.set.Load(); err == nil && last != nil && set.fetched.Before(last.fetched) {
		return // this gate has fetched newer keys; the remembered ones may hold a withdrawn key
	}
	s.observer.recalled(s.tenant, set, err)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current() != nil || s.publish(set) != nil {
		return
	}
	close(s.flight) // requests that wait for the fetch look for their key again
	s.flight = make(chan struct{})
}

// remembered reads the remembered keys. It refuses keys that are too old or of
// another endpoint.
func (s *keySource) remembered(ctx context.Context) (*keySet, error) {
	keys, err := s.memory.SigningKeys(ctx, s.url)
	if err != nil {
		return nil, err
	}
	now := s.now()
	switch age := now.Sub(keys.Fetched); {
	case keys.URL != s.url:
		return nil, fmt.Errorf("the keys are of %s, expected %s", keys.URL, s.url)
	case len(keys.Keys) > maxRemembered:
		return nil, fmt.Errorf("%d bytes: at most %d are allowed", len(keys.Keys), maxRemembered)
	case age >= maxKeyAge:
		return nil, fmt.Errorf("fetched at %s, which is too long ago: they can be used for %s", second(keys.Fetched), maxKeyAge)
	case age < -maxClockSkew:
		return nil, fmt.Errorf("fetched at %s, which is in the future", second(keys.Fetched))
	}
	set, err := parseKeySet(keys.Keys, nil, earlier(keys.Fetched, now))
	if err != nil {
		return nil, err
	}
	set.remembered = true
	return set, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// remember stores the keys of the last fetch, unless the memory holds the same keys
// and they were fetched less than rememberEvery ago. So one of many replicas writes,
// every few hours.
func (s *keySource) remember(ctx context.Context) {
	set := s.set.Load()
	if s.memory == nil || set == nil || set.remembered {
		return
	}
	doc, err := set.answer()
	if err == nil && len(doc) > maxRemembered {
		err = fmt.Errorf("%d bytes: at most %d are allowed", len(doc), maxRemembered)
	}
	if err == nil && doc != nil {
		ctx, cancel := context.WithTimeout(ctx, memoryTimeout)
		defer cancel()
		if known, err := s.remembered(ctx); err == nil && set.fetched.Sub(known.fetched) < rememberEvery {
			if old, err := known.answer(); err == nil && bytes.Equal(doc, old) {
				return
			}
		}
		err = s.memory.RememberSigningKeys(ctx, appaccess.SigningKeys{URL: s.url, Fetched: set.fetched.UTC(), Keys: doc})
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		s.observer.notRemembered(s.tenant, err)
	}
}

// answer is the key set as JSON, sorted by key ID; nil if it is empty. Keys that
// were missing in the endpoint's last answer are left out: they may be withdrawn.
func (s *keySet) answer() ([]byte, error) {
	var keys []publishedKey
	for _, kid := range slices.Sorted(maps.Keys(s.keys)) {
		if _, ok := s.missing[kid]; ok {
			continue
		}
		k := s.keys[kid]
		m := k.jwk.Marshal()
		keys = append(keys, publishedKey{KTY: string(m.KTY), ALG: string(m.ALG), KID: kid, N: m.N, E: m.E, Issuer: k.issuer})
	}
	if keys == nil {
		return nil, nil
	}
	return json.Marshal(map[string][]publishedKey{"keys": keys})
}

// publishedKey is the stored form of a key.
type publishedKey struct {
	KTY    string `json:"kty"`
	ALG    string `json:"alg,omitempty"`
	KID    string `json:"kid"`
	N      string `json:"n"`
	E      string `json:"e"`
	Issuer string `json:"issuer,omitempty"`
}
