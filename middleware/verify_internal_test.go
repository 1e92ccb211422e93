package middleware

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type answering string

func (a answering) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(a)))}, nil
}

// The cache keeps the claims of genuine tokens and nothing that could be sent
// as a token again. Refused tokens do not enter it.
func TestNoBearerTokenIsKept(t *testing.T) {
	t.Parallel()
	const tenantID, appID = "aaaabbbb-0000-cccc-1111-dddd2222eeee", "55556666-ffff-7777-aaaa-8888bbbb9999"
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	e := base64.RawURLEncoding
	g, err := New(Config{
		Tenants: []string{tenantID}, Authority: "https://login.test",
		Products:   []Product{{ID: "p", Audiences: []string{appID}, Role: "r"}},
		HTTPClient: &http.Client{Transport: answering(`{"keys":[{"kty":"RSA","kid":"k1","e":"AQAB","n":"` + e.EncodeToString(key.N.Bytes()) + `"}]}`)},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, g.Close()) }()
	token := func(more string) string {
		claims := fmt.Sprintf(`{"iss":"https://login.test/%s/v2.0","tid":%q,"ver":"2.0","aud":%q,"azp":"c","exp":%d%s}`,
			tenantID, tenantID, appID, time.Now().Add(time.Hour).Unix(), more)
		signed := e.EncodeToString([]byte(goodHeader)) + "." + e.EncodeToString([]byte(claims))
		sum := sha256.Sum256([]byte(signed))
		sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		require.NoError(t, err)
		return signed + "." + e.EncodeToString(sig)
	}
	v := g.verifier
	good := token("")
	_, f := v.check(t.Context(), good, g.current(), time.Now())
	require.True(t, f.ok(), f)
	dot := strings.LastIndexByte(good, '.')
	sum := sha256.Sum256([]byte(good[dot+1:]))
	seen := v.cache.get(&sum, good[:dot], time.Now())
	require.NotNil(t, seen)
	assert.NotContains(t, seen.signed, good[dot+1:])
	assert.Equal(t, "c", seen.token.client())
	assert.Equal(t, seen.token.exp.Unix()+60, seen.until)

	spliced := token(`,"roles":["r"]`)
	spliced = spliced[:strings.LastIndexByte(spliced, '.')] + good[dot:]
	for _, bad := range []string{spliced, token(`,"scp":"x"`), token(`,"nonce":"x"`), token(`,"roles":"x"`), good[:len(good)-8] + "AAAAAAAA", "x"} {
		_, f := v.check(t.Context(), bad, g.current(), time.Now())
		assert.False(t, f.ok())
	}
	assert.Equal(t, 1, v.cache.len())
}
