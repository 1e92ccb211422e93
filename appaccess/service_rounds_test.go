package appaccess_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// slowStore has a latency. It writes one transaction at a time, as SQLite does.
type slowStore struct {
	appaccess.Store
	latency time.Duration
	writing chan struct{}
}

func (s *slowStore) View(ctx context.Context, fn func(appaccess.Reader) error) error {
	time.Sleep(s.latency)
	return s.Store.View(ctx, fn)
}

func (s *slowStore) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	time.Sleep(s.latency)
	return s.Store.Update(ctx, fn)
}

// Lookup has the latency of View.
func (s *slowStore) Lookup(ctx context.Context, fn func(appaccess.Reader) error) error {
	time.Sleep(s.latency)
	return s.Store.Lookup(ctx, fn)
}

// offline is a Provisioner that cannot reach Entra while down.
type offline struct {
	appaccess.Provisioner
	down bool
}

func (o *offline) Apply(ctx context.Context, objects appaccess.Objects, desired appaccess.DesiredState, progress func(appaccess.Progress)) (appaccess.Applied, error) {
	if o.down {
		return appaccess.Applied{}, errors.New("Entra cannot be reached")
	}
	return o.Provisioner.Apply(ctx, objects, desired, progress)
}

// With a store latency of 10 ms, a round of many objects takes longer than its caller
// waits. Each round records what it did, and the next one continues there until
// everything is in sync, with as many writes to Entra as one undisturbed round. The
// test runs in a synctest bubble, so the latency costs no real time. envLarge sets the
// number of objects.
func TestRoundsOfManyObjectsMakeProgressOnASlowStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := owned(t)
		patience := time.Duration(n) * 12500 * time.Microsecond // a part of a round
		store := &slowStore{Store: memstore.New(), writing: make(chan struct{}, 1)}
		tenant, err := entratest.New(entratest.Config{Now: time.Now})
		require.NoError(t, err)
		caller, err := tenant.AddCaller("entragate", entratest.ApplicationAdministrator)
		require.NoError(t, err)
		engine, err := provision.New(provision.Config{Directory: tenant.Directory(caller), Store: store})
		require.NoError(t, err)
		entra := &offline{Provisioner: engine, down: true}
		s, err := appaccess.NewService(t.Context(), appaccess.ServiceConfig{Store: store, Provisioner: entra, TenantID: tenantID})
		require.NoError(t, err)

		d := parse(t, sampleDocument)
		d.Users = []appaccess.DocumentUser{{ID: "big", Name: "Big"}}
		d.Applications, d.Subscriptions = nil, nil
		for i := range n {
			d.Applications = append(d.Applications, appaccess.DocumentApplication{ID: fmt.Sprint("app-", i), Name: fmt.Sprint("App ", i), OwnerID: "big", Grants: appaccess.GrantsOfAll("gold")})
		}
		_, err = s.Import(t.Context(), boss, d, appaccess.ImportRequest{})
		require.Error(t, err, "Entra cannot be reached")
		entra.down, store.latency = false, 10*time.Millisecond

		pending := func() (count int) {
			require.NoError(t, store.Store.View(t.Context(), func(r appaccess.Reader) (err error) {
				count, err = r.Count(appaccess.Query{Kind: appaccess.KindApplication, Where: []appaccess.IndexEntry{{Name: "sync", Value: "pending"}}}, 2*n)
				return err
			}))
			return count
		}
		enabled := func() (count int) {
			for _, a := range tenant.State().Applications {
				if a.Enabled && strings.HasPrefix(a.Key, "entragate-default-application-") {
					count++
				}
			}
			return count
		}
		sync := func(ctx context.Context) error { return errOf(s.Sync(ctx, boss, appaccess.SyncRequest{})) }
		// until repeats a call with a time-out, and Sync after it, until it succeeds.
		until := func(what string, writes int, call func(context.Context) error) {
			before, left := tenant.Counts().Writes, 2*n
			for rounds := 1; ; rounds++ {
				require.Less(t, rounds, 20, what)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				done := call(ctx) == nil
				cancel()
				now := pending()
				if done {
					assert.Zero(t, now, what)
					assert.Greater(t, rounds, 1, "%s: one round takes longer than the time-out", what)
					break
				}
				require.Less(t, now, left, "%s, round %d makes progress", what, rounds)
				left, call = now, sync
			}
			assert.LessOrEqual(t, tenant.Counts().Writes-before, writes, what)
			time.Sleep(10 * time.Minute) // replicas agree
		}
		// 32 objects are under way when a round is cut off; each may be written once more.
		until("Sync", 3+4*n+10*32, sync)
		assert.Equal(t, n, enabled())
		until("BlockUser", n+10*32, func(ctx context.Context) error { return errOf(s.BlockUser(ctx, boss, "big")) })
		assert.Zero(t, enabled(), "nobody gets a token")
		until("UnblockUser", n+10*32, func(ctx context.Context) error { return errOf(s.UnblockUser(ctx, boss, "big")) })
		assert.Equal(t, n, enabled())
	})
}
