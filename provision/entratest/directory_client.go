package entratest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/internal/graph"
)

// Directory returns a provision.Directory that calls the tenant in process, with the
// caller's identity and rights. It uses the same Graph client as package msgraph, with
// [Tenant.Transport] in place of a network and with access tokens of the tenant's token
// endpoint. So authorization, lag and faults are the same as over a network. It sends
// $batch requests one after the other, so that a test can be repeated.
func (t *Tenant) Directory(c Caller) provision.Directory { return t.client(c) }

func (t *Tenant) client(c Caller) *graph.Client {
	tokens := &callerTokens{tenant: t, caller: c}
	return graph.New(graph.Config{
		Base: t.GraphURL, Token: tokens.get, Transport: t.Transport(), Parallel: 1, Now: t.now,
	})
}

// callerTokens caches the access token of a caller for Graph.
type callerTokens struct {
	tenant *Tenant
	caller Caller

	mu      sync.Mutex
	token   string
	renewAt time.Time
}

// get returns the cached token, or a new one if claims are requested or if the cached
// token expires within five minutes.
func (c *callerTokens) get(ctx context.Context, claims string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if claims == "" && c.token != "" && c.tenant.now().Before(c.renewAt) {
		return c.token, nil
	}
	token, err := c.fetch(ctx)
	if err != nil {
		return "", fmt.Errorf("entratest: token for Graph: %w", err)
	}
	c.token, c.renewAt = token, c.tenant.now().Add(tokenLifetime-5*time.Minute)
	return token, nil
}

func (c *callerTokens) fetch(ctx context.Context) (string, error) {
	if c.caller.managed {
		claims, failed := c.tenant.identityClaims(c.caller, "https://graph.microsoft.com")
		if failed != nil {
			return "", fmt.Errorf("AADSTS%d: %s", failed.code, failed.text)
		}
		return c.tenant.sign(claims, nil), nil
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.caller.AppID},
		"client_secret": {c.caller.Secret.Reveal()}, "scope": {c.tenant.GraphScope()},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.tenant.TokenURL(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.tenant.Transport().RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var body struct {
		Token       string `json:"access_token"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Token == "" {
		return "", fmt.Errorf("status %d: %s", resp.StatusCode, body.Description)
	}
	return body.Token, nil
}
