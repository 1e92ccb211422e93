package appaccess_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

func TestSecretsLastOneYearAndAreShownOnce(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	made, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Name: "ci"})
	require.NoError(t, err)
	assert.True(t, h.entra.works("billing", made.Value.Reveal()))
	assert.Equal(t, 365*24*time.Hour, made.Credential.End.Sub(made.Credential.Start))
	list, err := h.Credentials(ctx, ada, "billing")
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Equal(t, made.Credential, list[0])
	assert.Equal(t, "ci", list[0].Name)
	assert.Equal(t, made.Value.Reveal()[:3], list[0].Hint)

	_, err = h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	_, err = h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
	assert.Len(t, assertConflict(t, err, "credential").Objects, 2)
}

func TestRotationKeepsTheOldSecretForTheOverlap(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	old, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	next, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Rotate: true, Overlap: time.Hour})
	require.NoError(t, err)
	assert.True(t, h.entra.works("billing", old.Value.Reveal()))
	list, err := h.Credentials(ctx, ada, "billing")
	require.NoError(t, err)
	require.Len(t, list, 2)
	ends := map[string]time.Time{list[0].ID: list[0].RemoveAfter, list[1].ID: list[1].RemoveAfter}
	assert.Equal(t, h.clock.Now().Add(time.Hour), ends[old.Credential.ID])
	assert.Zero(t, ends[next.Credential.ID])

	h.clock.Advance(time.Hour - time.Millisecond)
	report, err := h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.Zero(t, report.Credentials)
	h.clock.Advance(time.Millisecond)
	report, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.Equal(t, 1, report.Credentials)
	assert.False(t, h.entra.works("billing", old.Value.Reveal()))
	assert.True(t, h.entra.works("billing", next.Value.Reveal()))
}

// A failure to remove the replaced secret must not hide the new one.
func TestRotationWithoutOverlapShowsTheNewSecretWhateverHappens(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	old, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	h.entra.arm(2, false) // 1 adds, 2 removes
	next, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Rotate: true})
	require.NoError(t, err)
	assert.True(t, h.entra.works("billing", next.Value.Reveal()))
	assert.True(t, h.entra.works("billing", old.Value.Reveal()))
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.False(t, h.entra.works("billing", old.Value.Reveal()))
}

// Of many calls at once as many succeed as there is room for, and each value
// that was shown works.
func TestSecretsMadeAtOnce(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	var mu sync.Mutex
	var values []string
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			made, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
			if err != nil {
				assertConflict(t, err, "credential")
				return
			}
			mu.Lock()
			defer mu.Unlock()
			values = append(values, made.Value.Reveal())
		})
	}
	wg.Wait()
	assert.NotEmpty(t, values)
	assert.LessOrEqual(t, len(values), 2)
	for _, v := range values {
		assert.True(t, h.entra.works("billing", v))
	}
	assert.Len(t, h.entra.creds["billing"], len(values), "a secret that nobody knows")
}

// What a call leaves that dies with the secret made is removed by the next one,
// or by Sync.
func TestWhatADeadCallLeft(t *testing.T) {
	t.Parallel()
	for name, mend := range map[string]func(h *fixture) int{
		"next secret": func(h *fixture) int {
			_, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
			require.NoError(t, err)
			return 1
		},
		"sync": func(h *fixture) int {
			_, err := h.Sync(ctx, boss, appaccess.SyncRequest{})
			require.NoError(t, err)
			return 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFixture(t).withApp()
			h.dieAfterMinting()
			assert.Len(t, h.entra.creds["billing"], 1)
			left := mend(h)
			assert.Len(t, h.entra.creds["billing"], left)
			list, err := h.Credentials(ctx, ada, "billing")
			require.NoError(t, err)
			assert.Len(t, list, left)
		})
	}
}

// dieAfterMinting makes a secret and loses every write to the store behind it,
// as a process does that is killed.
func (h *fixture) dieAfterMinting() {
	h.t.Helper()
	h.entra.block = func(context.Context) { h.store.die(true) }
	_, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
	require.ErrorIs(h.t, err, appaccess.ErrUnavailable)
	h.entra.block = nil
	h.store.die(false)
}

func TestRemoveCredential(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	made, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	id := made.Credential.ID
	require.ErrorIs(t, h.RemoveCredential(ctx, eve, "billing", id), appaccess.ErrNotFound)
	require.ErrorIs(t, h.RemoveCredential(ctx, boss, "archive", id), appaccess.ErrNotFound)
	h.entra.arm(1, false)
	var failed *appaccess.ProvisionError
	require.ErrorAs(t, h.RemoveCredential(ctx, ada, "billing", id), &failed)
	require.NoError(t, h.RemoveCredential(ctx, ada, "billing", id))
	assert.False(t, h.entra.works("billing", made.Value.Reveal()))
	require.ErrorIs(t, h.RemoveCredential(ctx, ada, "billing", id), appaccess.ErrNotFound)
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	c, err := h.AddCertificate(ctx, ada, "billing", appaccess.CertificateRequest{PEM: certificatePEM})
	require.NoError(t, err)
	assert.Equal(t, "CN=client", c.Name)
	assert.Len(t, c.Thumbprint, 43)
	assert.Equal(t, 2027, c.End.Year())
	again, err := h.AddCertificate(ctx, ada, "billing", appaccess.CertificateRequest{PEM: certificatePEM})
	require.NoError(t, err)
	assert.Equal(t, c, again)
	assert.Len(t, h.entra.creds["billing"], 1)
	for rule, pem := range map[string]string{
		"must be a PEM block":    "hello",
		"certificate only":       certificatePEM + "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
		"one certificate":        certificatePEM + certificatePEM,
		"no X.509":               "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
		"certificate has expire": certificateUntil(h.clock.Now()),
	} {
		_, err := h.AddCertificate(ctx, ada, "billing", appaccess.CertificateRequest{PEM: pem})
		assertInvalid(t, err, "pem")
		assert.ErrorContains(t, err, rule)
	}
}

func TestFederatedCredentials(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	req := appaccess.FederatedRequest{Name: "github", Issuer: "https://token.actions.githubusercontent.com", Subject: "repo:o/r:ref:refs/heads/main"}
	c, err := h.AddFederatedCredential(ctx, ada, "billing", req)
	require.NoError(t, err)
	assert.Equal(t, "api://AzureADTokenExchange", c.Audience)
	assert.Zero(t, c.End)
	req.Subject = "repo:o/other"
	_, err = h.AddFederatedCredential(ctx, ada, "billing", req)
	assertConflict(t, err, "name")
	for field, bad := range map[string]appaccess.FederatedRequest{
		"name":    {Name: "no", Issuer: req.Issuer, Subject: "s"},
		"issuer":  {Name: "ok1", Issuer: "http://plain.example.com", Subject: "s"},
		"subject": {Name: "ok1", Issuer: req.Issuer},
	} {
		_, err := h.AddFederatedCredential(ctx, ada, "billing", bad)
		assertInvalid(t, err, field)
	}
}

func TestCertificatesAndFederatedCredentialsRotateWithAnOverlap(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	first, err := h.AddCertificate(ctx, ada, "billing", appaccess.CertificateRequest{PEM: certificatePEM})
	require.NoError(t, err)
	until := h.clock.Now().AddDate(1, 0, 0)
	second, err := h.AddCertificate(ctx, ada, "billing", appaccess.CertificateRequest{PEM: certificateUntil(until), Rotate: true, Overlap: 24 * time.Hour})
	require.NoError(t, err)
	federated := appaccess.FederatedRequest{Name: "github", Issuer: "https://token.actions.githubusercontent.com", Subject: "repo:o/r"}
	old, err := h.AddFederatedCredential(ctx, ada, "billing", federated)
	require.NoError(t, err)
	kept, err := h.AddFederatedCredential(ctx, ada, "billing", appaccess.FederatedRequest{Name: "cluster", Issuer: "https://oidc.example.com", Subject: "s"})
	require.NoError(t, err)
	moved := appaccess.FederatedRequest{Name: "github-new", Issuer: federated.Issuer, Subject: "repo:o/new", Replaces: old.ID, Overlap: time.Hour}
	added, err := h.AddFederatedCredential(ctx, ada, "billing", moved)
	require.NoError(t, err)

	exist := func() []string {
		list, err := h.Credentials(ctx, ada, "billing")
		require.NoError(t, err)
		var ids []string
		for _, c := range list {
			ids = append(ids, c.ID)
		}
		return ids
	}
	assert.ElementsMatch(t, []string{first.ID, second.ID, old.ID, kept.ID, added.ID}, exist())
	h.clock.Advance(2 * time.Hour)
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{first.ID, second.ID, kept.ID, added.ID}, exist())
	h.clock.Advance(24 * time.Hour)
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{second.ID, kept.ID, added.ID}, exist())
	third, err := h.AddCertificate(ctx, ada, "billing", appaccess.CertificateRequest{PEM: certificateUntil(until.AddDate(0, 1, 0)), Rotate: true})
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{third.ID, kept.ID, added.ID}, exist(), "without an overlap at once")

	page, err := h.Expiring(ctx, ada, 400*24*time.Hour, appaccess.Filter{})
	require.NoError(t, err)
	require.Len(t, page.Items, 1, "a certificate expires, a federated credential does not")
	assert.Equal(t, third.ID, page.Items[0].Credential.ID)

	_, err = h.AddCertificate(ctx, ada, "billing", appaccess.CertificateRequest{PEM: certificatePEM, Overlap: time.Hour})
	assertInvalid(t, err, "overlap")
	moved.Replaces, moved.Subject, moved.Name = third.ID, "other", "other"
	_, err = h.AddFederatedCredential(ctx, ada, "billing", moved)
	assertInvalid(t, err, "replaces")
}

func TestExpiring(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Name: "short", Lifetime: 24 * time.Hour})
	require.NoError(t, err)
	_, err = h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Name: "long"})
	require.NoError(t, err)
	_, err = h.AddFederatedCredential(ctx, ada, "billing", appaccess.FederatedRequest{Name: "cloud", Issuer: "https://ci.example.com", Subject: "s"})
	require.NoError(t, err)
	for _, by := range []appaccess.Actor{boss, ada} {
		page, err := h.Expiring(ctx, by, time.Hour, appaccess.Filter{})
		require.NoError(t, err)
		assert.Empty(t, page.Items)
		page, err = h.Expiring(ctx, by, 30*24*time.Hour, appaccess.Filter{})
		require.NoError(t, err)
		require.Len(t, page.Items, 1)
		assert.Equal(t, "short", page.Items[0].Credential.Name)
		assert.Equal(t, "Billing", page.Items[0].ApplicationName)
		assert.False(t, page.Items[0].Expired)
		page, err = h.Expiring(ctx, by, 400*24*time.Hour, appaccess.Filter{Limit: 1})
		require.NoError(t, err)
		require.Len(t, page.Items, 1)
		page, err = h.Expiring(ctx, by, 400*24*time.Hour, appaccess.Filter{Limit: 1, After: page.Next})
		require.NoError(t, err)
		require.Len(t, page.Items, 1)
		assert.Empty(t, page.Next)
	}
	page, err := h.Expiring(ctx, eve, 400*24*time.Hour, appaccess.Filter{OwnerID: "ada"})
	require.NoError(t, err)
	assert.Empty(t, page.Items)

	h.clock.Advance(48 * time.Hour)
	page, err = h.Expiring(ctx, ada, 0, appaccess.Filter{})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	assert.True(t, page.Items[0].Expired)
	_, err = h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
	require.NoError(t, err, "an expired secret takes no room")

	_, err = h.store.Update(ctx, func(w appaccess.Writer) error {
		c := appaccess.Credential{ID: "zzzzzzzz", ApplicationID: "billing", Kind: appaccess.FederatedCredential}
		return appaccess.PutEntity(w, &c)
	})
	require.NoError(t, err)
	page, err = h.Expiring(ctx, boss, 0, appaccess.Filter{Limit: 1})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	assert.Empty(t, page.Next, "the last page says so, whatever is behind it that is not listed")
}

func TestBadSecretRequests(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	for field, req := range map[string]appaccess.SecretRequest{
		"lifetime": {Lifetime: 366 * 24 * time.Hour},
		"overlap":  {Overlap: time.Hour},
		"name":     {Name: "line\nfeed"},
	} {
		_, err := h.AddSecret(ctx, ada, "billing", req)
		assertInvalid(t, err, field)
	}
	_, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Rotate: true, Overlap: 91 * 24 * time.Hour})
	assertInvalid(t, err, "overlap")
}
