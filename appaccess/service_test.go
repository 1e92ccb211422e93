package appaccess_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
)

func TestNewServiceRefusesBadConfigurations(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(ctx, sqlite.Temporary)
	require.NoError(t, err)
	defer db.Close()
	key := appaccess.OneTimeSecretKey{ID: "k", Key: sealingKey(1)}
	for name, cfg := range map[string]appaccess.ServiceConfig{
		"Store is required":                           {},
		"TenantID is required":                        {Store: db, Provisioner: newFakeEntra()},
		`ServiceConfig.Cloud: unknown cloud`:          {Store: db, Cloud: "mars"},
		"ServiceConfig.Authority: must be":            {Store: db, Authority: "http://example.com"},
		`Authority: path "/common" is not the t`:      {Store: db, TenantID: "t", Authority: "https://login.example/common"},
		"Authority: excludes Cloud":                   {Store: db, Cloud: "public", Authority: "https://login.example"},
		`but Cloud is "china"`:                        {Store: db, Cloud: "china", Authority: "https://login.microsoftonline.com"},
		"OneTimeSecretTTL must not be negative":       {Store: db, OneTimeSecretTTL: -1},
		"OneTimeSecretKeys: key 0: needs an ID":       {Store: db, OneTimeSecretKeys: []appaccess.OneTimeSecretKey{{ID: "k"}}},
		`OneTimeSecretKeys: key 1: the ID "k" is tak`: {Store: db, OneTimeSecretKeys: []appaccess.OneTimeSecretKey{key, key}},
	} {
		_, err := appaccess.NewService(ctx, cfg)
		require.ErrorContains(t, err, name)
	}
}

// However the login host is written, developers are shown the same endpoint.
func TestTokenURLOfEachSpellingOfTheAuthority(t *testing.T) {
	t.Parallel()
	for authority, base := range map[string]string{
		"":                                  "https://login.microsoftonline.com",
		"https://login.windows.net/":        "https://login.microsoftonline.com",
		"https://login.example/":            "https://login.example",
		"https://login.example/" + tenantID: "https://login.example",
	} {
		h := newFixture(t, func(cfg *appaccess.ServiceConfig) { cfg.Authority = authority }).withApp()
		set, err := h.ApplicationSettings(ctx, boss, "billing")
		require.NoError(t, err)
		assert.Equal(t, base+"/"+tenantID+"/oauth2/v2.0/token", set.TokenURL, authority)
	}
}

func TestNewStoreHoldsStarterAndEchoOnce(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	p, err := h.Product(ctx, boss, "starter")
	require.NoError(t, err)
	assert.Equal(t, "Starter", p.Name)
	assert.Equal(t, appaccess.Published, p.State)
	assert.Equal(t, []string{"echo-api"}, p.APIs)
	assert.Equal(t, appaccess.Access{Key: true}, p.Access)
	a, err := h.API(ctx, boss, "echo-api")
	require.NoError(t, err)
	assert.Equal(t, "/echo", a.Path)

	require.NoError(t, h.DeleteProduct(ctx, boss, "starter", false))
	require.NoError(t, h.DeleteAPI(ctx, boss, "echo-api"))
	before := h.revision()
	again, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: h.store})
	require.NoError(t, err)
	_, err = again.Product(ctx, boss, "starter")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	assert.Equal(t, before, h.revision())
}

func TestProductGetsItsApplicationInEntra(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	p, err := h.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}})
	require.NoError(t, err)
	assert.Equal(t, "APIMProductApplicationStarter", p.Entra.Name)
	assert.Equal(t, "Product.Starter.All", p.Entra.Role(appaccess.AllPermission))
	assert.Equal(t, "app-starter", p.Entra.Audience())
	assert.Equal(t, "api://app-starter/.default", p.Entra.Scope())
	assert.False(t, p.Sync.Pending)
	assert.Equal(t, "APIMProductApplicationStarter", h.entra.products["starter"].ApplicationName)

	_, err = h.UpdateProduct(ctx, boss, "starter", appaccess.ProductUpdate{Name: ptr("Beginner")})
	assertConflict(t, err, "name")
	p, err = h.UpdateProduct(ctx, boss, "starter", appaccess.ProductUpdate{Description: ptr("Now better")})
	require.NoError(t, err)
	assert.Equal(t, "Now better", h.entra.products["starter"].Description)

	p, err = h.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Key: true}})
	require.NoError(t, err)
	assert.Zero(t, p.Entra)
	assert.NotContains(t, h.entra.products, "starter")
	p, err = h.UpdateProduct(ctx, boss, "starter", appaccess.ProductUpdate{Name: ptr("Beginner")})
	require.NoError(t, err, "without a role the name is free")
	assert.Equal(t, "Beginner", p.Name)
}

func TestReadinessNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	_, err := h.CreateProduct(ctx, boss, appaccess.ProductRequest{Name: "Silver", Access: appaccess.Access{Token: true}})
	require.NoError(t, err)
	r, err := h.Readiness(ctx, boss, "silver")
	require.NoError(t, err)
	assert.Equal(t, []string{"it is not published: publish it", "it has no API: assign one"}, r.Missing)
	_, err = h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{Name: "B", OwnerID: "ada", Grants: appaccess.GrantsOfAll("silver")})
	assertConflict(t, err, "grants")
	assert.ErrorContains(t, err, "not published")
	assert.ErrorContains(t, err, "no API")

	_, err = h.AssignAPIs(ctx, boss, "silver", []string{"echo-api"})
	require.NoError(t, err)
	_, err = h.PublishProduct(ctx, boss, "silver")
	require.NoError(t, err)
	r, err = h.Readiness(ctx, ada, "silver")
	require.NoError(t, err)
	assert.True(t, r.Ready, r.Missing)
	_, err = h.SuspendProduct(ctx, boss, "silver")
	require.NoError(t, err)
	r, err = h.Readiness(ctx, ada, "silver")
	require.NoError(t, err)
	assert.Equal(t, []string{"it is suspended: resume it"}, r.Missing)
}

func TestRegisterApplication(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople().withGold()
	a, err := h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{
		Name: "Billing", OwnerID: "ada", Grants: appaccess.GrantsOfAll("gold", "starter"), Description: "Writes invoices",
	})
	require.NoError(t, err)
	assert.Equal(t, appaccess.ApplicationActive, a.State)
	assert.Equal(t, "APIMApplicationGold", a.Entra.Name, "the first product that was granted")
	assert.Equal(t, "app-"+a.ID, a.Entra.AppID)
	want := h.entra.apps[a.ID]
	assert.Equal(t, []string{"gold", "starter"}, want.Grants.Products())
	assert.Equal(t, "ada", want.OwnerID)

	set, err := h.ApplicationSettings(ctx, ada, a.ID)
	require.NoError(t, err)
	assert.Equal(t, a.Entra.AppID, set.ClientID)
	assert.Equal(t, "https://login.microsoftonline.com/"+tenantID+"/oauth2/v2.0/token", set.TokenURL)
	require.Len(t, set.Products, 2)
	assert.Equal(t, appaccess.ProductSettings{
		ID: "gold", Name: "Gold", Audience: "app-gold", Scope: "api://app-gold/.default", Roles: []string{"Product.Gold.All"}, Paths: []string{"/orders"},
	}, set.Products[0])

	// The name stays when the first product goes, and so does the state.
	a, err = h.RevokeProducts(ctx, boss, a.ID, []string{"gold"})
	require.NoError(t, err)
	assert.Equal(t, []string{"starter"}, a.Grants.Products())
	assert.Equal(t, "APIMApplicationGold", a.Entra.Name)
	assert.Equal(t, appaccess.ApplicationActive, a.State)
	a, err = h.RevokeProducts(ctx, boss, a.ID, []string{"starter"})
	require.NoError(t, err)
	assert.Equal(t, appaccess.ApplicationPending, a.State, "linked to nothing")

	// From the product's side.
	require.NoError(t, h.GrantApplications(ctx, boss, appaccess.GrantsOfAll("gold")[0], []string{a.ID}))
	granted, err := h.GrantedApplications(ctx, boss, "gold", appaccess.Filter{})
	require.NoError(t, err)
	require.Len(t, granted.Items, 1)
	assert.Equal(t, appaccess.ApplicationActive, granted.Items[0].State)
	require.NoError(t, h.RevokeApplications(ctx, boss, "gold", []string{a.ID}))
	assert.Empty(t, h.entra.apps[a.ID].Grants.Products())
}

func TestSwitchingTokenAccessOff(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	off := appaccess.AccessRequest{Access: appaccess.Access{Key: true}}
	_, err := h.SetAccess(ctx, boss, "starter", off)
	assert.Equal(t, []string{"billing"}, assertConflict(t, err, "access.token").Objects)
	off.Force = true
	p, err := h.SetAccess(ctx, boss, "starter", off)
	require.NoError(t, err)
	assert.Zero(t, p.Entra)
	assert.Empty(t, h.entra.apps["billing"].Grants.Products())
	a, err := h.Application(ctx, boss, "billing")
	require.NoError(t, err)
	assert.Empty(t, a.Grants.Products())
	assert.False(t, a.Sync.Pending)
	_, err = h.GrantProducts(ctx, boss, "billing", appaccess.GrantsOfAll("starter"))
	assertConflict(t, err, "grants")
}

func TestSwitchingKeyAccessOff(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	sub, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{Name: "S", Scope: appaccess.ProductScope("starter")})
	require.NoError(t, err)
	_, err = h.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{})
	assert.Equal(t, []string{sub.Subscription.ID}, assertConflict(t, err, "access.key").Objects)
	p, err := h.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Force: true})
	require.NoError(t, err)
	assert.True(t, p.Access.Open())
}

func TestDeleteProduct(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "sub", Name: "S", Scope: appaccess.ProductScope("starter")})
	require.NoError(t, err)
	assertConflict(t, h.DeleteProduct(ctx, boss, "starter", false), "access.token")
	require.NoError(t, h.DeleteProduct(ctx, boss, "starter", true))
	_, err = h.Product(ctx, boss, "starter")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	_, err = h.Subscription(ctx, boss, "sub")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	assert.NotContains(t, h.entra.products, "starter")
	assert.Empty(t, h.entra.apps["billing"].Grants.Products())
	require.ErrorIs(t, h.DeleteProduct(ctx, boss, "starter", true), appaccess.ErrNotFound)
}

// A deletion revokes access in the store before Entra is called. The record stays
// until Entra has nothing of the object.
func TestDeletionStopsAccessFirst(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
	require.NoError(t, err)
	h.entra.arm(1, false)
	var failed *appaccess.ProvisionError
	require.ErrorAs(t, h.DeleteApplication(ctx, boss, "billing"), &failed)
	assert.Equal(t, "application billing", failed.Object)
	_, err = h.Application(ctx, boss, "billing")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	apps, err := h.Applications(ctx, ada, appaccess.Filter{})
	require.NoError(t, err)
	assert.Empty(t, apps.Items)
	assert.Contains(t, h.entra.apps, "billing", "Entra did not follow yet")
	recreate := appaccess.ApplicationRequest{ID: "billing", Name: "Billing", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter")}
	_, err = h.RegisterApplication(ctx, boss, recreate)
	assertConflict(t, err, "id")

	report, err := h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.Equal(t, 1, report.Objects)
	assert.NotContains(t, h.entra.apps, "billing")
	require.ErrorIs(t, h.DeleteApplication(ctx, boss, "billing"), appaccess.ErrNotFound)
	_, err = h.RegisterApplication(ctx, boss, recreate)
	require.NoError(t, err)
	creds, err := h.Credentials(ctx, ada, "billing")
	require.NoError(t, err)
	assert.Empty(t, creds, "those of the one before are gone")
}

func TestSuspendAndBlock(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	a, err := h.SuspendApplication(ctx, boss, "billing")
	require.NoError(t, err)
	assert.Equal(t, appaccess.ApplicationSuspended, a.State)
	assert.True(t, h.entra.apps["billing"].Disabled)
	a, err = h.ResumeApplication(ctx, boss, "billing")
	require.NoError(t, err)
	assert.Equal(t, appaccess.ApplicationActive, a.State)
	assert.False(t, h.entra.apps["billing"].Disabled)

	u, err := h.BlockUser(ctx, boss, "ada")
	require.NoError(t, err)
	assert.Equal(t, appaccess.UserBlocked, u.State)
	assert.True(t, h.entra.apps["billing"].Disabled)
	_, err = h.Applications(ctx, ada, appaccess.Filter{})
	require.ErrorIs(t, err, appaccess.ErrForbidden)
	_, err = h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{Name: "More", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter")})
	assertConflict(t, err, "ownerId")
	_, err = h.UnblockUser(ctx, boss, "ada")
	require.NoError(t, err)
	assert.False(t, h.entra.apps["billing"].Disabled)
}

func TestUsersAndAccounts(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	const tid, oid = "11111111-AAAA-2222-bbbb-333333333333", "44444444-5555-6666-7777-88888888CCCC"
	u, err := h.BindUser(ctx, boss, "ada", tid, oid)
	require.NoError(t, err)
	assert.Equal(t, "11111111-aaaa-2222-bbbb-333333333333", u.TenantID)
	found, err := h.UserByAccount(ctx, boss, tid, oid)
	require.NoError(t, err)
	assert.Equal(t, "ada", found.ID)
	_, err = h.BindUser(ctx, boss, "eve", tid, oid)
	assertConflict(t, err, "objectId")
	_, err = h.BindUser(ctx, boss, "eve", tid, "")
	assertInvalid(t, err, "objectId")
	_, err = h.BindUser(ctx, boss, "ada", "", "")
	require.NoError(t, err)
	_, err = h.UserByAccount(ctx, boss, tid, oid)
	require.ErrorIs(t, err, appaccess.ErrNotFound)

	self, err := h.User(ctx, ada, "ada")
	require.NoError(t, err)
	assert.Equal(t, "Ada Lovelace", self.Name)
	require.NoError(t, h.DeleteUser(ctx, boss, "eve"))
	_, err = h.Applications(ctx, eve, appaccess.Filter{})
	require.ErrorIs(t, err, appaccess.ErrForbidden)
}

func TestListsPageAndSearch(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		_, err := h.CreateUser(ctx, boss, appaccess.UserRequest{ID: id, Name: "User " + id})
		require.NoError(t, err)
	}
	var seen []string
	f := appaccess.Filter{Limit: 2}
	for {
		page, err := h.Users(ctx, boss, f)
		require.NoError(t, err)
		for _, u := range page.Items {
			seen = append(seen, u.ID)
		}
		if page.Next == "" {
			break
		}
		f.After = page.Next
	}
	assert.Equal(t, []string{"a", "b", "c", "d", "e"}, seen)
	page, err := h.Users(ctx, boss, appaccess.Filter{Search: "USER C"})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	_, err = h.Users(ctx, boss, appaccess.Filter{Limit: 1000})
	assertInvalid(t, err, "limit")
}

func TestDevelopersSeeWhatIsPublished(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople().withGold()
	_, err := h.UnpublishProduct(ctx, boss, "gold")
	require.NoError(t, err)
	products, err := h.Products(ctx, ada, appaccess.Filter{})
	require.NoError(t, err)
	require.Len(t, products.Items, 1)
	assert.Equal(t, "starter", products.Items[0].ID)
	_, err = h.Product(ctx, ada, "gold")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	apis, err := h.APIs(ctx, ada, appaccess.Filter{})
	require.NoError(t, err)
	require.Len(t, apis.Items, 1)
	_, err = h.API(ctx, ada, "orders")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
}

func TestAPIsInUseStay(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	assert.Equal(t, []string{"starter"}, assertConflict(t, h.DeleteAPI(ctx, boss, "echo-api"), "id").Objects)
	_, err := h.UnassignAPIs(ctx, boss, "starter", []string{"echo-api"})
	require.NoError(t, err)
	sub, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{Name: "S", Scope: appaccess.APIScope("echo-api")})
	require.NoError(t, err)
	assertConflict(t, h.DeleteAPI(ctx, boss, "echo-api"), "id")
	require.NoError(t, h.DeleteSubscription(ctx, boss, sub.Subscription.ID))
	a, err := h.UpdateAPI(ctx, boss, "echo-api", appaccess.APIUpdate{Path: ptr("/echo/v2"), ServiceURL: ptr("http://10.0.0.1:8080/x")})
	require.NoError(t, err)
	assert.Equal(t, "/echo/v2", a.Path)
	require.NoError(t, h.DeleteAPI(ctx, boss, "echo-api"))
}

func TestWithoutEntra(t *testing.T) {
	t.Parallel()
	h := newFixture(t, func(c *appaccess.ServiceConfig) { c.Provisioner = nil }).withPeople()
	_, err := h.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}})
	assertConflict(t, err, "access.token")
	_, err = h.CreateProduct(ctx, boss, appaccess.ProductRequest{Name: "X", Access: appaccess.Access{Token: true}})
	assertConflict(t, err, "access.token")
	_, err = h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{Name: "B", OwnerID: "ada", Grants: appaccess.GrantsOfAll("starter")})
	assertConflict(t, err, "access.token")
	_, err = h.Preflight(ctx, boss)
	assertConflict(t, err, "access.token")
	_, err = h.Review(ctx, boss, []string{"starter"}, nil)
	assertConflict(t, err, "access.token")
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{All: true})
	require.NoError(t, err)
	_, err = h.BlockUser(ctx, boss, "ada")
	require.NoError(t, err)
	require.NoError(t, h.DeleteProduct(ctx, boss, "starter", false))
}

func TestReviewPlanAndPreflight(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	r, err := h.Review(ctx, boss, []string{"starter"}, []string{"billing"})
	require.NoError(t, err)
	assert.Equal(t, "APIMProductApplicationStarter", r.Products[0].Name)
	assert.Equal(t, "APIMApplicationStarter", r.Applications[0].Name)
	_, err = h.Review(ctx, boss, []string{"nothing"}, nil)
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	plan, err := h.Plan(ctx, boss)
	require.NoError(t, err)
	assert.True(t, plan.Empty())
	delete(h.entra.apps, "billing")
	plan, err = h.Plan(ctx, boss)
	require.NoError(t, err)
	assert.Len(t, plan.Steps, 1)
	pre, err := h.Preflight(ctx, boss)
	require.NoError(t, err)
	assert.True(t, pre.OK)

	h.entra.planned = errEntra
	_, err = h.Plan(ctx, boss)
	require.ErrorIs(t, err, errEntra)
	assert.Equal(t, 502, appaccess.Status(err), "as for everything that Entra fails in")
}

// A developer cannot fill the store with subscriptions, not by cancelling either.
func TestDevelopersMakeAHundredSubscriptions(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	h.opens("starter")
	ask := func(by appaccess.Actor) (appaccess.IssuedSubscription, error) {
		return h.CreateSubscription(ctx, by, appaccess.SubscriptionRequest{Name: "S", OwnerID: "ada", Scope: appaccess.ProductScope("starter")})
	}
	for range 100 {
		one, err := ask(ada)
		require.NoError(t, err)
		_, err = h.SetSubscriptionState(ctx, ada, one.Subscription.ID, appaccess.SubscriptionCancelled)
		require.NoError(t, err)
	}
	_, err := ask(ada)
	assertConflict(t, err, "ownerId")
	_, err = ask(boss)
	require.NoError(t, err)
}

// A full Sync repairs what was changed in Entra. It does not write the objects in the
// store when nothing is new.
func TestSyncAll(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	delete(h.entra.apps, "billing")
	before := h.objects()
	var told []string
	report, err := h.Sync(ctx, boss, appaccess.SyncRequest{All: true, Progress: func(p appaccess.Progress) { told = append(told, p.Object) }})
	require.NoError(t, err)
	assert.Equal(t, 3, report.Objects)
	assert.Contains(t, h.entra.apps, "billing")
	assert.Equal(t, []string{"product gold", "product starter"}, told)
	assert.Equal(t, before, h.objects())
	report, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.Zero(t, report.Objects)
}

func TestSyncExpiresSubscriptions(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	sub, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "sub", Name: "S", Scope: appaccess.AllAPIs, Expires: h.clock.Now().Add(time.Hour)})
	require.NoError(t, err)
	assert.Equal(t, appaccess.SubscriptionActive, sub.Subscription.State)
	h.clock.Advance(time.Hour)
	report, err := h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	assert.Equal(t, 1, report.Expired)
	v, err := h.Subscription(ctx, boss, "sub")
	require.NoError(t, err)
	assert.Equal(t, appaccess.SubscriptionExpired, v.State)
	_, err = h.SetSubscriptionState(ctx, boss, "sub", appaccess.SubscriptionActive)
	assertConflict(t, err, "state")
	_, err = h.UpdateSubscription(ctx, boss, "sub", appaccess.SubscriptionUpdate{Expires: &time.Time{}})
	require.NoError(t, err)
	_, err = h.SetSubscriptionState(ctx, boss, "sub", appaccess.SubscriptionActive)
	require.NoError(t, err)
}

func assertConflict(t testing.TB, err error, field string) *appaccess.ConflictError {
	t.Helper()
	var conflict *appaccess.ConflictError
	require.ErrorAs(t, err, &conflict)
	assert.Equal(t, field, conflict.Field, err)
	return conflict
}

func assertInvalid(t testing.TB, err error, field string) {
	t.Helper()
	var invalid *appaccess.InvalidError
	require.ErrorAs(t, err, &invalid)
	assert.Equal(t, field, invalid.Field, err)
}

// Replicas that start at once on a new store fill it once.
func TestReplicasStartAtOnce(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(ctx, sqlite.Temporary)
	require.NoError(t, err)
	defer db.Close()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			_, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: db})
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	s, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: db})
	require.NoError(t, err)
	page, err := s.Audit(ctx, boss, appaccess.AuditFilter{})
	require.NoError(t, err)
	assert.Len(t, page.Items, 2)
}

// Two replicas that work on the same objects at once lose nothing and leave
// both sides the same.
func TestReplicasWorkAtOnce(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	other, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: h.store, Provisioner: h.entra, TenantID: tenantID, Now: h.clock.Now})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 12 {
		replica := []*appaccess.Service{h.Service, other}[i%2]
		id := fmt.Sprintf("p%d", i)
		wg.Go(func() {
			_, err := replica.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: id, Name: id, Published: true, APIs: []string{"orders"}, Access: appaccess.Access{Token: true}})
			assert.NoError(t, err)
			_, err = replica.GrantProducts(ctx, boss, "billing", appaccess.GrantsOfAll(id))
			assert.NoError(t, err)
			if i%3 == 0 {
				_, err = replica.RevokeProducts(ctx, boss, "billing", []string{id})
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{})
	require.NoError(t, err)
	a, err := h.Application(ctx, boss, "billing")
	require.NoError(t, err)
	assert.False(t, a.Sync.Pending)
	assert.Len(t, a.Grants.Products(), 1+8)
	assert.Equal(t, a.Grants.Products(), h.entra.apps["billing"].Grants.Products())
}

func TestConflictsNameTheFirstHundred(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	for range 101 {
		_, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{Name: "S", Scope: appaccess.ProductScope("starter")})
		require.NoError(t, err)
	}
	_, err := h.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{})
	assert.Len(t, assertConflict(t, err, "access.key").Objects, 100)
	assert.ErrorContains(t, err, "more than 100 in all")
}

// Of two calls that reconcile an application, the call that read the older desired
// state does not write last: a revoked grant stays revoked.
func TestAnOlderCallDoesNotOverwriteANewerOne(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	var once sync.Once
	var revoked sync.WaitGroup
	h.entra.hold = func(context.Context) {
		once.Do(func() {
			revoked.Go(func() {
				a, err := h.RevokeProducts(ctx, boss, "billing", []string{"gold"})
				assert.NoError(t, err)
				assert.False(t, a.Sync.Pending)
			})
			require.Eventually(t, func() bool {
				a, err := h.Application(ctx, boss, "billing")
				return err == nil && len(a.Grants.Products()) == 1
			}, 20*time.Second, time.Millisecond)
		})
	}
	_, err := h.GrantProducts(ctx, boss, "billing", appaccess.GrantsOfAll("gold"))
	require.NoError(t, err)
	revoked.Wait()
	assert.Equal(t, []string{"starter"}, h.entra.apps["billing"].Grants.Products())
}

// A full Sync does not undo a change that is made meanwhile: it reads the desired
// state again under the object's lock.
func TestAFullSyncDoesNotUndoALaterChange(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.GrantProducts(ctx, boss, "billing", appaccess.GrantsOfAll("gold"))
	require.NoError(t, err)
	products := 0
	h.entra.hold = func(context.Context) {
		if products++; products != 2 { // the second call has the applications
			return
		}
		_, err := h.RevokeProducts(ctx, boss, "billing", []string{"gold"})
		assert.NoError(t, err)
		assert.Equal(t, []string{"starter"}, h.entra.apps["billing"].Grants.Products())
	}
	_, err = h.Sync(ctx, boss, appaccess.SyncRequest{All: true})
	require.NoError(t, err)
	h.entra.hold = nil
	assert.Equal(t, []string{"starter"}, h.entra.apps["billing"].Grants.Products())
	a, err := h.Application(ctx, boss, "billing")
	require.NoError(t, err)
	assert.False(t, a.Sync.Pending)
}

// The full Sync runs between the work of a newer call and its record.
func TestAFullSyncThatIsFasterThanTheRecord(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.GrantProducts(ctx, boss, "billing", appaccess.GrantsOfAll("gold"))
	require.NoError(t, err)
	calls := 0
	ready, release := make(chan struct{}), make(chan struct{})
	h.entra.hold = func(context.Context) {
		if calls++; calls == 2 {
			close(ready)
			<-release
		}
	}
	var synced sync.WaitGroup
	synced.Go(func() {
		_, err := h.Sync(ctx, boss, appaccess.SyncRequest{All: true})
		assert.NoError(t, err)
	})
	<-ready
	h.entra.hold = nil
	h.entra.landed = func() {
		h.entra.landed = nil
		close(release)
		synced.Wait()
	}
	a, err := h.RevokeProducts(ctx, boss, "billing", []string{"gold"})
	require.NoError(t, err)
	assert.Equal(t, []string{"starter"}, a.Grants.Products())
	assert.False(t, a.Sync.Pending)
	assert.Equal(t, []string{"starter"}, h.entra.apps["billing"].Grants.Products())
}
