package middleware_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/middleware"
)

const (
	tenantID  = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
	appID     = "55556666-ffff-7777-aaaa-8888bbbb9999"
	otherApp  = "66667777-aaaa-8888-bbbb-9999cccc0000"
	clientID  = "00001111-aaaa-2222-bbbb-3333cccc4444"
	authority = "https://login.test"
	role      = "Product.Starter.All"
)

// keys are made once: RSA generation is what costs most in these tests.
var testKeys = sync.OnceValue(func() []*rsa.PrivateKey {
	keys := make([]*rsa.PrivateKey, 4)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			k, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				panic(err)
			}
			keys[i] = k
		})
	}
	wg.Wait()
	return keys
})

// entra is a tenant's keys endpoint, answered in process: it is the transport
// of the gate's HTTP client, so that it works with fake time too.
type entra struct {
	mu      sync.Mutex
	keys    map[string]*rsa.PrivateKey
	issuer  string                                      // of the keys
	answer  func(*http.Request) (*http.Response, error) // instead of the keys
	hold    chan struct{}                               // the answer waits for it
	fetches int
}

func newEntra() *entra {
	return &entra{
		keys:   map[string]*rsa.PrivateKey{"k1": testKeys()[0]},
		issuer: authority + "/{tenantid}/v2.0",
	}
}

func (e *entra) RoundTrip(r *http.Request) (*http.Response, error) {
	e.mu.Lock()
	e.fetches++
	answer, hold, body := e.answer, e.hold, e.document()
	e.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if answer != nil {
		return answer(r)
	}
	return respond(http.StatusOK, body), nil
}

func respond(status int, body []byte) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}
}

func (e *entra) document() []byte {
	keys := []map[string]string{}
	for kid, k := range e.keys {
		m := jwk(kid, &k.PublicKey)
		if e.issuer != "" {
			m["issuer"] = e.issuer
		}
		keys = append(keys, m)
	}
	out, _ := json.Marshal(map[string]any{"keys": keys})
	return out
}

func jwk(kid string, k *rsa.PublicKey) map[string]string {
	return map[string]string{
		"kty": "RSA", "use": "sig", "kid": kid, "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes()),
	}
}

func (e *entra) set(f func(*entra)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(e)
}

func (e *entra) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.fetches
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

type object = map[string]any

// claims returns the claims of a version 2 application token, with changes; a nil value
// takes a claim out.
func claims(changes object) object {
	return claimsAt(time.Now(), changes)
}

func claimsAt(now time.Time, changes object) object {
	c := object{
		"aud": appID, "iss": authority + "/" + tenantID + "/v2.0", "tid": tenantID, "ver": "2.0",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"azp": clientID, "azpacr": "1", "oid": "o-1", "sub": "o-1", "idtyp": "app", "roles": []string{role}, "uti": "u-1", "rh": "0.x",
	}
	maps.Copy(c, changes)
	for k, v := range c {
		if v == nil {
			delete(c, k)
		}
	}
	return c
}

// mint signs a token with a key of the test.
func mint(t testing.TB, c object) string {
	return sign(t, testKeys()[0], object{"typ": "JWT", "alg": "RS256", "kid": "k1"}, c)
}

func sign(t testing.TB, key *rsa.PrivateKey, header, c object) string {
	h, err := json.Marshal(header)
	require.NoError(t, err)
	p, err := json.Marshal(c)
	require.NoError(t, err)
	return signRaw(t, key, string(h), string(p))
}

// signRaw signs parts as they stand.
func signRaw(t testing.TB, key *rsa.PrivateKey, header, payload string) string {
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	require.NoError(t, err)
	return signed + "." + b64(sig)
}

func config(e *entra) middleware.Config {
	return middleware.Config{
		Tenants: []string{tenantID}, Authority: authority,
		Products: []middleware.Product{
			{ID: "starter", Audiences: []string{appID, "api://" + appID}, Role: role},
			{ID: "other", Audiences: []string{otherApp}, Role: "Product.Other.All"},
		},
		HTTPClient: &http.Client{Transport: e},
	}
}

func open(t testing.TB, c middleware.Config) *middleware.Gate {
	g, err := middleware.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

// echo answers 200 and who called.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if p, ok := middleware.PrincipalFrom(r.Context()); ok {
		w.Header().Set("X-Caller", p.ClientID+p.SubscriptionID+" "+p.Product)
	}
	_, _ = io.WriteString(w, "echo")
})

func get(h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	return do(h, request(path, header...))
}

func request(path string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func call(h http.Handler, token string) *httptest.ResponseRecorder {
	return get(h, "/echo", "Authorization", "Bearer "+token)
}
