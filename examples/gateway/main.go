// Command gateway guards APIs that run elsewhere, as API Management's gateway
// does: the gate in managed mode over the store that a portal or a program of
// yours works on, and a reverse proxy to each API's service URL. It takes its
// configuration from the environment:
//
//	AZURE_TENANT_ID       the tenant
//	AZURE_AUTHORITY_HOST  another login host than Entra's public cloud, with or without the tenant
//	ENTRAGATE_DB          the store: an existing SQLite file, or PostgreSQL as postgres://... or
//	                      "host=... dbname=..."; default entragate.db
//	ADDR                  where to listen; default localhost:8080
//	PUBLIC_URL            where callers reach the gateway: scheme and host in the headers to APIs, and the
//	                      address of the metadata that challenges name. May be empty. If it has a path, a
//	                      proxy in front must forward /.well-known/oauth-protected-resource{path} too
//	TRUSTED_PROXIES       addresses or networks of proxies in front, separated by commas: 10.0.0.0/8,192.0.2.7.
//	                      Only their X-Forwarded headers count
//	CORS_FILE             a JSON file that says which pages of which origins may call which API: see corsRule
//	OTEL_...              OpenTelemetry's own variables. Nothing is exported unless OTEL_METRICS_EXPORTER,
//	                      OTEL_TRACES_EXPORTER or an OTEL_EXPORTER_OTLP_..._ENDPOINT is set.
//	                      OTEL_METRICS_EXPORTER=prometheus serves metrics at
//	                      OTEL_EXPORTER_PROMETHEUS_HOST:_PORT, by default localhost:9464
//
// A request to {API path}/rest goes to {service URL}/rest, spelled as the caller
// sent it. Credentials stay here: the API gets the caller in headers that nobody
// else can set (Entragate-Product, -Client, -Subscription, -Owner). An API must
// take requests from the gateway only.
//
// Put TLS in front. The gateway speaks HTTP/1.1 and, for proxies that hand on
// HTTP/2 and for gRPC, HTTP/2 without TLS. A gRPC service is an API whose path is
// /{package}.{Service} and whose service URL ends with the same path. WebSockets
// are passed on, other upgrades are not.
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
	"syscall"
	"time"

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

// run serves until the context ends. listening, if not nil, gets the address.
func run(ctx context.Context, getenv func(string) string, log *slog.Logger, listening func(net.Addr)) error {
	trusted, err := parseProxies(getenv("TRUSTED_PROXIES"))
	if err != nil {
		return err
	}
	cors, err := readCORS(getenv("CORS_FILE"))
	if err != nil {
		return err
	}
	store, err := openStore(ctx, or(getenv("ENTRAGATE_DB"), "entragate.db"))
	if err != nil {
		return err
	}
	defer store.Close()
	telemetry, err := newTelemetry(ctx, getenv)
	if err != nil {
		return err
	}
	defer telemetry.close()
	gateway, err := open(ctx, options{
		Store: store, Trusted: trusted, CORS: cors, Telemetry: telemetry,
		Gate: middleware.Config{
			Tenants:   []string{getenv("AZURE_TENANT_ID")},
			Authority: getenv("AZURE_AUTHORITY_HOST"),
			Resource:  getenv("PUBLIC_URL"),
			Logger:    log,
		},
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
	return serve(ctx, newServer(gateway), listener)
}

// newServer serves HTTP/1.1 and HTTP/2, both without TLS.
func newServer(h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{Handler: h, Protocols: &protocols, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
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
	case err := <-ended: // the listener failed
		return err
	case <-ctx.Done():
	}
	// Serve returns as soon as Shutdown begins: Shutdown waits for the requests.
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(wait); err != nil {
		return errors.Join(fmt.Errorf("requests were cut off after %s: %w", grace, err), server.Close())
	}
	return nil
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
