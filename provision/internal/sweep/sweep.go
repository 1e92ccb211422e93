// Package sweep tells a story to a Reconciler and disturbs it at every place. The tests
// of package provision run it in process, those of msgraph over HTTPS.
package sweep

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

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// Open makes a tenant and a Directory that calls it as an Application Administrator.
type Open func(t testing.TB, cfg entratest.Config, clock *testkit.Clock) (*entratest.Tenant, provision.Directory)

// Story is what happens to a tenant: two products and four clients with grants and
// secrets, then a rotation, then a removal, a revocation, a suspension and the
// change of a role. Like the Service it keeps what it has done; step is only
// raised by what succeeded. A sweep tells it once for each of its requests, so it
// is as short as it can be with one of each.
type Story struct {
	t      testing.TB
	Clock  *testkit.Clock
	Tenant *entratest.Tenant
	Store  *memstore.Store
	dir    provision.Directory

	step    int
	current map[string]appaccess.Credential // by client
	old     appaccess.Credential
	applied appaccess.Applied

	mu      sync.Mutex
	secrets map[string]appaccess.Secret // by key ID
}

// New makes a tenant to which nothing has happened.
func New(t testing.TB, open Open, cfg entratest.Config) *Story {
	t.Helper()
	s := &Story{
		t: t, Clock: testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), Store: memstore.New(),
		current: map[string]appaccess.Credential{}, secrets: map[string]appaccess.Secret{},
	}
	cfg.Now, cfg.Sleep = s.Clock.Now, s.Clock.Sleep
	s.Tenant, s.dir = open(t, cfg, s.Clock)
	return s
}

// engine is one for one object at a time, so that runs repeat.
func (s *Story) engine() *provision.Reconciler {
	s.t.Helper()
	e, err := provision.New(provision.Config{
		Directory: s.dir, Store: s.Store, Instance: "test", Concurrency: 1,
		Now: s.Clock.Now, Sleep: s.Clock.Sleep, Jitter: func() float64 { return 0.5 },
	})
	require.NoError(s.t, err)
	return e
}

var (
	allRole   = appaccess.Role{Permission: appaccess.AllPermission, Value: "Product.Iron.All"}
	auditRole = appaccess.Role{Permission: "Audit", Value: "Product.Iron.Audit"} // which c3 is granted instead of all
)

// Before is the desired state at the beginning of the story.
func Before() memstore.Desired {
	product := func(id, name string, roles ...appaccess.Role) appaccess.DesiredProduct {
		return appaccess.DesiredProduct{ID: id, ApplicationName: "APIMProductApplication" + name, Description: "of " + id, Roles: roles}
	}
	client := func(id string, grants appaccess.Grants) appaccess.DesiredApplication {
		return appaccess.DesiredApplication{ID: id, ApplicationName: "APIMApplicationStarter", Name: "Client " + id, OwnerID: "owner-" + id, Grants: grants}
	}
	both := appaccess.GrantsOfAll("iron", "starter")
	return memstore.Desired{
		Products: []appaccess.DesiredProduct{
			product("iron", "Iron", allRole, auditRole),
			product("starter", "Starter", appaccess.Role{Permission: appaccess.AllPermission, Value: "Product.Starter.All"}),
		},
		Applications: []appaccess.DesiredApplication{
			client("c1", appaccess.GrantsOfAll("starter")), client("c2", both),
			client("c3", appaccess.Grants{{Product: "iron", Permissions: []string{auditRole.Permission}}}), client("c4", both),
		},
	}
}

func after() memstore.Desired {
	want := Before()
	want.Products[0].Roles = []appaccess.Role{{Permission: appaccess.AllPermission, Value: "Product.Iron.Read"}, auditRole}
	want.Applications[1].Grants = appaccess.GrantsOfAll("starter")
	want.Applications[2].Disabled = true
	want.Applications[3] = appaccess.DesiredApplication{ID: "c4", Deleted: true}
	return want
}

// Tell goes on with the story where it stopped, with a new Reconciler.
func (s *Story) Tell(ctx context.Context) error {
	s.t.Helper()
	e := s.engine()
	for s.step < len(chapters) {
		if err := chapters[s.step](ctx, s, e); err != nil {
			return err
		}
		s.step++
	}
	return s.apply(ctx, e, after())
}

var chapters = []func(context.Context, *Story, *provision.Reconciler) error{
	func(ctx context.Context, s *Story, e *provision.Reconciler) error { return s.apply(ctx, e, Before()) },
	func(ctx context.Context, s *Story, e *provision.Reconciler) error {
		for _, c := range []string{"c1", "c2", "c4"} {
			if err := s.secret(ctx, e, c, "first-"+c); err != nil {
				return err
			}
		}
		return nil
	},
	func(ctx context.Context, s *Story, e *provision.Reconciler) error {
		s.old = s.current["c1"]
		return s.secret(ctx, e, "c1", "second-c1")
	},
	func(ctx context.Context, s *Story, e *provision.Reconciler) error {
		return e.RemoveCredential(ctx, "c1", s.old, nil)
	},
	func(ctx context.Context, s *Story, e *provision.Reconciler) error { return s.apply(ctx, e, after()) },
}

func (s *Story) apply(ctx context.Context, e *provision.Reconciler, want memstore.Desired) (err error) {
	s.applied, err = e.Apply(ctx, want.Objects(), want, nil)
	for _, failed := range s.applied.Failed {
		err = errors.Join(err, failed)
	}
	if err == nil && len(s.applied.MissingInEntra) > 0 {
		err = fmt.Errorf("lost credentials: %v", s.applied.MissingInEntra)
	}
	return err
}

func (s *Story) secret(ctx context.Context, e *provision.Reconciler, client, operation string) error {
	c, err := e.AddCredential(ctx, client, appaccess.CredentialRequest{
		OperationID: operation, Kind: appaccess.SecretCredential, Name: "ci",
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

// drawnTags are those of our tags that hold random values.
var drawnTags = regexp.MustCompile(`entragate:(installation|nonce|proof):[^,\s]+`)

// end is the tenant's state without what reconcilers draw, so that different ways to
// one end compare equal.
func (s *Story) end() string {
	return drawnTags.ReplaceAllString(s.Tenant.State().String(), "entragate:$1")
}

// Check compares the end with that of an undisturbed story and tries every secret that
// is in use.
func (s *Story) Check(want string) {
	s.t.Helper()
	s.Clock.Advance(10 * time.Minute) // replicas agree
	require.Equal(s.t, want, s.end())
	for _, client := range []string{"c1", "c2"} {
		secret, ok := s.secrets[s.current[client].KeyID]
		require.True(s.t, ok, "the current secret of %s was handed over", client)
		resp, err := (&http.Client{Transport: s.Tenant.Transport()}).PostForm(s.Tenant.TokenURL(), url.Values{
			"grant_type": {"client_credentials"}, "client_id": {s.applied.Applications[client].AppID}, "client_secret": {secret.Reveal()},
			"scope": {"api://" + s.applied.Products["starter"].AppID + "/.default"},
		})
		require.NoError(s.t, err)
		require.NoError(s.t, resp.Body.Close())
		require.Equal(s.t, http.StatusOK, resp.StatusCode, client)
	}
}

// Lags are those that the sweeps use.
var Lags = map[string]entratest.Lag{"no lag": {}, "lag": {Min: time.Second, Max: 40 * time.Second}}

// Undisturbed returns the end of a story in which nothing fails.
func Undisturbed(t testing.TB, open Open) string {
	t.Helper()
	var end string
	for _, lag := range Lags {
		s := New(t, open, entratest.Config{Lag: lag, Seed: 1})
		require.NoError(t, s.Tell(t.Context()))
		end = s.end()
		require.Contains(t, end, auditRole.Value)
		s.Check(end)
	}
	return end
}

// CrashAt kills the story at its k-th request to Graph: before the request is carried
// out, or after, with the answer lost. Store and tenant are all that is left; a new
// Reconciler tells the story on. It returns false if the story is over before its k-th
// request.
func CrashAt(t *testing.T, open Open, k int, kind entratest.FaultKind, lag entratest.Lag, want string) bool {
	t.Helper()
	s := New(t, open, entratest.Config{Lag: lag, Seed: uint64(k)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var dead atomic.Bool
	s.Tenant.OnRequest(func(r entratest.Request) entratest.Fault {
		switch {
		case r.Service != entratest.GraphService || r.N < k:
			return entratest.Fault{}
		case dead.Swap(true): // whatever is sent again, or was on its way
			return entratest.Fault{Kind: entratest.CutBefore}
		}
		cancel()
		return entratest.Fault{Kind: kind}
	})
	s.Store.Before = func() error {
		if dead.Load() {
			return errors.New("killed")
		}
		return nil
	}
	err := s.Tell(ctx)
	if !dead.Load() {
		require.NoError(t, err)
		return false
	}
	require.Error(t, err, "cut %d", k)
	dead.Store(false)
	s.Tenant.OnRequest(nil)
	require.NoError(t, s.Tell(t.Context()), "cut %d, %s", k, kind)
	s.Check(want)
	return true
}

// Random has a fifth of all requests fail, in every way there is, until the story is
// told. The faults then end for a last Apply, as they do in life. It returns the number of
// faults.
func Random(t *testing.T, open Open, seed uint64, want string) int {
	t.Helper()
	lag := Lags["lag"]
	if seed%2 == 0 {
		lag = entratest.Lag{}
	}
	s := New(t, open, entratest.Config{Seed: seed, Lag: lag, FaultRate: 0.2})
	defer func() {
		if t.Failed() {
			for _, r := range s.Tenant.Requests() {
				t.Log(r)
			}
		}
	}()
	for range 20 {
		if s.Tell(t.Context()) == nil {
			break
		}
	}
	faults := s.Tenant.Counts().Faults
	s.Tenant.SetFaultRate(0)
	require.NoError(t, s.Tell(t.Context()))
	s.Check(want)
	return faults
}
