package middleware_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/middleware"
)

func down(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

// rotate makes the n-th key the only one, under the name k<n>.
func (e *entra) rotate(n int) {
	e.set(func(e *entra) { e.keys = map[string]*rsa.PrivateKey{kid(n): testKeys()[n-1]} })
}

func kid(n int) string { return "k" + string(rune('0'+n)) }

func mintWith(t testing.TB, n int, c object) string {
	return sign(t, testKeys()[n-1], object{"typ": "JWT", "alg": "RS256", "kid": kid(n)}, c)
}

// A hundred callers come with the first token of a new key: one fetch, and all
// of them pass.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		g := open(t, config(e))
		h := g.Product("starter")(echo)
		require.NoError(t, g.Ready(t.Context()))
		time.Sleep(31 * time.Second)
		old := mint(t, claims(nil))
		hold := make(chan struct{})
		e.rotate(2)
		e.set(func(e *entra) { e.hold = hold })
		fresh := mintWith(t, 2, claims(nil))
		var wg sync.WaitGroup
		var passed atomic.Int32
		for range 100 {
			wg.Go(func() {
				if call(h, fresh).Code == 200 {
					passed.Add(1)
				}
			})
		}
		synctest.Wait()
		assert.Equal(t, 200, call(h, old).Code, "known keys do not wait")
		close(hold)
		wg.Wait()
		assert.Equal(t, int32(100), passed.Load())
		assert.Equal(t, 2, e.count())
		assert.Equal(t, 200, call(h, old).Code, "one answer proves no withdrawal")
	})
}

// A key that is published while the hourly fetch is under way is found 30 seconds
// later.
func TestRotationDuringFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		g := open(t, config(e))
		h := g.Product("starter")(echo)
		require.NoError(t, g.Ready(t.Context()))
		hold := make(chan struct{})
		e.set(func(e *entra) { e.hold = hold })
		for e.count() < 2 { // the hourly fetch has its answer, and waits
			time.Sleep(time.Second)
		}
		e.rotate(2)
		done := make(chan int)
		go func() { done <- call(h, mintWith(t, 2, claims(nil))).Code }()
		synctest.Wait()
		e.set(func(e *entra) { e.hold = nil })
		close(hold)
		assert.Equal(t, 401, <-done, "the fetch succeeded without the key")
		time.Sleep(30 * time.Second)
		assert.Equal(t, 200, call(h, mintWith(t, 2, claims(nil))).Code)
		assert.Equal(t, 3, e.count())
	})
}

// A flood of invented key IDs causes one fetch per interval, and none of its
// requests makes a valid one wait.
func TestUnknownKeyFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		g := open(t, config(e))
		h := g.Product("starter")(echo)
		require.NoError(t, g.Ready(t.Context()))
		good := mint(t, claims(nil))
		flood := func() {
			for i := range 50 {
				bad := sign(t, testKeys()[3], object{"typ": "JWT", "alg": "RS256", "kid": "x" + string(rune('a'+i%26))}, claims(nil))
				require.Equal(t, 401, call(h, bad).Code)
				require.Equal(t, 200, call(h, good).Code)
			}
		}
		start := time.Now()
		flood()
		assert.Equal(t, 1, e.count())
		time.Sleep(30 * time.Second)
		flood()
		assert.Equal(t, 2, e.count())
		time.Sleep(29 * time.Second)
		flood()
		assert.Equal(t, 2, e.count())
		e.rotate(2)
		time.Sleep(time.Second)
		assert.Equal(t, 200, call(h, mintWith(t, 2, claims(nil))).Code, "nor does it delay a new key for longer")
		assert.Equal(t, 3, e.count())
		assert.Equal(t, time.Minute, time.Since(start), "nobody waited")
	})
}

// The provider is down for 23 hours: known keys serve on. After a day they do
// not. When it is back, all is well within the retry interval.
func TestOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		g := open(t, config(e))
		h := g.Product("starter")(echo)
		require.NoError(t, g.Ready(t.Context()))
		e.set(func(e *entra) { e.answer = down })
		status := func() int { return call(h, mint(t, claims(nil))).Code }
		for range 23 {
			time.Sleep(time.Hour)
			require.Equal(t, 200, status())
		}
		assert.NoError(t, g.Ready(t.Context()))
		fresh := mintWith(t, 2, claims(nil))
		start := time.Now()
		w := call(h, fresh)
		assert.Equal(t, 503, w.Code, "an unknown key is 503 while fetching fails")
		assert.NotEmpty(t, w.Header().Get("Retry-After"))
		assert.Zero(t, time.Since(start), "and nobody waits for a fetch that is known to fail")

		seen := mint(t, claims(object{"exp": time.Now().Add(3 * time.Hour).Unix()}))
		assert.Equal(t, 200, call(h, seen).Code)
		time.Sleep(2 * time.Hour)
		assert.Equal(t, 503, status())
		assert.Equal(t, 503, call(h, seen).Code, "nor does the cache outlive the keys")
		assert.Error(t, g.Ready(t.Context()))

		e.set(func(e *entra) { e.answer = nil })
		time.Sleep(30 * time.Second)
		assert.Equal(t, 200, status())
		assert.NoError(t, g.Ready(t.Context()))
	})
}

// The provider is down when the service starts. The first requests are asked
// to come back, and the keys are there soon after it is up.
func TestColdStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		e.answer = down
		g := open(t, config(e))
		h := g.Product("starter")(echo)
		for range 100 {
			require.Equal(t, 503, call(h, mint(t, claims(nil))).Code)
		}
		time.Sleep(10 * time.Minute)
		assert.Less(t, e.count(), 40, "retries back off")
		assert.Equal(t, 503, call(h, mint(t, claims(nil))).Code)
		e.set(func(e *entra) { e.answer = nil })
		time.Sleep(30 * time.Second)
		assert.Equal(t, 200, call(h, mint(t, claims(nil))).Code)
	})
}

// Requests that give up neither end the fetch nor use up the allowed fetches.
func TestCancelledRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		g := open(t, config(e))
		h := g.Product("starter")(echo)
		require.NoError(t, g.Ready(t.Context()))
		time.Sleep(31 * time.Second)
		hold := make(chan struct{})
		e.rotate(2)
		e.set(func(e *entra) { e.hold = hold })
		fresh := mintWith(t, 2, claims(nil))
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan int)
		go func() {
			r := request("/echo", "Authorization", "Bearer "+fresh).WithContext(ctx)
			gone <- do(h, r).Code
		}()
		synctest.Wait()
		cancel()
		assert.Equal(t, 499, <-gone, "nobody waits for this answer")
		start := time.Now()
		assert.Equal(t, 503, call(h, fresh).Code, "the wait is bounded")
		assert.Equal(t, 3*time.Second, time.Since(start))
		close(hold)
		synctest.Wait()
		assert.Equal(t, 200, call(h, fresh).Code)
		assert.Equal(t, 2, e.count())
	})
}

// While the provider hangs, only so many requests wait for it; the others are
// asked at once to come back.
func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		e.hold = make(chan struct{})
		g := open(t, config(e))
		h := g.Product("starter")(echo)
		token := mint(t, claims(nil))
		var wg sync.WaitGroup
		var waited, passed atomic.Int32
		start := time.Now()
		for range 1500 {
			wg.Go(func() {
				if call(h, token).Code == 200 {
					passed.Add(1)
				}
				if time.Since(start) > 0 {
					waited.Add(1)
				}
			})
		}
		synctest.Wait()
		time.Sleep(time.Second)
		close(e.hold)
		wg.Wait()
		assert.Equal(t, []int32{1024, 1024}, []int32{waited.Load(), passed.Load()})
	})
}

// Whatever a provider answers instead of keys, the known ones stay.
func TestBadAnswersChangeNothing(t *testing.T) {
	t.Parallel()
	other := newEntra() // whose keys would replace the known one
	other.keys = map[string]*rsa.PrivateKey{"k2": testKeys()[1]}
	answers := map[string]func(*http.Request) (*http.Response, error){
		"down": down,
		"cut off": func(*http.Request) (*http.Response, error) {
			r := respond(200, nil)
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"keys":[`), errReader{}))
			return r, nil
		},
		"endless": func(*http.Request) (*http.Response, error) {
			r := respond(200, nil)
			r.Body = io.NopCloser(endless{})
			return r, nil
		},
		"elsewhere": func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != "login.test" {
				return respond(200, other.document()), nil
			}
			resp := respond(302, nil)
			resp.Header.Set("Location", "https://elsewhere.test/keys")
			return resp, nil
		},
		"downgraded": func(r *http.Request) (*http.Response, error) {
			if r.URL.Scheme != "https" {
				return respond(200, other.document()), nil
			}
			resp := respond(302, nil)
			resp.Header.Set("Location", "http://login.test/keys")
			return resp, nil
		},
	}
	for name, body := range map[string]string{
		"empty": "", "object": "{}", "null": "null", "no keys": `{"keys":[]}`, "null keys": `{"keys":null}`, "error": `{"error":"x"}`,
		"html": "<html>", "array": "[]", "no usable key": `{"keys":[{"kty":"oct","kid":"k1","k":"c2VjcmV0"}]}`, "twice": `{"keys":[],"keys":[]}`,
	} {
		answers[name] = func(*http.Request) (*http.Response, error) { return respond(200, []byte(body)), nil }
	}
	for _, status := range []int{204, 304, 404, 429, 500} {
		answers[http.StatusText(status)] = func(*http.Request) (*http.Response, error) { return respond(status, other.document()), nil }
	}
	answers["huge"] = func(*http.Request) (*http.Response, error) {
		return respond(200, append(other.document(), strings.Repeat(" ", 1<<20)...)), nil
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newEntra()
				g := open(t, config(e))
				h := g.Product("starter")(echo)
				require.NoError(t, g.Ready(t.Context()))
				before := e.count()
				e.set(func(e *entra) { e.answer = answer })
				time.Sleep(90 * time.Minute)
				assert.Greater(t, e.count(), before)
				assert.Equal(t, 200, call(h, mint(t, claims(nil))).Code)
			})
		})
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("cut") }

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// Of one set, the keys that are not fit to verify with are left out, and the
// others work.
func TestUnfitKeys(t *testing.T) {
	t.Parallel()
	good, other := testKeys()[0], testKeys()[1]
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	point, err := ec.PublicKey.Bytes()
	require.NoError(t, err)
	with := func(changes map[string]any) map[string]any {
		m := map[string]any{}
		for k, v := range jwk("bad", &other.PublicKey) {
			m[k] = v
		}
		for k, v := range changes {
			m[k] = v
		}
		return m
	}
	for name, key := range map[string]any{
		"encryption":    with(map[string]any{"use": "enc"}),
		"key_ops":       with(map[string]any{"key_ops": []string{"encrypt"}}),
		"private":       with(map[string]any{"d": b64(other.D.Bytes())}),
		"symmetric":     map[string]any{"kty": "oct", "kid": "bad", "k": b64(other.N.Bytes())},
		"no kid":        with(map[string]any{"kid": ""}),
		"kid number":    with(map[string]any{"kid": 1}),
		"alg of HMAC":   with(map[string]any{"alg": "HS256"}),
		"alg of others": with(map[string]any{"alg": "RS512"}),
		"even exponent": with(map[string]any{"e": b64(big.NewInt(65536).Bytes())}),
		"exponent 3":    with(map[string]any{"e": "Aw"}),
		"even modulus":  with(map[string]any{"n": b64(new(big.Int).Lsh(big.NewInt(1), 2047).Bytes())}),
		"no modulus":    with(map[string]any{"n": ""}),
		"1024 bits":     with(map[string]any{"n": b64(weak.N.Bytes())}),
		"huge":          with(map[string]any{"n": strings.Repeat("A", 100_000)}),
		"EC":            map[string]any{"kty": "EC", "crv": "P-256", "kid": "bad", "x": b64(point[1:33]), "y": b64(point[33:])},
		"no object":     "x",
		"null":          nil,
		"issuer":        with(map[string]any{"issuer": "https://login.test/other/v2.0"}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEntra()
			doc, err := json.Marshal(map[string]any{"keys": []any{key, jwk("k1", &good.PublicKey), key}})
			require.NoError(t, err)
			e.answer = func(*http.Request) (*http.Response, error) { return respond(200, doc), nil }
			h := open(t, config(e)).Product("starter")(echo)
			assert.Equal(t, 200, call(h, mint(t, claims(nil))).Code)
			assert.Equal(t, 401, call(h, sign(t, other, object{"typ": "JWT", "alg": "RS256", "kid": "bad"}, claims(nil))).Code)
		})
	}
}

// Two keys under one name: nobody can tell which is meant.
func TestSameKeyID(t *testing.T) {
	t.Parallel()
	e := newEntra()
	doc, err := json.Marshal(map[string]any{"keys": []any{jwk("k1", &testKeys()[0].PublicKey), jwk("k1", &testKeys()[1].PublicKey), jwk("k2", &testKeys()[1].PublicKey)}})
	require.NoError(t, err)
	e.answer = func(*http.Request) (*http.Response, error) { return respond(200, doc), nil }
	h := open(t, config(e)).Product("starter")(echo)
	for _, key := range testKeys()[:2] {
		assert.Equal(t, 401, call(h, sign(t, key, object{"typ": "JWT", "alg": "RS256", "kid": "k1"}, claims(nil))).Code)
	}
	assert.Equal(t, 200, call(h, mintWith(t, 2, claims(nil))).Code)
}

// The issuer that a key names may have either version's form, with the tenant
// or a placeholder, or be absent.
func TestKeyIssuer(t *testing.T) {
	t.Parallel()
	for issuer, status := range map[string]int{
		"": 200, authority + "/" + tenantID + "/v2.0": 200, authority + "/{tenantid}/v2.0": 200,
		"https://sts.test/{tenantid}/": 200, "https://sts.test/" + tenantID + "/": 200,
		authority + "/" + otherApp + "/v2.0": 401, "https://sts.test/{tenantid}": 401, "https://evil.test/{tenantid}/v2.0": 401,
	} {
		e := newEntra()
		e.issuer = issuer
		c := config(e)
		c.STS = "https://sts.test"
		h := open(t, c).Product("starter")(echo)
		assert.Equal(t, status, call(h, mint(t, claims(nil))).Code, issuer)
		v1 := claims(object{"iss": "https://sts.test/" + tenantID + "/", "ver": "1.0", "azp": nil, "appid": clientID})
		assert.Equal(t, status, call(h, mint(t, v1)).Code, "version 1, %s", issuer)
	}
}

func TestReadyHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		e.answer = down
		g := open(t, config(e))
		synctest.Wait()
		w := get(g.ReadyHandler(), "/ready")
		assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		assert.Equal(t, 503, w.Code)
		assert.JSONEq(t, `{"ready":false,"keys":[{"tenant":"`+tenantID+`","ready":false,"ageSeconds":null}]}`, w.Body.String())
		e.set(func(e *entra) { e.answer = nil })
		time.Sleep(5 * time.Second)
		time.Sleep(10 * time.Minute)
		w = get(g.ReadyHandler(), "/ready")
		assert.Equal(t, 200, w.Code)
		var out struct {
			Ready bool
			Keys  []struct{ AgeSeconds float64 }
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &out))
		assert.True(t, out.Ready)
		assert.InDelta(t, 605, out.Keys[0].AgeSeconds, 6)
	})
}

// Close ends the goroutines and those who wait; the gate still answers.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		hold := make(chan struct{})
		e.hold = hold
		g, err := middleware.New(config(e))
		require.NoError(t, err)
		h := g.Product("starter")(echo)
		done := make(chan int)
		go func() { done <- call(h, mint(t, claims(nil))).Code }()
		synctest.Wait()
		require.NoError(t, g.Close())
		assert.Equal(t, 503, <-done)
		assert.Equal(t, 503, call(h, mint(t, claims(nil))).Code)
		assert.Error(t, g.Ready(t.Context()))
		require.NoError(t, g.Close())
	})
}

// Several tenants: each one's tokens by its own keys.
func TestTenants(t *testing.T) {
	t.Parallel()
	const second = "bbbbcccc-1111-dddd-2222-eeee3333ffff"
	e := newEntra()
	e.issuer = ""
	srv := newEntra()
	srv.issuer, srv.keys = "", map[string]*rsa.PrivateKey{"k2": testKeys()[1]}
	c := config(e)
	c.Tenants = []string{tenantID, strings.ToUpper(second)}
	c.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if strings.Contains(r.URL.Path, second) {
			return srv.RoundTrip(r)
		}
		return e.RoundTrip(r)
	})}
	h := open(t, c).Product("starter")(echo)
	of := func(tenant string) object {
		return claims(object{"iss": authority + "/" + tenant + "/v2.0", "tid": tenant})
	}
	assert.Equal(t, 200, call(h, mintWith(t, 1, of(tenantID))).Code)
	assert.Equal(t, 200, call(h, mintWith(t, 2, of(second))).Code)
	assert.Equal(t, 401, call(h, mintWith(t, 2, of(tenantID))).Code)
	assert.Equal(t, 401, call(h, mintWith(t, 1, of(second))).Code)
	assert.Equal(t, 401, call(h, mintWith(t, 1, of(otherApp))).Code)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Over a real connection, with the gate's own client.
// Not parallel: the keys are asked for by http.DefaultTransport, whose
// connections break when another test closes its server.
func TestKeysOverHTTP(t *testing.T) {
	e := newEntra()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/"+tenantID+"/discovery/v2.0/keys" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(e.document())
	}))
	defer srv.Close()
	e.issuer = srv.URL + "/{tenantid}/v2.0"
	c := config(e)
	c.HTTPClient, c.Authority = nil, srv.URL
	g := open(t, c)
	require.NoError(t, g.Ready(t.Context()))
	assert.Equal(t, 200, call(g.Product("starter")(echo), mint(t, claims(object{"iss": srv.URL + "/" + tenantID + "/v2.0"}))).Code)
}

// A few redirects within the origin are followed, not any number.
func TestRedirectsWithinTheOrigin(t *testing.T) {
	t.Parallel()
	for hops, ok := range map[int]bool{0: true, 1: true, 3: true, 4: false, 1000: false} {
		e := newEntra()
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n, _ := strconv.Atoi(r.URL.Query().Get("n")); n < hops {
				http.Redirect(w, r, "?n="+strconv.Itoa(n+1), http.StatusFound)
				return
			}
			_, _ = w.Write(e.document())
		}))
		e.issuer = srv.URL + "/{tenantid}/v2.0"
		c := config(e)
		c.HTTPClient, c.Authority = srv.Client(), srv.URL
		g := open(t, c)
		if ok {
			assert.NoError(t, g.Ready(t.Context()), hops)
		} else {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			assert.Error(t, g.Ready(ctx), hops)
			cancel()
			assert.Equal(t, 503, call(g.Product("starter")(echo), mint(t, claims(object{"iss": srv.URL + "/" + tenantID + "/v2.0"}))).Code)
		}
		srv.Close()
	}
}

// The log contains each change of the keys, and nothing of a fetch that a Close
// ended.
func TestChangesOfKeysAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		var log testkit.Log
		c := config(e)
		c.Logger = log.Logger(slog.LevelDebug)
		g, err := middleware.New(c)
		require.NoError(t, err)
		require.NoError(t, g.Ready(t.Context()))
		count := func(text string) int { return strings.Count(log.String(), text) }
		assert.Equal(t, []int{1, 0}, []int{count("signing keys changed"), count("signing keys unchanged")})
		time.Sleep(time.Hour + time.Minute)
		synctest.Wait()
		assert.Equal(t, []int{1, 1}, []int{count("signing keys changed"), count("signing keys unchanged")})
		for _, tc := range []struct {
			changes int // seen so far
			change  func(*entra)
		}{
			{2, func(e *entra) { e.keys["k2"] = testKeys()[1] }},
			{4, func(e *entra) { e.keys = map[string]*rsa.PrivateKey{"k1": testKeys()[0], "k3": testKeys()[1]} }}, // k3 added, k2 dropped
			{5, func(e *entra) { delete(e.keys, "k3") }},
			{6, func(e *entra) { e.keys["k1"] = testKeys()[2] }},
		} {
			e.set(tc.change)
			time.Sleep(76 * time.Minute)
			synctest.Wait()
			assert.Equal(t, tc.changes, count("signing keys changed"))
		}
		e.set(func(e *entra) {
			e.answer = func(r *http.Request) (*http.Response, error) {
				assert.Equal(t, "application/json", r.Header.Get("Accept"))
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
		})
		before, fetches := log.String(), e.count()
		for e.count() == fetches {
			time.Sleep(time.Second)
			synctest.Wait()
		}
		require.NoError(t, g.Close())
		assert.Equal(t, before, log.String())
	})
}
