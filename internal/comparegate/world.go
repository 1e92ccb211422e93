package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	tenantID = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
	audience = "55556666-ffff-7777-aaaa-8888bbbb9999"
	role     = "Product.Starter.All"
)

// world is an issuer with its keys endpoint, and tokens of it.
type world struct {
	key      *rsa.PrivateKey
	srv      *httptest.Server
	issuer   string
	tokens   []string // genuine, all different
	forged   string   // by another key of the same name
	baseline func()
}

func newWorld() (*world, error) {
	w := &world{}
	var err error
	if w.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	w.srv = httptest.NewServer(http.HandlerFunc(w.serve))
	w.issuer = w.srv.URL + "/" + tenantID + "/v2.0"
	for n := range 256 {
		w.tokens = append(w.tokens, w.sign(w.key, n))
	}
	w.forged = w.sign(other, 0)
	w.baseline = baseline(&w.key.PublicKey, w.tokens[0])
	return w, nil
}

func (w *world) close() { w.srv.Close() }

// serve publishes the key with alg, which Entra does not, because one of the
// libraries refuses keys without.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	if strings.HasSuffix(r.URL.Path, "openid-configuration") {
		_ = json.NewEncoder(rw).Encode(map[string]string{"issuer": w.issuer, "jwks_uri": w.keys()})
		return
	}
	_ = json.NewEncoder(rw).Encode(map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1", "e": "AQAB",
		"n": base64.RawURLEncoding.EncodeToString(w.key.N.Bytes()),
	}}})
}

func (w *world) keys() string { return w.srv.URL + "/" + tenantID + "/discovery/v2.0/keys" }

func (w *world) keysURL() *url.URL {
	u, err := url.Parse(w.keys())
	if err != nil {
		panic(err) // the server's own address
	}
	return u
}

// sign makes a token of the size that Entra's have.
func (w *world) sign(key *rsa.PrivateKey, n int) string {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"aud": audience, "iss": w.issuer, "tid": tenantID, "ver": "2.0",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"azp": "00001111-aaaa-2222-bbbb-3333cccc4444", "azpacr": "1", "idtyp": "app", "roles": []string{role},
		"oid": "99998888-7777-6666-5555-444433332222", "sub": "99998888-7777-6666-5555-444433332222",
		"aio": strings.Repeat("k2RgYFgf", 6), "rh": "1.AXXXtEyZmZmZmZ.", "uti": fmt.Sprintf("u%021d", n), "xms_ftd": strings.Repeat("x", 43),
	})
	t.Header["kid"] = "k1"
	signed, err := t.SignedString(key)
	if err != nil {
		panic(err) // the claims are JSON and the key is valid
	}
	return signed
}

// request is one with a token.
func request(token string) *http.Request {
	return &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: "/echo"}, RequestURI: "/echo",
		Header: http.Header{"Authorization": {"Bearer " + token}},
	}
}

// requests are as many as there are genuine tokens.
func (w *world) requests() []*http.Request {
	var out []*http.Request
	for _, token := range w.tokens {
		out = append(out, request(token))
	}
	return out
}

type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(b []byte) (int, error) { return len(b), nil }
func (a *answer) WriteHeader(status int)      { a.status = status }

// baseline verifies one token's signature and nothing else.
func baseline(key *rsa.PublicKey, token string) func() {
	dot := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		panic(err) // our own token
	}
	signed := []byte(token[:dot])
	return func() {
		sum := sha256.Sum256(signed)
		if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig); err != nil {
			panic(err)
		}
	}
}
