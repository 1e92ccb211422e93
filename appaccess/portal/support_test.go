package portal_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/openapi"
	"github.com/entragate/entragate/appaccess/portal"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/internal/secret"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// The accounts of the people in the tests.
const (
	managerOID = "10000000-0000-4000-8000-000000000001"
	adaOID     = "10000000-0000-4000-8000-000000000002"
	blaiseOID  = "10000000-0000-4000-8000-000000000003"
	blockedOID = "10000000-0000-4000-8000-000000000004"
	nobodyOID  = "10000000-0000-4000-8000-000000000009"
)

var root = appaccess.Manager("grace")

// world is a portal over a real service, engine, store and local tenant, with
// an API to try.
type world struct {
	t       testing.TB
	clock   *testkit.Clock
	tenant  *entratest.Server
	caller  entratest.Caller
	service *appaccess.Service
	store   appaccess.Store
	api     *httptest.Server
	calls   atomic.Int64 // of the API
	reads   atomic.Int64 // of the store, by the service
	web     *httptest.Server
	looked  sync.Map // skeletons of pages that axe-core looked at
}

// setup changes the portal's configuration before it is made.
type setup func(*world, *portal.Config)

func newWorld(t testing.TB, setups ...setup) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{t: t, clock: testkit.NewClock(time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC))}
	w.tenant = entratest.NewServer(t, entratest.Config{Now: w.clock.Now, Sleep: w.clock.Sleep})
	var err error
	w.caller, err = w.tenant.AddCaller("entragate-portal", entratest.ApplicationAdministrator, entratest.AssignAll)
	require.NoError(t, err)
	store, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "portal.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	w.store = countingStore{store, &w.reads}
	w.manage()
	w.api = httptest.NewTLSServer(http.HandlerFunc(w.serveAPI))
	t.Cleanup(w.api.Close)
	w.people()
	w.serve(setups...)
	return w
}

// manage makes the service over the store and the tenant.
func (w *world) manage() {
	w.t.Helper()
	engine, err := provision.New(provision.Config{
		Directory: w.tenant.Directory(w.caller), Store: w.store,
		Now: w.clock.Now, Sleep: w.clock.Sleep,
	})
	require.NoError(w.t, err)
	w.service, err = appaccess.NewService(w.t.Context(), appaccess.ServiceConfig{
		Store: w.store, Provisioner: engine, TenantID: w.tenant.ID(), Authority: w.tenant.BaseURL(), Now: w.clock.Now,
		ReadOpenAPI:       openapi.Import,
		OneTimeSecretKeys: []appaccess.OneTimeSecretKey{{ID: "k1", Key: secret.New(strings.Repeat("k", 32))}},
	})
	require.NoError(w.t, err)
}

// serveAPI is an API behind a gate.
func (w *world) serveAPI(rw http.ResponseWriter, r *http.Request) {
	w.calls.Add(1)
	switch r.URL.Path {
	case "/echo/elsewhere":
		http.Redirect(rw, r, "https://elsewhere.example/", http.StatusFound)
		return
	case "/echo/long":
		_, _ = io.WriteString(rw, strings.Repeat("x", 2<<20))
		return
	}
	if r.URL.Path == "/echo/deep" {
		_, _ = io.WriteString(rw, strings.Repeat("[", 10_000)+strings.Repeat("1,", 20_000)+"1"+strings.Repeat("]", 10_000))
		return
	}
	body, _ := io.ReadAll(r.Body)
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Set-Cookie", "api=secret")
	status := http.StatusOK
	if r.Header.Get("Authorization") == "" && r.Header.Get("Ocp-Apim-Subscription-Key") == "" && r.Header.Get("X-Orders-Key") == "" {
		status = http.StatusUnauthorized
	}
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(map[string]any{"method": r.Method, "path": r.URL.RequestURI(), "body": string(body), "orders-key": r.Header.Get("X-Orders-Key") != "", "note": r.Header.Get("X-Note")})
}

func (w *world) people() {
	for _, u := range []struct{ id, name, email, oid string }{
		{"ada", "Ada Lovelace", "ada@contoso.example", adaOID},
		{"blaise", "Blaise Pascal", "blaise@contoso.example", blaiseOID},
	} {
		_, err := w.service.CreateUser(w.t.Context(), root, appaccess.UserRequest{ID: u.id, Name: u.name, Email: u.email})
		require.NoError(w.t, err)
		_, err = w.service.BindUser(w.t.Context(), root, u.id, w.tenant.ID(), u.oid)
		require.NoError(w.t, err)
	}
}

// users are those that the tests' own Authenticate knows, by cookie.
func (w *world) users() map[string]portal.User {
	tid := w.tenant.ID()
	return map[string]portal.User{
		"manager": {Name: "Grace Hopper", TenantID: tid, ObjectID: managerOID, Manager: true},
		"ada":     {Name: "Ada Lovelace", TenantID: tid, ObjectID: adaOID},
		"boss":    {Name: "Ada Lovelace", TenantID: tid, ObjectID: adaOID, Manager: true},
		"blaise":  {Name: "Blaise Pascal", TenantID: tid, ObjectID: blaiseOID},
		"blocked": {Name: "Alan Turing", TenantID: tid, ObjectID: blockedOID},
		"nobody":  {Name: "ada@contoso.example", TenantID: tid, ObjectID: nobodyOID},
		"foreign": {Name: "Ada elsewhere", TenantID: "bbbbbbbb-0000-cccc-1111-dddd2222eeee", ObjectID: adaOID},
		"noid":    {Name: "No IDs", Manager: true},
	}
}

func (w *world) authenticate(r *http.Request) (portal.User, error) {
	c, err := r.Cookie("who")
	if err != nil {
		return portal.User{}, portal.ErrSignedOut
	}
	if c.Value == "broken" {
		return portal.User{}, errors.New("the directory is away: internal-detail-7")
	}
	u, ok := w.users()[c.Value]
	if !ok {
		return portal.User{}, portal.ErrSignedOut
	}
	return u, nil
}

const prefix = "/portal"

func (w *world) serve(setups ...setup) {
	w.t.Helper()
	w.web = httptest.NewUnstartedServer(nil)
	w.web.StartTLS()
	w.t.Cleanup(w.web.Close)
	cfg := portal.Config{
		Service: w.service, Authenticate: w.authenticate, Prefix: prefix, Title: "Contoso API access", Now: w.clock.Now,
		Logger:   slog.New(slog.NewTextHandler(testLog{w.t}, nil)),
		APIHosts: []string{strings.TrimPrefix(w.api.URL, "https://")}, HTTPClient: w.trusting(),
	}
	for _, s := range setups {
		s(w, &cfg)
	}
	p, err := portal.New(cfg)
	require.NoError(w.t, err)
	w.web.Config.Handler = p
}

// trusting reaches the tenant and the API.
func (w *world) trusting() *http.Client {
	tls := w.tenant.TLSConfig()
	tls.RootCAs.AddCert(w.api.Certificate())
	return &http.Client{Transport: &http.Transport{TLSClientConfig: tls}}
}

// visitor is a browser without a screen. It follows no redirect.
type visitor struct {
	w      *world
	at     string // address of the replica that sendTo asks
	client *http.Client
	header http.Header
	pause  time.Duration // that passes before each request
}

// visit is a visitor whom the tests' Authenticate knows as who.
func (w *world) visit(who string) *visitor {
	jar, err := cookiejar.New(nil)
	require.NoError(w.t, err)
	client := w.web.Client()
	v := &visitor{w: w, at: w.web.URL, header: http.Header{}, client: &http.Client{
		Transport: client.Transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if who != "" {
		at, _ := url.Parse(w.web.URL)
		jar.SetCookies(at, []*http.Cookie{{Name: "who", Value: who, Path: "/"}})
	}
	return v
}

// answer is a page as a visitor got it.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

func (a answer) location() string { return a.Header.Get("Location") }

func (v *visitor) do(method, path string, form url.Values) answer {
	v.w.t.Helper()
	v.w.clock.Advance(v.pause)
	if strings.HasPrefix(path, "/") {
		path = v.w.web.URL + path
	}
	req, err := http.NewRequestWithContext(v.w.t.Context(), method, path, strings.NewReader(form.Encode()))
	require.NoError(v.w.t, err)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for name, values := range v.header {
		req.Header[name] = values
	}
	resp, err := v.client.Do(req)
	require.NoError(v.w.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(v.w.t, err)
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// get reads a page below the prefix.
func (v *visitor) get(path string) answer {
	v.w.t.Helper()
	return v.do(http.MethodGet, prefix+path, nil)
}

// post opens a form and sends it, as a browser does: with the hidden fields that
// the page gave it.
func (v *visitor) post(path string, pairs ...string) answer {
	v.w.t.Helper()
	for _, name := range []string{"once", "base"} {
		if slices.Contains(pairs, name) {
			return v.send(path, pairs...)
		}
	}
	page := v.get(path)
	for name, pattern := range map[string]*regexp.Regexp{"once": oncePattern, "base": basePattern} {
		if found := pattern.FindStringSubmatch(page.Body); found != nil {
			pairs = append(slices.Clone(pairs), name, found[1])
		}
	}
	return v.send(path, pairs...)
}

// send sends a form without opening its page.
func (v *visitor) send(path string, pairs ...string) answer {
	v.w.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return v.do(http.MethodPost, prefix+path, form)
}

var (
	oncePattern  = regexp.MustCompile(`name="once" value="([^"]+)"`)
	basePattern  = regexp.MustCompile(`name="base" value="([^"]+)"`)
	valuePattern = regexp.MustCompile(`data-once>([^<]+)<`)
)

// once reads the token of the form on a page.
func (v *visitor) once(path string) string {
	v.w.t.Helper()
	found := oncePattern.FindStringSubmatch(v.get(path).Body)
	require.NotNil(v.w.t, found, "the page has a form that works once: "+path)
	return found[1]
}

// values are what a page shows once.
func (a answer) values() []string {
	var out []string
	for _, m := range valuePattern.FindAllStringSubmatch(a.Body, -1) {
		out = append(out, m[1])
	}
	return out
}

// orders seeds a product with token and key access and an API to try.
func (w *world) orders() appaccess.Product {
	w.t.Helper()
	return w.ordersNamed(asItIs)
}

// ordersNamed seeds the same. text makes each name and description.
func (w *world) ordersNamed(text func(string) string) appaccess.Product {
	w.t.Helper()
	ctx := w.t.Context()
	_, err := w.service.CreateAPI(ctx, root, appaccess.APIRequest{
		ID: "orders-api", Name: text("Orders API"), Path: "/orders", ServiceURL: w.api.URL + "/echo", Description: text("Place, follow and cancel orders."),
	})
	require.NoError(w.t, err)
	p, err := w.service.CreateProduct(ctx, root, appaccess.ProductRequest{
		ID: "orders", Name: roleName(text("Orders")), Description: text("Everything about orders."), APIs: []string{"orders-api"},
		Access: appaccess.Access{Token: true, Key: true}, Published: true,
	})
	require.NoError(w.t, err)
	for _, id := range []string{"orders-api", "echo-api"} {
		_, err := w.service.ImportOperations(ctx, root, id, appaccess.OperationsImport{Document: []byte(ordersDocument)})
		require.NoError(w.t, err)
	}
	return p
}

// application seeds one that ada owns and that is granted orders.
func (w *world) application(id, owner string) appaccess.ClientApplication {
	w.t.Helper()
	a, err := w.service.RegisterApplication(w.t.Context(), root, appaccess.ApplicationRequest{
		ID: id, Name: "Web shop " + id, OwnerID: owner, Grants: appaccess.GrantsOfAll("orders"), Description: "Takes orders from customers.",
	})
	require.NoError(w.t, err)
	return a
}

// offered is the ID of an offer to ada.
func (w *world) offered() string {
	w.t.Helper()
	ctx := w.t.Context()
	_, err := w.service.CreateSubscription(ctx, root, appaccess.SubscriptionRequest{ID: "offered", Name: "Partner feed", OwnerID: "blaise", Scope: appaccess.ProductScope("orders")})
	require.NoError(w.t, err)
	one, err := w.service.OfferTransfer(ctx, appaccess.Developer("blaise"), appaccess.KindSubscription, "offered", "ada")
	require.NoError(w.t, err)
	return one.ID
}

// ordersDocument describes the API of the orders.
const ordersDocument = `{"openapi":"3.1.0","info":{"title":"Orders","version":"1","description":"Orders of all shops."},
"components":{"securitySchemes":{"entra":{"type":"oauth2","flows":{"clientCredentials":{"tokenUrl":"https://login.example/token","scopes":{"Read":"Reads orders","Write":"Writes orders"}}}}},
"schemas":{"Order":{"type":"object","required":["id"],"properties":{"id":{"type":"string","description":"The number of the order."},"lines":{"type":"array","items":{"type":"string"}}}}}},
"paths":{"/{id}":{"parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"string"},"description":"Which order."}],
"get":{"operationId":"getOrder","summary":"Reads an order","security":[{"entra":["Read"]}],"responses":{"200":{"description":"The order","content":{"application/json":{"schema":{"$ref":"#/components/schemas/Order"},"example":{"id":"o-1"}}}}}}},
"/":{"post":{"operationId":"placeOrder","summary":"Places an order","security":[{"entra":["Write"]}],"parameters":[{"name":"dryRun","in":"query","required":true,"schema":{"type":"boolean"}}],
"requestBody":{"required":true,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Order"},"example":{"id":"o-2","lines":["apple"]}}}},"responses":{"201":{"description":"Placed"}}}}}}`

// asked is the ID of an open request.
func (w *world) asked(by string) string {
	w.t.Helper()
	r, err := w.service.RequestSubscription(w.t.Context(), appaccess.Developer(by), "orders", "Nightly feed", "We read orders every night.")
	require.NoError(w.t, err)
	return r.ID
}

func entratestRights() []string {
	return []string{entratest.ApplicationAdministrator, entratest.AssignAll}
}

// has and hasNot look for text in a page without printing the page.
func has(t testing.TB, a answer, text string, more ...any) {
	t.Helper()
	assert.Truef(t, strings.Contains(a.Body, text), "the page (status %d, %q) does not have %q %v", a.Status, a.title(), text, more)
}

func hasNot(t testing.TB, a answer, text string, more ...any) {
	t.Helper()
	assert.Falsef(t, strings.Contains(a.Body, text), "the page (status %d, %q) has %q %v", a.Status, a.title(), text, more)
}

func (a answer) title() string {
	_, rest, _ := strings.Cut(a.Body, "<title>")
	title, _, _ := strings.Cut(rest, "</title>")
	return title
}

// ids are the objects that the paths of a test are about.
type ids struct{ application, subscription, oneTimeSecret, credential, request, transfer string }

// fill puts objects into the path of a route.
func (o ids) fill(path string) string {
	product, api := "orders", "orders-api"
	if strings.HasPrefix(path, "/apis/") {
		api = "echo-api"
	}
	return strings.NewReplacer(
		"{$}", "", "{application}", o.application, "{subscription}", o.subscription, "{secret}", o.oneTimeSecret, "{credential}", o.credential,
		"{id}", product, "{api}", api, "{user}", "ada", "{slot}", "primary", "{notification}", "none", "{operation}", "getorder", "{request}", o.request, "{transfer}", o.transfer,
	).Replace(path) + map[string]string{
		"/products/-/many": "?action=suspend&id=orders", "/products/{id}/applications/-/many": "?action=revoke&id=" + o.application, "/applications/-/many": "?action=suspend&id=" + o.application,
		"/requests/-/many":      "?action=reject&id=" + o.request,
		"/subscriptions/-/many": "?action=cancel&id=" + o.subscription, "/users/-/many": "?action=block&id=ada",
	}[path]
}

// managerPaths and ownerPaths are all pages, from the route table, and some with
// a query.
func managerPaths(o ids) []string {
	out := []string{"/", "/products?q=ord", "/products?q=nothing-like-it", "/products/starter", "/products/starter/review", "/audit?object=product/orders", "/audit?object=o", "/expiring?within=7", "/subscriptions?state=active"}
	for _, r := range portal.Routes() {
		if r.Show && r.Managers && r.Path != "/entra/unknown/remove" { // which exists only while something is unknown
			out = append(out, o.fill(r.Path))
		}
	}
	return out
}

func ownerPaths(o ids) []string {
	var out []string
	for _, r := range portal.Routes() {
		if r.Show && r.Owners {
			out = append(out, o.fill(r.Path))
		}
	}
	return out
}

// testLog shows what the portal logs beside the test that caused it.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Helper()
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
