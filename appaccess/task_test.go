package appaccess_test

import (
	"context"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/internal/race"
)

// envLarge names how many applications and subscriptions a large change concerns,
// such as 10000. Unless it is set there are 110: more than two transactions change.
const envLarge = "ENTRAGATE_TEST_LARGE"

func owned(t *testing.T) int {
	t.Helper()
	text := os.Getenv(envLarge)
	if text == "" {
		return 110
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, envLarge)
	return n
}

// newLargeFixture has a user, big, who owns many applications with grants of gold
// and many subscriptions to it.
func newLargeFixture(t *testing.T) (*fixture, *countingStore) {
	t.Helper()
	if n := owned(t); n > 1000 { // memstore reads everything in each query
		return newLargeFixtureOn(t, onSQLite(t), n)
	}
	return newLargeFixtureOn(t, memstore.New(), owned(t))
}

func newLargeFixtureOn(t *testing.T, db appaccess.Store, n int) (*fixture, *countingStore) {
	t.Helper()
	counted := &countingStore{Store: db}
	h := newFixtureOn(t, counted)
	d := largeDocument(t, n)
	d.Users = append(d.Users[:1], appaccess.DocumentUser{ID: "big", Name: "Big"})
	for i := range d.Applications {
		d.Applications[i].OwnerID = "big"
	}
	for i := range d.Subscriptions {
		d.Subscriptions[i].OwnerID = "big"
	}
	_, err := h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	require.Len(t, h.entra.apps, n+1)
	counted.largest, counted.busiest = 0, 0
	return h, counted
}

// largeChanges are the changes that concern many objects: what shows that access
// is revoked, and that everything is done.
var largeChanges = map[string]struct {
	do      func(context.Context, *fixture) error
	revoked func(*testing.T, *fixture)
	done    func(*testing.T, *fixture)
}{
	"BlockUser": {
		do: func(ctx context.Context, h *fixture) error { return errOf(h.BlockUser(ctx, boss, "big")) },
		revoked: func(t *testing.T, h *fixture) {
			u, err := h.User(ctx, boss, "big")
			require.NoError(t, err)
			assert.Equal(t, appaccess.UserBlocked, u.State)
		},
		done: func(t *testing.T, h *fixture) {
			for id, a := range h.entra.apps {
				assert.True(t, a.Disabled, id)
			}
		},
	},
	"Sync of everything": {
		do: func(ctx context.Context, h *fixture) error {
			h.entra.forget()
			return errOf(h.Sync(ctx, boss, appaccess.SyncRequest{All: true}))
		},
		revoked: func(*testing.T, *fixture) {},
		done: func(t *testing.T, h *fixture) {
			apps, err := h.Applications(ctx, boss, appaccess.Filter{Total: true})
			require.NoError(t, err)
			assert.Len(t, h.entra.apps, apps.Total)
			assert.Contains(t, h.entra.products, "gold")
		},
	},
	"SetAccess off": {
		do: func(ctx context.Context, h *fixture) error {
			return errOf(h.SetAccess(ctx, boss, "gold", appaccess.AccessRequest{Access: appaccess.Access{Key: true}, Force: true}))
		},
		revoked: func(t *testing.T, h *fixture) {
			p, err := h.Product(ctx, boss, "gold")
			require.NoError(t, err)
			assert.False(t, p.Access.Token)
		},
		done: func(t *testing.T, h *fixture) {
			assert.NotContains(t, h.entra.products, "gold")
			for id, a := range h.entra.apps {
				assert.Empty(t, a.Grants, id)
			}
		},
	},
	"DeleteProduct": {
		do: func(ctx context.Context, h *fixture) error { return h.DeleteProduct(ctx, boss, "gold", true) },
		revoked: func(t *testing.T, h *fixture) {
			_, err := h.Product(ctx, boss, "gold")
			require.ErrorIs(t, err, appaccess.ErrNotFound)
		},
		done: func(t *testing.T, h *fixture) {
			assert.NotContains(t, h.entra.products, "gold")
			for id, a := range h.entra.apps {
				assert.Empty(t, a.Grants, id)
			}
			subs, err := h.Subscriptions(ctx, boss, appaccess.SubscriptionFilter{})
			require.NoError(t, err)
			assert.Empty(t, subs.Items)
			_, err = h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: "gold", Name: "Gold", Access: appaccess.Access{Token: true}})
			require.NoError(t, err, "the ID and the name are free again")
		},
	},
}

func TestALargeChangeRevokesAccessAtOnceAndEndsInBoundedTransactions(t *testing.T) {
	t.Parallel()
	for name, change := range largeChanges {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, counted := newLargeFixture(t)
			require.NoError(t, change.do(ctx, h))
			assert.LessOrEqual(t, counted.largest, 3*20+5, "records written by one transaction")
			assert.LessOrEqual(t, counted.busiest, busiest, "rows that one transaction reads and writes")
			change.revoked(t, h)
			change.done(t, h)
			report, err := h.Sync(ctx, boss, appaccess.SyncRequest{})
			require.NoError(t, err)
			assert.Zero(t, report.Objects, "nothing is left")
		})
	}
}

// countsRows skips a test that counts what one goroutine reads and writes: SQLite is ten
// times slower under the race detector, which finds nothing there.
func countsRows(t *testing.T) {
	t.Helper()
	if race.Enabled {
		t.Skip("one goroutine reads and writes")
	}
}

// A transaction reads and writes as many rows for many objects as for some.
func TestTheStepsOfALargeChangeDoNotGrow(t *testing.T) {
	t.Parallel()
	countsRows(t)
	for name, change := range largeChanges {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var rows [2]int
			for i, n := range []int{110, 260} {
				h, counted := newLargeFixtureOn(t, onSQLite(t), n) // SQLite counts the rows that it reads
				require.NoError(t, change.do(ctx, h))
				change.done(t, h)
				rows[i] = counted.busiest
			}
			assert.Equal(t, rows[0], rows[1])
			assert.Positive(t, rows[0])
			assert.LessOrEqual(t, rows[0], busiest)
		})
	}
}

func TestALargeChangeThatIsCutOffIsFinishedBySync(t *testing.T) {
	t.Parallel()
	for name, change := range largeChanges {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := newLargeFixture(t)
			stopped, stop := context.WithCancel(ctx)
			h.store.arm(3, true) // the change and two steps of its task
			_ = change.do(stopped, h)
			stop()
			change.revoked(t, h)
			if name == "SetAccess off" {
				_, err := h.SetAccess(ctx, boss, "gold", appaccess.AccessRequest{Access: appaccess.Access{Token: true, Key: true}})
				assertConflict(t, err, "access.token")
			}
			_, err := h.Sync(ctx, boss, appaccess.SyncRequest{})
			require.NoError(t, err)
			change.done(t, h)
		})
	}
}

// busiest is how many rows one write transaction reads and writes at most, however
// many objects there are: a suspension waits for no longer one.
const busiest = 120

// named is what a refusal reads at most to name a hundred objects of two kinds.
const named = 2*100 + 20

// No write transaction reads all of what a product, an API or a user has.
func TestWriteTransactionsAreBounded(t *testing.T) {
	t.Parallel()
	countsRows(t)
	h, counted := newLargeFixtureOn(t, onSQLite(t), named+30) // SQLite counts the rows that it reads
	h.opens("gold")
	big := appaccess.Developer("big")
	_, err := h.SetPermissions(ctx, boss, "gold", appaccess.PermissionsRequest{Permissions: []appaccess.Permission{{Name: "Read"}, {Name: "Write"}}})
	require.NoError(t, err)
	for _, id := range []string{"app-1", "app-2"} {
		_, err = h.GrantProducts(ctx, boss, id, appaccess.Grants{{Product: "gold", Permissions: []string{"Read"}}})
		require.NoError(t, err)
	}
	few := largeDocument(t, 0)
	few.Products[0].Permissions = []appaccess.Permission{{Name: "Write"}}
	for name, do := range map[string]func() error{
		"an import refused because of what is granted": func() error {
			return errOf(h.Import(ctx, boss, few, appaccess.ImportRequest{}))
		},
		"permissions refused because of what is granted": func() error {
			return errOf(h.SetPermissions(ctx, boss, "gold", appaccess.PermissionsRequest{Permissions: []appaccess.Permission{{Name: "Write"}}}))
		},
		"key access refused because of live subscriptions": func() error {
			return errOf(h.SetAccess(ctx, boss, "gold", appaccess.AccessRequest{Access: appaccess.Access{Token: true}}))
		},
		"token access refused because of what is granted": func() error {
			return errOf(h.SetAccess(ctx, boss, "gold", appaccess.AccessRequest{Access: appaccess.Access{Key: true}}))
		},
		"a deletion of the product refused": func() error { return h.DeleteProduct(ctx, boss, "gold", false) },
		"a deletion of the API refused":     func() error { return h.DeleteAPI(ctx, boss, "orders") },
		"a deletion of the owner refused":   func() error { return h.DeleteUser(ctx, boss, "big") },
		"a subscription refused because the owner has many": func() error {
			return errOf(h.CreateSubscription(ctx, big, appaccess.SubscriptionRequest{ID: "more", Name: "More", Scope: appaccess.ProductScope("gold")}))
		},
	} {
		counted.busiest = 0
		err := do()
		assert.Contains(t, []int{403, 409}, appaccess.Status(err), "%s: %v", name, err)
		assert.LessOrEqual(t, counted.busiest, named, name)
		assert.Positive(t, counted.busiest, name)
	}
	for name, do := range map[string]func() error{
		"suspend the product": func() error { return errOf(h.SuspendProduct(ctx, boss, "gold")) },
		"rename the owner": func() error {
			return errOf(h.UpdateUser(ctx, boss, "big", appaccess.UserUpdate{Name: ptr("Bigger")}))
		},
		"create a subscription": func() error {
			return errOf(h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "another", Name: "Another", OwnerID: "big", Scope: appaccess.ProductScope("gold")}))
		},
		"register an application": func() error {
			return errOf(h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "another", Name: "Another", OwnerID: "big", Grants: appaccess.GrantsOfAll("gold")}))
		},
	} {
		counted.busiest = 0
		require.NoError(t, do(), name)
		assert.LessOrEqual(t, counted.busiest, 10, name)
		assert.Positive(t, counted.busiest, name)
	}
	counted.busiest = 0
	require.NoError(t, errOf(h.SetAccess(ctx, boss, "gold", appaccess.AccessRequest{Access: appaccess.Access{Token: true}, Force: true})))
	assert.LessOrEqual(t, counted.busiest, 10, "key access forced off")
}
