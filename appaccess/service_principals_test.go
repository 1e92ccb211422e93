package appaccess_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/provision/entratest"
)

// withIdentity is an estate in which ada owns the managed identity vm for Starter.
func withIdentity(t *testing.T) (*estate, entratest.Caller) {
	t.Helper()
	e := newEstateOn(t, onSQLite(t), entratest.Lag{})
	for _, id := range []string{"ada", "eve"} {
		_, err := e.CreateUser(ctx, boss, appaccess.UserRequest{ID: id, Name: id})
		require.NoError(t, err)
	}
	_, err := e.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}})
	require.NoError(t, err)
	vm, err := e.tenant.AddManagedIdentity("vm")
	require.NoError(t, err)
	app, err := e.RegisterApplication(ctx, boss, identityRequest("vm", vm))
	require.NoError(t, err)
	assert.Equal(t, appaccess.ApplicationActive, app.State)
	assert.Equal(t, appaccess.ManagedIdentityClient, app.ClientKind())
	assert.Equal(t, vm.AppID, app.Entra.AppID)
	return e, vm
}

func identityRequest(id string, c entratest.Caller) appaccess.ApplicationRequest {
	return appaccess.ApplicationRequest{
		ID: id, Name: id, OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter"),
		ServicePrincipal: appaccess.ServicePrincipal{ObjectID: c.ObjectID, ClientID: c.AppID},
	}
}

// granted reports whether Entra shows a grant of the identity.
func (e *estate) granted(c entratest.Caller) bool {
	for _, i := range e.tenant.State().Identities {
		if i.ObjectID == c.ObjectID {
			return true
		}
	}
	return false
}

func TestAPlanForAManagedIdentityOnlyGrants(t *testing.T) {
	t.Parallel()
	e, _ := withIdentity(t)
	other, err := e.tenant.AddManagedIdentity("other")
	require.NoError(t, err)
	plan, err := e.PlanApplication(ctx, boss, identityRequest("other", other))
	require.NoError(t, err)
	require.Empty(t, plan.Failed)
	require.NotEmpty(t, plan.Steps)
	for _, step := range plan.Steps {
		assert.NotEqual(t, appaccess.ActionCreate, step.Action, step.Detail)
	}
	assert.False(t, e.granted(other))
	wrong := identityRequest("other", other)
	wrong.ServicePrincipal.ObjectID = "vm"
	_, err = e.PlanApplication(ctx, boss, wrong)
	assertInvalid(t, err, "servicePrincipal.objectId")
}

func TestAManagedIdentityIsAClientApplicationWithoutCredentials(t *testing.T) {
	t.Parallel()
	e, vm := withIdentity(t)
	assert.True(t, e.granted(vm))
	catalog, err := appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: e.store})
	require.NoError(t, err)
	defer func() { require.NoError(t, catalog.Close()) }()
	state := func() appaccess.ClientState {
		s, err := catalog.Client(ctx, vm.AppID)
		require.NoError(t, err)
		return s
	}
	assert.Equal(t, appaccess.ManagedIdentityClient, state().Kind)
	assert.Equal(t, vm.ObjectID, state().ServicePrincipalID)

	var conflict *appaccess.ConflictError
	_, err = e.AddSecret(ctx, ada, "vm", appaccess.SecretRequest{})
	require.ErrorAs(t, err, &conflict)
	assert.Equal(t, "servicePrincipal", conflict.Field)
	assert.Contains(t, conflict.Reason, "managed identity")
	_, err = e.CreateOneTimeSecret(ctx, boss, "vm", appaccess.SecretRequest{})
	require.ErrorAs(t, err, &conflict)
	_, err = e.AddFederatedCredential(ctx, ada, "vm", appaccess.FederatedRequest{Name: "github", Issuer: "https://token.actions.githubusercontent.com", Subject: "repo:x/y"})
	require.ErrorAs(t, err, &conflict)

	for _, end := range []struct {
		name      string
		stop, run func() error
		reason    appaccess.DenyReason
	}{
		{"suspended",
			func() error { _, err := e.SuspendApplication(ctx, boss, "vm"); return err },
			func() error { _, err := e.ResumeApplication(ctx, boss, "vm"); return err }, appaccess.ApplicationNotActive},
		{"owner blocked",
			func() error { _, err := e.BlockUser(ctx, boss, "ada"); return err },
			func() error { _, err := e.UnblockUser(ctx, boss, "ada"); return err }, appaccess.OwnerBlocked},
	} {
		require.NoError(t, end.stop(), end.name)
		assert.Eventually(t, func() bool { return state().DenyReason == end.reason }, 20*time.Second, time.Millisecond, end.name)
		assert.False(t, e.granted(vm), end.name)
		require.NoError(t, end.run(), end.name)
		assert.Eventually(t, func() bool { return state().DenyReason == appaccess.NotDenied }, 20*time.Second, time.Millisecond, end.name)
		assert.True(t, e.granted(vm), end.name)
	}

	moved, err := e.TransferApplication(ctx, boss, "vm", "eve")
	require.NoError(t, err)
	assert.Equal(t, vm.AppID, moved.Entra.AppID)

	require.NoError(t, e.tenant.DeleteManagedIdentity(vm))
	_, err = e.Sync(ctx, boss, appaccess.SyncRequest{All: true})
	require.ErrorContains(t, err, vm.ObjectID)
	app, err := e.Application(ctx, boss, "vm")
	require.NoError(t, err)
	assert.Contains(t, app.Sync.Error, "no service principal with the object ID "+vm.ObjectID)
	require.NoError(t, e.DeleteApplication(ctx, boss, "vm"))
	_, err = e.Application(ctx, boss, "vm")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
}

func TestReferencesToServicePrincipalsAreChecked(t *testing.T) {
	t.Parallel()
	e, vm := withIdentity(t)
	var invalid *appaccess.InvalidError
	var conflict *appaccess.ConflictError

	bad := identityRequest("bad", vm)
	bad.ServicePrincipal.ObjectID = "vm"
	_, err := e.RegisterApplication(ctx, boss, bad)
	require.ErrorAs(t, err, &invalid)
	assert.Equal(t, "servicePrincipal.objectId", invalid.Field)

	bad = identityRequest("bad", vm)
	bad.Adopt = vm.AppID
	_, err = e.RegisterApplication(ctx, boss, bad)
	require.ErrorAs(t, err, &invalid)
	assert.Equal(t, "servicePrincipal", invalid.Field)

	_, err = e.RegisterApplication(ctx, boss, identityRequest("twice", vm))
	require.ErrorAs(t, err, &conflict)
	assert.Equal(t, "servicePrincipal", conflict.Field)
	assert.Equal(t, []string{"vm"}, conflict.Objects)

	_, err = e.UpdateProduct(ctx, boss, "starter", appaccess.ProductUpdate{SelfService: ptr(appaccess.SelfServiceOpen)})
	require.NoError(t, err)
	other, err := e.tenant.AddManagedIdentity("other")
	require.NoError(t, err)
	_, err = e.RegisterApplication(ctx, ada, identityRequest("other", other))
	require.ErrorIs(t, err, appaccess.ErrForbidden)

	own, err := e.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "own", Name: "Own", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter")})
	require.NoError(t, err)
	_, err = e.RegisterApplication(ctx, boss, identityRequest("own-again", entratest.Caller{ObjectID: own.Entra.ServicePrincipalID}))
	require.ErrorAs(t, err, &conflict)
	assert.Equal(t, "servicePrincipal", conflict.Field, "an application that is registered here")
}

func TestADocumentCarriesServicePrincipals(t *testing.T) {
	t.Parallel()
	e, vm := withIdentity(t)
	doc, err := exported(e.Service)
	require.NoError(t, err)
	require.Len(t, doc.Applications, 1)
	assert.Equal(t, appaccess.ServicePrincipal{ObjectID: vm.ObjectID, ClientID: vm.AppID}, doc.Applications[0].ServicePrincipal)
	diff, err := diff(e.Service, doc, appaccess.ImportRequest{Prune: true})
	require.NoError(t, err)
	assert.Empty(t, diff)

	other, err := e.tenant.AddManagedIdentity("other")
	require.NoError(t, err)
	changed := doc
	changed.Applications = []appaccess.DocumentApplication{doc.Applications[0]}
	changed.Applications[0].ServicePrincipal = appaccess.ServicePrincipal{ObjectID: other.ObjectID}
	var conflict *appaccess.ConflictError
	_, err = e.Import(ctx, boss, changed, appaccess.ImportRequest{})
	require.ErrorAs(t, err, &conflict)
	assert.Equal(t, "application vm.servicePrincipal", conflict.Field)

	changed.Applications = append(doc.Applications[:1:1], appaccess.DocumentApplication{
		ID: "other", Name: "Other", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter"),
		ServicePrincipal: appaccess.ServicePrincipal{ObjectID: other.ObjectID},
	})
	_, err = e.Import(ctx, boss, changed, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.True(t, e.granted(other))
	_, err = e.Import(ctx, boss, doc, appaccess.ImportRequest{Prune: true})
	require.NoError(t, err)
	assert.False(t, e.granted(other))
}

func TestADeveloperRequestsAManagedIdentityAsClientApplication(t *testing.T) {
	t.Parallel()
	e, _ := withIdentity(t)
	other, err := e.tenant.AddManagedIdentity("other")
	require.NoError(t, err)
	asked := appaccess.ApplicationRequest{
		Name: "Other", Grants: appaccess.GrantsOfAll("starter"), ServicePrincipal: appaccess.ServicePrincipal{ObjectID: other.ObjectID},
	}
	r, err := e.RequestApplication(ctx, ada, asked, "nightly job")
	require.NoError(t, err)
	assert.False(t, e.granted(other), "nothing before the approval")
	r, err = e.ApproveRequest(ctx, boss, r.ID, appaccess.Approval{})
	require.NoError(t, err)
	app, err := e.Application(ctx, ada, r.Result)
	require.NoError(t, err)
	assert.Equal(t, appaccess.ManagedIdentityClient, app.ClientKind())
	assert.True(t, e.granted(other))

	asked.Adopt = other.AppID
	_, err = e.RequestApplication(ctx, ada, asked, "")
	assertInvalid(t, err, "adopt")
}

func TestADocumentTransfersApplicationsAndSubscriptions(t *testing.T) {
	t.Parallel()
	e, vm := withIdentity(t)
	_, err := e.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "own", Name: "Own", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter")})
	require.NoError(t, err)
	_, err = e.CreateOneTimeSecret(ctx, boss, "own", appaccess.SecretRequest{})
	require.NoError(t, err)
	keys, err := e.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "sub", Name: "Sub", OwnerID: "ada", Scope: appaccess.AllAPIs})
	require.NoError(t, err)

	doc, err := exported(e.Service)
	require.NoError(t, err)
	for i := range doc.Applications {
		doc.Applications[i].OwnerID = "eve"
	}
	doc.Subscriptions[0].OwnerID = "eve"
	_, err = e.Import(ctx, boss, doc, appaccess.ImportRequest{})
	require.NoError(t, err)
	again, err := diff(e.Service, doc, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Empty(t, again)
	app, err := e.Application(ctx, eve, "vm")
	require.NoError(t, err)
	assert.Equal(t, vm.AppID, app.Entra.AppID)
	sub, err := e.Subscription(ctx, eve, "sub")
	require.NoError(t, err)
	assert.Equal(t, keys.Subscription.PrimaryHash, sub.PrimaryHash)
	_, err = e.Application(ctx, ada, "own")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	set, err := e.ApplicationSettings(ctx, eve, "own")
	require.NoError(t, err)
	assert.Empty(t, set.OneTimeSecrets, "void")
	_, err = e.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.NoError(t, e.DeleteUser(ctx, boss, "ada"), "ada owns nothing any more")
}
