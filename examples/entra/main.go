// Command entra brings a Microsoft Entra tenant in step with a configuration
// document (products as code), and tells what somebody changed there by hand.
//
//	entra [flags] plan     what apply would do; writes nothing, here or there
//	entra [flags] apply    does it
//	entra [flags] drift    what was changed in Entra since; writes nothing
//
// It exits with 0, with 1 after an error, with 2 if it was called wrongly, and
// with 3 if drift was found.
//
// The document is an appaccess.Document, which describes its format, and what
// Service.Export writes: -config names its file, and without it the store's own
// state is taken. products.json, beside this file, is one to begin with:
//
//	go run ./examples/entra -config examples/entra/products.json plan
//
// Applied, it makes two products and a client application, so do that in a
// tenant for tests. A subscription that a document adds gets keys that nobody
// sees, unless the document brings their sums: regenerate them in a portal.
//
// The store (SQLite) keeps what was made in Entra, so keep the file: names are
// found again without it, recorded operations under way are not.
//
// Credentials come from the environment: AZURE_TENANT_ID, AZURE_CLIENT_ID and
// AZURE_CLIENT_SECRET, or without a secret the managed identity of the machine
// (AZURE_CLIENT_ID then chooses one that is user-assigned). The identity needs
// the Application Administrator role, which a Privileged Role Administrator
// assigns.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// errDrift makes the process exit with 3.
var errDrift = errors.New("the tenant is not what it was made to be")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are the command line.
type options struct {
	graph, authority, cloud, ca string
	store, config, instance     string
	prune                       bool
	lag                         time.Duration
	command                     string
}

// commands are what can be asked for.
var commands = map[string]func(*house, context.Context, io.Writer) error{
	"plan": (*house).plan, "apply": (*house).apply, "drift": (*house).drift,
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	o, err := parse(args, errOut)
	if err != nil {
		return 2
	}
	err = do(ctx, o, out)
	switch {
	case errors.Is(err, errDrift):
		return 3
	case err != nil:
		fmt.Fprintln(errOut, "entra:", err)
		return 1
	}
	return 0
}

func parse(args []string, errOut io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("entra", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.Usage = func() {
		fmt.Fprintln(errOut, "usage: entra [flags] plan|apply|drift")
		flags.PrintDefaults()
	}
	flags.StringVar(&o.graph, "graph", "", "base `URL` of Microsoft Graph, without a version (default: the cloud's)")
	flags.StringVar(&o.authority, "authority", "", "base `URL` of the authority, with or without the tenant (default: the cloud's)")
	flags.StringVar(&o.cloud, "cloud", "public", "public, usgov, usgov-dod or china")
	flags.StringVar(&o.ca, "ca", "", "PEM `file` of certificates to trust besides the system's")
	flags.StringVar(&o.store, "store", "entra.db", "SQLite `file` that keeps what is wanted and what was made")
	flags.StringVar(&o.config, "config", "", "JSON `file` with the configuration (default: what the store holds)")
	flags.StringVar(&o.instance, "instance", "", "tells our objects from those of other installations in the tenant: 1 to 32 of a-z and 0-9 (default \"default\")")
	flags.DurationVar(&o.lag, "lag", 2*time.Minute, "the longest `wait` for Entra's replicas to show what was written a moment ago")
	flags.BoolVar(&o.prune, "prune", false, "remove what a section of the configuration does not hold")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.command = flags.Arg(0)
	if commands[o.command] == nil || flags.NArg() != 1 {
		flags.Usage()
		return o, errors.New("one command is needed")
	}
	return o, nil
}

func do(ctx context.Context, o options, out io.Writer) (err error) {
	document, err := readDocument(o.config)
	if err != nil {
		return err
	}
	h, err := open(ctx, o, document)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	fmt.Fprintf(out, "Tenant %s, as %s\n\n", h.tenant, h.caller)
	return commands[o.command](h, ctx, out)
}

// readDocument reads the configuration; nil: there is none.
func readDocument(path string) (*appaccess.Document, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("-config: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	d, err := appaccess.ParseDocument(f)
	if err != nil {
		return nil, fmt.Errorf("-config: %s: %w", path, err)
	}
	return &d, nil
}
