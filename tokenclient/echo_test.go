package tokenclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/tokenclient"
)

// rawServer answers each request with the bytes that answer makes of its body,
// so that a test can break HTTP. It returns the server's address.
func rawServer(t testing.TB, answer func(r *http.Request, body string) string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, answer(r, string(body)))
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn) // until the client has read it
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// echoes are ways in which an endpoint sends back what it got.
var echoes = map[string]func(echo string) string{
	"status line":    func(s string) string { return "HTTP/1.1 " + s + "\r\n\r\n" },
	"no HTTP":        func(s string) string { return s + "\r\n\r\n" },
	"version":        func(s string) string { return "HTTP/" + s + " 200 OK\r\n\r\n" },
	"reason":         func(s string) string { return "HTTP/1.1 400 " + s + "\r\nContent-Length: 0\r\n\r\n" },
	"header":         func(s string) string { return "HTTP/1.1 200 OK\r\n" + s + "\r\n\r\n" },
	"header name":    func(s string) string { return "HTTP/1.1 200 OK\r\n" + s + ": x\r\n\r\n" },
	"Content-Length": func(s string) string { return "HTTP/1.1 200 OK\r\nContent-Length: " + s + "\r\n\r\n" },
	"two lengths": func(s string) string {
		return "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: " + s + "\r\n\r\n"
	},
	"encoding": func(s string) string { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + s + "\r\n\r\n" },
	"chunk":    func(s string) string { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + s + "\r\n" },
	"Location": func(s string) string {
		return "HTTP/1.1 302 Found\r\nLocation: ://%zz" + s + "\r\nContent-Length: 0\r\n\r\n"
	},
	"Location host": func(s string) string {
		return "HTTP/1.1 302 Found\r\nLocation: https://[" + s + "\r\nContent-Length: 0\r\n\r\n"
	},
	"Retry-After": func(s string) string { return "HTTP/1.1 503 No\r\nRetry-After: " + s + "\r\nContent-Length: 0\r\n\r\n" },
	"description": func(s string) string {
		return "HTTP/1.1 400 No\r\nConnection: close\r\n\r\n" + fmt.Sprintf(`{"error":%q,"error_description":%q,"trace_id":%q}`, s, s, s)
	},
}

// encodings are the forms that an echo may take.
var encodings = map[string]func(string) string{
	"as it is":       func(s string) string { return s },
	"form":           url.QueryEscape,
	"path":           url.PathEscape,
	"all, lower hex": func(s string) string { return everyByte(s, "%%%02x") },
	"all, upper hex": func(s string) string { return everyByte(s, "%%%02X") },
	"twice":          func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
	"mixed":          func(s string) string { return s[:4] + everyByte(s[4:], "%%%02x") },
}

func everyByte(s, format string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

// Whatever a broken or hostile endpoint sends back, neither the secret nor the
// query of TokenURL is in an error, in one of its causes or in a log.
func TestEchoedCredentialIsNotShown(t *testing.T) {
	t.Parallel()
	const hush, query = "p4ss~w=rd.Zq8_&\"value", "fUnction-key1"
	for way, answer := range echoes {
		for form, encode := range encodings {
			t.Run(way+", "+form, func(t *testing.T) {
				t.Parallel()
				for _, inHeader := range []bool{false, true} {
					address := rawServer(t, func(r *http.Request, body string) string {
						basic := strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
						return answer(encode(hush) + basic + encode(r.RequestURI) + encode(query))
					})
					var logged testkit.Log
					clk := newClock()
					c, err := tokenclient.New(tokenclient.Config{
						ClientID: clientID, TokenURL: address + "/token?fkey=" + query, Credential: tokenclient.Secret(hush),
						SecretInHeader: inHeader, Now: clk.Now, Sleep: clk.Sleep, Logger: logged.Logger(slog.LevelInfo),
					})
					require.NoError(t, err)
					failed := mustFail(t, c.Source(scope))
					require.NoError(t, c.Close())
					for _, text := range append(texts(failed), logged.String(), fmt.Sprintf("%+v", failed.LogValue())) {
						assertNotShown(t, text, hush, query, "fkey=")
					}
					assert.Less(t, len(failed.Error()), 3000)
				}
			})
		}
	}
}

// texts are the texts of err and of all its causes.
func texts(err error) []string {
	if err == nil {
		return nil
	}
	out := []string{err.Error(), fmt.Sprintf("%+v %#v", err, err)}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		out = append(out, texts(u.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, e := range u.Unwrap() {
			out = append(out, texts(e)...)
		}
	}
	var urlError *url.Error
	if errors.As(err, &urlError) {
		out = append(out, urlError.Error(), urlError.URL)
	}
	return out
}

func assertNotShown(t *testing.T, text string, hidden ...string) {
	t.Helper()
	for _, h := range hidden {
		for form, encode := range encodings {
			assert.NotContains(t, strings.ToLower(text), strings.ToLower(encode(h)), form)
		}
	}
}

// A connection that fails names the endpoint without TokenURL's query.
func TestQueryOfTokenURLIsNotShown(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c, err := tokenclient.New(tokenclient.Config{
		ClientID: clientID, TokenURL: "http://127.0.0.1:1/token?c=k1", Credential: tokenclient.Secret(password), Now: clk.Now, Sleep: clk.Sleep,
	})
	require.NoError(t, err)
	defer c.Close()
	failed := mustFail(t, c.Source(scope))
	assert.ErrorContains(t, failed, "http://127.0.0.1:1/token")
	for _, text := range texts(failed) {
		assert.NotContains(t, text, "k1")
	}
	// A short value is hidden as a part of the query.
	for way, answer := range echoes {
		c, err := tokenclient.New(tokenclient.Config{
			ClientID: clientID, Credential: tokenclient.Secret(password), Now: clk.Now, Sleep: clk.Sleep,
			TokenURL: rawServer(t, func(r *http.Request, _ string) string { return answer(r.URL.RawQuery) }) + "?code=k1",
		})
		require.NoError(t, err)
		for _, text := range texts(mustFail(t, c.Source(scope))) {
			assert.NotContains(t, text, "k1", way)
		}
		require.NoError(t, c.Close())
	}
	for _, raw := range []string{"https://user:hush@/token", "user:hush@host", "https://user:hush@host/?q=hush", "https://hu\x00sh:hush@host"} {
		_, err = tokenclient.New(tokenclient.Config{ClientID: clientID, TokenURL: raw, Credential: tokenclient.Secret(password)})
		require.ErrorContains(t, err, "TokenURL")
		assert.NotContains(t, err.Error(), "hush")
	}
}

// Not parallel: it watches the standard logger, to which net/http writes what
// it finds on a connection that nobody uses.
func TestEchoBehindTheAnswerIsNotLogged(t *testing.T) {
	var logged testkit.Log
	log.SetOutput(&logged)
	defer log.SetOutput(io.Discard)
	address := rawServer(t, func(_ *http.Request, body string) string {
		return "HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\n{}" + body
	})
	clk := newClock()
	c, err := tokenclient.New(tokenclient.Config{
		ClientID: clientID, TokenURL: address, Credential: tokenclient.Secret(password), Now: clk.Now, Sleep: clk.Sleep,
	})
	require.NoError(t, err)
	for range 5 {
		mustFail(t, c.Source(scope))
		clk.advance(tokenPause)
	}
	require.NoError(t, c.Close())
	assert.NotContains(t, logged.String(), password)
}

// The job's credential at GitHub is hidden as ours is.
func TestEchoOfGitHubIsNotShown(t *testing.T) {
	const hush = "gh-request-t0ken"
	for way, answer := range echoes {
		t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", rawServer(t, func(*http.Request, string) string { return answer(hush) }))
		t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", hush)
		e := newEndpoint(t, nil)
		s := newClient(t, e, newClock(), func(cfg *tokenclient.Config) { cfg.Credential = tokenclient.GitHubAssertion("") }).Source(scope)
		for _, text := range texts(mustFail(t, s)) {
			assert.NotContains(t, text, hush, way)
		}
		assert.Zero(t, e.count())
	}
}

// quiet is an error whose own text leaves out the text of its cause.
type quiet struct{ cause error }

func (quiet) Error() string   { return "failed" }
func (q quiet) Unwrap() error { return q.cause }

// A cause is hidden even if only errors.Unwrap leads to its text.
func TestTextsOfWrappedCausesAreNotShown(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c, err := tokenclient.New(tokenclient.Config{
		TenantID: tenant, ClientID: clientID, Credential: tokenclient.Secret(password), Now: clk.Now, Sleep: clk.Sleep,
		HTTPClient: &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(req.Body)
			return nil, quiet{fmt.Errorf("sent %s", body)}
		})},
	})
	require.NoError(t, err)
	defer c.Close()
	var inner error = mustFail(t, c.Source(scope))
	for ; inner != nil; inner = errors.Unwrap(inner) {
		assertNotShown(t, inner.Error(), password)
	}
}

// Callers can still test for the cause, though its text is hidden.
func TestHiddenCauseKeepsItsIdentity(t *testing.T) {
	t.Parallel()
	sentinel := errors.New("sealed")
	clk := newClock()
	c, err := tokenclient.New(tokenclient.Config{
		TenantID: tenant, ClientID: clientID, Credential: tokenclient.Secret(password), Now: clk.Now, Sleep: clk.Sleep,
		HTTPClient: &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(req.Body)
			return nil, fmt.Errorf("sent %s: %w %w", body, sentinel, context.DeadlineExceeded)
		})},
	})
	require.NoError(t, err)
	defer c.Close()
	failed := mustFail(t, c.Source(scope))
	require.ErrorIs(t, failed, sentinel)
	assert.True(t, failed.Timeout())
	for _, text := range texts(failed) {
		assertNotShown(t, text, password)
	}
}
