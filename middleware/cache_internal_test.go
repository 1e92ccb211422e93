package middleware

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// entry makes tokens of which each two share a signature, to see that the cache
// distinguishes them by the signed part.
func entry(n int, until int64) *checked {
	return &checked{sum: sha256.Sum256(fmt.Append(nil, n/2)), signed: strconv.Itoa(n), token: &token{}, until: until}
}

// However many tokens come, no more than the bound stay, and the ones in use
// are not driven out by those that are not.
func TestCacheBound(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	c := newCache(1024)
	require.Equal(t, 128, len(c.sets))
	hot := entry(0, 2000)
	c.put(hot, now)
	for n := 1; n < 20_000; n++ {
		c.put(entry(n, 2000), now)
		if c.get(&hot.sum, hot.signed, now) != hot {
			t.Fatalf("the token in use was driven out by number %d", n)
		}
	}
	assert.LessOrEqual(t, c.len(), 1024)
	assert.Greater(t, c.len(), 1000)
	assert.Nil(t, c.get(&hot.sum, hot.signed, time.Unix(2000, 0)), "expired")
	assert.Nil(t, c.get(&hot.sum, hot.signed, now), "and gone")
}

// Neither the signature nor the signed part identifies a token by itself, also
// where both would be in one place.
func TestCacheComparesAll(t *testing.T) {
	t.Parallel()
	c, now := newCache(64), time.Unix(1000, 0)
	e := entry(1, 2000)
	c.put(e, now)
	require.Same(t, e, c.get(&e.sum, e.signed, now))
	for i := range e.sum {
		other := e.sum
		other[i] ^= 1
		assert.Nil(t, c.get(&other, e.signed, now))
	}
	for _, signed := range []string{"", "11", "2", e.signed + "x"} {
		assert.Nil(t, c.get(&e.sum, signed, now))
	}
}

// A new token takes the place of an expired token before the place of a token that can
// still be used, and one that is expired takes none.
func TestCachePlaces(t *testing.T) {
	t.Parallel()
	for expired := range 8 {
		c := newCache(8) // one set
		var all []*checked
		for n := range 8 {
			until := int64(3000)
			if n == expired {
				until = 2000
			}
			all = append(all, entry(n, until))
			c.put(all[n], time.Unix(1000, 0))
		}
		require.Equal(t, 8, c.len())
		c.put(entry(100, 2000), time.Unix(2000, 0))
		for _, e := range all {
			assert.Same(t, e, c.at(&e.sum).find(e), "nothing was put")
		}
		now := time.Unix(1999, 0)
		require.NotNil(t, c.get(&all[expired].sum, all[expired].signed, now), "a second before its end")
		now = time.Unix(2000, 0)
		c.put(entry(101, 3000), now)
		for n, e := range all {
			assert.Equal(t, n != expired, c.get(&e.sum, e.signed, now) == e, "%d of %d", n, expired)
		}
	}
}

// find returns the entry in a place of the cache, whether expired or not.
func (s *cacheSet) find(e *checked) *checked {
	for i := range s {
		if got := s[i].Load(); got != nil && got.is(&e.sum, e.signed) {
			return got
		}
	}
	return nil
}

func TestNoCache(t *testing.T) {
	t.Parallel()
	c := newCache(-1)
	e := entry(1, 2000)
	c.put(e, time.Unix(1, 0))
	assert.Nil(t, c.get(&e.sum, e.signed, time.Unix(1, 0)))
	assert.Zero(t, c.len())
}

func TestCacheConcurrently(t *testing.T) {
	t.Parallel()
	c := newCache(64)
	now := time.Unix(1000, 0)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 5000 {
				e := entry((n*7+g)%300, 2000)
				if got := c.get(&e.sum, e.signed, now); got != nil {
					assert.Equal(t, e.sum, got.sum)
					assert.Equal(t, e.signed, got.signed)
					if n%50 == 0 {
						c.drop(got)
					}
					continue
				}
				c.put(e, now)
			}
		})
	}
	wg.Wait()
	assert.LessOrEqual(t, c.len(), 64)
}

// The cache against a model: a hit is what was last put and not dropped since,
// and not expired; what was just put is there; the bound holds.
func FuzzCache(f *testing.F) {
	f.Add([]byte("put get put drop get time get"))
	f.Add([]byte{0, 1, 1, 1, 2, 1, 1, 1, 3, 200, 1, 1})
	f.Fuzz(func(t *testing.T, ops []byte) {
		c := newCache(16)
		model := map[string]*checked{}
		now := time.Unix(1000, 0)
		for i := 0; i+1 < len(ops); i += 2 {
			op, n := ops[i]%4, int(ops[i+1])
			e := entry(n, now.Unix()+int64(n%32))
			switch op {
			case 0:
				c.put(e, now)
				if now.Unix() < e.until {
					model[e.signed] = e
					require.Same(t, e, c.get(&e.sum, e.signed, now), "just put")
				}
			case 1:
				if got := c.get(&e.sum, e.signed, now); got != nil {
					require.Same(t, model[e.signed], got)
					require.Less(t, now.Unix(), got.until)
				}
			case 2:
				if old := model[e.signed]; old != nil {
					c.drop(old)
					delete(model, e.signed)
					require.Nil(t, c.get(&e.sum, e.signed, now))
				}
			case 3:
				now = now.Add(time.Duration(n) * time.Second / 4)
			}
			require.LessOrEqual(t, c.len(), 16)
		}
	})
}
