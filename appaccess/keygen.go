package appaccess

import (
	"crypto/rand"
	"hash/crc32"

	"github.com/entragate/entragate/internal/secret"
)

// KeyPattern is a regular expression that finds subscription keys in text, for
// secret scanners. To rule out chance hits check them with [CheckKeyFormat].
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

// CheckKeyFormat reports whether a string could be a subscription key: it has
// the prefix, the length, the alphabet and the checksum. It costs some tens of
// nanoseconds and no allocation, so a gate can refuse garbage before it looks
// anything up. It does not say that the key exists: anyone can make a string
// that passes.
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

// newKey draws a subscription key. crypto/rand does not fail.
func newKey() Secret {
	key := make([]byte, 0, keyLength)
	key = append(key, keyPrefix...)
	var pool [2 * keyRandom]byte
	for len(key) < keyLength-keyChecksum {
		_, _ = rand.Read(pool[:])
		for _, b := range pool {
			// 248 is 4*62: larger bytes would make some digits likelier.
			if b < 248 && len(key) < keyLength-keyChecksum {
				key = append(key, base62[b%62])
			}
		}
	}
	sum := keySumDigits(string(key))
	return secret.New(string(append(key, sum[:]...)))
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
