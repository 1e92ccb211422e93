package entratest

import (
	"net/http"
	"net/url"
	"strings"
)

// segment is one part of a path: a name, or a key such as (appId='x'), which is a
// segment of its own.
type segment struct {
	name     string
	key, val string
}

func (s segment) isKey() bool { return s.key != "" }

// parsePath reads the path below the version. Its parts are still escaped.
func parsePath(raw []string, failed *graphError) ([]segment, *graphError) {
	if failed != nil {
		return nil, failed
	}
	if len(raw) == 0 {
		return nil, refuse(http.StatusBadRequest, "BadRequest", "Resource not found for the segment ''.")
	}
	var path []segment
	for _, r := range raw {
		s, err := url.PathUnescape(r)
		if err != nil || s == "" {
			return nil, refuse(http.StatusBadRequest, "BadRequest", "Resource not found for the segment '%s'.", r)
		}
		name, rest, keyed := strings.Cut(s, "(")
		path = append(path, segment{name: name})
		if !keyed {
			continue
		}
		key, val, ok := parseKey(rest)
		if !ok {
			return nil, refuse(http.StatusBadRequest, "BadRequest", "The key in the segment '%s' is not valid.", r)
		}
		path = append(path, segment{key: key, val: val})
	}
	return path, nil
}

// parseKey reads name='value') or 'value'), where a quote in the value is doubled.
func parseKey(s string) (key, val string, ok bool) {
	s, closed := strings.CutSuffix(s, ")")
	key, quoted, named := strings.Cut(s, "=")
	if strings.HasPrefix(s, "'") || !named {
		key, quoted = "id", s
	}
	if !closed || key == "" || len(quoted) < 2 || quoted[0] != '\'' || quoted[len(quoted)-1] != '\'' {
		return "", "", false
	}
	val = quoted[1 : len(quoted)-1]
	if strings.Contains(strings.ReplaceAll(val, "''", ""), "'") {
		return "", "", false
	}
	return key, strings.ReplaceAll(val, "''", "'"), true
}

// isTenant reports whether a segment behind the version names this tenant, which
// Graph allows: /v1.0/myorganization/ and /v1.0/{tenant}/.
func (t *Tenant) isTenant(name string) bool {
	return name == "myorganization" || strings.EqualFold(name, t.cfg.TenantID) || strings.EqualFold(name, t.domain())
}
