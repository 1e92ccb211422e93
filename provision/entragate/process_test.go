package main

import (
	"errors"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision/entratest"
)

// With ENTRAGATE_TEST_COMMAND in its environment the test binary is the command, so
// that a test can kill it.
func TestMain(m *testing.M) {
	if os.Getenv("ENTRAGATE_TEST_COMMAND") != "" {
		main()
	}
	os.Exit(m.Run())
}

// process is the command as a process of its own. Its environment holds nothing but
// the workplace's.
func (w *workplace) process(args ...string) *exec.Cmd {
	w.Helper()
	exe, err := os.Executable()
	require.NoError(w, err)
	cmd := exec.CommandContext(w.Context(), exe, w.located(args)...)
	cmd.Env = []string{"ENTRAGATE_TEST_COMMAND=1", "HOME=" + w.dir, "TMPDIR=" + w.dir}
	for name, value := range w.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// The process is killed during a request to Graph, whose write is still done. The next
// run does not wait for the locks of the dead process, and ends in the same state.
func TestAKilledApplyIsContinued(t *testing.T) {
	t.Parallel()
	undisturbed := newWorkplace(t)
	apply := func(w *workplace) []string { return []string{"apply", "-create", "-config", w.file("one-client.json")} }
	status, _, errOut := undisturbed.run(apply(undisturbed)...)
	require.Zero(t, status, errOut)
	total := undisturbed.tenant.Counts().Writes
	require.Positive(t, total)
	for k := 1; k <= total; k++ {
		w := newWorkplace(t)
		cmd := w.process(apply(w)...)
		var writes atomic.Int64
		started := make(chan struct{})
		w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
			if r.Write && writes.Add(1) == int64(k) {
				<-started
				_ = cmd.Process.Kill()
			}
			return entratest.Fault{}
		})
		require.NoError(t, cmd.Start())
		close(started)
		var exit *exec.ExitError
		require.True(t, errors.As(cmd.Wait(), &exit), "killed at write %d", k)
		require.Equal(t, -1, exit.ExitCode(), "ended by a signal at write %d", k)
		w.tenant.OnRequest(nil)
		status, _, errOut := w.run(apply(w)...)
		require.Zero(t, status, errOut)
		assert.NotContains(t, errOut, "wait for another", "after the kill at write %d", k)
		assert.Equal(t, len(undisturbed.tenant.State().Applications), len(w.tenant.State().Applications), "after the kill at write %d", k)
		before := w.tenant.Counts().Writes
		status, _, errOut = w.run(apply(w)...)
		require.Zero(t, status, errOut)
		assert.Equal(t, before, w.tenant.Counts().Writes, "nothing was left to do after the kill at write %d", k)
	}
}
