package directorytest

import (
	"slices"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

var applications = map[string]func(bench){
	"an application is created once and then changed": func(b bench) {
		p := b.tenant(entratest.Config{})
		app := p.create("shop", provision.ApplicationPatch{
			DisplayName: new("Shop"), Description: new("sells"), SignInAudience: new("AzureADMyOrg"), Tags: list("a", "b"),
			AppRoles: roles(role("Buy")), AccessTokenVersion: new(2), AccessTokenClaims: list("idtyp"),
		})
		want := provision.Application{
			ObjectID: app.ObjectID, AppID: app.AppID, UniqueName: "shop", DisplayName: "Shop", Description: "sells",
			SignInAudience: "AzureADMyOrg", Tags: []string{"a", "b"}, AppRoles: []provision.AppRole{role("Buy")},
			AccessTokenVersion: 2, AccessTokenClaims: []string{"idtyp"},
		}
		assert.NotEmpty(b, app.ObjectID)
		assert.NotEmpty(b, app.AppID)
		assert.WithinDuration(b, time.Now(), app.Created, time.Hour)
		assert.Equal(b, want, plain(app))
		assert.Equal(b, want, plain(p.read(provision.AppRef{UniqueName: "shop"})))

		_, err := p.d.CreateApplication(b.Context(), provision.ApplicationPatch{UniqueName: new("shop"), DisplayName: new("Shop 2")})
		refused(b, err, 400, badRequest)
		assert.Equal(b, want, plain(p.read(provision.AppRef{UniqueName: "shop"})), "a refused creation changes nothing")
		require.NoError(b, p.d.PatchApplication(b.Context(), app.ObjectID, provision.ApplicationPatch{DisplayName: new("Shop 2")}))
		want.DisplayName = "Shop 2"
		assert.Equal(b, want, plain(p.read(provision.AppRef{ObjectID: app.ObjectID})))
		assert.Equal(b, want, plain(p.read(provision.AppRef{AppID: app.AppID})))
	},

	"applications are listed by a tag": func(b bench) {
		p := b.tenant(entratest.Config{})
		for i := range 3 {
			p.create(numbered("tagged", i), provision.ApplicationPatch{Tags: &[]string{"ours:'x'", numbered("t", i)}})
		}
		p.create("other", provision.ApplicationPatch{Tags: &[]string{"ours"}})
		found, err := p.d.TaggedApplications(b.Context(), "ours:'x'")
		require.NoError(b, err)
		assert.Len(b, found, 3)
		found, err = p.d.TaggedApplications(b.Context(), "nobody's")
		require.NoError(b, err)
		assert.Empty(b, found)
	},

	"a unique name may hold what an address must escape": func(b bench) {
		p := b.tenant(entratest.Config{})
		for _, name := range []string{"o'brien & söhne/50%", "a b+c", "x?y#z"} {
			app := p.create(name, provision.ApplicationPatch{})
			assert.Equal(b, name, app.UniqueName)
			assert.Equal(b, app.ObjectID, p.read(provision.AppRef{UniqueName: name}).ObjectID)
		}
		apps, errs := p.d.Applications(b.Context(), []provision.AppRef{{UniqueName: "a b+c"}, {UniqueName: "o'brien & söhne/50%"}, {UniqueName: "x?y#z"}})
		for i, err := range errs {
			require.NoError(b, err)
			assert.NotEmpty(b, apps[i].ObjectID)
		}
	},

	"reads keep the order asked and an error for each item": func(b bench) {
		p := b.tenant(entratest.Config{})
		refs := make([]provision.AppRef, 45)
		for i := range refs {
			refs[i].UniqueName = numbered("app", i)
			if i%10 != 7 {
				app := p.create(refs[i].UniqueName, provision.ApplicationPatch{})
				switch i % 3 {
				case 1:
					refs[i] = provision.AppRef{ObjectID: app.ObjectID}
				case 2:
					refs[i] = provision.AppRef{AppID: app.AppID}
				}
			}
		}
		p.ResetCounts()
		apps, errs := p.d.Applications(b.Context(), refs)
		require.Len(b, apps, len(refs))
		require.Len(b, errs, len(refs))
		for i := range refs {
			if i%10 == 7 {
				refused(b, errs[i], 404, notFound)
				continue
			}
			require.NoError(b, errs[i])
			assert.Equal(b, numbered("app", i), apps[i].UniqueName)
		}
		assert.Equal(b, 3, p.Counts().Requests, "45 items are three batches")
		assert.Zero(b, p.Counts().Writes)
	},

	"reading nothing sends nothing": func(b bench) {
		p := b.tenant(entratest.Config{})
		apps, errs := p.d.Applications(b.Context(), nil)
		assert.Empty(b, apps)
		assert.Empty(b, errs)
		assert.Zero(b, p.Counts().Requests)
	},

	"a patch changes what it names and nothing else": func(b bench) {
		p := b.tenant(entratest.Config{})
		ctx := b.Context()
		before := p.create("shop", provision.ApplicationPatch{
			Description: new("sells"), Tags: list("a"), AppRoles: roles(role("Buy")), AccessTokenVersion: new(2), AccessTokenClaims: list("idtyp"),
			RequiredAccess: &[]provision.RequiredAccess{{ResourceAppID: entratest.GraphAppID, Roles: []string{role("x").ID}, Scopes: []string{role("y").ID}}},
		})
		uri := "api://" + before.AppID
		require.NoError(b, p.d.PatchApplication(ctx, before.ObjectID, provision.ApplicationPatch{IdentifierURIs: list(uri)}))
		want := plain(before)
		want.IdentifierURIs = []string{uri}
		assert.Equal(b, want, plain(p.read(provision.AppRef{ObjectID: before.ObjectID})))

		require.NoError(b, p.d.PatchApplication(ctx, before.ObjectID, provision.ApplicationPatch{}))
		assert.Equal(b, want, plain(p.read(provision.AppRef{ObjectID: before.ObjectID})))

		require.NoError(b, p.d.PatchApplication(ctx, before.ObjectID, provision.ApplicationPatch{
			Description: new(""), Tags: list(), IdentifierURIs: list(), RequiredAccess: new([]provision.RequiredAccess), AccessTokenVersion: new(0),
		}))
		want.Description, want.Tags, want.IdentifierURIs, want.RequiredAccess, want.AccessTokenVersion = "", nil, nil, nil, 0
		assert.Equal(b, want, plain(p.read(provision.AppRef{ObjectID: before.ObjectID})))
	},

	"optional claims of access tokens are set by their names": func(b bench) {
		p := b.tenant(entratest.Config{})
		app := p.create("shop", provision.ApplicationPatch{AccessTokenClaims: list("groups")})
		for _, names := range [][]string{{"groups", "idtyp"}, {"idtyp", "email"}, {}} {
			require.NoError(b, p.d.PatchApplication(b.Context(), app.ObjectID, provision.ApplicationPatch{AccessTokenClaims: &names}))
			assert.ElementsMatch(b, names, p.read(provision.AppRef{UniqueName: "shop"}).AccessTokenClaims)
		}
	},

	"an application without a unique name is given one, once": func(b bench) {
		p := b.tenant(entratest.Config{})
		reg, err := p.AddApplication(entratest.App{Name: "old"})
		require.NoError(b, err)
		require.NoError(b, p.d.PatchApplication(b.Context(), reg.ApplicationID, provision.ApplicationPatch{UniqueName: new("adopted")}))
		assert.Equal(b, reg.AppID, p.read(provision.AppRef{UniqueName: "adopted"}).AppID)
		var api *provision.APIError
		require.ErrorAs(b, p.d.PatchApplication(b.Context(), reg.ApplicationID, provision.ApplicationPatch{UniqueName: new("other")}), &api)
		assert.Equal(b, 400, api.Status)
	},

	"an unknown application is not found": func(b bench) {
		p := b.tenant(entratest.Config{})
		ctx := b.Context()
		refused(b, p.d.PatchApplication(ctx, nobody, provision.ApplicationPatch{DisplayName: new("x")}), 404, notFound)
		refused(b, p.d.DeleteApplication(ctx, nobody), 404, notFound)
		refused(b, p.d.RemovePassword(ctx, nobody, nobody), 404, notFound)
		_, err := p.d.AddPassword(ctx, nobody, provision.PasswordRequest{DisplayName: "x"})
		refused(b, err, 404, notFound)
		_, errs := p.d.FederatedCredentials(ctx, []string{nobody})
		refused(b, errs[0], 404, notFound)
		_, err = p.d.DeletedApplication(ctx, provision.AppRef{ObjectID: nobody})
		refused(b, err, 404, notFound)
		refused(b, p.d.Restore(ctx, nobody), 404, notFound)
	},

	"an enabled role is disabled before it goes": func(b bench) {
		p := b.tenant(entratest.Config{})
		ctx := b.Context()
		buy, sell := role("Buy"), role("Sell")
		app := p.create("shop", provision.ApplicationPatch{AppRoles: roles(buy, sell)})
		err := p.d.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{AppRoles: roles(sell)})
		refused(b, err, 400, "CannotDeleteOrUpdateEnabledEntitlement")

		off := buy
		off.Enabled = false
		require.NoError(b, p.d.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{AppRoles: roles(off, sell)}))
		require.Equal(b, []provision.AppRole{off, sell}, p.read(provision.AppRef{ObjectID: app.ObjectID}).AppRoles)
		require.NoError(b, p.d.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{AppRoles: roles(sell)}))
		require.Equal(b, []provision.AppRole{sell}, p.read(provision.AppRef{ObjectID: app.ObjectID}).AppRoles)
	},

	"roles that Entra refuses": func(b bench) {
		p := b.tenant(entratest.Config{})
		app := p.create("shop", provision.ApplicationPatch{})
		twin := role("Other")
		twin.Value = "Buy"
		api := refusedDetail(b, p.d.PatchApplication(b.Context(), app.ObjectID, provision.ApplicationPatch{AppRoles: roles(role("Buy"), twin)}), 400)
		assert.True(b, api.Code == "DuplicateValue" || slices.ContainsFunc(api.Details, func(d provision.APIErrorDetail) bool { return d.Code == "DuplicateValue" }), "%+v", api)
		refusedDetail(b, p.d.PatchApplication(b.Context(), app.ObjectID, provision.ApplicationPatch{AppRoles: roles(role(".dot"))}), 400)
	},

	"identifier URIs that are taken or against the policy": func(b bench) {
		p := b.tenant(entratest.Config{})
		one, two := p.create("one", provision.ApplicationPatch{}), p.create("two", provision.ApplicationPatch{})
		uri := "api://" + one.AppID
		require.NoError(b, p.d.PatchApplication(b.Context(), one.ObjectID, provision.ApplicationPatch{IdentifierURIs: list(uri)}))
		refusedDetail(b, p.d.PatchApplication(b.Context(), two.ObjectID, provision.ApplicationPatch{IdentifierURIs: list(uri)}), 400)
		refusedDetail(b, p.d.PatchApplication(b.Context(), two.ObjectID, provision.ApplicationPatch{IdentifierURIs: list("https://elsewhere.example/x")}), 400)
	},

	"a deleted application keeps its name, is found and comes back": func(b bench) {
		p := b.tenant(entratest.Config{})
		ctx := b.Context()
		app, sp := p.service("shop", provision.ApplicationPatch{Tags: list("ours")})
		require.NoError(b, p.d.DeleteApplication(ctx, app.ObjectID))
		refused(b, p.d.DeleteApplication(ctx, app.ObjectID), 404, notFound)
		_, errs := p.d.Applications(ctx, []provision.AppRef{{UniqueName: "shop"}})
		refused(b, errs[0], 404, notFound)
		_, errs = p.d.ServicePrincipals(ctx, []provision.PrincipalRef{{AppID: app.AppID}})
		refused(b, errs[0], 404, notFound)

		_, err := p.d.CreateApplication(ctx, provision.ApplicationPatch{UniqueName: new("shop"), DisplayName: new("x")})
		api := refused(b, err, 400, badRequest)
		assert.Contains(b, api.Message, "Another object with the same value for property uniqueName already exists.")

		for _, ref := range []provision.AppRef{{ObjectID: app.ObjectID}, {UniqueName: "shop"}} {
			found, err := p.d.DeletedApplication(ctx, ref)
			require.NoError(b, err)
			assert.Equal(b, plain(app), plain(found))
		}
		_, err = p.d.DeletedApplication(ctx, provision.AppRef{UniqueName: "other"})
		var missing *provision.APIError
		require.ErrorAs(b, err, &missing)
		assert.Equal(b, 404, missing.Status)

		require.NoError(b, p.d.Restore(ctx, app.ObjectID))
		assert.Equal(b, plain(app), plain(p.read(provision.AppRef{UniqueName: "shop"})))
		_, errs = p.d.ServicePrincipals(ctx, []provision.PrincipalRef{{AppID: app.AppID}})
		refused(b, errs[0], 404, notFound)
		require.NoError(b, p.d.Restore(ctx, sp.ObjectID))
		sps, errs := p.d.ServicePrincipals(ctx, []provision.PrincipalRef{{AppID: app.AppID}})
		require.NoError(b, errs[0])
		assert.Equal(b, sp.ObjectID, sps[0].ObjectID)
	},
}

// plain makes empty collections nil and leaves out the time of creation, so that
// applications compare.
func plain(a provision.Application) provision.Application {
	a.Created = time.Time{}
	a.IdentifierURIs, a.Tags, a.AppRoles = orNil(a.IdentifierURIs), orNil(a.Tags), orNil(a.AppRoles)
	a.RequiredAccess, a.Passwords, a.Keys = orNil(a.RequiredAccess), orNil(a.Passwords), orNil(a.Keys)
	a.AccessTokenClaims = orNil(a.AccessTokenClaims)
	return a
}

func orNil[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

// refusedDetail requires an APIError with a status, whatever its code.
func refusedDetail(b bench, err error, status int) *provision.APIError {
	b.Helper()
	var api *provision.APIError
	require.ErrorAs(b, err, &api)
	assert.Equal(b, status, api.Status, "%v", api)
	return api
}
