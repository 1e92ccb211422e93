package provision_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
	"github.com/entragate/entragate/provision/internal/sweep"
)

// TestRotation: the new secret works before the old one goes, a third one is
// refused, and what others made is neither counted nor removed.
func TestRotation(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHands(t, starter())
	e, v := h.engine(), newVault()
	_, err := h.tenant.AddSecret(h.applied.Applications["c1"].AppID, "theirs")
	require.NoError(t, err)
	works := func(c appaccess.Credential) error {
		return h.token(h.applied.Applications["c1"].AppID, v.secrets[c.KeyID], h.applied.Products["starter"].AppID)
	}
	first, err := e.AddCredential(ctx, "c1", v.request("1"))
	require.NoError(t, err)
	assert.Equal(t, 365*24*time.Hour, first.End.Sub(first.Start), "one year")
	assert.Len(t, first.Hint, 3)
	same, err := e.AddCredential(ctx, "c1", v.request("1"))
	require.NoError(t, err)
	assert.Equal(t, first, same, "the same operation is the same secret")
	assert.Len(t, v.secrets, 1)

	second, err := e.AddCredential(ctx, "c1", v.request("2"))
	require.NoError(t, err)
	require.NoError(t, works(first))
	require.NoError(t, works(second))
	_, err = e.AddCredential(ctx, "c1", v.request("3"))
	var conflict *appaccess.ConflictError
	require.ErrorAs(t, err, &conflict)
	assert.Equal(t, []string{first.KeyID, second.KeyID}, conflict.Objects)

	require.NoError(t, e.RemoveCredential(ctx, "c1", first))
	require.NoError(t, e.RemoveCredential(ctx, "c1", first), "gone is no error")
	assert.Error(t, works(first))
	require.NoError(t, works(second))
	assert.Len(t, h.app("application", "c1").Passwords, 2, "one of ours, one of theirs")

	// Expired ones make room by themselves.
	h.clock.Advance(366 * 24 * time.Hour)
	for _, op := range []string{"4", "5"} {
		_, err = e.AddCredential(ctx, "c1", v.request(op))
		require.NoError(t, err)
	}
	assert.Len(t, h.app("application", "c1").Passwords, 3)
}

func TestForeignCredentialIsNotRemoved(t *testing.T) {
	t.Parallel()
	h := newHands(t, starter())
	// Only a whole label at the end of the name is ours.
	names := []string{"theirs", "entragate-ci", "entragate-0123456789abcdef0123 theirs", "my-entragate-0123456789abcdef0123"}
	for _, name := range names {
		_, err := h.tenant.AddSecret(h.applied.Applications["c1"].AppID, name)
		require.NoError(t, err)
	}
	for _, p := range h.app("application", "c1").Passwords {
		err := h.engine().RemoveCredential(t.Context(), "c1", appaccess.Credential{Kind: appaccess.SecretCredential, KeyID: p.KeyID})
		assert.ErrorIs(t, err, provision.ErrNotOurs, p.DisplayName)
	}
	assert.Len(t, h.app("application", "c1").Passwords, len(names))
}

// TestNotDelivered: a secret that could not be handed over is removed, and the
// taker's error comes back.
func TestNotDelivered(t *testing.T) {
	t.Parallel()
	h := newHands(t, starter())
	full := errors.New("the vault is full")
	req := newVault().request("1")
	req.Deliver = func(context.Context, appaccess.Writer, appaccess.Credential, appaccess.Secret) error { return full }
	_, err := h.engine().AddCredential(t.Context(), "c1", req)
	assert.ErrorIs(t, err, full)
	assert.Empty(t, h.app("application", "c1").Passwords)

	// The same when the caller goes away in the middle.
	ctx, cancel := context.WithCancel(t.Context())
	req.Deliver = func(context.Context, appaccess.Writer, appaccess.Credential, appaccess.Secret) error {
		cancel()
		return ctx.Err()
	}
	_, err = h.engine().AddCredential(ctx, "c1", req)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, h.app("application", "c1").Passwords)
}

// TestCutOffSecretIsSweptByTheNextCall: what a call left whose end nobody knows
// is removed by the next one, without an Apply in between.
func TestCutOffSecretIsSweptByTheNextCall(t *testing.T) {
	t.Parallel()
	for name, lag := range sweep.Lags {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHands(t, starter())
			h.tenant.SetLag(lag)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			h.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
				if !strings.HasSuffix(r.Path, "/addPassword") {
					return entratest.Fault{}
				}
				cancel()
				return entratest.Fault{Kind: entratest.CutAfter}
			})
			v := newVault()
			_, err := h.engine().AddCredential(ctx, "c1", v.request("1"))
			require.ErrorIs(t, err, appaccess.ErrUnavailable)
			require.Len(t, h.app("application", "c1").Passwords, 1, "it exists, and nobody has it")
			h.tenant.OnRequest(nil)
			h.settle()

			c, err := h.engine().AddCredential(t.Context(), "c1", v.request("2"))
			require.NoError(t, err)
			standing := h.app("application", "c1").Passwords
			require.Len(t, standing, 1)
			assert.Equal(t, c.KeyID, standing[0].KeyID)
			assert.Contains(t, v.secrets, c.KeyID)
		})
	}
}

// TestProbe: a secret is handed over once it works, and removed if it never does.
func TestProbe(t *testing.T) {
	t.Parallel()
	h := newHands(t, starter())
	h.tenant.SetLag(entratest.Lag{Min: 4 * time.Second, Max: 18 * time.Second})
	cfg, v := h.config(), newVault()
	var probes int
	cfg.Probe = func(_ context.Context, appID string, secret appaccess.Secret) error {
		probes++
		assert.Empty(t, v.secrets, "nobody has it yet")
		if probes < 3 {
			return errors.New("AADSTS7000215: not replicated yet")
		}
		return h.token(appID, secret, h.applied.Products["starter"].AppID)
	}
	_, err := h.engineOf(cfg).AddCredential(t.Context(), "c1", v.request("1"))
	require.NoError(t, err)
	assert.GreaterOrEqual(t, probes, 3, "it was refused at first")
	assert.Len(t, v.secrets, 1)

	cfg.Probe = func(context.Context, string, appaccess.Secret) error { return errors.New("AADSTS7000215") }
	_, err = h.engineOf(cfg).AddCredential(t.Context(), "c1", newVault().request("2"))
	var e *provision.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, provision.Lag, e.Kind)
	h.settle()
	assert.Len(t, h.app("application", "c1").Passwords, 1, "what never worked was removed")
}

// TestPoliciesThatForbidSecrets: the refusal names the alternatives, which work.
func TestPoliciesThatForbidSecrets(t *testing.T) {
	t.Parallel()
	h := newHands(t, starter())
	e, v := h.engine(), newVault()
	h.tenant.SetPolicy(entratest.Policy{MaxSecretLifetime: 90 * 24 * time.Hour})
	_, err := e.AddCredential(t.Context(), "c1", v.request("1"))
	assert.ErrorContains(t, err, "ask for a shorter one")
	req := v.request("1")
	req.Lifetime = 30 * 24 * time.Hour
	_, err = e.AddCredential(t.Context(), "c1", req)
	require.NoError(t, err)

	h.tenant.SetPolicy(entratest.Policy{NoSecrets: true})
	_, err = e.AddCredential(t.Context(), "c1", v.request("2"))
	var pe *provision.Error
	require.ErrorAs(t, err, &pe)
	assert.Equal(t, provision.Permanent, pe.Kind)
	assert.Contains(t, pe.Advice, "certificate")
	assert.Contains(t, pe.Advice, "federated credential")
	assert.NotErrorIs(t, err, appaccess.ErrUnavailable)

	for i, req := range []appaccess.CredentialRequest{
		{OperationID: "cert", Kind: appaccess.CertificateCredential, Name: "build agent", CertificatePEM: certificate(h.clock.Now())},
		{OperationID: "fic", Kind: appaccess.FederatedCredential, Name: "github", Issuer: "https://token.actions.githubusercontent.com", Subject: "repo:a/b:ref:refs/heads/main"},
	} {
		c, err := e.AddCredential(t.Context(), "c1", req)
		require.NoError(t, err)
		same, err := e.AddCredential(t.Context(), "c1", req)
		require.NoError(t, err)
		assert.Equal(t, c, same)
		assert.Equal(t, i == 1, c.End.IsZero())
		app := h.app("application", "c1")
		assert.Len(t, append(app.Keys, app.Federated...), 1)
		if i == 1 {
			assert.Equal(t, "api://AzureADTokenExchange", c.Audience)
		}
		require.NoError(t, e.RemoveCredential(t.Context(), "c1", c))
		require.NoError(t, e.RemoveCredential(t.Context(), "c1", c))
		app = h.app("application", "c1")
		assert.Empty(t, append(app.Keys, app.Federated...))
	}
}

// TestCertificatesStayTogether adds and removes certificates while replicas lag
// behind: Graph takes the whole list, and none is lost by that.
func TestCertificatesStayTogether(t *testing.T) {
	t.Parallel()
	for seed := range uint64(15) {
		w := newWorld(t, entratest.Config{Seed: seed, Lag: entratest.Lag{Min: time.Second, Max: 40 * time.Second}, FaultRate: 0.1})
		e := w.engine()
		for range 5 {
			if a, err := e.Apply(t.Context(), starter(), nil); err == nil && len(a.Failed) == 0 {
				break
			}
		}
		var last appaccess.Credential
		for _, op := range []string{"a", "b", "c"} {
			c, err := e.AddCredential(t.Context(), "c1", appaccess.CredentialRequest{
				OperationID: op, Kind: appaccess.CertificateCredential, CertificatePEM: certificate(w.clock.Now()),
			})
			require.NoError(t, err, "seed %d", seed)
			last = c
		}
		require.Len(t, w.app("application", "c1").Keys, 3, "seed %d", seed)
		require.NoError(t, e.RemoveCredential(t.Context(), "c1", last))
		require.Len(t, w.app("application", "c1").Keys, 2, "seed %d", seed)
		_, err := e.AddCredential(t.Context(), "c1", appaccess.CredentialRequest{
			OperationID: "d", Kind: appaccess.CertificateCredential, CertificatePEM: certificate(w.clock.Now()),
		})
		require.NoError(t, err, "seed %d", seed)
		require.Len(t, w.app("application", "c1").Keys, 3, "seed %d", seed)
		fed := appaccess.CredentialRequest{OperationID: "f", Kind: appaccess.FederatedCredential, Issuer: "https://issuer.example", Subject: "s"}
		_, err = e.AddCredential(t.Context(), "c1", fed)
		require.NoError(t, err, "seed %d", seed)
		require.Len(t, w.app("application", "c1").Federated, 1)
	}
}

// certificate is valid around a time.
func certificate(at time.Time) string {
	return testkit.CertificatePEM(at.Add(-time.Hour), at.AddDate(0, 0, 90))
}

// TestBadCredentialRequests: each is refused by the name of its field, and
// nothing is sent.
func TestBadCredentialRequests(t *testing.T) {
	t.Parallel()
	h := newHands(t, starter())
	v := newVault()
	pem := certificate(h.clock.Now())
	old := certificate(h.clock.Now().Add(-365 * 24 * time.Hour))
	secret := v.request("1")
	with := func(change func(*appaccess.CredentialRequest)) appaccess.CredentialRequest {
		r := secret
		change(&r)
		return r
	}
	cert := func(text string) appaccess.CredentialRequest {
		return appaccess.CredentialRequest{OperationID: "1", Kind: appaccess.CertificateCredential, CertificatePEM: text}
	}
	fed := func(issuer, subject string) appaccess.CredentialRequest {
		return appaccess.CredentialRequest{OperationID: "1", Kind: appaccess.FederatedCredential, Issuer: issuer, Subject: subject}
	}
	for _, c := range []struct {
		field string
		req   appaccess.CredentialRequest
	}{
		{"operationId", with(func(r *appaccess.CredentialRequest) { r.OperationID = "" })},
		{"operationId", with(func(r *appaccess.CredentialRequest) { r.OperationID = strings.Repeat("x", 201) })},
		{"kind", with(func(r *appaccess.CredentialRequest) { r.Kind = "password" })},
		{"deliver", with(func(r *appaccess.CredentialRequest) { r.Deliver = nil })},
		{"lifetime", with(func(r *appaccess.CredentialRequest) { r.Lifetime = -time.Hour })},
		{"certificatePem", cert("")},
		{"certificatePem", cert("not PEM")},
		{"certificatePem", cert(pem + pem)},
		{"certificatePem", cert(strings.ReplaceAll(pem, "CERTIFICATE", "EC PRIVATE KEY"))},
		{"certificatePem", cert(pem + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")},
		{"certificatePem", cert("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")},
		{"certificatePem", cert(old)},
		{"issuer", fed("http://plain.example", "s")},
		{"subject", fed("https://issuer.example", "")},
	} {
		n := h.tenant.Counts().Graph
		_, err := h.engine().AddCredential(t.Context(), "c1", c.req)
		var invalid *appaccess.InvalidError
		require.ErrorAs(t, err, &invalid, c.field)
		assert.Equal(t, c.field, invalid.Field)
		assert.Equal(t, n, h.tenant.Counts().Graph)
	}
	_, err := h.engine().AddCredential(t.Context(), "unknown", secret)
	assert.ErrorIs(t, err, appaccess.ErrNotFound)
	assert.ErrorIs(t, h.engine().RemoveCredential(t.Context(), "unknown", appaccess.Credential{}), appaccess.ErrNotFound)
}

// TestSecretsAreNotKept looks for the secret's text in all that an engine keeps
// and says.
func TestSecretsAreNotKept(t *testing.T) {
	t.Parallel()
	h := newHands(t, starter())
	cfg, v := h.config(), newVault()
	var log testkit.Log
	cfg.Logger = log.Logger(slog.LevelInfo)
	c, err := h.engineOf(cfg).AddCredential(t.Context(), "c1", v.request("1"))
	require.NoError(t, err)
	secret := v.secrets[c.KeyID].Reveal()
	require.NotEmpty(t, secret)
	assert.NotContains(t, log.String(), secret)
	for _, r := range h.store.Records() {
		assert.NotContains(t, string(r.Body), secret)
	}
}
