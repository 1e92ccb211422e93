package appaccess_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/internal/race"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// estate is a Service with the real engine and a tenant that lags.
type estate struct {
	*appaccess.Service
	t      *testing.T
	clock  *testkit.Clock
	tenant *entratest.Tenant
	caller entratest.Caller
	store  *faultyStore
	deaths int
}

func newEstate(t *testing.T, lag entratest.Lag) *estate {
	t.Helper()
	return newEstateOn(t, memstore.New(), lag)
}

func newEstateOn(t *testing.T, db appaccess.Store, lag entratest.Lag) *estate {
	t.Helper()
	e := &estate{t: t, clock: testkit.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
	var err error
	e.tenant, err = entratest.New(entratest.Config{Now: e.clock.Now, Sleep: e.sleep, Lag: lag, Seed: 11})
	require.NoError(t, err)
	e.caller, err = e.tenant.AddCaller("entragate", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, db.Close())
		assert.Empty(t, e.tenant.Misuses())
	})
	e.store = &faultyStore{Store: db}
	e.start()
	return e
}

// start makes a Service and an engine, as a process does that starts.
func (e *estate) start() {
	e.t.Helper()
	engine, err := provision.New(provision.Config{
		Directory: e.tenant.Directory(e.caller), Store: e.store,
		Concurrency: 1, Now: e.clock.Now, Sleep: e.sleep, Jitter: func() float64 { return 0.5 },
	})
	require.NoError(e.t, err)
	e.Service, err = appaccess.NewService(ctx, appaccess.ServiceConfig{
		Store: e.store, Provisioner: engine, TenantID: e.tenant.ID(), Authority: e.tenant.BaseURL(), Now: e.clock.Now,
		OneTimeSecretKeys: []appaccess.OneTimeSecretKey{{ID: "k1", Key: sealingKey(1)}},
	})
	require.NoError(e.t, err)
}

func (e *estate) sleep(ctx context.Context, d time.Duration) error {
	e.clock.Advance(d)
	return ctx.Err()
}

// roles asks for a token as a client does, and returns the roles in it; an
// error is the AADSTS code.
func (e *estate) roles(clientID, value, scope string) ([]string, error) {
	e.t.Helper()
	res, err := (&http.Client{Transport: e.tenant.Transport()}).PostForm(e.tenant.TokenURL(), url.Values{
		"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {value}, "scope": {scope},
	})
	require.NoError(e.t, err)
	defer res.Body.Close()
	var body struct {
		AccessToken string `json:"access_token"`
		Description string `json:"error_description"`
	}
	require.NoError(e.t, json.NewDecoder(res.Body).Decode(&body))
	if body.AccessToken == "" {
		code, _, _ := strings.Cut(body.Description, ":")
		return nil, fmt.Errorf("%s", code)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(body.AccessToken, ".")[1])
	require.NoError(e.t, err)
	var claims struct {
		Roles []string `json:"roles"`
	}
	require.NoError(e.t, json.Unmarshal(payload, &claims))
	return claims.Roles, nil
}

func (e *estate) settle() { e.clock.Advance(10 * time.Minute) }

func TestTheWholeFlowAgainstATenant(t *testing.T) {
	t.Parallel()
	e := newEstateOn(t, onSQLite(t), entratest.Lag{Min: time.Second, Max: 20 * time.Second})
	pre, err := e.Preflight(ctx, boss)
	require.NoError(t, err)
	assert.True(t, pre.OK, pre)
	for _, id := range []string{"ada", "eve"} {
		_, err := e.CreateUser(ctx, boss, appaccess.UserRequest{ID: id, Name: id})
		require.NoError(t, err)
	}
	_, err = e.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true, Key: true}})
	require.NoError(t, err)
	gold, err := e.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: "gold", Name: "Gold Plan", Published: true, APIs: []string{"echo-api"}, Access: appaccess.Access{Token: true}})
	require.NoError(t, err)
	assert.Equal(t, "Product.Gold-Plan.All", gold.Entra.Role(appaccess.AllPermission))
	app, err := e.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "billing", Name: "Billing", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter")})
	require.NoError(t, err)
	assert.Equal(t, appaccess.ApplicationActive, app.State)

	sealed, err := e.CreateOneTimeSecret(ctx, boss, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	first, err := e.ReceiveSecret(ctx, ada, "billing", sealed.ID)
	require.NoError(t, err)
	e.settle()
	set, err := e.ApplicationSettings(ctx, ada, "billing")
	require.NoError(t, err)
	assert.Equal(t, e.tenant.TokenURL(), set.TokenURL)
	roles, err := e.roles(set.ClientID, first.Value.Reveal(), set.Products[0].Scope)
	require.NoError(t, err)
	assert.Equal(t, []string{"Product.Starter.All"}, roles)
	_, err = e.roles(set.ClientID, first.Value.Reveal(), gold.Entra.Scope())
	require.Error(t, err, "not granted")

	// Grant, rotate with overlap, review.
	_, err = e.GrantProducts(ctx, boss, "billing", appaccess.GrantsOfAll("gold"))
	require.NoError(t, err)
	second, err := e.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Rotate: true, Overlap: time.Hour})
	require.NoError(t, err)
	e.settle()
	for _, value := range []appaccess.Secret{first.Value, second.Value} {
		roles, err = e.roles(set.ClientID, value.Reveal(), gold.Entra.Scope())
		require.NoError(t, err)
		assert.Equal(t, []string{"Product.Gold-Plan.All"}, roles)
	}
	review, err := e.Review(ctx, boss, []string{"starter"}, []string{"billing"})
	require.NoError(t, err)
	assert.Equal(t, "APIMProductApplicationStarter", review.Products[0].Name)
	assert.Equal(t, "Product.Starter.All", review.Products[0].AppRoles[0].Value)
	assert.Equal(t, "APIMApplicationStarter", review.Applications[0].Name)
	assert.Len(t, review.Applications[0].Permissions, 2)
	e.clock.Advance(time.Hour)
	report, err := e.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.Equal(t, 1, report.Credentials)
	e.settle()
	_, err = e.roles(set.ClientID, first.Value.Reveal(), gold.Entra.Scope())
	require.ErrorContains(t, err, "AADSTS7000215")

	// Everything is in sync, and a full Sync sends no write.
	plan, err := e.Plan(ctx, boss)
	require.NoError(t, err)
	assert.True(t, plan.Empty(), plan)
	writes := e.tenant.Counts().Writes
	_, err = e.Sync(ctx, boss, appaccess.SyncRequest{All: true})
	require.NoError(t, err)
	assert.Equal(t, writes, e.tenant.Counts().Writes)

	// The ends of access, each of which Entra follows.
	_, err = e.BlockUser(ctx, boss, "ada")
	require.NoError(t, err)
	e.settle()
	_, err = e.roles(set.ClientID, second.Value.Reveal(), gold.Entra.Scope())
	require.Error(t, err)
	_, err = e.UnblockUser(ctx, boss, "ada")
	require.NoError(t, err)
	_, err = e.RevokeProducts(ctx, boss, "billing", []string{"gold"})
	require.NoError(t, err)
	e.settle()
	_, err = e.roles(set.ClientID, second.Value.Reveal(), gold.Entra.Scope())
	require.Error(t, err)
	_, err = e.roles(set.ClientID, second.Value.Reveal(), set.Products[0].Scope)
	require.NoError(t, err)

	// Off and on again: the product's application is the same one.
	before, err := e.Product(ctx, boss, "starter")
	require.NoError(t, err)
	_, err = e.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Key: true}, Force: true})
	require.NoError(t, err)
	e.settle()
	after, err := e.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}})
	require.NoError(t, err)
	assert.Equal(t, before.Entra, after.Entra)

	require.NoError(t, e.DeleteApplication(ctx, boss, "billing"))
	require.NoError(t, e.DeleteProduct(ctx, boss, "gold", false))
	require.NoError(t, e.DeleteProduct(ctx, boss, "starter", true))
	e.settle()
	for _, a := range e.tenant.State().Applications {
		assert.Equal(t, "entragate", a.Key, "left in the tenant")
	}
}

// An existing application in Entra is adopted only if it is named.
func TestAdoption(t *testing.T) {
	t.Parallel()
	e := newEstate(t, entratest.Lag{})
	old, err := e.tenant.AddApplication(entratest.App{Name: "Their API", Roles: []string{"Their.Own"}})
	require.NoError(t, err)
	p, err := e.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: "gold", Name: "Gold", Access: appaccess.Access{Token: true}, Adopt: old.AppID})
	require.NoError(t, err)
	assert.Equal(t, old.AppID, p.Entra.AppID)
	assert.Equal(t, "Product.Gold.All", p.Entra.Role(appaccess.AllPermission))
	assert.Empty(t, p.Adopt)
	p, err = e.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}})
	require.NoError(t, err)
	assert.NotEqual(t, old.AppID, p.Entra.AppID)
}

// The process dies at a Graph request, with its answer lost or the request not
// done; another one starts and gets the same calls. In the end the tenant is as
// if nothing had happened, and every secret that the store knows exists there.
func TestDeathAtGraphRequests(t *testing.T) {
	t.Parallel()
	calm := newEstate(t, entratest.Lag{})
	want := calm.flow()
	last := calm.tenant.Counts().Graph
	cuts := 0
	for i := range last {
		k := i + 1
		if testing.Short() && k%5 != 0 || race.Enabled && k%20 != 0 {
			continue
		}
		e := newEstateOn(t, memstore.New(), entratest.Lag{})
		e.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
			if r.N != k {
				return entratest.Fault{}
			}
			e.store.die(true)
			return entratest.Fault{Kind: [2]entratest.FaultKind{entratest.CutBefore, entratest.CutAfter}[k%2]}
		})
		require.Equal(t, want, e.flow(), "death at request %d", k)
		require.Equal(t, 1, e.deaths, "at request %d nothing was cut off", k)
		cuts++
	}
	t.Logf("%d deaths", cuts)
	require.NotZero(t, cuts)
}

// flow repeats each call until it succeeds. When the process has died, another one
// starts after its locks have expired.
func (e *estate) flow() string {
	e.t.Helper()
	var first, second appaccess.IssuedSecret
	starter := []string{"starter"}
	reading := appaccess.Grants{{Product: "starter", Permissions: []string{"Read"}}}
	vm, err := e.tenant.AddManagedIdentity("vm")
	require.NoError(e.t, err)
	var asked string
	for _, call := range []func() error{
		func() error { return errOf(e.CreateUser(ctx, boss, appaccess.UserRequest{ID: "ada", Name: "Ada"})) },
		func() error {
			return errOf(e.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}}))
		},
		func() error {
			return errOf(e.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "billing", Name: "Billing", OwnerID: "ada", Grants: appaccess.GrantsOfAll(starter...)}))
		},
		func() (err error) {
			first, err = e.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
			return err
		},
		func() (err error) {
			second, err = e.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Rotate: true})
			return err
		},
		func() error { return errOf(e.SuspendApplication(ctx, boss, "billing")) },
		func() error { return errOf(e.ResumeApplication(ctx, boss, "billing")) },
		func() error {
			return errOf(e.SetPermissions(ctx, boss, "starter", appaccess.PermissionsRequest{Permissions: []appaccess.Permission{{Name: "Read"}}}))
		},
		func() error { return errOf(e.CreateUser(ctx, boss, appaccess.UserRequest{ID: "eve", Name: "Eve"})) },
		func() error {
			return errOf(e.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{
				ID: "vm", Name: "vm", OwnerID: "ada", Grants: reading, ServicePrincipal: appaccess.ServicePrincipal{ObjectID: vm.ObjectID},
			}))
		},
		func() error { return handedOver(e.Service, "vm") },
		func() (err error) {
			asked, err = approvedApplication(e.Service, reading)
			return err
		},
		func() error { return e.DeleteApplication(ctx, boss, asked) },
		func() error { return errOf(e.Sync(ctx, boss, appaccess.SyncRequest{})) },
	} {
		e.untilDone(call)
	}
	e.settle()
	app, err := e.Application(ctx, ada, "billing")
	require.NoError(e.t, err)
	product, err := e.Product(ctx, boss, "starter")
	require.NoError(e.t, err)
	roles, err := e.roles(app.Entra.AppID, second.Value.Reveal(), product.Entra.Scope())
	require.NoError(e.t, err)
	_, err = e.roles(app.Entra.AppID, first.Value.Reveal(), product.Entra.Scope())
	require.Error(e.t, err, "replaced without an overlap")
	creds, err := e.Credentials(ctx, ada, "billing")
	require.NoError(e.t, err)
	var here, there, names []string
	for _, c := range creds {
		here = append(here, c.KeyID)
	}
	for _, a := range e.tenant.State().Applications {
		names = append(names, fmt.Sprint(a.Key, a.DisplayName, a.Enabled, a.Grants))
		if a.AppID == app.Entra.AppID {
			for _, p := range a.Passwords {
				there = append(there, p.KeyID)
			}
		}
	}
	assert.ElementsMatch(e.t, here, there, "a secret that one side does not know")
	slices.Sort(names)
	return fmt.Sprintln(len(here), app.State, roles, names, e.tenant.State().Identities)
}

func (e *estate) untilDone(call func() error) {
	e.t.Helper()
	for try := 0; ; try++ {
		err := call()
		if err == nil {
			return
		}
		require.Less(e.t, try, 3, err)
		if e.store.isDead() {
			e.deaths++
			e.store.die(false)
			e.clock.Advance(15 * time.Minute)
			e.start()
		}
	}
}

// A manager sees what adoption would change before anything is stored or written.
func TestPlanOfAnAdoption(t *testing.T) {
	t.Parallel()
	e := newEstate(t, entratest.Lag{})
	old, err := e.tenant.AddApplication(entratest.App{Name: "Old API"})
	require.NoError(t, err)
	req := appaccess.AccessRequest{Access: appaccess.Access{Token: true}, Adopt: old.AppID}
	plan, err := e.PlanAccess(ctx, boss, "starter", req)
	require.NoError(t, err)
	require.Empty(t, plan.Failed)
	require.NotEmpty(t, plan.Steps)
	assert.Equal(t, appaccess.ActionAdopt, plan.Steps[0].Action)
	assert.Contains(t, plan.Steps[0].Detail, "it keeps access token version 1")
	before, err := e.Product(ctx, boss, "starter")
	require.NoError(t, err)
	assert.False(t, before.Access.Token)
	assert.Empty(t, before.Adopt)

	p, err := e.SetAccess(ctx, boss, "starter", req)
	require.NoError(t, err)
	assert.Equal(t, "Old API", p.Entra.Name)
	_, err = e.CreateUser(ctx, boss, appaccess.UserRequest{ID: "ada", Name: "Ada"})
	require.NoError(t, err)
	client, err := e.tenant.AddApplication(entratest.App{Name: "Old client"})
	require.NoError(t, err)
	plan, err = e.PlanApplication(ctx, boss, appaccess.ApplicationRequest{
		ID: "adopted", Name: "Adopted", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter"),
		Adopt: client.AppID, AdoptChanges: appaccess.AdoptChanges{Rename: true},
	})
	require.NoError(t, err)
	require.NotEmpty(t, plan.Steps)
	assert.Contains(t, plan.Steps[0].Detail, `rename "Old client" to`)
	_, err = e.PlanAccess(ctx, appaccess.Actor{UserID: "ada"}, "starter", req)
	assert.ErrorIs(t, err, appaccess.ErrForbidden)

	another, err := e.tenant.AddApplication(entratest.App{Name: "Another API"})
	require.NoError(t, err)
	plan, err = e.PlanProduct(ctx, boss, appaccess.ProductRequest{Name: "Another", Access: appaccess.Access{Token: true}, Adopt: another.AppID})
	require.NoError(t, err)
	require.NotEmpty(t, plan.Steps)
	assert.Equal(t, appaccess.ActionAdopt, plan.Steps[0].Action)
	_, err = e.Product(ctx, boss, "another")
	require.ErrorIs(t, err, appaccess.ErrNotFound, "nothing is stored")
	_, err = e.PlanProduct(ctx, boss, appaccess.ProductRequest{Name: "Another", Adopt: another.AppID})
	var invalid *appaccess.InvalidError
	require.ErrorAs(t, err, &invalid)
	_, err = e.PlanApplication(ctx, boss, appaccess.ApplicationRequest{
		ID: "vm", Name: "VM", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter"), ServicePrincipal: appaccess.ServicePrincipal{ObjectID: "not an ID"},
	})
	require.ErrorAs(t, err, &invalid)
}
