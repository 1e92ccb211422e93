package appaccess

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// recordRef identifies a record in little memory. Two records rarely have the same
// recordRef; then a change of one also forgets the other, which does no harm.
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

// cache remembers values within a bound, and forgets the values that were made from a
// changed record. The clock algorithm chooses the value that makes room: one that
// nobody asked for since the hand last passed. A hit takes no lock and writes at most
// one bit a round (and the counter, if hits are counted), so that CPUs that ask for
// the same key do not wait for each other.
type cache[K comparable, V any] struct {
	hash   func(K) uint64
	shards [cacheShards]cacheShard[K, V]
	hits   *atomic.Int64 // nil: hits are not counted
}

const (
	cacheShards = 16
	maxBuckets  = 1 << 16 // of a shard; in all one for each of a million entries
)

// cacheShard is read by any number of goroutines while the one that holds mu
// changes it.
type cacheShard[K comparable, V any] struct {
	buckets []atomic.Pointer[cacheEntry[K, V]] // lists; a power of two

	mu     sync.Mutex
	size   int
	count  int
	ring   []*cacheEntry[K, V] // with holes where entries were forgotten
	hand   int
	holes  []int
	madeOf map[recordRef][]*cacheEntry[K, V]
}

type cacheEntry[K comparable, V any] struct {
	key   K
	value V
	hash  uint64
	next  atomic.Pointer[cacheEntry[K, V]] // in its list
	refs  []recordRef
	slot  int
	used  atomic.Bool
}

func (c *cache[K, V]) init(size int, hash func(K) uint64) {
	c.hash = hash
	for i := range c.shards {
		s := &c.shards[i]
		s.size = size/cacheShards + min(size%cacheShards, 1)
		buckets := 1
		for buckets < min(s.size, maxBuckets) {
			buckets *= 2
		}
		s.buckets = make([]atomic.Pointer[cacheEntry[K, V]], buckets)
		s.clear()
	}
}

func (c *cache[K, V]) shard(hash uint64) *cacheShard[K, V] { return &c.shards[hash%cacheShards] }

// list points to the list of the entries whose hashes share a bucket.
func (s *cacheShard[K, V]) list(hash uint64) *atomic.Pointer[cacheEntry[K, V]] {
	return &s.buckets[hash/cacheShards&uint64(len(s.buckets)-1)]
}

// find finds an entry. If the entry at which a goroutine is gets removed, the
// goroutine continues from there.
func (s *cacheShard[K, V]) find(hash uint64, k K) *cacheEntry[K, V] {
	e := s.list(hash).Load()
	for e != nil && e.key != k {
		e = e.next.Load()
	}
	return e
}

// get returns what is remembered of a key, not to be changed, or nil.
func (c *cache[K, V]) get(k K) *V {
	hash := c.hash(k)
	e := c.shard(hash).find(hash, k)
	if e == nil {
		return nil
	}
	if !e.used.Load() {
		e.used.Store(true)
	}
	if c.hits != nil {
		c.hits.Add(1)
	}
	return &e.value
}

// put remembers a value that was made from the records refs.
func (c *cache[K, V]) put(k K, v V, refs []recordRef) {
	hash := c.hash(k)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.find(hash, k); old != nil {
		s.remove(old)
	}
	if s.size == 0 {
		return
	}
	e := &cacheEntry[K, V]{key: k, value: v, hash: hash, refs: refs, slot: s.freeSlot()}
	s.ring[e.slot] = e
	list := s.list(hash)
	e.next.Store(list.Load())
	list.Store(e)
	s.count++
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

// count returns how many values are remembered.
func (c *cache[K, V]) count() (entries int64) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		entries += int64(s.count)
		s.mu.Unlock()
	}
	return entries
}

func (s *cacheShard[K, V]) clear() {
	for i := range s.buckets {
		s.buckets[i].Store(nil)
	}
	s.madeOf = map[recordRef][]*cacheEntry[K, V]{}
	s.ring, s.holes, s.hand, s.count = nil, nil, 0, 0
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
	// There are no holes. Two rounds find an entry unless all entries are asked for
	// all the time; then any entry will do.
	for turn := 0; ; turn++ {
		e := s.ring[s.hand]
		s.hand = (s.hand + 1) % len(s.ring)
		if !e.used.Swap(false) || turn > 2*len(s.ring) {
			s.remove(e)
			s.holes = s.holes[:len(s.holes)-1]
			return e.slot
		}
	}
}

// remove drops an entry and leaves a hole.
func (s *cacheShard[K, V]) remove(e *cacheEntry[K, V]) {
	list := s.list(e.hash)
	for list.Load() != e {
		list = &list.Load().next
	}
	list.Store(e.next.Load())
	s.count--
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
