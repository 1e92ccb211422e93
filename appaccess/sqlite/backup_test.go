package sqlite_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
)

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, raw, 0o600))
}

func TestBackupIsWholeWhileTheStoreIsUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "store.db"))
	for i := range 20 {
		put(t, s, fmt.Sprint("r", i))
	}
	copied := filepath.Join(dir, "copy.db")
	require.NoError(t, s.Backup(t.Context(), copied))
	put(t, s, "later")
	require.Error(t, s.Backup(t.Context(), copied), "it overwrites nothing")
	info, err := os.Stat(copied)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())

	restored := filepath.Join(dir, "restored.db")
	require.NoError(t, sqlite.Restore(t.Context(), copied, restored))
	r := open(t, restored)
	assert.True(t, has(t, r, "r19"))
	assert.False(t, has(t, r, "later"))
	put(t, r, "again")
}

func TestRestoreRefusesWhatCannotBeRight(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	live := filepath.Join(dir, "store.db")
	s := open(t, live)
	put(t, s, "a")
	path := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, s.Backup(t.Context(), path("good.db")))
	copyFile(t, live, path("alone.db")) // without its -wal
	raw, err := os.ReadFile(path("good.db"))
	require.NoError(t, err)
	damaged := bytes.Clone(raw)
	for i := 4096; i < len(damaged); i++ {
		damaged[i] = 0xff
	}
	require.NoError(t, os.WriteFile(path("damaged.db"), damaged, 0o600))
	require.NoError(t, os.WriteFile(path("text.db"), []byte(strings.Repeat("text", 2000)), 0o600))
	require.NoError(t, os.WriteFile(path("stray.db-wal"), []byte("x"), 0o600))
	for _, test := range []struct{ backup, to, says string }{
		{"good.db", "store.db", "exists"},
		{"good.db", "stray.db", "stray.db-wal exists"},
		{"alone.db", "new.db", "without its -wal"},
		{"damaged.db", "new.db", ""},
		{"text.db", "new.db", ""},
		{"missing.db", "new.db", ""},
	} {
		err := sqlite.Restore(t.Context(), path(test.backup), path(test.to))
		require.ErrorContains(t, err, test.says, "%+v", test)
		assert.NoFileExists(t, path("new.db"))
	}
	require.NoError(t, sqlite.Restore(t.Context(), path("good.db"), path("new.db")))
}

// A backup that was copied over a store by hand is not opened with the log of the
// store that it replaced.
func TestOpenRefusesTheLogOfAnotherFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	live, old := filepath.Join(dir, "store.db"), filepath.Join(dir, "old.db")
	s := open(t, live)
	put(t, s, "a")
	require.NoError(t, s.Backup(t.Context(), old))
	put(t, s, "b")
	copyFile(t, live+"-wal", filepath.Join(dir, "left-over"))
	_, err := os.Stat(live)
	require.NoError(t, err)
	copyFile(t, filepath.Join(dir, "left-over"), old+"-wal")
	_, err = sqlite.Open(t.Context(), old)
	require.ErrorContains(t, err, "belongs to another file")
	require.NoError(t, os.Remove(old+"-wal"))
	r := open(t, old)
	assert.True(t, has(t, r, "a"))
	again, err := sqlite.Open(t.Context(), old) // beside its own -wal
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

// program runs Debian's sqlite3 on a file.
func program(t *testing.T, path, sql string) string {
	t.Helper()
	exe, err := exec.LookPath("sqlite3")
	if err != nil {
		if os.Getenv("ENTRAGATE_TEST_REQUIRE") == "1" {
			t.Fatal("no sqlite3")
		}
		t.Skip("no sqlite3: install it")
	}
	out, err := exec.CommandContext(t.Context(), exe, path, sql).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// Another program that opens and closes the file takes nothing away from a
// process that has it open, also after that process has opened it twice.
func TestAnotherProgramDoesNotTakeTheLogAway(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	cmd, lines := startTwice(t, path)
	for range 3 {
		require.Equal(t, "ready\n", <-lines)
		assert.NotEmpty(t, program(t, path, "SELECT count(*) FROM records"))
		assert.FileExists(t, path+"-wal", "the other program believed that it was alone")
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	s := open(t, path)
	for i := range 3 {
		assert.True(t, has(t, s, fmt.Sprint("r", i)), "r%d was acknowledged", i)
	}
}

// startTwice starts a process that opens the file, opens it again, and says
// ready after each of a few writes.
func startTwice(t *testing.T, path string) (*exec.Cmd, <-chan string) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childPath+"="+path, childTurns+"=twice")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := make(chan string)
	go func() {
		buffer := make([]byte, len("ready\n"))
		for {
			if _, err := io.ReadFull(out, buffer); err != nil {
				return
			}
			lines <- string(buffer)
		}
	}()
	return cmd, lines
}

// childTwice is that process.
func childTwice(path string) error {
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		return err
	}
	again, err := sqlite.Open(context.Background(), path)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if i == 1 {
			if err := again.Close(); err != nil {
				return err
			}
		}
		if i < 3 {
			if _, err := s.Update(context.Background(), func(w appaccess.Writer) error {
				return w.Put(appaccess.Record{Kind: kind, ID: fmt.Sprint("r", i)})
			}); err != nil {
				return err
			}
			fmt.Println("ready")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A file that is replaced by an older one under a running process: writes go to
// the new file, and a Catalog forgets what the lost commits had said, also when
// the new file has as many commits by then.
func TestFileIsReplacedUnderARunningProcess(t *testing.T) {
	t.Parallel()
	const lost, later = 8, 12
	dir := t.TempDir()
	path, older := filepath.Join(dir, "store.db"), filepath.Join(dir, "older.db")
	s := open(t, path)
	sub := appaccess.Record{Kind: appaccess.KindSubscription, ID: "s1", Body: []byte(`{"id":"s1","state":"suspended","scope":"/apis","primarySum":"` +
		appaccess.HashKey("key").String() + `","primaryHash":"` + appaccess.HashKey("key").String() + `"}`),
		Index: []appaccess.IndexEntry{{Name: "key", Value: appaccess.HashKey("key").String(), Unique: true}}}
	write := func(s *sqlite.Store, rec appaccess.Record) {
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(rec) })
		require.NoError(t, err)
	}
	write(s, sub)
	require.NoError(t, s.Backup(t.Context(), older))

	catalog, err := appaccess.NewCatalog(t.Context(), appaccess.CatalogConfig{Store: s})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, catalog.Close()) })
	key := func() appaccess.DenyReason {
		st, err := catalog.Key(t.Context(), appaccess.HashKey("key"))
		if err != nil {
			require.ErrorIs(t, err, appaccess.ErrUnavailable)
			return "unavailable"
		}
		return st.DenyReason
	}
	active := sub
	active.Body = bytes.Replace(sub.Body, []byte("suspended"), []byte("active"), 1)
	write(s, active)
	for i := range lost - 1 {
		put(t, s, fmt.Sprint("lost", i))
	}
	require.Eventually(t, func() bool { return key() == appaccess.NotDenied }, time.Minute, 10*time.Millisecond)

	replacement := open(t, older) // as another process does
	for i := range later {
		put(t, replacement, fmt.Sprint("later", i))
	}
	require.NoError(t, replacement.Close())
	require.NoError(t, os.Rename(older, path))
	require.Eventually(t, func() bool { return key() == appaccess.SubscriptionNotActive }, time.Minute, 10*time.Millisecond,
		"the lost activation still passes")
	put(t, s, "new")
	assert.True(t, has(t, s, "later3") && has(t, s, "new"))
	assert.False(t, has(t, s, "lost1"))

	require.NoError(t, os.Remove(path))
	_, err = s.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(sub) })
	require.ErrorIs(t, err, appaccess.ErrUnavailable, "a write to a file that is gone would be lost")
	require.ErrorContains(t, err, "gone")
}
