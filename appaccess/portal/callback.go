package portal

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// attempt is a sign-in under way. Each has a cookie of its own, so tabs may
// return in any order.
type attempt struct {
	State, Nonce, Verifier string
	Return                 string
	Silent                 bool // to confirm the manager's role only
	Expires                time.Time
}

const (
	attemptLife = 10 * time.Minute
	maxAttempts = 4    // cookies are sent with every request
	maxReturn   = 1000 // of a return address: a cookie holds at most 4 KiB
)

// attemptCookie is the name of an attempt's cookie.
func (s *signIn) attemptCookie(state string) string {
	return s.portal.cookie("signin-" + strings.ToLower(state[:min(len(state), 8)]))
}

// context carries the HTTP client to the libraries, which take it from there.
func (s *signIn) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, s.client)
}

func (s *signIn) oauth(p *oidc.Provider, secret string) *oauth2.Config {
	endpoint := p.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInParams // else a failure is sent twice
	return &oauth2.Config{
		ClientID: s.cfg.ClientID, ClientSecret: secret, Endpoint: endpoint,
		RedirectURL: s.cfg.RedirectURL, Scopes: []string{oidc.ScopeOpenID, "profile"},
	}
}

// begin answers GET /signin: it sends the browser to Entra. The query says where
// to return, whether another account is to be chosen, and whether only the
// manager's role is to be confirmed.
func (s *signIn) begin(w http.ResponseWriter, r *http.Request) {
	rq := &request{Request: r, w: w}
	provider, err := s.discover()
	if err != nil {
		s.broken(rq, err)
		return
	}
	q := r.URL.Query()
	a := attempt{
		State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(),
		Return: s.shortReturn(q.Get("return")), Expires: s.portal.now().Add(attemptLife),
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)}
	if one, ok := s.session(r); ok && q.Get("check") == "role" {
		a.Silent = true
		options = append(options, oauth2.SetAuthURLParam("prompt", "none"))
		if one.Hint != "" {
			options = append(options, oauth2.SetAuthURLParam("login_hint", one.Hint))
		}
	} else if q.Get("account") == "other" {
		options = append(options, oauth2.SetAuthURLParam("prompt", "select_account"))
	}
	sealed, err := s.portal.keys.seal(s.portal.purpose("signin"), a)
	if err != nil {
		s.broken(rq, err)
		return
	}
	s.dropAttempts(w, r)
	setCookie(w, s.attemptCookie(a.State), sealed, attemptLife)
	http.Redirect(w, r, s.oauth(provider, "").AuthCodeURL(a.State, options...), http.StatusSeeOther)
}

// shortReturn is where the sign-in leads back to. An address that no cookie
// could hold loses its query, or else is the home page.
func (s *signIn) shortReturn(to string) string {
	to = s.portal.localPath(to)
	if len(to) > maxReturn {
		to, _, _ = strings.Cut(to, "?")
	}
	if len(to) > maxReturn {
		to = s.portal.path()
	}
	return to
}

// dropAttempts makes room for one more: the oldest go first.
func (s *signIn) dropAttempts(w http.ResponseWriter, r *http.Request) {
	type kept struct {
		name string
		ends time.Time
	}
	var all []kept
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-entragate-signin-") || !strings.HasSuffix(c.Name, "-"+s.portal.instance) {
			continue
		}
		var a attempt
		_ = s.portal.keys.open(s.portal.purpose("signin"), c.Value, &a) // one that is not ours is the oldest
		all = append(all, kept{c.Name, a.Expires})
	}
	slices.SortFunc(all, func(a, b kept) int { return cmp.Or(a.ends.Compare(b.ends), strings.Compare(a.name, b.name)) })
	for i := range max(0, len(all)-maxAttempts+1) {
		setCookie(w, all[i].name, "", 0)
	}
}

// callback answers GET /signin/callback: Entra sends the browser back.
func (s *signIn) callback(w http.ResponseWriter, r *http.Request) {
	rq := &request{Request: r, w: w}
	q := r.URL.Query()
	a, ok := s.attempt(r, q.Get("state"))
	if !ok {
		if _, in := s.session(r); in { // such as Back onto this address
			http.Redirect(w, r, s.portal.path(), http.StatusSeeOther)
			return
		}
		s.interrupted(rq, "", "The sign-in was begun elsewhere, or too long ago.")
		return
	}
	setCookie(w, s.attemptCookie(a.State), "", 0)
	if code := q.Get("error"); code != "" {
		if a.Silent { // Entra wants to see the user
			s.end(w)
			http.Redirect(w, r, s.portal.signInPath(a.Return), http.StatusSeeOther)
			return
		}
		s.portal.log.WarnContext(r.Context(), "portal: sign-in refused by Entra", "code", code, "description", q.Get("error_description"))
		s.interrupted(rq, a.Return, "Microsoft Entra did not sign you in.")
		return
	}
	user, hint, err := s.redeem(r, a, q.Get("code"))
	if errors.Is(err, errSpent) {
		s.interrupted(rq, a.Return, "This sign-in was used already.")
		return
	}
	if err == nil {
		err = s.start(w, r, user, hint, a.Silent)
	}
	if err != nil {
		s.broken(rq, err)
		return
	}
	http.Redirect(w, r, s.portal.localPath(a.Return), http.StatusSeeOther)
}

// attempt finds the sign-in that a state belongs to.
func (s *signIn) attempt(r *http.Request, state string) (attempt, bool) {
	var a attempt
	c, err := r.Cookie(s.attemptCookie(state))
	if err != nil || s.portal.keys.open(s.portal.purpose("signin"), c.Value, &a) != nil {
		return a, false
	}
	return a, s.portal.now().Before(a.Expires) && subtle.ConstantTimeCompare([]byte(state), []byte(a.State)) == 1
}

// redeem turns the code into a user: the ID token's signature, issuer, audience,
// expiry, nonce and tenant are checked. The attempt is spent first, whatever
// comes of it, so that a state makes one request with our secret.
func (s *signIn) redeem(r *http.Request, a attempt, code string) (User, string, error) {
	ctx := r.Context()
	if !s.redemptions.AllowN(s.portal.now(), 1) {
		return User{}, "", &limitError{}
	}
	first, err := s.portal.service.SpendForm(ctx, portalActor, strings.ToLower(a.State), a.Expires)
	if err != nil {
		return User{}, "", err
	}
	if !first {
		return User{}, "", errSpent
	}
	provider, err := s.discover()
	if err != nil {
		return User{}, "", err
	}
	secret, err := s.cfg.ClientSecret(ctx)
	if err != nil {
		return User{}, "", fmt.Errorf("portal: sign-in: reading the client secret: %w", err)
	}
	ctx = s.context(ctx)
	token, err := s.oauth(provider, secret).Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return User{}, "", fmt.Errorf("portal: sign-in: redeeming the code: %w", redemptionError(err))
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: s.cfg.ClientID, Now: s.portal.now}).Verify(ctx, raw)
	if err != nil {
		return User{}, "", fmt.Errorf("portal: sign-in: ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1 {
		return User{}, "", errors.New("portal: sign-in: ID token: another nonce than the one asked with")
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

// user reads the claims. The hint is the account's name at Entra, which it takes
// to find the account again.
func (s *signIn) user(id *oidc.IDToken) (User, string, error) {
	var claims struct {
		TID   string   `json:"tid"`
		OID   string   `json:"oid"`
		Name  string   `json:"name"`
		Hint  string   `json:"preferred_username"`
		Roles []string `json:"roles"`
	}
	if err := id.Claims(&claims); err != nil {
		return User{}, "", fmt.Errorf("portal: sign-in: ID token: %w", err)
	}
	if !strings.EqualFold(claims.TID, s.cfg.TenantID) || claims.OID == "" {
		return User{}, "", errors.New("portal: sign-in: ID token: tid is not the configured tenant, or oid is missing")
	}
	email := ""
	if strings.Contains(claims.Hint, "@") {
		email = claims.Hint
	}
	return User{
		Name: claims.Name, Email: email, TenantID: claims.TID, ObjectID: claims.OID,
		Manager: slices.Contains(claims.Roles, s.cfg.ManagerRole),
	}, claims.Hint, nil
}
