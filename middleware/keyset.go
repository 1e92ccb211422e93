package middleware

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// keySet is one immutable answer of a tenant's keys endpoint. It is the
// jwkset.Storage that keyfunc reads: what it does not override only serves
// copies of the keys as JSON.
type keySet struct {
	*jwkset.MemoryJWKSet
	keys    map[string]*signingKey
	fetched time.Time
	found   map[use]any // what keyfunc answers, asked once
}

// use is what a token's header asks for.
type use struct{ kid, alg string }

// signingKey is one key of a set. A refresh that brings the same key keeps the
// same pointer, so that a pointer names a key for as long as it is published.
type signingKey struct {
	jwk    jwkset.JWK
	public *rsa.PublicKey
	issuer string // of the key; empty if it names none
}

var errImmutable = errors.New("middleware: a key set is immutable")

// KeyDelete refuses: the set is immutable.
func (s *keySet) KeyDelete(context.Context, string) (bool, error) { return false, errImmutable }

// KeyReplaceAll refuses: the set is immutable.
func (s *keySet) KeyReplaceAll(context.Context, []jwkset.JWK) error { return errImmutable }

// KeyWrite refuses: the set is immutable.
func (s *keySet) KeyWrite(context.Context, jwkset.JWK) error { return errImmutable }

// KeyRead finds a key by its ID.
func (s *keySet) KeyRead(_ context.Context, kid string) (jwkset.JWK, error) {
	k := s.keys[kid]
	if k == nil {
		return jwkset.JWK{}, jwkset.ErrKeyNotFound
	}
	return k.jwk, nil
}

// verify checks the signature of a token's signed part with the key of the set
// that the token names. A key that names its algorithm serves no other.
func (s *keySet) verify(t *token, signed string, signature []byte) error {
	key := s.found[use{t.kid, t.alg}]
	if key == nil {
		return jwt.ErrTokenUnverifiable
	}
	return signingMethods[t.alg].Verify(signed, signature, key)
}

// parseKeySet reads a key set (RFC 7517, 5). Keys that cannot verify a token's
// signature, or that are not safe to, are left out; a set that holds no other
// is an error. old may be nil.
func parseKeySet(body []byte, old *keySet, now time.Time) (*keySet, error) {
	var doc struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, fmt.Errorf("no JSON Web Key Set: %w", err)
	}
	set := &keySet{MemoryJWKSet: jwkset.NewMemoryStorage(), keys: map[string]*signingKey{}, fetched: now}
	twice := map[string]bool{}
	var skipped error
	for _, raw := range doc.Keys {
		k, kid, err := parseKey(raw)
		if err != nil {
			skipped = err
			continue
		}
		if other := set.keys[kid]; other != nil && !same(k, other) {
			twice[kid] = true
		}
		if old != nil && old.keys[kid] != nil && same(k, old.keys[kid]) {
			k = old.keys[kid]
		}
		set.keys[kid] = k
	}
	for kid := range twice { // which of them is meant nobody can tell
		delete(set.keys, kid)
	}
	if len(set.keys) == 0 {
		return nil, fmt.Errorf("no usable key among %d (last one: %w)", len(doc.Keys), skipped)
	}
	return set.complete()
}

func (s *keySet) complete() (*keySet, error) {
	for _, k := range s.keys {
		if err := s.MemoryJWKSet.KeyWrite(context.Background(), k.jwk); err != nil {
			return nil, err
		}
	}
	find, err := keyfunc.New(keyfunc.Options{Storage: s})
	if err != nil {
		return nil, err
	}
	s.found = map[use]any{}
	for kid := range s.keys {
		for alg, method := range signingMethods {
			ask := &jwt.Token{Method: method, Header: map[string]any{"alg": alg, "kid": kid}}
			if key, err := find.Keyfunc(ask); err == nil {
				s.found[use{kid, alg}] = key
			}
		}
	}
	return s, nil
}

func same(a, b *signingKey) bool {
	return a.public.Equal(b.public) && a.issuer == b.issuer && a.jwk.Marshal().ALG == b.jwk.Marshal().ALG
}

// keyMembers are what is read of a key: no certificate, and of private parts
// only that they are there.
type keyMembers struct {
	KTY    string         `json:"kty"`
	USE    string         `json:"use"`
	KEYOPS []string       `json:"key_ops"`
	ALG    string         `json:"alg"`
	KID    string         `json:"kid"`
	N      string         `json:"n"`
	E      string         `json:"e"`
	D      jsontext.Value `json:"d"`
	K      jsontext.Value `json:"k"`
	Issuer string         `json:"issuer"`
}

func parseKey(raw jsontext.Value) (*signingKey, string, error) {
	var m keyMembers
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, "", errors.New("malformed")
	}
	if err := m.check(); err != nil {
		return nil, "", err
	}
	jwk, err := jwkset.NewJWKFromMarshal(jwkset.JWKMarshal{
		KTY: jwkset.KTY(m.KTY), USE: jwkset.USE(m.USE), ALG: jwkset.ALG(m.ALG), KID: m.KID, N: m.N, E: m.E,
	}, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return nil, "", err
	}
	public, ok := jwk.Key().(*rsa.PublicKey)
	if !ok {
		return nil, "", errors.New("not an RSA public key")
	}
	if bits := public.N.BitLen(); bits < 2048 || bits > maxKeyBits || public.N.Bit(0) == 0 {
		return nil, "", fmt.Errorf("modulus of %d bits: 2048 to %d are allowed", bits, maxKeyBits)
	}
	if public.E < 65537 || public.E&1 == 0 {
		return nil, "", fmt.Errorf("public exponent %d: odd ones from 65537 are allowed", public.E)
	}
	return &signingKey{jwk: jwk, public: public, issuer: m.Issuer}, m.KID, nil
}

func (m *keyMembers) check() error {
	switch {
	case m.KTY != "RSA":
		return errors.New("kty is not RSA")
	case m.USE != "" && m.USE != "sig":
		return errors.New("use is not sig")
	case len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, "verify"):
		return errors.New("key_ops lacks verify")
	case m.ALG != "" && signingMethods[m.ALG] == nil:
		return errors.New("alg is not one for RSA signatures")
	case !validKeyID(m.KID):
		return errors.New("kid is missing or unusual")
	case len(m.D) > 0 || len(m.K) > 0:
		return errors.New("holds a private key")
	case len(m.N) > 2048 || len(m.E) > 16:
		return errors.New("modulus or exponent too long")
	}
	return nil
}

// mayVerify reports whether a key may verify tokens of an issuer pair: a key
// may name its issuer, in the form of either version and with {tenantid} for
// the tenant; it must then be that tenant's.
func (k *signingKey) mayVerify(tn *tenant) bool {
	if k.issuer == "" {
		return true
	}
	iss := strings.ReplaceAll(k.issuer, "{tenantid}", tn.id)
	return iss == tn.issuerV2 || iss == tn.issuerV1 && tn.issuerV1 != ""
}
