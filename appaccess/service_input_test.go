package appaccess_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// Bad input is refused with an error that names the field, and nothing is half
// done: neither the store nor Entra is touched.
func TestBadInput(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	long := func(n int) string { return strings.Repeat("x", n) }
	type bad struct {
		field string
		call  func() error
	}
	user := func(req appaccess.UserRequest) func() error {
		return func() error { return errOf(h.CreateUser(ctx, boss, req)) }
	}
	api := func(req appaccess.APIRequest) func() error {
		return func() error { return errOf(h.CreateAPI(ctx, boss, req)) }
	}
	product := func(req appaccess.ProductRequest) func() error {
		return func() error { return errOf(h.CreateProduct(ctx, boss, req)) }
	}
	app := func(req appaccess.ApplicationRequest) func() error {
		return func() error { return errOf(h.RegisterApplication(ctx, boss, req)) }
	}
	sub := func(req appaccess.SubscriptionRequest) func() error {
		return func() error { return errOf(h.CreateSubscription(ctx, boss, req)) }
	}
	for name, c := range map[string]bad{
		"user without a name":  {"name", user(appaccess.UserRequest{})},
		"user name too long":   {"name", user(appaccess.UserRequest{Name: long(301)})},
		"user bad UTF-8":       {"name", user(appaccess.UserRequest{Name: "\xff"})},
		"user NUL":             {"name", user(appaccess.UserRequest{Name: "a\x00b"})},
		"user right to left":   {"name", user(appaccess.UserRequest{Name: "a\u202eb"})},
		"user soft hyphen":     {"name", user(appaccess.UserRequest{Name: "a\u00adb"})},
		"user of nothing":      {"name", user(appaccess.UserRequest{Name: "\u3164"})},
		"user leading space":   {"name", user(appaccess.UserRequest{Name: " a"})},
		"user bad ID":          {"id", user(appaccess.UserRequest{ID: "A b", Name: "n"})},
		"user dotted ID":       {"id", user(appaccess.UserRequest{ID: "..", Name: "n"})},
		"user ID too long":     {"id", user(appaccess.UserRequest{ID: long(81), Name: "n"})},
		"user taken ID":        {"id", user(appaccess.UserRequest{ID: "ada", Name: "n"})},
		"user bad email":       {"email", user(appaccess.UserRequest{Name: "n", Email: "nobody"})},
		"api taken name":       {"name", api(appaccess.APIRequest{ID: "x", Name: "ORDERS", Path: "/x"})},
		"api taken path":       {"path", api(appaccess.APIRequest{Name: "x", Path: "/orders"})},
		"api path, other case": {"path", api(appaccess.APIRequest{Name: "x", Path: "/ORDERS"})},
		"api relative path":    {"path", api(appaccess.APIRequest{Name: "x", Path: "x"})},
		"api trailing slash":   {"path", api(appaccess.APIRequest{Name: "x", Path: "/x/"})},
		"api traversal":        {"path", api(appaccess.APIRequest{Name: "x", Path: "/x/../y"})},
		"api escaped path":     {"path", api(appaccess.APIRequest{Name: "x", Path: "/x%2fy"})},
		"api query":            {"path", api(appaccess.APIRequest{Name: "x", Path: "/x?y"})},
		"api description":      {"description", api(appaccess.APIRequest{Name: "x", Path: "/x", Description: long(1001)})},
		"api service URL":      {"serviceUrl", api(appaccess.APIRequest{Name: "x", Path: "/x", ServiceURL: "ftp://host"})},
		"api URL with a login": {"serviceUrl", api(appaccess.APIRequest{Name: "x", Path: "/x", ServiceURL: "https://u:p@host"})},

		"product taken name":  {"name", product(appaccess.ProductRequest{ID: "x", Name: "GOLD"})},
		"product unknown API": {"apis", product(appaccess.ProductRequest{Name: "x", APIs: []string{"nothing"}})},
		"product API twice":   {"apis", product(appaccess.ProductRequest{Name: "x", APIs: []string{"orders", "orders"}})},
		"product adopt":       {"adopt", product(appaccess.ProductRequest{Name: "x", Adopt: "no-guid", Access: appaccess.Access{Token: true}})},
		"product adopt, open": {"adopt", product(appaccess.ProductRequest{Name: "x", Adopt: tenantID})},

		"application no owner":      {"ownerId", app(appaccess.ApplicationRequest{Name: "x", Grants: appaccess.GrantsOfAll("gold")})},
		"application unknown owner": {"ownerId", app(appaccess.ApplicationRequest{Name: "x", OwnerID: "nobody", Grants: appaccess.GrantsOfAll("gold")})},
		"application no product":    {"grants", app(appaccess.ApplicationRequest{Name: "x", OwnerID: "ada"})},
		"application unknown":       {"grants", app(appaccess.ApplicationRequest{Name: "x", OwnerID: "ada", Grants: appaccess.GrantsOfAll("nothing")})},
		"application taken name":    {"name", app(appaccess.ApplicationRequest{Name: "BILLING", OwnerID: "ada", Grants: appaccess.GrantsOfAll("gold")})},
		"application taken ID":      {"id", app(appaccess.ApplicationRequest{ID: "billing", Name: "x", OwnerID: "ada", Grants: appaccess.GrantsOfAll("gold")})},
		"application 51 products":   {"grants", app(appaccess.ApplicationRequest{Name: "x", OwnerID: "ada", Grants: make(appaccess.Grants, 51)})},

		"subscription scope":         {"scope", sub(appaccess.SubscriptionRequest{Name: "x", Scope: "/"})},
		"subscription unknown":       {"scope", sub(appaccess.SubscriptionRequest{Name: "x", Scope: appaccess.ProductScope("nothing")})},
		"subscription unknown owner": {"ownerId", sub(appaccess.SubscriptionRequest{Name: "x", Scope: appaccess.AllAPIs, OwnerID: "nobody"})},
		"subscription expired":       {"expires", sub(appaccess.SubscriptionRequest{Name: "x", Scope: appaccess.AllAPIs, Expires: h.clock.Now()})},

		"grant of nothing": {"grants", func() error { return errOf(h.GrantProducts(ctx, boss, "billing", nil)) }},
		"grant of unknown": {"grants", func() error {
			return errOf(h.GrantProducts(ctx, boss, "billing", appaccess.GrantsOfAll("gold", "nothing")))
		}},
		"grant to unknown": {"applications", func() error {
			return h.GrantApplications(ctx, boss, appaccess.GrantsOfAll("gold")[0], []string{"billing", "nothing"})
		}},
		"assign of unknown": {"apis", func() error { return errOf(h.AssignAPIs(ctx, boss, "gold", []string{"echo-api", "nothing"})) }},
		"account":           {"tenantId", func() error { return errOf(h.BindUser(ctx, boss, "ada", "x", "y")) }},
	} {
		before, calls := h.revision(), h.entra.calls
		err := c.call()
		var invalid *appaccess.InvalidError
		var conflict *appaccess.ConflictError
		switch {
		case assert.Error(t, err, name) && asEither(err, &invalid, &conflict):
			if invalid != nil {
				assert.Equal(t, c.field, invalid.Field, name)
				assert.NotEmpty(t, invalid.Rule)
			} else {
				assert.Equal(t, c.field, conflict.Field, name)
				assert.NotEmpty(t, conflict.Reason)
			}
		default:
			assert.Fail(t, "no typed error", "%s: %v", name, err)
		}
		assert.Equal(t, before, h.revision(), name)
		assert.Equal(t, calls, h.entra.calls, name)
	}
}

func TestUnknownObjects(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	for _, id := range []string{"nothing", "", "../x", "a b", strings.Repeat("x", 10_000), "\xff", "'; DROP TABLE"} {
		for name, err := range map[string]error{
			"Product":            errOf(h.Product(ctx, boss, id)),
			"PublishProduct":     errOf(h.PublishProduct(ctx, boss, id)),
			"SetAccess":          errOf(h.SetAccess(ctx, boss, id, appaccess.AccessRequest{})),
			"DeleteProduct":      h.DeleteProduct(ctx, boss, id, true),
			"API":                errOf(h.API(ctx, boss, id)),
			"User":               errOf(h.User(ctx, boss, id)),
			"BlockUser":          errOf(h.BlockUser(ctx, boss, id)),
			"Application":        errOf(h.Application(ctx, boss, id)),
			"DeleteApplication":  h.DeleteApplication(ctx, boss, id),
			"AddSecret":          errOf(h.AddSecret(ctx, boss, id, appaccess.SecretRequest{})),
			"RemoveCredential":   h.RemoveCredential(ctx, boss, "billing", id),
			"ReceiveSecret":      errOf(h.ReceiveSecret(ctx, ada, "billing", id)),
			"Subscription":       errOf(h.Subscription(ctx, boss, id)),
			"RegenerateKey":      errOf(h.RegenerateKey(ctx, boss, id, appaccess.PrimaryKey)),
			"DeleteSubscription": h.DeleteSubscription(ctx, boss, id),
		} {
			require.ErrorIs(t, err, appaccess.ErrNotFound, "%s %.20q", name, id)
			assert.Less(t, len(err.Error()), 500)
		}
	}
}

func TestSubscriptionStates(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople()
	h.opens("starter")
	made, err := h.CreateSubscription(ctx, ada, appaccess.SubscriptionRequest{Name: "Mine", Scope: appaccess.ProductScope("starter")})
	require.NoError(t, err)
	id := made.Subscription.ID
	assert.Equal(t, appaccess.SubscriptionActive, made.Subscription.State)
	assert.Equal(t, "ada", made.Subscription.OwnerID)
	steps := []struct {
		by    appaccess.Actor
		state appaccess.SubscriptionState
		ok    bool
	}{
		{boss, appaccess.SubscriptionActive, true},
		{boss, appaccess.SubscriptionSubmitted, false}, {boss, appaccess.SubscriptionRejected, false}, {boss, appaccess.SubscriptionSuspended, true},
		{boss, appaccess.SubscriptionActive, true}, {boss, "nonsense", false}, {ada, appaccess.SubscriptionCancelled, true},
		{boss, appaccess.SubscriptionActive, false},
	}
	for i, c := range steps {
		_, err := h.SetSubscriptionState(ctx, c.by, id, c.state)
		if c.ok {
			require.NoError(t, err, i)
			continue
		}
		assertConflict(t, err, "state")
	}
	_, err = h.CreateSubscription(ctx, ada, appaccess.SubscriptionRequest{Name: "All", Scope: appaccess.AllAPIs})
	require.ErrorIs(t, err, appaccess.ErrForbidden)
	_, err = h.CreateSubscription(ctx, ada, appaccess.SubscriptionRequest{Name: "Hers", OwnerID: "eve", Scope: appaccess.ProductScope("starter")})
	require.ErrorIs(t, err, appaccess.ErrForbidden)
	_, err = h.UnpublishProduct(ctx, boss, "starter")
	require.NoError(t, err)
	_, err = h.CreateSubscription(ctx, ada, appaccess.SubscriptionRequest{Name: "Late", Scope: appaccess.ProductScope("starter")})
	assertInvalid(t, err, "scope")
	_, err = h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{Name: "Late", Scope: appaccess.ProductScope("starter")})
	assertConflict(t, err, "scope")
	mine, err := h.Subscriptions(ctx, ada, appaccess.SubscriptionFilter{Filter: appaccess.Filter{State: string(appaccess.SubscriptionCancelled)}})
	require.NoError(t, err)
	require.Len(t, mine.Items, 1)
	theirs, err := h.Subscriptions(ctx, eve, appaccess.SubscriptionFilter{})
	require.NoError(t, err)
	assert.Empty(t, theirs.Items)
}

func asEither(err error, invalid **appaccess.InvalidError, conflict **appaccess.ConflictError) bool {
	return errors.As(err, invalid) || errors.As(err, conflict)
}

// The bounds of a page are what the documentation says.
func TestPageLimits(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	for limit, ok := range map[int]bool{-1: false, 0: true, 1: true, 999: true, 1000: false} {
		for name, err := range map[string]error{
			"users": errOf(h.Users(ctx, boss, appaccess.Filter{Limit: limit})),
			"audit": errOf(h.Audit(ctx, boss, appaccess.AuditFilter{Limit: limit})),
		} {
			if ok {
				assert.NoError(t, err, "%s %d", name, limit)
				continue
			}
			assertInvalid(t, err, "limit")
			assert.ErrorContains(t, err, "must be 1 to 999")
		}
	}
}

// The error for a well-formed ID that no object has names the kind of the missing
// object; a text that cannot be an ID gets another error.
func TestUnknownReferencesAreNamed(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	sub := func(owner string, scope appaccess.Scope) error {
		return errOf(h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{Name: "S", OwnerID: owner, Scope: scope}))
	}
	app := func(owner, product string) error {
		return errOf(h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{Name: "A", OwnerID: owner, Grants: appaccess.GrantsOfAll(product)}))
	}
	for want, err := range map[string]error{
		`ownerId: there is no user "nobody"`:                        app("nobody", "starter"),
		`ownerId: there is no user "nemo"`:                          sub("nemo", appaccess.AllAPIs),
		`ownerId: must have 1 to 80 characters`:                     sub("No Body", appaccess.AllAPIs),
		`scope: there is no product "nothing"`:                      sub("", appaccess.ProductScope("nothing")),
		`scope: there is no API "nothing"`:                          sub("", appaccess.APIScope("nothing")),
		`grants: there is no product "nothing"`:                     app("ada", "nothing"),
		`apis: there is no API "nothing"`:                           errOf(h.AssignAPIs(ctx, boss, "starter", []string{"nothing"})),
		`applications: there is no client application "nothing"`:    h.GrantApplications(ctx, boss, appaccess.GrantsOfAll("starter")[0], []string{"nothing"}),
		`application new.ownerId: there is no user "nobody"`:        errOf(h.Import(ctx, boss, parse(t, `{"version": 1, "applications": [{"id": "new", "name": "New", "ownerId": "nobody"}]}`), appaccess.ImportRequest{})),
		`subscription new.scope: there is no API "nothing"`:         errOf(h.Import(ctx, boss, parse(t, `{"version": 1, "subscriptions": [{"id": "new", "name": "New", "scope": "/apis/nothing", "state": "active"}]}`), appaccess.ImportRequest{})),
		`subscription other.scope: there is no product "something"`: errOf(h.Import(ctx, boss, parse(t, `{"version": 1, "subscriptions": [{"id": "other", "name": "New", "scope": "/products/something", "state": "active"}]}`), appaccess.ImportRequest{})),
	} {
		require.ErrorContains(t, err, want)
		assert.Equal(t, 400, appaccess.Status(err), want)
	}
}
