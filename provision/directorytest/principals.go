package directorytest

import (
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

var principals = map[string]func(bench){
	"a service principal is created once and then changed": func(b bench) {
		p := b.tenant(entratest.Config{})
		ctx := b.Context()
		app := p.create("shop", provision.ApplicationPatch{AppRoles: roles(role("Buy"))})
		sp, created, err := p.d.UpsertServicePrincipal(ctx, app.AppID, provision.ServicePrincipalPatch{AssignmentRequired: new(true), Tags: list("t")})
		require.NoError(b, err)
		require.True(b, created)
		want := provision.ServicePrincipal{
			ObjectID: sp.ObjectID, AppID: app.AppID, DisplayName: "shop", Type: "Application", AccountEnabled: true, AssignmentRequired: true,
			Tags: []string{"t"}, AppRoles: []provision.AppRole{role("Buy")},
		}
		assert.NotEmpty(b, sp.ObjectID)
		assert.Equal(b, want, sp)

		again, created, err := p.d.UpsertServicePrincipal(ctx, app.AppID, provision.ServicePrincipalPatch{AccountEnabled: new(false)})
		require.NoError(b, err)
		assert.False(b, created)
		assert.Equal(b, provision.ServicePrincipal{}, again)
		want.AccountEnabled = false
		sps, errs := p.d.ServicePrincipals(ctx, []provision.PrincipalRef{{AppID: app.AppID}})
		require.NoError(b, errs[0])
		assert.Equal(b, want, sps[0])
	},

	"a service principal needs its application": func(b bench) {
		p := b.tenant(entratest.Config{})
		_, _, err := p.d.UpsertServicePrincipal(b.Context(), nobody, provision.ServicePrincipalPatch{})
		api := refusedDetail(b, err, 400)
		assert.Contains(b, api.Code+api.Message, "NoBackingApplicationObject")
	},

	"service principals are read in the order asked": func(b bench) {
		p := b.tenant(entratest.Config{})
		var refs []provision.PrincipalRef
		for i := range 25 {
			app, sp := p.service(numbered("app", i), provision.ApplicationPatch{})
			ref := provision.PrincipalRef{AppID: app.AppID}
			if i%2 == 0 {
				ref = provision.PrincipalRef{ObjectID: sp.ObjectID}
			}
			refs = append(refs, ref)
		}
		refs[3] = provision.PrincipalRef{AppID: nobody}
		p.ResetCounts()
		sps, errs := p.d.ServicePrincipals(b.Context(), refs)
		for i, ref := range refs {
			if i == 3 {
				refused(b, errs[i], 404, notFound)
				continue
			}
			require.NoError(b, errs[i])
			assert.Contains(b, []string{sps[i].AppID, sps[i].ObjectID}, ref.AppID+ref.ObjectID)
		}
		assert.Equal(b, 2, p.Counts().Requests)
	},

	"a service principal goes and stays away": func(b bench) {
		p := b.tenant(entratest.Config{})
		app, sp := p.service("shop", provision.ApplicationPatch{})
		require.NoError(b, p.d.DeleteServicePrincipal(b.Context(), sp.ObjectID))
		refused(b, p.d.DeleteServicePrincipal(b.Context(), sp.ObjectID), 404, notFound)
		_, errs := p.d.ServicePrincipals(b.Context(), []provision.PrincipalRef{{AppID: app.AppID}})
		refused(b, errs[0], 404, notFound)
		p.read(provision.AppRef{AppID: app.AppID})
	},

	"a role is granted once and revoked": func(b bench) {
		p := b.tenant(entratest.Config{})
		ctx := b.Context()
		_, product := p.service("product", provision.ApplicationPatch{AppRoles: roles(role("Buy"), role("Sell"))})
		_, client := p.service("client", provision.ApplicationPatch{})
		want := provision.Assignment{PrincipalID: client.ObjectID, ResourceID: product.ObjectID, RoleID: role("Buy").ID}
		got, err := p.d.Assign(ctx, want)
		require.NoError(b, err)
		require.NotEmpty(b, got.ID)
		want.ID = got.ID
		assert.Equal(b, want, got)

		_, err = p.d.Assign(ctx, provision.Assignment{PrincipalID: want.PrincipalID, ResourceID: want.ResourceID, RoleID: want.RoleID})
		api := refusedDetail(b, err, 400)
		assert.Contains(b, api.Message, "Permission being assigned already exists on the object")

		for side, lists := range map[string]func() ([][]provision.Assignment, []error){
			"client":  func() ([][]provision.Assignment, []error) { return p.d.Assignments(ctx, []string{client.ObjectID}) },
			"product": func() ([][]provision.Assignment, []error) { return p.d.AssignedTo(ctx, []string{product.ObjectID}) },
		} {
			all, errs := lists()
			require.NoError(b, errs[0], side)
			assert.Equal(b, [][]provision.Assignment{{want}}, all, side)
		}

		require.NoError(b, p.d.Unassign(ctx, want.ResourceID, want.ID))
		api = refusedDetail(b, p.d.Unassign(ctx, want.ResourceID, want.ID), 400)
		assert.Contains(b, api.Message, "EntitlementGrant being updated or deleted is not found")
		all, errs := p.d.Assignments(ctx, []string{client.ObjectID})
		require.NoError(b, errs[0])
		assert.Empty(b, all[0])
	},

	"grants that Entra refuses": func(b bench) {
		p := b.tenant(entratest.Config{})
		_, product := p.service("product", provision.ApplicationPatch{AppRoles: roles(role("Buy"))})
		_, client := p.service("client", provision.ApplicationPatch{})
		for name, c := range map[string]struct {
			assignment provision.Assignment
			status     []int
		}{
			"unknown role":     {provision.Assignment{PrincipalID: client.ObjectID, ResourceID: product.ObjectID, RoleID: nobody}, []int{400}},
			"unknown client":   {provision.Assignment{PrincipalID: nobody, ResourceID: product.ObjectID, RoleID: role("Buy").ID}, []int{400, 404}},
			"unknown resource": {provision.Assignment{PrincipalID: client.ObjectID, ResourceID: nobody, RoleID: role("Buy").ID}, []int{400, 404}},
		} {
			_, err := p.d.Assign(b.Context(), c.assignment)
			var api *provision.APIError
			require.ErrorAs(b, err, &api, name)
			assert.Contains(b, c.status, api.Status, name)
		}
	},

	"grants are read from many, with an error for each": func(b bench) {
		p := b.tenant(entratest.Config{})
		ctx := b.Context()
		_, product := p.service("product", provision.ApplicationPatch{AppRoles: roles(role("Buy"))})
		ids := []string{nobody}
		for i := range 24 {
			_, client := p.service(numbered("client", i), provision.ApplicationPatch{})
			_, err := p.d.Assign(ctx, provision.Assignment{PrincipalID: client.ObjectID, ResourceID: product.ObjectID, RoleID: role("Buy").ID})
			require.NoError(b, err)
			ids = append(ids, client.ObjectID)
		}
		p.ResetCounts()
		all, errs := p.d.Assignments(ctx, ids)
		assert.Equal(b, 2, p.Counts().Requests)
		refused(b, errs[0], 404, notFound)
		for i, id := range ids[1:] {
			require.NoError(b, errs[i+1])
			require.Len(b, all[i+1], 1)
			assert.Equal(b, id, all[i+1][0].PrincipalID)
		}
	},

	"a list of more than a page is read to its end": func(b bench) {
		const clients = 1_200 // a page has at most 999
		p := b.tenant(entratest.Config{})
		reg, err := p.AddApplication(entratest.App{Name: "product", Roles: []string{"Buy"}})
		require.NoError(b, err)
		want := map[string]bool{}
		for i := range clients {
			client, err := p.AddApplication(entratest.App{Name: numbered("client", i)})
			require.NoError(b, err)
			require.NoError(b, p.Grant(client.AppID, reg.AppID, "Buy"))
			want[client.ObjectID] = true
		}
		for _, ids := range [][]string{{reg.ObjectID}, {reg.ObjectID, reg.ObjectID}} { // alone, and in a batch
			lists, errs := p.d.AssignedTo(b.Context(), ids)
			for i := range ids {
				require.NoError(b, errs[i])
				got := map[string]bool{}
				for _, a := range lists[i] {
					got[a.PrincipalID] = true
				}
				assert.Len(b, lists[i], clients)
				assert.Equal(b, want, got)
			}
		}
	},
}
