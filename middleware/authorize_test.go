package middleware_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
)

// One product must supply all: a suspended one lends nothing to another that
// takes another kind of credential.
func TestProductsOfOneAPI(t *testing.T) {
	t.Parallel()
	tokens, keys := appaccess.Access{Token: true}, appaccess.Access{Key: true}
	starter := []string{"Authorization", "Bearer " + mint(t, claims(nil))}
	other := []string{"Authorization", "Bearer " + mint(t, claims(object{"aud": otherApp, "roles": []string{"Product.Other.All"}}))}
	mixed := []string{"Authorization", "Bearer " + mint(t, claims(object{"aud": otherApp}))}
	key := []string{keyHeader, "all"}
	for name, tc := range map[string]struct {
		first, second  appaccess.Access
		suspendFirst   bool
		credential     []string
		status         int
		reason         middleware.Reason
		product, field string
		asked          int
		got, want      string
	}{
		"key, its product suspended":       {keys, tokens, true, key, 403, middleware.ProductSuspended, "starter", "product", 1, "", ""},
		"wrong key, its product suspended": {keys, tokens, true, []string{keyHeader, "wrong"}, 401, middleware.SubscriptionKeyInvalid, "", "subscription key", 1, "", ""},
		"key, the other suspended":         {tokens, keys, true, key, 200, middleware.Allowed, "other", "", 1, "", ""},
		"key where only tokens pass":       {tokens, tokens, false, key, 401, middleware.CredentialNotAccepted, "", "access of the product", 0, "", ""},
		"token, its product suspended":     {tokens, tokens, true, starter, 403, middleware.ProductSuspended, "starter", "product", 0, "", ""},
		"token of the other":               {tokens, tokens, true, other, 403, middleware.ClientNotGranted, "other", "products of the client", 1, "", ""},
		"token where its product has keys": {keys, tokens, false, starter, 403, middleware.CredentialNotAccepted, "starter", "access of starter", 0, "", ""},
		"role of one, audience of another": {tokens, tokens, false, mixed, 403, middleware.RoleMissing, "other", "roles", 0, role, "Product.Other.All"},
	} {
		c := newCatalog()
		c.keys[appaccess.HashKey("all")] = appaccess.KeyState{SubscriptionID: "all", Scope: appaccess.AllAPIs}
		p := products()
		p[0].Access, p[1].Access, p[0].Suspended = tc.first, tc.second, tc.suspendFirst
		c.publish(p, apis())
		g := open(t, managed(newEntra(), c))
		r := request("/echo", tc.credential...)
		d := g.Explain(r)
		assert.Equal(t, []any{tc.reason, tc.product, tc.field, tc.asked}, []any{d.Reason, d.Product, d.Detail.Field, c.asked}, name)
		if tc.want != "" {
			assert.Equal(t, []string{tc.got, tc.want}, []string{d.Detail.Actual, d.Detail.Expected}, name)
		}
		assert.Equal(t, tc.status, do(g.Wrap(echo), r).Code, name)
	}
}

// The refusal of a token for another product of the gate says what the route takes.
func TestAudienceOfAnotherRoute(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	p := products()
	c.publish(p, apis())
	g := open(t, managed(newEntra(), c))
	r := request("/echo/admin", "Authorization", "Bearer "+mint(t, claims(nil)))
	d := g.Explain(r)
	assert.Equal(t, []any{403, middleware.TokenAudienceNotAllowed, "aud", appID + " of product starter"}, []any{d.Status, d.Reason, d.Detail.Field, d.Detail.Actual})
	assert.Contains(t, d.Detail.Expected, otherApp)
	assert.NotContains(t, d.Detail.Expected, appID)
	assert.NotContains(t, d.Detail.Expected, "no product")

	p[1].Access = appaccess.Access{Key: true}
	c.publish(p, apis())
	d = g.Explain(r)
	assert.Equal(t, []any{403, middleware.TokenAudienceNotAllowed, "no product of the route accepts tokens"}, []any{d.Status, d.Reason, d.Detail.Expected})
}

// What cannot be a key does not reach the catalog, where it would take a place
// among the unknown ones.
func TestKeysThatAreNone(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	h := open(t, managed(newEntra(), c)).Wrap(echo)
	for _, key := range []string{"", strings.Repeat("k", 513), strings.Repeat("k", 1<<20)} {
		r := request("/echo")
		r.Header[http.CanonicalHeaderKey(keyHeader)] = []string{key}
		assert.Equal(t, 401, do(h, r).Code)
	}
	assert.Zero(t, c.asked)
	long := strings.Repeat("k", 512)
	c.keys[appaccess.HashKey(long)] = appaccess.KeyState{SubscriptionID: "long", Scope: appaccess.AllAPIs}
	assert.Equal(t, 200, get(h, "/echo", keyHeader, long).Code)
}

// Cached is said of the credential that was decided on.
func TestCachedIsOfTheToken(t *testing.T) {
	t.Parallel()
	cfg := managed(newEntra(), newCatalog())
	var last middleware.Decision
	cfg.Audit = func(_ *http.Request, d middleware.Decision) { last = d }
	h := open(t, cfg).Wrap(echo)
	good := []string{"Authorization", "Bearer " + mint(t, claims(nil))}
	weak := []string{"Authorization", "Bearer " + mint(t, claims(object{"roles": nil}))}
	for _, tc := range []struct {
		credential []string
		want       []bool
	}{
		{good, []bool{false, true, true}},
		{weak, []bool{false, true}},
		{append(weak, keyHeader, "key-starter"), []bool{false}},
		{[]string{keyHeader, "key-starter"}, []bool{false, false}},
	} {
		for _, want := range tc.want {
			get(h, "/echo", tc.credential...)
			assert.Equal(t, want, last.Cached, tc.credential[0])
		}
	}
}
