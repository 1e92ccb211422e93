package middleware

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// RouteProblem says what is wrong with a route pattern behind [Gate.Wrap].
type RouteProblem struct {
	Pattern string
	Issue   RouteIssue
	// Detail names the APIs and products concerned.
	Detail string
}

func (p RouteProblem) String() string {
	return p.Pattern + ": " + string(p.Issue) + ": " + p.Detail
}

// RouteIssue is a kind of [RouteProblem].
type RouteIssue string

// The issues.
const (
	// RouteUncovered: some path of the pattern is in no API, or in one of no
	// product. The gate refuses it, so the handler is never reached.
	RouteUncovered RouteIssue = "uncovered"
	// RouteOpen: no product asks for a credential.
	RouteOpen RouteIssue = "open"
	// RouteDisagrees: the products that may let a request pass ask for
	// different kinds of credential, or the pattern reaches into several APIs
	// of different products.
	RouteDisagrees RouteIssue = "products disagree"
)

// CheckRoutes holds the route patterns of a mux behind [Gate.Wrap] against the
// products and APIs of now, for a test or at start-up. It reads net/http's form
// ("GET /echo/{id}", "/echo/"), chi's, and that of gin and echo ("/echo/:id",
// "/echo/*path"). Nil means that every path that a pattern can match is
// guarded, by products that agree. A parameter that is only a part of its
// segment is taken to lead to every API whose segment begins as it does.
//
// It sees what it is given: a handler outside the gate, or one that looks at
// another path than its mux, is not found. Of [Gate.Product] and [Gate.API],
// which do not go by paths, it knows nothing: entratest.Unguarded sends requests
// to find a handler that these were forgotten at.
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

// disagreement names products whose access differs.
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

// spot is a place in the tree of API paths that a pattern can lead to: nil
// below every API, and the route that holds it.
type spot struct {
	at    *segment
	route *route
}

// reach returns the routes, nil for none, that paths of a pattern are in.
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

// patternSegment is a segment of a pattern: a name, or what begins like it.
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

// step follows one segment of a pattern.
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

// patternSegments normalizes a pattern of any router. It fails for one that the
// gate lets no path of pass.
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
