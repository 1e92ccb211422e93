package provision_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// TestDenied: without the role nothing is done, and the error says which role to
// assign, to whom, and who may do that.
func TestDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{}, entratest.ReadDirectory)
	e := w.engine()
	start := w.clock.now()
	applied, err := e.Apply(t.Context(), starter(), nil)
	require.NoError(t, err)
	assert.Less(t, w.clock.now().Sub(start), 90*time.Second, "a refusal is not waited for as lag is")
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
			cfg.Grants = w.tenant.Directory(granter)
			e := w.engineOf(cfg)
			p, err := e.Preflight(t.Context())
			require.NoError(t, err)
			assert.True(t, p.OK, "%v", p.Checks)

			apply := func(want appaccess.Wanted) appaccess.Applied {
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
			want.Applications[0].Products = nil
			apply(want)
			assert.Empty(t, w.app("application", "c1").Grants)
			require.NoError(t, e.RemoveCredential(t.Context(), "c1", c))
			want.Applications[0] = appaccess.WantedApplication{ID: "c1", Absent: true}
			apply(want)
			assert.Nil(t, w.app("application", "c1"))

			// Alone the first identity cannot grant, and preflight knows.
			cfg.Grants = nil
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
	assert.Contains(t, plan.Steps[0].Detail, "access token version 1 to 2")

	applied := w.apply(want)
	assert.Equal(t, old.AppID, applied.Products["starter"].AppID)
	p := w.app("product", "starter")
	require.NotNil(t, p, "it has our unique name now")
	assert.Equal(t, []string{"Old.Read", "Product.Starter.All"}, sorted(p.Roles))
	assert.Equal(t, []string{"api://{appId}", "api://{appId}/old"}, sorted(p.URIs))
	assert.Equal(t, []string{"entragate:entragate-test-product-starter", "theirs"}, sorted(p.Tags))
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

	w.apply(appaccess.Wanted{Products: []appaccess.WantedProduct{{ID: "starter", Absent: true}}, Applications: []appaccess.WantedApplication{{ID: "c1", Absent: true}}})
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

	taken := w.apply(appaccess.Wanted{Products: products("gold")})
	want.Products[0].Adopt = taken.Products["gold"].AppID
	applied, err = w.engine().Apply(t.Context(), want, nil)
	require.NoError(t, err)
	assert.ErrorIs(t, applied.Failed["product starter"], provision.ErrNotOurs, "another product's")

	// A name alone proves nothing.
	_, err = w.tenant.AddApplication(entratest.App{Name: "Thief", UniqueName: "entragate-test-product-iron"})
	require.NoError(t, err)
	before := w.tenant.State().String()
	applied, err = w.engine().Apply(t.Context(), appaccess.Wanted{Products: products("iron")}, nil)
	require.NoError(t, err)
	assert.ErrorIs(t, applied.Failed["product iron"], provision.ErrNotOurs)
	assert.Equal(t, before, w.tenant.State().String())
}

// TestOneFailureKeepsNobodyElse: a product that cannot be made fails its clients
// in that grant alone.
func TestOneFailureKeepsNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	want := appaccess.Wanted{
		Products:     products("gold", "starter"),
		Applications: []appaccess.WantedApplication{wantClient("c1", "gold", "starter"), wantClient("c2", "starter"), wantClient("c3", "nowhere")},
	}
	want.Products[0].Role = "not a role"
	applied, err := w.engine().Apply(t.Context(), want, nil)
	require.NoError(t, err)
	var invalid *appaccess.InvalidError
	require.ErrorAs(t, applied.Failed["product gold"], &invalid)
	assert.Equal(t, "role", invalid.Field)
	assert.ErrorContains(t, applied.Failed["application c1"], "product gold")
	assert.ErrorContains(t, applied.Failed["application c3"], "product nowhere")
	assert.Len(t, applied.Failed, 3)
	assert.Equal(t, []string{"entragate-test-product-starter/Product.Starter.All"}, w.app("application", "c1").Grants)
	assert.Equal(t, []string{"entragate-test-product-starter/Product.Starter.All"}, w.app("application", "c2").Grants)

	want.Products[0].Role = "Product.Gold.All"
	want.Applications = want.Applications[:2]
	w.apply(want)
	assert.Len(t, w.app("application", "c1").Grants, 2)
}

func TestBadWants(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	var invalid *appaccess.InvalidError
	_, err := w.engine().Plan(t.Context(), appaccess.Wanted{Products: products("a", "a")})
	require.ErrorAs(t, err, &invalid)
	_, err = w.engine().Apply(t.Context(), appaccess.Wanted{Applications: []appaccess.WantedApplication{{}}}, nil)
	require.ErrorAs(t, err, &invalid)
	assert.Equal(t, "application.id", invalid.Field)
	assert.Zero(t, w.tenant.Counts().Graph)
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	for name, change := range map[string]func(*provision.Config){
		"Directory": func(c *provision.Config) { c.Directory = nil },
		"Journal":   func(c *provision.Config) { c.Journal = nil },
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
	_, err := w.engine().Apply(t.Context(), appaccess.Wanted{Products: products("starter")}, func(p appaccess.Progress) {
		if p.Wait > 0 {
			waits = append(waits, p.Wait)
		}
	})
	require.NoError(t, err)
	require.Len(t, waits, 3)
	assert.GreaterOrEqual(t, waits[0], 42*time.Second)
	assert.Greater(t, waits[2], waits[1])
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
	start := w.clock.now()
	applied, err := w.engine().Apply(t.Context(), appaccess.Wanted{Products: products("starter")}, nil)
	require.NoError(t, err)
	var pe *provision.Error
	require.ErrorAs(t, applied.Failed["product starter"], &pe)
	assert.Equal(t, provision.Throttle, pe.Kind)
	assert.ErrorIs(t, pe, appaccess.ErrUnavailable)
	assert.Less(t, w.clock.now().Sub(start), 10*time.Minute)
	w.tenant.OnRequest(nil)
	w.apply(appaccess.Wanted{Products: products("starter")})
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

// TestJournalOutOfReach: no write goes to Entra that cannot be recorded.
func TestJournalOutOfReach(t *testing.T) {
	t.Parallel()
	w := newWorld(t, entratest.Config{})
	down := errors.New("disk full")
	w.store.dead = func() error { return down }
	_, err := w.engine().Apply(t.Context(), starter(), nil)
	var j *provision.JournalError
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
		AppRoles:           []appaccess.RoleReview{{ID: applied.Products["starter"].RoleID, Value: "Product.Starter.All", Name: "Product.Starter.All", Enabled: true, Ours: true}},
		AssignmentRequired: true, AccessTokenVersion: 2, ServicePrincipal: applied.Products["starter"].ServicePrincipalID,
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
	before := w.clock.now()
	p, err := w.engineOf(cfg).Preflight(t.Context())
	require.NoError(t, err)
	assert.False(t, p.OK)
	assert.Equal(t, before, w.clock.now())
}
