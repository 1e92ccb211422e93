package middleware_test

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
)

// world is what is true for a while during the soak. What it expects of a
// request is what any of its facts allow; while a change is made, a world has
// the facts of before and after.
type world struct {
	seq   int
	facts []facts
}

type facts struct {
	key       int     // the only one that the tenant publishes
	known     [3]bool // the keys that the gate has seen: it keeps them for longer than this test lasts
	down      bool    // the keys cannot be fetched
	revoked   bool
	suspended bool
}

func (w *world) allows(check func(facts) []int, status int) bool {
	return slices.ContainsFunc(w.facts, func(f facts) bool { return slices.Contains(check(f), status) })
}

// soak is one run.
type soak struct {
	t       *testing.T
	entra   *entra
	catalog *catalog
	handler http.Handler
	world   atomic.Pointer[world]
	tokens  [3][]string // genuine ones by key
	forged  string      // names a key that there is not
	hostile map[string]int
	sent    atomic.Int64
	checked atomic.Int64
}

// TestSoak sends mixed traffic while keys rotate, the provider fails, clients
// are revoked and products suspended: no decision may be wrong, and nothing
// may grow. ENTRAGATE_SOAK=60s runs it for longer than 5 s.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 5 s")
	}
	length := 5 * time.Second
	if d, err := time.ParseDuration(os.Getenv("ENTRAGATE_SOAK")); err == nil {
		length = d
	}
	goroutines := runtime.NumGoroutine()
	s := &soak{t: t, entra: newEntra(), catalog: newCatalog(), hostile: hostile(t)}
	for key := range s.tokens {
		for range 40 {
			s.tokens[key] = append(s.tokens[key], mintWith(t, key+1, claims(object{"uti": strconv.Itoa(rand.Int())})))
		}
	}
	s.forged = sign(t, testKeys()[3], object{"typ": "JWT", "alg": "RS256", "kid": "k9"}, claims(nil))
	cfg := managed(s.entra, s.catalog)
	cfg.KeyInterval, cfg.CacheSize = time.Nanosecond, 64
	g, err := middleware.New(cfg)
	require.NoError(t, err)
	require.NoError(t, g.Ready(t.Context()))
	s.handler = g.Wrap(echo)
	s.world.Store(&world{facts: []facts{{known: [3]bool{true}}}})

	end := time.Now().Add(length)
	heap := s.run(end)
	require.NoError(t, g.Close())
	t.Logf("%d requests, %d of them between two changes, %d fetches of keys", s.sent.Load(), s.checked.Load(), s.entra.count())
	assert.Greater(t, s.checked.Load(), s.sent.Load()/10, "most requests must be judged by one world")
	assert.Less(t, heap, int64(32<<20), "the heap grew")
	assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+1 }, 30*time.Second, 10*time.Millisecond, "goroutines stayed behind")
}

// run keeps everything going and returns how much the heap grew in the second
// half.
func (s *soak) run(end time.Time) int64 {
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 7))
			for time.Now().Before(end) && !s.t.Failed() {
				s.send(rng)
			}
		})
	}
	var before int64
	half := time.Now().Add(time.Until(end) / 2)
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(99, 7))
		for time.Now().Before(end) && !s.t.Failed() {
			if before == 0 && time.Now().After(half) {
				before = heapSize()
			}
			s.change(rng)
			time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		}
	})
	wg.Wait()
	return heapSize() - before
}

func heapSize() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// hostile are tokens that never pass, with the answer while keys are known.
func hostile(t *testing.T) map[string]int {
	out := map[string]int{"garbage": 401, "": 401, mint(t, claims(object{"exp": 1})): 401}
	for _, c := range []object{{"roles": "x"}, {"aud": "x"}, {"iss": "x"}, {"exp": "1"}, {"tid": otherApp}, {"nonce": "x"}} {
		out[mint(t, claims(c))] = 401
	}
	good := mint(t, claims(nil))
	out[good[:len(good)-6]+"AAAAAA"] = 401
	out[sign(t, testKeys()[3], object{"typ": "JWT", "alg": "RS256", "kid": "k1"}, claims(nil))] = 401
	out[sign(t, testKeys()[3], object{"typ": "JWT", "alg": "none", "kid": "k1"}, claims(nil))] = 401
	out[mint(t, claims(object{"roles": nil}))] = 403
	out[mint(t, claims(object{"scp": "x"}))] = 403
	return out
}

// send makes one request and compares the answer with what the world allows.
func (s *soak) send(rng *rand.Rand) {
	key := rng.IntN(len(s.tokens))
	r := request("/echo")
	var check func(facts) []int
	switch rng.IntN(6) {
	case 0, 1:
		key = s.world.Load().facts[0].key // most callers have the newest
		fallthrough
	case 2:
		r.Header.Set("Authorization", "Bearer "+s.tokens[key][rng.IntN(len(s.tokens[key]))])
		check = func(f facts) []int { return f.token(key) }
	case 3:
		tokens := slices.Collect(maps.Keys(s.hostile))
		token := tokens[rng.IntN(len(tokens))]
		r.Header.Set("Authorization", "Bearer "+token)
		check = func(f facts) []int {
			if f.key == 0 && !f.down { // the key that they name is known
				return []int{s.hostile[token]}
			}
			return []int{s.hostile[token], 401, 403, 503}
		}
	case 4:
		r.Header.Set(keyHeader, "key-starter")
		check = func(f facts) []int {
			if f.suspended {
				return []int{403}
			}
			return []int{200}
		}
	case 5:
		r.Header.Set(keyHeader, "wrong")
		check = func(facts) []int { return []int{401} } // another product of the API takes keys
	}
	before := s.world.Load()
	w := do(s.handler, r)
	after := s.world.Load()
	s.sent.Add(1)
	if after.seq-before.seq > 1 {
		return // too much happened in between to tell
	}
	s.checked.Add(1)
	if !before.allows(check, w.Code) && !after.allows(check, w.Code) {
		s.t.Errorf("answered %d %s: world %+v, then %+v", w.Code, w.Header().Values("WWW-Authenticate"), *before, *after)
	}
}

// token is what a genuine token of a key may be answered.
func (f facts) token(key int) []int {
	pass := 200
	if f.revoked || f.suspended {
		pass = 403
	}
	switch {
	case f.known[key]:
		return []int{pass}
	case f.down:
		return []int{401, 503, 403} // a revoked one could not pass with any key
	}
	return []int{401}
}

// change changes one thing about the world.
func (s *soak) change(rng *rand.Rand) {
	was := s.world.Load()
	now := was.facts[0]
	var apply func()
	switch rng.IntN(4) {
	case 0:
		if now.down {
			return
		}
		now.key = (now.key + 1) % len(s.tokens)
		now.known[now.key] = true
		apply = func() {
			s.entra.rotate(now.key + 1)
			s.fetched()
		}
	case 1:
		now.revoked = !now.revoked
		apply = func() {
			s.catalog.change(func(c *appaccess.ClientState) {
				if c.Grants = appaccess.GrantsOfAll("starter"); now.revoked {
					c.Grants = nil
				}
			})
		}
	case 2:
		now.suspended = !now.suspended
		apply = func() {
			p := products()
			p[0].Suspended = now.suspended
			s.catalog.publish(p, apis())
		}
	case 3:
		now.down = !now.down
		apply = func() {
			s.entra.set(func(e *entra) {
				if e.answer = nil; now.down {
					e.answer = down
				}
			})
			if !now.down {
				s.fetched()
			}
		}
	}
	s.world.Store(&world{was.seq + 1, []facts{was.facts[0], now}})
	apply()
	s.world.Store(&world{was.seq + 2, []facts{now}})
}

// fetched waits for the gate to have read the keys anew: it then says of a key
// that nobody publishes that it is unknown, not that the keys are unavailable.
func (s *soak) fetched() {
	assert.Eventually(s.t, func() bool { return call(s.handler, s.forged).Code == 401 }, 30*time.Second, 5*time.Millisecond)
}
