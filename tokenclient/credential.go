package tokenclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/entragate/entragate/internal/secret"
)

const (
	maxFile    = 1 << 20 // bytes of a credential file
	maxHung    = 8       // abandoned reads of a credential
	warnBefore = 30 * 24 * time.Hour
	warnEvery  = 24 * time.Hour
)

// Credential authenticates a client at the token endpoint. Make it with [Secret],
// [SecretEnv], [SecretFile], [SecretFunc], [Certificate], [CertificateFile],
// [EncryptedCertificateFile], [AssertionFile], [AssertionFunc] or [GitHubAssertion]. The
// zero value is no credential. A Credential is immutable. It prints as its kind and its
// origin, never as its value.
type Credential struct {
	method method
	ends   time.Time
}

// ExpiresAt returns c with the time at which it expires, for [Config.OnExpiring]. Use it
// for secrets: Entra shows the expiry when a secret is created. For certificates the
// expiry in the certificate is used.
func (c Credential) ExpiresAt(end time.Time) Credential {
	c.ends = end
	return c
}

// String returns the kind of the credential and its origin.
func (c Credential) String() string {
	if c.method == nil {
		return "no credential"
	}
	return c.method.name()
}

// Format writes [Credential.String] for every verb.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalText returns [Credential.String].
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// method is one kind of credential.
type method interface {
	// name describes the credential, without the secret.
	name() string
	// check is called by New. It finds errors that need no network.
	check(now time.Time) error
	// prove reads the credential again and makes a proof for a request of c. If it
	// returns an error, only the proof's hidden is valid.
	prove(ctx context.Context, c *Client) (proof, error)
}

// proof is what a credential adds to one token request.
type proof struct {
	form   url.Values
	header string    // the Authorization header; may be empty
	hidden redactor  // secrets that errors must not show
	ends   time.Time // when the credential expires, zero if unknown
	stale  string    // advice, if the assertion's own exp has passed
}

// credentialState is a credential of one client, with its expiry and last warning.
type credentialState struct {
	Credential
	hung hung

	mu     sync.Mutex
	ends   time.Time
	warned time.Time
}

func newCredentialState(c Credential) *credentialState {
	return &credentialState{Credential: c, hung: hung{most: maxHung}}
}

// check is method.check until the context ends.
func (s *credentialState) check(ctx context.Context, now time.Time) error {
	_, err := bounded(ctx, &s.hung, func(context.Context) (struct{}, error) { return struct{}{}, s.method.check(now) })
	return s.explain(err)
}

// prove is method.prove until the context ends.
func (s *credentialState) prove(ctx context.Context, c *Client) (proof, error) {
	p, err := bounded(ctx, &s.hung, func(ctx context.Context) (proof, error) { return s.method.prove(ctx, c) })
	if err != nil {
		return p, s.explain(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ends = p.ends; s.ends.IsZero() {
		s.ends = s.Credential.ends
	}
	return p, nil
}

// explain adds the credential's name to an error that is not from its method.
func (s *credentialState) explain(err error) error {
	switch {
	case err == context.DeadlineExceeded:
		return fmt.Errorf("%s: reading it takes too long: %w", s, err)
	case err == context.Canceled, err == errHung:
		return fmt.Errorf("%s: %w", s, err)
	}
	return err
}

// warn calls Config.OnExpiring if the credential expires soon.
func (s *credentialState) warn(c *Client) {
	if c.expiring == nil {
		return
	}
	now := c.time()
	s.mu.Lock()
	ends := s.ends
	due := !ends.IsZero() && ends.Sub(now) < warnBefore && (s.warned.IsZero() || now.Sub(s.warned).Abs() >= warnEvery)
	if due {
		s.warned = now
	}
	s.mu.Unlock()
	if due {
		c.expiring(Expiring{ClientID: c.clientID, Credential: s.String(), At: ends})
	}
}

// Secret returns a credential with a fixed client secret. Prefer a credential that can
// change while the program runs, such as [SecretFile].
func Secret(value string) Credential {
	v := secret.New(value)
	return secretFrom("secret", func(context.Context) (string, error) { return v.Reveal(), nil }, true)
}

// SecretEnv returns a credential that reads a client secret from an environment
// variable. The variable must be set when [New] is called.
func SecretEnv(variable string) Credential {
	return secretFrom("secret from environment variable "+variable, func(context.Context) (string, error) {
		return os.Getenv(variable), nil
	}, true)
}

// SecretFile returns a credential that reads a client secret from a file, such as a
// mounted Kubernetes secret. The file must exist when [New] is called. It is read again
// for each fetch. Line ends after the secret are removed.
func SecretFile(path string) Credential {
	return secretFrom("secret from file "+path, func(context.Context) (string, error) { return readFile(path) }, true)
}

// SecretFunc returns a credential that gets a client secret from f, for example from a
// vault. f is called for each fetch, from several goroutines at once if there are several
// scopes. It must return when its context ends, after Config.Timeout. In
// [TransportConfig.SubscriptionKey], f is called for each request with that request's
// context. Its error must not hold the secret.
func SecretFunc(f func(context.Context) (string, error)) Credential {
	if f == nil {
		return Credential{}
	}
	return secretFrom("secret from a function", f, false)
}

// secretMethod is a client secret (RFC 6749 section 2.3.1).
type secretMethod struct {
	label string
	read  func(context.Context) (string, error)
	early bool // New reads it
}

func secretFrom(label string, read func(context.Context) (string, error), early bool) Credential {
	return Credential{method: &secretMethod{label: label, read: read, early: early}}
}

func (m *secretMethod) name() string { return m.label }

func (m *secretMethod) check(time.Time) error {
	if !m.early {
		return nil
	}
	_, err := m.value(context.Background())
	return err
}

func (m *secretMethod) prove(ctx context.Context, c *Client) (proof, error) {
	value, err := m.value(ctx)
	if err != nil {
		return proof{}, err
	}
	p := proof{hidden: redactor{value}}
	if c.basic {
		req := http.Request{Header: http.Header{}}
		req.SetBasicAuth(url.QueryEscape(c.clientID), url.QueryEscape(value))
		p.header = req.Header.Get("Authorization")
		p.hidden.hide(strings.TrimPrefix(p.header, "Basic "))
		return p, nil
	}
	p.form = url.Values{"client_id": {c.clientID}, "client_secret": {value}}
	return p, nil
}

// value reads the secret and checks its form.
func (m *secretMethod) value(ctx context.Context) (string, error) {
	raw, err := m.read(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.label, err)
	}
	value := strings.TrimRight(raw, "\r\n")
	if err := checkSecret(value); err != nil {
		return "", fmt.Errorf("%s: %w", m.label, err)
	}
	return value, nil
}

func checkSecret(value string) error {
	switch {
	case value == "":
		return errors.New("is empty")
	case strings.HasPrefix(value, "\ufeff"):
		return errors.New("begins with a byte order mark: save it without")
	case strings.ContainsAny(value, "\r\n"):
		return errors.New("has several lines: it must hold the secret alone")
	case strings.TrimSpace(value) != value:
		return errors.New("begins or ends with white space")
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }):
		return errors.New("holds control characters or is not UTF-8 text")
	}
	return nil
}

func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var b bytes.Buffer
	if n, err := io.Copy(&b, io.LimitReader(f, maxFile+1)); err != nil {
		return "", err
	} else if n > maxFile {
		return "", fmt.Errorf("is larger than %d bytes", maxFile)
	}
	return b.String(), nil
}
