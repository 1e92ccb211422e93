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
//	AZURE_CLIENT_CERTIFICATE_PATH   PEM or PFX file with certificate and key, and
//	                                AZURE_CLIENT_CERTIFICATE_PASSWORD if it is encrypted
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
	caFile := flags.String("ca", "", "PEM `FILE` with a certificate authority to trust beside the system's")
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
	client, err := newClient(getenv, *caFile, logger(*verbose, stderr))
	if err != nil {
		return err
	}
	defer client.Close()
	httpClient, err := client.Source(getenv("SCOPE")).Client(target.Host)
	if err != nil {
		return err
	}
	return callTimes(ctx, httpClient, *times, *method, target.String(), stdout)
}

func newClient(getenv func(string) string, caFile string, log *slog.Logger) (*tokenclient.Client, error) {
	cfg, err := tokenclient.FromEnvironment(getenv)
	if err != nil {
		return nil, err
	}
	cfg.CAFile = caFile
	cfg.Logger = log
	cfg.OnExpiring = func(e tokenclient.Expiring) {
		fmt.Fprintf(os.Stderr, "caller: %s ends on %s: renew it\n", e.Credential, e.At.Format(time.DateOnly))
	}
	return tokenclient.New(cfg)
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
