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
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/internal/race"
	"github.com/entragate/entragate/provision/entratest"
)

// story is what the sweeps do: two products and four clients with grants and
// secrets, then a rotation, then a removal, a revocation, a suspension and the
// change of a role. Like the Service it keeps what it has done; step is only
// raised by what succeeded. A sweep tells it once for each of its requests, so it
// is as short as it can be with one of each.
type story struct {
	w       *world
	vault   *vault
	step    int
	current map[string]appaccess.Credential // by client
	old     appaccess.Credential
	applied appaccess.Applied
}

var errNotInSync = errors.New("not in sync")

// auditRole is a permission of iron, which c3 is granted instead of all.
var auditRole = appaccess.Role{Permission: "Audit", Value: "Product.Iron.Audit"}

func (s *story) before() memstore.Desired {
	iron := products("iron", "starter")
	iron[0].Roles = append(iron[0].Roles, auditRole)
	auditor := wantClient("c3")
	auditor.Grants = appaccess.Grants{{Product: "iron", Permissions: []string{auditRole.Permission}}}
	return memstore.Desired{
		Products: iron,
		Applications: []appaccess.DesiredApplication{
			wantClient("c1", "starter"), wantClient("c2", "iron", "starter"), auditor, wantClient("c4", "iron", "starter"),
		},
	}
}

func (s *story) after() memstore.Desired {
	want := s.before()
	want.Products[0].Roles = append(allRole("Product.Iron.Read"), auditRole)
	want.Applications[1].Grants = appaccess.GrantsOfAll("starter")
	want.Applications[2].Disabled = true
	want.Applications[3] = appaccess.DesiredApplication{ID: "c4", Deleted: true}
	return want
}

// tell goes on with the story where it stopped.
func (s *story) tell(ctx context.Context, e *engine) error {
	for s.step < len(chapters) {
		if err := chapters[s.step](ctx, s, e); err != nil {
			return err
		}
		s.step++
	}
	return s.apply(ctx, e, s.after())
}

var chapters = []func(context.Context, *story, *engine) error{
	func(ctx context.Context, s *story, e *engine) error { return s.apply(ctx, e, s.before()) },
	func(ctx context.Context, s *story, e *engine) error {
		for _, c := range []string{"c1", "c2", "c4"} {
			if err := s.secret(ctx, e, c, "first-"+c); err != nil {
				return err
			}
		}
		return nil
	},
	func(ctx context.Context, s *story, e *engine) error {
		s.old = s.current["c1"]
		return s.secret(ctx, e, "c1", "second-c1")
	},
	func(ctx context.Context, s *story, e *engine) error {
		return e.RemoveCredential(ctx, "c1", s.old)
	},
	func(ctx context.Context, s *story, e *engine) error { return s.apply(ctx, e, s.after()) },
}

func (s *story) apply(ctx context.Context, e *engine, want memstore.Desired) (err error) {
	s.applied, err = e.Apply(ctx, want, nil)
	if err == nil && len(s.applied.Failed) > 0 {
		err = fmt.Errorf("%w: %v", errNotInSync, s.applied.Failed)
	}
	if err == nil && len(s.applied.MissingInEntra) > 0 {
		err = fmt.Errorf("lost credentials: %v", s.applied.MissingInEntra)
	}
	return err
}

func (s *story) secret(ctx context.Context, e *engine, client, op string) error {
	c, err := e.AddCredential(ctx, client, s.vault.request(op))
	if err == nil {
		s.current[client] = c
	}
	return err
}

func newStory(t testing.TB, cfg entratest.Config) *story {
	return &story{w: newWorld(t, cfg), vault: newVault(), current: map[string]appaccess.Credential{}}
}

// check compares the end with that of an undisturbed run and tries every
// secret that is in use.
func (s *story) check(t testing.TB, wanted string) {
	t.Helper()
	s.w.settle()
	require.Equal(t, wanted, stateOf(s.w.tenant))
	for _, client := range []string{"c1", "c2"} {
		secret, ok := s.vault.secrets[s.current[client].KeyID]
		require.True(t, ok, "the current secret of %s was handed over", client)
		require.NoError(t, s.w.token(s.applied.Applications[client].AppID, secret, s.applied.Products["starter"].AppID), client)
	}
}

// undisturbed is the end of a run in which nothing fails.
func undisturbed(t testing.TB, lag entratest.Lag) string {
	t.Helper()
	s := newStory(t, entratest.Config{Lag: lag, Seed: 1})
	require.NoError(t, s.tell(t.Context(), s.w.engine()))
	state := stateOf(s.w.tenant)
	require.Contains(t, state, auditRole.Value)
	s.check(t, state)
	return state
}

var lags = map[string]entratest.Lag{"no lag": {}, "lag": {Min: time.Second, Max: 40 * time.Second}}

// TestCrashSweep kills the story at each of its Graph requests: before the
// request is carried out, and after, with the answer lost. Store and tenant are
// all that is left; a new engine tells the story on.
func TestCrashSweep(t *testing.T) {
	t.Parallel()
	var cuts atomic.Int64
	t.Run("cuts", func(t *testing.T) {
		for name, lag := range lags {
			want := undisturbed(t, lag)
			for _, kind := range []entratest.FaultKind{entratest.CutBefore, entratest.CutAfter} {
				t.Run(fmt.Sprintf("%s, %s", name, kind), func(t *testing.T) {
					t.Parallel()
					// Until the story is over before its k-th request.
					for k := 1; crashAt(t, k, kind, lag, want); k += stride() {
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

func crashAt(t *testing.T, k int, kind entratest.FaultKind, lag entratest.Lag, want string) bool {
	t.Helper()
	s := newStory(t, entratest.Config{Lag: lag, Seed: uint64(k)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var dead atomic.Bool
	s.w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
		switch {
		case r.Service != entratest.GraphService || r.N < k:
			return entratest.Fault{}
		case dead.Swap(true):
			return entratest.Fault{Kind: entratest.CutBefore}
		}
		cancel()
		return entratest.Fault{Kind: kind}
	})
	s.w.store.Before = func() error {
		if dead.Load() {
			return errors.New("killed")
		}
		return nil
	}
	err := s.tell(ctx, s.w.engine())
	if !dead.Load() {
		require.NoError(t, err)
		return false
	}
	require.Error(t, err, "cut %d", k)
	dead.Store(false)
	s.w.tenant.OnRequest(nil)
	require.NoError(t, s.tell(t.Context(), s.w.engine()), "cut %d, %s", k, kind)
	s.check(t, want)
	return true
}

// TestCommitCutSweep kills the story at each commit to the store: before it,
// and after it with the answer lost. A secret may be handed over by then and
// not be recorded.
func TestCommitCutSweep(t *testing.T) {
	t.Parallel()
	want := undisturbed(t, entratest.Lag{})
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
	s := newStory(t, entratest.Config{Seed: uint64(k), Lag: lags["lag"]})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	killed := errors.New("killed")
	var dead atomic.Bool
	commits := 0
	s.w.store.After = func() error {
		if commits++; after && commits == k {
			cancel()
			dead.Store(true)
			return killed
		}
		return nil
	}
	s.w.store.Before = func() error {
		if !after && commits == k-1 {
			cancel()
			dead.Store(true)
		}
		if dead.Load() {
			return killed
		}
		return nil
	}
	s.w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
		if dead.Load() && r.Service == entratest.GraphService {
			return entratest.Fault{Kind: entratest.CutBefore}
		}
		return entratest.Fault{}
	})
	err := s.tell(ctx, s.w.engine())
	if !dead.Load() {
		require.NoError(t, err)
		return false
	}
	require.Error(t, err, "commit %d", k)
	s.w.store.Before, s.w.store.After = nil, nil
	s.w.tenant.OnRequest(nil)
	require.NoError(t, s.tell(t.Context(), s.w.engine()), "commit %d, after: %t", k, after)
	s.check(t, want)
	return true
}

// TestRandomSweep has a fifth of all requests fail, in every way there is, with
// a seed each. ENTRAGATE_SEEDS sets how many seeds are run, ENTRAGATE_SEED runs one
// alone and prints its requests.
func TestRandomSweep(t *testing.T) {
	t.Parallel()
	first, last := seedRange(t, 100, 20)
	want := undisturbed(t, entratest.Lag{})
	var next, runs, faults atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := first + uint64(next.Add(1)) - 1; seed <= last; seed = first + uint64(next.Add(1)) - 1 {
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
					runs.Add(1)
					n := randomRun(t, seed, want)
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

// randomRun goes on until the story is told; the faults then end for a last
// Apply, as they do in life.
func randomRun(t *testing.T, seed uint64, want string) int {
	t.Helper()
	lag := lags["lag"]
	if seed%2 == 0 {
		lag = entratest.Lag{}
	}
	s := newStory(t, entratest.Config{Seed: seed, Lag: lag, FaultRate: 0.2})
	defer func() {
		if t.Failed() {
			t.Logf("replay with ENTRAGATE_SEED=%d", seed)
			if os.Getenv("ENTRAGATE_SEED") != "" {
				for _, r := range s.w.tenant.Requests() {
					t.Log(r)
				}
			}
		}
	}()
	for range 20 {
		if s.tell(t.Context(), s.w.engine()) == nil {
			break
		}
	}
	faults := s.w.tenant.Counts().Faults
	s.w.tenant.SetFaultRate(0)
	require.NoError(t, s.tell(t.Context(), s.w.engine()))
	s.check(t, want)
	return faults
}
