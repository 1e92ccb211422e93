package appaccess

import (
	"crypto/rand"
	"hash/crc32"

	"github.com/entragate/entragate/internal/secret"
)

// KeyPattern is a regular expression that finds the subscription keys that are
// made here in text, for secret scanners. To rule out chance hits check them with
// [CheckKeyFormat].
const KeyPattern = `\begk_[0-9A-Za-z]{49}\b`

// A key is keyPrefix, 43 base-62 digits drawn at random (256.03 bits) and the
// CRC-32 (IEEE) of all before it as 6 base-62 digits.
const (
	keyPrefix   = "egk_"
	keyRandom   = 43
	keyChecksum = 6
	keyLength   = len(keyPrefix) + keyRandom + keyChecksum
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// CheckKeyFormat reports whether a string could be a subscription key that was
// made here: it has the prefix, the length, the alphabet and the checksum. It
// costs some tens of nanoseconds and no allocation. It does not say that the key
// exists: anyone can make a string that passes. Nor does a key have to pass: one
// that a subscription brought along looks as it always did, so no gate asks this.
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

// NewKey draws a subscription key with 256 bits of randomness, and gives it with
// the sum that is kept in its place: the key is its caller's alone. [Service]
// makes the keys of its subscriptions itself; this is for those of static mode,
// middleware.Config.Subscriptions. Safe for concurrent use.
func NewKey() (Secret, KeySum) {
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
	return secret.New(text), SumKey(text)
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
