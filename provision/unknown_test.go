package provision_test

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
	"github.com/entragate/entragate/provision/internal/sweep"
)

// A store is restored from a backup that does not know a product, a client of it
// and a grant to a client that it knows. Unknown lists them, RemoveUnknown removes
// them, and everything else stays.
func TestUnknownObjectsAreListedAndRemovedOnDemand(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t, entratest.Config{})
	known := memstore.Desired{Products: products("starter"), Applications: []appaccess.DesiredApplication{wantClient("c1", "starter")}}
	w.apply(known)
	w.settle()
	outsider, err := w.tenant.AddCaller("outsider")
	require.NoError(t, err)
	standing := func() string {
		s := w.tenant.State()
		s.Deleted = nil
		return drawnTags.ReplaceAllString(s.String(), "entragate:$1")
	}
	before := standing()
	backup := w.store.Clone()
	w.apply(memstore.Desired{
		Products:     products("gold", "starter"),
		Applications: []appaccess.DesiredApplication{wantClient("c1", "gold", "starter"), wantClient("c2", "gold", "starter")},
	})
	require.NoError(t, w.tenant.Grant(outsider.AppID, w.app("product", "starter").AppID, "Product.Starter.All"))
	w.settle()
	w.store = backup
	e := w.engine()
	writes := w.tenant.Counts().Writes
	unknown, err := e.Unknown(ctx)
	require.NoError(t, err)
	assert.Equal(t, writes, w.tenant.Counts().Writes)
	var objects []string
	for _, a := range unknown.Applications {
		objects = append(objects, a.Object)
	}
	assert.ElementsMatch(t, []string{"product gold", "application c2"}, objects)
	grants := map[string]bool{}
	for _, g := range unknown.Grants {
		grants[g.Application+" "+g.Product] = true
	}
	assert.Equal(t, map[string]bool{"c1 gold": true, "c2 gold": true, "c2 starter": true, " starter": true}, grants)
	assert.Contains(t, unknown.String(), "entragate-test-product-gold")

	w.apply(known)
	again, err := e.Unknown(ctx)
	require.NoError(t, err)
	assert.Equal(t, unknown, again, "Apply leaves it as it is")
	require.NoError(t, e.RemoveUnknown(ctx, unknown, known))
	w.rounds(known)
	w.settle()
	again, err = e.Unknown(ctx)
	require.NoError(t, err)
	assert.True(t, again.Empty(), again.String())
	w.apply(known)
	assert.Equal(t, before, standing())
}

// A store is restored from a backup that does not know a secret and a certificate of
// a client that it knows: Unknown lists them, Apply leaves them, and RemoveUnknown
// removes them and nothing else.
func TestUnknownCredentialsAreListedAndRemovedOnDemand(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t, entratest.Config{})
	applied := w.apply(starter())
	v := newVault()
	known, err := w.engine().AddCredential(ctx, "c1", v.request("known"))
	require.NoError(t, err)
	w.settle()
	backup := w.store.Clone()
	lost, err := w.engine().AddCredential(ctx, "c1", v.request("lost"))
	require.NoError(t, err)
	certificate, err := w.engine().AddCredential(ctx, "c1", appaccess.CredentialRequest{OperationID: "cert", Kind: appaccess.CertificateCredential, CertificatePEM: certificate(w.clock.Now())})
	require.NoError(t, err)
	_, err = w.tenant.AddSecret(applied.Applications["c1"].AppID, "theirs")
	require.NoError(t, err)
	w.settle()
	w.store = backup
	w.apply(starter())

	unknown, err := w.engine().Unknown(ctx)
	require.NoError(t, err)
	var ids []string
	for _, c := range unknown.Credentials {
		assert.Equal(t, "c1", c.Application)
		ids = append(ids, c.KeyID)
	}
	assert.ElementsMatch(t, []string{lost.KeyID, certificate.KeyID}, ids)
	assert.Contains(t, unknown.String(), lost.KeyID)
	token := func(c appaccess.Credential) error {
		return w.token(applied.Applications["c1"].AppID, v.secrets[c.KeyID], applied.Products["starter"].AppID)
	}
	require.NoError(t, token(lost))
	require.NoError(t, w.engine().RemoveUnknown(ctx, unknown, starter()))
	w.settle()
	require.Error(t, token(lost))
	require.NoError(t, token(known))
	c1 := w.app("application", "c1")
	assert.Empty(t, c1.Keys)
	assert.Len(t, c1.Passwords, 2)
	unknown, err = w.engine().Unknown(ctx)
	require.NoError(t, err)
	assert.True(t, unknown.Empty(), unknown.String())
}

// A store is lost. Its replacement takes over what a lagging replica shows: an older
// signature of an application. Apply refuses the application, and taking over again
// repairs that without touching the others.
func TestATakeOverIsRepeatedForWhatALaggingReplicaHid(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	want := memstore.Desired{Products: products("starter"), Applications: []appaccess.DesiredApplication{wantClient("c1", "starter"), wantClient("c2", "starter")}}
	req := provision.TakeOverRequest{Products: []string{"starter"}, Applications: []string{"c1", "c2"}}
	signature := func() string {
		for _, tag := range w.app("application", "c2").Tags {
			if rest, ok := strings.CutPrefix(tag, "entragate:proof:"); ok {
				return rest
			}
		}
		return ""
	}
	w.apply(want)
	first := signature()
	var applied appaccess.Applied
	for range 2 { // the second store is lost, too
		w.store = memstore.New()
		_, err := w.engine().TakeOver(t.Context(), req)
		require.NoError(t, err)
		if applied.Applications == nil {
			applied = w.apply(want)
			w.settle()
		}
	}
	require.NotEqual(t, first, signature())
	const c2 = "entragate-test-application-c2"
	_, err := w.store.Update(t.Context(), func(x appaccess.Writer) error {
		rec, err := x.Get(appaccess.KindProvisioning, c2)
		if err != nil {
			return err
		}
		rec.Body = bytes.ReplaceAll(rec.Body, []byte(signature()), []byte(first))
		return x.Put(rec)
	})
	require.NoError(t, err)
	refused, err := w.engine().Apply(t.Context(), want, nil)
	require.NoError(t, err)
	require.Len(t, refused.Failed, 1)
	require.ErrorIs(t, refused.Failed["application c2"], provision.ErrNotOurs)
	v := newVault()
	c, err := w.engine().AddCredential(t.Context(), "c1", v.request("after"))
	require.NoError(t, err)

	_, err = w.engine().TakeOver(t.Context(), req)
	require.NoError(t, err)
	w.settle()
	again := w.apply(want)
	w.rounds(want)
	assert.Equal(t, applied.Applications, again.Applications)
	assert.Empty(t, again.MissingInEntra, "what was recorded since is kept")
	assert.NoError(t, w.token(again.Applications["c1"].AppID, v.secrets[c.KeyID], again.Products["starter"].AppID))
	_, err = w.engine().TakeOver(t.Context(), req)
	var conflict *appaccess.ConflictError
	assert.ErrorAs(t, err, &conflict, "nothing is left to take over")
}

// Tags that somebody copied are listed, and never a reason to delete.
func TestRemoveUnknownNeedsProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	applied := w.apply(starter())
	apps, errs := w.dir.Applications(t.Context(), []provision.AppRef{{ObjectID: applied.Applications["c1"].ObjectID}})
	require.NoError(t, errs[0])
	stranger, err := w.tenant.AddStranger("mallory")
	require.NoError(t, err)
	d, err := stranger.Register(t.Context(), entratest.App{Name: "decoy", UniqueName: "entragate-test-application-c9", Tags: apps[0].Tags})
	require.NoError(t, err)
	unknown, err := w.engine().Unknown(t.Context())
	require.NoError(t, err)
	require.Len(t, unknown.Applications, 1)
	require.ErrorIs(t, w.engine().RemoveUnknown(t.Context(), unknown, starter()), provision.ErrNotOurs)
	assert.Equal(t, d.ObjectID, w.app("application", "c9").ObjectID)
}

// A lost store is taken over: its applications keep their IDs, what only the lost
// store knew goes, what people made stays, and the old key is refused.
func TestALostStoreIsTakenOver(t *testing.T) {
	t.Parallel()
	for name, lag := range sweep.Lags {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			w := newWorld(t, entratest.Config{Lag: lag})
			applied := w.apply(memstore.Desired{Products: products("gold", "starter"), Applications: []appaccess.DesiredApplication{wantClient("c1", "gold", "starter")}})
			_, err := w.engine().AddCredential(ctx, "c1", newVault().request("lost"))
			require.NoError(t, err)
			_, err = w.tenant.AddSecret(applied.Applications["c1"].AppID, "theirs")
			require.NoError(t, err)
			w.settle()

			old := w.store
			w.store = memstore.New()
			want := memstore.Desired{Products: products("gold", "starter"), Applications: []appaccess.DesiredApplication{wantClient("c1", "starter")}}
			req := provision.TakeOverRequest{Products: []string{"gold", "starter"}, Applications: []string{"c1"}}
			writes := w.tenant.Counts().Writes
			list, err := w.engine().TakeOver(ctx, req)
			require.NoError(t, err)
			require.Len(t, list, 3)
			plan, err := w.engine().Plan(ctx, want)
			require.NoError(t, err)
			assert.Contains(t, plan.String(), "revoke")
			assert.Contains(t, plan.String(), "unfinished secret")
			assert.Equal(t, writes, w.tenant.Counts().Writes)

			after := w.apply(want)
			assert.Equal(t, applied.Applications["c1"].AppID, after.Applications["c1"].AppID)
			w.rounds(want)
			w.settle()
			c1 := w.app("application", "c1")
			assert.Equal(t, []string{"entragate-test-product-starter/Product.Starter.All"}, c1.Grants)
			require.Len(t, c1.Passwords, 1)
			assert.Equal(t, "theirs", c1.Passwords[0].DisplayName)
			_, err = w.engine().TakeOver(ctx, req)
			var conflict *appaccess.ConflictError
			assert.ErrorAs(t, err, &conflict, "a store that has recorded applications is not lost")

			w.store = old
			refused, err := w.engine().Apply(ctx, want, nil)
			require.NoError(t, err)
			for _, object := range []string{"product gold", "product starter", "application c1"} {
				assert.ErrorIs(t, refused.Failed[object], provision.ErrNotOurs, object)
			}
		})
	}
}

// scans is a store that counts the lists of all provisioning state.
type scans struct {
	*memstore.Store
	n atomic.Int64
}

func (s *scans) View(ctx context.Context, fn func(appaccess.Reader) error) error {
	return s.Store.View(ctx, func(r appaccess.Reader) error { return fn(scanReader{r, s}) })
}

type scanReader struct {
	appaccess.Reader
	store *scans
}

func (r scanReader) List(q appaccess.Query) ([]appaccess.Record, error) {
	if q.Kind == appaccess.KindProvisioning && q.Where == nil && q.OrderBy == "" {
		r.store.n.Add(1)
	}
	return r.Reader.List(q)
}

// A round after a take-over lists the provisioning state once, not once for each
// client. When the recovery is over, rounds do not list it at all, and a grant that
// somebody makes by hand stays as it does everywhere else.
func TestRecoveryAfterATakeOverEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	want := memstore.Desired{Products: products("gold", "starter"), Applications: []appaccess.DesiredApplication{
		wantClient("c1", "starter"), wantClient("c2", "starter"), wantClient("c3", "starter"),
	}}
	w.apply(want)
	w.settle()
	w.store = memstore.New()
	_, err := w.engine().TakeOver(t.Context(), provision.TakeOverRequest{Products: []string{"gold", "starter"}, Applications: []string{"c1", "c2", "c3"}})
	require.NoError(t, err)
	store := &scans{Store: w.store}
	cfg := w.config()
	cfg.Store = store
	round := func() int64 {
		before := store.n.Load()
		applied, err := w.engineOf(cfg).Apply(t.Context(), want, nil)
		require.NoError(t, err)
		require.Empty(t, applied.Failed)
		return store.n.Load() - before
	}
	assert.EqualValues(t, 1, round())
	for range 8 { // until replicas show all that the lost store wrote
		w.settle()
		round()
	}
	assert.Zero(t, round())
	require.NoError(t, w.tenant.Grant(w.app("application", "c1").AppID, w.app("product", "gold").AppID, "Product.Gold.All"))
	w.settle()
	assert.Zero(t, w.writes(func() { round() }))
	assert.Len(t, w.app("application", "c1").Grants, 2)
}
