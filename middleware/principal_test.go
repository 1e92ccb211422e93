package middleware_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
)

// The handler finds all that is known of the caller, and no more.
func TestPrincipal(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	token := []string{"Authorization", "Bearer " + mint(t, claimsAt(now, object{"sub": "s-1"}))}
	key := []string{keyHeader, "key-starter"}
	fromToken := middleware.Principal{
		Credential: middleware.TokenCredential, Product: "starter", TenantID: tenantID, ClientID: clientID,
		ObjectID: "o-1", Subject: "s-1", TokenID: "u-1", Roles: []string{role}, Expires: now.Add(time.Hour),
		Permissions: []string{appaccess.AllPermission},
	}
	withClient := fromToken
	withClient.API, withClient.ApplicationID, withClient.ApplicationName, withClient.OwnerID = "echo", "app-1", "Sample", "u1"
	for name, tc := range map[string]struct {
		guard      func(http.Handler) http.Handler
		credential []string
		want       middleware.Principal
	}{
		"token, static":  {open(t, config(newEntra())).Product("starter"), token, fromToken},
		"token, managed": {open(t, managed(newEntra(), newCatalog())).Wrap, token, withClient},
		"key": {open(t, managed(newEntra(), newCatalog())).Wrap, key, middleware.Principal{
			Credential: middleware.KeyCredential, Product: "starter", API: "echo", SubscriptionID: "s1", PrimaryKey: true, OwnerID: "u1", Permissions: []string{appaccess.AllPermission},
		}},
		"key beside a token without the role": {
			open(t, managed(newEntra(), newCatalog())).Wrap, append([]string{"Authorization", "Bearer " + mint(t, claims(object{"roles": nil}))}, key...),
			middleware.Principal{Credential: middleware.KeyCredential, Product: "starter", API: "echo", SubscriptionID: "s1", PrimaryKey: true, OwnerID: "u1", Permissions: []string{appaccess.AllPermission}},
		},
		"token beside a key": {open(t, managed(newEntra(), newCatalog())).Wrap, append(token, key...), withClient},
	} {
		var got *middleware.Principal
		h := tc.guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got, _ = middleware.PrincipalFrom(r.Context()) }))
		require.Equal(t, 200, get(h, "/echo", tc.credential...).Code, name)
		require.NotNil(t, got, name)
		assert.Equal(t, tc.want.Credential == middleware.TokenCredential, got.HasRole(role), name)
		assert.False(t, got.HasRole("x"), name)
		assert.True(t, got.Permits("Read"), "All permits everything")
		assert.Equal(t, tc.want.Credential == middleware.TokenCredential, got.ClaimsJSON != "", name)
		got.ClaimsJSON = ""
		assert.Equal(t, tc.want, *got, name)
	}
	_, ok := middleware.PrincipalFrom(t.Context())
	assert.False(t, ok)
}
