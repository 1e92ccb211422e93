package middleware

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// credentials are the credentials that a request carries, not verified.
type credentials struct {
	token      string // of an Authorization header with the Bearer scheme
	key        string
	hasAuth    bool // the request has an Authorization header
	hasBearer  bool // its scheme is Bearer, even if the rest is malformed
	hasKey     bool // the request has a key in the header or the query
	keyInQuery bool // the query has the key parameter, even if the header has a key too
	twoAuth    bool
	twoKeys    bool
	names      keyNames // header and parameter that were read
	// The API has key names of its own, and the request has a key under the names of
	// the Config, too. That key is ignored, and must not reach the handler.
	strayHeader, strayQuery bool
}

// keyNames are the header and the query parameter of a subscription key. If query
// is empty, a key in the query is not read.
type keyNames struct{ header, query string }

// keysAt returns the key names of a route; r may be nil.
func (g *Gate) keysAt(r *route) keyNames {
	names := keyNames{g.cfg.KeyHeader, g.cfg.KeyQuery}
	if r != nil && r.keys.header != "" {
		names.header = r.keys.header
	}
	if r != nil && r.keys.query != "" {
		names.query = r.keys.query
	}
	return names
}

// none reports whether the request carries no credential at all.
func (c *credentials) none() bool { return !c.hasAuth && !c.hasKey }

// find reads the credentials of a request.
func (g *Gate) find(r *http.Request, names keyNames) credentials {
	c := credentials{names: names}
	if auth := r.Header["Authorization"]; len(auth) > 0 {
		c.hasAuth, c.twoAuth = true, len(auth) > 1
		c.token, c.hasBearer = bearer(auth[0])
	}
	if names.query != "" && r.URL.RawQuery != "" {
		var n int
		c.key, n = queryValue(r.URL.RawQuery, names.query)
		c.keyInQuery, c.hasKey, c.twoKeys = n > 0, n > 0, n > 1
	}
	if names.header != g.cfg.KeyHeader {
		c.strayHeader = len(r.Header[g.cfg.KeyHeader]) > 0
	}
	if g.cfg.KeyQuery != "" && !strings.EqualFold(names.query, g.cfg.KeyQuery) && r.URL.RawQuery != "" {
		_, n := queryValue(r.URL.RawQuery, g.cfg.KeyQuery)
		c.strayQuery = n > 0
	}
	if keys := r.Header[names.header]; len(keys) > 0 {
		c.key, c.hasKey, c.twoKeys = keys[0], true, len(keys) > 1
	}
	return c
}

// redactFrom removes every key from a request's URL. configured is the query
// parameter that the Config names.
func (c *credentials) redactFrom(r *http.Request, configured string) {
	if c.keyInQuery {
		redact(r, c.names.query)
	}
	if c.strayQuery {
		redact(r, configured)
	}
}

// bearer splits an Authorization header: the scheme in any letter case, one or more
// spaces (RFC 9110, 11.4), and the token as it was sent. ok reports whether the
// scheme is Bearer.
func bearer(header string) (token string, ok bool) {
	const scheme = "Bearer"
	if len(header) < len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", false
	}
	rest := header[len(scheme):]
	if rest == "" || rest[0] != ' ' {
		return "", rest == ""
	}
	return strings.TrimLeft(rest, " "), true
}

// queryValue finds a parameter like [url.ParseQuery], but without a map and in any
// letter case, as API Management does. It returns the first value and how many
// there are.
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
	return strings.EqualFold(k, name)
}

// withoutParameter removes a parameter from a query and changes nothing else.
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

// redact removes the key from a request's URL and form. It replaces URL and form
// instead of changing them, because other copies of the request may share them.
func redact(r *http.Request, name string) {
	u := *r.URL
	u.RawQuery = withoutParameter(u.RawQuery, name)
	r.URL = &u
	isKey := func(k string, _ []string) bool { return strings.EqualFold(k, name) }
	if r.Form != nil { // the form was parsed before
		r.Form = maps.Clone(r.Form)
		maps.DeleteFunc(r.Form, isKey)
		for k, posted := range r.PostForm {
			if isKey(k, nil) {
				r.Form[k] = posted
			}
		}
	}
	if uri, query, ok := strings.Cut(r.RequestURI, "?"); ok {
		if query = withoutParameter(query, name); query != "" {
			uri += "?" + query
		}
		r.RequestURI = uri
	}
}

// HideKeys is a middleware that moves a subscription key from the query to the
// header, where the gate reads it. Put it outside of every handler that logs,
// traces or copies the request: Config.RedactKeyQuery cleans the URL too late for
// those. HideKeys does not guard anything.
//
// If an API has key names of its own, HideKeys finds the API by the path, like
// [Gate.Wrap], and removes the parameter of Config.KeyQuery without moving it. It
// does not find the API if a handler further in removes a prefix from the path.
//
// A key in the header takes precedence over one in the query, as in API
// Management. If the query has the parameter more than once, the header is set
// twice, and the gate refuses the request.
func (g *Gate) HideKeys(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var route *route
		if p := g.current(); p != nil {
			route, _ = byPath(p, r)
		}
		names := g.keysAt(route)
		c := g.find(r, names)
		if c.keyInQuery || c.strayQuery {
			r = r.WithContext(r.Context())
			c.redactFrom(r, g.cfg.KeyQuery)
		}
		if c.keyInQuery && len(r.Header[names.header]) == 0 {
			if r.Header = r.Header.Clone(); r.Header == nil {
				r.Header = http.Header{}
			}
			r.Header[names.header] = []string{c.key}
			if c.twoKeys {
				r.Header[names.header] = []string{c.key, c.key}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// forward returns the request for the handler: with the passage as its context, and
// without the credentials that must not reach the handler.
func (g *Gate) forward(r *http.Request, p *passage, c *credentials, d *decision) *http.Request {
	out := r.WithContext(p)
	keep := d.caller.kind()
	if g.cfg.RemoveCredentials {
		keep = ""
	}
	dropToken := c.hasAuth && keep != TokenCredential
	dropKey := c.hasKey && keep != KeyCredential
	if !dropToken && !dropKey && !c.keyInQuery && !c.strayHeader && !c.strayQuery {
		return out
	}
	_, header := r.Header[c.names.header]
	if dropToken || dropKey && header || c.strayHeader {
		out.Header = r.Header.Clone()
		if dropToken {
			delete(out.Header, "Authorization")
		}
		if dropKey {
			delete(out.Header, c.names.header)
		}
		if c.strayHeader {
			delete(out.Header, g.cfg.KeyHeader)
		}
	}
	if c.strayQuery {
		redact(out, g.cfg.KeyQuery)
	}
	// With a key in the header, the key in the query was not verified.
	if c.keyInQuery && (dropKey || header || g.cfg.RedactKeyQuery) {
		redact(out, c.names.query)
	}
	return out
}

// principalOnly returns the request of report-only mode: only the principal is
// added to its context. If there is no principal, it hides the principal of a gate
// further out.
func (g *Gate) principalOnly(r *http.Request, d *decision) *http.Request {
	if d.caller.product == nil && r.Context().Value(callerKey{}) == nil {
		return r
	}
	return r.WithContext(&callerContext{r.Context(), d.caller})
}
