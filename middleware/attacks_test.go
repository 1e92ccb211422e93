package middleware_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
	"github.com/entragate/entragate/provision/entratest"
)

// clock is a clock that a test moves.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// buffer is a log that goroutines write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// In process, in managed mode.
func TestAttacksManaged(t *testing.T) {
	t.Parallel()
	var now clock
	tenant, err := entratest.New(entratest.Config{Now: now.now})
	require.NoError(t, err)
	c := newCatalog()
	var log buffer
	cfg := managed(nil, c)
	cfg.Tenants, cfg.Authority, cfg.STS = []string{tenant.ID()}, tenant.BaseURL(), tenant.STS()
	cfg.HTTPClient = &http.Client{Transport: tenant.Transport()}
	cfg.Now, cfg.KeyInterval = now.now, time.Nanosecond
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	target := target(tenant)
	target.Handler = open(t, cfg).Wrap(echo)
	target.Advance, target.Log = now.advance, log.String
	target.Key = "key-starter"
	target.Revoke = map[string]func() func(){
		"client unknown": func() func() { return c.change(func(s *appaccess.ClientState) { s.Refusal = appaccess.UnknownClient }) },
		"owner blocked":  func() func() { return c.change(func(s *appaccess.ClientState) { s.Refusal = appaccess.OwnerBlocked }) },
		"grant gone":     func() func() { return c.change(func(s *appaccess.ClientState) { s.Products = nil }) },
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
		Subscriptions: []appaccess.Subscription{{ID: "s", Scope: appaccess.AllAPIs, State: appaccess.SubscriptionActive, PrimarySum: appaccess.SumKey("Key-Of-A-Subscription")}},
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

func target(tenant *entratest.Tenant) entratest.AttackTarget {
	c := claims(object{"iss": tenant.Issuer(), "tid": tenant.ID()})
	return entratest.AttackTarget{Tenant: tenant, Claims: c, Path: "/echo", OtherAudience: otherApp}
}

func runAttacks(t *testing.T, target entratest.AttackTarget) {
	rows := map[int]bool{}
	for _, a := range entratest.Attacks(target) {
		rows[a.Row] = true
		assert.NoError(t, a.Run(target), a.Name)
	}
	var missing []int
	for row := range 44 {
		if !rows[row] && (row != 17 || target.Handler != nil) {
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
	target.Handler, target.Key, target.Advance = echo, "key-of-a-subscription", now.advance
	for _, a := range entratest.Attacks(target) {
		if a.Status != http.StatusOK {
			assert.Error(t, a.Run(target), a.Name)
		}
	}
}
