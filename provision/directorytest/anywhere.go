package directorytest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/wait"
	"github.com/entragate/entragate/provision"
)

// Tenant is a tenant of any kind, a real one too.
type Tenant struct {
	// Open makes a Directory whose identity may manage applications and grant app
	// roles. Required.
	Open func(t *testing.T) provision.Directory
	// Patience is how long a read may lag behind a write; 0: 5 minutes.
	Patience time.Duration
}

// RunOn tests a Directory on a tenant that others may use at the same time. It
// creates a few applications with random unique names and deletes them again; Entra
// keeps deleted applications for 30 days. The tests run one after the other and wait
// for lagging replicas in real time. [Run], which needs package entratest, tests
// faults, lists of many pages and policies.
func RunOn(t *testing.T, tenant Tenant) {
	if tenant.Patience == 0 {
		tenant.Patience = 5 * time.Minute
	}
	for name, test := range anywhere {
		t.Run(name, func(t *testing.T) { test(site{t, tenant.Open(t), tenant.Patience}) })
	}
}

// site is a test on a tenant of any kind.
type site struct {
	*testing.T
	d        provision.Directory
	patience time.Duration
}

// eventually repeats a call, whose object a replica may not know yet, until it
// succeeds.
func (s site) eventually(what string, call func() error) {
	s.Helper()
	until := time.Now().Add(s.patience)
	for pause := 250 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := call()
		if err == nil {
			return
		}
		require.True(s, time.Now().Before(until), "%s: %v", what, err)
		require.NoError(s, wait.For(s.Context(), pause))
	}
}

// create creates an application, which the end of the test deletes.
func (s site) create(patch provision.ApplicationPatch) provision.Application {
	s.Helper()
	name := "entragate-conformance-" + uuid.NewString()
	patch.UniqueName, patch.DisplayName, patch.SignInAudience = &name, &name, new("AzureADMyOrg")
	app, err := s.d.CreateApplication(s.Context(), patch)
	require.NoError(s, err)
	require.NotEmpty(s, app.ObjectID)
	s.Cleanup(func() {
		clean := site{s.T, s.d, s.patience}
		clean.deleted(app.ObjectID)
	})
	s.shows(app.ObjectID, func(a provision.Application) bool { return a.UniqueName == name })
	return app
}

// deleted deletes an application after the test's context has ended.
func (s site) deleted(objectID string) {
	ctx, cancel := contextFor(s.patience)
	defer cancel()
	for {
		err := s.d.DeleteApplication(ctx, objectID)
		if err == nil || statusOf(err) == 404 {
			return
		}
		if wait.For(ctx, time.Second) != nil {
			s.Errorf("application %s could not be deleted: delete it by hand: %v", objectID, err)
			return
		}
	}
}

// shows waits until a read of an application shows what it should.
func (s site) shows(objectID string, as func(provision.Application) bool) (app provision.Application) {
	s.Helper()
	s.eventually("read the application", func() error {
		apps, errs := s.d.Applications(s.Context(), []provision.AppRef{{ObjectID: objectID}})
		if errs[0] == nil && !as(apps[0]) {
			return errNotYet
		}
		app = apps[0]
		return errs[0]
	})
	return app
}

// principal creates the service principal of an application.
func (s site) principal(app provision.Application) (sp provision.ServicePrincipal) {
	s.Helper()
	s.eventually("create the service principal", func() error {
		made, created, err := s.d.UpsertServicePrincipal(s.Context(), app.AppID, provision.ServicePrincipalPatch{AccountEnabled: new(true)})
		if created {
			sp = made
		}
		return err
	})
	require.NotEmpty(s, sp.ObjectID)
	return sp
}

var anywhere = map[string]func(site){
	"the caller is known": func(s site) {
		id, err := s.d.Identity(s.Context())
		require.NoError(s, err)
		assert.NotEmpty(s, id.ObjectID)
		assert.NotEmpty(s, id.TenantID)
		assert.False(s, id.TokenEnd.IsZero())
	},

	"an application is created, changed, found and restored": func(s site) {
		tag := "entragate-conformance:" + uuid.NewString()
		app := s.create(provision.ApplicationPatch{Tags: list(tag), AppRoles: roles(role("Buy")), AccessTokenVersion: new(2)})
		uri := "api://" + app.AppID
		require.NoError(s, s.d.PatchApplication(s.Context(), app.ObjectID, provision.ApplicationPatch{
			Description: new("of a test"), IdentifierURIs: list(uri), AccessTokenClaims: list("idtyp"),
		}))
		now := s.shows(app.ObjectID, func(a provision.Application) bool { return a.Description == "of a test" })
		assert.Equal(s, []string{uri}, now.IdentifierURIs)
		assert.Equal(s, []string{"idtyp"}, now.AccessTokenClaims)
		assert.Equal(s, 2, now.AccessTokenVersion)
		assert.Equal(s, "Buy", now.AppRoles[0].Value)
		s.eventually("list by tag", func() error {
			found, err := s.d.TaggedApplications(s.Context(), tag)
			if err == nil && len(found) != 1 {
				return errNotYet
			}
			return err
		})
		_, err := s.d.CreateApplication(s.Context(), provision.ApplicationPatch{UniqueName: &now.UniqueName, DisplayName: new("twin")})
		assert.Contains(s, []int{400, 409}, statusOf(err), "%v", err)

		require.NoError(s, s.d.DeleteApplication(s.Context(), app.ObjectID))
		s.eventually("restore", func() error { return s.d.Restore(s.Context(), app.ObjectID) })
		s.shows(app.ObjectID, func(a provision.Application) bool { return a.AppID == app.AppID })
	},

	"a role is granted and revoked": func(s site) {
		product := s.create(provision.ApplicationPatch{AppRoles: roles(role("Buy"))})
		client := s.create(provision.ApplicationPatch{})
		resource, principal := s.principal(product), s.principal(client)
		want := provision.Assignment{PrincipalID: principal.ObjectID, ResourceID: resource.ObjectID, RoleID: role("Buy").ID}
		var made provision.Assignment
		s.eventually("grant", func() (err error) {
			made, err = s.d.Assign(s.Context(), want)
			return err
		})
		held := func(n int) {
			s.eventually("read the grants", func() error {
				lists, errs := s.d.Assignments(s.Context(), []string{principal.ObjectID})
				if errs[0] == nil && len(lists[0]) != n {
					return errNotYet
				}
				return errs[0]
			})
		}
		held(1)
		_, err := s.d.Assign(s.Context(), want)
		assert.Contains(s, []int{400, 409}, statusOf(err), "a second grant: %v", err)
		require.NoError(s, s.d.Unassign(s.Context(), made.ResourceID, made.ID))
		held(0)
	},

	"credentials are added and removed": func(s site) {
		app := s.create(provision.ApplicationPatch{})
		var secret provision.Password
		s.eventually("add a secret", func() (err error) {
			secret, err = s.d.AddPassword(s.Context(), app.ObjectID, provision.PasswordRequest{DisplayName: "of a test", End: time.Now().Add(time.Hour)})
			return err
		})
		assert.False(s, secret.SecretText.IsZero())
		key := certificate(bench{T: s.T}, "of a test")
		require.NoError(s, s.d.PatchApplication(s.Context(), app.ObjectID, provision.ApplicationPatch{Keys: &[]provision.KeyCredential{key}}))
		now := s.shows(app.ObjectID, func(a provision.Application) bool { return len(a.Keys) == 1 && len(a.Passwords) == 1 })
		// Sent back as it was read, the certificate is no change.
		require.NoError(s, s.d.PatchApplication(s.Context(), app.ObjectID, provision.ApplicationPatch{Keys: &now.Keys}))
		require.NoError(s, s.d.PatchApplication(s.Context(), app.ObjectID, provision.ApplicationPatch{Keys: new([]provision.KeyCredential)}))
		s.eventually("remove the secret", func() error { return s.d.RemovePassword(s.Context(), app.ObjectID, secret.KeyID) })
		var federated provision.FederatedCredential
		s.eventually("add a federated credential", func() (err error) {
			federated, err = s.d.AddFederatedCredential(s.Context(), app.ObjectID, provision.FederatedCredential{
				Name: "of-a-test", Issuer: "https://issuer.example", Subject: "subject", Audiences: []string{"api://AzureADTokenExchange"},
			})
			return err
		})
		s.eventually("remove the federated credential", func() error {
			return s.d.RemoveFederatedCredential(s.Context(), app.ObjectID, federated.ID)
		})
	},

	"an ID that is empty or leads elsewhere is refused": func(s site) {
		for _, id := range []string{"", ".", "..", "a/b", strings.Repeat("x", 300)} {
			err := s.d.PatchApplication(s.Context(), id, provision.ApplicationPatch{Description: new("x")})
			require.Error(s, err, "%q", id)
			assert.Zero(s, statusOf(err), "%q: no request is sent", id)
		}
		_, errs := s.d.Applications(s.Context(), []provision.AppRef{{}})
		assert.Error(s, errs[0])
	},

	"permissions of all types are kept": func(s site) {
		ask := []provision.RequiredAccess{{
			ResourceAppID: "00000003-0000-0000-c000-000000000000",
			Roles:         []string{"9a5d68dd-52b0-4cc2-bd40-abcf4ac3a30e"}, Scopes: []string{"e1fe6dd8-ba31-4d61-89e7-88639da4683d"},
		}}
		app := s.create(provision.ApplicationPatch{RequiredAccess: &ask})
		now := s.shows(app.ObjectID, func(a provision.Application) bool { return len(a.RequiredAccess) == 1 })
		assert.Equal(s, ask, now.RequiredAccess)
		assert.Empty(s, now.Description, "null reads as empty")
	},
}
