package middleware

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/cloud"
)

// policy is a snapshot made ready for requests. It is immutable.
type policy struct {
	snapshot  *appaccess.Snapshot
	products  map[string]*product
	routes    map[string]*route // by API
	single    map[string]*route // by product
	every     *route            // all products, for Explain
	root      *segment
	audiences map[string]*product // of all products, the one that has it
	audList   string              // the same, for people
}

// product is what a request is held against.
type product struct {
	id, name  string
	access    appaccess.Access
	suspended bool
	published bool
	audiences []string
	audList   string // the same, for people
	role      string
	scope     string // that can stand in a challenge; empty if there is none
	apis      []string
}

// route is the products that may let a request pass.
type route struct {
	api      string // empty for a whole product
	path     string
	products []*product
	token    bool // some product accepts tokens
	key      bool
	open     bool   // no product, here or elsewhere, asks for a credential for this
	scope    string // of a product that a token could pass by
	audList  string // the audiences of the products that accept tokens, for people
}

// segment is a node of the tree of API paths.
type segment struct {
	next  map[string]*segment
	route *route
}

// newPolicy compiles a snapshot. static gives the audiences and scopes of
// static mode by product; nil in managed mode.
func newPolicy(s *appaccess.Snapshot, static map[string]*Product) *policy {
	p := &policy{
		snapshot: s, products: map[string]*product{}, routes: map[string]*route{}, single: map[string]*route{},
		every: &route{}, root: &segment{}, audiences: map[string]*product{},
	}
	for sp := range s.Products() {
		pr := newProduct(sp, static[sp.ID])
		p.products[pr.id] = pr
		p.every.add(pr)
		for _, aud := range pr.audiences {
			p.audiences[aud] = pr
		}
	}
	for api := range s.APIs() {
		r := &route{api: api.ID, path: api.Path}
		for _, sp := range s.ProductsOf(api.ID) {
			r.add(p.products[sp.ID])
		}
		r.finish()
		p.routes[api.ID] = r
		p.root.insert(api.Path, r)
	}
	for id, pr := range p.products {
		r := &route{}
		r.add(pr)
		r.finish()
		for _, api := range pr.apis { // an API that another product protects stays so
			if other := p.routes[api]; other != nil && !other.open {
				r.open = false
			}
		}
		p.single[id] = r
	}
	p.every.finish()
	p.audList = anyOf(slices.Sorted(maps.Keys(p.audiences)))
	return p
}

func newProduct(sp *appaccess.Product, st *Product) *product {
	pr := &product{
		id: sp.ID, name: sp.Name, access: sp.Access, suspended: sp.Suspended,
		published: sp.State == appaccess.Published,
		role:      sp.Entra.Role, scope: sp.Entra.Scope(), apis: sp.APIs,
	}
	if st != nil {
		pr.audiences, pr.scope = slices.Clone(st.Audiences), staticScope(st)
	} else {
		for _, aud := range []string{sp.Entra.AppID, sp.Entra.IdentifierURI} {
			if aud != "" {
				pr.audiences = append(pr.audiences, aud)
			}
		}
	}
	if strings.ContainsFunc(pr.scope, notScope) {
		pr.scope = ""
	}
	pr.audList = anyOf(pr.audiences)
	return pr
}

func staticScope(p *Product) string {
	switch {
	case p.Scope != "" || len(p.Audiences) == 0:
		return p.Scope
	case cloud.IsGUID(p.Audiences[0]):
		return "api://" + p.Audiences[0] + defaultScope
	}
	return p.Audiences[0] + defaultScope
}

func (r *route) add(p *product) {
	r.products = append(r.products, p)
	r.token = r.token || p.access.Token
	r.key = r.key || p.access.Key
}

func (r *route) finish() {
	r.open = len(r.products) > 0 && !r.token && !r.key
	var lists []string
	for _, p := range r.products {
		if !p.access.Token {
			continue
		}
		if r.scope == "" && !p.suspended && p.role != "" {
			r.scope = p.scope
		}
		if p.audList != "" {
			lists = append(lists, p.audList)
		}
	}
	if r.audList = anyOf(lists); r.audList == "" {
		r.audList = "no product of the route accepts tokens"
	}
}

// scopeFor is what a caller should ask for who came closest to a product.
func (r *route) scopeFor(product string) string {
	for _, p := range r.products {
		if p.id == product && p.access.Token {
			return p.scope
		}
	}
	return r.scope
}

// mostNamed is how many of a list people are told.
const mostNamed = 10

// anyOf names those of a list, up to mostNamed.
func anyOf(list []string) string {
	if len(list) > mostNamed {
		return strings.Join(list[:mostNamed], " or ") + " or another"
	}
	return strings.Join(list, " or ")
}

// notScope keeps what cannot stand in a challenge out of it (RFC 6749, 3.3).
func notScope(r rune) bool { return r <= ' ' || r == '"' || r == '\\' || r > '~' }

// accepts reports whether all of a token's audiences are the product's.
func (p *product) accepts(aud []string) bool {
	for _, a := range aud {
		if !slices.Contains(p.audiences, a) {
			return false
		}
	}
	return len(aud) > 0
}

func (n *segment) insert(path string, r *route) {
	for s := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if s == "" {
			continue
		}
		if n.next == nil {
			n.next = map[string]*segment{}
		}
		if n.next[s] == nil {
			n.next[s] = &segment{}
		}
		n = n.next[s]
	}
	n.route = r
}

// match finds the longest API path that holds a clean URL path, by whole
// segments.
func (p *policy) match(path string) *route {
	n, found := p.root, p.root.route
	rest := strings.TrimPrefix(path, "/")
	for rest != "" && n.next != nil {
		s, tail, _ := strings.Cut(rest, "/")
		if n = n.next[s]; n == nil {
			break
		}
		if n.route != nil {
			found = n.route
		}
		rest = tail
	}
	return found
}

var errPath = errors.New("must be / or segments of letters, digits and -._~ that each begin with a slash, without a dot segment")

// checkAPIPath takes what reads the same escaped or not: a request whose path
// has escapes is held against the API's both ways.
func checkAPIPath(path string) error {
	if path == "/" {
		return nil
	}
	foreign := func(r rune) bool { return r != '/' && notToken(r) }
	if strings.ContainsFunc(path, foreign) || !cleanPath(path) || strings.HasSuffix(path, "/") {
		return errPath
	}
	return nil
}

// cleanPath reports whether a decoded URL path reads the same for every
// router: no empty segment but at the end, no dot segment (both also with a
// parameter, "..;x"), no backslash, no control character.
func cleanPath(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	start := 1
	for i := 1; i <= len(path); i++ {
		if i < len(path) {
			if c := path[i]; c == '\\' || c < 0x20 || c == 0x7f {
				return false
			} else if c != '/' {
				continue
			}
		}
		if !cleanSegment(path[start:i], i == len(path)) {
			return false
		}
		start = i + 1
	}
	return true
}

func cleanSegment(s string, last bool) bool {
	if s == "" {
		return last
	}
	if s[0] != '.' && s[0] != ';' {
		return true
	}
	name, _, _ := strings.Cut(s, ";")
	return name != "" && name != "." && name != ".."
}

// withoutParameters is a path as servers read it that take what follows a
// semicolon for a parameter of the segment (RFC 3986, 3.3).
func withoutParameters(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

// routeOf finds the route of a request by the path that its handler sees. The
// failure is empty if there is one.
func (p *policy) routeOf(path, rawPath string) (*route, failure) {
	if !cleanPath(path) || rawPath != "" && ambiguousEscapes(rawPath) {
		return nil, failure{reason: PathNotAllowed, status: 400, field: "path", got: clip(path), want: "no dot segment, no //, no encoded slash"}
	}
	r := p.match(path)
	if rawPath != "" && p.match(rawPath) != r { // some routers look at the path as it was sent
		return nil, failure{reason: PathNotAllowed, status: 400, field: "path", got: clip(rawPath), want: "no needless escapes"}
	}
	if strings.IndexByte(path, ';') >= 0 && p.match(withoutParameters(path)) != r {
		return nil, failure{reason: PathNotAllowed, status: 400, field: "path", got: clip(path), want: "no parameter (;) in an API's path"}
	}
	if r == nil || len(r.products) == 0 {
		return r, failure{reason: OperationNotFound, status: 404, field: "path", got: clip(path), want: "a path of an API that is in a product"}
	}
	return r, failure{}
}

// ambiguousEscapes finds encoded slashes and backslashes.
func ambiguousEscapes(raw string) bool {
	for {
		i := strings.IndexByte(raw, '%')
		if i < 0 || len(raw) < i+3 {
			return false
		}
		hex := raw[i+1 : i+3]
		if hex == "2f" || hex == "2F" || strings.EqualFold(hex, "5c") {
			return true
		}
		raw = raw[i+3:]
	}
}
