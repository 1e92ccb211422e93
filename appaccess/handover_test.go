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

func TestHandoverIsReceivedByTheOwnerOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t).withApp()
	sealed, err := h.HandOverSecret(ctx, boss, "billing", appaccess.SecretRequest{Name: "first"})
	require.NoError(t, err)
	assert.Equal(t, h.clock.Now().Add(72*time.Hour), sealed.Expires)
	waiting, err := h.Handovers(ctx, ada, "billing")
	require.NoError(t, err)
	assert.Equal(t, []appaccess.Handover{sealed}, waiting)
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
	waiting, err = h.Handovers(ctx, ada, "billing")
	require.NoError(t, err)
	assert.Empty(t, waiting)
}

func TestUnreceivedHandoverLapses(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *appaccess.ServiceConfig) { c.HandoverTTL = time.Hour }).withApp()
	sealed, err := h.HandOverSecret(ctx, boss, "billing", appaccess.SecretRequest{})
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
func TestHandoverRotatesOnReceipt(t *testing.T) {
	t.Parallel()
	h := newHouse(t).withApp()
	old, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	sealed, err := h.HandOverSecret(ctx, boss, "billing", appaccess.SecretRequest{Rotate: true, Overlap: time.Hour})
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

func TestHandoverKeysRotate(t *testing.T) {
	t.Parallel()
	h := newHouse(t).withApp()
	withKeys := func(keys ...appaccess.HandoverKey) *appaccess.Service {
		s, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: h.store, Provisioner: h.entra, TenantID: tenantID, Now: h.clock.Now, HandoverKeys: keys})
		require.NoError(t, err)
		return s
	}
	one, two := appaccess.HandoverKey{ID: "k1", Key: sealingKey(1)}, appaccess.HandoverKey{ID: "k2", Key: sealingKey(2)}
	first, err := withKeys(one).HandOverSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	second, err := withKeys(two, one).HandOverSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	_, err = withKeys(one).ReceiveSecret(ctx, ada, "billing", second.ID)
	assertConflict(t, err, "handover")
	got, err := withKeys(two, one).ReceiveSecret(ctx, ada, "billing", first.ID)
	require.NoError(t, err)
	assert.True(t, h.entra.works("billing", got.Value.Reveal()))
	_, err = withKeys(appaccess.HandoverKey{ID: "k2", Key: sealingKey(9)}).ReceiveSecret(ctx, ada, "billing", second.ID)
	assertConflict(t, err, "handover")
	got, err = withKeys(two).ReceiveSecret(ctx, ada, "billing", second.ID)
	require.NoError(t, err, "a failed receipt consumes nothing")
	assert.True(t, h.entra.works("billing", got.Value.Reveal()))
	_, err = withKeys().HandOverSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	assertConflict(t, err, "handover")
}

// A box opens for the application, owner and credential that it was sealed for
// and no other, whatever is written into the store.
func TestSealedSecretIsBound(t *testing.T) {
	t.Parallel()
	h := newHouse(t).withApp()
	_, err := h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "spy", Name: "Spy", OwnerID: "eve", Products: []string{"starter"}})
	require.NoError(t, err)
	forSpy, err := h.HandOverSecret(ctx, boss, "spy", appaccess.SecretRequest{})
	require.NoError(t, err)
	sealed, err := h.HandOverSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	// Eve's hand-over gets the box of ada's, and everything else that is in it.
	_, err = h.store.Update(ctx, func(w appaccess.Writer) error {
		var mine, theirs map[string]any
		for id, into := range map[string]*map[string]any{forSpy.ID: &mine, sealed.ID: &theirs} {
			rec, err := w.Get(appaccess.KindHandover, id)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(rec.Body, into))
		}
		mine["box"], mine["keyId"] = theirs["box"], theirs["keyId"]
		body, err := json.Marshal(mine)
		require.NoError(t, err)
		return w.Put(appaccess.Record{Kind: appaccess.KindHandover, ID: forSpy.ID, Body: body, Index: []appaccess.IndexEntry{{Name: "application", Value: "spy"}}})
	})
	require.NoError(t, err)
	_, err = h.ReceiveSecret(ctx, eve, "spy", forSpy.ID)
	assertConflict(t, err, "handover")
	_, err = h.ReceiveSecret(ctx, eve, "spy", sealed.ID)
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	_, err = h.ReceiveSecret(ctx, ada, "billing", sealed.ID)
	require.NoError(t, err)
}

func TestRemovingAHandedOverSecretEndsTheHandover(t *testing.T) {
	t.Parallel()
	h := newHouse(t).withApp()
	sealed, err := h.HandOverSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	require.NoError(t, h.RemoveCredential(ctx, boss, "billing", sealed.ID))
	_, err = h.ReceiveSecret(ctx, ada, "billing", sealed.ID)
	require.ErrorIs(t, err, appaccess.ErrNotFound)
}

// A value that was sealed by a call that died before it could record the secret
// is lost. It must not be offered to the owner beside the secret that replaced
// it, and its end must not be the end of that secret.
func TestASecretReplacesAHandoverThatWasCutOff(t *testing.T) {
	t.Parallel()
	h := newHouse(t).withApp()
	h.store.arm(3, false) // the claim, the box, and then the record
	_, err := h.HandOverSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.ErrorIs(t, err, appaccess.ErrUnavailable)
	h.store.arm(0, false)

	got, err := h.AddSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	waiting, err := h.Handovers(ctx, ada, "billing")
	require.NoError(t, err)
	assert.Empty(t, waiting)
	h.clock.Advance(73 * time.Hour)
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.True(t, h.entra.works("billing", got.Value.Reveal()))
}
