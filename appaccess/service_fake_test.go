package appaccess_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/openapi"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/internal/secret"
	"github.com/entragate/entragate/internal/testkit"
)

const tenantID = "aaaabbbb-0000-cccc-1111-dddd2222eeee"

var (
	ctx  = context.Background()
	boss = appaccess.Manager("boss")
	ada  = appaccess.Developer("ada")
	eve  = appaccess.Developer("eve")
)

// fixture is a Service over an empty store in memory, and an Entra that records calls.
// Package storetest keeps the real stores alike; onSQLite is for what only they have,
// such as a change feed.
type fixture struct {
	*appaccess.Service
	t     testing.TB
	store *faultyStore
	entra *fakeEntra
	clock *testkit.Clock
	log   *testkit.Log
}

func newFixture(t testing.TB, change ...func(*appaccess.ServiceConfig)) *fixture {
	t.Helper()
	return newFixtureOn(t, memstore.New(), change...)
}

func onSQLite(t testing.TB) appaccess.Store {
	t.Helper()
	db, err := sqlite.Open(ctx, sqlite.Temporary)
	require.NoError(t, err)
	return db
}

func newFixtureOn(t testing.TB, db appaccess.Store, change ...func(*appaccess.ServiceConfig)) *fixture {
	t.Helper()
	h := &fixture{
		t: t, store: &faultyStore{Store: db}, entra: newFakeEntra(), log: &testkit.Log{},
		clock: testkit.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)),
	}
	h.entra.store = h.store
	cfg := appaccess.ServiceConfig{
		Store: h.store, Provisioner: h.entra, TenantID: tenantID, Now: h.clock.Now, ReadOpenAPI: openapi.Import,
		Logger:            h.log.Logger(slog.LevelDebug),
		OneTimeSecretKeys: []appaccess.OneTimeSecretKey{{ID: "k1", Key: sealingKey(1)}},
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	h.Service, err = appaccess.NewService(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		h.keepsSecrets()
		assert.NoError(t, db.Close())
	})
	return h
}

func sealingKey(b byte) appaccess.Secret {
	return secret.New(string(bytes.Repeat([]byte{b}, 32)))
}

// withPeople adds the users ada and eve.
func (h *fixture) withPeople() *fixture {
	h.t.Helper()
	for id, name := range map[string]string{"ada": "Ada Lovelace", "eve": "Eve Mallory"} {
		_, err := h.CreateUser(ctx, boss, appaccess.UserRequest{ID: id, Name: name, Email: id + "@example.com"})
		require.NoError(h.t, err)
	}
	return h
}

// opens lets every developer have a product at once.
func (h *fixture) opens(productID string) {
	h.t.Helper()
	_, err := h.UpdateProduct(ctx, boss, productID, appaccess.ProductUpdate{SelfService: ptr(appaccess.SelfServiceOpen)})
	require.NoError(h.t, err)
}

// withGold adds a second product, Gold, for tokens and keys, with the API
// Orders, and switches token access on for Starter.
func (h *fixture) withGold() *fixture {
	h.t.Helper()
	_, err := h.CreateAPI(ctx, boss, appaccess.APIRequest{ID: "orders", Name: "Orders", Path: "/orders"})
	require.NoError(h.t, err)
	_, err = h.CreateProduct(ctx, boss, appaccess.ProductRequest{
		ID: "gold", Name: "Gold", Published: true, APIs: []string{"orders"}, Access: appaccess.Access{Token: true, Key: true},
	})
	require.NoError(h.t, err)
	_, err = h.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true, Key: true}})
	require.NoError(h.t, err)
	return h
}

// withApp registers ada's application billing for Starter.
func (h *fixture) withApp() *fixture {
	h.t.Helper()
	h.withPeople().withGold()
	_, err := h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "billing", Name: "Billing", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter")})
	require.NoError(h.t, err)
	return h
}

// keepsSecrets checks that no generated secret or key is in a record of the store or
// in the log.
func (h *fixture) keepsSecrets() {
	h.t.Helper()
	logged := h.log.String()
	for _, s := range h.entra.secrets() {
		assert.NotContains(h.t, logged, s, "a secret is in the log")
	}
	require.NoError(h.t, h.store.View(ctx, func(r appaccess.Reader) error {
		for _, kind := range storeKinds {
			for _, rec := range records(h.t, r, kind) {
				for _, s := range h.entra.secrets() {
					assert.NotContains(h.t, string(rec.Body)+fmt.Sprint(rec.Index), s, "%s %s holds a secret", kind, rec.ID)
				}
				assert.NotRegexp(h.t, appaccess.KeyPattern, string(rec.Body), "%s %s holds a subscription key", kind, rec.ID)
			}
		}
		return nil
	}))
}

var storeKinds = []appaccess.Kind{
	appaccess.KindProduct, appaccess.KindAPI, appaccess.KindUser, appaccess.KindApplication, appaccess.KindCredential,
	appaccess.KindSubscription, appaccess.KindOneTimeSecret, appaccess.KindAudit, "operation", "instance",
}

func records(t testing.TB, r appaccess.Reader, kind appaccess.Kind) []appaccess.Record {
	t.Helper()
	var all []appaccess.Record
	for q := (appaccess.Query{Kind: kind}); ; {
		recs, err := r.List(q)
		require.NoError(t, err)
		if all = append(all, recs...); len(recs) < appaccess.MaxPage {
			return all
		}
		q.After = q.Cursor(recs[len(recs)-1])
	}
}

// objects returns when each product and application was last written.
func (h *fixture) objects() map[string]appaccess.Revision {
	h.t.Helper()
	written := map[string]appaccess.Revision{}
	require.NoError(h.t, h.store.View(ctx, func(r appaccess.Reader) error {
		for _, rec := range append(records(h.t, r, appaccess.KindProduct), records(h.t, r, appaccess.KindApplication)...) {
			written[string(rec.Kind)+" "+rec.ID] = rec.Revision
		}
		return nil
	}))
	return written
}

// revision returns the store's revision, which shows whether anything was written.
func (h *fixture) revision() appaccess.Revision {
	h.t.Helper()
	var rev appaccess.Revision
	require.NoError(h.t, h.store.View(ctx, func(r appaccess.Reader) (err error) {
		at, err := r.Position()
		rev = at.Revision
		return err
	}))
	return rev
}

// faultyStore fails at the chosen Updates, before or after their commit.
type faultyStore struct {
	appaccess.Store
	mu      sync.Mutex
	updates int
	failAt  int
	after   bool
	dead    bool
	slow    func() // called by each Update once it is done
}

// die makes every call fail, or ends that.
func (s *faultyStore) die(dead bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = dead
}

func (s *faultyStore) isDead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead
}

func (s *faultyStore) View(ctx context.Context, fn func(appaccess.Reader) error) error {
	if s.isDead() {
		return errStoreDown
	}
	return s.Store.View(ctx, fn)
}

var errStoreDown = fmt.Errorf("the store is unreachable: %w", appaccess.ErrUnavailable)

func (s *faultyStore) arm(failAt int, after bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updates, s.failAt, s.after = 0, failAt, after
}

func (s *faultyStore) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	s.mu.Lock()
	s.updates++
	fails, after := s.updates == s.failAt || s.dead, s.after && !s.dead
	s.mu.Unlock()
	if fails && !after {
		return 0, errStoreDown
	}
	rev, err := s.Store.Update(ctx, fn)
	if s.slow != nil {
		s.slow()
	}
	if fails && err == nil {
		err = errStoreDown
	}
	return rev, err
}

// fakeEntra keeps what a Provisioner writes, records the calls, and can fail at each
// of them, before or after its effect.
type fakeEntra struct {
	mu          sync.Mutex
	products    map[string]appaccess.DesiredProduct
	apps        map[string]appaccess.DesiredApplication
	creds       map[string][]appaccess.Credential // by application
	values      map[string]string                 // secret by key ID, also of those that are gone
	store       *faultyStore
	locks       sync.Map          // by application: one secret at a time
	undelivered map[string]string // application by key ID
	serial      int
	calls       int
	failAt      int
	after       bool
	block       func(context.Context) // called in AddCredential, before anything
	hold        func(context.Context) // likewise in Apply
	minted      func()                // called in AddCredential before a secret is delivered
	landed      func()                // called in Apply when everything is done
	planned     error                 // what Plan fails with
}

func newFakeEntra() *fakeEntra {
	return &fakeEntra{
		products: map[string]appaccess.DesiredProduct{}, apps: map[string]appaccess.DesiredApplication{},
		creds: map[string][]appaccess.Credential{}, values: map[string]string{}, undelivered: map[string]string{},
	}
}

var errEntra = errors.New("graph: 503 serviceNotAvailable")

// forget empties Entra.
func (f *fakeEntra) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.products)
	clear(f.apps)
}

func (f *fakeEntra) arm(failAt int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.failAt, f.after = 0, failAt, after
}

// step runs one effect, or fails before or after it.
func (f *fakeEntra) step(effect func()) error {
	f.calls++
	fails := f.calls == f.failAt
	if !fails || f.after {
		effect()
	}
	if fails {
		return errEntra
	}
	return nil
}

func (f *fakeEntra) secrets() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.values))
}

// works are the secrets that can get a token now.
func (f *fakeEntra) works(applicationID string, value string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.creds[applicationID], func(c appaccess.Credential) bool { return f.values[c.KeyID] == value })
}

func (f *fakeEntra) Store() appaccess.Store { return f.store }

func (f *fakeEntra) Drift(context.Context, appaccess.Objects, appaccess.DesiredState) (appaccess.Plan, error) {
	return appaccess.Plan{}, f.planned
}

func (f *fakeEntra) Unknown(context.Context) (appaccess.Unknown, error) {
	return appaccess.Unknown{}, nil
}

func (f *fakeEntra) RemoveUnknown(context.Context, appaccess.Unknown, appaccess.DesiredState) error {
	return nil
}

func (f *fakeEntra) Plan(ctx context.Context, objects appaccess.Objects, desired appaccess.DesiredState) (appaccess.Plan, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var plan appaccess.Plan
	if f.planned != nil {
		return plan, f.planned
	}
	return plan, f.store.View(ctx, func(r appaccess.Reader) error {
		plan.Steps = nil
		for _, id := range objects.Products {
			p, err := desired.Product(r, id)
			if err != nil {
				return err
			}
			if _, exists := f.products[id]; exists == p.Deleted {
				plan.Steps = append(plan.Steps, appaccess.Step{Action: appaccess.ActionCreate, Object: "product " + id})
			}
		}
		for _, id := range objects.Applications {
			a, err := desired.Application(r, id)
			if err != nil {
				return err
			}
			if _, exists := f.apps[id]; exists == a.Deleted {
				plan.Steps = append(plan.Steps, appaccess.Step{Action: appaccess.ActionCreate, Object: "application " + id})
			}
		}
		return nil
	})
}

// Apply reads each object, changes Entra and records the outcome. It locks
// nothing: tests of the lock use the real Reconciler.
func (f *fakeEntra) Apply(ctx context.Context, objects appaccess.Objects, desired appaccess.DesiredState, progress func(appaccess.Progress)) (appaccess.Applied, error) {
	if f.hold != nil {
		f.hold(ctx)
	}
	if f.landed != nil {
		defer f.landed() // after the unlock
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	done := appaccess.Applied{
		Products: map[string]appaccess.ProductApplication{}, Applications: map[string]appaccess.ApplicationRegistration{}, Failed: map[string]error{},
	}
	if err := ctx.Err(); err != nil {
		return done, err
	}
	fail := func(object string, err error) {
		if err != nil {
			done.Failed[object] = errors.Join(done.Failed[object], err)
		}
	}
	for _, id := range objects.Products {
		object := "product " + id
		if progress != nil {
			progress(appaccess.Progress{Object: object, Attempt: 1, Done: true})
		}
		var p appaccess.DesiredProduct
		err := f.store.View(ctx, func(r appaccess.Reader) (err error) { p, err = desired.Product(r, id); return err })
		var made appaccess.ProductApplication
		if err == nil {
			bare := p
			bare.Revision, bare.Pending, bare.Recorded = 0, false, appaccess.ProductApplication{}
			err = f.step(func() { set(f.products, id, bare, p.Deleted) })
		}
		if err == nil && !p.Deleted {
			made = appaccess.ProductApplication{
				Name: p.ApplicationName, Roles: rolesWithIDs(p), ObjectID: "o-" + id, AppID: "app-" + id,
				ServicePrincipalID: "sp-" + id, IdentifierURI: "api://app-" + id,
			}
			done.Products[id] = made
		}
		fail(object, err)
		fail(object, f.record(ctx, func(w appaccess.Writer) error {
			return desired.RecordProduct(w, id, made, appaccess.Outcome{Revision: p.Revision, Err: err})
		}))
	}
	for _, id := range objects.Applications {
		object := "application " + id
		for key, owner := range f.undelivered {
			if owner == id {
				f.drop(key)
			}
		}
		var a appaccess.DesiredApplication
		err := f.store.View(ctx, func(r appaccess.Reader) (err error) { a, err = desired.Application(r, id); return err })
		if err == nil {
			bare := a
			bare.Revision, bare.Pending, bare.Recorded = 0, false, appaccess.ApplicationRegistration{}
			err = f.step(func() { set(f.apps, id, bare, a.Deleted) })
		}
		for _, product := range a.Grants.Products() {
			if _, exists := f.products[product]; !exists && err == nil {
				err = fmt.Errorf("product %s is not in Entra", product)
			}
		}
		var made appaccess.ApplicationRegistration
		switch {
		case err != nil:
		case a.Deleted:
			delete(f.creds, id)
		default:
			made = appaccess.ApplicationRegistration{Name: a.ApplicationName, ObjectID: "o-" + id, AppID: "app-" + id, ServicePrincipalID: "sp-" + id}
			done.Applications[id] = made
		}
		fail(object, err)
		fail(object, f.record(ctx, func(w appaccess.Writer) error {
			return desired.RecordApplication(w, id, made, appaccess.Outcome{Revision: a.Revision, Err: err})
		}))
	}
	return done, nil
}

// record writes also if the caller has gone away.
func (f *fakeEntra) record(ctx context.Context, fn func(appaccess.Writer) error) error {
	_, err := f.store.Update(context.WithoutCancel(ctx), fn)
	return err
}

func set[T any](m map[string]T, id string, v T, absent bool) {
	if absent {
		delete(m, id)
		return
	}
	m[id] = v
}

func (f *fakeEntra) AddCredential(ctx context.Context, applicationID string, req appaccess.CredentialRequest) (appaccess.Credential, error) {
	if f.block != nil {
		f.block(ctx)
	}
	if err := ctx.Err(); err != nil {
		return appaccess.Credential{}, err
	}
	lock, _ := f.locks.LoadOrStore(applicationID, new(sync.Mutex))
	lock.(*sync.Mutex).Lock()
	defer lock.(*sync.Mutex).Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.apps[applicationID]; !ok {
		return appaccess.Credential{}, appaccess.ErrNotFound
	}
	f.serial++
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := appaccess.Credential{Kind: req.Kind, Name: req.Name, KeyID: fmt.Sprintf("key-%d", f.serial), Start: start}
	var value string
	if req.Kind == appaccess.SecretCredential {
		value = fmt.Sprintf("s3cr3t~%d.%s", f.serial, strings.Repeat("x", 20))
		c.End, c.Hint, f.values[c.KeyID] = start.Add(req.Lifetime), value[:3], value
	}
	for key, id := range f.undelivered {
		if id == applicationID {
			f.drop(key)
		}
	}
	// It exists before it is delivered; one that was not is removed at once, or,
	// if that fails too, with the next Apply.
	err := f.step(func() { f.creds[applicationID] = append(f.creds[applicationID], c) })
	f.undelivered[c.KeyID] = applicationID
	f.mu.Unlock()
	if f.minted != nil {
		f.minted()
	}
	if err == nil {
		_, err = f.store.Update(ctx, func(w appaccess.Writer) error {
			if err := w.Put(appaccess.Record{Kind: appaccess.KindProvisioning, ID: c.KeyID, Body: []byte("{}")}); err != nil {
				return err
			}
			return req.Deliver(ctx, w, c, secret.New(value))
		})
		if err != nil && f.store.Store.View(ctx, func(r appaccess.Reader) error {
			_, err := r.Get(appaccess.KindProvisioning, c.KeyID)
			return err
		}) == nil {
			err = nil // the answer was lost
		}
	}
	f.mu.Lock()
	if err == nil {
		delete(f.undelivered, c.KeyID)
		return c, nil
	}
	if f.store.isDead() {
		return appaccess.Credential{}, err // a process that died removes nothing
	}
	if rerr := f.step(func() { f.drop(c.KeyID) }); rerr != nil {
		err = errors.Join(err, rerr)
	}
	return appaccess.Credential{}, fmt.Errorf("deliver: %w", err)
}

// drop removes a secret that was not delivered.
func (f *fakeEntra) drop(keyID string) {
	id := f.undelivered[keyID]
	delete(f.undelivered, keyID)
	f.creds[id] = slices.DeleteFunc(f.creds[id], func(o appaccess.Credential) bool { return o.KeyID == keyID })
}

func (f *fakeEntra) Unfinished(context.Context) (appaccess.Unfinished, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return appaccess.Unfinished{Due: appaccess.Objects{Applications: slices.Collect(maps.Values(f.undelivered))}}, nil
}

func (f *fakeEntra) RemoveCredential(ctx context.Context, applicationID string, c appaccess.Credential, record func(appaccess.Writer, int) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.step(func() {
		f.creds[applicationID] = slices.DeleteFunc(f.creds[applicationID], func(o appaccess.Credential) bool { return o.KeyID == c.KeyID })
	})
	if err != nil {
		return err
	}
	return f.record(ctx, func(w appaccess.Writer) error { return record(w, 0) })
}

func (f *fakeEntra) Review(_ context.Context, products, applications []string) (appaccess.Review, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var r appaccess.Review
	for _, id := range products {
		p, ok := f.products[id]
		r.Products = append(r.Products, appaccess.ProductReview{ProductID: id, Found: ok, Name: p.ApplicationName})
	}
	for _, id := range applications {
		a, ok := f.apps[id]
		r.Applications = append(r.Applications, appaccess.ApplicationReview{ApplicationID: id, Found: ok, Name: a.ApplicationName})
	}
	return r, nil
}

func (f *fakeEntra) Preflight(context.Context) (appaccess.Preflight, error) {
	return appaccess.Preflight{OK: true, Identity: "fake"}, nil
}

func ptr[T any](v T) *T { return &v }

// certificatePEM is a self-signed certificate with an ECDSA key.
var certificatePEM = certificateUntil(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))

func certificateUntil(end time.Time) string {
	return testkit.CertificatePEM(end.AddDate(-2, 0, 0), end)
}

func rolesWithIDs(p appaccess.DesiredProduct) []appaccess.Role {
	var roles []appaccess.Role
	for _, r := range p.Roles {
		r.ID = "r-" + p.ID + "-" + r.Permission
		roles = append(roles, r)
	}
	return roles
}
