package appaccess

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// KeyHash is the SHA-256 of a subscription key, which is stored in place of the key.
// It marshals as lower-case hex. The hash of a key that was made here is not a
// secret: nobody can guess 256 random bits. The hash of a key that was brought is as
// safe as that key is random. The zero KeyHash belongs to no key.
type KeyHash [sha256.Size]byte

// HashKey hashes a subscription key, made here or elsewhere, exactly as callers send
// it. In a shell, use
//
//	printf %s "$KEY" | sha256sum
//
// and not echo, which adds a newline.
func HashKey(key string) KeyHash { return sha256.Sum256([]byte(key)) }

// String returns the hash in lower-case hex.
func (s KeyHash) String() string { return hex.EncodeToString(s[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (s KeyHash) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]: 64 hex digits, of either case.
// After an error the hash is unchanged. The error does not show the text, which may
// be a key by mistake.
func (s *KeyHash) UnmarshalText(text []byte) error {
	var sum KeyHash
	if len(text) != hex.EncodedLen(len(sum)) {
		return fmt.Errorf("appaccess: a key hash must have %d hex digits: this has %d characters", hex.EncodedLen(len(sum)), len(text))
	}
	if _, err := hex.Decode(sum[:], text); err != nil {
		return fmt.Errorf("appaccess: a key hash must have %d hex digits: this has another character", hex.EncodedLen(len(sum)))
	}
	*s = sum
	return nil
}
