package entratest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/entragate/entragate/internal/loopback"
)

// T is what [NewServer] needs of a *testing.T.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
	Cleanup(func())
}

// Server is a [Tenant] that is served on loopback.
type Server struct {
	*Tenant
	srv    *loopback.Server
	ca     *loopback.CA // nil: plain HTTP
	client *http.Client
}

// NewServer makes a tenant and serves it over TLS until the test ends, when it
// reports every misuse to the test.
func NewServer(t T, cfg Config) *Server {
	t.Helper()
	return newServer(t, cfg, true)
}

// NewPlainServer is [NewServer] over plain HTTP.
func NewPlainServer(t T, cfg Config) *Server {
	t.Helper()
	return newServer(t, cfg, false)
}

func newServer(t T, cfg Config, secure bool) *Server {
	t.Helper()
	tenant, err := New(cfg)
	if err != nil {
		t.Errorf("%v", err)
		t.FailNow()
	}
	s, err := Serve(tenant, secure)
	if err != nil {
		t.Errorf("%v", err)
		t.FailNow()
	}
	t.Cleanup(func() {
		s.Close()
		for _, m := range tenant.Misuses() {
			t.Errorf("entratest: misuse: %s", m)
		}
	})
	return s
}

// Serve serves a tenant on Config.Addr, over TLS or plain HTTP. Its base URL becomes
// the server's address unless Config.BaseURL names another, for which the
// server's certificate and [Server.Client] are good too. Programs that are no tests
// use it; Close ends it.
func Serve(t *Tenant, secure bool) (*Server, error) {
	s := &Server{Tenant: t}
	var err error
	if secure {
		if s.ca, err = loopback.NewCA(t.names()...); err != nil {
			return nil, fmt.Errorf("entratest: %w", err)
		}
	}
	if s.srv, err = loopback.Serve(s.ca, defaultTo(t.cfg.Addr, "127.0.0.1:0"), t); err != nil {
		return nil, fmt.Errorf("entratest: %w", err)
	}
	if t.cfg.BaseURL == "" {
		if err := t.SetBaseURL(s.srv.URL); err != nil {
			_ = s.srv.Close()
			return nil, err
		}
	}
	transport := &http.Transport{TLSClientConfig: s.TLSConfig()}
	transport.DialContext = func(ctx context.Context, network, asked string) (net.Conn, error) {
		if name, _, err := net.SplitHostPort(asked); err == nil && slices.Contains(t.names(), strings.ToLower(name)) {
			asked = s.Address()
		}
		return new(net.Dialer).DialContext(ctx, network, asked)
	}
	s.client = &http.Client{Transport: transport}
	return s, nil
}

// Address is the host and port that the server listens on.
func (s *Server) Address() string { return s.srv.URL[strings.Index(s.srv.URL, "://")+3:] }

// names are the host names of the tenant that are not this machine's own.
func (t *Tenant) names() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for _, host := range t.hosts() {
		name, _, err := net.SplitHostPort(host)
		if err != nil {
			name = host
		}
		if !loopback.IsName(name) {
			names = append(names, name)
		}
	}
	return names
}

// Close ends the server at once, with all connections.
func (s *Server) Close() {
	s.client.CloseIdleConnections()
	_ = s.srv.Close() // the listener is gone either way
}

// Client trusts the server's certificate.
func (s *Server) Client() *http.Client { return s.client }

// TLSConfig trusts the server's certificate and no other; nil for a plain
// server.
func (s *Server) TLSConfig() *tls.Config {
	if s.ca == nil {
		return nil
	}
	return s.ca.ClientTLS()
}

// CertificatePEM is the authority to trust, valid for a day; empty for a plain
// server. Its key never leaves the process.
func (s *Server) CertificatePEM() []byte {
	if s.ca == nil {
		return nil
	}
	return s.ca.PEM()
}

// Transport reaches the tenant in process, without a network: requests to its
// base URL go straight into ServeHTTP, any other host is an error. A connection
// that the tenant cuts is an error that wraps io.ErrUnexpectedEOF. Answers are
// buffered whole.
func (t *Tenant) Transport() http.RoundTripper { return transport{t} }

type transport struct{ tenant *Tenant }

func (tr transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if !tr.tenant.answersTo(r.URL.Host) {
		return nil, fmt.Errorf("entratest: %s://%s is not the tenant at %s", r.URL.Scheme, r.URL.Host, tr.tenant.BaseURL())
	}
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			if err = r.Context().Err(); err == nil {
				err = fmt.Errorf("entratest: connection cut: %w", io.ErrUnexpectedEOF)
			}
		default:
			panic(p)
		}
	}()
	return tr.serve(r)
}

func (tr transport) serve(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	in.Host = r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := &recorder{header: http.Header{}}
	tr.tenant.ServeHTTP(rec, in)
	if rec.status == 0 {
		return nil, errors.New("entratest: the tenant gave no answer")
	}
	return &http.Response{
		Status: http.StatusText(rec.status), StatusCode: rec.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: rec.header, Request: r,
		ContentLength: int64(rec.body.Len()), Body: io.NopCloser(&rec.body),
	}, nil
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}
