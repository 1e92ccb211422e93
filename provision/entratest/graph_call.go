package entratest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// graphCall is one operation on Graph: a request, or an item of a $batch.
type graphCall struct {
	t      *Tenant
	method string
	path   []segment // below /v1.0
	query  url.Values
	header http.Header
	body   []byte
	self   string // path without its query, for next links
	v      view   // the replica that answers
	caller *caller

	route *route
	keys  map[string]segment // by placeholder of the route's pattern
	app   *application       // that the path names, as the replica shows it
	sp    *servicePrincipal  // likewise
}

// graphReply is what comes back; body nil: none.
type graphReply struct {
	status int
	header map[string]string
	body   any
}

// graphError is an answer that is no success.
type graphError struct {
	status        int
	code, message string
	details       []errorDetail
	retryAfter    int // seconds; 0: none
}

type errorDetail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Target  string `json:"target"`
}

func refuse(status int, code, format string, args ...any) *graphError {
	return &graphError{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

func bad(format string, args ...any) *graphError {
	return refuse(http.StatusBadRequest, "Request_BadRequest", format, args...)
}

func notFound(id string) *graphError {
	return refuse(http.StatusNotFound, "Request_ResourceNotFound",
		"Resource '%s' does not exist or one of its queried reference-property objects are not present.", id)
}

func denied() *graphError {
	return refuse(http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
}

func unknown(format string, args ...any) *graphError {
	return refuse(http.StatusNotImplemented, "NotImplemented", "entratest does not imitate this: "+format, args...)
}

// about adds a detail that names a property.
func (e *graphError) about(code, target string) *graphError {
	e.details = append(e.details, errorDetail{code, e.message, target})
	return e
}

func (e *graphError) reply(t *Tenant, h http.Header) graphReply {
	inner := map[string]any{
		"date":       t.now().Format("2006-01-02T15:04:05"),
		"request-id": t.newID(), "client-request-id": h.Get("client-request-id"),
	}
	body := map[string]any{"code": e.code, "message": e.message, "innerError": inner}
	if len(e.details) > 0 {
		body["details"] = e.details
	}
	r := graphReply{e.status, map[string]string{}, map[string]any{"error": body}}
	if e.retryAfter > 0 {
		r.header["Retry-After"] = fmt.Sprint(e.retryAfter)
	}
	return r
}

// serveGraph answers below /v1.0. path is still escaped.
func (t *Tenant) serveGraph(w http.ResponseWriter, r *http.Request, path []string) {
	body, bodyFailed := t.graphBody(w, r)
	c := &graphCall{t: t, method: r.Method, query: r.URL.Query(), header: r.Header, body: body, self: r.URL.EscapedPath()}
	reply, cut := t.answer(c, r, path, bodyFailed)
	if cut {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	for k, v := range reply.header {
		h.Set(k, v)
	}
	h.Set("Cache-Control", "no-cache")
	if id := r.Header.Get("client-request-id"); id != "" {
		h.Set("client-request-id", id)
	}
	if reply.body == nil {
		w.WriteHeader(reply.status)
		return
	}
	if number, ok := reply.body.(plainText); ok {
		h.Set("Content-Type", "text/plain")
		w.WriteHeader(reply.status)
		_, _ = io.WriteString(w, string(number)) // a reader that went away
		return
	}
	h.Set("Content-Type", "application/json")
	writeJSON(w, reply.status, reply.body)
}

func (t *Tenant) answer(c *graphCall, r *http.Request, path []string, failed *graphError) (reply graphReply, cut bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.record.counts.Requests++
	requestID := t.newID()
	defer func() {
		if reply.header == nil {
			reply.header = map[string]string{}
		}
		reply.header["request-id"] = requestID
	}()
	req := Request{Service: GraphService, Method: r.Method, Path: r.URL.RequestURI(), Write: r.Method != http.MethodGet}
	caller, denied := t.authorize(r)
	if caller != nil {
		req.AppID = caller.appID
	}
	if failed == nil {
		failed = denied
	}
	if failed == nil && path[0] == "beta" {
		failed = unknown("the beta endpoint")
	}
	if len(path) > 1 && t.isTenant(path[1]) {
		path = path[1:]
	}
	if hasJSON(c.body) && !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		t.misuse("%s %s: the body is not labelled application/json", r.Method, r.URL.Path)
	}
	c.caller = caller
	c.path, failed = parsePath(path[1:], failed)
	if failed == nil && len(c.path) == 1 && c.path[0].name == "$batch" {
		req.Batch, req.Write = true, false
		return t.operate(req, c.header, c.batch)
	}
	return t.operate(req, c.header, func() (graphReply, *graphError, bool) {
		if failed != nil {
			return graphReply{}, failed, false
		}
		reply, e := c.run()
		return reply, e, false
	})
}

// operate counts one operation, puts in the fault that it is due and logs it.
// do reports true if a fault of an item within it cut the connection. The
// caller holds mu.
func (t *Tenant) operate(req Request, h http.Header, do func() (graphReply, *graphError, bool)) (reply graphReply, cut bool) {
	c := &t.record.counts
	c.Graph++
	req.N = c.Graph
	if !req.Batch {
		c.Items++
		if req.Write {
			c.Writes++
		}
	}
	f := t.fault(req)
	t.pace(req, f)
	e := Entry{Request: req, Fault: f.Kind}
	defer func() {
		e.Status = reply.status
		t.note(e)
	}()
	if f.Kind == NoFault || f.Kind.after() {
		var failed *graphError
		reply, failed, cut = do()
		if failed != nil {
			e.Code = failed.code
			reply = failed.reply(t, h)
		}
	}
	if f.Kind.cuts() || cut {
		return graphReply{}, true
	}
	if f.Kind != NoFault {
		failed := f.graphError()
		e.Code = failed.code
		reply = failed.reply(t, h)
	}
	return reply, false
}

func (f Fault) graphError() *graphError {
	switch f.Kind {
	case Throttle:
		e := refuse(http.StatusTooManyRequests, "TooManyRequests", "Too many requests. Please retry after the interval in Retry-After.")
		e.retryAfter = f.retryAfter()
		return e
	case ThrottleBare:
		return refuse(http.StatusTooManyRequests, "TooManyRequests", "Too many requests.")
	case UnavailableBefore, UnavailableAfter:
		return refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "The service is temporarily unavailable.")
	case TimeoutBefore, TimeoutAfter:
		return refuse(http.StatusGatewayTimeout, "GatewayTimeout", "The gateway timed out.")
	}
	return refuse(f.Status, f.Code, "%s", f.Message)
}

// maxBody bounds a request's body, before and after decompression.
const maxBody = 4 << 20

func (t *Tenant) graphBody(w http.ResponseWriter, r *http.Request) ([]byte, *graphError) {
	var in io.Reader = http.MaxBytesReader(w, r.Body, maxBody)
	switch enc := r.Header.Get("Content-Encoding"); enc {
	case "", "identity":
	case "gzip":
		zr, err := gzip.NewReader(in)
		if err != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.misuse("%s %s: the body is labelled gzip and is not", r.Method, r.URL.Path)
			return nil, refuse(http.StatusBadRequest, "BadRequest", "The request body is labelled gzip and is not.")
		}
		in = io.LimitReader(zr, maxBody)
	default:
		return nil, refuse(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "Content-Encoding %q is not supported.", enc)
	}
	body, err := io.ReadAll(in)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "BadRequest", "The request body could not be read.")
	}
	return body, nil
}

// object decodes the body as a JSON object.
func (c *graphCall) object() (map[string]json.RawMessage, *graphError) {
	var props map[string]json.RawMessage
	if err := json.Unmarshal(c.body, &props); err != nil || props == nil {
		return nil, refuse(http.StatusBadRequest, "BadRequest",
			"Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.")
	}
	return props, nil
}

// decode decodes the body, ignoring what dst does not have.
func (c *graphCall) decode(dst any) *graphError {
	if _, failed := c.object(); failed != nil {
		return failed
	}
	if err := json.Unmarshal(c.body, dst); err != nil {
		return refuse(http.StatusBadRequest, "BadRequest", "A property of the request payload has the wrong type.")
	}
	return nil
}

func (c *graphCall) unknown() *graphError {
	return unknown("%s %s", c.method, c.self)
}

func (c *graphCall) prefersCreate() bool {
	return strings.Contains(c.header.Get("Prefer"), "create-if-missing")
}

func (c *graphCall) ok(body any) (graphReply, *graphError) {
	return c.render(http.StatusOK, body)
}

func (c *graphCall) created(body any) (graphReply, *graphError) {
	return c.render(http.StatusCreated, body)
}

func noContent() (graphReply, *graphError) {
	return graphReply{status: http.StatusNoContent}, nil
}

// purge forgets what was deleted more than 30 days ago.
func (t *Tenant) purge() {
	v := t.newest()
	for len(t.store.bin) > 0 && t.store.bin[0].at.Add(deletedKept).Before(t.now()) {
		d := t.store.bin[0]
		t.store.bin = t.store.bin[1:]
		if a := v.deletedApplication(d.id); a != nil && a.DeletedDateTime.Equal(d.at) {
			t.forgetApplication(a)
		}
		if sp := v.deletedPrincipal(d.id); sp != nil && sp.DeletedDateTime.Equal(d.at) {
			t.forgetPrincipal(sp)
		}
	}
}

// hasJSON reports whether a body is there.
func hasJSON(b []byte) bool {
	b = bytes.TrimSpace(b)
	return len(b) > 0 && string(b) != "null"
}
