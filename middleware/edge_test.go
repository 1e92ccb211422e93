package middleware_test

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/middleware"
)

// Two Authorization headers are refused whatever is beside them, and on open
// routes too.
func TestTwoAuthorizationHeaders(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	c.publish(append(products(), appaccess.Product{ID: "free", APIs: []string{"lonely"}}), apis())
	cfg := managed(newEntra(), c)
	cfg.InsecureAllowOpenProducts = true
	g := open(t, cfg)
	good := "Bearer " + mint(t, claims(nil))
	for _, path := range []string{"/echo", "/echo?subscription-key=key-starter", "/lonely"} {
		for _, pair := range [][]string{{good, good}, {good, "Basic eDp5"}, {"", ""}, {"Basic eDp5", "Basic eDp5"}} {
			r := request(path, keyHeader, "key-starter")
			r.Header["Authorization"] = pair
			w := do(g.Wrap(echo), r)
			assert.Equal(t, 400, w.Code, path)
			assert.Contains(t, w.Header().Get("WWW-Authenticate"), `error="invalid_request"`)
			d := g.Explain(r)
			assert.Equal(t, []any{middleware.RequestAmbiguous, middleware.TokenCredential, false}, []any{d.Reason, d.Credential, d.Allowed})
		}
	}
}

// flicker is a catalog whose snapshot becomes too old between two looks.
type flicker struct {
	*catalog
	looks atomic.Int64
}

func (f *flicker) Snapshot() *appaccess.Snapshot {
	if f.looks.Add(1) > 1 {
		return nil
	}
	return f.catalog.Snapshot()
}

func TestSnapshotGoneMeanwhile(t *testing.T) {
	t.Parallel()
	cfg := managed(newEntra(), newCatalog())
	cfg.Catalog = &flicker{catalog: newCatalog()}
	w := get(open(t, cfg).Wrap(echo), "/echo")
	assert.Equal(t, 503, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
}

// Servers that read what follows a semicolon as a parameter must not be led to
// another API than the one that was decided on.
func TestPathParameters(t *testing.T) {
	t.Parallel()
	h := open(t, managed(newEntra(), newCatalog())).Wrap(echo)
	key := []string{keyHeader, "key-starter"} // opens echo, not echo/admin
	for path, status := range map[string]int{
		"/echo/admin": 401, "/echo/admin;x": 400, "/echo/admin;x=1/y": 400, "/echo/admin%3bx": 400, "/echo/admin;": 400,
		"/echo;x/y": 400, "/;x/echo": 400, "/echo/;/admin": 400, "/echo/;x=1/admin": 400,
		"/echo/x;y=1/z": 200, "/echo/a;b;c": 200,
	} {
		assert.Equal(t, status, get(h, path, key...).Code, path)
	}
}

// What a request holds cannot fill the log.
func TestLongRequestsInTheLog(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	cfg := managed(newEntra(), newCatalog())
	cfg.Logger = log.Logger(slog.LevelDebug)
	var last middleware.Decision
	cfg.Audit = func(_ *http.Request, d middleware.Decision) { last = d }
	h := open(t, cfg).Wrap(echo)
	long := strings.Repeat("x", 100_000)
	for path, status := range map[string]int{"/" + long: 404, "//" + long: 400, "/echo;" + long: 400, "/%65cho/" + long: 400} {
		r := request("/", "X", "y")
		r.Method = long
		u, err := r.URL.Parse("http://example.com" + path)
		require.NoError(t, err)
		r.URL = u
		before := len(log.String())
		assert.Equal(t, status, do(h, r).Code)
		assert.Less(t, len(log.String())-before, 2000)
		assert.LessOrEqual(t, len(last.Detail.Actual), 203)
	}
}

// Report-only mode lets the handler see the key in the query, which it may
// still check itself; the log outside does not see it.
func TestReportOnlyLeavesTheQuery(t *testing.T) {
	t.Parallel()
	cfg := managed(newEntra(), newCatalog())
	cfg.ReportOnly, cfg.RedactKeyQuery = true, true
	var url, uri string
	h := open(t, cfg).Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { url, uri = r.URL.RawQuery, r.RequestURI }))
	for _, query := range []string{"a=b&subscription-key=key-starter", "subscription-key=wrong&a=b"} {
		r := request("/echo?" + query)
		do(h, r)
		assert.Equal(t, query, url)
		assert.Equal(t, "/echo?"+query, uri)
		assert.Equal(t, "a=b /echo?a=b", r.URL.RawQuery+" "+r.RequestURI)
	}
}

// A token that cannot be verified makes nobody ask the catalog about the
// client that it names: invented names could crowd out real look-ups, and the
// answer would tell strangers who is a client.
func TestUnverifiedTokensAskNothing(t *testing.T) {
	t.Parallel()
	c, e := newCatalog(), newEntra()
	e.answer = down
	h := open(t, managed(e, c)).Wrap(echo)
	for _, azp := range []string{clientID, "11111111-1111-1111-1111-111111111111"} {
		assert.Equal(t, 503, call(h, mint(t, claims(object{"azp": azp}))).Code)
	}
	assert.Equal(t, 403, call(h, mint(t, claims(object{"roles": nil}))).Code, "no key would help")
	assert.Zero(t, c.asked)
}

// A decision names the same time to ask again as the header, and none where
// asking again is no help.
func TestRetryAfterInDecisions(t *testing.T) {
	t.Parallel()
	c, e := newCatalog(), newEntra()
	e.answer = down
	var last middleware.Decision
	cfg := managed(e, c)
	cfg.Audit = func(_ *http.Request, d middleware.Decision) { last = d }
	h := open(t, cfg).Wrap(echo)
	token := []string{"Authorization", "Bearer " + mint(t, claims(nil))}
	w := get(h, "/echo", token...)
	assert.Equal(t, w.Header().Get("Retry-After")+"s", last.RetryAfter.String())
	get(h, "/echo", append(token, keyHeader, "key-starter")...)
	assert.True(t, last.Allowed)
	assert.Zero(t, last.RetryAfter, "the key let it pass")
	c.set(func(c *catalog) { c.err = io.ErrUnexpectedEOF })
	get(h, "/echo", keyHeader, "key-starter")
	assert.Equal(t, time.Second, last.RetryAfter)
}

// What is done to the slices of a configuration later changes no gate.
func TestConfigIsCopied(t *testing.T) {
	t.Parallel()
	cfg := config(newEntra())
	cfg.Algorithms = []string{"RS256"}
	h := open(t, cfg).Product("starter")(echo)
	token := mint(t, claims(nil))
	cfg.Algorithms[0], cfg.Tenants[0] = "PS256", ""
	cfg.Products[0].Role, cfg.Products[0].Audiences[0] = "x", "x"
	assert.Equal(t, 200, call(h, token).Code)
}
