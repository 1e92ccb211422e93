package entratest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/entragate/entragate/provision"
)

// Directory is the tenant as a provision.Directory in process. It sends JSON
// requests into [Tenant.ServeHTTP] with an access token that the tenant's own
// token endpoint issued, so it meets the same authorization, lag and faults as
// a client over HTTP. Reads of several objects go through $batch, one batch
// after the other, so that a run replays. Nothing is retried.
type Directory struct {
	tenant *Tenant
	caller Caller

	mu      sync.Mutex
	token   string
	renewAt time.Time
}

var _ provision.Directory = (*Directory)(nil)

// Directory is the tenant as this caller may use it.
func (t *Tenant) Directory(c Caller) *Directory { return &Directory{tenant: t, caller: c} }

// access returns a token, a new one five minutes before the old one's end.
func (d *Directory) access(ctx context.Context) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.token != "" && d.tenant.now().Before(d.renewAt) {
		return d.token, nil
	}
	token, err := d.fetchToken(ctx)
	if err != nil {
		return "", fmt.Errorf("entratest: token for Graph: %w", err)
	}
	d.token, d.renewAt = token, d.tenant.now().Add(tokenLifetime-5*time.Minute)
	return token, nil
}

func (d *Directory) fetchToken(ctx context.Context) (string, error) {
	if d.caller.managed {
		claims, failed := d.tenant.identityClaims(d.caller, "https://graph.microsoft.com")
		if failed != nil {
			return "", fmt.Errorf("AADSTS%d: %s", failed.code, failed.text)
		}
		return d.tenant.sign(claims, nil), nil
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {d.caller.AppID},
		"client_secret": {d.caller.Secret.Reveal()}, "scope": {d.tenant.GraphScope()},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.tenant.TokenURL(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := d.tenant.Transport().RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var body struct {
		Token       string `json:"access_token"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Token == "" {
		return "", fmt.Errorf("status %d: %s", resp.StatusCode, body.Description)
	}
	return body.Token, nil
}

// request is one operation: what to ask and where the answer goes.
type request struct {
	method, path string // path below /v1.0, with its query
	body         any    // nil: none
	header       map[string]string
}

// do sends one request and decodes the answer into out, if that is not nil.
func (d *Directory) do(ctx context.Context, r request, out any) (status int, err error) {
	token, err := d.access(ctx)
	if err != nil {
		return 0, err
	}
	var body []byte
	if r.body != nil {
		if body, err = json.Marshal(r.body); err != nil {
			return 0, fmt.Errorf("entratest: %s %s: %w", r.method, r.path, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, d.tenant.BaseURL()+"/v1.0"+r.path, strings.NewReader(string(body)))
	if err != nil {
		return 0, fmt.Errorf("entratest: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	resp, err := d.tenant.Transport().RoundTrip(req)
	if err != nil {
		return 0, fmt.Errorf("entratest: %s %s: %w", r.method, r.path, err)
	}
	defer resp.Body.Close()
	var raw json.RawMessage
	if resp.ContentLength > 0 {
		if err := json.NewDecoder(resp.Body).Decode(&raw); err != nil {
			return 0, fmt.Errorf("entratest: %s %s: status %d, body is no JSON: %w", r.method, r.path, resp.StatusCode, err)
		}
	}
	return resp.StatusCode, result(resp.StatusCode, resp.Header.Get("Retry-After"), resp.Header.Get("request-id"), raw, out)
}

// result is an answer as a value or an APIError.
func result(status int, retryAfter, requestID string, raw json.RawMessage, out any) error {
	if status >= 400 {
		return apiError(status, retryAfter, requestID, raw)
	}
	if out == nil || len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("entratest: answer of Graph: %w", err)
	}
	return nil
}

func apiError(status int, retryAfter, requestID string, raw json.RawMessage) *provision.APIError {
	var body struct {
		Error struct {
			Code    string        `json:"code"`
			Message string        `json:"message"`
			Details []errorDetail `json:"details"`
			Inner   struct {
				RequestID string `json:"request-id"`
			} `json:"innerError"`
		} `json:"error"`
	}
	_ = json.Unmarshal(raw, &body) // an answer without a body has only its status
	e := &provision.APIError{Status: status, Code: body.Error.Code, Message: body.Error.Message, RequestID: defaultTo(requestID, body.Error.Inner.RequestID)}
	for _, detail := range body.Error.Details {
		e.Details = append(e.Details, provision.APIErrorDetail(detail))
	}
	if seconds, err := strconv.Atoi(retryAfter); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// get reads many paths: one alone as it is, more as batches of 20.
func get[V any](ctx context.Context, d *Directory, paths []string) ([]V, []error) {
	values, errs := make([]V, len(paths)), make([]error, len(paths))
	if len(paths) == 1 {
		_, errs[0] = d.do(ctx, request{method: http.MethodGet, path: paths[0]}, &values[0])
		return values, errs
	}
	for from := 0; from < len(paths); from += 20 {
		to := min(from+20, len(paths))
		answers, err := d.batch(ctx, paths[from:to])
		for i := from; i < to; i++ {
			if errs[i] = err; err == nil {
				errs[i] = answers[i-from].decode(&values[i])
			}
		}
	}
	return values, errs
}

// batched is the answer to one item.
type batched struct {
	ID      string            `json:"id"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
}

func (b batched) decode(out any) error {
	if b.Status == 0 {
		return errors.New("entratest: $batch gave no answer for an item")
	}
	return result(b.Status, b.Headers["Retry-After"], b.Headers["request-id"], b.Body, out)
}

// batch reads up to 20 paths and returns the answers in their order.
func (d *Directory) batch(ctx context.Context, paths []string) ([]batched, error) {
	items := make([]batchItem, len(paths))
	for i, p := range paths {
		items[i] = batchItem{ID: strconv.Itoa(i), Method: http.MethodGet, URL: p}
	}
	var out struct {
		Responses []batched `json:"responses"`
	}
	_, err := d.do(ctx, request{method: http.MethodPost, path: "/$batch", body: map[string]any{"requests": items}}, &out)
	if err != nil {
		return nil, err
	}
	answers := make([]batched, len(paths))
	for _, a := range out.Responses {
		if i, err := strconv.Atoi(a.ID); err == nil && i >= 0 && i < len(answers) {
			answers[i] = a
		}
	}
	return answers, nil
}

// page is one page of a collection.
type page[V any] struct {
	Value []V    `json:"value"`
	Next  string `json:"@odata.nextLink"`
}

// rest reads the pages after the first.
func rest[V any](ctx context.Context, d *Directory, first page[V]) ([]V, error) {
	all := first.Value
	for next := first.Next; next != ""; {
		path, ok := strings.CutPrefix(next, d.tenant.BaseURL()+"/v1.0")
		if !ok {
			return nil, fmt.Errorf("entratest: next page on another host: %q", next)
		}
		var p page[V]
		if _, err := d.do(ctx, request{method: http.MethodGet, path: path}, &p); err != nil {
			return nil, err
		}
		all, next = append(all, p.Value...), p.Next
	}
	return all, nil
}

func pages[V any](ctx context.Context, d *Directory, paths []string) ([][]V, []error) {
	firsts, errs := get[page[V]](ctx, d, paths)
	all := make([][]V, len(paths))
	for i := range firsts {
		if errs[i] == nil {
			all[i], errs[i] = rest(ctx, d, firsts[i])
		}
	}
	return all, errs
}

// quote is a string as a key or a filter's literal in a path.
func quote(s string) string { return "'" + url.PathEscape(doubled(s)) + "'" }

func doubled(s string) string { return strings.ReplaceAll(s, "'", "''") }

// statusOf is the HTTP status of an answer of Graph; 0: err is none.
func statusOf(err error) int {
	if api, ok := errors.AsType[*provision.APIError](err); ok {
		return api.Status
	}
	return 0
}
