// Command gateway guards APIs that run elsewhere, as API Management's gateway
// does: the gate in managed mode over the store that a portal or a program of
// yours works on, and a reverse proxy to each API's service URL. It takes its
// configuration from the environment:
//
//	AZURE_TENANT_ID       the tenant
//	AZURE_AUTHORITY_HOST  another login host than Entra's public cloud, with or without the tenant
//	ENTRAGATE_DB          the SQLite file of the store; default entragate.db
//	PUBLIC_URL            where callers reach the gateway, for the metadata that challenges name; may be
//	                      empty. If it has a path, a proxy in front must hand on
//	                      /.well-known/oauth-protected-resource{path} too
//	ADDR                  where to listen; default localhost:8080
//
// A request to {API path}/rest goes to {service URL}/rest. Credentials stay
// here: the API gets the caller in headers that nobody else can set
// (Entragate-Product, -Client, -Subscription, -Owner). An API must take
// requests from the gateway only. Put TLS in front.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/middleware"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(ctx, os.Getenv, log, nil); err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		stop()
		os.Exit(1)
	}
}

// run serves until the context ends. listening, if not nil, is told where.
func run(ctx context.Context, getenv func(string) string, log *slog.Logger, listening func(net.Addr)) error {
	store, err := sqlite.Open(ctx, or(getenv("ENTRAGATE_DB"), "entragate.db"))
	if err != nil {
		return err
	}
	defer store.Close()
	gateway, err := open(ctx, store, middleware.Config{
		Tenants:   []string{getenv("AZURE_TENANT_ID")},
		Authority: getenv("AZURE_AUTHORITY_HOST"),
		Resource:  getenv("PUBLIC_URL"),
		Logger:    log,
	})
	if err != nil {
		return err
	}
	defer gateway.close()
	listener, err := net.Listen("tcp", or(getenv("ADDR"), "localhost:8080"))
	if err != nil {
		return err
	}
	if listening != nil {
		listening(listener.Addr())
	}
	server := &http.Server{Handler: gateway, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
	return serve(ctx, server, listener)
}

// grace is how long requests that are in flight may take once the service is to
// stop: less than the 10 seconds after which Docker kills a container.
const grace = 8 * time.Second

// serve serves until the context ends, and returns when the requests that were
// in flight then have their answers. Those that take longer than grace are cut
// off, which is an error.
func serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended: // not by us
		return err
	case <-ctx.Done():
	}
	// Serve returns as soon as Shutdown begins: it is Shutdown to wait for.
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(wait); err != nil {
		return errors.Join(fmt.Errorf("requests were cut off after %s: %w", grace, err), server.Close())
	}
	return nil
}

// metadataPath is where the metadata is if PUBLIC_URL has no path. If it has one,
// challenges name that path after it; some clients look below PUBLIC_URL instead,
// where a proxy in front has taken the path off, and find it here.
const metadataPath = "/.well-known/oauth-protected-resource"

// gateway is the whole as a handler.
type gateway struct {
	http.Handler
	catalog *appaccess.Catalog
	gate    *middleware.Gate
	proxy   *proxy
}

func open(ctx context.Context, store appaccess.Store, config middleware.Config) (*gateway, error) {
	catalog, err := appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: store, Logger: config.Logger})
	if err != nil {
		return nil, err
	}
	config.Catalog = catalog
	config.RemoveCredentials = true // they are the gateway's, not the API's
	config.RedactKeyQuery = true
	gate, err := middleware.New(config)
	if err != nil {
		return nil, errors.Join(err, catalog.Close())
	}
	mux := http.NewServeMux()
	metadata, metadataAt := gate.Metadata(), gate.MetadataPath()
	mux.Handle("GET "+metadataPath, metadata)
	mux.Handle("GET /.well-known/ready", gate.ReadyHandler())
	proxy := newProxy(catalog, config.Logger)
	guarded := gate.Wrap(proxy)
	return &gateway{catalog: catalog, gate: gate, proxy: proxy, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch { // a mux in between would answer odd paths itself
		case r.URL.EscapedPath() == metadataAt:
			metadata.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/.well-known/"):
			mux.ServeHTTP(w, r)
		default:
			guarded.ServeHTTP(w, r)
		}
	})}, nil
}

func (g *gateway) close() {
	g.proxy.close()
	_ = errors.Join(g.gate.Close(), g.catalog.Close())
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
