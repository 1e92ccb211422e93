package middleware

import (
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// hiddenKey replaces a subscription key in records.
const hiddenKey = "[key]"

// apimKeyLength is the number of hexadecimal digits in API Management's keys.
const apimKeyLength = 32

// hideKeys replaces texts that look like a subscription key. Records show paths and
// claims, where callers sometimes put a key by mistake. It recognises keys of
// entragate and of API Management, not keys of another format.
func hideKeys(s string) string {
	var b strings.Builder
	kept := 0 // s[:kept] is in b
	for i := 0; i < len(s); {
		end := i
		for end < len(s) && isWord(s[end]) {
			end++
		}
		if looksLikeKey(s[i:end]) {
			b.WriteString(s[kept:i])
			b.WriteString(hiddenKey)
			kept = end
		}
		i = end + 1
	}
	if kept == 0 {
		return s
	}
	return b.String() + s[kept:]
}

func looksLikeKey(word string) bool {
	if i := strings.Index(word, "egk_"); i >= 0 && appaccess.CheckKeyFormat(word[i:]) {
		return true
	}
	if len(word) != apimKeyLength {
		return false
	}
	for i := range len(word) {
		c := word[i] | 0x20
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
