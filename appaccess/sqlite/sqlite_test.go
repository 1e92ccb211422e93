package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/appaccess/storetest"
)

// memory is a new directory that is in memory where the system has such a place:
// tests that are not about durability do not wait for the disk.
func memory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "entragate-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func open(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func put(t *testing.T, s *sqlite.Store, id string) {
	t.Helper()
	_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
		return w.Put(appaccess.Record{Kind: kind, ID: id})
	})
	require.NoError(t, err)
}

func has(t *testing.T, s *sqlite.Store, id string) bool {
	t.Helper()
	err := s.View(t.Context(), func(r appaccess.Reader) error {
		_, err := r.Get(kind, id)
		return err
	})
	if err != nil {
		require.ErrorIs(t, err, appaccess.ErrNotFound)
	}
	return err == nil
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) appaccess.Store { return open(t, filepath.Join(memory(t), "store.db")) })
}

func TestOpenAgain(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"store.db", "with space", "per%20cent", "quest?ion", "ha#sh", "a&b=c;d", "q'uote", "ünï"} {
		path := filepath.Join(t.TempDir(), name)
		s, err := sqlite.Open(t.Context(), path)
		require.NoError(t, err)
		put(t, s, "a")
		require.NoError(t, s.Close())
		require.NoError(t, s.Close(), "twice")
		assert.FileExists(t, path)
		assert.True(t, has(t, open(t, path), "a"), name)
	}
}

func TestRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	s := open(t, "store.db")
	put(t, s, "a")
	assert.FileExists(t, "store.db")
}

func TestFilesAreTheOwnersOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, open(t, filepath.Join(dir, "store.db")), "a")
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 3, "database, log and index of the log")
	for _, f := range files {
		info, err := f.Info()
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o600), info.Mode(), f.Name())
	}
}

func TestTemporary(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	a, b := open(t, sqlite.Temporary), open(t, sqlite.Temporary)
	put(t, a, "a")
	assert.True(t, has(t, a, "a"))
	assert.False(t, has(t, b, "a"), "each store has its own file")
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other, err := sql.Open("sqlite", filepath.Join(dir, "other.db"))
	require.NoError(t, err)
	_, err = other.Exec("CREATE TABLE records (a)")
	require.NoError(t, err)
	require.NoError(t, other.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "text"), []byte("no database, but a text of some length"), 0o600))
	for _, name := range []string{"other.db", "text", "missing/store.db", "."} {
		path := filepath.Join(dir, name)
		_, err := sqlite.Open(t.Context(), path)
		assert.ErrorContains(t, err, path)
	}
	_, err = sqlite.Open(t.Context(), "")
	assert.ErrorContains(t, err, "sqlite.Temporary", "a path that nobody set keeps nothing by accident")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = sqlite.Open(ctx, filepath.Join(dir, "store.db"))
	assert.ErrorIs(t, err, context.Canceled)
}

func TestManyOpenAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			s, err := sqlite.Open(t.Context(), path)
			if !assert.NoError(t, err) {
				return
			}
			_, err = s.Update(t.Context(), func(w appaccess.Writer) error {
				return w.Put(appaccess.Record{Kind: kind, ID: fmt.Sprint(i)})
			})
			assert.NoError(t, err)
			assert.NoError(t, s.Close())
		})
	}
	wg.Wait()
	require.NoError(t, open(t, path).View(t.Context(), func(r appaccess.Reader) error {
		at, err := r.Position()
		assert.EqualValues(t, 6, at.Revision)
		return err
	}))
}

// A newer process may have added to the schema.
func TestOlderProcessSurvivesNewerSchema(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	running := open(t, path)
	put(t, running, "before")
	newer, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	_, err = newer.Exec("ALTER TABLE records ADD COLUMN extra TEXT NOT NULL DEFAULT ''; CREATE TABLE more (a); PRAGMA user_version = 99")
	require.NoError(t, err)
	put(t, running, "after")
	put(t, open(t, path), "started later")
	assert.True(t, has(t, running, "before") && has(t, running, "after") && has(t, running, "started later"))
	var version int
	require.NoError(t, newer.QueryRow("PRAGMA user_version").Scan(&version))
	assert.Equal(t, 99, version)
	require.NoError(t, newer.Close())
}

// A foreign transaction that holds the file for long ends in an error that the
// context bounds, and never in a hang.
func TestLockedByAnotherProgram(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path)
	put(t, s, "a")
	other, err := sql.Open("sqlite", path+"?_txlock=immediate")
	require.NoError(t, err)
	tx, err := other.Begin()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	waits := make(chan error, 1)
	go func() {
		_, err := s.Update(ctx, func(w appaccess.Writer) error { return w.Put(appaccess.Record{Kind: kind, ID: "b"}) })
		waits <- err
	}()
	assert.True(t, has(t, s, "a"), "readers are not held up")
	cancel()
	require.ErrorIs(t, <-waits, context.Canceled)
	require.NoError(t, tx.Rollback())
	require.NoError(t, other.Close())
	put(t, s, "c")
	assert.False(t, has(t, s, "b"))
}
