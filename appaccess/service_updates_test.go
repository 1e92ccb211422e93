package appaccess_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// counting counts transactions that write, and writes of locks.
type counting struct {
	appaccess.Store
	n, locks atomic.Int32
}

func (c *counting) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	c.n.Add(1)
	return c.Store.Update(ctx, func(w appaccess.Writer) error { return fn(lockCounter{w, &c.locks}) })
}

type lockCounter struct {
	appaccess.Writer
	n *atomic.Int32
}

func (w lockCounter) Put(r appaccess.Record) error {
	if r.Kind == appaccess.KindLock {
		w.n.Add(1)
	}
	return w.Writer.Put(r)
}

func (w lockCounter) Delete(kind appaccess.Kind, id string) error {
	if kind == appaccess.KindLock {
		w.n.Add(1)
	}
	return w.Writer.Delete(kind, id)
}

// TestUpdatesOfTheStore counts the transactions that each workflow writes, and the
// revisions that it makes.
func TestUpdatesOfTheStore(t *testing.T) {
	db, err := sqlite.Open(ctx, sqlite.Temporary)
	require.NoError(t, err)
	defer db.Close()
	store := &counting{Store: db}
	tenant, err := entratest.New(entratest.Config{})
	require.NoError(t, err)
	caller, err := tenant.AddCaller("e", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	e, err := provision.New(provision.Config{Directory: tenant.Directory(caller), Store: store})
	require.NoError(t, err)
	s, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: store, Provisioner: e, TenantID: tenantID})
	require.NoError(t, err)
	count := func(what string, most int32, f func() error) {
		before, locks := store.n.Load(), store.locks.Load()
		rev := revOf(t, store)
		require.NoError(t, f(), what)
		require.LessOrEqual(t, store.n.Load()-before, most, what)
		require.LessOrEqual(t, store.locks.Load()-locks, int32(2), "%s: locked and unlocked once", what)
		require.LessOrEqual(t, revOf(t, store)-rev, appaccess.Revision(most), what)
	}
	count("CreateUser", 1, func() error { return errOf(s.CreateUser(ctx, boss, appaccess.UserRequest{ID: "ada", Name: "Ada"})) })
	count("SetAccess, which makes the installation in the lock's transaction", 5, func() error {
		return errOf(s.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}}))
	})
	count("RegisterApplication", 5, func() error {
		return errOf(s.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "billing", Name: "B", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter")}))
	})
	var made appaccess.IssuedSecret
	count("AddSecret", 3, func() (err error) {
		made, err = s.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
		return err
	})
	count("AddSecret rotate overlap", 3, func() error {
		return errOf(s.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Rotate: true, Overlap: 1e12}))
	})
	count("RemoveCredential", 3, func() error { return s.RemoveCredential(ctx, ada, "billing", made.Credential.ID) })
	count("Sync", 0, func() error { return errOf(s.Sync(ctx, boss, appaccess.SyncRequest{})) })
	count("Sync All in sync", 0, func() error { return errOf(s.Sync(ctx, boss, appaccess.SyncRequest{All: true})) })
	count("Revoke", 4, func() error { return errOf(s.RevokeProducts(ctx, boss, "billing", []string{"starter"})) })
	count("Sync All", 0, func() error { return errOf(s.Sync(ctx, boss, appaccess.SyncRequest{All: true})) })
}

func revOf(t *testing.T, s appaccess.Store) (rev appaccess.Revision) {
	require.NoError(t, s.View(ctx, func(r appaccess.Reader) error {
		at, err := r.Position()
		rev = at.Revision
		return err
	}))
	return rev
}
