package provision_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
	"github.com/entragate/entragate/provision/internal/sweep"
)

// hands are those of another administrator of the tenant.
type hands struct {
	*world
	provision.Directory
	applied appaccess.Applied
}

func (h *hands) must(err error) {
	h.t.Helper()
	require.NoError(h.t, err)
}

// application reads one by the unique name.
func (h *hands) application(kind, id string) provision.Application {
	h.t.Helper()
	apps, errs := h.Applications(context.Background(), []provision.AppRef{{UniqueName: "entragate-test-" + kind + "-" + id}})
	require.NoError(h.t, errs[0])
	return apps[0]
}

func newHands(t *testing.T, want memstore.Desired) *hands {
	t.Helper()
	w := newWorld(t, entratest.Config{})
	admin, err := w.tenant.AddCaller("somebody else", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	h := &hands{world: w, Directory: w.tenant.Directory(admin), applied: w.apply(want)}
	w.settle()
	return h
}

func ref[T any](v T) *T { return &v }

// TestDriftIsFoundAndRepaired has somebody change what is ours, and looks that
// Drift reports it, that Apply undoes it, and that objects of others stay.
func TestDriftIsFoundAndRepaired(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	want := memstore.Desired{
		Products:     products("gold", "starter"),
		Applications: []appaccess.DesiredApplication{wantClient("c1", "starter", "gold"), wantClient("c2", "starter")},
	}
	for name, change := range map[string]struct {
		do   func(h *hands)
		told []string // object and action
	}{
		"nothing": {func(*hands) {}, nil},
		"role disabled": {func(h *hands) {
			app := h.application("product", "starter")
			app.AppRoles[0].Enabled = false
			h.must(h.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{AppRoles: &app.AppRoles}))
		}, []string{"product starter change"}},
		"role removed": {func(h *hands) {
			app := h.application("product", "starter")
			app.AppRoles[0].Enabled = false
			h.must(h.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{AppRoles: &app.AppRoles}))
			h.must(h.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{AppRoles: &[]provision.AppRole{}}))
		}, []string{"product starter change"}},
		"role open to users": {func(h *hands) {
			app := h.application("product", "starter")
			app.AppRoles[0].Enabled = false
			h.must(h.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{AppRoles: &app.AppRoles}))
			app.AppRoles[0].Enabled = true
			app.AppRoles[0].AllowedMemberTypes = []string{"User", "Application"}
			h.must(h.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{AppRoles: &app.AppRoles}))
		}, []string{"product starter change", "product starter change"}},
		"token version and claim": {func(h *hands) {
			app := h.application("product", "starter")
			h.must(h.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{AccessTokenVersion: ref(1)}))
		}, []string{"product starter change"}},
		"identifier URI": {func(h *hands) {
			app := h.application("product", "starter")
			h.must(h.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{IdentifierURIs: &[]string{}}))
		}, []string{"product starter change"}},
		"tenant boundary": {func(h *hands) {
			app := h.application("product", "starter")
			h.must(h.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{SignInAudience: ref("AzureADMultipleOrgs")}))
		}, []string{"product starter change"}},
		"display name and tags": {func(h *hands) {
			app := h.application("application", "c1")
			h.must(h.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{DisplayName: ref("Renamed"), Tags: &[]string{}}))
		}, []string{"application c1 change"}},
		"assignment no longer required": {func(h *hands) {
			_, _, err := h.UpsertServicePrincipal(ctx, h.applied.Products["starter"].AppID, provision.ServicePrincipalPatch{AssignmentRequired: ref(false)})
			h.must(err)
		}, []string{"product starter change"}},
		"grant removed": {func(h *hands) {
			held, errs := h.Assignments(ctx, []string{h.applied.Applications["c1"].ServicePrincipalID})
			h.must(errs[0])
			i := slices.IndexFunc(held[0], func(a provision.Assignment) bool {
				return a.ResourceID == h.applied.Products["starter"].ServicePrincipalID
			})
			h.must(h.Unassign(ctx, held[0][i].ResourceID, held[0][i].ID))
		}, []string{"application c1 grant"}},
		"permission removed": {func(h *hands) {
			app := h.application("application", "c2")
			h.must(h.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{RequiredAccess: &[]provision.RequiredAccess{}}))
		}, []string{"application c2 change"}},
		"service principal of a client deleted": {func(h *hands) {
			h.must(h.DeleteServicePrincipal(ctx, h.applied.Applications["c2"].ServicePrincipalID))
		}, []string{"application c2 create", "application c2 grant"}},
		"service principal of a product deleted": {func(h *hands) {
			h.must(h.DeleteServicePrincipal(ctx, h.applied.Products["gold"].ServicePrincipalID))
		}, []string{"product gold create", "application c1 grant"}},
		"client soft-deleted": {func(h *hands) {
			h.must(h.DeleteApplication(ctx, h.applied.Applications["c2"].ObjectID))
		}, []string{"application c2 restore", "application c2 create", "application c2 grant"}},
		"product soft-deleted": {func(h *hands) {
			h.must(h.DeleteApplication(ctx, h.applied.Products["gold"].ObjectID))
		}, []string{"product gold restore", "product gold create", "application c1 grant"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHands(t, want)
			intact := stateOf(h.tenant)
			change.do(h)
			h.settle()

			drift, err := h.engine().Drift(ctx, want)
			require.NoError(t, err)
			assert.Empty(t, drift.Failed)
			var told []string
			for _, s := range drift.Steps {
				told = append(told, s.Object+" "+string(s.Action))
			}
			assert.Equal(t, change.told, told, drift.String())

			h.apply(want)
			assert.Equal(t, intact, stateOf(h.tenant))
			h.settle()
			assert.Zero(t, h.writes(func() { h.apply(want) }))
			drift, err = h.engine().Drift(ctx, want)
			require.NoError(t, err)
			assert.True(t, drift.Empty(), drift.String())
		})
	}
}

// TestWhatIsNotOursStays puts roles, URIs, permissions, grants, tags and secrets
// of others next to ours; neither Apply nor a revocation touches them.
func TestWhatIsNotOursStays(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	want := starter()
	h := newHands(t, want)
	v := newVault()
	_, err := h.engine().AddCredential(ctx, "c1", v.request("one"))
	require.NoError(t, err)
	other, err := h.tenant.AddApplication(entratest.App{Name: "Other", Roles: []string{"Other.Read"}, TokenVersion: 2})
	require.NoError(t, err)

	product := h.application("product", "starter")
	h.must(h.PatchApplication(ctx, product.ObjectID, provision.ApplicationPatch{
		AppRoles: ref(append(product.AppRoles, provision.AppRole{
			ID: "11111111-2222-4333-8444-555555555555", Value: "Theirs", DisplayName: "Theirs", Description: "x", Enabled: true,
			AllowedMemberTypes: []string{"User"},
		})),
		IdentifierURIs:    ref(append(product.IdentifierURIs, "api://"+product.AppID+"/theirs")),
		Tags:              ref(append(product.Tags, "theirs")),
		AccessTokenClaims: ref(append(product.AccessTokenClaims, "ipaddr")),
	}))
	client := h.application("application", "c1")
	h.must(h.PatchApplication(ctx, client.ObjectID, provision.ApplicationPatch{
		RequiredAccess: ref(append(client.RequiredAccess, provision.RequiredAccess{ResourceAppID: other.AppID, Roles: []string{other.Roles["Other.Read"]}})),
		Tags:           ref(append(client.Tags, "theirs")),
	}))
	h.must(h.tenant.Grant(h.applied.Applications["c1"].AppID, other.AppID, "Other.Read"))
	_, err = h.tenant.AddSecret(h.applied.Applications["c1"].AppID, "theirs")
	h.must(err)
	h.settle()

	assert.Zero(t, h.writes(func() { h.apply(want) }), "theirs is no drift")

	// Everything of ours changes: the role, the products and the names.
	want.Products[0].Roles, want.Products[0].Description = allRole("Product.Starter.Read"), "changed"
	want.Applications[0].Grants, want.Applications[0].OwnerID = nil, "new-owner"
	h.apply(want)
	p, c := h.app("product", "starter"), h.app("application", "c1")
	assert.Equal(t, []string{"Product.Starter.Read", "Theirs"}, sorted(p.Roles))
	assert.Equal(t, []string{"api://{appId}", "api://{appId}/theirs"}, sorted(p.URIs))
	assert.Contains(t, p.Tags, "theirs")
	assert.Equal(t, []string{"idtyp", "ipaddr"}, sorted(p.Claims))
	assert.Equal(t, []string{"Other/Other.Read"}, c.Required)
	assert.Equal(t, []string{"Other/Other.Read"}, c.Grants)
	assert.Contains(t, c.Tags, "theirs")
	assert.Contains(t, c.Tags, "entragate:owner:new-owner")
	assert.Len(t, c.Passwords, 2)
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// blind is a directory whose n-th read of applications finds nothing.
type blind struct {
	provision.Directory
	misses int
}

func (d *blind) Applications(ctx context.Context, refs []provision.AppRef) ([]provision.Application, []error) {
	apps, errs := d.Directory.Applications(ctx, refs)
	if d.misses > 0 {
		d.misses--
		for i := range apps {
			apps[i], errs[i] = provision.Application{}, &provision.APIError{Status: 404, Code: "Request_ResourceNotFound", Message: "x"}
		}
	}
	return apps, errs
}

func TestOneMissedReadIsNoDrift(t *testing.T) {
	t.Parallel()
	h := newHands(t, starter())
	for misses := range 3 {
		cfg := h.config()
		cfg.Directory = &blind{Directory: h.dir, misses: misses}
		plan, err := h.engineOf(cfg).Plan(t.Context(), starter())
		require.NoError(t, err)
		assert.True(t, plan.Empty(), plan.String())
	}
}

func TestAMissingSecretIsReported(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHands(t, starter())
	e, v := h.engine(), newVault()
	c, err := e.AddCredential(ctx, "c1", v.request("one"))
	require.NoError(t, err)
	h.must(h.RemovePassword(ctx, h.applied.Applications["c1"].ObjectID, c.KeyID))
	h.settle()

	drift, err := e.Drift(ctx, starter())
	require.NoError(t, err)
	require.Len(t, drift.Steps, 1)
	assert.Equal(t, appaccess.ActionRenew, drift.Steps[0].Action)
	assert.Contains(t, drift.Steps[0].Detail, c.KeyID)
	lost := h.apply(starter()).MissingInEntra
	require.Len(t, lost["c1"], 1)
	assert.Equal(t, c.KeyID, lost["c1"][0].KeyID)

	again, err := e.AddCredential(ctx, "c1", v.request("one"))
	require.NoError(t, err)
	assert.NotEqual(t, c.KeyID, again.KeyID, "the same request makes a new one")
	assert.Empty(t, h.apply(starter()).MissingInEntra)
}

// changedTrust shows federated credentials with another subject than they were
// added with.
type changedTrust struct{ provision.Directory }

func (d changedTrust) FederatedCredentials(ctx context.Context, ids []string) ([][]provision.FederatedCredential, []error) {
	lists, errs := d.Directory.FederatedCredentials(ctx, ids)
	for _, list := range lists {
		for i := range list {
			list[i].Subject = "repo:attacker/repo"
		}
	}
	return lists, errs
}

func TestFederatedCredentialsAndCertificatesAreWatched(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newHands(t, starter())
	e := h.engine()
	federated, err := e.AddCredential(ctx, "c1", appaccess.CredentialRequest{
		OperationID: "one", Kind: appaccess.FederatedCredential, Name: "github", Issuer: "https://ci.example", Subject: "repo:o/r",
	})
	require.NoError(t, err)
	signer, err := e.AddCredential(ctx, "c1", appaccess.CredentialRequest{OperationID: "two", Kind: appaccess.CertificateCredential, CertificatePEM: certificate(h.clock.Now())})
	require.NoError(t, err)
	h.settle()
	drift, err := e.Drift(ctx, starter())
	require.NoError(t, err)
	assert.Empty(t, drift.Steps)

	changed := h.config()
	changed.Directory = changedTrust{h.dir}
	drift, err = h.engineOf(changed).Drift(ctx, starter())
	require.NoError(t, err)
	require.Len(t, drift.Steps, 1)
	assert.Contains(t, drift.Steps[0].Detail, `federated credential "github"`)
	assert.Contains(t, drift.Steps[0].Detail, "somebody changed")

	app := h.applied.Applications["c1"].ObjectID
	h.must(h.RemoveFederatedCredential(ctx, app, federated.KeyID))
	h.must(h.PatchApplication(ctx, app, provision.ApplicationPatch{Keys: &[]provision.KeyCredential{}}))
	h.settle()
	lost := h.apply(starter()).MissingInEntra["c1"]
	require.Len(t, lost, 2)
	assert.ElementsMatch(t, []string{federated.KeyID, signer.KeyID}, []string{lost[0].KeyID, lost[1].KeyID})
	for _, c := range lost {
		require.NoError(t, e.RemoveCredential(ctx, "c1", c))
	}
	assert.Empty(t, h.apply(starter()).MissingInEntra)
}

// TestSuspension: a suspended client gets no token; one that somebody else
// disabled is not enabled by us.
func TestSuspension(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	want := starter()
	h := newHands(t, want)
	e, v := h.engine(), newVault()
	c, err := e.AddCredential(ctx, "c1", v.request("one"))
	require.NoError(t, err)
	token := func() error {
		return h.token(h.applied.Applications["c1"].AppID, v.secrets[c.KeyID], h.applied.Products["starter"].AppID)
	}
	require.NoError(t, token())

	want.Applications[0].Disabled = true
	h.apply(want)
	assert.ErrorContains(t, token(), "AADSTS7000112")
	h.settle()
	assert.Zero(t, h.writes(func() { h.apply(want) }))
	want.Applications[0].Disabled = false
	h.apply(want)
	assert.NoError(t, token())

	_, _, err = h.UpsertServicePrincipal(ctx, h.applied.Applications["c1"].AppID, provision.ServicePrincipalPatch{AccountEnabled: ref(false)})
	h.must(err)
	h.settle()
	h.apply(want)
	assert.False(t, h.app("application", "c1").Enabled, "disabled by somebody else")
	want.Applications[0].Disabled = true
	h.apply(want)
	want.Applications[0].Disabled = false
	h.apply(want)
	assert.False(t, h.app("application", "c1").Enabled, "still disabled by somebody else")
}

// A store is restored from a backup that does not know a suspension. Nothing shows
// who disabled the service principal, so it stays disabled, and Drift reports it
// with its remedy, also if the store knows nothing of the client.
func TestSuspensionAfterTheBackup(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{true, false} {
		want := starter()
		w := newWorld(t, entratest.Config{})
		backup := w.store
		if !known {
			w.apply(memstore.Desired{Products: want.Products})
			backup = w.store.Clone()
		}
		w.apply(want)
		w.settle()
		if known {
			backup = w.store.Clone()
		}
		want.Applications[0].Disabled = true
		w.apply(want)
		w.settle()
		w.store = backup
		want.Applications[0].Disabled = false
		w.apply(want)
		w.settle()
		assert.False(t, w.app("application", "c1").Enabled)
		plan, err := w.engine().Drift(t.Context(), want)
		require.NoError(t, err)
		require.Len(t, plan.Steps, 1)
		assert.Equal(t, appaccess.ActionEnable, plan.Steps[0].Action)
		assert.Contains(t, plan.Steps[0].Detail, "enable it under Enterprise applications")
	}
}

// TestQuickChangesOfMind applies opposite wants one after the other while the
// replicas lag behind: the last one holds.
func TestQuickChangesOfMind(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		w := newWorld(t, entratest.Config{Seed: seed, Lag: entratest.Lag{Min: time.Second, Max: 50 * time.Second}})
		with := memstore.Desired{Products: products("gold", "starter"), Applications: []appaccess.DesiredApplication{wantClient("c1", "starter", "gold")}}
		without := memstore.Desired{Products: products("gold", "starter"), Applications: []appaccess.DesiredApplication{wantClient("c1", "gold")}}
		without.Applications[0].Disabled = true
		without.Applications[0].Description = "changed"
		gone := memstore.Desired{Applications: []appaccess.DesiredApplication{{ID: "c1", Deleted: true}}}
		end := map[string]string{}
		for i, want := range []memstore.Desired{with, without, with, gone, with, without, gone, without, with} {
			w.apply(want)
			state, key := stateOf(w.tenant), ""
			for k, v := range map[string]memstore.Desired{"with": with, "without": without, "gone": gone} {
				if assert.ObjectsAreEqual(v, want) {
					key = k
				}
			}
			if end[key] == "" {
				end[key] = state
			}
			require.Equal(t, end[key], state, "seed %d, change %d", seed, i)
		}
	}
}

// TestRemovalWithdrawsCredentials: what is wanted again is restored without the
// credentials of before, and an adopted application is given back without ours,
// enabled as it was.
func TestRemovalWithdrawsCredentials(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, lag := range sweep.Lags {
		for _, adopted := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", adopted"}[adopted], func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, entratest.Config{})
				want := starter()
				if adopted {
					old, err := w.tenant.AddApplication(entratest.App{Name: "Old client"})
					require.NoError(t, err)
					want.Applications[0].Adopt = old.AppID
				}
				applied := w.apply(want)
				appID := applied.Applications["c1"].AppID
				_, err := w.tenant.AddSecret(appID, "theirs")
				require.NoError(t, err)
				w.settle()
				w.tenant.SetLag(lag)
				e, v := w.engine(), newVault()
				c, err := e.AddCredential(ctx, "c1", v.request("secret"))
				require.NoError(t, err)
				for _, req := range []appaccess.CredentialRequest{
					v.request("another"),
					{OperationID: "cert", Kind: appaccess.CertificateCredential, CertificatePEM: certificate(w.clock.Now())},
					{OperationID: "fic", Kind: appaccess.FederatedCredential, Issuer: "https://issuer.example", Subject: "s"},
				} {
					_, err := e.AddCredential(ctx, "c1", req)
					require.NoError(t, err)
				}
				want.Applications[0].Disabled = true
				w.apply(want)

				gone := memstore.Desired{Applications: []appaccess.DesiredApplication{{ID: "c1", Deleted: true}}}
				w.apply(gone)
				w.settle()
				assert.Zero(t, w.writes(func() { w.apply(gone) }))
				if adopted {
					app := w.app("application", "c1")
					require.NotNil(t, app)
					assert.True(t, app.Enabled, "as it was")
					assert.Empty(t, app.Grants)
				}
				want.Applications[0].Disabled = false
				again := w.apply(want)
				w.settle()
				assert.Equal(t, appID, again.Applications["c1"].AppID)
				assert.Empty(t, again.MissingInEntra)
				app := w.app("application", "c1")
				assert.Len(t, app.Passwords, 1, "theirs")
				assert.Empty(t, append(app.Keys, app.Federated...))
				assert.Error(t, w.token(appID, v.secrets[c.KeyID], again.Products["starter"].AppID))
				for _, op := range []string{"a", "b"} {
					_, err = e.AddCredential(ctx, "c1", v.request(op))
					require.NoError(t, err, "there is room for two")
				}
			})
		}
	}
}

// TestRemovedAndDesiredAgain restores the same application: its client ID and
// name stay, and no second one is made.
func TestRemovedAndDesiredAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	first := w.apply(starter())
	before := stateOf(w.tenant)
	gone := memstore.Desired{
		Products:     []appaccess.DesiredProduct{{ID: "starter", Deleted: true}},
		Applications: []appaccess.DesiredApplication{{ID: "c1", Deleted: true}},
	}
	w.apply(gone)
	assert.Nil(t, w.app("product", "starter"))
	assert.Nil(t, w.app("application", "c1"))
	assert.Len(t, w.tenant.State().Deleted, 2)
	w.settle()
	assert.Zero(t, w.writes(func() { w.apply(gone) }))

	again := w.apply(starter())
	assert.Equal(t, first, again)
	assert.Equal(t, before, stateOf(w.tenant))

	// Without the provisioning state the proof shows that the deleted application
	// is ours.
	w.apply(gone)
	w.settle()
	for _, rec := range w.store.Records() {
		if rec.Kind == appaccess.KindProvisioning {
			w.forget(rec.Kind, rec.ID)
		}
	}
	assert.Equal(t, first.Products["starter"].AppID, w.apply(starter()).Products["starter"].AppID)
	assert.Equal(t, before, stateOf(w.tenant))
}

// TestStateOfPurgedObjects keeps what is recorded of a removed object while Entra
// can restore it, and no longer.
func TestStateOfPurgedObjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	w.apply(starter())
	gone := memstore.Desired{
		Products:     []appaccess.DesiredProduct{{ID: "starter", Deleted: true}},
		Applications: []appaccess.DesiredApplication{{ID: "c1", Deleted: true}},
	}
	w.apply(gone)
	entries := func() (n int) {
		_, err := w.engine().Unfinished(t.Context())
		require.NoError(t, err)
		for _, rec := range w.store.Records() {
			if rec.Kind == appaccess.KindProvisioning {
				n++
			}
		}
		return n
	}
	for range 10 { // until the deletions are confirmed
		require.NoError(t, w.clock.Sleep(t.Context(), 10*time.Minute))
		w.apply(gone)
	}
	before := entries()
	require.NotZero(t, before)
	require.NoError(t, w.clock.Sleep(t.Context(), 29*24*time.Hour))
	assert.Equal(t, before, entries(), "Entra can restore them")
	require.NoError(t, w.clock.Sleep(t.Context(), 3*24*time.Hour))
	assert.Zero(t, entries(), "Entra has purged them")
}
