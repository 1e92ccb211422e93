package middleware_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/middleware"
)

// fileGate is a gate with a key file, and its log. It has keys and has closed.
func fileGate(t *testing.T, path string, down bool) (status int, log string) {
	t.Helper()
	e := newEntra()
	if down {
		e.answer = unreachable
	}
	var out testkit.Log
	c := config(e)
	c.KeyFile, c.Logger = path, out.Logger(slog.LevelDebug)
	before, _ := os.Lstat(path)
	g, err := middleware.New(c)
	require.NoError(t, err)
	status = call(g.Product("starter")(echo), mint(t, claims(nil))).Code
	if !down {
		require.Eventually(t, func() bool { return replaced(path, before) || strings.Contains(out.String(), "not remembered") }, 30*time.Second, time.Millisecond)
	}
	require.NoError(t, g.Close())
	return status, out.String()
}

// replaced reports whether a file was written since it was looked at.
func replaced(path string, before os.FileInfo) bool {
	now, err := os.Lstat(path)
	return err == nil && (before == nil || !os.SameFile(before, now))
}

var unreachable = down

func TestColdStartWithKeysFromAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	status, _ := fileGate(t, path, true)
	assert.Equal(t, 503, status, "nothing is remembered")
	status, _ = fileGate(t, path, false)
	assert.Equal(t, 200, status)
	if runtime.GOOS != "windows" {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode())
	}
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, left, 1, "no temporary file is left")
	status, log := fileGate(t, path, true)
	assert.Equal(t, 200, status)
	assert.Contains(t, log, "remembered signing keys used")
}

func TestKeyFilesThatAreNotUsed(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("who may write a file is not checked on Windows")
	}
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, path string)
		log   string
	}{
		"symbolic link": {func(t *testing.T, path string) {
			require.NoError(t, os.Rename(path, path+".other"))
			require.NoError(t, os.Symlink(path+".other", path))
		}, "expected a regular file"},
		"writable for the group": {func(t *testing.T, path string) { require.NoError(t, os.Chmod(path, 0o620)) }, "has mode 0620"},
		"writable for all":       {func(t *testing.T, path string) { require.NoError(t, os.Chmod(path, 0o602)) }, "has mode 0602"},
		"directory": {func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o700))
		}, "expected a regular file"},
		"too large": {func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 4<<20+1)) }, "more than 4194304 bytes"},
		"cut off":   {func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 100)) }, "is not what a gate wrote"},
		"empty":     {func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 0)) }, "is not what a gate wrote"},
		"another's": {func(t *testing.T, path string) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a file to another user")
			}
			require.NoError(t, os.Chown(path, 12345, 12345))
		}, "belongs to another user"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keys.json")
			fileGate(t, path, false)
			tc.spoil(t, path)
			status, log := fileGate(t, path, true)
			assert.Equal(t, 503, status)
			assert.Contains(t, log, "remembered signing keys not used")
			assert.Contains(t, log, "KeyFile: "+path+": ")
			assert.Contains(t, log, tc.log)
			if name == "directory" {
				return
			}
			fileGate(t, path, false)
			status, _ = fileGate(t, path, true)
			assert.Equal(t, 200, status, "the next fetch replaces it")
		})
	}
}

// A link is replaced, and what it points to is not written.
func TestAKeyFileIsNotWrittenThroughALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, target := filepath.Join(dir, "keys.json"), filepath.Join(dir, "target")
	require.NoError(t, os.WriteFile(target, []byte("precious"), 0o600))
	require.NoError(t, os.Symlink(target, path))
	fileGate(t, path, false)
	body, err := os.ReadFile(target)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(body))
	info, err := os.Lstat(path)
	require.NoError(t, err)
	assert.True(t, info.Mode().IsRegular())
}

func TestAKeyFileThatCannotBeWrittenIsLogged(t *testing.T) {
	t.Parallel()
	status, log := fileGate(t, filepath.Join(t.TempDir(), "missing", "keys.json"), false)
	assert.Equal(t, 200, status)
	assert.Contains(t, log, "signing keys not remembered")
	assert.Contains(t, log, "no such file")
}

// A gate whose own fetches fail does not replace keys that another gate fetched
// later: a key that was withdrawn in between would come back.
func TestAKeyFileKeepsKeysThatWereFetchedLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "keys.json")
		start := func(kid int) *entra {
			e := newEntra()
			e.rotate(kid)
			c := config(e)
			c.KeyFile = path
			require.NoError(t, open(t, c).Ready(t.Context()))
			return e
		}
		stored := func() string {
			synctest.Wait()
			body, err := os.ReadFile(path)
			require.NoError(t, err)
			return string(body)
		}
		older := start(1)
		require.Contains(t, stored(), `"k1"`)
		older.set(func(e *entra) { e.answer = unreachable })
		time.Sleep(30 * time.Minute)
		start(2)
		require.Contains(t, stored(), `"k2"`)
		require.NotContains(t, stored(), `"k1"`)
		time.Sleep(31 * time.Minute) // the older gate's next fetch fails
		assert.Contains(t, stored(), `"k2"`)
		assert.NotContains(t, stored(), `"k1"`)
	})
}

// Keys that seem to be fetched in the future cannot be used. They do not stay.
func TestAKeyFileReplacesKeysOfTheFuture(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"sets":[{"url":"`+keysURL+`","fetched":"2999-01-01T00:00:00Z","keys":{}}]}`), 0o600))
	fileGate(t, path, false)
	status, _ := fileGate(t, path, true)
	assert.Equal(t, 200, status)
}
