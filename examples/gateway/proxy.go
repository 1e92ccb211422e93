package main

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
)

// proxy hands what the gate let pass on to the service URL of its API.
type proxy struct {
	catalog   *appaccess.Catalog
	transport *http.Transport
	reverse   *httputil.ReverseProxy
}

// callerHeaders are what an API learns of its caller.
const (
	productHeader      = "Entragate-Product"
	clientHeader       = "Entragate-Client"
	subscriptionHeader = "Entragate-Subscription"
	ownerHeader        = "Entragate-Owner"
	headerPrefix       = "entragate-"
)

func newProxy(catalog *appaccess.Catalog, log *slog.Logger) *proxy {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	// Connections of its own: the two to a host that http.DefaultTransport
	// keeps would have most calls under load dial anew.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 100
	p := &proxy{catalog: catalog, transport: transport}
	p.reverse = &httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   p.rewrite,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.WarnContext(r.Context(), "the API cannot be reached", "error", err)
			answer(w, http.StatusBadGateway, "The API cannot be reached.")
		},
	}
	return p
}

func (p *proxy) close() { p.transport.CloseIdleConnections() }

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.target(r) == nil {
		answer(w, http.StatusBadGateway, "The API has no service URL.")
		return
	}
	p.reverse.ServeHTTP(w, r)
}

func answer(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{ "statusCode": 502, "message": "` + message + `" }`))
}

// target is where a request goes: nil if its API has no service URL, or is
// gone since the gate looked.
func (p *proxy) target(r *http.Request) *url.URL {
	s := p.catalog.Snapshot()
	if s == nil {
		return nil
	}
	api := s.Match(r.URL.Path)
	if api == nil || api.ServiceURL == "" {
		return nil
	}
	if caller, ok := middleware.PrincipalFrom(r.Context()); ok && caller.API != api.ID {
		return nil // the path has come to be another API's since the gate looked
	}
	u, err := url.Parse(api.ServiceURL)
	if err != nil || u.Host == "" {
		return nil
	}
	// The gate refused paths that read differently once decoded.
	rest := strings.TrimPrefix(r.URL.Path, strings.TrimSuffix(api.Path, "/"))
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/")+rest, ""
	u.RawQuery = r.URL.RawQuery
	return u
}

func (p *proxy) rewrite(pr *httputil.ProxyRequest) {
	if u := p.target(pr.In); u != nil {
		pr.Out.URL = u
	}
	pr.Out.Host = ""
	pr.SetXForwarded()
	caller, ok := middleware.PrincipalFrom(pr.In.Context())
	if !ok {
		caller = &middleware.Principal{}
	}
	for name := range pr.Out.Header { // a caller's own are lies; some servers take _ for -
		if strings.HasPrefix(strings.ReplaceAll(strings.ToLower(name), "_", "-"), headerPrefix) {
			delete(pr.Out.Header, name)
		}
	}
	for name, value := range map[string]string{
		productHeader: caller.Product, clientHeader: caller.ClientID,
		subscriptionHeader: caller.SubscriptionID, ownerHeader: caller.OwnerID,
	} {
		if value != "" {
			pr.Out.Header.Set(name, value)
		}
	}
}
