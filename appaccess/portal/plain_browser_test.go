package portal_test

import (
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess/portal"
)

// On loopback the portal may be served without TLS: browsers take its Secure
// cookies there all the same.
func TestSignInOverPlainHTTPOnLoopback(t *testing.T) {
	t.Parallel()
	s := newSignInWorld(t)
	plain := httptest.NewServer(nil)
	t.Cleanup(plain.Close)
	redirect := plain.URL + prefix + "/signin/callback"
	app, secret := s.registration(redirect)
	cfg, in := s.cfg, *s.cfg.SignIn
	in.ClientID, in.ClientSecret, in.RedirectURL = app, secret, redirect
	cfg.SignIn = &in
	p, err := portal.New(cfg)
	require.NoError(t, err)
	plain.Config.Handler = p
	s.web = plain
	b := s.open(t, "")
	do(b, chromedp.Navigate(plain.URL+prefix+"/"))
	b.pickAccount("Ada Lovelace")
	b.sees("The client applications that you own")
	b.press("Sign out")
	b.sees("You are signed out")
	b.clean()
}
