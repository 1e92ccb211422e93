package entratest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// filter is a parsed $filter: comparisons by eq and ne, startswith, any over
// collections of strings, and, or, not, parentheses.
type filter struct {
	match      func(entity) bool
	advanced   bool     // needs ConsistencyLevel: eventual
	properties []string // that it compares
}

// maxFilter bounds a $filter, and with it the depth of the parser.
const maxFilter = 2048

func parseFilter(s string) (filter, *graphError) {
	p := &filterParser{rest: s}
	if len(s) > maxFilter {
		return filter{}, badFilter()
	}
	match := p.or()
	p.space()
	if p.missing != "" {
		return filter{}, unknown("the filter %q", p.missing)
	}
	if p.failed || p.rest != "" {
		return filter{}, badFilter()
	}
	return filter{match, p.advanced, p.properties}, nil
}

func badFilter() *graphError {
	return refuse(http.StatusBadRequest, "BadRequest", "Invalid filter clause.")
}

type filterParser struct {
	rest     string
	failed   bool
	advanced bool
	missing  string // a part of OData that is not imitated

	properties []string
}

func (p *filterParser) space() { p.rest = strings.TrimLeft(p.rest, " ") }

// word takes a keyword that ends at a space or parenthesis.
func (p *filterParser) word(w string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, w)
	if !ok || rest != "" && rest[0] != ' ' && rest[0] != '(' {
		return false
	}
	p.rest = rest
	return true
}

func (p *filterParser) token(s string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, s)
	if ok {
		p.rest = rest
	}
	return ok
}

func (p *filterParser) need(s string) {
	if !p.token(s) {
		p.failed = true
	}
}

func (p *filterParser) or() func(entity) bool {
	left := p.and()
	for !p.failed && p.word("or") {
		a, b := left, p.and()
		left = func(e entity) bool { return a(e) || b(e) }
	}
	return left
}

func (p *filterParser) and() func(entity) bool {
	left := p.term()
	for !p.failed && p.word("and") {
		a, b := left, p.term()
		left = func(e entity) bool { return a(e) && b(e) }
	}
	return left
}

func (p *filterParser) term() func(entity) bool {
	switch {
	case p.failed:
		return nil
	case p.word("not"):
		p.advanced = true
		inner := p.term()
		return func(e entity) bool { return !inner(e) }
	case p.token("("):
		inner := p.or()
		p.need(")")
		return inner
	}
	name := p.name()
	switch {
	case name == "startswith" && p.token("("):
		property := p.property(p.name())
		p.need(",")
		value := p.literal()
		p.need(")")
		return func(e entity) bool {
			return strings.HasPrefix(strings.ToLower(text(e[property])), strings.ToLower(value))
		}
	case strings.HasSuffix(name, "/any") && p.token("("):
		return p.any(p.property(strings.TrimSuffix(name, "/any")))
	}
	return p.compare(name)
}

func (p *filterParser) any(collection string) func(entity) bool {
	variable := p.name()
	p.need(":")
	if p.name() != variable || !p.word("eq") {
		p.failed = true
		return nil
	}
	value := p.literal()
	p.need(")")
	return func(e entity) bool {
		var items []string
		_ = json.Unmarshal(e[collection], &items) // any other property contains no string
		for _, item := range items {
			if strings.EqualFold(item, value) {
				return true
			}
		}
		return false
	}
}

func (p *filterParser) compare(property string) func(entity) bool {
	equal := p.word("eq")
	if !equal && !p.word("ne") {
		if p.missing == "" && property != "" {
			p.missing = strings.TrimSpace(property + p.rest)
		}
		p.failed = true
		return nil
	}
	p.property(property)
	p.advanced = p.advanced || !equal
	value := p.literal()
	return func(e entity) bool {
		raw, known := e[property]
		return known && strings.EqualFold(text(raw), value) == equal
	}
}

// property records a compared property. Properties of properties are not imitated.
func (p *filterParser) property(name string) string {
	if p.missing == "" && strings.Contains(name, "/") {
		p.missing = name
	}
	p.properties = append(p.properties, name)
	return name
}

// name takes a property, function or variable name.
func (p *filterParser) name() string {
	p.space()
	n := 0
	for n < len(p.rest) && (isLetter(p.rest[n]) || n > 0 && (p.rest[n] == '/' || p.rest[n] == '.' || p.rest[n] >= '0' && p.rest[n] <= '9')) {
		n++
	}
	if n == 0 {
		p.failed = true
	}
	name := p.rest[:n]
	p.rest = p.rest[n:]
	return name
}

func isLetter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

// literal takes a quoted string, with quotes doubled, or a bare GUID, number,
// true, false or null.
func (p *filterParser) literal() string {
	p.space()
	if !strings.HasPrefix(p.rest, "'") {
		n := strings.IndexAny(p.rest, " ),(':")
		if n < 0 {
			n = len(p.rest)
		}
		if n == 0 {
			p.failed = true
		}
		value := p.rest[:n]
		p.rest = p.rest[n:]
		return value
	}
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		if p.rest[i] != '\'' {
			b.WriteByte(p.rest[i])
			continue
		}
		if i+1 < len(p.rest) && p.rest[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		p.rest = p.rest[i+1:]
		return b.String()
	}
	p.failed = true
	return ""
}

// text is a JSON value as a filter's literal writes it.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil && string(raw) != "null" {
		return s
	}
	return string(raw)
}
