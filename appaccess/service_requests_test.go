package appaccess_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

const personID = "00000000-0000-0000-0000-00000000000a"

func TestRequestedAccount(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	who := appaccess.AccountApplicant{TenantID: tenantID, ObjectID: personID, Name: "Grace", Email: "grace@example.com", Reason: "I work on billing"}
	r, err := h.RequestAccount(ctx, boss, who)
	require.NoError(t, err)
	again, err := h.RequestAccount(ctx, boss, who)
	require.NoError(t, err)
	assert.Equal(t, r, again, "one open request a person")

	r, err = h.ApproveRequest(ctx, boss, r.ID, appaccess.Approval{Answer: "welcome"})
	require.NoError(t, err)
	u, err := h.UserByAccount(ctx, boss, tenantID, personID)
	require.NoError(t, err)
	assert.Equal(t, r.Result, u.ID)
	assert.Equal(t, "Grace", u.Name)
	seen, err := h.AccountRequestOf(ctx, boss, strings.ToUpper(tenantID), personID)
	require.NoError(t, err)
	assert.Equal(t, "welcome", seen.Answer)
	_, err = h.RequestAccount(ctx, boss, who)
	assertConflict(t, err, "objectId")
	assert.Equal(t, []string{"request.open", "request.approve"}, h.actions(appaccess.KindRequest, r.ID))

	for _, bad := range []appaccess.AccountApplicant{{ObjectID: personID, Name: "x"}, {TenantID: tenantID, ObjectID: "x", Name: "x"}} {
		_, err = h.RequestAccount(ctx, boss, bad)
		var invalid *appaccess.InvalidError
		require.ErrorAs(t, err, &invalid)
	}
}

func TestRequestedAccountOfAUserWhoExists(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	r, err := h.RequestAccount(ctx, boss, appaccess.AccountApplicant{TenantID: tenantID, ObjectID: personID, Name: "Somebody"})
	require.NoError(t, err)
	_, err = h.ApproveRequest(ctx, boss, r.ID, appaccess.Approval{UserID: "ghost"})
	assertInvalid(t, err, "userId")
	_, err = h.ApproveRequest(ctx, boss, r.ID, appaccess.Approval{UserID: "ada"})
	require.NoError(t, err)
	u, err := h.User(ctx, boss, "ada")
	require.NoError(t, err)
	assert.Equal(t, personID, u.ObjectID)
	assert.Equal(t, "Ada Lovelace", u.Name, "what a person says of themselves changes no user")

	r, err = h.RequestAccount(ctx, boss, appaccess.AccountApplicant{TenantID: tenantID, ObjectID: strings.Replace(personID, "a", "b", 1), Name: "Other"})
	require.NoError(t, err)
	_, err = h.ApproveRequest(ctx, boss, r.ID, appaccess.Approval{UserID: "ada"})
	assertConflict(t, err, "userId")
	_, err = h.RejectRequest(ctx, boss, r.ID, "")
	assertInvalid(t, err, "answer")
	_, err = h.RejectRequest(ctx, boss, r.ID, "unknown here")
	require.NoError(t, err)
	again, err := h.RequestAccount(ctx, boss, appaccess.AccountApplicant{TenantID: tenantID, ObjectID: r.ObjectID, Name: "Other"})
	require.NoError(t, err, "who was rejected may ask again")
	assert.NotEqual(t, r.ID, again.ID)
}

// A tenant's people cannot fill the store.
func TestOpenAccountRequestsAreBounded(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	ask := func(n int) error {
		return errOf(h.RequestAccount(ctx, boss, appaccess.AccountApplicant{TenantID: tenantID, ObjectID: fmt.Sprintf("00000000-0000-0000-0000-%012d", n), Name: "N"}))
	}
	require.NoError(t, ask(0))
	first, err := h.Requests(ctx, boss, appaccess.RequestFilter{})
	require.NoError(t, err)
	// 998 more, as the Service stores them.
	_, err = h.store.Update(ctx, func(w appaccess.Writer) error {
		rec, err := w.Get(appaccess.KindRequest, first.Items[0].ID)
		for i := range 998 {
			rec.ID = fmt.Sprint("request-", i)
			rec.Index = []appaccess.IndexEntry{{Name: "state", Value: "open"}, {Name: "kind", Value: "account"}}
			if err == nil {
				err = w.Put(rec)
			}
		}
		return err
	})
	require.NoError(t, err)
	require.NoError(t, ask(1))
	assertConflict(t, ask(2), "objectId")
}

func TestRequestedApplication(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople().withGold()
	calls := h.entra.calls
	r, err := h.RequestApplication(ctx, ada, appaccess.ApplicationRequest{Name: "Reports", Description: "nightly", Grants: appaccess.GrantsOfAll("gold", "starter")}, "for finance")
	require.NoError(t, err)
	assert.Equal(t, calls, h.entra.calls, "nothing in Entra before approval")
	apps, err := h.Applications(ctx, ada, appaccess.Filter{})
	require.NoError(t, err)
	assert.Empty(t, apps.Items)

	_, err = h.Request(ctx, eve, r.ID)
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	_, err = h.ApproveRequest(ctx, ada, r.ID, appaccess.Approval{})
	require.ErrorIs(t, err, appaccess.ErrForbidden)
	_, err = h.ApproveRequest(ctx, boss, r.ID, appaccess.Approval{Grants: appaccess.GrantsOfAll("other")})
	assertInvalid(t, err, "grants")
	_, err = h.ApproveRequest(ctx, boss, r.ID, appaccess.Approval{Grants: appaccess.Grants{}})
	assertInvalid(t, err, "grants")

	r, err = h.ApproveRequest(ctx, boss, r.ID, appaccess.Approval{Grants: appaccess.GrantsOfAll("starter"), Answer: "gold later"})
	require.NoError(t, err)
	assert.Equal(t, appaccess.RequestApproved, r.State)
	assert.Equal(t, "starter(All)", r.Granted.String())
	assert.Equal(t, "gold(All) starter(All)", r.Grants.String())
	a, err := h.Application(ctx, ada, r.Result)
	require.NoError(t, err)
	assert.Equal(t, "starter(All)", a.Grants.String())
	assert.Equal(t, appaccess.ApplicationActive, a.State)
	assert.Equal(t, "nightly", a.Description)

	more, err := h.RequestProducts(ctx, ada, a.ID, "please", appaccess.GrantsOfAll("gold"))
	require.NoError(t, err)
	_, err = h.RequestProducts(ctx, eve, a.ID, "please", appaccess.GrantsOfAll("gold"))
	require.ErrorIs(t, err, appaccess.ErrNotFound)
	more, err = h.ApproveRequest(ctx, boss, more.ID, appaccess.Approval{})
	require.NoError(t, err)
	assert.Equal(t, a.ID, more.Result)
	a, err = h.Application(ctx, ada, a.ID)
	require.NoError(t, err)
	assert.Equal(t, "starter(All) gold(All)", a.Grants.String())
}

func TestRequestedSubscription(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	_, err := h.CreateSubscription(ctx, ada, appaccess.SubscriptionRequest{Name: "Mine", Scope: appaccess.ProductScope("starter")})
	assertConflict(t, err, "scope")
	r, err := h.RequestSubscription(ctx, ada, "starter", "Mine", "to try it")
	require.NoError(t, err)
	subs, err := h.Subscriptions(ctx, boss, appaccess.SubscriptionFilter{})
	require.NoError(t, err)
	assert.Empty(t, subs.Items, "no key exists before approval")
	r, err = h.ApproveRequest(ctx, boss, r.ID, appaccess.Approval{})
	require.NoError(t, err)
	v, err := h.Subscription(ctx, ada, r.Result)
	require.NoError(t, err)
	assert.Equal(t, appaccess.SubscriptionActive, v.State)
	key, err := h.RegenerateKey(ctx, ada, v.ID, appaccess.PrimaryKey)
	require.NoError(t, err)
	assert.NotEmpty(t, key.Reveal())
}

func TestRequestRefusals(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople().withGold()
	closed := appaccess.SelfServiceClosed
	_, err := h.UpdateProduct(ctx, boss, "gold", appaccess.ProductUpdate{SelfService: &closed})
	require.NoError(t, err)
	_, err = h.RequestApplication(ctx, ada, appaccess.ApplicationRequest{Name: "A", Grants: appaccess.GrantsOfAll("gold")}, "")
	assertConflict(t, err, "grants")
	_, err = h.RequestSubscription(ctx, ada, "gold", "S", "")
	assertConflict(t, err, "grants")
	_, err = h.RequestApplication(ctx, ada, appaccess.ApplicationRequest{Name: "A", Grants: appaccess.GrantsOfAll("nothing")}, "")
	assertInvalid(t, err, "grants")
	_, err = h.RequestApplication(ctx, ada, appaccess.ApplicationRequest{Name: "A", Grants: appaccess.Grants{{Product: "starter", Permissions: []string{"Fly"}}}}, "")
	assertInvalid(t, err, "grants")
	_, err = h.RequestApplication(ctx, boss, appaccess.ApplicationRequest{Name: "A", Grants: appaccess.GrantsOfAll("starter")}, "")
	require.ErrorIs(t, err, appaccess.ErrForbidden)
	for i := range 20 {
		_, err = h.RequestApplication(ctx, ada, appaccess.ApplicationRequest{Name: fmt.Sprint("A", i), Grants: appaccess.GrantsOfAll("starter")}, "")
		require.NoError(t, err)
	}
	_, err = h.RequestApplication(ctx, ada, appaccess.ApplicationRequest{Name: "A", Grants: appaccess.GrantsOfAll("starter")}, "")
	assertConflict(t, err, "userId")
	bad := appaccess.SelfService("maybe")
	_, err = h.UpdateProduct(ctx, boss, "gold", appaccess.ProductUpdate{SelfService: &bad})
	assertInvalid(t, err, "selfService")
	_, err = h.UpdateProduct(ctx, boss, "gold", appaccess.ProductUpdate{PerDeveloper: ptr(-1)})
	assertInvalid(t, err, "perDeveloper")
}

// Requests that were decided do not pile up.
func TestOldRequestsAreForgotten(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	for range 230 {
		r, err := h.RequestSubscription(ctx, ada, "starter", "S", "")
		require.NoError(t, err)
		h.clock.Advance(1e9)
		_, err = h.WithdrawRequest(ctx, ada, r.ID)
		require.NoError(t, err)
	}
	list, err := h.Requests(ctx, ada, appaccess.RequestFilter{Filter: appaccess.Filter{Limit: 999}})
	require.NoError(t, err)
	assert.Len(t, list.Items, 200)
}

// Several managers and the developer decide at once: one of them does.
func TestARequestIsDecidedOnce(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople().withGold()
	r, err := h.RequestApplication(ctx, ada, appaccess.ApplicationRequest{Name: "A", Grants: appaccess.GrantsOfAll("gold")}, "")
	require.NoError(t, err)
	var done sync.WaitGroup
	errs := make([]error, 4)
	done.Go(func() { _, errs[0] = h.ApproveRequest(ctx, boss, r.ID, appaccess.Approval{}) })
	done.Go(func() { _, errs[1] = h.ApproveRequest(ctx, appaccess.Manager("other"), r.ID, appaccess.Approval{}) })
	done.Go(func() { _, errs[2] = h.RejectRequest(ctx, boss, r.ID, "no") })
	done.Go(func() { _, errs[3] = h.WithdrawRequest(ctx, ada, r.ID) })
	done.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		assertConflict(t, err, "state")
	}
	assert.Equal(t, 1, won)
	apps, err := h.Applications(ctx, boss, appaccess.Filter{})
	require.NoError(t, err)
	assert.LessOrEqual(t, len(apps.Items), 1)
	assert.Len(t, h.actions(appaccess.KindRequest, r.ID), 2)
}

func TestOpenProductsNeedNoManager(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople().withGold()
	register := func(by appaccess.Actor, name string, ids ...string) (appaccess.ClientApplication, error) {
		return h.RegisterApplication(ctx, by, appaccess.ApplicationRequest{Name: name, OwnerID: "ada", Grants: appaccess.GrantsOfAll(ids...)})
	}
	_, err := register(ada, "A", "starter")
	require.ErrorIs(t, err, appaccess.ErrForbidden)
	h.opens("starter")
	_, err = h.UpdateProduct(ctx, boss, "starter", appaccess.ProductUpdate{PerDeveloper: ptr(2)})
	require.NoError(t, err)
	a, err := register(ada, "A", "starter")
	require.NoError(t, err)
	assert.Equal(t, appaccess.ApplicationActive, a.State)
	_, err = register(ada, "B", "starter", "gold")
	require.ErrorIs(t, err, appaccess.ErrForbidden, "one product needs approval")
	_, err = register(eve, "B", "starter")
	require.ErrorIs(t, err, appaccess.ErrForbidden, "for somebody else")
	_, err = register(ada, "B", "starter")
	require.NoError(t, err)
	_, err = register(ada, "C", "starter")
	assertConflict(t, err, "grants")
	_, err = register(boss, "C", "starter")
	require.NoError(t, err, "a manager may give more")

	_, err = h.GrantProducts(ctx, ada, a.ID, appaccess.GrantsOfAll("gold"))
	require.ErrorIs(t, err, appaccess.ErrForbidden)
	h.opens("gold")
	a, err = h.GrantProducts(ctx, ada, a.ID, appaccess.GrantsOfAll("gold"))
	require.NoError(t, err)
	assert.Equal(t, "starter(All) gold(All)", a.Grants.String())

	for i := range 3 {
		made, err := h.CreateSubscription(ctx, ada, appaccess.SubscriptionRequest{Name: "S", Scope: appaccess.ProductScope("starter")})
		if i == 2 {
			assertConflict(t, err, "scope")
			break
		}
		require.NoError(t, err)
		assert.NotEmpty(t, made.Primary.Reveal())
	}
}

func TestARemovedUsersRequestsEnd(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople().withGold()
	r, err := h.RequestApplication(ctx, ada, appaccess.ApplicationRequest{Name: "A", Grants: appaccess.GrantsOfAll("gold")}, "")
	require.NoError(t, err)
	require.NoError(t, h.DeleteUser(ctx, boss, "ada"))
	_, err = h.ApproveRequest(ctx, boss, r.ID, appaccess.Approval{})
	assertConflict(t, err, "state")
}

// Who owns the application by then decides whether a request still fits.
func TestRequestForATransferredApplication(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.RevokeProducts(ctx, boss, "billing", []string{"gold"})
	require.NoError(t, err)
	r, err := h.RequestProducts(ctx, ada, "billing", "", appaccess.GrantsOfAll("gold"))
	require.NoError(t, err)
	_, err = h.TransferApplication(ctx, boss, "billing", "eve")
	require.NoError(t, err)
	_, err = h.ApproveRequest(ctx, boss, r.ID, appaccess.Approval{})
	assertConflict(t, err, "applicationId")
}
