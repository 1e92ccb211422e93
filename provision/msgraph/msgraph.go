// Package msgraph is provision's Directory on Microsoft's Graph SDK, against
// Microsoft Graph v1.0.
//
// Start with [New]; the credential is any azidentity credential (a managed
// identity in Azure, see the example). It is the only package of the module
// that compiles the SDK, and it takes five of its subpackages instead of the
// root one, which alone takes minutes to compile.
//
// # What of the SDK is used, and what is not
//
// The SDK's request builders make every address and its models every body, and
// kiota's adapter sends them. The rest is made here, because it must be exact:
//
//   - No retries, no redirects, no request compression. The SDK's default
//     handlers come in a random order and can send plain bytes labelled gzip on
//     a second try; kiota's retry resends POSTs. A call of this package is one
//     request for each thing asked. net/http alone may send one again, on a
//     connection that turns out to be dead: a read, or a write of which no byte
//     had left.
//   - Errors. An answer that is not a success becomes a [provision.APIError] in
//     the transport, whatever its body holds: the SDK's own error panics where
//     Graph leaves out a message, and loses the status where a proxy answers in
//     HTML.
//   - Authentication. kiota's provider sends requests without a token, and says
//     nothing, to a host it does not know. Here such a request is an error and
//     is not sent. Continuous access evaluation is not asked for: tokens live an
//     hour, and a refused one is not silently replaced in the middle of a write.
//   - $batch. The SDK's batch code loses numbers and fails as a whole if the
//     body of one item is not an object.
//   - Every answer is read up to 16 MiB and no further.
//
// What is NOT checked: the signature of the access token (it is the caller's
// own, and [Directory.Identity] only reads it), and that Graph tells the truth.
package msgraph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	abstractions "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoft/kiota-abstractions-go/serialization"
	kiotahttp "github.com/microsoft/kiota-http-go"
	kiotajson "github.com/microsoft/kiota-serialization-json-go"

	"github.com/entragate/entragate/internal/cloud"
	"github.com/entragate/entragate/provision"
)

// Config says which Graph to talk to, and as whom.
type Config struct {
	// Credential gives access tokens for Graph. Required. In Azure prefer an
	// explicit azidentity.ManagedIdentityCredential to DefaultAzureCredential,
	// which tries what it finds. It is asked before every request and is
	// expected to cache, as azidentity's do.
	Credential azcore.TokenCredential

	// Cloud is "public" (the default), "usgov", "usgov-dod" or "china". The
	// credential needs the matching authority (azcore/cloud.Configuration).
	Cloud string

	// GraphURL replaces the cloud's Graph: a base URL without a version, such as
	// https://graph.microsoft.com. It must be https; plain http passes for
	// loopback hosts only.
	GraphURL string

	// Scope is asked of the credential. Empty: GraphURL + "/.default", or that
	// of the cloud. Needed where GraphURL is not the resource's own name, as
	// with a proxy.
	Scope string

	// HTTPClient's Transport carries the requests to Graph (a CA, a proxy).
	// Nothing else of it is used: contexts bound the calls, and redirects are
	// not followed. nil: http.DefaultTransport. Tokens travel by the
	// credential's own transport.
	HTTPClient *http.Client

	// Logger gets one debug record for each request: method, path, status,
	// request-id and time taken; no body, no header. nil: nothing is logged.
	Logger *slog.Logger
}

// Directory is a [provision.Directory] over HTTP. It is safe for concurrent use.
type Directory struct {
	adapter *kiotahttp.NetHttpRequestAdapter
	auth    *bearer
	base    string // with the version: https://graph.microsoft.com/v1.0
}

var _ provision.Directory = (*Directory)(nil)

// New makes a Directory. It sends nothing.
func New(c Config) (*Directory, error) {
	if c.Credential == nil {
		return nil, errors.New("msgraph: Credential: is required")
	}
	graph, scope, err := resource(c)
	if err != nil {
		return nil, err
	}
	root, err := url.Parse(graph)
	if err != nil {
		return nil, fmt.Errorf("msgraph: GraphURL: %w", err)
	}
	auth := &bearer{credential: c.Credential, scope: scope, root: root}
	// Serializers are given outright: the SDK's are registered in a map of the
	// whole process, by a constructor that is not used here.
	adapter, err := kiotahttp.NewNetHttpRequestAdapterWithParseNodeFactoryAndSerializationWriterFactoryAndHttpClient(
		auth, kiotajson.NewJsonParseNodeFactory(), kiotajson.NewJsonSerializationWriterFactory(), client(c))
	if err != nil {
		return nil, fmt.Errorf("msgraph: %w", err)
	}
	base := graph + "/v1.0"
	adapter.SetBaseUrl(base)
	return &Directory{adapter: adapter, auth: auth, base: base}, nil
}

// resource finds the base URL of Graph and the scope to ask for.
func resource(c Config) (graph, scope string, err error) {
	hosts, err := cloud.Lookup(c.Cloud)
	if err != nil {
		return "", "", fmt.Errorf("msgraph: Cloud: %w", err)
	}
	if c.GraphURL != "" {
		hosts.Graph = trimSlash(c.GraphURL)
	}
	if err := cloud.CheckURL("GraphURL", hosts.Graph); err != nil {
		return "", "", fmt.Errorf("msgraph: %w", err)
	}
	if c.Scope == "" {
		return hosts.Graph, hosts.GraphScope(), nil
	}
	return hosts.Graph, c.Scope, nil
}

func trimSlash(s string) string {
	for len(s) > 0 && s[len(s)-1] == '/' {
		s = s[:len(s)-1]
	}
	return s
}

// client builds the pipeline outright, so that it is the same in every process:
// kiota's parameter decoding (%24select is sent as $select), then ours.
func client(c Config) *http.Client {
	base := http.DefaultTransport
	if c.HTTPClient != nil && c.HTTPClient.Transport != nil {
		base = c.HTTPClient.Transport
	}
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &http.Client{
		Transport: kiotahttp.NewCustomTransportWithParentTransport(
			&transport{base: base, log: log}, kiotahttp.NewParametersNameDecodingHandler()),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// params are the path parameters of a request builder. Builders share and
// change the map they are given, so every call has its own.
func (d *Directory) params() map[string]string { return map[string]string{"baseurl": d.base} }

// send makes one request and returns the body of its answer, nil for none.
func (d *Directory) send(ctx context.Context, info *abstractions.RequestInformation) ([]byte, error) {
	body, err := d.adapter.SendPrimitive(ctx, info, "[]byte", nil)
	if err != nil {
		return nil, cause(err)
	}
	if body == nil {
		return nil, nil
	}
	return body.([]byte), nil
}

// do makes one request that is answered without a body.
func (d *Directory) do(ctx context.Context, info *abstractions.RequestInformation, err error) error {
	if err == nil {
		_, err = d.send(ctx, info)
	}
	return err
}

// fetch makes one request that must be answered with a body. Its arguments are
// in the order of a builder's results, followed by how to read the answer.
func fetch[R any](ctx context.Context, d *Directory, info *abstractions.RequestInformation, err error, read func([]byte) (R, error)) (R, error) {
	var body []byte
	if err == nil {
		body, err = d.send(ctx, info)
	}
	if err != nil {
		var none R
		return none, err
	}
	return read(body)
}

// reader makes a function that reads a body by way of one of the SDK's models.
// Generated code trusts what it reads, so a panic in it becomes an error: an
// answer that cannot be read leaves the outcome unknown.
func reader[M serialization.Parsable, R any](factory serialization.ParsableFactory, from func(M) (R, error)) func([]byte) (R, error) {
	return func(body []byte) (result R, err error) {
		var none R
		defer func() {
			if r := recover(); r != nil {
				result, err = none, fmt.Errorf("msgraph: unreadable answer: %v", r)
			}
		}()
		node, err := kiotajson.NewJsonParseNode(body)
		if err != nil {
			return none, fmt.Errorf("msgraph: unreadable answer of %d bytes: %w", len(body), err)
		}
		parsed, err := node.GetObjectValue(factory)
		if err != nil {
			return none, fmt.Errorf("msgraph: unreadable answer: %w", err)
		}
		model, ok := parsed.(M)
		if !ok {
			return none, errors.New("msgraph: unreadable answer: not an object")
		}
		if result, err = from(model); err != nil {
			return none, err
		}
		return result, nil
	}
}

// page is one of a list.
type page[T any] struct {
	items []T
	next  string
}

// list is a model of a page.
type list[M any] interface {
	serialization.Parsable
	GetValue() []M
	GetOdataNextLink() *string
}

// pageReader makes a function that reads a page of a list.
func pageReader[L list[M], M, T any](factory serialization.ParsableFactory, from func(M) (T, error)) func([]byte) (page[T], error) {
	return reader(factory, func(l L) (page[T], error) {
		if l.GetValue() == nil {
			return page[T]{}, errors.New("msgraph: unreadable answer: a list without its value")
		}
		items, err := convertAll(l.GetValue(), from)
		if err != nil {
			return page[T]{}, err
		}
		return page[T]{items, value(l.GetOdataNextLink())}, nil
	})
}

// maxPages bounds a list whose pages go on for ever.
const maxPages = 200

// pages reads a list to its end, from the answer that gave its first page. A
// link to another host is refused before a token is sent there.
func pages[T any](ctx context.Context, d *Directory, first answer, read func([]byte) (page[T], error)) ([]T, error) {
	body, err := first.body, first.err
	all := []T{}
	for range maxPages {
		if err != nil {
			return nil, err
		}
		p, err2 := read(body)
		if err2 != nil {
			return nil, err2
		}
		all = append(all, p.items...)
		if p.next == "" {
			return all, nil
		}
		info := d.request(abstractions.GET, "")
		info.PathParameters["request-raw-url"] = p.next
		body, err = d.send(ctx, info)
	}
	return nil, fmt.Errorf("msgraph: a list of more than %d pages", maxPages)
}
