package postgres_test

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/pgtest"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// endOfAccess is what the fleet promises.
const endOfAccess = time.Second

var boss = appaccess.Manager("boss")

// stampStore notes when a commit was acknowledged.
type stampStore struct {
	appaccess.Store
	mu    sync.Mutex
	first time.Time // since it was last taken
}

func (s *stampStore) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	rev, err := s.Store.Update(ctx, fn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first.IsZero() {
		s.first = time.Now()
	}
	return rev, err
}

func (s *stampStore) take() (first time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, s.first = s.first, time.Time{}
	return first
}

// subject is somebody who calls all gateways, all the time, until access ends.
type subject struct {
	name   string
	end    func(context.Context) error // nil: never
	header [2]string

	began, ended time.Time // the change: before the call, and its commit
	mu           sync.Mutex
	calls        []call
}

type call struct {
	gateway    int
	start, end time.Time
	status     int
}

// fleet is a management plane and what calls its gateways.
type fleet struct {
	t       *testing.T
	tenant  *entratest.Server
	store   *stampStore
	service *appaccess.Service
}

func newFleet(t *testing.T, dsn string) *fleet {
	t.Helper()
	f := &fleet{t: t, tenant: entratest.NewPlainServer(t, entratest.Config{}), store: &stampStore{Store: open(t, dsn)}}
	caller, err := f.tenant.AddCaller("entragate", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	engine, err := provision.New(provision.Config{Directory: f.tenant.Directory(caller), Store: f.store})
	require.NoError(t, err)
	f.service, err = appaccess.NewService(t.Context(), appaccess.ServiceConfig{
		Store: f.store, Provisioner: engine, TenantID: f.tenant.ID(), Authority: f.tenant.BaseURL(),
	})
	require.NoError(t, err)
	return f
}

// product makes a product with an API of its own.
func (f *fleet) product(id string) appaccess.Product {
	f.t.Helper()
	_, err := f.service.CreateAPI(f.t.Context(), boss, appaccess.APIRequest{ID: id + "-api", Name: id, Path: "/" + id})
	require.NoError(f.t, err)
	p, err := f.service.CreateProduct(f.t.Context(), boss, appaccess.ProductRequest{
		ID: id, Name: id, Published: true, APIs: []string{id + "-api"}, Access: appaccess.Access{Token: true, Key: true},
	})
	require.NoError(f.t, err)
	return p
}

func (f *fleet) owner(id string) {
	f.t.Helper()
	_, err := f.service.CreateUser(f.t.Context(), boss, appaccess.UserRequest{ID: id, Name: id})
	require.NoError(f.t, err)
}

// client registers an application and mints a token as the tenant would issue.
func (f *fleet) client(id, owner string, p appaccess.Product) [2]string {
	f.t.Helper()
	app, err := f.service.RegisterApplication(f.t.Context(), boss, appaccess.ApplicationRequest{ID: id, Name: id, OwnerID: owner, Grants: appaccess.GrantsOfAll(p.ID)})
	require.NoError(f.t, err)
	claims, err := f.tenant.AppClaims(app.Entra.AppID, p.Entra.AppID)
	require.NoError(f.t, err)
	return [2]string{"Authorization", "Bearer " + f.tenant.MintToken(claims, nil)}
}

func (f *fleet) key(id, owner string, p appaccess.Product) [2]string {
	f.t.Helper()
	sub, err := f.service.CreateSubscription(f.t.Context(), boss, appaccess.SubscriptionRequest{ID: id, Name: id, OwnerID: owner, Scope: appaccess.ProductScope(p.ID)})
	require.NoError(f.t, err)
	if sub.Subscription.State != appaccess.SubscriptionActive {
		_, err = f.service.SetSubscriptionState(f.t.Context(), boss, id, appaccess.SubscriptionActive)
		require.NoError(f.t, err)
	}
	return [2]string{"Ocp-Apim-Subscription-Key", sub.Primary.Reveal()}
}

// subjects are one for each way in which access ends, and two who keep it.
func (f *fleet) subjects() []*subject {
	p, other := f.product("main"), f.product("other")
	for _, u := range []string{"ada", "eve", "bob"} {
		f.owner(u)
	}
	s := f.service
	return []*subject{
		{name: "client that keeps its access", header: f.client("kept", "ada", p)},
		{name: "key that keeps its access", header: f.key("kept", "ada", p)},
		{name: "application suspended", header: f.client("suspended", "ada", p),
			end: func(ctx context.Context) error { _, err := s.SuspendApplication(ctx, boss, "suspended"); return err }},
		{name: "application deleted", header: f.client("deleted", "ada", p),
			end: func(ctx context.Context) error { return s.DeleteApplication(ctx, boss, "deleted") }},
		{name: "product taken back", header: f.client("ungranted", "ada", p),
			end: func(ctx context.Context) error {
				_, err := s.RevokeProducts(ctx, boss, "ungranted", []string{p.ID})
				return err
			}},
		{name: "owner of a client blocked", header: f.client("blocked", "eve", p),
			end: func(ctx context.Context) error { _, err := s.BlockUser(ctx, boss, "eve"); return err }},
		{name: "owner of a key blocked", header: f.key("blocked", "bob", p),
			end: func(ctx context.Context) error { _, err := s.BlockUser(ctx, boss, "bob"); return err }},
		{name: "key regenerated", header: f.key("regenerated", "ada", p),
			end: func(ctx context.Context) error {
				_, err := s.RegenerateKey(ctx, boss, "regenerated", appaccess.PrimaryKey)
				return err
			}},
		{name: "subscription suspended", header: f.key("suspended", "ada", p),
			end: func(ctx context.Context) error {
				_, err := s.SetSubscriptionState(ctx, boss, "suspended", appaccess.SubscriptionSuspended)
				return err
			}},
		{name: "product suspended", header: f.client("other", "ada", other),
			end: func(ctx context.Context) error { _, err := s.SuspendProduct(ctx, boss, other.ID); return err }},
	}
}

func (s *subject) path() string {
	if s.name == "product suspended" {
		return "/other/resource"
	}
	return "/main/resource"
}

// load calls one gateway until the context ends.
func (s *subject) load(ctx context.Context, t *testing.T, client *http.Client, gateway int, url string) {
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+s.path(), http.NoBody)
		if !assert.NoError(t, err) {
			return
		}
		req.Header.Set(s.header[0], s.header[1])
		c := call{gateway: gateway, start: time.Now()}
		res, err := client.Do(req)
		if !assert.NoError(t, err) {
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		c.end, c.status = time.Now(), res.StatusCode
		s.mu.Lock()
		s.calls = append(s.calls, c)
		s.mu.Unlock()
		pause(ctx, 10*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// seen reports whether each gateway has answered calls that began after a time.
func (s *subject) seen(gateways, each int, after time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := make([]int, gateways)
	for _, c := range s.calls {
		if c.start.After(after) {
			n[c.gateway]++
		}
	}
	for _, n := range n {
		if n < each {
			return false
		}
	}
	return true
}

// Three gateways on one database, in processes of their own and under load:
// whatever ends access is obeyed by all of them within a second, for tokens
// that were checked before, too, and nobody else is refused.
func TestRevocationOnEveryReplica(t *testing.T) {
	const gateways = 3
	dsn := pgtest.Schema(t)
	f := newFleet(t, dsn)
	subjects := f.subjects()
	var urls []string
	for range gateways {
		urls = append(urls, startGateway(t, gatewayConfig{DSN: dsn, Tenant: f.tenant.ID(), Authority: f.tenant.BaseURL()}))
	}
	stall, slow := watchStalls(t.Context()), watchServer(t, dsn)
	ctx, stop := context.WithCancel(t.Context())
	var loads sync.WaitGroup
	defer loads.Wait()
	defer stop()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	defer client.CloseIdleConnections()
	start := time.Now()
	for _, s := range subjects {
		for g, url := range urls {
			loads.Go(func() { s.load(ctx, t, client, g, url) })
		}
	}
	everyone := func(each int, after time.Time) {
		t.Helper()
		for _, s := range subjects {
			require.Eventually(t, func() bool { return s.seen(gateways, each, after) }, patience, 5*time.Millisecond, s.name)
		}
	}
	everyone(10, start)
	f.store.take()
	for _, s := range subjects {
		if s.end == nil {
			continue
		}
		s.began = time.Now()
		require.NoError(t, s.end(t.Context()), s.name)
		s.ended = f.store.take()
	}
	everyone(10, time.Now().Add(endOfAccess)) // some that must be refused
	stop()
	loads.Wait()

	longest := time.Duration(max(stall.Load(), slow.Load()))
	for _, url := range urls {
		longest = max(longest, stallOf(t, url))
	}
	t.Logf("the longest time for which a process got no turn: %s", longest)
	total := 0
	for _, s := range subjects {
		s.judge(t, longest)
		total += len(s.calls)
	}
	t.Logf("%d calls of %d callers to %d gateways in %s", total, len(subjects), gateways, time.Since(start).Round(time.Millisecond))
}

// judge counts what must not be. A stall of the machine is not held against
// the gateways.
func (s *subject) judge(t *testing.T, stall time.Duration) {
	t.Helper()
	var late, wrong int
	var last time.Duration
	for _, c := range s.calls {
		allowed := c.status == http.StatusOK
		keeps := s.end == nil || c.end.Before(s.began)
		switch {
		case keeps && !allowed:
			wrong++
			t.Errorf("%s: gateway %d answered %d", s.name, c.gateway, c.status)
		case keeps:
		case allowed:
			last = max(last, c.start.Sub(s.ended))
			if c.start.Sub(s.ended) > endOfAccess+stall {
				late++
			}
		case c.status != http.StatusUnauthorized && c.status != http.StatusForbidden:
			t.Errorf("%s: gateway %d refused with %d", s.name, c.gateway, c.status)
		}
	}
	assert.Zero(t, wrong, "%s: wrong refusals", s.name)
	assert.Zero(t, late, "%s: let through later than %s after the change", s.name, endOfAccess)
	if s.end != nil {
		t.Logf("%-28s last let through %v after the commit", s.name, last.Round(100*time.Microsecond))
	}
}
