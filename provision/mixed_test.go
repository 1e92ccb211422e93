package provision_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// TestMixedSweep runs two Services, each with a Reconciler of its own, on one store
// against a tenant that lags for up to 10 minutes and in which requests fail. In
// the tenant are a second installation of the same instance, a stranger with a
// decoy, and people who add secrets and grants by hand. Managers and developers do
// what they may at random, two calls at once; calls are cut off; backups are
// restored; the store is lost and taken over. In the end Entra is what the Service
// desires, a secret works if the Service knows it and for what it is granted, and
// what others made is unchanged.
//
// ENTRAGATE_SEEDS sets how many seeds are run, ENTRAGATE_SEED runs one alone.
func TestMixedSweep(t *testing.T) {
	t.Parallel()
	first, last := seedRange(t, 8, 2)
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { mixedRun(t, seed) })
		})
	}
}

// mixed is one run of the sweep.
type mixed struct {
	*world
	seed      uint64
	services  [2]*appaccess.Service
	backup    *memstore.Store
	identity  entratest.Caller // a managed identity
	outsider  entratest.Caller // is granted a product by hand
	decoy     entratest.Decoy  // has the unique name of c5
	copied    entratest.Decoy  // has the tags of our product gold
	other     *engine          // the second installation
	byHand    map[string]bool  // client IDs of applications with a secret that people added
	purged    map[string]bool  // client IDs of applications that a person deleted for good
	takeOver  provision.TakeOverRequest
	lost      bool // the store was lost once
	mu        sync.Mutex
	issued    []issuedSecret
	performed map[string]int // calls that succeeded
}

// issuedSecret is a secret whose value a caller got.
type issuedSecret struct {
	application, clientID, keyID string
	value                        appaccess.Secret
}

var (
	manager    = appaccess.Manager("boss")
	developers = []string{"ada", "eve"}
	mixedApps  = []string{"c1", "c2", "c3", "c4", "c5"}
	mixedGrant = []appaccess.Grants{
		appaccess.GrantsOfAll("starter"),
		{{Product: "gold", Permissions: []string{"Read"}}},
		{{Product: "gold", Permissions: []string{"Read", "Write"}}},
		{{Product: "gold", Permissions: []string{appaccess.AllPermission}}, {Product: "starter", Permissions: []string{appaccess.AllPermission}}},
		{{Product: "gold", Permissions: []string{"Write"}}, {Product: "iron", Permissions: []string{appaccess.AllPermission}}},
	}
)

// otherDesired is the desired state of the second installation. It has no product
// starter, because the first installation has the application of that name.
func otherDesired() memstore.Desired {
	return memstore.Desired{Products: products("silver"), Applications: []appaccess.DesiredApplication{wantClient("o1", "silver")}}
}

func mixedRun(t *testing.T, seed uint64) {
	ctx := t.Context()
	m := &mixed{
		world: newWorld(t, entratest.Config{Seed: seed, Now: time.Now}), seed: seed,
		byHand: map[string]bool{}, purged: map[string]bool{}, performed: map[string]int{},
	}
	random := rand.New(rand.NewPCG(seed, 1))
	m.prepare(ctx)
	foreign := m.foreign()
	m.tenant.SetLag(entratest.Lag{Max: time.Duration(1+seed%10) * time.Minute})
	m.tenant.SetFaultRate([]float64{0, 0.05, 0.2}[seed%3])

	for range 25 {
		m.disaster(ctx, random)
		// Two calls at once. What they do is drawn before, so that a seed repeats it.
		first, second := m.action(random), m.action(random)
		var wg sync.WaitGroup
		wg.Go(func() { m.perform(ctx, m.services[0], first) })
		wg.Go(func() { m.perform(ctx, m.services[1], second) })
		wg.Wait()
		if random.IntN(3) == 0 {
			time.Sleep(time.Duration(random.IntN(1200)) * time.Second)
		}
	}
	m.tenant.SetFaultRate(0)
	m.finish(ctx)
	assert.Equal(t, foreign, m.foreign(), "what others made is unchanged")
	m.check(ctx)
	if t.Failed() {
		t.Logf("replay with ENTRAGATE_SEED=%d, more than once: two calls run at a time; calls that succeeded: %v", seed, m.performed)
	}
}

// prepare makes products, users, and everything that is not ours.
func (m *mixed) prepare(ctx context.Context) {
	t := m.t
	m.start()
	s := m.services[0]
	for _, id := range developers {
		_, err := s.CreateUser(ctx, manager, appaccess.UserRequest{ID: id, Name: id})
		require.NoError(t, err)
	}
	_, err := s.CreateAPI(ctx, manager, appaccess.APIRequest{ID: "orders", Name: "Orders", Path: "/orders"})
	require.NoError(t, err)
	for _, id := range []string{"starter", "gold", "iron"} {
		_, err := s.CreateProduct(ctx, manager, appaccess.ProductRequest{ID: id, Name: id, Published: true, APIs: []string{"orders"}, Access: appaccess.Access{Token: true}})
		require.NoError(t, err)
	}
	_, err = s.SetPermissions(ctx, manager, "gold", appaccess.PermissionsRequest{Permissions: []appaccess.Permission{{Name: "Read"}, {Name: "Write"}}})
	require.NoError(t, err)

	m.identity, err = m.tenant.AddManagedIdentity("vm")
	require.NoError(t, err)
	m.outsider, err = m.tenant.AddCaller("outsider")
	require.NoError(t, err)
	require.NoError(t, m.tenant.Grant(m.outsider.AppID, m.app("product", "starter").AppID, m.app("product", "starter").Roles[0]))
	stranger, err := m.tenant.AddStranger("mallory")
	require.NoError(t, err)
	m.decoy, err = stranger.Register(ctx, entratest.App{Name: "decoy", UniqueName: "entragate-test-application-c5", Tags: []string{publicTag("application", "c5")}})
	require.NoError(t, err)
	m.copied, err = stranger.Copy(ctx, provision.AppRef{UniqueName: "entragate-test-product-gold"}, "")
	require.NoError(t, err)

	config := m.configOf(memstore.New())
	m.other = m.engineOf(config)
	applied, err := m.other.Apply(ctx, otherDesired(), nil)
	require.NoError(t, err)
	require.Empty(t, applied.Failed)
	_, err = m.other.AddCredential(ctx, "o1", newVault().request("others"))
	require.NoError(t, err)
	m.backup = m.store.Clone()
}

func (m *mixed) configOf(store appaccess.Store) provision.Config {
	return provision.Config{Directory: m.dir, Store: store, Instance: "test"}
}

// start makes two Services on the store, as two processes do that start.
func (m *mixed) start() {
	for i := range m.services {
		engine, err := provision.New(m.configOf(m.store))
		require.NoError(m.t, err)
		m.services[i], err = appaccess.NewService(m.t.Context(), appaccess.ServiceConfig{
			Store: m.store, Provisioner: engine, TenantID: m.tenant.ID(), Authority: m.tenant.BaseURL(), Empty: true,
		})
		require.NoError(m.t, err)
	}
}

// disaster takes a backup, restores one, or loses the store, now and then.
func (m *mixed) disaster(ctx context.Context, random *rand.Rand) {
	switch random.IntN(16) {
	case 0:
		m.backup = m.store.Clone()
	case 1:
		m.store = m.backup.Clone()
		m.start()
	case 2:
		m.lose(ctx)
	}
}

// lose replaces the store by an empty one, takes the applications over and imports
// the document that was exported.
func (m *mixed) lose(ctx context.Context) {
	t := m.t
	var document bytes.Buffer
	require.NoError(t, m.services[0].Export(ctx, manager, &document))
	d, err := appaccess.ParseDocument(&document)
	require.NoError(t, err)
	m.takeOver = provision.TakeOverRequest{Installation: m.installation()}
	for _, p := range d.Products {
		m.takeOver.Products = append(m.takeOver.Products, p.ID)
	}
	for _, a := range d.Applications {
		m.takeOver.Applications = append(m.takeOver.Applications, a.ID)
	}
	m.store = memstore.New()
	m.start()
	until(t, "TakeOver", func() error {
		_, err := m.engineOf(m.configOf(m.store)).TakeOver(ctx, m.takeOver)
		return err
	})
	m.lost = true
	_, _ = m.services[0].Import(ctx, manager, d, appaccess.ImportRequest{}) // Entra may follow later
	m.backup = m.store.Clone()
}

// installation is the installation ID in the tags of our product starter.
func (m *mixed) installation() string {
	for _, tag := range m.app("product", "starter").Tags {
		if id, ok := strings.CutPrefix(tag, "entragate:installation:"); ok {
			return id
		}
	}
	return ""
}

// until repeats a call that lag and faults make fail.
func until(t testing.TB, what string, call func() error) {
	t.Helper()
	var err error
	for range 40 {
		if err = call(); err == nil {
			return
		}
		time.Sleep(time.Minute)
	}
	require.NoError(t, err, what)
}

// call is one call of a Service.
type call struct {
	name  string
	after time.Duration // the call is cut off then; 0: it is not
	do    func(context.Context, *appaccess.Service) error
}

func errOf[T any](_ T, err error) error { return err }

// action draws a call.
func (m *mixed) action(random *rand.Rand) call {
	id, developer := mixedApps[random.IntN(len(mixedApps))], developers[random.IntN(2)]
	by, grants := appaccess.Actor{UserID: developer}, mixedGrant[random.IntN(len(mixedGrant))]
	heads, overlap := random.IntN(2) == 0, time.Duration(random.IntN(3))*time.Hour
	var permissions []appaccess.Permission
	for _, name := range []string{"Read", "Write", "Cancel"} {
		if random.IntN(3) > 0 {
			permissions = append(permissions, appaccess.Permission{Name: name})
		}
	}
	calls := map[string]func(context.Context, *appaccess.Service) error{
		"register": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.RegisterApplication(ctx, manager, appaccess.ApplicationRequest{ID: id, Name: id, OwnerID: developer, Grants: grants}))
		},
		"request": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.RequestApplication(ctx, by, appaccess.ApplicationRequest{Name: id, Grants: grants}, "please"))
		},
		"request products": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.RequestProducts(ctx, by, id, "please", grants))
		},
		"decide": func(ctx context.Context, s *appaccess.Service) error {
			open, err := s.Requests(ctx, manager, appaccess.RequestFilter{})
			for _, r := range open.Items {
				if heads {
					err = errors.Join(err, errOf(s.ApproveRequest(ctx, manager, r.ID, appaccess.Approval{})))
				} else {
					err = errors.Join(err, errOf(s.RejectRequest(ctx, manager, r.ID, "no")))
				}
			}
			return err
		},
		"grant": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.GrantProducts(ctx, manager, id, grants))
		},
		"revoke": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.RevokeProducts(ctx, manager, id, grants.Products()[:1]))
		},
		"permissions": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.SetPermissions(ctx, manager, "gold", appaccess.PermissionsRequest{Permissions: permissions, Force: true}))
		},
		"access": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.SetAccess(ctx, manager, "iron", appaccess.AccessRequest{Access: appaccess.Access{Token: heads, Key: true}, Force: true}))
		},
		"transfer": func(ctx context.Context, s *appaccess.Service) error {
			if heads {
				return errOf(s.TransferApplication(ctx, manager, id, developer))
			}
			from := appaccess.Actor{UserID: developers[0]}
			if developer == developers[0] {
				from.UserID = developers[1]
			}
			offer, err := s.OfferTransfer(ctx, from, appaccess.KindApplication, id, developer)
			if err != nil {
				return err
			}
			return errOf(s.AcceptTransfer(ctx, by, offer.ID))
		},
		"block": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.BlockUser(ctx, manager, developer))
		},
		"unblock": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.UnblockUser(ctx, manager, developer))
		},
		"suspend": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.SuspendApplication(ctx, manager, id))
		},
		"resume": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.ResumeApplication(ctx, manager, id))
		},
		"secret": func(ctx context.Context, s *appaccess.Service) error {
			issued, err := s.AddSecret(ctx, manager, id, appaccess.SecretRequest{Rotate: heads, Overlap: overlap})
			if err == nil {
				m.issue(ctx, s, id, issued)
			}
			return err
		},
		"remove credential": func(ctx context.Context, s *appaccess.Service) error {
			credentials, err := s.Credentials(ctx, manager, id)
			if err == nil && len(credentials) > 0 {
				err = s.RemoveCredential(ctx, manager, id, credentials[0].ID)
			}
			return err
		},
		"delete": func(ctx context.Context, s *appaccess.Service) error { return s.DeleteApplication(ctx, manager, id) },
		"managed identity": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.RegisterApplication(ctx, manager, appaccess.ApplicationRequest{
				ID: "vm", Name: "vm", OwnerID: developer, Grants: grants,
				ServicePrincipal: appaccess.ServicePrincipal{ObjectID: m.identity.ObjectID, ClientID: m.identity.AppID},
			}))
		},
		"suspend managed identity": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.SuspendApplication(ctx, manager, "vm"))
		},
		"delete managed identity": func(ctx context.Context, s *appaccess.Service) error {
			return s.DeleteApplication(ctx, manager, "vm")
		},
		"sync": func(ctx context.Context, s *appaccess.Service) error {
			return errOf(s.Sync(ctx, manager, appaccess.SyncRequest{All: heads}))
		},
		"by hand": func(ctx context.Context, s *appaccess.Service) error {
			a := m.app("application", id)
			if a == nil || a.AppID == m.decoy.AppID {
				return appaccess.ErrNotFound
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.byHand[a.AppID] {
				return nil
			}
			m.byHand[a.AppID] = true
			return errOf(m.tenant.AddSecret(a.AppID, "by hand"))
		},
	}
	// The more frequent ones are named more than once.
	names := []string{
		"register", "register", "register", "secret", "secret", "secret", "grant", "grant", "revoke", "sync", "sync",
		"request", "request products", "decide", "decide", "permissions", "access", "transfer", "transfer",
		"block", "unblock", "unblock", "suspend", "resume", "resume", "remove credential", "delete",
		"managed identity", "managed identity", "suspend managed identity", "delete managed identity", "by hand",
	}
	c := call{name: names[random.IntN(len(names))]}
	c.do = calls[c.name]
	if random.IntN(5) == 0 {
		c.after = time.Duration(1+random.IntN(60)) * time.Second
	}
	return c
}

// perform makes a call. Most calls fail now and then: the object does not exist,
// somebody may not, Entra is not reached. The Service must cope with it.
func (m *mixed) perform(ctx context.Context, s *appaccess.Service, c call) {
	if c.after > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.after)
		defer cancel()
	}
	if err := c.do(ctx, s); err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.performed[c.name]++
	}
}

func (m *mixed) issue(ctx context.Context, s *appaccess.Service, id string, issued appaccess.IssuedSecret) {
	a, err := s.Application(context.WithoutCancel(ctx), manager, id)
	if err != nil {
		return // somebody deleted it meanwhile
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.issued = append(m.issued, issuedSecret{id, a.Entra.AppID, issued.Credential.KeyID, issued.Value})
}

// foreign is everything that is not ours: the second installation, the stranger's
// applications, and other callers.
func (m *mixed) foreign() []entratest.ApplicationState {
	var found []entratest.ApplicationState
	for _, a := range m.tenant.State().Applications {
		ours := strings.HasPrefix(a.Key, "entragate-test-") && a.AppID != m.decoy.AppID &&
			a.Key != "entragate-test-product-silver" && a.Key != "entragate-test-application-o1"
		if !ours {
			found = append(found, a)
		}
	}
	return found
}

// finish lets the Services end what they began, and does what an operator has to
// do: enable what was disabled after a backup, and remove what is unknown.
func (m *mixed) finish(ctx context.Context) {
	t := m.t
	var report appaccess.SyncReport
	var err error
	for i := range 60 {
		s := m.services[i%2]
		report, err = s.Sync(ctx, manager, appaccess.SyncRequest{All: true})
		time.Sleep(11 * time.Minute)
		if i < 10 {
			continue // the tenant shows everything by then
		}
		done := report.Unconfirmed == 0 && onlyTheDecoyFails(err)
		if !onlyTheDecoyFails(err) && i > 30 {
			m.purge(err)
		} else if !onlyTheDecoyFails(err) && m.lost {
			// A lagging replica may have shown TakeOver an older signature.
			_, _ = m.engineOf(m.configOf(m.store)).TakeOver(ctx, m.takeOver)
		}
		drift, derr := s.Drift(ctx, manager)
		require.NoError(t, derr)
		for _, step := range drift.Steps {
			if step.Action == appaccess.ActionEnable {
				id := strings.TrimPrefix(step.Object, "application ")
				enabled := true
				_, _, err := m.dir.UpsertServicePrincipal(ctx, m.app("application", id).AppID, provision.ServicePrincipalPatch{AccountEnabled: &enabled})
				require.NoError(t, err)
				done = false
			}
		}
		unknown := drift.Unknown
		unknown.Grants = slices.DeleteFunc(slices.Clone(unknown.Grants), func(g appaccess.UnknownGrant) bool { return g.Principal == m.outsider.ObjectID })
		unknown.Applications = slices.DeleteFunc(slices.Clone(unknown.Applications), func(a appaccess.TenantApplication) bool { return a.AppID == m.copied.AppID })
		if !unknown.Empty() {
			m.purge(s.RemoveUnknown(ctx, manager, unknown))
			done = false
		}
		if done {
			return
		}
	}
	require.NoError(t, err)
	require.Fail(t, "not in sync after 60 rounds", "%d unconfirmed, unknown: %v", report.Unconfirmed, report.Unknown)
}

// purge deletes applications for good of which nothing proves that they are ours, as
// only a person can: their key was lost with the store and the document does not
// name them, or they were created after the backup and not signed.
func (m *mixed) purge(err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			m.purge(err)
		}
		return
	}
	var failed *appaccess.ProvisionError
	var refused *provision.NotOursError
	if errors.As(err, &failed) && failed.Object == "unknown objects" {
		m.purge(failed.Err)
	} else if errors.As(err, &refused) && refused.AppID != m.decoy.AppID && !m.purged[refused.AppID] && assert.Equal(m.t, refused.Own, refused.Found) {
		m.purged[refused.AppID] = true
		require.NoError(m.t, m.tenant.PurgeApplication(refused.AppID))
	}
}

// onlyTheDecoyFails reports whether nothing failed but the application whose name
// the stranger has.
func onlyTheDecoyFails(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(joined.Unwrap(), func(err error) bool { return !onlyTheDecoyFails(err) })
	}
	var failed *appaccess.ProvisionError
	return err == nil || errors.As(err, &failed) && failed.Object == "application c5" && errors.Is(err, provision.ErrNotOurs)
}

// check compares Entra with what the Service desires.
func (m *mixed) check(ctx context.Context) {
	t, s := m.t, m.services[0]
	roles := map[string]map[string]string{} // of a product: role values by permission
	expected := map[string]bool{}           // the unique names of our applications
	all, err := s.Products(ctx, manager, appaccess.Filter{})
	require.NoError(t, err)
	for _, p := range all.Items {
		key := "entragate-test-product-" + p.ID
		roles[p.ID] = map[string]string{}
		if expected[key] = p.Access.Token; !p.Access.Token {
			continue
		}
		var values []string
		for _, r := range p.Entra.Roles {
			roles[p.ID][r.Permission] = r.Value
			values = append(values, r.Value)
		}
		if a := m.app("product", p.ID); assert.NotNil(t, a, p.ID) {
			assert.ElementsMatch(t, values, a.Roles, p.ID)
			assert.True(t, a.Enabled, p.ID)
		}
	}
	users := map[string]appaccess.UserState{}
	for _, id := range developers {
		u, err := s.User(ctx, manager, id)
		require.NoError(t, err)
		users[id] = u.State
	}
	apps, err := s.Applications(ctx, manager, appaccess.Filter{})
	require.NoError(t, err)
	works := map[string]map[string][]string{} // by key ID: what the secret opens
	identity := []string(nil)
	for _, a := range apps.Items {
		var grants []string
		opens := map[string][]string{}
		active := a.State != appaccess.ApplicationSuspended && users[a.OwnerID] == appaccess.UserActive
		for _, g := range a.Grants {
			for _, permission := range g.Permissions {
				grants = append(grants, "entragate-test-product-"+g.Product+"/"+roles[g.Product][permission])
				opens[g.Product] = append(opens[g.Product], roles[g.Product][permission])
			}
		}
		switch {
		case a.ID == "vm":
			if active {
				identity = grants
			}
			continue
		case m.decoyHas(a.ID):
			continue
		}
		key := "entragate-test-application-" + a.ID
		expected[key] = true
		state := m.appOf(key)
		if !assert.NotNil(t, state, a.ID) {
			continue
		}
		assert.ElementsMatch(t, grants, state.Grants, a.ID)
		assert.Equal(t, active, state.Enabled, "%s: %s, owner %s", a.ID, a.State, users[a.OwnerID])
		credentials, err := s.Credentials(ctx, manager, a.ID)
		require.NoError(t, err)
		var known, present, byHand []string
		for _, c := range credentials {
			known = append(known, c.KeyID)
			if works[c.KeyID] = opens; !active {
				works[c.KeyID] = nil
			}
		}
		for _, p := range state.Passwords {
			if p.DisplayName == "by hand" {
				byHand = append(byHand, p.KeyID)
			} else {
				present = append(present, p.KeyID)
			}
		}
		assert.Equal(t, m.byHand[state.AppID], len(byHand) == 1, "%s: secrets that people made stay", a.ID)
		for _, id := range present {
			assert.Contains(t, known, id, "%s: the Service knows every secret of ours", a.ID)
		}
		if gone := slices.DeleteFunc(known, func(id string) bool { return slices.Contains(present, id) }); len(gone) > 0 {
			for _, id := range gone {
				delete(works, id)
			}
		}
	}
	var held []string
	for _, i := range m.tenant.State().Identities {
		if i.ObjectID == m.identity.ObjectID {
			held = i.Grants
		}
	}
	assert.ElementsMatch(t, identity, held, "grants of the managed identity")

	names := map[string]int{}
	for _, a := range m.tenant.State().Applications {
		if names[a.Key]++; strings.HasPrefix(a.Key, "entragate-test-") {
			assert.Equal(t, 1, names[a.Key], a.Key)
		}
	}
	for key, exists := range expected {
		assert.Equal(t, exists, names[key] > 0, key)
	}
	m.tokens(all.Items, works)
	m.tokenOfDecoy(all.Items)

	plan, err := s.Plan(ctx, manager)
	require.NoError(t, err)
	assert.Empty(t, plan.Steps)
	writes := m.tenant.Counts().Writes
	applied, err := m.other.Apply(ctx, otherDesired(), nil)
	require.NoError(t, err)
	assert.Empty(t, applied.Failed)
	assert.Equal(t, writes, m.tenant.Counts().Writes, "the second installation is in sync")
}

// decoyHas reports whether the stranger's application has the name of a client.
func (m *mixed) decoyHas(id string) bool { return id == "c5" }

func (m *mixed) appOf(key string) *entratest.ApplicationState {
	s := m.tenant.State()
	i := slices.IndexFunc(s.Applications, func(a entratest.ApplicationState) bool { return a.Key == key })
	if i < 0 {
		return nil
	}
	return &s.Applications[i]
}

// tokens asks for a token of each product with each secret that was ever issued.
func (m *mixed) tokens(all []appaccess.Product, works map[string]map[string][]string) {
	for _, secret := range m.issued {
		for _, p := range all {
			if !p.Access.Token {
				continue
			}
			got, err := m.tokenRoles(secret.clientID, secret.value, p.Entra.AppID)
			if err != nil {
				got = nil
			}
			assert.ElementsMatch(m.t, works[secret.keyID][p.ID], got, "secret %s of %s for %s: %v", secret.keyID, secret.application, p.ID, err)
		}
	}
}

func (m *mixed) tokenOfDecoy(all []appaccess.Product) {
	for _, p := range all {
		if p.Access.Token {
			assert.Error(m.t, m.token(m.decoy.AppID, m.decoy.Secret, p.Entra.AppID))
		}
	}
}
