package provision_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/race"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
	"github.com/entragate/entragate/provision/internal/sweep"
)

// inProcess opens a tenant without a network.
func inProcess(t testing.TB, cfg entratest.Config, _ *testkit.Clock) (*entratest.Tenant, provision.Directory) {
	t.Helper()
	tenant, err := entratest.New(cfg)
	require.NoError(t, err)
	caller, err := tenant.AddCaller("entragate", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	t.Cleanup(func() { assert.Empty(t, tenant.Misuses()) })
	return tenant, tenant.Directory(caller)
}

// TestCrashSweep kills the story at each of its Graph requests.
func TestCrashSweep(t *testing.T) {
	t.Parallel()
	var cuts atomic.Int64
	t.Run("cuts", func(t *testing.T) {
		want := sweep.Undisturbed(t, inProcess)
		for name, lag := range sweep.Lags {
			for _, kind := range []entratest.FaultKind{entratest.CutBefore, entratest.CutAfter} {
				t.Run(fmt.Sprintf("%s, %s", name, kind), func(t *testing.T) {
					t.Parallel()
					// Until the story is over before its k-th request.
					for k := 1; sweep.CrashAt(t, inProcess, k, kind, lag, want); k += stride() {
						cuts.Add(1)
					}
				})
			}
		}
	})
	t.Logf("%d cuts tried", cuts.Load())
	assert.Positive(t, cuts.Load())
}

// stride is how many cuts the race detector and -short leave out.
func stride() int {
	if testing.Short() || race.Enabled {
		return 11
	}
	return 1
}

// TestCommitCutSweep kills the story at each commit to the store: before it,
// and after it with the answer lost. A secret may be handed over by then and
// not be recorded.
func TestCommitCutSweep(t *testing.T) {
	t.Parallel()
	want := sweep.Undisturbed(t, inProcess)
	cuts := 0
	for _, after := range []bool{false, true} {
		for k := 1; commitCutAt(t, k, after, want); k += stride() {
			cuts++
		}
	}
	t.Logf("%d cuts tried", cuts)
	assert.Positive(t, cuts)
}

func commitCutAt(t *testing.T, k int, after bool, want string) bool {
	t.Helper()
	s := sweep.New(t, inProcess, entratest.Config{Seed: uint64(k), Lag: sweep.Lags["lag"]})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	killed := errors.New("killed")
	var dead atomic.Bool
	commits := 0
	s.Store.After = func() error {
		if commits++; after && commits == k {
			cancel()
			dead.Store(true)
			return killed
		}
		return nil
	}
	s.Store.Before = func() error {
		if !after && commits == k-1 {
			cancel()
			dead.Store(true)
		}
		if dead.Load() {
			return killed
		}
		return nil
	}
	s.Tenant.OnRequest(func(r entratest.Request) entratest.Fault {
		if dead.Load() && r.Service == entratest.GraphService {
			return entratest.Fault{Kind: entratest.CutBefore}
		}
		return entratest.Fault{}
	})
	err := s.Tell(ctx)
	if !dead.Load() {
		require.NoError(t, err)
		return false
	}
	require.Error(t, err, "commit %d", k)
	s.Store.Before, s.Store.After = nil, nil
	s.Tenant.OnRequest(nil)
	require.NoError(t, s.Tell(t.Context()), "commit %d, after: %t", k, after)
	s.Check(want)
	return true
}

// TestRandomSweep has a fifth of all requests fail, in every way there is, with
// a seed each. ENTRAGATE_SEEDS sets how many seeds are run, ENTRAGATE_SEED runs one
// alone. A seed that fails prints its requests.
func TestRandomSweep(t *testing.T) {
	t.Parallel()
	first, last := seedRange(t, 100, 20)
	want := sweep.Undisturbed(t, inProcess)
	var next, runs, faults atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := first + uint64(next.Add(1)) - 1; seed <= last; seed = first + uint64(next.Add(1)) - 1 {
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
					runs.Add(1)
					n := sweep.Random(t, inProcess, seed, want)
					faults.Add(int64(n))
				})
			}
		})
	}
	wg.Wait()
	t.Logf("%d seeds, %d faults", runs.Load(), faults.Load())
	assert.EqualValues(t, last-first+1, runs.Load())
}

// seedRange returns the first and the last seed of a sweep: 1 to n, or 1 to short
// under the race detector and with -short, or what the environment asks for.
func seedRange(t *testing.T, n, short uint64) (first, last uint64) {
	t.Helper()
	number := func(name string) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return 0
		}
		v, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, name)
		return v
	}
	if seed := number("ENTRAGATE_SEED"); seed > 0 {
		return seed, seed
	}
	if seeds := number("ENTRAGATE_SEEDS"); seeds > 0 {
		return 1, seeds
	}
	if testing.Short() || race.Enabled {
		return 1, short
	}
	return 1, n
}
