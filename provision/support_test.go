package provision_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// clock moves only when somebody sleeps.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time { return time.Unix(0, c.at.Load()).UTC() }

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.at.Add(int64(d))
	return nil
}

// store is the least that the journal asks of an appaccess.Store. dead is asked
// for an error before anything is done: what a process meets that was killed.
type store struct {
	mu      sync.Mutex
	records map[appaccess.Kind]map[string]appaccess.Record
	rev     appaccess.Revision
	dead    func() error
	// after, if it is set, is asked for the error of an update that was committed.
	after func() error
}

func newStore() *store {
	return &store{records: map[appaccess.Kind]map[string]appaccess.Record{}, dead: func() error { return nil }}
}

func (s *store) View(_ context.Context, fn func(appaccess.Reader) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.dead(); err != nil {
		return err
	}
	return fn(&storeTx{store: s})
}

func (s *store) Update(_ context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.dead(); err != nil {
		return 0, err
	}
	tx := &storeTx{store: s}
	if err := fn(tx); err != nil {
		return 0, err
	}
	for _, w := range tx.writes {
		w()
	}
	s.rev++
	if s.after != nil {
		return s.rev, s.after()
	}
	return s.rev, nil
}

func (s *store) Changes(context.Context, appaccess.Revision) iter.Seq2[appaccess.Change, error] {
	panic("not used by the journal")
}

func (s *store) Close() error { return nil }

// storeTx does not read its own writes: the journal does not need that.
type storeTx struct {
	store  *store
	writes []func()
}

func (x *storeTx) Get(kind appaccess.Kind, id string) (appaccess.Record, error) {
	rec, ok := x.store.records[kind][id]
	if !ok {
		return rec, appaccess.ErrNotFound
	}
	return rec, nil
}

func (x *storeTx) List(appaccess.Query) ([]appaccess.Record, error) {
	panic("not used by the journal")
}
func (x *storeTx) Revision() (appaccess.Revision, error) { return x.store.rev, nil }

func (x *storeTx) Put(r appaccess.Record) error {
	x.writes = append(x.writes, func() {
		if x.store.records[r.Kind] == nil {
			x.store.records[r.Kind] = map[string]appaccess.Record{}
		}
		x.store.records[r.Kind][r.ID] = r
	})
	return nil
}

func (x *storeTx) Delete(kind appaccess.Kind, id string) error {
	x.writes = append(x.writes, func() { delete(x.store.records[kind], id) })
	return nil
}

// world is a tenant, a clock and a store.
type world struct {
	t      testing.TB
	clock  *clock
	tenant *entratest.Tenant
	caller entratest.Caller
	dir    provision.Directory
	store  *store
}

func newWorld(t testing.TB, cfg entratest.Config, rights ...string) *world {
	t.Helper()
	w := &world{t: t, clock: newClock(), store: newStore()}
	if cfg.Now == nil {
		cfg.Now, cfg.Sleep = w.clock.now, w.clock.sleep
	}
	var err error
	w.tenant, err = entratest.New(cfg)
	require.NoError(t, err)
	if len(rights) == 0 {
		rights = []string{entratest.ApplicationAdministrator}
	}
	w.caller, err = w.tenant.AddCaller("entragate", rights...)
	require.NoError(t, err)
	w.dir = w.tenant.Directory(w.caller)
	t.Cleanup(func() { assert.Empty(t, w.tenant.Misuses()) })
	return w
}

// config is that of an engine in this world, for one object at a time so that
// runs repeat.
func (w *world) config() provision.Config {
	return provision.Config{
		Directory: w.dir, Journal: provision.NewStoreJournal(w.store), Instance: "test",
		Concurrency: 1, Now: w.clock.now, Sleep: w.clock.sleep, Jitter: func() float64 { return 0.5 },
	}
}

func (w *world) engine() *provision.Engine { return w.engineOf(w.config()) }

func (w *world) engineOf(cfg provision.Config) *provision.Engine {
	w.t.Helper()
	e, err := provision.New(cfg)
	require.NoError(w.t, err)
	return e
}

// settle lets all replicas catch up, and what was written a moment ago age.
func (w *world) settle() { w.clock.at.Add(int64(10 * time.Minute)) }

// apply brings the world in step and fails the test if that does not succeed.
func (w *world) apply(want appaccess.Wanted) appaccess.Applied {
	w.t.Helper()
	applied, err := w.engine().Apply(w.t.Context(), want, nil)
	require.NoError(w.t, err)
	require.Empty(w.t, applied.Failed)
	return applied
}

// writes counts the writes that f sends.
func (w *world) writes(f func()) int {
	before := w.tenant.Counts().Writes
	f()
	return w.tenant.Counts().Writes - before
}

// app finds an application in the tenant's newest state by our ID.
func (w *world) app(kind, id string) *entratest.ApplicationState {
	w.t.Helper()
	s := w.tenant.State()
	i := slices.IndexFunc(s.Applications, func(a entratest.ApplicationState) bool { return a.Key == "entragate-test-"+kind+"-"+id })
	if i < 0 {
		return nil
	}
	return &s.Applications[i]
}

// token asks the tenant for a token and returns the error's text, if any.
func (w *world) token(clientID string, secret appaccess.Secret, resourceAppID string) error {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {secret.Reveal()},
		"scope": {"api://" + resourceAppID + "/.default"},
	}
	client := &http.Client{Transport: w.tenant.Transport()}
	res, err := client.PostForm(w.tenant.TokenURL(), form)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode == http.StatusOK {
		return err
	}
	var e struct {
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(body, &e)
	return errors.New(e.Description)
}

// wantProduct and wantClient are the usual wants.
func wantProduct(id string) appaccess.WantedProduct {
	name := strings.ToUpper(id[:1]) + id[1:]
	return appaccess.WantedProduct{
		ID: id, ApplicationName: "APIMProductApplication" + name, Role: "Product." + name + ".All", Description: "The " + name + " product",
	}
}

func wantClient(id string, products ...string) appaccess.WantedApplication {
	return appaccess.WantedApplication{
		ID: id, ApplicationName: "APIMApplicationStarter", Name: "Client " + id, OwnerID: "owner-" + id, Description: "of the tests", Products: products,
	}
}

func products(ids ...string) []appaccess.WantedProduct {
	var ps []appaccess.WantedProduct
	for _, id := range ids {
		ps = append(ps, wantProduct(id))
	}
	return ps
}

// vault takes secrets.
type vault struct {
	mu      sync.Mutex
	secrets map[string]appaccess.Secret // by key ID
}

func newVault() *vault { return &vault{secrets: map[string]appaccess.Secret{}} }

func (v *vault) deliver(_ context.Context, c appaccess.Credential, s appaccess.Secret) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.secrets[c.KeyID] = s
	return nil
}

func (v *vault) request(op string) appaccess.CredentialRequest {
	return appaccess.CredentialRequest{OperationID: op, Kind: appaccess.SecretCredential, Name: "ci", Deliver: v.deliver}
}
