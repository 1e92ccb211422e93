// Package graph is the one client of Microsoft Graph v1.0 in this module. It
// implements provision.Directory over an [http.RoundTripper] and an access
// token. Package msgraph gives it an HTTPS transport and an Azure credential;
// package entratest gives it a local tenant. Both therefore send the same
// requests and read answers in the same way.
//
// The client sends each request once. Package provision decides about retries.
// Only a 401 is sent again, once, with a renewed token: Graph carried nothing out.
package graph

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/entragate/entragate/provision"
)

// Version is the version of Graph that all paths are below.
const Version = "/v1.0"

// Config describes how to reach Graph. All fields but Parallel, Logger and Now are
// required.
type Config struct {
	// Base is the URL of Graph without its version and without a trailing slash.
	Base func() string
	// Token returns an access token for Graph. claims is empty, or the claims
	// challenge that a new token must meet: then a cached token must not be
	// returned again.
	Token func(ctx context.Context, claims string) (string, error)
	// Transport sends the requests. Redirects are not followed.
	Transport http.RoundTripper
	// Parallel is how many $batch requests of one read are in flight; 0: 4.
	Parallel int
	// Logger receives a debug record for each request; nil: nothing is logged.
	Logger *slog.Logger
	// Now is used to read the date form of Retry-After; nil: time.Now.
	Now func() time.Time
}

// Client is a provision.Directory. It is safe for concurrent use.
type Client struct{ cfg Config }

var _ provision.Directory = (*Client)(nil)

// New returns a client. It sends nothing.
func New(cfg Config) *Client {
	if cfg.Parallel == 0 {
		cfg.Parallel = 4
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Client{cfg}
}

// maxBody is how much of an answer is read. The largest real answers, a $batch of
// 20 applications with all their collections, are well under a megabyte.
const maxBody = 16 << 20

// request is one operation.
type request struct {
	method string
	path   string // below the version, escaped, with its query
	body   any    // encoded as JSON; nil: none
	header map[string]string
}

// answer is a successful response, or the error of one.
type answer struct {
	status int
	body   []byte
	err    error
}

// send sends one request. A status that is not a success is a
// [provision.APIError]; any other error leaves the outcome unknown.
func (c *Client) send(ctx context.Context, r request) answer {
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body, json.Deterministic(true)); err != nil {
			return answer{err: fmt.Errorf("graph: encode %s %s: %w", r.method, r.path, err)}
		}
	}
	token, err := c.cfg.Token(ctx, "")
	if err != nil {
		return answer{err: err}
	}
	a, challenge := c.attempt(ctx, r, body, token)
	if challenge == "" {
		return a
	}
	renewed, err := c.cfg.Token(ctx, challenge)
	if err != nil || renewed == token {
		return a
	}
	a, _ = c.attempt(ctx, r, body, renewed)
	return a
}

// attempt sends a request with a token. If Graph refuses the token, challenge
// holds the claims that a new token must meet.
func (c *Client) attempt(ctx context.Context, r request, body []byte, token string) (a answer, challenge string) {
	req, err := http.NewRequestWithContext(ctx, r.method, c.cfg.Base()+Version+r.path, bytes.NewReader(body))
	if err != nil {
		return answer{err: fmt.Errorf("graph: %w", err)}, ""
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Client-Request-Id", uuid.NewString())
	req.Header.Set("User-Agent", "entragate")
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	began := time.Now()
	resp, err := c.cfg.Transport.RoundTrip(req)
	if err != nil {
		c.cfg.Logger.DebugContext(ctx, "graph request failed", "method", r.method, "path", req.URL.Path, "took", time.Since(began))
		return answer{err: fmt.Errorf("graph: %s: %w", r.method, err)}, ""
	}
	defer func() { _ = resp.Body.Close() }()
	c.cfg.Logger.DebugContext(ctx, "graph request", "method", r.method, "path", req.URL.Path,
		"status", resp.StatusCode, "request-id", resp.Header.Get("Request-Id"), "took", time.Since(began))
	if resp.StatusCode == http.StatusUnauthorized {
		challenge = claimsChallenge(resp.Header, c.cfg.Now())
	}
	return c.read(resp), challenge
}

// read reads a response. A success whose body is not JSON comes from something
// between here and Graph, which may not have passed the request on.
func (c *Client) read(resp *http.Response) answer {
	body, err := readBody(resp)
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return answer{err: fmt.Errorf("graph: status %d, the body could not be read: %w", resp.StatusCode, err)}
	case resp.StatusCode/100 != 2:
		return answer{status: resp.StatusCode, err: apiError(resp.StatusCode, resp.Header, body, c.cfg.Now())}
	case len(body) > 0 && media != "application/json":
		return answer{err: fmt.Errorf("graph: status %d with content type %q, expected JSON", resp.StatusCode, printable(media, 100))}
	}
	return answer{status: resp.StatusCode, body: body}
}

func readBody(resp *http.Response) ([]byte, error) {
	var body bytes.Buffer
	if resp.ContentLength > 0 {
		body.Grow(int(min(resp.ContentLength, maxBody)) + bytes.MinRead)
	}
	n, err := body.ReadFrom(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && n > maxBody {
		err = fmt.Errorf("more than %d bytes", maxBody)
	}
	return body.Bytes(), err
}

// claimsChallenge returns the claims that a WWW-Authenticate header asks for
// (https://learn.microsoft.com/entra/identity-platform/claims-challenge). Without
// a challenge it asks for a token that is issued from now on, which keeps a
// credential from returning its cached one.
func claimsChallenge(header http.Header, now time.Time) string {
	for _, value := range header.Values("WWW-Authenticate") {
		_, rest, ok := strings.Cut(value, `claims="`)
		encoded, _, closed := strings.Cut(rest, `"`)
		if !ok || !closed {
			continue
		}
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			if claims, err := encoding.DecodeString(encoded); err == nil {
				return string(claims)
			}
		}
	}
	return fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, now.Unix())
}

// do sends a request and ignores the body of its answer.
func (c *Client) do(ctx context.Context, r request) error { return c.send(ctx, r).err }

// get sends a request whose answer must hold one object.
func get[W, R any](ctx context.Context, c *Client, r request, convert func(W) (R, error)) (R, error) {
	return decoded(c.send(ctx, r), convert)
}

// decoded reads one object from an answer.
func decoded[W, R any](a answer, convert func(W) (R, error)) (R, error) {
	var none R
	if a.err != nil {
		return none, a.err
	}
	var wire W
	if err := decode(a.body, itemTokens, &wire); err != nil {
		return none, err
	}
	result, err := convert(wire)
	if err != nil {
		return none, err
	}
	return result, nil
}

// all reads many answers, each with its own error.
func all[W, R any](answers []answer, convert func(W) (R, error)) ([]R, []error) {
	results, errs := make([]R, len(answers)), make([]error, len(answers))
	for i, a := range answers {
		results[i], errs[i] = decoded(a, convert)
	}
	return results, errs
}

// upsert sends a PATCH by a natural key that creates a missing object. Graph
// answers 201 with the object, or 204.
func upsert[W, R any](ctx context.Context, c *Client, path string, body any, convert func(W) (R, error)) (R, bool, error) {
	var none R
	a := c.send(ctx, request{http.MethodPatch, path, body, map[string]string{"Prefer": "create-if-missing"}})
	if a.err != nil || len(a.body) == 0 && a.status == http.StatusNoContent {
		return none, false, a.err
	}
	result, err := decoded(a, convert)
	return result, err == nil, err
}

func isStatus(err error, status int) bool {
	var api *provision.APIError
	return errors.As(err, &api) && api.Status == status
}

// sameHost reports whether a URL is below the base URL of this client.
func (c *Client) sameHost(u *url.URL) bool {
	base, err := url.Parse(c.cfg.Base())
	return err == nil && u.Scheme == base.Scheme && strings.EqualFold(u.Host, base.Host) && u.User == nil
}
