package portal_test

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/portal"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision/entratest"
)

func TestCertificatesAndFederation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	one := w.application("shop", "ada")
	for who, base := range map[string]string{"manager": "/applications/shop", "ada": "/my/applications/shop"} {
		v := w.visit(who)
		list := base
		if who == "manager" {
			list += "/credentials"
		}
		path := base + "/credentials/new"
		cert := testkit.CertificatePEM(w.clock.Now().Add(-time.Hour), w.clock.Now().Add(24*time.Hour))
		assert.Equal(t, http.StatusSeeOther, v.post(path, "kind", "certificate", "name", "vault "+who, "pem", cert).Status)
		has(t, v.get(list), "vault "+who)
		assert.Equal(t, http.StatusSeeOther, v.post(path, "kind", "federated", "name", "github-"+who, "issuer", "https://token.actions.githubusercontent.com", "subject", "repo:contoso/shop:"+who).Status)
		has(t, v.get(list), "github-"+who)

		refused := v.post(path, "kind", "certificate", "pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
		assert.Equal(t, http.StatusBadRequest, refused.Status)
		has(t, refused, "keep the private key to yourself")
		hasNot(t, refused, "AAAA")
		refused = v.post(path, "kind", "federated", "name", "x", "issuer", "https://issuer.example", "subject", "s")
		has(t, refused, "Must have 3 to 80 characters")
		has(t, refused, `value="https://issuer.example"`)
		assert.Equal(t, http.StatusBadRequest, v.post(path, "kind", "password").Status)

		creds, err := w.service.Credentials(t.Context(), root, one.ID)
		require.NoError(t, err)
		for _, c := range creds {
			assert.Equal(t, http.StatusSeeOther, v.post(base+"/credentials/"+c.ID+"/remove").Status)
		}
		creds, err = w.service.Credentials(t.Context(), root, one.ID)
		require.NoError(t, err)
		assert.Empty(t, creds)
	}
}

// A managed identity has no credentials. Its pages offer none, and say how old its
// tokens may be.
func TestAManagedIdentityIsOfferedNoSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	vm, err := w.tenant.AddManagedIdentity("vm")
	require.NoError(t, err)
	m, a := w.visit("manager"), w.visit("ada")
	has(t, m.get("/applications/-/new"), "Its tokens live 24 hours")
	register := []string{"name", "Nightly report", "ownerId", "ada", "grants", "orders", "servicePrincipal", vm.ObjectID}
	plan := regexp.MustCompile(`name="planned" value="([^"]+)"`).FindStringSubmatch(m.post("/applications/-/new", register...).Body)
	require.NotNil(t, plan)
	made := m.post("/applications/-/new", append(register, "planned", plan[1])...)
	require.Equal(t, http.StatusSeeOther, made.Status, made.Body)
	path := strings.TrimPrefix(made.location(), prefix)
	page := m.get(path)
	has(t, page, "it needs no secret from here")
	has(t, page, "<dt>Kind</dt><dd>Managed identity</dd>")

	for _, page := range []answer{page, m.get(path + "/credentials"), a.get("/my" + path)} {
		has(t, page, "A managed identity has no credentials.")
		has(t, page, "for up to a day a product that is granted now may be missing")
		for _, offered := range []string{"secrets/new", "credentials/new", "CLIENT_SECRET", "Generate secret", "Add secret"} {
			hasNot(t, page, offered)
		}
	}
	has(t, a.get("/my"+path), "SUBSCRIPTION_KEY", "the product accepts keys, too")
	has(t, a.get("/my/applications"), "Not needed")

	_, err = w.service.CreateProduct(t.Context(), root, appaccess.ProductRequest{ID: "second", Name: "Second", Published: true, APIs: []string{"orders-api"}, Access: appaccess.Access{Token: true}})
	require.NoError(t, err)
	granted := m.post(path+"/products", "grants", "second")
	require.Equal(t, http.StatusSeeOther, granted.Status, granted.Body)
	has(t, m.get(path+"/products"), "For up to 24 hours the managed identity may still get tokens without it.")
}

func TestSubscriptionsFromBirthToEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	m := w.visit("manager")
	state := func(want appaccess.SubscriptionState) {
		t.Helper()
		one, err := w.service.Subscription(t.Context(), root, "s1")
		require.NoError(t, err)
		assert.Equal(t, want, one.State)
	}
	_, err := w.service.CreateSubscription(t.Context(), root, appaccess.SubscriptionRequest{ID: "s1", Name: "One", OwnerID: "ada", Scope: appaccess.ProductScope("orders")})
	require.NoError(t, err)
	for _, step := range []appaccess.SubscriptionState{"suspended", "active", "cancelled"} {
		verb := map[appaccess.SubscriptionState]string{"active": "/activate", "suspended": "/suspend", "cancelled": "/cancel"}[step]
		has(t, m.get("/subscriptions/s1"), verb)
		assert.Equal(t, http.StatusSeeOther, m.post("/subscriptions/s1"+verb).Status)
		state(step)
	}
	assert.Equal(t, http.StatusConflict, m.post("/subscriptions/s1/activate").Status, "cancelled is final")

	assert.Equal(t, http.StatusSeeOther, m.post("/subscriptions/s1", "name", "Renamed", "expires", "2027-01-31").Status)
	page := m.get("/subscriptions/s1")
	has(t, page, "Renamed")
	has(t, page, `value="2027-01-31"`)
	has(t, page, "1 Feb 2027, 00:00 UTC")
	wrong := m.post("/subscriptions/s1", "name", "Renamed", "expires", "31.1.2027")
	assert.Equal(t, http.StatusBadRequest, wrong.Status)
	has(t, wrong, "Must be a date such as 2027-01-31")
	wrong = m.post("/subscriptions/-/new", "name", "X", "reach", "product", "product", "none", "expires", "")
	assert.Equal(t, http.StatusBadRequest, wrong.Status)
	assert.Equal(t, http.StatusSeeOther, m.post("/subscriptions/s1/delete").Status)
	assert.Equal(t, http.StatusNotFound, m.get("/subscriptions/s1").Status)
	has(t, m.get("/subscriptions?state=active"), "No subscription matches")
}

func TestDeletingWhatIsInUseAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	w.application("shop", "ada")
	m := w.visit("manager")
	refused := m.post("/products/orders/delete")
	assert.Equal(t, http.StatusConflict, refused.Status)
	has(t, refused, "Delete it all the same")
	assert.Equal(t, http.StatusSeeOther, m.post("/products/orders/delete", "force", "yes").Status)
	assert.Equal(t, http.StatusNotFound, m.get("/products/orders").Status)
	refused = m.post("/users/ada/delete")
	assert.Equal(t, http.StatusConflict, refused.Status)
	has(t, refused, "shop")
}

func TestMarksOfTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	w.application("shop", "ada")
	_, err := w.service.AddSecret(t.Context(), root, "shop", appaccess.SecretRequest{Name: "production", Lifetime: 60 * 24 * time.Hour})
	require.NoError(t, err)
	a, m := w.visit("ada"), w.visit("manager")
	hasNot(t, a.get("/my/applications/shop"), "expires in")
	w.clock.Advance(40 * 24 * time.Hour)
	has(t, a.get("/my/applications"), "Expires soon")
	has(t, a.get("/my/applications/shop"), "expires in 20 days")
	has(t, m.get("/"), "ends in 20 days")
	w.clock.Advance(30 * 24 * time.Hour)
	has(t, a.get("/my/applications/shop"), "has expired")
	has(t, m.get("/"), "ended 10 days ago")

	assert.Equal(t, http.StatusBadRequest, m.get("/audit?from=yesterday").Status)
	has(t, m.get("/audit?from=2026-11-23&to=2026-11-23&action=application.register"), "Web shop")
	has(t, m.get("/audit?from=2026-11-24&action=application.register"), "Nothing matches")

	file := m.get("/audit/export?action=application.register")
	assert.Equal(t, http.StatusOK, file.Status)
	assert.Contains(t, file.Header.Get("Content-Disposition"), "attachment; filename=\"audit-")
	var record appaccess.AuditRecord
	require.NoError(t, json.Unmarshal([]byte(file.Body), &record), "one record, one line")
	assert.Equal(t, "shop", record.Object)
	assert.Equal(t, http.StatusForbidden, a.get("/audit/export").Status)
}

// Entra away: what can be shown is shown, what was stored is said to be, and
// only managers read the cause.
func TestEntraIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	w.application("shop", "ada")
	require.NoError(t, w.tenant.SetRights(w.caller))
	w.tenant.RevokeTokens(w.caller)
	m, a := w.visit("manager"), w.visit("ada")
	for _, path := range []string{"/products/orders/review", "/applications/shop/review"} {
		page := m.get(path)
		assert.Equal(t, http.StatusOK, page.Status, path)
		has(t, page, "Entra could not be read")
	}
	w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
		return entratest.Fault{Kind: entratest.Refuse, Status: http.StatusForbidden, Code: "Authorization_RequestDenied", Message: "cause-for-managers"}
	})
	got := m.post("/applications/shop/secrets/new", "lifetime", "90", "old", "keep", "to", "me")
	assert.Equal(t, http.StatusBadGateway, got.Status)
	has(t, got, "cause-for-managers")
	has(t, got, "Reference")
	got = a.post("/my/applications/shop/secrets/new", "lifetime", "90", "old", "keep")
	assert.Equal(t, http.StatusBadGateway, got.Status)
	hasNot(t, got, "cause-for-managers")
	has(t, got, "Reference")

	// Ending access succeeds all the same, and says that Entra follows later.
	assert.Equal(t, http.StatusSeeOther, m.post("/applications/shop/suspend").Status)
	page := m.get("/applications/shop")
	has(t, page, "Suspended: every gate refuses the application")
	has(t, page, "Entra is not in sync")
	assert.Equal(t, http.StatusSeeOther, m.post("/users/blaise/block").Status)
	page = m.post("/entra/apply")
	assert.Equal(t, http.StatusOK, page.Status)
	has(t, page, "Not everything could be applied")
}

func TestFormsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.visit("manager")
	got := m.post("/apis/-/new", "name", strings.Repeat("x", 300<<10))
	assert.Equal(t, http.StatusBadRequest, got.Status)
	has(t, got, "at most 256 KiB")
	got = m.post("/apis/-/new", "name", strings.Repeat("x", 2000), "path", "/x")
	assert.Equal(t, http.StatusBadRequest, got.Status)
	has(t, got, "300 characters")
}

// Only a manager may send a file. Of everybody else at most 256 KiB are read, and
// nothing where they have no access.
func TestUploadsAreForManagers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		who, path string
		size      int
		status    int
		most      int
	}{
		{"manager", "/configuration", 1 << 20, http.StatusOK, 2 << 20},
		{"manager", "/configuration", 6 << 20, http.StatusBadRequest, 5<<20 + 1},
		{"ada", "/configuration", 1 << 20, http.StatusForbidden, 0},
		{"ada", "/my/catalog/starter/request", 1 << 20, http.StatusBadRequest, 256<<10 + 1},
		{"nobody", "/request-access", 1 << 20, http.StatusBadRequest, 256<<10 + 1},
		{"nobody", "/my/catalog/starter/request", 1 << 20, http.StatusForbidden, 0},
		{"", "/configuration", 1 << 20, http.StatusUnauthorized, 256<<10 + 1},
	} {
		var form bytes.Buffer
		parts := multipart.NewWriter(&form)
		require.NoError(t, parts.WriteField("do", "preview"))
		file, err := parts.CreateFormFile("document", "configuration.json")
		require.NoError(t, err)
		_, err = io.WriteString(file, `{"version":1}`+strings.Repeat(" ", c.size))
		require.NoError(t, err)
		require.NoError(t, parts.Close())
		sent := form.Len()
		r := httptest.NewRequest(http.MethodPost, w.web.URL+prefix+c.path, io.NopCloser(&form))
		r.Header.Set("Content-Type", parts.FormDataContentType())
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.AddCookie(&http.Cookie{Name: "who", Value: c.who})
		got := httptest.NewRecorder()
		w.web.Config.Handler.ServeHTTP(got, r)
		assert.Equal(t, c.status, got.Code, "%s as %q", c.path, c.who)
		assert.LessOrEqual(t, sent-form.Len(), c.most, "%s as %q", c.path, c.who)
	}
}

func TestTryItShowsWhatItGets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	w.application("shop", "ada")
	plain := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/binary":
			_, _ = rw.Write([]byte{0xff, 0xfe, 0x00, 0x01})
		case "/cut":
			panic(http.ErrAbortHandler)
		default:
			_, _ = rw.Write([]byte("<b>plain</b>"))
		}
	}))
	t.Cleanup(plain.Close)
	_, err := w.service.UpdateAPI(t.Context(), root, "orders-api", appaccess.APIUpdate{ServiceURL: &plain.URL})
	require.NoError(t, err)
	w.serve(func(_ *world, c *portal.Config) { c.APIHosts = []string{strings.TrimPrefix(plain.URL, "http://")} })
	a := w.visit("ada")
	has(t, try(a, "with", "key", "secret", "k"), "&lt;b&gt;plain&lt;/b&gt;")
	has(t, try(a, "with", "key", "secret", "k", "path", "/binary"), "4 bytes that are no text")
	cut := try(a, "with", "key", "secret", "sensitive", "path", "/cut")
	assert.Equal(t, http.StatusOK, cut.Status)
	has(t, cut, "The API could not be called")
	hasNot(t, cut, "sensitive")
}

// Who follows the description of the feature finds its words where it says.
func TestPagesUseTheWordsOfTheDescription(t *testing.T) {
	t.Parallel()
	w, a, _ := tryWorld(t)
	mine := a.get("/my/applications/shop")
	for _, words := range []string{"<dt>Client ID</dt>", "<dt>Client secret</dt>", "Scope <span"} {
		has(t, mine, words)
	}
	// Also an application that has a secret gets another one from here.
	assert.Regexp(t, `<dt>Client secret</dt><dd>.*Add secret</a></dd>`, w.visit("manager").get("/applications/shop").Body)
}

// What is saved before the rest is refused is not called unchanged.
func TestPropertiesSayWhatWasSaved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.service.CreateProduct(t.Context(), root, appaccess.ProductRequest{ID: "x", Name: "Ärger", Access: appaccess.Access{Key: true}})
	require.NoError(t, err)
	got := w.visit("manager").post("/products/x/properties", "name", "Ärger", "description", "new", "access", "token")
	assert.Equal(t, http.StatusBadRequest, got.Status)
	p, err := w.service.Product(t.Context(), root, "x")
	require.NoError(t, err)
	assert.Equal(t, "new", p.Description)
	assert.Equal(t, appaccess.Access{Key: true}, p.Access)
	has(t, got, "Name and description are saved.")
	hasNot(t, got, "Nothing was changed yet")
}

// A product is opened to everyone by saying so, never by leaving something out.
func TestNothingChosenDoesNotOpenAProduct(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.visit("manager")
	for _, access := range [][]string{{}, {"access", "open", "access", "key"}} {
		got := m.post("/products/starter/properties", append([]string{"name", "Starter", "description", "new"}, access...)...)
		assert.Equal(t, http.StatusBadRequest, got.Status)
		has(t, got, "Choose a token, a key or both")
		assert.Equal(t, http.StatusBadRequest, m.post("/products/-/new", append([]string{"name", "Second"}, access...)...).Status)
	}
	p, err := w.service.Product(t.Context(), root, "starter")
	require.NoError(t, err)
	assert.Equal(t, appaccess.Access{Key: true}, p.Access)
	assert.NotEqual(t, "new", p.Description)

	require.Equal(t, http.StatusSeeOther, m.post("/products/starter/properties", "name", "Starter", "description", "", "access", "open").Status)
	p, err = w.service.Product(t.Context(), root, "starter")
	require.NoError(t, err)
	assert.True(t, p.Access.Open())
	has(t, m.get("/products/starter/properties"), `value="open" checked`)
}
