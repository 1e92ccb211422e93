package apim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

const (
	stableVersion  = "2024-05-01"
	previewVersion = "2024-10-01-preview" // the first with client applications

	maxAnswer = 32 << 20 // bytes of one page
	maxPages  = 10_000
)

// ClientConfig says which instance is read, and as whom.
type ClientConfig struct {
	// ResourceID of the instance: /subscriptions/{id}/resourceGroups/{name}/
	// providers/Microsoft.ApiManagement/service/{name}.
	ResourceID string
	// Credential gets tokens for Azure Resource Manager, for example one of
	// azidentity's.
	Credential azcore.TokenCredential
	// Options of the HTTP pipeline: the cloud, a transport, retries. The zero
	// value is the public cloud and up to 10 retries, each of which honours a
	// Retry-After of up to 15 minutes.
	Options arm.ClientOptions
}

// Client reads an instance through Azure Resource Manager. It is safe for
// concurrent use. Reading everything but keys needs the role "API Management
// Service Reader Role".
type Client struct {
	arm  *arm.Client
	base string // https://host/subscriptions/.../service/name
	host string
}

// NewClient returns a client. It makes no request.
func NewClient(cfg ClientConfig) (*Client, error) {
	rid, err := arm.ParseResourceID(strings.TrimRight(cfg.ResourceID, "/"))
	if err != nil || !strings.EqualFold(rid.ResourceType.String(), "Microsoft.ApiManagement/service") {
		return nil, fmt.Errorf("apim: ResourceID: %q is not the resource ID of an API Management instance: expected /subscriptions/{id}/resourceGroups/{name}/providers/Microsoft.ApiManagement/service/{name}", cfg.ResourceID)
	}
	if cfg.Credential == nil {
		return nil, errors.New("apim: Credential: must be set")
	}
	options := cfg.Options
	options.DisableRPRegistration = true // registering a provider is a write
	if options.Retry.MaxRetries == 0 {
		options.Retry.MaxRetries = 10
	}
	if options.Retry.MaxRetryDelay == 0 {
		options.Retry.MaxRetryDelay = 15 * time.Minute // the pipeline gives up on a longer Retry-After
	}
	client, err := arm.NewClient("entragate/apim", "v0.1.0", cfg.Credential, &options)
	if err != nil {
		return nil, fmt.Errorf("apim: %w", err)
	}
	endpoint, err := url.Parse(client.Endpoint())
	if err != nil {
		return nil, fmt.Errorf("apim: the cloud's endpoint: %w", err)
	}
	return &Client{arm: client, base: strings.TrimRight(client.Endpoint(), "/") + rid.String(), host: hostPort(endpoint)}, nil
}

// hostPort is the host with its port, also where the port is the scheme's own.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}

// Read reads everything that a plan needs, but no key: about three requests
// for each API and product, one for each policy. Kinds that the instance's tier
// or version does not have are named in [Instance.Missing]. Any other failure
// ends the call.
func (c *Client) Read(ctx context.Context) (*Instance, error) {
	r := &reading{client: c, ctx: ctx, found: newEntities(), missing: map[Kind]string{}}
	if err := r.everything(); err != nil {
		return nil, fmt.Errorf("apim: %w", err)
	}
	in, err := r.found.instance()
	if err != nil {
		return nil, fmt.Errorf("apim: %w", err)
	}
	in.Missing = r.missing
	return in, nil
}

// reading is one call of Read.
type reading struct {
	client  *Client
	ctx     context.Context
	found   *entities
	missing map[Kind]string
}

func (r *reading) everything() error {
	body, err := r.client.get(r.ctx, r.client.base, stableVersion, nil)
	if err != nil {
		return err
	}
	if _, err := r.found.addJSON(body); err != nil {
		return err
	}
	return errors.Join(
		r.required("apiVersionSets", nil), r.required("apis", nil), r.required("products", nil),
		r.required("subscriptions", nil),
		r.optional(KindPreview, "products", previewVersion, nil),
		r.optional(KindApplication, "clientApplications", previewVersion, nil),
		r.optional(KindUser, "users", stableVersion, url.Values{"expandGroups": {"true"}}),
		r.optional("identity providers", "identityProviders", stableVersion, nil),
		r.optional("named values", "namedValues", stableVersion, nil),
		r.optional("policy fragments", "policyFragments", stableVersion, url.Values{"format": {"rawxml"}}),
		r.optional("gateways", "gateways", stableVersion, nil),
		r.optional("workspaces", "workspaces", stableVersion, nil),
		r.optional("groups", "groups", stableVersion, nil),
		r.optional("authorization servers", "authorizationServers", stableVersion, nil),
		r.children(),
		r.policies(),
	)
}

func (r *reading) required(path string, query url.Values) error {
	return r.list(path, stableVersion, query)
}

// optional reads a list that a tier, a version or an enrolment may lack.
func (r *reading) optional(kind Kind, path, version string, query url.Values) error {
	err := r.list(path, version, query)
	if reason, absent := notThere(err); absent {
		r.missing[kind] = reason
		return nil
	}
	return err
}

// notThere distinguishes a kind of object that an instance does not have from a
// failure.
func notThere(err error) (reason string, absent bool) {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) {
		return "", false
	}
	switch {
	case answer.StatusCode == http.StatusNotFound,
		answer.StatusCode == http.StatusBadRequest,
		answer.StatusCode == http.StatusMethodNotAllowed,
		answer.StatusCode == http.StatusInternalServerError: // some tiers, for a type that they lack
		code := answer.ErrorCode
		if code == "" {
			code = "version not accepted by the instance"
		}
		return fmt.Sprintf("%d %s", answer.StatusCode, code), true
	}
	return "", false
}

// children reads what belongs to single objects.
func (r *reading) children() error {
	var errs []error
	for _, key := range r.found.order {
		e := r.found.byPath[key]
		path := escaped(e.path)
		switch e.kind() {
		case "apis":
			if strings.Contains(e.name(), ";rev=") {
				continue
			}
			errs = append(errs, r.ifAny(path+"/operations", stableVersion), r.revisions(e, path))
		case "products":
			errs = append(errs, r.ifAny(path+"/apiLinks", stableVersion), r.ifAny(path+"/groupLinks", stableVersion))
		case "clientapplications":
			errs = append(errs, r.ifAny(path+"/productLinks", previewVersion))
		case "workspaces":
			errs = append(errs, r.ifAny(path+"/subscriptions", stableVersion))
		}
	}
	return errors.Join(errs...)
}

// ifAny reads a list below one object; 404 means that it is empty.
func (r *reading) ifAny(path, version string) error {
	err := r.list(path, version, nil)
	var answer *azcore.ResponseError
	if errors.As(err, &answer) && (answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusBadRequest) {
		return nil
	}
	return err
}

// revisions reads which revisions of an API still answer calls. Their list has
// a form of its own.
func (r *reading) revisions(api *entity, path string) error {
	p := &properties{e: api}
	if revision := p.text("apiRevision"); p.err != nil || revision == "" || revision == "1" {
		return p.err
	}
	for page, err := range r.client.pages(r.ctx, path+"/revisions", stableVersion, nil) {
		var answer *azcore.ResponseError
		if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		var list struct {
			Value []struct {
				APIID     string `json:"apiId"`
				IsOnline  bool   `json:"isOnline"`
				IsCurrent bool   `json:"isCurrent"`
			} `json:"value"`
		}
		if err := json.Unmarshal(page, &list); err != nil {
			return fmt.Errorf("%s/revisions: %w", path, err)
		}
		for _, v := range list.Value {
			_, listed := r.found.byPath[strings.ToLower("apis/"+reference(v.APIID))]
			if v.IsCurrent || !v.IsOnline && !listed {
				continue
			}
			r.found.add([]string{"apis", reference(v.APIID)}, map[string]json.RawMessage{
				"isOnline":  json.RawMessage(fmt.Sprint(v.IsOnline)),
				"isCurrent": json.RawMessage("false"),
			})
		}
	}
	return nil
}

// policies reads the policy of each scope that has one.
func (r *reading) policies() error {
	if err := r.optional(KindPolicy, "allPolicies", stableVersion, nil); err != nil || r.missing[KindPolicy] != "" {
		return err
	}
	var errs []error
	for _, key := range r.found.order {
		e := r.found.byPath[key]
		if e.kind() != "allpolicies" {
			continue
		}
		p := &properties{e: e}
		path, ok := pathBelowService(p.text("referencePolicyId"))
		if p.err != nil || !ok {
			errs = append(errs, p.err)
			continue
		}
		body, err := r.client.get(r.ctx, r.client.base+"/"+escaped(path), stableVersion, url.Values{"format": {"rawxml"}})
		var answer *azcore.ResponseError
		if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
			continue // removed since the list was read
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var v envelope
		if err := json.Unmarshal(body, &v); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
			continue
		}
		r.found.add(path, v.Properties)
	}
	return errors.Join(errs...)
}

// list adds every object of a list.
func (r *reading) list(path, version string, query url.Values) error {
	for page, err := range r.client.pages(r.ctx, path, version, query) {
		if err != nil {
			return err
		}
		if _, err := r.found.addJSON(page); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func escaped(path []string) string {
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// pages yields the pages of a list below the instance. A link to another host
// is refused, because the token goes along.
func (c *Client) pages(ctx context.Context, path, version string, query url.Values) func(func([]byte, error) bool) {
	return func(yield func([]byte, error) bool) {
		next := c.base + "/" + path
		for range maxPages {
			body, err := c.get(ctx, next, version, query)
			if err != nil {
				yield(nil, err)
				return
			}
			var page struct {
				NextLink string `json:"nextLink"`
			}
			if err := json.Unmarshal(body, &page); err != nil {
				yield(nil, fmt.Errorf("%s: %w", path, err))
				return
			}
			if !yield(body, nil) || page.NextLink == "" {
				return
			}
			u, err := url.Parse(page.NextLink)
			if err != nil || hostPort(u) != c.host {
				yield(nil, fmt.Errorf("%s: the link to the next page names another host", path))
				return
			}
			next, version, query = page.NextLink, "", nil
		}
		yield(nil, fmt.Errorf("%s: more than %d pages", path, maxPages))
	}
}

// get sends one GET request. A link that already has its query is used as given
// when version is empty.
func (c *Client) get(ctx context.Context, address, version string, query url.Values) ([]byte, error) {
	return c.do(ctx, http.MethodGet, address, version, query)
}

func (c *Client) do(ctx context.Context, method, address, version string, query url.Values) ([]byte, error) {
	req, err := runtime.NewRequest(ctx, method, address)
	if err != nil {
		return nil, err
	}
	if version != "" {
		q := url.Values{"api-version": {version}}
		for name, values := range query {
			q[name] = values
		}
		req.Raw().URL.RawQuery = q.Encode()
	}
	req.Raw().Header.Set("Accept", "application/json")
	runtime.SkipBodyDownload(req)
	resp, err := c.arm.Pipeline().Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, req.Raw().URL.Path, err)
	}
	defer resp.Body.Close()
	if !runtime.HasStatusCode(resp, http.StatusOK) {
		resp.Body = io.NopCloser(io.LimitReader(resp.Body, 64<<10))
		return nil, runtime.NewResponseError(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", method, req.Raw().URL.Path, err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("%s %s: the answer has more than %d bytes", method, req.Raw().URL.Path, maxAnswer)
	}
	return body, nil
}
