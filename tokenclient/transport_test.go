package tokenclient_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/tokenclient"
)

const invalidChallenge = `Bearer realm="api", error="invalid_token", error_description="expired"`

// api is an API that notes what reaches it.
type api struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string // Authorization of each request, and its body
}

func newAPI(t testing.TB, answer func(w http.ResponseWriter, r *http.Request)) *api {
	t.Helper()
	a := &api{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		a.seen = append(a.seen, r.Header.Get("Authorization")+"|"+string(body))
		a.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *api) requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.seen...)
}

func (a *api) host() string { return strings.TrimPrefix(a.URL, "http://") }

// httpClient is s.Client with connections of its own: closing any test server
// breaks connections of http.DefaultTransport, in parallel tests too.
func httpClient(t testing.TB, s *tokenclient.Source, hosts ...string) *http.Client {
	t.Helper()
	tr, err := tokenclient.NewTransport(tokenclient.TransportConfig{Hosts: hosts, Source: s, Base: ownConnections(t)})
	require.NoError(t, err)
	return &http.Client{Transport: tr}
}

func ownConnections(t testing.TB) *http.Transport {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// Not parallel: it is sent by http.DefaultTransport.
func TestClientSendsTheToken(t *testing.T) {
	a := newAPI(t, func(http.ResponseWriter, *http.Request) {})
	c, err := newClient(t, newEndpoint(t, nil), nil, nil).Source(scope).Client(a.host())
	require.NoError(t, err)
	req, err := http.NewRequest(http.MethodPost, a.URL+"/x", strings.NewReader("hello"))
	require.NoError(t, err)
	resp, err := c.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, []string{"Bearer token-1|hello"}, a.requests())
	assert.Empty(t, req.Header, "the caller's request is left alone")
}

func TestOnlyAllowedHosts(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, nil)
	s := newClient(t, e, nil, nil).Source(scope)
	tr, err := tokenclient.NewTransport(tokenclient.TransportConfig{
		Source: s, Hosts: []string{"api.contoso.com", "api.contoso.com:8443", "127.0.0.1", "[::1]:8080"},
		Base: roundTripper(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: http.NoBody, Request: req, Header: http.Header{"Sent": {req.Header.Get("Authorization")}}}, nil
		}),
	})
	require.NoError(t, err)
	for raw, ok := range map[string]bool{
		"https://api.contoso.com/x":         true,
		"https://API.contoso.com":           true,
		"https://api.contoso.com:443/":      true,
		"https://api.contoso.com:8443/":     true,
		"http://127.0.0.1/":                 true,
		"http://[::1]:8080/":                true,
		"http://api.contoso.com/":           false, // no TLS
		"https://api.contoso.com:9/":        false,
		"https://api.contoso.com.evil.com/": false,
		"https://evil.com/api.contoso.com":  false,
		"https://contoso.com/":              false,
		"https://x.api.contoso.com/":        false,
		"http://[::1]/":                     false,
		"ftp://api.contoso.com/":            false,
	} {
		body := &closing{}
		req, err := http.NewRequest(http.MethodPost, raw, body)
		require.NoError(t, err)
		resp, err := tr.RoundTrip(req)
		if ok {
			require.NoError(t, err, raw)
			assert.Equal(t, "Bearer token-1", resp.Header.Get("Sent"), raw)
			continue
		}
		require.ErrorIs(t, err, tokenclient.ErrNotAllowed, raw)
		assert.True(t, body.closed.Load(), raw)
	}
}

// A redirect inside the host keeps the token; one that leaves the host loses
// it, for the rest of the chain, even where the other host is allowed too.
func TestRedirects(t *testing.T) {
	t.Parallel()
	s := newClient(t, newEndpoint(t, nil), nil, nil).Source(scope)
	var first, second *api
	first = newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/inside":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/away":
			http.Redirect(w, r, second.URL+"/back", http.StatusTemporaryRedirect)
		}
	})
	second = newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/back" {
			http.Redirect(w, r, first.URL+"/inside", http.StatusTemporaryRedirect)
		}
	})
	c := httpClient(t, s, first.host(), second.host())
	for _, path := range []string{"/inside", "/away"} {
		resp, err := c.Get(first.URL + path)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, 200, resp.StatusCode)
	}
	assert.Equal(t, []string{"Bearer token-1|", "Bearer token-1|", "Bearer token-1|", "|", "|"}, first.requests())
	assert.Equal(t, []string{"|"}, second.requests())
}

// A host that is not allowed may still be redirected to, without the token.
func TestRedirectToAStranger(t *testing.T) {
	t.Parallel()
	stranger := newAPI(t, func(http.ResponseWriter, *http.Request) {})
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, stranger.URL, http.StatusFound) })
	resp, err := httpClient(t, newClient(t, newEndpoint(t, nil), nil, nil).Source(scope), a.host()).Get(a.URL)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, []string{"|"}, stranger.requests())
}

// The answer's request is the caller's own, without the token, also where the
// base does not say whose answer it is: leaving the host is noticed all the same.
func TestAnswerNamesTheCallersRequest(t *testing.T) {
	t.Parallel()
	var sent []string
	tr, err := tokenclient.NewTransport(tokenclient.TransportConfig{
		Source: newClient(t, newEndpoint(t, nil), nil, nil).Source(scope), Hosts: []string{"one", "two"},
		Base: roundTripper(func(req *http.Request) (*http.Response, error) {
			sent = append(sent, req.URL.Host+" "+req.Header.Get("Authorization"))
			if req.URL.Host == "one" {
				return &http.Response{StatusCode: 307, Body: http.NoBody, Header: http.Header{"Location": {"https://two/"}}}, nil
			}
			return &http.Response{StatusCode: 200, Body: http.NoBody, Request: req}, nil
		}),
	})
	require.NoError(t, err)
	_, err = (&http.Client{Transport: tr}).Get("https://one/")
	require.NoError(t, err)
	assert.Equal(t, []string{"one Bearer token-1", "two "}, sent)
	resp, err := (&http.Client{Transport: tr}).Get("https://two/")
	require.NoError(t, err)
	assert.Equal(t, "two Bearer token-1", sent[2])
	assert.NotContains(t, fmt.Sprint(resp.Request.Header), "token-1")
}

func TestInvalidTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer token-1" {
			w.Header().Set("WWW-Authenticate", invalidChallenge)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	e := newEndpoint(t, nil)
	c := httpClient(t, newClient(t, e, nil, nil).Source(scope), a.host())
	resp, err := c.Post(a.URL, "text/plain", strings.NewReader("hello"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, 200, resp.StatusCode)
	assert.Equal(t, []string{"Bearer token-1|hello", "Bearer token-2|hello"}, a.requests())
	assert.Equal(t, 2, e.count())
}

// A body that cannot be sent again is not; the token is replaced all the same.
func TestBodyThatCannotBeSentAgain(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer token-1" {
			w.Header().Set("WWW-Authenticate", invalidChallenge)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	s := newClient(t, newEndpoint(t, nil), nil, nil).Source(scope)
	resp, err := httpClient(t, s, a.host()).Post(a.URL, "text/plain", io.MultiReader(strings.NewReader("hello")))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	assert.Equal(t, []string{"Bearer token-1|hello"}, a.requests())
	assert.Equal(t, "token-2", mustToken(t, s))
}

// A server that refuses every token causes one fetch in half a minute.
func TestServerThatRefusesEverything(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", invalidChallenge)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "go away")
	})
	e, clk := newEndpoint(t, nil), newClock()
	c := httpClient(t, newClient(t, e, clk, nil).Source(scope), a.host())
	call := func() {
		resp, err := c.Get(a.URL)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		assert.Equal(t, "go away", string(body), "the caller gets the answer whole")
	}
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			for range 5 {
				call()
			}
		})
	}
	callers.Wait()
	assert.Equal(t, 2, e.count())
	clk.advance(29 * time.Second)
	call()
	assert.Equal(t, 2, e.count())
	clk.advance(2 * time.Second)
	call()
	assert.Equal(t, 3, e.count())
}

// If no new token can be had the caller gets the 401, quickly, and the refused
// token goes on serving: another server may take it.
func TestInvalidTokenDuringAnOutage(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/picky" {
			w.Header().Set("WWW-Authenticate", invalidChallenge)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	e, clk := newEndpoint(t, nil), newClock()
	s := newClient(t, e, clk, nil).Source(scope)
	c := httpClient(t, s, a.host())
	mustToken(t, s)
	e.script(func(_ int, w http.ResponseWriter, _ *http.Request) { unavailable(w) })
	for path, want := range map[string]int{"/picky": http.StatusUnauthorized, "/easy": http.StatusOK} {
		for range 10 {
			resp, err := c.Get(a.URL + path)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, want, resp.StatusCode)
		}
	}
	assert.Equal(t, 2, e.count())
	assert.Len(t, a.requests(), 20, "the same token is not sent twice")
	assert.Empty(t, clk.sleeps())
}

// Only the token itself being refused is a reason: not a 403, not a 401 of
// another kind.
func TestOtherRefusalsInvalidateNothing(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status    int
		challenge string
	}{
		"403":              {http.StatusForbidden, `Bearer error="insufficient_scope"`},
		"403 invalid":      {http.StatusForbidden, invalidChallenge},
		"401 bare":         {http.StatusUnauthorized, ""},
		"401 no error":     {http.StatusUnauthorized, `Bearer realm="x"`},
		"401 other error":  {http.StatusUnauthorized, `Bearer error="invalid_request"`},
		"401 other scheme": {http.StatusUnauthorized, `Basic error="invalid_token"`},
		"401 in a text":    {http.StatusUnauthorized, `Bearer realm="error=\"invalid_token\""`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("WWW-Authenticate", tt.challenge)
				w.WriteHeader(tt.status)
			})
			e := newEndpoint(t, nil)
			resp, err := httpClient(t, newClient(t, e, nil, nil).Source(scope), a.host()).Get(a.URL)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, tt.status, resp.StatusCode)
			assert.Equal(t, 1, e.count())
			assert.Len(t, a.requests(), 1)
		})
	}
}

func TestInvalidateConcernsExactlyOneToken(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, nil)
	s := newClient(t, e, newClock(), nil).Source(scope)
	first, err := s.Token(patient(t))
	require.NoError(t, err)
	assert.True(t, s.Invalidate(first))
	second, err := s.Token(patient(t))
	require.NoError(t, err)
	assert.NotSame(t, first, second)
	assert.True(t, s.Invalidate(first), "replaced already")
	assert.Equal(t, "token-2", mustToken(t, s))
	assert.False(t, s.Invalidate(second), "too soon after the last")
	assert.Equal(t, "token-2", mustToken(t, s))
	assert.Equal(t, 2, e.count())
}

// Bodies are closed on every path: the request's by us or the base, the
// answer's that is not handed on.
func TestBodiesAreClosed(t *testing.T) {
	t.Parallel()
	good := newEndpoint(t, nil)
	bad := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) })
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		endpoint *endpoint
		getBody  func() (io.ReadCloser, error)
		wantOpen bool // the first answer is handed to the caller
		wantErr  bool
	}{
		"token fails":    {endpoint: bad, wantErr: true},
		"not repeatable": {endpoint: good, wantOpen: true},
		"repeated":       {endpoint: good, getBody: func() (io.ReadCloser, error) { return &closing{}, nil }},
		"GetBody fails":  {endpoint: good, getBody: func() (io.ReadCloser, error) { return nil, broken }, wantOpen: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request, answer := &closing{}, &closing{}
			calls := 0
			tr, err := tokenclient.NewTransport(tokenclient.TransportConfig{
				Source: newClient(t, tt.endpoint, newClock(), nil).Source(scope), Hosts: []string{"api"},
				Base: roundTripper(func(req *http.Request) (*http.Response, error) {
					calls++
					_ = req.Body.Close() // as every RoundTripper must
					body := io.ReadCloser(answer)
					if calls > 1 {
						body = http.NoBody
					}
					return &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {invalidChallenge}}, Body: body}, nil
				}),
			})
			require.NoError(t, err)
			req, err := http.NewRequest(http.MethodPost, "https://api/", request)
			require.NoError(t, err)
			req.GetBody = tt.getBody
			resp, err := tr.RoundTrip(req)
			assert.Equal(t, tt.wantErr, err != nil)
			assert.True(t, request.closed.Load())
			if err == nil {
				assert.Equal(t, tt.wantOpen, resp.Body == io.ReadCloser(answer))
				assert.Equal(t, !tt.wantOpen, answer.closed.Load())
			}
		})
	}
}

func TestSubscriptionKey(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "key", "key-one\n")
	var got []string
	a := newAPI(t, func(_ http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get(tokenclient.SubscriptionKeyHeader)+r.Header.Get("Authorization"))
	})
	tr, err := tokenclient.NewTransport(tokenclient.TransportConfig{
		Hosts: []string{a.host()}, SubscriptionKey: tokenclient.SecretFile(path), Base: ownConnections(t),
	})
	require.NoError(t, err)
	c := &http.Client{Transport: tr}
	defer c.CloseIdleConnections()
	get := func() error {
		resp, err := c.Get(a.URL)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	require.NoError(t, get())
	require.NoError(t, os.WriteFile(path, []byte("key-two"), 0o600))
	require.NoError(t, get())
	assert.Equal(t, []string{"key-one", "key-two"}, got)
	require.NoError(t, os.Remove(path))
	require.ErrorIs(t, get(), os.ErrNotExist)
	body := &closing{}
	_, err = c.Post(a.URL, "text/plain", body)
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.True(t, body.closed.Load())
	_, err = c.Get("https://elsewhere/")
	require.ErrorIs(t, err, tokenclient.ErrNotAllowed)
}

func TestBadTransportConfig(t *testing.T) {
	t.Parallel()
	s := newClient(t, newEndpoint(t, nil), nil, nil).Source(scope)
	key := tokenclient.Secret("k")
	for name, tt := range map[string]struct {
		cfg  tokenclient.TransportConfig
		want string
	}{
		"no hosts":       {tokenclient.TransportConfig{Source: s}, "Hosts"},
		"URL":            {tokenclient.TransportConfig{Source: s, Hosts: []string{"https://api:8443"}}, `with or without port: leave out the scheme, as in "api:8443"`},
		"URL with path":  {tokenclient.TransportConfig{Source: s, Hosts: []string{"https://api/"}}, `leave out the scheme and the path, as in "api"`},
		"scheme alone":   {tokenclient.TransportConfig{Source: s, Hosts: []string{"https://"}}, `Hosts: "https://" is not`},
		"wildcard":       {tokenclient.TransportConfig{Source: s, Hosts: []string{"*.api"}}, "Hosts"},
		"path":           {tokenclient.TransportConfig{Source: s, Hosts: []string{"api/x"}}, `leave out the path, as in "api"`},
		"user":           {tokenclient.TransportConfig{Source: s, Hosts: []string{"https://u:pw@api"}}, "Hosts: must not carry user info"},
		"empty":          {tokenclient.TransportConfig{Source: s, Hosts: []string{""}}, "Hosts"},
		"neither":        {tokenclient.TransportConfig{Hosts: []string{"api"}}, "Source"},
		"refused scope":  {tokenclient.TransportConfig{Hosts: []string{"api"}, Source: newClient(t, newEndpoint(t, nil), nil, nil).Source("x")}, "/.default"},
		"both":           {tokenclient.TransportConfig{Hosts: []string{"api"}, Source: s, SubscriptionKey: key}, "Source"},
		"no secret":      {tokenclient.TransportConfig{Hosts: []string{"api"}, SubscriptionKey: tokenclient.Secret("")}, "SubscriptionKey"},
		"no secret kind": {tokenclient.TransportConfig{Hosts: []string{"api"}, SubscriptionKey: tokenclient.GitHubAssertion("")}, "SubscriptionKey"},
	} {
		_, err := tokenclient.NewTransport(tt.cfg)
		require.ErrorContains(t, err, tt.want, name)
		assert.NotContains(t, err.Error(), "pw@", name)
	}
	_, err := s.Client()
	assert.ErrorContains(t, err, "Hosts")
}

// The client has no timeout of its own; one that its caller sets bounds the wait
// for a token as well as that for the API.
func TestTimeoutOfTheClient(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	slowLogin := newEndpoint(t, func(int, http.ResponseWriter, *http.Request) { <-hang })
	a := newAPI(t, func(http.ResponseWriter, *http.Request) { <-hang })
	defer close(hang)
	for name, login := range map[string]*endpoint{"API hangs": newEndpoint(t, nil), "login hangs": slowLogin} {
		c := httpClient(t, newClient(t, login, nil, nil).Source(scope), a.host())
		assert.Zero(t, c.Timeout, name)
		c.Timeout = 50 * time.Millisecond
		_, err := c.Get(a.URL)
		var late net.Error
		require.ErrorAs(t, err, &late, name)
		assert.True(t, late.Timeout(), name)
	}
}

// The token's error reaches the caller of http.Client with its type.
func TestTokenErrorThroughClient(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		refuse(w, 401, "invalid_client", 7000222, "Expired.")
	})
	_, err := httpClient(t, newClient(t, e, nil, nil).Source(scope), "api").Get("https://api/")
	var typed *tokenclient.Error
	require.ErrorAs(t, err, &typed)
	assert.Equal(t, 7000222, typed.AADSTS)
	require.ErrorAs(t, err, new(*url.Error))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// closing is an empty body that knows whether it was closed.
type closing struct{ closed atomic.Bool }

func (c *closing) Read([]byte) (int, error) { return 0, io.EOF }
func (c *closing) Close() error             { c.closed.Store(true); return nil }
