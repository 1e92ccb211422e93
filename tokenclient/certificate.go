package tokenclient

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

const (
	minRSABits    = 2048
	assertionLife = 5 * time.Minute
	clockSlack    = 30 * time.Second // an assertion is valid from this much before now
)

// Certificate returns a credential that signs an assertion (private_key_jwt, RFC 7523
// section 2.2) for each fetch. leaf is a certificate that is registered with the client
// application. key is its RSA key of at least 2048 bits, which may be in hardware.
func Certificate(leaf *x509.Certificate, key crypto.Signer) Credential {
	label := "certificate"
	if leaf != nil {
		label = "certificate " + leaf.Subject.String()
	}
	return Credential{method: &certificateMethod{label: label, load: func(context.Context) (*signer, error) {
		if leaf == nil || key == nil {
			return nil, errors.New("leaf and key are required")
		}
		return newSigner([]*x509.Certificate{leaf}, key)
	}}}
}

// CertificateFile is [Certificate] with certificate and key from files. The files are
// PEM: the certificate, with or without its chain, and the unencrypted key in PKCS #8 or
// PKCS #1. One file may hold both. A PFX file (PKCS #12) without a password is given as
// both arguments. The files must exist when [New] is called. They are read again for
// each fetch.
func CertificateFile(certFile, keyFile string) Credential {
	return certificateFrom(certFile, keyFile, nil)
}

// EncryptedCertificateFile is [CertificateFile] for a PFX file or a PKCS #8 key with a
// password. Make the password with [Secret], [SecretEnv], [SecretFile] or [SecretFunc].
// It is read again for each fetch. Keys in PEM must be encrypted with PBKDF2 and AES, as
// openssl does by default. The older format "Proc-Type: 4,ENCRYPTED" is refused, because
// its encryption is weak.
func EncryptedCertificateFile(certFile, keyFile string, password Credential) Credential {
	m, ok := password.method.(*secretMethod)
	if !ok {
		m = &secretMethod{label: "password", read: func(context.Context) (string, error) {
			return "", errors.New("must be made with Secret, SecretEnv, SecretFile or SecretFunc")
		}}
	}
	return certificateFrom(certFile, keyFile, m.value)
}

func certificateFrom(certFile, keyFile string, password func(context.Context) (string, error)) Credential {
	return Credential{method: &certificateMethod{label: "certificate from file " + certFile, load: func(ctx context.Context) (*signer, error) {
		certText, err := readFile(certFile)
		if err != nil {
			return nil, err
		}
		keyText, err := readFile(keyFile)
		if err != nil {
			return nil, err
		}
		secret := ""
		if password != nil {
			if secret, err = password(ctx); err != nil {
				return nil, err
			}
		}
		if certFile == keyFile && isDER([]byte(certText)) {
			return parsePFX([]byte(certText), secret)
		}
		certs, err := parseCertificates([]byte(certText))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", certFile, err)
		}
		key, err := parseKey([]byte(keyText), secret)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", keyFile, err)
		}
		return newSigner(certs, key)
	}}}
}

// parsePFX reads certificate, key and chain from a PFX file.
func parsePFX(data []byte, password string) (*signer, error) {
	key, leaf, chain, err := pkcs12.DecodeChain(data, password)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword) && password == "":
		return nil, errors.New("the PFX file has a password: use EncryptedCertificateFile")
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, errors.New("the PFX file's password is wrong")
	case err != nil:
		return nil, fmt.Errorf("is no PFX file with one key and its certificate: %w", err)
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the key is %T: an RSA key is needed", key)
	}
	return newSigner(append([]*x509.Certificate{leaf}, chain...), s)
}

type certificateMethod struct {
	label string
	load  func(context.Context) (*signer, error)
}

func (m *certificateMethod) name() string { return m.label }

func (m *certificateMethod) check(now time.Time) error {
	_, err := m.valid(context.Background(), now)
	return err
}

func (m *certificateMethod) prove(ctx context.Context, c *Client) (proof, error) {
	now := c.time()
	s, err := m.valid(ctx, now)
	if err != nil {
		return proof{}, err
	}
	jwt, err := s.assertion(c.clientID, c.tokenURL, now, c.rs256)
	if err != nil {
		return proof{}, fmt.Errorf("%s: signing: %w", m.label, err)
	}
	p := assertion(c, jwt)
	p.ends = s.leaf.NotAfter
	return p, nil
}

// valid loads the certificate and checks its time.
func (m *certificateMethod) valid(ctx context.Context, now time.Time) (*signer, error) {
	s, err := m.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.label, err)
	}
	if now.After(s.leaf.NotAfter) {
		return nil, fmt.Errorf("%s: expired on %s", m.label, s.leaf.NotAfter.Format(time.RFC3339))
	}
	if now.Before(s.leaf.NotBefore) {
		return nil, fmt.Errorf("%s: is not valid before %s", m.label, s.leaf.NotBefore.Format(time.RFC3339))
	}
	return s, nil
}

// signer signs assertions with a certificate's key.
type signer struct {
	leaf *x509.Certificate
	key  crypto.Signer
}

// newSigner picks the certificate that belongs to the key.
func newSigner(certs []*x509.Certificate, key crypto.Signer) (*signer, error) {
	public, ok := key.Public().(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key is %T: an RSA key is needed", key.Public())
	}
	if bits := public.N.BitLen(); bits < minRSABits {
		return nil, fmt.Errorf("the key has %d bits: at least %d are needed", bits, minRSABits)
	}
	for _, cert := range certs {
		if public.Equal(cert.PublicKey) {
			return &signer{leaf: cert, key: key}, nil
		}
	}
	return nil, fmt.Errorf("the key belongs to none of the %d certificates", len(certs))
}

// assertion returns a signed JWT as Entra documents it:
// https://learn.microsoft.com/entra/identity-platform/certificate-credentials.
func (s *signer) assertion(clientID, audience string, now time.Time, rs256 bool) (string, error) {
	alg, opts := "PS256", crypto.SignerOpts(&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	if rs256 {
		alg, opts = "RS256", crypto.SHA256
	}
	thumbprint := sha256.Sum256(s.leaf.Raw)
	header, err := part(map[string]string{
		"alg": alg, "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(thumbprint[:]),
	})
	if err != nil {
		return "", err
	}
	claims, err := part(map[string]any{
		"aud": audience, "iss": clientID, "sub": clientID, "jti": newUUID(),
		"iat": now.Unix(), "nbf": now.Add(-clockSlack).Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256([]byte(header + "." + claims))
	signature, err := s.key.Sign(rand.Reader, digest[:], opts)
	if err != nil {
		return "", err
	}
	return header + "." + claims + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// part is one encoded part of a JWS (RFC 7515 section 3.1).
func part(v any) (string, error) {
	b, err := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(b), err
}

func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block := range blocks(data) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("holds no PEM block CERTIFICATE" + hintDER(data))
	}
	return certs, nil
}

func parseKey(data []byte, password string) (crypto.Signer, error) {
	for block := range blocks(data) {
		switch {
		case block.Headers["DEK-Info"] != "":
			return nil, errors.New("the private key is encrypted in a way that does not protect it: convert it (openssl pkcs8 -topk8 -v2 aes-256-cbc)")
		case block.Type == "ENCRYPTED PRIVATE KEY" && password == "":
			return nil, errors.New("the private key is encrypted: use EncryptedCertificateFile")
		case block.Type == "ENCRYPTED PRIVATE KEY":
			der, err := decryptPKCS8(block.Bytes, password)
			if err != nil {
				return nil, err
			}
			return parsePKCS8(der)
		case block.Type == "PRIVATE KEY":
			return parsePKCS8(block.Bytes)
		case block.Type == "RSA PRIVATE KEY":
			key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			if err != nil {
				return nil, errors.New("the private key is not valid PKCS #1")
			}
			return key, nil
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil, fmt.Errorf("the key is a PEM block %q: an RSA key in PKCS #8 or PKCS #1 is needed", block.Type)
		}
	}
	return nil, errors.New("holds no PEM block PRIVATE KEY" + hintDER(data))
}

func parsePKCS8(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("the private key is not valid PKCS #8")
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the key is %T: an RSA key is needed", key)
	}
	return s, nil
}

// blocks are the PEM blocks of data.
func blocks(data []byte) func(yield func(*pem.Block) bool) {
	return func(yield func(*pem.Block) bool) {
		for {
			block, rest := pem.Decode(data)
			if block == nil || !yield(block) {
				return
			}
			data = rest
		}
	}
}

// hintDER returns advice if data is DER or PFX instead of PEM.
func hintDER(data []byte) string {
	if isDER(data) {
		return ": it looks like DER or PFX: convert it with openssl, or name a PFX file as certificate and as key"
	}
	return ""
}

func isDER(data []byte) bool { return len(data) > 1 && data[0] == 0x30 }
