package tokenclient

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/entragate/entragate/internal/cloud"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// DefaultAssertionAudience is the audience that Entra expects in a federated assertion.
const DefaultAssertionAudience = "api://AzureADTokenExchange"

// AssertionFile returns a credential that reads a federated assertion from a file, such
// as the file that workload identity on Kubernetes names in AZURE_FEDERATED_TOKEN_FILE.
// The file must exist when [New] is called. It is read again for each fetch.
func AssertionFile(path string) Credential {
	return Credential{method: &assertionMethod{
		label: "assertion from file " + path, early: true,
		read: func(context.Context, *Client) (string, error) { return readFile(path) },
	}}
}

// AssertionFunc returns a credential that gets a federated assertion from f. The
// assertion is a JWT of an issuer that the client application trusts (RFC 7523). f is
// called for each fetch, from several goroutines at once if there are several scopes.
// It must return when its context ends, after Config.Timeout. Its error must not hold
// the assertion.
func AssertionFunc(f func(context.Context) (string, error)) Credential {
	if f == nil {
		return Credential{}
	}
	return Credential{method: &assertionMethod{
		label: "assertion from a function",
		read:  func(ctx context.Context, _ *Client) (string, error) { return f(ctx) },
	}}
}

// GitHubAssertion returns a credential that uses the identity of a GitHub Actions job.
// The workflow needs the permission id-token: write. An empty audience means
// [DefaultAssertionAudience].
func GitHubAssertion(audience string) Credential {
	if audience == "" {
		audience = DefaultAssertionAudience
	}
	return Credential{method: &assertionMethod{
		label: "assertion from GitHub Actions",
		read:  func(ctx context.Context, c *Client) (string, error) { return gitHubToken(ctx, c.http, audience) },
		ready: func() error { _, _, err := gitHubEnv(); return err },
	}}
}

type assertionMethod struct {
	label string
	read  func(context.Context, *Client) (string, error)
	early bool         // New calls read, without a client
	ready func() error // New calls it; may be nil
}

func (m *assertionMethod) name() string { return m.label }

func (m *assertionMethod) check(time.Time) error {
	var err error
	switch {
	case m.early:
		_, err = m.value(context.Background(), nil)
	case m.ready != nil:
		err = m.ready()
	}
	return err
}

func (m *assertionMethod) prove(ctx context.Context, c *Client) (proof, error) {
	value, err := m.value(ctx, c)
	if err != nil {
		return proof{}, err
	}
	p := assertion(c, value)
	if exp := expiry(value); !exp.IsZero() && exp.Before(c.time()) {
		p.stale = fmt.Sprintf("%s expired at %s and nobody renewed it: check what writes it, such as the kubelet with workload identity, and this machine's clock",
			m.label, exp.UTC().Format(time.RFC3339))
	}
	return p, nil
}

// expiry returns the exp claim of a JWT that is not verified. It is used for advice only.
func expiry(jwt string) time.Time {
	_, rest, _ := strings.Cut(jwt, ".")
	part, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(part)
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Exp <= 0 || claims.Exp > 1e11 {
		return time.Time{}
	}
	return time.Unix(int64(claims.Exp), 0)
}

func (m *assertionMethod) value(ctx context.Context, c *Client) (string, error) {
	raw, err := m.read(ctx, c)
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.label, err)
	}
	value := strings.TrimSpace(raw)
	if err := checkPrintable(m.label, value); err != nil {
		return "", err
	}
	if strings.Count(value, ".") != 2 {
		return "", fmt.Errorf("%s: is no signed JWT: that has three parts with dots in between", m.label)
	}
	return value, nil
}

// assertion returns the proof for a client assertion (RFC 7521 section 4.2).
func assertion(c *Client, jwt string) proof {
	return proof{hidden: redactor{jwt}, form: url.Values{
		"client_id": {c.clientID}, "client_assertion_type": {assertionType}, "client_assertion": {jwt},
	}}
}

func gitHubEnv() (address *url.URL, bearer string, err error) {
	raw, bearer := os.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), os.Getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if raw == "" || bearer == "" {
		return nil, "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL and _TOKEN are not set: run in GitHub Actions with the permission id-token: write")
	}
	address, err = url.Parse(raw)
	if err != nil || address.Host == "" || address.Scheme != "https" && !cloud.IsLoopback(address.Hostname()) {
		return nil, "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL: must be an https URL")
	}
	return address, bearer, nil
}

func gitHubToken(ctx context.Context, client *http.Client, audience string) (string, error) {
	address, bearer, err := gitHubEnv()
	if err != nil {
		return "", err
	}
	query := address.Query()
	query.Set("audience", audience)
	address.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Close = true // as in Client.send
	resp, err := client.Do(req)
	if err != nil {
		return "", redactor{bearer}.cause(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GitHub answered with status %d", resp.StatusCode)
	}
	var a struct {
		Value string `json:"value"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&a); err != nil {
		return "", errors.New("GitHub's answer is not the JSON that was expected")
	}
	return a.Value, nil
}
