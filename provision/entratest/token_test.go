package entratest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// shop is a tenant with a product, a client that is granted it, and one that
// is not.
type shop struct {
	*entratest.Server
	product          entratest.Registration
	client, stranger entratest.Caller
}

func newShop(t *testing.T, cfg entratest.Config, product entratest.App) shop {
	t.Helper()
	s := shop{Server: entratest.NewServer(t, cfg)}
	var err error
	s.product, err = s.AddApplication(product)
	require.NoError(t, err)
	s.client, err = s.AddCaller("client")
	require.NoError(t, err)
	s.stranger, err = s.AddCaller("stranger")
	require.NoError(t, err)
	if len(product.Roles) > 0 {
		require.NoError(t, s.Grant(s.client.AppID, s.product.AppID, product.Roles[0]))
	}
	return s
}

var starter = entratest.App{
	Name: "APIMProductApplicationStarter", UniqueName: "starter", Roles: []string{"Product.Starter.All"},
	URIs: []string{"api://{appId}"}, TokenVersion: 2, IDType: true, AssignmentRequired: true,
}

func (s shop) scope() string { return "api://" + s.product.AppID + "/.default" }

// ask posts a form to the token endpoint.
func (s shop) ask(t *testing.T, form url.Values) (int, map[string]any) {
	t.Helper()
	resp, err := s.Client().PostForm(s.TokenURL(), form)
	require.NoError(t, err)
	defer resp.Body.Close()
	var body map[string]any
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
	return resp.StatusCode, body
}

func (s shop) form(c entratest.Caller) url.Values {
	return url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.AppID},
		"client_secret": {c.Secret.Reveal()}, "scope": {s.scope()},
	}
}

// claims checks a token's signature by the published keys and returns what it says.
func claims(t *testing.T, s *entratest.Server, token string) jwt.MapClaims {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp, err := s.Client().Get(s.KeysURL())
	require.NoError(t, err)
	defer resp.Body.Close()
	var set json.RawMessage
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&set))
	keys, err := keyfunc.NewJWKSetJSON(set)
	require.NoError(t, err)
	c := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(token, c, keys.KeyfuncCtx(ctx), jwt.WithValidMethods([]string{"RS256"}))
	require.NoError(t, err)
	return c
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	s := newShop(t, entratest.Config{}, starter)
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInParams, oauth2.AuthStyleInHeader} {
		cfg := clientcredentials.Config{
			ClientID: s.client.AppID, ClientSecret: s.client.Secret.Reveal(),
			TokenURL: s.TokenURL(), Scopes: []string{s.scope()}, AuthStyle: style,
		}
		token, err := cfg.Token(context.WithValue(t.Context(), oauth2.HTTPClient, s.Client()))
		require.NoError(t, err)
		c := claims(t, s.Server, token.AccessToken)
		assert.Equal(t, s.product.AppID, c["aud"])
		assert.Equal(t, s.Issuer(), c["iss"])
		assert.Equal(t, s.client.AppID, c["azp"])
		assert.Equal(t, "1", c["azpacr"])
		assert.Equal(t, "app", c["idtyp"])
		assert.Equal(t, s.client.ObjectID, c["oid"])
		assert.Equal(t, s.client.ObjectID, c["sub"])
		assert.Equal(t, s.ID(), c["tid"])
		assert.Equal(t, "2.0", c["ver"])
		assert.Equal(t, []any{"Product.Starter.All"}, c["roles"])
		assert.NotContains(t, c, "appid")
		assert.WithinDuration(t, time.Now().Add(time.Hour), time.Unix(int64(c["exp"].(float64)), 0), time.Minute)
	}
}

func TestVersionOneToken(t *testing.T) {
	t.Parallel()
	old := starter
	old.TokenVersion, old.IDType, old.AssignmentRequired = 0, false, false
	s := newShop(t, entratest.Config{}, old)
	_, body := s.ask(t, s.form(s.stranger))
	c := claims(t, s.Server, body["access_token"].(string))
	assert.Equal(t, "api://"+s.product.AppID, c["aud"])
	assert.Equal(t, s.IssuerV1(), c["iss"])
	assert.Equal(t, s.stranger.AppID, c["appid"])
	assert.Equal(t, "1.0", c["ver"])
	for _, absent := range []string{"azp", "idtyp", "roles"} {
		assert.NotContains(t, c, absent)
	}
}

func TestTokenRefusals(t *testing.T) {
	t.Parallel()
	s := newShop(t, entratest.Config{}, starter)
	for name, tc := range map[string]struct {
		change func(url.Values)
		status int
		kind   string
		code   float64
	}{
		"wrong secret":     {func(f url.Values) { f.Set("client_secret", "nope") }, 401, "invalid_client", 7000215},
		"no secret":        {func(f url.Values) { f.Del("client_secret") }, 401, "invalid_client", 7000218},
		"unknown client":   {func(f url.Values) { f.Set("client_id", s.product.ObjectID) }, 400, "unauthorized_client", 700016},
		"no client":        {func(f url.Values) { f.Del("client_id") }, 400, "invalid_request", 900144},
		"no scope":         {func(f url.Values) { f.Del("scope") }, 400, "invalid_request", 900144},
		"two scopes":       {func(f url.Values) { f.Set("scope", "a/.default b/.default") }, 400, "invalid_scope", 70011},
		"no default":       {func(f url.Values) { f.Set("scope", "api://x") }, 400, "invalid_scope", 1002012},
		"unknown resource": {func(f url.Values) { f.Set("scope", "api://x/.default") }, 400, "invalid_resource", 500011},
		"password grant":   {func(f url.Values) { f.Set("grant_type", "password") }, 400, "unsupported_grant_type", 70003},
		"not assigned": {func(f url.Values) {
			f.Set("client_id", s.stranger.AppID)
			f.Set("client_secret", s.stranger.Secret.Reveal())
		}, 400, "invalid_grant", 501051},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := s.form(s.client)
			tc.change(f)
			status, body := s.ask(t, f)
			assert.Equal(t, tc.status, status)
			assert.Equal(t, tc.kind, body["error"])
			assert.Equal(t, []any{tc.code}, body["error_codes"])
			assert.NotEmpty(t, body["trace_id"])
			assert.NotEmpty(t, body["correlation_id"])
			assert.Contains(t, body["error_description"], "Trace ID: ")
			assert.NotContains(t, body["error_description"], s.client.Secret.Reveal())
		})
	}
}

func TestUnknownTenant(t *testing.T) {
	t.Parallel()
	s := entratest.NewPlainServer(t, entratest.Config{})
	for tenant, code := range map[string]float64{
		"11111111-1111-1111-1111-111111111111": 90002, "nosuch.example": 90002, "nosuch": 900023, "common": 50194,
	} {
		resp, err := s.Client().PostForm(s.BaseURL()+"/"+tenant+"/oauth2/v2.0/token", url.Values{})
		require.NoError(t, err)
		var body struct {
			Codes []float64 `json:"error_codes"`
		}
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
		resp.Body.Close()
		assert.Equal(t, []float64{code}, body.Codes, tenant)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	s := entratest.NewServer(t, entratest.Config{TenantID: "11111111-2222-3333-4444-555555555555"})
	read := func() []map[string]any {
		resp, err := s.Client().Get(s.KeysURL())
		require.NoError(t, err)
		defer resp.Body.Close()
		var set struct {
			Keys []map[string]any `json:"keys"`
		}
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&set))
		return set.Keys
	}
	before := read()
	require.Len(t, before, 1)
	assert.NotContains(t, before[0], "alg")
	assert.Equal(t, s.Issuer(), before[0]["issuer"])
	old := s.MintToken(map[string]any{"aud": "x"}, nil)
	s.RotateKeys()
	assert.Len(t, read(), 2)
	assert.Equal(t, "x", claims(t, s, old)["aud"])
	assert.Equal(t, "y", claims(t, s, s.MintToken(map[string]any{"aud": "y"}, nil))["aud"])
	s.RetireKeys()
	after := read()
	require.Len(t, after, 1)
	assert.NotEqual(t, before[0]["kid"], after[0]["kid"])
}

// TestCredentialsAndObjectsThatEnd takes away, one after the other, what a token
// needs.
func TestCredentialsAndObjectsThatEnd(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	s := newShop(t, entratest.Config{Now: c.Now}, starter)
	d := directory(t, s.Tenant, entratest.ApplicationAdministrator)
	ctx := t.Context()
	want := func(what string, code float64) {
		t.Helper()
		status, body := s.ask(t, s.form(s.client))
		assert.GreaterOrEqual(t, status, 400, what)
		assert.Equal(t, []any{code}, body["error_codes"], what)
	}
	enable := func(appID string, on bool) {
		t.Helper()
		_, _, err := d.UpsertServicePrincipal(ctx, appID, provision.ServicePrincipalPatch{AccountEnabled: &on})
		require.NoError(t, err)
	}
	status, _ := s.ask(t, s.form(s.client))
	require.Equal(t, 200, status)
	enable(s.client.AppID, false)
	want("client disabled", 7000112)
	enable(s.client.AppID, true)
	enable(s.product.AppID, false)
	want("resource disabled", 500014)
	enable(s.product.AppID, true)
	require.NoError(t, d.DeleteApplication(ctx, s.product.ApplicationID))
	want("resource deleted", 500011)
	require.NoError(t, d.DeleteServicePrincipal(ctx, s.client.ObjectID))
	want("client without service principal", 7000229)
	c.Advance(3 * 365 * 24 * time.Hour)
	want("secret expired", 7000222)
	d = directory(t, s.Tenant, entratest.ApplicationAdministrator)
	require.NoError(t, d.DeleteApplication(ctx, s.client.ApplicationID))
	want("client deleted", 700016)
}

// TestDisabledRole: a grant of a role that is off gives no role.
func TestDisabledRole(t *testing.T) {
	t.Parallel()
	s := newShop(t, entratest.Config{}, starter)
	d := directory(t, s.Tenant, entratest.ApplicationAdministrator)
	apps, errs := d.Applications(t.Context(), []provision.AppRef{{AppID: s.product.AppID}})
	require.NoError(t, errs[0])
	apps[0].AppRoles[0].Enabled = false
	require.NoError(t, d.PatchApplication(t.Context(), s.product.ApplicationID, provision.ApplicationPatch{AppRoles: &apps[0].AppRoles}))
	_, body := s.ask(t, s.form(s.client))
	assert.NotContains(t, claims(t, s.Server, body["access_token"].(string)), "roles")
}

func TestMalformedTokenRequests(t *testing.T) {
	t.Parallel()
	s := newShop(t, entratest.Config{}, starter)
	send := func(change func(*http.Request)) (int, float64) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.TokenURL(), strings.NewReader(s.form(s.client).Encode()))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		change(req)
		resp, err := s.Client().Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		var body struct {
			Codes []float64 `json:"error_codes"`
		}
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
		require.Len(t, body.Codes, 1)
		return resp.StatusCode, body.Codes[0]
	}
	body := func(s string) func(*http.Request) {
		return func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader(s)), -1 }
	}
	for name, tc := range map[string]struct {
		change func(*http.Request)
		code   float64
	}{
		"GET":       {func(r *http.Request) { r.Method = http.MethodGet; body("")(r) }, 900561},
		"JSON":      {func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 900144},
		"twice":     {body("scope=a&scope=b"), 9000411},
		"huge":      {body("scope=" + strings.Repeat("a", 1<<17)), 9000410},
		"two names": {func(r *http.Request) { r.SetBasicAuth(s.stranger.AppID, "x") }, 900144},
	} {
		status, code := send(tc.change)
		assert.Equal(t, http.StatusBadRequest, status, name)
		assert.Equal(t, tc.code, code, name)
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	s := entratest.NewServer(t, entratest.Config{Name: "Fabrikam"})
	read := func(path string) map[string]any {
		t.Helper()
		resp, err := s.Client().Get(s.BaseURL() + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		var body map[string]any
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
		return body
	}
	instance := read("/common/discovery/instance?api-version=1.1&authorization_endpoint=" + url.QueryEscape(s.AuthorizeURL()))
	assert.Equal(t, s.Issuer()+"/.well-known/openid-configuration", instance["tenant_discovery_endpoint"])
	config := read("/fabrikam.onmicrosoft.com/v2.0/.well-known/openid-configuration")
	assert.Equal(t, s.Issuer(), config["issuer"])
	assert.Equal(t, s.IssuerV1(), read("/" + s.ID() + "/.well-known/openid-configuration")["issuer"])
	shared := read("/common/v2.0/.well-known/openid-configuration")
	assert.Equal(t, s.BaseURL()+"/{tenantid}/v2.0", shared["issuer"])
	keys := read("/common/discovery/v2.0/keys")["keys"].([]any)
	assert.Equal(t, shared["issuer"], keys[0].(map[string]any)["issuer"])
	resp, err := s.Client().Post(s.KeysURL(), "", nil)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
}
