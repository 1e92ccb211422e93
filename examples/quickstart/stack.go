package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/openapi"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/internal/loopback"
	"github.com/entragate/entragate/middleware"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
	"github.com/entragate/entragate/tokenclient"
)

// stack is everything that runs: the tenant, the management plane over an
// embedded store, and the gateway, each as a service of yours would have it.
type stack struct {
	ca       *loopback.CA
	client   *http.Client // trusts ca
	tenant   *entratest.Tenant
	identity entratest.Caller // sends the engine's requests
	keysDown atomic.Bool

	dir     string
	service *appaccess.Service
	catalog *appaccess.Catalog
	gate    *middleware.Gate
	gateway string

	closers []func() error
}

// open starts the stack. After an error it closes what it had opened.
func open(ctx context.Context, addr string) (h *stack, err error) {
	h = &stack{}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if h.ca, err = loopback.NewCA(); err != nil {
		return h, err
	}
	transport := &http.Transport{TLSClientConfig: h.ca.ClientTLS(), MaxIdleConnsPerHost: 8}
	h.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	h.later(func() error { transport.CloseIdleConnections(); return nil })
	for _, part := range []func(context.Context, string) error{h.openTenant, h.openManagement, h.openGateway} {
		if err = part(ctx, addr); err != nil {
			return h, err
		}
	}
	return h, nil
}

func (h *stack) later(f func() error) { h.closers = append(h.closers, f) }

// close ends everything in the reverse order of its opening.
func (h *stack) close() error {
	var errs []error
	for i := len(h.closers) - 1; i >= 0; i-- {
		errs = append(errs, h.closers[i]())
	}
	h.closers = nil
	return errors.Join(errs...)
}

// openTenant serves a local Entra tenant with a managed identity that has no rights
// yet.
func (h *stack) openTenant(_ context.Context, _ string) (err error) {
	if h.tenant, err = entratest.New(entratest.Config{Seed: randomSeed()}); err != nil {
		return err
	}
	server, err := loopback.Serve(h.ca, "127.0.0.1:0", http.HandlerFunc(h.serveTenant))
	if err != nil {
		return err
	}
	h.later(server.Close)
	if err := h.tenant.SetBaseURL(server.URL); err != nil {
		return err
	}
	h.identity, err = h.tenant.AddManagedIdentity("apim-contoso")
	return err
}

// serveTenant answers requests for the published keys with 503 while keysDown is set.
func (h *stack) serveTenant(w http.ResponseWriter, r *http.Request) {
	if h.keysDown.Load() && strings.HasSuffix(r.URL.Path, "/discovery/v2.0/keys") {
		http.Error(w, "the keys are down, as was asked for", http.StatusServiceUnavailable)
		return
	}
	h.tenant.ServeHTTP(w, r)
}

// openManagement opens the store and the Service, whose Provisioner works on
// the tenant as the managed identity.
func (h *stack) openManagement(ctx context.Context, _ string) (err error) {
	if h.dir, err = os.MkdirTemp("", "entragate-quickstart-"); err != nil {
		return err
	}
	h.later(func() error { return os.RemoveAll(h.dir) })
	store, err := sqlite.Open(ctx, filepath.Join(h.dir, "quickstart.db"))
	if err != nil {
		return err
	}
	h.later(store.Close)
	engine, err := provision.New(provision.Config{
		Directory: h.tenant.Directory(h.identity),
		Store:     store,
		Instance:  "quickstart",
		Probe:     h.probe,
	})
	if err != nil {
		return err
	}
	h.service, err = appaccess.NewService(ctx, appaccess.ServiceConfig{
		Store:             store,
		Provisioner:       engine,
		TenantID:          h.tenant.ID(),
		Authority:         h.tenant.BaseURL(),
		ReadOpenAPI:       openapi.Import,
		OneTimeSecretKeys: []appaccess.OneTimeSecretKey{{ID: "k1", Key: randomKey()}},
	})
	if err != nil {
		return err
	}
	h.catalog, err = appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: store})
	if err != nil {
		return err
	}
	h.later(h.catalog.Close)
	return nil
}

// openGateway puts the gate, in managed mode, in front of the Echo API. The
// server is first, because challenges and metadata name its address.
func (h *stack) openGateway(ctx context.Context, addr string) error {
	var guarded http.Handler
	opened := make(chan struct{})
	server, err := loopback.Serve(h.ca, addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-opened:
			guarded.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}))
	if err != nil {
		return err
	}
	h.gateway = server.URL
	h.gate, err = middleware.New(middleware.Config{
		Tenants:    []string{h.tenant.ID()},
		Authority:  h.tenant.BaseURL(),
		STS:        h.tenant.STS(),
		Catalog:    h.catalog,
		HTTPClient: h.client,
		Resource:   h.gateway,
		// Entra publishes a key long before it signs with it. The local tenant
		// rotates on demand, so an unknown key is looked for sooner.
		KeyInterval: time.Second,
	})
	if err != nil {
		return errors.Join(err, server.Close())
	}
	h.later(h.gate.Close)
	h.later(server.Close)
	api, metadata := h.gate.Wrap(http.HandlerFunc(echo)), h.gate.Metadata()
	guarded = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == h.gate.MetadataPath() {
			metadata.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
	close(opened)
	return h.gate.Ready(ctx)
}

// token gets a token as a caller's program does.
func (h *stack) token(ctx context.Context, clientID string, value appaccess.Secret, scope string) (string, error) {
	c, err := tokenclient.New(tokenclient.Config{
		TenantID:   h.tenant.ID(),
		Authority:  h.tenant.BaseURL(),
		ClientID:   clientID,
		Credential: tokenclient.Secret(value.Reveal()),
		HTTPClient: h.client,
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	t, err := c.Source(scope).Token(ctx)
	if err != nil {
		return "", err
	}
	return t.Reveal(), nil
}

// probe gets a token with a new secret before the owner receives the secret. Any client
// of a tenant gets a token for Graph, one without roles.
func (h *stack) probe(ctx context.Context, appID string, value provision.Secret) error {
	_, err := h.token(ctx, appID, value, h.tenant.GraphScope())
	return err
}

func randomSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	var n uint64
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

func randomKey() appaccess.Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return appaccess.NewSecret(string(b[:]))
}

func randomText() string { return fmt.Sprintf("ctl_%s", rand.Text()) }
