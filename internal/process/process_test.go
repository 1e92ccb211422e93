package process_test

import (
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/entragate/entragate/internal/process"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDead(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("known on Linux only")
	}
	id := process.ID()
	require.NotEmpty(t, id)
	assert.False(t, process.Dead(id), "this process runs")

	child := exec.Command("sleep", "60")
	require.NoError(t, child.Start())
	place := id[:strings.LastIndexByte(id, '/')+1]
	other := place + strconv.Itoa(child.Process.Pid)
	assert.False(t, process.Dead(other))
	require.NoError(t, child.Process.Kill())
	assert.Error(t, child.Wait())
	assert.True(t, process.Dead(other))
	assert.False(t, process.Dead("elsewhere/"+other), "nothing is known of another machine")
}

func TestNothingIsKnownOfOthers(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"", "/", "1", "/1", "x/1", "boot/pid:[1]/99999999", process.ID() + "x", process.ID()[:max(0, strings.LastIndexByte(process.ID(), '/'))] + "/-1"} {
		assert.False(t, process.Dead(id), id)
	}
}
