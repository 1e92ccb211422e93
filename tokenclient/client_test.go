package tokenclient_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"golang.org/x/oauth2"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/tokenclient"
)

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for field, change := range map[string]func(*tokenclient.Config){
		"ClientID: required":              func(c *tokenclient.Config) { c.ClientID = "" },
		"ClientID: must be printable":     func(c *tokenclient.Config) { c.ClientID = "a b" },
		"TenantID: required":              func(c *tokenclient.Config) { c.TenantID = "" },
		`TenantID: "common"`:              func(c *tokenclient.Config) { c.TenantID = "common" },
		`TenantID: "a/b"`:                 func(c *tokenclient.Config) { c.TenantID = "a/b" },
		"ClientID: must be the appl":      func(c *tokenclient.Config) { c.ClientID = "order-sync" },
		"a GUID; a name will not do":      func(c *tokenclient.Config) { c.ClientID = password }, // into the wrong field
		`TenantID: ".."`:                  func(c *tokenclient.Config) { c.TenantID = ".." },
		`Cloud: unknown cloud`:            func(c *tokenclient.Config) { c.Cloud = "mars" },
		"Authority: must be https":        func(c *tokenclient.Config) { c.Authority = "http://login.contoso.com" },
		"Authority: excludes Cloud":       func(c *tokenclient.Config) { c.Authority, c.Cloud = "https://x", "china" },
		`but Cloud is "china"`:            func(c *tokenclient.Config) { c.Authority, c.Cloud = "https://login.microsoftonline.com", "china" },
		`Authority: path "/other" is not`: func(c *tokenclient.Config) { c.Authority = "https://x/other" },
		"TokenURL: cannot be combined":    func(c *tokenclient.Config) { c.TokenURL = "https://x/token" },
		"TokenURL: must not carry a frag": func(c *tokenclient.Config) { c.TenantID, c.TokenURL = "", "https://x/token?a#b" },
		"TokenURL: must be https":         func(c *tokenclient.Config) { c.TenantID, c.TokenURL = "", "http://x/token" },
		`Params: "client_secret" belongs`: func(c *tokenclient.Config) { c.Params = url.Values{"client_secret": {"x"}} },
		"Timeout: -1s":                    func(c *tokenclient.Config) { c.Timeout = -time.Second },
		"MaxScopes: -1":                   func(c *tokenclient.Config) { c.MaxScopes = -1 },
		"Credential: required":            func(c *tokenclient.Config) { c.Credential = tokenclient.Credential{} },
	} {
		cfg := tokenclient.Config{TenantID: tenant, ClientID: clientID, Credential: tokenclient.Secret(password)}
		change(&cfg)
		c, err := tokenclient.New(cfg)
		require.ErrorContains(t, err, field)
		assert.Nil(t, c)
		assert.NotContains(t, err.Error(), password)
	}
}

// Every cloud's requests go to its own host, and an authority may hold the
// tenant or not.
func TestTokenEndpoints(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]tokenclient.Config{
		"https://login.microsoftonline.com/" + tenant + "/oauth2/v2.0/token":        {TenantID: tenant},
		"https://login.microsoftonline.us/" + tenant + "/oauth2/v2.0/token":         {TenantID: tenant, Cloud: "usgov"},
		"https://login.partner.microsoftonline.cn/" + tenant + "/oauth2/v2.0/token": {TenantID: tenant, Cloud: "china"},
		"https://login.contoso.com/" + tenant + "/oauth2/v2.0/token":                {TenantID: tenant, Authority: "https://login.contoso.com/"},
		"https://login.fabrikam.com/" + tenant + "/oauth2/v2.0/token":               {TenantID: tenant, Authority: "https://login.fabrikam.com/" + tenant + "/"},
		"https://login.contoso.net/" + tenant + "/oauth2/v2.0/token":                {TenantID: tenant, Authority: "https://login.contoso.net/" + strings.ToUpper(tenant) + "/v2.0"},
		"https://other/token":     {TokenURL: "https://other/token"},
		"https://other/token?p=x": {TokenURL: "https://other/token?p=x"},
	} {
		var got string
		cfg.ClientID, cfg.Credential = clientID, tokenclient.Secret(password)
		cfg.HTTPClient = &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			got = req.URL.String()
			return &http.Response{StatusCode: 400, Body: http.NoBody}, nil
		})}
		c, err := tokenclient.New(cfg)
		require.NoError(t, err)
		mustFail(t, c.Source(scope))
		assert.Equal(t, want, got)
		require.NoError(t, c.Close())
	}
}

// What another server calls its clients is its own affair.
func TestAnyClientIDWithATokenURL(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, nil)
	mustToken(t, newClient(t, e, nil, func(cfg *tokenclient.Config) {
		cfg.TenantID, cfg.Authority, cfg.TokenURL, cfg.ClientID = "", "", e.URL, "order-sync"
	}).Source(scope))
	assert.Equal(t, "order-sync", e.form(1).Get("client_id"))
}

// Close leaves no connection of our own behind.
func TestCloseEndsOwnConnections(t *testing.T) {
	t.Parallel()
	var open atomic.Int32
	e := &endpoint{answer: func(n int, w http.ResponseWriter, _ *http.Request) { grantToken(w, n, 3600) }}
	e.Server = httptest.NewUnstartedServer(e)
	e.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	e.Start()
	defer e.Close()
	c := newClient(t, e, nil, func(cfg *tokenclient.Config) { cfg.HTTPClient = nil })
	mustToken(t, c.Source(scope))
	require.NoError(t, c.Close())
	eventually(t, "connection closed", func() bool { return open.Load() == 0 })
}

// The connections of a client that was given are others' too.
func TestCloseLeavesGivenConnections(t *testing.T) {
	t.Parallel()
	conn := &countsClosing{}
	c, err := tokenclient.New(tokenclient.Config{
		TenantID: tenant, ClientID: clientID, Credential: tokenclient.Secret(password), HTTPClient: &http.Client{Transport: conn},
	})
	require.NoError(t, err)
	mustFail(t, c.Source(scope))
	require.NoError(t, c.Close())
	assert.Zero(t, conn.closed.Load())
}

// countsClosing answers 400.
type countsClosing struct{ closed atomic.Int32 }

func (c *countsClosing) CloseIdleConnections() { c.closed.Add(1) }

func (c *countsClosing) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusBadRequest, Body: http.NoBody}, nil
}

func TestParamsAreSentAlong(t *testing.T) {
	t.Parallel()
	e, params := newEndpoint(t, nil), url.Values{"audience": {"https://api"}}
	s := newClient(t, e, nil, func(cfg *tokenclient.Config) { cfg.Params = params }).Source(scope)
	params.Set("audience", "changed later")
	mustToken(t, s)
	assert.Equal(t, "https://api", e.form(1).Get("audience"))
}

// The credential does not follow a redirect, whatever the given client does.
func TestRedirectOfTheEndpointIsNotFollowed(t *testing.T) {
	t.Parallel()
	thief := newEndpoint(t, nil)
	e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
	})
	given := &http.Client{}
	mustFail(t, newClient(t, e, nil, func(cfg *tokenclient.Config) { cfg.HTTPClient = given }).Source(scope))
	assert.Zero(t, thief.count())
	assert.Nil(t, given.CheckRedirect, "the given client is left alone")
}

func TestTokenNeverPrints(t *testing.T) {
	t.Parallel()
	s := newClient(t, newEndpoint(t, nil), nil, nil).Source(scope)
	token, err := s.Token(patient(t))
	require.NoError(t, err)
	out, err := json.Marshal(token)
	require.NoError(t, err)
	var log testkit.Log
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "token", token, "source", s)
	holder := struct{ t *tokenclient.Token }{token}
	text := fmt.Sprintf("%v %+v %#v %s %q %v %#v %+v", token, token, token, token, token, *token, holder, s) + string(out) + log.String()
	assert.NotContains(t, text, "token-1")
	assert.Contains(t, string(out), scope)
}

func TestLog(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			refuse(w, 401, "invalid_client", 7000215, "Wrong.")
			return
		}
		grantToken(w, n, 3600)
	})
	var log testkit.Log
	clk := newClock()
	s := newClient(t, e, clk, func(cfg *tokenclient.Config) { cfg.Logger = log.Logger(slog.LevelInfo) }).Source(scope)
	mustFail(t, s)
	clk.advance(time.Minute)
	mustToken(t, s)
	records := strings.Split(strings.TrimSpace(log.String()), "\n")
	require.Len(t, records, 2)
	common := []string{"client_id=" + clientID + " ", "credential=secret ", "took="}
	for i, parts := range [][]string{
		{"level=WARN", `msg="no token"`, "error.aadsts=7000215", "error.correlation_id=2c", "error.scope=" + scope},
		{"level=INFO", `msg="token fetched"`, "token.scope=" + scope, "token.expires=", "refresh_in="},
	} {
		for _, part := range append(parts, common...) {
			assert.Contains(t, records[i], part)
		}
	}
	assert.NotContains(t, log.String(), password)
	assert.NotContains(t, log.String(), "token-2")
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		switch n {
		case 1:
			refuse(w, 401, "invalid_client", 7000215, "Wrong.")
		case 2:
			reply(w, 400, map[string]any{"error": "made up by the server", "error_codes": []int{123456}})
		default:
			grantToken(w, n, 3600)
		}
	})
	reader, spans := metric.NewManualReader(), tracetest.NewSpanRecorder()
	clk := newClock()
	c := newClient(t, e, clk, func(cfg *tokenclient.Config) {
		cfg.MeterProvider = metric.NewMeterProvider(metric.WithReader(reader))
		cfg.TracerProvider = trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	})
	s := c.Source(scope)
	for range 2 {
		mustFail(t, s)
		clk.advance(time.Minute)
	}
	mustToken(t, s)
	clk.advance(90 * time.Second)

	require.Len(t, spans.Ended(), 3)
	assert.Equal(t, "entragate.tokenclient.fetch", spans.Ended()[0].Name())
	assert.Contains(t, spans.Ended()[0].Attributes(), attribute.String("entragate.outcome", "invalid_client"))

	got := map[string]any{}
	for _, m := range collect(t, reader) {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				got[m.Name+" "+p.Attributes.Encoded(attribute.DefaultEncoder())] = p.Value
			}
		case metricdata.Gauge[float64]:
			for _, p := range data.DataPoints {
				got[m.Name+" "+p.Attributes.Encoded(attribute.DefaultEncoder())] = p.Value
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				got[m.Name+" "+p.Attributes.Encoded(attribute.DefaultEncoder())] = p.Count
				assert.Equal(t, 0.005, p.Bounds[0], "seconds, not milliseconds")
			}
		}
	}
	of := func(outcome string) string {
		if outcome != "" {
			outcome = "entragate.outcome=" + outcome + ","
		}
		return "entragate.client_id=" + clientID + "," + outcome + "entragate.scope=" + scope
	}
	assert.Equal(t, map[string]any{
		"entragate.tokenclient.fetches entragate.aadsts=7000215," + of("invalid_client"): int64(1),
		"entragate.tokenclient.fetches " + of("400"):                                     int64(1),
		"entragate.tokenclient.fetches " + of("ok"):                                      int64(1),
		"entragate.tokenclient.fetch.duration " + of("invalid_client"):                   uint64(1),
		"entragate.tokenclient.fetch.duration " + of("400"):                              uint64(1),
		"entragate.tokenclient.fetch.duration " + of("ok"):                               uint64(1),
		"entragate.tokenclient.token.age " + of(""):                                      90.0,
	}, got)
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	for name := range got {
		for _, word := range strings.FieldsFunc(name, func(r rune) bool { return r == ' ' || r == ',' }) {
			word, _, _ = strings.Cut(word, "=")
			assert.Contains(t, string(doc), word, "documented")
		}
	}
	require.NoError(t, c.Close())
	for _, m := range collect(t, reader) {
		assert.NotEqual(t, "entragate.tokenclient.token.age", m.Name, "a closed client reports no age")
	}
}

func collect(t *testing.T, reader metric.Reader) []metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(context.Background(), &all))
	require.Len(t, all.ScopeMetrics, 1)
	return all.ScopeMetrics[0].Metrics
}

func TestOAuth2(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, nil)
	s := newClient(t, e, nil, nil).Source(scope)
	var source oauth2.TokenSource = s.OAuth2()
	token, err := source.Token()
	require.NoError(t, err)
	assert.Equal(t, "token-1", token.AccessToken)
	assert.Equal(t, "Bearer", token.Type())
	assert.True(t, token.Valid())
	assert.WithinDuration(t, time.Now().Add(time.Hour), token.Expiry, time.Minute)

	bad := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) })
	token, err = newClient(t, bad, nil, nil).Source(scope).OAuth2().Token()
	require.ErrorAs(t, err, new(*tokenclient.Error))
	assert.Nil(t, token)
}

// perRPC is gRPC's credentials.PerRPCCredentials.
type perRPC interface {
	GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error)
	RequireTransportSecurity() bool
}

func TestPerRPC(t *testing.T) {
	t.Parallel()
	var creds perRPC
	source := newClient(t, newEndpoint(t, nil), nil, nil).Source(scope)
	creds = tokenclient.PerRPC(source, rpcError)
	assert.True(t, creds.RequireTransportSecurity())
	md, err := creds.GetRequestMetadata(patient(t), "https://host/service")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"authorization": "Bearer token-1"}, md)
	creds = tokenclient.InsecurePerRPC(source, rpcError)
	assert.False(t, creds.RequireTransportSecurity())
}

// A call fails with the code that says whether to try again.
func TestPerRPCCodes(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancelLate := context.WithDeadline(context.Background(), time.Unix(1, 0))
	defer cancelLate()
	for name, tt := range map[string]struct {
		status int
		ctx    context.Context
		want   rpcCode
	}{
		"outage": {503, patient(t), 14}, "refused": {400, patient(t), 16}, "cancelled": {503, ended, 1}, "too late": {503, late, 4},
	} {
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tt.status) })
		_, err := tokenclient.PerRPC(newClient(t, e, newClock(), nil).Source(scope), rpcError).GetRequestMetadata(tt.ctx)
		var code rpcCode
		require.ErrorAs(t, err, &code, name)
		assert.Equal(t, tt.want, code, name)
	}
}

// rpcCode is as gRPC's codes.Code, and rpcError as its status.Error.
type rpcCode uint32

func (c rpcCode) Error() string { return "rpc error " + strconv.Itoa(int(c)) }

func rpcError(code rpcCode, message string) error { return fmt.Errorf("%s: %w", message, code) }
