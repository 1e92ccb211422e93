package provision_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// permitted returns a product with All and further permissions, and a client that is
// granted some of them.
func permitted(permissions []string, granted ...string) memstore.Desired {
	p := wantProduct("orders")
	for _, name := range permissions {
		p.Roles = append(p.Roles, appaccess.Role{Permission: name, Value: "Product.Orders." + name})
	}
	c := wantClient("c1")
	c.Grants = appaccess.Grants{{Product: "orders", Permissions: granted}}
	return memstore.Desired{Products: []appaccess.DesiredProduct{p}, Applications: []appaccess.DesiredApplication{c}}
}

// While permissions and grants change, Entra has exactly the roles of the product and the
// grants of the client after each call, with and without lag. A role that somebody else
// created stays.
func TestRolesAreASet(t *testing.T) {
	t.Parallel()
	for name, lag := range map[string]entratest.Lag{"no lag": {}, "lag": {Min: time.Second, Max: 50 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, entratest.Config{Lag: lag, Seed: 3})
			key := "entragate-test-product-orders/Product.Orders."
			check := func(want memstore.Desired, roles, grants []string) appaccess.Applied {
				t.Helper()
				applied := w.apply(want)
				var values []string
				for _, r := range applied.Products["orders"].Roles {
					assert.NotEmpty(t, r.ID)
					values = append(values, r.Value)
				}
				var held []string
				for _, g := range grants {
					held = append(held, key+g)
				}
				var expected []string
				for _, r := range roles {
					expected = append(expected, "Product.Orders."+r)
				}
				assert.ElementsMatch(t, expected, values)
				p, c := w.app("product", "orders"), w.app("application", "c1")
				assert.ElementsMatch(t, expected, withoutText(p.Roles, "Theirs"))
				assert.ElementsMatch(t, held, c.Grants)
				assert.ElementsMatch(t, held, c.Required)
				w.settle()
				assert.Zero(t, w.writes(func() { w.apply(want) }))
				return applied
			}
			applied := check(permitted([]string{"Read", "Write"}, "Read"), []string{"All", "Read", "Write"}, []string{"Read"})
			apps, errs := w.dir.Applications(t.Context(), []provision.AppRef{{ObjectID: applied.Products["orders"].ObjectID}})
			require.NoError(t, errs[0])
			require.NoError(t, w.dir.PatchApplication(t.Context(), apps[0].ObjectID, provision.ApplicationPatch{AppRoles: ref(append(apps[0].AppRoles, provision.AppRole{
				ID: "11111111-2222-4333-8444-555555555555", Value: "Theirs", DisplayName: "Theirs", Description: "x", Enabled: true, AllowedMemberTypes: []string{"User"},
			}))}))
			w.settle()
			check(permitted([]string{"Read", "Write"}, "Read", "Write"), []string{"All", "Read", "Write"}, []string{"Read", "Write"})
			check(permitted([]string{"Read", "Write"}, "All"), []string{"All", "Read", "Write"}, []string{"All"})
			check(permitted([]string{"Read", "Write"}, "Write"), []string{"All", "Read", "Write"}, []string{"Write"})
			check(permitted([]string{"Read", "Cancel"}, "Read"), []string{"All", "Read", "Cancel"}, []string{"Read"})
			check(permitted(nil, "All"), []string{"All"}, []string{"All"})
			assert.Contains(t, w.app("product", "orders").Roles, "Theirs")
		})
	}
}

func withoutText(list []string, text string) []string {
	var kept []string
	for _, s := range list {
		if s != text {
			kept = append(kept, s)
		}
	}
	return kept
}

func TestAGrantOfAMissingPermission(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	applied, err := w.engine().Apply(t.Context(), permitted([]string{"Read"}, "Read", "Write"), nil)
	require.NoError(t, err)
	assert.ErrorContains(t, applied.Failed["application c1"], `has no permission "Write"`)
	assert.Equal(t, []string{"entragate-test-product-orders/Product.Orders.Read"}, w.app("application", "c1").Grants)
}

// Releasing an adopted product removes the roles that the reconciler created.
func TestAnAdoptedProductLosesOurRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	old, err := w.tenant.AddApplication(entratest.App{Name: "Old", Roles: []string{"Product.Orders.Read", "Theirs"}})
	require.NoError(t, err)
	want := permitted([]string{"Read", "Write"}, "Read")
	want.Products[0].Adopt = old.AppID
	applied := w.apply(want)
	assert.Contains(t, applied.Products["orders"].Roles, appaccess.Role{Permission: "Read", Value: "Product.Orders.Read", ID: old.Roles["Product.Orders.Read"]})
	w.settle()
	w.apply(memstore.Desired{
		Products:     []appaccess.DesiredProduct{{ID: "orders", Deleted: true}},
		Applications: []appaccess.DesiredApplication{{ID: "c1", Deleted: true}},
	})
	apps, errs := w.dir.Applications(t.Context(), []provision.AppRef{{AppID: old.AppID}})
	require.NoError(t, errs[0])
	var values []string
	for _, r := range apps[0].AppRoles {
		values = append(values, r.Value)
	}
	assert.ElementsMatch(t, []string{"Product.Orders.Read", "Theirs"}, values)
}
