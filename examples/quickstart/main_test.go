package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestStory is the README's first command.
func TestStory(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), options{addr: "127.0.0.1:0", endOfAccess: time.Minute}, &out), out.String())
	text := out.String()
	for _, line := range []string{
		`(?m)^   created         APIMProductApplicationStarter$`,
		`(?m)^   app role        Product\.Starter\.All$`,
		`(?m)^   created    APIMApplicationStarter$`,
		`(?m)^   APIMApplicationStarter has Product\.Starter\.All on APIMProductApplicationStarter \(requested: true, granted: true\)$`,
		`Privileged Role Administrator`,
		`no credential +401 Unauthorized +ok`,
		`a garbage token +401 Unauthorized +ok`,
		`a token for another of our products \(Reports\) +403 Forbidden +ok`,
		`a token for a foreign audience \(Microsoft Graph\) +401 Unauthorized +ok`,
		`the right token +200 OK +ok`,
		`the right subscription key +200 OK +ok`,
		`a wrong subscription key +401 Unauthorized +ok`,
		`its token: GET /reports/monthly +200 OK +ok`,
		`its token: POST /reports/monthly +403 Forbidden +ok\n.*Write`,
		`request approved: \S+ is active with reports\(Read\)`,
		`Nightly report is active, a managedIdentity`,
		`the identity: GET /reports/monthly +200 OK +ok`,
		`the identity: POST /reports/monthly +403 Forbidden +ok`,
		`owner dana, the same client ID; Omar no longer sees it`,
		`the token from before: GET /reports/monthly +200 OK +ok`,
		`was refused \d+ ms after the suspension`,
	} {
		assert.Regexp(t, regexp.MustCompile(line), text)
	}
	assert.NotContains(t, text, "WRONG")
	assert.NotRegexp(t, `egk_|eyJ`, text, "a key or a token is printed")
}

func TestEnvNeedsServe(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), options{env: "x.json", addr: "127.0.0.1:0"}, io.Discard)
	assert.ErrorContains(t, err, "-serve")
}

func TestAWrongOutcomeIsAnError(t *testing.T) {
	t.Parallel()
	h, err := open(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, h.close()) })
	var said bytes.Buffer
	say := func(f string, a ...any) { said.WriteString(f) }
	err = call{"no credential", nil, http.StatusOK}.run(t.Context(), h.client, h.gateway, say)
	assert.ErrorContains(t, err, "got 401, want 200")
}

// running is a served stack as another program sees it.
type running struct {
	env
	client *http.Client
}

// serveStack runs with -serve -env and waits for the file.
func serveStack(t *testing.T) running {
	t.Helper()
	file := filepath.Join(t.TempDir(), "env.json")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var out bytes.Buffer
	go func() {
		ended <- run(ctx, options{serve: true, env: file, addr: "127.0.0.1:0", endOfAccess: time.Minute}, &out)
	}()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
		assert.NoFileExists(t, file, "what the file names is gone, so the file is")
	})
	var r running
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(text, &r.env) == nil
	}, time.Minute, 20*time.Millisecond)
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it holds secrets")

	ca, err := os.ReadFile(r.CAFile)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(ca))
	r.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	t.Cleanup(r.client.CloseIdleConnections)
	return r
}

// token is what curl would send.
func (r running) token(t *testing.T, id, secret, scope string) (string, int) {
	t.Helper()
	resp, err := r.client.PostForm(r.Authority+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "scope": {scope},
	})
	require.NoError(t, err)
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
	return answer.AccessToken, resp.StatusCode
}

func (r running) call(t *testing.T, header http.Header) int {
	t.Helper()
	status, _, err := post(t.Context(), r.client, r.Gateway+resource, header)
	require.NoError(t, err)
	return status
}

// eventually is for what a gate learns within a second.
func (r running) eventually(t *testing.T, want int, header http.Header) {
	t.Helper()
	require.Eventually(t, func() bool { return r.call(t, header) == want }, time.Minute, 10*time.Millisecond)
}

func (r running) control(t *testing.T, path, key string) (map[string]string, int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.Control+path, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := r.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var answer map[string]string
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
	return answer, resp.StatusCode
}

func (r running) do(t *testing.T, path string) map[string]string {
	t.Helper()
	answer, status := r.control(t, path, r.ControlKey)
	require.Equal(t, http.StatusOK, status, "%s: %v", path, answer)
	return answer
}

func TestServe(t *testing.T) {
	t.Parallel()
	r := serveStack(t)
	mine, status := r.token(t, r.ClientID, r.ClientSecret, r.Scope)
	require.Equal(t, http.StatusOK, status)
	other, status := r.token(t, r.OtherClientID, r.OtherClientSecret, r.OtherScope)
	require.Equal(t, http.StatusOK, status)
	admin, status := r.token(t, r.AdminClientID, r.AdminClientSecret, r.Graph+"/.default")
	require.Equal(t, http.StatusOK, status)

	assert.Equal(t, http.StatusOK, r.call(t, bearer(mine)))
	assert.Equal(t, http.StatusForbidden, r.call(t, bearer(other)))
	assert.Equal(t, http.StatusUnauthorized, r.call(t, bearer(admin)))
	assert.Equal(t, http.StatusOK, r.call(t, subscriptionKey(r.SubscriptionKey)))

	// What the file says of the tenant agrees with the tenant's own discovery.
	resp, err := r.client.Get(r.Issuer + "/.well-known/openid-configuration")
	require.NoError(t, err)
	defer resp.Body.Close()
	var discovery struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&discovery))
	assert.Equal(t, r.Issuer, discovery.Issuer)
	assert.Equal(t, r.JWKSURI, discovery.JWKSURI)

	// A refused caller finds the metadata where the challenge says (RFC 9728).
	resp, err = r.client.Get(r.Gateway + resource)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	_, metadata, ok := strings.Cut(resp.Header.Get("WWW-Authenticate"), `resource_metadata="`)
	require.True(t, ok, resp.Header)
	metadata, _, _ = strings.Cut(metadata, `"`)
	resp, err = r.client.Get(metadata)
	require.NoError(t, err)
	defer resp.Body.Close()
	var protected struct {
		Resource string   `json:"resource"`
		Scopes   []string `json:"scopes_supported"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&protected))
	assert.Equal(t, r.Gateway, protected.Resource)
	assert.Contains(t, protected.Scopes, r.Scope)

	resp, err = r.client.Get(r.Portal)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.True(t, strings.HasPrefix(resp.Request.URL.String(), r.Authority) || resp.Request.URL.Host == mustHost(t, r.Portal),
		"a visitor who is not signed in sees the portal's or the tenant's sign-in page")

	_, status = r.control(t, "/suspend", "wrong")
	assert.Equal(t, http.StatusUnauthorized, status)

	r.do(t, "/suspend")
	r.eventually(t, http.StatusForbidden, bearer(mine))
	r.do(t, "/resume")
	r.eventually(t, http.StatusOK, bearer(mine))
	r.do(t, "/ungrant")
	r.eventually(t, http.StatusForbidden, bearer(mine))
	r.do(t, "/grant")
	r.eventually(t, http.StatusOK, bearer(mine))

	r.do(t, "/rotate-keys")
	rotated, _ := r.token(t, r.ClientID, r.ClientSecret, r.Scope)
	r.eventually(t, http.StatusOK, bearer(rotated))
	r.do(t, "/keys-outage?on=true")
	r.do(t, "/rotate-keys")
	unknown, _ := r.token(t, r.ClientID, r.ClientSecret, r.Scope)
	r.eventually(t, http.StatusServiceUnavailable, bearer(unknown))
	assert.Equal(t, http.StatusOK, r.call(t, bearer(rotated)), "known keys serve on")
	r.do(t, "/keys-outage?on=false")
	r.eventually(t, http.StatusOK, bearer(unknown))
	_, status = r.control(t, "/keys-outage?on=perhaps", r.ControlKey)
	assert.Equal(t, http.StatusBadRequest, status)

	key := r.do(t, "/regenerate-key")["subscriptionKey"]
	r.eventually(t, http.StatusOK, subscriptionKey(key))
	r.eventually(t, http.StatusUnauthorized, subscriptionKey(r.SubscriptionKey))
}

func mustHost(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	return u.Host
}

func TestWriteEnvIsWhole(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "env.json")
	require.NoError(t, writeEnv(file, []byte("ca"), env{TenantID: "t"}))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var names map[string]string
	require.NoError(t, json.Unmarshal(text, &names))
	assert.Equal(t, file+".ca.pem", names["caFile"])
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".*"))
	require.NoError(t, err)
	assert.Empty(t, left, "no temporary file stays")
	assert.ErrorContains(t, writeEnv(filepath.Join(file, "x"), nil, env{}), "-env")
	assert.True(t, strings.HasSuffix(string(text), "}\n"))
}
