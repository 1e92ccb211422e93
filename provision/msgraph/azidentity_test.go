package msgraph_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/directorytest"
	"github.com/entragate/entragate/provision/entratest"
	"github.com/entragate/entragate/provision/msgraph"
)

// authority configures azidentity for an authority that is not Microsoft's: its host,
// over https, and no instance discovery.
func authority(s *entratest.Server) azcore.ClientOptions {
	return azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: s.BaseURL()},
		Transport: s.Client(),
		Retry:     policy.RetryOptions{MaxRetries: -1},
	}
}

// secretCredential gets its tokens from the tenant with a client secret.
func secretCredential(t testing.TB, s *entratest.Server, c entratest.Caller) azcore.TokenCredential {
	t.Helper()
	credential, err := azidentity.NewClientSecretCredential(c.TenantID, c.AppID, c.Secret.Reveal(),
		&azidentity.ClientSecretCredentialOptions{ClientOptions: authority(s), DisableInstanceDiscovery: true})
	require.NoError(t, err)
	return credential
}

// over opens a Directory over HTTPS with a credential.
func over(t testing.TB, s *entratest.Server, credential azcore.TokenCredential) provision.Directory {
	t.Helper()
	d, err := msgraph.New(msgraph.Config{Credential: credential, GraphURL: s.BaseURL(), HTTPClient: s.Client()})
	require.NoError(t, err)
	return d
}

func open(t *testing.T, s *entratest.Server, c entratest.Caller) provision.Directory {
	return over(t, s, secretCredential(t, s, c))
}

func TestConformance(t *testing.T) {
	t.Parallel()
	directorytest.Run(t, open)
}

// A managed identity as App Service offers it, which azidentity finds by its
// environment: the test cannot run beside others.
func TestManagedIdentity(t *testing.T) {
	s := entratest.NewServer(t, entratest.Config{})
	c, err := s.AddManagedIdentity("apim", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	endpoint, err := s.ManagedIdentityEndpoint(c, "a-header-only-this-host-knows")
	require.NoError(t, err)
	local := httptest.NewServer(endpoint)
	t.Cleanup(local.Close)
	t.Setenv("IDENTITY_ENDPOINT", local.URL)
	t.Setenv("IDENTITY_HEADER", "a-header-only-this-host-knows")

	credential, err := azidentity.NewManagedIdentityCredential(nil)
	require.NoError(t, err)
	d := over(t, s, credential)
	id, err := d.Identity(t.Context())
	require.NoError(t, err)
	assert.InDelta(t, (24 * time.Hour).Seconds(), time.Until(id.TokenEnd).Seconds(), 600, "the tokens of managed identities live for 24 hours")
	id.TokenEnd = time.Time{}
	assert.Equal(t, provision.Identity{
		ObjectID: c.ObjectID, AppID: c.AppID, TenantID: s.ID(), Name: "apim", Roles: []string{entratest.ApplicationAdministrator},
	}, id)
	app, err := d.CreateApplication(t.Context(), provision.ApplicationPatch{DisplayName: new("Shop")})
	require.NoError(t, err)
	assert.Equal(t, "Shop", app.DisplayName)
	assert.Equal(t, 1, s.Counts().Tokens, "the token is cached by the credential")
}

// A credential that is refused is an answer, not an unknown outcome: nothing
// was sent to Graph, and waiting does not help.
func TestRefusedCredential(t *testing.T) {
	t.Parallel()
	s := entratest.NewServer(t, entratest.Config{})
	c, err := s.AddCaller("provisioner")
	require.NoError(t, err)
	for name, change := range map[string]func(*entratest.Caller){
		"AADSTS7000215": func(c *entratest.Caller) { c.Secret = newSecret("wrong-secret-value") },
		"AADSTS700016":  func(c *entratest.Caller) { c.AppID = "99999999-9999-4999-8999-999999999999" },
	} {
		wrong := c
		change(&wrong)
		_, err := open(t, s, wrong).CreateApplication(t.Context(), provision.ApplicationPatch{})
		var api *provision.APIError
		require.ErrorAs(t, err, &api, name)
		assert.Equal(t, http.StatusUnauthorized, api.Status)
		assert.Contains(t, api.Message, name)
		assert.NotContains(t, err.Error(), wrong.Secret.Reveal())
	}
	assert.Zero(t, s.Counts().Requests)
}

// An authority that cannot be reached leaves everything open.
func TestAuthorityOutOfReach(t *testing.T) {
	t.Parallel()
	s := entratest.NewServer(t, entratest.Config{})
	c, err := s.AddCaller("provisioner")
	require.NoError(t, err)
	s.OnRequest(func(r entratest.Request) entratest.Fault {
		if r.Service == entratest.TokenService {
			return entratest.Fault{Kind: entratest.CutBefore}
		}
		return entratest.Fault{}
	})
	_, err = open(t, s, c).Identity(t.Context())
	require.Error(t, err)
	var api *provision.APIError
	assert.NotErrorAs(t, err, &api)

	s.OnRequest(func(r entratest.Request) entratest.Fault {
		if r.Service == entratest.TokenService {
			return entratest.Fault{Kind: entratest.UnavailableBefore}
		}
		return entratest.Fault{}
	})
	_, err = open(t, s, c).Identity(t.Context())
	require.ErrorAs(t, err, &api)
	assert.Equal(t, http.StatusServiceUnavailable, api.Status)
}

// The log names requests and nothing that opens a door.
func TestLogHoldsNoSecret(t *testing.T) {
	t.Parallel()
	s := entratest.NewServer(t, entratest.Config{})
	c, err := s.AddCaller("provisioner", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	var log testkit.Log
	credential := secretCredential(t, s, c)
	d, err := msgraph.New(msgraph.Config{
		Credential: credential, GraphURL: s.BaseURL(), HTTPClient: s.Client(),
		Logger: log.Logger(slog.LevelDebug),
	})
	require.NoError(t, err)
	app, err := d.CreateApplication(t.Context(), provision.ApplicationPatch{DisplayName: new("x")})
	require.NoError(t, err)
	added, err := d.AddPassword(t.Context(), app.ObjectID, provision.PasswordRequest{DisplayName: "op"})
	require.NoError(t, err)
	token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{s.GraphScope()}})
	require.NoError(t, err)

	text := log.String()
	assert.Contains(t, text, "method=POST path=/v1.0/applications/"+app.ObjectID+"/addPassword status=200 request-id=")
	assert.False(t, strings.Contains(text, added.SecretText.Reveal()), "the new secret is in the log")
	assert.False(t, strings.Contains(text, c.Secret.Reveal()), "the caller's secret is in the log")
	assert.False(t, strings.Contains(text, token.Token), "the token is in the log")
}
