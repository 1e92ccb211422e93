package appaccess

import (
	"net/http"
	"slices"
	"strings"
)

// reservedHeaders cannot carry a key, because they have another meaning for servers
// and proxies.
var reservedHeaders = []string{
	"Authorization", "Connection", "Content-Length", "Content-Type", "Cookie", "Host", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// CheckKeyNames checks the names of the header and of the query parameter in which
// callers send a subscription key; each may be empty. The error is an
// [*InvalidError].
func CheckKeyNames(header, query string) error {
	foreign := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.~", r)
	}
	const rule = "must have at most 100 letters, digits and -_.~"
	switch {
	case len(header) > 100 || strings.ContainsFunc(header, foreign):
		return &InvalidError{"keyHeader", rule}
	case slices.Contains(reservedHeaders, http.CanonicalHeaderKey(header)):
		return &InvalidError{"keyHeader", "cannot be " + header + ", which has another meaning"}
	case len(query) > 100 || strings.ContainsFunc(query, foreign):
		return &InvalidError{"keyQuery", rule}
	}
	return nil
}
