package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/internal/pgtest"
	"github.com/entragate/entragate/middleware"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// api is a service that answers with the request that reached it.
func api(t *testing.T) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s auth=%q key=%q product=%q subscription=%q client=%q", r.Method, r.RequestURI,
			r.Header.Get("Authorization"), r.Header.Get("Ocp-Apim-Subscription-Key"), r.Header.Get(productHeader), r.Header.Get(subscriptionHeader), r.Header.Get(clientHeader))
	}))
	t.Cleanup(srv.Close)
	return srv
}

func TestGateway(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	store, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "gateway.db"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store})
	require.NoError(t, err)
	backend := api(t)
	for _, req := range []appaccess.APIRequest{
		{ID: "orders", Name: "Orders", Path: "/orders", ServiceURL: backend.URL + "/v2"}, {ID: "bare", Name: "Bare", Path: "/bare"}, {ID: "dead", Name: "Dead", Path: "/dead", ServiceURL: "http://127.0.0.1:1"},
	} {
		_, err = service.CreateAPI(ctx, manager, req)
		require.NoError(t, err)
	}
	_, err = service.CreateProduct(ctx, manager, appaccess.ProductRequest{ID: "shop", Name: "Shop", Access: appaccess.Access{Key: true}, APIs: []string{"orders", "bare", "dead"}, Published: true})
	require.NoError(t, err)
	issued, err := service.CreateSubscription(ctx, manager, appaccess.SubscriptionRequest{ID: "sub", Name: "Sub", Scope: appaccess.ProductScope("shop")})
	require.NoError(t, err)

	tenant, err := entratest.New(entratest.Config{})
	require.NoError(t, err)
	g, err := open(ctx, options{Store: store, Gate: middleware.Config{
		Tenants: []string{tenant.ID()}, Authority: tenant.BaseURL(), HTTPClient: &http.Client{Transport: tenant.Transport()},
		Resource: "https://api.example.com",
	}})
	require.NoError(t, err)
	t.Cleanup(g.close)
	get := func(path string, header ...string) (int, string) {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		serveRecovering(g, w, r)
		return w.Code, w.Body.String()
	}
	key := []string{"Ocp-Apim-Subscription-Key", issued.Primary.Reveal()}
	eventually := func(status int, path string, header ...string) {
		t.Helper()
		assert.Eventually(t, func() bool { got, _ := get(path, header...); return got == status }, 20*time.Second, 10*time.Millisecond)
	}

	eventually(200, "/orders", key...)
	eventually(200, "/.well-known/ready")
	status, body := get("/orders/7%20a/b?x=1&y=%2f", append(key, "Authorization", "Bearer x", productHeader, "forged", clientHeader, "forged")...)
	assert.Equal(t, 200, status)
	assert.Equal(t, `GET /v2/7%20a/b?x=1&y=%2f auth="" key="" product="shop" subscription="sub" client=""`, body)
	_, body = get("/orders?a=1&subscription-key=" + url.QueryEscape(key[1]))
	assert.Contains(t, body, "GET /v2?a=1 auth")
	for path, want := range map[string]int{"/orders": 401, "/other": 404, "/orders/../bare": 400, "/.well-known/oauth-protected-resource": 200, "/.well-known/x": 404} {
		status, body := get(path)
		assert.Equal(t, want, status, "%s: %s", path, body)
	}
	for _, path := range []string{"/bare", "/dead"} {
		status, _ = get(path, key...)
		assert.Equal(t, 502, status, path)
	}
	_, err = service.SetSubscriptionState(ctx, manager, "sub", appaccess.SubscriptionSuspended)
	require.NoError(t, err)
	eventually(401, "/orders", key...)
}

// The gateway serves the metadata at the address that its challenges name, with a path
// in PUBLIC_URL and without.
func TestMetadataIsWhereChallengesSay(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	tenant, err := entratest.New(entratest.Config{})
	require.NoError(t, err)
	identity, err := tenant.AddCaller("gateway", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	store, err := sqlite.Open(ctx, sqlite.Temporary)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	engine, err := provision.New(provision.Config{Directory: tenant.Directory(identity), Store: store})
	require.NoError(t, err)
	service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store, Provisioner: engine, TenantID: tenant.ID()})
	require.NoError(t, err)
	_, err = service.SetAccess(ctx, manager, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}})
	require.NoError(t, err)
	for _, public := range []string{"https://api.example.com", "https://api.example.com/", "https://api.example.com/v1", "https://api.example.com//a%20b/{c}/"} {
		g, err := open(ctx, options{Store: store, Gate: middleware.Config{
			Tenants: []string{tenant.ID()}, Authority: tenant.BaseURL(), HTTPClient: &http.Client{Transport: tenant.Transport()}, Resource: public,
		}})
		require.NoError(t, err, public)
		t.Cleanup(g.close)
		get := func(url string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, url, nil))
			return w
		}
		refused := get("/echo")
		require.Equal(t, 401, refused.Code)
		m := regexp.MustCompile(`resource_metadata="(https://api\.example\.com[^"]*)"`).FindStringSubmatch(refused.Header().Get("WWW-Authenticate"))
		require.Len(t, m, 2, refused.Header())
		for _, url := range []string{m[1], metadataPath} {
			found := get(url)
			assert.Equal(t, 200, found.Code, url)
			assert.Contains(t, found.Body.String(), public, url)
		}
		assert.Equal(t, 404, get(metadataPath+"/other").Code)
	}
}

// main's own way, from the environment to the end.
func TestRun(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x.db")
	makeShop(t, file, "")
	env := map[string]string{"ENTRAGATE_DB": file, "ADDR": "127.0.0.1:0", "AZURE_AUTHORITY_HOST": "http://127.0.0.1:1"}
	log := slog.New(slog.DiscardHandler)
	getenv := func(k string) string { return env[k] }
	assert.ErrorContains(t, run(t.Context(), getenv, log, nil), "Tenants")
	env["AZURE_TENANT_ID"] = entratest.DefaultTenantID
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- run(ctx, getenv, log, func(net.Addr) { stop() }) }()
	assert.NoError(t, <-ended)
}

// The store is a PostgreSQL database or an existing SQLite file.
func TestOpenStore(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for dsn, want := range map[string]string{"mysql://localhost/x": "ENTRAGATE_DB", filepath.Join(t.TempDir(), "none.db"): "no such file"} {
		_, err := openStore(ctx, dsn)
		assert.ErrorContains(t, err, want)
	}
	dsn := pgtest.Schema(t)
	store, err := openStore(ctx, dsn)
	require.NoError(t, err)
	service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store})
	require.NoError(t, err)
	key := sell(t, service, map[string]string{"orders": api(t).URL})
	g, err := open(ctx, options{Store: store, Gate: middleware.Config{Tenants: []string{entratest.DefaultTenantID}, Authority: "http://127.0.0.1:1"}})
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "/orders", nil)
	r.Header.Set("Ocp-Apim-Subscription-Key", key)
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	assert.Equal(t, http.StatusOK, w.Code)
	g.close()
	require.NoError(t, store.Close())
}

// A request that is in flight at the stop gets its answer before run closes
// what it needs and returns.
func TestStopLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-release
		fmt.Fprint(w, "done")
	}))
	t.Cleanup(backend.Close)
	file := filepath.Join(t.TempDir(), "x.db")
	key := makeShop(t, file, backend.URL)
	env := map[string]string{
		"ENTRAGATE_DB": file, "ADDR": "127.0.0.1:0", "AZURE_AUTHORITY_HOST": "http://127.0.0.1:1", "AZURE_TENANT_ID": entratest.DefaultTenantID,
	}
	ctx, stop := context.WithCancel(t.Context())
	addr := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, func(k string) string { return env[k] }, slog.New(slog.DiscardHandler), func(a net.Addr) { addr <- a.String() })
	}()
	gateway := <-addr
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	answer := make(chan string, 1)
	go func() {
		r, err := http.NewRequest(http.MethodGet, "http://"+gateway+"/orders", nil)
		assert.NoError(t, err)
		r.Header.Set("Ocp-Apim-Subscription-Key", key)
		resp, err := client.Do(r)
		if !assert.NoError(t, err) {
			answer <- ""
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		assert.NoError(t, err)
		answer <- string(body)
	}()
	<-begun
	stop()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", gateway)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, 20*time.Second, 10*time.Millisecond, "nothing new is taken")
	select { // what must not come has to be given some time
	case err := <-ended:
		t.Errorf("run returned while a request was in flight: %v", err)
		ended <- err
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	assert.Equal(t, "done", <-answer)
	assert.NoError(t, <-ended)
}

// makeShop makes a store with the API /orders in a product, and a key for it.
func makeShop(t *testing.T, file, serviceURL string) (key string) {
	t.Helper()
	ctx := t.Context()
	store, err := sqlite.Open(ctx, file)
	require.NoError(t, err)
	service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store})
	require.NoError(t, err)
	key = sell(t, service, map[string]string{"orders": serviceURL})
	require.NoError(t, store.Close())
	return key
}

// The API hears of its caller from the gateway only, however a caller spells
// those headers, and a request goes to the API that the gate decided on, also
// where its path has become another's meanwhile.
func TestProxy(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	store, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "gateway.db"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	service, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store})
	require.NoError(t, err)
	var got atomic.Pointer[http.Header]
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got.Store(&r.Header) }))
	t.Cleanup(backend.Close)
	_, err = service.CreateAPI(ctx, manager, appaccess.APIRequest{ID: "orders", Name: "Orders", Path: "/orders", ServiceURL: backend.URL})
	require.NoError(t, err)
	_, err = service.CreateProduct(ctx, manager, appaccess.ProductRequest{ID: "shop", Name: "Shop", Access: appaccess.Access{Key: true}, APIs: []string{"orders"}, Published: true})
	require.NoError(t, err)
	issued, err := service.CreateSubscription(ctx, manager, appaccess.SubscriptionRequest{ID: "sub", Name: "Sub", Scope: appaccess.ProductScope("shop")})
	require.NoError(t, err)
	catalog, err := appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: store})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, catalog.Close()) })
	gate, err := middleware.New(middleware.Config{Catalog: catalog})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, gate.Close()) })
	between := func() {}
	p, err := newProxy(catalog, options{})
	require.NoError(t, err)
	t.Cleanup(p.close)
	h := gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		between()
		p.ServeHTTP(w, r)
	}))
	call := func() int {
		// The gate does not decide again on a POST that has begun, so the proxy must refuse it.
		r := httptest.NewRequest(http.MethodPost, "/orders/late", nil)
		r.Header.Set("Ocp-Apim-Subscription-Key", issued.Primary.Reveal())
		for _, name := range []string{"Entragate-Owner", "Entragate_owner", "ENTRAGATE_CLIENT", "Entragate-Extra", "entragate-product"} {
			r.Header[name] = []string{"forged"}
		}
		w := httptest.NewRecorder()
		serveRecovering(h, w, r)
		return w.Code
	}
	require.Equal(t, 200, call())
	for name, values := range *got.Load() {
		assert.NotContains(t, values, "forged", name)
	}
	assert.Equal(t, "shop", got.Load().Get(productHeader))
	got.Store(nil)
	between = func() {
		_, err = service.CreateAPI(ctx, manager, appaccess.APIRequest{ID: "late", Name: "Late", Path: "/orders/late", ServiceURL: backend.URL})
		require.NoError(t, err)
		require.Eventually(t, func() bool { return catalog.Snapshot().API("late") != nil }, 20*time.Second, time.Millisecond)
	}
	assert.Equal(t, 502, call())
	assert.True(t, got.Load() == nil, "the key does not open that API")
}

// serveRecovering calls a handler as net/http's server does: a handler that aborts its
// response, because access ended meanwhile, does not end the process.
func serveRecovering(h http.Handler, w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v != nil && v != any(http.ErrAbortHandler) {
			panic(v)
		}
	}()
	h.ServeHTTP(w, r)
}
