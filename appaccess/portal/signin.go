package portal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/entragate/entragate/internal/cloud"
)

// SignIn configures the ready sign-in with Microsoft Entra: OpenID Connect with
// the authorization code flow, PKCE, state and nonce. TenantID, ClientID,
// ClientSecret and RedirectURL are required.
//
// Sessions live in an encrypted cookie and on no server. A cookie belongs to one
// tenant, registration and redirect address: portals that share Keys do not
// accept each other's. A session ends with its lifetime, with sign-out in that
// browser, and when a user is blocked or otherwise changed by a manager. The
// manager's role is confirmed with Entra every RoleCheck, without the user
// noticing as long as they are signed in there. A developer's account that is
// disabled in Entra keeps its session until its lifetime is over: choose
// Lifetime accordingly, or block the user here.
type SignIn struct {
	TenantID string // GUID
	ClientID string // of the portal's own app registration
	// ClientSecret reads the registration's secret, anew for each sign-in, so a
	// rotated one needs no restart.
	ClientSecret func(context.Context) (string, error)
	// RedirectURL is the absolute URL of the portal's page signin/callback as
	// registered in Entra: https://apis.contoso.com/portal/signin/callback. It
	// is never taken from a request. Forms that come from its origin are
	// accepted, whatever a proxy made of the request's Host.
	RedirectURL string
	// ManagerRole is the app role that makes a user a manager. Empty:
	// Portal.Manager.
	ManagerRole string
	// Cloud is "public" (also if empty), "usgov", "usgov-dod", "china", "bleu" or
	// "delos".
	Cloud string
	// Authority, if not empty, replaces the cloud's: https://login.microsoftonline.com.
	Authority string
	// Lifetime of a session; 0: 8 hours.
	Lifetime time.Duration
	// RoleCheck is how long a manager's role is believed before Entra is asked
	// again; a form that is sent may take twice as long. 0: 5 minutes.
	RoleCheck time.Duration
	// HTTPClient reaches Entra. nil: one with a timeout of 15 seconds.
	HTTPClient *http.Client
}

// How often codes are redeemed at Entra, all visitors together: what anonymous
// visitors can make the portal send with its secret is bounded.
const (
	redemptionRate  = 20 // a second
	redemptionBurst = 100
)

type signIn struct {
	portal      *Portal
	cfg         SignIn
	issuer      string
	origin      string // of RedirectURL
	client      *http.Client
	discovery   discovery
	redemptions *rate.Limiter
}

func newSignIn(p *Portal, cfg SignIn) (*signIn, error) {
	hosts, err := cloud.Resolve(cfg.Cloud, cfg.Authority, cfg.TenantID)
	if err != nil {
		return nil, fmt.Errorf("portal: SignIn.%w", err)
	}
	for field, value := range map[string]string{"TenantID": cfg.TenantID, "ClientID": cfg.ClientID, "RedirectURL": cfg.RedirectURL} {
		if value == "" {
			return nil, fmt.Errorf("portal: SignIn.%s: is required", field)
		}
	}
	// A tenant has other names, too, but its issuer and the claim tid carry this one.
	if !cloud.IsGUID(cfg.TenantID) {
		return nil, fmt.Errorf("portal: SignIn.TenantID: %q: must be the GUID of one tenant", cfg.TenantID)
	}
	if cfg.ClientSecret == nil {
		return nil, errors.New("portal: SignIn.ClientSecret: is required")
	}
	if err := cloud.CheckURL("RedirectURL", cfg.RedirectURL); err != nil {
		return nil, fmt.Errorf("portal: SignIn.%w", err)
	}
	if u, err := url.Parse(cfg.RedirectURL); err != nil || u.Path != p.path("signin", "callback") {
		return nil, fmt.Errorf("portal: SignIn.RedirectURL: its path must be %s", p.path("signin", "callback"))
	}
	if cfg.Lifetime < 0 || cfg.RoleCheck < 0 {
		return nil, errors.New("portal: SignIn.Lifetime, RoleCheck: must not be negative")
	}
	if cfg.RoleCheck == 0 {
		cfg.RoleCheck = 5 * time.Minute
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = 8 * time.Hour
	}
	if cfg.ManagerRole == "" {
		cfg.ManagerRole = "Portal.Manager"
	}
	at, _ := url.Parse(cfg.RedirectURL) // checked above
	return &signIn{
		portal: p, cfg: cfg, issuer: hosts.IssuerV2(strings.ToLower(cfg.TenantID)), client: boundedClient(cfg.HTTPClient),
		origin: at.Scheme + "://" + at.Host, redemptions: rate.NewLimiter(redemptionRate, redemptionBurst),
	}, nil
}

// signedOut answers GET /signedout.
func (s *signIn) signedOut(w http.ResponseWriter, r *http.Request) {
	s.portal.problem(&request{Request: r, w: w}, problem{
		Status: http.StatusOK, Title: "You are signed out", SignIn: s.portal.path("signin") + "?account=other",
		Text: "Your session on this portal has ended. On a shared device, sign out of your Microsoft account too.",
	})
}

// signOut answers POST /signout.
func (s *signIn) signOut(w http.ResponseWriter, r *http.Request) {
	s.end(w)
	setCookie(w, s.portal.cookie("message"), "", 0)
	http.Redirect(w, r, s.portal.path("signedout"), http.StatusSeeOther)
}

func (s *signIn) interrupted(rq *request, from, text string) {
	s.portal.problem(rq, problem{
		Status: http.StatusBadRequest, Title: "The sign-in was interrupted", SignIn: s.portal.signInPath(from), Text: text + " Please start again.",
	})
}

func (s *signIn) broken(rq *request, err error) {
	pb := s.portal.explain(rq, err)
	pb.SignIn = s.portal.path("signin")
	if pb.Status != http.StatusTooManyRequests {
		pb.Status, pb.Title = http.StatusBadGateway, "The sign-in did not succeed"
		pb.Text = "Microsoft Entra could not be reached or gave an answer that cannot be accepted. Please start again; if it happens again, tell an API manager the reference."
	}
	s.portal.problem(rq, pb)
}

// localPath is where a sign-in may lead back to: a path of this portal,
// anything else is its home page.
func (p *Portal) localPath(to string) string {
	home := p.path()
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" ||
		!strings.HasPrefix(to, home) || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") ||
		slices.Contains(strings.Split(u.Path, "/"), "..") {
		return home
	}
	return to
}
