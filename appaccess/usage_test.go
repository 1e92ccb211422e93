package appaccess_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// usageRows are the IDs of the rows of usage.
func (w *world) usageRows() []string {
	w.t.Helper()
	var rows []string
	require.NoError(w.t, w.store.Store.View(w.t.Context(), func(r appaccess.Reader) error {
		q := appaccess.Query{Kind: appaccess.KindUsage, Limit: appaccess.MaxPage}
		for {
			recs, err := r.List(q)
			if err != nil {
				return err
			}
			for _, rec := range recs {
				rows = append(rows, rec.ID)
				q.After = rec.ID
			}
			if len(recs) < q.Limit {
				return nil
			}
		}
	}))
	return rows
}

// service is one over the world's store, which it fills with its own product
// and API.
func (w *world) service(now time.Time) *appaccess.Service {
	w.t.Helper()
	w.write(func(wr appaccess.Writer) error { return appaccess.DeleteEntity[appaccess.Product](wr, "starter") },
		func(wr appaccess.Writer) error { return appaccess.DeleteEntity[appaccess.API](wr, "echo") })
	s, err := appaccess.NewService(w.t.Context(), appaccess.ServiceConfig{Store: w.store, Now: func() time.Time { return now }})
	require.NoError(w.t, err)
	return s
}

var noon = time.Date(2026, 11, 23, 12, 20, 0, 0, time.UTC)

// Replicas add up; hours and days have sums; refusals have reasons.
func TestUsageAddsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, appaccess.CatalogConfig{})
	other, err := appaccess.NewCatalog(t.Context(), appaccess.CatalogConfig{Store: w.store})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, other.Close()) })
	service := w.service(noon.Add(time.Hour))
	for i, c := range []*appaccess.Catalog{w.catalog, other} {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 25 {
					c.CountCall(appaccess.Call{ClientID: appID, API: "echo-api", Operation: "list", Time: noon.Add(time.Duration(i) * time.Second)})
				}
			})
		}
		all.Wait()
		c.CountCall(appaccess.Call{ClientID: appID, API: "echo-api", Reason: "role missing", Time: noon})
		c.CountCall(appaccess.Call{SubscriptionID: "s1", API: "echo-api", Reason: "unavailable", Failed: true, Time: noon})
		c.FlushCalls(t.Context(), noon)
	}
	w.catalog.CountCall(appaccess.Call{ClientID: appID, API: "echo-api", Operation: "list", Time: noon.Add(time.Hour)})
	w.catalog.FlushCalls(t.Context(), noon.Add(time.Hour))
	w.catalog.FlushCalls(t.Context(), noon.Add(time.Hour)) // nothing is counted twice

	u, err := service.Usage(t.Context(), appaccess.Developer("u1"), appaccess.Ref{Kind: appaccess.KindApplication, ID: "a1"})
	require.NoError(t, err)
	assert.Equal(t, []int64{203, 2, 0}, []int64{u.Calls, u.Refused, u.Failed})
	assert.Equal(t, map[string]int64{"role missing": 2}, u.Reasons)
	assert.Equal(t, []appaccess.OperationUsage{{API: "echo-api", Operation: "list", Calls: 201}, {API: "echo-api", Calls: 2, Refused: 2}}, u.Operations)
	assert.Equal(t, noon.Add(time.Hour), u.Last)
	require.Len(t, u.Hours, 48)
	require.Len(t, u.Days, 90)
	assert.Equal(t, []int64{202, 1}, []int64{u.Hours[46].Calls, u.Hours[47].Calls})
	assert.Equal(t, int64(203), u.Days[89].Calls)

	u, err = service.Usage(t.Context(), appaccess.Manager("x"), appaccess.Ref{Kind: appaccess.KindSubscription, ID: "s1"})
	require.NoError(t, err)
	assert.Equal(t, []int64{2, 2, 2}, []int64{u.Calls, u.Refused, u.Failed})
	assert.Zero(t, u.Last, "no call passed")
	for _, of := range []appaccess.Ref{{}, {Kind: appaccess.KindAPI, ID: "echo-api"}} {
		u, err = service.Usage(t.Context(), appaccess.Manager("x"), of)
		require.NoError(t, err)
		assert.Equal(t, int64(205), u.Calls, of)
		_, err = service.Usage(t.Context(), appaccess.Developer("u1"), of)
		assert.ErrorIs(t, err, appaccess.ErrForbidden)
	}
	_, err = service.Usage(t.Context(), appaccess.Manager("x"), appaccess.Ref{Kind: appaccess.KindUser, ID: "u1"})
	assert.ErrorAs(t, err, new(*appaccess.InvalidError))
}

// Whatever callers do, memory and rows are bounded, and no call goes uncounted.
func TestUsageIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, appaccess.CatalogConfig{})
	const invented = 20_000
	for i := range invented {
		w.catalog.CountCall(appaccess.Call{ClientID: fmt.Sprintf("invented-%d", i), API: "echo-api", Operation: fmt.Sprintf("op%d", i), Time: noon})
	}
	for i := range 300 {
		w.catalog.CountCall(appaccess.Call{SubscriptionID: "s1", API: "echo-api", Operation: fmt.Sprintf("op%d", i), Time: noon})
	}
	w.catalog.FlushCalls(t.Context(), noon)
	rows := w.usageRows()
	assert.LessOrEqual(t, len(rows), 2*5, rows) // unknown, other, s1, the API, all: by hour and by day
	u, err := w.service(noon).Usage(t.Context(), appaccess.Manager("x"), appaccess.Ref{})
	require.NoError(t, err)
	assert.Equal(t, int64(invented+300), u.Calls)
	assert.LessOrEqual(t, len(u.Operations), 101)

	// Rows go after 48 hours and 90 days.
	for day := 0; day <= 100; day += 5 {
		w.catalog.CountCall(appaccess.Call{SubscriptionID: "s1", API: "echo-api", Time: noon})
		w.catalog.FlushCalls(t.Context(), noon.AddDate(0, 0, day))
	}
	hours, days := 0, 0
	for _, id := range w.usageRows() {
		if strings.HasPrefix(id, "h") {
			hours++
		} else {
			days++
		}
	}
	assert.LessOrEqual(t, hours, 3*3)
	assert.LessOrEqual(t, days, (90/5+1)*3)
}

// What a gate pays for counting one call.
func BenchmarkCountCall(b *testing.B) {
	c := new(appaccess.Catalog)
	appaccess.CountAlways(c)
	calls := make([]appaccess.Call, 64)
	for i := range calls {
		calls[i] = appaccess.Call{ClientID: fmt.Sprintf("11112222-bbbb-3333-cccc-4444dddd%04d", i), API: "echo-api", Operation: "listOrders", Time: noon}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		c.CountCall(calls[i&63])
		i++
	}
}

// When something was last used is the newest call that passed, whatever replica
// counted it; refused calls are no use.
func TestLastUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, appaccess.CatalogConfig{})
	service := w.service(noon.Add(time.Hour))
	of := appaccess.Ref{Kind: appaccess.KindSubscription, ID: "s1"}
	last := func() time.Time {
		t.Helper()
		at, err := service.LastUsed(t.Context(), boss, of)
		require.NoError(t, err)
		usage, err := service.Usage(t.Context(), boss, of)
		require.NoError(t, err)
		assert.True(t, usage.Last.Equal(at), "Usage says the same")
		return at
	}
	count := func(at time.Time, reason string) {
		w.catalog.CountCall(appaccess.Call{SubscriptionID: "s1", API: "echo", Time: at, Reason: reason})
	}
	assert.Zero(t, last())
	count(noon, "")
	count(noon.Add(-time.Minute), "") // from a clock that is behind
	w.catalog.FlushCalls(t.Context(), noon)
	assert.Equal(t, noon, last())
	for hour := range 6 { // hours of refusals alone
		count(noon.Add(time.Duration(hour+1)*time.Hour), "key unknown")
		w.catalog.FlushCalls(t.Context(), noon.Add(time.Duration(hour+1)*time.Hour))
	}
	assert.Equal(t, noon, last())
	_, err := service.LastUsed(t.Context(), appaccess.Developer("nobody"), of)
	assert.Error(t, err)
}
