package entratest_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/entragate/entragate/provision/entratest"
)

const callback = "https://portal.example/callback"

type portal struct {
	*entratest.Server
	config   oauth2.Config
	verifier *oidc.IDTokenVerifier
	ada      entratest.User
	appID    string
}

func newPortal(t *testing.T) portal {
	t.Helper()
	s := entratest.NewServer(t, entratest.Config{})
	app, err := s.AddApplication(entratest.App{
		Name: "Portal", Roles: []string{"user:Manager"}, RedirectURIs: []string{callback}, AssignmentRequired: true,
	})
	require.NoError(t, err)
	value, err := s.AddSecret(app.AppID, "portal")
	require.NoError(t, err)
	ada, err := s.AddUser(entratest.User{Name: "Ada <Lovelace>", Username: "ada"})
	require.NoError(t, err)
	require.NoError(t, s.AssignUser(ada, app.AppID, "Manager"))
	provider, err := oidc.NewProvider(oidc.ClientContext(t.Context(), s.Client()), s.Issuer())
	require.NoError(t, err)
	return portal{
		Server: s, ada: ada, appID: app.AppID,
		config: oauth2.Config{
			ClientID: app.AppID, ClientSecret: value.Reveal(), RedirectURL: callback,
			Endpoint: provider.Endpoint(), Scopes: []string{"openid", "profile", "email"},
		},
		verifier: provider.Verifier(&oidc.Config{ClientID: app.AppID}),
	}
}

// browser stays on the tenant: it does not follow to the portal.
func (p portal) browser() *http.Client {
	c := *p.Client()
	c.Jar, _ = cookiejar.New(nil)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// pick signs in as a user and returns where the browser is sent.
func (p portal) pick(t *testing.T, address string, u entratest.User) (*http.Response, url.Values) {
	t.Helper()
	form, err := url.ParseQuery(strings.SplitN(address, "?", 2)[1])
	require.NoError(t, err)
	form.Set("pick", u.ObjectID)
	resp, err := p.browser().PostForm(p.AuthorizeURL(), form)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	location, err := url.Parse(resp.Header.Get("Location"))
	require.NoError(t, err)
	return resp, location.Query()
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	verifier := oauth2.GenerateVerifier()
	address := p.config.AuthCodeURL("state", oidc.Nonce("nonce"), oauth2.S256ChallengeOption(verifier))
	resp, err := p.browser().Get(address)
	require.NoError(t, err)
	defer resp.Body.Close()
	page := body(t, resp)
	assert.Contains(t, page, "Ada &lt;Lovelace&gt;")
	assert.Contains(t, page, "ada@contoso.onmicrosoft.com")

	resp, answer := p.pick(t, address, p.ada)
	require.Equal(t, http.StatusFound, resp.StatusCode)
	assert.Equal(t, "state", answer.Get("state"))
	ctx := oidc.ClientContext(t.Context(), p.Client())
	token, err := p.config.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(verifier))
	require.NoError(t, err)
	id, err := p.verifier.Verify(ctx, token.Extra("id_token").(string))
	require.NoError(t, err)
	var who struct {
		TID, OID, Name, Nonce string
		Username              string `json:"preferred_username"`
		Roles                 []string
	}
	require.NoError(t, id.Claims(&who))
	assert.Equal(t, p.ID(), who.TID)
	assert.Equal(t, p.ada.ObjectID, who.OID)
	assert.Equal(t, "Ada <Lovelace>", who.Name)
	assert.Equal(t, "nonce", who.Nonce)
	assert.Equal(t, "ada@contoso.onmicrosoft.com", who.Username)
	assert.Equal(t, []string{"Manager"}, who.Roles)
	assert.NotEqual(t, who.OID, id.Subject)

	_, err = p.config.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(verifier))
	assert.ErrorContains(t, err, "AADSTS54005", "a code serves once")
}

func TestSignInRefusals(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	mallory, err := p.AddUser(entratest.User{Name: "Mallory", Username: "mallory"})
	require.NoError(t, err)
	ctx := oidc.ClientContext(t.Context(), p.Client())

	t.Run("wrong verifier", func(t *testing.T) {
		_, answer := p.pick(t, p.config.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())), p.ada)
		_, err := p.config.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(oauth2.GenerateVerifier()))
		assert.ErrorContains(t, err, "AADSTS501481")
	})
	t.Run("not assigned", func(t *testing.T) {
		resp, _ := p.pick(t, p.config.AuthCodeURL("s"), mallory)
		assert.Equal(t, http.StatusForbidden, resp.StatusCode)
		assert.Contains(t, body(t, resp), "AADSTS50105")
	})
	t.Run("foreign redirect", func(t *testing.T) {
		bad := p.config
		bad.RedirectURL = callback + "/other"
		resp, _ := p.pick(t, bad.AuthCodeURL("s"), p.ada)
		assert.Equal(t, http.StatusBadRequest, resp.StatusCode)
		assert.Empty(t, resp.Header.Get("Location"))
		assert.Contains(t, body(t, resp), "AADSTS50011")
	})
	t.Run("disabled user", func(t *testing.T) {
		bob, err := p.AddUser(entratest.User{Name: "Bob", Username: "bob"})
		require.NoError(t, err)
		require.NoError(t, p.AssignUser(bob, p.appID, "Manager"))
		p.DisableUser(bob, true)
		resp, _ := p.pick(t, p.config.AuthCodeURL("s"), bob)
		assert.Contains(t, body(t, resp), "AADSTS50057")
	})
	for name, change := range map[string]struct{ param, value, want string }{
		"implicit": {"response_type", "token", "unsupported_response_type"}, "silent": {"prompt", "none", "login_required"},
		"no openid": {"scope", "profile", "invalid_scope"}, "plain challenge": {"code_challenge", "x", "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			_, answer := p.pick(t, p.config.AuthCodeURL("s", oauth2.SetAuthURLParam(change.param, change.value)), p.ada)
			assert.Equal(t, change.want, answer.Get("error"))
			assert.Equal(t, "s", answer.Get("state"))
			assert.Empty(t, answer.Get("code"))
		})
	}
	t.Run("form post", func(t *testing.T) {
		resp, _ := p.pick(t, p.config.AuthCodeURL("s", oauth2.SetAuthURLParam("response_mode", "form_post")), p.ada)
		page := body(t, resp)
		assert.Contains(t, page, `action="`+callback+`"`)
		assert.Contains(t, page, `name="code"`)
	})
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	for to, status := range map[string]int{callback: http.StatusFound, "https://evil.example/": http.StatusOK, "": http.StatusOK} {
		resp, err := p.browser().Get(p.Authority() + "/oauth2/v2.0/logout?" + url.Values{"post_logout_redirect_uri": {to}}.Encode())
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, status, resp.StatusCode, to)
	}
}
