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
		end := time.Now().AddDate(1, 0, 0)
		added, err := p.d.AddPassword(ctx, app.ObjectID, provision.PasswordRequest{DisplayName: "op-1", End: end})
		require.NoError(b, err)
		assert.NotEmpty(b, added.KeyID)
		assert.Equal(b, "op-1", added.DisplayName)
		assert.Equal(b, added.SecretText.Reveal()[:3], added.Hint)
		sameTime(b, end, added.End)
		assert.NotContains(b, fmt.Sprintf("%v %+v %#v", added, added, added), added.SecretText.Reveal())
		assert.Equal(b, 200, p.token(app.AppID, added.SecretText))

		found := p.read(provision.AppRef{ObjectID: app.ObjectID}).Passwords
		require.Len(b, found, 1)
		assert.True(b, found[0].SecretText.IsZero(), "a read shows no secret")
		assert.Equal(b, added.KeyID, found[0].KeyID)
		assert.Equal(b, added.Hint, found[0].Hint)
		assert.Equal(b, "op-1", found[0].DisplayName)
		sameTime(b, end, found[0].End)

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
		_, err := p.d.AddPassword(b.Context(), app.ObjectID, provision.PasswordRequest{DisplayName: "d", End: now.AddDate(1, 0, 0)})
		assert.True(b, mentions(refusedWith(b, err), "CredentialInvalidLifetimeAsPerAppPolicy"))
		_, err = p.d.AddPassword(b.Context(), app.ObjectID, provision.PasswordRequest{DisplayName: "d", End: now.Add(time.Hour)})
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

		all, errs := p.d.FederatedCredentials(ctx, []string{app.ObjectID, nobody})
		require.NoError(b, errs[0])
		refused(b, errs[1], 404, notFound)
		assert.Equal(b, []provision.FederatedCredential{want}, all[0])
		require.NoError(b, p.d.RemoveFederatedCredential(ctx, app.ObjectID, want.ID))
		refused(b, p.d.RemoveFederatedCredential(ctx, app.ObjectID, want.ID), 404, notFound)
		all, errs = p.d.FederatedCredentials(ctx, []string{app.ObjectID})
		require.NoError(b, errs[0])
		assert.Empty(b, all[0])
	},

	"a certificate that is sent back by its ID is kept": func(b bench) {
		p := b.tenant(entratest.Config{})
		ctx := b.Context()
		app := p.create("client", provision.ApplicationPatch{})
		first, second := certificate(b, "first"), certificate(b, "second")
		require.NoError(b, p.d.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{Keys: &[]provision.KeyCredential{first}}))
		found := p.read(provision.AppRef{ObjectID: app.ObjectID}).Keys
		require.Len(b, found, 1)
		assert.Equal(b, "AsymmetricX509Cert", found[0].Type)
		assert.Equal(b, "Verify", found[0].Usage)
		assert.NotEmpty(b, found[0].KeyID)
		sameTime(b, first.End, found[0].End)

		require.NoError(b, p.d.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{Keys: &[]provision.KeyCredential{found[0], second}}))
		both := p.read(provision.AppRef{ObjectID: app.ObjectID}).Keys
		require.Len(b, both, 2)
		assert.Equal(b, found[0], both[0])

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
