package middleware

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// shape is the set of requests that a route pattern, an operation, or both match.
type shape struct {
	text     string
	method   string // empty: every method
	segments []patternSegment
}

// checkOperations compares the operations of all APIs with the patterns of a mux.
func (p *policy) checkOperations(patterns []string) []RouteProblem {
	var shapes []shape
	for _, pattern := range patterns {
		if segments, ok := patternSegments(pattern); ok {
			shapes = append(shapes, shape{pattern, patternMethod(pattern), segments})
		}
	}
	var out []RouteProblem
	for _, id := range slices.Sorted(maps.Keys(p.routes)) {
		if r := p.routes[id]; r.ops != nil {
			out = append(out, r.checkOperations(p, shapes)...)
		}
	}
	return out
}

func (r *route) checkOperations(p *policy, patterns []shape) []RouteProblem {
	operations := make([]shape, len(r.ops.all))
	for i, o := range r.ops.all {
		operations[i] = o.shape(r.path)
	}
	var out []RouteProblem
	routed := make([]bool, len(operations))
	for _, pattern := range patterns {
		var reached []*operation
		for i, o := range operations {
			meet, ok := pattern.meet(o)
			if !ok || r.ops.all[i].gone || overridden(meet, pattern, patterns) || overridden(meet, o, operations) {
				continue
			}
			routed[i] = routed[i] || meet.method == o.method
			// A router that answers HEAD with a GET handler cuts the body by itself.
			if pattern.method != http.MethodGet || o.method != http.MethodHead {
				reached = append(reached, r.ops.all[i])
			}
		}
		switch a, b := differing(reached); {
		case a != nil:
			out = append(out, RouteProblem{pattern.text, RouteMixed, fmt.Sprintf("API %s: %s needs %s, %s needs %s", r.api, a.name(), a.needs(), b.name(), b.needs())})
		case len(reached) == 0 && r.ops.enforce && slices.Contains(p.reach(pattern.segments), r):
			out = append(out, RouteProblem{pattern.text, RouteUncovered, fmt.Sprintf("API %s has no operation for it", r.api)})
		}
	}
	for i, o := range r.ops.all {
		if !routed[i] && !o.gone {
			out = append(out, RouteProblem{operations[i].text, RouteMissing, fmt.Sprintf("API %s, operation %s: no pattern matches it", r.api, o.id)})
		}
	}
	return out
}

// differing returns two operations that need different permissions, or nil.
func differing(all []*operation) (a, b *operation) {
	for _, o := range all {
		if !slices.EqualFunc(o.permissions, all[0].permissions, slices.Equal) {
			return all[0], o
		}
	}
	return nil, nil
}

func (o *operation) name() string { return o.method + " " + o.path }

// needs names the operation's alternatives of permissions.
func (o *operation) needs() string {
	if len(o.permissions) == 0 {
		return "the product's own role"
	}
	var all []string
	for _, together := range o.permissions {
		all = append(all, strings.Join(together, " and "))
	}
	return strings.Join(all, " or ")
}

// shape returns the requests of an operation of the API at a path.
func (o *operation) shape(api string) shape {
	path := strings.TrimSuffix(api, "/") + strings.TrimSuffix(o.path, "/")
	s := shape{text: o.method + " " + path, method: o.method}
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		switch {
		case part == "":
		case part[0] == '{':
			s.segments = append(s.segments, patternSegment{kind: anyOne})
		default:
			s.segments = append(s.segments, patternSegment{text: part})
		}
	}
	return s
}

// patternMethod returns the method at the beginning of a pattern, such as "GET /x".
func patternMethod(pattern string) string {
	method, _, found := strings.Cut(pattern, " ")
	if !found || strings.Contains(method, "/") || method == "*" {
		return ""
	}
	return method
}

// meet returns the requests that belong to both a pattern and an operation.
func (s shape) meet(operation shape) (shape, bool) {
	method := operation.method
	switch {
	case answers(s.method, method):
	case answers(method, s.method): // HEAD, which needs what GET needs
		method = s.method
	default:
		return shape{}, false
	}
	segments, ok := meet(s.segments, operation.segments)
	return shape{method: method, segments: segments}, ok
}

// answers reports whether requests with a method belong to a pattern or operation with
// the method own.
func answers(own, method string) bool {
	return own == "" || own == method || own == http.MethodGet && method == http.MethodHead
}

func meet(pattern, operation []patternSegment) ([]patternSegment, bool) {
	if len(pattern) == 0 {
		return nil, len(operation) == 0
	}
	first := pattern[0]
	if first.kind == anyMore {
		// Whatever else the pattern has, the operation's segments bound the result.
		for n := range len(operation) + 1 {
			if rest, ok := meet(pattern[1:], operation[n:]); ok {
				return slices.Concat(operation[:n], rest), true
			}
		}
		return nil, false
	}
	if len(operation) == 0 {
		return nil, false
	}
	one := operation[0]
	switch {
	case one.kind == anyOne: // the whole segment
		one = first
	case !first.covers(one):
		return nil, false
	}
	rest, ok := meet(pattern[1:], operation[1:])
	return append([]patternSegment{one}, rest...), ok
}

// overridden reports whether all requests of meet go to a more specific shape than s.
// Routers look at the path first, and at the method of patterns with equal paths.
func overridden(meet, s shape, all []shape) bool {
	return slices.ContainsFunc(all, func(other shape) bool {
		if !answers(other.method, meet.method) || !covers(other.segments, meet.segments) || !covers(s.segments, other.segments) {
			return false
		}
		return !covers(other.segments, s.segments) || answers(s.method, other.method) && !answers(other.method, s.method)
	})
}

// covers reports whether every path of other is also a path of all. It may report false
// for a wildcard that is not the last segment.
func covers(all, other []patternSegment) bool {
	for i, segment := range all {
		if segment.kind == anyMore {
			return i == len(all)-1
		}
		if i >= len(other) || !segment.covers(other[i]) {
			return false
		}
	}
	return len(all) == len(other)
}

func (s patternSegment) covers(other patternSegment) bool {
	switch {
	case other.kind == anyMore:
		return s.kind == anyMore
	case s.kind == exactly:
		return other.kind == exactly && other.text == s.text
	}
	return strings.HasPrefix(other.text, s.text)
}
