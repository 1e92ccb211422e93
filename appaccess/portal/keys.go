package portal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

const keySize = 32

// errSeal says that a sealed value is not ours, was altered or was made for
// something else. It says no more on purpose.
var errSeal = errors.New("portal: sealed value refused")

// keyring seals what the browser carries for us: sessions, sign-ins under way,
// messages, form tokens. AES-256-GCM with a random nonce; the purpose is
// authenticated, so one kind never passes for another. The first key seals,
// all open.
type keyring []keyEntry

type keyEntry struct {
	id   [4]byte // of the key, from its hash: picks the key without trying all
	aead cipher.AEAD
}

func newKeyring(keys [][]byte) (keyring, error) {
	if len(keys) == 0 {
		key := make([]byte, keySize)
		_, _ = rand.Read(key) // never fails
		keys = [][]byte{key}
	}
	ring := make(keyring, 0, len(keys))
	for i, key := range keys {
		if len(key) != keySize {
			return nil, fmt.Errorf("portal: Keys[%d]: has %d bytes, must have %d", i, len(key), keySize)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("portal: Keys[%d]: %w", i, err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("portal: Keys[%d]: %w", i, err)
		}
		sum := sha256.Sum256(append([]byte("entragate portal key id\x00"), key...))
		ring = append(ring, keyEntry{id: [4]byte(sum[:4]), aead: aead})
	}
	return ring, nil
}

// seal returns v as text that a cookie or a form field can carry.
func (k keyring) seal(purpose string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("portal: seal: %w", err)
	}
	e := k[0]
	nonce := make([]byte, e.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	out := append(e.id[:], nonce...)
	out = e.aead.Seal(out, nonce, plain, []byte(purpose))
	return base64.RawURLEncoding.EncodeToString(out), nil
}

// open fills v from what seal returned for the same purpose.
func (k keyring) open(purpose, text string, v any) error {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return errSeal
	}
	for _, e := range k {
		head := len(e.id) + e.aead.NonceSize()
		if len(raw) < head || [4]byte(raw[:4]) != e.id {
			continue
		}
		plain, err := e.aead.Open(nil, raw[len(e.id):head], raw[head:], []byte(purpose))
		if err != nil {
			continue
		}
		if json.Unmarshal(plain, v) == nil {
			return nil
		}
	}
	return errSeal
}
