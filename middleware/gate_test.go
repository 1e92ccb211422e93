package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
)

func TestToken(t *testing.T) {
	t.Parallel()
	g := open(t, config(newEntra()))
	h := g.Product("starter")(echo)

	w := call(h, mint(t, claims(nil)))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	assert.Equal(t, clientID+" starter", w.Header().Get("X-Caller"))

	for name, tc := range map[string]struct {
		token  string
		status int
		reason string
	}{
		"again":            {mint(t, claims(nil)), 200, ""},
		"uri audience":     {mint(t, claims(object{"aud": "api://" + appID})), 200, ""},
		"other product":    {mint(t, claims(object{"aud": otherApp, "roles": []string{"Product.Other.All"}})), 403, "TokenAudienceNotAllowed"},
		"foreign audience": {mint(t, claims(object{"aud": "77778888-bbbb-9999-cccc-0000dddd1111"})), 401, "TokenAudienceNotAllowed"},
		"mixed products":   {mint(t, claims(object{"roles": []string{"Product.Other.All"}})), 403, "RoleMissing"},
		"no role":          {mint(t, claims(object{"roles": nil})), 403, "RoleMissing"},
		"user":             {mint(t, claims(object{"scp": "x"})), 403, "TokenOfUser"},
		"expired":          {mint(t, claims(object{"exp": time.Now().Add(-2 * time.Minute).Unix()})), 401, "TokenExpired"},
		"garbage":          {"garbage", 401, "JwtInvalid"},
		"unknown key":      {sign(t, testKeys()[1], object{"typ": "JWT", "alg": "RS256", "kid": "k9"}, claims(nil)), 401, "TokenSignatureKeyNotFound"},
		"wrong key":        {sign(t, testKeys()[1], object{"typ": "JWT", "alg": "RS256", "kid": "k1"}, claims(nil)), 401, "TokenSignatureInvalid"},
	} {
		w := call(h, tc.token)
		assert.Equal(t, tc.status, w.Code, name)
		if tc.status != 200 {
			assert.Contains(t, w.Header().Get("WWW-Authenticate"), `error_description="`+tc.reason+`"`, name)
			assert.Contains(t, w.Header().Get("WWW-Authenticate"), `scope="api://`+appID+`/.default"`, name)
		}
	}
	w = get(h, "/echo")
	assert.Equal(t, 401, w.Code)
	assert.Equal(t, `Bearer scope="api://`+appID+`/.default"`, w.Header().Get("WWW-Authenticate"))
	assert.JSONEq(t, `{"statusCode":401,"message":"Access denied due to missing access token. Make sure to include a bearer token in the Authorization header."}`, withoutID(w))
}

// withoutID is an answer's body without the decision's ID, which is another each
// time.
func withoutID(w *httptest.ResponseRecorder) string {
	return strings.Replace(w.Body.String(), `, "decisionId": "`+w.Header().Get("Entragate-Decision-Id")+`"`, "", 1)
}

func TestKeysUnavailable(t *testing.T) {
	t.Parallel()
	e := newEntra()
	e.answer = func(*http.Request) (*http.Response, error) { return respond(500, nil), nil }
	h := open(t, config(e)).Product("starter")(echo)
	w := call(h, mint(t, claims(nil)))
	assert.Equal(t, 503, w.Code)
	assert.NotEmpty(t, w.Header().Get("Retry-After"))
	assert.Equal(t, 403, call(h, mint(t, claims(object{"roles": nil}))).Code, "no key could have let it pass")
	assert.Equal(t, 403, call(h, mint(t, claims(object{"scp": "x"}))).Code)
	assert.Equal(t, 401, call(h, mint(t, claims(object{"exp": 1}))).Code)
	assert.Equal(t, 401, call(h, "garbage").Code)
}

func TestSubscriptionKeyStatic(t *testing.T) {
	t.Parallel()
	c := config(newEntra())
	c.Products = append(c.Products, middleware.Product{ID: "keyed", Keys: true})
	c.Subscriptions = []appaccess.Subscription{
		{ID: "s1", Scope: appaccess.ProductScope("keyed"), State: appaccess.SubscriptionActive, PrimaryHash: appaccess.HashKey("primary-1"), SecondaryHash: appaccess.HashKey("secondary-1")},
		{ID: "s2", Scope: appaccess.ProductScope("keyed"), State: appaccess.SubscriptionSuspended, PrimaryHash: appaccess.HashKey("primary-2")},
		{ID: "s3", Scope: appaccess.ProductScope("starter"), State: appaccess.SubscriptionActive, PrimaryHash: appaccess.HashKey("primary-3")},
	}
	h := open(t, c).Product("keyed")(echo)
	const name = "Ocp-Apim-Subscription-Key"
	for key, status := range map[string]int{
		"primary-1": 200, "secondary-1": 200, "primary-2": 401, "primary-3": 401, "": 401, "primary": 401, "PRIMARY-1": 401, "primary-11": 401,
	} {
		assert.Equal(t, status, get(h, "/x", name, key).Code, "header %q", key)
		assert.Equal(t, status, get(h, "/x?a=b&subscription-key="+key).Code, "query %q", key)
	}
	assert.Equal(t, 401, get(h, "/x?subscription-key=primary-1", name, "wrong").Code, "the query counts only without the header")
	w := get(h, "/x")
	assert.Equal(t, 401, w.Code)
	assert.Equal(t, `AzureApiManagementKey realm="https://example.com",name="Ocp-Apim-Subscription-Key",type="header"`, w.Header().Get("WWW-Authenticate"))
	assert.Equal(t, `{ "statusCode": 401, "message": "Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API." }`, withoutID(w))
	assert.Equal(t, `{ "statusCode": 401, "message": "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription." }`,
		withoutID(get(h, "/x", name, "no")))
}

// In managed mode a guard may name what a manager makes later: until then all
// is refused.
func TestGuardsOfWhatIsMadeLater(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	c.keys[appaccess.HashKey("all")] = appaccess.KeyState{SubscriptionID: "all", Scope: appaccess.AllAPIs}
	c.publish(nil, apis())
	g := open(t, managed(newEntra(), c))
	product, api := g.Product("starter")(echo), g.API("echo")(echo)
	none := g.API("none")(echo)
	for _, h := range []http.Handler{product, api, none} {
		w := get(h, "/x", keyHeader, "all")
		assert.Equal(t, 404, w.Code)
		assert.Empty(t, w.Header().Values("WWW-Authenticate"))
	}
	c.publish(products(), apis())
	for h, status := range map[*http.Handler]int{&product: 200, &api: 200, &none: 404} {
		assert.Equal(t, status, get(*h, "/x", keyHeader, "all").Code)
	}

	static := config(newEntra())
	static.APIs = []appaccess.API{{ID: "echo", Path: "/echo"}}
	s := open(t, static)
	assert.NotPanics(t, func() { s.Product("starter"); s.API("echo") })
	assert.Panics(t, func() { s.Product("later") })
	assert.Panics(t, func() { s.API("later") })
}
