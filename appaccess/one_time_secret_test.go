package appaccess_test

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

func TestAOneTimeSecretIsReceivedByTheOwnerOnce(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	sealed, err := h.CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{Name: "first"})
	require.NoError(t, err)
	assert.Equal(t, h.clock.Now().Add(72*time.Hour), sealed.Expires)
	waiting, err := h.OneTimeSecrets(ctx, ada, "billing")
	require.NoError(t, err)
	assert.Equal(t, []appaccess.OneTimeSecret{sealed}, waiting)
	assert.Equal(t, "first", sealed.Name)

	_, err = h.ReceiveSecret(ctx, boss, "billing", sealed.ID)
	require.ErrorIs(t, err, appaccess.ErrForbidden)
	_, err = h.ReceiveSecret(ctx, eve, "billing", sealed.ID)
	require.ErrorIs(t, err, appaccess.ErrNotFound)

	var mu sync.Mutex
	var values []string
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := h.ReceiveSecret(ctx, ada, "billing", sealed.ID)
			if err != nil {
				assert.ErrorIs(t, err, appaccess.ErrNotFound)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			values = append(values, got.Value.Reveal())
		})
	}
	wg.Wait()
	require.Len(t, values, 1)
	assert.True(t, h.entra.works("billing", values[0]))
	waiting, err = h.OneTimeSecrets(ctx, ada, "billing")
	require.NoError(t, err)
	assert.Empty(t, waiting)
}

func TestAnUnreceivedSecretLapses(t *testing.T) {
	t.Parallel()
	h := newFixture(t, func(c *appaccess.ServiceConfig) { c.OneTimeSecretTTL = time.Hour }).withApp()
	sealed, err := h.CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	h.clock.Advance(time.Hour)
	_, err = h.ReceiveSecret(ctx, ada, "billing", sealed.ID)
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	report, err := h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.Equal(t, 1, report.Credentials)
	assert.Empty(t, h.entra.creds["billing"])
}

// The overlap of a rotation begins when the owner has the new secret.
func TestAOneTimeSecretRotatesOnReceipt(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	old, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	sealed, err := h.CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{Rotate: true, Overlap: time.Hour})
	require.NoError(t, err)
	h.clock.Advance(24 * time.Hour)
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.True(t, h.entra.works("billing", old.Value.Reveal()))
	_, err = h.ReceiveSecret(ctx, ada, "billing", sealed.ID)
	require.NoError(t, err)
	h.clock.Advance(time.Hour)
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.False(t, h.entra.works("billing", old.Value.Reveal()))
	assert.Len(t, h.entra.creds["billing"], 1)
}

func TestOneTimeSecretKeysRotate(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	withKeys := func(keys ...appaccess.OneTimeSecretKey) *appaccess.Service {
		s, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: h.store, Provisioner: h.entra, TenantID: tenantID, Now: h.clock.Now, OneTimeSecretKeys: keys})
		require.NoError(t, err)
		return s
	}
	one, two := appaccess.OneTimeSecretKey{ID: "k1", Key: sealingKey(1)}, appaccess.OneTimeSecretKey{ID: "k2", Key: sealingKey(2)}
	first, err := withKeys(one).CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	second, err := withKeys(two, one).CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	_, err = withKeys(one).ReceiveSecret(ctx, ada, "billing", second.ID)
	assertConflict(t, err, "oneTimeSecret")
	got, err := withKeys(two, one).ReceiveSecret(ctx, ada, "billing", first.ID)
	require.NoError(t, err)
	assert.True(t, h.entra.works("billing", got.Value.Reveal()))
	_, err = withKeys(appaccess.OneTimeSecretKey{ID: "k2", Key: sealingKey(9)}).ReceiveSecret(ctx, ada, "billing", second.ID)
	assertConflict(t, err, "oneTimeSecret")
	got, err = withKeys(two).ReceiveSecret(ctx, ada, "billing", second.ID)
	require.NoError(t, err, "a failed receipt consumes nothing")
	assert.True(t, h.entra.works("billing", got.Value.Reveal()))
	_, err = withKeys().CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	assertConflict(t, err, "oneTimeSecret")
}

// A box opens for the application, owner and credential that it was sealed for
// and no other, whatever is written into the store.
func TestSealedSecretIsBound(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "spy", Name: "Spy", OwnerID: "eve", Grants: appaccess.GrantsOfAll("starter")})
	require.NoError(t, err)
	forSpy, err := h.CreateOneTimeSecret(ctx, boss, "spy", appaccess.SecretRequest{})
	require.NoError(t, err)
	sealed, err := h.CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	// Eve's one-time secret gets the box of ada's, and everything else in it.
	_, err = h.store.Update(ctx, func(w appaccess.Writer) error {
		var mine, theirs map[string]any
		for id, into := range map[string]*map[string]any{forSpy.ID: &mine, sealed.ID: &theirs} {
			rec, err := w.Get(appaccess.KindOneTimeSecret, id)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(rec.Body, into))
		}
		mine["box"], mine["keyId"] = theirs["box"], theirs["keyId"]
		body, err := json.Marshal(mine)
		require.NoError(t, err)
		return w.Put(appaccess.Record{Kind: appaccess.KindOneTimeSecret, ID: forSpy.ID, Body: body, Index: []appaccess.IndexEntry{{Name: "application", Value: "spy"}}})
	})
	require.NoError(t, err)
	_, err = h.ReceiveSecret(ctx, eve, "spy", forSpy.ID)
	assertConflict(t, err, "oneTimeSecret")
	_, err = h.ReceiveSecret(ctx, eve, "spy", sealed.ID)
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	_, err = h.ReceiveSecret(ctx, ada, "billing", sealed.ID)
	require.NoError(t, err)
}

// A row whose end was moved does not open.
func TestSealedSecretIsBoundToItsEnd(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	sealed, err := h.CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	_, err = h.store.Update(ctx, func(w appaccess.Writer) error {
		rec, err := w.Get(appaccess.KindOneTimeSecret, sealed.ID)
		require.NoError(t, err)
		var row map[string]any
		require.NoError(t, json.Unmarshal(rec.Body, &row))
		row["expires"] = sealed.Expires.Add(24 * time.Hour)
		rec.Body, err = json.Marshal(row)
		require.NoError(t, err)
		return w.Put(rec)
	})
	require.NoError(t, err)
	h.clock.Advance(73 * time.Hour)
	_, err = h.ReceiveSecret(ctx, ada, "billing", sealed.ID)
	assertConflict(t, err, "oneTimeSecret")
}

func TestRemovingACredentialEndsItsOneTimeSecret(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	sealed, err := h.CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	require.NoError(t, h.RemoveCredential(ctx, boss, "billing", sealed.ID))
	_, err = h.ReceiveSecret(ctx, ada, "billing", sealed.ID)
	require.ErrorIs(t, err, appaccess.ErrNotFound)
}

// A value that was sealed by a call that died before it could record the secret
// is lost. It must not be offered to the owner beside the secret that replaced
// it, and its end must not be the end of that secret.
func TestASecretReplacesAOneTimeSecretThatWasCutOff(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	h.store.arm(1, false) // the box and the record
	_, err := h.CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.ErrorIs(t, err, appaccess.ErrUnavailable)
	h.store.arm(0, false)

	got, err := h.AddSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	waiting, err := h.OneTimeSecrets(ctx, ada, "billing")
	require.NoError(t, err)
	assert.Empty(t, waiting)
	h.clock.Advance(73 * time.Hour)
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.True(t, h.entra.works("billing", got.Value.Reveal()))
}
