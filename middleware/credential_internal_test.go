package middleware

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBearer(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]struct {
		token string
		ok    bool
	}{
		"Bearer a.b.c": {"a.b.c", true}, "bearer a": {"a", true}, "BEARER a": {"a", true}, "Bearer": {"", true}, "Bearer ": {"", true},
		"Bearer  a": {"a", true}, "bearer    a": {"a", true}, "Bearer \ta": {"\ta", true}, "Bearer a ": {"a ", true}, "Bearer\ta": {"", false}, "Bearera": {"", false}, "Basic a": {"", false}, "Digest a": {"", false}, "Bearе a": {"", false}, "Beare": {"", false}, "": {"", false}, " Bearer a": {"", false},
	} {
		token, ok := bearer(header)
		assert.Equal(t, want.token, token, header)
		assert.Equal(t, want.ok, ok, header)
	}
}

// The credentials that a gate finds are those that net/http's own readers
// find, and what is stripped is gone for them.
func FuzzCredentials(f *testing.F) {
	const key, query = "Ocp-Apim-Subscription-Key", "subscription-key"
	f.Add("Bearer a.b.c", "k", "a=b&subscription-key=k&c=d", true, true)
	f.Add("Basic eDp5", "", "subscription%2dkey=k%20k&subscription-key=2", true, false)
	f.Add("bearer", "", "subscription-key&;&=&subscription-key=a;b", true, false)
	f.Add("", "", "subscription-key=%zz&%zz=1&+=2&subscription-key=+", false, false)
	f.Add("Bearer   a.b.c", "", "", true, false)
	f.Add("", "", "0000000000&suBsCription-keY", false, false)
	g := &Gate{cfg: Config{KeyHeader: key, KeyQuery: query}}
	f.Fuzz(func(t *testing.T, auth, header, raw string, hasAuth, hasHeader bool) {
		r := httptest.NewRequest(http.MethodGet, "/x", nil)
		r.URL.RawQuery, r.RequestURI = raw, "/x?"+raw
		if hasAuth {
			r.Header.Add("Authorization", auth)
		}
		if hasHeader {
			r.Header.Add(key, header)
		}
		c := g.find(r, g.keysAt(nil))
		assert.Equal(t, hasAuth, c.hasAuth)
		if c.hasBearer && c.token != "" {
			assert.Equal(t, strings.TrimLeft(auth[len("Bearer "):], " "), c.token, "RFC 9110, 11.4 allows several spaces")
			assert.True(t, strings.EqualFold(auth[:7], "Bearer "))
		}
		values, _ := url.ParseQuery(raw)
		// API Management reads the parameter in any letter case, so the gate does.
		inAnyCase := func(name string, _ []string) bool { return strings.EqualFold(name, query) }
		theirs := values[query]
		value, n := queryValue(raw, query)
		require.GreaterOrEqual(t, n, len(theirs), "one that net/url reads")
		if n == len(theirs) && n > 0 {
			assert.Equal(t, theirs[0], value)
		}
		assert.Equal(t, hasHeader || n > 0, c.hasKey)
		if hasHeader {
			assert.Equal(t, header, c.key, "the header counts")
		}

		out := g.forward(r, g.newPassage(nil, r, nil, &decision{}, 0), &c, &decision{})
		assert.Empty(t, out.Header.Values("Authorization"))
		assert.Empty(t, out.Header.Values(key))
		assert.Equal(t, raw, r.URL.RawQuery, "the caller's request is not changed")
		rest, _ := url.ParseQuery(out.URL.RawQuery)
		maps.DeleteFunc(values, inAnyCase)
		assert.Equal(t, values, rest)
	})
}

func TestCleanPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/": true, "/a": true, "/a/": true, "/a/b": true, "/a.b": true, "/.a": true, "/..a": true, "/a..": true, "/...": true, "/a;b": true, "/é": true, "/\x20": true,
		"": false, "a": false, "a/b": false, "//": false, "/a//b": false, "/a//": false, "/.": false, "/..": false, "/./a": false, "/../a": false, "/a/..": false,
		"/.;x": false, "/..;x/a": false, "/;x": false, "/a\\b": false, "\\": false, "/a\x00": false, "/a\x1f": false, "/a\x7fb": false, "/a\n": false,
	} {
		assert.Equal(t, want, cleanPath(path), "%q", path)
	}
}

// The path of an API is a prefix, with nothing in it that a router gives a
// meaning to.
func TestCheckAPIPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/": true, "/a": true, "/a/b": true, "/a.b/c-d_e~f": true,
		"": false, "a": false, "a/b": false, "/a/": false, "//": false, "/a//b": false, "/./a": false, "/a/..": false,
		"/a*": false, "/{a}": false, "/a}": false, "/a?b": false, "/a#b": false, "/a%20": false, "/a\\b": false, "/a\n": false,
	} {
		assert.Equal(t, want, checkAPIPath(path) == nil, "%q", path)
	}
}

// Paths that any two readers could take differently do not match.
func FuzzCleanPath(f *testing.F) {
	for _, p := range []string{"/", "/echo", "/echo/", "//", "/./x", "/..;a/x", "/a%2fb", "/%65cho", "/a\\b", "", "/.hidden", "/a..b/"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if !cleanPath(p) {
			return
		}
		u := url.URL{Path: p}
		assert.NotContains(t, p, "//")
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Path", r.URL.Path) })
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: &u})
		assert.Equal(t, http.StatusOK, w.Code, "a mux would redirect %q", p)
		assert.Equal(t, p, w.Header().Get("Path"))
	})
}
