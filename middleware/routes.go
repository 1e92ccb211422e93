package middleware

import (
	"fmt"
	"maps"
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

// CheckRoutes holds the route patterns of a mux against the products and APIs
// of now, for a test or at start-up. It reads net/http's form ("GET
// /echo/{id}", "/echo/"), chi's, and that of gin and echo ("/echo/:id",
// "/echo/*path"). Nil means that every path that a pattern can match is
// guarded, by products that agree.
//
// It sees what it is given: a handler outside the gate, or one that looks at
// another path than its mux, is not found.
func (g *Gate) CheckRoutes(patterns ...string) []RouteProblem {
	p := g.current()
	var out []RouteProblem
	for _, pattern := range patterns {
		if p == nil {
			out = append(out, RouteProblem{pattern, RouteUncovered, "no products yet"})
			continue
		}
		out = append(out, p.checkRoute(pattern)...)
	}
	return out
}

func (p *policy) checkRoute(pattern string) []RouteProblem {
	reached := p.reach(pattern)
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
func (p *policy) reach(pattern string) []*route {
	spots := []spot{{p.root, p.root.route}}
	for _, s := range patternSegments(pattern) {
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

// step follows one segment of a pattern: a name, * for any one, or ** for any
// number.
func (sp spot) step(s string) []spot {
	if s == "*" || s == "**" {
		out := []spot{{nil, sp.route}}
		if s == "**" {
			out[0].at = sp.at
		}
		if sp.at != nil {
			for _, n := range sp.at.next {
				child := sp.into(n)
				if s == "**" {
					out = append(out, child.step(s)...)
				} else {
					out = append(out, child)
				}
			}
		}
		return out
	}
	if sp.at == nil || sp.at.next[s] == nil {
		return []spot{{nil, sp.route}}
	}
	return []spot{sp.into(sp.at.next[s])}
}

func (sp spot) into(n *segment) spot {
	if n.route != nil {
		return spot{n, n.route}
	}
	return spot{n, sp.route}
}

// patternSegments normalizes a pattern of any router.
func patternSegments(pattern string) []string {
	if i := strings.IndexByte(pattern, '/'); i >= 0 {
		pattern = pattern[i+1:] // without method and host
	}
	var out []string
	parts := strings.Split(pattern, "/")
	for i, s := range parts {
		switch {
		case s == "{$}":
		case s == "" && i == len(parts)-1:
			out = append(out, "**") // a subtree, in net/http
		case strings.HasPrefix(s, "*"), strings.HasSuffix(s, "*"), strings.HasPrefix(s, "{") && strings.HasSuffix(s, "...}"):
			out = append(out, "**")
		case strings.HasPrefix(s, ":"), strings.ContainsAny(s, "{}"):
			out = append(out, "*")
		default:
			out = append(out, s)
		}
	}
	return out
}
