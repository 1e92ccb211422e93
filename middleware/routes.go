package middleware

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// RouteProblem is a problem of a route pattern behind [Gate.Wrap].
type RouteProblem struct {
	// Pattern is the pattern, or for [RouteMissing] method and path of the operation.
	Pattern string
	Issue   RouteIssue
	// Detail names the APIs, operations and products concerned.
	Detail string
}

func (p RouteProblem) String() string {
	return p.Pattern + ": " + string(p.Issue) + ": " + p.Detail
}

// RouteIssue is a kind of [RouteProblem].
type RouteIssue string

// The issues.
const (
	// RouteUncovered: a path of the pattern is in no API, or in an API without a
	// product, or no path of the pattern is an operation of its API. The gate refuses
	// such a path, so the handler is not reached.
	RouteUncovered RouteIssue = "uncovered"
	// RouteOpen: no product of the API asks for a credential.
	RouteOpen RouteIssue = "open"
	// RouteDisagrees: the products of the API accept different kinds of credential, or
	// the pattern matches paths of several APIs with different products.
	RouteDisagrees RouteIssue = "products disagree"
	// RouteMixed: the pattern matches requests of operations that need different
	// permissions. The gate distinguishes these operations; the pattern's handler must
	// tell them apart in the same way.
	RouteMixed RouteIssue = "operations differ"
	// RouteMissing: no pattern matches the operation, so that an allowed request is not
	// answered by a handler of the operation.
	RouteMissing RouteIssue = "no route"
)

// CheckRoutes compares the route patterns of a mux behind [Gate.Wrap] with the current
// products and APIs. Use it in a test or at start-up. It reads patterns of net/http
// ("GET /echo/{id}", "/echo/"), chi, gin and echo ("/echo/:id", "/echo/*path"). It
// returns nil if every path that a pattern can match is guarded, by products that
// accept the same kinds of credential. If a parameter is only a part of a segment,
// CheckRoutes assumes that it can match every API segment with the same beginning.
//
// If an API's operations are enforced or reported, CheckRoutes also compares them with
// the patterns, so pass all patterns of the mux at once. It then assumes that the mux
// chooses the most specific pattern, and that a pattern without a method matches every
// method. A pattern of GET counts as a route of HEAD operations too.
//
// CheckRoutes sees only the patterns: it does not find a handler outside the gate, or
// a handler that reads another path than its mux. It is not for routes behind
// [Gate.Product] and [Gate.API], which do not use paths: gatetest.Unguarded finds
// unguarded handlers by requests.
func (g *Gate) CheckRoutes(patterns ...string) []RouteProblem {
	p := g.current()
	var out []RouteProblem
	for _, pattern := range patterns {
		switch {
		case p == nil:
			out = append(out, RouteProblem{pattern, RouteUncovered, "no products yet"})
		case len(p.routes) == 0:
			out = append(out, RouteProblem{pattern, RouteUncovered, "there are no APIs: CheckRoutes is for routes behind Gate.Wrap, which finds products by the path of an API"})
		default:
			out = append(out, p.checkRoute(pattern)...)
		}
	}
	if p != nil {
		out = append(out, p.checkOperations(patterns)...)
	}
	return out
}

func (p *policy) checkRoute(pattern string) []RouteProblem {
	segments, ok := patternSegments(pattern)
	if !ok {
		return []RouteProblem{{pattern, RouteUncovered, "the gate refuses its paths: empty segments, dot segments, encoded slashes"}}
	}
	reached := p.reach(segments)
	var out []RouteProblem
	add := func(issue RouteIssue, format string, args ...any) {
		out = append(out, RouteProblem{pattern, issue, fmt.Sprintf(format, args...)})
	}
	sets := map[string]string{}
	for _, r := range reached {
		if r == nil {
			add(RouteUncovered, "a path of it is in no API")
			continue
		}
		if len(r.products) == 0 {
			add(RouteUncovered, "API %s is in no product", r.api)
			continue
		}
		if r.open {
			add(RouteOpen, "API %s: no product asks for a credential", r.api)
		}
		if detail := r.disagreement(); detail != "" {
			add(RouteDisagrees, "API %s: %s", r.api, detail)
		}
		sets[r.productIDs()] = r.api
	}
	if len(sets) > 1 {
		add(RouteDisagrees, "it reaches into APIs of different products: %s", strings.Join(slices.Sorted(maps.Values(sets)), ", "))
	}
	return out
}

func (r *route) productIDs() string {
	var ids []string
	for _, p := range r.products {
		ids = append(ids, p.id)
	}
	slices.Sort(ids)
	return strings.Join(ids, ", ")
}

// disagreement names two products that accept different kinds of credential; empty if
// there are none.
func (r *route) disagreement() string {
	first := r.products[0]
	for _, p := range r.products[1:] {
		if p.access != first.access {
			return fmt.Sprintf("%s accepts %s, %s accepts %s", first.id, accepted(first), p.id, accepted(p))
		}
	}
	return ""
}

func accepted(p *product) string {
	switch {
	case p.access.Open():
		return "everybody"
	case p.access.Token && p.access.Key:
		return "tokens and keys"
	case p.access.Token:
		return "tokens"
	}
	return "keys"
}

// spot is a place in the tree of API paths that a pattern can match. at is nil below
// the tree. route is the API that has the place.
type spot struct {
	at    *segment
	route *route
}

// reach returns the routes that the paths of a pattern belong to. A nil route means
// that a path belongs to no API.
func (p *policy) reach(segments []patternSegment) []*route {
	spots := []spot{{p.root, p.root.route}}
	for _, s := range segments {
		var next []spot
		for _, sp := range spots {
			next = append(next, sp.step(s)...)
		}
		spots = next
	}
	var out []*route
	for _, sp := range spots {
		if !slices.Contains(out, sp.route) {
			out = append(out, sp.route)
		}
	}
	slices.SortFunc(out, func(a, b *route) int { return strings.Compare(routeName(a), routeName(b)) })
	return out
}

func routeName(r *route) string {
	if r == nil {
		return ""
	}
	return r.api
}

// patternSegment is a segment of a pattern: a literal, a parameter with a literal
// beginning, or a wildcard.
type patternSegment struct {
	text string
	kind segmentKind
}

type segmentKind int

const (
	exactly segmentKind = iota
	anyOne              // one segment that begins with the text
	anyMore             // any number of segments
)

// step returns the places that one more segment of a pattern can match.
func (sp spot) step(s patternSegment) []spot {
	if s.kind == exactly {
		if sp.at == nil || sp.at.next[s.text] == nil {
			return []spot{{nil, sp.route}}
		}
		return []spot{sp.into(sp.at.next[s.text])}
	}
	out := []spot{{nil, sp.route}}
	if s.kind == anyMore && sp.at != nil {
		out = append(out, sp)
	}
	if sp.at == nil {
		return out
	}
	for name, n := range sp.at.next {
		child := sp.into(n)
		switch {
		case s.kind == anyMore:
			out = append(out, child.step(s)...)
		case strings.HasPrefix(name, s.text):
			out = append(out, child)
		}
	}
	return out
}

func (sp spot) into(n *segment) spot {
	if n.route != nil {
		return spot{n, n.route}
	}
	return spot{n, sp.route}
}

// patternSegments splits a pattern of any router into segments. ok is false if the
// gate refuses every path of the pattern.
func patternSegments(pattern string) ([]patternSegment, bool) {
	if i := strings.IndexByte(pattern, '/'); i >= 0 {
		pattern = pattern[i+1:] // without method and host
	}
	var out []patternSegment
	parts := strings.Split(pattern, "/")
	for i, s := range parts {
		last := i == len(parts)-1
		parameter := strings.IndexAny(s, "{}:*")
		switch {
		case s == "{$}":
		case s == "" && last:
			out = append(out, patternSegment{kind: anyMore}) // a subtree, in net/http
		case parameter < 0:
			name, err := url.PathUnescape(s) // as net/http reads it
			if err != nil || strings.Contains(name, "/") || !cleanPath("/"+name) || name == "" {
				return nil, false
			}
			out = append(out, patternSegment{text: name})
		case strings.Count(s, "{") != strings.Count(s, "}"): // an expression with a slash
			out = append(out, patternSegment{kind: anyMore})
		case s[parameter] == '*' && parameter == 0, strings.HasPrefix(s, "{") && strings.HasSuffix(s, "...}"):
			out = append(out, patternSegment{kind: anyMore})
		default:
			out = append(out, patternSegment{s[:parameter], anyOne})
			// An expression that text follows may match more than a segment (chi).
			if strings.Contains(s[parameter:], "*") || strings.Contains(s, "{") && strings.Contains(s, ":") && !strings.HasSuffix(s, "}") {
				out = append(out, patternSegment{kind: anyMore})
			}
		}
	}
	return out, true
}
