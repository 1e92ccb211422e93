package tokenclient

import (
	"context"
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

// DefaultAssertionAudience is the audience that Entra wants in a federated
// assertion.
const DefaultAssertionAudience = "api://AzureADTokenExchange"

// AssertionFile is a federated assertion in a file, such as the one that
// AZURE_FEDERATED_TOKEN_FILE names with workload identity on Kubernetes. The
// file must be there when [New] is called and is read again for each fetch.
func AssertionFile(path string) Credential {
	return Credential{method: &assertionMethod{
		label: "assertion from file " + path, early: true,
		read: func(context.Context, *grant) (string, error) { return readFile(path) },
	}}
}

// AssertionFunc is a federated assertion, a JWT of an issuer that the client
// application trusts (RFC 7523), from wherever f gets it. f is called for each
// fetch, so by several goroutines at once if there are several scopes, and must
// heed its context, which ends with Config.Timeout. Its error must not hold the
// assertion.
func AssertionFunc(f func(context.Context) (string, error)) Credential {
	if f == nil {
		return Credential{}
	}
	return Credential{method: &assertionMethod{
		label: "assertion from a function",
		read:  func(ctx context.Context, _ *grant) (string, error) { return f(ctx) },
	}}
}

// GitHubAssertion is the identity of a GitHub Actions job, whose workflow needs
// the permission id-token: write. An empty audience means
// [DefaultAssertionAudience].
func GitHubAssertion(audience string) Credential {
	if audience == "" {
		audience = DefaultAssertionAudience
	}
	return Credential{method: &assertionMethod{
		label: "assertion from GitHub Actions",
		read:  func(ctx context.Context, g *grant) (string, error) { return gitHubToken(ctx, g.client.http, audience) },
		ready: func() error { _, _, err := gitHubEnv(); return err },
	}}
}

type assertionMethod struct {
	label string
	read  func(context.Context, *grant) (string, error)
	early bool         // read may be called at construction, without a grant
	ready func() error // checked at construction, may be nil
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

func (m *assertionMethod) prove(ctx context.Context, g *grant) (time.Time, error) {
	value, err := m.value(ctx, g)
	if err != nil {
		return time.Time{}, err
	}
	g.assert(value)
	return time.Time{}, nil
}

func (m *assertionMethod) value(ctx context.Context, g *grant) (string, error) {
	raw, err := m.read(ctx, g)
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

// assert adds a client assertion (RFC 7521 section 4.2).
func (g *grant) assert(jwt string) {
	g.hidden = append(g.hidden, jwt)
	g.form.Set("client_id", g.client.clientID)
	g.form.Set("client_assertion_type", assertionType)
	g.form.Set("client_assertion", jwt)
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
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GitHub answered %s", resp.Status)
	}
	var a struct {
		Value string `json:"value"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&a); err != nil {
		return "", errors.New("GitHub's answer is not the JSON that was expected")
	}
	return a.Value, nil
}
