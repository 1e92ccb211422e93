package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
)

var pieces = []string{"", "-wal", "-shm"}

// orders returns every order of the pieces.
func orders() (all [][]string) {
	for i := range pieces {
		for j := range pieces {
			if i != j {
				all = append(all, []string{pieces[i], pieces[j], pieces[3-i-j]})
			}
		}
	}
	return all
}

// The file, its -wal and its -shm are moved away one after the other under a running
// process, and back, in any order, while the store is used. A call fails as unavailable
// and says what is missing, or is right. Every acknowledged write is there in the end,
// also for a process that opens the file later.
func TestFilesAreMovedAwayAndBack(t *testing.T) {
	t.Parallel()
	for _, away := range orders() {
		for _, back := range orders() {
			t.Run(fmt.Sprintf("away%s,back%s", strings.Join(away, ","), strings.Join(back, ",")), func(t *testing.T) {
				t.Parallel()
				m := newMoved(t)
				for _, piece := range away {
					require.NoError(t, os.Rename(m.live+piece, m.away+piece))
					m.use(t)
				}
				for _, piece := range back {
					require.NoError(t, os.Rename(m.away+piece, m.live+piece))
					m.use(t)
				}
				assert.Equal(t, appaccess.SubscriptionNotActive, m.reason(t))
				put(t, m.store, "in the end")
				m.check(t, m.store)
				require.NoError(t, m.store.Close())
				m.check(t, open(t, m.live))
			})
		}
	}
}

// moved is a store whose log holds what its file does not: a revocation.
type moved struct {
	store        *sqlite.Store
	catalog      *appaccess.Catalog
	key          [32]byte
	live, away   string
	acknowledged []string
}

func newMoved(t *testing.T) *moved {
	t.Helper()
	live, away := memory(t), memory(t)
	m := &moved{live: filepath.Join(live, "store.db"), away: filepath.Join(away, "store.db")}
	earlier := open(t, m.live)
	service, err := appaccess.NewService(t.Context(), appaccess.ServiceConfig{Store: earlier})
	require.NoError(t, err)
	boss := appaccess.Manager("")
	made, err := service.CreateSubscription(t.Context(), boss, appaccess.SubscriptionRequest{ID: "revoked", Name: "Revoked", Scope: appaccess.AllAPIs})
	require.NoError(t, err)
	m.key = appaccess.HashKey(made.Primary.Reveal())
	require.NoError(t, earlier.Close()) // all of it is in the file

	s := open(t, m.live)
	m.store = s
	m.catalog, err = appaccess.NewCatalog(t.Context(), appaccess.CatalogConfig{Store: s, Clients: -1, Keys: -1, Unknown: -1, UsageInterval: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.catalog.Close()) })
	service, err = appaccess.NewService(t.Context(), appaccess.ServiceConfig{Store: s})
	require.NoError(t, err)
	_, err = service.SetSubscriptionState(t.Context(), boss, "revoked", appaccess.SubscriptionSuspended)
	require.NoError(t, err)
	put(t, s, "before")
	m.acknowledged = append(m.acknowledged, "before")
	return m
}

// reason is why the revoked key is refused.
func (m *moved) reason(t *testing.T) appaccess.DenyReason {
	t.Helper()
	st, err := m.catalog.Key(t.Context(), m.key)
	if err != nil {
		require.ErrorIs(t, err, appaccess.ErrUnavailable)
		return "unavailable"
	}
	return st.DenyReason
}

// use uses the store as managers and gates do, on more connections than were open.
func (m *moved) use(t *testing.T) {
	t.Helper()
	assert.Contains(t, []appaccess.DenyReason{appaccess.SubscriptionNotActive, "unavailable"}, m.reason(t))
	id := fmt.Sprint("write ", len(m.acknowledged))
	_, err := m.store.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(appaccess.Record{Kind: kind, ID: id}) })
	if err == nil {
		m.acknowledged = append(m.acknowledged, id)
	} else {
		assert.ErrorIs(t, err, appaccess.ErrUnavailable)
	}
	const views = 4
	var all sync.WaitGroup
	var begun sync.WaitGroup
	begun.Add(views)
	for range views {
		all.Go(func() {
			once := sync.OnceFunc(begun.Done)
			defer once()
			err := m.store.View(t.Context(), func(r appaccess.Reader) error {
				once()
				begun.Wait() // so that each has a connection
				_, err := r.Get(kind, "before")
				return err
			})
			assert.True(t, err == nil || errors.Is(err, appaccess.ErrUnavailable), "%v", err)
		})
	}
	all.Wait()
}

// check finds every acknowledged write in a store.
func (m *moved) check(t *testing.T, s appaccess.Store) {
	t.Helper()
	require.NoError(t, s.View(t.Context(), func(r appaccess.Reader) error {
		for _, id := range m.acknowledged {
			_, err := r.Get(kind, id)
			assert.NoError(t, err, id)
		}
		return nil
	}))
}

// A file that was missing comes back as a copy, as from another file system. Its log
// holds newer commits, and the process cannot know that the two belong together.
func TestAFileThatComesBackAsACopyIsRefused(t *testing.T) {
	t.Parallel()
	m := newMoved(t)
	require.NoError(t, os.Rename(m.live, m.away))
	m.use(t)
	copyFile(t, m.away, m.live)
	m.use(t)
	err := m.store.View(t.Context(), func(appaccess.Reader) error { return nil })
	require.ErrorIs(t, err, appaccess.ErrUnavailable)
	require.ErrorContains(t, err, "newest commits")
	require.NoError(t, m.store.Close())
	m.check(t, open(t, m.live)) // the three belong together
}

// A backup replaces a file that was removed under a running process.
func TestABackupTakesThePlaceOfAMissingFile(t *testing.T) {
	t.Parallel()
	m := newMoved(t)
	require.NoError(t, m.store.Backup(t.Context(), m.away))
	put(t, m.store, "later")
	require.NoError(t, os.Remove(m.live))
	err := m.store.View(t.Context(), func(appaccess.Reader) error { return nil })
	require.ErrorContains(t, err, m.live+" is gone")
	copyFile(t, m.away, m.live)
	m.check(t, m.store)
	assert.False(t, has(t, m.store, "later"))
	put(t, m.store, "again")
}
