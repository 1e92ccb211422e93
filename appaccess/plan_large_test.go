package appaccess_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// More applications than are planned at a time are granted a product that Entra
// does not hold yet.
func TestALargePlanReadsLittleAndKnowsWhatItWillCreate(t *testing.T) {
	t.Parallel()
	countsRows(t)
	const n = 210
	counted := &countingStore{Store: onSQLite(t)}
	e := newEstateOn(t, counted, entratest.Lag{})
	d := parse(t, sampleDocument)
	d.Applications = nil
	for i := range n {
		d.Applications = append(d.Applications, appaccess.DocumentApplication{ID: fmt.Sprint("app-", i), Name: fmt.Sprint("App ", i), OwnerID: "ada", Grants: appaccess.GrantsOfAll("gold")})
	}
	planned, err := e.PlanDocument(ctx, boss, appaccess.PlanRequest{Document: &d})
	require.NoError(t, err)
	plan := planned.Entra
	assert.Empty(t, plan.Failed)
	text := plan.String()
	assert.Equal(t, 1, strings.Count("\n"+text, "\nproduct gold\n"), "%.500s", text)
	assert.Equal(t, n, strings.Count(text, "application app-"))

	_, err = e.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	plan, err = e.Plan(ctx, boss)
	require.NoError(t, err)
	assert.True(t, plan.Empty(), "%s", plan)
	// There is one record of each application and one of its state in Entra. The search
	// for objects that the store does not know reads the latter once more.
	for name, do := range map[string]func() error{
		"Plan":  func() error { return errOf(e.Plan(ctx, boss)) },
		"Drift": func() error { return errOf(e.Drift(ctx, boss)) },
		"Sync":  func() error { return errOf(e.Sync(ctx, boss, appaccess.SyncRequest{All: true})) },
	} {
		counted.rows = 0
		require.NoError(t, do(), name)
		assert.NotZero(t, counted.rows, name)
		assert.LessOrEqual(t, counted.rows, 3*n+30, "rows read by %s: at most 1.5 for each record", name)
	}
}

func TestAPlanHasALimit(t *testing.T) {
	t.Parallel()
	err := onSQLite(t).View(ctx, func(r appaccess.Reader) error {
		return appaccess.PutIntoFullPlan(r, appaccess.Record{Kind: "thing", ID: "a"})
	})
	require.ErrorAs(t, err, new(*appaccess.InvalidError))
	require.ErrorContains(t, err, "100000 records")
}

// late is a Provisioner that others precede: they change and reconcile something after
// the caller has read the objects and before Apply begins.
type late struct {
	appaccess.Provisioner
	others func()
}

func (l late) Apply(ctx context.Context, objects appaccess.Objects, desired appaccess.DesiredState, progress func(appaccess.Progress)) (appaccess.Applied, error) {
	if len(objects.Applications) > 0 {
		l.others()
	}
	return l.Provisioner.Apply(ctx, objects, desired, progress)
}

// A record that is old when the Provisioner gets it changes nothing in Entra.
func TestRecordsThatWereReadEarlierAreNotApplied(t *testing.T) {
	t.Parallel()
	e := newEstate(t, entratest.Lag{})
	_, err := e.Import(ctx, boss, parse(t, sampleDocument), appaccess.ImportRequest{})
	require.NoError(t, err)
	engine, err := provision.New(provision.Config{Directory: e.tenant.Directory(e.caller), Store: e.store, Now: e.clock.Now, Sleep: e.sleep})
	require.NoError(t, err)
	var change func() error
	writes := 0
	s, err := appaccess.NewService(ctx, appaccess.ServiceConfig{
		Store: e.store, TenantID: e.tenant.ID(), Now: e.clock.Now,
		Provisioner: late{engine, func() {
			require.NoError(t, change())
			writes = e.tenant.Counts().Writes
		}},
	})
	require.NoError(t, err)
	for i, c := range []func() error{
		func() error {
			return errOf(e.UpdateApplication(ctx, boss, "billing", appaccess.ApplicationUpdate{Description: ptr("newer")}))
		},
		func() error { return errOf(e.RevokeProducts(ctx, boss, "billing", []string{"gold"})) },
		func() error { return e.DeleteApplication(ctx, boss, "billing") },
	} {
		change = c
		_, err = s.Sync(ctx, boss, appaccess.SyncRequest{All: true})
		require.NoError(t, err)
		assert.Equal(t, writes, e.tenant.Counts().Writes, i)
		plan, err := e.Plan(ctx, boss)
		require.NoError(t, err)
		assert.True(t, plan.Empty(), "%d: %s", i, plan)
	}
}
