package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
	"github.com/entragate/entragate/tokenclient"
)

// token gets a token as a client application and shows what is in it.
func token(ctx context.Context, p *program) (err error) {
	to := &delivery{send: func(_ context.Context, value string) error { return p.showToken(value) }, close: func() {}}
	if p.toFile != "" || p.toCommand != "" || p.show {
		if to, err = p.delivery(); err != nil {
			return err
		}
	}
	defer to.close()
	config, err := tokenclient.FromEnvironment(func(name string) string {
		given := map[string]string{"AZURE_TENANT_ID": p.tenant, "AZURE_CLIENT_ID": p.clientID, "AZURE_AUTHORITY_HOST": p.authority}
		if given[name] != "" {
			return given[name]
		}
		return p.getenv(name)
	})
	if err != nil {
		return err
	}
	config.Cloud, config.CAFile = p.cloud, p.ca
	client, err := tokenclient.New(config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	got, err := client.Source(p.scope).Token(ctx)
	if err != nil {
		return err
	}
	return to.send(ctx, got.Reveal())
}

// showToken prints header and claims without the signature, so that the output
// cannot be used as a token.
func (p *program) showToken(raw string) error {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return errors.New("the token is no JWT: its content is for its API only")
	}
	shown := map[string]json.RawMessage{}
	for i, name := range []string{"header", "claims"} {
		part, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || !json.Valid(part) {
			return fmt.Errorf("the token's %s cannot be decoded", name)
		}
		shown[name] = part
	}
	return p.printJSON(shown)
}

// explain says why a gate refuses a token, or that it does not.
func explain(ctx context.Context, p *program) error {
	withoutStore := len(p.audience) > 0
	switch {
	case p.tenant == "":
		return p.misused("explain needs -tenant or AZURE_TENANT_ID")
	case withoutStore && p.role == "":
		return p.misused("-audience needs -role")
	case !withoutStore && p.product == "" && p.path == "":
		return p.misused("explain needs -product or -path: what is called")
	}
	raw, err := p.readToken()
	if err != nil {
		return err
	}
	client, err := p.httpClient()
	if err != nil {
		return err
	}
	config := middleware.Config{Tenants: []string{p.tenant}, Cloud: p.cloud, Authority: p.authority, HTTPClient: client}
	if withoutStore {
		if p.product == "" {
			p.product = "product"
		}
		config.Products = []middleware.Product{{ID: p.product, Audiences: p.audience, Role: p.role}}
		return p.explainWith(ctx, config, raw)
	}
	return with(storeOnly, func(ctx context.Context, p *program, s *session) (err error) {
		catalog, err := appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: s.store, UsageInterval: -1})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, catalog.Close()) }()
		config.Catalog = catalog
		return p.explainWith(ctx, config, raw)
	})(ctx, p)
}

func (p *program) explainWith(ctx context.Context, config middleware.Config, raw string) (err error) {
	gate, err := middleware.New(config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gate.Close()) }()
	if err := gate.Ready(ctx); err != nil {
		return err
	}
	path := p.path
	if path == "" {
		path = "/"
	}
	r, err := http.NewRequestWithContext(ctx, p.method, "https://localhost"+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("-path or -method: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+raw)
	var d middleware.Decision
	if p.product != "" {
		d = gate.ExplainProduct(p.product, r)
	} else {
		d = gate.Explain(r)
	}
	if p.json {
		if err := p.printJSON(d); err != nil {
			return err
		}
	} else if d.Allowed {
		fmt.Fprintf(p.out, "The request passes: product %s.\n", d.Product)
	} else {
		fmt.Fprintf(p.out, "The request is refused with %d: %s.\n", d.Status, d.Reason)
		if s := d.Detail.String(); d.Detail.Field != "" {
			fmt.Fprintf(p.out, "  %s\n", s)
		}
		if d.Remedy != "" {
			fmt.Fprintf(p.out, "  %s\n", d.Remedy)
		}
	}
	if !d.Allowed {
		return errChanges
	}
	return nil
}

func (p *program) readToken() (string, error) {
	in := p.in
	if p.tokenFile != "-" {
		f, err := os.Open(p.tokenFile)
		if err != nil {
			return "", fmt.Errorf("-token-file: %w", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		return "", fmt.Errorf("-token-file: %w", err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(raw)), "Bearer "), nil
}

func version(_ context.Context, p *program) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("the binary holds no build information")
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(p.out, "%s %s\n", name, value)
		}
	}
	line("entragate", info.Main.Version)
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" || setting.Key == "vcs.time" {
			line(setting.Key, setting.Value)
		}
	}
	line("go", info.GoVersion)
	return nil
}
