package appaccess_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

func TestSetPermissions(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	set := func(force bool, names ...string) (appaccess.Product, error) {
		var list []appaccess.Permission
		for _, name := range names {
			list = append(list, appaccess.Permission{Name: name})
		}
		return h.SetPermissions(ctx, boss, "gold", appaccess.PermissionsRequest{Permissions: list, Force: force})
	}
	p, err := set(false, "Read", "Write")
	require.NoError(t, err)
	assert.False(t, p.Sync.Pending, "Entra has the roles")
	_, err = h.GrantProducts(ctx, boss, "billing", appaccess.Grants{{Product: "gold", Permissions: []string{"Read", "Write"}}})
	require.NoError(t, err)

	_, err = set(false, "Read")
	conflict := assertConflict(t, err, "permissions")
	assert.Equal(t, []string{"billing"}, conflict.Objects)
	_, err = set(true, "Read")
	require.NoError(t, err)
	a, err := h.Application(ctx, boss, "billing")
	require.NoError(t, err)
	assert.Equal(t, "starter(All) gold(Read)", a.Grants.String())
	_, err = set(true)
	require.NoError(t, err)
	a, err = h.Application(ctx, boss, "billing")
	require.NoError(t, err)
	assert.Equal(t, "starter(All)", a.Grants.String(), "a grant without a permission ends")
	assert.Contains(t, h.actions(appaccess.KindProduct, "gold"), "product.permissions")

	for _, bad := range []string{"", "All", "all", "a b", ".x"} {
		_, err = set(false, bad)
		assertInvalid(t, err, "permissions")
	}
	_, err = set(false, "Read", "READ")
	assertInvalid(t, err, "permissions")
}
