package portal

import (
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/notify"
	"github.com/entragate/entragate/internal/cloud"
)

// ErrSignedOut is what [Config.Authenticate] returns when nobody is signed in.
var ErrSignedOut = errors.New("portal: not signed in")

// Config says what a [Portal] shows and to whom. Service and one of
// Authenticate and SignIn are required; the zero value of everything else is
// safe.
type Config struct {
	Service *appaccess.Service

	// Authenticate says who sends a request: [ErrSignedOut] if nobody is known,
	// another error if that is not known now. The host ends sessions and
	// leads to its own sign-in page; a blocked user is refused here whatever
	// it says. It must be safe for concurrent use.
	Authenticate func(*http.Request) (User, error)
	// SignIn is the ready sign-in with Microsoft Entra.
	SignIn *SignIn

	// Prefix is the path below which the portal is mounted: "/portal", or empty
	// for the root. Requests arrive with it; do not strip it before.
	Prefix string
	// Title names the portal in its header and in page titles. Empty: API access.
	Title string

	// Brand is the look of the portal.
	Brand Brand

	// Keys seal what the browser carries for the portal: sessions, messages,
	// form tokens. Each has 32 random bytes. The first seals and all open, so a
	// key is rotated by putting a new one in front. Replicas share them. None:
	// one is made, and sessions end with the process.
	Keys [][]byte

	// Gateway is where callers reach the APIs: the URL before each API's path,
	// such as "https://api.contoso.com". The Try it box and the snippets use it,
	// and developers see no ServiceURL. Empty: each API's ServiceURL, which must
	// then lead to the gate and not past it.
	Gateway string
	// APIHosts are the hosts, with their port if it is not the scheme's own,
	// that the Try it box may call: "api.contoso.com", "localhost:8443". An API
	// that is reached elsewhere cannot be tried. Plain http passes for loopback
	// hosts only. None: no Try it box.
	APIHosts []string
	// HTTPClient reaches the token endpoint and the APIs for Try it. Its
	// Timeout, CheckRedirect and Jar are not used: no redirect is followed, no
	// cookie kept, and a call takes at most 15 seconds. nil: one of its own.
	HTTPClient *http.Client

	// Notifications is the outbox whose deliveries managers see and can repeat. The
	// host runs it. If it is nil, the portal has no page for deliveries.
	Notifications *notify.Notifier

	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // nil: time.Now
}

// User is who sends a request. TenantID and ObjectID (tid and oid of an Entra
// account, both GUIDs) find the appaccess.User with the same pair; no name or
// address is ever compared. A manager need not be found.
type User struct {
	Name     string // display name
	Email    string // only shown to managers with a request for access; may be empty
	TenantID string
	ObjectID string
	// Manager opens the manager's pages. It must come from an app role or
	// something equally trusted.
	Manager bool
}

// key names the user in rate limits and form tokens.
func (u User) key() string { return u.TenantID + "/" + u.ObjectID }

// Portal is the pages. It is an [http.Handler], safe for concurrent use.
type Portal struct {
	service *appaccess.Service
	who     func(*http.Request) (User, error)
	signIn  *signIn // nil with Authenticate
	prefix  string
	title   string
	brand   Brand
	gateway string           // may be empty
	outbox  *notify.Notifier // may be nil
	log     *slog.Logger
	now     func() time.Time

	identity string // what makes this portal the same as another
	instance string // short name of identity

	keys    keyring
	assets  *assetSet
	pages   map[string]*template.Template
	secrets *limiter // of values that are shown once
	tries   *limiter // of calls of the Try it box
	try     *tryClient
	handler http.Handler
}

// New makes a portal. It reaches nothing: the sign-in asks Entra for its
// endpoints when the first user signs in.
func New(cfg Config) (*Portal, error) {
	if cfg.Service == nil {
		return nil, errors.New("portal: Service: is required")
	}
	if (cfg.Authenticate == nil) == (cfg.SignIn == nil) {
		return nil, errors.New("portal: Authenticate, SignIn: exactly one is required")
	}
	if err := checkPrefix(cfg.Prefix); err != nil {
		return nil, err
	}
	if cfg.Gateway != "" {
		if err := cloud.CheckURL("Gateway", cfg.Gateway); err != nil {
			return nil, fmt.Errorf("portal: %w", err)
		}
	}
	p := &Portal{
		service: cfg.Service,
		who:     cfg.Authenticate,
		prefix:  cfg.Prefix,
		title:   cfg.Title,
		brand:   cfg.Brand,
		gateway: strings.TrimSuffix(cfg.Gateway, "/"),
		outbox:  cfg.Notifications,
		log:     cfg.Logger,
		now:     cfg.Now,

		identity: identityOf(cfg),
	}
	p.instance = instanceOf(p.identity)
	if p.title == "" {
		p.title = "API access"
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.now == nil {
		p.now = time.Now
	}
	if err := cfg.Brand.check(); err != nil {
		return nil, err
	}
	p.secrets = newLimiter(p.now, secretEvery, secretBurst)
	p.tries = newLimiter(p.now, tryEvery, tryBurst)
	var err error
	if p.keys, err = newKeyring(cfg.Keys); err != nil {
		return nil, err
	}
	if cfg.SignIn != nil {
		if p.signIn, err = newSignIn(p, *cfg.SignIn); err != nil {
			return nil, err
		}
		p.who = p.signIn.authenticate
	}
	if p.try, err = newTryClient(cfg.HTTPClient, cfg.APIHosts); err != nil {
		return nil, err
	}
	if p.assets, err = loadAssets(cfg.Brand); err != nil {
		return nil, err
	}
	if p.pages, err = p.parsePages(); err != nil {
		return nil, err
	}
	p.handler = p.protect(p.routes())
	return p, nil
}

// ServeHTTP implements [http.Handler].
func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	u, err := url.Parse(prefix)
	if err != nil || !strings.HasPrefix(prefix, "/") || strings.HasSuffix(prefix, "/") || strings.Contains(prefix, "//") || u.Path != prefix {
		return fmt.Errorf("portal: Prefix: %q: must be empty or begin with a slash, not end with one and hold nothing that is escaped in an URL", prefix)
	}
	return nil
}

// path is the URL path of a page: its segments below the prefix.
func (p *Portal) path(segments ...string) string {
	out := p.prefix
	for _, s := range segments {
		out += "/" + url.PathEscape(s)
	}
	if len(segments) == 0 {
		out += "/"
	}
	return out
}

// contentPolicy: nothing but the portal's own files, no inline style or
// script, no frame, no form that leads elsewhere.
const contentPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// protect puts what every answer and every request needs round the pages.
func (p *Portal) protect(pages http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	if p.signIn != nil {
		// A proxy may have rewritten Host: the registered address is ours all the same.
		_ = guard.AddTrustedOrigin(p.signIn.origin)
	}
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.problem(&request{Request: r, w: w}, problem{
			Status: http.StatusForbidden,
			Title:  "This request came from another site",
			Text:   "To keep your account safe, forms are only accepted from the portal's own pages. Open the page here and send the form again.",
		})
	}))
	inner := http.Handler(guard.Handler(pages))
	if p.prefix != "" {
		stripped := http.StripPrefix(p.prefix, inner)
		inner = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == p.prefix:
				http.Redirect(w, r, p.prefix+"/", http.StatusPermanentRedirect)
			case strings.HasPrefix(r.URL.Path, p.prefix+"/"):
				stripped.ServeHTTP(w, r)
			default:
				http.NotFound(w, r)
			}
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		r.Body = http.MaxBytesReader(w, r.Body, maxUpload) // parseForm allows most forms less
		inner.ServeHTTP(w, r)
	})
}
