// Command service is a small HTTP service behind a gate in static mode: what a
// service owner copies. It takes its configuration from the environment:
//
//	AZURE_TENANT_ID        the tenant
//	PRODUCT_APPLICATION_ID the product's application ID, as its properties show it
//	PRODUCT_ROLE           its app role: Product.<product-name>.All
//	AZURE_AUTHORITY_HOST   another login host than Entra's public cloud, with or without the tenant
//	SUBSCRIPTION_KEY_SHA256  SHA-256, in hex, of a subscription key that passes too; may be empty.
//	                       -new-key makes both
//	REPORT_ONLY            "true": let everything pass, log what would be refused
//	ADDR                   where to listen; default localhost:8080
//
// Usage:
//
//	service [-ca FILE]
//	service -new-key
//
// /hello is guarded; /ready is for probes, and is 200 once the tenant's signing
// keys are known. Put TLS in front of it: everybody who reads a token that is sent in
// the clear can use it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr, nil); err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		stop()
		os.Exit(1)
	}
}

// run serves until the context ends. It calls listening, if not nil, with its address.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer, listening func(net.Addr)) error {
	flags := flag.NewFlagSet("service", flag.ContinueOnError)
	flags.SetOutput(stderr)
	caFile := flags.String("ca", "", "PEM `FILE` with the certificate authority of the login host, instead of the system's")
	newKey := flags.Bool("new-key", false, "print a new subscription key and its SHA-256, and end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *newKey {
		return printKey(stdout)
	}
	config, err := configure(getenv, *caFile)
	if err != nil {
		return err
	}
	config.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	gate, err := middleware.New(config)
	if err != nil {
		return err
	}
	defer gate.Close()
	listener, err := net.Listen("tcp", or(getenv("ADDR"), "localhost:8080"))
	if err != nil {
		return err
	}
	if listening != nil {
		listening(listener.Addr())
	}
	server := &http.Server{Handler: routes(gate), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
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

// routes is the service itself.
func routes(gate *middleware.Gate) http.Handler {
	guarded := http.NewServeMux()
	guarded.HandleFunc("GET /hello", func(w http.ResponseWriter, r *http.Request) {
		name := "unknown caller" // in report-only mode
		if caller, ok := middleware.PrincipalFrom(r.Context()); ok {
			name = or(caller.ClientID, caller.SubscriptionID)
		}
		fmt.Fprintf(w, "hello, %s\n", name)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /ready", gate.ReadyHandler())
	mux.Handle("/", gate.Product("product")(guarded))
	return mux
}

// configure reads the environment. What is missing or wrong, middleware.New
// says.
func configure(getenv func(string) string, caFile string) (middleware.Config, error) {
	config := middleware.Config{
		Tenants:   []string{getenv("AZURE_TENANT_ID")},
		Authority: getenv("AZURE_AUTHORITY_HOST"),
		Products: []middleware.Product{{
			ID:        "product",
			Audiences: audiences(getenv("PRODUCT_APPLICATION_ID")),
			Role:      getenv("PRODUCT_ROLE"),
		}},
		ReportOnly: getenv("REPORT_ONLY") == "true",
	}
	if sum := getenv("SUBSCRIPTION_KEY_SHA256"); sum != "" {
		key := appaccess.Subscription{ID: "key", Scope: appaccess.ProductScope("product"), State: appaccess.SubscriptionActive}
		if err := key.PrimaryHash.UnmarshalText([]byte(sum)); err != nil {
			return config, fmt.Errorf("SUBSCRIPTION_KEY_SHA256: %w", err)
		}
		config.Products[0].Keys = true
		config.Subscriptions = []appaccess.Subscription{key}
	}
	if caFile != "" {
		client, err := trusting(caFile)
		if err != nil {
			return config, err
		}
		config.HTTPClient = client
	}
	return config, nil
}

// audiences returns the audience of version 2 tokens and the audience of version 1
// tokens, which the product's application may still issue.
func audiences(applicationID string) []string {
	if applicationID == "" {
		return []string{""} // which middleware.New refuses by name
	}
	return []string{applicationID, "api://" + applicationID}
}

// printKey makes a subscription key and prints it, for its caller alone, with
// what the service is to know of it.
func printKey(stdout io.Writer) error {
	key, sum := appaccess.NewKey()
	_, err := fmt.Fprintf(stdout, "subscription key, for its caller: %s\nSUBSCRIPTION_KEY_SHA256=%s\n", key.Reveal(), sum)
	return err
}

// trusting is a client that trusts the certificates of one file only.
func trusting(caFile string) (*http.Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", caFile)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	return &http.Client{Transport: transport}, nil
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
