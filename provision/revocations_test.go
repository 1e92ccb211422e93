package provision_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// A grant and a secret are revoked a while after they were created, in a tenant
// whose replicas never stop lagging. Rounds every 5 minutes then look until
// nothing is unconfirmed. An hour later neither may exist, whatever the lag was.
func TestRevocationsAreConfirmed(t *testing.T) {
	t.Parallel()
	for _, lag := range []time.Duration{3 * time.Minute, 5 * time.Minute, 10 * time.Minute} {
		for _, age := range []time.Duration{30 * time.Second, 125 * time.Second, 240 * time.Second} {
			t.Run(fmt.Sprintf("lag %v, age %v", lag, age), func(t *testing.T) {
				t.Parallel()
				rounds := 0
				for seed := range seeds() {
					rounds += revokeUnderLag(t, uint64(seed), lag, age)
				}
				t.Logf("confirmed after %.1f rounds on average", float64(rounds)/float64(seeds()))
			})
		}
	}
}

// seeds is how many runs a case has; the race detector and -short leave some out.
func seeds() int { return max(2, 100/stride()) }

// revokeUnderLag is one run; it returns how many rounds the confirmation took.
func revokeUnderLag(t *testing.T, seed uint64, lag, age time.Duration) int {
	t.Helper()
	w := newWorld(t, entratest.Config{Seed: seed})
	w.apply(memstore.Desired{Products: products("starter"), Applications: []appaccess.DesiredApplication{wantClient("c1")}})
	w.settle()
	w.tenant.SetLag(entratest.Lag{Max: lag})
	w.apply(starter())
	c, err := w.engine().AddCredential(t.Context(), "c1", newVault().request("1"))
	require.NoError(t, err)
	w.clock.Advance(age)

	want := starter()
	want.Applications[0].Grants = nil
	require.NoError(t, w.engine().RemoveCredential(t.Context(), "c1", c))
	w.apply(want)
	left, err := w.engine().Unfinished(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, left.Revocations, "nothing is believed at once")
	rounds := w.rounds(want)
	w.clock.Advance(time.Hour)
	assert.Empty(t, w.app("application", "c1").Grants, "seed %d", seed)
	assert.Empty(t, w.app("application", "c1").Passwords, "seed %d", seed)
	return rounds
}

// rounds looks every 5 minutes at what is due, until nothing is unfinished.
func (w *world) rounds(want memstore.Desired) int {
	w.t.Helper()
	for n := range 60 {
		left, err := w.engine().Unfinished(w.t.Context())
		require.NoError(w.t, err)
		if left.Revocations == 0 && len(left.Due.Products)+len(left.Due.Applications) == 0 {
			return n
		}
		applied, err := w.engine().Reconciler.Apply(w.t.Context(), left.Due, want, nil)
		require.NoError(w.t, err)
		require.Empty(w.t, applied.Failed)
		w.clock.Advance(5 * time.Minute)
	}
	require.Fail(w.t, "never confirmed")
	return 0
}

// A DELETE that Graph answers with "not found" for a grant that exists proves
// nothing: the grant is found and deleted again.
func TestNotFoundProvesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	w.apply(starter())
	w.settle()
	lies := 1
	w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
		if r.Method == "DELETE" && lies > 0 {
			lies--
			return entratest.Fault{Kind: entratest.Refuse, Status: 404, Code: "Request_ResourceNotFound", Message: "EntitlementGrant being updated or deleted is not found."}
		}
		return entratest.Fault{}
	})
	want := starter()
	want.Applications[0].Grants = nil
	w.apply(want)
	require.Zero(t, lies)
	w.rounds(want)
	assert.Empty(t, w.app("application", "c1").Grants)
}

// A DELETE that finds nothing is waited for four times as long as one that answered
// 2xx: a grant that shows after 40 minutes is found and deleted.
func TestAGrantThatNoDeleteFoundIsWaitedForLonger(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	w.apply(memstore.Desired{Products: products("starter"), Applications: []appaccess.DesiredApplication{wantClient("c1")}})
	w.settle()
	w.tenant.SetLag(entratest.Lag{Min: 40 * time.Minute, Max: 40 * time.Minute})
	w.apply(starter())
	shows := w.clock.Now().Add(40 * time.Minute)
	w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
		if r.Method == "DELETE" && w.clock.Now().Before(shows) {
			return entratest.Fault{Kind: entratest.Refuse, Status: 404, Code: "Request_ResourceNotFound", Message: "EntitlementGrant being updated or deleted is not found."}
		}
		return entratest.Fault{}
	})
	want := starter()
	want.Applications[0].Grants = nil
	w.apply(want)
	w.tenant.SetLag(entratest.Lag{})
	w.rounds(want)
	w.clock.Advance(time.Hour)
	assert.Empty(t, w.app("application", "c1").Grants)
}

// An application that was deleted is looked for until reads agree, and the
// Service no longer knows it by then.
func TestDeletionsAreConfirmed(t *testing.T) {
	t.Parallel()
	for seed := range seeds() {
		w := newWorld(t, entratest.Config{Seed: uint64(seed)})
		w.tenant.SetLag(entratest.Lag{Max: 10 * time.Minute})
		for range 20 { // a lag that is longer than LagBudget lets creations fail for a while
			applied, err := w.engine().Apply(t.Context(), starter(), nil)
			require.NoError(t, err)
			if len(applied.Failed) == 0 {
				break
			}
		}
		w.clock.Advance(125 * time.Second)
		applied, err := w.engine().Reconciler.Apply(t.Context(), starter().Objects(), memstore.Desired{}, nil)
		require.NoError(t, err)
		require.Empty(t, applied.Failed)
		left, err := w.engine().Unfinished(t.Context())
		require.NoError(t, err)
		require.Positive(t, left.Revocations)
		w.rounds(memstore.Desired{})
		w.clock.Advance(time.Hour)
		require.Nil(t, w.app("application", "c1"), "seed %d", seed)
		require.Nil(t, w.app("product", "starter"), "seed %d", seed)
	}
}

// Looking again costs one list for each product, however many clients lost a
// grant; a grant that shows again is deleted again.
func TestRevokedGrantsAreConfirmedByOneListForEachProduct(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	want := memstore.Desired{Products: products("gold", "iron")}
	for i := range 30 {
		want.Applications = append(want.Applications, wantClient(fmt.Sprint("c", i), "gold", "iron"))
	}
	w.apply(want)
	w.settle()
	for i := range want.Applications {
		want.Applications[i].Grants = nil
	}
	w.apply(want)
	round := func() (requests int) {
		w.clock.Advance(5 * time.Minute)
		left, err := w.engine().Unfinished(t.Context())
		require.NoError(t, err)
		require.Len(t, left.Due.Applications, 30)
		before := w.tenant.Counts().Requests
		applied, err := w.engine().Reconciler.Apply(t.Context(), left.Due, want, nil)
		require.NoError(t, err)
		require.Empty(t, applied.Failed)
		return w.tenant.Counts().Requests - before
	}
	assert.Equal(t, 1, round(), "a batch of two lists")

	// Somebody grants c0 the product again.
	require.NoError(t, w.tenant.Grant(w.app("application", "c0").AppID, w.app("product", "gold").AppID, "Product.Gold.All"))
	require.Len(t, w.app("application", "c0").Grants, 1)
	assert.Greater(t, round(), 1)
	assert.Empty(t, w.app("application", "c0").Grants)
	w.rounds(want)
}

// While another holder has the lock, a read counts nothing: the holder may be granting
// the product again, and saves what it has loaded.
func TestAReadConfirmsNothingWhileAnotherHoldsTheLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	w.apply(starter())
	w.settle()
	want := starter()
	want.Applications[0].Grants = nil
	w.apply(want)
	const object = "entragate-test-application-c1"
	state := func() string {
		for _, rec := range w.store.Records() {
			if rec.Kind == appaccess.KindProvisioning && rec.ID == object {
				return string(rec.Body)
			}
		}
		require.Fail(t, "no such record")
		return ""
	}
	read := func() {
		applied, err := w.engine().Reconciler.Apply(t.Context(), appaccess.Objects{Applications: []string{"c1"}}, want, nil)
		require.NoError(t, err)
		require.Empty(t, applied.Failed)
	}
	before := state()
	w.clock.Advance(5 * time.Minute)
	require.NoError(t, provision.Lock(t.Context(), w.store, object, "another", w.clock.Now(), w.clock.Now().Add(time.Minute)))
	read()
	assert.Equal(t, before, state())
	require.NoError(t, provision.Unlock(t.Context(), w.store, object, "another"))
	read()
	assert.NotEqual(t, before, state())
	w.rounds(want)
}

// However late a read is, one alone confirms nothing: a replica may lag behind all others.
func TestThreeReadsConfirm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	w.apply(starter())
	w.settle()
	want := starter()
	want.Applications[0].Grants = nil
	w.apply(want)
	for read := range 3 {
		left, err := w.engine().Unfinished(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, left.Revocations, "after %d reads", read)
		w.clock.Advance(time.Hour)
		w.apply(want)
	}
	left, err := w.engine().Unfinished(t.Context())
	require.NoError(t, err)
	assert.Zero(t, left.Revocations)
}
