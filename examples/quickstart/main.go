// Quickstart plays the whole of "Securely access products and APIs with
// Microsoft Entra applications" on this machine: a local Entra tenant, the
// management plane on an embedded store, a gateway with the gate in front of the
// Echo API, over real TLS and with real signed tokens. It needs no network.
//
//	go run ./examples/quickstart
//
// prints each step and what happened; an outcome other than the one promised
// ends it with status 1.
//
//	go run ./examples/quickstart -serve -env quickstart.json
//
// keeps everything running until SIGINT or SIGTERM, and writes what other
// programs need to call it: Microsoft's own clients, curl, yours.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/entragate/entragate/internal/loopback"
)

func main() {
	var o options
	flag.BoolVar(&o.serve, "serve", false, "keep running after the story, until SIGINT or SIGTERM")
	flag.StringVar(&o.env, "env", "", "write addresses and credentials as a JSON object to this `file` (with -serve)")
	flag.StringVar(&o.addr, "addr", "127.0.0.1:0", "loopback `address` of the gateway")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

type options struct {
	serve bool
	env   string
	addr  string
	// endOfAccess is the longest that it may take; 0: 1 second.
	endOfAccess time.Duration
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	if o.env != "" {
		if !o.serve {
			return fmt.Errorf("-env: needs -serve, since what it names ends with this process")
		}
		removeEnv(o.env)
	}
	began := time.Now()
	h, err := open(ctx, o.addr)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := h.close(); err == nil {
			err = cerr
		}
	}()
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	s := &story{stack: h, say: say, endOfAccess: cmp.Or(o.endOfAccess, time.Second)}
	if err := s.tell(ctx); err != nil {
		return err
	}
	say("\nEverything went as the description says, in %.1f s.", time.Since(began).Seconds())
	if !o.serve {
		say("Run again with -serve to keep it up, and -env FILE to call it from other programs.")
		return nil
	}
	return serve(ctx, h, s.sample, o, say)
}

// serve runs the stack until the context ends.
func serve(ctx context.Context, h *stack, sample sample, o options, say func(string, ...any)) error {
	admin, err := h.tenant.AddCaller("platform-admin", "Application Administrator")
	if err != nil {
		return err
	}
	c := &control{stack: h, sample: sample, key: randomText()}
	server, err := loopback.Serve(h.ca, "127.0.0.1:0", c.handler())
	if err != nil {
		return err
	}
	h.later(server.Close)
	portal, err := h.openPortal(ctx, say)
	if err != nil {
		return err
	}
	say("Gateway  %s%s", h.gateway, resource)
	if o.env != "" {
		defer removeEnv(o.env)
		err := writeEnv(o.env, h.ca.PEM(), env{
			TenantID:  h.tenant.ID(),
			Authority: h.tenant.Authority(),
			Graph:     h.tenant.BaseURL(),
			Issuer:    h.tenant.Issuer(),
			JWKSURI:   h.tenant.KeysURL(),
			Gateway:   h.gateway,
			ClientID:  sample.clientID, ClientSecret: sample.secret.Reveal(), Scope: sample.scope,
			SubscriptionKey: sample.key.Reveal(),
			OtherClientID:   sample.otherClientID, OtherClientSecret: sample.otherSecret.Reveal(), OtherScope: sample.otherScope,
			AdminClientID: admin.AppID, AdminClientSecret: admin.Secret.Reveal(),
			Portal:  portal,
			Control: server.URL, ControlKey: c.key,
		})
		if err != nil {
			return err
		}
		say("Credentials and addresses for other programs: %s", o.env)
	}
	say("Running until SIGINT or SIGTERM.")
	return h.service.Run(ctx, 0) // until the context ends
}
