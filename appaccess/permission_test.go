package appaccess_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// withOrders adds the product orders with the permissions Read and Write.
func (h *fixture) withOrders() *fixture {
	h.t.Helper()
	_, err := h.CreateProduct(ctx, boss, appaccess.ProductRequest{
		ID: "orders", Name: "Orders", Access: appaccess.Access{Token: true}, APIs: []string{"echo-api"}, Published: true,
		Permissions: []appaccess.Permission{{Name: "Read", Description: "See orders"}, {Name: "Write"}},
	})
	require.NoError(h.t, err)
	return h
}

func orders(permissions ...string) appaccess.Grants {
	return appaccess.Grants{{Product: "orders", Permissions: permissions}}
}

func TestAProductHasARoleForEachPermission(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople().withOrders()
	p, err := h.Product(ctx, boss, "orders")
	require.NoError(t, err)
	assert.Equal(t, "Product.Orders.All", p.Entra.Role(appaccess.AllPermission))
	assert.Equal(t, "Product.Orders.Write", p.Entra.Role("Write"))
	assert.Len(t, h.entra.products["orders"].Roles, 3)

	for name, permissions := range map[string][]appaccess.Permission{
		"no name":    {{}},
		"blank":      {{Name: "a b"}},
		"twice":      {{Name: "read"}, {Name: "READ"}},
		"reserved":   {{Name: "all"}},
		"too long":   {{Name: string(bytes.Repeat([]byte{'a'}, 65))}},
		"role value": {{Name: ".hidden"}},
	} {
		_, err := h.CreateProduct(ctx, boss, appaccess.ProductRequest{Name: "New", Permissions: permissions})
		var invalid *appaccess.InvalidError
		require.ErrorAs(t, err, &invalid, name)
		assert.Equal(t, "permissions", invalid.Field, name)
	}
	// Orders.Read of another product would be the same role.
	_, err = h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: "read", Name: "Orders.Read", Access: appaccess.Access{Token: true}})
	require.NoError(t, err)
	_, err = h.CreateProduct(ctx, boss, appaccess.ProductRequest{
		ID: "clash", Name: "Orders.Read.All", Access: appaccess.Access{Token: true}, Permissions: []appaccess.Permission{{Name: "x"}},
	})
	require.NoError(t, err)
	_, err = h.CreateProduct(ctx, boss, appaccess.ProductRequest{
		ID: "clash2", Name: "Orders", Access: appaccess.Access{Token: true}, Permissions: []appaccess.Permission{{Name: "Read.All"}},
	})
	assertConflict(t, err, "name")
}

func TestAGrantIsAProductAndPermissions(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople().withOrders().withGold()
	a, err := h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "scan", Name: "Scan", OwnerID: "ada", Grants: orders("Write", "Read", "Read")})
	require.NoError(t, err)
	assert.Equal(t, orders("Read", "Write"), a.Grants)
	assert.Equal(t, orders("Read", "Write"), h.entra.apps["scan"].Grants)
	set, err := h.ApplicationSettings(ctx, ada, "scan")
	require.NoError(t, err)
	assert.Equal(t, []string{"Product.Orders.Read", "Product.Orders.Write"}, set.Products[0].Roles)

	// A product that is granted again gets the permissions of now.
	a, err = h.GrantProducts(ctx, boss, "scan", append(orders("Read"), appaccess.GrantsOfAll("gold")...))
	require.NoError(t, err)
	assert.Equal(t, append(orders("Read"), appaccess.GrantsOfAll("gold")...), a.Grants)
	assert.True(t, a.Grants.Permit("orders", "Read"))
	assert.False(t, a.Grants.Permit("orders", "Write"))
	assert.True(t, a.Grants.Permit("gold", "anything"), "All permits everything")
	assert.Equal(t, a.Grants, h.entra.apps["scan"].Grants)
	a, err = h.GrantProducts(ctx, boss, "scan", orders("Read", appaccess.AllPermission))
	require.NoError(t, err)
	assert.Equal(t, orders(appaccess.AllPermission), a.Grants[:1], "with All the others add nothing")
	before := h.revision()
	_, err = h.GrantProducts(ctx, boss, "scan", orders(appaccess.AllPermission))
	require.NoError(t, err)
	assert.Equal(t, before, h.revision(), "what is granted already changes nothing")

	for name, grants := range map[string]appaccess.Grants{
		"no permission":      orders(),
		"unknown permission": orders("Delete"),
		"not a name":         orders("Read Write"),
		"unknown product":    appaccess.GrantsOfAll("nothing"),
		"product twice":      append(orders("Read"), orders("Write")...),
	} {
		_, err := h.GrantProducts(ctx, boss, "scan", grants)
		var invalid *appaccess.InvalidError
		require.ErrorAs(t, err, &invalid, name)
		assert.Equal(t, "grants", invalid.Field, name)
	}
}

func TestDocumentsCarryPermissions(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withPeople().withOrders()
	_, err := h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "scan", Name: "Scan", OwnerID: "ada", Grants: orders("Read")})
	require.NoError(t, err)
	d, err := exported(h.Service)
	require.NoError(t, err)
	other := newFixture(t)
	_, err = other.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	again, err := exported(other.Service)
	require.NoError(t, err)
	assert.Equal(t, d, again)
	assert.Equal(t, orders("Read"), other.entra.apps["scan"].Grants)

	// A permission that clients are granted does not go by an import.
	i := 0
	for d.Products[i].ID != "orders" {
		i++
	}
	d.Products[i].Permissions = d.Products[i].Permissions[1:]
	d.Applications = nil
	_, err = h.Import(ctx, boss, d, appaccess.ImportRequest{})
	conflict := assertConflict(t, err, "product orders.permissions")
	assert.Equal(t, []string{"scan"}, conflict.Objects)
	_, err = h.GrantProducts(ctx, boss, "scan", orders("Write"))
	require.NoError(t, err)
	_, err = h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Len(t, h.entra.products["orders"].Roles, 2)
}

// clientNaming adds the client's name.
type clientNaming struct{ appaccess.DefaultNaming }

func (clientNaming) Application(product, client string) string { return product + "/" + client }

func TestNamingReceivesTheClientsName(t *testing.T) {
	t.Parallel()
	h := newFixture(t, func(cfg *appaccess.ServiceConfig) { cfg.Naming = clientNaming{} }).withPeople().withOrders()
	a, err := h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "scan", Name: "Scan", OwnerID: "ada", Grants: orders("Read")})
	require.NoError(t, err)
	assert.Equal(t, "Orders/Scan", a.Entra.Name)
	long := string(bytes.Repeat([]byte{'a'}, 114))
	_, err = h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{Name: long, OwnerID: "ada", Grants: orders("Read")})
	assertInvalid(t, err, "name")
	_, err = h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{Name: long[:113], OwnerID: "ada", Grants: orders("Read")})
	require.NoError(t, err)
}
