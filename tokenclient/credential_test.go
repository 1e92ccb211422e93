package tokenclient_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/tokenclient"
)

func TestSecretFileIsReadForEachFetch(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "secret", "first-secret\n")
	e, clk := newEndpoint(t, nil), newClock()
	s := newClient(t, e, clk, func(cfg *tokenclient.Config) { cfg.Credential = tokenclient.SecretFile(path) }).Source(scope)
	mustToken(t, s)
	assert.Equal(t, "first-secret", e.form(1).Get("client_secret"))
	require.NoError(t, os.WriteFile(path, []byte("second-secret\r\n"), 0o600))
	clk.advance(time.Hour)
	mustToken(t, s)
	assert.Equal(t, "second-secret", e.form(2).Get("client_secret"))

	require.NoError(t, os.Remove(path))
	clk.advance(time.Hour)
	err := mustFail(t, s)
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, path)
}

func TestSecretEnv(t *testing.T) {
	t.Setenv("ENTRAGATE_TEST_SECRET", password)
	e := newEndpoint(t, nil)
	mustToken(t, newClient(t, e, nil, func(cfg *tokenclient.Config) {
		cfg.Credential = tokenclient.SecretEnv("ENTRAGATE_TEST_SECRET")
	}).Source(scope))
	assert.Equal(t, password, e.form(1).Get("client_secret"))
	_, err := tokenclient.New(tokenclient.Config{
		TenantID: tenant, ClientID: clientID, Credential: tokenclient.SecretEnv("ENTRAGATE_TEST_UNSET"),
	})
	require.ErrorContains(t, err, "ENTRAGATE_TEST_UNSET: is empty")
}

func TestSecretInHeader(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, nil)
	secret := "p+a s%:ä"
	mustToken(t, newClient(t, e, nil, func(cfg *tokenclient.Config) {
		cfg.Credential, cfg.SecretInHeader = tokenclient.Secret(secret), true
	}).Source(scope))
	want := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(clientID) + ":" + url.QueryEscape(secret)))
	assert.Equal(t, "Basic "+want, e.header(1).Get("Authorization"))
	assert.NotContains(t, e.form(1), "client_secret")
}

// During a rotation either secret may be the right one: a refusal costs one
// request more, once.
func TestTwoSecretsDuringAnOverlap(t *testing.T) {
	t.Parallel()
	for _, aadsts := range []int{7000215, 7000222, 0} {
		t.Run(fmt.Sprint(aadsts), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			good := "new-secret"
			e := newEndpoint(t, func(n int, w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case r.PostForm.Get("client_secret") == good:
					grantToken(w, n, 3600)
				case aadsts == 0:
					reply(w, 401, map[string]any{"error": "invalid_client"})
				default:
					refuse(w, 401, "invalid_client", aadsts, "Refused.")
				}
			})
			clk := newClock()
			s := newClient(t, e, clk, func(cfg *tokenclient.Config) {
				cfg.Credential, cfg.Fallback = tokenclient.Secret("old-secret"), tokenclient.Secret("new-secret")
			}).Source(scope)
			assert.Equal(t, "token-2", mustToken(t, s))
			clk.advance(time.Hour)
			assert.Equal(t, "token-3", mustToken(t, s), "the one that worked is tried first")
			mu.Lock()
			good = "old-secret"
			mu.Unlock()
			clk.advance(time.Hour)
			assert.Equal(t, "token-5", mustToken(t, s))
			mu.Lock()
			good = "neither"
			mu.Unlock()
			clk.advance(time.Hour)
			mustFail(t, s)
			assert.Equal(t, 7, e.count())
		})
	}
}

// Only a refused credential is a reason to try the other one.
func TestFallbackIsNotForOtherTrouble(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		refuse(w, 400, "invalid_resource", 500011, "No such resource.")
	})
	mustFail(t, newClient(t, e, newClock(), func(cfg *tokenclient.Config) { cfg.Fallback = tokenclient.Secret("x") }).Source(scope))
	assert.Equal(t, 1, e.count())
}

func TestCertificateAssertion(t *testing.T) {
	t.Parallel()
	key, leaf := newCertificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	for alg, rs256 := range map[string]bool{"PS256": false, "RS256": true} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, nil)
			mustToken(t, newClient(t, e, nil, func(cfg *tokenclient.Config) {
				cfg.Credential, cfg.RS256 = tokenclient.Certificate(leaf, key), rs256
			}).Source(scope))
			form := e.form(1)
			assert.Equal(t, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", form.Get("client_assertion_type"))
			assert.NotContains(t, form, "client_secret")
			assert.Equal(t, clientID, form.Get("client_id"))
			parsed, err := jwt.Parse(form.Get("client_assertion"), func(*jwt.Token) (any, error) { return &key.PublicKey, nil },
				jwt.WithValidMethods([]string{alg}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
				jwt.WithIssuer(clientID), jwt.WithSubject(clientID),
				jwt.WithAudience(e.URL+"/"+tenant+"/oauth2/v2.0/token"))
			require.NoError(t, err)
			sum := sha256.Sum256(leaf.Raw)
			assert.Equal(t, base64.RawURLEncoding.EncodeToString(sum[:]), parsed.Header["x5t#S256"])
			claims := parsed.Claims.(jwt.MapClaims)
			assert.NotEmpty(t, claims["jti"])
			assert.LessOrEqual(t, claims["exp"].(float64)-claims["nbf"].(float64), (10 * time.Minute).Seconds(), "Entra's advice")
			if !rs256 { // RFC 7518 section 3.5: the salt is as long as the hash, which jwt does not check
				digest := sha256.Sum256([]byte(parsed.Raw[:strings.LastIndex(parsed.Raw, ".")]))
				assert.NoError(t, rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, digest[:], parsed.Signature,
					&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
			}
		})
	}
}

// Each assertion has its own jti, and files are read again: a rotated
// certificate needs no restart.
func TestCertificateFileRotates(t *testing.T) {
	t.Parallel()
	clk := newClock()
	write := func(path string) *x509.Certificate {
		key, leaf := newCertificate(t, clk.Now().Add(-time.Hour), clk.Now().Add(1000*time.Hour))
		_, other := newCertificate(t, clk.Now().Add(-time.Hour), clk.Now().Add(1000*time.Hour))
		data := pemOf("CERTIFICATE", other.Raw) + pemOf("CERTIFICATE", leaf.Raw) + pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
		require.NoError(t, os.WriteFile(path, []byte(data), 0o600))
		return leaf
	}
	path := filepath.Join(t.TempDir(), "both.pem")
	first := write(path)
	e := newEndpoint(t, nil)
	s := newClient(t, e, clk, func(cfg *tokenclient.Config) { cfg.Credential = tokenclient.CertificateFile(path, path) }).Source(scope)
	mustToken(t, s)
	second := write(path)
	clk.advance(time.Hour)
	mustToken(t, s)
	ids := map[any]bool{}
	for i, leaf := range []*x509.Certificate{first, second} {
		sum := sha256.Sum256(leaf.Raw)
		parsed, _, err := jwt.NewParser().ParseUnverified(e.form(i+1).Get("client_assertion"), jwt.MapClaims{})
		require.NoError(t, err)
		assert.Equal(t, base64.RawURLEncoding.EncodeToString(sum[:]), parsed.Header["x5t#S256"])
		ids[parsed.Claims.(jwt.MapClaims)["jti"]] = true
	}
	assert.Len(t, ids, 2)
}

func TestAssertionFileAndFunc(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "token", "aaa.bbb.ccc\n")
	e, clk := newEndpoint(t, nil), newClock()
	s := newClient(t, e, clk, func(cfg *tokenclient.Config) { cfg.Credential = tokenclient.AssertionFile(path) }).Source(scope)
	mustToken(t, s)
	assert.Equal(t, "aaa.bbb.ccc", e.form(1).Get("client_assertion"))
	require.NoError(t, os.WriteFile(path, []byte("ddd.eee.fff"), 0o600))
	clk.advance(time.Hour)
	mustToken(t, s)
	assert.Equal(t, "ddd.eee.fff", e.form(2).Get("client_assertion"))

	s = newClient(t, e, clk, func(cfg *tokenclient.Config) {
		cfg.Credential = tokenclient.AssertionFunc(func(context.Context) (string, error) { return "ggg.hhh.iii", nil })
	}).Source(scope)
	mustToken(t, s)
	assert.Equal(t, "ggg.hhh.iii", e.form(3).Get("client_assertion"))
	assert.Equal(t, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", e.form(3).Get("client_assertion_type"))
}

func TestGitHubAssertion(t *testing.T) {
	github := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer job-token" || r.URL.Query().Get("api-version") != "2" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"value": "for." + r.URL.Query().Get("audience")[:3] + ".x"})
	})
	e := newEndpoint(t, nil)
	cfg := tokenclient.Config{TokenURL: e.URL, ClientID: clientID, Credential: tokenclient.GitHubAssertion("")}
	_, err := tokenclient.New(cfg)
	require.ErrorContains(t, err, "id-token: write")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job-token")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "http://example.com/x")
	_, err = tokenclient.New(cfg)
	require.ErrorContains(t, err, "https")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", github.URL+"/?api-version=2")
	c, err := tokenclient.New(cfg)
	require.NoError(t, err)
	defer c.Close()
	mustToken(t, c.Source("x"))
	assert.Equal(t, "for.api.x", e.form(1).Get("client_assertion"))
}

// What is wrong with a credential is said at construction, and never shows it.
func TestBadCredentials(t *testing.T) {
	t.Parallel()
	now := time.Now()
	key, leaf := newCertificate(t, now.Add(-time.Hour), now.Add(time.Hour))
	otherKey, expired := newCertificate(t, now.Add(-2*time.Hour), now.Add(-time.Hour))
	futureKey, future := newCertificate(t, now.Add(time.Hour), now.Add(2*time.Hour))
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	pkcs8 := func(k any) string {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		require.NoError(t, err)
		return pemOf("PRIVATE KEY", der)
	}
	certPEM := pemOf("CERTIFICATE", leaf.Raw)
	pair := func(cert, key string) tokenclient.Credential {
		return tokenclient.CertificateFile(writeFile(t, "cert.pem", cert), writeFile(t, "key.pem", key))
	}
	for name, tt := range map[string]struct {
		credential tokenclient.Credential
		want       string
	}{
		"none":              {tokenclient.Credential{}, "Credential: required"},
		"nil function":      {tokenclient.SecretFunc(nil), "Credential: required"},
		"nil assertion":     {tokenclient.AssertionFunc(nil), "Credential: required"},
		"empty secret":      {tokenclient.Secret(""), "is empty"},
		"missing file":      {tokenclient.SecretFile(filepath.Join(t.TempDir(), "none")), "no such file"},
		"empty file":        {tokenclient.SecretFile(writeFile(t, "f", "\n")), "is empty"},
		"several lines":     {tokenclient.SecretFile(writeFile(t, "f", "hush-a\nhush-b\n")), "several lines"},
		"spaces":            {tokenclient.Secret("hush "), "white space"},
		"byte order mark":   {tokenclient.SecretFile(writeFile(t, "f", "\ufeffhush")), "byte order mark"},
		"binary":            {tokenclient.SecretFile(writeFile(t, "f", "hush\x00")), "control characters"},
		"huge file":         {tokenclient.SecretFile(writeFile(t, "f", string(make([]byte, 1<<20+1)))), "larger than"},
		"no JWT":            {tokenclient.AssertionFile(writeFile(t, "f", "hush.b")), "three parts"},
		"JWT with space":    {tokenclient.AssertionFile(writeFile(t, "f", "hush .b.c")), "printable"},
		"nil certificate":   {tokenclient.Certificate(nil, nil), "required"},
		"wrong key":         {tokenclient.Certificate(leaf, otherKey), "belongs to none"},
		"expired":           {tokenclient.Certificate(expired, otherKey), "expired on"},
		"in the future":     {pair(pemOf("CERTIFICATE", future.Raw), pkcs8(futureKey)), "not valid before"},
		"elliptic curve":    {pair(certPEM, pkcs8(ec)), "RSA key is needed"},
		"EC block":          {pair(certPEM, pemOf("EC PRIVATE KEY", []byte{1})), "EC PRIVATE KEY"},
		"small":             {pair(certPEM, pkcs8(small)), "1024 bits"},
		"no key":            {pair(certPEM, certPEM), "no PEM block PRIVATE KEY"},
		"no certificate":    {pair(pkcs8(key), pkcs8(key)), "no PEM block CERTIFICATE"},
		"broken cert":       {pair(pemOf("CERTIFICATE", []byte("hush")), pkcs8(key)), "certificate 1"},
		"broken key":        {pair(certPEM, pemOf("PRIVATE KEY", []byte("hush"))), "not valid PKCS #8"},
		"broken PKCS #1":    {pair(certPEM, pemOf("RSA PRIVATE KEY", []byte("hush"))), "not valid PKCS #1"},
		"encrypted":         {pair(certPEM, pemOf("ENCRYPTED PRIVATE KEY", []byte("hush"))), "encrypted"},
		"DER":               {pair(string(leaf.Raw), pkcs8(key)), "DER or PFX"},
		"missing cert":      {tokenclient.CertificateFile("/nonexistent/c.pem", "/nonexistent/k.pem"), "c.pem"},
		"missing assertion": {tokenclient.AssertionFile("/nonexistent/t"), "no such file"},
	} {
		_, err := tokenclient.New(tokenclient.Config{TenantID: tenant, ClientID: clientID, Credential: tt.credential})
		require.ErrorContains(t, err, tt.want, name)
		assert.ErrorContains(t, err, "Credential", name)
		assert.NotContains(t, err.Error(), "hush", name)
		if tt.credential.String() != "no credential" {
			_, err = tokenclient.New(tokenclient.Config{
				TenantID: tenant, ClientID: clientID, Credential: tokenclient.Secret("x"), Fallback: tt.credential,
			})
			assert.ErrorContains(t, err, "Fallback", name)
		}
	}
}

// A function cannot be tried at construction; its error comes with the fetch.
func TestFunctionThatGivesNonsense(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, nil)
	s := newClient(t, e, newClock(), func(cfg *tokenclient.Config) {
		cfg.Credential = tokenclient.SecretFunc(func(context.Context) (string, error) { return "", nil })
	}).Source(scope)
	require.ErrorContains(t, mustFail(t, s), "function: is empty")
	assert.Zero(t, e.count())
}

func TestCredentialNeverPrints(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "secret", password)
	for _, c := range []tokenclient.Credential{tokenclient.Secret(password), tokenclient.SecretFile(path)} {
		holder := struct {
			A tokenclient.Credential
			b tokenclient.Credential
			c *tokenclient.Credential
		}{c, c, &c}
		cfg := tokenclient.Config{Credential: c}
		out, err := json.Marshal(holder)
		require.NoError(t, err)
		text := fmt.Sprintf("%v %+v %#v %s %q %x %+v %#v", c, c, c, c, c, c, holder, cfg) + string(out)
		assert.NotContains(t, text, password)
		assert.NotContains(t, text, fmt.Sprintf("%x", password))
	}
	assert.Equal(t, "secret from file "+path, fmt.Sprint(tokenclient.SecretFile(path)))
}

func TestOnExpiring(t *testing.T) {
	t.Parallel()
	clk := newClock()
	end := clk.Now().Add(30*24*time.Hour + 90*time.Minute)
	key, leaf := newCertificate(t, clk.Now().Add(-time.Hour), end)
	for name, credential := range map[string]tokenclient.Credential{
		"certificate": tokenclient.Certificate(leaf, key),
		"secret":      tokenclient.Secret(password).ExpiresAt(end),
	} {
		t.Run(name, func(t *testing.T) {
			clk := newClock()
			var told []tokenclient.Expiring
			e := newEndpoint(t, nil)
			s := newClient(t, e, clk, func(cfg *tokenclient.Config) {
				cfg.Credential = credential
				cfg.OnExpiring = func(x tokenclient.Expiring) { told = append(told, x) }
			}).Source(scope)
			mustToken(t, s)
			assert.Empty(t, told, "more than 30 days left")
			for range 30 { // hours
				clk.advance(time.Hour)
				mustToken(t, s)
			}
			require.Len(t, told, 2, "once a day")
			assert.Equal(t, clientID, told[0].ClientID)
			assert.WithinDuration(t, end, told[0].At, time.Second)
			assert.Contains(t, told[0].Credential, name)
			assert.NotContains(t, told[0].Credential, password)
		})
	}
}

func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func newCertificate(t testing.TB, from, until time.Time) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key, testkit.Certificate(key, "caller", from, until)
}
