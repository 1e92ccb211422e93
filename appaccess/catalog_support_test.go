package appaccess_test

import (
	"cmp"
	"context"
	"iter"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
)

// moodyStore is a store that can be made to fail, to hang and to fall silent.
type moodyStore struct {
	appaccess.Store
	views  atomic.Int64 // look-ups
	reads  atomic.Int64 // queries within them, for other than products and APIs
	active atomic.Int64 // views that run
	most   atomic.Int64 // of those at a time

	mu        sync.Mutex
	fail      error              // of all calls
	hang      chan struct{}      // holds up views until it is closed or their context ends
	silent    bool               // feeds yield nothing
	forgetful bool               // feeds begin with a Reset
	products  error              // of reading products
	readOnly  error              // of updates
	cutWith   error              // ends the feed, once
	slow      time.Duration      // what that takes
	cut       context.CancelFunc // ends the feed
	leaving   func()             // called once by the next view that has read, before it returns
}

func (s *moodyStore) set(change func(*moodyStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
	if s.cut != nil && (s.fail != nil || s.hang != nil || s.cutWith != nil) {
		s.cut()
	}
}

func (s *moodyStore) mood() (hang chan struct{}, silent bool, fail error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hang, s.silent, s.fail
}

func (s *moodyStore) Lookup(ctx context.Context, fn func(appaccess.Reader) error) error {
	hang, _, fail := s.mood()
	if hang != nil {
		s.views.Add(1)
		n := s.active.Add(1)
		defer s.active.Add(-1)
		for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
		}
		select {
		case <-hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fail != nil {
		return fail
	}
	asked := &entities{reads: &s.reads, store: s}
	err := s.Store.Lookup(ctx, func(r appaccess.Reader) error {
		asked.Reader = r
		return fn(asked)
	})
	if asked.any && hang == nil {
		s.views.Add(1)
	}
	if asked.any {
		s.mu.Lock()
		leave := s.leaving
		s.leaving = nil
		s.mu.Unlock()
		if leave != nil {
			leave()
		}
	}
	return err
}

func (s *moodyStore) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	_, _, fail := s.mood()
	s.mu.Lock()
	fail = cmp.Or(fail, s.readOnly)
	s.mu.Unlock()
	if fail != nil {
		return 0, fail
	}
	return s.Store.Update(ctx, fn)
}

// entities notes whether a view reads more than the revision.
type entities struct {
	appaccess.Reader
	any   bool
	reads *atomic.Int64
	store *moodyStore
}

func (e *entities) note(k appaccess.Kind) {
	if k != appaccess.KindProduct && k != appaccess.KindAPI {
		e.any = true
		e.reads.Add(1)
	}
}

func (e *entities) List(q appaccess.Query) ([]appaccess.Record, error) {
	e.note(q.Kind)
	if q.Kind == appaccess.KindProduct {
		e.store.mu.Lock()
		err, slow := e.store.products, e.store.slow
		e.store.mu.Unlock()
		if time.Sleep(slow); err != nil {
			return nil, err
		}
	}
	return e.Reader.List(q)
}

func (e *entities) Get(k appaccess.Kind, id string) (appaccess.Record, error) {
	e.note(k)
	return e.Reader.Get(k, id)
}

func (e *entities) Find(k appaccess.Kind, index string, values []string) ([]appaccess.Record, error) {
	e.note(k)
	return e.Reader.Find(k, index, values)
}

func (s *moodyStore) Changes(ctx context.Context, after appaccess.Position) iter.Seq2[appaccess.Change, error] {
	return func(yield func(appaccess.Change, error) bool) {
		feed, cut := context.WithCancel(ctx)
		defer cut()
		s.set(func(s *moodyStore) {
			s.cut = cut
			if s.forgetful {
				after.Revision = 1 << 40 // ahead of the store
			}
		})
		for c, err := range s.Store.Changes(feed, after) {
			hang, silent, fail := s.mood()
			if hang != nil || silent {
				<-ctx.Done()
				err = ctx.Err()
			}
			s.mu.Lock()
			fail, s.cutWith = cmp.Or(fail, s.cutWith), nil
			s.mu.Unlock()
			if !yield(c, cmp.Or(fail, err)) || fail != nil {
				return
			}
		}
	}
}

// world is a store with one of everything and a catalog over it.
type world struct {
	t       *testing.T
	store   *moodyStore
	catalog *appaccess.Catalog

	product appaccess.Product
	api     appaccess.API
	user    appaccess.User
	app     appaccess.ClientApplication
	sub     appaccess.Subscription
}

const (
	appID   = "11112222-bbbb-3333-cccc-4444dddd5555"
	primary = "primary key"
	second  = "secondary key"
)

func newWorld(t *testing.T, config appaccess.CatalogConfig) *world {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	require.NoError(t, err)
	w := &world{
		t:       t,
		store:   &moodyStore{Store: s},
		product: appaccess.Product{ID: "starter", Name: "Starter", State: appaccess.Published, Access: appaccess.Access{Token: true, Key: true}, APIs: []string{"echo"}},
		api:     appaccess.API{ID: "echo", Name: "Echo", Path: "/echo"},
		user:    appaccess.User{ID: "u1", Name: "Ada", State: appaccess.UserActive},
		app: appaccess.ClientApplication{ID: "a1", Name: "Orders", OwnerID: "u1", State: appaccess.ApplicationActive, Grants: appaccess.GrantsOfAll("starter"),
			Entra: appaccess.ApplicationRegistration{AppID: appID}},
		sub: appaccess.Subscription{ID: "s1", Name: "Orders", OwnerID: "u1", State: appaccess.SubscriptionActive, Scope: appaccess.ProductScope("starter"),
			PrimaryHash: appaccess.HashKey(primary), SecondaryHash: appaccess.HashKey(second), Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)},
	}
	w.write(put(&w.product), put(&w.api), put(&w.user), put(&w.app), put(&w.sub))
	config.Store = w.store
	w.catalog, err = appaccess.NewCatalog(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, w.catalog.Close())
		require.NoError(t, s.Close())
	})
	return w
}

type write func(appaccess.Writer) error

func put[T appaccess.Product | appaccess.API | appaccess.User | appaccess.ClientApplication | appaccess.Subscription](v *T) write {
	return func(w appaccess.Writer) error { return appaccess.PutEntity(w, v) }
}

// write commits, past the moods of the store.
func (w *world) write(writes ...write) {
	w.t.Helper()
	_, err := w.store.Store.Update(w.t.Context(), func(wr appaccess.Writer) error {
		for _, do := range writes {
			if err := do(wr); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(w.t, err)
}

func (w *world) client(appID string) appaccess.ClientState {
	w.t.Helper()
	st, err := w.catalog.Client(w.t.Context(), appID)
	require.NoError(w.t, err)
	return st
}

func (w *world) key(key string) appaccess.KeyState {
	w.t.Helper()
	st, err := w.catalog.Key(w.t.Context(), appaccess.HashKey(key))
	require.NoError(w.t, err)
	return st
}

// soon waits for what a change leads to: within a second. It is called in a
// synctest bubble, where time stands still while anything runs.
func (w *world) soon(holds func() bool, msg string) {
	w.t.Helper()
	for start := time.Now(); !holds(); time.Sleep(10 * time.Millisecond) {
		require.Less(w.t, time.Since(start), time.Second, msg)
	}
}
