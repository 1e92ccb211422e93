package middleware_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
)

// catalog is a Catalog in memory that a test can change.
type catalog struct {
	snapshot atomic.Pointer[appaccess.Snapshot]

	mu      sync.Mutex
	clients map[string]appaccess.ClientState
	keys    map[[32]byte]appaccess.KeyState
	err     error
	asked   int
}

func newCatalog() *catalog {
	c := &catalog{clients: map[string]appaccess.ClientState{}, keys: map[[32]byte]appaccess.KeyState{}}
	c.clients[clientID] = appaccess.ClientState{ApplicationID: "app-1", AppID: clientID, Name: "Sample", OwnerID: "u1", Grants: appaccess.GrantsOfAll("starter")}
	c.keys[appaccess.HashKey("key-starter")] = appaccess.KeyState{SubscriptionID: "s1", OwnerID: "u1", Scope: appaccess.ProductScope("starter"), Primary: true}
	c.publish(products(), apis())
	return c
}

func products() []appaccess.Product {
	both := appaccess.Access{Token: true, Key: true}
	return []appaccess.Product{
		{ID: "starter", Name: "Starter", State: appaccess.Published, Access: both, APIs: []string{"echo"},
			Entra: appaccess.ProductApplication{AppID: appID, IdentifierURI: "api://" + appID, Roles: []appaccess.Role{{Permission: appaccess.AllPermission, Value: role}}}},
		{ID: "other", Name: "Other", State: appaccess.NotPublished, Access: both, APIs: []string{"echo", "admin"},
			Entra: appaccess.ProductApplication{AppID: otherApp, IdentifierURI: "api://" + otherApp, Roles: []appaccess.Role{{Permission: appaccess.AllPermission, Value: "Product.Other.All"}}}},
	}
}

func apis() []appaccess.API {
	return []appaccess.API{{ID: "echo", Path: "/echo"}, {ID: "admin", Path: "/echo/admin"}, {ID: "lonely", Path: "/lonely"}}
}

func (c *catalog) publish(p []appaccess.Product, a []appaccess.API) {
	c.snapshot.Store(appaccess.NewSnapshot(1, p, a))
}

func (c *catalog) set(f func(*catalog)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

func (c *catalog) Snapshot() *appaccess.Snapshot { return c.snapshot.Load() }

func (c *catalog) Client(_ context.Context, id string) (appaccess.ClientState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.err != nil {
		return appaccess.ClientState{}, c.err
	}
	if s, ok := c.clients[id]; ok {
		return s, nil
	}
	return appaccess.ClientState{AppID: id, DenyReason: appaccess.UnknownClient}, nil
}

func (c *catalog) Key(_ context.Context, sum [32]byte) (appaccess.KeyState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.err != nil {
		return appaccess.KeyState{}, c.err
	}
	if s, ok := c.keys[sum]; ok {
		return s, nil
	}
	return appaccess.KeyState{DenyReason: appaccess.UnknownKey}, nil
}

func managed(e *entra, c *catalog) middleware.Config {
	return middleware.Config{Tenants: []string{tenantID}, Authority: authority, Catalog: c, HTTPClient: &http.Client{Transport: e}}
}

func TestManagedClients(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	h := open(t, managed(newEntra(), c)).Wrap(echo)
	token := mint(t, claims(nil))
	status := func() int { return call(h, token).Code }

	assert.Equal(t, 200, status())
	assert.Equal(t, 200, status(), "from the cache")
	assert.Equal(t, 401, call(h, mint(t, claims(object{"idtyp": nil}))).Code, "strict on idtyp")
	assert.Equal(t, 403, call(h, mint(t, claims(object{"azp": "11111111-1111-1111-1111-111111111111"}))).Code, "unknown client")

	sample := c.clients[clientID]
	for name, change := range map[string]func(*appaccess.ClientState){
		"owner blocked": func(s *appaccess.ClientState) { s.DenyReason = appaccess.OwnerBlocked },
		"suspended":     func(s *appaccess.ClientState) { s.DenyReason = appaccess.ApplicationNotActive },
		"grant gone":    func(s *appaccess.ClientState) { s.Grants = nil },
		"other grant":   func(s *appaccess.ClientState) { s.Grants = appaccess.GrantsOfAll("other") },
	} {
		c.set(func(c *catalog) {
			s := sample
			change(&s)
			c.clients[clientID] = s
		})
		assert.Equal(t, 403, status(), name)
	}
	c.set(func(c *catalog) { c.clients[clientID] = sample })
	assert.Equal(t, 200, status())

	c.set(func(c *catalog) { c.err = errors.Join(appaccess.ErrUnavailable) })
	assert.Equal(t, 503, status())
	assert.Equal(t, 403, call(h, mint(t, claims(object{"roles": nil}))).Code, "no answer could have let it pass")
	assert.Equal(t, 503, get(h, "/echo", "Ocp-Apim-Subscription-Key", "key-starter").Code)
	assert.Equal(t, 401, get(h, "/echo", "Ocp-Apim-Subscription-Key", "").Code)
}

func TestManagedProducts(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	h := open(t, managed(newEntra(), c)).Wrap(echo)
	token := mint(t, claims(nil))
	both := []string{"Authorization", "Bearer " + token}
	key := []string{"Ocp-Apim-Subscription-Key", "key-starter"}

	assert.Equal(t, clientID+" starter", get(h, "/echo/resource?param1=sample", both...).Header().Get("X-Caller"))
	assert.Equal(t, "s1 starter", get(h, "/echo", key...).Header().Get("X-Caller"))
	assert.Equal(t, 403, get(h, "/echo/admin", both...).Code, "the longest path decides: admin is in other only")
	assert.Equal(t, 401, get(h, "/echo/admin", key...).Code)
	assert.Equal(t, 404, get(h, "/echoes", both...).Code)
	assert.Equal(t, 404, get(h, "/lonely", both...).Code)

	p := products()
	p[0].Suspended = true
	c.publish(p, apis())
	assert.Equal(t, 403, get(h, "/echo", both...).Code)
	assert.Equal(t, 403, get(h, "/echo", key...).Code)
	p = products()
	p[0].State = appaccess.NotPublished
	p[0].Access = appaccess.Access{Key: true}
	c.publish(p, apis())
	assert.Equal(t, 403, get(h, "/echo", both...).Code, "tokens switched off")
	assert.Equal(t, 200, get(h, "/echo", key...).Code, "unpublished products serve on")
	assert.Equal(t, 200, get(h, "/echo", append(both, key...)...).Code, "an invalid credential does not spoil a valid one")
	p = products()
	p[0].Access = appaccess.Access{Token: true}
	c.publish(p, apis())
	assert.Equal(t, 401, get(h, "/echo", key...).Code, "keys switched off")
	c.publish(nil, nil)
	assert.Equal(t, 404, get(h, "/echo", both...).Code)
}

func TestKeyScopes(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	for name, scope := range map[string]appaccess.Scope{"all": appaccess.AllAPIs, "echo": appaccess.APIScope("echo"), "admin": appaccess.APIScope("admin"), "p-other": appaccess.ProductScope("other"),
		"p-like": appaccess.ProductScope("startes"), "a-like": appaccess.APIScope("echa"), "none": "", "p-none": appaccess.ProductScope(""), "a-none": appaccess.APIScope("")} {
		c.keys[appaccess.HashKey(name)] = appaccess.KeyState{SubscriptionID: name, Scope: scope}
	}
	c.keys[appaccess.HashKey("lasts")] = appaccess.KeyState{SubscriptionID: "lasts", Scope: appaccess.AllAPIs, Expires: time.Now().Add(time.Hour)}
	c.keys[appaccess.HashKey("expired")] = appaccess.KeyState{SubscriptionID: "expired", Scope: appaccess.AllAPIs, Expires: time.Now()}
	g := open(t, managed(newEntra(), c))
	whole, product, api := g.Wrap(echo), g.Product("starter")(echo), g.API("echo")(echo)
	for _, tc := range []struct {
		key, path           string
		whole, product, api int
	}{
		{"all", "/echo", 200, 200, 200},
		{"echo", "/echo", 200, 401, 200},
		{"admin", "/echo", 401, 401, 401},
		{"admin", "/echo/admin", 200, 401, 401},
		{"p-other", "/echo", 200, 401, 200},
		{"key-starter", "/echo", 200, 200, 200},
		{"expired", "/echo", 401, 401, 401},
		{"lasts", "/echo", 200, 200, 200},
		{"p-like", "/echo", 401, 401, 401},
		{"a-like", "/echo", 401, 401, 401},
		{"none", "/echo", 401, 401, 401},
		{"p-none", "/echo", 401, 401, 401},
		{"a-none", "/echo", 401, 401, 401},
	} {
		q := tc.path + "?subscription-key=" + tc.key
		assert.Equal(t, [3]int{tc.whole, tc.product, tc.api}, [3]int{get(whole, q).Code, get(product, q).Code, get(api, q).Code}, "%s %s", tc.key, tc.path)
	}
	p := products()
	p[0].Access.Key, p[1].Access.Key = false, false
	c.publish(p, apis())
	assert.Equal(t, 401, get(whole, "/echo?subscription-key=all").Code, "wide scopes open no product that accepts no keys")
}

func TestOpenProducts(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	p := append(products(), appaccess.Product{ID: "free", APIs: []string{"lonely", "echo"}})
	c.publish(p, apis())
	cfg := managed(newEntra(), c)
	assert.Equal(t, 403, get(open(t, cfg).Wrap(echo), "/lonely").Code)
	cfg.InsecureAllowOpenProducts = true
	g := open(t, cfg)
	h := g.Wrap(echo)
	w := get(h, "/lonely")
	assert.Equal(t, 200, w.Code)
	assert.Empty(t, w.Header().Get("X-Caller"))
	assert.Equal(t, 401, get(h, "/echo").Code, "protected by another product")
	assert.Equal(t, 403, get(g.Product("free")(echo), "/x").Code, "groups an API that another product protects")
	for _, header := range [][]string{{"Authorization", "Bearer x"}, {"Authorization", "Basic eDp5"}, {"Ocp-Apim-Subscription-Key", "no"}} {
		assert.Equal(t, 401, get(h, "/lonely", header...).Code, header)
	}
	p = append(products(), appaccess.Product{ID: "free", APIs: []string{"lonely", "gone"}}, appaccess.Product{ID: "also", APIs: []string{"lonely"}})
	c.publish(p, apis())
	for _, id := range []string{"free", "also"} {
		assert.Equal(t, 200, get(g.Product(id)(echo), "/x").Code, "no API of it is protected by another")
	}
	p = []appaccess.Product{{ID: "free", APIs: []string{"lonely"}, Suspended: true}}
	c.publish(p, apis())
	assert.Equal(t, 403, get(h, "/lonely").Code)
}

func TestNoSnapshot(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	c.snapshot.Store(nil)
	g := open(t, managed(newEntra(), c))
	assert.Equal(t, 503, get(g.Wrap(echo), "/echo").Code)
	assert.Error(t, g.Ready(t.Context()))
	c.publish(products(), apis())
	assert.NoError(t, g.Ready(t.Context()))
}

// slowStart is a catalog that is not ready at first.
type slowStart struct {
	*catalog
	err error
}

func (s *slowStart) Ready(context.Context) error { return s.err }

func TestReadyAsksTheCatalog(t *testing.T) {
	t.Parallel()
	c := &slowStart{newCatalog(), io.ErrUnexpectedEOF}
	cfg := managed(newEntra(), nil)
	cfg.Catalog = c
	g := open(t, cfg)
	assert.ErrorIs(t, g.Ready(t.Context()), io.ErrUnexpectedEOF)
	w := get(g.ReadyHandler(), "/ready")
	assert.Equal(t, 503, w.Code)
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	c.err = nil
	assert.NoError(t, g.Ready(t.Context()))
	assert.Equal(t, 200, get(g.ReadyHandler(), "/ready").Code)
}

// appaccess.Catalog is what managed mode is for.
var _ interface {
	middleware.Catalog
	middleware.ReadinessChecker
} = (*appaccess.Catalog)(nil)

// A product that is not yet in Entra lets no token pass.
func TestProductWithoutApplication(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	p := products()
	p[0].Entra.Roles = allRole("")
	c.publish(p, apis())
	h := open(t, managed(newEntra(), c)).Wrap(echo)
	assert.Equal(t, 403, call(h, mint(t, claims(object{"roles": []string{role}}))).Code)
	p = products()
	p[0].Entra = appaccess.ProductApplication{}
	c.publish(p, apis())
	assert.Equal(t, 401, call(h, mint(t, claims(object{"aud": []string{}}))).Code)
	assert.Equal(t, 401, call(h, mint(t, claims(object{"aud": ""}))).Code)
}

// The mode for tokens without idtyp can be chosen in managed mode too.
func TestManagedFallback(t *testing.T) {
	t.Parallel()
	cfg := managed(newEntra(), newCatalog())
	cfg.AppOnly = middleware.AppOnlyFallback
	h := open(t, cfg).Wrap(echo)
	assert.Equal(t, 200, call(h, mint(t, claims(object{"idtyp": nil}))).Code)
	assert.Equal(t, 401, call(h, mint(t, claims(object{"idtyp": nil, "azp": nil}))).Code, "an ID token has neither azp nor appid")
	assert.Equal(t, 403, call(h, mint(t, claims(object{"idtyp": nil, "scp": "x"}))).Code)
}

// allRole is the one role of a product without further permissions.
func allRole(value string) []appaccess.Role {
	return []appaccess.Role{{Permission: appaccess.AllPermission, Value: value}}
}

// TestManagedIdentitiesPass takes the tokens that Azure gives managed identities:
// of version 1 or 2, for 24 hours and 5 minutes.
func TestManagedIdentitiesPass(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	identity := c.clients[clientID]
	identity.Kind, identity.ServicePrincipalID = appaccess.ManagedIdentityClient, "o-1"
	c.clients[clientID] = identity
	var got *middleware.Principal
	cfg := managed(newEntra(), c)
	cfg.STS = "https://sts.test/"
	g := open(t, cfg)
	h := g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got, _ = middleware.PrincipalFrom(r.Context()) }))
	day := object{"azpacr": "2", "iat": time.Now().Unix(), "exp": time.Now().Add(24*time.Hour + 5*time.Minute).Unix(), "xms_mirid": "/subscriptions/s/x"}
	with := func(more object) string {
		all := maps.Clone(day)
		maps.Copy(all, more)
		return mint(t, claims(all))
	}
	version1 := object{
		"ver": "1.0", "iss": "https://sts.test/" + tenantID + "/", "aud": "api://" + appID, "azp": nil, "azpacr": nil,
		"appid": clientID, "appidacr": "2", "idp": "https://sts.test/" + tenantID + "/",
	}
	for name, token := range map[string]string{"version 1": with(version1), "version 2": with(nil)} {
		require.Equal(t, 200, call(h, token).Code, name)
		assert.Equal(t, appaccess.ManagedIdentityClient, got.ClientKind, name)
		assert.Equal(t, []string{appaccess.AllPermission}, got.Permissions, name)
		assert.Equal(t, 200, call(h, token).Code, "from the cache")
	}
	d := g.Explain(request("/echo", "Authorization", "Bearer "+with(object{"oid": "o-2", "sub": "o-2"})))
	assert.Equal(t, middleware.ClientNotAllowed, d.Reason, "another service principal with the client ID")
	assert.Equal(t, "oid", d.Detail.Field)
	assert.Contains(t, d.Remedy, "another service principal")
	assert.NotContains(t, d.Remedy, "the product's Clients", "which exist in static mode only")

	token := with(nil)
	c.set(func(c *catalog) {
		identity.Grants = nil
		c.clients[clientID] = identity
	})
	assert.Equal(t, 403, call(h, token).Code, "revoked, though the token lives on")
}
