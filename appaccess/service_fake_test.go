package appaccess_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/internal/secret"
)

const tenantID = "aaaabbbb-0000-cccc-1111-dddd2222eeee"

var (
	ctx  = context.Background()
	boss = appaccess.Manager("boss")
	ada  = appaccess.Developer("ada")
	eve  = appaccess.Developer("eve")
)

// house is a Service over an empty store, SQLite unless told otherwise, and a
// recording Entra.
type house struct {
	*appaccess.Service
	t     testing.TB
	store *faultyStore
	entra *fakeEntra
	clock *clock
	log   *bytes.Buffer
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newHouse(t testing.TB, change ...func(*appaccess.ServiceConfig)) *house {
	t.Helper()
	db, err := sqlite.Open(ctx, sqlite.Temporary)
	require.NoError(t, err)
	return newHouseOn(t, db, change...)
}

func newHouseOn(t testing.TB, db appaccess.Store, change ...func(*appaccess.ServiceConfig)) *house {
	t.Helper()
	h := &house{
		t: t, store: &faultyStore{Store: db}, entra: newFakeEntra(), log: &bytes.Buffer{},
		clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
	}
	cfg := appaccess.ServiceConfig{
		Store: h.store, Provisioner: h.entra, TenantID: tenantID, Now: h.clock.Now,
		Logger:       slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		HandoverKeys: []appaccess.HandoverKey{{ID: "k1", Key: sealingKey(1)}},
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
func (h *house) withPeople() *house {
	h.t.Helper()
	for id, name := range map[string]string{"ada": "Ada Lovelace", "eve": "Eve Mallory"} {
		_, err := h.CreateUser(ctx, boss, appaccess.UserRequest{ID: id, Name: name, Email: id + "@example.com"})
		require.NoError(h.t, err)
	}
	return h
}

// withGold adds a second product, Gold, for tokens and keys, with the API
// Orders, and switches token access on for Starter.
func (h *house) withGold() *house {
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
func (h *house) withApp() *house {
	h.t.Helper()
	h.withPeople().withGold()
	_, err := h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "billing", Name: "Billing", OwnerID: "ada", Products: []string{"starter"}})
	require.NoError(h.t, err)
	return h
}

// keepsSecrets checks that no secret or key that was ever made stands in a
// record of the store or in the log.
func (h *house) keepsSecrets() {
	h.t.Helper()
	logged := h.log.String()
	for _, s := range h.entra.secrets() {
		assert.NotContains(h.t, logged, s, "a secret is in the log")
	}
	require.NoError(h.t, h.store.View(ctx, func(r appaccess.Reader) error {
		for _, kind := range storeKinds {
			for _, rec := range records(h.t, r, kind) {
				for _, s := range h.entra.secrets() {
					assert.NotContains(h.t, string(rec.Body)+rec.Text, s, "%s %s holds a secret", kind, rec.ID)
				}
				assert.NotRegexp(h.t, appaccess.KeyPattern, string(rec.Body), "%s %s holds a subscription key", kind, rec.ID)
			}
		}
		return nil
	}))
}

var storeKinds = []appaccess.Kind{
	appaccess.KindProduct, appaccess.KindAPI, appaccess.KindUser, appaccess.KindApplication, appaccess.KindCredential,
	appaccess.KindSubscription, appaccess.KindHandover, appaccess.KindAudit, "operation", "instance",
}

func records(t testing.TB, r appaccess.Reader, kind appaccess.Kind) []appaccess.Record {
	t.Helper()
	recs, err := r.List(appaccess.Query{Kind: kind})
	require.NoError(t, err)
	require.Less(t, len(recs), appaccess.MaxPage)
	return recs
}

// objects tells when each product and application was last written.
func (h *house) objects() map[string]appaccess.Revision {
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

// revision tells whether anything was written.
func (h *house) revision() appaccess.Revision {
	h.t.Helper()
	var rev appaccess.Revision
	require.NoError(h.t, h.store.View(ctx, func(r appaccess.Reader) (err error) {
		rev, err = r.Revision()
		return err
	}))
	return rev
}

// faultyStore fails at the next Updates that are told, before or after they
// committed.
type faultyStore struct {
	appaccess.Store
	mu      sync.Mutex
	updates int
	failAt  int
	after   bool
	dead    bool
	slow    func() // called by each Update once it is done
}

// die fails every call until it is taken back.
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

var errStoreDown = fmt.Errorf("the store is out of reach: %w", appaccess.ErrUnavailable)

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

// fakeEntra keeps what it is told to, records the calls, and can fail at any of
// them, before or after its effect.
type fakeEntra struct {
	mu       sync.Mutex
	products map[string]appaccess.WantedProduct
	apps     map[string]appaccess.WantedApplication
	creds    map[string][]appaccess.Credential // by application
	taken    map[string]appaccess.Credential   // by operation ID: delivered
	values   map[string]string                 // secret by key ID, also of those that are gone
	serial   int
	calls    int
	failAt   int
	after    bool
	block    func(context.Context) // called in AddCredential, before anything
	hold     func(context.Context) // likewise in Apply
	landed   func()                // called in Apply when everything is done
	planned  error                 // what Plan fails with
}

func newFakeEntra() *fakeEntra {
	return &fakeEntra{
		products: map[string]appaccess.WantedProduct{}, apps: map[string]appaccess.WantedApplication{},
		creds: map[string][]appaccess.Credential{}, taken: map[string]appaccess.Credential{}, values: map[string]string{},
	}
}

var errEntra = errors.New("graph: 503 serviceNotAvailable")

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

func (f *fakeEntra) Plan(_ context.Context, want appaccess.Wanted) (appaccess.Plan, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var plan appaccess.Plan
	if f.planned != nil {
		return plan, f.planned
	}
	for _, p := range want.Products {
		if _, stands := f.products[p.ID]; stands == p.Absent {
			plan.Steps = append(plan.Steps, appaccess.Step{Action: appaccess.ActionCreate, Object: "product " + p.ID})
		}
	}
	for _, a := range want.Applications {
		if _, stands := f.apps[a.ID]; stands == a.Absent {
			plan.Steps = append(plan.Steps, appaccess.Step{Action: appaccess.ActionCreate, Object: "application " + a.ID})
		}
	}
	return plan, nil
}

func (f *fakeEntra) Apply(ctx context.Context, want appaccess.Wanted, progress func(appaccess.Progress)) (appaccess.Applied, error) {
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
	for _, p := range want.Products {
		object := "product " + p.ID
		if progress != nil {
			progress(appaccess.Progress{Object: object, Attempt: 1, Done: true})
		}
		if err := f.step(func() { set(f.products, p.ID, p, p.Absent) }); err != nil {
			done.Failed[object] = err
		} else if !p.Absent {
			done.Products[p.ID] = appaccess.ProductApplication{
				Name: p.ApplicationName, Role: p.Role, ObjectID: "o-" + p.ID, AppID: "app-" + p.ID,
				ServicePrincipalID: "sp-" + p.ID, RoleID: "r-" + p.ID, IdentifierURI: "api://app-" + p.ID,
			}
		}
	}
	for _, a := range want.Applications {
		object := "application " + a.ID
		err := f.step(func() { set(f.apps, a.ID, a, a.Absent) })
		for _, product := range a.Products {
			if _, stands := f.products[product]; !stands && err == nil {
				err = fmt.Errorf("product %s is not in Entra", product)
			}
		}
		switch {
		case err != nil:
			done.Failed[object] = err
		case a.Absent:
			delete(f.creds, a.ID)
		default:
			done.Applications[a.ID] = appaccess.ApplicationRegistration{Name: a.ApplicationName, ObjectID: "o-" + a.ID, AppID: "app-" + a.ID, ServicePrincipalID: "sp-" + a.ID}
		}
	}
	return done, nil
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
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, ok := f.taken[req.OperationID]; ok && slices.ContainsFunc(f.creds[applicationID], func(o appaccess.Credential) bool { return o.KeyID == c.KeyID }) {
		return c, nil
	}
	if _, ok := f.apps[applicationID]; !ok {
		return appaccess.Credential{}, appaccess.ErrNotFound
	}
	f.serial++
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := appaccess.Credential{Kind: req.Kind, Name: req.Name, KeyID: fmt.Sprintf("key-%d", f.serial), Start: start}
	value := fmt.Sprintf("s3cr3t~%d.%s", f.serial, strings.Repeat("x", 20))
	if req.Kind == appaccess.SecretCredential {
		c.End, c.Hint, f.values[c.KeyID] = start.Add(req.Lifetime), value[:3], value
		f.mu.Unlock()
		err := req.Deliver(ctx, c, secret.New(value))
		f.mu.Lock()
		if err != nil {
			return appaccess.Credential{}, fmt.Errorf("deliver: %w", err)
		}
	}
	err := f.step(func() {
		f.creds[applicationID] = append(f.creds[applicationID], c)
		f.taken[req.OperationID] = c
	})
	return c, err
}

func (f *fakeEntra) RemoveCredential(_ context.Context, applicationID string, c appaccess.Credential) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.step(func() {
		f.creds[applicationID] = slices.DeleteFunc(f.creds[applicationID], func(o appaccess.Credential) bool { return o.KeyID == c.KeyID })
	})
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
var certificatePEM = makeCertificate(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))

func makeCertificate(end time.Time) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "billing"},
		NotBefore: end.AddDate(-2, 0, 0), NotAfter: end,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
