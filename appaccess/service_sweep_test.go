package appaccess_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/internal/race"
)

// The flow is cut off once, at each call of Entra and at each write of the
// store in turn, before or after the call took effect. The same call again
// then finishes, and in the end everything is as if nothing had happened.
func TestCutOffAnywhere(t *testing.T) {
	t.Parallel()
	undisturbed := newFixture(t)
	want := undisturbed.flow()
	for _, c := range []struct {
		name string
		arm  func(h *fixture, k int, after bool)
		hits func(h *fixture) int
	}{
		{"entra", func(h *fixture, k int, after bool) { h.entra.arm(k, after) }, func(h *fixture) int { return h.entra.calls }},
		{"store", func(h *fixture, k int, after bool) { h.store.arm(k, after) }, func(h *fixture) int { return h.store.updates }},
	} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,after=%t", c.name, after), func(t *testing.T) {
				t.Parallel()
				cuts, step := 0, 1
				if race.Enabled { // finds nothing more by the other cuts
					step = 5
				}
				for k := 1; ; k += step {
					h := newFixtureOn(t, memstore.New())
					c.arm(h, k, after)
					got := h.flow()
					require.Equal(t, want, got, "cut at %d", k)
					if c.hits(h) < k {
						break
					}
					cuts++
				}
				t.Logf("%d cuts", cuts)
				assert.Greater(t, cuts*step, 20)
			})
		}
	}
}

// flow makes most calls of a manager and a developer, each again until it succeeds,
// and returns the resulting state as text.
func (h *fixture) flow() string {
	h.t.Helper()
	h.untilDone("CreateUser", func() error {
		return errOf(h.CreateUser(ctx, boss, appaccess.UserRequest{ID: "ada", Name: "Ada"}))
	})
	h.untilDone("CreateUser", func() error {
		return errOf(h.CreateUser(ctx, boss, appaccess.UserRequest{ID: "eve", Name: "Eve"}))
	})
	h.untilDone("CreateAPI", func() error {
		return errOf(h.CreateAPI(ctx, boss, appaccess.APIRequest{ID: "orders", Name: "Orders", Path: "/orders"}))
	})
	h.untilDone("CreateProduct", func() error {
		return errOf(h.CreateProduct(ctx, boss, appaccess.ProductRequest{
			ID: "gold", Name: "Gold", Published: true, APIs: []string{"orders"}, Access: appaccess.Access{Token: true},
		}))
	})
	h.untilDone("SetAccess", func() error {
		return errOf(h.SetAccess(ctx, boss, "starter", appaccess.AccessRequest{Access: appaccess.Access{Token: true}}))
	})
	for _, id := range []string{"billing", "archive"} {
		h.untilDone("RegisterApplication", func() error {
			return errOf(h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{ID: id, Name: id, OwnerID: "ada", Grants: appaccess.GrantsOfAll("gold", "starter")}))
		})
	}
	var first, second, third appaccess.IssuedSecret
	h.untilDone("AddSecret", func() (err error) {
		first, err = h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
		return err
	})
	assert.True(h.t, h.entra.works("billing", first.Value.Reveal()))
	h.untilDone("AddSecret", func() (err error) {
		second, err = h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Rotate: true})
		return err
	})
	h.untilDone("AddFederatedCredential", func() error {
		return errOf(h.AddFederatedCredential(ctx, ada, "billing", appaccess.FederatedRequest{Name: "cloud", Issuer: "https://ci.example.com", Subject: "main"}))
	})
	var sealed appaccess.OneTimeSecret
	h.untilDone("CreateOneTimeSecret", func() (err error) {
		sealed, err = h.CreateOneTimeSecret(ctx, boss, "archive", appaccess.SecretRequest{})
		return err
	})
	h.untilDone("OneTimeSecrets", func() error {
		waiting, err := h.OneTimeSecrets(ctx, ada, "archive")
		assert.Len(h.t, waiting, 1)
		assert.Equal(h.t, sealed.ID, waiting[0].ID)
		return err
	})
	h.untilDone("SetPermissions", func() error {
		return errOf(h.SetPermissions(ctx, boss, "starter", appaccess.PermissionsRequest{Permissions: []appaccess.Permission{{Name: "Read"}, {Name: "Write"}}}))
	})
	reading := appaccess.Grants{{Product: "starter", Permissions: []string{"Read"}}}
	h.untilDone("RegisterApplication", func() error {
		return errOf(h.RegisterApplication(ctx, boss, appaccess.ApplicationRequest{
			ID: "vm", Name: "vm", OwnerID: "ada", Grants: reading,
			ServicePrincipal: appaccess.ServicePrincipal{ObjectID: "11112222-bbbb-3333-cccc-4444dddd5555"},
		}))
	})
	h.untilDone("transfer", func() error { return handedOver(h.Service, "vm") })
	var asked string
	h.untilDone("ApproveRequest", func() (err error) {
		asked, err = approvedApplication(h.Service, reading)
		return err
	})
	assert.Equal(h.t, reading, h.entra.apps[asked].Grants)
	h.untilDone("DeleteApplication", func() error { return h.DeleteApplication(ctx, boss, asked) })
	h.untilDone("RevokeProducts", func() error { return errOf(h.RevokeProducts(ctx, boss, "billing", []string{"gold"})) })
	h.untilDone("GrantProducts", func() error { return errOf(h.GrantProducts(ctx, boss, "billing", appaccess.GrantsOfAll("gold"))) })
	h.untilDone("BlockUser", func() error { return errOf(h.BlockUser(ctx, boss, "ada")) })
	assert.True(h.t, h.entra.apps["billing"].Disabled)
	h.untilDone("UnblockUser", func() error { return errOf(h.UnblockUser(ctx, boss, "ada")) })
	h.untilDone("SuspendApplication", func() error { return errOf(h.SuspendApplication(ctx, boss, "billing")) })
	h.untilDone("ResumeApplication", func() error { return errOf(h.ResumeApplication(ctx, boss, "billing")) })
	h.untilDone("UpdateProduct", func() error {
		return errOf(h.UpdateProduct(ctx, boss, "starter", appaccess.ProductUpdate{Description: ptr("New")}))
	})
	h.untilDone("SetAccess", func() error {
		return errOf(h.SetAccess(ctx, boss, "gold", appaccess.AccessRequest{Access: appaccess.Access{Key: true}, Force: true}))
	})
	h.untilDone("SetAccess", func() error {
		return errOf(h.SetAccess(ctx, boss, "gold", appaccess.AccessRequest{Access: appaccess.Access{Token: true, Key: true}}))
	})
	h.untilDone("DeleteApplication", func() error { return h.DeleteApplication(ctx, boss, "archive") })
	h.untilDone("AddSecret", func() (err error) {
		third, err = h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{})
		return err
	})
	h.untilDone("RemoveCredential", func() error { return h.RemoveCredential(ctx, ada, "billing", third.Credential.ID) })
	h.untilDone("DeleteProduct", func() error { return h.DeleteProduct(ctx, boss, "gold", true) })
	h.untilDone("Sync", func() error { return errOf(h.Sync(ctx, boss, appaccess.SyncRequest{})) })

	assert.False(h.t, h.entra.works("billing", first.Value.Reveal()), "replaced without an overlap")
	assert.True(h.t, h.entra.works("billing", second.Value.Reveal()), "the one in use")
	return h.state()
}

// untilDone makes a call as somebody would who meets errors: again, as long as
// trying again can help. What a lost answer of the store hid is done.
func (h *fixture) untilDone(name string, call func() error) {
	h.t.Helper()
	for try := 0; ; try++ {
		err := call()
		var provision *appaccess.ProvisionError
		var conflict *appaccess.ConflictError
		switch {
		case err == nil:
			return
		case errors.As(err, &conflict) && (conflict.Field == "id" || conflict.Field == "name") && try > 0,
			errors.Is(err, appaccess.ErrNotFound) && try > 0:
			return // it exists, or is gone, already
		case !errors.As(err, &provision) && !errors.Is(err, appaccess.ErrUnavailable):
			require.NoError(h.t, err, name)
		}
		require.Less(h.t, try, 4, "%s: %v", name, err)
	}
}

// state is everything that matters: the configuration, what Entra holds, and
// that each side knows the same credentials.
func (h *fixture) state() string {
	h.t.Helper()
	var b bytes.Buffer
	d, err := exported(h.Service)
	require.NoError(h.t, err)
	require.NoError(h.t, d.Write(&b))
	apps, err := h.Applications(ctx, boss, appaccess.Filter{})
	require.NoError(h.t, err)
	for _, a := range apps.Items {
		creds, err := h.Credentials(ctx, boss, a.ID)
		require.NoError(h.t, err)
		var here, there, told []string
		for _, c := range creds {
			here = append(here, c.KeyID)
			told = append(told, fmt.Sprintln(a.ID, a.State, a.Sync.Pending, c.Kind, c.Name, c.RemoveAfter.IsZero()))
		}
		slices.Sort(told)
		fmt.Fprintln(&b, told)
		for _, c := range h.entra.creds[a.ID] {
			there = append(there, c.KeyID)
		}
		assert.ElementsMatch(h.t, here, there, "credentials of %s", a.ID)
	}
	fmt.Fprintln(&b, h.entra.products, h.entra.apps)
	left := 0
	require.NoError(h.t, h.store.View(ctx, func(r appaccess.Reader) error {
		left = len(records(h.t, r, "operation")) + len(records(h.t, r, appaccess.KindOneTimeSecret))
		return nil
	}))
	assert.Zero(h.t, left, "operations or one-time secrets left behind")
	return b.String()
}
