package middleware

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/cloud"
)

// policy is a compiled snapshot. It is immutable.
type policy struct {
	snapshot  *appaccess.Snapshot
	products  map[string]*product
	routes    map[string]*route   // by API
	single    map[string]*route   // by product
	every     *route              // all products, for Explain
	root      *segment            // tree of the API paths
	loose     *segment            // the same tree with folded names
	audiences map[string]*product // which product has an audience
	audList   string              // all audiences, for records
}

// product is a compiled product.
type product struct {
	id, name  string
	access    appaccess.Access
	suspended bool
	published bool
	audiences []string
	audList   string // the audiences, for records
	role      string
	roles     map[string]string   // further role values, by permission
	clients   []string            // clients whose tokens pass; empty: any
	scopes    []string            // scopes with which users' tokens pass
	claims    map[string][]string // required claims and their accepted values
	scope     string              // for challenges; empty if no challenge can hold it
	apis      []string
}

// route is a set of products, each of which can let a request pass.
type route struct {
	api      string // empty for a whole product
	path     string
	slashes  bool // paths may have empty segments and encoded slashes
	products []*product
	token    bool // some product accepts tokens
	key      bool
	open     bool   // no product of the route, or of the same APIs, asks for a credential
	scope    string // of the first product that accepts tokens now
	audList  string // the audiences of the products that accept tokens, for records
	ops      *operations
	keys     keyNames // key names of the API's own; otherwise empty
	enforced bool     // for a whole product: an API of it enforces or reports operations
}

// segment is a node of the tree of API paths. An edge is one path segment.
type segment struct {
	next  map[string]*segment
	route *route
}

// newPolicy compiles a snapshot. static has the products of static mode by ID; it is
// nil in managed mode.
func newPolicy(s *appaccess.Snapshot, static map[string]*Product) *policy {
	p := &policy{
		snapshot: s, products: map[string]*product{}, routes: map[string]*route{}, single: map[string]*route{},
		every: &route{}, root: &segment{}, loose: &segment{}, audiences: map[string]*product{},
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
		r := &route{api: api.ID, path: api.Path, slashes: api.AllowEncodedSlash, keys: keyNames{http.CanonicalHeaderKey(api.KeyHeader), api.KeyQuery}}
		for _, sp := range s.ProductsOf(api.ID) {
			r.add(p.products[sp.ID])
		}
		r.finish()
		r.ops = newOperations(api, r.products)
		p.routes[api.ID] = r
		p.root.insert(api.Path, r)
		p.loose.insert(fold(api.Path), r)
	}
	for id, pr := range p.products {
		r := &route{}
		r.add(pr)
		r.finish()
		for _, api := range pr.apis { // not open if another product protects one of the APIs
			other := p.routes[api]
			if other != nil && !other.open {
				r.open = false
			}
			r.enforced = r.enforced || other != nil && other.ops != nil
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
		role:      sp.Entra.Role(appaccess.AllPermission), scope: sp.Entra.Scope(), apis: sp.APIs,
	}
	pr.roles = make(map[string]string, len(sp.Permissions))
	for _, permission := range sp.Permissions {
		pr.roles[permission.Name] = sp.Entra.Role(permission.Name)
	}
	if st != nil {
		pr.audiences, pr.scope, pr.roles = slices.Clone(st.Audiences), staticScope(st), st.Permissions
		pr.clients, pr.scopes, pr.claims = st.Clients, st.Scopes, st.Claims
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
		if r.scope == "" && !p.suspended && p.admitsSomeone() {
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

// scopeFor is the scope of a product of the route, or the route's scope if the
// product accepts no tokens.
func (r *route) scopeFor(product string) string {
	for _, p := range r.products {
		if p.id == product && p.access.Token {
			return p.scope
		}
	}
	return r.scope
}

// mostNamed is how many values of a list a record names.
const mostNamed = 10

// anyOf joins the first mostNamed values of a list with "or".
func anyOf(list []string) string {
	if len(list) > mostNamed {
		return strings.Join(list[:mostNamed], " or ") + " or another"
	}
	return strings.Join(list, " or ")
}

// notScope reports whether a challenge's scope cannot hold r (RFC 6749, 3.3).
func notScope(r rune) bool { return r <= ' ' || r == '"' || r == '\\' || r > '~' }

// accepts reports whether all audiences of a token belong to the product.
func (p *product) accepts(aud []string) bool {
	for _, a := range aud {
		if !slices.Contains(p.audiences, a) {
			return false
		}
	}
	return len(aud) > 0
}

// admitsSomeone reports whether the product has a role or clients. Without both no
// token passes.
func (p *product) admitsSomeone() bool { return p.role != "" || len(p.clients) > 0 }

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
	if n.route != nil { // two APIs whose paths differ only by letter case: refuse both
		r = &route{}
	}
	n.route = r
}

// match finds the API whose path is the longest prefix of a clean URL path, by whole
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
