package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// Not parallel: it sets environment variables, which the exporters read.
// Prometheus finds durations, the API's status and the gate's decisions.
func TestPrometheus(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	t.Setenv("OTEL_METRICS_EXPORTER", "prometheus")
	t.Setenv("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1")
	t.Setenv("OTEL_EXPORTER_PROMETHEUS_PORT", port)
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	telemetry, err := newTelemetry(t.Context(), os.Getenv)
	require.NoError(t, err)
	t.Cleanup(telemetry.close)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	t.Cleanup(backend.Close)
	s := openShop(t, map[string]string{"orders": backend.URL}, func(o *options) { o.Telemetry = telemetry })
	assert.Equal(t, http.StatusTeapot, s.get(t, "/orders/x?subscription-key="+s.key).StatusCode)
	resp, err := http.Get("http://127.0.0.1:" + port + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for _, want := range []string{
		"http_server_request_duration_seconds_bucket{", "http_client_request_duration_seconds_bucket{", `http_response_status_code="418"`,
		"entragate_gate_decisions", `http_route="/orders"`, `service_name="entragate-gateway"`,
	} {
		assert.Contains(t, string(body), want)
	}
	assert.NotContains(t, string(body), s.key)
}

// Not parallel: it sets environment variables.
// A request makes a span of the gateway and a span of the call to the API. They belong
// to the trace of a trusted proxy, and not to a stranger's trace. Neither has a key.
func TestTraces(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	t.Setenv("OTEL_METRICS_EXPORTER", "none")
	const parent = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, trusted := range []string{"127.0.0.1", "192.0.2.1"} {
		spans := tracetest.NewSpanRecorder()
		telemetry, err := newTelemetry(t.Context(), os.Getenv)
		require.NoError(t, err)
		t.Cleanup(telemetry.close)
		telemetry.tracers.RegisterSpanProcessor(spans)
		backend := record(t)
		s := openShop(t, map[string]string{"orders": backend.URL}, func(o *options) {
			o.Telemetry = telemetry
			o.Trusted, err = parseProxies(trusted)
			require.NoError(t, err)
		})
		resp := s.get(t, "/orders/x?subscription-key="+s.key, "Traceparent", "00-"+parent+"-00f067aa0ba902b7-01")
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.NoError(t, resp.Body.Close())
		require.Eventually(t, func() bool { return len(spans.Ended()) == 2 }, patience, tick)
		got := backend.got(t)
		if trusted == "127.0.0.1" {
			assert.Contains(t, got.Header.Get("Traceparent"), parent)
		} else {
			assert.NotContains(t, got.Header.Get("Traceparent"), parent)
		}
		for _, span := range spans.Ended() {
			assert.NotContains(t, text(span), s.key)
		}
		assert.Contains(t, text(spans.Ended()[1]), "entragate.product=shop")
	}
}

func text(span trace.ReadOnlySpan) string {
	var b strings.Builder
	for _, a := range span.Attributes() {
		b.WriteString(string(a.Key) + "=" + a.Value.Emit() + "\n")
	}
	return b.String()
}

func TestNoTelemetryUnlessAsked(t *testing.T) {
	t.Parallel()
	for _, env := range []map[string]string{{}, {"OTEL_SERVICE_NAME": "x"}, {"OTEL_SDK_DISABLED": "true", "OTEL_METRICS_EXPORTER": "prometheus"}} {
		telemetry, err := newTelemetry(context.Background(), func(name string) string { return env[name] })
		require.NoError(t, err)
		assert.Nil(t, telemetry)
	}
}
