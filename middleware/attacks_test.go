package middleware_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/middleware"
	"github.com/entragate/entragate/middleware/gatetest"
	"github.com/entragate/entragate/provision/entratest"
)

// clock is a clock that a test moves.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// In process, in managed mode.
func TestAttacksManaged(t *testing.T) {
	t.Parallel()
	var now clock
	tenant, err := entratest.New(entratest.Config{Now: now.now})
	require.NoError(t, err)
	c := newCatalog()
	c.enforce(auditOperations)
	var log testkit.Log
	cfg := managed(nil, c)
	cfg.Tenants, cfg.Authority, cfg.STS = []string{tenant.ID()}, tenant.BaseURL(), tenant.STS()
	cfg.HTTPClient = &http.Client{Transport: tenant.Transport()}
	cfg.Now, cfg.KeyInterval = now.now, time.Nanosecond
	cfg.Logger = log.Logger(slog.LevelDebug)
	target := target(tenant)
	target.Path, target.Operations = "/echo/orders/7", auditTarget
	var reached atomic.Int64
	target.Handler = open(t, cfg).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		echo.ServeHTTP(w, r)
	}))
	target.Reached = func() int { return int(reached.Load()) }
	target.Advance, target.Log = now.advance, log.String
	target.Key = "key-starter"
	target.Revoke = map[string]func() func(){
		"client unknown": func() func() {
			return c.change(func(s *appaccess.ClientState) { s.DenyReason = appaccess.UnknownClient })
		},
		"owner blocked": func() func() {
			return c.change(func(s *appaccess.ClientState) { s.DenyReason = appaccess.OwnerBlocked })
		},
		"grant gone": func() func() { return c.change(func(s *appaccess.ClientState) { s.Grants = nil }) },
	}
	runAttacks(t, target)
}

// Over a real connection, in static mode, as a service would be.
func TestAttacksStatic(t *testing.T) {
	t.Parallel()
	var now clock
	srv := entratest.NewServer(t, entratest.Config{Now: now.now})
	g := open(t, middleware.Config{
		Tenants: []string{srv.ID()}, Authority: srv.BaseURL(), STS: srv.STS(), HTTPClient: srv.Client(),
		Products: []middleware.Product{
			{ID: "starter", Audiences: []string{appID}, Role: role, Keys: true},
			{ID: "other", Audiences: []string{otherApp}, Role: "Product.Other.All"},
		},
		Subscriptions: []appaccess.Subscription{{ID: "s", Scope: appaccess.AllAPIs, State: appaccess.SubscriptionActive, PrimaryHash: appaccess.HashKey("Key-Of-A-Subscription")}},
		KeyInterval:   time.Nanosecond, Now: now.now,
	})
	service := httptest.NewServer(g.Product("starter")(echo))
	t.Cleanup(service.Close)
	target := target(srv.Tenant)
	target.Key, target.Advance = "Key-Of-A-Subscription", now.advance
	target.Send = func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = "http", service.Listener.Addr().String()
		return service.Client().Do(r)
	}
	runAttacks(t, target)
}

var (
	auditOperations = []appaccess.Operation{
		op("GET", "/orders/{id}", []string{"Read"}), op("GET", "/orders/audit", []string{"Write"}), op("DELETE", "/orders/{id}", []string{"Write"}),
	}
	auditTarget = &gatetest.Operations{
		Roles: []string{"Product.Starter.Read"}, Forbidden: "GET /echo/orders/audit", Unlisted: "GET /echo/orders",
	}
)

// The rows on operations, over a real connection.
func TestAttacksOnOperations(t *testing.T) {
	t.Parallel()
	srv := entratest.NewServer(t, entratest.Config{})
	cfg := withOperations(appaccess.EnforceOperations, auditOperations)
	cfg.Tenants, cfg.Authority, cfg.STS, cfg.HTTPClient = []string{srv.ID()}, srv.BaseURL(), srv.STS(), srv.Client()
	service := httptest.NewServer(open(t, cfg).Wrap(echo))
	t.Cleanup(service.Close)
	target := target(srv.Tenant)
	target.Path, target.Operations = "/echo/orders/7", auditTarget
	target.Send = func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = "http", service.Listener.Addr().String()
		return service.Client().Do(r)
	}
	ran := 0
	for _, a := range gatetest.Attacks(target) {
		if a.Row >= 48 {
			assert.NoError(t, a.Run(target), a.Name)
			ran++
		}
	}
	assert.Equal(t, 5, ran)

	cfg.APIs[0].Enforcement = appaccess.ReportOperations
	reporting := target
	reporting.Handler, reporting.Send = open(t, cfg).Wrap(echo), nil
	reporting.Operations = &gatetest.Operations{Roles: []string{role}, Forbidden: auditTarget.Forbidden, Unlisted: auditTarget.Unlisted}
	for _, a := range gatetest.Attacks(reporting) {
		if a.Row >= 48 {
			assert.Error(t, a.Run(reporting), "a gate that only reports: "+a.Name)
		}
	}
}

func target(tenant *entratest.Tenant) gatetest.Target {
	c := claims(object{"iss": tenant.Issuer(), "tid": tenant.ID()})
	return gatetest.Target{Tenant: tenant, Claims: c, Path: "/echo", OtherAudience: otherApp}
}

func runAttacks(t *testing.T, target gatetest.Target) {
	rows := map[int]bool{}
	for _, a := range gatetest.Attacks(target) {
		rows[a.Row] = true
		assert.NoError(t, a.Run(target), a.Name)
	}
	var missing []int
	for row := range 52 {
		if !rows[row] && (row != 17 || target.Handler != nil) && (row != 44 || target.Received != nil) && (row < 48 || target.Operations != nil) {
			missing = append(missing, row)
		}
	}
	assert.Empty(t, missing, "rows without an attack")
}

// change changes the sample client and returns what changes it back.
func (c *catalog) change(f func(*appaccess.ClientState)) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.clients[clientID]
	after := before
	f(&after)
	c.clients[clientID] = after
	return func() { c.set(func(c *catalog) { c.clients[clientID] = before }) }
}

// A gate that lets everything pass fails every attack: the suite can tell.
func TestAttacksFindAnOpenGate(t *testing.T) {
	t.Parallel()
	var now clock
	tenant, err := entratest.New(entratest.Config{Now: now.now})
	require.NoError(t, err)
	target := target(tenant)
	target.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			w.WriteHeader(http.StatusSwitchingProtocols)
		}
		echo.ServeHTTP(w, r)
	})
	target.Key, target.Advance = "key-of-a-subscription", now.advance
	for _, a := range gatetest.Attacks(target) {
		if a.Status != http.StatusOK {
			assert.Error(t, a.Run(target), a.Name)
		}
	}
}

// A framework that runs the handler after the gate's refusal is found out, though
// the status is right.
func TestAttacksFindAHandlerAfterARefusal(t *testing.T) {
	t.Parallel()
	var now clock
	tenant, err := entratest.New(entratest.Config{Now: now.now})
	require.NoError(t, err)
	g := open(t, middleware.Config{
		Tenants: []string{tenant.ID()}, Authority: tenant.BaseURL(), STS: tenant.STS(),
		HTTPClient: &http.Client{Transport: tenant.Transport()}, Now: now.now, KeyInterval: time.Nanosecond,
		Products: []middleware.Product{{ID: "starter", Audiences: []string{appID}, Role: role}},
	})
	silent, reached := false, 0
	target := target(tenant)
	target.OtherAudience = ""
	target.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		passed := false
		g.Product("starter")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true })).ServeHTTP(w, r)
		reached++
		if !passed && !silent {
			echo.ServeHTTP(w, r)
		}
	})
	for _, silent = range []bool{false, true} {
		if silent {
			target.Reached = func() int { return reached }
		}
		for _, a := range gatetest.Attacks(target)[1:20] {
			assert.ErrorContains(t, a.Run(target), "handler", a.Name)
		}
	}
}

// A proxy that passes on what the caller says of itself is found.
func TestAttacksFindAProxyThatPassesForgedHeaders(t *testing.T) {
	t.Parallel()
	tenant, err := entratest.New(entratest.Config{})
	require.NoError(t, err)
	g := open(t, middleware.Config{
		Tenants: []string{tenant.ID()}, Authority: tenant.BaseURL(), STS: tenant.STS(),
		HTTPClient: &http.Client{Transport: tenant.Transport()},
		Products:   []middleware.Product{{ID: "starter", Audiences: []string{appID}, Role: role}},
	})
	var received http.Header
	pass := "" // the header that the proxy passes on
	target := target(tenant)
	target.CallerHeaders = []string{"X-Client"}
	target.Received = func() http.Header { return received }
	target.Handler = g.Product("starter")(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		received = http.Header{"X-Client": {clientID}}
		if pass != "" {
			received[pass] = r.Header[pass]
		}
	}))
	var attack gatetest.Attack
	for _, a := range gatetest.Attacks(target) {
		if a.Row == 44 {
			attack = a
		}
	}
	assert.NoError(t, attack.Run(target))
	for _, pass = range []string{"X-Client", "X_Client", "X.Client", "X-Forwarded-For", "X-Forwarded-User", "X-Original-Url", "X-Http-Method-Override"} {
		assert.ErrorContains(t, attack.Run(target), "received "+pass)
	}
}
