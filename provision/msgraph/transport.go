package msgraph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	abstractions "github.com/microsoft/kiota-abstractions-go"

	"github.com/google/uuid"
)

// maxBody is how much of an answer is read. The largest real ones, a $batch of
// 20 applications with all their collections, are well under a megabyte.
const maxBody = 16 << 20

// transport is the last step before the network. It bounds what is read and
// lets only successes through; all else leaves it as an error.
type transport struct {
	base http.RoundTripper
	log  *slog.Logger
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	req, err := whole(req)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "entragate")
	req.Header.Set("Client-Request-Id", uuid.NewString())
	began := time.Now()
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		t.log.DebugContext(req.Context(), "graph request failed", "method", req.Method, "path", req.URL.Path, "took", time.Since(began))
		return nil, err
	}
	t.log.DebugContext(req.Context(), "graph request", "method", req.Method, "path", req.URL.Path,
		"status", resp.StatusCode, "request-id", resp.Header.Get("Request-Id"), "took", time.Since(began))
	resp.Body = &bounded{ReadCloser: resp.Body, left: maxBody}
	if err := check(resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// whole clones a request and gives its body a length, which kiota does not:
// proxies are spared a chunked body, and net/http can begin anew on a
// connection that was dead before a byte was written.
func whole(req *http.Request) (*http.Request, error) {
	clone := req.Clone(req.Context())
	if req.Body == nil || req.Body == http.NoBody {
		return clone, nil
	}
	body, err := io.ReadAll(req.Body)
	if err = errors.Join(err, req.Body.Close()); err != nil {
		return nil, fmt.Errorf("msgraph: the body of a request: %w", err)
	}
	clone.ContentLength = int64(len(body))
	clone.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	clone.Body, err = clone.GetBody()
	return clone, err
}

// check refuses what is not a success of Graph, and closes its body. A body
// that is not JSON comes from something in between, which may not have passed
// the request on.
func check(resp *http.Response) error {
	if resp.StatusCode/100 == 2 {
		if resp.ContentLength == 0 || resp.StatusCode == http.StatusNoContent || isJSON(resp.Header.Get("Content-Type")) {
			return nil
		}
		_ = resp.Body.Close()
		return fmt.Errorf("msgraph: status %d with content type %q, not Graph's JSON", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("msgraph: status %d, the answer broke off: %w", resp.StatusCode, err)
	}
	return apiError(resp.StatusCode, resp.Header, body)
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/json"
}

// bounded fails, instead of ending, where a body goes on past its bound.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		if n, err := b.ReadCloser.Read(make([]byte, 1)); n == 0 {
			return 0, err
		}
		return 0, fmt.Errorf("msgraph: the answer is larger than %d bytes", maxBody)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// bearer authenticates requests to one host, and refuses to send a token, or
// anything, to another.
type bearer struct {
	credential azcore.TokenCredential
	scope      string
	root       *url.URL
}

// AuthenticateRequest sets the Authorization header.
func (b *bearer) AuthenticateRequest(ctx context.Context, info *abstractions.RequestInformation, _ map[string]any) error {
	uri, err := info.GetUri()
	if err != nil {
		return err
	}
	if uri.Scheme != b.root.Scheme || !strings.EqualFold(uri.Host, b.root.Host) {
		return fmt.Errorf("msgraph: refused to send a token to %s://%s: Graph is at %s", uri.Scheme, uri.Host, b.root)
	}
	token, err := b.token(ctx)
	if err != nil {
		return err
	}
	info.Headers.Remove("Authorization")
	info.Headers.Add("Authorization", "Bearer "+token)
	return nil
}

// token asks the credential.
func (b *bearer) token(ctx context.Context) (string, error) {
	token, err := b.credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{b.scope}})
	if err != nil {
		return "", credentialError(err)
	}
	if token.Token == "" {
		return "", errors.New("msgraph: the credential gave an empty token")
	}
	return token.Token, nil
}
