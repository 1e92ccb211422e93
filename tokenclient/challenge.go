package tokenclient

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// maxChallenge bounds, in bytes, how much of one WWW-Authenticate field is read.
const maxChallenge = 8 << 10

// Refusal is an API's 401 or 403, made readable.
type Refusal struct {
	// StatusCode is 401 or 403.
	StatusCode int
	// Code is the Bearer challenge's error (RFC 6750 section 3.1):
	// "invalid_token", "insufficient_scope", "invalid_request", or empty.
	Code string
	// Description is the API's text, shortened, on one line.
	Description string
	// Scope is what to ask the token endpoint for, if the API says so: see
	// [Client.Source]. Behind a gate whose route belongs to several products
	// there is one for each, with spaces in between, and any one will do.
	Scope string
}

// CheckResponse returns a [*Refusal] if resp is a 401 or 403, and nil
// otherwise. It reads headers only and leaves the body, which has to be closed,
// to the caller. A nil error is no success: other statuses are not looked at.
func CheckResponse(resp *http.Response) error {
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		return nil
	}
	r := &Refusal{StatusCode: resp.StatusCode}
	for _, c := range challenges(resp.Header.Values("WWW-Authenticate")) {
		if c.scheme == "bearer" {
			r.Code = oneLine(c.params["error"], nil)
			r.Description = oneLine(c.params["error_description"], nil)
			r.Scope = oneLine(c.params["scope"], nil)
			break
		}
	}
	return r
}

// Error says on one line what the API said, what it means and what to do.
func (r *Refusal) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "tokenclient: the API refused the request: status %d", r.StatusCode)
	for _, s := range []string{r.Code, r.Description, r.meaning()} {
		if s != "" {
			b.WriteString(": " + s)
		}
	}
	return b.String()
}

func (r *Refusal) meaning() string {
	scope := r.scopes()
	switch {
	case r.Code == "insufficient_scope" && scope != "":
		return "the token does not grant this here: ask for " + scope +
			"; if Entra refuses that, or the token is for it already, ask the API's manager for access"
	case r.Code == "insufficient_scope":
		return "the token is valid but does not grant this: ask the API's manager for access"
	case r.Code == "invalid_token" && scope != "":
		return "the token was not accepted: it may be for another API or tenant; this one takes tokens for " + scope
	case r.Code == "invalid_token":
		return "the token was not accepted: it may be for another API or tenant"
	case r.StatusCode == http.StatusUnauthorized && r.Code == "" && scope != "":
		return "no usable credential was sent: ask for a token for " + scope
	case r.StatusCode == http.StatusUnauthorized && r.Code == "":
		return "no usable credential was sent"
	case scope != "":
		return "it takes tokens for " + scope
	}
	return ""
}

// scopes is r.Scope in words. Entra's scopes are one for each product and so
// stand for a choice; elsewhere they are asked for together (RFC 6749, 3.3).
func (r *Refusal) scopes() string {
	if r.Scope == "" {
		return ""
	}
	each := strings.Fields(r.Scope)
	for i, scope := range each {
		if len(each) == 1 || !strings.HasSuffix(scope, "/.default") {
			return fmt.Sprintf("scope %q", r.Scope)
		}
		each[i] = strconv.Quote(scope)
	}
	return "one of the scopes " + strings.Join(each, ", ")
}

// challenge is one challenge of RFC 9110 section 11.6.1. Names are in lower case.
type challenge struct {
	scheme string
	params map[string]string
}

// challenges reads WWW-Authenticate fields. What it cannot read ends that
// field; it never fails.
func challenges(fields []string) []challenge {
	var out []challenge
	for _, field := range fields {
		p := challengeParser{rest: field[:min(len(field), maxChallenge)]}
		out = append(out, p.parse()...)
	}
	return out
}

type challengeParser struct{ rest string }

func (p *challengeParser) parse() []challenge {
	var out []challenge
	for {
		p.rest = strings.TrimLeft(p.rest, " \t,")
		name := p.token()
		if name == "" {
			return out
		}
		value, isParam, ok := p.value()
		switch {
		case !ok:
			return out
		case !isParam:
			out = append(out, challenge{scheme: strings.ToLower(name), params: map[string]string{}})
			p.skipToken68()
		case len(out) == 0:
			return out
		default:
			out[len(out)-1].add(strings.ToLower(name), value)
		}
	}
}

// add keeps the first of two parameters with one name.
func (c *challenge) add(name, value string) {
	if _, twice := c.params[name]; !twice {
		c.params[name] = value
	}
}

// token takes a token (RFC 9110 section 5.6.2) off the front.
func (p *challengeParser) token() string {
	end := strings.IndexFunc(p.rest, func(r rune) bool {
		return !strings.ContainsRune("!#$%&'*+-.^_`|~", r) &&
			(r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	if end < 0 {
		end = len(p.rest)
	}
	name := p.rest[:end]
	p.rest = p.rest[end:]
	return name
}

// value takes "= value" off the front, if it is there. Not ok means that
// neither a value nor the end of a word follows.
func (p *challengeParser) value() (value string, isParam, ok bool) {
	after := strings.TrimLeft(p.rest, " \t")
	after, isParam = strings.CutPrefix(after, "=")
	if !isParam {
		return "", false, p.rest == "" || strings.ContainsRune(" \t,", rune(p.rest[0]))
	}
	p.rest = strings.TrimLeft(after, " \t")
	if quoted, found := strings.CutPrefix(p.rest, `"`); found {
		value, ok = p.quoted(quoted)
		return value, true, ok
	}
	value = p.token()
	return value, true, value != ""
}

// quoted takes a quoted string off s, behind its first quote.
func (p *challengeParser) quoted(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			p.rest = s[i+1:]
			return b.String(), true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", false
}

// skipToken68 drops what follows a scheme instead of parameters, as in
// "Negotiate YWJj==".
func (p *challengeParser) skipToken68() {
	rest := strings.TrimLeft(p.rest, " \t")
	end := strings.IndexAny(rest, " \t,")
	if end < 0 {
		end = len(rest)
	}
	word := rest[:end]
	if base := strings.TrimRight(word, "="); base != "" && !strings.ContainsAny(base, `="`) && (base != word || end == len(rest) || rest[end] == ',') {
		p.rest = rest[end:]
	}
}
