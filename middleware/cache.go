package middleware

import (
	"sync/atomic"
	"time"
)

// cache remembers checked tokens: verified claims, never a decision. A token is
// found by the SHA-256 of its signature and by its signed part, byte for byte,
// so that what is kept is no bearer token. It is a table of fixed size, eight
// places for each sum, so that its memory is bounded and reading takes no lock.
type cache struct {
	sets []cacheSet
}

type cacheSet [8]atomic.Pointer[checked]

// checked is a token whose signature, issuer and form were verified.
type checked struct {
	sum    [32]byte // of the signature
	signed string   // header and claims, no part of the request's
	token  *token
	tenant *tenant
	key    *signingKey
	until  int64       // second from which on it must be checked anew
	used   atomic.Bool // since a place was last sought
}

func (e *checked) is(sum *[32]byte, signed string) bool {
	return e.sum == *sum && e.signed == signed
}

// newCache makes a cache of at most size tokens, but eight; nil for none.
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

// get finds a token that need not be checked anew before now.
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

// put remembers a token in the place of itself, an empty or expired one, or
// one that was not used of late.
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

// victim picks a place that was not used since the last time, beginning
// anywhere, and takes the mark off those that it passes.
func (s *cacheSet) victim(from int) int {
	for i := range s {
		n := (from + i) % len(s)
		if e := s[n].Load(); e == nil || !e.used.Swap(false) {
			return n
		}
	}
	return from % len(s)
}

// drop forgets a token.
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
