// Command caller calls an API with a token of its own, as a program does that
// was given a client application. It takes everything from the environment, by
// the names that Azure's own tools use:
//
//	AZURE_TENANT_ID                 the tenant
//	AZURE_CLIENT_ID                 the client application's ID
//	AZURE_AUTHORITY_HOST            the login host, with or without the tenant; default: Entra's public cloud
//	SCOPE                           api://{application ID of the product}/.default
//
// and one of
//
//	AZURE_CLIENT_SECRET_FILE        file with the client secret, the best place for it
//	AZURE_CLIENT_SECRET             the client secret itself
//	AZURE_CLIENT_CERTIFICATE_PATH   PEM file with certificate and key
//	AZURE_FEDERATED_TOKEN_FILE      workload identity's token file
//
// Usage:
//
//	caller [-ca FILE] [-method METHOD] [-times N] [-v] URL
//
// It prints each answer's status and body, and exits with 1 if a call failed or
// was refused, saying why.
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
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"time"

	"github.com/entragate/entragate/tokenclient"
)

// maxBody is how many bytes of an answer are printed.
const maxBody = 64 << 10

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "caller:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("caller", flag.ContinueOnError)
	flags.SetOutput(stderr)
	caFile := flags.String("ca", "", "PEM `FILE` with the certificate authority to trust instead of the system's")
	method := flags.String("method", http.MethodGet, "HTTP `METHOD`")
	times := flags.Int("times", 1, "how often to call, a second apart")
	verbose := flags.Bool("v", false, "log each fetch of a token")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil // the flags were printed
	} else if err != nil {
		return err
	}
	target, err := url.Parse(flags.Arg(0))
	if err != nil || target.Host == "" || flags.NArg() != 1 {
		return errors.New("give exactly one URL to call: caller [flags] https://api.contoso.com/echo")
	}
	base, err := trusting(*caFile)
	if err != nil {
		return err
	}
	client, err := newClient(getenv, base, logger(*verbose, stderr))
	if err != nil {
		return err
	}
	defer client.Close()
	transport, err := tokenclient.NewTransport(tokenclient.TransportConfig{
		Source: client.Source(getenv("SCOPE")), Hosts: []string{target.Host}, Base: base,
	})
	if err != nil {
		return err
	}
	return callTimes(ctx, &http.Client{Transport: transport}, *times, *method, target.String(), stdout)
}

func newClient(getenv func(string) string, base http.RoundTripper, log *slog.Logger) (*tokenclient.Client, error) {
	return tokenclient.New(tokenclient.Config{
		TenantID:   getenv("AZURE_TENANT_ID"),
		ClientID:   getenv("AZURE_CLIENT_ID"),
		Authority:  getenv("AZURE_AUTHORITY_HOST"),
		Credential: credential(getenv),
		HTTPClient: &http.Client{Transport: base},
		Logger:     log,
		OnExpiring: func(e tokenclient.Expiring) {
			fmt.Fprintf(os.Stderr, "caller: %s ends on %s: renew it\n", e.Credential, e.At.Format(time.DateOnly))
		},
	})
}

// credential is the first that the environment names. If it names none the
// zero Credential makes New say so.
func credential(getenv func(string) string) tokenclient.Credential {
	if file := getenv("AZURE_CLIENT_SECRET_FILE"); file != "" {
		return tokenclient.SecretFile(file)
	}
	if secret := getenv("AZURE_CLIENT_SECRET"); secret != "" {
		return tokenclient.Secret(secret)
	}
	if file := getenv("AZURE_CLIENT_CERTIFICATE_PATH"); file != "" {
		return tokenclient.CertificateFile(file, file)
	}
	if file := getenv("AZURE_FEDERATED_TOKEN_FILE"); file != "" {
		return tokenclient.AssertionFile(file)
	}
	return tokenclient.Credential{}
}

// trusting is a transport that trusts the authority in caFile, or the system's
// if that is empty.
func trusting(caFile string) (http.RoundTripper, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if caFile == "" {
		return transport, nil
	}
	data, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("-ca: %s holds no PEM certificate", caFile)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	return transport, nil
}

func logger(verbose bool, w io.Writer) *slog.Logger {
	if !verbose {
		return nil
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

func callTimes(ctx context.Context, client *http.Client, times int, method, target string, stdout io.Writer) error {
	var failed error
	for i := range times {
		if i > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
			}
		}
		if err := call(ctx, client, method, target, stdout); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func call(ctx context.Context, client *http.Client, method, target string, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s\n%s\n", resp.Status, body)
	if err := tokenclient.CheckResponse(resp); err != nil {
		return err
	}
	if resp.StatusCode >= 400 {
		return fmt.Errorf("the API answered %s", resp.Status)
	}
	return nil
}
