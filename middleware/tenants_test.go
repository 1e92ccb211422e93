package middleware_test

import (
	"crypto/rsa"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/middleware"
)

const secondTenant = "bbbbcccc-1111-dddd-2222-eeee3333ffff"

// hosts answers with the keys of the host that is asked; a host without keys
// cannot be reached.
func hosts(keys map[string]*rsa.PrivateKey) *entra {
	e := newEntra()
	e.answer = func(r *http.Request) (*http.Response, error) {
		k := keys[r.URL.Host]
		if k == nil {
			return nil, errors.New("no route to host")
		}
		one := &entra{keys: map[string]*rsa.PrivateKey{"k1": k}}
		return respond(http.StatusOK, one.document()), nil
	}
	return e
}

func TestExternalIDTenant(t *testing.T) {
	t.Parallel()
	cfg := config(hosts(map[string]*rsa.PrivateKey{"contoso.ciamlogin.com": testKeys()[0]}))
	cfg.Authority = "https://contoso.ciamlogin.com"
	g := open(t, cfg)
	issuer := "https://" + tenantID + ".ciamlogin.com/" + tenantID + "/v2.0"
	for iss, reason := range map[string]middleware.Reason{
		issuer: middleware.Allowed,
		"https://contoso.ciamlogin.com/" + tenantID + "/v2.0":              middleware.TokenIssuerNotAllowed,
		"https://login.microsoftonline.com/" + tenantID + "/v2.0":          middleware.TokenIssuerNotAllowed,
		"https://" + secondTenant + ".ciamlogin.com/" + tenantID + "/v2.0": middleware.TokenIssuerNotAllowed,
	} {
		assert.Equal(t, reason, g.ExplainProduct("starter", bearerRequest(mint(t, claims(object{"iss": iss})))).Reason, iss)
	}
}

func TestTenantsOfSeveralHosts(t *testing.T) {
	t.Parallel()
	cfg := config(hosts(map[string]*rsa.PrivateKey{"login.test": testKeys()[0], "login.sovcloud-identity.fr": testKeys()[1]}))
	cfg.MoreTenants = []middleware.Tenant{{ID: secondTenant, Cloud: "bleu"}}
	g := open(t, cfg)
	there := object{"iss": "https://login.sovcloud-identity.fr/" + secondTenant + "/v2.0", "tid": secondTenant}
	with := func(key int, c object) middleware.Reason {
		token := sign(t, testKeys()[key], object{"typ": "JWT", "alg": "RS256", "kid": "k1"}, claims(c))
		return g.ExplainProduct("starter", bearerRequest(token)).Reason
	}
	assert.Equal(t, middleware.Allowed, with(0, nil))
	assert.Equal(t, middleware.Allowed, with(1, there))
	assert.Equal(t, middleware.TokenSignatureInvalid, with(0, there), "each tenant's keys sign for that tenant only")
	assert.Equal(t, middleware.TokenSignatureInvalid, with(1, nil))
	mixed := object{"iss": there["iss"]}
	assert.Equal(t, middleware.TokenClaimValueNotAllowed, with(1, mixed), "tid must be the issuer's")
}

func TestIssuerOfADomainOfItsOwn(t *testing.T) {
	t.Parallel()
	cfg := config(hosts(map[string]*rsa.PrivateKey{"login.contoso.example": testKeys()[0]}))
	cfg.Tenants, cfg.Authority = nil, ""
	issuer := "https://" + tenantID + ".ciamlogin.com/" + tenantID + "/v2.0"
	cfg.MoreTenants = []middleware.Tenant{{ID: tenantID, Authority: "https://login.contoso.example", Issuer: issuer}}
	d := open(t, cfg).ExplainProduct("starter", bearerRequest(mint(t, claims(object{"iss": issuer}))))
	assert.Equal(t, middleware.Allowed, d.Reason)
}

func TestKeysOfAnApplicationWithClaimsMapping(t *testing.T) {
	t.Parallel()
	e := newEntra()
	e.answer = func(r *http.Request) (*http.Response, error) {
		key := testKeys()[0]
		if r.URL.Query().Get("appid") == appID {
			key = testKeys()[1]
		}
		one := &entra{keys: map[string]*rsa.PrivateKey{"k1": key}}
		return respond(http.StatusOK, one.document()), nil
	}
	cfg := config(e)
	first(&cfg).OwnKeys = true
	g := open(t, cfg)
	with := func(key int, product string, c object) middleware.Reason {
		token := sign(t, testKeys()[key], object{"typ": "JWT", "alg": "RS256", "kid": "k1"}, claims(c))
		return g.ExplainProduct(product, bearerRequest(token)).Reason
	}
	other := object{"aud": otherApp, "roles": []string{"Product.Other.All"}}
	for range 2 { // the second time from the cache
		assert.Equal(t, middleware.Allowed, with(1, "starter", nil))
		assert.Equal(t, middleware.TokenSignatureInvalid, with(0, "starter", nil))
		assert.Equal(t, middleware.Allowed, with(0, "other", other))
		assert.Equal(t, middleware.TokenSignatureInvalid, with(1, "other", other), "an application's own key signs for no other")
	}
}

func TestTenantsChangeWhileTheGateRuns(t *testing.T) {
	t.Parallel()
	g := open(t, config(newEntra()))
	h := g.Product("starter")(echo)
	token := mint(t, claims(nil))
	second := mint(t, claims(object{"tid": secondTenant, "iss": authority + "/" + secondTenant + "/v2.0"}))
	require.Equal(t, 200, call(h, token).Code)
	require.Equal(t, 200, call(h, token).Code, "from the cache")
	require.Equal(t, 401, call(h, second).Code)

	both := []middleware.Tenant{{ID: tenantID, Authority: authority}, {ID: strings.ToUpper(secondTenant), Authority: authority}}
	require.NoError(t, g.SetTenants(both))
	assert.Equal(t, 200, call(h, token).Code)
	assert.Equal(t, 200, call(h, second).Code)

	require.NoError(t, g.SetTenants(both[1:]))
	assert.Equal(t, 401, call(h, token).Code, "also from the cache")
	assert.Equal(t, 200, call(h, second).Code)

	require.ErrorContains(t, g.SetTenants([]middleware.Tenant{{ID: "contoso.example"}}), "contoso.example")
	require.ErrorContains(t, g.SetTenants(append(both, both[0])), "named twice")
	assert.Equal(t, 200, call(h, second).Code, "an error changes nothing")
}

func TestSetTenantsOfAClosedGate(t *testing.T) {
	t.Parallel()
	g, err := middleware.New(config(newEntra()))
	require.NoError(t, err)
	require.NoError(t, g.Close())
	require.ErrorContains(t, g.SetTenants(nil), "closed")
}

func TestOneDeadTenantDoesNotMakeTheGateUnready(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := map[string]*rsa.PrivateKey{"login.test": testKeys()[0]}
		e := hosts(keys)
		cfg := config(e)
		cfg.MoreTenants = []middleware.Tenant{{ID: secondTenant, Authority: "https://gone.test"}}
		g := open(t, cfg)
		synctest.Wait()
		require.NoError(t, g.Ready(t.Context()))
		body := get(g.ReadyHandler(), "/ready").Body.String()
		assert.Contains(t, body, `{"tenant":"`+tenantID+`","ready":true,`)
		assert.Contains(t, body, `{"tenant":"`+secondTenant+`","ready":false,"ageSeconds":null}`)
		w := call(g.Product("starter")(echo), mint(t, claims(object{"tid": secondTenant, "iss": "https://gone.test/" + secondTenant + "/v2.0"})))
		assert.Equal(t, 503, w.Code, "its own tokens cannot be decided")
	})
}

func TestATenantThatLostItsKeysMakesTheGateUnready(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEntra()
		cfg := config(e)
		cfg.MoreTenants = []middleware.Tenant{{ID: secondTenant, Authority: authority}}
		g := open(t, cfg)
		synctest.Wait()
		require.NoError(t, g.Ready(t.Context()))
		e.set(func(e *entra) {
			e.answer = func(r *http.Request) (*http.Response, error) {
				if strings.Contains(r.URL.Path, secondTenant) {
					return nil, errors.New("no route to host")
				}
				return respond(http.StatusOK, newEntra().document()), nil
			}
		})
		time.Sleep(25 * time.Hour) // fake time: a known key serves for 24 hours
		synctest.Wait()
		require.ErrorContains(t, g.Ready(t.Context()), secondTenant)
	})
}

func TestNoTenantIsReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := config(hosts(nil))
		cfg.MoreTenants = []middleware.Tenant{{ID: secondTenant, Authority: "https://gone.test"}}
		g := open(t, cfg)
		synctest.Wait()
		err := g.Ready(t.Context())
		require.ErrorContains(t, err, tenantID)
		require.ErrorContains(t, err, secondTenant)
	})
}
