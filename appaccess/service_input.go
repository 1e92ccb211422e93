package appaccess

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lengths in characters, as in API Management if it has a limit.
const (
	maxID          = 80
	maxName        = 300
	maxDescription = 1000
	maxEmail       = 254
	maxPath        = 400
	maxURL         = 2000
	maxList        = 999 // a page of the store holds one more
)

// checkText refuses a text that is not readable or does not have min to max
// characters.
func checkText(field, v string, minimum, maximum int) error {
	if !utf8.ValidString(v) {
		return &InvalidError{field, "must be valid UTF-8"}
	}
	if n := utf8.RuneCountInString(v); n < minimum || n > maximum {
		return &InvalidError{field, fmt.Sprintf("must have %d to %d characters, has %d", minimum, maximum, n)}
	}
	if v != strings.TrimSpace(v) {
		return &InvalidError{field, "must not begin or end with white space"}
	}
	var before rune
	for i, r := range v {
		joins := isJoiner(r) && isJoined(before) && isJoined(runeAfter(v, i))
		before = r
		if unicode.IsControl(r) || isInvisible(r) && !joins {
			return &InvalidError{field, fmt.Sprintf("must not hold control characters: %q", r)}
		}
	}
	return nil
}

// isJoiner reports the two invisible characters that are needed: in emoji of several
// parts, and in scripts whose letters join.
func isJoiner(r rune) bool { return r == 0x200c || r == 0x200d }

// isJoined reports whether a joiner next to the character has a visible effect.
// Between ASCII characters it has none, and would only make two names look equal.
func isJoined(r rune) bool {
	return r > unicode.MaxASCII && r != utf8.RuneError && unicode.In(r, unicode.L, unicode.M, unicode.S)
}

// runeAfter returns the character that follows the one at i.
func runeAfter(v string, i int) rune {
	_, size := utf8.DecodeRuneInString(v[i:])
	r, _ := utf8.DecodeRuneInString(v[i+size:])
	return r
}

// isInvisible reports characters that make a text look like another one: line
// separators, zero-width marks, invisible letters, and marks that change the reading
// direction.
func isInvisible(r rune) bool {
	switch {
	case r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x206f, r == 0xfeff, r == 0x061c:
		return true
	case r == 0x00ad, r == 0x034f, r == 0x115f, r == 0x1160, r == 0x180e, r == 0x2800, r == 0x3164, r == 0xffa0:
		return true
	}
	return r >= 0xfff9 && r <= 0xfffb || r >= 0xe0000 && r <= 0xe007f
}

const idRule = "must have 1 to 80 characters of a-z, 0-9, hyphen, full stop and underscore, and begin with a letter or digit"

func isID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || i > 0 && strings.IndexByte("-._", c) >= 0) {
			return false
		}
	}
	return true
}

func checkID(field, id string) error {
	if !isID(id) {
		return &InvalidError{field, idRule}
	}
	return nil
}

// idOr returns the requested ID, or one made by fallback.
func idOr(id string, fallback func() string) (string, error) {
	if id == "" {
		return fallback(), nil
	}
	return id, checkID("id", id)
}

// newID generates an ID: 26 characters with 130 bits of randomness.
func newID() string { return strings.ToLower(rand.Text()) }

// slug derives a readable ID from a name.
func slug(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9')
	})
	id := strings.Join(words, "-")
	if len(id) > maxID {
		id = strings.TrimRight(id[:maxID], "-")
	}
	if id == "" {
		return newID()
	}
	return id
}

func checkEmail(email string) error {
	if email == "" {
		return nil
	}
	if err := checkText("email", email, 3, maxEmail); err != nil {
		return err
	}
	local, host, ok := strings.Cut(email, "@")
	if !ok || local == "" || host == "" || strings.ContainsAny(host, "@") || strings.ContainsAny(email, " <>,;\"") {
		return &InvalidError{"email", "must be an address such as ada@example.com"}
	}
	return nil
}

// checkPath refuses a path that is not made of whole, clean, unescaped segments,
// because routers could read it differently.
func checkPath(path string) error {
	if err := checkText("path", path, 1, maxPath); err != nil {
		return err
	}
	if path == "/" {
		return nil
	}
	if path[0] != '/' || path[len(path)-1] == '/' {
		return &InvalidError{"path", "must begin with a slash and not end with one"}
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return &InvalidError{"path", "must not hold empty segments, . or .."}
		}
		for _, r := range segment {
			if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~", r)) {
				return &InvalidError{"path", fmt.Sprintf("segments hold letters, digits and -._~ only: %q", r)}
			}
		}
	}
	return nil
}

func checkServiceURL(raw string) error {
	if raw == "" {
		return nil
	}
	if err := checkText("serviceUrl", raw, 1, maxURL); err != nil {
		return err
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return &InvalidError{"serviceUrl", "must be an absolute http or https URL"}
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return &InvalidError{"serviceUrl", "must not carry user info, a query or a fragment"}
	}
	return nil
}

// checkGUID checks an identifier of Entra and returns it in lower case.
func checkGUID(field, v string) (string, error) {
	bad := &InvalidError{field, "must be a GUID such as 00001111-aaaa-2222-bbbb-3333cccc4444"}
	if len(v) != 36 {
		return "", bad
	}
	v = strings.ToLower(v)
	for i := range len(v) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := '0' <= v[i] && v[i] <= '9' || 'a' <= v[i] && v[i] <= 'f'
		if dash != (v[i] == '-') || !dash && !hex {
			return "", bad
		}
	}
	return v, nil
}

// checkServicePrincipal checks the reference to an existing service principal.
func checkServicePrincipal(p ServicePrincipal, adopt string) (ServicePrincipal, error) {
	if p == (ServicePrincipal{}) {
		return p, nil
	}
	var err, err2, err3 error
	p.ObjectID, err = checkGUID("servicePrincipal.objectId", p.ObjectID)
	if p.ClientID != "" {
		p.ClientID, err2 = checkGUID("servicePrincipal.clientId", p.ClientID)
	}
	if adopt != "" {
		err3 = &InvalidError{"servicePrincipal", "cannot be combined with adopt: an application is adopted by its client ID, an existing service principal keeps its own"}
	}
	return p, allErrors(err, err2, err3)
}

// checkIDs refuses a list that names an ID twice or that has too few or too many.
func checkIDs(field string, ids []string, minimum, maximum int) error {
	if len(ids) < minimum || len(ids) > maximum {
		return &InvalidError{field, fmt.Sprintf("must name %d to %d, names %d", minimum, maximum, len(ids))}
	}
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if err := checkID(field, id); err != nil {
			return err
		}
		if seen[id] {
			return &InvalidError{field, fmt.Sprintf("names %q twice", id)}
		}
		seen[id] = true
	}
	return nil
}

// change sets *dst if a new value is given, and reports whether it differs.
func change[T comparable](dst *T, v *T) bool {
	if v == nil || *dst == *v {
		return false
	}
	*dst = *v
	return true
}

// firstError returns the first error of a list of checks.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
