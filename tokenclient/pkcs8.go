package tokenclient

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"hash"
)

// maxIterations limits the computation that a key file can cause.
const maxIterations = 2_000_000

// The supported algorithms of encrypted PKCS #8: PBES2 with PBKDF2 and AES-CBC (RFC
// 8018), the default of OpenSSL since 1.1.
var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}

	prfs = map[string]func() hash.Hash{
		"":                    sha1.New, // the default, RFC 8018 A.2
		"1.2.840.113549.2.7":  sha1.New,
		"1.2.840.113549.2.9":  sha256.New,
		"1.2.840.113549.2.10": sha512.New384,
		"1.2.840.113549.2.11": sha512.New,
	}
	aesKeys = map[string]int{ // key length in bytes
		"2.16.840.1.101.3.4.1.2": 16, "2.16.840.1.101.3.4.1.22": 24, "2.16.840.1.101.3.4.1.42": 32,
	}
)

var (
	errPassword = errors.New("the private key cannot be decrypted: the password is wrong or the file is damaged")
	errScheme   = errors.New("the private key is encrypted in a way that is not supported: convert it (openssl pkcs8 -topk8 -v2 aes-256-cbc)")
)

// decryptPKCS8 decrypts an EncryptedPrivateKeyInfo (RFC 5958 section 3).
func decryptPKCS8(der []byte, password string) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, errors.New("the encrypted private key is not valid PKCS #8")
	}
	var scheme struct{ Derivation, Encryption pkix.AlgorithmIdentifier }
	if !info.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, errScheme
	}
	if _, err := asn1.Unmarshal(info.Algorithm.Parameters.FullBytes, &scheme); err != nil || !scheme.Derivation.Algorithm.Equal(oidPBKDF2) {
		return nil, errScheme
	}
	var derivation struct {
		Salt       []byte
		Iterations int
		KeyLength  int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	var iv []byte
	_, err := asn1.Unmarshal(scheme.Derivation.Parameters.FullBytes, &derivation)
	_, errIV := asn1.Unmarshal(scheme.Encryption.Parameters.FullBytes, &iv)
	prf, length := prfs[derivation.PRF.Algorithm.String()], aesKeys[scheme.Encryption.Algorithm.String()]
	if err != nil || errIV != nil || prf == nil || length == 0 || len(iv) != aes.BlockSize {
		return nil, errScheme
	}
	if derivation.Iterations < 1 || derivation.Iterations > maxIterations || len(info.Data) == 0 || len(info.Data)%aes.BlockSize != 0 {
		return nil, errPassword
	}
	key, err := pbkdf2.Key(prf, password, derivation.Salt, derivation.Iterations, length)
	if err != nil {
		return nil, errScheme
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errScheme
	}
	plain := make([]byte, len(info.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, info.Data)
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > aes.BlockSize {
		return nil, errPassword
	}
	for _, b := range plain[len(plain)-padding:] {
		if int(b) != padding {
			return nil, errPassword
		}
	}
	plain = plain[:len(plain)-padding]
	// One wrong password in 256 leaves valid padding.
	var whole asn1.RawValue
	if rest, err := asn1.Unmarshal(plain, &whole); err != nil || len(rest) > 0 || whole.Tag != asn1.TagSequence || !whole.IsCompound {
		return nil, errPassword
	}
	return plain, nil
}
