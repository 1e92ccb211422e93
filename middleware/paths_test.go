package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	pathpkg "path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/middleware"
)

// Where servers differ in which API a path belongs to, the gate refuses it.
func TestLookAlikes(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	c.publish(products(), append(apis(), appaccess.API{ID: "upper", Path: "/Upper/Case"}))
	g := open(t, managed(newEntra(), c))
	status := func(path string) int {
		u, err := url.Parse("https://example.com" + path)
		require.NoError(t, err, path)
		return g.Explain(&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}).Status
	}
	for path, want := range map[string]int{
		// as another API's
		"/echo/ADMIN": 400, "/echo/aDmin/x": 400, "/ECHO/admin": 400, "/lonel%79": 400, "/LONELY": 400,
		"/echo/admin.": 400, "/echo/admin...": 400, "/echo/admin./x": 400, "/echo./admin": 400,
		"/echo/admin%20": 400, "/echo/%20admin": 400, "/echo/admin%20.": 400, "/echo/admin%2E": 400, "/echo/admin%C2%A0": 400, "/echo/admin%09": 400,
		"/echo/admin%2520": 400, "/echo/admin%252e": 400, "/echo/%2561dmin": 400, "/echo/%252561dmin": 400, "/echo/%25%36%31dmin": 400,
		"/echo/100%25/%252e%252e/admin": 400, "/echo/x%252F..%252Fadmin": 400, "/echo/%252e%252e/lonely": 400, "/echo/x%255c..%255cadmin": 400,
		"/echo/admin;x": 400, "/echo/;x/admin": 400, "/echo/admin%3Bx": 400, "/echo/admin%253Bx": 400,
		"/echo/admin%3Fx": 400, "/echo/admin%23x": 400, "/echo/admin%253Fx": 400, "/echo/admin%2500x": 400,
		"/echo/%20/admin": 400, "/echo/%20.%20/admin": 400, "/echo/x/..%20/admin": 400, "/echo/x/..%2520/admin": 400,
		"/echo/adm%C4%B1n": 400, "/echo/%E2%84%AAx": 401,
		"/upper/case": 400, "/Upper/case/x": 400, "/Upper/Case": 404, "/Upper/Case/X": 404,
		"/echo/%25252525252525252561dmin": 400,
		// as nobody else's
		"/echo/X": 401, "/echo/Order-7.": 401, "/echo/a%20b": 401, "/echo/admins.": 401, "/echo/100%25": 401, "/echo/100%25%20": 401,
		"/echo/a%252Fb": 401, "/echo/https%253A%252F%252Fhost%252Fx": 401, "/echo/a;b/C": 401, "/echo/a?b=/admin": 401, "/echo/x/admin": 401, "/echo/...": 401,
		"/echo/%7Badmin%7D": 401, "/nothing/Here": 404,
	} {
		assert.Equal(t, want, status(path), path)
	}
	two := config(newEntra())
	two.APIs = []appaccess.API{{ID: "a", Path: "/a/b"}, {ID: "b", Path: "/A/b"}}
	_, err := middleware.New(two)
	assert.ErrorContains(t, err, "letter case")
}

// An API whose paths have encoded slashes can say so. Its neighbours stay safe.
func TestAllowEncodedSlash(t *testing.T) {
	t.Parallel()
	c := newCatalog()
	all := apis()
	all[0].AllowEncodedSlash = true // /echo, but not /echo/admin
	c.publish(products(), all)
	h := open(t, managed(newEntra(), c)).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Path", r.URL.EscapedPath())
	}))
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	for path, status := range map[string]int{
		"/echo/repos/group%2Fproject": 200, "/echo/repos/group%2fproject/x": 200, "/echo/https://host/x": 200, "/echo/https:%2F%2Fhost": 200, "/echo//x": 200, "/echo/x//": 200,
		"/echo%2Fx": 400, "/echo%2Fadmin": 400, "/echo/%2Fadmin": 400, "/echo//admin": 400, "/echo/x%2F..%2Fadmin": 400, "/echo/a%2F..%2Fb": 400, "/echo/a%2F%2E%2E%2Fb": 400,
		"/echo/a%5Cb": 400, "/echo/../x": 400, "/echo/a%2F.": 400, "/echo/admin/a%2Fb": 400, "/lonely/a%2Fb": 400, "/echo/a%2F%00": 400,
	} {
		r, err := http.NewRequest(http.MethodGet, srv.URL, nil)
		require.NoError(t, err)
		r.URL.Opaque = path
		r.Header.Set("Authorization", "Bearer "+mint(t, claims(nil)))
		resp, err := srv.Client().Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, status, resp.StatusCode, path)
		if status == 200 {
			assert.Equal(t, path, resp.Header.Get("Path"), "as sent")
		}
	}
}

// reading is how a server may change a path before it routes it.
type reading struct {
	name  string
	apply func(string) string
}

func perSegment(f func(string) string) func(string) string {
	return func(path string) string {
		segments := strings.Split(path, "/")
		for i := range segments {
			segments[i] = f(segments[i])
		}
		return strings.Join(segments, "/")
	}
}

func unescaped(path string) string {
	if out, err := url.PathUnescape(path); err == nil {
		return out
	}
	return path
}

// readings are applied in this order, each or not.
var readings = []reading{
	{"decodes again", unescaped},
	{"decodes once more", unescaped},
	{"ends at a question mark", func(p string) string { p, _, _ = strings.Cut(p, "?"); return p }},
	{"backslash", func(p string) string { return strings.ReplaceAll(p, `\`, "/") }},
	{"parameters", perSegment(func(s string) string { s, _, _ = strings.Cut(s, ";"); return s })},
	{"trims", perSegment(func(s string) string { return strings.TrimRight(strings.TrimSpace(s), ". ") })},
	{"folds case", strings.ToLower},
	{"cleans", func(p string) string { return pathpkg.Clean(p) }},
}

// apiOf is the API whose path is the longest prefix, by whole segments.
func apiOf(path string, paths map[string]string) string {
	best, id := "", ""
	for prefix, api := range paths {
		if (path == prefix || strings.HasPrefix(path, prefix+"/")) && len(prefix) > len(best) {
			best, id = prefix, api
		}
	}
	return id
}

// FuzzRoutes: what the gate takes for a path of one API is no other API's for
// net/http's ServeMux, nor for a router that folds letter case, decodes again,
// trims or cleans, in any combination.
func FuzzRoutes(f *testing.F) {
	for _, p := range []string{"/echo", "/echo/ADMIN", "/echo/admin.", "/echo/%61dmin", "/echo/%2561dmin%20", "/echo/x%252F..%252Fadmin", "/echo/;x/admin", "/lonely%3fx", "/echo/.%20./lonely", "/echo//admin", "/ec%2568o/x%5c..%5cadmin"} {
		f.Add(p, false)
		f.Add(p, true)
	}
	paths := map[string]string{"/echo": "echo", "/echo/admin": "admin", "/lonely": "lonely", "/echo/deep/er": "deep"}
	mux := http.NewServeMux()
	var reached string
	for path, id := range paths {
		for _, pattern := range []string{path, path + "/"} {
			mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) { reached = id })
		}
	}
	gates := map[bool]*middleware.Gate{}
	for _, slashes := range []bool{false, true} {
		var all []appaccess.API
		p := appaccess.Product{ID: "starter", Access: appaccess.Access{Key: true}}
		for path, id := range paths {
			all = append(all, appaccess.API{ID: id, Path: path, AllowEncodedSlash: slashes && id != "admin"})
			p.APIs = append(p.APIs, id)
		}
		c := newCatalog()
		c.publish([]appaccess.Product{p}, all)
		gates[slashes] = open(f, managed(newEntra(), c))
	}
	f.Fuzz(func(t *testing.T, raw string, slashes bool) {
		u, err := url.ParseRequestURI(raw)
		if err != nil || u.Host != "" || u.Opaque != "" {
			return
		}
		r := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}, Host: "example.com"}
		d := gates[slashes].Explain(r)
		if d.Status == 400 || d.Status == 404 {
			return
		}
		reached = ""
		mux.ServeHTTP(httptest.NewRecorder(), r)
		if reached != "" {
			require.Equal(t, d.API, reached, "ServeMux")
		}
		for set := range 1 << len(readings) {
			path, names := u.Path, ""
			for i, how := range readings {
				if set&(1<<i) != 0 {
					path, names = how.apply(path), names+how.name+", "
				}
			}
			if api := apiOf(path, paths); api != "" {
				require.Equal(t, d.API, api, "a router that %s: %q", names, path)
			}
		}
	})
}
