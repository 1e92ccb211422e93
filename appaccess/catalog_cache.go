package appaccess

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// recordRef stands for a record, in little memory. That two records have the
// same is rare, and does no harm: one is forgotten with the other.
type recordRef uint64

var refSeed = maphash.MakeSeed()

func refTo(kind Kind, id string) recordRef {
	var h maphash.Hash
	h.SetSeed(refSeed)
	_, _ = h.WriteString(string(kind))
	_ = h.WriteByte('/')
	_, _ = h.WriteString(id)
	return recordRef(h.Sum64())
}

// cache remembers values within a bound, and forgets those that were made from
// a record. Which one makes room is decided by the clock algorithm: one that
// was not asked for since the hand last passed. A hit takes a shared lock on
// one of the shards and writes nothing but, once a round, one bit.
type cache[K comparable, V any] struct {
	hash   func(K) uint64
	shards [cacheShards]cacheShard[K, V]
}

const cacheShards = 16

type cacheShard[K comparable, V any] struct {
	mu      sync.RWMutex
	size    int
	entries map[K]*cacheEntry[K, V]
	ring    []*cacheEntry[K, V] // with holes where entries were forgotten
	hand    int
	holes   []int
	madeOf  map[recordRef][]*cacheEntry[K, V]
	hits    atomic.Int64
	_       [64]byte // shards share no cache line
}

type cacheEntry[K comparable, V any] struct {
	key   K
	value V
	refs  []recordRef
	slot  int
	used  atomic.Bool
}

func (c *cache[K, V]) init(size int, hash func(K) uint64) {
	c.hash = hash
	for i := range c.shards {
		c.shards[i].size = (size + cacheShards - 1) / cacheShards
		c.shards[i].clear()
	}
}

func (c *cache[K, V]) shard(k K) *cacheShard[K, V] { return &c.shards[c.hash(k)%cacheShards] }

// get returns what is remembered of a key, not to be changed, or nil.
func (c *cache[K, V]) get(k K) *V {
	s := c.shard(k)
	s.mu.RLock()
	e := s.entries[k]
	s.mu.RUnlock()
	if e == nil {
		return nil
	}
	if !e.used.Load() {
		e.used.Store(true)
	}
	s.hits.Add(1)
	return &e.value
}

// put remembers a value that was made from the records refs.
func (c *cache[K, V]) put(k K, v V, refs []recordRef) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.entries[k]; old != nil {
		s.remove(old)
	}
	if s.size == 0 {
		return
	}
	e := &cacheEntry[K, V]{key: k, value: v, refs: refs, slot: s.freeSlot()}
	s.ring[e.slot] = e
	s.entries[k] = e
	for _, r := range refs {
		s.madeOf[r] = append(s.madeOf[r], e)
	}
}

// forget drops what was made from a record.
func (c *cache[K, V]) forget(r recordRef) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for {
			list := s.madeOf[r]
			if len(list) == 0 {
				break
			}
			s.remove(list[len(list)-1])
		}
		s.mu.Unlock()
	}
}

func (c *cache[K, V]) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.clear()
		s.mu.Unlock()
	}
}

// count returns how many values are remembered and how many were found so far.
func (c *cache[K, V]) count() (entries, hits int64) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		entries += int64(len(s.entries))
		s.mu.RUnlock()
		hits += s.hits.Load()
	}
	return entries, hits
}

func (s *cacheShard[K, V]) clear() {
	s.entries = map[K]*cacheEntry[K, V]{}
	s.madeOf = map[recordRef][]*cacheEntry[K, V]{}
	s.ring, s.holes, s.hand = nil, nil, 0
}

// freeSlot returns the place of a new entry, and removes an old one for it if
// it must.
func (s *cacheShard[K, V]) freeSlot() int {
	if n := len(s.holes); n > 0 {
		slot := s.holes[n-1]
		s.holes = s.holes[:n-1]
		return slot
	}
	if len(s.ring) < s.size {
		s.ring = append(s.ring, nil)
		return len(s.ring) - 1
	}
	for { // ends within two rounds: there are no holes, and none is used twice
		e := s.ring[s.hand]
		s.hand = (s.hand + 1) % len(s.ring)
		if !e.used.Swap(false) {
			s.remove(e)
			s.holes = s.holes[:len(s.holes)-1]
			return e.slot
		}
	}
}

// remove drops an entry and leaves a hole.
func (s *cacheShard[K, V]) remove(e *cacheEntry[K, V]) {
	delete(s.entries, e.key)
	s.ring[e.slot] = nil
	s.holes = append(s.holes, e.slot)
	for _, r := range e.refs {
		list := s.madeOf[r]
		for i := range list {
			if list[i] == e {
				last := len(list) - 1
				list[i], list[last] = list[last], nil
				list = list[:last]
				break
			}
		}
		if len(list) == 0 {
			delete(s.madeOf, r)
		} else {
			s.madeOf[r] = list
		}
	}
}

// changeLog holds the last changes, so that what was read before one of them
// is not remembered after it.
type changeLog struct {
	last  uint64 // number of the last change; the first is 1
	reset uint64 // number of the last Reset
	ring  [1024]recordRef
}

func (l *changeLog) add(r recordRef) {
	l.last++
	l.ring[l.last%uint64(len(l.ring))] = r
}

func (l *changeLog) addReset() {
	l.last++
	l.ring[l.last%uint64(len(l.ring))] = 0
	l.reset = l.last
}

// changed reports whether one of the records may have changed after the change
// with number mark.
func (l *changeLog) changed(mark uint64, refs []recordRef) bool {
	if l.reset > mark || l.last-mark >= uint64(len(l.ring)) {
		return true
	}
	for n := mark + 1; n <= l.last; n++ {
		for _, r := range refs {
			if l.ring[n%uint64(len(l.ring))] == r {
				return true
			}
		}
	}
	return false
}
