package portal_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess/portal"
	"github.com/entragate/entragate/provision/entratest"
)

// signInWorld is a world whose portal signs users in with the local tenant.
type signInWorld struct {
	*world
	ada, grace entratest.User
	transport  *meddler
	cfg        portal.Config
}

// meddler changes what Entra answers to the portal.
type meddler struct {
	base   http.RoundTripper
	away   atomic.Bool
	change func(claims map[string]any) map[string]any // of ID tokens
	mint   func(claims, header map[string]any) string
}

func (m *meddler) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.away.Load() {
		return nil, io.ErrUnexpectedEOF
	}
	resp, err := m.base.RoundTrip(r)
	if err != nil || m.change == nil || !strings.HasSuffix(r.URL.Path, "/token") {
		return resp, err
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if token, ok := answer["id_token"].(string); ok {
		var claims map[string]any
		raw, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		if err := json.Unmarshal(raw, &claims); err != nil {
			return nil, err
		}
		answer["id_token"] = m.mint(m.change(claims), nil)
	}
	body, _ := json.Marshal(answer)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	return resp, nil
}

func newSignInWorld(t testing.TB) *signInWorld {
	t.Helper()
	s := &signInWorld{}
	s.world = newWorld(t, func(w *world, c *portal.Config) {
		redirect := w.web.URL + prefix + "/signin/callback"
		s.world = w
		appID, secret := s.registration(redirect)
		var err error
		s.ada, err = w.tenant.AddUser(entratest.User{Name: "Ada Lovelace", Username: "ada"})
		require.NoError(t, err)
		s.grace, err = w.tenant.AddUser(entratest.User{Name: "Grace Hopper", Username: "grace"})
		require.NoError(t, err)
		require.NoError(t, w.tenant.AssignUser(s.grace, appID, "Portal.Manager"))
		_, err = w.service.BindUser(t.Context(), root, "ada", w.tenant.ID(), s.ada.ObjectID)
		require.NoError(t, err)
		s.transport = &meddler{base: w.trusting().Transport, mint: w.tenant.MintToken}
		c.Authenticate = nil
		c.Keys = [][]byte{[]byte(strings.Repeat("1", 32))}
		c.SignIn = &portal.SignIn{
			TenantID: w.tenant.ID(), ClientID: appID, RedirectURL: redirect, Authority: w.tenant.BaseURL(),
			ClientSecret: secret,
			HTTPClient:   &http.Client{Transport: s.transport},
		}
		s.cfg = *c
	})
	s.clock.Advance(time.Minute) // past the binding of ada's account
	return s
}

// registration makes another app registration for the portal.
func (s *signInWorld) registration(redirect string) (appID string, read func(context.Context) (string, error)) {
	s.t.Helper()
	app, err := s.tenant.AddApplication(entratest.App{Name: "Contoso portal", Roles: []string{"user:Portal.Manager"}, RedirectURIs: []string{redirect}})
	require.NoError(s.t, err)
	value, err := s.tenant.AddSecret(app.AppID, "portal")
	require.NoError(s.t, err)
	return app.AppID, func(context.Context) (string, error) { return value.Reveal(), nil }
}

// begin starts a sign-in and returns the parameters that Entra gets.
func (s *signInWorld) begin(v *visitor, from string) url.Values {
	s.t.Helper()
	got := v.get("/signin?return=" + url.QueryEscape(from))
	require.Equal(s.t, http.StatusSeeOther, got.Status, got.title())
	at, err := url.Parse(got.location())
	require.NoError(s.t, err)
	require.Equal(s.t, s.tenant.AuthorizeURL(), at.Scheme+"://"+at.Host+at.Path)
	return at.Query()
}

// pick chooses an account at Entra and returns the address it leads back to,
// below the prefix.
func (s *signInWorld) pick(params url.Values, who entratest.User) string {
	s.t.Helper()
	form := maps.Clone(params)
	form.Set("pick", who.ObjectID)
	client := s.trusting()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.PostForm(s.tenant.AuthorizeURL(), form)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	require.Equal(s.t, http.StatusFound, resp.StatusCode)
	return strings.TrimPrefix(resp.Header.Get("Location"), s.web.URL+prefix)
}

// signIn signs a visitor in.
func (s *signInWorld) signIn(who entratest.User) *visitor {
	s.t.Helper()
	v := s.visit("")
	got := v.get(s.pick(s.begin(v, prefix+"/my/applications"), who))
	require.Equal(s.t, http.StatusSeeOther, got.Status, got.title())
	return v
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	v := s.visit("")
	got := v.get("/my/applications?q=shop")
	require.Equal(t, http.StatusSeeOther, got.Status)
	assert.Equal(t, prefix+"/signin?return="+url.QueryEscape(prefix+"/my/applications?q=shop"), got.location())

	v.header.Set("X-Forwarded-Host", "evil.example")
	params := s.begin(v, prefix+"/my/applications?q=shop")
	assert.Equal(t, s.web.URL+prefix+"/signin/callback", params.Get("redirect_uri"), "from the configuration, never from a request")
	assert.Equal(t, "S256", params.Get("code_challenge_method"))
	assert.Len(t, params.Get("code_challenge"), 43)
	assert.GreaterOrEqual(t, len(params.Get("state")), 26)
	assert.GreaterOrEqual(t, len(params.Get("nonce")), 26)
	assert.NotContains(t, params.Encode(), "shop", "the return path stays here")

	got = v.get(s.pick(params, s.ada))
	require.Equal(t, http.StatusSeeOther, got.Status, got.title())
	assert.Equal(t, prefix+"/my/applications?q=shop", got.location())
	page := v.get("/my/applications")
	require.Equal(t, http.StatusOK, page.Status)
	has(t, page, "Ada Lovelace")
	has(t, page, "Sign out")
	assert.Equal(t, http.StatusForbidden, v.get("/products").Status)

	// The manager's role comes from Entra; she needs no account to own things.
	m := s.signIn(s.grace)
	assert.Equal(t, http.StatusOK, m.get("/products").Status)
	assert.Equal(t, http.StatusForbidden, m.get("/my/applications").Status)
}

func TestSignInEnds(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	v := s.signIn(s.ada)
	v.header.Set("Sec-Fetch-Site", "cross-site")
	assert.Equal(t, http.StatusForbidden, v.post("/signout").Status, "nobody else signs a user out")
	v.header.Del("Sec-Fetch-Site")
	assert.Equal(t, http.StatusNotFound, v.get("/signout").Status)
	out := v.post("/signout")
	require.Equal(t, http.StatusSeeOther, out.Status)
	has(t, v.get("/signedout"), "You are signed out")
	assert.Equal(t, http.StatusSeeOther, v.get("/my/applications").Status)

	v = s.signIn(s.ada)
	s.clock.Advance(8*time.Hour - time.Second)
	assert.Equal(t, http.StatusOK, v.get("/my/applications").Status)
	s.clock.Advance(2 * time.Second)
	assert.Equal(t, http.StatusSeeOther, v.get("/my/applications").Status, "the lifetime is over")
	assert.Equal(t, http.StatusUnauthorized, v.send("/my/applications/x/credentials/new").Status)
}

func TestBlockingEndsSessionsForGood(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	v, second := s.signIn(s.ada), s.signIn(s.ada)
	s.clock.Advance(time.Minute)
	_, err := s.service.BlockUser(t.Context(), root, "ada")
	require.NoError(t, err)
	got := v.get("/my/applications")
	assert.Equal(t, http.StatusForbidden, got.Status)
	assert.Regexp(t, `__Host-entragate-session-[0-9a-f]+=;`, strings.Join(got.Header.Values("Set-Cookie"), ";"))

	_, err = s.service.UnblockUser(t.Context(), root, "ada")
	require.NoError(t, err)
	s.clock.Advance(time.Minute)
	assert.Equal(t, http.StatusSeeOther, second.get("/my/applications").Status, "a session of before the block does not come back")
	assert.Equal(t, http.StatusOK, s.signIn(s.ada).get("/my/applications").Status)
}

func TestUnlinkingAnAccountEndsItsSession(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	v := s.signIn(s.ada)
	_, err := s.service.BindUser(t.Context(), root, "ada", "", "")
	require.NoError(t, err)
	got := v.get("/my/applications")
	assert.Equal(t, http.StatusForbidden, got.Status)
	has(t, got, s.ada.ObjectID)
}

func TestTheReturnPathIsLocal(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	for _, from := range []string{
		"", "https://evil.example/", "//evil.example/", `/\evil.example`, `\\evil.example`, "/", "/elsewhere", "/portalx", "javascript:alert(1)",
		prefix + "/../evil", prefix + "/%2e%2e/evil", prefix + "\r\nSet-Cookie: x=1", "/\t/evil.example", "http:/portal/", "///evil.example" + prefix + "/",
		s.web.URL + prefix + "/my/applications",
	} {
		v := s.visit("")
		got := v.get(s.pick(s.begin(v, from), s.ada))
		assert.Equal(t, http.StatusSeeOther, got.Status, from)
		assert.Equal(t, prefix+"/", got.location(), from)
	}
}

func TestCallbacksThatDoNotBelong(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	refused := func(name string, v *visitor, path string) {
		t.Helper()
		got := v.get(path)
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusBadGateway}, got.Status, name)
		assert.NotRegexp(t, `__Host-entragate-session-[0-9a-f]+=[^;]`, strings.Join(got.Header.Values("Set-Cookie"), ";"), name)
		assert.Equal(t, http.StatusSeeOther, v.get("/my/applications").Status, name)
	}
	v := s.visit("")
	back := s.pick(s.begin(v, ""), s.ada)
	refused("another browser", s.visit(""), back)
	refused("another state", v, strings.Replace(back, "&state=", "&state=x", 1))
	assert.Equal(t, http.StatusSeeOther, v.get(back).Status, "the state of another ends no attempt")

	v = s.visit("")
	refused("a code that was given out for another attempt", v, s.pick(s.begin(s.visit(""), ""), s.ada)+"&state="+s.begin(v, "").Get("state"))
	refused("no code", v, "/signin/callback?state="+s.begin(v, "").Get("state"))
	refused("Entra said no", v, "/signin/callback?error=access_denied&state="+s.begin(v, "").Get("state"))

	back = s.pick(s.begin(v, ""), s.ada)
	s.clock.Advance(9 * time.Minute)
	assert.Equal(t, http.StatusSeeOther, v.get(back).Status)
	v = s.visit("")
	back = s.pick(s.begin(v, ""), s.ada)
	s.clock.Advance(11 * time.Minute)
	refused("too late", v, back)

	// A code that belongs to another's attempt: state fits, PKCE does not.
	victim, thief := s.visit(""), s.visit("")
	params, other := s.begin(victim, ""), s.begin(thief, "")
	stolen, err := url.Parse(s.pick(other, s.grace))
	require.NoError(t, err)
	q := stolen.Query()
	q.Set("state", params.Get("state"))
	refused("an injected code", victim, "/signin/callback?"+q.Encode())
}

func TestIDTokensAreChecked(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	for name, change := range map[string]func(map[string]any){
		"nonce of another attempt": func(c map[string]any) { c["nonce"] = "another" },
		"no nonce":                 func(c map[string]any) { c["nonce"] = "" },
		"another audience":         func(c map[string]any) { c["aud"] = "00000000-0000-0000-0000-000000000000" },
		"another issuer":           func(c map[string]any) { c["iss"] = "https://evil.example/v2.0" },
		"another tenant":           func(c map[string]any) { c["tid"] = "bbbbbbbb-0000-cccc-1111-dddd2222eeee" },
		"no tenant":                func(c map[string]any) { c["tid"] = "" },
		"no oid":                   func(c map[string]any) { c["oid"] = "" },
		"expired":                  func(c map[string]any) { c["exp"] = s.clock.Now().Add(-time.Hour).Unix() },
	} {
		s.transport.change = func(c map[string]any) map[string]any { change(c); return c }
		v := s.visit("")
		got := v.get(s.pick(s.begin(v, ""), s.ada))
		assert.Equal(t, http.StatusBadGateway, got.Status, name)
		assert.Equal(t, http.StatusSeeOther, v.get("/my/applications").Status, name)
		hasNot(t, got, "evil.example", name)
	}
	// Roles that look like the manager's are not it; e-mail is no identity.
	s.transport.change = func(c map[string]any) map[string]any {
		c["roles"], c["email"], c["name"] = []string{"portal.manager", "Portal.Manager ", "User"}, "grace@contoso.example", "Grace Hopper"
		return c
	}
	v := s.signIn(s.ada)
	assert.Equal(t, http.StatusForbidden, v.get("/products").Status)
	assert.Equal(t, http.StatusOK, v.get("/my/applications").Status)
	s.transport.change = nil
	v = s.signIn(s.ada)
	assert.Equal(t, http.StatusOK, v.get("/my/applications").Status)
}

func TestEntraMayBeAway(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	s.transport.away.Store(true)
	v := s.visit("")
	got := v.get("/signin")
	assert.Equal(t, http.StatusBadGateway, got.Status)
	has(t, got, "Reference")
	s.transport.away.Store(false)
	s.clock.Advance(time.Second)
	assert.Equal(t, http.StatusOK, s.signIn(s.ada).get("/my/applications").Status)
}

func TestSessionCookies(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	v := s.visit("")
	back := s.pick(s.begin(v, ""), s.ada)
	at, _ := url.Parse(s.web.URL)
	_, attempt := cookieOf(v, at, "__Host-entragate-signin")
	require.NotEmpty(t, attempt)
	require.Equal(t, http.StatusSeeOther, v.get(back).Status)
	name, value := cookieOf(v, at, "__Host-entragate-session")
	require.NotEmpty(t, value)
	assert.NotContains(t, value, s.ada.ObjectID)
	raw, err := base64.RawURLEncoding.DecodeString(value)
	require.NoError(t, err)
	assert.NotContains(t, string(raw), s.ada.ObjectID, "encrypted, not only encoded")

	with := func(value string) int {
		v := s.visit("")
		v.client.Jar.SetCookies(at, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: true}})
		return v.get("/my/applications").Status
	}
	assert.Equal(t, http.StatusOK, with(value))
	for what, bad := range map[string]string{
		"empty": "", "text": "manager", "another purpose": attempt, "cut": value[:len(value)-2], "longer": value + "AA",
		"altered": value[:40] + string('A'+(value[40]-'A'+1)%26) + value[41:], "key id alone": value[:6],
	} {
		assert.Equal(t, http.StatusSeeOther, with(bad), what)
	}

	// Rotation: a new key in front still opens the old one's, and a ring
	// without it does not.
	old := s.cfg.Keys[0]
	fresh := []byte(strings.Repeat("2", 32))
	for _, ring := range []struct {
		keys   [][]byte
		status int
	}{{[][]byte{fresh, old}, http.StatusOK}, {[][]byte{fresh}, http.StatusSeeOther}, {nil, http.StatusSeeOther}} {
		cfg := s.cfg
		cfg.Keys = ring.keys
		p, err := portal.New(cfg)
		require.NoError(t, err)
		s.web.Config.Handler = p
		assert.Equal(t, ring.status, with(value))
	}
}

// cookieOf finds a cookie by the begin of its name.
func cookieOf(v *visitor, at *url.URL, name string) (full, value string) {
	for _, c := range v.client.Jar.Cookies(at) {
		if strings.HasPrefix(c.Name, name) {
			return c.Name, c.Value
		}
	}
	return "", ""
}

func TestSignInConfiguration(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	for field, change := range map[string]func(*portal.SignIn){
		"TenantID":     func(c *portal.SignIn) { c.TenantID = "common" },
		"ClientID":     func(c *portal.SignIn) { c.ClientID = "" },
		"ClientSecret": func(c *portal.SignIn) { c.ClientSecret = nil },
		"RedirectURL":  func(c *portal.SignIn) { c.RedirectURL = "https://portal.example/elsewhere" },
		"Cloud":        func(c *portal.SignIn) { c.Cloud = "mars" },
		"Authority":    func(c *portal.SignIn) { c.Authority = "http://login.example" },
		"Lifetime":     func(c *portal.SignIn) { c.Lifetime = -1 },
	} {
		cfg, in := s.cfg, *s.cfg.SignIn
		change(&in)
		cfg.SignIn = &in
		_, err := portal.New(cfg)
		require.Error(t, err, field)
		assert.Contains(t, err.Error(), "SignIn."+field)
	}
	cfg, in := s.cfg, *s.cfg.SignIn
	in.RedirectURL = "http://portal.example" + prefix + "/signin/callback"
	cfg.SignIn = &in
	_, err := portal.New(cfg)
	assert.Error(t, err, "plain http is for loopback hosts only")
}
