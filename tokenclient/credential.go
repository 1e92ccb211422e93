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
	warnBefore = 30 * 24 * time.Hour
	warnEvery  = 24 * time.Hour
)

// Credential proves to the token endpoint which client asks. Make it with
// [Secret], [SecretEnv], [SecretFile], [SecretFunc], [Certificate],
// [CertificateFile], [AssertionFile], [AssertionFunc] or [GitHubAssertion]. The
// zero value is no credential. It is immutable and prints as what it is and
// where it comes from, never as its value.
type Credential struct {
	method method
	ends   time.Time
}

// ExpiresAt is c with its end made known, for [Config.OnExpiring]. Certificates
// know their end by themselves; Entra shows a secret's when it is made.
func (c Credential) ExpiresAt(end time.Time) Credential {
	c.ends = end
	return c
}

// String says what kind of credential it is and where it comes from.
func (c Credential) String() string {
	if c.method == nil {
		return "no credential"
	}
	return c.method.name()
}

// Format writes [Credential.String] whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalText gives [Credential.String].
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func (c Credential) check(now time.Time) error { return c.method.check(now) }

// method is one way to prove it.
type method interface {
	// name is for people, without the secret.
	name() string
	// check finds at construction what can be found without a network.
	check(now time.Time) error
	// prove adds the proof to g, read anew. Its error holds no secret. ends is
	// when the credential ends, zero if unknown.
	prove(ctx context.Context, g *grant) (ends time.Time, err error)
}

// grant is a token request in the making.
type grant struct {
	client *Client
	now    time.Time
	form   url.Values
	header string   // Authorization, if any
	hidden []string // must not come back in an error
}

func (g *grant) request(ctx context.Context, id string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.client.tokenURL, strings.NewReader(g.form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Client-Request-Id", id)
	req.Header.Set("Return-Client-Request-Id", "true")
	if g.header != "" {
		req.Header.Set("Authorization", g.header)
	}
	return req, nil
}

// credentialState is a credential of one client, with what was found out.
type credentialState struct {
	Credential

	mu     sync.Mutex
	ends   time.Time
	warned time.Time
}

func (s *credentialState) prove(ctx context.Context, g *grant) error {
	ends, err := s.method.prove(ctx, g)
	if err != nil {
		return err
	}
	if ends.IsZero() {
		ends = s.Credential.ends
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = ends
	return nil
}

// warn calls the hook if the credential is about to end.
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

// Secret is a client secret that the program has already. Prefer a source that
// can change while the program runs.
func Secret(value string) Credential {
	v := secret.New(value)
	return secretFrom("secret", func(context.Context) (string, error) { return v.Reveal(), nil }, true)
}

// SecretEnv is a client secret in an environment variable. It must be set when
// [New] is called.
func SecretEnv(variable string) Credential {
	return secretFrom("secret from environment variable "+variable, func(context.Context) (string, error) {
		return os.Getenv(variable), nil
	}, true)
}

// SecretFile is a client secret in a file, such as a mounted Kubernetes secret.
// The file must be there when [New] is called and is read again for each fetch.
// Line ends behind the secret are cut off.
func SecretFile(path string) Credential {
	return secretFrom("secret from file "+path, func(context.Context) (string, error) { return readFile(path) }, true)
}

// SecretFunc is a client secret from wherever f gets it, such as a vault. f is
// called for each fetch, so by several goroutines at once if there are several
// scopes, and must heed its context, which ends with Config.Timeout. As a
// [TransportConfig.SubscriptionKey] it is called for each request, with that
// request's context. Its error must not hold the secret.
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
	early bool // may be read at construction
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

func (m *secretMethod) prove(ctx context.Context, g *grant) (time.Time, error) {
	value, err := m.value(ctx)
	if err != nil {
		return time.Time{}, err
	}
	g.hidden = append(g.hidden, value)
	if g.client.basic {
		req := http.Request{Header: http.Header{}}
		req.SetBasicAuth(url.QueryEscape(g.client.clientID), url.QueryEscape(value))
		g.header = req.Header.Get("Authorization")
		g.hidden = append(g.hidden, strings.TrimPrefix(g.header, "Basic "))
		return time.Time{}, nil
	}
	g.form.Set("client_id", g.client.clientID)
	g.form.Set("client_secret", value)
	return time.Time{}, nil
}

// value reads the secret and refuses what cannot be one.
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
