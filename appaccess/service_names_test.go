package appaccess_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// The audit trail names what was deleted and who did it, also an actor who is no
// user.
func TestTheTrailKeepsNames(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	grace := appaccess.Actor{UserID: "account:1", Manager: true, Name: "Grace Hopper"}
	u, err := h.CreateUser(ctx, grace, appaccess.UserRequest{Name: "Alan Turing"})
	require.NoError(t, err)
	api, err := h.CreateAPI(ctx, grace, appaccess.APIRequest{Name: "Stock", Path: "/stock"})
	require.NoError(t, err)
	sub, err := h.CreateSubscription(ctx, grace, appaccess.SubscriptionRequest{Name: "Reports", Scope: appaccess.AllAPIs})
	require.NoError(t, err)
	require.NoError(t, h.DeleteUser(ctx, grace, u.ID))
	require.NoError(t, h.DeleteAPI(ctx, grace, api.ID))
	require.NoError(t, h.DeleteSubscription(ctx, grace, sub.Subscription.ID))
	for action, name := range map[string]string{"user.delete": "Alan Turing", "api.delete": "Stock", "subscription.delete": "Reports"} {
		trail, err := h.Audit(ctx, boss, appaccess.AuditFilter{Action: action})
		require.NoError(t, err)
		require.Len(t, trail.Items, 1, action)
		assert.Equal(t, name, trail.Items[0].Name)
		assert.Equal(t, "Grace Hopper", trail.Items[0].ActorName)
	}
	_, err = h.UpdateApplication(ctx, appaccess.Developer("ada"), "billing", appaccess.ApplicationUpdate{Description: ptr("x")})
	require.NoError(t, err)
	trail, err := h.Audit(ctx, boss, appaccess.AuditFilter{Action: "application.update"})
	require.NoError(t, err)
	assert.Equal(t, []string{"Ada Lovelace", "Billing"}, []string{trail.Items[0].ActorName, trail.Items[0].Name})

	names, err := h.Names(ctx, boss, appaccess.Ref{Kind: appaccess.KindProduct, ID: "gold"}, appaccess.Ref{Kind: appaccess.KindUser, ID: "gold"}, appaccess.Ref{Kind: appaccess.KindAudit, ID: "gold"})
	require.NoError(t, err)
	assert.Equal(t, map[appaccess.Ref]string{{Kind: appaccess.KindProduct, ID: "gold"}: "Gold"}, names)
}
