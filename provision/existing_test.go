package provision_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// identity is a managed identity of the tenant and what is desired of it.
func (w *world) identity(name string, products ...string) (entratest.Caller, appaccess.DesiredApplication) {
	w.t.Helper()
	c, err := w.tenant.AddManagedIdentity(name)
	require.NoError(w.t, err)
	return c, appaccess.DesiredApplication{
		ID: name, Name: name, OwnerID: "owner", Grants: appaccess.GrantsOfAll(products...),
		ServicePrincipal: appaccess.ServicePrincipal{ObjectID: c.ObjectID, ClientID: c.AppID},
	}
}

// grantsOf are the roles that a managed identity holds.
func (w *world) grantsOf(c entratest.Caller) []string {
	for _, i := range w.tenant.State().Identities {
		if i.ObjectID == c.ObjectID {
			return i.Grants
		}
	}
	return nil
}

// converge applies until nothing fails, then waits for the replicas.
func (w *world) converge(want memstore.Desired) {
	w.t.Helper()
	for range 20 {
		applied, err := w.engine().Apply(w.t.Context(), want, nil)
		require.NoError(w.t, err)
		if len(applied.Failed) == 0 {
			w.settle()
			return
		}
	}
	require.Fail(w.t, "not in sync after 20 rounds")
}

const (
	starterRole = "entragate-test-product-starter/Product.Starter.All"
	goldRole    = "entragate-test-product-gold/Product.Gold.All"
)

func TestAnExistingServicePrincipalIsGrantedAndNothingElseOfItIsWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	vm, client := w.identity("vm", "starter", "gold")
	want := memstore.Desired{Products: products("starter", "gold"), Applications: []appaccess.DesiredApplication{client}}

	plan, err := w.engine().Plan(t.Context(), want)
	require.NoError(t, err)
	require.Empty(t, plan.Failed)
	var steps []string
	for _, s := range plan.Steps {
		if s.Object == "application vm" {
			steps = append(steps, string(s.Action)+" "+s.Detail)
		}
	}
	assert.Equal(t, []string{"grant Product.Starter.All of product starter", "grant Product.Gold.All of product gold"}, steps)

	applied := w.apply(want)
	assert.Equal(t, appaccess.ApplicationRegistration{Name: "vm", AppID: vm.AppID, ServicePrincipalID: vm.ObjectID, Type: "ManagedIdentity"}, applied.Applications["vm"])
	assert.Equal(t, []string{goldRole, starterRole}, w.grantsOf(vm))
	assert.Nil(t, w.app("application", "vm"), "no application object")
	w.settle()
	assert.Zero(t, w.writes(func() { w.apply(want) }))

	review, err := w.engine().Review(t.Context(), nil, []string{"vm"})
	require.NoError(t, err)
	r := review.Applications[0]
	assert.Equal(t, "vm ManagedIdentity "+vm.AppID+" "+vm.ObjectID, r.Name+" "+r.Type+" "+r.AppID+" "+r.ServicePrincipal)
	assert.True(t, r.Found && r.Enabled)
	require.Len(t, r.Permissions, 2)
	assert.Equal(t, "APIMProductApplicationStarter Product.Starter.All true", r.Permissions[0].Resource+" "+r.Permissions[0].Role+" "+map[bool]string{true: "true"}[r.Permissions[0].Granted])

	want.Applications[0].Grants = appaccess.GrantsOfAll("gold")
	w.apply(want)
	assert.Equal(t, []string{goldRole}, w.grantsOf(vm))

	want.Applications[0].Disabled = true
	w.apply(want)
	assert.Empty(t, w.grantsOf(vm), "suspended")
	want.Applications[0].Disabled = false
	w.apply(want)
	assert.Equal(t, []string{goldRole}, w.grantsOf(vm), "resumed")

	_, err = w.engine().AddCredential(t.Context(), "vm", appaccess.CredentialRequest{OperationID: "1", Kind: appaccess.SecretCredential, Deliver: newVault().deliver})
	require.ErrorIs(t, err, appaccess.ErrNotFound)

	want.Applications = []appaccess.DesiredApplication{{ID: "vm", Deleted: true}}
	w.apply(want)
	assert.Empty(t, w.grantsOf(vm), "deleted here")
	sps, errs := w.dir.ServicePrincipals(t.Context(), []provision.PrincipalRef{{ObjectID: vm.ObjectID}})
	require.NoError(t, errs[0])
	assert.True(t, sps[0].AccountEnabled, "the identity itself stays")
}

func TestAGrantThatAnExistingServicePrincipalHeldBeforeIsOursOnceDesired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	vm, client := w.identity("vm", "starter")
	want := memstore.Desired{Products: products("starter")}
	starter := w.apply(want).Products["starter"]
	_, err := w.dir.Assign(t.Context(), provision.Assignment{PrincipalID: vm.ObjectID, ResourceID: starter.ServicePrincipalID, RoleID: starter.Roles[0].ID})
	require.NoError(t, err)
	w.settle()
	want.Applications = []appaccess.DesiredApplication{client}
	assert.Zero(t, w.writes(func() { w.apply(want) }))
	want.Applications[0].Disabled = true
	w.apply(want)
	assert.Empty(t, w.grantsOf(vm))
}

func TestRevokedGrantsOfAnExistingServicePrincipalAreConfirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	_, client := w.identity("vm", "starter")
	want := memstore.Desired{Products: products("starter"), Applications: []appaccess.DesiredApplication{client}}
	w.apply(want)
	w.settle()
	want.Applications = []appaccess.DesiredApplication{{ID: "vm", Deleted: true}}
	recording := want.Recording()
	_, err := w.engine().Apply(t.Context(), recording, nil)
	require.NoError(t, err)
	outcome, _ := recording.Outcome("application vm")
	assert.Equal(t, 1, outcome.Unconfirmed)
	for range 4 {
		left, err := w.engine().Unfinished(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, left.Revocations)
		w.settle()
		_, err = w.engine().Apply(t.Context(), recording, nil)
		require.NoError(t, err)
		if outcome, _ = recording.Outcome("application vm"); outcome.Unconfirmed == 0 {
			break
		}
	}
	assert.Zero(t, outcome.Unconfirmed)
	left, err := w.engine().Unfinished(t.Context())
	require.NoError(t, err)
	assert.Zero(t, left.Revocations)
}

func TestAnExistingServicePrincipalThatIsCreatedAgainIsDriftAndNotFollowed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := newWorld(t, entratest.Config{})
	vm, client := w.identity("vm", "starter")
	// A multi-tenant application of others: its service principal can be created
	// again with the same client ID.
	daemon, err := w.tenant.AddApplication(entratest.App{Name: "daemon"})
	require.NoError(t, err)
	other := appaccess.DesiredApplication{
		ID: "daemon", OwnerID: "owner", Grants: appaccess.GrantsOfAll("starter"),
		ServicePrincipal: appaccess.ServicePrincipal{ObjectID: daemon.ObjectID},
	}
	want := memstore.Desired{Products: products("starter"), Applications: []appaccess.DesiredApplication{client, other}}
	applied := w.apply(want)
	assert.Equal(t, "Application", applied.Applications["daemon"].Type)
	w.settle()

	require.NoError(t, w.tenant.DeleteManagedIdentity(vm))
	again, err := w.tenant.AddManagedIdentity("vm")
	require.NoError(t, err)
	admin, err := w.tenant.AddCaller("somebody else", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	hands := w.tenant.Directory(admin)
	require.NoError(t, hands.DeleteServicePrincipal(ctx, daemon.ObjectID))
	recreated, _, err := hands.UpsertServicePrincipal(ctx, daemon.AppID, provision.ServicePrincipalPatch{})
	require.NoError(t, err)
	w.settle()

	drift, err := w.engine().Drift(ctx, want)
	require.NoError(t, err)
	assert.Empty(t, drift.Steps)
	var missing *provision.PrincipalMissingError
	require.ErrorAs(t, drift.Failed["application vm"], &missing)
	assert.Equal(t, provision.PrincipalMissingError{ObjectID: vm.ObjectID}, *missing)
	require.ErrorAs(t, drift.Failed["application daemon"], &missing)
	assert.Equal(t, provision.PrincipalMissingError{ObjectID: daemon.ObjectID, Recreated: recreated.ObjectID}, *missing)
	require.ErrorIs(t, drift.Failed["application daemon"], appaccess.ErrNotFound)

	result, err := w.engine().Apply(ctx, want, nil)
	require.NoError(t, err)
	assert.Len(t, result.Failed, 2)
	assert.Empty(t, w.grantsOf(again))
	held, errs := w.dir.Assignments(ctx, []string{recreated.ObjectID})
	require.NoError(t, errs[0])
	assert.Empty(t, held[0])

	want.Applications = []appaccess.DesiredApplication{{ID: "vm", Deleted: true}, {ID: "daemon", Deleted: true}}
	w.apply(want)
}

func TestAnExistingServicePrincipalWithAnotherClientIDIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	vm, client := w.identity("vm", "starter")
	client.ServicePrincipal.ClientID = "00001111-aaaa-2222-bbbb-3333cccc4444"
	_, unknown := w.identity("gone", "starter")
	unknown.ServicePrincipal = appaccess.ServicePrincipal{ObjectID: "00001111-aaaa-2222-bbbb-3333cccc4444"}
	want := memstore.Desired{Products: products("starter"), Applications: []appaccess.DesiredApplication{client, unknown}}
	applied, err := w.engine().Apply(t.Context(), want, nil)
	require.NoError(t, err)
	var conflict *appaccess.ConflictError
	require.ErrorAs(t, applied.Failed["application vm"], &conflict)
	assert.Equal(t, "servicePrincipal.clientId", conflict.Field)
	assert.ErrorContains(t, applied.Failed["application gone"], "use the object ID (principal ID)")
	assert.Empty(t, w.grantsOf(vm))
	assert.NotContains(t, applied.Applications, "vm")
}

func TestALostStateTakesOverExistingServicePrincipals(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := newWorld(t, entratest.Config{})
	vm, client := w.identity("vm", "starter", "gold")
	lost, forgotten := w.identity("lost", "starter")
	want := memstore.Desired{Products: products("starter", "gold"), Applications: []appaccess.DesiredApplication{client, forgotten}}
	w.apply(want)
	w.settle()

	w.store = memstore.New()
	client.Grants = appaccess.GrantsOfAll("starter") // an older backup
	want.Applications = []appaccess.DesiredApplication{client}
	_, err := w.engine().TakeOver(ctx, provision.TakeOverRequest{Products: []string{"starter", "gold"}, Applications: []string{"vm"}})
	require.NoError(t, err)
	w.apply(want)
	assert.Equal(t, []string{starterRole}, w.grantsOf(vm), "what is not desired is revoked")
	w.settle()

	found, err := w.engine().Unknown(ctx)
	require.NoError(t, err)
	require.Len(t, found.Grants, 1)
	assert.Equal(t, " starter All "+lost.ObjectID, found.Grants[0].Application+" "+found.Grants[0].Product+" "+found.Grants[0].Permission+" "+found.Grants[0].Principal)
}

func TestALaggingTenantGrantsAndRevokesExistingServicePrincipals(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		w := newWorld(t, entratest.Config{Seed: seed, Lag: entratest.Lag{Min: time.Second, Max: 40 * time.Second}, FaultRate: 0.2})
		vm, client := w.identity("vm", "starter", "gold")
		want := memstore.Desired{Products: products("starter", "gold"), Applications: []appaccess.DesiredApplication{client}}
		w.converge(want)
		assert.Equal(t, []string{goldRole, starterRole}, w.grantsOf(vm))
		want.Applications[0].Grants = appaccess.GrantsOfAll("gold")
		w.converge(want)
		assert.Equal(t, []string{goldRole}, w.grantsOf(vm))
		want.Applications[0].Disabled = true
		w.converge(want)
		assert.Empty(t, w.grantsOf(vm))
	}
}
