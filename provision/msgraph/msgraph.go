// Package msgraph is provision's Directory over HTTPS, against Microsoft Graph
// v1.0.
//
// Start with [New]. The credential is any azidentity credential: a managed
// identity in Azure, see the example.
//
// # What it does and does not do
//
//   - It sends each request once. Package provision decides about retries. Two
//     things are sent again: a request whose access token Graph refuses with 401,
//     once, with a renewed token; and what net/http repeats on a dead connection,
//     a read or a write of which no byte had left.
//   - A response that is not a success is a [provision.APIError], whatever its body
//     holds. Any other error leaves the outcome of a write unknown.
//   - An access token goes to Graph's own scheme and host only. Redirects are not
//     followed, and neither are page links to another host, version or path.
//   - A response is read up to 16 MiB and up to a number of JSON values that no real
//     object reaches. Control characters of a response never reach an error's text.
//   - Continuous access evaluation is not asked for. A claims challenge of Graph is
//     passed to the credential.
//
// Microsoft's SDK for Go is not used. It takes minutes to compile, its retries
// repeat POST requests, it cannot write a certificate's dates as it read them, and
// it has no property that is newer than its release.
//
// What is NOT checked: the signature of the access token (the token is the
// caller's own, and Identity only reads it), and that Graph's answers are true.
package msgraph

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/entragate/entragate/internal/cloud"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/internal/graph"
)

// Config says which Graph to talk to, and as whom.
type Config struct {
	// Credential gives access tokens for Graph. Required. In Azure prefer an
	// explicit azidentity.ManagedIdentityCredential to DefaultAzureCredential,
	// which tries what it finds. It is called before every request and is
	// expected to cache, as azidentity's credentials do.
	Credential azcore.TokenCredential

	// Cloud is "public" (the default), "usgov", "usgov-dod", "china", "bleu" or
	// "delos". The credential needs the matching authority (azcore/cloud.Configuration).
	Cloud string

	// GraphURL replaces the cloud's Graph: a base URL without a version, such as
	// https://graph.microsoft.com. It must be https; plain http is allowed for
	// loopback hosts only.
	GraphURL string

	// Scope is asked of the credential. Empty: GraphURL + "/.default", or that
	// of the cloud. Needed where GraphURL is not the resource's own name, as
	// with a proxy.
	Scope string

	// HTTPClient's Transport carries the requests to Graph (a CA, a proxy).
	// No other field is used: contexts bound the calls, and redirects are
	// not followed. nil: http.DefaultTransport. The credential fetches tokens
	// with its own transport.
	HTTPClient *http.Client

	// Logger gets one debug record for each request: method, path, status,
	// request-id and time taken; no body, no header. nil: nothing is logged.
	Logger *slog.Logger
}

// New returns a Directory that is safe for concurrent use. It sends nothing. Its
// errors name the field of Config that is wrong.
func New(c Config) (provision.Directory, error) {
	if c.Credential == nil {
		return nil, errors.New("msgraph: Credential: is required")
	}
	base, scope, err := resource(c)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport
	if c.HTTPClient != nil && c.HTTPClient.Transport != nil {
		transport = c.HTTPClient.Transport
	}
	return graph.New(graph.Config{
		Base: func() string { return base }, Token: tokens(c.Credential, scope), Transport: transport, Logger: c.Logger,
	}), nil
}

// resource finds the base URL of Graph and the scope to ask for.
func resource(c Config) (graph, scope string, err error) {
	hosts, err := cloud.Lookup(c.Cloud)
	if err != nil {
		return "", "", fmt.Errorf("msgraph: Cloud: %w", err)
	}
	if c.GraphURL != "" {
		hosts.Graph = strings.TrimRight(c.GraphURL, "/")
	}
	if err := cloud.CheckURL("GraphURL", hosts.Graph); err != nil {
		return "", "", fmt.Errorf("msgraph: %w", err)
	}
	if c.Scope == "" {
		return hosts.Graph, hosts.GraphScope(), nil
	}
	return hosts.Graph, c.Scope, nil
}
