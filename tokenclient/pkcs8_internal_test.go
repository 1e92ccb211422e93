package tokenclient

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A wrong password is called one, also if what it decrypts ends like padding by
// chance.
func TestWrongPasswordsAreCalledThat(t *testing.T) {
	t.Parallel()
	raw := func(v any) asn1.RawValue {
		der, err := asn1.Marshal(v)
		require.NoError(t, err)
		return asn1.RawValue{FullBytes: der}
	}
	iv, salt := make([]byte, aes.BlockSize), []byte("salt")
	plain := append([]byte{asn1.TagSequence | 0x20, 14}, make([]byte, 14)...) // one block
	plain[2], plain[3] = asn1.TagOctetString, 12
	plain = append(plain, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16)
	key, err := pbkdf2.Key(sha256.New, "right", salt, 1, 16)
	require.NoError(t, err)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(plain, plain)
	aes128 := asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}
	sha := asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	require.Contains(t, aesKeys, aes128.String())
	require.Contains(t, prfs, sha.String())
	file, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}{pkix.AlgorithmIdentifier{Algorithm: oidPBES2, Parameters: raw(struct{ Derivation, Encryption pkix.AlgorithmIdentifier }{
		pkix.AlgorithmIdentifier{Algorithm: oidPBKDF2, Parameters: raw(struct {
			Salt       []byte
			Iterations int
			PRF        pkix.AlgorithmIdentifier
		}{salt, 1, pkix.AlgorithmIdentifier{Algorithm: sha}})},
		pkix.AlgorithmIdentifier{Algorithm: aes128, Parameters: raw(iv)},
	})}, plain})
	require.NoError(t, err)
	_, err = decryptPKCS8(file, "right")
	require.NoError(t, err)
	for i := range 5000 {
		_, err := decryptPKCS8(file, fmt.Sprint("wrong", i))
		assert.ErrorIs(t, err, errPassword)
	}
}
