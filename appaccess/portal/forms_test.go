package portal_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/portal"
)

// Two managers edit the same object: the second one sees both values, keeps what
// they typed, and nothing of the first one's change is undone.
func TestStaleFormsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	w.application("shop", "ada")
	_, err := w.service.CreateSubscription(t.Context(), root, appaccess.SubscriptionRequest{ID: "s1", Name: "Reporting", Scope: appaccess.AllAPIs})
	require.NoError(t, err)
	first, second := w.visit("manager"), w.visit("manager")
	for path, form := range map[string]struct{ field, mine, other, more string }{
		"/apis/orders-api":            {"name", "Orders v1", "Orders v2", "path=/orders"},
		"/products/orders/properties": {"description", "one", "two", "name=Orders&access=token&access=key"},
		"/applications/shop":          {"name", "Shop one", "Shop two", "description="},
		"/subscriptions/s1":           {"name", "Sub one", "Sub two", "expires="},
		"/users/blaise":               {"email", "one@contoso.example", "two@contoso.example", "name=Blaise Pascal"},
		"/users/blaise/account":       {"objectId", nobodyOID, managerOID, "tenantId=" + w.tenant.ID()},
	} {
		pairs := func(value, base string) []string {
			out := []string{form.field, value, "base", base}
			for pair := range strings.SplitSeq(form.more, "&") {
				name, value, _ := strings.Cut(pair, "=")
				out = append(out, name, value)
			}
			return out
		}
		opened := func(v *visitor) string {
			found := basePattern.FindStringSubmatch(v.get(path).Body)
			require.NotNil(t, found, path)
			return found[1]
		}
		base1, base2 := opened(first), opened(second)
		require.Equal(t, http.StatusSeeOther, first.send(path, pairs(form.other, base1)...).Status, path)
		stale := second.send(path, pairs(form.mine, base2)...)
		require.Equal(t, http.StatusConflict, stale.Status, path)
		has(t, stale, "Somebody else changed this meanwhile", path)
		has(t, stale, `<td dir="auto">`+form.other+`</td><td dir="auto">`+form.mine+`</td>`, path)
		assert.GreaterOrEqual(t, strings.Count(stale.Body, form.mine), 2, path) // in the comparison and in the form
		// Having seen both, the second one saves.
		again := basePattern.FindStringSubmatch(stale.Body)
		require.NotNil(t, again, path)
		assert.Equal(t, http.StatusSeeOther, second.send(path, pairs(form.mine, again[1])...).Status, path)
		// A form without its base, or with the base of another page, changes nothing.
		assert.Equal(t, http.StatusConflict, second.send(path, pairs(form.other, "made-up")...).Status, path)
		assert.Equal(t, http.StatusConflict, second.send(path, pairs(form.other, again[1][2:])...).Status, path)
	}
}

// The case that hurt: a form that was open while key access was switched off
// does not switch it on again.
func TestAStaleFormDoesNotRestoreAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	m := w.visit("manager")
	base := basePattern.FindStringSubmatch(m.get("/products/orders/properties").Body)[1]
	_, err := w.service.SetAccess(t.Context(), root, "orders", appaccess.AccessRequest{Access: appaccess.Access{Token: true}})
	require.NoError(t, err)
	stale := m.send("/products/orders/properties", "base", base, "name", "Orders", "description", "Better words.", "access", "token", "access", "key")
	assert.Equal(t, http.StatusConflict, stale.Status)
	has(t, stale, "Better words.")
	p, err := w.service.Product(t.Context(), root, "orders")
	require.NoError(t, err)
	assert.Equal(t, appaccess.Access{Token: true}, p.Access)
	assert.NotEqual(t, "Better words.", p.Description)
}

// What revokes access asks first, names who is affected, and offers the way back.
func TestWhatRevokesAccessAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.orders()
	w.application("shop", "ada")
	cred, err := w.service.AddSecret(ctx, root, "shop", appaccess.SecretRequest{Name: "production"})
	require.NoError(t, err)
	_, err = w.service.CreateSubscription(ctx, root, appaccess.SubscriptionRequest{ID: "s1", Name: "Reporting job", OwnerID: "ada", Scope: appaccess.ProductScope("orders")})
	require.NoError(t, err)
	m := w.visit("manager")
	for path, want := range map[string]struct {
		callers string
		undo    bool
	}{
		"/products/orders/suspend":                                         {"2 callers are affected", true},
		"/products/orders/delete":                                          {"2 callers are affected", false},
		"/applications/shop/suspend":                                       {"1 caller is affected", true},
		"/applications/shop/products/orders/revoke":                        {"1 caller is affected", true},
		"/applications/shop/credentials/" + cred.Credential.ID + "/remove": {"1 caller is affected", false},
		"/subscriptions/s1/suspend":                                        {"1 caller is affected", true},
		"/subscriptions/s1/cancel":                                         {"1 caller is affected", false},
		"/subscriptions/s1/keys/primary/regenerate":                        {"1 caller is affected", false},
		"/users/ada/block":                                                 {"2 callers are affected", true},
	} {
		page := m.get(path)
		require.Equal(t, http.StatusOK, page.Status, path)
		has(t, page, want.callers, path)
		if strings.Contains(want.callers, "2") {
			has(t, page, "Web shop shop", path)
			has(t, page, "Reporting job", path)
			has(t, page, "not used in the last 90 days", path)
		}
		if want.undo {
			has(t, page, "It can be undone afterwards", path)
		} else {
			has(t, page, "This cannot be undone", path)
		}
	}
	before, err := w.service.Application(ctx, root, "shop")
	require.NoError(t, err)
	assert.Equal(t, appaccess.ApplicationActive, before.State, "asking does nothing")

	// Undo is a form on the page that follows.
	require.Equal(t, http.StatusSeeOther, m.post("/applications/shop/products/orders/revoke").Status)
	page := m.get("/applications/shop/products")
	has(t, page, `action="/portal/applications/shop/products"><input type="hidden" name="grants" value="orders"><button class="button small">Undo`)
	require.Equal(t, http.StatusSeeOther, m.send("/applications/shop/products", "grants", "orders").Status)
	after, err := w.service.Application(ctx, root, "shop")
	require.NoError(t, err)
	assert.Equal(t, []string{"orders"}, after.Grants.Products())
}

// All wrong fields are marked and listed, and the title begins with Error.
func TestFormErrorsComeAllAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.visit("manager")
	page := m.post("/apis/-/new", "name", "", "path", "no-slash", "serviceUrl", "ftp://x")
	assert.Equal(t, http.StatusBadRequest, page.Status)
	assert.True(t, strings.HasPrefix(page.title(), "Error: "), page.title())
	for _, field := range []string{"name", "path", "serviceUrl"} {
		has(t, page, `<li><a href="#f-`+field+`">`)
		has(t, page, `id="e-`+field+`"`)
	}
	has(t, page, `tabindex="-1" autofocus`)
	page = m.post("/applications/-/new", "name", "")
	for _, field := range []string{"name", "ownerId", "grants"} {
		has(t, page, `<li><a href="#f-`+field+`">`)
	}
	page = m.post("/users/-/new", "name", "", "email", "x")
	has(t, page, `<li><a href="#f-name">`)
	has(t, page, `<li><a href="#f-email">`)
	page = m.post("/subscriptions/-/new", "name", "x", "expires", "soon")
	has(t, page, `<li><a href="#f-scope">`)
	has(t, page, `<li><a href="#f-expires">`)
	w.orders()
	page = w.visit("ada").post("/my/catalog/orders/request", "name", "", "reason", "none")
	has(t, page, `<li><a href="#f-name">`)
	has(t, page, `<li><a href="#f-permissions">`)
}

// A session that ended while somebody typed loses nothing but secrets, and
// nothing of the form is stored.
func TestTheTextSurvivesTheSession(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	s.orders()
	s.application("shop", "ada")
	m := s.signIn(s.grace)
	page := m.get("/apis/-/new")
	once := oncePattern.FindStringSubmatch(page.Body)[1]
	s.clock.Advance(9 * time.Hour)
	before := s.records()
	got := m.send("/apis/-/new", "once", once, "name", `Stock "A"`, "path", "/stock", "secret", "s3cret-value", "pem", "-----BEGIN")
	assert.Equal(t, http.StatusUnauthorized, got.Status)
	has(t, got, `name="name" value="Stock &#34;A&#34;"`)
	has(t, got, `name="path" value="/stock"`)
	has(t, got, `action="/portal/apis/-/new"`)
	hasNot(t, got, "s3cret-value")
	hasNot(t, got, "-----BEGIN")
	assert.Equal(t, before, s.records(), "nothing is stored")

	// Signed in again, the same text is sent. The form's hour is over, too: it is
	// shown again with the text, and works then.
	m = s.signIn(s.grace)
	got = m.send("/apis/-/new", "once", once, "name", `Stock "A"`, "path", "/stock")
	assert.Equal(t, http.StatusConflict, got.Status)
	has(t, got, "This form was open for more than an hour")
	has(t, got, `value="Stock &#34;A&#34;"`)
	fresh := oncePattern.FindStringSubmatch(got.Body)[1]
	assert.Equal(t, http.StatusSeeOther, m.send("/apis/-/new", "once", fresh, "name", `Stock "A"`, "path", "/stock").Status)
}

// records counts what was stored: audit records and forms.
func (w *world) records() int {
	w.t.Helper()
	found, err := w.service.Audit(w.t.Context(), root, appaccess.AuditFilter{Limit: 999})
	require.NoError(w.t, err)
	return len(found.Items)
}

// A double click that reaches two replicas makes one object.
func TestADoubleClickMakesOneObject(t *testing.T) {
	t.Parallel()
	keys := [][]byte{[]byte(strings.Repeat("a", 32))}
	share := func(_ *world, c *portal.Config) { c.Keys = keys }
	w := newWorld(t, share)
	w.orders()
	first := w.visit("manager")
	w.serve(share) // another replica over the same store
	second := w.visit("manager")
	for path, pairs := range map[string][]string{
		"/applications/-/new":  {"name", "Twice", "ownerId", "ada", "grants", "orders"},
		"/subscriptions/-/new": {"name", "Twice", "reach", "all"},
		"/users/-/new":         {"name", "Twice"},
	} {
		once := first.once(path)
		var both sync.WaitGroup
		var status [2]int
		for i, v := range []*visitor{first, second} {
			both.Go(func() { status[i] = v.sendTo(i, path, append(pairs, "once", once)...).Status })
		}
		both.Wait()
		assert.Contains(t, status[:], http.StatusConflict, path)
	}
	apps, err := w.service.Applications(t.Context(), root, appaccess.Filter{Search: "Twice"})
	require.NoError(t, err)
	subs, err := w.service.Subscriptions(t.Context(), root, appaccess.SubscriptionFilter{Filter: appaccess.Filter{Search: "Twice"}})
	require.NoError(t, err)
	users, err := w.service.Users(t.Context(), root, appaccess.Filter{Search: "Twice"})
	require.NoError(t, err)
	assert.Equal(t, []int{1, 1, 1}, []int{len(apps.Items), len(subs.Items), len(users.Items)})
}

// sendTo is send to one of two replicas.
func (v *visitor) sendTo(_ int, path string, pairs ...string) answer {
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return v.do(http.MethodPost, v.at+prefix+path, form)
}

// Old secrets end at their own end, whatever overlap was asked for.
func TestOverlapIsNotPromisedBeyondTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	w.application("shop", "ada")
	_, err := w.service.AddSecret(t.Context(), root, "shop", appaccess.SecretRequest{Name: "old", Lifetime: 10 * 24 * time.Hour})
	require.NoError(t, err)
	a := w.visit("ada")
	page := a.get("/my/applications/shop/secrets/new")
	has(t, page, "Replace, after 7 days")
	hasNot(t, page, "Replace, after 30 days")
	w.clock.Advance(7 * 24 * time.Hour)
	page = a.get("/my/applications/shop/secrets/new")
	hasNot(t, page, "Replace, after 7 days")
	has(t, page, "Replace, when it ends (in 3 days)")
	got := a.post("/my/applications/shop/secrets/new", "lifetime", "365", "old", "4")
	require.Equal(t, http.StatusOK, got.Status)
	creds, err := w.service.Credentials(t.Context(), root, "shop")
	require.NoError(t, err)
	require.Len(t, creds, 2)
	for _, c := range creds {
		assert.False(t, c.RemoveAfter.After(c.End), "the overlap ends with the secret")
	}
	// The owner is warned, on both pages, until the old secret is removed.
	for _, c := range creds {
		has(t, a.get("/my/applications/shop"), "is replaced and works until")
		has(t, a.get("/my/applications"), "Expires soon")
		if !c.RemoveAfter.IsZero() {
			require.Equal(t, http.StatusSeeOther, a.post("/my/applications/shop/credentials/"+c.ID+"/remove").Status)
			break
		}
		w.clock.Advance(24 * time.Hour)
	}
	hasNot(t, a.get("/my/applications/shop"), "is replaced and works until")
	hasNot(t, a.get("/my/applications"), "Expires soon")
}

// No page shows the ID of an object or an internal name where people read.
func TestNamesNotIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.orders()
	one, err := w.service.RegisterApplication(ctx, root, appaccess.ApplicationRequest{Name: "Web shop", OwnerID: "ada", Grants: appaccess.GrantsOfAll("orders")})
	require.NoError(t, err)
	m := w.visit("manager")
	for _, path := range []string{"/", "/audit", "/applications", "/audit?object=Web+shop", "/audit?who=grace"} {
		text := visibleText(m.get(path).Body)
		assert.NotContains(t, text, one.ID, path)
		assert.NotContains(t, text, "application.register", path)
	}
	has(t, m.get("/audit?object=Web+shop"), "Application registered")
	has(t, m.get("/audit?object=web"), "Application registered")
	has(t, m.get("/audit?object=o"), "Several match: which one?")
	refused := m.post("/users/ada/delete")
	assert.Equal(t, http.StatusConflict, refused.Status)
	has(t, refused, "Web shop")
	assert.NotContains(t, visibleText(refused.Body), one.ID)
	require.NoError(t, w.service.DeleteApplication(ctx, root, one.ID))
	has(t, m.get("/audit"), "<bdi>Web shop</bdi>", "deleted objects keep their name")
}

// visibleText is a page without its markup.
func visibleText(body string) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(body, "<")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		_, body, _ = strings.Cut(rest, ">")
	}
}

// Spreadsheets take cells that begin like this for formulas.
func TestExportsNeutralizeFormulas(t *testing.T) {
	t.Parallel()
	for _, cell := range []string{"=1+1", "+1", "-1", "@x", "\tx"} {
		assert.Equal(t, "'"+cell, portal.PlainCell(cell))
	}
	assert.Equal(t, "Shop", portal.PlainCell("Shop"))
	w := newWorld(t)
	w.orders()
	_, err := w.service.RegisterApplication(t.Context(), root, appaccess.ApplicationRequest{ID: "evil", Name: "=cmd()", OwnerID: "ada", Grants: appaccess.GrantsOfAll("orders")})
	require.NoError(t, err)
	_, err = w.service.AddSecret(t.Context(), root, "evil", appaccess.SecretRequest{Name: "x", Lifetime: 24 * time.Hour})
	require.NoError(t, err)
	m := w.visit("manager")
	file := m.get("/expiring/export")
	assert.Contains(t, file.Body, "'=cmd(),Ada Lovelace,x,secret,")
	page := m.get("/expiring")
	has(t, page, "=cmd()")
	has(t, m.get("/"), "1 credential expired or ending within 30 days")
}
