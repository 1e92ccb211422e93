package portal

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// cookie is the name of a cookie of this portal. It holds the portal's instance:
// two portals on one host must not end each other's sessions, and __Host- allows
// no path to tell them apart.
func (p *Portal) cookie(name string) string {
	return "__Host-entragate-" + name + "-" + p.instance
}

// purpose is what a sealed value is for. It holds the instance: portals that
// share keys, such as staging and production, must not take each other's
// sessions.
func (p *Portal) purpose(name string) string { return name + " of " + p.identity }

// instanceOf is a short name for an identity.
func instanceOf(identity string) string {
	sum := sha256.Sum256([]byte(identity))
	return hex.EncodeToString(sum[:4])
}

// identityOf is what makes a portal the same one as another: its place and, with
// the ready sign-in, tenant, registration and redirect address.
func identityOf(cfg Config) string {
	parts := []string{cfg.Prefix}
	if s := cfg.SignIn; s != nil {
		parts = append(parts, strings.ToLower(s.TenantID), strings.ToLower(s.ClientID), s.RedirectURL)
	}
	return strings.Join(parts, "\n")
}

// setCookie sets a cookie that is HttpOnly, Secure and for this host alone. An
// empty value removes it.
func setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	c := &http.Cookie{
		Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: int(life / time.Second),
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
