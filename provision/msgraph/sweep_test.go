package msgraph_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/internal/race"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
	"github.com/entragate/entragate/provision/internal/sweep"
)

// The engine over HTTPS and the SDK: a part of the sweeps that package
// provision makes in process, so that what the SDK and net/http do on their
// own, with a write that fails or an answer that is lost, is in the test.

// renewing is an azidentity credential that is made anew as the clock moves on:
// azidentity itself goes by real time.
type renewing struct {
	clock *testkit.Clock
	make  func() azcore.TokenCredential
	mu    sync.Mutex
	since time.Time
	azcore.TokenCredential
}

func (r *renewing) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	r.mu.Lock()
	if now := r.clock.Now(); r.TokenCredential == nil || now.Sub(r.since) > 30*time.Minute {
		r.TokenCredential, r.since = r.make(), now
	}
	credential := r.TokenCredential
	r.mu.Unlock()
	return credential.GetToken(ctx, o)
}

// overHTTPS opens a tenant behind a server.
func overHTTPS(t testing.TB, cfg entratest.Config, clock *testkit.Clock) (*entratest.Tenant, provision.Directory) {
	t.Helper()
	s := entratest.NewServer(t, cfg)
	caller, err := s.AddCaller("entragate", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	return s.Tenant, over(t, s, &renewing{clock: clock, make: func() azcore.TokenCredential { return secretCredential(t, s, caller) }})
}

// The story is killed at every fifteenth of its requests to Graph (every sixtieth
// under the race detector).
func TestCrashSweep(t *testing.T) {
	t.Parallel()
	stride := 15
	if testing.Short() || race.Enabled {
		stride = 60
	}
	want := sweep.Undisturbed(t, overHTTPS)
	for name, lag := range sweep.Lags {
		for _, kind := range []entratest.FaultKind{entratest.CutBefore, entratest.CutAfter} {
			t.Run(fmt.Sprintf("%s, %s", name, kind), func(t *testing.T) {
				t.Parallel()
				cuts := 0
				for k := 1 + int(kind)%2; sweep.CrashAt(t, overHTTPS, k, kind, lag, want); k += stride {
					cuts++
				}
				t.Logf("%d cuts tried", cuts)
				assert.Positive(t, cuts)
			})
		}
	}
}

// A fifth of all requests fail, in every way there is.
func TestRandomSweep(t *testing.T) {
	t.Parallel()
	seeds := uint64(20)
	if testing.Short() || race.Enabled {
		seeds = 4
	}
	want := sweep.Undisturbed(t, overHTTPS)
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			assert.Positive(t, sweep.Random(t, overHTTPS, seed, want))
		})
	}
}

// What stands is read in batches, and left alone.
func TestUnchangedSendsNoWrite(t *testing.T) {
	t.Parallel()
	s := sweep.New(t, overHTTPS, entratest.Config{})
	require.NoError(t, s.Tell(t.Context()))
	s.Clock.Advance(10 * time.Minute)
	s.Tenant.ResetCounts()
	require.NoError(t, s.Tell(t.Context()))
	assert.Zero(t, s.Tenant.Counts().Writes)
}

// A caller without the role is told which one, whom to give it to, and who may
// assign it.
func TestWithoutTheRole(t *testing.T) {
	t.Parallel()
	clock := testkit.NewClock(time.Now())
	s := entratest.NewServer(t, entratest.Config{Now: clock.Now, Sleep: clock.Sleep})
	caller, err := s.AddCaller("newcomer")
	require.NoError(t, err)
	e, err := provision.New(provision.Config{Directory: open(t, s, caller), Store: memstore.New(), Now: clock.Now, Sleep: clock.Sleep})
	require.NoError(t, err)
	want := memstore.Desired{
		Products:     []appaccess.DesiredProduct{{ID: "gold", ApplicationName: "Gold", Roles: []appaccess.Role{{Permission: appaccess.AllPermission, Value: "Gold.All"}}}},
		Applications: []appaccess.DesiredApplication{{ID: "c1", ApplicationName: "Client", OwnerID: "ada", Grants: appaccess.GrantsOfAll("gold")}},
	}
	applied, err := e.Apply(t.Context(), want.Objects(), want, nil)
	require.NoError(t, err)
	require.Len(t, applied.Failed, 2)
	for _, err := range applied.Failed {
		var failed *provision.Error
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, provision.Permanent, failed.Kind)
		assert.Contains(t, failed.Advice, "Application Administrator")
		assert.Contains(t, failed.Advice, "newcomer")
		assert.Contains(t, failed.Advice, caller.ObjectID)
		assert.Contains(t, failed.Advice, "Privileged Role Administrator")
	}
	ready, err := e.Preflight(t.Context())
	require.NoError(t, err)
	assert.False(t, ready.OK)
}
