package portal_test

import (
	"bufio"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/provision/entratest"
)

// Progress is on the page while the work goes on: the tenant answers the second
// of two writes only after the first was seen.
func TestProgressIsShownAsItGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.tenant.SetRights(w.caller))
	w.tenant.RevokeTokens(w.caller)
	_, err := w.service.CreateProduct(t.Context(), root, appaccess.ProductRequest{
		ID: "weather", Name: "Weather", APIs: []string{"echo-api"}, Access: appaccess.Access{Token: true}, Published: true,
	})
	require.Error(t, err)
	require.NoError(t, w.tenant.SetRights(w.caller, entratestRights()...))
	w.tenant.RevokeTokens(w.caller)
	seen := make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(seen) }) }
	t.Cleanup(release)
	var writes atomic.Int64
	w.tenant.OnRequest(func(r entratest.Request) entratest.Fault {
		if r.Write && writes.Add(1) == 2 {
			<-seen
		}
		return entratest.Fault{}
	})
	v := w.visit("manager")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.web.URL+prefix+"/entra/apply", nil)
	require.NoError(t, err)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := v.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var before, after strings.Builder
	page := &before
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		page.WriteString(lines.Text())
		if strings.Contains(lines.Text(), ">Weather<") || strings.Contains(lines.Text(), "Weather</a>") {
			page = &after
			release()
		}
	}
	require.NoError(t, lines.Err())
	assert.NotContains(t, before.String(), "Finished")
	assert.Contains(t, after.String(), "Finished: Entra is in sync")
	assert.Contains(t, after.String(), "</html>")
	assert.GreaterOrEqual(t, writes.Load(), int64(2))
}
