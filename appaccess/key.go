package appaccess

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// KeySum is the SHA-256 of a subscription key: all that is kept of one. It is
// not a secret (a key has 256 bits of randomness, so its hash cannot be
// guessed back) and marshals as lower-case hex.
type KeySum [sha256.Size]byte

// SumKey hashes a subscription key as a caller presents it.
func SumKey(key string) KeySum { return sha256.Sum256([]byte(key)) }

// String is the sum in lower-case hex.
func (s KeySum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (s KeySum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *KeySum) UnmarshalText(text []byte) error {
	if n, err := hex.Decode(s[:], text); err != nil || n != len(s) || len(text) != 2*len(s) {
		return fmt.Errorf("appaccess: a key sum is %d hex digits", 2*len(s))
	}
	return nil
}
