package appaccess

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newTestCache(size int) *cache[int, string] {
	c := &cache[int, string]{}
	c.init(size, func(k int) uint64 { return uint64(k) })
	return c
}

func ref(id string) recordRef { return refTo(KindUser, id) }

// Whatever is done, a cache says only what was put last and not forgotten since.
func TestCacheAgainstAMap(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	c := newTestCache(4 * cacheShards)
	type value struct {
		text string
		refs []recordRef
	}
	model := map[int]value{}
	for step := range 50_000 {
		k, owner := random.IntN(200), fmt.Sprint("u", random.IntN(20))
		switch random.IntN(100) {
		case 0, 1, 2:
			c.forget(ref(owner))
			for k, v := range model {
				if v.refs[0] == ref(owner) || v.refs[1] == ref(owner) {
					delete(model, k)
				}
			}
		case 3:
			if random.IntN(20) == 0 {
				c.clear()
				clear(model)
			}
		default:
			v := value{fmt.Sprint(step), []recordRef{ref(fmt.Sprint("k", k)), ref(owner)}}
			c.put(k, v.text, v.refs)
			model[k] = v
		}
		k = random.IntN(200)
		if got := c.get(k); got != nil {
			require.Equal(t, model[k].text, *got)
		}
	}
	for i := range c.shards {
		s := &c.shards[i]
		listed := 0
		for j := range s.buckets {
			for e := s.buckets[j].Load(); e != nil; e = e.next.Load() {
				listed++
				assert.Same(t, &s.buckets[j], s.list(e.hash))
			}
		}
		assert.Equal(t, s.count, listed)
		assert.LessOrEqual(t, s.count, s.size)
		assert.Len(t, s.ring, s.count+len(s.holes))
		refs := 0
		for r, list := range s.madeOf {
			assert.NotEmpty(t, list)
			refs += len(list)
			for _, e := range list {
				assert.Same(t, e, s.find(e.hash, e.key))
				assert.Same(t, e, s.ring[e.slot])
				assert.Contains(t, e.refs, r)
			}
		}
		assert.Equal(t, 2*s.count, refs)
	}
}

func TestCacheKeepsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	const size = 8 * cacheShards
	c := newTestCache(size)
	for k := range size {
		c.put(k, "hot", nil)
	}
	hot := func() (n int) {
		for k := range size / 2 {
			if c.get(k) != nil {
				n++
			}
		}
		return n
	}
	require.Equal(t, size/2, hot(), "it holds what it is made for")
	for k := range size * 20 { // seen once each
		c.put(size+k, "cold", nil)
		if k%cacheShards == 0 {
			hot()
		}
	}
	assert.Equal(t, size/2, hot())
	assert.EqualValues(t, size, c.count())
}

func TestCacheOfNoSize(t *testing.T) {
	t.Parallel()
	c := newTestCache(0)
	c.put(1, "a", []recordRef{ref("u")})
	assert.Nil(t, c.get(1))
}

func TestCacheWithoutBound(t *testing.T) {
	t.Parallel()
	c := newTestCache(math.MaxInt)
	for k := range 1000 {
		c.put(k*cacheShards, "a", nil)
	}
	assert.EqualValues(t, 1000, c.count())
}

func TestCacheByMany(t *testing.T) {
	t.Parallel()
	c := newTestCache(64)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				k := (i*7 + w) % 100
				c.put(k, fmt.Sprint(k), []recordRef{ref(fmt.Sprint(k % 10))})
				if v := c.get(k); v != nil && *v != fmt.Sprint(k) {
					t.Errorf("%d is %s", k, *v)
				}
				if i%50 == 0 {
					c.forget(ref(fmt.Sprint(i % 10)))
				}
			}
		})
	}
	wg.Wait()
}

func TestChangeLog(t *testing.T) {
	t.Parallel()
	var l changeLog
	a, b := []recordRef{ref("a")}, []recordRef{ref("b"), ref("c")}
	assert.False(t, l.changed(0, a))
	l.add(ref("a"))
	mark := l.last
	assert.True(t, l.changed(0, a))
	assert.False(t, l.changed(0, b))
	assert.False(t, l.changed(mark, a))
	l.add(ref("c"))
	assert.True(t, l.changed(mark, b))
	l.addReset()
	assert.True(t, l.changed(mark, a), "anything may have changed")
	mark = l.last
	assert.False(t, l.changed(mark, b))
	for range len(l.ring) - 1 {
		l.add(ref("x"))
	}
	assert.False(t, l.changed(mark, a), "all changes since are known")
	l.add(ref("x"))
	assert.True(t, l.changed(mark, a), "more than are known")
}

// A hit, all CPUs asking for one key, against a map behind a shared lock.
func BenchmarkCacheHit(b *testing.B) {
	c := newTestCache(1024)
	c.put(1, "a", nil)
	b.Run("cache", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if c.get(1) == nil {
					b.Error("gone")
				}
			}
		})
	})
	b.Run("baseline", func(b *testing.B) {
		var mu sync.RWMutex
		m := map[int]string{1: "a"}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				mu.RLock()
				_, ok := m[1]
				mu.RUnlock()
				if !ok {
					b.Error("gone")
				}
			}
		})
	})
}
