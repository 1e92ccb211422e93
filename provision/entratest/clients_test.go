package entratest_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// options point Microsoft's own client at the tenant.
func options(s *entratest.Server) azcore.ClientOptions {
	return azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: s.BaseURL()},
		Transport: s.Client(),
		Retry:     policy.RetryOptions{MaxRetries: -1},
	}
}

func TestAzidentitySecret(t *testing.T) {
	t.Parallel()
	s := newShop(t, entratest.Config{}, starter)
	cred, err := azidentity.NewClientSecretCredential(s.ID(), s.client.AppID, s.client.Secret.Reveal(),
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options(s.Server), DisableInstanceDiscovery: true})
	require.NoError(t, err)
	token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{s.scope()}})
	require.NoError(t, err)
	assert.Equal(t, []any{"Product.Starter.All"}, claims(t, s.Server, token.Token)["roles"])
}

func TestAzidentityManagedIdentity(t *testing.T) {
	s := newShop(t, entratest.Config{}, starter)
	identity, err := s.AddManagedIdentity("apim", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	endpoint, err := s.ManagedIdentityEndpoint(identity, "header-value")
	require.NoError(t, err)
	srv := httptest.NewServer(endpoint)
	defer srv.Close()
	t.Setenv("IDENTITY_ENDPOINT", srv.URL)
	t.Setenv("IDENTITY_HEADER", "header-value")
	cred, err := azidentity.NewManagedIdentityCredential(nil)
	require.NoError(t, err)
	token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://graph.microsoft.com/.default"}})
	require.NoError(t, err)
	assert.Equal(t, identity.ObjectID, claims(t, s.Server, token.Token)["oid"])
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.BaseURL()+"/v1.0/applications", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token.Token)
	resp, err := s.Client().Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)

	for name, change := range map[string]func(*http.Request){
		"no header":   func(r *http.Request) { r.Header.Del("X-IDENTITY-HEADER") },
		"no resource": func(r *http.Request) { r.URL.RawQuery = "api-version=2019-08-01" },
		"other id":    func(r *http.Request) { r.URL.RawQuery += "&client_id=" + s.client.AppID },
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"?api-version=2019-08-01&resource=x", nil)
		require.NoError(t, err)
		r.Header.Set("X-IDENTITY-HEADER", "header-value")
		change(r)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		resp.Body.Close()
		assert.GreaterOrEqual(t, resp.StatusCode, 400, name)
	}
	d, err := s.Directory(identity).Identity(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{entratest.ApplicationAdministrator}, d.Roles)
}

// newCertificate is valid around a time.
func newCertificate(t *testing.T, at time.Time) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return testkit.Certificate(key, "client", at.Add(-time.Hour), at.AddDate(1, 0, 0)), key
}

func TestAzidentityCertificate(t *testing.T) {
	t.Parallel()
	s := newShop(t, entratest.Config{}, starter)
	admin, err := s.AddCaller("admin", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	d := s.Directory(admin)
	cert, key := newCertificate(t, time.Now())
	require.NoError(t, d.PatchApplication(t.Context(), s.client.ApplicationID, provision.ApplicationPatch{
		Keys: &[]provision.KeyCredential{{DisplayName: "cert", Type: "AsymmetricX509Cert", Usage: "Verify", Key: cert.Raw}},
	}))
	get := func(cert *x509.Certificate, key crypto.PrivateKey) (azcore.AccessToken, error) {
		cred, err := azidentity.NewClientCertificateCredential(s.ID(), s.client.AppID, []*x509.Certificate{cert}, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: options(s.Server), DisableInstanceDiscovery: true})
		require.NoError(t, err)
		return cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{s.scope()}})
	}
	token, err := get(cert, key)
	require.NoError(t, err)
	assert.Equal(t, "2", claims(t, s.Server, token.Token)["azpacr"])
	_, err = get(newCertificate(t, time.Now()))
	assert.ErrorContains(t, err, "AADSTS700027")

	apps, errs := d.Applications(t.Context(), []provision.AppRef{{AppID: s.client.AppID}})
	require.NoError(t, errs[0])
	require.Len(t, apps[0].Keys, 1)
	kept := apps[0].Keys
	kept[0].DisplayName = ""
	require.NoError(t, d.PatchApplication(t.Context(), s.client.ApplicationID, provision.ApplicationPatch{Keys: &kept}))
	_, err = get(cert, key)
	require.NoError(t, err, "an entry sent back by its keyId keeps its key")
	require.NoError(t, d.PatchApplication(t.Context(), s.client.ApplicationID, provision.ApplicationPatch{Keys: &[]provision.KeyCredential{}}))
	_, err = get(cert, key)
	assert.ErrorContains(t, err, "AADSTS700027")
}

func TestFederatedCredential(t *testing.T) {
	t.Parallel()
	s := newShop(t, entratest.Config{}, starter)
	admin, err := s.AddCaller("admin", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	d := s.Directory(admin)
	const issuer, subject, audience = "https://issuer.example", "repo:x:ref:main", "api://AzureADTokenExchange"
	_, key := newCertificate(t, time.Now())
	_, other := newCertificate(t, time.Now())
	_, err = d.AddFederatedCredential(t.Context(), s.client.ApplicationID, provision.FederatedCredential{
		Name: "ci-main", Issuer: issuer, Subject: subject, Audiences: []string{audience},
	})
	require.NoError(t, err)
	get := func(iss, sub, aud string, key *rsa.PrivateKey) (azcore.AccessToken, error) {
		cred, err := azidentity.NewClientAssertionCredential(s.ID(), s.client.AppID, func(context.Context) (string, error) {
			return jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
				"iss": iss, "sub": sub, "aud": aud, "exp": time.Now().Add(time.Hour).Unix(),
			}).SignedString(key)
		}, &azidentity.ClientAssertionCredentialOptions{ClientOptions: options(s.Server), DisableInstanceDiscovery: true})
		require.NoError(t, err)
		return cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{s.scope()}})
	}
	_, err = get(issuer, subject, audience, key)
	assert.ErrorContains(t, err, "AADSTS50166")
	s.TrustIssuer(issuer, key.Public())
	token, err := get(issuer, subject, audience, key)
	require.NoError(t, err)
	assert.Equal(t, s.client.AppID, claims(t, s.Server, token.Token)["azp"])
	for name, tc := range map[string]struct {
		iss, sub, aud string
		key           *rsa.PrivateKey
		want          string
	}{
		"issuer": {"https://other.example", subject, audience, key, "AADSTS700211"}, "subject": {issuer, "repo:y", audience, key, "AADSTS700213"},
		"audience": {issuer, subject, "x", key, "AADSTS700212"}, "key": {issuer, subject, audience, other, "AADSTS700027"},
	} {
		_, err := get(tc.iss, tc.sub, tc.aud, tc.key)
		assert.ErrorContains(t, err, tc.want, name)
	}
}
