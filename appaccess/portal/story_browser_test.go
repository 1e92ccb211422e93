package portal_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// The whole story, click by click: a manager signs in, switches application
// based access on, registers a client application and makes a secret; its owner
// signs in, receives it and calls the API. On a wide screen with JavaScript and
// on a phone without.
func TestTheStoryInTheBrowser(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]struct {
		screen screen
		script bool
	}{
		"wide with JavaScript":     {wide(), true},
		"phone without JavaScript": {phone(), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSignInWorld(t)
			address := s.api.URL + "/echo"
			_, err := s.service.UpdateAPI(t.Context(), root, "echo-api", appaccess.APIUpdate{ServiceURL: &address})
			require.NoError(t, err)
			open := func(who string) *tab {
				b := s.open(t, "")
				b.on(way.screen)
				send(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !way.script})
				do(b, chromedp.Navigate(s.web.URL+prefix+"/"))
				b.pickAccount(who)
				return b
			}
			m := open("Grace Hopper")
			s.managerStory(m)
			id := s.only().ID
			a := open("Ada Lovelace")
			secret := s.ownerStory(a, id, way.script)
			s.trying(a, secret)
			m.clean()
			a.clean()
		})
	}
}

// only is the one application that there is.
func (w *world) only() appaccess.ClientApplication {
	w.t.Helper()
	found, err := w.service.Applications(w.t.Context(), root, appaccess.Filter{})
	require.NoError(w.t, err)
	require.Len(w.t, found.Items, 1)
	return found.Items[0]
}

func (s *signInWorld) managerStory(m *tab) {
	t := m.t
	// Enable application based access for the product.
	m.visit("/products")
	m.press("Starter")
	m.press("Properties")
	m.choose("access", "token", true)
	m.choose("access", "key", true)
	m.press("Save")
	m.sees("Saved.")
	starter, err := s.service.Product(t.Context(), root, "starter")
	require.NoError(t, err)
	assert.Equal(t, appaccess.Access{Token: true, Key: true}, starter.Access)
	m.sees(starter.Entra.AppID)
	m.sees(starter.Entra.Scope())

	// Review its application in Entra.
	m.press("Review in Entra")
	m.sees("APIMProductApplicationStarter")
	m.sees("Product.Starter.All")

	// Register a client application, at first without an owner.
	m.visit("/applications")
	m.sees("No applications yet")
	m.press("Register application")
	m.fill("name", "Web shop")
	m.choose("grants", "starter", true)
	m.press("Register")
	m.sees("Please look at the marked fields")
	m.choose("ownerId", "ada", true)
	m.press("Register")
	m.sees("Application registered.")
	m.sees(s.only().Entra.AppID)
	m.sees("Add secret")

	// Generate a client secret, sealed for its owner.
	m.press("Add secret")
	m.press("Generate")
	m.sees("Secret made and sealed.")
	m.press("Review in Entra")
	m.sees("APIMApplicationStarter")
	m.sees("Product.Starter.All")
	m.sees("Granted")

	// What was done is in the trail, and Entra is in sync.
	m.visit("/audit")
	m.sees("Application registered")
	m.visit("/entra")
	m.press("Apply now")
	m.sees("Finished: Entra is in sync")
}

func (s *signInWorld) ownerStory(a *tab, id string, script bool) (secret string) {
	t := a.t
	a.sees("Web shop")
	a.press("Web shop")
	one := s.only()
	a.sees(one.Entra.AppID)
	a.sees("/.default")
	a.sees(s.tenant.TokenURL())
	a.sees("A client secret waits for you.")
	a.press("Receive it")
	a.press("Show the secret once")
	secret = a.text("[data-once]")
	require.GreaterOrEqual(t, len(secret), 30)
	a.sees("Shown this once.")

	// Reload and back do not show it again.
	a.reload()
	if script {
		a.sees("Client ID") // the page that the value belongs to
	} else {
		a.sees("This form was sent already")
	}
	a.misses(secret)
	a.visit("/my/subscriptions")
	if script {
		eval[int](a, `(history.back(), 0)`)
		a.wait(`location.pathname.endsWith(` + quoted("/my/applications/"+id) + `)`)
		a.ready()
	} else {
		ctx, cancel := context.WithTimeout(a.ctx, patience)
		defer cancel()
		if _, err := chromedp.Run(ctx, chromedp.NavigateBack()); err != nil {
			assert.ErrorContains(t, err, "ERR_CACHE_MISS") // the browser itself refuses to send a form once more
		}
	}
	a.misses(secret)

	// One of their own replaces it.
	a.visit("/my/applications/" + id)
	a.press("Generate secret")
	a.choose("old", "0", true)
	a.press("Generate")
	own := a.text("[data-once]")
	require.NotEqual(t, secret, own)
	a.press("Close")
	a.misses(own)
	creds, err := s.service.Credentials(t.Context(), root, id)
	require.NoError(t, err)
	assert.Len(t, creds, 1)
	return own
}

// reload sends a form again, as the browser's button does after it asked.
func (b *tab) reload() {
	b.t.Helper()
	eval[string](b, `document.documentElement.dataset.before = "yes"`)
	do(b, chromedp.Reload())
	b.wait(`document.readyState === "complete" && !document.documentElement.dataset.before && !!document.querySelector("main")`)
}

func (s *signInWorld) trying(a *tab, secret string) {
	a.visit("/my/applications/" + s.only().ID)
	a.press("Try it")
	a.fill("path", "/hello")
	a.fill("secret", secret)
	a.press("Send")
	a.sees("200 OK")
	a.sees("Product.Starter.All")
	a.sees("/echo/hello")
	a.misses(secret)
	assert.Equal(a.t, int64(1), s.calls.Load())
}

// Everything can be reached and done with the keyboard alone.
func TestKeyboardAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	b := w.open(t, "manager")
	b.on(wide())
	b.visit("/applications/-/new")
	b.keys("\t")
	assert.Equal(t, "Skip to content", eval[string](b, `document.activeElement.textContent`))
	b.keys("\r")
	b.wait(`location.hash === "#main"`)
	b.tabTo(`document.activeElement.name === "name"`)
	b.keys("Shop by keyboard")
	b.keys("\t")
	b.tabTo(`document.activeElement.name === "find-ownerId"`)
	b.keys("Ada")
	b.tabTo(`document.activeElement.value === "ownerId"`)
	b.keys("\r")
	b.wait(`document.querySelectorAll("input[name=ownerId]").length === 1`)
	b.tabTo(`document.activeElement.value === "ada"`)
	b.keys(" ")
	b.tabTo(`document.activeElement.value === "orders"`)
	b.keys(" ")
	b.wait(`document.activeElement.checked`)
	assert.NotEqual(t, "none", eval[string](b, `getComputedStyle(document.activeElement.closest("label")).outlineStyle`), "focus is seen")
	b.tabTo(`document.activeElement.textContent.trim() === "Register"`)
	assert.NotEqual(t, "none", eval[string](b, `getComputedStyle(document.activeElement).outlineStyle`), "focus is seen")
	b.keys("\r")
	b.wait(`document.body.innerText.includes("Application registered.")`)
	assert.Equal(t, "Shop by keyboard", w.only().Name)
	b.clean()
}

func (b *tab) keys(keys string) {
	b.t.Helper()
	do(b, chromedp.KeyEvent(keys))
}

// tabTo presses the tab key until the focus is where it should be.
func (b *tab) tabTo(there string) {
	b.t.Helper()
	for range 40 {
		b.keys("\t")
		if eval[bool](b, there) {
			return
		}
	}
	require.Fail(b.t, "the keyboard does not get there", there)
}

// On a phone the menu opens without JavaScript, and a secret can be copied with
// it.
func TestMenuAndCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	w.application("shop", "ada")
	b := w.open(t, "ada")
	b.on(phone())
	b.visit("/my/applications/shop")
	assert.True(t, eval[bool](b, `document.querySelector(".side").offsetParent === null && !document.querySelector(".menu").open`))
	eval[bool](b, `document.querySelector(".menu summary").click() || true`)
	b.wait(`document.querySelector(".menu nav a").offsetParent !== null`)
	if os.Getenv("ENTRAGATE_TEST_OUTPUT") != "" {
		b.picture("phone-dark_menu")
	}
	b.wait(`document.querySelector('button[data-copy="client-id"]').offsetParent !== null`)
	eval[bool](b, `(window.setTimeout = () => 0, window.copied = "", navigator.clipboard.writeText = async text => { window.copied = text }, true)`)
	eval[bool](b, `document.querySelector('button[data-copy="client-id"]').click() || true`)
	b.wait(`window.copied === ` + quoted(w.only().Entra.AppID))
	b.wait(`document.querySelector('button[data-copy="client-id"]').textContent === "Copied"`)
	b.clean()
}

// Error pages, values shown once, progress and troubles are pages, too: they
// are looked at like all others.
func TestRarePagesInTheBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.sample(asItIs)
	m, a := w.open(t, "manager"), w.open(t, "ada")
	a.visit("/my/applications/web-shop/one-time-secrets/" + s.oneTimeSecret)
	a.press("Show the secret once")
	a.show("shown")
	a.visit("/my/applications/none")
	a.show("not_found")
	n := w.open(t, "nobody")
	n.visit("/")
	n.show("no_account")

	m.visit("/products/orders/properties")
	m.choose("access", "token", false)
	m.press("Save")
	m.sees("This revokes access that is in use")
	m.show("force")
	m.visit("/apis/-/new")
	m.press("Create API")
	m.show("refused_form")
	require.NoError(t, w.tenant.SetRights(w.caller))
	w.tenant.RevokeTokens(w.caller)
	m.visit("/products/-/new")
	m.fill("name", "Weather")
	m.choose("apis", "echo-api", true)
	m.press("Create product")
	m.sees("Entra is not in sync yet")
	m.show("not_followed")
	m.visit("/entra")
	m.show("entra_failed")
	m.visit("/entra/diagnosis")
	m.show("diagnosis_failed")
	require.NoError(t, w.tenant.SetRights(w.caller, entratestRights()...))
	w.tenant.RevokeTokens(w.caller)
	outsider, err := w.tenant.AddCaller("outsider")
	require.NoError(t, err)
	orders, err := w.service.Product(t.Context(), root, "orders")
	require.NoError(t, err)
	require.NoError(t, w.tenant.Grant(outsider.AppID, orders.Entra.AppID, orders.Entra.Roles[0].Value))
	w.clock.Advance(time.Hour)
	m.visit("/entra/preview")
	m.show("preview")
	eval[bool](m, `document.querySelector("main td.tick input").click() || true`)
	m.press("Remove what is ticked")
	m.sees("Remove 1 unknown object from Entra")
	m.show("remove_unknown")
	m.visit("/entra/preview")
	m.press("Apply now")
	m.show("applied")
	m.clean()
	a.clean()
}

// show checks the page that is open and keeps its pictures.
func (b *tab) show(name string) {
	b.t.Helper()
	b.check(name)
	b.shoot("~" + name)
	b.on(wide())
}
