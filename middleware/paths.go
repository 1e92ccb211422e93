package middleware

import (
	"encoding/hex"
	"errors"
	pathpkg "path"
	"strings"
	"unicode"
)

var errPath = errors.New("must be / or segments of letters, digits and -._~ that each begin with a slash, without a dot segment")

// checkAPIPath allows only characters that need no escape, because routeOf compares
// both the decoded and the escaped path of a request with the API's path.
func checkAPIPath(path string) error {
	if path == "/" {
		return nil
	}
	foreign := func(r rune) bool { return r != '/' && notToken(r) }
	if strings.ContainsFunc(path, foreign) || !cleanPath(path) || strings.HasSuffix(path, "/") {
		return errPath
	}
	return nil
}

// cleanPath reports whether every router reads a decoded URL path in the same way:
// no empty segment except at the end, no dot segment (both also with a parameter,
// "..;x"), no backslash, no control character.
func cleanPath(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	start := 1
	for i := 1; i <= len(path); i++ {
		if i < len(path) {
			if c := path[i]; c == '\\' || c < 0x20 || c == 0x7f {
				return false
			} else if c != '/' {
				continue
			}
		}
		if !cleanSegment(path[start:i], i == len(path)) {
			return false
		}
		start = i + 1
	}
	return true
}

func cleanSegment(s string, last bool) bool {
	if s == "" {
		return last
	}
	if s[0] != '.' && s[0] != ';' {
		return true
	}
	name, _, _ := strings.Cut(s, ";")
	return name != "" && name != "." && name != ".."
}

// routeOf finds the route of a request by the path that the handler sees. It returns
// a failure if no API with a product has the path.
//
// Servers read paths differently. The gate answers 400 if another usual reading of
// the path leads to another API, because a product must not open an API that it does
// not group.
func (p *policy) routeOf(path, rawPath string) (*route, failure) {
	r := p.match(path)
	clean := cleanPath(path) && (rawPath == "" || !encodedSlash(rawPath))
	if !clean && (r == nil || !r.slashes || !onlySlashes(path, rawPath)) {
		return nil, notAllowed(path, "no dot segment, no //, no encoded slash")
	}
	if rawPath != "" && p.match(rawPath) != r { // some routers look at the path as it was sent
		return nil, notAllowed(rawPath, "no needless escapes")
	}
	if other, ok := p.matchLoosely(path); !ok || other != r {
		return nil, notAllowed(path, "one that every server reads as a path of the same API: letter case, parameters (;), blanks, dots at the end of a segment and repeated escapes count")
	}
	if r == nil || len(r.products) == 0 {
		return r, failure{reason: OperationNotFound, status: 404, field: "path", actual: clip(path), expected: "a path of an API that is in a product"}
	}
	return r, failure{}
}

func notAllowed(path, expected string) failure {
	return failure{reason: PathNotAllowed, status: 400, field: "path", actual: clip(path), expected: expected}
}

// encodedSlash reports whether an escaped path has encoded slashes or backslashes.
func encodedSlash(raw string) bool {
	for {
		i := strings.IndexByte(raw, '%')
		if i < 0 || len(raw) < i+3 {
			return false
		}
		hex := raw[i+1 : i+3]
		if hex == "2f" || hex == "2F" || strings.EqualFold(hex, "5c") {
			return true
		}
		raw = raw[i+3:]
	}
}

// onlySlashes reports whether a path would be clean without its empty segments and
// encoded slashes.
func onlySlashes(path, rawPath string) bool {
	if strings.Contains(strings.ToLower(rawPath), "%5c") {
		return false
	}
	segments := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	return strings.HasPrefix(path, "/") && cleanPath("/"+strings.Join(segments, "/"))
}

// matchLoosely finds the API of a path like the most lax server: one that decodes
// escapes repeatedly, ignores letter case, reads a backslash as a slash, and drops
// empty segments, the part of a segment after a semicolon, blanks around a segment
// and dots at its end. ok is false if a dot segment appears, or if the escapes are
// nested too deeply.
func (p *policy) matchLoosely(path string) (r *route, ok bool) {
	if strings.ContainsAny(path, "%?#\\\x00") {
		if path, ok = decodeAgain(path); !ok {
			return nil, false
		}
	}
	n, found := p.loose, p.loose.route
	for rest := path; rest != ""; {
		var s string
		s, rest, _ = strings.Cut(rest, "/")
		if s = looseSegment(s); s == "" {
			continue
		}
		if s == "." || s == ".." {
			return nil, false
		}
		if n == nil { // below every API's path
			continue
		}
		if s = strings.TrimRight(s, ". "); s == "" {
			continue
		}
		if n = n.next[fold(s)]; n != nil && n.route != nil {
			found = n.route
		}
	}
	return found, true
}

// looseSegment returns a segment without parameters and surrounding blanks.
func looseSegment(s string) string {
	if i := strings.IndexByte(s, ';'); i >= 0 {
		s = s[:i]
	}
	return strings.TrimFunc(s, unicode.IsSpace)
}

// fold makes names equal that differ only by letter case. The long s (U+017F) and the
// Kelvin sign (U+212A) become ASCII letters.
func fold(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return strings.ToLower(strings.ToUpper(s))
		}
	}
	return strings.ToLower(s)
}

// decodeAgain returns a decoded path as a server reads it that decodes it again, or
// reads it as a URL or a C string. ok is false if the fourth decoding still changes
// the path.
func decodeAgain(path string) (_ string, ok bool) {
	for range 4 {
		again := decodeEscapes(path)
		if ok = again == path; ok {
			break
		}
		path = again
	}
	if i := strings.IndexAny(path, "?#\x00"); i >= 0 {
		path = path[:i]
	}
	return pathpkg.Clean("/" + strings.ReplaceAll(path, "\\", "/")), ok
}

// decodeEscapes decodes all valid escapes and keeps the other characters.
func decodeEscapes(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c, err := hex.DecodeString(s[min(i+1, len(s)):min(i+3, len(s))]); s[i] == '%' && err == nil && len(c) == 1 {
			b.WriteByte(c[0])
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
