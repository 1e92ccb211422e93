package portal_test

import (
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess/portal"
)

// Logo, colours, contact, terms and footer are the host's; the policy stays as
// strict.
func TestThePortalCanLookLikeItsHost(t *testing.T) {
	t.Parallel()
	logo := []byte(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><script>alert(1)</script></svg>`)
	w := newWorld(t, func(_ *world, cfg *portal.Config) {
		cfg.Brand = portal.Brand{Logo: logo, Accent: "#7a1fa2", AccentDark: "#d9a7ff", Support: "mailto:help@contoso.example", Terms: "https://contoso.example/terms", Footer: "Contoso <Platform>"}
	})
	m := w.visit("manager")
	page := m.get("/")
	has(t, page, "Contoso &lt;Platform&gt;")
	has(t, page, `href="mailto:help@contoso.example"`)
	has(t, page, `href="https://contoso.example/terms"`)
	assert.NotContains(t, page.Header.Get("Content-Security-Policy"), "unsafe")
	css := m.do(http.MethodGet, regexp.MustCompile(`href="([^"]*brand\.[0-9a-f]+\.css)"`).FindStringSubmatch(page.Body)[1], nil)
	has(t, css, "--accent: #7a1fa2")
	icon := m.do(http.MethodGet, regexp.MustCompile(`img src="([^"]*icon\.[0-9a-f]+\.svg)"`).FindStringSubmatch(page.Body)[1], nil)
	assert.Equal(t, string(logo), icon.Body)
	assert.Contains(t, icon.Header.Get("Content-Security-Policy"), "default-src 'none'")
	require.Equal(t, "image/svg+xml", icon.Header.Get("Content-Type"))

	// An empty logo is none.
	own := newWorld(t, func(_ *world, cfg *portal.Config) { cfg.Brand.Logo = []byte{} }).visit("manager")
	icon = own.do(http.MethodGet, regexp.MustCompile(`img src="([^"]*icon\.[0-9a-f]+\.svg)"`).FindStringSubmatch(own.get("/").Body)[1], nil)
	require.Equal(t, "image/svg+xml", icon.Header.Get("Content-Type"))
	has(t, icon, "<svg")

	for _, bad := range []portal.Brand{{Accent: "red"}, {Accent: "#ffff00"}, {AccentDark: "#000000"}, {Support: "javascript:alert(1)"}, {Terms: "http://contoso.example"}, {Logo: []byte("GIF89a")}} {
		_, err := portal.New(portal.Config{Service: w.service, Authenticate: w.authenticate, Brand: bad})
		assert.ErrorContains(t, err, "portal: Brand.")
	}
}
