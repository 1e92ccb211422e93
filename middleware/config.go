package middleware

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"go.opentelemetry.io/otel/metric"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/cloud"
)

// Config configures a [Gate]. Either Products (static mode) or Catalog
// (managed mode) must be given, and Tenants if a product accepts tokens. The
// zero value of every other field is safe.
type Config struct {
	// Tenants are the IDs (GUIDs) of the tenants whose tokens are accepted. Each
	// of them is trusted alike: in static mode, if the product's application is
	// multi-tenant, an administrator of any of them can assign its role.
	Tenants []string
	// Cloud is "public" (also if empty), "usgov", "usgov-dod" or "china".
	Cloud string
	// Authority replaces the cloud's host, for a tenant elsewhere or a local
	// one: a base URL, https unless it is loopback, with or without the tenant
	// where there is one. Keys are read from
	// {Authority}/{tenant}/discovery/v2.0/keys and version 2 tokens are issued
	// by {Authority}/{tenant}/v2.0. A login host of Microsoft's is the same as
	// naming its Cloud.
	Authority string
	// STS replaces the base of version 1 issuers, {STS}/{tenant}/. If it is
	// empty and Authority is none of Microsoft's, version 1 tokens are refused.
	STS string

	// Products are what static mode protects, APIs the paths that they group
	// and Subscriptions the keys that reach them (hashes only).
	Products      []Product
	APIs          []appaccess.API
	Subscriptions []appaccess.Subscription

	// Catalog is what managed mode asks.
	Catalog Catalog

	// AppOnly says how a token must prove that an application asked for it,
	// not a user.
	AppOnly AppOnly
	// Algorithms are the accepted signature algorithms: RS256 (the default),
	// RS384, RS512, PS256, PS384, PS512. Entra signs with RS256.
	Algorithms []string
	// Leeway is how far clocks may differ: 1 minute if zero, none if negative.
	// At most 5 minutes.
	Leeway time.Duration
	// MaxLifetime refuses tokens that live longer: 28 hours if zero, the
	// longest that Entra issues.
	MaxLifetime time.Duration

	// KeyHeader and KeyQuery are where a subscription key is looked for, the
	// query only if the header is absent: Ocp-Apim-Subscription-Key and
	// subscription-key if empty. "-" looks in no query.
	KeyHeader string
	KeyQuery  string
	// RemoveCredentials keeps verified credentials, too, from the handler.
	// Those that were not verified never reach it.
	RemoveCredentials bool
	// RedactKeyQuery takes the key out of the URL, RequestURI and Form of the
	// request that the gate is called with, so that an access log right outside
	// the gate does not see it either. What copies the request in between (a
	// timeout, a tracer, http.StripPrefix) keeps the key in its copy: put
	// [Gate.HideKeys] outside of those.
	RedactKeyQuery bool

	// Resource is the public base URL of the service (RFC 9728). If set,
	// challenges point at its metadata, which [Gate.Metadata] serves.
	Resource string
	// Refuse writes the answer to a refused request instead of the default
	// body. Challenges and Retry-After are in the header already, and the status
	// is that of the Decision unless the hook writes another.
	Refuse func(http.ResponseWriter, *http.Request, Decision)
	// Audit gets every decision. It is called before the handler, by many
	// goroutines at once, and must not block. A panic of it is the request's.
	Audit func(*http.Request, Decision)
	// ReportOnly lets every request pass, untouched for the handler, and records
	// what would have been refused: in the log at Info, in the metrics with
	// entragate.report_only, and in [Gate.Usage]. No request waits for keys:
	// while they are fetched it counts as [KeysUnavailable]. Handlers must expect
	// that [PrincipalFrom] finds nobody. For moving a running service onto the
	// gate: MUST NOT stay on.
	ReportOnly bool
	// InsecureAllowOpenProducts lets requests without any credential pass
	// where every product of the route asks for none. MUST NOT be set where
	// an API must not be public.
	InsecureAllowOpenProducts bool

	// CacheSize bounds the checked tokens that are remembered: 4096 if zero,
	// none if negative, at most 1,048,576. It is rounded down to a power of two,
	// or up to 8. A token takes about 3 KiB, at most 64 KiB.
	CacheSize int
	// KeyInterval is the least time between two fetches of the signing keys
	// that a token with an unknown key ID may cause: 5 minutes if zero, not
	// negative. Keys are read anew every hour besides.
	KeyInterval time.Duration
	// KeyWait bounds how long such a request waits for that fetch: 3 seconds
	// if zero, not negative.
	KeyWait time.Duration
	// HTTPClient fetches the keys; nil uses http.DefaultTransport, which heeds
	// HTTPS_PROXY. In either case a fetch takes 10 seconds at most, redirects to
	// another origin are refused and answers are bounded.
	HTTPClient *http.Client

	// Logger gets refusals at Info (those without a credential at Debug, unless
	// ReportOnly is set), and what an operator should look at, at Warn. Nil logs
	// nothing. No credential is ever in a record, and its handler must not wait
	// for the gate. See the package's Telemetry.
	Logger *slog.Logger
	// MeterProvider gets OpenTelemetry metrics; nil measures nothing. See the
	// package's Telemetry.
	MeterProvider metric.MeterProvider
	// SpanAttributes sets the decision on the span in the request's context.
	SpanAttributes bool

	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Product is a product in static mode.
type Product struct {
	// ID is what Gate.Product, principals and records call it. Required.
	ID string
	// Audiences are the aud values of its tokens, compared as they stand: the
	// application (client) ID for version 2 tokens, that or an App ID URI for
	// version 1. With at least one, the product accepts tokens. The case of a
	// GUID does not matter.
	Audiences []string
	// Role is the value of the app role that a token must carry, without a
	// space. Required with Audiences.
	Role string
	// Scope is what a client asks the token endpoint for, for challenges: it
	// ends with /.default. If empty it is made of the first audience:
	// api://<appId>/.default.
	Scope string
	// Keys accepts subscription keys.
	Keys bool
	// APIs are the IDs of the Config.APIs that the product groups.
	APIs []string
	// Suspended refuses all its traffic.
	Suspended bool
}

// AppOnly says how a token must prove that it was issued to an application and
// not to a user. In every mode a token with scp, with another idtyp than app,
// with a nonce, or without azp and appid is refused.
type AppOnly int

// The modes.
const (
	// AppOnlyDefault is AppOnlyStrict in managed mode, where our applications
	// ask Entra for the claim, and AppOnlyFallback in static mode.
	AppOnlyDefault AppOnly = iota
	// AppOnlyStrict asks for idtyp app, an optional claim that the product's
	// application must be configured to emit.
	AppOnlyStrict
	// AppOnlyFallback also takes tokens without idtyp.
	AppOnlyFallback
)

const (
	maxLeeway    = 5 * time.Minute
	maxKeyAge    = 24 * time.Hour // a known key serves this long without a refresh
	maxToken     = 16 << 10
	maxHeader    = 2 << 10
	maxClaims    = 8 << 10
	maxSignature = maxKeyBits / 8
	maxMembers   = 100
	maxDepth     = 8
	maxKeyID     = 128
	maxKeyBits   = 8192 // of a modulus
	maxKeyInput  = 512  // of a subscription key

	defaultScope = "/.default"
)

// check validates and fills in defaults. It returns the hosts of the cloud.
func (c *Config) check() (cloud.Hosts, error) {
	hosts, err := cloud.Resolve(c.Cloud, c.Authority, c.Tenants...)
	if err != nil {
		return hosts, err
	}
	if c.STS != "" {
		if err := cloud.CheckURL("STS", c.STS); err != nil {
			return hosts, err
		}
		hosts.STS = strings.TrimSuffix(c.STS, "/")
	}
	return hosts, errors.Join(c.checkTenants(), c.checkTokens(), c.checkKeys(), c.checkMode(), c.checkResource())
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
	if c.MaxLifetime == 0 {
		return errors.New("MaxLifetime: must not be negative")
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
	c.KeyInterval = orDefault(c.KeyInterval, 5*time.Minute)
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
	paths := map[string]string{}
	for _, a := range c.APIs {
		if err := checkID(a.ID, apis); err != nil {
			return fmt.Errorf("APIs: %w", err)
		}
		if err := checkAPIPath(a.Path); err != nil {
			return fmt.Errorf("APIs: %s: Path: %w", a.ID, err)
		}
		if other, ok := paths[a.Path]; ok {
			return fmt.Errorf("APIs: %s and %s have the same Path", other, a.ID)
		}
		apis[a.ID], paths[a.Path] = true, a.ID
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
	p.Audiences = slices.Clone(p.Audiences)
	for i, aud := range p.Audiences {
		switch {
		case aud == "":
			return errors.New("Audiences: one is empty")
		case strings.TrimSpace(aud) != aud:
			return fmt.Errorf("Audiences: %q begins or ends with a space", aud)
		case strings.HasSuffix(aud, defaultScope):
			return fmt.Errorf("Audiences: %q is a scope: an audience is what stands before %s", aud, defaultScope)
		case cloud.IsGUID(aud):
			p.Audiences[i] = strings.ToLower(aud) // as Entra writes it
		}
	}
	switch {
	case len(p.Audiences) > 0 && p.Role == "":
		return errors.New("Role: is needed with Audiences")
	case strings.ContainsFunc(p.Role, unicode.IsSpace):
		return fmt.Errorf("Role: %q has a space: it is the value of the app role, not its display name", p.Role)
	case p.Scope != "" && (!strings.HasSuffix(p.Scope, defaultScope) || strings.ContainsFunc(p.Scope, notScope)):
		return fmt.Errorf("Scope: %q must end with %s, without a space, a quote or a backslash: an application asks for no other", p.Scope, defaultScope)
	case len(p.Audiences) == 0 && p.Role != "":
		return errors.New("Audiences: at least one is needed with Role")
	case len(p.Audiences) > 0 && len(c.Tenants) == 0:
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

func (c *Config) checkSubscriptions(products, apis map[string]bool) error {
	seen := map[appaccess.KeySum]bool{}
	for _, s := range c.Subscriptions {
		product, ofProduct := strings.CutPrefix(string(s.Scope), "/products/")
		api, ofAPI := strings.CutPrefix(string(s.Scope), "/apis/")
		if s.Scope != appaccess.AllAPIs && (!ofProduct || !products[product]) && (!ofAPI || !apis[api]) {
			return fmt.Errorf("Subscriptions: %s: Scope: %q names nothing of the configuration: allowed are /products/{id}, /apis/{id} and /apis", s.ID, s.Scope)
		}
		none := appaccess.KeySum{}
		switch {
		case s.PrimarySum == none:
			return fmt.Errorf("Subscriptions: %s: PrimarySum: is missing", s.ID)
		case s.PrimarySum == sumOfNothing:
			return fmt.Errorf("Subscriptions: %s: PrimarySum: is that of the empty text, which is no key", s.ID)
		case s.SecondarySum == sumOfNothing:
			return fmt.Errorf("Subscriptions: %s: SecondarySum: is that of the empty text, which is no key", s.ID)
		case seen[s.PrimarySum]:
			return fmt.Errorf("Subscriptions: %s: PrimarySum: is that of another key, too", s.ID)
		case s.SecondarySum != none && (seen[s.SecondarySum] || s.SecondarySum == s.PrimarySum):
			return fmt.Errorf("Subscriptions: %s: SecondarySum: is that of another key, too", s.ID)
		}
		if !slices.Contains(states, s.State) {
			return fmt.Errorf("Subscriptions: %s: State: %q: allowed are %s; only an active one gives access", s.ID, s.State, anyOf(statesForPeople))
		}
		seen[s.PrimarySum], seen[s.SecondarySum] = true, true
	}
	return nil
}

// sumOfNothing is what an unset variable becomes.
var sumOfNothing = appaccess.SumKey("")

var states = []appaccess.SubscriptionState{
	appaccess.SubscriptionActive, appaccess.SubscriptionSubmitted, appaccess.SubscriptionSuspended,
	appaccess.SubscriptionRejected, appaccess.SubscriptionCancelled, appaccess.SubscriptionExpired,
}

var statesForPeople = func() (list []string) {
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

// orDefault is def for zero and zero for a negative duration.
func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return max(d, 0)
}

func notToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.~", r)
}
