package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/middleware"
)

const (
	webApp = "22223333-cccc-4444-dddd-5555eeee6666" // acts for users
	userID = "33334444-dddd-5555-eeee-6666ffff7777"
)

// asUser is what a token holds that webApp asked for on behalf of a user.
func asUser(changes object) object {
	c := claims(object{"azp": webApp, "scp": "Orders.Read profile", "oid": userID, "idtyp": nil, "roles": nil})
	for k, v := range changes {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	for k, v := range c {
		if v == nil {
			delete(c, k)
		}
	}
	return c
}

func withUsers(t *testing.T) middleware.Config {
	t.Helper()
	cfg := config(newEntra())
	first(&cfg).Scopes = []string{"Orders.Read", "Orders.Write"}
	first(&cfg).Clients = []string{webApp, clientID}
	return cfg
}

func first(c *middleware.Config) *middleware.Product { return &c.Products[0] }

func TestUsersPassWithAScopeOfTheProduct(t *testing.T) {
	t.Parallel()
	g := open(t, withUsers(t))
	for name, tc := range map[string]struct {
		claims object
		reason middleware.Reason
		field  string
	}{
		"scope and client":           {asUser(nil), middleware.Allowed, ""},
		"another of the scopes":      {asUser(object{"scp": "Orders.Write"}), middleware.Allowed, ""},
		"idtyp user":                 {asUser(object{"idtyp": "user"}), middleware.Allowed, ""},
		"no scope of the product":    {asUser(object{"scp": "profile"}), middleware.ScopeMissing, "scp"},
		"scope in another case":      {asUser(object{"scp": "orders.read"}), middleware.ScopeMissing, "scp"},
		"part of a scope":            {asUser(object{"scp": "Orders.ReadAll"}), middleware.ScopeMissing, "scp"},
		"another client":             {asUser(object{"azp": otherApp}), middleware.ClientNotAllowed, "azp or appid"},
		"the role instead of scope":  {asUser(object{"scp": "profile", "roles": []string{role}}), middleware.ScopeMissing, "scp"},
		"no user named":              {asUser(object{"oid": nil}), middleware.TokenClaimNotFound, "oid"},
		"idtyp app beside scp":       {asUser(object{"idtyp": "app"}), middleware.TokenOfUser, "idtyp"},
		"empty scp":                  {asUser(object{"scp": ""}), middleware.JwtInvalid, "scp"},
		"scp as a list":              {asUser(object{"scp": []string{"Orders.Read"}}), middleware.JwtInvalid, "scp"},
		"user without scp":           {asUser(object{"scp": nil, "idtyp": "user"}), middleware.TokenOfUser, "idtyp"},
		"an ID token":                {asUser(object{"nonce": "n"}), middleware.TokenClaimValueNotAllowed, "nonce"},
		"an application with role":   {claims(nil), middleware.Allowed, ""},
		"an application with scopes": {claims(object{"roles": []string{"Orders.Read"}}), middleware.RoleMissing, "roles"},
		"role, but another client":   {claims(object{"azp": otherApp}), middleware.ClientNotAllowed, "azp or appid"},
	} {
		for range 2 { // the second time perhaps from the cache
			d := g.ExplainProduct("starter", bearerRequest(mint(t, tc.claims)))
			assert.Equal(t, tc.reason, d.Reason, name)
			assert.Equal(t, tc.field, d.Detail.Field, name)
		}
	}
}

func TestUsersAreRefusedWhereAProductNamesNoScopes(t *testing.T) {
	t.Parallel()
	cfg := withUsers(t)
	require.Greater(t, len(cfg.Products), 1)
	other := cfg.Products[1]
	g := open(t, cfg)
	d := g.ExplainProduct(other.ID, bearerRequest(mint(t, asUser(object{"aud": other.Audiences[0], "roles": []string{other.Role}}))))
	assert.Equal(t, middleware.TokenOfUser, d.Reason)
	assert.Equal(t, http.StatusForbidden, d.Status)

	d = open(t, config(newEntra())).ExplainProduct("starter", bearerRequest(mint(t, asUser(nil))))
	assert.Equal(t, middleware.TokenOfUser, d.Reason, "by default")
}

func TestPrincipalOfAUser(t *testing.T) {
	t.Parallel()
	var p *middleware.Principal
	g := open(t, withUsers(t))
	h := g.Product("starter")(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { p, _ = middleware.PrincipalFrom(r.Context()) }))
	h.ServeHTTP(httptest.NewRecorder(), bearerRequest(mint(t, asUser(object{"roles": []string{role}, "name": "Ada"}))))
	require.NotNil(t, p)
	assert.True(t, p.User)
	assert.Equal(t, userID, p.ObjectID)
	assert.Equal(t, webApp, p.ClientID)
	assert.Equal(t, []string{"Orders.Read", "profile"}, p.Scopes)
	assert.False(t, p.HasRole(role), "a user's role is not the application's")
	var more struct {
		Name  string   `json:"name"`
		Roles []string `json:"roles"`
	}
	require.NoError(t, p.Claims(&more))
	assert.Equal(t, "Ada", more.Name)
	assert.Equal(t, []string{role}, more.Roles)
}

func TestClientsInsteadOfARole(t *testing.T) {
	t.Parallel()
	cfg := config(newEntra())
	first(&cfg).Role, first(&cfg).Clients = "", []string{clientID}
	g := open(t, cfg)
	for name, tc := range map[string]struct {
		claims object
		reason middleware.Reason
	}{
		"listed":          {claims(object{"roles": nil}), middleware.Allowed},
		"listed, by case": {claims(object{"roles": nil, "azp": strings.ToUpper(clientID)}), middleware.Allowed},
		"not listed":      {claims(object{"azp": otherApp}), middleware.ClientNotAllowed},
		"for a user":      {claims(object{"scp": "x", "idtyp": nil}), middleware.TokenOfUser},
		"other audience":  {claims(object{"aud": otherApp}), middleware.TokenAudienceNotAllowed},
	} {
		d := g.ExplainProduct("starter", bearerRequest(mint(t, tc.claims)))
		assert.Equal(t, tc.reason, d.Reason, name)
	}
	w := get(g.Product("starter")(echo), "/echo")
	assert.Contains(t, w.Header().Get("WWW-Authenticate"), "/.default", "the challenge names the scope to ask for")
}

func TestScopesWithoutARoleAdmitUsersOnly(t *testing.T) {
	t.Parallel()
	cfg := withUsers(t)
	first(&cfg).Role = ""
	g := open(t, cfg)
	assert.Equal(t, middleware.Allowed, g.ExplainProduct("starter", bearerRequest(mint(t, asUser(nil)))).Reason)
	assert.Equal(t, middleware.RoleMissing, g.ExplainProduct("starter", bearerRequest(mint(t, claims(nil)))).Reason)
}

func TestFurtherClaimsAreRequired(t *testing.T) {
	t.Parallel()
	cfg := config(newEntra())
	first(&cfg).Claims = map[string][]string{"azpacr": {"1", "2"}, "groups": {"ops"}}
	g := open(t, cfg)
	for name, tc := range map[string]struct {
		claims object
		field  string
	}{
		"both":                 {object{"azpacr": "2", "groups": []string{"dev", "ops"}}, ""},
		"text in place of one": {object{"azpacr": "1", "groups": "ops"}, ""},
		"another value":        {object{"azpacr": "0", "groups": "ops"}, "azpacr"},
		"a number":             {object{"azpacr": 1, "groups": "ops"}, "azpacr"},
		"an object":            {object{"azpacr": object{"1": "1"}, "groups": "ops"}, "azpacr"},
		"absent":               {object{"azpacr": "1"}, "groups"},
		"not in the list":      {object{"azpacr": "1", "groups": []string{"dev"}}, "groups"},
	} {
		for range 2 {
			d := g.ExplainProduct("starter", bearerRequest(mint(t, claims(tc.claims))))
			assert.Equal(t, tc.field, d.Detail.Field, name)
			assert.Equal(t, tc.field == "", d.Allowed, name)
			if tc.field != "" {
				assert.Equal(t, http.StatusForbidden, d.Status, name)
			}
		}
	}
}

func TestClaimsOfAKey(t *testing.T) {
	t.Parallel()
	p := &middleware.Principal{Credential: middleware.KeyCredential}
	var v map[string]any
	require.Error(t, p.Claims(&v))
	require.Error(t, (*middleware.Principal)(nil).Claims(&v))
}

func TestConfigurationsOfCallersThatCannotWork(t *testing.T) {
	t.Parallel()
	for field, change := range map[string]func(*middleware.Product){
		"Clients: is needed with Scopes":     func(p *middleware.Product) { p.Scopes = []string{"Orders.Read"} },
		`Clients: "web" is not a client ID`:  func(p *middleware.Product) { p.Clients = []string{"web"} },
		`Scopes: "api://x/Orders.Read"`:      func(p *middleware.Product) { p.Clients, p.Scopes = []string{webApp}, []string{"api://x/Orders.Read"} },
		`Scopes: ""`:                         func(p *middleware.Product) { p.Clients, p.Scopes = []string{webApp}, []string{""} },
		`Claims: "aud" is a claim that`:      func(p *middleware.Product) { p.Claims = map[string][]string{"aud": {"x"}} },
		`Claims: "Roles" cannot be required`: func(p *middleware.Product) { p.Claims = map[string][]string{"Roles": {"x"}} },
		"Claims: azpacr: names the values":   func(p *middleware.Product) { p.Claims = map[string][]string{"azpacr": nil} },
		"Audiences: at least one is needed": func(p *middleware.Product) {
			*p = middleware.Product{ID: "starter", Keys: true, Clients: []string{webApp}}
		},
		"Role: is needed with Audiences, or C": func(p *middleware.Product) { p.Role = "" },
	} {
		cfg := config(newEntra())
		change(first(&cfg))
		_, err := middleware.New(cfg)
		require.ErrorContains(t, err, field)
	}
}

func TestATokenWithAThousandRoles(t *testing.T) {
	t.Parallel()
	roles := make([]string, 1000)
	for i := range roles {
		roles[i] = fmt.Sprintf("Product.Some-Longer-Name-%04d.Read.All", i)
	}
	roles[999] = role
	token := mint(t, claims(object{"roles": roles}))
	cfg := config(newEntra())
	assert.Equal(t, middleware.JwtInvalid, open(t, cfg).ExplainProduct("starter", bearerRequest(token)).Reason)
	cfg.MaxTokenSize = 96 << 10
	assert.Equal(t, middleware.Allowed, open(t, cfg).ExplainProduct("starter", bearerRequest(token)).Reason)
	for _, size := range []int{-1, 1, 4<<10 - 1, 256<<10 + 1} {
		cfg.MaxTokenSize = size
		_, err := middleware.New(cfg)
		require.ErrorContains(t, err, "MaxTokenSize")
	}
}
