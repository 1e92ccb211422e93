package appaccess_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/provision/entratest"
)

func readDocument(t *testing.T, name string) *appaccess.Document {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	require.NoError(t, err)
	defer f.Close()
	d, err := appaccess.ParseDocument(f)
	require.NoError(t, err)
	return &d
}

func words(differences []appaccess.Difference) []string {
	var list []string
	for _, d := range differences {
		list = append(list, d.String())
	}
	return list
}

func TestAPlanShowsEverythingThatApplyWouldDo(t *testing.T) {
	t.Parallel()
	e := newEstate(t, entratest.Lag{})
	base := appaccess.PlanRequest{Document: readDocument(t, "plan-base.json")}
	plan, err := e.PlanDocument(ctx, boss, base)
	require.NoError(t, err)
	assert.Len(t, plan.Store, 13, "every object of the document is new")
	_, err = e.ApplyDocument(ctx, boss, appaccess.ApplyRequest{PlanRequest: base, Plan: plan.Hash()})
	require.NoError(t, err)
	plan, err = e.PlanDocument(ctx, boss, base)
	require.NoError(t, err)
	assert.True(t, plan.Empty(), plan.String())

	hidden := appaccess.PlanRequest{Document: readDocument(t, "plan-hidden.json")}
	plan, err = e.PlanDocument(ctx, boss, hidden)
	require.NoError(t, err)
	assert.Equal(t, `In the store:
  change api reports
    path: "/reports" -> "/orders2"
  change product orders
    access: {"token":true,"key":true} -> {"token":true,"key":false}
  change product reports
    suspended: none -> true
  create subscription s1
    name: "all apis"
    scope: "/apis"
    state: "active"
    primaryHash: "402c81fc…"
    secondaryHash: "generated"
Objects: 1 to create, 3 to change.
`, plan.String())
}

func TestAPlanWritesNothing(t *testing.T) {
	t.Parallel()
	e := newEstate(t, entratest.Lag{})
	before, err := exported(e.Service)
	require.NoError(t, err)
	var at appaccess.Position
	position := func() (p appaccess.Position) {
		require.NoError(t, e.store.View(ctx, func(r appaccess.Reader) (err error) { p, err = r.Position(); return err }))
		return p
	}
	at = position()
	_, err = e.PlanDocument(ctx, boss, appaccess.PlanRequest{Document: readDocument(t, "plan-base.json"), Prune: true})
	require.NoError(t, err)
	after, err := exported(e.Service)
	require.NoError(t, err)
	assert.Equal(t, before, after)
	assert.Equal(t, at, position())
	assert.Zero(t, e.tenant.Counts().Writes)
}

// The steps that apply reports are the planned ones, in the planned order, also
// where one object's step depends on another's.
func TestApplyTakesThePlannedSteps(t *testing.T) {
	t.Parallel()
	e := newEstate(t, entratest.Lag{})
	apply := func(req appaccess.PlanRequest) {
		t.Helper()
		plan, err := e.PlanDocument(ctx, boss, req)
		require.NoError(t, err)
		var planned, taken []string
		for _, s := range plan.Entra.Steps {
			planned = append(planned, fmt.Sprintf("%s: %s", s.Object, s.Action))
		}
		report, err := e.ApplyDocument(ctx, boss, appaccess.ApplyRequest{PlanRequest: req, Plan: plan.Hash(), Progress: func(p appaccess.Progress) {
			if p.Done {
				action, _, _ := strings.Cut(p.Step, " ")
				taken = append(taken, p.Object+": "+action)
			}
		}})
		require.NoError(t, err)
		assert.Empty(t, report.Unplanned)
		assert.Equal(t, slices.Compact(planned), slices.Compact(taken))
		again, err := e.PlanDocument(ctx, boss, req)
		require.NoError(t, err)
		assert.True(t, again.Empty(), again.String())
	}
	base := readDocument(t, "plan-base.json")
	apply(appaccess.PlanRequest{Document: base})
	next := *base
	next.Products = next.Products[:2]
	next.Applications = append([]appaccess.DocumentApplication{}, next.Applications[:4]...)
	next.Applications[2].Grants = appaccess.GrantsOfAll("orders")
	apply(appaccess.PlanRequest{Document: &next, Prune: true})
}

func TestAPlanOfAPruneNamesWhatDependsOnIt(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "s1", Name: "S", OwnerID: "ada", Scope: appaccess.ProductScope("starter")})
	require.NoError(t, err)
	d, err := exported(h.Service)
	require.NoError(t, err)
	d.Products, d.Applications, d.Subscriptions = d.Products[:0:0], nil, nil
	d.Products = []appaccess.DocumentProduct{}
	plan, err := h.PlanDocument(ctx, boss, appaccess.PlanRequest{Document: &d, Prune: true})
	require.NoError(t, err)
	assert.Contains(t, words(plan.Store), `change application billing: grants: [{"product":"starter","permissions":["All"]}] -> none`)
	assert.Contains(t, words(plan.Store), `delete subscription s1`)
	assert.Contains(t, words(plan.Store), `delete product starter`)
}

func TestAPlanShowsWhatItsTimeIsUpFor(t *testing.T) {
	t.Parallel()
	h := newFixture(t).withApp()
	_, err := h.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{ID: "s1", Name: "S", Scope: appaccess.AllAPIs, Expires: h.clock.Now().Add(time.Hour)})
	require.NoError(t, err)
	_, err = h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Name: "first"})
	require.NoError(t, err)
	_, err = h.AddSecret(ctx, ada, "billing", appaccess.SecretRequest{Name: "second", Rotate: true, Overlap: time.Hour})
	require.NoError(t, err)
	plan, err := h.PlanDocument(ctx, boss, appaccess.PlanRequest{})
	require.NoError(t, err)
	require.True(t, plan.Empty(), plan.String())
	h.clock.Advance(2 * time.Hour)
	plan, err = h.PlanDocument(ctx, boss, appaccess.PlanRequest{})
	require.NoError(t, err)
	assert.Equal(t, []string{`change subscription s1: state: "active" -> "expired"`}, words(plan.Store))
	require.Len(t, plan.Entra.Steps, 1)
	assert.Equal(t, appaccess.ActionRemove, plan.Entra.Steps[0].Action)
	assert.Contains(t, plan.Entra.Steps[0].Detail, `secret "first"`)
	_, err = h.ApplyDocument(ctx, boss, appaccess.ApplyRequest{Plan: plan.Hash()})
	require.NoError(t, err)
	plan, err = h.PlanDocument(ctx, boss, appaccess.PlanRequest{})
	require.NoError(t, err)
	assert.True(t, plan.Empty(), plan.String())
}

func TestApplyRefusesAnotherPlan(t *testing.T) {
	t.Parallel()
	e := newEstate(t, entratest.Lag{})
	req := appaccess.PlanRequest{Document: readDocument(t, "plan-base.json")}
	plan, err := e.PlanDocument(ctx, boss, req)
	require.NoError(t, err)
	again, err := e.PlanDocument(ctx, boss, req)
	require.NoError(t, err)
	assert.Equal(t, plan.Hash(), again.Hash(), "a plan is the same until something changes")

	_, err = e.CreateUser(ctx, boss, appaccess.UserRequest{ID: "ada", Name: "Ada"})
	require.NoError(t, err)
	_, err = e.ApplyDocument(ctx, boss, appaccess.ApplyRequest{PlanRequest: req, Plan: plan.Hash()})
	assertConflict(t, err, "plan")
	assert.Zero(t, e.tenant.Counts().Writes)
	_, err = e.Product(ctx, boss, "orders")
	require.ErrorIs(t, err, appaccess.ErrNotFound)
}

func TestAPlanIsRefusedAsTheImportWouldBe(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	for change, field := range map[string]func(*appaccess.Document){
		"product gold.apis":           func(d *appaccess.Document) { d.Products[0].APIs = []string{"nothing"} },
		"api orders.path":             func(d *appaccess.Document) { d.APIs[0].Path = "/echo" },
		"application billing.ownerId": func(d *appaccess.Document) { d.Applications[0].OwnerID = "nobody" },
	} {
		d := parse(t, sampleDocument)
		field(&d)
		_, planned := h.PlanDocument(ctx, boss, appaccess.PlanRequest{Document: &d})
		_, imported := h.Import(ctx, boss, d, appaccess.ImportRequest{})
		require.Error(t, imported)
		assert.Equal(t, imported, planned, change)
	}
	_, err := h.PlanDocument(ctx, ada, appaccess.PlanRequest{})
	require.ErrorIs(t, err, appaccess.ErrForbidden)
}

func TestAnEmptyStoreStaysEmptyForADocument(t *testing.T) {
	t.Parallel()
	h := newFixture(t, func(c *appaccess.ServiceConfig) { c.Empty = true })
	require.Zero(t, h.revision())
	d := parse(t, sampleDocument)
	_, err := h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	later, err := appaccess.NewService(ctx, appaccess.ServiceConfig{Store: h.store})
	require.NoError(t, err)
	exported, err := exported(later)
	require.NoError(t, err)
	require.Len(t, exported.Products, 1, "no Starter product is added later")
	assert.Equal(t, "gold", exported.Products[0].ID)
}
