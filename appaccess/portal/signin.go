package portal

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/entragate/entragate/internal/cloud"
)

// SignIn configures the ready sign-in with Microsoft Entra: OpenID Connect with
// the authorization code flow, PKCE, state and nonce. TenantID, ClientID,
// ClientSecret and RedirectURL are required.
//
// Sessions live in an encrypted cookie and on no server. One ends with its
// lifetime, with sign-out in that browser, and when a user is blocked or
// otherwise changed by a manager. It is NOT ended by what happens in Entra
// (an account disabled, the manager's role taken away) before its lifetime is
// over: choose Lifetime accordingly.
type SignIn struct {
	TenantID string // GUID
	ClientID string // of the portal's own app registration
	// ClientSecret reads the registration's secret, anew for each sign-in, so a
	// rotated one needs no restart.
	ClientSecret func(context.Context) (string, error)
	// RedirectURL is the absolute URL of the portal's page signin/callback as
	// registered in Entra: https://apis.contoso.com/portal/signin/callback. It
	// is never taken from a request.
	RedirectURL string
	// ManagerRole is the app role that makes a user a manager. Empty:
	// Portal.Manager.
	ManagerRole string
	// Cloud is "public" (also if empty), "usgov", "usgov-dod" or "china".
	Cloud string
	// Authority, if not empty, replaces the cloud's: https://login.microsoftonline.com.
	Authority string
	// Lifetime of a session; 0: 8 hours.
	Lifetime time.Duration
	// HTTPClient reaches Entra. nil: one with a timeout of 15 seconds.
	HTTPClient *http.Client
}

// session is what the cookie holds.
type session struct {
	User    User
	Started time.Time
	Expires time.Time
}

// attempt is a sign-in under way.
type attempt struct {
	State, Nonce, Verifier string
	Return                 string
	Expires                time.Time
}

const (
	attemptLife  = 10 * time.Minute
	maxEntraBody = 1 << 20
)

type signIn struct {
	portal   *Portal
	cfg      SignIn
	issuer   string
	client   *http.Client
	provider atomic.Pointer[oidc.Provider] // nil until Entra was reached once
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
	if cfg.Lifetime < 0 {
		return nil, errors.New("portal: SignIn.Lifetime: must not be negative")
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = 8 * time.Hour
	}
	if cfg.ManagerRole == "" {
		cfg.ManagerRole = "Portal.Manager"
	}
	return &signIn{portal: p, cfg: cfg, issuer: hosts.IssuerV2(strings.ToLower(cfg.TenantID)), client: boundedClient(cfg.HTTPClient)}, nil
}

// boundedClient reads at most maxEntraBody of an answer and follows no
// redirect.
func boundedClient(from *http.Client) *http.Client {
	c := &http.Client{Timeout: 15 * time.Second}
	var base http.RoundTripper = http.DefaultTransport
	if from != nil {
		if from.Transport != nil {
			base = from.Transport
		}
		if from.Timeout > 0 {
			c.Timeout = from.Timeout
		}
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Transport = boundedTransport{base}
	return c
}

type boundedTransport struct{ base http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxEntraBody}
	return resp, nil
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("portal: the answer has more than 1 MiB")
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// context carries the HTTP client to the libraries, which take it from there.
func (s *signIn) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, s.client)
}

// discover asks Entra for its endpoints, until it has answered once.
func (s *signIn) discover() (*oidc.Provider, error) {
	if p := s.provider.Load(); p != nil {
		return p, nil
	}
	// The provider keeps this context for fetching keys later on, so it must
	// not be one request's; the client's timeout bounds each call.
	p, err := oidc.NewProvider(s.context(context.Background()), s.issuer)
	if err != nil {
		return nil, fmt.Errorf("portal: sign-in: reaching Entra: %w", err)
	}
	s.provider.CompareAndSwap(nil, p)
	return s.provider.Load(), nil
}

func (s *signIn) oauth(p *oidc.Provider, secret string) *oauth2.Config {
	endpoint := p.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInParams // else a failure is sent twice
	return &oauth2.Config{
		ClientID: s.cfg.ClientID, ClientSecret: secret, Endpoint: endpoint,
		RedirectURL: s.cfg.RedirectURL, Scopes: []string{oidc.ScopeOpenID, "profile"},
	}
}

// begin answers GET /signin: it sends the browser to Entra.
func (s *signIn) begin(w http.ResponseWriter, r *http.Request) {
	provider, err := s.discover()
	if err != nil {
		s.broken(w, r, err)
		return
	}
	a := attempt{
		State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(),
		Return:  s.portal.localPath(r.URL.Query().Get("return")),
		Expires: s.portal.now().Add(attemptLife),
	}
	sealed, err := s.portal.keys.seal("signin", a)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	setCookie(w, signInCookie, sealed, attemptLife)
	to := s.oauth(provider, "").AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier))
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// callback answers GET /signin/callback: Entra sends the browser back.
func (s *signIn) callback(w http.ResponseWriter, r *http.Request) {
	var a attempt
	c, err := r.Cookie(signInCookie)
	if err == nil {
		err = s.portal.keys.open("signin", c.Value, &a)
	}
	setCookie(w, signInCookie, "", 0)
	q := r.URL.Query()
	if err != nil || !s.portal.now().Before(a.Expires) || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(a.State)) != 1 {
		s.interrupted(w, r, "The sign-in was begun elsewhere, or too long ago.")
		return
	}
	if code := q.Get("error"); code != "" {
		s.portal.log.WarnContext(r.Context(), "portal: sign-in refused by Entra", "code", code, "description", q.Get("error_description"))
		s.interrupted(w, r, "Microsoft Entra did not sign you in.")
		return
	}
	user, err := s.redeem(r.Context(), a, q.Get("code"))
	if err != nil {
		s.broken(w, r, err)
		return
	}
	now := s.portal.now()
	sealed, err := s.portal.keys.seal("session", session{User: user, Started: now, Expires: now.Add(s.cfg.Lifetime)})
	if err != nil {
		s.broken(w, r, err)
		return
	}
	setCookie(w, sessionCookie, sealed, s.cfg.Lifetime)
	http.Redirect(w, r, s.portal.localPath(a.Return), http.StatusSeeOther)
}

// redeem turns the code into a user: the ID token's signature, issuer,
// audience, expiry, nonce and tenant are checked.
func (s *signIn) redeem(ctx context.Context, a attempt, code string) (User, error) {
	provider, err := s.discover()
	if err != nil {
		return User{}, err
	}
	secret, err := s.cfg.ClientSecret(ctx)
	if err != nil {
		return User{}, fmt.Errorf("portal: sign-in: reading the client secret: %w", err)
	}
	ctx = s.context(ctx)
	token, err := s.oauth(provider, secret).Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return User{}, fmt.Errorf("portal: sign-in: redeeming the code: %w", redemptionError(err))
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: s.cfg.ClientID, Now: s.portal.now}).Verify(ctx, raw)
	if err != nil {
		return User{}, fmt.Errorf("portal: sign-in: ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1 {
		return User{}, errors.New("portal: sign-in: ID token: another nonce than the one asked with")
	}
	return s.user(id)
}

// redemptionError keeps the endpoint's code and text, never the request.
func redemptionError(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return fmt.Errorf("status %d, %s: %s", refused.Response.StatusCode, refused.ErrorCode, refused.ErrorDescription)
	}
	return err
}

func (s *signIn) user(id *oidc.IDToken) (User, error) {
	var claims struct {
		TID   string   `json:"tid"`
		OID   string   `json:"oid"`
		Name  string   `json:"name"`
		Roles []string `json:"roles"`
	}
	if err := id.Claims(&claims); err != nil {
		return User{}, fmt.Errorf("portal: sign-in: ID token: %w", err)
	}
	if !strings.EqualFold(claims.TID, s.cfg.TenantID) || claims.OID == "" {
		return User{}, errors.New("portal: sign-in: ID token: tid is not the configured tenant, or oid is missing")
	}
	return User{
		Name: claims.Name, TenantID: claims.TID, ObjectID: claims.OID,
		Manager: slices.Contains(claims.Roles, s.cfg.ManagerRole),
	}, nil
}

// authenticate is the portal's Authenticate.
func (s *signIn) authenticate(r *http.Request) (User, error) {
	one, ok := s.session(r)
	if !ok {
		return User{}, ErrSignedOut
	}
	return one.User, nil
}

func (s *signIn) session(r *http.Request) (session, bool) {
	var one session
	c, err := r.Cookie(sessionCookie)
	if err != nil || s.portal.keys.open("session", c.Value, &one) != nil {
		return session{}, false
	}
	now := s.portal.now()
	return one, now.Before(one.Expires) && now.Before(one.Started.Add(s.cfg.Lifetime))
}

// startedBefore reports whether the session is older than the last change of
// its user: a block ends it for good, also when it is taken back.
func (s *signIn) startedBefore(r *http.Request, changed time.Time) bool {
	one, ok := s.session(r)
	return !ok || one.Started.Before(changed)
}

// end removes the session from the browser.
func (s *signIn) end(w http.ResponseWriter) { setCookie(w, sessionCookie, "", 0) }

// signOut answers POST /signout.
func (s *signIn) signOut(w http.ResponseWriter, r *http.Request) {
	s.end(w)
	setCookie(w, flashCookie, "", 0)
	http.Redirect(w, r, s.portal.path("signedout"), http.StatusSeeOther)
}

func (s *signIn) signedOut(w http.ResponseWriter, r *http.Request) {
	s.portal.problem(w, r, nil, problem{Status: http.StatusOK, Title: "You are signed out", SignIn: true,
		Text: "Your session on this portal has ended. On a shared device, sign out of your Microsoft account too."})
}

func (s *signIn) interrupted(w http.ResponseWriter, r *http.Request, text string) {
	s.portal.problem(w, r, nil, problem{Status: http.StatusBadRequest, Title: "The sign-in was interrupted", SignIn: true,
		Text: text + " Please start again."})
}

func (s *signIn) broken(w http.ResponseWriter, r *http.Request, err error) {
	pb := s.portal.explain(r, nil, err)
	pb.Status, pb.Title, pb.SignIn = http.StatusBadGateway, "The sign-in did not succeed", true
	pb.Text = "Microsoft Entra could not be reached or gave an answer that cannot be accepted. Please start again; if it happens again, tell an API manager the reference."
	s.portal.problem(w, r, nil, pb)
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
