package tokenclient

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/entragate/entragate/internal/secret"
)

const (
	maxDescription = 600 // most bytes of a text in an error
	// minHidden is the shortest secret, in bytes, that is also searched for in other
	// spellings. Shorter secrets occur in most texts by chance.
	minHidden = 6
	withheld  = "text withheld, because it repeats the credential"
)

// redactor holds the secrets of one request. An endpoint may send secrets back, also in a
// malformed HTTP message that net/http quotes in its error. Therefore every text from
// outside goes through line or cause.
type redactor []string

// hide adds secrets.
func (r *redactor) hide(secrets ...string) {
	for _, s := range secrets {
		if s != "" {
			*r = append(*r, s)
		}
	}
}

// line returns s on one line, without secrets and shortened. If s holds a secret in an
// unusual encoding, line returns withheld instead of the text.
func (r redactor) line(s string) string {
	for _, h := range r {
		for _, form := range []string{h, url.QueryEscape(h), url.PathEscape(h)} {
			s = strings.ReplaceAll(s, form, secret.Shown)
		}
	}
	if r.found(s) {
		return withheld
	}
	s = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == 0x2028 || c == 0x2029 {
			return ' '
		}
		return c
	}, s)
	if len(s) > maxDescription {
		s = strings.ToValidUTF8(s[:maxDescription], "") + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// found reports whether s holds a secret, in any letter case and under up to three layers
// of percent encoding or quoting.
func (r redactor) found(s string) bool {
	for range 4 {
		folded := fold(s)
		for _, h := range r {
			if len(h) >= minHidden && strings.Contains(folded, fold(h)) {
				return true
			}
		}
		next := decode(s)
		if next == s {
			return false
		}
		s = next
	}
	return false
}

// fold makes texts comparable: in lower case, with blanks instead of +.
func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "+", " ") }

// decode removes one layer of percent encoding, or of Go's or JSON's quoting, from s.
func decode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		rest := s[i:]
		switch {
		case rest[0] == '%':
			if v, ok := hexDigits(rest[1:], 2); ok {
				b.WriteByte(byte(v))
				i += 2
				continue
			}
		case strings.HasPrefix(rest, `\x`):
			if v, ok := hexDigits(rest[2:], 2); ok {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		case strings.HasPrefix(rest, `\u`):
			if v, ok := hexDigits(rest[2:], 4); ok {
				b.WriteRune(rune(v))
				i += 5
				continue
			}
		case rest[0] == '\\' && len(rest) > 1 && strings.IndexByte(`\"'/`, rest[1]) >= 0:
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// hexDigits reads the first n characters of s as a hexadecimal number.
func hexDigits(s string, n int) (uint64, bool) {
	if len(s) < n {
		return 0, false
	}
	v, err := strconv.ParseUint(s[:n], 16, 32)
	return v, err == nil
}

// cause returns err if no text in its chain holds a secret. Otherwise it returns an error
// with a redacted text: errors.Is works for it as for err, but it cannot be unwrapped.
func (r redactor) cause(err error) error {
	if err == nil || !r.inChain(err) {
		return err
	}
	var t interface{ Timeout() bool }
	return &sealed{
		text:    r.line(err.Error()),
		is:      func(target error) bool { return errors.Is(err, target) },
		timeout: errors.As(err, &t) && t.Timeout(),
	}
}

// shows reports whether s holds a secret in any form.
func (r redactor) shows(s string) bool {
	for _, h := range r {
		if strings.Contains(s, h) || strings.Contains(s, url.QueryEscape(h)) || strings.Contains(s, url.PathEscape(h)) {
			return true
		}
	}
	return r.found(s)
}

func (r redactor) inChain(err error) bool {
	if r.shows(fmt.Sprintf("%v %+v", err, err)) {
		return true
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		if inner := u.Unwrap(); inner != nil {
			return r.inChain(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range u.Unwrap() {
			if inner != nil && r.inChain(inner) {
				return true
			}
		}
	}
	return false
}

// sealed replaces an error whose text holds a secret.
type sealed struct {
	text    string
	is      func(error) bool
	timeout bool
}

func (s *sealed) Error() string        { return s.text }
func (s *sealed) Is(target error) bool { return s.is(target) }
func (s *sealed) Timeout() bool        { return s.timeout }
