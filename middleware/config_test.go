package middleware_test

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
)

// A configuration that would check less than it seems to is refused, and the
// error names the field.
func TestConfig(t *testing.T) {
	t.Parallel()
	type cfg = middleware.Config
	first := func(c *cfg) *middleware.Product { return &c.Products[0] }
	sub := func(s appaccess.Subscription) func(*cfg) {
		return func(c *cfg) { c.Subscriptions = []appaccess.Subscription{s} }
	}
	sum := func(key string) (sum appaccess.KeyHash) {
		if key != "" {
			sum = appaccess.HashKey(key)
		}
		return sum
	}
	subs := func(keys ...string) func(*cfg) {
		return func(c *cfg) {
			c.Subscriptions = nil
			for i := 0; i < len(keys); i += 2 {
				c.Subscriptions = append(c.Subscriptions, appaccess.Subscription{
					ID: "s" + keys[i], Scope: appaccess.AllAPIs, State: appaccess.SubscriptionActive, PrimaryHash: sum(keys[i]), SecondaryHash: sum(keys[i+1]),
				})
			}
		}
	}
	for name, tc := range map[string]struct {
		change func(*cfg)
		field  string
	}{
		"no products":         {func(c *cfg) { c.Products = nil }, "Products"},
		"no tenant":           {func(c *cfg) { c.Tenants = nil }, "Tenants"},
		"tenant name":         {func(c *cfg) { c.Tenants = []string{"contoso.onmicrosoft.com"} }, "Tenants"},
		"tenant wildcard":     {func(c *cfg) { c.Tenants = []string{"common"} }, "Tenants"},
		"tenant twice":        {func(c *cfg) { c.Tenants = []string{tenantID, tenantID} }, "Tenants"},
		"cloud":               {func(c *cfg) { c.Cloud = "mars" }, "Cloud"},
		"authority":           {func(c *cfg) { c.Authority = "http://login.test" }, "Authority"},
		"STS":                 {func(c *cfg) { c.STS = "sts" }, "STS"},
		"empty audience":      {func(c *cfg) { first(c).Audiences = []string{""} }, "Audiences"},
		"no audience":         {func(c *cfg) { first(c).Audiences = nil }, "Audiences"},
		"no role":             {func(c *cfg) { first(c).Role = "" }, "Role"},
		"blank role":          {func(c *cfg) { first(c).Role = " " }, "Role"},
		"open product":        {func(c *cfg) { *first(c) = middleware.Product{ID: "open"} }, "InsecureAllowOpenProducts"},
		"product twice":       {func(c *cfg) { c.Products[1].ID = "starter" }, "Products"},
		"product without ID":  {func(c *cfg) { first(c).ID = "" }, "Products"},
		"unknown API":         {func(c *cfg) { first(c).APIs = []string{"x"} }, "APIs"},
		"API path":            {func(c *cfg) { c.APIs = []appaccess.API{{ID: "a", Path: "a"}} }, "Path"},
		"API path dots":       {func(c *cfg) { c.APIs = []appaccess.API{{ID: "a", Path: "/a/../b"}} }, "Path"},
		"API path slash":      {func(c *cfg) { c.APIs = []appaccess.API{{ID: "a", Path: "/a/"}} }, "Path"},
		"API without ID":      {func(c *cfg) { c.APIs = []appaccess.API{{Path: "/a"}} }, "APIs"},
		"API twice":           {func(c *cfg) { c.APIs = []appaccess.API{{ID: "a", Path: "/a"}, {ID: "a", Path: "/b"}} }, "APIs"},
		"audience and space":  {func(c *cfg) { first(c).Audiences = []string{"api://x "} }, "Audiences"},
		"mode below":          {func(c *cfg) { c.AppOnly = -1 }, "AppOnly"},
		"leeway just over":    {func(c *cfg) { c.Leeway = 5*time.Minute + 1 }, "Leeway"},
		"cache just over":     {func(c *cfg) { c.CacheSize = 1<<20 + 1 }, "CacheSize"},
		"API path twice":      {func(c *cfg) { c.APIs = []appaccess.API{{ID: "a", Path: "/a"}, {ID: "b", Path: "/a"}} }, "Path"},
		"algorithm none":      {func(c *cfg) { c.Algorithms = []string{"none"} }, "Algorithms"},
		"algorithm HMAC":      {func(c *cfg) { c.Algorithms = []string{"RS256", "HS256"} }, "Algorithms"},
		"leeway":              {func(c *cfg) { c.Leeway = time.Hour }, "Leeway"},
		"lifetime":            {func(c *cfg) { c.MaxLifetime = -1 }, "MaxLifetime"},
		"mode":                {func(c *cfg) { c.AppOnly = 7 }, "AppOnly"},
		"key header":          {func(c *cfg) { c.KeyHeader = "authorization" }, "KeyHeader"},
		"key header text":     {func(c *cfg) { c.KeyHeader = "a b" }, "KeyHeader"},
		"key query":           {func(c *cfg) { c.KeyQuery = "a=b" }, "KeyQuery"},
		"cache":               {func(c *cfg) { c.CacheSize = 1 << 30 }, "CacheSize"},
		"both modes":          {func(c *cfg) { c.Catalog = newCatalog() }, "Catalog"},
		"key interval":        {func(c *cfg) { c.KeyInterval = -1 }, "KeyInterval"},
		"key wait":            {func(c *cfg) { c.KeyWait = -1 }, "KeyWait"},
		"resource text":       {func(c *cfg) { c.Resource = `https://a",x="b` }, "Resource"},
		"resource":            {func(c *cfg) { c.Resource = "api" }, "Resource"},
		"scope":               {sub(appaccess.Subscription{ID: "s", Scope: "/products/none", PrimaryHash: appaccess.HashKey("a")}), "Scope"},
		"scope of no API":     {sub(appaccess.Subscription{ID: "s", Scope: "/apis/none", PrimaryHash: appaccess.HashKey("a")}), "Scope"},
		"scope by kind":       {sub(appaccess.Subscription{ID: "s", Scope: "/apis/starter", PrimaryHash: appaccess.HashKey("a")}), "Scope"},
		"scope of users":      {sub(appaccess.Subscription{ID: "s", Scope: "/users/starter", PrimaryHash: appaccess.HashKey("a")}), "Scope"},
		"scope, no slash":     {sub(appaccess.Subscription{ID: "s", Scope: "products/starter", PrimaryHash: appaccess.HashKey("a")}), "Scope"},
		"no scope":            {sub(appaccess.Subscription{ID: "s", PrimaryHash: appaccess.HashKey("a")}), "Scope"},
		"sum of two":          {subs("a", "b", "a", ""), "PrimaryHash"},
		"secondary of two":    {subs("a", "b", "c", "b"), "SecondaryHash"},
		"sum and secondary":   {subs("a", "b", "b", ""), "PrimaryHash"},
		"secondary and sum":   {subs("a", "", "b", "a"), "SecondaryHash"},
		"key header chars":    {func(c *cfg) { c.KeyHeader = "x@y" }, "KeyHeader"},
		"key header colon":    {func(c *cfg) { c.KeyHeader = "x:" }, "KeyHeader"},
		"key query chars":     {func(c *cfg) { c.KeyQuery = "a{" }, "KeyQuery"},
		"no sum":              {sub(appaccess.Subscription{ID: "s", Scope: appaccess.AllAPIs}), "PrimaryHash"},
		"same sums":           {sub(appaccess.Subscription{ID: "s", Scope: appaccess.AllAPIs, PrimaryHash: appaccess.HashKey("a"), SecondaryHash: appaccess.HashKey("a")}), "SecondaryHash"},
		"no key":              {sub(appaccess.Subscription{ID: "s", Scope: appaccess.AllAPIs, State: "active", PrimaryHash: appaccess.HashKey("")}), "PrimaryHash"},
		"no second key":       {sub(appaccess.Subscription{ID: "s", Scope: appaccess.AllAPIs, State: "active", PrimaryHash: sum("a"), SecondaryHash: appaccess.HashKey("")}), "SecondaryHash"},
		"no state":            {sub(appaccess.Subscription{ID: "s", Scope: appaccess.AllAPIs, PrimaryHash: sum("a")}), "allowed are active or submitted"},
		"state in capitals":   {sub(appaccess.Subscription{ID: "s", Scope: appaccess.AllAPIs, State: "Active", PrimaryHash: sum("a")}), `State: "Active"`},
		"scope as audience":   {func(c *cfg) { first(c).Audiences = []string{"api://x/.default"} }, `Audiences: "api://x/.default" is a scope`},
		"audience of nothing": {func(c *cfg) { first(c).Audiences = []string{""} }, "Audiences: one is empty"},
		"role with a space":   {func(c *cfg) { first(c).Role = "My Role" }, `Role: "My Role" has a space`},
		"scope, no default":   {func(c *cfg) { first(c).Scope = "api://x" }, `Scope: "api://x" must end with /.default`},
		"scope with a quote":  {func(c *cfg) { first(c).Scope = `api://x"/.default` }, "Scope"},
		"Host header":         {func(c *cfg) { c.KeyHeader = "host" }, "KeyHeader"},
		"API path, umlaut":    {func(c *cfg) { c.APIs = []appaccess.API{{ID: "a", Path: "/größe"}} }, "Path"},
		"API path, space":     {func(c *cfg) { c.APIs = []appaccess.API{{ID: "a", Path: "/a b"}} }, "Path"},
		"product ID twice":    {func(c *cfg) { c.Products = append(c.Products, *first(c)) }, `Products: ID: "starter" is used twice`},
		"no product ID":       {func(c *cfg) { first(c).ID = "" }, "Products: ID: is missing"},
		"another tenant":      {func(c *cfg) { c.Authority = authority + "/" + clientID }, "Authority: path"},
		"cloud and host":      {func(c *cfg) { c.Authority, c.Cloud = "https://login.chinacloudapi.cn", "usgov" }, "Authority"},
		"unknown cloud":       {func(c *cfg) { c.Cloud = "mars" }, `unknown cloud "mars"`},
	} {
		c := config(newEntra())
		tc.change(&c)
		_, err := middleware.New(c)
		require.Error(t, err, name)
		assert.ErrorContains(t, err, tc.field, name)
	}
	for name, change := range map[string]func(*cfg){
		"the most leeway": func(c *cfg) { c.Leeway = 5 * time.Minute }, "no leeway": func(c *cfg) { c.Leeway = -1 },
		"a large cache": func(c *cfg) { c.CacheSize = 1 << 16 }, "no cache": func(c *cfg) { c.CacheSize = -1 },
		"strict": func(c *cfg) { c.AppOnly = middleware.AppOnlyStrict }, "fallback": func(c *cfg) { c.AppOnly = middleware.AppOnlyFallback },
		"two without a secondary": subs("a", "", "b", ""), "four keys": subs("a", "b", "c", "d"),
		"scopes": func(c *cfg) {
			c.APIs = []appaccess.API{{ID: "echo", Path: "/echo"}}
			c.Subscriptions = []appaccess.Subscription{{ID: "a", Scope: "/apis/echo", State: "active", PrimaryHash: sum("a")}, {ID: "b", Scope: "/products/starter", State: "suspended", PrimaryHash: sum("b")}}
		},
		"a scope":    func(c *cfg) { first(c).Scope = "https://api.example.com/x/.default" },
		"key header": func(c *cfg) { c.KeyHeader, c.KeyQuery = "azAZ09-_.~", "azAZ09-_.~" },
		"for ever":   func(c *cfg) { c.MaxLifetime = math.MaxInt64 },
	} {
		c := config(newEntra())
		change(&c)
		assert.Equal(t, 200, call(open(t, c).Product("starter")(echo), mint(t, claims(nil))).Code, name)
	}
	g := open(t, config(newEntra()))
	assert.Panics(t, func() { g.Product("none") })
	assert.Panics(t, func() { g.API("none") })
	assert.Panics(t, func() { g.Product("starter")(nil) })
	assert.PanicsWithValue(t, "middleware: Gate.Wrap: Config.APIs is empty, so every path would be refused: name the APIs, or use Gate.Product", func() { g.Wrap(echo) })
}

// What means the same is taken for the same: the tenant behind the authority,
// Microsoft's own host spelled out, a GUID in capitals. The caller's
// configuration stays unchanged.
func TestConfigMeansTheSame(t *testing.T) {
	t.Parallel()
	c := config(newEntra())
	given := strings.ToUpper(appID)
	c.Authority += "/" + tenantID + "/v2.0"
	c.Products[0].Audiences = []string{given}
	assert.Equal(t, 200, call(open(t, c).Product("starter")(echo), mint(t, claims(nil))).Code)
	assert.Equal(t, []string{given}, c.Products[0].Audiences)

	c = config(newEntra())
	c.Authority = "https://login.microsoftonline.com"
	v1 := object{"iss": "https://sts.windows.net/" + tenantID + "/", "ver": "1.0", "azp": nil, "appid": clientID}
	assert.NotEqual(t, middleware.TokenIssuerNotAllowed, open(t, c).ExplainProduct("starter", bearerRequest(mint(t, claims(v1)))).Reason)
}

// The key of a subscription without a secondary one is not the empty sum, and
// names of header and query can be chosen.
func TestKeyNames(t *testing.T) {
	t.Parallel()
	c := middleware.Config{
		Products:      []middleware.Product{{ID: "p", Keys: true}},
		Subscriptions: []appaccess.Subscription{{ID: "s", Scope: appaccess.AllAPIs, State: appaccess.SubscriptionActive, PrimaryHash: appaccess.HashKey("right")}},
		KeyHeader:     "x-api-key", KeyQuery: "code",
	}
	h := open(t, c).Product("p")(echo)
	assert.Equal(t, 200, get(h, "/", "X-Api-Key", "right").Code)
	assert.Equal(t, 200, get(h, "/?code=right").Code)
	assert.Equal(t, 200, get(h, "/?co%64e=%72ight").Code)
	assert.Equal(t, 401, get(h, "/?subscription-key=right").Code)
	assert.Equal(t, 401, get(h, "/", keyHeader, "right").Code)
	assert.Equal(t, 401, get(h, "/?code=").Code)
	assert.Equal(t, 401, call(h, mint(t, claims(nil))).Code, "no tenant, no tokens")
	c.KeyQuery = "-"
	for _, query := range []string{"code=right", "=right", "-=right", "right"} {
		assert.Equal(t, 401, get(open(t, c).Product("p")(echo), "/?"+query).Code, query)
	}
}

// An API's names replace the names of the Config. A key under the Config's names is
// neither looked at nor passed on.
func TestKeyNamesOfAnAPI(t *testing.T) {
	t.Parallel()
	c := config(newEntra())
	c.APIs = []appaccess.API{
		{ID: "own", Path: "/own", KeyHeader: "x-orders-key", KeyQuery: "orders-key"},
		{ID: "plain", Path: "/plain"},
	}
	c.Products = []middleware.Product{{ID: "starter", Audiences: []string{appID}, Role: role, Keys: true, APIs: []string{"own", "plain"}}}
	c.Subscriptions = []appaccess.Subscription{{ID: "s", Scope: appaccess.AllAPIs, State: appaccess.SubscriptionActive, PrimaryHash: appaccess.HashKey("right")}}
	c.RedactKeyQuery = true
	g := open(t, c)
	var seen *http.Request
	h := g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r }))

	assert.Equal(t, 200, get(h, "/own", "X-Orders-Key", "right").Code)
	assert.Equal(t, 200, get(h, "/own?orders-key=right&a=b").Code)
	assert.Equal(t, "a=b", seen.URL.RawQuery, "RedactKeyQuery takes the API's parameter")
	assert.Equal(t, 401, get(h, "/own", keyHeader, "right").Code)
	assert.Equal(t, 401, get(h, "/own?subscription-key=right").Code)
	assert.Equal(t, 200, get(h, "/plain", keyHeader, "right").Code)
	assert.Equal(t, 401, get(h, "/plain", "X-Orders-Key", "right").Code)
	assert.Equal(t, 401, get(h, "/plain?orders-key=right").Code)
	assert.Contains(t, get(h, "/own").Header().Values("WWW-Authenticate")[1], `name="X-Orders-Key"`)

	w := get(h, "/own?subscription-key=of-another", "Authorization", "Bearer "+mint(t, claims(nil)), keyHeader, "of-another", "X-Orders-Key", "unverified")
	require.Equal(t, 200, w.Code)
	assert.Empty(t, seen.Header.Values(keyHeader), "a key under the names of the Config does not reach the handler")
	assert.Empty(t, seen.Header.Values("X-Orders-Key"))
	assert.Empty(t, seen.URL.RawQuery)

	hidden := g.HideKeys(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r }))
	get(hidden, "/own?orders-key=right")
	assert.Equal(t, []string{"right"}, seen.Header.Values("X-Orders-Key"))
	assert.Empty(t, seen.URL.RawQuery)
	get(hidden, "/own?subscription-key=of-another&a=b")
	assert.Equal(t, "a=b", seen.URL.RawQuery, "a log inside HideKeys sees no key of the Config's name either")
	assert.Empty(t, seen.Header)

	c.APIs[0].KeyHeader = "authorization"
	_, err := middleware.New(c)
	require.ErrorContains(t, err, "keyHeader")
}

// Tokens of version 1, of other clouds and of other algorithms, where they are
// configured.
func TestTokenForms(t *testing.T) {
	t.Parallel()
	c := config(newEntra())
	v1 := claims(object{"iss": "https://sts.test/" + tenantID + "/", "ver": "1.0", "azp": nil, "appid": clientID, "aud": "api://" + appID})
	h := open(t, c).Product("starter")(echo)
	assert.Equal(t, 401, call(h, mint(t, v1)).Code, "no STS is configured")
	c.STS = "https://sts.test/"
	h = open(t, c).Product("starter")(echo)
	w := call(h, mint(t, v1))
	assert.Equal(t, 200, w.Code)
	assert.Equal(t, clientID+" starter", w.Header().Get("X-Caller"))
	assert.Equal(t, 401, call(h, mint(t, claims(object{"azp": clientID, "appid": otherApp}))).Code)
	assert.Equal(t, 200, call(h, mint(t, claims(object{"aud": []string{appID, "api://" + appID}}))).Code)
	assert.Equal(t, 200, call(h, mint(t, claims(object{"iat": nil, "nbf": nil}))).Code)
	assert.Equal(t, 200, call(h, mint(t, claims(object{"idtyp": nil}))).Code, "fallback is the default in static mode")
	assert.Equal(t, 200, call(h, sign(t, testKeys()[0], object{"typ": "at+jwt", "alg": "RS256", "kid": "k1", "x5t": "k1"}, claims(nil))).Code)

	c.AppOnly = middleware.AppOnlyStrict
	w = call(open(t, c).Product("starter")(echo), mint(t, claims(object{"idtyp": nil})))
	assert.Equal(t, 401, w.Code, "the token does not say what it is")
	assert.Contains(t, w.Body.String(), "a claim is missing")
	w = call(open(t, c).Product("starter")(echo), mint(t, claims(object{"idtyp": nil, "scp": "x"})))
	assert.Equal(t, 403, w.Code, "it says that it is a user's")
	c.Leeway = -1
	assert.Equal(t, 401, call(open(t, c).Product("starter")(echo), mint(t, claims(object{"exp": time.Now().Add(-time.Second).Unix()}))).Code)
	c.CacheSize = -1
	h = open(t, c).Product("starter")(echo)
	for range 2 {
		assert.Equal(t, 200, call(h, mint(t, claims(nil))).Code)
	}
}
