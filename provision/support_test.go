package provision_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// world is a tenant, a clock and a store.
type world struct {
	t      testing.TB
	clock  *testkit.Clock
	tenant *entratest.Tenant
	caller entratest.Caller
	dir    provision.Directory
	store  *memstore.Store
}

func newWorld(t testing.TB, cfg entratest.Config, rights ...string) *world {
	t.Helper()
	w := &world{t: t, clock: testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), store: memstore.New()}
	if cfg.Now == nil {
		cfg.Now, cfg.Sleep = w.clock.Now, w.clock.Sleep
	}
	var err error
	w.tenant, err = entratest.New(cfg)
	require.NoError(t, err)
	if len(rights) == 0 {
		rights = []string{entratest.ApplicationAdministrator}
	}
	w.caller, err = w.tenant.AddCaller("entragate", rights...)
	require.NoError(t, err)
	w.dir = w.tenant.Directory(w.caller)
	t.Cleanup(func() { assert.Empty(t, w.tenant.Misuses()) })
	return w
}

// config is that of an engine in this world, for one object at a time so that
// runs repeat.
func (w *world) config() provision.Config {
	return provision.Config{
		Directory: w.dir, Store: w.store, Instance: "test",
		Concurrency: 1, Now: w.clock.Now, Sleep: w.clock.Sleep, Jitter: func() float64 { return 0.5 },
	}
}

// engine is a Reconciler that takes a fixed desired state and reconciles all of
// it.
type engine struct{ *provision.Reconciler }

func (e *engine) Apply(ctx context.Context, want memstore.Desired, progress func(appaccess.Progress)) (appaccess.Applied, error) {
	return e.Reconciler.Apply(ctx, want.Objects(), want, progress)
}

func (e *engine) Plan(ctx context.Context, want memstore.Desired) (appaccess.Plan, error) {
	return e.Reconciler.Plan(ctx, want.Objects(), want)
}

func (e *engine) Drift(ctx context.Context, want memstore.Desired) (appaccess.Plan, error) {
	return e.Reconciler.Drift(ctx, want.Objects(), want)
}

func (e *engine) RemoveCredential(ctx context.Context, applicationID string, c appaccess.Credential) error {
	return e.Reconciler.RemoveCredential(ctx, applicationID, c, nil)
}

func (w *world) engine() *engine { return w.engineOf(w.config()) }

func (w *world) engineOf(cfg provision.Config) *engine {
	w.t.Helper()
	e, err := provision.New(cfg)
	require.NoError(w.t, err)
	return &engine{e}
}

// settle lets all replicas catch up, and what was written a moment ago age.
func (w *world) settle() { w.clock.Advance(10 * time.Minute) }

// apply brings the world in step and fails the test if that does not succeed.
func (w *world) apply(want memstore.Desired) appaccess.Applied {
	w.t.Helper()
	applied, err := w.engine().Apply(w.t.Context(), want, nil)
	require.NoError(w.t, err)
	require.Empty(w.t, applied.Failed)
	return applied
}

// writes counts the writes that f sends.
func (w *world) writes(f func()) int {
	before := w.tenant.Counts().Writes
	f()
	return w.tenant.Counts().Writes - before
}

// app finds an application in the tenant's newest state by our ID.
func (w *world) app(kind, id string) *entratest.ApplicationState {
	w.t.Helper()
	s := w.tenant.State()
	i := slices.IndexFunc(s.Applications, func(a entratest.ApplicationState) bool { return a.Key == "entragate-test-"+kind+"-"+id })
	if i < 0 {
		return nil
	}
	return &s.Applications[i]
}

// token asks the tenant for a token and returns the error's text, if any.
func (w *world) token(clientID string, secret appaccess.Secret, resourceAppID string) error {
	_, err := w.tokenRoles(clientID, secret, resourceAppID)
	return err
}

// tokenRoles asks the tenant for a token and returns its roles.
func (w *world) tokenRoles(clientID string, secret appaccess.Secret, resourceAppID string) ([]string, error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {secret.Reveal()},
		"scope": {"api://" + resourceAppID + "/.default"},
	}
	client := &http.Client{Transport: w.tenant.Transport()}
	res, err := client.PostForm(w.tenant.TokenURL(), form)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		AccessToken string `json:"access_token"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(answer.Description)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(answer.AccessToken, ".")[1])
	if err != nil {
		return nil, err
	}
	var claims struct {
		Roles []string `json:"roles"`
	}
	return claims.Roles, json.Unmarshal(payload, &claims)
}

// wantProduct and wantClient are the usual wants.
func wantProduct(id string) appaccess.DesiredProduct {
	name := strings.ToUpper(id[:1]) + id[1:]
	return appaccess.DesiredProduct{
		ID: id, ApplicationName: "APIMProductApplication" + name, Roles: allRole("Product." + name + ".All"), Description: "The " + name + " product",
	}
}

func wantClient(id string, products ...string) appaccess.DesiredApplication {
	return appaccess.DesiredApplication{
		ID: id, ApplicationName: "APIMApplicationStarter", Name: "Client " + id, OwnerID: "owner-" + id, Description: "of the tests", Grants: appaccess.GrantsOfAll(products...),
	}
}

// allRole is the one role of a product without further permissions.
func allRole(value string) []appaccess.Role {
	return []appaccess.Role{{Permission: appaccess.AllPermission, Value: value}}
}

func products(ids ...string) []appaccess.DesiredProduct {
	var ps []appaccess.DesiredProduct
	for _, id := range ids {
		ps = append(ps, wantProduct(id))
	}
	return ps
}

// vault takes secrets.
type vault struct {
	mu      sync.Mutex
	secrets map[string]appaccess.Secret // by key ID
}

func newVault() *vault { return &vault{secrets: map[string]appaccess.Secret{}} }

func (v *vault) deliver(_ context.Context, _ appaccess.Writer, c appaccess.Credential, s appaccess.Secret) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.secrets[c.KeyID] = s
	return nil
}

func (v *vault) request(op string) appaccess.CredentialRequest {
	return appaccess.CredentialRequest{OperationID: op, Kind: appaccess.SecretCredential, Name: "ci", Deliver: v.deliver}
}

// drawnTags are those of our tags that hold random values.
var drawnTags = regexp.MustCompile(`entragate:(installation|nonce|proof):[^,\s]+`)

// stateOf is the tenant's state without what reconcilers draw, so that different
// ways to one end compare equal.
func stateOf(t *entratest.Tenant) string {
	return drawnTags.ReplaceAllString(t.State().String(), "entragate:$1")
}

// forget deletes a record of the store, as a backup from before it would.
func (w *world) forget(kind appaccess.Kind, id string) {
	w.t.Helper()
	_, err := w.store.Update(w.t.Context(), func(x appaccess.Writer) error { return x.Delete(kind, id) })
	require.NoError(w.t, err)
}
