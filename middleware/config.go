package middleware

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"go.opentelemetry.io/otel/metric"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/cloud"
)

// Config configures a [Gate]. Either Products (static mode) or Catalog (managed
// mode) is required, and Tenants or MoreTenants if a product accepts tokens. The
// zero value of every other field is safe.
type Config struct {
	// Tenants are the IDs (GUIDs) of the tenants whose tokens are accepted. All are
	// equally trusted: in static mode, if the product's application is multi-tenant,
	// an administrator of any of these tenants can assign its role.
	Tenants []string
	// Cloud is "public" (also if empty), "usgov", "usgov-dod", "china", "bleu" or
	// "delos".
	Cloud string
	// Authority replaces the cloud's login host, for example with a local tenant.
	// It is a base URL: https, or http for a loopback host. If there is only one
	// tenant, the path may name it. Keys are read from
	// {Authority}/{tenant}/discovery/v2.0/keys, and the issuer of version 2 tokens
	// is {Authority}/{tenant}/v2.0. A login host of Microsoft's is the same as
	// naming its Cloud. https://{name}.ciamlogin.com is an External ID tenant.
	// Azure AD B2C is not supported: it has issuers and keys for each policy.
	Authority string
	// STS replaces the base of version 1 issuers, {STS}/{tenant}/. If it is empty
	// and Authority is not a host of Microsoft's, version 1 tokens are refused.
	STS string

	// MoreTenants are further tenants, each with its own cloud or host, such as an
	// External ID tenant. They are trusted like Tenants.
	MoreTenants []Tenant

	// Products, APIs and Subscriptions configure static mode: the products, the APIs
	// that they group, and the subscriptions whose keys open them (as hashes).
	Products      []Product
	APIs          []appaccess.API
	Subscriptions []appaccess.Subscription

	// Catalog supplies products, APIs, clients and subscriptions in managed mode.
	Catalog Catalog

	// AppOnly says how a token must prove that it was issued to an application, not
	// to a user.
	AppOnly AppOnly
	// Algorithms are the accepted signature algorithms: RS256 (the default),
	// RS384, RS512, PS256, PS384, PS512. Entra signs with RS256.
	Algorithms []string
	// Leeway is by how much the clocks of the gate and of Entra may differ: 1 minute
	// if zero, no difference if negative, at most 5 minutes.
	Leeway time.Duration
	// MaxLifetime is the longest accepted time from iat to exp: 28 hours if zero,
	// the longest lifetime that Entra issues. It must not be negative.
	MaxLifetime time.Duration

	// MaxTokenSize is the largest accepted token, in bytes: 6 KiB if zero, from 4 KiB
	// to 256 KiB. The decoded claims may have half of that size, one array element
	// for each 48 bytes of it (128 by default), and an eighth of it in bytes that are
	// not ASCII. A token with 1,000 app roles of 40 characters needs 96 KiB. A larger
	// limit makes refusals more expensive. The server (http.Server.MaxHeaderBytes, 1
	// MiB) and proxies in front (often 8 to 16 KiB) have limits of their own.
	MaxTokenSize int

	// KeyHeader and KeyQuery name the header and the query parameter of a
	// subscription key: Ocp-Apim-Subscription-Key and subscription-key if empty. The
	// query is read only if the header is missing. A KeyQuery of "-" disables the
	// query. An API can have names of its own ([appaccess.API]), which replace these.
	KeyHeader string
	KeyQuery  string
	// RemoveCredentials removes the valid credential from the request that the
	// handler gets. Credentials that were not verified are always removed, except
	// in report-only mode.
	RemoveCredentials bool
	// RedactKeyQuery removes the key from URL, RequestURI and Form of the request
	// that the gate is called with, so that an access log directly outside the gate
	// does not see the key either. A middleware further out that copies the request
	// (a timeout, a tracer, http.StripPrefix) keeps the key in its copy: put
	// [Gate.HideKeys] outside of it.
	RedactKeyQuery bool

	// Resource is the public base URL of the service (RFC 9728). If set,
	// challenges point at its metadata, which [Gate.Metadata] serves.
	Resource string
	// Refuse, if set, writes the answer to a refused request. The header already
	// holds challenges and Retry-After. If Refuse writes no status, the answer gets
	// the status of the Decision.
	Refuse func(http.ResponseWriter, *http.Request, Decision)
	// Audit, if set, receives every decision. The gate calls it before the handler,
	// from many goroutines at once. It must not block. If it panics, the request
	// fails like after a panic in a handler.
	Audit func(*http.Request, Decision)
	// ReportOnly lets every request pass unchanged and records which requests would
	// be refused: in the log at Info, in the metrics with entragate.report_only, and
	// in [Gate.Usage]. No request waits for keys: while they are fetched, a token
	// counts as [KeysUnavailable]. Handlers must expect that [PrincipalFrom] returns
	// false. Use it to add a gate to a running service. It protects nothing: it MUST
	// NOT stay on.
	ReportOnly bool
	// InsecureAllowOpenProducts lets requests without a credential pass if no
	// product of the route asks for one. It MUST NOT be set if an API must not be
	// public.
	InsecureAllowOpenProducts bool

	// OnRevocation says which responses that are still open end when their caller
	// loses access: GET and HEAD requests, event streams and upgraded connections
	// if zero. [OnRevocation] replaces it for a route.
	OnRevocation CancelPolicy

	// CacheSize is how many verified tokens the gate remembers: 4096 if zero, none if
	// negative, at most 1,048,576. It is rounded down to a power of two, or up to 8.
	// A token takes about 3 KiB of memory, at most four times MaxTokenSize.
	CacheSize int
	// KeyInterval is how long after a successful fetch of the signing keys a token
	// with an unknown key ID may cause the next fetch: 30 seconds if zero, not
	// negative. In the meantime such a token is answered with 401. Independently,
	// keys are fetched every hour, and every 5 minutes while a key that is in use is
	// missing in the last answer.
	KeyInterval time.Duration
	// KeyWait is how long a request waits for a fetch of the keys before it is
	// answered with 503: 3 seconds if zero, not negative.
	KeyWait time.Duration
	// HTTPClient fetches the keys. Nil uses http.DefaultTransport, which follows
	// HTTPS_PROXY. In either case a fetch takes 10 seconds at most, redirects to
	// another origin are refused, and an answer may have at most 1 MiB.
	HTTPClient *http.Client
	// KeyFile is a file that remembers the signing keys, for a gate that starts while
	// the key endpoint is unreachable. Such a gate uses the keys for at most 24 hours
	// after they were fetched, and reports this in the log and in
	// [Gate.ReadyHandler]. If KeyFile is empty, a Catalog that implements
	// [KeyMemory], such as appaccess.Catalog, remembers the keys; in static mode they
	// are not remembered.
	//
	// Everybody who can write the file or its directory can have forged tokens accepted
	// during an outage. The gate replaces the file as a whole, with mode 0600. It
	// reads only a regular file (no symbolic link) that belongs to the process's user
	// and that nobody else can write; on Windows owner and mode are not checked. Gates
	// may share a file.
	KeyFile string

	// Logger receives refusals at Info (without a credential at Debug, unless
	// ReportOnly is set) and conditions that need an operator at Warn. Nil logs
	// nothing. No record holds a credential. The Logger's handler must not call the
	// gate. The package's section Telemetry lists the records.
	Logger *slog.Logger
	// MeterProvider receives OpenTelemetry metrics. Nil measures nothing. The
	// package's section Telemetry lists them.
	MeterProvider metric.MeterProvider
	// SpanAttributes sets the decision as attributes of the span in the request's
	// context.
	SpanAttributes bool

	// Now is the clock; nil is time.Now.
	Now func() time.Time

	denied *denials  // shared by the gate's key sources
	memory KeyMemory // shared by the gate's key sources; may be nil
}

// Product is a product in static mode.
type Product struct {
	// ID names the product in Gate.Product, in principals and in records. Required.
	ID string
	// Audiences are the accepted aud values: the application (client) ID for version
	// 2 tokens, that or an application ID URI for version 1 tokens. They are compared
	// byte for byte, after a GUID was changed to lower case. The product accepts
	// tokens if there is at least one.
	//
	// An application whose api.requestedAccessTokenVersion is not set issues
	// version 1 tokens with the audience api://{application ID} to callers who ask
	// for the scope api://{application ID}/.default. Naming both forms accepts the
	// tokens before and after the version is changed. That is safe as long as the
	// administrators of every accepted tenant are trusted: Entra keeps application
	// ID URIs unique within a tenant, not between tenants. Do not name the URI form
	// if Tenants holds a tenant whose administrators you do not trust, nor a URI
	// that is not api://{application ID}.
	Audiences []string
	// Role is the value of the app role that an application's token must have. It has
	// no space. With Audiences, Role or Clients is required.
	Role string
	// Permissions maps the permissions that an API's Operations name to the values of
	// further app roles: "Read" to "Product.Orders.Read". A token with such a role
	// passes only operations that need that permission; a token with Role passes all.
	Permissions map[string]string
	// Clients, if not empty, are the client IDs (azp or appid) of the only
	// applications whose tokens pass. If empty, every application that has the Role
	// passes. Without Role and Scopes the list alone decides; use that only for
	// registrations that define no app role: a client ID says who asked for the
	// token, not that an administrator granted this product.
	Clients []string
	// Scopes, if not empty, lets users' tokens pass that have one of these delegated
	// scopes (scp), such as Orders.Read, and that one of Clients asked for. Clients
	// is then required. If empty, users' tokens are refused. A user's token never
	// satisfies Role, and an application's token never satisfies Scopes. The handler
	// decides what the user may do: see [Principal].
	Scopes []string
	// Claims are further claims that a token must have, with their accepted values.
	// The claim must be a string, or an array of strings, and one of them must be
	// among the values. {"azpacr": {"1", "2"}} requires that the client authenticated
	// with a secret or a certificate; {"xms_mirid": {...}} names managed identities.
	// Claims that the gate checks itself cannot be named.
	Claims map[string][]string
	// OwnKeys says that the product's application has its own signing keys, as an
	// application with a claims mapping policy has. The gate reads them from the
	// tenant's key endpoint with ?appid=, and accepts only these keys for the
	// product's tokens.
	OwnKeys bool
	// Scope is the scope that challenges name, for the client to request at the
	// token endpoint. It ends with /.default. If empty, it is made from the first
	// audience: api://<appId>/.default.
	Scope string
	// Keys says that the product accepts subscription keys.
	Keys bool
	// APIs are the IDs of the Config.APIs that the product groups.
	APIs []string
	// Suspended refuses all requests that only this product could let pass.
	Suspended bool
}

// AppOnly says how a token must prove that it was issued to an application, not to
// a user. In every mode the gate refuses a token that has scp (unless a product has
// Scopes), an idtyp other than app, or a nonce, or that has neither azp nor appid.
type AppOnly int

// The modes.
const (
	// AppOnlyDefault is AppOnlyStrict in managed mode, where package provision
	// configures the product's application to emit idtyp, and AppOnlyFallback in
	// static mode.
	AppOnlyDefault AppOnly = iota
	// AppOnlyStrict requires idtyp app, an optional claim that the product's
	// application must be configured to emit.
	AppOnlyStrict
	// AppOnlyFallback also accepts tokens without idtyp.
	AppOnlyFallback
)

const (
	maxLeeway    = 5 * time.Minute
	maxKeyAge    = 24 * time.Hour // how long a known key is used while fetches fail
	minTokenSize = 4 << 10
	maxTokenSize = 256 << 10
	maxHeader    = 2 << 10
	maxSignature = maxKeyBits / 8
	maxMembers   = 100
	maxEscapes   = 256 // backslashes in the claims
	maxDepth     = 8
	maxKeyID     = 128
	maxKeyBits   = 8192 // of a modulus
	maxKeyInput  = 512  // of a subscription key

	defaultTokenSize = 6 << 10
	defaultScope     = "/.default"
)

// check validates the configuration and sets defaults. It returns the tenants.
func (c *Config) check() (*trust, error) {
	if _, err := cloud.Resolve(c.Cloud, c.Authority, c.Tenants...); err != nil {
		return nil, err
	}
	if c.STS != "" {
		if err := cloud.CheckURL("STS", c.STS); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(c.checkTenants(), c.checkTokens(), c.checkKeys(), c.checkMode(), c.checkResource()); err != nil {
		return nil, err
	}
	c.denied, c.memory = &denials{}, newKeyMemory(c)
	tr, err := newTrust(c.allTenants(), c, nil)
	if err != nil {
		return nil, fmt.Errorf("MoreTenants: %w", err)
	}
	return tr, nil
}

func (c *Config) checkTenants() error {
	c.Tenants = slices.Clone(c.Tenants)
	for i, t := range c.Tenants {
		if !cloud.IsGUID(t) {
			return fmt.Errorf("Tenants: %q is not a tenant ID (a GUID): a token's tid and iss carry no domain name", t)
		}
		c.Tenants[i] = strings.ToLower(t)
		if slices.Contains(c.Tenants[:i], c.Tenants[i]) {
			return fmt.Errorf("Tenants: %s is named twice", t)
		}
	}
	return nil
}

func (c *Config) checkTokens() error {
	if len(c.Algorithms) == 0 {
		c.Algorithms = []string{"RS256"}
	}
	c.Algorithms = slices.Clone(c.Algorithms)
	for _, a := range c.Algorithms {
		if signingMethods[a] == nil {
			return fmt.Errorf("Algorithms: %q: allowed are RS256, RS384, RS512, PS256, PS384, PS512", a)
		}
	}
	c.Leeway = orDefault(c.Leeway, time.Minute)
	if c.Leeway > maxLeeway {
		return fmt.Errorf("Leeway: %s: at most %s is allowed", c.Leeway, maxLeeway)
	}
	c.MaxLifetime = orDefault(c.MaxLifetime, 28*time.Hour)
	if c.MaxTokenSize == 0 {
		c.MaxTokenSize = defaultTokenSize
	}
	if c.MaxTokenSize < minTokenSize || c.MaxTokenSize > maxTokenSize {
		return fmt.Errorf("MaxTokenSize: %d: %d to %d bytes are allowed", c.MaxTokenSize, minTokenSize, maxTokenSize)
	}
	if c.MaxLifetime == 0 {
		return errors.New("MaxLifetime: must not be negative")
	}
	if !c.OnRevocation.valid() {
		return fmt.Errorf("OnRevocation: %d is not a CancelPolicy", c.OnRevocation)
	}
	if c.AppOnly < AppOnlyDefault || c.AppOnly > AppOnlyFallback {
		return fmt.Errorf("AppOnly: %d is no mode", c.AppOnly)
	}
	if c.AppOnly == AppOnlyDefault {
		c.AppOnly = AppOnlyFallback
		if c.Catalog != nil {
			c.AppOnly = AppOnlyStrict
		}
	}
	return nil
}

func (c *Config) checkKeys() error {
	if c.KeyHeader == "" {
		c.KeyHeader = "Ocp-Apim-Subscription-Key"
	}
	c.KeyHeader = http.CanonicalHeaderKey(c.KeyHeader)
	if strings.ContainsFunc(c.KeyHeader, notToken) || c.KeyHeader == "Authorization" || c.KeyHeader == "Host" {
		return fmt.Errorf("KeyHeader: %q cannot name a key's header: letters, digits and -_.~ are allowed, Authorization and Host are not", c.KeyHeader)
	}
	switch c.KeyQuery {
	case "":
		c.KeyQuery = "subscription-key"
	case "-":
		c.KeyQuery = ""
	}
	if strings.ContainsFunc(c.KeyQuery, notToken) {
		return fmt.Errorf("KeyQuery: %q: letters, digits and -_.~ are allowed", c.KeyQuery)
	}
	if c.CacheSize == 0 {
		c.CacheSize = 4096
	}
	if c.CacheSize > 1<<20 {
		return fmt.Errorf("CacheSize: %d: at most %d is allowed", c.CacheSize, 1<<20)
	}
	if c.KeyInterval < 0 || c.KeyWait < 0 {
		return errors.New("KeyInterval, KeyWait: must not be negative: unknown key IDs would cause fetches without end, or valid tokens be refused")
	}
	c.KeyInterval = orDefault(c.KeyInterval, 30*time.Second)
	c.KeyWait = orDefault(c.KeyWait, 3*time.Second)
	if c.ReportOnly {
		c.KeyWait = 0
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

func (c *Config) checkMode() error {
	if c.Catalog != nil {
		if len(c.Products)+len(c.APIs)+len(c.Subscriptions) > 0 {
			return errors.New("Catalog: excludes Products, APIs and Subscriptions")
		}
		return nil
	}
	if len(c.Products) == 0 {
		return errors.New("Products: at least one is needed where there is no Catalog")
	}
	return c.checkStatic()
}

func (c *Config) checkStatic() error {
	apis := map[string]bool{}
	paths := map[string]string{} // by folded path
	for _, a := range c.APIs {
		if err := checkID(a.ID, apis); err != nil {
			return fmt.Errorf("APIs: %w", err)
		}
		if err := checkAPIPath(a.Path); err != nil {
			return fmt.Errorf("APIs: %s: Path: %w", a.ID, err)
		}
		if other, ok := paths[fold(a.Path)]; ok {
			return fmt.Errorf("APIs: %s and %s have the same Path, but for letter case at most", other, a.ID)
		}
		if err := appaccess.CheckKeyNames(a.KeyHeader, a.KeyQuery); err != nil {
			return fmt.Errorf("APIs: %s: %w", a.ID, err)
		}
		if err := checkOperations(&a); err != nil {
			return fmt.Errorf("APIs: %s: %w", a.ID, err)
		}
		apis[a.ID], paths[fold(a.Path)] = true, a.ID
	}
	products := map[string]bool{}
	c.Products = slices.Clone(c.Products)
	for i := range c.Products {
		p := &c.Products[i]
		if err := checkID(p.ID, products); err != nil {
			return fmt.Errorf("Products: %w", err)
		}
		products[p.ID] = true
		if err := c.checkProduct(p, apis); err != nil {
			return fmt.Errorf("Products: %s: %w", p.ID, err)
		}
	}
	return c.checkSubscriptions(products, apis)
}

func checkID(id string, used map[string]bool) error {
	if id == "" {
		return errors.New("ID: is missing")
	}
	if used[id] {
		return fmt.Errorf("ID: %q is used twice", id)
	}
	return nil
}

func (c *Config) checkProduct(p *Product, apis map[string]bool) error {
	p.Permissions = maps.Clone(p.Permissions)
	for name, role := range p.Permissions {
		if name == appaccess.AllPermission || role == "" || role == p.Role || strings.ContainsFunc(role, unicode.IsSpace) {
			return fmt.Errorf("Permissions: %q is %q: the name must not be All, and the role must be a value of its own without a space", name, role)
		}
	}
	p.Audiences = slices.Clone(p.Audiences)
	for i, aud := range p.Audiences {
		switch {
		case aud == "":
			return errors.New("Audiences: one is empty")
		case strings.TrimSpace(aud) != aud:
			return fmt.Errorf("Audiences: %q begins or ends with a space", aud)
		case strings.HasSuffix(aud, defaultScope):
			return fmt.Errorf("Audiences: %q is a scope: an audience is the part before %s", aud, defaultScope)
		case cloud.IsGUID(aud):
			p.Audiences[i] = strings.ToLower(aud) // as Entra writes it
		}
	}
	if err := p.checkCallers(); err != nil {
		return err
	}
	switch {
	case len(p.Audiences) > 0 && p.Role == "" && len(p.Clients) == 0:
		return errors.New("Role: is needed with Audiences, or Clients where the registration has no app role")
	case strings.ContainsFunc(p.Role, unicode.IsSpace):
		return fmt.Errorf("Role: %q has a space: it is the value of the app role, not its display name", p.Role)
	case p.Scope != "" && (!strings.HasSuffix(p.Scope, defaultScope) || strings.ContainsFunc(p.Scope, notScope)):
		return fmt.Errorf("Scope: %q must end with %s, without a space, a quote or a backslash: an application asks for no other", p.Scope, defaultScope)
	case len(p.Audiences) == 0 && p.Role != "":
		return errors.New("Audiences: at least one is needed with Role")
	case p.OwnKeys && p.applicationID() == "":
		return errors.New("OwnKeys: needs the application's client ID among Audiences")
	case len(p.Audiences) > 0 && len(c.Tenants)+len(c.MoreTenants) == 0:
		return errors.New("Tenants: at least one is needed for a product with Audiences")
	case len(p.Audiences) == 0 && !p.Keys && !c.InsecureAllowOpenProducts:
		return errors.New("accepts no credential: give it Audiences and Role, or Keys, or set InsecureAllowOpenProducts")
	}
	for _, id := range p.APIs {
		if !apis[id] {
			return fmt.Errorf("APIs: %q is not among the APIs of the configuration", id)
		}
	}
	return nil
}

// checkCallers checks and copies Clients, Scopes and Claims.
func (p *Product) checkCallers() error {
	if len(p.Audiences) == 0 && len(p.Clients)+len(p.Scopes)+len(p.Claims) > 0 {
		return errors.New("Audiences: at least one is needed with Clients, Scopes or Claims")
	}
	p.Clients = slices.Clone(p.Clients)
	for i, id := range p.Clients {
		if !cloud.IsGUID(id) {
			return fmt.Errorf("Clients: %q is not a client ID (a GUID)", id)
		}
		p.Clients[i] = strings.ToLower(id)
	}
	p.Scopes = slices.Clone(p.Scopes)
	for _, s := range p.Scopes {
		if s == "" || strings.ContainsFunc(s, notScope) || strings.Contains(s, "/") {
			return fmt.Errorf("Scopes: %q: expected the value of scp, such as Orders.Read, without the application ID URI", s)
		}
	}
	if len(p.Scopes) > 0 && len(p.Clients) == 0 {
		return errors.New("Clients: is needed with Scopes: it names the applications that may act for users")
	}
	p.Claims = maps.Clone(p.Claims)
	for name, values := range p.Claims {
		switch {
		case slices.Contains(claimNames, name):
			return fmt.Errorf("Claims: %q is a claim that the gate checks itself", name)
		case name == "" || lookalike(name, claimNames):
			return fmt.Errorf("Claims: %q cannot be required: names are ASCII and differ from known claims by more than case", name)
		case len(values) == 0 || slices.Contains(values, ""):
			return fmt.Errorf("Claims: %s: names the values that are accepted, none of them empty", name)
		}
		p.Claims[name] = slices.Clone(values)
	}
	return nil
}

// acceptsUsers reports whether a product accepts users' tokens.
func (c *Config) acceptsUsers() bool {
	return slices.ContainsFunc(c.Products, func(p Product) bool { return len(p.Scopes) > 0 })
}

// requiredClaims are the names in the Claims of all products.
func (c *Config) requiredClaims() []string {
	names := map[string]bool{}
	for _, p := range c.Products {
		for name := range p.Claims {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func (c *Config) checkSubscriptions(products, apis map[string]bool) error {
	seen := map[appaccess.KeyHash]bool{}
	for _, s := range c.Subscriptions {
		product, ofProduct := strings.CutPrefix(string(s.Scope), "/products/")
		api, ofAPI := strings.CutPrefix(string(s.Scope), "/apis/")
		if s.Scope != appaccess.AllAPIs && (!ofProduct || !products[product]) && (!ofAPI || !apis[api]) {
			return fmt.Errorf("Subscriptions: %s: Scope: %q names nothing of the configuration: allowed are /products/{id}, /apis/{id} and /apis", s.ID, s.Scope)
		}
		none := appaccess.KeyHash{}
		switch {
		case s.PrimaryHash == none:
			return fmt.Errorf("Subscriptions: %s: PrimaryHash: is missing", s.ID)
		case s.PrimaryHash == sumOfNothing:
			return fmt.Errorf("Subscriptions: %s: PrimaryHash: is the hash of an empty key", s.ID)
		case s.SecondaryHash == sumOfNothing:
			return fmt.Errorf("Subscriptions: %s: SecondaryHash: is the hash of an empty key", s.ID)
		case seen[s.PrimaryHash]:
			return fmt.Errorf("Subscriptions: %s: PrimaryHash: is that of another key, too", s.ID)
		case s.SecondaryHash != none && (seen[s.SecondaryHash] || s.SecondaryHash == s.PrimaryHash):
			return fmt.Errorf("Subscriptions: %s: SecondaryHash: is that of another key, too", s.ID)
		}
		if !slices.Contains(states, s.State) {
			return fmt.Errorf("Subscriptions: %s: State: %q: allowed are %s; only an active one gives access", s.ID, s.State, anyOf(stateNames))
		}
		seen[s.PrimaryHash], seen[s.SecondaryHash] = true, true
	}
	return nil
}

// sumOfNothing is the hash of an empty key, as from an unset variable.
var sumOfNothing = appaccess.HashKey("")

var states = []appaccess.SubscriptionState{
	appaccess.SubscriptionActive, appaccess.SubscriptionSubmitted, appaccess.SubscriptionSuspended,
	appaccess.SubscriptionRejected, appaccess.SubscriptionCancelled, appaccess.SubscriptionExpired,
}

var stateNames = func() (list []string) {
	for _, s := range states {
		list = append(list, string(s))
	}
	return list
}()

func (c *Config) checkResource() error {
	if c.Resource == "" {
		return nil
	}
	if strings.ContainsFunc(c.Resource, notScope) {
		return fmt.Errorf("Resource: %q cannot stand in a challenge: no space, quote or backslash is allowed, ASCII only", c.Resource)
	}
	return cloud.CheckURL("Resource", c.Resource)
}

// orDefault returns def if d is zero, and zero if d is negative.
func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return max(d, 0)
}

func notToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.~", r)
}
