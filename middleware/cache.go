package middleware

import (
	"sync/atomic"
	"time"
)

// cache stores the claims of verified tokens, never a decision. It finds a token by
// the SHA-256 of its signature and by its signed part, byte for byte: without the
// signature, an entry is not a usable bearer token. The table has a fixed size and
// eight places for each hash, so that memory is bounded and reading takes no lock.
type cache struct {
	sets []cacheSet
}

type cacheSet [8]atomic.Pointer[checked]

// checked is a token whose signature, issuer and form were verified.
type checked struct {
	sum    [32]byte // of the signature
	signed string   // header and claims; a copy, which keeps no request alive
	token  *token
	tenant *tenant
	keys   *keySource // that the key is from
	key    *signingKey
	until  int64       // Unix second from which on the token must be verified again
	used   atomic.Bool // read since victim last looked at it
}

func (e *checked) is(sum *[32]byte, signed string) bool {
	return e.sum == *sum && e.signed == signed
}

// newCache makes a cache for at most size tokens, but at least eight. It returns
// nil, an empty cache, if size is not positive.
func newCache(size int) *cache {
	if size <= 0 {
		return nil
	}
	n := 1
	for 2*n*len(cacheSet{}) <= size {
		n *= 2
	}
	return &cache{sets: make([]cacheSet, n)}
}

func (c *cache) at(sum *[32]byte) *cacheSet {
	i := uint32(sum[0]) | uint32(sum[1])<<8 | uint32(sum[2])<<16
	return &c.sets[int(i)&(len(c.sets)-1)]
}

// get finds a token that is still valid at now.
func (c *cache) get(sum *[32]byte, signed string, now time.Time) *checked {
	if c == nil {
		return nil
	}
	set := c.at(sum)
	for i := range set {
		e := set[i].Load()
		if e == nil || !e.is(sum, signed) {
			continue
		}
		if now.Unix() >= e.until {
			set[i].CompareAndSwap(e, nil)
			return nil
		}
		if !e.used.Load() { // written once, so that readers do not contend
			e.used.Store(true)
		}
		return e
	}
	return nil
}

// put stores a token. It replaces an entry of the same token, an empty or expired
// entry, or one that was not used recently.
func (c *cache) put(e *checked, now time.Time) {
	if c == nil || now.Unix() >= e.until {
		return
	}
	set := c.at(&e.sum)
	place := -1
	for i := range set {
		old := set[i].Load()
		switch {
		case old != nil && old.is(&e.sum, e.signed):
			set[i].Store(e)
			return
		case old == nil || now.Unix() >= old.until:
			place = i
		}
	}
	if place < 0 {
		place = set.victim(int(e.sum[3]))
	}
	set[place].Store(e)
}

// victim picks a place that was not used since the last search, starting at from,
// and clears the mark of the places that it passes.
func (s *cacheSet) victim(from int) int {
	for i := range s {
		n := (from + i) % len(s)
		if e := s[n].Load(); e == nil || !e.used.Swap(false) {
			return n
		}
	}
	return from % len(s)
}

// drop removes a token.
func (c *cache) drop(e *checked) {
	set := c.at(&e.sum)
	for i := range set {
		set[i].CompareAndSwap(e, nil)
	}
}

func (c *cache) len() int {
	if c == nil {
		return 0
	}
	n := 0
	for i := range c.sets {
		for j := range c.sets[i] {
			if c.sets[i][j].Load() != nil {
				n++
			}
		}
	}
	return n
}
