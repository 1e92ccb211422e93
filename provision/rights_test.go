package provision_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// TestDenied: without the role nothing is done, and the error says which role to
// assign, to whom, and who may do that.
func TestDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{}, entratest.ReadDirectory)
	e := w.engine()
	start := w.clock.Now()
	applied, err := e.Apply(t.Context(), starter(), nil)
	require.NoError(t, err)
	assert.Less(t, w.clock.Now().Sub(start), 90*time.Second, "a refusal is not waited for as lag is")
	var pe *provision.Error
	require.ErrorAs(t, applied.Failed["product starter"], &pe)
	assert.Equal(t, provision.Permanent, pe.Kind)
	assert.NotErrorIs(t, pe, appaccess.ErrUnavailable)
	for _, part := range []string{"Application Administrator", "Privileged Role Administrator", `"entragate"`, w.caller.ObjectID} {
		assert.Contains(t, pe.Error(), part)
	}
	require.ErrorAs(t, applied.Failed["application c1"], &pe)

	p, err := e.Preflight(t.Context())
	require.NoError(t, err)
	assert.False(t, p.OK)
	assert.Contains(t, p.Identity, w.caller.ObjectID)
	var remedies []string
	for _, c := range p.Checks {
		if !c.OK {
			remedies = append(remedies, c.Name+": "+c.Remedy)
		}
	}
	require.Len(t, remedies, 2, "%v", p.Checks)
	assert.Contains(t, remedies[0], "manage applications: assign the Application Administrator role")
	assert.Contains(t, remedies[1], "grant app roles: assign the Application Administrator role")
	assert.Contains(t, remedies[1], "Privileged Role Administrator")
}

func TestPreflightOfAnAdministrator(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{}, entratest.ApplicationAdministrator)
	p, err := w.engine().Preflight(t.Context())
	require.NoError(t, err)
	assert.True(t, p.OK, "%v", p.Checks)
	assert.Len(t, p.Checks, 4)
	assert.Zero(t, w.tenant.Counts().Writes)
	assert.Equal(t, w.tenant.ID(), p.TenantID)
	assert.Equal(t, "test", p.Instance)
	assert.Empty(t, p.Installation, "nothing was made yet")
}

// TestLeastPrivilege: an identity that may manage only its own applications,
// and another one that grants, do everything that the administrator does.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]entratest.Policy{"usual": {}, "strict": {StrictOwnedBy: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, entratest.Config{Policy: policy}, entratest.ReadWriteOwned)
			granter, err := w.tenant.AddCaller("granter", entratest.AssignAll, entratest.ReadApplications)
			require.NoError(t, err)
			cfg := w.config()
			cfg.GrantDirectory = w.tenant.Directory(granter)
			e := w.engineOf(cfg)
			p, err := e.Preflight(t.Context())
			require.NoError(t, err)
			assert.True(t, p.OK, "%v", p.Checks)

			apply := func(want memstore.Desired) appaccess.Applied {
				applied, err := e.Apply(t.Context(), want, nil)
				require.NoError(t, err)
				require.Empty(t, applied.Failed)
				return applied
			}
			want := starter()
			applied, v := apply(want), newVault()
			c, err := e.AddCredential(t.Context(), "c1", v.request("1"))
			require.NoError(t, err)
			require.NoError(t, w.token(applied.Applications["c1"].AppID, v.secrets[c.KeyID], applied.Products["starter"].AppID))
			w.settle()
			assert.Zero(t, w.writes(func() { apply(want) }))
			want.Applications[0].Grants = nil
			apply(want)
			assert.Empty(t, w.app("application", "c1").Grants)
			require.NoError(t, e.RemoveCredential(t.Context(), "c1", c))
			want.Applications[0] = appaccess.DesiredApplication{ID: "c1", Deleted: true}
			apply(want)
			assert.Nil(t, w.app("application", "c1"))

			// Alone the first identity cannot grant, and preflight knows.
			cfg.GrantDirectory = nil
			p, err = w.engineOf(cfg).Preflight(t.Context())
			require.NoError(t, err)
			assert.False(t, p.OK)
		})
	}
}

// TestAdoption takes over an application that stands: by its client ID, with
// what is in it, and gives it back when it is no longer wanted.
func TestAdoption(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	old, err := w.tenant.AddApplication(entratest.App{Name: "Old API", Roles: []string{"Old.Read"}, Tags: []string{"theirs"}, URIs: []string{"api://{appId}/old"}})
	require.NoError(t, err)
	want := starter()
	want.Products[0].Adopt = old.AppID
	plan, err := w.engine().Plan(t.Context(), want)
	require.NoError(t, err)
	require.NotEmpty(t, plan.Steps)
	assert.Equal(t, appaccess.ActionAdopt, plan.Steps[0].Action)
	assert.Contains(t, plan.Steps[0].Detail, "it keeps access token version 1, which the gate must accept")

	applied := w.apply(want)
	assert.Equal(t, old.AppID, applied.Products["starter"].AppID)
	p := w.app("product", "starter")
	require.NotNil(t, p, "it has our unique name now")
	assert.Equal(t, []string{"Old.Read", "Product.Starter.All"}, sorted(p.Roles))
	assert.Equal(t, []string{"api://{appId}", "api://{appId}/old"}, sorted(p.URIs))
	assert.Contains(t, p.Tags, "entragate:entragate-test-product-starter")
	assert.Contains(t, p.Tags, "theirs")
	w.settle()
	assert.Zero(t, w.writes(func() { w.apply(want) }))
	want.Products[0].Adopt = "" // as a Service forgets it once it is done
	assert.Zero(t, w.writes(func() { w.apply(want) }))

	other, err := w.tenant.AddApplication(entratest.App{Name: "Another"})
	require.NoError(t, err)
	want.Products[0].Adopt = other.AppID
	failed, err := w.engine().Apply(t.Context(), want, nil)
	require.NoError(t, err)
	var conflict *appaccess.ConflictError
	assert.ErrorAs(t, failed.Failed["product starter"], &conflict, "it has one already")

	w.apply(memstore.Desired{Products: []appaccess.DesiredProduct{{ID: "starter", Deleted: true}}, Applications: []appaccess.DesiredApplication{{ID: "c1", Deleted: true}}})
	p = w.app("product", "starter")
	require.NotNil(t, p, "what was adopted is not deleted")
	assert.Equal(t, []string{"Old.Read"}, p.Roles)
	assert.Equal(t, []string{"theirs"}, p.Tags)
	assert.Nil(t, w.app("application", "c1"))
}

func TestAdoptionIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	want := starter()
	want.Products[0].Adopt = "00000000-1111-2222-3333-444444444444"
	applied, err := w.engine().Apply(t.Context(), want, nil)
	require.NoError(t, err)
	assert.ErrorIs(t, applied.Failed["product starter"], appaccess.ErrNotFound)

	taken := w.apply(memstore.Desired{Products: products("gold")})
	want.Products[0].Adopt = taken.Products["gold"].AppID
	applied, err = w.engine().Apply(t.Context(), want, nil)
	require.NoError(t, err)
	assert.ErrorIs(t, applied.Failed["product starter"], provision.ErrNotOurs, "another product's")
	assert.ErrorContains(t, applied.Failed["product starter"], "product gold of this installation manages")

	// A name alone proves nothing.
	_, err = w.tenant.AddApplication(entratest.App{Name: "Thief", UniqueName: "entragate-test-product-iron"})
	require.NoError(t, err)
	before := stateOf(w.tenant)
	applied, err = w.engine().Apply(t.Context(), memstore.Desired{Products: products("iron")}, nil)
	require.NoError(t, err)
	assert.ErrorIs(t, applied.Failed["product iron"], provision.ErrNotOurs)
	assert.Equal(t, before, stateOf(w.tenant))
}

// TestOneFailureKeepsNobodyElse: a product that cannot be made fails its clients
// in that grant alone.
func TestOneFailureKeepsNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	want := memstore.Desired{
		Products:     products("gold", "starter"),
		Applications: []appaccess.DesiredApplication{wantClient("c1", "gold", "starter"), wantClient("c2", "starter"), wantClient("c3", "nowhere")},
	}
	want.Products[0].Roles = allRole("not a role")
	applied, err := w.engine().Apply(t.Context(), want, nil)
	require.NoError(t, err)
	var invalid *appaccess.InvalidError
	require.ErrorAs(t, applied.Failed["product gold"], &invalid)
	assert.Equal(t, "roles", invalid.Field)
	assert.ErrorContains(t, applied.Failed["application c1"], "product gold")
	assert.ErrorContains(t, applied.Failed["application c3"], "product nowhere")
	assert.Len(t, applied.Failed, 3)
	assert.Equal(t, []string{"entragate-test-product-starter/Product.Starter.All"}, w.app("application", "c1").Grants)
	assert.Equal(t, []string{"entragate-test-product-starter/Product.Starter.All"}, w.app("application", "c2").Grants)

	want.Products[0].Roles = allRole("Product.Gold.All")
	want.Applications = want.Applications[:2]
	w.apply(want)
	assert.Len(t, w.app("application", "c1").Grants, 2)
}

func TestInvalidDesiredStates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	var invalid *appaccess.InvalidError
	_, err := w.engine().Plan(t.Context(), memstore.Desired{Products: products("a", "a")})
	require.ErrorAs(t, err, &invalid)
	_, err = w.engine().Apply(t.Context(), memstore.Desired{Applications: []appaccess.DesiredApplication{{}}}, nil)
	require.ErrorAs(t, err, &invalid)
	assert.Equal(t, "application.id", invalid.Field)
	assert.Zero(t, w.tenant.Counts().Graph)
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	for name, change := range map[string]func(*provision.Config){
		"Directory": func(c *provision.Config) { c.Directory = nil },
		"Store":     func(c *provision.Config) { c.Store = nil },
		"Instance":  func(c *provision.Config) { c.Instance = "two-words" },
		"LagBudget": func(c *provision.Config) { c.LagBudget = -1 },
	} {
		cfg := w.config()
		change(&cfg)
		_, err := provision.New(cfg)
		assert.ErrorContains(t, err, "Config."+name)
	}
}

// TestThrottling: Retry-After is honoured, and without it the waits grow.
func TestThrottling(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	n := 0
	w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
		if !r.Write {
			return entratest.Fault{}
		}
		n++
		switch n {
		case 1:
			return entratest.Fault{Kind: entratest.Throttle, RetryAfter: 42 * time.Second}
		case 2, 3:
			return entratest.Fault{Kind: entratest.ThrottleBare}
		}
		return entratest.Fault{}
	})
	var waits []time.Duration
	_, err := w.engine().Apply(t.Context(), memstore.Desired{Products: products("starter")}, func(p appaccess.Progress) {
		if p.Wait > 0 {
			waits = append(waits, p.Wait)
		}
	})
	require.NoError(t, err)
	require.Len(t, waits, 3)
	assert.GreaterOrEqual(t, waits[0], 42*time.Second)
	assert.Greater(t, waits[2], waits[1])
}

// A long Retry-After is waited for in full, is reported, and ends with the context.
func TestLongRetryAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	fault := func(n int) func(entratest.Request) entratest.Fault {
		return func(r entratest.Request) entratest.Fault {
			if n--; n >= 0 {
				return entratest.Fault{Kind: entratest.Throttle, RetryAfter: 20 * time.Minute}
			}
			return entratest.Fault{}
		}
	}
	var waited time.Duration
	report := func(p appaccess.Progress) { waited = max(waited, p.Wait) }
	begun, writes := w.clock.Now(), 0
	w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
		if !r.Write || writes > 0 {
			return entratest.Fault{}
		}
		writes++
		return entratest.Fault{Kind: entratest.Throttle, RetryAfter: 20 * time.Minute}
	})
	applied, err := w.engine().Apply(t.Context(), memstore.Desired{Products: products("starter")}, report)
	require.NoError(t, err)
	require.Empty(t, applied.Failed)
	assert.GreaterOrEqual(t, waited, 20*time.Minute)
	assert.GreaterOrEqual(t, w.clock.Now().Sub(begun), 20*time.Minute)

	w.settle()
	waited = 0
	w.tenant.OnRequest(fault(1)) // a read
	_, err = w.engine().Plan(t.Context(), memstore.Desired{Products: products("starter")})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	w.tenant.OnRequest(fault(1))
	_, err = w.engine().Apply(ctx, memstore.Desired{Products: products("gold")}, func(p appaccess.Progress) {
		if p.Wait >= 20*time.Minute {
			cancel()
		}
	})
	assert.ErrorIs(t, err, context.Canceled)
}

// A 404 on addPassword is lag as long as the application is young, also long after
// the last write; of an old application it is final.
func TestSecretOfAYoungApplication(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	w.apply(starter())
	add := func(operation string, refusals int) error {
		w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
			if strings.HasSuffix(r.Path, "/addPassword") {
				if refusals--; refusals >= 0 {
					return entratest.Fault{Kind: entratest.Refuse, Status: 404, Code: "Request_ResourceNotFound", Message: "Resource does not exist or one of its queried reference-property objects are not present."}
				}
			}
			return entratest.Fault{}
		})
		_, err := w.engine().AddCredential(t.Context(), "c1", newVault().request(operation))
		return err
	}
	w.clock.Advance(40 * time.Minute)
	require.NoError(t, add("young", 5))
	w.clock.Advance(2 * time.Hour)
	var e *provision.Error
	require.ErrorAs(t, add("old", 1000), &e)
	assert.Equal(t, provision.Permanent, e.Kind)
}

// TestThrottledForGood: patience ends, the error says so, and the next call can
// go on.
func TestThrottledForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
		if r.Write {
			return entratest.Fault{Kind: entratest.ThrottleBare}
		}
		return entratest.Fault{}
	})
	start := w.clock.Now()
	applied, err := w.engine().Apply(t.Context(), memstore.Desired{Products: products("starter")}, nil)
	require.NoError(t, err)
	var pe *provision.Error
	require.ErrorAs(t, applied.Failed["product starter"], &pe)
	assert.Equal(t, provision.Throttle, pe.Kind)
	assert.ErrorIs(t, pe, appaccess.ErrUnavailable)
	assert.Less(t, w.clock.Now().Sub(start), 10*time.Minute)
	w.tenant.OnRequest(nil)
	w.apply(memstore.Desired{Products: products("starter")})
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{Lag: entratest.Lag{Min: time.Minute, Max: time.Minute}})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := w.engine().Apply(ctx, starter(), func(p appaccess.Progress) {
		if p.Wait > 0 {
			cancel()
		}
	})
	assert.ErrorIs(t, err, context.Canceled)
	w.apply(starter())
}

// TestStoreUnreachable: no write goes to Entra that cannot be recorded.
func TestStoreUnreachable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	down := errors.New("disk full")
	w.store.Before = func() error { return down }
	_, err := w.engine().Apply(t.Context(), starter(), nil)
	var j *provision.StateError
	require.ErrorAs(t, err, &j)
	assert.ErrorIs(t, err, down)
	assert.Zero(t, w.tenant.Counts().Writes)
}

func TestUniqueNames(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, id := range []string{"starter", "Starter", "a/b", "a b", "ü", strings.Repeat("x", 64), strings.Repeat("x", 65), "h-" + strings.Repeat("0", 40), "..", "a'b"} {
		name := provision.UniqueName("test", "product", id)
		assert.Regexp(t, `^entragate-test-product-[a-z0-9._-]+$`, name)
		assert.LessOrEqual(t, len(name), 120)
		assert.Empty(t, seen[strings.ToLower(name)])
		seen[strings.ToLower(name)] = id
	}
	assert.Equal(t, "entragate-test-product-starter", provision.UniqueName("test", "product", "starter"))
}

// TestReview reads back what the pages of Entra show.
func TestReview(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	applied := w.apply(starter())
	review, err := w.engine().Review(t.Context(), []string{"starter", "none"}, []string{"c1", "none"})
	require.NoError(t, err)
	p := review.Products[0]
	assert.Equal(t, appaccess.ProductReview{
		ProductID: "starter", Found: true, Name: "APIMProductApplicationStarter", AppID: applied.Products["starter"].AppID,
		IdentifierURIs:     []string{applied.Products["starter"].IdentifierURI},
		AppRoles:           []appaccess.RoleReview{{ID: applied.Products["starter"].Roles[0].ID, Value: "Product.Starter.All", Name: "Product.Starter.All", Enabled: true, Ours: true}},
		AssignmentRequired: true, Enabled: true, AccessTokenVersion: 2, ServicePrincipal: applied.Products["starter"].ServicePrincipalID,
		AssignedPrincipals: 1, OptionalClaimIDType: true,
	}, p)
	c := review.Applications[0]
	assert.Equal(t, appaccess.ApplicationReview{
		ApplicationID: "c1", Found: true, Name: "APIMApplicationStarter", AppID: applied.Applications["c1"].AppID,
		ServicePrincipal: applied.Applications["c1"].ServicePrincipalID, Enabled: true,
		Permissions: []appaccess.PermissionReview{{
			ResourceAppID: p.AppID, Resource: "APIMProductApplicationStarter", Role: "Product.Starter.All", Requested: true, Granted: true,
		}},
	}, c)
	assert.False(t, review.Products[1].Found)
	assert.False(t, review.Applications[1].Found)
}

// TestPreflightDoesNotWait: a diagnosis that says no says so at once.
func TestPreflightDoesNotWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	nobody, err := w.tenant.AddCaller("nobody")
	require.NoError(t, err)
	cfg := w.config()
	cfg.Directory = w.tenant.Directory(nobody)
	before := w.clock.Now()
	p, err := w.engineOf(cfg).Preflight(t.Context())
	require.NoError(t, err)
	assert.False(t, p.OK)
	assert.Equal(t, before, w.clock.Now())
}

// A product that was turned off comes back within 30 days by its recorded object
// ID, without a right to read deleted items. Documents disagree on whether that
// needs a directory role: if it does, the error names the roles and the day.
func TestRestoreWithLeastPrivilege(t *testing.T) {
	t.Parallel()
	for _, needsRole := range []bool{false, true} {
		w := newWorld(t, entratest.Config{Policy: entratest.Policy{RestoreNeedsRole: needsRole}}, entratest.ReadWriteOwned)
		want := memstore.Desired{Products: starter().Products}
		first := w.apply(want)
		removed := memstore.Desired{Products: []appaccess.DesiredProduct{{ID: "starter", Deleted: true}}}
		w.apply(removed)
		w.settle()
		applied, err := w.engine().Apply(t.Context(), want, nil)
		require.NoError(t, err)
		if !needsRole {
			require.Empty(t, applied.Failed)
			assert.Equal(t, first.Products["starter"].AppID, applied.Products["starter"].AppID)
			continue
		}
		require.Len(t, applied.Failed, 1)
		for _, failed := range applied.Failed {
			var denied *provision.RestoreDeniedError
			require.ErrorAs(t, failed, &denied)
			assert.ErrorContains(t, failed, "Application Administrator, Cloud Application Administrator, Hybrid Identity Administrator")
			assert.ErrorContains(t, failed, "the name is free on 20")
		}
	}
}

// A product that somebody disabled by hand is seen and repaired.
func TestDisabledProduct(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	want := memstore.Desired{Products: starter().Products}
	applied := w.apply(want)
	admin, err := w.tenant.AddCaller("somebody", entratest.ApplicationAdministrator)
	require.NoError(t, err)
	d, appID := w.tenant.Directory(admin), applied.Products["starter"].AppID
	for name, disable := range map[string]func() error{
		"service principal": func() error {
			_, _, err := d.UpsertServicePrincipal(t.Context(), appID, provision.ServicePrincipalPatch{AccountEnabled: new(false)})
			return err
		},
		"application": func() error {
			apps, errs := d.Applications(t.Context(), []provision.AppRef{{AppID: appID}})
			require.NoError(t, errs[0])
			return d.PatchApplication(t.Context(), apps[0].ObjectID, provision.ApplicationPatch{Disabled: new(true)})
		},
	} {
		w.settle()
		review, err := w.engine().Review(t.Context(), []string{"starter"}, nil)
		require.NoError(t, err)
		assert.True(t, review.Products[0].Enabled, name)
		require.NoError(t, disable())
		review, err = w.engine().Review(t.Context(), []string{"starter"}, nil)
		require.NoError(t, err)
		assert.False(t, review.Products[0].Enabled, name)
		plan, err := w.engine().Plan(t.Context(), want)
		require.NoError(t, err)
		require.Len(t, plan.Steps, 1, name)
		assert.Contains(t, plan.Steps[0].Detail, "enable the "+name)
		w.apply(want)
		w.settle()
		review, err = w.engine().Review(t.Context(), []string{"starter"}, nil)
		require.NoError(t, err)
		assert.True(t, review.Products[0].Enabled, name)
	}
}

// A client that somebody disabled by hand is reported and left as it is.
func TestDisabledClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	applied := w.apply(starter())
	w.settle()
	drift, err := w.engine().Drift(t.Context(), starter())
	require.NoError(t, err)
	require.Empty(t, drift.Steps)
	appID := applied.Applications["c1"].AppID
	apps, errs := w.dir.Applications(t.Context(), []provision.AppRef{{AppID: appID}})
	require.NoError(t, errs[0])
	for name, set := range map[string]func(disabled bool){
		"accountEnabled": func(disabled bool) {
			_, _, err := w.dir.UpsertServicePrincipal(t.Context(), appID, provision.ServicePrincipalPatch{AccountEnabled: new(!disabled)})
			require.NoError(t, err)
		},
		"isDisabled": func(disabled bool) {
			require.NoError(t, w.dir.PatchApplication(t.Context(), apps[0].ObjectID, provision.ApplicationPatch{Disabled: &disabled}))
		},
	} {
		set(true)
		drift, err := w.engine().Drift(t.Context(), starter())
		require.NoError(t, err)
		require.Len(t, drift.Steps, 1, name)
		assert.Equal(t, appaccess.ActionEnable, drift.Steps[0].Action)
		assert.Contains(t, drift.Steps[0].Detail, name)
		review, err := w.engine().Review(t.Context(), nil, []string{"c1"})
		require.NoError(t, err)
		assert.False(t, review.Applications[0].Enabled, name)
		assert.Zero(t, w.writes(func() { w.apply(starter()) }), name)
		set(false)
	}
}

// The quota of the identity is met once a round, not once an object.
func TestQuotaStopsTheRound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{Policy: entratest.Policy{Quota: 2}}, entratest.ReadWriteOwned)
	want := memstore.Desired{}
	for i := range 20 {
		p := starter().Products[0]
		p.ID = fmt.Sprint("p", i)
		want.Products = append(want.Products, p)
	}
	w.tenant.ResetCounts()
	applied, err := w.engine().Apply(t.Context(), want, nil)
	require.NoError(t, err)
	refused := 0
	for _, e := range w.tenant.Requests() {
		if e.Code == "Directory_QuotaExceeded" {
			refused++
		}
	}
	assert.Less(t, refused, 10, "those that were under way at once")
	assert.GreaterOrEqual(t, len(applied.Failed), 18)
	for _, failed := range applied.Failed {
		var e *provision.Error
		require.ErrorAs(t, failed, &e)
		assert.Equal(t, provision.Quota, e.Kind, "%v", failed)
		assert.Contains(t, e.Advice, "microsoft.directory/applications/create")
	}
}

// Preflight names the right that is missing for granting.
func TestGranterWithoutRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{}, entratest.ReadWriteOwned)
	granter, err := w.tenant.AddCaller("granter", entratest.AssignAll)
	require.NoError(t, err)
	cfg := w.config()
	cfg.GrantDirectory = w.tenant.Directory(granter)
	p, err := w.engineOf(cfg).Preflight(t.Context())
	require.NoError(t, err)
	assert.False(t, p.OK)
	assert.Contains(t, fmt.Sprint(p.Checks), "grant the Graph permission Application.Read.All")
}
