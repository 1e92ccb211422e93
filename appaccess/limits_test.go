package appaccess_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// numberedPermissions are n permissions, no two of them alike.
func numberedPermissions(n int) (list []appaccess.Permission, names []string) {
	for i := range n {
		name := fmt.Sprintf("P%03d", i)
		list, names = append(list, appaccess.Permission{Name: name}), append(names, name)
	}
	return list, names
}

// Each documented limit is accepted, and one more is refused with an error that names
// the field and the limit, and that changes nothing.
func TestLimits(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	d := parse(t, `{"version": 1}`)
	apis := make([]string, 901)
	for i := range apis {
		apis[i] = fmt.Sprintf("api-%03d", i)
		d.APIs = append(d.APIs, appaccess.DocumentAPI{ID: apis[i], Name: apis[i], Path: "/" + apis[i]})
	}
	hundred, names := numberedPermissions(100)
	var grants appaccess.Grants // 50 products with 510 permissions
	for i := range 51 {
		p := appaccess.DocumentProduct{ID: fmt.Sprintf("p%02d", i), Name: fmt.Sprint("Product ", i), Published: true, APIs: apis[:1], Access: appaccess.Access{Token: true}, Permissions: hundred[:11]}
		g := appaccess.Grant{Product: p.ID, Permissions: names[:10]}
		d.Products, grants = append(d.Products, p), append(grants, g)
	}
	_, err := h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)

	made := 0
	id := func() string { made++; return fmt.Sprint("made-", made) }
	text := func(n int) string { return strings.Repeat("x", n) }
	operations := func(o ...appaccess.Operation) error {
		return errOf(h.Import(ctx, boss, appaccess.Document{Version: 1, APIs: []appaccess.DocumentAPI{{ID: "limits", Name: "Limits", Path: "/limits", Operations: o}}}, appaccess.ImportRequest{}))
	}
	for name, c := range map[string]struct {
		field string
		most  int
		do    func(n int) error
	}{
		"ID": {"id", 80, func(n int) error {
			return errOf(h.CreateUser(ctx, boss, appaccess.UserRequest{ID: text(n), Name: "x"}))
		}},
		"name": {"name", 300, func(n int) error { return errOf(h.CreateUser(ctx, boss, appaccess.UserRequest{Name: text(n)})) }},
		"name with token access": {"name", 120, func(n int) error {
			return errOf(h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: id(), Name: text(n - len("APIMProductApplication")), Access: appaccess.Access{Token: true}}))
		}},
		"description": {"description", 1000, func(n int) error {
			return errOf(h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: id(), Name: id(), Description: text(n)}))
		}},
		"email": {"email", 254, func(n int) error {
			return errOf(h.CreateUser(ctx, boss, appaccess.UserRequest{Name: "x", Email: text(n-4) + "@b.c"}))
		}},
		"path": {"path", 400, func(n int) error {
			return errOf(h.CreateAPI(ctx, boss, appaccess.APIRequest{Name: "Path", Path: "/" + text(n-1)}))
		}},
		"service URL": {"serviceUrl", 2000, func(n int) error {
			return errOf(h.CreateAPI(ctx, boss, appaccess.APIRequest{Name: "URL", Path: "/url", ServiceURL: "https://host/" + text(n-13)}))
		}},
		"key header": {"keyHeader", 100, func(n int) error { return appaccess.CheckKeyNames(text(n), "") }},
		"key query":  {"keyQuery", 100, func(n int) error { return appaccess.CheckKeyNames("", text(n)) }},
		"APIs of a product": {"apis", 900, func(n int) error {
			return errOf(h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: id(), Name: id(), APIs: apis[:n]}))
		}},
		"APIs assigned one by one": {"apis", 900, func(n int) error {
			_, err := h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: id(), Name: id(), APIs: apis[:n-1]})
			require.NoError(t, err)
			return errOf(h.AssignAPIs(ctx, boss, fmt.Sprint("made-", made-1), apis[n-1:n]))
		}},
		"permissions of a product": {"permissions", 100, func(n int) error {
			list, _ := numberedPermissions(n)
			return errOf(h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: id(), Name: id(), Permissions: list}))
		}},
		"permission's name": {"permissions", 60, func(n int) error {
			return errOf(h.CreateProduct(ctx, boss, appaccess.ProductRequest{ID: id(), Name: id(), Permissions: []appaccess.Permission{{Name: text(n)}}}))
		}},
		"per developer": {"perDeveloper", 1000, func(n int) error {
			return errOf(h.UpdateProduct(ctx, boss, "gold", appaccess.ProductUpdate{PerDeveloper: &n}))
		}},
		"granted products": {"grants", 50, func(n int) error {
			all := appaccess.GrantsOfAll(append([]string{"gold"}, grants.Products()...)[:n]...)
			return errOf(h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: id(), Name: id(), OwnerID: "ada", Grants: all}))
		}},
		"granted permissions": {"grants", 500, func(n int) error {
			all := append(appaccess.Grants{}, grants[:50]...)
			if n > 500 {
				all[0].Permissions = names[:10+n-500]
			}
			return errOf(h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: id(), Name: id(), OwnerID: "ada", Grants: all}))
		}},
		"applications at once": {"applications", 999, func(n int) error {
			many := make([]string, n)
			for i := range many {
				many[i] = fmt.Sprint("nobody-", i)
			}
			err := h.RevokeApplications(ctx, boss, "gold", many)
			if n <= 999 { // they are looked up
				require.ErrorContains(t, err, "nobody-0")
				return nil
			}
			return err
		}},
		"credential's name": {"name", 80, func(n int) error {
			return errOf(h.AddSecret(ctx, boss, "billing", appaccess.SecretRequest{Name: text(n)}))
		}},
		"operations of an API": {"operations", 2000, func(n int) error {
			var many []appaccess.Operation
			for i := range n {
				many = append(many, appaccess.Operation{Method: "GET", Path: fmt.Sprint("/", i)})
			}
			return appaccess.CheckOperations(many)
		}},
		"alternatives of an operation": {"apis[0].operations[0].anyOf", 32, func(n int) error {
			var anyOf [][]string
			for _, name := range names[:n] {
				anyOf = append(anyOf, []string{name})
			}
			return operations(appaccess.Operation{ID: "get", Method: "GET", Path: "/", AnyOf: anyOf})
		}},
		"permissions of an alternative": {"apis[0].operations[0].anyOf", 16, func(n int) error {
			return operations(appaccess.Operation{ID: "get", Method: "GET", Path: "/", AnyOf: [][]string{names[:n]}})
		}},
	} {
		require.NoError(t, c.do(c.most), name)
		before, calls := h.revision(), h.entra.calls
		err := c.do(c.most + 1)
		if strings.HasSuffix(name, "one by one") {
			before, calls = h.revision(), h.entra.calls
		}
		var invalid *appaccess.InvalidError
		if assert.ErrorAs(t, err, &invalid, name) {
			assert.Equal(t, c.field, invalid.Field, name)
			assert.Regexp(t, fmt.Sprintf(`\b%s\b`, strings.ReplaceAll(fmt.Sprint(c.most), "1000", "1,?000")), invalid.Rule, name)
		}
		assert.Equal(t, before, h.revision(), name)
		assert.Equal(t, calls, h.entra.calls, name)
	}

	// An application that has as much as it may have keeps it.
	full, err := h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: "full", Name: "Full", OwnerID: "ada", Grants: grants[:50]})
	require.NoError(t, err)
	more := appaccess.Grants{{Product: grants[0].Product, Permissions: names[:11]}}
	for what, err := range map[string]error{
		"GrantProducts":     errOf(h.GrantProducts(ctx, boss, "full", more)),
		"GrantApplications": h.GrantApplications(ctx, boss, more[0], []string{"billing", "full"}),
	} {
		assertInvalid(t, err, "grants")
		assert.ErrorContains(t, err, "at most 500 permissions", what)
	}
	now, err := h.Application(ctx, boss, "full")
	require.NoError(t, err)
	assert.Equal(t, full.Grants, now.Grants)
	other, err := h.Application(ctx, boss, "billing")
	require.NoError(t, err)
	assert.Equal(t, "starter(All)", other.Grants.String(), "the transaction stored nothing")

	// A product may have as much as it may have of everything at the same time.
	words := make([]string, 0, 24)
	for i := range 24 {
		words = append(words, fmt.Sprintf("w%02d", i))
	}
	p, err := h.CreateProduct(ctx, boss, appaccess.ProductRequest{
		ID: strings.Repeat("a-", 39) + "z", Name: strings.Join(words, " "), Published: true,
		APIs: apis[:900], Permissions: hundred, Access: appaccess.Access{Token: true, Key: true},
	})
	require.NoError(t, err)
	for i := range hundred {
		hundred[i].Name = "Q" + hundred[i].Name
	}
	p, err = h.SetPermissions(ctx, boss, p.ID, appaccess.PermissionsRequest{Permissions: hundred})
	require.NoError(t, err)
	_, err = h.SuspendProduct(ctx, boss, p.ID)
	require.NoError(t, err)
}

// At most 20 federated credentials are possible, as in Entra, and 2 secrets.
func TestLimitsOfCredentials(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	for kind, c := range map[string]struct {
		most int
		add  func(i int) error
	}{
		"federated": {20, func(i int) error {
			return errOf(h.AddFederatedCredential(ctx, boss, "billing", appaccess.FederatedRequest{Name: fmt.Sprint("github-", i), Issuer: "https://issuer.example.com", Subject: fmt.Sprint("repo-", i)}))
		}},
		"secret": {2, func(int) error { return errOf(h.AddSecret(ctx, boss, "billing", appaccess.SecretRequest{})) }},
	} {
		for i := range c.most {
			require.NoError(t, c.add(i), kind)
		}
		conflict := assertConflict(t, c.add(c.most), "credential")
		assert.Len(t, conflict.Objects, c.most)
		assert.Contains(t, conflict.Reason, fmt.Sprintf("at most %d", c.most), kind)
	}
	creds, err := h.Credentials(ctx, boss, "billing")
	require.NoError(t, err)
	assert.Len(t, creds, 22)
}
