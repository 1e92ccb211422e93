package directorytest

import (
	"context"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

var trouble = map[string]func(bench){
	"the caller is known by name and by what it may do": func(b bench) {
		s := entratest.NewServer(b.T, entratest.Config{})
		c, err := s.AddCaller("provisioner", entratest.ApplicationAdministrator, entratest.ReadWriteOwned, entratest.AssignAll)
		require.NoError(b, err)
		id, err := b.open(b.T, s, c).Identity(b.Context())
		require.NoError(b, err)
		assert.Equal(b, c.ObjectID, id.ObjectID)
		assert.Equal(b, c.AppID, id.AppID)
		assert.Equal(b, s.ID(), id.TenantID)
		assert.Equal(b, "provisioner", id.Name)
		assert.Equal(b, []string{"Application Administrator"}, id.Roles)
		assert.ElementsMatch(b, []string{"Application.ReadWrite.OwnedBy", "AppRoleAssignment.ReadWrite.All"}, id.GraphRoles)
	},

	"a caller without rights is known, too": func(b bench) {
		p := b.tenantFor(entratest.Config{})
		id, err := p.d.Identity(b.Context())
		require.NoError(b, err)
		assert.Empty(b, id.Roles)
		assert.Empty(b, id.GraphRoles)
		assert.NotEmpty(b, id.ObjectID)
	},

	"a caller without rights is denied": func(b bench) {
		p := b.tenantFor(entratest.Config{})
		_, err := p.d.CreateApplication(b.Context(), provision.ApplicationPatch{UniqueName: new("shop"), DisplayName: new("x")})
		refused(b, err, 403, "Authorization_RequestDenied")
		reg, err := p.AddApplication(entratest.App{Name: "other"})
		require.NoError(b, err)
		_, err = p.d.AddPassword(b.Context(), reg.ApplicationID, provision.PasswordRequest{DisplayName: "d"})
		refused(b, err, 403, "Authorization_RequestDenied")
	},

	"an answer that is not a success is an APIError, after one request": func(b bench) {
		for kind, want := range map[entratest.FaultKind]provision.APIError{
			entratest.Throttle:          {Status: 429, RetryAfter: 7 * time.Second},
			entratest.ThrottleBare:      {Status: 429},
			entratest.UnavailableBefore: {Status: 503},
			entratest.UnavailableAfter:  {Status: 503},
			entratest.TimeoutBefore:     {Status: 504},
			entratest.TimeoutAfter:      {Status: 504},
			entratest.Refuse:            {Status: 409, Code: "Conflict", Message: "made up"},
		} {
			p := b.tenant(entratest.Config{})
			calls := p.calls()
			fault := entratest.Fault{Kind: kind, RetryAfter: 7 * time.Second, Status: 409, Code: "Conflict", Message: "made up"}
			for name, call := range calls {
				p.OnRequest(func(r entratest.Request) entratest.Fault {
					if r.Service == entratest.GraphService {
						return fault
					}
					return entratest.Fault{}
				})
				p.ResetCounts()
				for _, err := range call(b.Context()) {
					var api *provision.APIError
					require.ErrorAs(b, err, &api, "%s, %s", name, kind)
					assert.Equal(b, want.Status, api.Status, "%s, %s", name, kind)
					if want.Code != "" {
						assert.Equal(b, want.Code, api.Code)
						assert.Equal(b, want.Message, api.Message)
					}
					if kind == entratest.Throttle || kind == entratest.ThrottleBare {
						assert.Equal(b, want.RetryAfter, api.RetryAfter, "%s, %s", name, kind)
					}
				}
				assert.Equal(b, 1, p.Counts().Requests, "%s is sent once after %s", name, kind)
			}
		}
	},

	"a cut connection leaves the outcome unknown, after one request": func(b bench) {
		for _, kind := range []entratest.FaultKind{entratest.CutBefore, entratest.CutAfter} {
			p := b.tenant(entratest.Config{})
			for name, call := range p.calls() {
				p.OnRequest(func(r entratest.Request) entratest.Fault {
					if r.Service == entratest.GraphService {
						return entratest.Fault{Kind: kind}
					}
					return entratest.Fault{}
				})
				p.ResetCounts()
				for _, err := range call(b.Context()) {
					unknown(b, err)
				}
				if !reads[name] { // net/http itself may repeat a read on a connection that it had used before
					assert.Equal(b, 1, p.Counts().Requests, "%s is sent once", name)
				}
			}
		}
	},

	"what was done before the answer was lost stays": func(b bench) {
		p := b.tenant(entratest.Config{})
		ctx := b.Context()
		for i, kind := range []entratest.FaultKind{entratest.UnavailableAfter, entratest.TimeoutAfter, entratest.CutAfter} {
			name := numbered("after", i)
			p.failNext(kind)
			_, err := p.d.CreateApplication(ctx, provision.ApplicationPatch{UniqueName: &name, DisplayName: new("x")})
			require.Error(b, err)
			app := p.read(provision.AppRef{UniqueName: name})
			assert.Equal(b, "x", app.DisplayName)

			p.failNext(kind)
			_, err = p.d.AddPassword(ctx, app.ObjectID, provision.PasswordRequest{DisplayName: "op"})
			require.Error(b, err)
			assert.Len(b, p.read(provision.AppRef{UniqueName: name}).Passwords, 1)
		}
		for i, kind := range []entratest.FaultKind{entratest.UnavailableBefore, entratest.TimeoutBefore, entratest.CutBefore, entratest.Throttle} {
			name := numbered("before", i)
			p.failNext(kind)
			_, err := p.d.CreateApplication(ctx, provision.ApplicationPatch{UniqueName: &name, DisplayName: new("x")})
			require.Error(b, err)
			_, errs := p.d.Applications(ctx, []provision.AppRef{{UniqueName: name}})
			refused(b, errs[0], 404, notFound)
		}
	},

	"a write that is sent again arrives whole": func(b bench) {
		p := b.tenant(entratest.Config{})
		patch := provision.ApplicationPatch{UniqueName: new("shop"), DisplayName: new("x"), Tags: list("one", "two"), AppRoles: roles(role("Buy"))}
		for _, kind := range []entratest.FaultKind{entratest.Throttle, entratest.UnavailableBefore, entratest.TimeoutBefore, entratest.CutBefore} {
			p.failNext(kind)
			_, err := p.d.CreateApplication(b.Context(), patch)
			require.Error(b, err)
		}
		app := p.create("shop", patch)
		assert.Equal(b, *patch.Tags, app.Tags)
		assert.Equal(b, *patch.AppRoles, app.AppRoles)
	},

	"one item of many fails alone": func(b bench) {
		p := b.tenant(entratest.Config{})
		var refs []provision.AppRef
		for i := range 22 {
			p.create(numbered("app", i), provision.ApplicationPatch{})
			refs = append(refs, provision.AppRef{UniqueName: numbered("app", i)})
		}
		items := 0
		p.OnRequest(func(r entratest.Request) entratest.Fault {
			if r.Item {
				if items++; items%5 == 0 {
					return entratest.Fault{Kind: entratest.Throttle, RetryAfter: 3 * time.Second}
				}
			}
			return entratest.Fault{}
		})
		apps, errs := p.d.Applications(b.Context(), refs)
		failed := 0
		for i, err := range errs {
			if err == nil {
				assert.Equal(b, refs[i].UniqueName, apps[i].UniqueName)
				continue
			}
			failed++
			var api *provision.APIError
			require.ErrorAs(b, err, &api)
			assert.Equal(b, 429, api.Status)
			assert.Equal(b, 3*time.Second, api.RetryAfter)
		}
		assert.Equal(b, 4, failed)
	},

	"a context that ended ends the call": func(b bench) {
		p := b.tenant(entratest.Config{})
		calls := p.calls()
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		p.ResetCounts()
		for name, call := range calls {
			for _, err := range call(ctx) {
				require.ErrorIs(b, err, context.Canceled, name)
			}
		}
		assert.Zero(b, p.Counts().Writes)
	},

	"calls may be made at once": func(b bench) {
		p := b.tenant(entratest.Config{})
		app := p.create("shared", provision.ApplicationPatch{})
		var wait sync.WaitGroup
		for i := range 16 {
			wait.Go(func() {
				name := numbered("app", i)
				mine, err := p.d.CreateApplication(b.Context(), provision.ApplicationPatch{UniqueName: &name, DisplayName: &name})
				assert.NoError(b, err)
				assert.NoError(b, p.d.PatchApplication(b.Context(), mine.ObjectID, provision.ApplicationPatch{Tags: list(name)}))
				apps, errs := p.d.Applications(b.Context(), []provision.AppRef{{ObjectID: mine.ObjectID}, {UniqueName: "shared"}, {AppID: mine.AppID}})
				for _, err := range errs {
					assert.NoError(b, err)
				}
				assert.Equal(b, []string{name}, apps[0].Tags)
				assert.Equal(b, app.AppID, apps[1].AppID)
				assert.Equal(b, name, apps[2].DisplayName)
			})
		}
		wait.Wait()
	},
}

// reads are the calls that change nothing.
var reads = map[string]bool{
	"Applications": true, "many Applications": true, "ServicePrincipals": true, "Assignments": true, "AssignedTo": true,
	"FederatedCredentials": true, "DeletedApplication": true,
}

// calls returns one call of every method, on existing objects. Each returns its error,
// or the errors of its items.
func (p place) calls() map[string]func(context.Context) []error {
	p.Helper()
	app, sp := p.service("standing", provision.ApplicationPatch{AppRoles: roles(role("Buy"))})
	d, one := p.d, func(err error) []error { return []error{err} }
	return map[string]func(context.Context) []error{
		"Applications": func(ctx context.Context) []error {
			_, errs := d.Applications(ctx, []provision.AppRef{{UniqueName: "standing"}})
			return errs
		},
		"many Applications": func(ctx context.Context) []error {
			_, errs := d.Applications(ctx, []provision.AppRef{{UniqueName: "standing"}, {AppID: app.AppID}, {ObjectID: app.ObjectID}})
			return errs
		},
		"ServicePrincipals": func(ctx context.Context) []error {
			_, errs := d.ServicePrincipals(ctx, []provision.PrincipalRef{{AppID: app.AppID}})
			return errs
		},
		"Assignments": func(ctx context.Context) []error {
			_, errs := d.Assignments(ctx, []string{sp.ObjectID})
			return errs
		},
		"AssignedTo": func(ctx context.Context) []error {
			_, errs := d.AssignedTo(ctx, []string{sp.ObjectID})
			return errs
		},
		"CreateApplication": func(ctx context.Context) []error {
			_, err := d.CreateApplication(ctx, provision.ApplicationPatch{DisplayName: new("another")})
			return one(err)
		},
		"PatchApplication": func(ctx context.Context) []error {
			return one(d.PatchApplication(ctx, app.ObjectID, provision.ApplicationPatch{Description: new("d")}))
		},
		"UpsertServicePrincipal": func(ctx context.Context) []error {
			_, _, err := d.UpsertServicePrincipal(ctx, app.AppID, provision.ServicePrincipalPatch{Tags: list("t")})
			return one(err)
		},
		"Assign": func(ctx context.Context) []error {
			_, err := d.Assign(ctx, provision.Assignment{PrincipalID: sp.ObjectID, ResourceID: sp.ObjectID, RoleID: role("Buy").ID})
			return one(err)
		},
		"Unassign": func(ctx context.Context) []error { return one(d.Unassign(ctx, sp.ObjectID, "none")) },
		"AddPassword": func(ctx context.Context) []error {
			_, err := d.AddPassword(ctx, app.ObjectID, provision.PasswordRequest{DisplayName: "d"})
			return one(err)
		},
		"RemovePassword": func(ctx context.Context) []error { return one(d.RemovePassword(ctx, app.ObjectID, nobody)) },
		"FederatedCredentials": func(ctx context.Context) []error {
			_, errs := d.FederatedCredentials(ctx, []string{app.ObjectID})
			return errs
		},
		"AddFederatedCredential": func(ctx context.Context) []error {
			_, err := d.AddFederatedCredential(ctx, app.ObjectID, provision.FederatedCredential{Name: "n", Issuer: "https://i.example", Subject: "s", Audiences: []string{"a"}})
			return one(err)
		},
		"RemoveFederatedCredential": func(ctx context.Context) []error {
			return one(d.RemoveFederatedCredential(ctx, app.ObjectID, nobody))
		},
		"DeletedApplication": func(ctx context.Context) []error {
			_, err := d.DeletedApplication(ctx, provision.AppRef{ObjectID: nobody})
			return one(err)
		},
		"Restore":                func(ctx context.Context) []error { return one(d.Restore(ctx, nobody)) },
		"DeleteServicePrincipal": func(ctx context.Context) []error { return one(d.DeleteServicePrincipal(ctx, nobody)) },
		"DeleteApplication":      func(ctx context.Context) []error { return one(d.DeleteApplication(ctx, nobody)) },
	}
}

// failNext makes the next request to Graph fail, and only that one.
func (p place) failNext(kind entratest.FaultKind) {
	p.FailAt(p.Counts().Graph+1, entratest.Fault{Kind: kind})
}
