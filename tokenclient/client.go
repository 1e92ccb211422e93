package tokenclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/entragate/entragate/internal/cloud"
	"github.com/entragate/entragate/internal/wait"
)

const (
	// DefaultTimeout is the Config.Timeout of a Config without one.
	DefaultTimeout = 10 * time.Second
	// DefaultMaxScopes is the Config.MaxScopes of a Config without one.
	DefaultMaxScopes = 64
)

// ErrClosed is wrapped by errors of [Source.Token] after [Client.Close].
var ErrClosed = errors.New("tokenclient: client is closed")

// ErrScope is wrapped by errors of [Source.Token] for a scope that was refused
// without asking the server: malformed, or one more than Config.MaxScopes.
var ErrScope = errors.New("tokenclient: scope refused")

// Config says who asks for tokens and where. ClientID, Credential and one of
// TenantID and TokenURL are required; every other field's zero value is a safe
// default. It is read by [New] and not kept.
type Config struct {
	// TenantID is the Entra tenant: its GUID or a verified domain. "common",
	// "organizations" and "consumers" have no client credentials and are refused.
	TenantID string
	// ClientID is the client application. For Entra that is its application
	// (client) ID, a GUID: neither its name nor its object ID. With TokenURL it
	// is whatever that server calls it.
	ClientID string
	// Credential proves that it is that client. It is asked again for each
	// fetch, so a file or function may rotate it at any time.
	Credential Credential
	// Fallback, if set, is tried once in the same fetch when Credential is
	// refused as wrong, unknown or expired, and is then tried first until it is
	// refused in turn. With the new secret in one and the old in the other a
	// rotation needs no coordination.
	Fallback Credential

	// Cloud is "public" (the default), "usgov", "usgov-dod" or "china".
	Cloud string
	// Authority, if not empty, is the login host, such as
	// https://login.contoso.com, with or without the tenant as its path; https,
	// or http for loopback hosts. A host of one of the clouds is the same as its
	// name in Cloud; any other excludes Cloud. It takes AZURE_AUTHORITY_HOST as
	// it stands.
	Authority string
	// TokenURL is the token endpoint outright, for any OAuth 2.0 server. It
	// excludes TenantID, Cloud and Authority.
	TokenURL string
	// SecretInHeader sends client ID and secret by HTTP Basic instead of in the
	// body (RFC 6749 section 2.3.1). Entra takes both.
	SecretInHeader bool
	// RS256 signs certificate assertions with RS256 instead of PS256, for
	// servers that know no PSS.
	RS256 bool
	// Params are sent along with each request, such as the "audience" that some
	// servers want. The parameters of the grant itself cannot be replaced.
	Params url.Values

	// HTTPClient makes the requests to the token endpoint; nil means one of our
	// own. Its CheckRedirect and Jar are not used: a token endpoint that
	// redirects is an error, because the credential would go along. After a
	// request that timed out its idle connections are closed, since an HTTP/2
	// connection that died unnoticed, as in a suspend, would time out each time.
	HTTPClient *http.Client
	// Timeout bounds one request to the token endpoint together with reading
	// the credential, by the machine's clock also where Now is another. 0 means
	// [DefaultTimeout].
	Timeout time.Duration
	// MaxScopes bounds how many scopes [Client.Source] keeps. 0 means
	// [DefaultMaxScopes].
	MaxScopes int

	// Now is the clock, nil for time.Now. See the package's part on clocks.
	Now func() time.Time
	// Sleep waits for d or for the context, and then returns its error. nil
	// means a timer.
	Sleep func(ctx context.Context, d time.Duration) error

	// Logger gets one record for each request to the token endpoint: Info when
	// it gave a token, Warn when it did not. Never a secret or token. nil means
	// none. See the package's part on telemetry.
	Logger *slog.Logger
	// MeterProvider gets the measurements that the package's part on telemetry
	// lists. nil means none, at no cost.
	MeterProvider metric.MeterProvider
	// OnExpiring is called after a fetch whose credential ends within 30 days,
	// at most once a day for each credential, as far as the end is known: see
	// [Credential.ExpiresAt]. It runs on the fetch's goroutine and must not block.
	OnExpiring func(Expiring)
}

// Expiring is what [Config.OnExpiring] is told.
type Expiring struct {
	// ClientID is the client application.
	ClientID string
	// Credential says which credential, never its value: "secret from file
	// /run/secrets/api", "certificate CN=caller".
	Credential string
	// At is when it ends.
	At time.Time
}

// Client gets the tokens of one client application. Its scopes share one HTTP
// client, one credential and one back-off. Safe for concurrent use.
type Client struct {
	clientID    string
	tokenURL    string
	entra       bool
	basic       bool
	rs256       bool
	params      url.Values
	credentials []*credentialState
	preferred   atomic.Int32 // index of the credential to try first

	http      *http.Client
	ownHTTP   bool        // nobody else uses http
	stalled   atomic.Bool // the last request timed out: its connection may be dead
	timeout   time.Duration
	maxScopes int
	time      func() time.Time
	clock     func() instant
	realTime  bool // clock reads the machine's clocks
	sleep     func(context.Context, time.Duration) error
	log       *slog.Logger
	meter     *meter // nil: off
	expiring  func(Expiring)

	life   context.Context // ends with Close: the owner of every fetch
	end    context.CancelFunc
	active sync.WaitGroup

	mu      sync.Mutex // never held across the network or a callback
	closed  bool
	sources map[string]*Source
	pause   atomic.Pointer[pause] // written under mu
}

// New checks cfg completely and reads file and environment credentials once, so
// that no later call meets a configuration error. It sends nothing. The error
// names the field.
func New(cfg Config) (*Client, error) {
	c, err := configure(cfg)
	if err != nil {
		return nil, fmt.Errorf("tokenclient: %w", err)
	}
	c.life, c.end = context.WithCancel(context.Background())
	if cfg.MeterProvider != nil {
		if c.meter, err = newMeter(cfg.MeterProvider, c); err != nil {
			c.end()
			return nil, fmt.Errorf("tokenclient: MeterProvider: %w", err)
		}
	}
	return c, nil
}

// Source is the token source of one scope: for Entra api://{application
// ID}/.default, elsewhere what the server knows, and empty if it wants none.
// The same scope always gives the same Source. It never fails: a scope that
// cannot be used, or one more than Config.MaxScopes, gives a Source whose every
// call fails with an [Error] that wraps [ErrScope]. Scopes belong to the
// program, never to its input.
func (c *Client) Source(scope string) *Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.sources[scope]; ok {
		return s
	}
	s := &Source{client: c, scope: scope}
	if err := c.checkScope(scope); err != nil {
		s.refused = &Error{Scope: scope, Err: fmt.Errorf("%w: %w", ErrScope, err)}
		return s
	}
	c.sources[scope] = s
	return s
}

// Close stops fetches that are under way and waits for them. Tokens that are
// still fresh go on being handed out; what would need a fetch then fails with
// [ErrClosed]. It always returns nil and may be called more than once.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.active.Wait()
	if c.ownHTTP {
		c.http.CloseIdleConnections()
	}
	c.meter.close()
	return nil
}

func configure(cfg Config) (*Client, error) {
	c := &Client{
		clientID: cfg.ClientID, basic: cfg.SecretInHeader, rs256: cfg.RS256,
		timeout: cfg.Timeout, maxScopes: cfg.MaxScopes, sleep: cfg.Sleep,
		log: cfg.Logger, expiring: cfg.OnExpiring, sources: map[string]*Source{},
	}
	if err := checkPrintable("ClientID", cfg.ClientID); err != nil {
		return nil, err
	}
	var err error
	if c.tokenURL, c.entra, err = endpoint(cfg); err != nil {
		return nil, err
	}
	if c.entra && !cloud.IsGUID(cfg.ClientID) { // not shown: it may be the secret, in the wrong field
		return nil, errors.New("ClientID: must be the application (client) ID that Entra shows, a GUID; a name will not do")
	}
	if c.params, err = checkParams(cfg.Params); err != nil {
		return nil, err
	}
	c.setClock(cfg.Now)
	if err := c.setLimits(); err != nil {
		return nil, err
	}
	c.http, c.ownHTTP = endpointClient(cfg.HTTPClient)
	if err := c.addCredentials(cfg); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Client) setClock(now func() time.Time) {
	c.time = now
	c.clock = func() instant { return at(now()) }
	if now == nil {
		c.time, c.realTime = time.Now, true
		c.clock = func() instant { return at(time.Now()) }
	}
	if c.sleep == nil {
		c.sleep = wait.For
	}
}

func (c *Client) setLimits() error {
	if c.timeout < 0 {
		return inField("Timeout", fmt.Errorf("%v is negative", c.timeout))
	}
	if c.maxScopes < 0 {
		return inField("MaxScopes", fmt.Errorf("%d is negative", c.maxScopes))
	}
	if c.timeout == 0 {
		c.timeout = DefaultTimeout
	}
	if c.maxScopes == 0 {
		c.maxScopes = DefaultMaxScopes
	}
	return nil
}

func (c *Client) addCredentials(cfg Config) error {
	if cfg.Credential.method == nil {
		return inField("Credential", errors.New("required: see Secret, SecretFile, CertificateFile, AssertionFile and the like"))
	}
	if err := cfg.Credential.check(c.time()); err != nil {
		return inField("Credential", err)
	}
	c.credentials = append(c.credentials, &credentialState{Credential: cfg.Credential})
	if cfg.Fallback.method == nil {
		return nil
	}
	if err := cfg.Fallback.check(c.time()); err != nil {
		return inField("Fallback", err)
	}
	c.credentials = append(c.credentials, &credentialState{Credential: cfg.Fallback})
	return nil
}

var tenantForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$`)

// endpoint finds the token endpoint and whether it is Entra's.
func endpoint(cfg Config) (tokenURL string, entra bool, err error) {
	if cfg.TokenURL != "" {
		if cfg.TenantID != "" || cfg.Cloud != "" || cfg.Authority != "" {
			return "", false, errors.New("TokenURL: excludes TenantID, Cloud and Authority")
		}
		bare, _, _ := strings.Cut(cfg.TokenURL, "?") // RFC 6749 section 3.2 allows a query
		if strings.Contains(cfg.TokenURL, "#") {
			return "", false, errors.New("TokenURL: must not carry a fragment")
		}
		return cfg.TokenURL, false, cloud.CheckURL("TokenURL", bare)
	}
	switch strings.ToLower(cfg.TenantID) {
	case "":
		return "", false, errors.New("TenantID: required, or TokenURL")
	case "common", "organizations", "consumers":
		return "", false, fmt.Errorf("TenantID: %q has no client credentials: use the tenant's GUID or domain", cfg.TenantID)
	}
	if !tenantForm.MatchString(cfg.TenantID) {
		return "", false, fmt.Errorf("TenantID: %q is neither a GUID nor a domain name", cfg.TenantID)
	}
	hosts, err := cloud.Resolve(cfg.Cloud, cfg.Authority, cfg.TenantID)
	if err != nil {
		return "", false, err
	}
	return hosts.TokenURL(cfg.TenantID), true, nil
}

// grantParams are set by us alone.
var grantParams = []string{
	"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "scope",
}

func checkParams(p url.Values) (url.Values, error) {
	out := url.Values{}
	for name, values := range maps.All(p) {
		if slices.Contains(grantParams, name) {
			return nil, inField("Params", fmt.Errorf("%q belongs to the grant and cannot be set", name))
		}
		out[name] = slices.Clone(values)
	}
	return out, nil
}

// inField is err with the name of the Config's field that it concerns.
func inField(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }

func checkPrintable(field, s string) error {
	if s == "" {
		return fmt.Errorf("%s: required", field)
	}
	for _, r := range s {
		if r <= ' ' || r > '~' {
			return fmt.Errorf("%s: must be printable ASCII without spaces", field)
		}
	}
	return nil
}

// checkScope applies RFC 6749 section 3.3 and Entra's own rule. c.mu is held.
func (c *Client) checkScope(scope string) error {
	if c.entra && (!strings.HasSuffix(scope, "/.default") || strings.Contains(scope, " ")) {
		return fmt.Errorf("%q: Entra's client credentials take one resource with /.default, as in api://{application ID}/.default", scope)
	}
	for token := range strings.SplitSeq(scope, " ") {
		if scope != "" && checkPrintable("scope", token) != nil || strings.ContainsAny(token, `"\`) {
			return fmt.Errorf("%q: must be printable ASCII tokens, one space apart, without quotes and backslashes", scope)
		}
	}
	if len(c.sources) >= c.maxScopes {
		return fmt.Errorf("the client has %d scopes already: see Config.MaxScopes", len(c.sources))
	}
	return nil
}

// endpointClient is base without its jar and without redirects, or one with
// connections of its own.
func endpointClient(base *http.Client) (client *http.Client, isOwn bool) {
	own := http.Client{}
	if base != nil {
		own = *base
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok { // a program may have replaced it
		t = t.Clone()
		t.MaxIdleConnsPerHost = 4
		t.MaxResponseHeaderBytes = 64 << 10
		own.Transport, isOwn = t, true
	}
	own.Jar = nil
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own, isOwn
}
