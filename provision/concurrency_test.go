package provision_test

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/process"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
	"github.com/entragate/entragate/provision/internal/sweep"
)

// turns notes which engine wrote to which object, in order.
type turns struct {
	mu    sync.Mutex
	names map[string]string // any ID to the unique name
	by    map[string][]int  // by unique name
}

func (s *turns) learn(id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != "" {
		s.names[id] = name
	}
}

func (s *turns) wrote(engine int, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name := s.names[id]; name != "" {
		id = name
	}
	if by := s.by[id]; len(by) == 0 || by[len(by)-1] != engine {
		s.by[id] = append(by, engine)
	}
}

func (s *turns) name(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[id]
}

// watched is the directory of one engine.
type watched struct {
	provision.Directory
	engine int
	turns  *turns
}

func (d watched) Applications(ctx context.Context, refs []provision.AppRef) ([]provision.Application, []error) {
	apps, errs := d.Directory.Applications(ctx, refs)
	for _, a := range apps {
		d.turns.learn(a.ObjectID, a.UniqueName)
		d.turns.learn(a.AppID, a.UniqueName)
	}
	return apps, errs
}

func (d watched) ServicePrincipals(ctx context.Context, refs []provision.PrincipalRef) ([]provision.ServicePrincipal, []error) {
	sps, errs := d.Directory.ServicePrincipals(ctx, refs)
	for _, s := range sps {
		d.turns.learn(s.ObjectID, d.turns.name(s.AppID))
	}
	return sps, errs
}

func (d watched) CreateApplication(ctx context.Context, p provision.ApplicationPatch) (provision.Application, error) {
	name := *p.UniqueName
	d.turns.wrote(d.engine, name)
	a, err := d.Directory.CreateApplication(ctx, p)
	d.turns.learn(a.ObjectID, name)
	d.turns.learn(a.AppID, name)
	return a, err
}

func (d watched) PatchApplication(ctx context.Context, id string, p provision.ApplicationPatch) error {
	d.turns.wrote(d.engine, id)
	return d.Directory.PatchApplication(ctx, id, p)
}

func (d watched) UpsertServicePrincipal(ctx context.Context, appID string, p provision.ServicePrincipalPatch) (provision.ServicePrincipal, bool, error) {
	d.turns.wrote(d.engine, appID)
	s, created, err := d.Directory.UpsertServicePrincipal(ctx, appID, p)
	d.turns.learn(s.ObjectID, d.turns.name(appID))
	return s, created, err
}

func (d watched) Assign(ctx context.Context, a provision.Assignment) (provision.Assignment, error) {
	d.turns.wrote(d.engine, a.PrincipalID)
	return d.Directory.Assign(ctx, a)
}

func (d watched) AddPassword(ctx context.Context, id string, p provision.PasswordRequest) (provision.Password, error) {
	d.turns.wrote(d.engine, id)
	return d.Directory.AddPassword(ctx, id, p)
}

// TestEnginesShareOneStore has four engines apply the same at once, with lag:
// each object is worked on by one after the other, and the end is that of one
// engine alone. Afterwards they ask for the same secret at once: one is made.
func TestEnginesShareOneStore(t *testing.T) {
	t.Parallel()
	want := sweep.Before()
	alone := newWorld(t, entratest.Config{})
	writes := alone.writes(func() { alone.apply(want) })
	for name, lag := range sweep.Lags {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, entratest.Config{Lag: lag, Now: time.Now}) // the bubble's time
				seen := &turns{names: map[string]string{}, by: map[string][]int{}}
				engines := make([]*engine, 4)
				for i := range engines {
					engines[i] = w.engineOf(provision.Config{
						Directory: watched{w.dir, i, seen}, Store: w.store, Instance: "test",
					})
				}
				atOnce(engines, func(e *engine) {
					applied, err := e.Apply(t.Context(), want, nil)
					assert.NoError(t, err)
					assert.Empty(t, applied.Failed)
				})
				assert.Equal(t, stateOf(alone.tenant), stateOf(w.tenant))
				for object, by := range seen.by {
					turn := map[int]bool{}
					for _, engine := range by {
						assert.False(t, turn[engine], "%s: engines took turns in the middle of the work: %v", object, by)
						turn[engine] = true
					}
				}
				if lag == (entratest.Lag{}) {
					assert.Equal(t, writes, w.tenant.Counts().Writes, "nothing was written twice")
				}
				v := newVault()
				var mu sync.Mutex
				made := map[string]bool{}
				atOnce(engines, func(e *engine) {
					c, err := e.AddCredential(t.Context(), "c1", v.request("the one"))
					assert.NoError(t, err)
					mu.Lock()
					defer mu.Unlock()
					made[c.KeyID] = true
				})
				assert.Len(t, made, 1)
				assert.Len(t, v.secrets, 1, "delivered once")
				assert.Len(t, w.app("application", "c1").Passwords, 1)
			})
		})
	}
}

func atOnce(engines []*engine, f func(*engine)) {
	var wg sync.WaitGroup
	for _, e := range engines {
		wg.Go(func() { f(e) })
	}
	wg.Wait()
}

// TestLeaseOfADeadEngineEnds: an object stays locked for a while, then the next
// engine takes it over.
func TestLeaseOfADeadEngineEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	now := w.clock.Now()
	require.NoError(t, provision.Lock(t.Context(), w.store, "entragate-test-product-starter", "dead", now, now.Add(time.Minute)))

	var waits int
	applied, err := w.engine().Apply(t.Context(), starter(), func(p appaccess.Progress) {
		if p.Step == "wait for another replica" {
			waits++
		}
	})
	require.NoError(t, err)
	assert.Empty(t, applied.Failed)
	assert.Positive(t, waits)
	assert.True(t, w.clock.Now().After(now.Add(time.Minute-time.Second)))

	// A call that lost the lock records nothing more.
	err = provision.SaveEmpty(t.Context(), w.store, "entragate-test-product-starter", "dead")
	assert.ErrorIs(t, err, provision.ErrLockLost)
}

// TestLeaseOfADeadProcessEndsAtOnce: nobody waits for a process that is known
// to have died, and everybody for one that runs.
func TestLeaseOfADeadProcessEndsAtOnce(t *testing.T) {
	t.Parallel()
	if process.ID() == "" {
		t.Skip("this system does not tell which processes run")
	}
	w := newWorld(t, entratest.Config{})
	now := w.clock.Now()
	for id, free := range map[string]bool{deadProcess(t): true, process.ID(): false, "elsewhere/1": false} {
		_, err := w.store.Update(t.Context(), func(tx appaccess.Writer) error {
			body, err := json.Marshal(map[string]any{"holder": "other", "process": id, "until": now.Add(time.Minute)})
			if err != nil {
				return err
			}
			return tx.Put(appaccess.Record{Kind: appaccess.KindLock, ID: "o", Body: body})
		})
		require.NoError(t, err)
		err = provision.Lock(t.Context(), w.store, "o", "me", now, now.Add(time.Minute))
		var leased *provision.LockedError
		assert.Equal(t, !free, errors.As(err, &leased), id)
	}
}

// deadProcess is the ID of a process that ran and ended.
func deadProcess(t *testing.T) string {
	t.Helper()
	child := exec.Command("true")
	require.NoError(t, child.Run())
	id := process.ID()
	return id[:strings.LastIndexByte(id, '/')+1] + strconv.Itoa(child.Process.Pid)
}
