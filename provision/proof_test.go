package provision_test

import (
	"errors"
	"fmt"
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

// publicTag is the tag that everybody can compute.
func publicTag(kind, id string) string { return "entragate:entragate-test-" + kind + "-" + id }

// refusesDecoy checks that nothing was written to a decoy and that the error
// names it.
func refusesDecoy(t *testing.T, w *world, err error, d entratest.Decoy) {
	t.Helper()
	require.ErrorIs(t, err, provision.ErrNotOurs)
	var refused *provision.NotOursError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, d.ObjectID, refused.ObjectID)
	assert.NotEmpty(t, refused.Own)
	assert.ErrorContains(t, err, "exists")
	for _, a := range w.tenant.State().Applications {
		if a.ObjectID == d.ObjectID {
			assert.Empty(t, a.Grants)
			assert.Equal(t, "decoy", a.DisplayName)
		}
	}
}

// Another user of the tenant registers an application with our unique name and
// our public tag, before we do and while replicas lag: it is never written,
// granted or restored.
func TestAStrangersApplicationIsNeverAdopted(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"application", "product"} {
		for _, deleted := range []bool{false, true} {
			for seed := range uint64(20) {
				t.Run(fmt.Sprintf("%s, deleted %t, seed %d", kind, deleted, seed), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, entratest.Config{Seed: seed, Lag: entratest.Lag{Max: time.Duration(seed%4) * time.Minute}})
					stranger, err := w.tenant.AddStranger("mallory")
					require.NoError(t, err)
					id := map[string]string{"application": "c1", "product": "starter"}[kind]
					app := entratest.App{Name: "decoy", UniqueName: "entragate-test-" + kind + "-" + id, Roles: []string{"Product.Starter.All"}}
					if seed%2 == 0 {
						app.Tags = []string{publicTag(kind, id)}
					}
					d, err := stranger.Register(t.Context(), app)
					require.NoError(t, err)
					if deleted {
						require.NoError(t, stranger.Delete(t.Context(), d))
					}
					for range 2 { // at once, and when the replicas agree
						applied, err := w.engine().Apply(t.Context(), starter(), nil)
						require.NoError(t, err)
						refusesDecoy(t, w, applied.Failed[kind+" "+id], d)
						require.Error(t, applied.Failed["application c1"])
						if p, ok := applied.Products["starter"]; ok {
							assert.Error(t, w.token(d.AppID, d.Secret, p.AppID))
						}
						w.settle()
					}
					if !deleted {
						plan, err := w.engine().Plan(t.Context(), starter())
						require.NoError(t, err)
						assert.Contains(t, plan.String(), "exists")
					}
				})
			}
		}
	}
}

// A copy of all tags of one of our applications proves nothing elsewhere: not on
// a name that was freed, and not in place of what a backup has forgotten.
func TestCopiedTagsProveNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	stranger, err := w.tenant.AddStranger("mallory")
	require.NoError(t, err)
	applied := w.apply(starter())
	c1 := applied.Applications["c1"]
	apps, errs := w.dir.Applications(t.Context(), []provision.AppRef{{ObjectID: c1.ObjectID}})
	require.NoError(t, errs[0])
	require.NoError(t, w.tenant.PurgeApplication(c1.AppID))
	d, err := stranger.Register(t.Context(), entratest.App{Name: "decoy", UniqueName: "entragate-test-application-c1", Tags: apps[0].Tags})
	require.NoError(t, err)
	w.settle()
	for _, restored := range []bool{false, true} {
		if restored {
			w.forget(appaccess.KindProvisioning, "entragate-test-application-c1")
		}
		failed, err := w.engine().Apply(t.Context(), starter(), nil)
		require.NoError(t, err)
		refusesDecoy(t, w, failed.Failed["application c1"], d)
		assert.Error(t, w.token(d.AppID, d.Secret, applied.Products["starter"].AppID))
	}
}

// A store is restored from a backup. A client that was registered after the
// backup is registered again for another owner: what the first owner got is gone.
func TestARestoredStore(t *testing.T) {
	t.Parallel()
	for name, lag := range sweep.Lags {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			w := newWorld(t, entratest.Config{Lag: lag})
			first := memstore.Desired{Products: products("gold", "iron", "starter"), Applications: []appaccess.DesiredApplication{wantClient("c1", "starter")}}
			w.apply(first)
			w.settle()
			backup := w.store.Clone()
			second := first
			second.Applications = append(first.Applications[:1:1], wantClient("c2", "gold", "iron"))
			applied := w.apply(second)
			v := newVault()
			old, err := w.engine().AddCredential(ctx, "c2", v.request("one"))
			require.NoError(t, err)
			_, err = w.engine().AddCredential(ctx, "c2", appaccess.CredentialRequest{OperationID: "cert", Kind: appaccess.CertificateCredential, CertificatePEM: certificate(w.clock.Now())})
			require.NoError(t, err)
			_, err = w.tenant.AddSecret(applied.Applications["c2"].AppID, "theirs")
			require.NoError(t, err)
			w.settle()

			w.store = backup
			again := second
			again.Applications = append(first.Applications[:1:1], wantClient("c2", "starter"))
			again.Applications[1].OwnerID = "another-owner"
			now := w.apply(again)
			assert.Equal(t, applied.Applications["c2"].AppID, now.Applications["c2"].AppID)
			w.settle()
			c2 := w.app("application", "c2")
			assert.Equal(t, []string{"entragate-test-product-starter/Product.Starter.All"}, c2.Grants)
			assert.Empty(t, c2.Keys)
			require.Len(t, c2.Passwords, 1, "what people made by themselves stays")
			assert.Equal(t, "theirs", c2.Passwords[0].DisplayName)
			assert.Error(t, w.token(now.Applications["c2"].AppID, v.secrets[old.KeyID], now.Products["starter"].AppID))
			// The new owner's secret stays.
			c, err := w.engine().AddCredential(ctx, "c2", v.request("two"))
			require.NoError(t, err)
			w.settle()
			w.apply(again)
			assert.NoError(t, w.token(now.Applications["c2"].AppID, v.secrets[c.KeyID], now.Products["starter"].AppID))
		})
	}
}

// A store that is lost, and a second installation of the same instance, write to
// nothing that the first one made.
func TestAnotherStoreOwnsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	w.apply(starter())
	before := w.tenant.State().String()
	first := w.store
	w.settle()
	w.store = memstore.New()
	gone := memstore.Desired{
		Products:     []appaccess.DesiredProduct{{ID: "starter", Deleted: true}},
		Applications: []appaccess.DesiredApplication{{ID: "c1", Deleted: true}},
	}
	for _, want := range []memstore.Desired{starter(), gone} {
		_, err := w.engine().Apply(t.Context(), want, nil)
		require.NoError(t, err)
		assert.Equal(t, before, w.tenant.State().String())
	}
	applied, err := w.engine().Apply(t.Context(), starter(), nil)
	require.NoError(t, err)
	var refused *provision.NotOursError
	require.ErrorAs(t, applied.Failed["product starter"], &refused)
	require.ErrorAs(t, applied.Failed["application c1"], &refused)
	assert.NotEmpty(t, refused.Found)
	assert.NotEqual(t, refused.Found, refused.Own)
	w.store = first
	assert.Zero(t, w.writes(func() { w.apply(starter()) }))
}

// Somebody purges an application that we made. The next round creates another one, and
// proves it as ours, also if the process dies before it records the new object ID.
func TestAPurgedApplicationIsCreatedAgain(t *testing.T) {
	t.Parallel()
	for _, dies := range []bool{false, true} {
		w := newWorld(t, entratest.Config{})
		before := w.apply(starter()).Applications["c1"]
		require.NoError(t, w.tenant.PurgeApplication(before.AppID))
		w.settle()
		if dies {
			w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
				if r.Method == "POST" && r.Path == "/v1.0/applications" {
					w.store.Before = func() error { return errors.New("killed") }
				}
				return entratest.Fault{}
			})
			applied, err := w.engine().Apply(t.Context(), starter(), nil)
			require.NotNil(t, errors.Join(err, applied.Failed["application c1"]))
			w.tenant.OnRequest(nil)
			w.store.Before = nil
			w.settle()
		}
		after := w.apply(starter()).Applications["c1"]
		assert.NotEqual(t, before.AppID, after.AppID)
		w.settle()
		assert.Zero(t, w.writes(func() { w.apply(starter()) }))
	}
}
