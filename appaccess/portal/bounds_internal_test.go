package portal

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Wherever a sign-in leads back to, a browser stays on the portal.
func FuzzReturnPath(f *testing.F) {
	for _, seed := range []string{"", "/", "/portal/", "/portal/x?y=z", "//evil", `/\evil`, "/portal/../x", "/portal/%2e%2e/x", "/portal//evil", "/portal/\tx", "http:///portal/"} {
		f.Add(seed)
	}
	host, err := url.Parse("https://apis.contoso.com/portal/signin/callback")
	require.NoError(f, err)
	p := &Portal{prefix: "/portal"}
	f.Fuzz(func(t *testing.T, to string) {
		got := p.localPath(to)
		u, err := host.Parse(got)
		require.NoError(t, err)
		assert.Equal(t, "apis.contoso.com", u.Host, got)
		assert.Equal(t, "https", u.Scheme, got)
		assert.True(t, strings.HasPrefix(u.Path, "/portal/"), got)
		assert.NotContains(t, got, `\`)
	})
}

// Whatever is typed into the Try it box, the request stays with the API.
func FuzzTryURL(f *testing.F) {
	for _, seed := range []string{"", "/", "/42?x=y", "/../x", "@evil", "?a=/../b", "/%2e%2e/x", "//evil/x", "/a/./b", ":8080/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		got, err := tryURL("https://api.contoso.com:8443/orders/v1/", rest)
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		require.NoError(t, err)
		assert.Equal(t, "https", u.Scheme)
		assert.Equal(t, "api.contoso.com:8443", u.Host)
		assert.Nil(t, u.User)
		clean := u.JoinPath()
		assert.True(t, clean.Path == "/orders/v1" || strings.HasPrefix(clean.Path, "/orders/v1/"), got)
	})
}

// What was not sealed by us for the same purpose does not open.
func FuzzSeal(f *testing.F) {
	ring, err := newKeyring(nil) // a key of this process: no other made what opens
	require.NoError(f, err)
	good, err := ring.seal("session", session{User: User{Name: "Ada"}})
	require.NoError(f, err)
	f.Add(good)
	f.Add(good[:20])
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		var one session
		if ring.open("session", text, &one) == nil {
			assert.Equal(t, good, text)
		}
		assert.Error(t, ring.open("flash", text, &one))
	})
}
