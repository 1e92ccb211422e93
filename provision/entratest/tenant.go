package entratest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/entragate/entragate/internal/loopback"
	"github.com/entragate/entragate/internal/wait"
)

// DefaultTenantID is the ID of a tenant whose Config names none.
const DefaultTenantID = "aaaabbbb-0000-cccc-1111-dddd2222eeee"

// DefaultBaseURL is the base URL of a tenant without Config.BaseURL. It does not
// resolve: it is for use in process.
const DefaultBaseURL = "https://entra.test"

// GraphAppID is the application ID of Microsoft Graph in every tenant.
const GraphAppID = "00000003-0000-0000-c000-000000000000"

// Config describes a tenant. The zero value is a calm tenant: no lag, no
// faults, no policies, real time.
type Config struct {
	// TenantID is a GUID; empty: [DefaultTenantID].
	TenantID string
	// Name is the organisation's display name; empty: "Contoso".
	Name string
	// BaseURL is scheme and host of the authority, without a trailing slash; empty:
	// [DefaultBaseURL], which [NewServer] replaces by its own address. A name such
	// as https://login.microsoftonline.com serves clients that have Microsoft's
	// hosts built in and are led here by a resolver or a proxy.
	BaseURL string
	// STSURL is what version 1 issuers begin with; empty: BaseURL + "/sts".
	STSURL string
	// GraphURL is scheme and host of Graph; empty: BaseURL.
	GraphURL string
	// Addr is the loopback address to serve on; empty: 127.0.0.1 and a free port.
	Addr string

	// Seed drives every random choice.
	Seed uint64
	// Now is the clock; nil: time.Now.
	Now func() time.Time

	// Lag is how long a change takes to reach a replica other than the first;
	// zero: none.
	Lag Lag
	// Replicas is how many there are; 0: 3.
	Replicas int

	// Latency is waited for before each HTTP request is answered (a $batch is
	// one), by means of Sleep; nil Sleep: a timer.
	Latency time.Duration
	Sleep   func(ctx context.Context, d time.Duration) error

	// Policy is what the tenant forbids.
	Policy Policy

	// OnRequest, if set, decides a fault for each request: see [Tenant.OnRequest].
	OnRequest func(Request) Fault
	// FaultRate is the share of Graph requests, 0 to 1, that fail at random in
	// one of FaultKinds; empty FaultKinds: all of them.
	FaultRate  float64
	FaultKinds []FaultKind

	// OnMisuse, if set, is called with each misuse at once: a request
	// that no correct client sends. It must not call the Tenant.
	OnMisuse func(string)
}

// Lag is a range of durations, drawn from evenly.
type Lag struct {
	Min, Max time.Duration
}

// Tenant is a local Entra tenant. It is an http.Handler. All methods are safe
// for concurrent use.
type Tenant struct {
	cfg  Config
	base string // guarded by mu

	mu      sync.Mutex
	rng     *rand.Rand
	store   store
	keys    keyRing
	trust   map[string][]any // federated issuer: public keys
	users   []*user
	codes   map[string]*authCode
	bearers map[string]*bearerToken // checked access tokens for Graph
	issued  map[string][]string     // by object ID: the uti of tokens for Graph
	revoked map[string]bool         // by uti
	record  record
	faults  faults
}

// New makes a tenant that holds Microsoft Graph's service principal and
// nothing else. Its errors name the field of Config that is wrong.
func New(cfg Config) (*Tenant, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	t := &Tenant{
		cfg:   cfg,
		base:  defaultTo(cfg.BaseURL, DefaultBaseURL),
		rng:   rand.New(rand.NewPCG(cfg.Seed, 0x656e747261)),
		codes: map[string]*authCode{},
		trust: map[string][]any{},

		issued: map[string][]string{}, revoked: map[string]bool{},
	}
	t.store.init(cfg.Replicas)
	t.record.misuse = cfg.OnMisuse
	t.faults.onRequest = cfg.OnRequest
	t.keys.tenant = cfg.TenantID
	t.seedGraph()
	return t, nil
}

func (c *Config) complete() error {
	c.TenantID = strings.ToLower(defaultTo(c.TenantID, DefaultTenantID))
	if _, err := uuid.Parse(c.TenantID); err != nil || len(c.TenantID) != 36 {
		return fmt.Errorf("entratest: Config.TenantID: %q is not a GUID", c.TenantID)
	}
	c.Name = defaultTo(c.Name, "Contoso")
	for field, base := range map[string]string{"BaseURL": c.BaseURL, "STSURL": c.STSURL, "GraphURL": c.GraphURL} {
		if base == "" {
			continue
		}
		if err := checkBase(base); err != nil {
			return fmt.Errorf("entratest: Config.%s: %w", field, err)
		}
	}
	if c.Lag.Min < 0 || c.Lag.Max < c.Lag.Min {
		return fmt.Errorf("entratest: Config.Lag: must be 0 <= Min <= Max, got %v to %v", c.Lag.Min, c.Lag.Max)
	}
	if c.FaultRate < 0 || c.FaultRate > 1 {
		return fmt.Errorf("entratest: Config.FaultRate: must be 0 to 1, got %v", c.FaultRate)
	}
	for _, k := range c.FaultKinds {
		if k <= NoFault || k > lastFault {
			return fmt.Errorf("entratest: Config.FaultKinds: unknown kind %d", int(k))
		}
	}
	if c.Replicas == 0 {
		c.Replicas = 3
	}
	if c.Replicas < 1 || c.Replicas > 16 {
		return fmt.Errorf("entratest: Config.Replicas: must be 1 to 16, got %d", c.Replicas)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Sleep == nil {
		c.Sleep = wait.For
	}
	return nil
}

func defaultTo(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func checkBase(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%q is not an absolute http or https URL", raw)
	}
	if u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return errors.New("must be scheme and host only, without a trailing slash")
	}
	return nil
}

// SetBaseURL sets the address at which the tenant is served. Tokens
// issued before name the old issuer.
func (t *Tenant) SetBaseURL(base string) error {
	if err := checkBase(base); err != nil {
		return fmt.Errorf("entratest: base URL: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.base = base
	return nil
}

// BaseURL is scheme and host of the authority: what MSAL and azidentity append the
// tenant to. [Tenant.GraphURL] is the same unless Config says otherwise.
func (t *Tenant) BaseURL() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.base
}

// graphBase, sts and login are the base URLs and issuers. The caller holds mu.
func (t *Tenant) graphBase() string { return defaultTo(t.cfg.GraphURL, t.base) }

func (t *Tenant) sts() string { return defaultTo(t.cfg.STSURL, t.base+"/sts") }

func (t *Tenant) issuerV1() string { return t.sts() + "/" + t.cfg.TenantID + "/" }

func (t *Tenant) issuer() string { return t.base + "/" + t.cfg.TenantID + "/v2.0" }

// hosts are the names that the tenant answers to.
func (t *Tenant) hosts() []string {
	var all []string
	for _, base := range []string{t.base, t.sts(), t.graphBase()} {
		if u, err := url.Parse(base); err == nil {
			all = append(all, strings.ToLower(u.Host))
		}
	}
	return all
}

// answersTo reports whether a Host header names this tenant. Any other name is
// refused: a page in the developer's browser could otherwise reach the tenant
// under its own name, by DNS rebinding, and sign in as anyone.
func (t *Tenant) answersTo(host string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	host = strings.ToLower(host)
	name, port, err := net.SplitHostPort(host)
	return slices.ContainsFunc(t.hosts(), func(known string) bool {
		knownName, knownPort, knownErr := net.SplitHostPort(known)
		return host == known || err == nil && knownErr == nil && port == knownPort && loopback.IsName(name) && loopback.IsName(knownName)
	})
}

// ID is the tenant ID.
func (t *Tenant) ID() string { return t.cfg.TenantID }

// STS is what the version 1 issuer begins with: STS()/{tenant}/.
func (t *Tenant) STS() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sts()
}

// GraphURL is scheme and host of Graph: what /v1.0 is appended to.
func (t *Tenant) GraphURL() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.graphBase()
}

// Authority is {base}/{tenant}.
func (t *Tenant) Authority() string { return t.BaseURL() + "/" + t.ID() }

// Issuer is the issuer of version 2 tokens.
func (t *Tenant) Issuer() string { return t.Authority() + "/v2.0" }

// IssuerV1 is the issuer of version 1 tokens.
func (t *Tenant) IssuerV1() string { return t.STS() + "/" + t.ID() + "/" }

// TokenURL is the version 2 token endpoint.
func (t *Tenant) TokenURL() string { return t.Authority() + "/oauth2/v2.0/token" }

// AuthorizeURL is the version 2 authorization endpoint.
func (t *Tenant) AuthorizeURL() string { return t.Authority() + "/oauth2/v2.0/authorize" }

// KeysURL is where the signing keys are published.
func (t *Tenant) KeysURL() string { return t.Authority() + "/discovery/v2.0/keys" }

// GraphScope is the scope of Graph: GraphURL()/.default.
func (t *Tenant) GraphScope() string { return t.GraphURL() + "/.default" }

func (t *Tenant) now() time.Time { return t.cfg.Now().UTC() }

// newID draws a GUID. The caller holds mu.
func (t *Tenant) newID() string {
	var b [16]byte
	for i := range b {
		b[i] = byte(t.rng.Uint32())
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return uuid.UUID(b).String()
}

// newText draws n characters of the alphabet of Entra's secrets. The caller
// holds mu.
func (t *Tenant) newText(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[t.rng.IntN(len(alphabet))]
	}
	return string(b)
}

// ServeHTTP answers one request. A fault that cuts the connection panics with
// http.ErrAbortHandler, as net/http's server expects.
func (t *Tenant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if t.cfg.Latency > 0 {
		if err := t.cfg.Sleep(r.Context(), t.cfg.Latency); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	if !t.answersTo(r.Host) {
		http.Error(w, "entratest: this tenant does not answer to the host in the request", http.StatusMisdirectedRequest)
		return
	}
	path := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	if path[0] == "v1.0" || path[0] == "beta" {
		t.serveGraph(w, r, path)
		return
	}
	t.serveLogin(w, r, path)
}
