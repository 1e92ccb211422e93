package middleware

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Which keys are taken and which are left out, each alone in a set.
func TestParseKeySet(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	e := base64.RawURLEncoding
	bits := func(n uint) string { // an odd number of so many bits
		x := new(big.Int).Lsh(big.NewInt(1), n-1)
		return e.EncodeToString(x.SetBit(x, 0, 1).Bytes())
	}
	for name, tc := range map[string]struct {
		changes map[string]any
		ok      bool
	}{
		"as Entra's":         {nil, true},
		"without use":        {map[string]any{"use": nil}, true},
		"with alg":           {map[string]any{"alg": "RS256"}, true},
		"key_ops":            {map[string]any{"key_ops": []string{"verify"}}, true},
		"other members":      {map[string]any{"x5t": "x", "x5c": []string{"not a certificate"}, "cloud_instance_name": "x"}, true},
		"8192 bits":          {map[string]any{"n": bits(8192)}, true},
		"8193 bits":          {map[string]any{"n": bits(8193)}, false},
		"2047 bits":          {map[string]any{"n": bits(2047)}, false},
		"even modulus":       {map[string]any{"n": e.EncodeToString(new(big.Int).Lsh(big.NewInt(1), 2047).Bytes())}, false},
		"very long":          {map[string]any{"n": strings.Repeat("A", 4096)}, false},
		"no modulus":         {map[string]any{"n": nil}, false},
		"exponent 3":         {map[string]any{"e": "Aw"}, false},
		"even exponent":      {map[string]any{"e": "AQAC"}, false},
		"no exponent":        {map[string]any{"e": nil}, false},
		"encryption":         {map[string]any{"use": "enc"}, false},
		"key_ops to encrypt": {map[string]any{"key_ops": []string{"encrypt"}}, false},
		"private":            {map[string]any{"d": "x"}, false},
		"private, null":      {map[string]any{"d": json.RawMessage("null")}, false},
		"symmetric":          {map[string]any{"kty": "oct", "k": "x"}, false},
		"secret besides":     {map[string]any{"k": "x"}, false},
		"EC":                 {map[string]any{"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}, false},
		"alg of HMAC":        {map[string]any{"alg": "HS256"}, false},
		"alg to encrypt":     {map[string]any{"alg": "RSA-OAEP"}, false},
		"no kid":             {map[string]any{"kid": nil}, false},
		"kid with a slash":   {map[string]any{"kid": "../k"}, false},
		"kid number":         {map[string]any{"kid": 1}, false},
		"KID":                {map[string]any{"kid": nil, "KID": "k1"}, false},
	} {
		doc := map[string]any{"kty": "RSA", "use": "sig", "kid": "k1", "e": "AQAB", "n": e.EncodeToString(key.N.Bytes())}
		for k, v := range tc.changes {
			if doc[k] = v; v == nil {
				delete(doc, k)
			}
		}
		body, err := json.Marshal(map[string]any{"keys": []any{doc}})
		require.NoError(t, err)
		set, err := parseKeySet(body, nil, time.Now())
		assert.Equal(t, tc.ok, err == nil, "%s: %v", name, err)
		if err == nil {
			again, err := parseKeySet(body, set, time.Now())
			require.NoError(t, err)
			assert.Same(t, set.keys["k1"], again.keys["k1"], "the same key stays the same")
		}
	}
}

// The set is what keyfunc and jwkset take it for, and cannot be changed.
func TestKeySetIsImmutable(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	set, err := parseKeySet([]byte(`{"keys":[{"kty":"RSA","kid":"k1","e":"AQAB","n":"`+base64.RawURLEncoding.EncodeToString(key.N.Bytes())+`"}]}`), nil, time.Now())
	require.NoError(t, err)
	ctx := t.Context()
	k, err := set.KeyRead(ctx, "k1")
	require.NoError(t, err)
	_, err = set.KeyRead(ctx, "k2")
	require.Error(t, err)
	_, err = set.KeyDelete(ctx, "k1")
	require.Error(t, err)
	require.Error(t, set.KeyWrite(ctx, k))
	require.Error(t, set.KeyReplaceAll(ctx, nil))
	find, err := keyfunc.New(keyfunc.Options{Storage: set})
	require.NoError(t, err)
	all, err := find.VerificationKeySet(ctx)
	require.NoError(t, err)
	assert.Len(t, all.Keys, 1)
}

// A key that comes back under its ID, but is not the same any more, is another
// key: tokens that the old one signed are not remembered for it.
func TestKeysThatChange(t *testing.T) {
	t.Parallel()
	var moduli []string
	for range 2 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		moduli = append(moduli, base64.RawURLEncoding.EncodeToString(key.N.Bytes()))
	}
	key := func(n, more string) string {
		return `{"kty":"RSA","kid":"k1","e":"AQAB","n":"` + n + `"` + more + `}`
	}
	parse := func(old *keySet, keys ...string) *keySet {
		set, err := parseKeySet([]byte(`{"keys":[`+strings.Join(keys, ",")+`]}`), old, time.Now())
		require.NoError(t, err)
		return set
	}
	was := key(moduli[0], "")
	old := parse(nil, was)
	assert.Same(t, old.keys["k1"], parse(old, key(moduli[0], `,"use":"sig","x5t":"x"`)).keys["k1"])
	assert.Same(t, old.keys["k1"], parse(old, was, was).keys["k1"], "twice the same is one")
	for name, now := range map[string]string{
		"modulus": key(moduli[1], ""), "issuer": key(moduli[0], `,"issuer":"https://login.test/x/v2.0"`), "alg": key(moduli[0], `,"alg":"RS256"`),
	} {
		set := parse(old, now)
		assert.NotSame(t, old.keys["k1"], set.keys["k1"], name)
		assert.Equal(t, name == "modulus", !old.keys["k1"].public.Equal(set.keys["k1"].public), name)
		_, err := parseKeySet([]byte(`{"keys":[`+was+`,`+now+`]}`), old, time.Now())
		assert.Error(t, err, "%s: which of the two is meant nobody can tell", name)
	}
}
