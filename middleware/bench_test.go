package middleware_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/middleware"
)

// nowhere is a ResponseWriter that costs nothing.
type nowhere struct {
	header http.Header
	status int
}

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (w *nowhere) WriteHeader(status int)      { w.status = status }

var nothing = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// measure sends requests round robin and checks the status of each.
func measure(b *testing.B, h http.Handler, status int, requests ...*http.Request) {
	b.Helper()
	send := func(w *nowhere, r *http.Request) {
		clear(w.header)
		w.status = 200
		h.ServeHTTP(w, r)
		if w.status != status {
			b.Fatalf("answered %d, not %d", w.status, status)
		}
	}
	for _, r := range requests[:min(len(requests), 2)] { // fetches the keys
		send(&nowhere{header: http.Header{}}, r)
	}
	b.ReportAllocs()
	w := &nowhere{header: http.Header{}}
	n := 0
	for b.Loop() {
		send(w, requests[n%len(requests)])
		n++
	}
	b.ReportMetric(baselines(b, func() {
		send(w, requests[n%len(requests)])
		n++
	}), "baselines")
}

// baselines is how often the baseline fits into f: the best of many short runs of
// both in turn, so that a busy machine slows down both or neither.
func baselines(b *testing.B, f func()) float64 {
	b.Helper()
	verify := baseline(b)
	best := func(least time.Duration, times int, f func()) time.Duration {
		start := time.Now()
		for range times {
			f()
		}
		return min(least, time.Since(start)/time.Duration(times))
	}
	mine, theirs := time.Hour, time.Hour
	for range 60 {
		mine, theirs = best(mine, 16, f), best(theirs, 16, verify)
	}
	return float64(mine) / float64(theirs)
}

// baseline verifies one token with crypto/rsa alone.
func baseline(b *testing.B) func() {
	token := mint(b, entraLike(nil))
	dot := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	require.NoError(b, err)
	signed := []byte(token[:dot])
	return func() {
		sum := sha256.Sum256(signed)
		if err := rsa.VerifyPKCS1v15(&testKeys()[0].PublicKey, crypto.SHA256, sum[:], sig); err != nil {
			b.Fatal(err)
		}
	}
}

// parallel reports how many times as much all CPUs do as one. The heap may grow
// as a service's would: next to nothing lives in a benchmark, so that the
// collector would run all the time, on the CPUs that are measured.
func parallel(b *testing.B, h http.Handler, r *http.Request) {
	b.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	send := func(more func() bool) {
		w := &nowhere{header: http.Header{}}
		for more() {
			h.ServeHTTP(w, r)
		}
	}
	n := -10_000 // that warm up
	var start time.Time
	send(func() bool {
		if n++; n == 0 {
			start = time.Now()
		}
		return n < 100_000
	})
	alone := time.Since(start) / time.Duration(n)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) { send(pb.Next) })
	b.ReportMetric(float64(alone)*float64(b.N)/float64(b.Elapsed()), "times")
}

func bearerRequest(token string) *http.Request {
	return request("/echo/resource?param1=sample", "Authorization", "Bearer "+token)
}

// entraLike are claims of the size that Entra's have.
func entraLike(changes object) object {
	c := claims(object{
		"aio": strings.Repeat("k2RgYFgf", 6), "azpacr": "1", "rh": "1.AXXXtEyZmZmZmZ.", "xms_ftd": strings.Repeat("x", 43),
		"oid": "99998888-7777-6666-5555-444433332222", "sub": "99998888-7777-6666-5555-444433332222", "uti": "AbCdEfGhIjKlMnOpQrStAA",
	})
	for k, v := range changes {
		c[k] = v
	}
	return c
}

// BenchmarkBaselineRSA2048 is what no check of an unseen token can do without:
// one hash and one RSA-2048 verification of a token.
func BenchmarkBaselineRSA2048(b *testing.B) {
	verify := baseline(b)
	b.ReportAllocs()
	for b.Loop() {
		verify()
	}
}

// unseen are more tokens than the gate of the benchmark remembers.
func unseen(b *testing.B, n int) []*http.Request {
	var out []*http.Request
	for i := range n {
		out = append(out, bearerRequest(mint(b, entraLike(object{"uti": fmt.Sprintf("u%021d", i)}))))
	}
	return out
}

func BenchmarkGateFirstSeen(b *testing.B) {
	for name, cfg := range both(b) {
		b.Run(name, func(b *testing.B) {
			cfg.CacheSize = 8
			measure(b, open(b, cfg).Wrap(nothing), 200, unseen(b, 256)...)
		})
	}
}

// both are the two modes, managed mode with the catalog that services have.
func both(b testing.TB) map[string]middleware.Config {
	static := config(newEntra())
	static.APIs = []appaccess.API{{ID: "echo", Path: "/echo"}}
	static.Products[0].APIs, static.Products[0].Keys = []string{"echo"}, true
	static.Subscriptions = []appaccess.Subscription{{
		ID: "s1", Scope: appaccess.AllAPIs, State: appaccess.SubscriptionActive, PrimaryHash: appaccess.HashKey("key-starter"),
	}}
	managed := managed(newEntra(), nil)
	managed.Catalog = stored(b)
	return map[string]middleware.Config{"static": static, "managed": managed}
}

// stored is the sample catalog, over a store.
func stored(b testing.TB) *appaccess.Catalog {
	b.Helper()
	c, _ := storedIn(b)
	return c
}

// storedIn also returns the store.
func storedIn(b testing.TB) (*appaccess.Catalog, appaccess.Store) {
	b.Helper()
	store, err := sqlite.Open(b.Context(), sqlite.Temporary)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, store.Close()) })
	sample := newCatalog()
	client, key := sample.clients[clientID], sample.keys[appaccess.HashKey("key-starter")]
	_, err = store.Update(b.Context(), func(w appaccess.Writer) error {
		put := func(kind appaccess.Kind, id string, v any, index ...appaccess.IndexEntry) {
			body, err := json.Marshal(v)
			require.NoError(b, err)
			require.NoError(b, w.Put(appaccess.Record{Kind: kind, ID: id, Body: body, Index: index}))
		}
		for _, p := range products() {
			put(appaccess.KindProduct, p.ID, p)
		}
		for _, a := range apis() {
			put(appaccess.KindAPI, a.ID, a)
		}
		put(appaccess.KindUser, client.OwnerID, appaccess.User{ID: client.OwnerID, State: appaccess.UserActive})
		put(appaccess.KindApplication, client.ApplicationID, appaccess.ClientApplication{
			ID: client.ApplicationID, Name: client.Name, OwnerID: client.OwnerID, State: appaccess.ApplicationActive, Grants: client.Grants,
			Entra: appaccess.ApplicationRegistration{AppID: clientID},
		}, appaccess.IndexEntry{Name: "appid", Value: clientID, Unique: true})
		sum := appaccess.HashKey("key-starter")
		put(appaccess.KindSubscription, key.SubscriptionID, appaccess.Subscription{
			ID: key.SubscriptionID, OwnerID: key.OwnerID, Scope: key.Scope, State: appaccess.SubscriptionActive, PrimaryHash: sum,
		}, appaccess.IndexEntry{Name: "key", Value: appaccess.KeyHash(sum).String(), Unique: true})
		return nil
	})
	require.NoError(b, err)
	c, err := appaccess.NewCatalog(b.Context(), appaccess.CatalogConfig{Store: store})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, c.Close()) })
	return c, store
}

func BenchmarkGateSeen(b *testing.B) {
	for name, cfg := range both(b) {
		b.Run(name, func(b *testing.B) {
			measure(b, open(b, cfg).Wrap(nothing), 200, bearerRequest(mint(b, entraLike(nil))))
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			parallel(b, open(b, cfg).Wrap(nothing), bearerRequest(mint(b, entraLike(nil))))
		})
	}
}

// A handler that listens for the end of its context pays for being followed; one
// that does not pays nothing (BenchmarkGateSeen).
func BenchmarkGateSeenListening(b *testing.B) {
	listening := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { r.Context().Done() })
	for name, cfg := range both(b) {
		b.Run(name, func(b *testing.B) {
			measure(b, open(b, cfg).Wrap(listening), 200, bearerRequest(mint(b, entraLike(nil))))
		})
	}
}

func BenchmarkGateSubscriptionKey(b *testing.B) {
	for name, cfg := range both(b) {
		r := request("/echo/resource?param1=sample", "Ocp-Apim-Subscription-Key", "key-starter")
		b.Run(name, func(b *testing.B) { measure(b, open(b, cfg).Wrap(nothing), 200, r) })
		b.Run(name+"/parallel", func(b *testing.B) { parallel(b, open(b, cfg).Wrap(nothing), r) })
	}
}

// hostileRequest carries an expired token whose claims are as large as the
// default MaxTokenSize allows and hard to skip: a value that repeats unit.
func hostileRequest(b *testing.B, begin, unit, end string) *http.Request {
	b.Helper()
	payload, err := json.Marshal(entraLike(object{"exp": 1}))
	require.NoError(b, err)
	const most = 6 << 10 / 2 // half of the default MaxTokenSize
	fill := (most - len(payload) - len(`{"x":`) - len(begin) - len(end)) / len(unit)
	claims := `{"x":` + begin + strings.Repeat(unit, fill) + end + "," + string(payload[1:])
	require.InDelta(b, most, len(claims), 20)
	return bearerRequest(signRaw(b, testKeys()[0], `{"typ":"JWT","alg":"RS256","kid":"k1"}`, claims))
}

func BenchmarkGateRefuse(b *testing.B) {
	h := open(b, both(b)["static"]).Wrap(nothing)
	members := object{}
	for i := range 120 {
		members[fmt.Sprintf("m%d", i)] = i
	}
	for _, tc := range []struct {
		name   string
		status int
		r      *http.Request
	}{
		{"before-claims/no-credential", 401, request("/echo")},
		{"before-claims/garbage", 401, bearerRequest("garbage")},
		{"before-claims/too-large", 401, bearerRequest(strings.Repeat("a", 1<<20))},
		{"before-claims/dots", 401, bearerRequest(strings.Repeat(".", 1<<20))},
		{"before-claims/alg-none", 401, bearerRequest(sign(b, testKeys()[0], object{"alg": "none", "typ": "JWT", "kid": "k1"}, entraLike(nil)))},
		{"before-claims/kid-missing", 401, bearerRequest(sign(b, testKeys()[0], object{"alg": "RS256", "typ": "JWT"}, entraLike(nil)))},
		{"before-claims/8-KiB", 401, bearerRequest(mint(b, entraLike(object{"x": strings.Repeat("x", 9<<10)})))},
		{"before-claims/wrong-key", 401, request("/echo", "Ocp-Apim-Subscription-Key", "wrong")},
		{"before-claims/path", 400, request("/echo/../x")},
		{"after-claims/members", 401, bearerRequest(mint(b, entraLike(members)))},
		{"after-claims/array", 401, hostileRequest(b, "[", "0,", "0]")},
		{"after-claims/array-of-arrays", 401, hostileRequest(b, "[", "[],", "0]")},
		{"after-claims/array-of-strings", 401, hostileRequest(b, "[", `"",`, "0]")},
		{"after-claims/array-of-objects", 401, hostileRequest(b, "[", `{},`, "0]")},
		{"after-claims/allowed-array", 401, hostileRequest(b, "[", `"`+strings.Repeat("x", 28)+`",`, "0]")},
		{"after-claims/nesting", 401, hostileRequest(b, strings.Repeat("[", 1000), " ", strings.Repeat("]", 1000))},
		{"after-claims/escapes", 401, hostileRequest(b, `"`, `\u0041`, `"`)},
		{"after-claims/names-with-escapes", 401, hostileRequest(b, `{`, `"\u0041":0,`, `"x":0}`)},
		{"after-claims/long-string", 401, hostileRequest(b, `"`, `x`, `"`)},
		{"after-claims/long-number", 401, hostileRequest(b, `1`, `0`, ``)},
		{"after-claims/blanks", 401, hostileRequest(b, ``, ` `, `0`)},
		{"after-claims/not-ASCII", 401, hostileRequest(b, `"`, "\u20ac", `"`)},
		{"after-claims/some-not-ASCII", 401, hostileRequest(b, `"`+strings.Repeat("\u20ac", 250), "x", `"`)},
		{"after-claims/roles", 401, bearerRequest(mint(b, entraLike(object{"exp": 1, "roles": slices.Repeat([]string{""}, 1400)})))},
		{"after-claims/aud", 401, bearerRequest(mint(b, entraLike(object{"aud": slices.Repeat([]string{""}, 1400)})))},
		{"after-claims/commas-in-text", 401, hostileRequest(b, `"`, `,`, `"`)},
		{"after-claims/quotes-in-text", 401, hostileRequest(b, `"`, `\",`, `"`)},
		{"after-claims/issuer", 401, bearerRequest(mint(b, entraLike(object{"iss": "https://login.test/x/v2.0"})))},
		{"after-claims/audience", 401, bearerRequest(mint(b, entraLike(object{"aud": "x"})))},
		{"after-claims/expired", 401, bearerRequest(mint(b, entraLike(object{"exp": 1})))},
		{"after-claims/unknown-key", 401, bearerRequest(sign(b, testKeys()[1], object{"alg": "RS256", "typ": "JWT", "kid": "k9"}, entraLike(nil)))},
	} {
		b.Run(tc.name, func(b *testing.B) { measure(b, h, tc.status, tc.r) })
	}
}
