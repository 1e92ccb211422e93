package appaccess

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// KeySum is the SHA-256 of a subscription key: all that is kept of one. It
// marshals as lower-case hex. That of a key that was made here is not a secret:
// the key has 256 bits of randomness, so it cannot be guessed back. That of a key
// which was brought along is as safe as that key is random. The zero KeySum is no
// key's.
type KeySum [sha256.Size]byte

// SumKey hashes a subscription key, made here or anywhere else, exactly as a
// caller sends it. In a shell that is
//
//	printf %s "$KEY" | sha256sum
//
// and not echo, which adds a newline.
func SumKey(key string) KeySum { return sha256.Sum256([]byte(key)) }

// String is the sum in lower-case hex.
func (s KeySum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (s KeySum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]: 64 hex digits, of either
// case. The error does not show the text, which may be a key by mistake; the sum
// is then unchanged.
func (s *KeySum) UnmarshalText(text []byte) error {
	var sum KeySum
	if len(text) != hex.EncodedLen(len(sum)) {
		return fmt.Errorf("appaccess: a key sum is %d hex digits: it has %d characters", hex.EncodedLen(len(sum)), len(text))
	}
	if _, err := hex.Decode(sum[:], text); err != nil {
		return fmt.Errorf("appaccess: a key sum is %d hex digits: it has another character", hex.EncodedLen(len(sum)))
	}
	*s = sum
	return nil
}
