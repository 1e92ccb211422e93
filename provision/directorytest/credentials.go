package directorytest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

var credentials = map[string]func(bench){
	"a secret is shown once, gets a token and goes": func(b bench) {
		p := b.tenant(entratest.Config{})
		ctx := b.Context()
		app, _ := p.service("client", provision.ApplicationPatch{})
		start := time.Now().Add(-time.Minute)
		end := start.AddDate(1, 0, 0)
		added, err := p.d.AddPassword(ctx, app.ObjectID, provision.PasswordRequest{DisplayName: "op-1", Start: start, End: end})
		require.NoError(b, err)
		assert.NotEmpty(b, added.KeyID)
		assert.Equal(b, "op-1", added.DisplayName)
		assert.Equal(b, added.SecretText.Reveal()[:3], added.Hint)
		sameTime(b, start, added.Start)
		sameTime(b, end, added.End)
		assert.NotContains(b, fmt.Sprintf("%v %+v %#v", added, added, added), added.SecretText.Reveal())
		assert.Equal(b, 200, p.token(app.AppID, added.SecretText))

		stands := p.read(provision.AppRef{ObjectID: app.ObjectID}).Passwords
		require.Len(b, stands, 1)
		assert.True(b, stands[0].SecretText.IsZero(), "a read shows no secret")
		assert.Equal(b, added.KeyID, stands[0].KeyID)
		assert.Equal(b, added.Hint, stands[0].Hint)
		assert.Equal(b, "op-1", stands[0].DisplayName)
		sameTime(b, end, stands[0].End)

		require.NoError(b, p.d.RemovePassword(ctx, app.ObjectID, added.KeyID))
		api := refusedDetail(b, p.d.RemovePassword(ctx, app.ObjectID, added.KeyID), 400)
		assert.Contains(b, api.Message, "No password credential found with keyId")
		assert.Equal(b, 401, p.token(app.AppID, added.SecretText))
	},

	"a secret without dates lives as long as Entra says": func(b bench) {
		p := b.tenant(entratest.Config{})
		app := p.create("client", provision.ApplicationPatch{})
		added, err := p.d.AddPassword(b.Context(), app.ObjectID, provision.PasswordRequest{DisplayName: "d"})
		require.NoError(b, err)
		sameTime(b, added.Start.AddDate(2, 0, 0), added.End)
	},

	"a policy forbids secrets": func(b bench) {
		p := b.tenant(entratest.Config{Policy: entratest.Policy{NoSecrets: true}})
		app := p.create("client", provision.ApplicationPatch{})
		_, err := p.d.AddPassword(b.Context(), app.ObjectID, provision.PasswordRequest{DisplayName: "d"})
		assert.True(b, mentions(refusedWith(b, err), "CredentialTypeNotAllowedAsPerAppPolicy"))
	},

	"a policy limits the lifetime of secrets": func(b bench) {
		p := b.tenant(entratest.Config{Policy: entratest.Policy{MaxSecretLifetime: 24 * time.Hour}})
		app := p.create("client", provision.ApplicationPatch{})
		now := time.Now()
		_, err := p.d.AddPassword(b.Context(), app.ObjectID, provision.PasswordRequest{DisplayName: "d", Start: now, End: now.AddDate(1, 0, 0)})
		assert.True(b, mentions(refusedWith(b, err), "CredentialInvalidLifetimeAsPerAppPolicy"))
		_, err = p.d.AddPassword(b.Context(), app.ObjectID, provision.PasswordRequest{DisplayName: "d", Start: now, End: now.Add(time.Hour)})
		assert.NoError(b, err)
	},

	"a federated credential is added, listed and removed": func(b bench) {
		p := b.tenant(entratest.Config{})
		ctx := b.Context()
		app := p.create("client", provision.ApplicationPatch{})
		want := provision.FederatedCredential{
			Name: "ci-main", Description: "builds", Issuer: "https://ci.example", Subject: "repo:a/b", Audiences: []string{"api://AzureADTokenExchange"},
		}
		added, err := p.d.AddFederatedCredential(ctx, app.ObjectID, want)
		require.NoError(b, err)
		require.NotEmpty(b, added.ID)
		want.ID = added.ID
		assert.Equal(b, want, added)
		_, err = p.d.AddFederatedCredential(ctx, app.ObjectID, provision.FederatedCredential{Name: "other", Issuer: want.Issuer, Subject: want.Subject, Audiences: want.Audiences})
		refusedWith(b, err)

		all, err := p.d.FederatedCredentials(ctx, app.ObjectID)
		require.NoError(b, err)
		assert.Equal(b, []provision.FederatedCredential{want}, all)
		require.NoError(b, p.d.RemoveFederatedCredential(ctx, app.ObjectID, want.ID))
		refused(b, p.d.RemoveFederatedCredential(ctx, app.ObjectID, want.ID), 404, notFound)
		all, err = p.d.FederatedCredentials(ctx, app.ObjectID)
		require.NoError(b, err)
		assert.Empty(b, all)
	},

	"a certificate that is sent back by its ID is kept": func(b bench) {
		p := b.tenant(entratest.Config{})
		ctx := b.Context()
		app := p.create("client", provision.ApplicationPatch{})
		first, second := certificate(b, "first"), certificate(b, "second")
		require.NoError(b, p.d.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{Keys: &[]provision.KeyCredential{first}}))
		stands := p.read(provision.AppRef{ObjectID: app.ObjectID}).Keys
		require.Len(b, stands, 1)
		assert.Equal(b, "AsymmetricX509Cert", stands[0].Type)
		assert.Equal(b, "Verify", stands[0].Usage)
		assert.NotEmpty(b, stands[0].KeyID)
		sameTime(b, first.End, stands[0].End)

		require.NoError(b, p.d.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{Keys: &[]provision.KeyCredential{stands[0], second}}))
		both := p.read(provision.AppRef{ObjectID: app.ObjectID}).Keys
		require.Len(b, both, 2)
		assert.Equal(b, stands[0], both[0])

		require.NoError(b, p.d.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{Keys: new([]provision.KeyCredential)}))
		assert.Empty(b, p.read(provision.AppRef{ObjectID: app.ObjectID}).Keys)
	},
}

// token asks for a token for Graph and returns the status.
func (p place) token(appID string, value provision.Secret) int {
	p.Helper()
	resp, err := p.Client().PostForm(p.TokenURL(), url.Values{
		"grant_type": {"client_credentials"}, "client_id": {appID}, "client_secret": {value.Reveal()}, "scope": {p.GraphScope()},
	})
	require.NoError(p, err)
	defer func() { _ = resp.Body.Close() }()
	var body map[string]any
	require.NoError(p, json.NewDecoder(resp.Body).Decode(&body))
	return resp.StatusCode
}
