package msgraph_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/internal/race"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// The engine over HTTPS and the SDK: a part of the sweeps that package
// provision makes in process, so that what the SDK and net/http do on their
// own, with a write that fails or an answer that is lost, is in the test.

// clock moves only when somebody sleeps.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(0, c.at.Load()).UTC() }

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.at.Add(int64(d))
	return nil
}

var errKilled = errors.New("killed")

// renewing is an azidentity credential that is made anew as the clock moves on:
// azidentity itself goes by real time.
type renewing struct {
	clock *clock
	make  func() azcore.TokenCredential
	mu    sync.Mutex
	since time.Time
	azcore.TokenCredential
}

func (r *renewing) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	r.mu.Lock()
	if now := r.clock.now(); r.TokenCredential == nil || now.Sub(r.since) > 30*time.Minute {
		r.TokenCredential, r.since = r.make(), now
	}
	credential := r.TokenCredential
	r.mu.Unlock()
	return credential.GetToken(ctx, o)
}

// story is what happens to a tenant: products, clients, grants and secrets,
// then a rotation, a removal, a revocation and a suspension.
type story struct {
	*entratest.Server
	clock  *clock
	store  *memstore.Store
	dir    provision.Directory
	killed atomic.Bool

	mu      sync.Mutex
	secrets map[string]appaccess.Secret // by key ID
	step    int
	current map[string]appaccess.Credential
	old     appaccess.Credential
	applied appaccess.Applied
}

func newStory(t *testing.T, cfg entratest.Config) *story {
	t.Helper()
	s := &story{clock: new(clock), secrets: map[string]appaccess.Secret{}, current: map[string]appaccess.Credential{}}
	s.clock.at.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	s.store = memstore.New()
	s.store.Before = func() error {
		if s.killed.Load() {
			return errKilled
		}
		return nil
	}
	cfg.Now, cfg.Sleep = s.clock.now, s.clock.sleep
	s.Server = entratest.NewServer(t, cfg)
	caller, err := s.AddCaller("entragate", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	s.dir = over(t, s.Server, &renewing{clock: s.clock, make: func() azcore.TokenCredential { return secretCredential(t, s.Server, caller) }})
	return s
}

func (s *story) engine(t *testing.T) *provision.Reconciler {
	t.Helper()
	e, err := provision.New(provision.Config{
		Directory: s.dir, Store: s.store, Instance: "http", Concurrency: 1,
		Now: s.clock.now, Sleep: s.clock.sleep, Jitter: func() float64 { return 0.5 },
	})
	require.NoError(t, err)
	return e
}

func wanted(second bool) memstore.Desired {
	product := func(id string) appaccess.DesiredProduct {
		return appaccess.DesiredProduct{ID: id, ApplicationName: "APIMProductApplication" + id, Roles: []appaccess.Role{{Permission: appaccess.AllPermission, Value: "Product." + id + ".All"}}, Description: "of " + id}
	}
	client := func(id string, products ...string) appaccess.DesiredApplication {
		return appaccess.DesiredApplication{ID: id, ApplicationName: "APIMApplication" + products[0], Name: id, OwnerID: "ada", Grants: appaccess.GrantsOfAll(products...)}
	}
	want := memstore.Desired{
		Products:     []appaccess.DesiredProduct{product("gold"), product("iron")},
		Applications: []appaccess.DesiredApplication{client("c1", "gold"), client("c2", "gold", "iron"), client("c3", "iron")},
	}
	if second {
		want.Applications[1].Grants, want.Applications[1].Disabled = appaccess.GrantsOfAll("gold"), true
		want.Applications[2] = appaccess.DesiredApplication{ID: "c3", Deleted: true}
	}
	return want
}

// tell goes on with the story where it stopped.
func (s *story) tell(ctx context.Context, e *provision.Reconciler) error {
	chapters := []func() error{
		func() error { return s.apply(ctx, e, wanted(false)) },
		func() error { return errors.Join(s.secret(ctx, e, "c1", "first"), s.secret(ctx, e, "c2", "first")) },
		func() error {
			s.old = s.current["c1"]
			return s.secret(ctx, e, "c1", "second")
		},
		func() error { return e.RemoveCredential(ctx, "c1", s.old, nil) },
		func() error { return s.apply(ctx, e, wanted(true)) },
	}
	for s.step < len(chapters) {
		if err := chapters[s.step](); err != nil {
			return err
		}
		s.step++
	}
	return s.apply(ctx, e, wanted(true))
}

func (s *story) apply(ctx context.Context, e *provision.Reconciler, want memstore.Desired) (err error) {
	s.applied, err = e.Apply(ctx, want.Objects(), want, nil)
	for _, failed := range s.applied.Failed {
		err = errors.Join(err, failed)
	}
	return err
}

func (s *story) secret(ctx context.Context, e *provision.Reconciler, client, operation string) error {
	c, err := e.AddCredential(ctx, client, appaccess.CredentialRequest{
		OperationID: client + "-" + operation, Kind: appaccess.SecretCredential, Name: "ci",
		Deliver: func(_ context.Context, _ appaccess.Writer, c appaccess.Credential, v appaccess.Secret) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.secrets[c.KeyID] = v
			return nil
		},
	})
	if err == nil {
		s.current[client] = c
	}
	return err
}

// check compares the end with that of an undisturbed run and tries the current
// secret.
func (s *story) check(t *testing.T, want string) {
	t.Helper()
	s.clock.at.Add(int64(10 * time.Minute))
	require.Equal(t, want, s.end())
	v, ok := s.secrets[s.current["c1"].KeyID]
	require.True(t, ok, "the current secret was handed over")
	resp, err := s.Client().PostForm(s.TokenURL(), url.Values{
		"grant_type": {"client_credentials"}, "client_id": {s.applied.Applications["c1"].AppID}, "client_secret": {v.Reveal()},
		"scope": {"api://" + s.applied.Products["gold"].AppID + "/.default"},
	})
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// drawnTags are those of our tags that hold random values.
var drawnTags = regexp.MustCompile(`entragate:(installation|nonce|proof):[^,\s]+`)

// end is the tenant's state without what a reconciler draws.
func (s *story) end() string { return drawnTags.ReplaceAllString(s.State().String(), "entragate:$1") }

// undisturbed is the end of a run in which nothing fails, and its requests.
func undisturbed(t *testing.T, lag entratest.Lag) (string, int) {
	t.Helper()
	s := newStory(t, entratest.Config{Lag: lag, Seed: 1})
	require.NoError(t, s.tell(t.Context(), s.engine(t)))
	requests, state := s.Counts().Graph, s.end()
	s.check(t, state)
	return state, requests
}

var lags = []entratest.Lag{{}, {Min: time.Second, Max: 40 * time.Second}}

// The story is killed at every tenth of its requests to Graph (every fortieth
// under the race detector), before it is carried out and after; a new engine
// tells it on.
func TestCrashSweep(t *testing.T) {
	t.Parallel()
	stride := 10
	if testing.Short() || race.Enabled {
		stride = 40
	}
	for _, lag := range lags {
		want, requests := undisturbed(t, lag)
		for _, kind := range []entratest.FaultKind{entratest.CutBefore, entratest.CutAfter} {
			t.Run(fmt.Sprintf("lag up to %s, %s", lag.Max, kind), func(t *testing.T) {
				t.Parallel()
				cuts := 0
				for k := 1 + int(kind)%2; k <= requests; k += stride {
					cuts++
					crashAt(t, k, kind, lag, want)
				}
				t.Logf("%d cuts tried in %d requests", cuts, requests)
				assert.Positive(t, cuts)
			})
		}
	}
}

func crashAt(t *testing.T, k int, kind entratest.FaultKind, lag entratest.Lag, want string) {
	t.Helper()
	s := newStory(t, entratest.Config{Lag: lag, Seed: 1})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var cut atomic.Bool
	s.OnRequest(func(r entratest.Request) entratest.Fault {
		switch {
		case r.Service != entratest.GraphService || r.N < k:
			return entratest.Fault{}
		case cut.Swap(true): // whatever is sent again, or was on its way
			return entratest.Fault{Kind: entratest.CutBefore}
		}
		s.killed.Store(true)
		cancel()
		return entratest.Fault{Kind: kind}
	})
	err := s.tell(ctx, s.engine(t))
	if cut.Load() {
		require.Error(t, err, "cut %d", k)
	}
	s.OnRequest(nil)
	s.killed.Store(false)
	require.NoError(t, s.tell(t.Context(), s.engine(t)), "cut %d, %s", k, kind)
	s.check(t, want)
}

// A fifth of all requests fail, in every way there is.
func TestRandomSweep(t *testing.T) {
	t.Parallel()
	seeds := uint64(20)
	if testing.Short() || race.Enabled {
		seeds = 4
	}
	want, _ := undisturbed(t, entratest.Lag{})
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			s := newStory(t, entratest.Config{Seed: seed, Lag: lags[seed%2], FaultRate: 0.2})
			for range 20 {
				if s.tell(t.Context(), s.engine(t)) == nil {
					break
				}
			}
			assert.Positive(t, s.Counts().Faults)
			s.SetFaultRate(0)
			require.NoError(t, s.tell(t.Context(), s.engine(t)))
			s.check(t, want)
		})
	}
}

// What stands is read in batches, and left alone.
func TestUnchangedSendsNoWrite(t *testing.T) {
	t.Parallel()
	s := newStory(t, entratest.Config{})
	require.NoError(t, s.tell(t.Context(), s.engine(t)))
	s.clock.at.Add(int64(10 * time.Minute))
	s.ResetCounts()
	require.NoError(t, s.apply(t.Context(), s.engine(t), wanted(true)))
	assert.Zero(t, s.Counts().Writes)
}

// A caller without the role is told which one, whom to give it to, and who may
// assign it.
func TestWithoutTheRole(t *testing.T) {
	t.Parallel()
	s := newStory(t, entratest.Config{})
	caller, err := s.AddCaller("newcomer")
	require.NoError(t, err)
	s.dir = over(t, s.Server, &renewing{clock: s.clock, make: func() azcore.TokenCredential { return secretCredential(t, s.Server, caller) }})
	applied, err := s.engine(t).Apply(t.Context(), wanted(false).Objects(), wanted(false), nil)
	require.NoError(t, err)
	require.Len(t, applied.Failed, 5)
	for _, err := range applied.Failed {
		var failed *provision.Error
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, provision.Permanent, failed.Kind)
		assert.Contains(t, failed.Advice, "Application Administrator")
		assert.Contains(t, failed.Advice, "newcomer")
		assert.Contains(t, failed.Advice, caller.ObjectID)
		assert.Contains(t, failed.Advice, "Privileged Role Administrator")
	}
	ready, err := s.engine(t).Preflight(t.Context())
	require.NoError(t, err)
	assert.False(t, ready.OK)
}
