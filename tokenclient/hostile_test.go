package tokenclient_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/tokenclient"
)

// tokenPause is longer than any pause after a failure.
const tokenPause = time.Minute

// Challenges of 9 MiB cost no more memory than the few that are read.
func TestHugeChallengeIsBounded(t *testing.T) {
	for name, fields := range map[string][]string{
		"one field":                     {strings.Repeat(`Bearer a="b", `, 9<<20/14)},
		"many fields":                   strings.Split(strings.Repeat("Bearer a=\"b\"\n", 9<<20/13), "\n"),
		"many fields of another scheme": strings.Split(strings.Repeat("Basic a=\"b\"\n", 9<<20/12), "\n"),
		"many words":                    {strings.Repeat("a ", 9<<20/2)},
		"one text":                      {`Bearer error_description="` + strings.Repeat(`\x`, 9<<19) + `"`},
	} {
		resp := &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": fields}}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.Error(t, tokenclient.CheckResponse(resp))
		runtime.ReadMemStats(&after)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), name)
	}
}

// A 401 that never ends neither holds the call nor costs the second answer.
func TestRefusalThatNeverEnds(t *testing.T) {
	t.Parallel()
	released := make(chan struct{})
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer token-2" {
			_, _ = io.WriteString(w, "done")
			return
		}
		w.Header().Set("WWW-Authenticate", invalidChallenge)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "and")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-released:
		}
	})
	defer close(released)
	s := newClient(t, newEndpoint(t, nil), nil, nil).Source(scope)
	req, err := http.NewRequestWithContext(patient(t), http.MethodGet, a.URL, nil)
	require.NoError(t, err)
	resp, err := httpClient(t, s, a.host()).Do(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, "done", string(body))
}

// A function that ignores its context costs the call its Timeout and holds up
// neither Close nor, however often it hangs, more than a few goroutines.
func TestCredentialFunctionThatHangs(t *testing.T) {
	t.Parallel()
	e, clk := newEndpoint(t, nil), newClock()
	hang := make(chan struct{})
	var calls atomic.Int32
	c, err := tokenclient.New(tokenclient.Config{
		TenantID: tenant, ClientID: clientID, Authority: e.URL, Timeout: 5 * time.Millisecond, Now: clk.Now, Sleep: clk.Sleep,
		Credential: tokenclient.SecretFunc(func(context.Context) (string, error) { calls.Add(1); <-hang; return password, nil }),
	})
	require.NoError(t, err)
	s := c.Source(scope)
	for range 30 {
		failed := mustFail(t, s)
		assert.True(t, failed.Retryable)
		assert.True(t, errors.Is(failed, context.DeadlineExceeded) || strings.Contains(failed.Error(), "still hang"), failed)
		clk.advance(tokenPause)
	}
	assert.LessOrEqual(t, calls.Load(), int32(8))
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.Close() }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("Close waits for the function")
	}
	close(hang)
}

// A function of the caller that panics fails the call, not the process.
func TestPanicsAreErrors(t *testing.T) {
	t.Parallel()
	boom := func() { panic("boom " + password) }
	for name, change := range map[string]func(*tokenclient.Config){
		"secret": func(c *tokenclient.Config) {
			c.Credential = tokenclient.SecretFunc(func(context.Context) (string, error) { boom(); return "", nil })
		},
		"assertion": func(c *tokenclient.Config) {
			c.Credential = tokenclient.AssertionFunc(func(context.Context) (string, error) { boom(); return "", nil })
		},
		"transport": func(c *tokenclient.Config) {
			c.HTTPClient = &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { boom(); return nil, nil })}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, nil)
			err := mustFail(t, newClient(t, e, newClock(), change).Source(scope))
			assert.ErrorContains(t, err, "panicked")
			assert.ErrorContains(t, err, "hostile_test.go", "where it was")
			assert.NotContains(t, err.Error(), password)
			assert.Zero(t, e.count())
		})
	}
}

// What merely watches cannot take the token away.
func TestPanicOfAWatcherCostsNothing(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*tokenclient.Config){
		"logger": func(c *tokenclient.Config) { c.Logger = slog.New(panicking{}) },
		"OnExpiring": func(c *tokenclient.Config) {
			c.Credential = c.Credential.ExpiresAt(newClock().Now())
			c.OnExpiring = func(tokenclient.Expiring) { panic("boom") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, "token-1", mustToken(t, newClient(t, newEndpoint(t, nil), newClock(), change).Source(scope)))
		})
	}
}

type panicking struct{ slog.Handler }

func (panicking) Enabled(context.Context, slog.Level) bool { panic("boom") }

// A subscription key's function that panics fails that request.
func TestPanicOfASubscriptionKey(t *testing.T) {
	t.Parallel()
	tr, err := tokenclient.NewTransport(tokenclient.TransportConfig{
		Hosts:           []string{"127.0.0.1"},
		SubscriptionKey: tokenclient.SecretFunc(func(context.Context) (string, error) { panic("boom") }),
	})
	require.NoError(t, err)
	req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1/", nil)
	require.NoError(t, err)
	_, err = tr.RoundTrip(req)
	assert.ErrorContains(t, err, "panicked")
}

// Through an http proxy neither URL.Opaque nor Host leads the token elsewhere.
func TestNoTokenElsewhereThroughAProxy(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.RequestURI)
	}))
	t.Cleanup(proxy.Close)
	proxyURL, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	s := newClient(t, newEndpoint(t, nil), nil, nil).Source(scope)
	base := ownConnections(t)
	base.Proxy = http.ProxyURL(proxyURL)
	tr, err := tokenclient.NewTransport(tokenclient.TransportConfig{Hosts: []string{"localhost:8080"}, Source: s, Base: base})
	require.NoError(t, err)
	for name, change := range map[string]func(*http.Request){
		"opaque":      func(r *http.Request) { r.URL.Opaque = "//evil.example/x" },
		"opaque path": func(r *http.Request) { r.URL.Opaque = "/x" },
		"host":        func(r *http.Request) { r.Host = "evil.example" },
		"host port":   func(r *http.Request) { r.Host = "localhost:9" },
	} {
		req, err := http.NewRequest(http.MethodGet, "http://localhost:8080/x", nil)
		require.NoError(t, err)
		change(req)
		_, err = tr.RoundTrip(req)
		assert.ErrorIs(t, err, tokenclient.ErrNotAllowed, name)
	}
	req, err := http.NewRequest(http.MethodGet, "http://localhost:8080/x", nil)
	require.NoError(t, err)
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, []string{"http://localhost:8080/x"}, seen)
}

// Two readers of one answer must not see two tokens or two lives in it.
func TestAmbiguousAnswersAreRefused(t *testing.T) {
	t.Parallel()
	token := func(rest string) string { return `{"access_token":"t","token_type":"Bearer"` + rest + `}` }
	for name, body := range map[string]string{
		"two tokens":       token(`,"access_token":"u","expires_in":9`),
		"two lives":        token(`,"expires_in":9,"expires_in":99`),
		"two, escaped":     token(`,"expires_in":9,"expires\u005fin":99`),
		"nested":           token(`,"expires_in":9,"x":{"a":1,"a":2}`),
		"no UTF-8":         token(`,"expires_in":9,"x":"` + "\xff" + `"`),
		"huge":             token(`,"expires_in":1e300`),
		"exponent":         token(`,"expires_in":36e2`),
		"text":             token(`,"expires_in":"soon"`),
		"hexadecimal":      token(`,"expires_in":"0x10"`),
		"underscore":       token(`,"expires_in":"3_600"`),
		"infinite":         token(`,"expires_in":"Inf"`),
		"space":            token(`,"expires_in":" 3600"`),
		"sign":             token(`,"expires_in":"+3600"`),
		"fraction":         token(`,"expires_in":3599.5`),
		"true":             token(`,"expires_in":true`),
		"list":             token(`,"expires_in":[3600]`),
		"negative refresh": token(`,"expires_in":3600,"refresh_in":-1`),
		"odd refresh":      token(`,"expires_in":3600,"refresh_in":"1e3"`),
		"other case":       `{"Access_Token":"t","token_type":"Bearer","expires_in":9}`,
		"trailing":         token("") + "{}",
	} {
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		failed := mustFail(t, newClient(t, e, newClock(), nil).Source(scope))
		assert.Equal(t, http.StatusOK, failed.StatusCode, name)
	}
	for name, body := range map[string]string{
		"text": token(`,"expires_in":"3600"`), "number": token(`,"expires_in":3600,"refresh_in":1800`), "whole": token(`,"expires_in":3600.0`),
		"none": token(``), "null": token(`,"expires_in":null,"refresh_in":null`), "long": token(`,"expires_in":99999999999`),
	} {
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		assert.Equal(t, "t", mustToken(t, newClient(t, e, newClock(), nil).Source(scope)), name)
	}
}

// 1,000 scopes at once are fetched a few at a time; in an outage the others
// learn of it without a request of their own.
func TestManyScopesAreFetchedAFewAtATime(t *testing.T) {
	t.Parallel()
	const scopes = 1000
	var now, most atomic.Int32
	down := atomic.Bool{}
	e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		defer now.Add(-1)
		for k := now.Add(1); ; {
			if m := most.Load(); k <= m || most.CompareAndSwap(m, k) {
				break
			}
		}
		runtime.Gosched()
		if down.Load() {
			unavailable(w)
			return
		}
		grantToken(w, n, 3600)
	})
	clk := newClock()
	c := newClient(t, e, clk, func(cfg *tokenclient.Config) { cfg.MaxScopes = scopes })
	ask := func() (failed int32) {
		var callers sync.WaitGroup
		var count atomic.Int32
		for i := range scopes {
			s := c.Source("api://" + strconv.Itoa(i) + "/.default")
			callers.Go(func() {
				if _, err := s.Token(patient(t)); err != nil {
					var typed *tokenclient.Error
					assert.True(t, errors.As(err, &typed) && typed.Scope == s.Scope())
					count.Add(1)
				}
			})
		}
		callers.Wait()
		return count.Load()
	}
	assert.Zero(t, ask())
	assert.Equal(t, scopes, e.count())
	assert.LessOrEqual(t, most.Load(), int32(16))
	down.Store(true)
	clk.advance(2 * time.Hour)
	assert.EqualValues(t, scopes, ask())
	assert.Less(t, e.count(), scopes+100)
}
