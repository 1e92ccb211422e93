package tokenclient

import (
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
)

// The limits for reading challenges: a hostile server may send megabytes.
const (
	maxFields     = 32      // WWW-Authenticate fields
	maxField      = 4 << 10 // bytes of a field
	maxChallenges = 16      // challenges in a field
	maxParams     = 16      // parameters of a challenge
)

// Refusal is an error for an API's answer with status 401 or 403.
type Refusal struct {
	// StatusCode is 401 or 403.
	StatusCode int
	// Code is the Bearer challenge's error (RFC 6750 section 3.1):
	// "invalid_token", "insufficient_scope", "invalid_request", or empty.
	Code string
	// Description is the API's text, shortened, on one line.
	Description string
	// Scope is the scope to request, if the API names one: see [Client.Source]. If it
	// holds several Entra scopes, separated by spaces, one of them is enough.
	Scope string
}

// CheckResponse returns a [*Refusal] if the status of resp is 401 or 403, otherwise nil.
// A nil error does not mean success: other statuses are not checked. It reads only the
// header; the caller must still close the body.
func CheckResponse(resp *http.Response) error {
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		return nil
	}
	r := &Refusal{StatusCode: resp.StatusCode}
	for c := range bearerChallenges(resp) {
		var foreign redactor
		r.Code = foreign.line(c.params["error"])
		r.Description = foreign.line(c.params["error_description"])
		r.Scope = foreign.line(c.params["scope"])
		break
	}
	return r
}

// Error returns one line: what the API answered, what that means and what to do.
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

// scopes describes r.Scope for the error text. Of several scopes that end with
// /.default one is enough; others must be requested together (RFC 6749, 3.3).
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

// bearerChallenges reads the Bearer challenges of resp, within limits. It stops reading
// a WWW-Authenticate field at the first syntax error.
func bearerChallenges(resp *http.Response) iter.Seq[challenge] {
	fields := resp.Header.Values("WWW-Authenticate")
	return func(yield func(challenge) bool) {
		for _, field := range fields[:min(len(fields), maxFields)] {
			p := challengeParser{rest: field[:min(len(field), maxField)]}
			for _, c := range p.parse() {
				if c.scheme == "bearer" && !yield(c) {
					return
				}
			}
		}
	}
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
		case !ok || !isParam && len(out) == maxChallenges:
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
	if _, twice := c.params[name]; !twice && len(c.params) < maxParams {
		c.params[name] = value
	}
}

// token reads a token (RFC 9110 section 5.6.2) from the front of p.rest.
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

// value reads "= value" from the front of p.rest. isParam is false if there is no equals
// sign. ok is false if the syntax is wrong.
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

// quoted reads a quoted string from s, which begins after the opening quote.
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

// skipToken68 skips a token68, which some schemes have instead of parameters, as in
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
