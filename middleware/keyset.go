package middleware

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// keySet is the immutable set of keys after one answer of a tenant's key endpoint.
// It implements jwkset.Storage for keyfunc. The methods that it inherits from
// MemoryJWKSet are not used for verification.
type keySet struct {
	*jwkset.MemoryJWKSet
	keys       map[string]*signingKey
	fetched    time.Time
	remembered bool               // read from the KeyMemory
	missing    map[string]absence // keys in use that were missing in the last answers
	found      map[use]any        // the results of keyfunc
}

// absence counts the answers without a key that is still in use.
//
// Microsoft's endpoint was observed to alternate between two sets during a rollover.
// A key is therefore dropped only after maxAbsences answers without it. An answer
// counts only if the one before is at least absenceInterval old, so that tokens with
// invented key IDs, which cause fetches, cannot speed this up.
type absence struct {
	answers int
	last    time.Time
}

const (
	maxAbsences     = 3
	absenceInterval = 4 * time.Minute
)

// use is the key ID and the algorithm in a token's header.
type use struct{ kid, alg string }

// signingKey is one key of a set. If a refresh contains the same key, the pointer
// stays the same, so that pointers can be compared.
type signingKey struct {
	jwk    jwkset.JWK
	public *rsa.PublicKey
	issuer string // for which the key may sign; empty: any
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

// verify checks the signature of a token's signed part with the key that the token
// names. A key with an algorithm verifies no other algorithm.
func (s *keySet) verify(t *token, signed string, signature []byte) error {
	key := s.found[use{t.kid, t.alg}]
	if key == nil {
		return jwt.ErrTokenUnverifiable
	}
	return signingMethods[t.alg].Verify(signed, signature, key)
}

// parseKeySet reads a key set (RFC 7517, 5). It leaves out keys that are malformed,
// are not for signatures, or are too weak. It fails if no key is left. Keys of old
// that are missing in the answer stay in use for some answers: see absence. old may
// be nil.
func parseKeySet(body []byte, old *keySet, now time.Time) (*keySet, error) {
	entries, err := keyEntries(body)
	if err != nil {
		return nil, fmt.Errorf("no JSON Web Key Set: %w", err)
	}
	set := &keySet{MemoryJWKSet: jwkset.NewMemoryStorage(), keys: map[string]*signingKey{}, fetched: now}
	twice := map[string]bool{}
	var skipped error
	for _, raw := range entries {
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
	for kid := range twice { // two keys with one ID: neither is used
		delete(set.keys, kid)
	}
	if len(set.keys) == 0 {
		return nil, fmt.Errorf("no usable key among %d (last one: %w)", len(entries), skipped)
	}
	set.keep(old, twice)
	return set.complete()
}

// keyEntries splits a key set into its entries without decoding them, so that one
// malformed entry does not make the others unusable.
func keyEntries(body []byte) ([]jsontext.Value, error) {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	var entries []jsontext.Value
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if kind := d.PeekKind(); kind != '{' {
		return nil, errors.New("not an object")
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	found := false
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		switch {
		case name.String() != "keys":
			err = d.SkipValue()
		case found:
			return nil, errors.New("keys: occurs twice")
		default:
			found = true
			err = json.UnmarshalDecode(d, &entries)
		}
		if err != nil {
			return nil, err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return entries, nil
}

// keep adds the keys of the old set that are missing in this answer, except keys
// that were missing in maxAbsences answers and key IDs that this answer has twice.
func (s *keySet) keep(old *keySet, twice map[string]bool) {
	if old == nil {
		return
	}
	s.missing = map[string]absence{}
	for kid, k := range old.keys {
		if s.keys[kid] != nil || twice[kid] {
			continue
		}
		a := old.missing[kid]
		if a.answers == 0 || s.fetched.Sub(a.last) >= absenceInterval {
			a = absence{a.answers + 1, s.fetched}
		}
		if a.answers < maxAbsences {
			s.keys[kid], s.missing[kid] = k, a
		}
	}
}

// without returns the set without the denied keys, or the set itself if it holds
// none of them. The result may be empty: then no token passes.
func (s *keySet) without(denied *denials) (*keySet, error) {
	out := &keySet{
		MemoryJWKSet: jwkset.NewMemoryStorage(), keys: map[string]*signingKey{},
		fetched: s.fetched, remembered: s.remembered, missing: s.missing,
	}
	for kid, k := range s.keys {
		if !denied.has(kid) {
			out.keys[kid] = k
		}
	}
	if len(out.keys) == len(s.keys) {
		return s, nil
	}
	return out.complete()
}

// denials are the key IDs that Gate.DenyKeys denied, for all tenants of a gate. A nil
// *denials is empty.
type denials struct {
	mu   sync.RWMutex
	kids map[string]bool
}

func (d *denials) has(kid string) bool {
	if d == nil {
		return false
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.kids[kid]
}

func (d *denials) add(kids []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kids == nil {
		d.kids = map[string]bool{}
	}
	for _, kid := range kids {
		d.kids[kid] = true
	}
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

// keyMembers are the members of a key that are read. Certificates are not read.
// Private members are read only to refuse a key that has them.
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
		return errors.New("key_ops does not contain verify")
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

// mayVerify reports whether a key may verify tokens of a tenant. If the key names an
// issuer, it must be the tenant's version 1 or version 2 issuer, where {tenantid}
// is a placeholder for the tenant's ID.
func (k *signingKey) mayVerify(tn *tenant) bool {
	if k.issuer == "" {
		return true
	}
	iss := strings.ReplaceAll(k.issuer, "{tenantid}", tn.id)
	return iss == tn.issuerV2 || iss == tn.issuerV1 && tn.issuerV1 != ""
}
