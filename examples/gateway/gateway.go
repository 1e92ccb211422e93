package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/postgres"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/middleware"
)

// options are what a gateway is made of.
type options struct {
	Store     appaccess.Store
	Gate      middleware.Config // Catalog and what concerns credentials is set by open
	Trusted   []netip.Prefix
	CORS      map[string]corsRule
	Telemetry *telemetry // nil: none
}

// gateway is the whole as a handler.
type gateway struct {
	http.Handler
	catalog *appaccess.Catalog
	gate    *middleware.Gate
	proxy   *proxy
}

// metadataPath is where the metadata is if PUBLIC_URL has no path. If it has one,
// challenges name that path after it; some clients look below PUBLIC_URL instead,
// where a proxy in front has taken the path off, and find it here.
const metadataPath = "/.well-known/oauth-protected-resource"

func open(ctx context.Context, o options) (*gateway, error) {
	catalog, err := appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: o.Store, Logger: o.Gate.Logger})
	if err != nil {
		return nil, err
	}
	config := o.Gate
	config.Catalog = catalog
	config.RemoveCredentials = true // they are the gateway's, not the API's
	config.RedactKeyQuery = true
	if o.Telemetry != nil {
		config.MeterProvider = o.Telemetry.meters
		config.SpanAttributes = true
	}
	gate, err := middleware.New(config)
	if err != nil {
		return nil, errors.Join(err, catalog.Close())
	}
	proxy, err := newProxy(catalog, o)
	if err != nil {
		return nil, errors.Join(err, gate.Close(), catalog.Close())
	}
	g := &gateway{catalog: catalog, gate: gate, proxy: proxy}
	cors := &cors{catalog: catalog, rules: o.CORS}
	// From the outside in: nothing sees a key in the URL; requests are measured;
	// pages can read refusals; the gate decides; no caller switches protocols.
	guarded := cors.wrap(gate.Wrap(middleware.WebSocketOnly(proxy)))
	guarded = gate.HideKeys(o.Telemetry.server(guarded, proxy.forwarding))
	g.Handler = withWellKnown(gate, guarded)
	return g, nil
}

// withWellKnown answers for the gateway itself and hands everything else to
// next. A mux must not wrap next: it would redirect paths that are not clean.
func withWellKnown(gate *middleware.Gate, next http.Handler) http.Handler {
	mux := http.NewServeMux()
	metadata, metadataAt := gate.Metadata(), gate.MetadataPath()
	mux.Handle("GET "+metadataPath, metadata)
	mux.Handle("GET /.well-known/ready", gate.ReadyHandler())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.EscapedPath() == metadataAt:
			metadata.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/.well-known/"):
			mux.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (g *gateway) close() {
	g.proxy.close()
	_ = errors.Join(g.gate.Close(), g.catalog.Close())
}

// openStore opens SQLite for a file that exists, and PostgreSQL for a URL or a
// list of key=value. It makes no file: a gateway alone has no use for a new one.
func openStore(ctx context.Context, dsn string) (appaccess.Store, error) {
	_, err := os.Stat(dsn)
	isURL := strings.Contains(dsn, "://")
	switch {
	case err == nil:
		return sqlite.Open(ctx, dsn)
	case strings.HasPrefix(dsn, "postgres://"), strings.HasPrefix(dsn, "postgresql://"), !isURL && strings.Contains(dsn, "="):
		return postgres.Open(ctx, dsn)
	case isURL: // not shown: it may hold a password
		return nil, errors.New("ENTRAGATE_DB: is a URL of another scheme than postgres")
	}
	return nil, fmt.Errorf("ENTRAGATE_DB: %w", err)
}

// answer writes an error in the form that the gate's refusals have.
func answer(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		StatusCode int    `json:"statusCode"`
		Message    string `json:"message"`
	}{status, message})
}
