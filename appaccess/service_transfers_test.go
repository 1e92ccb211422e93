package appaccess_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// actions are the audit trail of an object, oldest first.
func (h *fixture) actions(kind appaccess.Kind, id string) []string {
	h.t.Helper()
	page, err := h.Audit(ctx, boss, appaccess.AuditFilter{Object: string(kind) + "/" + id})
	require.NoError(h.t, err)
	var out []string
	for i := len(page.Items) - 1; i >= 0; i-- {
		out = append(out, page.Items[i].Action)
	}
	return out
}

func TestTransferApplication(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	before, err := h.Application(ctx, boss, "billing")
	require.NoError(t, err)
	sealed, err := h.CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	kept, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)

	after, err := h.TransferApplication(ctx, boss, "billing", "eve")
	require.NoError(t, err)
	assert.Equal(t, "eve", after.OwnerID)
	assert.Equal(t, before.Entra, after.Entra, "the client ID stays")
	assert.Equal(t, before.Grants, after.Grants)
	assert.Equal(t, appaccess.ApplicationActive, after.State)

	_, err = h.Application(ctx, ada, "billing")
	require.ErrorIs(t, err, appaccess.ErrNotFound, "the former owner sees nothing more")
	_, err = h.Credentials(ctx, ada, "billing")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	for _, by := range []appaccess.Actor{ada, eve} {
		_, err = h.ReceiveSecret(ctx, by, "billing", sealed.ID)
		require.ErrorIs(t, err, appaccess.ErrNotFound, "the one-time secret is void")
	}
	creds, err := h.Credentials(ctx, eve, "billing")
	require.NoError(t, err)
	require.Len(t, creds, 1)
	assert.Equal(t, kept.Credential.ID, creds[0].ID, "other credentials stay")

	assert.Contains(t, h.actions(appaccess.KindApplication, "billing"), "application.transfer")
	assert.Contains(t, h.actions(appaccess.KindUser, "ada"), "user.give")
	assert.Contains(t, h.actions(appaccess.KindUser, "eve"), "user.receive")
	require.NoError(t, h.DeleteUser(ctx, boss, "ada"))
}

func TestTransferRefusals(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.TransferApplication(ctx, boss, "billing", "ghost")
	assertInvalid(t, err, "ownerId")
	_, err = h.BlockUser(ctx, boss, "eve")
	require.NoError(t, err)
	_, err = h.TransferApplication(ctx, boss, "billing", "eve")
	assertConflict(t, err, "ownerId")
	_, err = h.UnblockUser(ctx, boss, "eve")
	require.NoError(t, err)
	_, err = h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "hers", Name: "BILLING", OwnerID: "eve", Grants: appaccess.GrantsOfAll("gold")})
	require.NoError(t, err)
	_, err = h.TransferApplication(ctx, boss, "billing", "eve")
	assertConflict(t, err, "name")
	_, err = h.OfferTransfer(ctx, ada, appaccess.KindProduct, "starter", "eve")
	assertInvalid(t, err, "kind")
	_, err = h.OfferTransfer(ctx, ada, appaccess.KindApplication, "billing", "ada")
	assertConflict(t, err, "to")
	_, err = h.OfferTransfer(ctx, ada, appaccess.KindApplication, "billing", "No ID")
	assertInvalid(t, err, "to")
}

func TestTransferOfABlockedOwnersApplication(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.BlockUser(ctx, boss, "ada")
	require.NoError(t, err)
	require.True(t, h.entra.apps["billing"].Disabled)
	_, err = h.TransferApplication(ctx, boss, "billing", "eve")
	require.NoError(t, err)
	assert.False(t, h.entra.apps["billing"].Disabled, "Entra issues tokens again")
}

func TestOfferedTransfer(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	sub, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "sub", Name: "S", OwnerID: "ada", Scope: appaccess.ProductScope("starter")})
	require.NoError(t, err)
	first, err := h.OfferTransfer(ctx, ada, appaccess.KindSubscription, "sub", "ghost")
	require.NoError(t, err, "who exists is not said")
	offer, err := h.OfferTransfer(ctx, ada, appaccess.KindSubscription, "sub", "eve")
	require.NoError(t, err)
	_, err = h.AcceptTransfer(ctx, eve, first.ID)
	require.ErrorIs(t, err, appaccess.ErrNotFound, "the new offer replaced it")

	for _, by := range []appaccess.Actor{ada, eve, boss} {
		list, err := h.Transfers(ctx, by)
		require.NoError(t, err)
		require.Len(t, list, 1, by.UserID)
		assert.Equal(t, offer, list[0])
	}
	_, err = h.AcceptTransfer(ctx, ada, offer.ID)
	require.ErrorIs(t, err, appaccess.ErrForbidden, "the owner cannot accept it for the other")
	_, err = h.AcceptTransfer(ctx, boss, offer.ID)
	require.ErrorIs(t, err, appaccess.ErrForbidden)

	_, err = h.AcceptTransfer(ctx, eve, offer.ID)
	require.NoError(t, err)
	v, err := h.Subscription(ctx, eve, "sub")
	require.NoError(t, err)
	assert.Equal(t, sub.Subscription.PrimaryHash, v.PrimaryHash, "keys stay")
	_, err = h.Subscription(ctx, ada, "sub")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	_, err = h.AcceptTransfer(ctx, eve, offer.ID)
	require.ErrorIs(t, err, appaccess.ErrNotFound)

	declined, err := h.OfferTransfer(ctx, eve, appaccess.KindSubscription, "sub", "ada")
	require.NoError(t, err)
	require.NoError(t, h.EndTransfer(ctx, ada, declined.ID))
	expired, err := h.OfferTransfer(ctx, ada, appaccess.KindApplication, "billing", "eve")
	require.NoError(t, err)
	h.clock.Advance(14 * 24 * time.Hour)
	_, err = h.AcceptTransfer(ctx, eve, expired.ID)
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	list, err := h.Transfers(ctx, boss)
	require.NoError(t, err)
	assert.Empty(t, list)
	assert.Equal(t, []string{"subscription.create", "subscription.offer", "subscription.offer", "subscription.transfer", "subscription.offer", "subscription.decline"},
		h.actions(appaccess.KindSubscription, "sub"))
}

func TestOfferEndsWithItsObject(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	offer, err := h.OfferTransfer(ctx, ada, appaccess.KindApplication, "billing", "eve")
	require.NoError(t, err)
	require.NoError(t, h.DeleteApplication(ctx, boss, "billing"))
	_, err = h.AcceptTransfer(ctx, eve, offer.ID)
	require.ErrorIs(t, err, appaccess.ErrNotFound)
}

// Of a recipient who accepts and a manager who transfers at once, one has the
// last word, and no offer of the former owner stays.
func TestTransfersAtTheSameTime(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.CreateUser(ctx, boss, appaccess.UserRequest{ID: "bob", Name: "Bob"})
	require.NoError(t, err)
	offer, err := h.OfferTransfer(ctx, ada, appaccess.KindApplication, "billing", "eve")
	require.NoError(t, err)
	var accepted, moved error
	var both sync.WaitGroup
	both.Go(func() { _, accepted = h.AcceptTransfer(ctx, eve, offer.ID) })
	both.Go(func() { _, moved = h.TransferApplication(ctx, boss, "billing", "bob") })
	both.Wait()
	require.NoError(t, moved)
	if accepted != nil {
		require.True(t, errors.Is(accepted, appaccess.ErrNotFound), accepted)
	}
	a, err := h.Application(ctx, boss, "billing")
	require.NoError(t, err)
	if accepted != nil {
		assert.Equal(t, "bob", a.OwnerID)
	} else {
		assert.Equal(t, "bob", a.OwnerID, "the manager came after eve, or eve found nothing")
	}
	list, err := h.Transfers(ctx, boss)
	require.NoError(t, err)
	assert.Empty(t, list)
}

func TestTransferAllThenDeleteUser(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "sub", Name: "S", OwnerID: "ada", Scope: appaccess.ProductScope("starter")})
	require.NoError(t, err)
	conflict := assertConflict(t, h.DeleteUser(ctx, boss, "ada"), "id")
	assert.Contains(t, conflict.Reason, "transfer")
	n, err := h.TransferAll(ctx, boss, "ada", "eve")
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	require.NoError(t, h.DeleteUser(ctx, boss, "ada"))
	a, err := h.Application(ctx, eve, "billing")
	require.NoError(t, err)
	assert.Equal(t, appaccess.ApplicationActive, a.State)
}
