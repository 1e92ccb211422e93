package middleware_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/race"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/middleware"
)

// Every refusal says which comparison failed, with both sides, and never holds
// the credential.
func TestExplain(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	c.clients["blocked"] = appaccess.ClientState{AppID: "blocked", DenyReason: appaccess.OwnerBlocked}
	c.clients["ungranted"] = appaccess.ClientState{AppID: "ungranted"}
	g := open(t, managed(newEntra(), c))
	for _, tc := range []struct {
		change object
		reason middleware.Reason
		detail string
	}{
		{nil, middleware.Allowed, ""},
		{object{"aud": "api://other"}, middleware.TokenAudienceNotAllowed, `aud is "api://other", expected "` + appID + ` or `},
		{object{"aud": otherApp, "roles": []string{role}}, middleware.RoleMissing, `roles is "Product.Starter.All", expected "Product.Other.All"`},
		{object{"roles": []string{"A", "B"}}, middleware.RoleMissing, `roles is "A B", expected "` + role + `"`},
		{object{"roles": nil}, middleware.RoleMissing, `roles is missing, expected "` + role + `"`},
		{object{"iss": "https://sts.windows.net/" + tenantID + "/"}, middleware.TokenIssuerNotAllowed, `iss is "https://sts.windows.net/` + tenantID + `/", expected "` + authority},
		{object{"ver": "1.0"}, middleware.TokenClaimValueNotAllowed, `ver is "1.0", expected "2.0 as iss says"`},
		{object{"exp": 1}, middleware.TokenExpired, `exp is "1970-01-01T00:00:01Z", expected "after `},
		{object{"exp": nil}, middleware.TokenClaimNotFound, "exp is missing"},
		{object{"exp": "1"}, middleware.JwtInvalid, "exp must be of its type and in its range"},
		{object{"idtyp": nil}, middleware.TokenClaimNotFound, `idtyp is missing, expected "app (an optional claim`},
		{object{"scp": "a"}, middleware.TokenOfUser, `scp is "present"`},
		{object{"azp": "blocked"}, middleware.ClientNotAllowed, `client is "blocked: owner blocked"`},
		{object{"azp": "unknown"}, middleware.ClientNotAllowed, `client is "unknown: client unknown"`},
		{object{"azp": "ungranted"}, middleware.ClientNotGranted, `products of the client is "none", expected "starter"`},
		{object{"tid": strings.Repeat("x", 1000)}, middleware.TokenClaimValueNotAllowed, `tid is "` + strings.Repeat("x", 200) + `..."`},
	} {
		token := mint(t, claims(tc.change))
		d := g.Explain(request("/echo", "Authorization", "Bearer "+token))
		assert.Equal(t, tc.reason, d.Reason, tc.change)
		assert.Equal(t, tc.reason == middleware.Allowed, d.Allowed)
		assert.Contains(t, d.Detail.String(), tc.detail)
		assert.Equal(t, []any{middleware.TokenCredential, "echo"}, []any{d.Credential, d.API})
		assert.NotContains(t, fmt.Sprintf("%+v %+v", d, d.Principal), token[strings.LastIndexByte(token, '.'):])
	}
	d := g.Explain(request("/echo", keyHeader, "nearly-right"))
	assert.Equal(t, middleware.SubscriptionKeyInvalid, d.Reason)
	assert.NotContains(t, fmt.Sprintf("%+v", d), "nearly-right")
	d = g.Explain(request("/echo/admin", keyHeader, "key-starter"))
	assert.Equal(t, `scope is "/products/starter", expected "one that reaches this API"`, d.Detail.String())
	assert.Equal(t, "s1", d.Principal.SubscriptionID)
	assert.Empty(t, d.Principal.Product)
	for _, path := range []string{"/nowhere", "/lonely"} {
		assert.Equal(t, middleware.OperationNotFound, g.Explain(request(path, "Authorization", "Bearer "+mint(t, claims(nil)))).Reason)
	}
	d = open(t, config(newEntra())).Explain(bearerRequest(mint(t, claims(nil))))
	assert.Equal(t, []any{true, "starter"}, []any{d.Allowed, d.Product}, "without APIs all products are asked")
}

// Explain of a route says what happens there, and nothing of others.
func TestExplainARoute(t *testing.T) {
	t.Parallel()
	g := open(t, managed(newEntra(), newCatalog()))
	r := bearerRequest(mint(t, claims(nil)))
	for name, tc := range map[string]struct {
		explain func() middleware.Decision
		h       http.Handler
	}{
		"product":         {func() middleware.Decision { return g.ExplainProduct("starter", r) }, g.Product("starter")(echo)},
		"another product": {func() middleware.Decision { return g.ExplainProduct("other", r) }, g.Product("other")(echo)},
		"no product":      {func() middleware.Decision { return g.ExplainProduct("none", r) }, g.Product("none")(echo)},
		"API":             {func() middleware.Decision { return g.ExplainAPI("echo", r) }, g.API("echo")(echo)},
		"another API":     {func() middleware.Decision { return g.ExplainAPI("admin", r) }, g.API("admin")(echo)},
		"no API":          {func() middleware.Decision { return g.ExplainAPI("none", r) }, g.API("none")(echo)},
	} {
		d := tc.explain()
		code := do(tc.h, r).Code
		assert.Equal(t, code == 200, d.Allowed, name)
		assert.Equal(t, name == "product" || name == "API", d.Allowed, name)
		if !d.Allowed {
			assert.Equal(t, code, d.Status, name)
		}
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	e := newEntra()
	cfg := config(e)
	cfg.KeyInterval = time.Nanosecond
	cfg.Logger = log.Logger(slog.LevelDebug)
	h := open(t, cfg).Product("starter")(echo)
	good, bad := mint(t, claims(nil)), mint(t, claims(object{"roles": []string{"x\nlevel=ERROR msg=forged"}}))
	lines := func(f func()) string {
		n := len(log.String())
		f()
		return log.String()[n:]
	}
	assert.Contains(t, lines(func() { call(h, good) }), `level=DEBUG msg="request allowed" reason=Allowed credential=token product=starter`)
	assert.Contains(t, log.String(), `level=INFO msg="signing keys changed" tenant=`+tenantID)
	assert.Contains(t, lines(func() { get(h, "/x") }), `level=DEBUG msg="request refused" reason=TokenNotPresent`)
	refused := lines(func() { call(h, bad) })
	assert.Contains(t, refused, `level=INFO msg="request refused" reason=JwtInvalid`)
	assert.NotContains(t, refused, "\nlevel=ERROR")
	e.set(func(e *entra) { e.answer = down })
	unknown := mintWith(t, 2, claims(nil))
	failed := lines(func() { call(h, unknown) })
	assert.Contains(t, failed, `level=WARN msg="signing keys not fetched"`)
	assert.Contains(t, failed, `level=WARN msg="request refused" reason=KeysUnavailable`)
	for _, token := range []string{good, bad, unknown} {
		for part := range strings.SplitSeq(token, ".") {
			assert.NotContains(t, log.String(), part)
		}
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []middleware.Decision
	cfg := managed(newEntra(), newCatalog())
	cfg.Audit = func(_ *http.Request, d middleware.Decision) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, d)
	}
	h := open(t, cfg).Wrap(echo)
	token := mint(t, claims(nil))
	call(h, token)
	call(h, token)
	call(h, "x")
	get(h, "/echo", keyHeader, "key-starter")
	require.Len(t, got, 4)
	assert.Equal(t, []bool{false, true, false, false}, []bool{got[0].Cached, got[1].Cached, got[2].Cached, got[3].Cached})
	p := got[0].Principal
	assert.Equal(t, []any{"starter", "echo", clientID, "app-1", "Sample", "u1", tenantID, "u-1", true, false},
		[]any{p.Product, p.API, p.ClientID, p.ApplicationID, p.ApplicationName, p.OwnerID, p.TenantID, p.TokenID, p.HasRole(role), p.HasRole("x")})
	p.Roles[0] = "changed"
	assert.Equal(t, []string{role}, got[1].Principal.Roles)
	assert.Equal(t, []any{false, 401, middleware.JwtInvalid}, []any{got[2].Allowed, got[2].Status, got[2].Reason})
	assert.Equal(t, []any{"s1", "u1", true, middleware.KeyCredential}, []any{got[3].Principal.SubscriptionID, got[3].Principal.OwnerID, got[3].Principal.PrimaryKey, got[3].Credential})
}

// Report-only lets everything pass, untouched, and counts.
func TestReportOnly(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	c.keys[appaccess.HashKey("key-2")] = appaccess.KeyState{SubscriptionID: "s2", Scope: appaccess.AllAPIs}
	var refused []middleware.Reason
	cfg := managed(newEntra(), c)
	cfg.ReportOnly = true
	cfg.Audit = func(_ *http.Request, d middleware.Decision) {
		if !d.Allowed && d.ReportOnly {
			refused = append(refused, d.Reason)
		}
	}
	g := open(t, cfg)
	require.NoError(t, g.Ready(t.Context()))
	var auth, key string
	h := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth, key = r.Header.Get("Authorization"), r.Header.Get(keyHeader)
		echo(w, r)
	}))
	for _, header := range [][]string{nil, {"Authorization", "Bearer x", keyHeader, "y"}, {keyHeader, "key-starter"}, {keyHeader, "key-starter"}, {keyHeader, "key-2"},
		{"Authorization", "Bearer " + mint(t, claims(nil))}} {
		w := get(h, "/echo", header...)
		assert.Equal(t, 200, w.Code)
		r := request("/echo", header...)
		assert.Equal(t, []string{r.Header.Get("Authorization"), r.Header.Get(keyHeader)}, []string{auth, key}, "nothing is taken away")
		caller := w.Header().Get("X-Caller")
		assert.Equal(t, len(header) == 2, caller != "", "who has a valid credential is known")
	}
	assert.Equal(t, []middleware.Reason{middleware.TokenNotPresent, middleware.JwtInvalid}, refused)
	assert.Equal(t, middleware.Usage{
		Requests: 6, Refused: 2, Token: 1, Key: 3, TokenCallers: 1, KeyCallers: 2,
		Reasons: map[middleware.Reason]uint64{middleware.Allowed: 4, middleware.TokenNotPresent: 1, middleware.JwtInvalid: 1},
	}, g.Usage())
	assert.Equal(t, 200, get(h, "/nowhere").Code)
	assert.Zero(t, open(t, managed(newEntra(), c)).Usage())
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	cfg := config(newEntra())
	cfg.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	g := open(t, cfg)
	h := g.Product("starter")(echo)
	token := mint(t, claims(nil))
	call(h, token)
	call(h, token)
	call(h, "x")
	var rm metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &rm))
	sums := map[string]int64{}
	gauges := 0
	for _, m := range rm.ScopeMetrics[0].Metrics {
		switch d := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range d.DataPoints {
				key := m.Name
				for _, kv := range p.Attributes.ToSlice() {
					key += " " + strings.TrimPrefix(string(kv.Key), "entragate.") + "=" + kv.Value.String()
				}
				sums[key] = p.Value
			}
		case metricdata.Gauge[float64]:
			gauges += len(d.DataPoints)
			assert.GreaterOrEqual(t, d.DataPoints[0].Value, 0.0)
		}
	}
	assert.Equal(t, map[string]int64{
		"entragate.gate.decisions allowed=true api= credential=token product=starter reason=Allowed":     2,
		"entragate.gate.decisions allowed=false api= credential=token product=starter reason=JwtInvalid": 1,
		"entragate.gate.cache hit=false":                             1,
		"entragate.gate.cache hit=true":                              1,
		"entragate.gate.key_fetches ok=true tenant=" + tenantID + "": 1,
	}, sums)
	assert.Equal(t, 1, gauges)
}

func TestSpan(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test")
	cfg := config(newEntra())
	cfg.SpanAttributes = true
	h := open(t, cfg).Product("starter")(echo)
	ctx, span := tracer.Start(context.Background(), "request")
	do(h, request("/x", "Authorization", "Bearer x").WithContext(ctx))
	span.End()
	got := map[string]string{}
	for _, kv := range recorder.Ended()[0].Attributes() {
		got[string(kv.Key)] = kv.Value.String()
	}
	assert.Len(t, got["entragate.decision_id"], 16)
	delete(got, "entragate.decision_id")
	assert.Equal(t, map[string]string{"entragate.allowed": "false", "entragate.reason": "JwtInvalid", "entragate.credential": "token", "entragate.product": "starter", "entragate.api": ""}, got)
}

// What is not configured costs nothing: a checked token's way allocates no more
// than the request and its context.
func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector empties pools at random")
	}
	for name, tc := range map[string]struct {
		cfg  middleware.Config
		most float64
	}{"static": {both(t)["static"], 3}, "managed": {both(t)["managed"], 4}} {
		h := open(t, tc.cfg).Wrap(nothing)
		w := &nowhere{header: http.Header{}}
		r := bearerRequest(mint(t, entraLike(nil)))
		h.ServeHTTP(w, r)
		least := math.Inf(1) // AllocsPerRun counts allocations of the whole process
		for range 10 {
			least = min(least, testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }))
		}
		assert.LessOrEqual(t, least, tc.most, name)
	}
}

// Report-only mode counts also where nothing else is configured, and its log
// does not call refused what passed.
func TestReportOnlyByItself(t *testing.T) {
	t.Parallel()
	cfg := managed(newEntra(), newCatalog())
	cfg.ReportOnly = true
	g := open(t, cfg)
	get(g.Wrap(echo), "/echo")
	get(g.Wrap(echo), "/echo", keyHeader, "key-starter")
	assert.Equal(t, middleware.Usage{
		Requests: 2, Refused: 1, Key: 1, KeyCallers: 1,
		Reasons: map[middleware.Reason]uint64{middleware.Allowed: 1, middleware.TokenNotPresent: 1},
	}, g.Usage())

	for reportOnly, message := range map[bool]string{true: "request would be refused", false: "request refused"} {
		level := map[bool]string{true: "INFO", false: "DEBUG"}[reportOnly]
		var log testkit.Log
		cfg.ReportOnly = reportOnly
		cfg.Logger = log.Logger(slog.LevelDebug)
		h := open(t, cfg).Wrap(echo)
		assert.Equal(t, reportOnly, strings.Contains(log.String(), `level=WARN msg="report-only mode: every request passes"`))
		for _, tc := range []struct {
			path, want string
			header     []string
		}{
			{"/echo", "level=" + level + ` msg="` + message + `" reason=TokenNotPresent`, nil},
			{"/nowhere", "level=" + level + ` msg="` + message + `" reason=OperationNotFound`, []string{keyHeader, "key-starter"}},
			{"//echo", `level=INFO msg="` + message + `" reason=PathNotAllowed`, nil},
			{"/echo", `level=INFO msg="` + message + `" reason=SubscriptionKeyInvalid`, []string{keyHeader, "wrong"}},
			{"/echo", `level=DEBUG msg="request allowed" reason=Allowed`, []string{keyHeader, "key-starter"}},
		} {
			before := len(log.String())
			get(h, tc.path, tc.header...)
			line := log.String()[before:]
			assert.Contains(t, line, tc.want)
			assert.Equal(t, !strings.Contains(tc.want, "allowed"), strings.Contains(line, "status="), line)
		}
	}
}

// The distinct callers are counted up to a bound.
func TestUsageIsBounded(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	cfg := managed(newEntra(), c)
	cfg.ReportOnly = true
	g := open(t, cfg)
	h := g.Wrap(nothing)
	for n := range 10_002 {
		c.keys[appaccess.HashKey("key-starter")] = appaccess.KeyState{SubscriptionID: strconv.Itoa(n), Scope: appaccess.AllAPIs}
		h.ServeHTTP(&nowhere{header: http.Header{}}, request("/echo", keyHeader, "key-starter"))
	}
	assert.Equal(t, []any{uint64(10_002), 10_000}, []any{g.Usage().Key, g.Usage().KeyCallers})
}
