package entratest_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

func ref[V any](v V) *V                { return &v }
func byName(n string) provision.AppRef { return provision.AppRef{UniqueName: n} }

func newTenant(t *testing.T, cfg entratest.Config) *entratest.Tenant {
	t.Helper()
	tenant, err := entratest.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.Empty(t, tenant.Misuses()) })
	return tenant
}

// create creates an application with a unique name.
func create(ctx context.Context, d provision.Directory, uniqueName string, patch provision.ApplicationPatch) (provision.Application, error) {
	patch.UniqueName = &uniqueName
	return d.CreateApplication(ctx, patch)
}

func directory(t *testing.T, tenant *entratest.Tenant, rights ...string) provision.Directory {
	t.Helper()
	c, err := tenant.AddCaller("admin", rights...)
	require.NoError(t, err)
	return tenant.Directory(c)
}

const roleID = "0f2c1d3e-4b5a-4968-8776-655443322110"

func productPatch() provision.ApplicationPatch {
	return provision.ApplicationPatch{
		DisplayName: ref("APIMProductApplicationStarter"), SignInAudience: ref("AzureADMyOrg"),
		AccessTokenVersion: ref(2), AccessTokenClaims: &[]string{"idtyp"}, Tags: &[]string{"managed"},
		AppRoles: &[]provision.AppRole{{
			ID: roleID, Value: "Product.Starter.All", DisplayName: "Product.Starter.All", Description: "all",
			Enabled: true, AllowedMemberTypes: []string{"Application"},
		}},
	}
}

func code(t *testing.T, err error) (int, string) {
	t.Helper()
	var api *provision.APIError
	require.ErrorAs(t, err, &api)
	assert.NotEmpty(t, api.Message)
	assert.NotEmpty(t, api.RequestID)
	return api.Status, api.Code
}

// TestWholeFlow makes a product and a client through the Directory, and the
// client's secret then gets a token with the role.
func TestWholeFlow(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	tenant := newTenant(t, entratest.Config{})
	d := directory(t, tenant, entratest.ApplicationAdministrator)

	product, err := create(ctx, d, "prod/o'ne", productPatch())
	require.NoError(t, err)
	assert.Equal(t, "prod/o'ne", product.UniqueName)
	require.NoError(t, d.PatchApplication(ctx, product.ObjectID, provision.ApplicationPatch{Description: ref("d")}))
	uri := "api://" + product.AppID
	require.NoError(t, d.PatchApplication(ctx, product.ObjectID, provision.ApplicationPatch{IdentifierURIs: &[]string{uri}}))
	resource, created, err := d.UpsertServicePrincipal(ctx, product.AppID, provision.ServicePrincipalPatch{AssignmentRequired: ref(true)})
	require.NoError(t, err)
	assert.True(t, created)
	assert.True(t, resource.AssignmentRequired)

	client, err := create(ctx, d, "client", provision.ApplicationPatch{
		DisplayName:    ref("APIMApplicationStarter"),
		RequiredAccess: &[]provision.RequiredAccess{{ResourceAppID: product.AppID, Roles: []string{roleID}}},
	})
	require.NoError(t, err)
	sp, _, err := d.UpsertServicePrincipal(ctx, client.AppID, provision.ServicePrincipalPatch{})
	require.NoError(t, err)
	grant, err := d.Assign(ctx, provision.Assignment{PrincipalID: sp.ObjectID, ResourceID: resource.ObjectID, RoleID: roleID})
	require.NoError(t, err)
	_, err = d.Assign(ctx, provision.Assignment{PrincipalID: sp.ObjectID, ResourceID: resource.ObjectID, RoleID: roleID})
	status, _ := code(t, err)
	assert.Equal(t, 400, status)
	password, err := d.AddPassword(ctx, client.ObjectID, provision.PasswordRequest{DisplayName: "op1", End: time.Now().AddDate(1, 0, 0)})
	require.NoError(t, err)
	assert.Equal(t, password.Hint, password.SecretText.Reveal()[:3])

	apps, errs := d.Applications(ctx, []provision.AppRef{
		{ObjectID: product.ObjectID}, {AppID: client.AppID}, byName("prod/o'ne"), byName("nothing"),
	})
	require.Equal(t, []error{nil, nil, nil}, errs[:3])
	assert.Equal(t, apps[0], apps[2])
	assert.Equal(t, "d", apps[0].Description)
	assert.Equal(t, []string{uri}, apps[0].IdentifierURIs)
	assert.Equal(t, 2, apps[0].AccessTokenVersion)
	assert.Equal(t, []string{"idtyp"}, apps[0].AccessTokenClaims)
	require.Len(t, apps[1].Passwords, 1)
	assert.Equal(t, "op1", apps[1].Passwords[0].DisplayName)
	assert.True(t, apps[1].Passwords[0].SecretText.IsZero())
	status, kind := code(t, errs[3])
	assert.Equal(t, 404, status)
	assert.Equal(t, "Request_ResourceNotFound", kind)
	held, errs := d.Assignments(ctx, []string{sp.ObjectID})
	require.NoError(t, errs[0])
	assert.Equal(t, []provision.Assignment{grant}, held[0])

	got, err := tenant.AppClaims(client.AppID, product.AppID)
	require.NoError(t, err)
	assert.Equal(t, []string{"Product.Starter.All"}, got["roles"])
	assert.Equal(t, "app", got["idtyp"])
	require.NoError(t, d.Unassign(ctx, resource.ObjectID, grant.ID))
	require.NoError(t, d.RemovePassword(ctx, client.ObjectID, password.KeyID))
	require.NoError(t, d.DeleteApplication(ctx, client.ObjectID))
	assert.Equal(t, []string{"client"}, tenant.State().Deleted)
	gone, err := d.DeletedApplication(ctx, byName("client"))
	require.NoError(t, err)
	assert.Equal(t, client.ObjectID, gone.ObjectID)
	require.NoError(t, d.Restore(ctx, client.ObjectID))
	_, errs = d.ServicePrincipals(ctx, []provision.PrincipalRef{{AppID: client.AppID}})
	require.Error(t, errs[0], "restoring an application does not restore its service principal")
	require.NoError(t, d.Restore(ctx, sp.ObjectID))
	_, errs = d.ServicePrincipals(ctx, []provision.PrincipalRef{{AppID: client.AppID}})
	require.NoError(t, errs[0])
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	tenant := newTenant(t, entratest.Config{})
	id, err := directory(t, tenant, entratest.ApplicationAdministrator).Identity(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"Application Administrator"}, id.Roles)
	assert.Equal(t, tenant.ID(), id.TenantID)
	id, err = directory(t, tenant, entratest.ReadWriteOwned).Identity(t.Context())
	require.NoError(t, err)
	assert.Empty(t, id.Roles)
	assert.Equal(t, []string{"Application.ReadWrite.OwnedBy"}, id.GraphRoles)
	id, err = directory(t, tenant).Identity(t.Context())
	require.NoError(t, err)
	assert.Empty(t, id.Roles)
	assert.Empty(t, id.GraphRoles)
}

func TestRights(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	tenant := newTenant(t, entratest.Config{})
	admin := directory(t, tenant, entratest.ApplicationAdministrator)
	owned := directory(t, tenant, entratest.ReadWriteOwned)
	granter := directory(t, tenant, entratest.AssignAll, entratest.ReadApplications)
	nobody := directory(t, tenant)
	denied := func(err error) {
		t.Helper()
		status, kind := code(t, err)
		assert.Equal(t, 403, status)
		assert.Equal(t, "Authorization_RequestDenied", kind)
	}

	_, err := create(ctx, nobody, "x", productPatch())
	denied(err)
	foreign, err := create(ctx, admin, "foreign", productPatch())
	require.NoError(t, err)
	denied(owned.PatchApplication(ctx, foreign.ObjectID, provision.ApplicationPatch{Description: ref("mine")}))
	mine, err := create(ctx, owned, "mine", productPatch())
	require.NoError(t, err)
	resource, _, err := owned.UpsertServicePrincipal(ctx, mine.AppID, provision.ServicePrincipalPatch{})
	require.NoError(t, err)
	require.NoError(t, owned.PatchApplication(ctx, mine.ObjectID, provision.ApplicationPatch{Description: ref("mine")}))
	client, err := tenant.AddCaller("client")
	require.NoError(t, err)
	grant := provision.Assignment{PrincipalID: client.ObjectID, ResourceID: resource.ObjectID, RoleID: roleID}
	_, err = owned.Assign(ctx, grant)
	denied(err)
	_, err = granter.Assign(ctx, grant)
	require.NoError(t, err)
	denied(granter.PatchApplication(ctx, mine.ObjectID, provision.ApplicationPatch{}))

	tenant.SetPolicy(entratest.Policy{StrictOwnedBy: true})
	_, errs := owned.Applications(ctx, []provision.AppRef{byName("foreign"), byName("mine")})
	denied(errs[0])
	require.NoError(t, errs[1])
	_, err = owned.DeletedApplication(ctx, byName("x"))
	denied(err)
}

func TestFaults(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, tc := range []struct {
		kind   entratest.FaultKind
		status int // 0: transport
		done   bool
	}{
		{entratest.Throttle, 429, false}, {entratest.ThrottleBare, 429, false},
		{entratest.UnavailableBefore, 503, false}, {entratest.UnavailableAfter, 503, true},
		{entratest.TimeoutBefore, 504, false}, {entratest.TimeoutAfter, 504, true},
		{entratest.CutBefore, 0, false}, {entratest.CutAfter, 0, true},
	} {
		t.Run(tc.kind.String(), func(t *testing.T) {
			t.Parallel()
			tenant := newTenant(t, entratest.Config{})
			d := directory(t, tenant, entratest.ApplicationAdministrator)
			tenant.FailAt(tenant.Counts().Graph+1, entratest.Fault{Kind: tc.kind, RetryAfter: 7 * time.Second})
			_, err := create(ctx, d, "x", provision.ApplicationPatch{DisplayName: ref("x")})
			require.Error(t, err)
			var api *provision.APIError
			if errors.As(err, &api) {
				assert.Equal(t, tc.status, api.Status)
				assert.Equal(t, tc.kind == entratest.Throttle, api.RetryAfter == 7*time.Second)
			} else {
				assert.Zero(t, tc.status)
				assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
			}
			_, errs := d.Applications(ctx, []provision.AppRef{byName("x")})
			assert.Equal(t, tc.done, errs[0] == nil)
		})
	}
}

func TestFaultInBatch(t *testing.T) {
	t.Parallel()
	tenant := newTenant(t, entratest.Config{})
	d := directory(t, tenant, entratest.ApplicationAdministrator)
	_, err := create(t.Context(), d, "x", productPatch())
	require.NoError(t, err)
	refs := []provision.AppRef{byName("x"), byName("x"), byName("x")}
	n := tenant.Counts().Graph
	tenant.FailAt(n+3, entratest.Fault{Kind: entratest.Throttle}) // envelope, first item, second item
	_, errs := d.Applications(t.Context(), refs)
	require.NoError(t, errs[0])
	status, _ := code(t, errs[1])
	assert.Equal(t, 429, status)
	require.NoError(t, errs[2])
	tenant.FailAt(n+6, entratest.Fault{Kind: entratest.CutAfter})
	_, errs = d.Applications(t.Context(), refs)
	for _, err := range errs {
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	assert.Equal(t, 6, tenant.Counts().Graph-n)
}

// TestLagConverges reads while changes spread: each read shows a state that existed,
// and after the longest lag only the newest.
func TestLagConverges(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		c := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		lag := entratest.Lag{Min: time.Second, Max: 30 * time.Second}
		tenant := newTenant(t, entratest.Config{Seed: seed, Now: c.Now})
		d := directory(t, tenant, entratest.ApplicationAdministrator)
		tenant.SetLag(lag)
		app, err := create(t.Context(), d, "x", productPatch())
		require.NoError(t, err)
		written := []string{""}
		missed, stale := 0, 0
		for i := range 20 {
			text := string(rune('a' + i))
			if d.PatchApplication(t.Context(), app.ObjectID, provision.ApplicationPatch{Description: &text}) == nil {
				written = append(written, text) // else the replica does not know the application yet
			}
			c.Advance(500 * time.Millisecond)
			apps, errs := d.Applications(t.Context(), []provision.AppRef{{ObjectID: app.ObjectID}})
			if errs[0] != nil {
				missed++
				continue
			}
			require.Contains(t, written, apps[0].Description)
			if apps[0].Description != text {
				stale++
			}
		}
		assert.Positive(t, missed+stale, "seed %d: lag shows", seed)
		assert.False(t, tenant.Settled().After(c.Now().Add(lag.Max)))
		c.Advance(lag.Max)
		for range 20 {
			apps, errs := d.Applications(t.Context(), []provision.AppRef{{ObjectID: app.ObjectID}, byName("x")})
			require.NoError(t, errs[0])
			require.NoError(t, errs[1])
			require.Equal(t, written[len(written)-1], apps[0].Description)
		}
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	tenant := newTenant(t, entratest.Config{})
	d := directory(t, tenant, entratest.ApplicationAdministrator)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, errs := d.Applications(ctx, []provision.AppRef{byName("x")})
	require.ErrorIs(t, errs[0], context.Canceled)
}
