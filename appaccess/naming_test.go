package appaccess_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/provision/entratest"
)

func TestDefaultNaming(t *testing.T) {
	t.Parallel()
	var n appaccess.DefaultNaming
	assert.Equal(t, "APIMProductApplicationStarter", n.ProductApplication("Starter"))
	assert.Equal(t, "Product.Starter.All", n.Role("Starter", appaccess.AllPermission))
	assert.Equal(t, "APIMApplicationStarter", n.Application("Starter", "Billing"))
	assert.Equal(t, "Product.Gold-Plan.Read", n.Role("Gold Plan", "Read"))
}

func TestNamesThatCollideInEntra(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	token := appaccess.Access{Token: true}
	_, err := h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: "one", Name: "Gold Plan", Access: token})
	require.NoError(t, err)
	for _, name := range []string{"Gold-Plan", "gold-plan"} {
		_, err = h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: "two", Name: name, Access: token})
		assert.Equal(t, []string{"one"}, assertConflict(t, err, "name").Objects)
	}
	// Without token access a product has no name in Entra, until it gets it.
	_, err = h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: "two", Name: "Gold-Plan"})
	require.NoError(t, err)
	_, err = h.SetAccess(ctx, boss, "two", appaccess.AccessRequest{Access: token})
	assertConflict(t, err, "name")
	_, err = h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: "three", Name: "GOLD PLAN"})
	assertConflict(t, err, "name")
}

// oneName gives all applications of products the same display name.
type oneName struct{ appaccess.DefaultNaming }

func (oneName) ProductApplication(string) string { return "Gateway" }

func TestApplicationNamesThatCollideInEntra(t *testing.T) {
	t.Parallel()
	h := newFixture(t, func(cfg *appaccess.ServiceConfig) { cfg.Naming = oneName{} })
	token := appaccess.AccessRequest{Access: appaccess.Access{Token: true}}
	for _, id := range []string{"one", "two"} {
		_, err := h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: id, Name: id})
		require.NoError(t, err)
	}
	_, err := h.SetAccess(ctx, boss, "one", token)
	require.NoError(t, err)
	_, err = h.SetAccess(ctx, boss, "two", token)
	assert.Equal(t, []string{"one"}, assertConflict(t, err, "name").Objects)
	_, err = h.SetAccess(ctx, boss, "one", appaccess.AccessRequest{})
	require.NoError(t, err)
	_, err = h.SetAccess(ctx, boss, "two", token)
	require.NoError(t, err, "one has no application any more")
}

// Entra lets applications that others made have the same display name.
func TestAdoptedApplicationsMayHaveOneName(t *testing.T) {
	t.Parallel()
	e := newEstate(t, entratest.Lag{})
	for _, id := range []string{"one", "two"} {
		app, err := e.tenant.AddApplication(entratest.App{Name: "Shared"})
		require.NoError(t, err)
		p, err := e.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: id, Name: id, Access: appaccess.Access{Token: true}, Adopt: app.AppID})
		require.NoError(t, err)
		assert.Equal(t, "Shared", p.Entra.Name)
	}
	for _, id := range []string{"one", "two"} {
		_, err := e.SetPermissions(ctx, boss, id, appaccess.PermissionsRequest{Permissions: []appaccess.Permission{{Name: "Read"}}})
		require.NoError(t, err)
	}
}

func TestNamesThatEntraCannotCarry(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	for _, name := range []string{"Größe", "日本", `back\slash`, `quo"te`, strings.Repeat("x", 99), "emoji 🎉"} {
		before, calls := h.revision(), h.entra.calls
		_, err := h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: "p", Name: name, Access: appaccess.Access{Token: true}})
		assertInvalid(t, err, "name")
		assert.Equal(t, before, h.revision(), name)
		assert.Equal(t, calls, h.entra.calls, name)
	}
	_, err := h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: "p", Name: "Größe"})
	require.NoError(t, err, "without token access any name will do")
	_, err = h.SetAccess(ctx, boss, "p", appaccess.AccessRequest{Access: appaccess.Access{Token: true}})
	assertInvalid(t, err, "name")
	_, err = h.CreateProduct(ctx, boss, appaccess.ProductRequest{Name: strings.Repeat("x", 98), Access: appaccess.Access{Token: true}})
	require.NoError(t, err)
}

// Two products with token access never share a role, and every role and name
// that reaches Entra keeps to Entra's rules.
func FuzzNaming(f *testing.F) {
	for _, s := range [][2]string{{"Gold Plan", "Gold-Plan"}, {"a", "A"}, {"Größe", "x"}, {"a.b", "a:b"}, {"ſ", "s"}, {"K", "\u212a"}, {"x\x00", ""}} {
		f.Add(s[0], s[1])
	}
	h := newFixture(f)
	f.Fuzz(func(t *testing.T, a, b string) {
		for i, name := range []string{a, b} {
			id := string(rune('a' + i))
			_, err := h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: id, Name: name, Access: appaccess.Access{Token: true}})
			if err == nil {
				defer func() { require.NoError(t, h.DeleteProduct(ctx, boss, id, true)) }()
			}
		}
		roles := map[string]string{}
		for id, p := range h.entra.products {
			require.NotEmpty(t, p.Roles)
			for _, r := range p.Roles {
				role := strings.ToLower(r.Value)
				if other, taken := roles[role]; taken {
					t.Fatalf("%s and %s share %s", id, other, role)
				}
				roles[role] = id
				if len(role) > 120 || strings.ContainsFunc(role, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
					t.Fatalf("role %q", role)
				}
			}
			if utf8.RuneCountInString(p.ApplicationName) > 120 {
				t.Fatalf("name %q", p.ApplicationName)
			}
		}
	})
}
