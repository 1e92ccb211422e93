package appaccess_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/provision/entratest"
)

// More applications than are planned at a time are granted a product that Entra
// does not hold yet.
func TestALargePlanReadsLittleAndKnowsWhatItWillCreate(t *testing.T) {
	t.Parallel()
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
	counted.rows = 0
	plan, err = e.Plan(ctx, boss)
	require.NoError(t, err)
	assert.True(t, plan.Empty(), "%s", plan)
	records := 2*n + 4 // applications, what is recorded of them in Entra, and few others
	// The search for objects that the store does not know reads what is recorded once more.
	assert.NotZero(t, counted.rows)
	assert.LessOrEqual(t, counted.rows, records*2+20, "rows read")
}

func TestAPlanHasALimit(t *testing.T) {
	t.Parallel()
	err := onSQLite(t).View(ctx, func(r appaccess.Reader) error {
		return appaccess.PutIntoFullPlan(r, appaccess.Record{Kind: "thing", ID: "a"})
	})
	require.ErrorAs(t, err, new(*appaccess.InvalidError))
	require.ErrorContains(t, err, "100000 records")
}
