package portal_test

import (
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/portal"
	"github.com/entragate/entragate/internal/testkit"
)

func TestForgedRequestsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.visit("manager")
	for name, header := range map[string]http.Header{
		"another site":         {"Sec-Fetch-Site": {"cross-site"}},
		"a sibling":            {"Sec-Fetch-Site": {"same-site"}},
		"an old browser":       {"Sec-Fetch-Site": nil, "Origin": {"https://evil.example"}},
		"a sandboxed document": {"Sec-Fetch-Site": nil, "Origin": {"null"}},
	} {
		m.header = header
		got := m.post("/users/ada/block")
		assert.Equal(t, http.StatusForbidden, got.Status, name)
		has(t, got, "came from another site")
	}
	ada, err := w.service.User(t.Context(), root, "ada")
	require.NoError(t, err)
	assert.Equal(t, appaccess.UserActive, ada.State)
	m.header = http.Header{}
	assert.Equal(t, http.StatusSeeOther, m.post("/users/ada/block").Status)
}

// Nothing is changed by a GET, whatever its query says.
func TestReadingChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	one := w.application("shop", "ada")
	before, err := w.service.Audit(t.Context(), root, appaccess.AuditFilter{})
	require.NoError(t, err)
	m, a := w.visit("manager"), w.visit("ada")
	for _, path := range managerPaths(ids{one.ID, "none", "none", "none", "none", "none"}) {
		m.get(path + "?do=block&force=yes&remove=orders")
	}
	for _, path := range append(ownerPaths(ids{one.ID, "none", "none", "none", "none", "none"}), "/users/ada/block?force=yes", "/entra/apply") {
		a.get(path + "?remove=1")
	}
	after, err := w.service.Audit(t.Context(), root, appaccess.AuditFilter{})
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	one := w.application("shop", "ada")
	inline := regexp.MustCompile(`(?i)<style|style=|\son[a-z]+=|javascript:|<script(?:[^>]*)>[^<]|<base|<iframe`)
	check := func(name string, got answer) {
		t.Helper()
		csp := got.Header.Get("Content-Security-Policy")
		assert.Contains(t, csp, "default-src 'none'", name)
		assert.Contains(t, csp, "frame-ancestors 'none'", name)
		assert.Contains(t, csp, "form-action 'self'", name)
		assert.NotContains(t, csp, "unsafe", name)
		assert.NotContains(t, csp, "http", name)
		assert.Equal(t, "no-store", got.Header.Get("Cache-Control"), name)
		assert.Equal(t, "nosniff", got.Header.Get("X-Content-Type-Options"), name)
		assert.Equal(t, "DENY", got.Header.Get("X-Frame-Options"), name)
		assert.Equal(t, "same-origin", got.Header.Get("Referrer-Policy"), name)
		assert.Empty(t, inline.FindString(got.Body), name)
		assert.NotRegexp(t, `(?:src|href|action)="(?:https?:)?//`, got.Body, name)
		for _, c := range got.Header.Values("Set-Cookie") {
			for _, want := range []string{"__Host-", "; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"} {
				assert.Contains(t, c, want, name)
			}
		}
	}
	m, a := w.visit("manager"), w.visit("ada")
	for _, path := range managerPaths(ids{one.ID, "none", "none", "none", "none", "none"}) {
		check(path, m.get(path))
	}
	for _, path := range ownerPaths(ids{one.ID, "none", "none", "none", "none", "none"}) {
		check(path, a.get(path))
	}
	check("nothing there", m.get("/nothing/there"))
	check("signed out", w.visit("").get("/"))
	check("broken", w.visit("broken").get("/"))
	check("refused form", m.post("/apis/-/new", "name", ""))
	check("done", m.post("/users/ada/block"))
	check("applied", m.post("/entra/apply"))
}

func TestAssetsAreKeptForGoodUnderTheirHash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.visit("")
	page := v.get("/")
	names := regexp.MustCompile(`/portal/assets/[a-z]+\.[0-9a-f]{12}\.[a-z]+`).FindAllString(page.Body, -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		got := v.do(http.MethodGet, name, nil)
		assert.Equal(t, http.StatusOK, got.Status, name)
		assert.Contains(t, got.Header.Get("Cache-Control"), "immutable")
		assert.NotEmpty(t, got.Header.Get("Content-Type"))
	}
	for _, name := range []string{"/assets/style.css", "/assets/..%2fportal.go", "/assets/"} {
		assert.Equal(t, http.StatusNotFound, v.get(name).Status, name)
	}
}

func TestWhoIsNobodySeesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	one := w.application("shop", "ada")
	for who, status := range map[string]int{
		"": http.StatusUnauthorized, "unknown": http.StatusUnauthorized, "noid": http.StatusUnauthorized,
		"nobody": http.StatusForbidden, "foreign": http.StatusForbidden, "broken": http.StatusInternalServerError,
	} {
		v := w.visit(who)
		for _, path := range append(ownerPaths(ids{one.ID, "none", "none", "none", "none", "none"}), managerPaths(ids{one.ID, "none", "none", "none", "none", "none"})...) {
			got := v.get(path)
			assert.Equal(t, status, got.Status, "%s %s", who, path)
			hasNot(t, got, one.Entra.AppID)
			hasNot(t, got, "internal-detail-7")
		}
	}
	// tid and oid decide together: Ada's oid in another tenant is not Ada, and
	// neither is somebody who is named like her.
	has(t, w.visit("foreign").get("/"), "You have no account here yet")
	has(t, w.visit("nobody").get("/"), nobodyOID)
}

func TestDevelopersSeeTheirOwnOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.orders()
	one := w.application("shop", "ada")
	sub, err := w.service.CreateSubscription(ctx, root, appaccess.SubscriptionRequest{ID: "s1", Name: "Reporting", OwnerID: "ada", Scope: appaccess.ProductScope("orders")})
	require.NoError(t, err)
	hand, err := w.service.CreateOneTimeSecret(ctx, root, one.ID, appaccess.SecretRequest{})
	require.NoError(t, err)
	b := w.visit("blaise")
	for _, path := range ownerPaths(ids{one.ID, sub.Subscription.ID, hand.ID, "none", "none", "none"}) {
		if strings.Contains(path, one.ID) || strings.Contains(path, "s1") {
			assert.Equal(t, http.StatusNotFound, b.get(path).Status, path)
		}
	}
	hasNot(t, b.get("/my/applications"), "Web shop")
	// Tokens of forms of his own do not open another's.
	mine := w.application("other", "blaise")
	token := b.once("/my/applications/" + mine.ID + "/secrets/new")
	for path, more := range map[string][]string{
		"/my/applications/shop/secrets/new":                        {"lifetime", "365", "old", "keep"},
		"/my/applications/shop/one-time-secrets/" + hand.ID:        nil,
		"/my/applications/shop/credentials/" + hand.ID + "/remove": nil,
		"/my/applications/shop/credentials/new":                    {"kind", "federated", "name", "github", "issuer", "https://github.example", "subject", "x"},
		"/my/applications/shop/try":                                {"secret", "x"},
		"/my/subscriptions/s1/keys/primary/regenerate":             nil,
		"/my/subscriptions/s1/cancel":                              nil,
	} {
		assert.Equal(t, http.StatusNotFound, b.post(path, append(more, "once", token)...).Status, path)
	}
	// The manager's pages are closed to him, whether their object exists or not.
	for _, path := range managerPaths(ids{one.ID, "s1", "none", "none", "none", "none"}) {
		if path != "/" {
			assert.Equal(t, http.StatusForbidden, b.get(path).Status, path)
		}
	}
	assert.Equal(t, b.get("/applications/shop").Status, b.get("/applications/does-not-exist").Status)
	for _, path := range []string{"/users/ada/block", "/products/orders/delete", "/applications/shop/suspend", "/entra/apply", "/subscriptions/s1/activate", "/users/blaise/account"} {
		assert.Equal(t, http.StatusForbidden, b.post(path, "do", "block").Status, path)
	}
	// A manager acts as an owner on the owner's pages, and sees their own only.
	assert.Equal(t, http.StatusForbidden, w.visit("manager").get("/my/applications").Status)
	assert.Equal(t, http.StatusNotFound, w.visit("boss").get("/my/applications/"+mine.ID).Status)
	assert.Equal(t, http.StatusOK, w.visit("boss").get("/my/applications/shop").Status)
}

func TestWhatUsersEnterIsEscaped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.orders()
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}`
	_, err := w.service.CreateUser(ctx, root, appaccess.UserRequest{ID: "evil", Name: evil})
	require.NoError(t, err)
	_, err = w.service.CreateProduct(ctx, root, appaccess.ProductRequest{ID: "evil", Name: "Evil " + evil, Description: evil, Access: appaccess.Access{Key: true}, APIs: []string{"echo-api"}, Published: true})
	require.NoError(t, err)
	_, err = w.service.RegisterApplication(ctx, root, appaccess.ApplicationRequest{ID: "evil", Name: evil, Description: evil, OwnerID: "ada", Grants: appaccess.GrantsOfAll("orders")})
	require.NoError(t, err)
	_, err = w.service.CreateSubscription(ctx, root, appaccess.SubscriptionRequest{ID: "evil", Name: evil, OwnerID: "ada", Scope: appaccess.ProductScope("evil")})
	require.NoError(t, err)
	m, a := w.visit("manager"), w.visit("ada")
	clean := func(got answer) {
		t.Helper()
		if got.Header.Get("Content-Disposition") != "" {
			return // a file, which no browser shows
		}
		hasNot(t, got, "<script>alert")
		hasNot(t, got, "<img src=x")
		hasNot(t, got, `onerror=alert(1)>`)
	}
	for _, path := range managerPaths(ids{"evil", "evil", "none", "none", "none", "none"}) {
		clean(m.get(path))
	}
	for _, path := range []string{"/products/evil", "/products/evil/properties", "/users/evil", "/products?q=" + url.QueryEscape(evil), "/audit?object=" + url.QueryEscape(evil)} {
		clean(m.get(path))
	}
	for _, path := range ownerPaths(ids{"evil", "evil", "none", "none", "none", "none"}) {
		clean(a.get(path))
	}
	clean(m.post("/apis/-/new", "name", evil, "path", evil, "serviceUrl", "javascript:alert(1)"))
	clean(m.post("/users/-/new", "name", "", "email", evil, "id", evil))
}

func TestAValueIsShownOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	one := w.application("shop", "ada")
	a := w.visit("ada")
	path := "/my/applications/" + one.ID + "/secrets/new"
	token := a.once(path)
	first := a.post(path, "once", token, "lifetime", "90", "old", "keep")
	require.Equal(t, http.StatusOK, first.Status)
	require.Len(t, first.values(), 1)
	value := first.values()[0]
	assert.Equal(t, "no-store", first.Header.Get("Cache-Control"))

	// Reload and back send the same form again.
	again := a.post(path, "once", token, "lifetime", "90", "old", "keep")
	assert.Equal(t, http.StatusConflict, again.Status)
	has(t, again, "This form was sent already")
	assert.Empty(t, again.values())
	creds, err := w.service.Credentials(t.Context(), root, one.ID)
	require.NoError(t, err)
	assert.Len(t, creds, 1)

	// The value is on no other page, and the form of another address or user,
	// a made up one and none at all are refused.
	for _, other := range ownerPaths(ids{one.ID, "none", "none", "none", "none", "none"}) {
		hasNot(t, a.get(other), value)
	}
	for name, token := range map[string]string{"none": "", "made up": strings.Repeat("A", 80), "altered": a.once(path)[1:] + "A"} {
		assert.Equal(t, http.StatusConflict, a.post(path, "once", token, "lifetime", "90", "old", "keep").Status, name)
	}
}

func TestAFormWorksOnceOnEveryReplicaAndInEveryTab(t *testing.T) {
	t.Parallel()
	keys := [][]byte{[]byte(strings.Repeat("a", 32))}
	w := newWorld(t, func(_ *world, c *portal.Config) { c.Keys = keys })
	w.orders()
	one := w.application("shop", "ada")
	path := "/my/applications/" + one.ID + "/secrets/new"
	send := func(v *visitor, token string) int {
		return v.post(path, "once", token, "lifetime", "90", "old", "0").Status
	}
	a := w.visit("ada")
	left, right := a.once(path), a.once(path)
	assert.Equal(t, http.StatusOK, send(a, left))
	assert.Equal(t, http.StatusOK, send(a, right), "two tabs do not disturb each other")

	// A double click: only one of the two is served.
	token := a.once(path)
	var served [2]int
	var both sync.WaitGroup
	for i := range served {
		both.Go(func() { served[i] = send(a, token) })
	}
	both.Wait()
	assert.ElementsMatch(t, []int{http.StatusOK, http.StatusConflict}, served[:])

	// Another replica, with the same keys, knows from the browser.
	w.serve(func(_ *world, c *portal.Config) { c.Keys = keys })
	jar := a.client.Jar
	b := w.visit("ada")
	b.client.Jar = jar
	assert.Equal(t, http.StatusConflict, send(b, token))

	// An old form is refused.
	old := b.once(path)
	w.clock.Advance(2 * time.Hour)
	assert.Equal(t, http.StatusConflict, send(b, old))
}

func TestKeysAreShownOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	a, m := w.visit("ada"), w.visit("manager")
	open := appaccess.SelfServiceOpen
	_, err := w.service.UpdateProduct(t.Context(), root, "orders", appaccess.ProductUpdate{SelfService: &open})
	require.NoError(t, err)
	path := "/my/catalog/orders/subscribe"
	token := a.once(path)
	made := a.post(path, "once", token, "name", "My reports")
	require.Equal(t, http.StatusOK, made.Status)
	require.Len(t, made.values(), 2)
	for _, key := range made.values() {
		assert.Regexp(t, "^"+appaccess.KeyPattern+"$", key)
	}
	assert.Equal(t, http.StatusConflict, a.post(path, "once", token, "name", "My reports").Status)

	subs, err := w.service.Subscriptions(t.Context(), root, appaccess.SubscriptionFilter{})
	require.NoError(t, err)
	require.Len(t, subs.Items, 1)
	id := subs.Items[0].ID
	assert.Equal(t, appaccess.SubscriptionActive, subs.Items[0].State)

	for _, at := range []struct {
		v    *visitor
		path string
	}{{a, "/my/subscriptions/" + id}, {m, "/subscriptions/" + id}} {
		path := at.path + "/keys/secondary/regenerate"
		token := at.v.once(path)
		got := at.v.post(path, "once", token)
		require.Equal(t, http.StatusOK, got.Status)
		require.Len(t, got.values(), 1)
		now, err := w.service.Subscription(t.Context(), root, id)
		require.NoError(t, err)
		assert.Equal(t, appaccess.HashKey(got.values()[0]), now.SecondaryHash)
		assert.Equal(t, http.StatusConflict, at.v.post(path, "once", token).Status)
	}
	assert.Equal(t, http.StatusNotFound, a.post("/my/subscriptions/"+id+"/keys/third/regenerate").Status)
	assert.Equal(t, http.StatusSeeOther, a.post("/my/subscriptions/"+id+"/cancel").Status)

	path = "/subscriptions/-/new"
	token = m.once(path)
	made = m.post(path, "once", token, "name", "Everything", "reach", "all", "ownerId", "", "expires", "2026-12-31")
	require.Len(t, made.values(), 2)
	assert.Equal(t, http.StatusConflict, m.post(path, "once", token, "name", "Everything", "reach", "all").Status)
	has(t, m.get("/subscriptions"), "1 Jan 2027")
}

func TestASealedSecretReachesItsOwnerOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	one := w.application("shop", "ada")
	m, a := w.visit("manager"), w.visit("ada")
	path := "/applications/" + one.ID + "/secrets/new"
	has(t, m.get(path), "Its owner, Ada Lovelace")
	sent := m.post(path, "once", m.once(path), "lifetime", "90", "old", "keep", "to", "owner")
	require.Equal(t, http.StatusSeeOther, sent.Status)
	assert.Empty(t, sent.values())
	has(t, m.get("/applications/"+one.ID+"/credentials"), "Secret made and sealed")

	waiting, err := w.service.OneTimeSecrets(t.Context(), root, one.ID)
	require.NoError(t, err)
	require.Len(t, waiting, 1)
	has(t, a.get("/my/applications/"+one.ID), "A client secret waits for you")
	path = "/my/applications/" + one.ID + "/one-time-secrets/" + waiting[0].ID
	assert.Empty(t, a.get(path).values(), "looking does not open it")
	token := a.once(path)
	got := a.post(path, "once", token)
	require.Equal(t, http.StatusOK, got.Status)
	require.Len(t, got.values(), 1)
	assert.Equal(t, http.StatusConflict, a.post(path, "once", token).Status)
	assert.Equal(t, http.StatusNotFound, a.get(path).Status)
}

func TestSecretsAreRateLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	one := w.application("shop", "ada")
	other := w.application("other", "blaise")
	make := func(who string, a appaccess.ClientApplication) answer {
		v := w.visit(who)
		path := "/my/applications/" + a.ID + "/secrets/new"
		return v.post(path, "once", v.once(path), "lifetime", "90", "old", "0")
	}
	limited := 0
	for range 12 {
		if got := make("ada", one); got.Status == http.StatusTooManyRequests {
			limited++
			assert.Equal(t, "60", got.Header.Get("Retry-After"))
		}
	}
	assert.Equal(t, 6, limited)
	assert.Equal(t, http.StatusOK, make("blaise", other).Status, "one user's limit is not another's")
	w.clock.Advance(time.Minute)
	assert.Equal(t, http.StatusOK, make("ada", one).Status)
}

func TestABlockedUserIsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.visit("ada")
	require.Equal(t, http.StatusOK, a.get("/my/applications").Status)
	_, err := w.service.BlockUser(t.Context(), root, "ada")
	require.NoError(t, err)
	got := a.get("/my/applications")
	assert.Equal(t, http.StatusForbidden, got.Status)
	has(t, got, "Your account is blocked")
	assert.Equal(t, http.StatusForbidden, w.visit("boss").get("/products").Status, "the manager's role does not help")
}

// A user who has the ID of one of the portal's own parts is a user like any
// other: blocking them ends nobody else's access.
func TestABlockedUserLocksNobodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.service.CreateUser(t.Context(), root, appaccess.UserRequest{ID: "portal", Name: "Porter"})
	require.NoError(t, err)
	_, err = w.service.BlockUser(t.Context(), root, "portal")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, w.visit("ada").get("/my/applications").Status)
	assert.Equal(t, http.StatusOK, w.visit("manager").get("/products").Status)
}

func TestLogsHoldNoSecret(t *testing.T) {
	t.Parallel()
	var logged testkit.Log
	w := newWorld(t, func(_ *world, c *portal.Config) {
		c.Logger = logged.Logger(slog.LevelDebug)
	})
	w.orders()
	one := w.application("shop", "ada")
	a := w.visit("ada")
	path := "/my/applications/" + one.ID + "/secrets/new"
	made := a.post(path, "once", a.once(path), "lifetime", "90", "old", "keep")
	require.Len(t, made.values(), 1)
	secret := made.values()[0]
	tried := a.post("/my/applications/"+one.ID+"/try", "target", "orders orders-api", "method", "GET", "with", "secret", "secret", secret)
	assert.Equal(t, http.StatusOK, tried.Status)
	hasNot(t, tried, secret)
	w.visit("broken").get("/")
	assert.Contains(t, logged.String(), "internal-detail-7", "what fails is logged")
	assert.NotContains(t, logged.String(), secret)
	assert.NotContains(t, logged.String(), "eyJ")
}

func TestConfigurationIsCheckedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	who := func(*http.Request) (portal.User, error) { return portal.User{}, portal.ErrSignedOut }
	for name, c := range map[string]portal.Config{
		"Service":         {Authenticate: who},
		"Authenticate":    {Service: w.service},
		"SignIn":          {Service: w.service, Authenticate: who, SignIn: &portal.SignIn{}},
		"Prefix":          {Service: w.service, Authenticate: who, Prefix: "portal/"},
		"Keys[0]":         {Service: w.service, Authenticate: who, Keys: [][]byte{[]byte("short")}},
		"Gateway":         {Service: w.service, Authenticate: who, Gateway: "http://api.example"},
		"APIHosts[0]":     {Service: w.service, Authenticate: who, APIHosts: []string{"https://api.example"}},
		"SignIn.TenantID": {Service: w.service, SignIn: &portal.SignIn{ClientID: "x", RedirectURL: "https://x.example/signin/callback"}},
	} {
		_, err := portal.New(c)
		require.Error(t, err, name)
		assert.Contains(t, err.Error(), name)
	}
	for _, prefix := range []string{"", "/portal", "/a/b"} {
		_, err := portal.New(portal.Config{Service: w.service, Authenticate: who, Prefix: prefix})
		assert.NoError(t, err, prefix)
	}
}

func TestAnyPrefix(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *world, c *portal.Config) { c.Prefix = "" })
	m := w.visit("manager")
	got := m.do(http.MethodGet, "/products", nil)
	assert.Equal(t, http.StatusOK, got.Status)
	assert.Contains(t, got.Body, `href="/products/starter"`)
	w.serve()
	m = w.visit("manager")
	assert.Equal(t, prefix+"/", m.do(http.MethodGet, prefix, nil).location())
	assert.Equal(t, http.StatusNotFound, m.do(http.MethodGet, "/products", nil).Status)
	assert.Equal(t, http.StatusNotFound, m.do(http.MethodGet, "/portalx/products", nil).Status)
}
