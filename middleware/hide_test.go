package middleware_test

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/middleware"
)

// A key that a caller puts into the path or a token's header is in no record.
func TestMisplacedKeyIsNotLogged(t *testing.T) {
	t.Parallel()
	made, hash := appaccess.NewKey()
	var logged testkit.Log
	var audited []middleware.Decision
	gate, err := middleware.New(middleware.Config{
		Products:      []middleware.Product{{ID: "p", Keys: true, Audiences: []string{"a"}, Role: "r", APIs: []string{"orders"}}},
		Tenants:       []string{"0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d"},
		APIs:          []appaccess.API{{ID: "orders", Path: "/orders"}},
		Subscriptions: []appaccess.Subscription{{ID: "s", Scope: appaccess.AllAPIs, PrimaryHash: hash, State: appaccess.SubscriptionActive}},
		Authority:     "http://127.0.0.1:1",
		Logger:        logged.Logger(slog.LevelDebug),
		Audit:         func(_ *http.Request, d middleware.Decision) { audited = append(audited, d) },
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, gate.Close()) })
	h := gate.Wrap(http.NotFoundHandler())
	token := func(kid string) string {
		part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
		claims := fmt.Sprintf(`{"iss":"http://127.0.0.1:1/0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d/v2.0","tid":"0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d","ver":"2.0","azp":%q,"aud":"a","exp":4102444800,"nbf":1}`, kid)
		return part(fmt.Sprintf(`{"alg":"RS256","kid":%q}`, kid)) + "." + part(claims) + "." + part(strings.Repeat("x", 256))
	}
	for _, key := range []string{made.Reveal(), "0123456789abcdef0123456789ABCDEF"} {
		for _, target := range []string{
			"/orders/" + key, "/" + key, "/orders/key=" + key + ";x", "/orders//" + key, "/orders/x" + url.QueryEscape("/"+key), "/orders/%2e/" + key,
		} {
			for _, auth := range []string{"", "Bearer " + token(key)} {
				r := httptest.NewRequest(http.MethodGet, target, nil)
				if auth != "" {
					r.Header.Set("Authorization", auth)
				}
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		}
		require.NotEmpty(t, audited)
		assert.NotContains(t, logged.String(), key)
		assert.NotContains(t, fmt.Sprintf("%+v", audited), key)
	}
	assert.Contains(t, logged.String(), "/orders/[key]", "the rest is shown")
}

// API Management finds the parameter in any letter case, and so does the gate:
// the key reaches no handler.
func TestKeyParameterInAnyCase(t *testing.T) {
	t.Parallel()
	key, hash := appaccess.NewKey()
	gate, err := middleware.New(middleware.Config{
		Products:          []middleware.Product{{ID: "p", Keys: true}},
		Subscriptions:     []appaccess.Subscription{{ID: "s", Scope: appaccess.AllAPIs, PrimaryHash: hash, State: appaccess.SubscriptionActive}},
		RemoveCredentials: true, RedactKeyQuery: true,
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, gate.Close()) })
	for _, name := range []string{"subscription-key", "Subscription-Key", "SUBSCRIPTION-KEY", "Subscription%2dKey"} {
		for _, parsed := range []bool{false, true} {
			r := httptest.NewRequest(http.MethodGet, "/x?a=1&"+name+"="+key.Reveal()+"&b=2", nil)
			if parsed {
				require.NoError(t, r.ParseForm())
			}
			w := httptest.NewRecorder()
			gate.Product("p")(http.HandlerFunc(func(_ http.ResponseWriter, got *http.Request) {
				assert.Equal(t, "a=1&b=2", got.URL.RawQuery, name)
				assert.Equal(t, "/x?a=1&b=2", got.RequestURI, name)
				assert.NotContains(t, fmt.Sprint(got.Form), key.Reveal(), name)
			})).ServeHTTP(w, r)
			assert.Equal(t, http.StatusOK, w.Code, name)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/x?subscription-key="+key.Reveal()+"&Subscription-Key=other", nil)
	w := httptest.NewRecorder()
	gate.Product("p")(http.NotFoundHandler()).ServeHTTP(w, r)
	assert.Equal(t, http.StatusBadRequest, w.Code, "two keys are ambiguous")
}
