package entratest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"slices"
	"sync"
	"time"
)

// keyRing is which keys of the pool the tenant signs with and publishes.
type keyRing struct {
	tenant         string
	first, current int // first..current are published
	foreign        []jwk
}

type signingKey struct {
	private *rsa.PrivateKey
	kid     string
	cert    []byte // DER
}

// keyPool keeps the keys of a process by tenant ID, in the order of rotation:
// making one takes long, and tests make many tenants.
var keyPool struct {
	sync.Mutex
	keys map[string][]*signingKey
}

func poolKey(tenant string, n int) *signingKey {
	keyPool.Lock()
	defer keyPool.Unlock()
	if keyPool.keys == nil {
		keyPool.keys = map[string][]*signingKey{}
	}
	for len(keyPool.keys[tenant]) <= n {
		keyPool.keys[tenant] = append(keyPool.keys[tenant], newSigningKey())
	}
	return keyPool.keys[tenant][n]
}

func newSigningKey() *signingKey {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // cannot happen: crypto/rand does not fail
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "accounts.accesscontrol.windows.net"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		panic(err) // cannot happen: template and key are valid
	}
	sum := sha1.Sum(der) // as x5t is defined, RFC 7517
	return &signingKey{private, base64.RawURLEncoding.EncodeToString(sum[:]), der}
}

func (t *Tenant) currentKey() *signingKey {
	t.mu.Lock()
	n := t.keys.current
	t.mu.Unlock()
	return poolKey(t.ID(), n)
}

// RotateKeys makes a new key and signs with it from now on. The old ones stay
// published until [Tenant.RetireKeys].
func (t *Tenant) RotateKeys() {
	t.mu.Lock()
	t.keys.current++
	n := t.keys.current
	t.mu.Unlock()
	poolKey(t.ID(), n)
}

// RetireKeys publishes only the key that signs now. The tenant's own Graph goes
// on accepting tokens of the other keys until they expire.
func (t *Tenant) RetireKeys() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys.first = t.keys.current
}

// SigningKey is the key that signs now, for tests that make tokens by hand.
func (t *Tenant) SigningKey() (kid string, key *rsa.PrivateKey) {
	k := t.currentKey()
	return k.kid, k.private
}

// PublishKey publishes one more key of an issuer. The tenant does not sign with it: it
// is for tests of which keys a resource trusts.
func (t *Tenant) PublishKey(kid string, key *rsa.PublicKey, issuer string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys.foreign = append(t.keys.foreign, jwk{
		KTY: "RSA", Use: "sig", KID: kid, X5T: kid, Issuer: issuer,
		N: base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		E: base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
	})
}

type jwk struct {
	KTY    string   `json:"kty"`
	Use    string   `json:"use"`
	KID    string   `json:"kid"`
	X5T    string   `json:"x5t"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	X5C    []string `json:"x5c,omitempty"`
	Cloud  string   `json:"cloud_instance_name"`
	Issuer string   `json:"issuer"`
}

// jwks is the key set as Entra publishes it: without alg, with the issuer that
// each key belongs to.
func (t *Tenant) jwks(issuer, host string) any {
	t.mu.Lock()
	first, current := t.keys.first, t.keys.current
	keys := slices.Clone(t.keys.foreign)
	t.mu.Unlock()
	for n := first; n <= current; n++ {
		k := poolKey(t.ID(), n)
		keys = append(keys, jwk{
			KTY: "RSA", Use: "sig", KID: k.kid, X5T: k.kid,
			N:     base64.RawURLEncoding.EncodeToString(k.private.N.Bytes()),
			E:     base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.private.E)).Bytes()),
			X5C:   []string{base64.StdEncoding.EncodeToString(k.cert)},
			Cloud: host, Issuer: issuer,
		})
	}
	return map[string]any{"keys": keys}
}
