package entratest_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision/entratest"
)

func getJSON(t *testing.T, c *http.Client, at string) map[string]any {
	t.Helper()
	resp, err := c.Get(at)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusOK, resp.StatusCode, at)
	var body map[string]any
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
	return body
}

// Login, STS and Graph have hosts of their own, with Microsoft's names if that is
// asked for.
func TestMicrosoftsHosts(t *testing.T) {
	t.Parallel()
	s := entratest.NewServer(t, entratest.Config{
		BaseURL: "https://login.microsoftonline.com", STSURL: "https://sts.windows.net", GraphURL: "https://graph.microsoft.com",
	})
	c, err := s.AddCaller("admin", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	doc := getJSON(t, s.Client(), "https://login.microsoftonline.com/"+s.ID()+"/.well-known/openid-configuration")
	assert.Equal(t, "https://sts.windows.net/"+s.ID()+"/", doc["issuer"])
	assert.Equal(t, "https://login.microsoftonline.com/"+s.ID()+"/oauth2/token", doc["token_endpoint"], "version 1 names version 1")
	assert.Equal(t, "https://login.microsoftonline.com/"+s.ID()+"/discovery/keys", doc["jwks_uri"])
	assert.Equal(t, "graph.microsoft.com", doc["msgraph_host"])
	getJSON(t, s.Client(), doc["jwks_uri"].(string))

	// The version 1 token endpoint takes a resource, and answers with texts.
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.AppID}, "client_secret": {c.Secret.Reveal()}, "resource": {"https://graph.microsoft.com"}}
	resp, err := s.Client().PostForm(doc["token_endpoint"].(string), form)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	var token map[string]string
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&token))
	assert.Equal(t, "3599", token["expires_in"])
	assert.Equal(t, "https://graph.microsoft.com", token["resource"])
	claims := jwt.MapClaims{}
	_, _, err = jwt.NewParser().ParseUnverified(token["access_token"], claims)
	require.NoError(t, err)
	assert.Equal(t, "https://sts.windows.net/"+s.ID()+"/", claims["iss"])
	form.Del("resource")
	resp, err = s.Client().PostForm(doc["token_endpoint"].(string), form)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusBadRequest, resp.StatusCode)

	for _, prefix := range []string{"", "/myorganization", "/" + s.ID(), "/contoso.onmicrosoft.com"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://graph.microsoft.com/v1.0"+prefix+"/applications", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token["access_token"])
		resp, err := s.Client().Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusOK, resp.StatusCode, prefix)
	}
	id, err := s.Directory(c).Identity(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "admin", id.Name)
}

// A page on another host that resolves to this machine gets nothing.
func TestForeignHost(t *testing.T) {
	t.Parallel()
	s := entratest.NewPlainServer(t, entratest.Config{})
	_, port, _ := strings.Cut(s.Address(), ":")
	for host, want := range map[string]int{
		s.Address(): 200, "localhost:" + port: 200, "[::1]:" + port: 200,
		"evil.example:" + port: 421, "localhost": 421, "localhost:1": 421, "": 421, "evil.localhost:" + port: 421,
	} {
		for _, path := range []string{"/" + s.ID() + "/v2.0/.well-known/openid-configuration"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.BaseURL()+path, nil)
			require.NoError(t, err)
			if req.Host = host; host == "" {
				req.Host = "empty.example"
			}
			resp, err := s.Client().Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, want, resp.StatusCode, "%q %s", host, path)
		}
	}
}

// A chosen address is the one that is served, and the base URL names it.
func TestChosenAddress(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	s := entratest.NewPlainServer(t, entratest.Config{Addr: addr})
	assert.Equal(t, addr, s.Address())
	assert.Equal(t, "http://"+addr, s.BaseURL())
	getJSON(t, s.Client(), "http://"+addr+"/"+s.ID()+"/v2.0/.well-known/openid-configuration")
	tenant, err := entratest.New(entratest.Config{Addr: "192.0.2.1:1"})
	require.NoError(t, err)
	_, err = entratest.Serve(tenant, false)
	assert.Error(t, err, "only loopback addresses are served")
}

// The version 1 authorization endpoint is not imitated: it answers 501, not a page.
func TestVersion1AuthorizeIsNotImitated(t *testing.T) {
	t.Parallel()
	s := entratest.NewPlainServer(t, entratest.Config{})
	doc := getJSON(t, s.Client(), s.Authority()+"/.well-known/openid-configuration")
	resp, err := s.Client().Get(doc["authorization_endpoint"].(string) + "?client_id=x&response_type=code")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusNotImplemented, resp.StatusCode)
}

// DNS rebinding: a page whose name resolves to this machine by now can neither read
// the sign-in page nor sign in, get a token or reach Graph.
func TestRebindingReachesNothing(t *testing.T) {
	t.Parallel()
	s := entratest.NewPlainServer(t, entratest.Config{})
	_, port, _ := strings.Cut(s.Address(), ":")
	for _, path := range []string{"/oauth2/v2.0/authorize", "/oauth2/v2.0/token", "/oauth2/token", "/oauth2/v2.0/logout", "/discovery/v2.0/keys"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			req, err := http.NewRequestWithContext(t.Context(), method, s.Authority()+path, nil)
			require.NoError(t, err)
			req.Host = "evil.example:" + port
			resp, err := s.Client().Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, http.StatusMisdirectedRequest, resp.StatusCode, "%s %s", method, path)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.BaseURL()+"/v1.0/applications", nil)
	require.NoError(t, err)
	req.Host = "evil.example:" + port
	resp, err := s.Client().Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusMisdirectedRequest, resp.StatusCode)
}
