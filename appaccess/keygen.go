package appaccess

import (
	"crypto/rand"
	"hash/crc32"

	"github.com/entragate/entragate/internal/secret"
)

// KeyPattern is a regular expression for secret scanners. It finds in a text the
// subscription keys that are made here. Check what it finds with [CheckKeyFormat], to
// exclude accidental matches.
const KeyPattern = `\begk_[0-9A-Za-z]{49}\b`

// A key is keyPrefix, 43 random base-62 digits (256.03 bits), and the CRC-32 (IEEE)
// of all of that as 6 base-62 digits.
const (
	keyPrefix   = "egk_"
	keyRandom   = 43
	keyChecksum = 6
	keyLength   = len(keyPrefix) + keyRandom + keyChecksum
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// CheckKeyFormat reports whether a text could be a subscription key that was made
// here: it checks prefix, length, alphabet and checksum, in some tens of nanoseconds
// and without allocation. It does not say that the key exists: anybody can make a
// text that passes. A key that a subscription brought does not pass, so no gate calls
// CheckKeyFormat.
func CheckKeyFormat(key string) bool {
	if len(key) != keyLength || key[:len(keyPrefix)] != keyPrefix {
		return false
	}
	for i := len(keyPrefix); i < keyLength; i++ {
		if !isBase62(key[i]) {
			return false
		}
	}
	sum := keySumDigits(key[:keyLength-keyChecksum])
	return key[keyLength-keyChecksum:] == string(sum[:])
}

// NewKey generates a subscription key with 256 bits of randomness and returns it with
// its hash. Only the caller has the key. [Service] generates the keys of its
// subscriptions itself; NewKey is for the subscriptions of static mode,
// middleware.Config.Subscriptions. NewKey is safe for concurrent use.
func NewKey() (Secret, KeyHash) {
	key := make([]byte, 0, keyLength)
	key = append(key, keyPrefix...)
	var pool [2 * keyRandom]byte // crypto/rand does not fail
	for len(key) < keyLength-keyChecksum {
		_, _ = rand.Read(pool[:])
		for _, b := range pool {
			// 248 is 4*62: larger bytes would make some digits likelier.
			if b < 248 && len(key) < keyLength-keyChecksum {
				key = append(key, base62[b%62])
			}
		}
	}
	digits := keySumDigits(string(key))
	text := string(append(key, digits[:]...))
	return secret.New(text), HashKey(text)
}

// keySumDigits runs the table itself: crc32.ChecksumIEEE would make a copy of
// the text escape.
func keySumDigits(text string) (digits [keyChecksum]byte) {
	n := ^uint32(0)
	for i := range len(text) {
		n = crc32.IEEETable[byte(n)^text[i]] ^ n>>8
	}
	n = ^n
	for i := keyChecksum - 1; i >= 0; i-- {
		digits[i] = base62[n%62]
		n /= 62
	}
	return digits
}

func isBase62(b byte) bool {
	return '0' <= b && b <= '9' || 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z'
}
