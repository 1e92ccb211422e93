package appaccess_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// claims are the two ways to work on an application: have Entra follow, and
// make a secret. work does it, during says what happens meanwhile.
var claims = map[string]struct {
	work   func(context.Context, *house) error
	during func(*house, func(context.Context))
}{
	"follow": {
		func(ctx context.Context, h *house) error {
			_, err := h.SuspendApplication(ctx, boss, "billing")
			return err
		},
		func(h *house, f func(context.Context)) { h.entra.hold = f },
	},
	"secret": {
		func(ctx context.Context, h *house) error {
			_, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
			return err
		},
		func(h *house, f func(context.Context)) { h.entra.block = f },
	},
}

// claimTest is a test of one of them.
type claimTest struct {
	*testing.T
	h    *house
	name string
	work func(context.Context) error
	// during sets what happens in Entra in the first call that works.
	during func(func(context.Context))
}

func eachClaim(t *testing.T, test func(*claimTest)) {
	t.Parallel()
	for name, c := range claims {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, realClock).withApp()
				during := func(f func(context.Context)) {
					var once atomic.Bool
					c.during(h, func(ctx context.Context) {
						if !once.Swap(true) {
							f(ctx)
						}
					})
				}
				test(&claimTest{t, h, name, func(ctx context.Context) error { return c.work(ctx, h) }, during})
			})
		})
	}
}

func realClock(c *appaccess.ServiceConfig) { c.Now = time.Now }

// end is when the claim that is being worked under ends by itself.
func (h *house) end(claim string) time.Time {
	var end time.Time
	require.NoError(h.t, h.store.View(ctx, func(r appaccess.Reader) error {
		kind := map[string]appaccess.Kind{"follow": "holder", "secret": "operation"}[claim]
		list := records(h.t, r, kind)
		require.Len(h.t, list, 1)
		var v struct{ Until time.Time }
		require.NoError(h.t, json.Unmarshal(list[0].Body, &v))
		end = v.Until
		return nil
	}))
	return end
}

// However long Entra takes, nobody else begins meanwhile, and the work is done
// in one go.
func TestAClaimIsKeptWhileItsCallWorks(t *testing.T) {
	eachClaim(t, func(t *claimTest) {
		t.during(func(context.Context) { time.Sleep(time.Hour) })
		first := make(chan error, 1)
		go func() { first <- t.work(ctx) }()
		for range 5 {
			time.Sleep(10 * time.Minute)
			err := t.work(ctx)
			require.Error(t, err)
			assert.Contains(t, []int{409, 503}, appaccess.Status(err))
		}
		require.NoError(t, <-first)
		require.NoError(t, t.work(ctx))
	})
}

// A short outage of the store does no harm. In a long one the call stops while
// it still has its claim.
func TestACallStopsBeforeItsClaimEnds(t *testing.T) {
	eachClaim(t, func(t *claimTest) {
		t.during(func(ctx context.Context) {
			time.Sleep(10*time.Minute + time.Second)
			t.h.store.die(true)
			time.Sleep(25 * time.Second)
			t.h.store.die(false)
			time.Sleep(10 * time.Minute)
			require.NoError(t, ctx.Err())
			end := t.h.end(t.name)
			t.h.store.die(true)
			<-ctx.Done()
			t.h.store.die(false)
			assert.GreaterOrEqual(t, time.Until(end), 29*time.Second)
		})
		err := t.work(ctx)
		require.ErrorIs(t, err, appaccess.ErrUnavailable)
		var failed *appaccess.ProvisionError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, "application billing", failed.Object)
		assert.ErrorContains(t, err, "claim was lost")
		require.NoError(t, t.work(ctx))
	})
}

// A store that hangs cannot keep a call from stopping in time, nor can one
// whose answer to the claim itself came late.
func TestACallStopsWhateverTheStoreDoes(t *testing.T) {
	eachClaim(t, func(t *claimTest) {
		var hang atomic.Bool
		t.h.store.slow = func() {
			if hang.Swap(false) {
				time.Sleep(50 * time.Second)
			}
		}
		hang.Store(true) // the claim is written, and the answer takes that long
		t.during(func(ctx context.Context) {
			end := t.h.end(t.name)
			hang.Store(true)
			<-ctx.Done()
			assert.InDelta(t, 30*time.Second, time.Until(end), float64(time.Second))
		})
		require.ErrorIs(t, t.work(ctx), appaccess.ErrUnavailable)
	})
}

// A call that panics keeps nothing.
func TestACallThatPanicsKeepsNoClaim(t *testing.T) {
	eachClaim(t, func(t *claimTest) {
		t.during(func(context.Context) { panic("boom") })
		server, stop := context.WithCancel(ctx)
		defer stop()
		assert.PanicsWithValue(t, "boom", func() { _ = t.work(server) })
		synctest.Wait()
		time.Sleep(90 * time.Second)
		require.NoError(t, t.work(ctx))
	})
}

// ahead is another replica, whose clock is so far ahead that it takes claims
// for ended which are not.
func (h *house) ahead() *appaccess.Service {
	h.t.Helper()
	s, err := appaccess.NewService(ctx, appaccess.ServiceConfig{
		Store: h.store, Provisioner: h.entra, TenantID: tenantID, Now: func() time.Time { return time.Now().Add(2 * time.Minute) },
	})
	require.NoError(h.t, err)
	return s
}

// A call stops soon when another has taken its claim, also when that is done
// already, and says nothing of the object any more.
func TestACallStopsWhenItsClaimIsTaken(t *testing.T) {
	eachClaim(t, func(t *claimTest) {
		other := t.h.ahead()
		t.during(func(ctx context.Context) {
			_, err := other.ResumeApplication(ctx, boss, "billing")
			assert.NoError(t, err)
			_, err = other.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
			assert.NoError(t, err)
			start := time.Now()
			<-ctx.Done()
			assert.LessOrEqual(t, time.Since(start), 30*time.Second)
		})
		require.ErrorIs(t, t.work(ctx), appaccess.ErrUnavailable)
		a, err := t.h.Application(ctx, boss, "billing")
		require.NoError(t, err)
		assert.NotEqual(t, t.name == "follow", !a.Sync.Pending, "what the first call did to Entra nobody knows")
		list, err := t.h.Credentials(ctx, ada, "billing")
		require.NoError(t, err)
		assert.Len(t, list, 1, "the other's")
		_, err = t.h.Sync(ctx, boss, appaccess.SyncRequest{})
		require.NoError(t, err)
		t.h.noNotes()
	})
}

// noNotes makes sure that nothing is left of claims.
func (h *house) noNotes() {
	h.t.Helper()
	require.NoError(h.t, h.store.View(ctx, func(r appaccess.Reader) error {
		for _, kind := range []appaccess.Kind{"applying", "holder", "operation", "unclaimed"} {
			assert.Empty(h.t, records(h.t, r, kind), kind)
		}
		return nil
	}))
}

// A full Sync that had read an object before another call changed it leaves
// that call its claim: it works on alone, and the object is looked at again.
func TestAFullSyncTakesNoClaimAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, realClock).withApp()
		for _, id := range []string{"b2", "b3"} {
			_, err := h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: id, Name: id, OwnerID: "ada", Products: []string{"starter"}})
			require.NoError(t, err)
		}
		var applies atomic.Int32
		h.entra.hold = func(ctx context.Context) {
			switch applies.Add(1) {
			case 2: // the Sync, at the applications
				time.Sleep(10 * time.Second)
			case 3: // the blocking
				time.Sleep(5 * time.Minute)
				assert.NoError(t, ctx.Err())
			}
		}
		ended := make(chan error, 2)
		go func() { _, err := h.Sync(ctx, boss, appaccess.SyncRequest{All: true}); ended <- err }()
		time.Sleep(5 * time.Second)
		go func() { _, err := h.BlockUser(ctx, boss, "ada"); ended <- err }()
		time.Sleep(10 * time.Second)
		_, err := h.SuspendApplication(ctx, boss, "b2")
		require.ErrorIs(t, err, appaccess.ErrUnavailable, "the blocking is at work on it")
		require.NoError(t, <-ended)
		require.NoError(t, <-ended)
		_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
		require.NoError(t, err)
		for _, id := range []string{"billing", "b2", "b3"} {
			a, err := h.Application(ctx, boss, id)
			require.NoError(t, err)
			assert.False(t, a.Sync.Pending, id)
			assert.True(t, h.entra.apps[id].Disabled, id)
		}
		h.noNotes()
	})
}

// A round without claims has none to lose.
func TestAFullSyncOutlastsTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, realClock).withApp()
		h.entra.hold = func(ctx context.Context) {
			h.store.die(true)
			time.Sleep(10 * time.Minute)
			assert.NoError(t, ctx.Err())
			h.store.die(false)
		}
		_, err := h.Sync(ctx, boss, appaccess.SyncRequest{All: true})
		require.NoError(t, err)
		a, err := h.Application(ctx, boss, "billing")
		require.NoError(t, err)
		assert.False(t, a.Sync.Pending)
	})
}

// Deleting an application ends the making of its secret.
func TestASecretOfWhatIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, realClock).withApp()
		h.entra.block = func(work context.Context) {
			assert.NoError(t, h.DeleteApplication(ctx, boss, "billing"))
			<-work.Done()
		}
		_, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
		assert.Equal(t, 404, appaccess.Status(err), err)
	})
}

// Sync, which ends what a dead call began, leaves it to a call that goes on
// with it.
func TestSyncLeavesASecretToWhoTookIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, realClock).withApp()
		h.dieAfterMinting()
		time.Sleep(90 * time.Second)
		other := h.ahead()
		value := ""
		var calls atomic.Int32
		h.entra.block = func(context.Context) {
			if calls.Add(1) == 1 {
				created, err := other.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
				assert.NoError(t, err)
				value = created.Value.Reveal()
			}
		}
		_, err := h.Sync(ctx, boss, appaccess.SyncRequest{})
		require.NoError(t, err)
		require.NotEmpty(t, value)
		list, err := h.Credentials(ctx, ada, "billing")
		require.NoError(t, err)
		assert.Len(t, list, 1)
		h.noNotes()
	})
}

// An application waits for a product of it that another call works on: Entra
// could not grant what is not there yet.
func TestAnApplicationWaitsForItsProducts(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *appaccess.ServiceConfig) { c.Sleep = func(context.Context, time.Duration) error { return nil } }).withApp()
	_, err := h.store.Update(ctx, func(w appaccess.Writer) error {
		rec, err := w.Get(appaccess.KindProduct, "starter")
		require.NoError(t, err)
		var p appaccess.Product
		require.NoError(t, json.Unmarshal(rec.Body, &p))
		p.Sync.Pending = true
		require.NoError(t, appaccess.PutEntity(w, &p))
		until, err := json.Marshal(map[string]any{"process": "elsewhere/1", "until": h.clock.Now().Add(time.Minute)})
		require.NoError(t, err)
		require.NoError(t, w.Put(appaccess.Record{Kind: "holder", ID: "another", Body: until}))
		return w.Put(appaccess.Record{Kind: "applying", ID: "product starter", Body: []byte(`{"holder":"another"}`)})
	})
	require.NoError(t, err)
	_, err = h.SuspendApplication(ctx, boss, "billing")
	require.ErrorIs(t, err, appaccess.ErrUnavailable)
	assert.False(t, h.entra.apps["billing"].Disabled)
	h.clock.Advance(time.Minute)
	_, err = h.SuspendApplication(ctx, boss, "billing")
	require.NoError(t, err)
	assert.True(t, h.entra.apps["billing"].Disabled)
	h.noNotes()
}

// overlap runs a full Sync that has read the application before a call changes
// it, and writes to Entra afterwards.
func (h *house) overlap(call func() error) (synced, called error) {
	var applies, writes atomic.Int32
	h.entra.hold = func(context.Context) {
		if applies.Add(1) == 2 { // the Sync, at the applications
			time.Sleep(10 * time.Second)
		}
	}
	h.entra.landed = func() {
		if writes.Add(1) == 2 { // the call has written, and is at work on
			time.Sleep(time.Minute)
		}
	}
	ended := make(chan error, 1)
	go func() { _, err := h.Sync(ctx, boss, appaccess.SyncRequest{All: true}); ended <- err }()
	time.Sleep(5 * time.Second)
	called = call()
	synced = <-ended
	h.entra.hold, h.entra.landed = nil, nil
	return synced, called
}

// disabledUntilSync makes sure that the application stands in Entra as it should
// not, that the Service does not say otherwise, and that a Sync mends it.
func (h *house) disabledUntilSync(stands bool) {
	h.t.Helper()
	a, err := h.Application(ctx, boss, "billing")
	require.NoError(h.t, err)
	require.Equal(h.t, stands, h.entra.apps["billing"].Disabled, "what the test is about")
	assert.True(h.t, a.Sync.Pending)
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(h.t, err)
	assert.Equal(h.t, !stands, h.entra.apps["billing"].Disabled)
	h.noNotes()
}

// A full Sync that wrote what it had read before, and then failed, leaves an
// object that is looked at again.
func TestAFullSyncThatFailsOvertakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, realClock).withApp()
		time.AfterFunc(9*time.Second, func() { h.entra.arm(1, true) }) // its effect stays, its answer is lost
		synced, called := h.overlap(func() error { _, err := h.SuspendApplication(ctx, boss, "billing"); return err })
		require.Error(t, synced)
		require.NoError(t, called)
		h.disabledUntilSync(false)
	})
}

// What a full Sync made again in Entra after it was deleted is removed.
func TestAFullSyncMakesNothingAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, realClock).withApp()
		synced, called := h.overlap(func() error { return h.DeleteApplication(ctx, boss, "billing") })
		require.NoError(t, synced)
		require.NoError(t, called)
		_, err := h.Application(ctx, boss, "billing")
		require.ErrorIs(t, err, appaccess.ErrNotFound)
		_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
		require.NoError(t, err)
		assert.NotContains(t, h.entra.apps, "billing")
		h.noNotes()
	})
}

// A call that stood still, and wrote after another had taken its object, makes
// that one's word worth nothing.
func TestALateCallOvertakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, realClock).withApp()
		other := h.ahead()
		var applies, writes atomic.Int32
		h.entra.hold = func(context.Context) {
			if applies.Add(1) == 1 {
				time.Sleep(20 * time.Second)
			}
		}
		h.entra.landed = func() {
			if writes.Add(1) == 1 {
				time.Sleep(time.Minute)
			}
		}
		ended := make(chan error, 1)
		go func() { _, err := h.SuspendApplication(ctx, boss, "billing"); ended <- err }()
		time.Sleep(10 * time.Second)
		_, err := other.ResumeApplication(ctx, boss, "billing")
		require.NoError(t, err)
		<-ended
		h.disabledUntilSync(true)
	})
}

// A call whose operation another finished does not remove that one's secret,
// nor take it for its own.
func TestALateSecretHarmsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, realClock).withApp()
		other := h.ahead()
		var calls atomic.Int32
		value := ""
		h.entra.block = func(context.Context) {
			if calls.Add(1) == 1 {
				got, err := other.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
				require.NoError(t, err)
				value = got.Value.Reveal()
			}
		}
		_, err := h.HandOverSecret(ctx, boss, "billing", appaccess.SecretRequest{})
		require.ErrorIs(t, err, appaccess.ErrUnavailable)
		assert.True(t, h.entra.works("billing", value))
		list, err := h.Credentials(ctx, ada, "billing")
		require.NoError(t, err)
		assert.Len(t, list, 1)
		waiting, err := h.Handovers(ctx, boss, "billing")
		require.NoError(t, err)
		assert.Empty(t, waiting)
		h.noNotes()
	})
}

// Nor does it seal one when that other's is gone again.
func TestALateSecretIsNotSealed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, realClock).withApp()
		other := h.ahead()
		var calls atomic.Int32
		h.entra.block = func(context.Context) {
			if calls.Add(1) == 1 {
				got, err := other.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
				require.NoError(t, err)
				require.NoError(t, other.RemoveCredential(ctx, ada, "billing", got.Credential.ID))
			}
		}
		_, err := h.HandOverSecret(ctx, boss, "billing", appaccess.SecretRequest{})
		require.ErrorIs(t, err, appaccess.ErrUnavailable)
		assert.Empty(t, h.entra.creds["billing"])
		waiting, err := h.Handovers(ctx, boss, "billing")
		require.NoError(t, err)
		assert.Empty(t, waiting)
		h.noNotes()
	})
}

// Sync gives a claim back that it could not finish.
func TestSyncGivesBackASecretInTheMaking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, realClock).withApp()
		h.dieAfterMinting()
		time.Sleep(90 * time.Second)
		var calls atomic.Int32
		h.entra.block = func(context.Context) {
			if calls.Add(1) == 1 {
				h.store.arm(1, false)
			}
		}
		_, err := h.Sync(ctx, boss, appaccess.SyncRequest{})
		require.Error(t, err)
		_, err = h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
		require.NoError(t, err)
		h.noNotes()
	})
}

// An import may name an application for two reasons; Entra is asked once.
func TestAnImportNamesAnApplicationOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t).withApp()
	doc, err := h.Export(ctx, boss)
	require.NoError(t, err)
	for i := range doc.Users {
		doc.Users[i].Blocked = doc.Users[i].ID == "ada"
	}
	for i := range doc.Applications {
		doc.Applications[i].Description = "changed"
	}
	_, err = h.Import(ctx, boss, doc, appaccess.ImportRequest{})
	require.NoError(t, err)
	a, err := h.Application(ctx, boss, "billing")
	require.NoError(t, err)
	assert.False(t, a.Sync.Pending)
	assert.True(t, h.entra.apps["billing"].Disabled)
	h.noNotes()
}
