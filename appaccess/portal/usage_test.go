package portal_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// What a gate counts is on the pages of the application, of its owner, of the API
// and of all, as a chart, as a table and as a file.
func TestUsagePages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.orders()
	one := w.application("shop", "ada")
	catalog, err := appaccess.NewCatalog(t.Context(), appaccess.CatalogConfig{Store: w.store})
	require.NoError(t, err)
	for range 7 {
		catalog.CountCall(appaccess.Call{ClientID: one.Entra.AppID, API: "orders-api", Operation: "listOrders", Time: w.clock.Now()})
	}
	catalog.CountCall(appaccess.Call{ClientID: one.Entra.AppID, API: "orders-api", Reason: "role missing", Time: w.clock.Now()})
	require.NoError(t, catalog.Close()) // writes what it counted, at the real time
	w.serve()
	w.clock.Set(time.Now())
	m, a := w.visit("manager"), w.visit("ada")
	for path, v := range map[string]*visitor{
		"/usage": m, "/applications/shop/usage": m, "/apis/orders-api/usage": m, "/my/applications/shop/usage": a,
	} {
		page := v.get(path)
		require.Equal(t, http.StatusOK, page.Status, path)
		has(t, page, `<b><data value="8">8</data></b><span>calls in 90 days`, path)
		has(t, page, `<rect class="refused"`, path)
		has(t, page, "listOrders", path)
		has(t, page, "Orders API", path)
		has(t, page, "Role missing", path)
		file := v.get(path + "/export")
		assert.Contains(t, file.Header.Get("Content-Type"), "text/csv", path)
		assert.Equal(t, 2, strings.Count(file.Body, ",8,1,0,0\n"), path) // one hour and one day
		assert.Contains(t, file.Body, `"operation, 90 days",,orders-api,listOrders,,7,0,,0`, path)
		assert.Contains(t, file.Body, `"reason, 90 days",,,,role missing,1,1,,`, path)
	}
	has(t, m.get("/applications/shop/suspend"), "last used ")
	assert.Equal(t, http.StatusNotFound, w.visit("blaise").get("/my/applications/shop/usage").Status)
	assert.Equal(t, http.StatusForbidden, a.get("/usage").Status)
}
