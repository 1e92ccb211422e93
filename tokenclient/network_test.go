package tokenclient_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/tokenclient"
)

// A private CA is named once, for token requests and API calls.
func TestCAFileIsForBoth(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, nil)
	srv := newTLSServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api" {
			_, _ = w.Write([]byte(r.Header.Get("Authorization")))
			return
		}
		e.ServeHTTP(w, r)
	}))
	ca := writeFile(t, "ca.pem", pemOf("CERTIFICATE", srv.Certificate().Raw))
	s := newClient(t, e, nil, func(cfg *tokenclient.Config) {
		cfg.Authority, cfg.HTTPClient, cfg.CAFile = srv.URL, nil, ca
	}).Source(scope)
	client, err := s.Client("127.0.0.1")
	if u, parseErr := url.Parse(srv.URL); parseErr == nil {
		client, err = s.Client(u.Host)
	}
	require.NoError(t, err)
	resp, err := client.Get(srv.URL + "/api")
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
}

// So is a proxy, and so is the transport of a given HTTP client.
func TestProxyIsForBoth(t *testing.T) {
	t.Parallel()
	var proxied atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		grantToken(w, int(proxied.Add(1)), 3600)
	}))
	t.Cleanup(proxy.Close)
	proxyURL, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	transport := ownConnections(t)
	transport.Proxy = http.ProxyURL(proxyURL)
	for name, change := range map[string]func(*tokenclient.Config){
		"ProxyURL":   func(cfg *tokenclient.Config) { cfg.ProxyURL = proxy.URL },
		"HTTPClient": func(cfg *tokenclient.Config) { cfg.HTTPClient = &http.Client{Transport: transport} },
	} {
		proxied.Store(0)
		s := newClient(t, newEndpoint(t, nil), nil, func(cfg *tokenclient.Config) {
			cfg.Authority, cfg.HTTPClient = "http://127.0.0.1:1", nil
			change(cfg)
		}).Source(scope)
		client, err := s.Client("127.0.0.1:2")
		require.NoError(t, err)
		resp, err := client.Get("http://127.0.0.1:2/")
		require.NoError(t, err, name)
		require.NoError(t, resp.Body.Close())
		assert.EqualValues(t, 2, proxied.Load(), name)
	}
}

func TestBadNetworkConfig(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*tokenclient.Config){
		"CAFile: ":                       func(c *tokenclient.Config) { c.CAFile = "/nonexistent/ca.pem" },
		"ProxyURL: must be":              func(c *tokenclient.Config) { c.ProxyURL = "user:hush@proxy:3128" },
		"HTTPClient: cannot be combined": func(c *tokenclient.Config) { c.HTTPClient, c.ProxyURL = &http.Client{}, "http://proxy:3128" },
	} {
		cfg := tokenclient.Config{TenantID: tenant, ClientID: clientID, Credential: tokenclient.Secret(password)}
		change(&cfg)
		_, err := tokenclient.New(cfg)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "hush")
	}
}

// A claims challenge is answered with one fetch that asks for the claims, and
// the next fetch asks for nothing again.
func TestClaimsChallenge(t *testing.T) {
	t.Parallel()
	const claims = `{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}`
	for name, tt := range map[string]struct {
		challenge string
		fetched   bool
	}{
		"base64":        {`Bearer realm="", error="insufficient_claims", claims="` + base64.StdEncoding.EncodeToString([]byte(claims)) + `"`, true},
		"base64url":     {`Bearer error="insufficient_claims", claims="` + base64.RawURLEncoding.EncodeToString([]byte(claims)) + `"`, true},
		"no claims":     {`Bearer error="insufficient_claims"`, false},
		"not base64":    {`Bearer error="insufficient_claims", claims="{}"`, false},
		"not an object": {`Bearer error="insufficient_claims", claims="` + base64.StdEncoding.EncodeToString([]byte(`["x"]`)) + `"`, false},
		"no JSON":       {`Bearer error="insufficient_claims", claims="` + base64.StdEncoding.EncodeToString([]byte(`{"a":1,"a":2}`)) + `"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, clk := newEndpoint(t, nil), newClock()
			a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") == "Bearer token-1" {
					w.Header().Set("WWW-Authenticate", tt.challenge)
					w.WriteHeader(http.StatusUnauthorized)
				}
			})
			s := newClient(t, e, clk, nil).Source(scope)
			resp, err := httpClient(t, s, a.host()).Get(a.URL)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			if !tt.fetched {
				assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
				assert.Equal(t, 1, e.count())
				return
			}
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			require.Equal(t, 2, e.count())
			assert.Equal(t, claims, e.form(2).Get("claims"))
			clk.advance(2 * time.Hour)
			mustToken(t, s)
			assert.Empty(t, e.form(3).Get("claims"))
		})
	}
}
