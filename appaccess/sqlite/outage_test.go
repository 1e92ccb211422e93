package sqlite_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/outage"
)

// The folder of the file goes away, as when a volume is lost, and comes back.
func TestGateWhenTheFileIsGone(t *testing.T) {
	t.Parallel()
	live, away := filepath.Join(memory(t), "live"), filepath.Join(memory(t), "away")
	require.NoError(t, os.Mkdir(live, 0o700))
	path := filepath.Join(live, "store.db")
	outage.Run(t, open(t, path), open(t, path), path+" is gone",
		func() { require.NoError(t, os.Rename(live, away)) }, func() { require.NoError(t, os.Rename(away, live)) })
}

// small mounts a file system of a size, and returns its directory.
func small(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	mount(t, "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir)
	return dir
}

func mount(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "mount", args...).CombinedOutput(); err != nil {
		t.Skipf("mount needs root: %v: %s", err, out)
	}
	dir := args[len(args)-1]
	t.Cleanup(func() { assert.NoError(t, exec.Command("umount", dir).Run()) })
}

// A store on a file system that is mounted read-only can be read. Writes are refused
// as unavailable. Once the file system is writable again, one write fails at most.
func TestReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	dir, mirror := small(t, "2m"), t.TempDir()
	mount(t, "--bind", dir, mirror)
	elsewhere := open(t, filepath.Join(dir, "store.db"))
	put(t, elsewhere, "a")
	remount := func(mode string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "mount", "-o", "remount,bind,"+mode, mirror).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	remount("ro")
	s := open(t, filepath.Join(mirror, "store.db"))
	assert.True(t, has(t, s, "a"))
	_, err := s.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(appaccess.Record{Kind: kind, ID: "b"}) })
	require.ErrorIs(t, err, appaccess.ErrUnavailable)
	require.ErrorContains(t, err, "readonly")
	put(t, elsewhere, "c")
	assert.True(t, has(t, s, "c"), "what others write is seen")
	remount("rw")
	write := func() error {
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(appaccess.Record{Kind: kind, ID: "d"}) })
		return err
	}
	_ = write() // on the old connection
	require.NoError(t, write())
	assert.True(t, has(t, elsewhere, "d"))
}

// A full disk refuses writes as unavailable and loses nothing that was acknowledged.
// A gate goes on with what can be read, and obeys revocations once there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := small(t, "2m")
	ballast := filepath.Join(dir, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 600_000), 0o600))
	s := open(t, filepath.Join(dir, "store.db"))
	service, err := appaccess.NewService(t.Context(), appaccess.ServiceConfig{Store: s})
	require.NoError(t, err)
	boss := appaccess.Manager("")
	made, err := service.CreateSubscription(t.Context(), boss, appaccess.SubscriptionRequest{ID: "known", Name: "Known", Scope: appaccess.AllAPIs})
	require.NoError(t, err)
	catalog, err := appaccess.NewCatalog(t.Context(), appaccess.CatalogConfig{Store: s, UsageInterval: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, catalog.Close()) })
	reason := func() appaccess.DenyReason {
		st, err := catalog.Key(t.Context(), appaccess.HashKey(made.Primary.Reveal()))
		require.NoError(t, err)
		return st.DenyReason
	}
	suspend := func() error {
		_, err := service.SetSubscriptionState(t.Context(), boss, "known", appaccess.SubscriptionSuspended)
		return err
	}
	write := func(i int) error {
		_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
			return w.Put(appaccess.Record{Kind: kind, ID: string(rune('A'+i/26)) + string(rune('a'+i%26)), Body: []byte(strings.Repeat("x", 20_000))})
		})
		return err
	}
	acknowledged := 0
	for err == nil {
		if err = write(acknowledged); err == nil {
			acknowledged++
		}
	}
	require.ErrorIs(t, err, appaccess.ErrUnavailable)
	require.ErrorContains(t, err, "full")
	assert.Positive(t, acknowledged)
	for err = nil; err == nil; { // smaller commits may still fit
		if err = suspend(); err == nil {
			_, err = service.SetSubscriptionState(t.Context(), boss, "known", appaccess.SubscriptionActive)
		}
	}
	require.ErrorIs(t, err, appaccess.ErrUnavailable, "the caller learns that nothing was revoked")
	count := func() (n int) {
		require.NoError(t, s.View(t.Context(), func(r appaccess.Reader) (err error) {
			n, err = r.Count(appaccess.Query{Kind: kind}, 1000)
			return err
		}))
		return n
	}
	assert.Equal(t, acknowledged, count())
	require.NoError(t, os.Remove(ballast))
	require.NoError(t, write(acknowledged), "there is room again")
	assert.Equal(t, acknowledged+1, count())
	require.NoError(t, suspend())
	require.Eventually(t, func() bool { return reason() == appaccess.SubscriptionNotActive }, time.Minute, 10*time.Millisecond)
}
