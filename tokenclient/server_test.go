package tokenclient_test

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/tokenclient"
)

const (
	tenant   = "0f6b6a5e-8a0b-4c57-9d5f-0d4f3a1b2c3d"
	clientID = "5d3f9a52-1a5d-4e0b-9a51-2f7b7f3f4c11"
	scope    = "api://2e1c0d6a-5b7e-4c39-8b8e-7a3b9e0d1f22/.default"
	password = "pa55~word.Zq8_value"
)

// endpoint is a token endpoint whose answers a test scripts.
type endpoint struct {
	*httptest.Server

	mu      sync.Mutex
	forms   []url.Values
	headers []http.Header
	answer  func(n int, w http.ResponseWriter, r *http.Request)
}

// newEndpoint starts an endpoint; answer gets the number of the request, from
// 1, and a request whose form is parsed. nil gives every client a token.
func newEndpoint(t testing.TB, answer func(n int, w http.ResponseWriter, r *http.Request)) *endpoint {
	t.Helper()
	if answer == nil {
		answer = func(n int, w http.ResponseWriter, _ *http.Request) { grantToken(w, n, 3600) }
	}
	e := &endpoint{answer: answer}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	e.mu.Lock()
	e.forms = append(e.forms, r.PostForm)
	e.headers = append(e.headers, r.Header.Clone())
	n, answer := len(e.forms), e.answer
	e.mu.Unlock()
	answer(n, w, r)
}

// script replaces the answers from now on.
func (e *endpoint) script(answer func(n int, w http.ResponseWriter, r *http.Request)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

func (e *endpoint) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.forms)
}

func (e *endpoint) form(n int) url.Values {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.forms[n-1]
}

func (e *endpoint) header(n int) http.Header {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.headers[n-1]
}

func reply(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func tokenName(n int) string { return "token-" + strconv.Itoa(n) }

func grantToken(w http.ResponseWriter, n, expiresIn int) {
	reply(w, http.StatusOK, map[string]any{"token_type": "Bearer", "access_token": tokenName(n), "expires_in": expiresIn})
}

// refuse answers as Entra does.
func refuse(w http.ResponseWriter, status int, code string, aadsts int, text string) {
	reply(w, status, map[string]any{
		"error": code, "error_description": "AADSTS" + strconv.Itoa(aadsts) + ": " + text + " Trace ID: 1b Correlation ID: 2c",
		"error_codes": []int{aadsts}, "trace_id": "1b", "correlation_id": "2c", "timestamp": "2026-01-01 00:00:00Z",
	})
}

// clock is a clock that only a test moves. Sleeping moves it.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.slept = append(c.slept, d)
	return ctx.Err()
}

func (c *clock) sleeps() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]time.Duration(nil), c.slept...)
}

// newClient makes a client for e with the clock, after change has had its way.
func newClient(t testing.TB, e *endpoint, c *clock, change func(*tokenclient.Config)) *tokenclient.Client {
	t.Helper()
	cfg := tokenclient.Config{
		TenantID: tenant, ClientID: clientID, Authority: e.URL,
		Credential: tokenclient.Secret(password), HTTPClient: e.Client(),
	}
	if c != nil {
		cfg.Now, cfg.Sleep = c.Now, c.Sleep
	}
	if change != nil {
		change(&cfg)
	}
	client, err := tokenclient.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// mustToken gets a token that has to be there within a generous time.
func mustToken(t testing.TB, s *tokenclient.Source) string {
	t.Helper()
	token, err := s.Token(patient(t))
	require.NoError(t, err)
	return token.Reveal()
}

func mustFail(t testing.TB, s *tokenclient.Source) *tokenclient.Error {
	t.Helper()
	token, err := s.Token(patient(t))
	require.Error(t, err)
	require.Nil(t, token)
	var e *tokenclient.Error
	require.ErrorAs(t, err, &e)
	return e
}

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for what a background fetch brings about.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	require.Eventually(t, done, 20*time.Second, time.Millisecond, what)
}

// newTLSServer serves h with a certificate that nobody trusts by default.
func newTLSServer(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are expected
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func goexit() { runtime.Goexit() }
