package portal_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/portal"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/internal/secret"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// The accounts of the people in the tests.
const (
	managerOID = "10000000-0000-4000-8000-000000000001"
	adaOID     = "10000000-0000-4000-8000-000000000002"
	blaiseOID  = "10000000-0000-4000-8000-000000000003"
	nobodyOID  = "10000000-0000-4000-8000-000000000009"
)

var root = appaccess.Manager("grace")

// clock stands still unless it is moved.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time { return time.Unix(0, c.at.Load()).UTC() }

func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.advance(d)
	return ctx.Err()
}

// world is a portal over a real service, engine, store and local tenant, with
// an API to try.
type world struct {
	t       testing.TB
	clock   *clock
	tenant  *entratest.Server
	caller  entratest.Caller
	service *appaccess.Service
	api     *httptest.Server
	calls   atomic.Int64 // of the API
	web     *httptest.Server
}

// setup changes the portal's configuration before it is made.
type setup func(*world, *portal.Config)

func newWorld(t testing.TB, setups ...setup) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{t: t, clock: newClock()}
	w.tenant = entratest.NewServer(t, entratest.Config{Now: w.clock.now, Sleep: w.clock.sleep})
	var err error
	w.caller, err = w.tenant.AddCaller("entragate-portal", entratest.ApplicationAdministrator, entratest.AssignAll)
	require.NoError(t, err)
	store, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "portal.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	engine, err := provision.New(provision.Config{
		Directory: w.tenant.Directory(w.caller), Journal: provision.NewStoreJournal(store),
		Now: w.clock.now, Sleep: w.clock.sleep,
	})
	require.NoError(t, err)
	w.service, err = appaccess.NewService(ctx, appaccess.ServiceConfig{
		Store: store, Provisioner: engine, TenantID: w.tenant.ID(), Authority: w.tenant.BaseURL(), Now: w.clock.now,
		HandoverKeys: []appaccess.HandoverKey{{ID: "k1", Key: secret.New(strings.Repeat("k", 32))}},
	})
	require.NoError(t, err)
	w.api = httptest.NewTLSServer(http.HandlerFunc(w.serveAPI))
	t.Cleanup(w.api.Close)
	w.people()
	w.serve(setups...)
	return w
}

// serveAPI stands for an API behind a gate.
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
	if r.Header.Get("Authorization") == "" && r.Header.Get("Ocp-Apim-Subscription-Key") == "" {
		status = http.StatusUnauthorized
	}
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(map[string]any{"method": r.Method, "path": r.URL.RequestURI(), "body": string(body)})
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
		Service: w.service, Authenticate: w.authenticate, Prefix: prefix, Title: "Contoso API access", Now: w.clock.now,
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
	client *http.Client
	header http.Header
	pause  time.Duration // that passes before each request
}

// visit is a visitor whom the tests' Authenticate knows as who.
func (w *world) visit(who string) *visitor {
	jar, err := cookiejar.New(nil)
	require.NoError(w.t, err)
	client := w.web.Client()
	v := &visitor{w: w, header: http.Header{}, client: &http.Client{
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
	v.w.clock.advance(v.pause)
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

// post sends a form to a page below the prefix.
func (v *visitor) post(path string, pairs ...string) answer {
	v.w.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return v.do(http.MethodPost, prefix+path, form)
}

var (
	oncePattern  = regexp.MustCompile(`name="once" value="([^"]+)"`)
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
	ctx := w.t.Context()
	_, err := w.service.CreateAPI(ctx, root, appaccess.APIRequest{
		ID: "orders-api", Name: "Orders API", Path: "/orders", ServiceURL: w.api.URL + "/echo", Description: "Place, follow and cancel orders.",
	})
	require.NoError(w.t, err)
	p, err := w.service.CreateProduct(ctx, root, appaccess.ProductRequest{
		ID: "orders", Name: "Orders", Description: "Everything about orders.", APIs: []string{"orders-api"},
		Access: appaccess.Access{Token: true, Key: true}, Published: true,
	})
	require.NoError(w.t, err)
	return p
}

// application seeds one that ada owns and that is granted orders.
func (w *world) application(id, owner string) appaccess.ClientApplication {
	w.t.Helper()
	a, err := w.service.RegisterApplication(w.t.Context(), root, appaccess.ApplicationRequest{
		ID: id, Name: "Web shop " + id, OwnerID: owner, Products: []string{"orders"}, Description: "Takes orders from customers.",
	})
	require.NoError(w.t, err)
	return a
}

func entratestRights() []string {
	return []string{entratest.ApplicationAdministrator, entratest.AssignAll}
}

// has and lacks look for text in a page without printing the page.
func has(t testing.TB, a answer, text string, more ...any) {
	t.Helper()
	assert.Truef(t, strings.Contains(a.Body, text), "the page (status %d, %q) lacks %q %v", a.Status, a.title(), text, more)
}

func lacks(t testing.TB, a answer, text string, more ...any) {
	t.Helper()
	assert.Falsef(t, strings.Contains(a.Body, text), "the page (status %d, %q) has %q %v", a.Status, a.title(), text, more)
}

func (a answer) title() string {
	_, rest, _ := strings.Cut(a.Body, "<title>")
	title, _, _ := strings.Cut(rest, "</title>")
	return title
}
