package middleware

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// credentials are what a request presents, unverified.
type credentials struct {
	token      string // of an Authorization header with the Bearer scheme
	key        string
	hasAuth    bool // some Authorization header is there
	hasBearer  bool // one of the Bearer scheme, however malformed
	hasKey     bool // a key's header or parameter is there
	keyInQuery bool // the query has the parameter, whether it counts or not
	twoAuth    bool
	twoKeys    bool
}

// none reports that no credential of any kind was presented.
func (c *credentials) none() bool { return !c.hasAuth && !c.hasKey }

// find takes the credentials from a request.
func (g *Gate) find(r *http.Request) credentials {
	var c credentials
	if auth := r.Header["Authorization"]; len(auth) > 0 {
		c.hasAuth, c.twoAuth = true, len(auth) > 1
		c.token, c.hasBearer = bearer(auth[0])
	}
	if g.cfg.KeyQuery != "" && r.URL.RawQuery != "" {
		var n int
		c.key, n = queryValue(r.URL.RawQuery, g.cfg.KeyQuery)
		c.keyInQuery, c.hasKey, c.twoKeys = n > 0, n > 0, n > 1
	}
	if keys := r.Header[g.cfg.KeyHeader]; len(keys) > 0 {
		c.key, c.hasKey, c.twoKeys = keys[0], true, len(keys) > 1
	}
	return c
}

// bearer splits an Authorization header (RFC 6750, 2.1): the scheme in any
// case, one space, and what must be a token, as it stands.
func bearer(header string) (token string, ok bool) {
	const scheme = "Bearer"
	if len(header) < len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", false
	}
	rest := header[len(scheme):]
	if rest == "" || rest[0] != ' ' {
		return "", rest == ""
	}
	return rest[1:], true
}

// queryValue finds a parameter as [url.ParseQuery] would, without a map. It
// returns the first value and how many there are.
func queryValue(raw, name string) (value string, n int) {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if !isParameter(pair, name) {
			continue
		}
		if n++; n == 1 {
			_, v, _ := strings.Cut(pair, "=")
			value, _ = url.QueryUnescape(v)
		}
	}
	return value, n
}

func isParameter(pair, name string) bool {
	k, _, _ := strings.Cut(pair, "=")
	if strings.ContainsAny(k, "%+") {
		k, _ = url.QueryUnescape(k)
	}
	return k == name
}

// withoutParameter is a query without a parameter, the rest as it stands.
func withoutParameter(raw, name string) string {
	var b strings.Builder
	for pair := range strings.SplitSeq(raw, "&") {
		if isParameter(pair, name) {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(pair)
	}
	return b.String()
}

// redact takes the key out of a request's URL and form. What it points to may
// be another request's, too: those get new ones.
func redact(r *http.Request, name string) {
	u := *r.URL
	u.RawQuery = withoutParameter(u.RawQuery, name)
	r.URL = &u
	if r.Form.Has(name) { // somebody has parsed it already
		r.Form = maps.Clone(r.Form)
		delete(r.Form, name)
		if posted := r.PostForm[name]; len(posted) > 0 {
			r.Form[name] = posted
		}
	}
	if uri, query, ok := strings.Cut(r.RequestURI, "?"); ok {
		if query = withoutParameter(query, name); query != "" {
			uri += "?" + query
		}
		r.RequestURI = uri
	}
}

// HideKeys takes a subscription key out of the query before anything else sees
// the request, and puts it into its header, where the gate looks for it. Put it
// outside of all that logs, traces or copies the request: Config.RedactKeyQuery
// mends the URL too late for those. It decides nothing and guards nothing.
//
// A key in the header stays what counts, as in API Management. The same key
// parameter twice becomes the same header twice, which the gate refuses.
func (g *Gate) HideKeys(next http.Handler) http.Handler {
	name := g.cfg.KeyQuery
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, n := "", 0
		if name != "" && r.URL.RawQuery != "" {
			value, n = queryValue(r.URL.RawQuery, name)
		}
		if n > 0 {
			r = r.WithContext(r.Context())
			redact(r, name)
			if len(r.Header[g.cfg.KeyHeader]) == 0 {
				if r.Header = r.Header.Clone(); r.Header == nil {
					r.Header = http.Header{}
				}
				r.Header[g.cfg.KeyHeader] = slices.Repeat([]string{value}, min(n, 2))
			}
		}
		next.ServeHTTP(w, r)
	})
}

// forward is the request that the handler gets: with the principal in its
// context, and without the credentials that must not reach it.
func (g *Gate) forward(r *http.Request, c *credentials, d *decision) *http.Request {
	out := g.principalOnly(r, d)
	keep := d.caller.kind()
	if g.cfg.RemoveCredentials {
		keep = ""
	}
	dropToken := c.hasAuth && (keep != TokenCredential)
	dropKey := c.hasKey && (keep != KeyCredential)
	if !dropToken && !dropKey && !c.keyInQuery {
		return out
	}
	return g.strip(r, out, c, dropToken, dropKey)
}

// principalOnly is the request with the principal in its context, and nothing
// else changed. Where there is none, that of a gate further out does not show.
func (g *Gate) principalOnly(r *http.Request, d *decision) *http.Request {
	if d.caller.product == nil && r.Context().Value(callerKey{}) == nil {
		return r
	}
	return r.WithContext(&callerContext{r.Context(), d.caller})
}

func (g *Gate) strip(r, out *http.Request, c *credentials, dropToken, dropKey bool) *http.Request {
	if out == r {
		out = r.WithContext(r.Context())
	}
	_, header := r.Header[g.cfg.KeyHeader]
	if dropToken || dropKey && header {
		out.Header = r.Header.Clone()
		if dropToken {
			delete(out.Header, "Authorization")
		}
		if dropKey {
			delete(out.Header, g.cfg.KeyHeader)
		}
	}
	// With a key in the header, one in the query was not looked at.
	if c.keyInQuery && (dropKey || header || g.cfg.RedactKeyQuery) {
		redact(out, g.cfg.KeyQuery)
	}
	return out
}
