package appaccess_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
	"github.com/entragate/entragate/provision/entratest"
)

// imds is a virtual machine's metadata service in front of a local tenant. It
// answers what azidentity sends to 169.254.169.254.
type imds struct{ appService http.Handler }

func (i imds) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if r.URL.Host != "169.254.169.254" || r.URL.Path != "/metadata/identity/oauth2/token" || r.Header.Get("Metadata") != "true" {
		w.WriteHeader(http.StatusBadRequest)
		return w.Result(), nil
	}
	q := r.URL.Query()
	q.Set("api-version", "2019-08-01") // App Service's version of the same request
	r = r.Clone(r.Context())
	r.URL.RawQuery = q.Encode()
	r.Header.Set("X-IDENTITY-HEADER", "imds")
	i.appService.ServeHTTP(w, r)
	return w.Result(), nil
}

// machine is a credential of azidentity on a virtual machine with a user-assigned
// identity. azidentity caches the tokens of the process by the identity's client ID.
func (e *estate) machine(c entratest.Caller) azcore.TokenCredential {
	e.t.Helper()
	endpoint, err := e.tenant.ManagedIdentityEndpoint(c, "imds")
	require.NoError(e.t, err)
	credential, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
		ID:            azidentity.ClientID(c.AppID),
		ClientOptions: azcore.ClientOptions{Transport: &http.Client{Transport: imds{endpoint}}, Retry: policy.RetryOptions{MaxRetries: -1}},
	})
	require.NoError(e.t, err)
	return credential
}

// The product keeps the version 1 tokens of the application that it adopted.
func TestAManagedIdentityPassesAGateUntilItsAccessIsRevoked(t *testing.T) {
	t.Parallel()
	e := newEstateOn(t, onSQLite(t), entratest.Lag{})
	e.clock.Advance(time.Since(e.clock.Now())) // azidentity has the real clock
	_, err := e.CreateUser(ctx, boss, appaccess.UserRequest{ID: "ada", Name: "Ada"})
	require.NoError(t, err)
	before, err := e.tenant.AddApplication(entratest.App{Name: "Starter of before", URIs: []string{"api://{appId}"}})
	require.NoError(t, err)
	_, err = e.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}, Adopt: before.AppID})
	require.NoError(t, err)
	product, err := e.Product(ctx, boss, "starter")
	require.NoError(t, err)
	vm, err := e.tenant.AddManagedIdentity("vm")
	require.NoError(t, err)
	_, err = e.RegisterApplication(ctx, boss, identityRequest("vm", vm))
	require.NoError(t, err)

	catalog, err := appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: e.store})
	require.NoError(t, err)
	gate, err := middleware.New(middleware.Config{
		Tenants: []string{e.tenant.ID()}, Authority: e.tenant.BaseURL(), STS: e.tenant.STS(),
		HTTPClient: &http.Client{Transport: e.tenant.Transport()}, Catalog: catalog, Now: e.clock.Now,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, gate.Close())
		assert.NoError(t, catalog.Close())
	})
	var caller *middleware.Principal
	guarded := gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { caller, _ = middleware.PrincipalFrom(r.Context()) }))
	send := func(token string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/echo/resource", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		guarded.ServeHTTP(w, r)
		return w
	}
	scope := policy.TokenRequestOptions{Scopes: []string{product.Entra.Scope()}}
	call := func(credential azcore.TokenCredential) *httptest.ResponseRecorder {
		token, err := credential.GetToken(ctx, scope)
		require.NoError(t, err)
		return send(token.Token)
	}

	credential := e.machine(vm)
	w := call(credential)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	assert.Equal(t, vm.AppID, caller.ClientID)
	assert.Equal(t, appaccess.ManagedIdentityClient, caller.ClientKind)
	assert.Equal(t, "vm", caller.ApplicationID)
	token, err := credential.GetToken(ctx, scope)
	require.NoError(t, err)
	claims := jwt.MapClaims{}
	_, _, err = jwt.NewParser().ParseUnverified(token.Token, claims)
	require.NoError(t, err)
	assert.Equal(t, "1.0", claims["ver"])
	assert.InDelta(t, (24 * time.Hour).Seconds(), time.Until(token.ExpiresOn).Seconds(), 600)

	// The machine keeps its token for a day, so the gate must refuse it.
	began := time.Now()
	_, err = e.SuspendApplication(ctx, boss, "vm")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return call(credential).Code == http.StatusForbidden }, 10*time.Second, time.Millisecond)
	t.Logf("refused %v after the suspension began", time.Since(began))
	_, err = e.ResumeApplication(ctx, boss, "vm")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return call(credential).Code == http.StatusOK }, 10*time.Second, time.Millisecond)

	forged, err := e.tenant.AppClaims(vm.AppID, before.AppID)
	require.NoError(t, err)

	// Another identity under the name of the deleted one is somebody else.
	require.NoError(t, e.tenant.DeleteManagedIdentity(vm))
	again, err := e.tenant.AddManagedIdentity("vm")
	require.NoError(t, err)
	_, err = e.Sync(ctx, boss, appaccess.SyncRequest{All: true})
	require.ErrorContains(t, err, vm.ObjectID)
	app, err := e.Application(ctx, boss, "vm")
	require.NoError(t, err)
	assert.Equal(t, vm.AppID, app.Entra.AppID)
	assert.False(t, e.granted(again))
	_, err = e.machine(again).GetToken(ctx, scope)
	require.ErrorContains(t, err, "AADSTS501051", "it is not assigned to the product")
	forged["appid"], forged["oid"], forged["sub"] = again.AppID, again.ObjectID, again.ObjectID
	w = send(e.tenant.MintToken(forged, nil))
	assert.Equal(t, http.StatusForbidden, w.Code)
	assert.Contains(t, w.Body.String(), "the client application has no access", "the name does not count, even with the role")
}
