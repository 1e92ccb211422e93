package portal_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/portal"
)

// counting counts the requests to Entra by the end of their path.
type counting struct {
	base            http.RoundTripper
	tokens, lookups atomic.Int64
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/token"):
		c.tokens.Add(1)
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		c.lookups.Add(1)
	}
	return c.base.RoundTrip(r)
}

// counted serves the portal anew and counts what it asks Entra.
func (s *signInWorld) counted() *counting {
	s.t.Helper()
	c := &counting{base: s.transport}
	cfg, in := s.cfg, *s.cfg.SignIn
	in.HTTPClient = &http.Client{Transport: c}
	cfg.SignIn = &in
	p, err := portal.New(cfg)
	require.NoError(s.t, err)
	s.web.Config.Handler = p
	return c
}

// Visitors who are not signed in cannot make the portal send requests to Entra.
func TestAnonymousVisitorsCostEntraNothing(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	c := s.counted()
	s.transport.away.Store(true)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { assert.Equal(t, http.StatusBadGateway, s.visit("").get("/signin").Status) })
	}
	all.Wait()
	assert.Equal(t, int64(1), c.lookups.Load(), "one flight, then a pause")
	s.clock.Advance(time.Second)
	s.visit("").get("/signin")
	s.visit("").get("/signin")
	assert.Equal(t, int64(2), c.lookups.Load())
	s.transport.away.Store(false)
	s.clock.Advance(2 * time.Second)
	for range 5 {
		assert.Equal(t, http.StatusSeeOther, s.visit("").get("/signin").Status)
	}
	assert.Equal(t, int64(3), c.lookups.Load())

	// One state makes one request with the portal's secret.
	v := s.visit("")
	state := s.begin(v, "").Get("state")
	at, _ := url.Parse(s.web.URL)
	name, value := cookieOf(v, at, "__Host-entragate-signin")
	for range 20 {
		v.client.Jar.SetCookies(at, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: true}})
		v.get("/signin/callback?code=made-up&state=" + state)
	}
	assert.Equal(t, int64(1), c.tokens.Load())
}

// A withdrawn role ends a manager's session within minutes, and one that was kept
// is confirmed without anything being lost.
func TestAWithdrawnRoleEndsTheSession(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	m := s.signIn(s.grace)
	s.clock.Advance(4 * time.Minute)
	once := m.once("/apis/-/new")
	assert.Equal(t, http.StatusOK, m.get("/products").Status)
	s.clock.Advance(2 * time.Minute)
	assert.Equal(t, http.StatusSeeOther, m.send("/apis/-/new", "once", once, "name", "In time", "path", "/in-time").Status, "a form that is open may still be sent")
	check := m.get("/products?q=x")
	require.Equal(t, http.StatusSeeOther, check.Status)
	assert.Equal(t, prefix+"/signin?return="+url.QueryEscape(prefix+"/products?q=x")+"&check=role", check.location())
	to := m.do(http.MethodGet, check.location(), nil)
	params, err := url.Parse(to.location())
	require.NoError(t, err)
	assert.Equal(t, "none", params.Query().Get("prompt"), "the user is not asked anything")
	assert.Equal(t, "grace", strings.Split(params.Query().Get("login_hint"), "@")[0])
	back := m.get(s.pick(confirmed(params), s.grace))
	assert.Equal(t, prefix+"/products?q=x", back.location())
	assert.Equal(t, http.StatusOK, m.get("/products").Status)

	// The role is gone at the next check.
	s.transport.change = func(c map[string]any) map[string]any { delete(c, "roles"); return c }
	s.clock.Advance(5 * time.Minute)
	to = m.do(http.MethodGet, m.get("/products").location(), nil)
	params, err = url.Parse(to.location())
	require.NoError(t, err)
	m.get(s.pick(confirmed(params), s.grace))
	assert.Equal(t, http.StatusForbidden, m.get("/products").Status)
	s.transport.change = nil

	// Entra wants to see the user: an ordinary sign-in, no loop.
	m = s.signIn(s.grace)
	s.clock.Advance(5 * time.Minute)
	to = m.do(http.MethodGet, m.get("/products").location(), nil)
	params, err = url.Parse(to.location())
	require.NoError(t, err)
	got := m.get("/signin/callback?error=login_required&state=" + params.Query().Get("state"))
	require.Equal(t, http.StatusSeeOther, got.Status)
	assert.Equal(t, prefix+"/signin?return="+url.QueryEscape(prefix+"/products"), got.location())
	// A form that comes too late is shown with its text, to send again.
	m = s.signIn(s.grace)
	s.clock.Advance(10 * time.Minute)
	late := m.send("/apis/-/new", "name", "Too late", "path", "/too-late")
	assert.Equal(t, http.StatusUnauthorized, late.Status)
	has(t, late, `value="Too late"`)
	// A developer has no role that could be withdrawn.
	a := s.signIn(s.ada)
	s.clock.Advance(time.Hour)
	assert.Equal(t, http.StatusOK, a.get("/my/applications").Status)
}

// confirmed is a request that Entra answers without showing a page, which the
// local tenant has no sessions for.
func confirmed(at *url.URL) url.Values {
	q := at.Query()
	q.Del("prompt")
	return q
}

// Portals that share keys do not take each other's sessions, and two on one host
// leave each other's cookies alone.
func TestASessionBelongsToOnePortal(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	staging := s.signIn(s.grace)
	at, _ := url.Parse(s.web.URL)
	name, value := cookieOf(staging, at, "__Host-entragate-session")
	for what, change := range map[string]func(*portal.SignIn){
		"client ID": func(c *portal.SignIn) { c.ClientID = "00000000-0000-4000-8000-000000000042" },
		"tenant":    func(c *portal.SignIn) { c.TenantID = "00000000-0000-4000-8000-000000000043" },
		"redirect":  func(c *portal.SignIn) { c.RedirectURL = "https://production.example" + prefix + "/signin/callback" },
	} {
		cfg, in := s.cfg, *s.cfg.SignIn
		change(&in)
		cfg.SignIn = &in
		p, err := portal.New(cfg)
		require.NoError(t, err)
		for _, cookie := range []string{name, strings.Replace(name, "session", "session", 1)} {
			rec := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, s.web.URL+prefix+"/products", nil)
			r.AddCookie(&http.Cookie{Name: cookie, Value: value})
			p.ServeHTTP(rec, r)
			assert.Equal(t, http.StatusSeeOther, rec.Code, what)
			for _, set := range rec.Header().Values("Set-Cookie") {
				assert.NotContains(t, set, name+"=", what)
			}
		}
	}
}

// Tabs return in any order, Back leads onto the callback, clocks differ, return
// addresses are long: all end signed in.
func TestSignInsThatMustSucceed(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	v := s.visit("")
	var back []string
	for _, from := range []string{"/my/applications", "/my/catalog", "/my/subscriptions"} {
		back = append(back, s.pick(s.begin(v, prefix+from), s.ada))
	}
	for i, want := range map[int]string{1: "/my/catalog", 2: "/my/subscriptions", 0: "/my/applications"} {
		got := v.get(back[i])
		assert.Equal(t, http.StatusSeeOther, got.Status)
		assert.Equal(t, prefix+want, got.location())
	}
	got := v.get(back[1])
	assert.Equal(t, http.StatusSeeOther, got.Status, "Back onto the callback")
	assert.Equal(t, prefix+"/", got.location())

	// A return address of 3,000 characters.
	v = s.visit("")
	long := prefix + "/my/applications?q=" + strings.Repeat("x", 3000)
	first := v.get("/my/applications?q=" + strings.Repeat("x", 3000))
	require.Equal(t, http.StatusSeeOther, first.Status)
	got = v.get(s.pick(s.begin(v, long), s.ada))
	require.Equal(t, http.StatusSeeOther, got.Status)
	assert.Equal(t, http.StatusOK, v.do(http.MethodGet, got.location(), nil).Status)

	// Many tabs: the cookies stay few, and the newest sign-in succeeds.
	v = s.visit("")
	var last string
	for range 12 {
		last = s.pick(s.begin(v, prefix+"/my/catalog"), s.ada)
	}
	at, _ := url.Parse(s.web.URL)
	assert.LessOrEqual(t, len(v.client.Jar.Cookies(at)), 4)
	assert.Equal(t, prefix+"/my/catalog", v.get(last).location())

	// A replica whose clock is ahead changes the account just before the sign-in.
	s.clock.Advance(5 * time.Second)
	name := "Ada L."
	_, err := s.service.UpdateUser(t.Context(), root, "ada", appaccess.UserUpdate{Name: &name})
	require.NoError(t, err)
	s.clock.Advance(-5 * time.Second)
	v = s.signIn(s.ada)
	assert.Equal(t, http.StatusOK, v.get("/my/applications").Status, "no redirect loop")
}

// After signing out, and where the account is unknown, another can be chosen.
func TestAnotherAccountCanBeChosen(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	v := s.signIn(s.ada)
	require.Equal(t, http.StatusSeeOther, v.post("/signout").Status)
	has(t, v.get("/signedout"), `href="/portal/signin?account=other"`)
	to, err := url.Parse(v.get("/signin?account=other").location())
	require.NoError(t, err)
	assert.Equal(t, "select_account", to.Query().Get("prompt"))
	_, err = s.service.BindUser(t.Context(), root, "ada", "", "")
	require.NoError(t, err)
	v = s.signIn(s.ada)
	page := v.get("/my/applications")
	assert.Equal(t, http.StatusForbidden, page.Status)
	has(t, page, `href="/portal/signin?account=other"`)
}

// A proxy that rewrites Host makes the browser's origin another than the
// request's: the registered address is trusted all the same, and no other is.
func TestFormsBehindAProxyThatRewritesHost(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	m := s.signIn(s.grace)
	once := m.once("/apis/-/new")
	at, _ := url.Parse(s.web.URL)
	name, value := cookieOf(m, at, "__Host-entragate-session")
	send := func(origin string) int {
		form := url.Values{"name": {"Stock"}, "path": {"/stock"}, "once": {once}}
		r := httptest.NewRequest(http.MethodPost, "https://internal:8443"+prefix+"/apis/-/new", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", origin)
		r.AddCookie(&http.Cookie{Name: name, Value: value})
		rec := httptest.NewRecorder()
		s.web.Config.Handler.ServeHTTP(rec, r)
		return rec.Code
	}
	assert.Equal(t, http.StatusForbidden, send("https://evil.example"))
	assert.Equal(t, http.StatusSeeOther, send(s.web.URL))
}
