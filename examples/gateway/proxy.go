package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
)

// proxy hands what the gate let pass on to the service URL of its API.
type proxy struct {
	catalog    *appaccess.Catalog
	log        *slog.Logger
	forwarding *forwarding
	transport  *transports
	reverse    *httputil.ReverseProxy
}

// callerHeaders are what an API learns of its caller.
const (
	productHeader      = "Entragate-Product"
	clientHeader       = "Entragate-Client"
	subscriptionHeader = "Entragate-Subscription"
	ownerHeader        = "Entragate-Owner"
	headerPrefix       = "entragate-"
)

func newProxy(catalog *appaccess.Catalog, o options) (*proxy, error) {
	forwarding, err := newForwarding(o.Trusted, o.Gate.Resource)
	if err != nil {
		return nil, err
	}
	p := &proxy{catalog: catalog, log: o.Gate.Logger, forwarding: forwarding, transport: newTransports()}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.reverse = &httputil.ReverseProxy{
		Transport:      o.Telemetry.client(p.transport),
		Rewrite:        p.rewrite,
		ModifyResponse: withoutCORS,
		ErrorHandler:   p.failed,
		ErrorLog:       slog.NewLogLogger(p.log.Handler(), slog.LevelWarn),
	}
	return p, nil
}

func (p *proxy) close() { p.transport.CloseIdleConnections() }

// exchange is what the proxy knows of a request that it hands on.
type exchange struct {
	target *url.URL
	prefix string // the API's path, which the target replaces
	body   *clientBody
}

type exchangeKey struct{}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := p.exchange(r)
	if x == nil {
		answer(w, http.StatusBadGateway, "The API has no service URL.")
		return
	}
	r.Pattern = x.prefix // for metrics
	out := r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	if r.Body != nil && r.Body != http.NoBody {
		x.body = &clientBody{ReadCloser: r.Body}
		out.Body = x.body
	}
	p.reverse.ServeHTTP(w, out)
}

// exchange finds where a request goes: nil if its API has no service URL, or is
// gone since the gate looked.
func (p *proxy) exchange(r *http.Request) *exchange {
	s := p.catalog.Snapshot()
	if s == nil {
		return nil
	}
	api := s.Match(r.URL.Path)
	if api == nil || api.ServiceURL == "" {
		return nil
	}
	if caller, ok := middleware.PrincipalFrom(r.Context()); ok && caller.API != api.ID {
		return nil // the path has become another API's since the gate looked
	}
	u, err := url.Parse(api.ServiceURL)
	if err != nil || u.Host == "" {
		return nil
	}
	// The rest of the path is spelled as it was sent: to the API %2C and a comma
	// may differ. The gate refused paths whose segments read differently once
	// decoded, so the API's path has as many of them in either spelling.
	escaped := u.EscapedPath()
	rest := behindSegments(r.URL.EscapedPath(), strings.Count(strings.TrimSuffix(api.Path, "/"), "/"))
	u.RawPath = strings.TrimSuffix(escaped, "/") + rest
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
		return nil
	}
	u.RawQuery = r.URL.RawQuery
	return &exchange{target: u, prefix: api.Path}
}

// behindSegments is path without its first n segments.
func behindSegments(path string, n int) string {
	for range n {
		next := strings.IndexByte(strings.TrimPrefix(path, "/"), '/')
		if next < 0 {
			return ""
		}
		path = path[next+1:]
	}
	return path
}

func (p *proxy) rewrite(pr *httputil.ProxyRequest) {
	pr.Out.URL = &url.URL{} // the caller's would lead to a host that it chose
	x, ok := pr.In.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return
	}
	pr.Out.URL = x.target
	pr.Out.Host = ""
	pr.Out.Trailer = nil // the proxy would announce the caller's names, without values
	p.forwarding.set(pr, x.prefix)
	caller, ok := middleware.PrincipalFrom(pr.In.Context())
	if !ok {
		caller = &middleware.Principal{}
	}
	removeHeaders(pr.Out.Header, func(name string) bool { return strings.HasPrefix(name, headerPrefix) })
	for name, value := range map[string]string{
		productHeader: caller.Product, clientHeader: caller.ClientID,
		subscriptionHeader: caller.SubscriptionID, ownerHeader: caller.OwnerID,
	} {
		if value != "" {
			pr.Out.Header.Set(name, value)
		}
	}
}

// removeHeaders deletes what a caller must not set. match gets names in lower case, with
// a dash for every character that is neither letter nor digit: servers that pass headers
// as variables, such as CGI's HTTP_X_REAL_IP, do not distinguish these characters.
func removeHeaders(h http.Header, match func(name string) bool) {
	for name := range h {
		if match(strings.Map(headerRune, name)) {
			delete(h, name)
		}
	}
}

func headerRune(r rune) rune {
	switch {
	case 'A' <= r && r <= 'Z':
		return r + 'a' - 'A'
	case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
		return r
	}
	return '-'
}

// failed answers when the API did not. A request that the caller broke, such as
// with malformed chunks, is the caller's fault.
func (p *proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	switch {
	case r.Context().Err() != nil:
		p.log.DebugContext(r.Context(), "the caller went away", "error", err)
		answer(w, http.StatusBadGateway, "The request was cancelled.")
	case x != nil && x.body != nil && x.body.broken.Load():
		answer(w, http.StatusBadRequest, "The request's body is malformed.")
	default:
		p.log.WarnContext(r.Context(), "the API cannot be reached", "error", err)
		answer(w, http.StatusBadGateway, "The API cannot be reached.")
	}
}

// clientBody notices that the caller's body could not be read.
type clientBody struct {
	io.ReadCloser
	broken atomic.Bool
}

func (b *clientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.broken.Store(true)
	}
	return n, err
}

// transports make the requests to the APIs. gRPC needs HTTP/2, also to a server
// without TLS, with which HTTP/2 cannot be negotiated.
type transports struct{ any, grpc *http.Transport }

func newTransports() *transports {
	// Connections of its own: the two to a host that http.DefaultTransport
	// keeps would have most calls under load dial anew.
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, 100
	t.DisableCompression = true // the caller gets what the API sent
	g := t.Clone()
	g.Protocols = &http.Protocols{}
	g.Protocols.SetUnencryptedHTTP2(true)
	return &transports{any: t, grpc: g}
}

func (t *transports) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		return t.grpc.RoundTrip(r)
	}
	return t.any.RoundTrip(r)
}

func (t *transports) CloseIdleConnections() {
	t.any.CloseIdleConnections()
	t.grpc.CloseIdleConnections()
}
