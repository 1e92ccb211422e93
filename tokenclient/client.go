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
	"go.opentelemetry.io/otel/trace"

	"github.com/entragate/entragate/internal/cloud"
	"github.com/entragate/entragate/internal/wait"
)

const (
	// DefaultTimeout is the Config.Timeout of a Config without one.
	DefaultTimeout = 10 * time.Second
	// DefaultMaxScopes is the Config.MaxScopes of a Config without one.
	DefaultMaxScopes = 64
)

// ErrClosed is the cause of errors of [Source.Token] after [Client.Close].
var ErrClosed = errors.New("tokenclient: client is closed")

// ErrScope is the cause of errors of [Source.Token] for a scope that the client refuses
// without a request: it is malformed, or there are Config.MaxScopes others already.
var ErrScope = errors.New("tokenclient: scope refused")

// Config configures a [Client]. ClientID, Credential, and either TenantID or TokenURL
// are required. The zero value of every other field is a safe default. Changes after
// [New] have no effect.
type Config struct {
	// TenantID is the Entra tenant: its GUID or a verified domain. "common",
	// "organizations" and "consumers" are refused: they do not support the
	// client-credentials grant.
	TenantID string
	// ClientID identifies the client application. For Entra it is the application
	// (client) ID, a GUID, and not the name or the object ID. With TokenURL it is the
	// client_id at that server.
	ClientID string
	// Credential authenticates the client. It is read again for each fetch, so a file
	// or function may rotate it at any time.
	Credential Credential
	// Fallback, if set, is a second credential. A fetch tries it once if Credential
	// cannot be read or is refused as wrong, unknown or expired. After a success it is
	// tried first, until it fails in turn. With the new secret in one field and the old
	// secret in the other, a rotation needs no coordination.
	Fallback Credential

	// Cloud is "public" (the default), "usgov", "usgov-dod", "china", "bleu" or "delos".
	Cloud string
	// Authority, if not empty, is the login host, such as https://login.contoso.com,
	// with or without the tenant as its path. It must be https, or http for a loopback
	// host. A login host of a known cloud is the same as naming that Cloud; with any
	// other host Cloud must be empty. The format is the format of AZURE_AUTHORITY_HOST.
	Authority string
	// TokenURL is the full URL of the token endpoint of any OAuth 2.0 server. It
	// cannot be combined with TenantID, Cloud and Authority.
	TokenURL string
	// SecretInHeader sends client ID and secret by HTTP Basic instead of in the
	// body (RFC 6749 section 2.3.1). Entra accepts both.
	SecretInHeader bool
	// RS256 signs certificate assertions with RS256 instead of PS256, for servers
	// that do not support PSS.
	RS256 bool
	// Params are added to each token request, such as the "audience" that some servers
	// require. They cannot replace the parameters of the grant itself.
	Params url.Values

	// HTTPClient makes the requests to the token endpoint. If nil, the Client makes
	// its own. CheckRedirect and Jar of HTTPClient are not used: a redirect of the
	// token endpoint is an error, because it would send the credential to another
	// server. Each connection is used for one request only. So bytes that a server
	// sends after its answer are never read, and a connection that broke during a
	// suspend affects one request at most.
	//
	// [Source.Client], and [NewTransport] without a Base, use its transport too, so
	// that a proxy or a private CA is configured in one place. If HTTPClient, CAFile
	// and ProxyURL are not set, API calls use http.DefaultTransport.
	HTTPClient *http.Client
	// CAFile is a PEM file with certificate authorities that are trusted in addition to
	// the system's, for token requests and API calls. New reads it once.
	CAFile string
	// ProxyURL is an http, https or socks5 proxy for token requests and API calls. If
	// empty, HTTPS_PROXY and NO_PROXY apply. CAFile and ProxyURL cannot be combined
	// with HTTPClient.
	ProxyURL string
	// Timeout is the longest time of one request to the token endpoint, including
	// reading the credential, and of reading the credential in [New]. It is measured
	// with the real clock, even if Now is set. A read of a credential that hangs is
	// abandoned; after 8 abandoned reads the credential is not read again until one of
	// them returns. 0 means [DefaultTimeout].
	Timeout time.Duration
	// MaxScopes is how many scopes [Client.Source] keeps. 0 means [DefaultMaxScopes].
	MaxScopes int

	// Now is the clock; nil means time.Now. See "The clock" in the package
	// documentation.
	Now func() time.Time
	// Sleep waits for d, or until the context ends, and then returns the context's
	// error. nil means a timer.
	Sleep func(ctx context.Context, d time.Duration) error

	// Logger receives one record for each request to the token endpoint: Info with a
	// token, Warn without one. No record holds a secret or token. nil means no log. See
	// "Telemetry" in the package documentation.
	Logger *slog.Logger
	// MeterProvider receives the metrics that "Telemetry" in the package documentation
	// lists. nil means no metrics.
	MeterProvider metric.MeterProvider
	// TracerProvider receives a span for each request to the token endpoint. nil means
	// no spans.
	TracerProvider trace.TracerProvider
	// OnExpiring is called after a successful fetch if the credential expires within 30
	// days, at most once a day for each credential. The expiry must be known: see
	// [Credential.ExpiresAt]. OnExpiring runs on the goroutine of the fetch and must not
	// block.
	OnExpiring func(Expiring)
}

// Expiring is the argument of [Config.OnExpiring]: a credential that expires soon.
type Expiring struct {
	// ClientID is the client application.
	ClientID string
	// Credential describes the credential, without its value: "secret from file
	// /run/secrets/api", "certificate CN=caller".
	Credential string
	// At is the time at which the credential expires.
	At time.Time
}

// Client gets the tokens of one client application. Its scopes share one HTTP client,
// the credentials and one back-off. It is safe for concurrent use.
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
	base      http.RoundTripper // of API calls
	ownBase   *http.Transport   // base, if nobody else uses it
	hidden    redactor          // the query of tokenURL
	slots     chan struct{}     // holds one element for each running fetch
	timeout   time.Duration
	maxScopes int
	time      func() time.Time
	clock     func() instant
	realTime  bool // clock reads the machine's clocks
	sleep     func(context.Context, time.Duration) error
	log       *slog.Logger
	meter     *meter       // nil: off
	tracer    trace.Tracer // nil: off
	expiring  func(Expiring)

	life   context.Context // parent of every fetch; ends with Close
	end    context.CancelFunc
	active sync.WaitGroup

	mu      sync.Mutex // never held across the network or a callback
	closed  bool
	sources map[string]*Source
	pause   atomic.Pointer[pause] // written under mu
}

// New checks cfg and makes a Client. It reads credentials from files and from the
// environment once, so that configuration errors appear here and not in later calls.
// It sends no request. An error names the field that is wrong.
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
	if cfg.TracerProvider != nil {
		c.tracer = cfg.TracerProvider.Tracer("github.com/entragate/entragate/tokenclient")
	}
	return c, nil
}

// Source returns the token source of one scope. For Entra the scope is
// api://{application ID}/.default. For other servers it is what the server defines;
// empty sends no scope. The same scope returns the same Source. Source never fails: for
// a malformed scope, or if there are Config.MaxScopes others already, every call of the
// returned Source fails with an [Error] that wraps [ErrScope]. Do not take scopes from
// the program's input.
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

// Close stops running fetches and waits for them. Afterwards [Source.Token] still returns
// tokens that are valid, and fails with [ErrClosed] if it would need a fetch. Close
// always returns nil and may be called more than once.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.active.Wait()
	if c.ownBase != nil {
		c.ownBase.CloseIdleConnections()
	}
	c.meter.close()
	return nil
}

func configure(cfg Config) (*Client, error) {
	c := &Client{
		clientID: cfg.ClientID, basic: cfg.SecretInHeader, rs256: cfg.RS256,
		timeout: cfg.Timeout, maxScopes: cfg.MaxScopes, sleep: cfg.Sleep,
		log: cfg.Logger, expiring: cfg.OnExpiring, sources: map[string]*Source{},
		slots: make(chan struct{}, maxFetches),
	}
	if err := checkPrintable("ClientID", cfg.ClientID); err != nil {
		return nil, err
	}
	var err error
	if c.tokenURL, c.entra, err = endpoint(cfg); err != nil {
		return nil, err
	}
	c.hideQuery()
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
	if err := c.connect(cfg); err != nil {
		return nil, err
	}
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
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	for field, credential := range map[string]Credential{"Credential": cfg.Credential, "Fallback": cfg.Fallback} {
		if credential.method == nil {
			continue
		}
		if err := newCredentialState(credential).check(ctx, c.time()); err != nil {
			return inField(field, err)
		}
	}
	c.credentials = append(c.credentials, newCredentialState(cfg.Credential))
	if cfg.Fallback.method != nil {
		c.credentials = append(c.credentials, newCredentialState(cfg.Fallback))
	}
	return nil
}

// hideQuery keeps the query of the token URL out of errors, because some servers expect
// a key there.
func (c *Client) hideQuery() {
	u, err := url.Parse(c.tokenURL)
	if err != nil || u.RawQuery == "" {
		return
	}
	c.hidden.hide(u.RawQuery)
	for _, values := range u.Query() {
		for _, v := range values {
			if len(v) >= minHidden { // shorter values occur in most texts by chance
				c.hidden.hide(v)
			}
		}
	}
}

// shownURL is the token URL without its query, for errors.
func (c *Client) shownURL() string {
	bare, _, _ := strings.Cut(c.tokenURL, "?")
	return bare
}

var tenantForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$`)

// endpoint finds the token endpoint and whether it is Entra's.
func endpoint(cfg Config) (tokenURL string, entra bool, err error) {
	if cfg.TokenURL != "" {
		if cfg.TenantID != "" || cfg.Cloud != "" || cfg.Authority != "" {
			return "", false, errors.New("TokenURL: cannot be combined with TenantID, Cloud and Authority")
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

// grantParams are the parameters that Config.Params cannot set.
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

// inField adds the name of a field of Config to err.
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
