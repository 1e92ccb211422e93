package middleware_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
)

// streams is a service whose responses stay open: until their context ends, or
// until release is closed, after which they say that they are done.
type streams struct {
	release chan struct{}
	backend *httptest.Server
	causes  sync.Map // path -> what ended the context
}

func newStreams(t *testing.T) *streams {
	s := &streams{release: make(chan struct{})}
	s.backend = httptest.NewServer(s.backendMux())
	t.Cleanup(s.backend.Close)
	return s
}

// wait holds a response open.
func (s *streams) wait(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, "data: first\n\n")
	_ = http.NewResponseController(w).Flush()
	select {
	case <-r.Context().Done():
		s.causes.Store(r.Method+r.URL.Path, context.Cause(r.Context()))
	case <-s.release:
		_, _ = io.WriteString(w, "done")
	}
}

func (s *streams) sse(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	s.wait(w, r)
}

// deaf never looks at its context.
func (s *streams) deaf(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for {
		if _, err := io.WriteString(w, "data: first\n\n"); err != nil {
			return
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// upgrade echoes what comes on the connection.
func (s *streams) upgrade(w http.ResponseWriter, _ *http.Request) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\ndata: first\n\n")
	_ = rw.Flush()
	_, _ = io.Copy(conn, rw)
}

func (s *streams) backendMux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo/proxied/sse", s.sse)
	mux.HandleFunc("/echo/proxied/get", s.wait)
	mux.HandleFunc("/echo/proxied/upgrade", s.upgrade)
	return mux
}

func (s *streams) mux() http.Handler {
	backend, _ := url.Parse(s.backend.URL)
	proxy := httputil.NewSingleHostReverseProxy(backend)
	proxy.FlushInterval = -1
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	mux := http.NewServeMux()
	mux.HandleFunc("/echo/sse", s.sse)
	mux.HandleFunc("/echo/deaf", s.deaf)
	mux.HandleFunc("/echo/get", s.wait)
	mux.HandleFunc("/echo/upgrade", s.upgrade)
	mux.Handle("/echo/all", middleware.OnRevocation(middleware.CancelAll)(http.HandlerFunc(s.wait)))
	mux.Handle("/echo/none", middleware.OnRevocation(middleware.CancelNone)(http.HandlerFunc(s.sse)))
	mux.Handle("/echo/proxied/", proxy)
	return mux
}

// opened is a response that has begun, and how it ended.
type opened struct {
	name string
	rest chan string // what follows the first event, once the response has ended
}

func (o *opened) ended(t *testing.T) string {
	t.Helper()
	select {
	case rest := <-o.rest:
		return rest
	case <-time.After(20 * time.Second):
		t.Fatalf("%s stays open", o.name)
		return ""
	}
}

func (o *opened) stillOpen() bool {
	select {
	case rest := <-o.rest:
		o.rest <- rest
		return false
	default:
		return true
	}
}

// openAll sends each request ("GET /echo/sse") over a connection of its own and
// waits until its response has begun.
func openAll(t *testing.T, server *httptest.Server, header string, requests ...string) map[string]*opened {
	t.Helper()
	all := map[string]*opened{}
	for _, name := range requests {
		method, path, _ := strings.Cut(name, " ")
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		upgrade := ""
		if strings.HasSuffix(path, "upgrade") {
			upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
		}
		_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\n%s%s\r\n\r\n", method, path, upgrade, header)
		require.NoError(t, err)
		in := bufio.NewReader(conn)
		read := ""
		for !strings.Contains(read, "data: first") {
			line, err := in.ReadString('\n')
			require.NoError(t, err, "%s: %s", name, read)
			read += line
		}
		o := &opened{name: name, rest: make(chan string, 1)}
		go func() {
			rest := ""
			for {
				line, err := in.ReadString('\n')
				rest += line
				if err != nil {
					o.rest <- rest + "EOF"
					return
				}
				if strings.HasPrefix(line, "0\r") { // the last chunk
					o.rest <- rest
					return
				}
			}
		}()
		all[name] = o
	}
	return all
}

var cancelled = []string{
	"GET /echo/sse", "POST /echo/sse", "GET /echo/deaf", "GET /echo/get", "GET /echo/upgrade", "POST /echo/all",
	"GET /echo/proxied/sse", "POST /echo/proxied/sse", "GET /echo/proxied/get", "GET /echo/proxied/upgrade",
}

var kept = []string{"POST /echo/get", "POST /echo/proxied/get", "GET /echo/none"}

// write changes an object of a store.
func write[T any](t *testing.T, store appaccess.Store, kind appaccess.Kind, id string, change func(*T)) {
	t.Helper()
	_, err := store.Update(t.Context(), func(w appaccess.Writer) error {
		rec, err := w.Get(kind, id)
		if err != nil {
			return err
		}
		var v T
		if err := json.Unmarshal(rec.Body, &v); err != nil {
			return err
		}
		change(&v)
		if rec.Body, err = json.Marshal(v); err != nil {
			return err
		}
		return w.Put(rec)
	})
	require.NoError(t, err)
}

// A revocation in the store ends open responses, by token and by key, whatever
// it was that the access came from.
func TestOpenResponsesEndOnRevocation(t *testing.T) {
	t.Parallel()
	token := "Authorization: Bearer " + mint(t, claims(nil))
	key := "Ocp-Apim-Subscription-Key: key-starter"
	for name, tc := range map[string]struct {
		revoke func(*testing.T, appaccess.Store)
		with   []string
	}{
		"client suspended": {func(t *testing.T, s appaccess.Store) {
			write(t, s, appaccess.KindApplication, "app-1", func(a *appaccess.ClientApplication) { a.State = appaccess.ApplicationSuspended })
		}, []string{token}},
		"grant removed": {func(t *testing.T, s appaccess.Store) {
			write(t, s, appaccess.KindApplication, "app-1", func(a *appaccess.ClientApplication) { a.Grants = nil })
		}, []string{token}},
		"owner blocked": {func(t *testing.T, s appaccess.Store) {
			write(t, s, appaccess.KindUser, "u1", func(u *appaccess.User) { u.State = appaccess.UserBlocked })
		}, []string{token, key}},
		"subscription suspended": {func(t *testing.T, s appaccess.Store) {
			write(t, s, appaccess.KindSubscription, "s1", func(u *appaccess.Subscription) { u.State = appaccess.SubscriptionSuspended })
		}, []string{key}},
		"product suspended": {func(t *testing.T, s appaccess.Store) {
			write(t, s, appaccess.KindProduct, "starter", func(p *appaccess.Product) { p.Suspended = true })
		}, []string{token, key}},
		"API removed from the product": {func(t *testing.T, s appaccess.Store) {
			write(t, s, appaccess.KindProduct, "starter", func(p *appaccess.Product) { p.APIs = nil })
		}, []string{token, key}},
	} {
		for _, credential := range tc.with {
			t.Run(name+", "+credential[:3], func(t *testing.T) {
				t.Parallel()
				catalog, store := storedIn(t)
				cfg := managed(newEntra(), nil)
				cfg.Catalog = catalog
				s := newStreams(t)
				server := httptest.NewServer(open(t, cfg).Wrap(s.mux()))
				t.Cleanup(server.Close)
				all := openAll(t, server, credential, append(cancelled, kept...)...)

				// A change of something else asks, and ends nothing.
				write(t, store, appaccess.KindAPI, "echo", func(a *appaccess.API) { a.Name = "Renamed" })
				require.Eventually(t, func() bool { return catalog.Snapshot().API("echo").Name == "Renamed" }, 10*time.Second, time.Millisecond)
				for _, o := range all {
					require.True(t, o.stillOpen(), o.name)
				}

				began := time.Now()
				tc.revoke(t, store)
				for _, name := range cancelled {
					rest := all[name].ended(t)
					assert.NotContains(t, rest, "done", name)
				}
				t.Log("all ended after", time.Since(began))
				cause, _ := s.causes.Load("GET/echo/sse")
				assert.Equal(t, middleware.ErrAccessRevoked, cause)
				for _, name := range kept {
					assert.True(t, all[name].stillOpen(), name)
				}
				close(s.release)
				for _, name := range kept {
					assert.Contains(t, all[name].ended(t), "done", name)
				}
			})
		}
	}
}

// notifying is a catalog that says when it changes.
type notifying struct {
	*catalog
	mu sync.Mutex
	ch chan struct{}
}

func (n *notifying) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

func (n *notifying) change(f func(*catalog)) {
	n.set(f)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}

// An unreachable store revokes nothing, however often the gate asks, and what
// was revoked meanwhile ends as soon as there are answers again.
func TestOpenResponsesOutliveAnOutage(t *testing.T) {
	t.Parallel()
	for _, notifies := range []bool{true, false} {
		t.Run(fmt.Sprint("notifies ", notifies), func(t *testing.T) {
			t.Parallel()
			n := &notifying{catalog: newCatalog()}
			cfg := managed(newEntra(), n.catalog)
			if notifies {
				cfg.Catalog = n
			}
			s := newStreams(t)
			server := httptest.NewServer(open(t, cfg).Wrap(s.mux()))
			t.Cleanup(server.Close)
			all := openAll(t, server, "Authorization: Bearer "+mint(t, claims(nil)), cancelled...)
			asked := func() int { n.catalog.mu.Lock(); defer n.catalog.mu.Unlock(); return n.asked }

			n.change(func(c *catalog) { c.err = appaccess.ErrUnavailable })
			before := asked()
			require.Eventually(t, func() bool { return asked() > before+2*len(cancelled) }, 20*time.Second, 10*time.Millisecond, "asked again and again")
			for _, o := range all {
				require.True(t, o.stillOpen(), o.name)
			}
			n.change(func(c *catalog) {
				c.err = nil
				delete(c.clients, clientID)
			})
			for _, o := range all {
				o.ended(t)
			}
		})
	}
}

// In static mode, too, streams end when their credential expires, and what is
// no stream does not.
func TestStreamsEndWithTheirCredential(t *testing.T) {
	t.Parallel()
	var now clock
	cfg := config(newEntra())
	cfg.Now = now.now
	cfg.Products[0].Keys = true
	cfg.Subscriptions = []appaccess.Subscription{
		{ID: "s1", Scope: appaccess.AllAPIs, State: appaccess.SubscriptionActive, PrimaryHash: appaccess.HashKey("one"), Expires: time.Now().Add(time.Hour)},
		{ID: "s2", Scope: appaccess.AllAPIs, State: appaccess.SubscriptionActive, PrimaryHash: appaccess.HashKey("two")},
	}
	ends := []string{"GET /echo/sse", "POST /echo/sse", "GET /echo/deaf", "GET /echo/upgrade", "GET /echo/proxied/sse", "GET /echo/proxied/upgrade"}
	stays := []string{"GET /echo/get", "POST /echo/get", "POST /echo/all", "GET /echo/proxied/get", "GET /echo/none"}
	g := open(t, cfg)
	for name, credential := range map[string]string{
		"token": "Authorization: Bearer " + mint(t, claims(nil)),
		"key":   "Ocp-Apim-Subscription-Key: one",
		"lasts": "Ocp-Apim-Subscription-Key: two",
	} {
		s := newStreams(t)
		server := httptest.NewServer(g.Product("starter")(s.mux()))
		t.Cleanup(server.Close)
		all := openAll(t, server, credential, append(ends, stays...)...)
		defer func() {
			for _, end := range ends {
				if name == "lasts" {
					assert.True(t, all[end].stillOpen(), end)
					continue
				}
				all[end].ended(t)
			}
			if name != "lasts" {
				cause, _ := s.causes.Load("GET/echo/sse")
				assert.Equal(t, middleware.ErrCredentialExpired, cause, name)
			}
			close(s.release)
			for _, stay := range stays {
				assert.Contains(t, all[stay].ended(t), "done", stay)
			}
		}()
	}
	now.advance(time.Hour + 2*time.Minute)
}

// A key that is denied ends what its tokens opened.
func TestOpenResponsesEndWithTheirSigningKey(t *testing.T) {
	t.Parallel()
	s := newStreams(t)
	g := open(t, config(newEntra()))
	server := httptest.NewServer(g.Product("starter")(s.mux()))
	t.Cleanup(server.Close)
	all := openAll(t, server, "Authorization: Bearer "+mint(t, claims(nil)), cancelled...)
	require.NoError(t, g.DenyKeys("k1"))
	for _, name := range cancelled {
		all[name].ended(t)
	}
}

// A client must not take a part for the whole, nor an empty answer for success.
func TestEndedResponsesAreNoSuccess(t *testing.T) {
	t.Parallel()
	n := &notifying{catalog: newCatalog()}
	cfg := managed(newEntra(), nil)
	cfg.Catalog = n
	begun := make(chan struct{}, 3)
	wait := func(r *http.Request) {
		begun <- struct{}{}
		<-r.Context().Done()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo/part", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `[{"id":1},`)
		_ = http.NewResponseController(w).Flush()
		wait(r)
		_, err := io.WriteString(w, `{"id":2}]`)
		assert.ErrorIs(t, err, middleware.ErrAccessRevoked)
	})
	mux.HandleFunc("/echo/nothing", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "4")
		wait(r)
	})
	mux.HandleFunc("/echo/error", func(w http.ResponseWriter, r *http.Request) {
		wait(r)
		http.Error(w, "the database query was cancelled", http.StatusInternalServerError)
	})
	server := httptest.NewServer(open(t, cfg).Wrap(mux))
	t.Cleanup(server.Close)
	type result struct {
		status int
		body   string
		err    error
	}
	results := map[string]chan result{}
	for _, path := range []string{"/echo/part", "/echo/nothing", "/echo/error"} {
		results[path] = make(chan result, 1)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+mint(t, claims(nil)))
		go func() {
			resp, err := server.Client().Do(r)
			if err != nil {
				results[path] <- result{err: err}
				return
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			results[path] <- result{resp.StatusCode, string(body), err}
		}()
		<-begun
	}
	n.change(func(c *catalog) { delete(c.clients, clientID) })
	part := <-results["/echo/part"]
	assert.Equal(t, 200, part.status)
	assert.True(t, errors.Is(part.err, io.ErrUnexpectedEOF) || part.err != nil, "the client sees that it is a part")
	for _, path := range []string{"/echo/nothing", "/echo/error"} {
		got := <-results[path]
		require.NoError(t, got.err)
		assert.Equal(t, 403, got.status)
		assert.Contains(t, got.body, "no access")
	}
}

// A revocation between the decision and the first look at the context counts.
func TestRevocationBeforeTheHandlerListens(t *testing.T) {
	t.Parallel()
	n := &notifying{catalog: newCatalog()}
	cfg := managed(newEntra(), nil)
	cfg.Catalog = n
	begun, listen := make(chan struct{}), make(chan struct{})
	g := open(t, cfg)
	n.mu.Lock()
	assert.NotNil(t, n.ch, "the gate knows of changes before its first decision")
	n.mu.Unlock()
	h := g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-listen
		<-r.Context().Done()
		assert.Equal(t, context.Canceled, r.Context().Err())
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		assert.Equal(t, middleware.ErrAccessRevoked, context.Cause(ctx))
	}))
	done := make(chan int)
	token := mint(t, claims(nil))
	go func() { done <- call(h, token).Code }()
	<-begun
	n.change(func(c *catalog) { delete(c.clients, clientID) })
	require.Eventually(t, func() bool { // the gate has seen the change
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.ch != nil
	}, 10*time.Second, time.Millisecond)
	close(listen)
	assert.Equal(t, 403, <-done)
}

// A handler that does not listen to its context, and begins its response after the
// revocation, answers with the refusal. A POST, which is not ended, answers as usual.
func TestAResponseThatBeginsAfterTheRevocationIsRefused(t *testing.T) {
	t.Parallel()
	n := &notifying{catalog: newCatalog()}
	cfg := managed(newEntra(), nil)
	cfg.Catalog = n
	g := open(t, cfg)
	begun, answer := make(chan struct{}), make(chan struct{})
	var ended atomic.Int32 // handlers whose write failed
	deaf := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-answer
		w.Header().Set("Content-Type", "text/plain")
		if _, err := io.WriteString(w, "the data"); errors.Is(err, middleware.ErrAccessRevoked) {
			ended.Add(1)
		}
	}))
	listening := g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-r.Context().Done()
	}))
	token := "Bearer " + mint(t, claims(nil))
	serve := func(h http.Handler, method string) chan *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/echo", nil)
		r.Header.Set("Authorization", token)
		done := make(chan *httptest.ResponseRecorder, 1)
		go func() { done <- do(h, r) }()
		<-begun
		return done
	}
	get, post, first := serve(deaf, "GET"), serve(deaf, "POST"), serve(listening, "GET")
	n.change(func(c *catalog) { delete(c.clients, clientID) })
	assert.Equal(t, 403, (<-first).Code)
	close(answer)
	w := <-get
	assert.Equal(t, 403, w.Code)
	assert.NotContains(t, w.Body.String(), "the data")
	assert.Contains(t, w.Body.String(), "no access")
	w = <-post
	assert.Equal(t, 200, w.Code)
	assert.Equal(t, "the data", w.Body.String())
	assert.Equal(t, int32(1), ended.Load())

	// A handler that has begun its response, and never flushes, can write no more.
	n.change(func(c *catalog) { c.clients[clientID] = newCatalog().clients[clientID] })
	answer = make(chan struct{})
	var failed error
	begins := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		begun <- struct{}{}
		<-answer
		for failed == nil && t.Context().Err() == nil {
			_, failed = io.WriteString(w, "")
		}
	}))
	aborted := make(chan any, 1)
	go func() {
		defer func() { aborted <- recover() }()
		call(begins, token[len("Bearer "):])
	}()
	<-begun
	first = serve(listening, "GET")
	n.change(func(c *catalog) { delete(c.clients, clientID) })
	<-first
	close(answer)
	assert.Equal(t, http.ErrAbortHandler, <-aborted)
	assert.ErrorIs(t, failed, middleware.ErrAccessRevoked)

	// A change that concerns another caller refuses nothing, and so does an outage.
	for _, change := range []func(*catalog){func(c *catalog) { delete(c.clients, otherApp) }, func(c *catalog) { c.err = appaccess.ErrUnavailable }} {
		n := &notifying{catalog: newCatalog()}
		cfg.Catalog, answer = n, make(chan struct{})
		g = open(t, cfg)
		deaf = g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			begun <- struct{}{}
			<-answer
			_, _ = io.WriteString(w, "the data")
		}))
		get = serve(deaf, "GET")
		n.change(change)
		require.Eventually(t, func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.ch != nil
		}, 10*time.Second, time.Millisecond)
		close(answer)
		assert.Equal(t, 200, (<-get).Code)
	}
}

// The pattern that a mux inside the gate matched is seen outside, as metrics of
// http.route need it.
func TestPatternIsSeenOutside(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.Handle("GET /echo/{id}", nothing)
	for _, reportOnly := range []bool{false, true} {
		cfg := managed(newEntra(), newCatalog())
		cfg.ReportOnly = reportOnly
		h := open(t, cfg).Wrap(mux)
		r := request("/echo/7", "Authorization", "Bearer "+mint(t, claims(nil)))
		assert.Equal(t, 200, do(h, r).Code)
		assert.Equal(t, "GET /echo/{id}", r.Pattern)
	}
}

func TestOpenResponsesEndWithTheirTenant(t *testing.T) {
	t.Parallel()
	streams := newStreams(t)
	defer close(streams.release)
	g := open(t, config(newEntra()))
	server := httptest.NewServer(g.Product("starter")(streams.mux()))
	t.Cleanup(server.Close)
	all := openAll(t, server, "Authorization: Bearer "+mint(t, claims(nil)), "GET /echo/sse", "GET /echo/upgrade")
	require.NoError(t, g.SetTenants([]middleware.Tenant{{ID: secondTenant, Authority: authority}}))
	for _, o := range all {
		o.ended(t)
	}
}
