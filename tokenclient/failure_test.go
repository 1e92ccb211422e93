package tokenclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/tokenclient"
)

func unavailable(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }

// A cold start meets a brief trouble: the caller never hears of it.
func TestBriefTroubleIsWaitedOut(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(w http.ResponseWriter){
		"429":            func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) },
		"500":            func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"503":            unavailable,
		"504":            func(w http.ResponseWriter) { w.WriteHeader(http.StatusGatewayTimeout) },
		"connection cut": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"body cut": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "900")
			_, _ = io.WriteString(w, `{"acc`)
		},
		"server_error":    func(w http.ResponseWriter) { reply(w, 400, map[string]any{"error": "temporarily_unavailable"}) },
		"429 Retry-After": func(w http.ResponseWriter) { w.Header().Set("Retry-After", "1"); w.WriteHeader(429) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
				if n <= 2 {
					trouble(w)
					return
				}
				grantToken(w, n, 3600)
			})
			clk := newClock()
			assert.Equal(t, "token-3", mustToken(t, newClient(t, e, clk, nil).Source(scope)))
			assert.Len(t, clk.sleeps(), 2)
		})
	}
}

// In an outage there is one request for each pause, and everybody else gets the
// same typed error at once. When the endpoint is back, so are the tokens.
func TestOutage(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) { unavailable(w) })
	clk := newClock()
	c := newClient(t, e, clk, nil)
	s := c.Source(scope)
	err := mustFail(t, s)
	assert.Equal(t, http.StatusServiceUnavailable, err.StatusCode)
	assert.True(t, err.Retryable)
	assert.Contains(t, err.Advice, "nothing to change here")
	assert.NotEmpty(t, err.CorrelationID, "the request can be found though it was not answered properly")
	assert.Equal(t, 3, e.count(), "two pauses waited out")
	for range 100 {
		assert.Same(t, err, mustFail(t, s))
	}
	other := mustFail(t, c.Source("api://other/.default"))
	assert.Equal(t, "api://other/.default", other.Scope)
	assert.Equal(t, err.StatusCode, other.StatusCode)
	assert.Equal(t, 3, e.count())

	// Pauses grow to half a minute at most.
	for range 12 {
		before := e.count()
		clk.advance(30 * time.Second)
		mustFail(t, s)
		assert.Equal(t, before+1, e.count())
		mustFail(t, s)
		assert.Equal(t, before+1, e.count())
	}
	clk.advance(30 * time.Second)
	e.script(func(n int, w http.ResponseWriter, _ *http.Request) { grantToken(w, n, 3600) })
	mustToken(t, s)
	mustToken(t, c.Source("api://other/.default"))
}

// While a token lives an outage is invisible, and costs one request a pause.
func TestOutageIsInvisibleWhileATokenLives(t *testing.T) {
	t.Parallel()
	e, clk := newEndpoint(t, nil), newClock()
	s := newClient(t, e, clk, nil).Source(scope)
	mustToken(t, s)
	e.script(func(_ int, w http.ResponseWriter, _ *http.Request) { unavailable(w) })
	clk.advance(46 * time.Minute)
	for range 26 { // 13 minutes: no pause is longer than half a minute
		before := e.count()
		require.Equal(t, "token-1", mustToken(t, s))
		eventually(t, "a request for each pause", func() bool { return e.count() == before+1 && s.Idle() })
		for range 20 {
			require.Equal(t, "token-1", mustToken(t, s))
		}
		require.Equal(t, before+1, e.count())
		clk.advance(30 * time.Second)
	}
	clk.advance(55 * time.Second)
	hang := make(chan struct{})
	defer close(hang)
	e.script(func(int, http.ResponseWriter, *http.Request) { <-hang })
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for range 10 { // nobody waits, also when its end is near and the endpoint hangs
		token, err := s.Token(ended)
		require.NoError(t, err)
		require.Equal(t, "token-1", token.Reveal())
	}
	clk.advance(5 * time.Second)
	_, err := s.Token(ended)
	require.Error(t, err)
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		header string
		least  time.Duration
	}{
		"seconds": {"20", 20 * time.Second},
		"date":    {newClock().Now().Add(time.Hour + 40*time.Second).Format(http.TimeFormat), 40 * time.Second},
		"absurd":  {"99999999999", time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", newClock().Now().Add(time.Hour).Format(http.TimeFormat)) // our clock is wrong
				w.Header().Set("Retry-After", tt.header)
				w.WriteHeader(http.StatusTooManyRequests)
			})
			clk := newClock()
			c := newClient(t, e, clk, nil)
			err := mustFail(t, c.Source(scope))
			assert.Equal(t, tt.least, err.RetryAfter)
			assert.Contains(t, err.Error(), "status 429, asks to wait "+tt.least.String())
			assert.Contains(t, err.Advice, "one Client")
			clk.advance(tt.least - 3*time.Second) // from two seconds before on callers wait
			mustFail(t, c.Source(scope))
			mustFail(t, c.Source("api://other/.default"))
			assert.Equal(t, 1, e.count(), "asked again too early")
			clk.advance(tt.least/10 + 4*time.Second)
			mustFail(t, c.Source(scope))
			assert.GreaterOrEqual(t, e.count(), 2)
		})
	}
}

func TestEntraErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status    int
		code      string
		aadsts    int
		text      string
		advice    string
		allScopes bool // the whole client pauses, not the scope alone
	}{
		{401, "invalid_client", 7000215, "Invalid client secret provided.", "value, not its ID", true},
		{401, "invalid_client", 7000222, "The provided client secret keys are expired.", "expired", true},
		{400, "unauthorized_client", 700016, "Application with identifier 'x' was not found.", "ClientID", true},
		{400, "invalid_resource", 500011, "The resource principal was not found.", "api://", false},
		{400, "invalid_scope", 70011, "The provided value for scope is not valid.", "/.default", false},
		{400, "invalid_grant", 50105, "The signed in user is not assigned.", "granted", false},
		{400, "unauthorized_client", 501051, "Application is not assigned to a role.", "granted", false},
		{401, "invalid_client", 700024, "Client assertion is not within its valid time range.", "clock", true},
	} {
		t.Run(fmt.Sprint(tt.aadsts), func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, func(n int, w http.ResponseWriter, r *http.Request) {
				if r.PostForm.Get("scope") == scope {
					refuse(w, tt.status, tt.code, tt.aadsts, tt.text)
					return
				}
				grantToken(w, n, 3600)
			})
			c := newClient(t, e, newClock(), nil)
			err := mustFail(t, c.Source(scope))
			assert.Equal(t, tt.status, err.StatusCode)
			assert.Equal(t, tt.code, err.Code)
			assert.Equal(t, tt.aadsts, err.AADSTS)
			assert.Equal(t, "2c", err.CorrelationID)
			assert.Equal(t, "1b", err.TraceID)
			assert.False(t, err.Retryable)
			assert.Contains(t, err.Advice, tt.advice)
			for _, part := range []string{tt.code, fmt.Sprint("AADSTS", tt.aadsts), tt.text, tt.advice, "2c", scope} {
				assert.ErrorContains(t, err, part)
			}
			mustFail(t, c.Source(scope))
			assert.Equal(t, 1, e.count(), "a refusal is not asked for again and again")
			if _, err := c.Source("api://other/.default").Token(patient(t)); tt.allScopes {
				assert.Error(t, err)
			} else {
				assert.NoError(t, err)
			}
		})
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	body := func(s string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { _, _ = io.WriteString(w, s) }
	}
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter)
		want   string
	}{
		"page":            {body("<html>sign in</html>"), "not a JSON"},
		"empty":           {body(""), "not a JSON"},
		"no token":        {body(`{"token_type":"Bearer"}`), "no access_token"},
		"null":            {body(`null`), "no access_token"},
		"error with 200":  {body(`{"error":"invalid_client"}`), "invalid_client"},
		"other type":      {body(`{"access_token":"t","token_type":"DPoP","expires_in":9}`), "Bearer"},
		"no type":         {body(`{"access_token":"t","expires_in":9}`), "Bearer"},
		"expired":         {body(`{"access_token":"t","token_type":"Bearer","expires_in":0}`), "expires_in"},
		"negative":        {body(`{"access_token":"t","token_type":"Bearer","expires_in":-3599}`), "expires_in"},
		"less than 1 s":   {body(`{"access_token":"t","token_type":"Bearer","expires_in":1e-9}`), "expires_in"},
		"header splitter": {body(`{"access_token":"t\r\nX: y","token_type":"Bearer"}`), "characters"},
		"huge":            {endless, "larger than"},
		"page with 404":   {func(w http.ResponseWriter) { w.WriteHeader(404); _, _ = io.WriteString(w, "<html>") }, "check TenantID and Authority"},
		"501":             {func(w http.ResponseWriter) { w.WriteHeader(501) }, "check TenantID and Authority"},
		"redirect":        {func(w http.ResponseWriter) { w.Header().Set("Location", "/elsewhere"); w.WriteHeader(307) }, "redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) { tt.answer(w) })
			require.ErrorContains(t, mustFail(t, newClient(t, e, newClock(), nil).Source(scope)), tt.want)
		})
	}
}

// The endpoint's answer is closed, read to its end or not.
func TestAnswerIsClosed(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]io.Reader{
		"whole": strings.NewReader("{}"), "huge": io.LimitReader(zeros{}, 8<<20), "broken": iotest.ErrReader(io.ErrUnexpectedEOF),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := &closing{}
			clk := newClock()
			c, err := tokenclient.New(tokenclient.Config{
				TenantID: tenant, ClientID: clientID, Credential: tokenclient.Secret(password), Now: clk.Now, Sleep: clk.Sleep,
				HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: 200, Body: struct {
						io.Reader
						io.Closer
					}{content, body}}, nil
				})},
			})
			require.NoError(t, err)
			defer c.Close()
			mustFail(t, c.Source(scope))
			assert.True(t, body.closed.Load())
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// endless writes until nobody reads.
func endless(w http.ResponseWriter) {
	for {
		if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
			return
		}
	}
}

// A server that sends back what it was sent does not get it into our errors.
func TestErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	const hush = "p+ss w/rd&=~9"
	for name, inHeader := range map[string]bool{"body": false, "header": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				_, basic, _ := strings.Cut(r.Header.Get("Authorization"), " ")
				echo := hush + " " + url.QueryEscape(hush) + " " + basic + "\r\nforged=1\u0085\u009b" + strings.Repeat("x", 1<<16)
				reply(w, 400, map[string]any{"error": "invalid_client " + hush, "error_description": echo, "correlation_id": hush})
			})
			s := newClient(t, e, newClock(), func(cfg *tokenclient.Config) {
				cfg.Credential, cfg.SecretInHeader = tokenclient.Secret(hush), inHeader
			}).Source(scope)
			err := mustFail(t, s)
			text := fmt.Sprintf("%v %+v %#v %s", err, err, *err, err.LogValue())
			assert.NotContains(t, text, hush)
			assert.NotContains(t, text, url.QueryEscape(hush))
			if _, basic, sent := strings.Cut(e.header(1).Get("Authorization"), " "); sent {
				assert.NotContains(t, text, basic)
			}
			assert.False(t, strings.ContainsFunc(err.Error(), unicode.IsControl))
			assert.Less(t, len(err.Error()), 3000)
			assert.Contains(t, text, "[secret]")
		})
	}
}

// 1,000 callers with short deadlines against an endpoint that hangs: one
// request, and each caller is back when its own time is over.
func TestHangingEndpoint(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	e := newEndpoint(t, func(int, http.ResponseWriter, *http.Request) { <-hang })
	defer close(hang)
	s := newClient(t, e, nil, func(cfg *tokenclient.Config) { cfg.Timeout = time.Hour }).Source(scope)
	var callers sync.WaitGroup
	for range 1000 {
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			_, err := s.Token(ctx)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
	callers.Wait()
	assert.LessOrEqual(t, e.count(), 1)
}

// A request that takes all its time counts as an outage at once: callers that
// could wait longer are not made to.
func TestTimeout(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	e := newEndpoint(t, func(int, http.ResponseWriter, *http.Request) { <-hang })
	defer close(hang)
	clk := newClock()
	s := newClient(t, e, clk, func(cfg *tokenclient.Config) { cfg.Timeout = 20 * time.Millisecond }).Source(scope)
	err := mustFail(t, s)
	assert.True(t, err.Retryable)
	assert.ErrorContains(t, err, "did not answer within 20ms")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Empty(t, clk.sleeps())
}

// A connection that died unnoticed, as HTTP/2's do in a suspend, is not used
// for a second request.
func TestDeadConnectionIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, nil)
	srv := httptest.NewUnstartedServer(e)
	srv.EnableHTTP2 = true
	var opened atomic.Int32
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	clk := newClock()
	s := newClient(t, e, clk, func(cfg *tokenclient.Config) {
		cfg.Authority, cfg.HTTPClient = srv.URL, srv.Client()
	}).Source(scope)
	for n := range int32(3) {
		mustToken(t, s)
		require.Equal(t, n+1, opened.Load())
		clk.advance(2 * time.Hour)
	}
}

// A caller whose deadline comes before the next attempt gets the reason now.
func TestDeadlineBeforeTheNextAttempt(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		unavailable(w)
	})
	clk := newClock()
	s := newClient(t, e, clk, nil).Source(scope)
	_, err := s.Token(hurried{context.Background(), 900 * time.Millisecond})
	var typed *tokenclient.Error
	require.ErrorAs(t, err, &typed)
	assert.Equal(t, http.StatusServiceUnavailable, typed.StatusCode)
	assert.Empty(t, clk.sleeps())
	assert.Equal(t, 1, e.count())
	mustFail(t, s)
	assert.NotEmpty(t, clk.sleeps(), "who has more time waits")
}

// hurried is a context whose deadline is always a little away and never comes.
type hurried struct {
	context.Context
	left time.Duration
}

func (h hurried) Deadline() (time.Time, bool) { return time.Now().Add(h.left), true }

// The fetch outlives a credential function that ends its goroutine.
func TestCredentialFunctionThatNeverReturns(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, nil)
	s := newClient(t, e, newClock(), func(cfg *tokenclient.Config) {
		cfg.Credential = tokenclient.SecretFunc(func(context.Context) (string, error) {
			goexit()
			return "", nil
		})
	}).Source(scope)
	assert.ErrorContains(t, mustFail(t, s), "ended its goroutine")
}

func TestUntrustedCertificateIsNotRetried(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, nil)
	tls := newTLSServer(t, e)
	s := newClient(t, e, newClock(), func(cfg *tokenclient.Config) {
		cfg.Authority, cfg.HTTPClient = tls.URL, nil
	}).Source(scope)
	err := mustFail(t, s)
	assert.False(t, err.Retryable)
	assert.Contains(t, err.Advice, "CA")
	assert.Zero(t, err.StatusCode)
}

func TestFunctionErrorIsTheCause(t *testing.T) {
	t.Parallel()
	sealed := errors.New("vault is sealed")
	e := newEndpoint(t, nil)
	s := newClient(t, e, newClock(), func(cfg *tokenclient.Config) {
		cfg.Credential = tokenclient.SecretFunc(func(context.Context) (string, error) { return "", sealed })
	}).Source(scope)
	require.ErrorIs(t, mustFail(t, s), sealed)
	assert.Zero(t, e.count())
}
