package apim

import (
	"crypto/sha256"
	"encoding/hex"
	"html"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxID = 80 // characters of an entragate ID

// Rename is an ID of API Management that entragate cannot use unchanged.
type Rename struct {
	Kind string `json:"kind"` // apis, products, users, subscriptions or applications
	From string `json:"from"`
	To   string `json:"to"`
}

// ids gives entragate IDs for the IDs of one kind. IDs of API Management keep
// letter case and may hold almost any character; entragate's are 1 to 80 of a-z,
// 0-9, hyphen, full stop and underscore.
type ids struct {
	kind  string
	taken map[string]string // entragate ID to the original
	byOld map[string]string // folded original to the entragate ID
	names map[string]bool   // in use, folded
	plan  *Plan
}

func (p *Plan) newIDs(kind string) *ids {
	return &ids{kind: kind, taken: map[string]string{}, byOld: map[string]string{}, names: map[string]bool{}, plan: p}
}

// assign returns the ID for an original. A clash, and an ID that had to be cut,
// gets a short hash of the original, so that the result does not depend on the
// order of the list.
func (m *ids) assign(old string) string {
	if id, ok := m.byOld[strings.ToLower(old)]; ok {
		return id
	}
	id := plainID(old)
	if _, clash := m.taken[id]; clash || len(id) > maxID || id == "" {
		sum := sha256.Sum256([]byte(old))
		short := hex.EncodeToString(sum[:4])
		id = strings.TrimRight(id[:min(len(id), maxID-len(short)-1)], "-._")
		if id != "" {
			id += "-"
		}
		id += short
	}
	m.taken[id] = old
	m.byOld[strings.ToLower(old)] = id
	if id != old {
		m.plan.Renames = append(m.plan.Renames, Rename{Kind: m.kind, From: old, To: id})
	}
	return id
}

// get returns the ID that an original was given, if it is imported.
func (m *ids) get(old string) (string, bool) {
	id, ok := m.byOld[strings.ToLower(old)]
	return id, ok
}

func plainID(old string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(old) {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', strings.ContainsRune("-._", r):
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.Trim(b.String(), "-._")
}

var tag = regexp.MustCompile(`<[^<>]{0,500}>`)

// plainText is a text of API Management, which may hold HTML and line breaks,
// as one line of at most limit characters.
func plainText(s string, limit int) string {
	s = html.UnescapeString(tag.ReplaceAllString(s, ""))
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r):
			return ' '
		case unicode.Is(unicode.Cf, r), r == utf8.RuneError:
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) > limit {
		s = strings.TrimSpace(string([]rune(s)[:limit]))
	}
	return s
}

// plainName is a name for an object that may have none.
func plainName(name, id string) string {
	if name = plainText(name, maxName); name != "" {
		return name
	}
	return plainText(id, maxName)
}

// unused makes a name that no other object of the kind has, comparing without
// letter case: in entragate a name belongs to one object.
func (m *ids) unused(name, id string) string {
	if m.names[strings.ToLower(name)] {
		name = plainText(name, maxName-len(id)-3) + " (" + id + ")"
	}
	m.names[strings.ToLower(name)] = true
	return name
}

const (
	maxName        = 300
	maxDescription = 1000
)
