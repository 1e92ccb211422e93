package openapi

import (
	"slices"
	"strings"
)

// scheme is a security scheme.
type scheme struct {
	kind   string          // as in the document: oauth2, apiKey, http basic, ...
	token  bool            // a bearer token proves it: its names are roles
	scopes map[string]bool // of oauth2: the declared ones
}

const (
	maxAlternatives = 32
	maxRoles        = 16 // in an alternative
)

func (r *reader) schemes() {
	r.security = map[string]scheme{}
	components := r.object(r.root, "components", false)
	r.in("components", func() {
		r.each(r.objects(components, "securitySchemes"), func(name string, v *value) {
			if !isExtension(name) {
				r.security[name] = r.scheme(r.target(v))
			}
		})
	})
}

func (r *reader) scheme(v *value) scheme {
	s := scheme{kind: r.text(v, "type")}
	switch s.kind {
	case "apiKey", "mutualTLS":
	case "openIdConnect":
		s.token = true
	case "http":
		name := r.text(v, "scheme")
		s.token = strings.EqualFold(name, "bearer")
		s.kind = "http " + name
	case "oauth2":
		s.token, s.scopes = true, map[string]bool{}
		r.each(r.objects(v, "flows"), func(name string, flow *value) {
			if !isExtension(name) {
				r.scopes(flow, s.scopes)
			}
		})
	default:
		r.fail("type must be apiKey, http, mutualTLS, oauth2 or openIdConnect")
	}
	return s
}

func (r *reader) scopes(flow *value, declared map[string]bool) {
	r.each(r.objects(flow, "scopes"), func(name string, v *value) {
		if v.kind != '"' {
			r.fail("must be a text")
		}
		declared[name] = true
		if !slices.ContainsFunc(r.doc.Scopes, func(s Scope) bool { return s.Name == name }) {
			if len(r.doc.Scopes) == maxScopes {
				r.fail("the document must have at most %d scopes", maxScopes)
				return
			}
			r.doc.Scopes = append(r.doc.Scopes, Scope{name, v.text})
		}
	})
}

const maxScopes = 400 // the most permissions that an application in Entra can request

// requirements compiles the security of an operation, or of the document if the
// operation has none of its own, for callers with a token.
//
// Every rule narrows: an alternative that names no role, or that a token cannot
// prove, is left out instead of letting every token pass.
func (r *reader) requirements(op *value) (anyOf [][]string, unenforceable string) {
	from, at := op, r.at
	if op.get("security") == nil {
		from, r.at = r.root, nil
	}
	if given := op.get("security"); given != nil && given.kind == '[' && len(given.items) == 0 {
		r.note("security", "the document asks for no credential; the gate still asks for the product's own role")
	}
	r.each(r.list(from, "security"), func(_ string, alternative *value) {
		if alternative.kind != '{' {
			r.fail("must be an object")
			return
		}
		roles, why := r.alternative(alternative)
		unenforceable = firstOf(unenforceable, why)
		if len(roles) == 0 || slices.ContainsFunc(anyOf, func(a []string) bool { return slices.Equal(a, roles) }) {
			return
		}
		if len(anyOf) == maxAlternatives {
			r.fail("must have at most %d alternatives", maxAlternatives)
		}
		anyOf = append(anyOf, roles)
	})
	r.at = at
	return anyOf, unenforceable
}

// alternative collects the roles of all schemes of a requirement object, which
// must be met together.
func (r *reader) alternative(v *value) (roles []string, unenforceable string) {
	tokens, other := 0, ""
	for i := range v.items {
		m := &v.items[i]
		s, ok := r.security[m.name]
		if !ok {
			r.fail("there is no security scheme %.100q in components", m.name)
			return nil, ""
		}
		if m.kind != '[' {
			r.in(m.name, func() { r.fail("must be a list") })
			return nil, ""
		}
		if !s.token {
			other = s.kind
			continue
		}
		tokens++
		roles = append(roles, r.roles(m.name, s, &m.value)...)
	}
	slices.Sort(roles)
	roles = slices.Compact(roles)
	if len(roles) > maxRoles {
		r.fail("must name at most %d roles together", maxRoles)
	}
	if tokens > 0 && other != "" {
		return roles, "its security asks for " + other + " together with a token, which the gate does not check"
	}
	return roles, ""
}

func (r *reader) roles(name string, s scheme, list *value) []string {
	var roles []string
	r.each(&named{name, list}, func(_ string, item *value) {
		switch {
		case item.kind != '"' || item.text == "":
			r.fail("must be a text")
		case s.scopes != nil && !s.scopes[item.text]:
			r.fail("the scheme declares no scope %.100q", item.text)
		default:
			roles = append(roles, item.text)
		}
	})
	return roles
}
