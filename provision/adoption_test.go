package provision_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// registration returns an application and its service principal.
func (w *world) registration(appID string) (provision.Application, provision.ServicePrincipal) {
	w.t.Helper()
	apps, errs := w.dir.Applications(w.t.Context(), []provision.AppRef{{AppID: appID}})
	require.NoError(w.t, errs[0])
	sps, errs := w.dir.ServicePrincipals(w.t.Context(), []provision.PrincipalRef{{AppID: appID}})
	require.NoError(w.t, errs[0])
	if len(apps[0].AccessTokenClaims) == 0 {
		apps[0].AccessTokenClaims = nil // no optionalClaims, or one with an empty list
	}
	return apps[0], sps[0]
}

// The plan of an adoption shows what changes for present callers. Name and token version
// change only if the operator asks for it. Releasing the application restores everything
// except the unique name.
func TestAdoptionChangesWhatIsAskedAndGivesItBack(t *testing.T) {
	t.Parallel()
	for name, changes := range map[string]appaccess.AdoptChanges{
		"nothing asked": {}, "rename": {Rename: true}, "version": {TokenVersion2: true}, "both": {Rename: true, TokenVersion2: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, entratest.Config{})
			old, err := w.tenant.AddApplication(entratest.App{Name: "Old API", Roles: []string{"user:Product.Starter.All", "Old.Read"}, Tags: []string{"theirs"}})
			require.NoError(t, err)
			before, principal := w.registration(old.AppID)
			want := memstore.Desired{Products: products("starter")}
			want.Products[0].Adopt, want.Products[0].AdoptChanges = old.AppID, changes

			plan, err := w.engine().Plan(t.Context(), want)
			require.NoError(t, err)
			var words []string
			for _, s := range plan.Steps {
				words = append(words, s.Detail)
			}
			shown := strings.Join(words, "; ")
			assert.Equal(t, changes.Rename, strings.Contains(shown, `rename "Old API"`), shown)
			assert.Equal(t, !changes.Rename, strings.Contains(shown, "it keeps its name"), shown)
			assert.Equal(t, changes.TokenVersion2, strings.Contains(shown, "access token version 1 to 2"), shown)
			assert.Equal(t, !changes.TokenVersion2, strings.Contains(shown, "it keeps access token version 1"), shown)
			assert.Contains(t, shown, "present callers without an assignment get no more tokens")

			w.apply(want)
			now, sp := w.registration(old.AppID)
			assert.Equal(t, changes.Rename, now.DisplayName != before.DisplayName)
			assert.Equal(t, map[bool]int{true: 2}[changes.TokenVersion2], now.AccessTokenVersion)
			assert.True(t, sp.AssignmentRequired)
			assert.Contains(t, now.AccessTokenClaims, "idtyp")
			w.settle()
			want.Products[0].Adopt, want.Products[0].AdoptChanges = "", appaccess.AdoptChanges{}
			want.Products[0].ApplicationName = now.DisplayName // as the Service records it
			assert.Zero(t, w.writes(func() { w.apply(want) }))

			w.apply(memstore.Desired{Products: []appaccess.DesiredProduct{{ID: "starter", Deleted: true}}})
			w.settle()
			after, sp := w.registration(old.AppID)
			before.UniqueName = after.UniqueName
			assert.Equal(t, before, after)
			assert.Equal(t, principal, sp)
		})
	}
}

// Two products ask for the same application in one round. One of them adopts it, and
// the other one is refused with the name of the first.
func TestTwoProductsDoNotAdoptOneApplication(t *testing.T) {
	t.Parallel()
	for _, concurrency := range []int{1, 2} {
		w := newWorld(t, entratest.Config{})
		old, err := w.tenant.AddApplication(entratest.App{Name: "Old API"})
		require.NoError(t, err)
		want := memstore.Desired{Products: products("gold", "starter")}
		for i := range want.Products {
			want.Products[i].Adopt = old.AppID
		}
		cfg := w.config()
		cfg.Concurrency = concurrency
		for range 2 {
			applied, err := w.engineOf(cfg).Apply(t.Context(), want, nil)
			require.NoError(t, err)
			require.Len(t, applied.Failed, 1)
			for object, err := range applied.Failed {
				assert.ErrorIs(t, err, provision.ErrNotOurs)
				assert.NotContains(t, applied.Products, strings.TrimPrefix(object, "product "))
			}
			app, _ := w.registration(old.AppID)
			assert.Len(t, app.AppRoles, 1, "only one product has its role in it")
			w.settle()
		}
		// The one that was refused gets an application of its own.
		for i, p := range want.Products {
			if app, _ := w.registration(old.AppID); !strings.Contains(app.AppRoles[0].Value, strings.ToUpper(p.ID[:1])) {
				want.Products[i].Adopt = ""
			}
		}
		applied := w.apply(want)
		assert.NotEqual(t, applied.Products["gold"].AppID, applied.Products["starter"].AppID)
	}
}

// Adoption creates the service principal that an application did not have. Giving the
// application up deletes that service principal, and the application stays.
func TestGivingUpDeletesTheServicePrincipalThatAdoptionCreated(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"product", "application"} {
		w := newWorld(t, entratest.Config{})
		name := "Old"
		old, err := w.dir.CreateApplication(t.Context(), provision.ApplicationPatch{DisplayName: &name})
		require.NoError(t, err)
		want, gone := starter(), starter()
		if kind == "product" {
			want.Applications, gone.Applications = nil, nil
			want.Products[0].Adopt = old.AppID
			gone.Products[0] = appaccess.DesiredProduct{ID: "starter", Deleted: true}
		} else {
			want.Applications[0].Adopt = old.AppID
			gone.Applications[0] = appaccess.DesiredApplication{ID: "c1", Deleted: true}
		}
		w.apply(want)
		_, errs := w.dir.ServicePrincipals(t.Context(), []provision.PrincipalRef{{AppID: old.AppID}})
		require.NoError(t, errs[0], kind)
		w.settle()
		w.apply(gone)
		_, errs = w.dir.ServicePrincipals(t.Context(), []provision.PrincipalRef{{AppID: old.AppID}})
		require.Error(t, errs[0], kind)
		apps, errs := w.dir.Applications(t.Context(), []provision.AppRef{{AppID: old.AppID}})
		require.NoError(t, errs[0], kind)
		assert.Equal(t, name, apps[0].DisplayName)
		assert.Empty(t, apps[0].Tags)
	}
}

// unknownType is a permission of a type that Graph does not have today.
var unknownType = provision.RequiredAccess{ResourceAppID: entratest.GraphAppID, Others: []provision.OtherAccess{{ID: "e1fe6dd8-ba31-4d61-89e7-88639da4683d", Type: "Delegation"}}}

// newerGraph shows a permission of an unknown type on every application. The tenant
// does not know the type, so writes leave it out.
type newerGraph struct {
	provision.Directory
	t      *testing.T
	writes int // of permissions
}

func (d *newerGraph) Applications(ctx context.Context, refs []provision.AppRef) ([]provision.Application, []error) {
	apps, errs := d.Directory.Applications(ctx, refs)
	for i := range apps {
		apps[i].RequiredAccess = append(slices.Clone(apps[i].RequiredAccess), unknownType)
	}
	return apps, errs
}

func (d *newerGraph) PatchApplication(ctx context.Context, id string, p provision.ApplicationPatch) error {
	if p.RequiredAccess != nil {
		d.writes++
		assert.Contains(d.t, *p.RequiredAccess, unknownType)
		known := slices.DeleteFunc(slices.Clone(*p.RequiredAccess), func(a provision.RequiredAccess) bool { return len(a.Others) > 0 })
		p.RequiredAccess = &known
	}
	return d.Directory.PatchApplication(ctx, id, p)
}

// Granting and revoking leave a permission of a type that Graph does not have today.
func TestAPermissionOfUnknownTypeStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	w.apply(starter())
	graph := &newerGraph{Directory: w.dir, t: t}
	w.dir = graph
	for i, grants := range []appaccess.Grants{nil, appaccess.GrantsOfAll("starter")} {
		w.settle()
		want := starter()
		want.Applications[0].Grants = grants
		w.apply(want)
		assert.Equal(t, i+1, graph.writes)
	}
}

// A client application that is adopted keeps its name, permissions of every type
// and its certificates to the last byte.
func TestAdoptedClientIsGivenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	old, err := w.tenant.AddApplication(entratest.App{Name: "Old client"})
	require.NoError(t, err)
	ask := []provision.RequiredAccess{{ResourceAppID: entratest.GraphAppID, Scopes: []string{"e1fe6dd8-ba31-4d61-89e7-88639da4683d"}}}
	block, _ := pem.Decode([]byte(certificate(w.clock.Now())))
	theirs, err := json.Marshal(map[string]any{
		"type": "AsymmetricX509Cert", "usage": "Verify", "displayName": "theirs", "key": block.Bytes,
		"startDateTime": "2026-01-02T02:04:52.4637406Z", "endDateTime": "2026-03-02T02:04:52.4637406Z",
	})
	require.NoError(t, err)
	keys := []provision.KeyCredential{{Raw: string(theirs)}}
	require.NoError(t, w.dir.PatchApplication(t.Context(), old.ApplicationID, provision.ApplicationPatch{RequiredAccess: &ask, Description: new("theirs"), Keys: &keys}))
	before, principal := w.registration(old.AppID)
	want := starter()
	want.Applications[0].Adopt = old.AppID
	w.apply(want)
	now, _ := w.registration(old.AppID)
	assert.Equal(t, "Old client", now.DisplayName)
	assert.Equal(t, "theirs", now.Description)
	assert.Len(t, now.RequiredAccess, 2)
	_, err = w.engine().AddCredential(t.Context(), "c1", appaccess.CredentialRequest{OperationID: "ours", Kind: appaccess.CertificateCredential, CertificatePEM: certificate(w.clock.Now())})
	require.NoError(t, err)
	beside, _ := w.registration(old.AppID)
	require.Len(t, beside.Keys, 2)
	assert.Contains(t, beside.Keys, before.Keys[0])
	w.apply(memstore.Desired{Products: want.Products, Applications: []appaccess.DesiredApplication{{ID: "c1", Deleted: true}}})
	w.settle()
	after, sp := w.registration(old.AppID)
	before.UniqueName = after.UniqueName
	assert.Equal(t, before, after)
	assert.Equal(t, principal, sp)
}
