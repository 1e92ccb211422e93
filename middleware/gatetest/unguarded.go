package gatetest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
)

// Unguarded sends each route of a service a request without a credential. It returns
// the routes that do not refuse the request with 401 or 403, each with its status. It
// also returns routes that refuse the request and then write more, because some
// frameworks run the handler after a refusal, as gin does behind gin.WrapH. It does not
// notice a handler that runs after a refusal and writes nothing.
//
// Use it only in a test of the service: if a handler is not guarded, it runs. Routes are
// patterns of net/http ("GET /echo/{id}"), chi, gin or echo ("/echo/:id",
// "/echo/*path"). A pattern without a method is requested with GET, and parameters get
// the value x. A parameter with a regular expression ("{id:[0-9]+}") may not match x:
// Unguarded returns such a route with an error; name a path that it matches instead.
func Unguarded(service http.Handler, routes ...string) []string {
	var found []string
	for _, route := range routes {
		r, err := anonymous(route)
		if err != nil {
			found = append(found, fmt.Sprintf("%s: %v", route, err))
			continue
		}
		w := &recorder{ResponseRecorder: httptest.NewRecorder()}
		service.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized && w.Code != http.StatusForbidden {
			found = append(found, fmt.Sprintf("%s: %d", route, w.Code))
		} else if more := w.afterRefusal(); more != "" {
			found = append(found, fmt.Sprintf("%s: %d, but %s: does a handler run after the refusal?", route, w.Code, more))
		}
	}
	return found
}

// recorder also records whether the status was written twice.
type recorder struct {
	*httptest.ResponseRecorder
	begun, again bool
}

func (w *recorder) WriteHeader(status int) {
	if status >= 200 {
		w.again, w.begun = w.begun, true
	}
	w.ResponseRecorder.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseRecorder.Write(b)
}

func (w *recorder) afterRefusal() string {
	if w.again {
		return "the status was written twice"
	}
	return trailing(w.Header(), w.Body.Bytes())
}

// trailing describes what is wrong with a JSON body that should be one value, as in a
// gate's refusal: if more bytes follow, a framework has run the next handler although
// the gate refused the request. It is empty for other content types.
func trailing(header http.Header, body []byte) string {
	if kind, _, _ := mime.ParseMediaType(header.Get("Content-Type")); kind != "application/json" || len(body) == 0 {
		return ""
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if d.Decode(new(json.RawMessage)) != nil {
		return "its JSON body is malformed"
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "bytes follow the refusal's body"
	}
	return ""
}

var (
	braces    = regexp.MustCompile(`\{[^{}]+\}`)
	parameter = regexp.MustCompile(`/[:*][^/]*`)
)

// anonymous returns a request without a credential that matches a route.
func anonymous(route string) (*http.Request, error) {
	method, target := http.MethodGet, strings.TrimSpace(route)
	if i := strings.IndexAny(target, " \t"); i >= 0 {
		method, target = target[:i], strings.TrimLeft(target[i:], " \t")
	}
	host, path, _ := strings.Cut(target, "/")
	if _, expression, _ := strings.Cut(path, "{"); strings.Contains(expression, ":") {
		return nil, errors.New("a parameter has an expression: name a path that it takes")
	}
	path = strings.ReplaceAll("/"+path, "{$}", "")
	path = parameter.ReplaceAllString(braces.ReplaceAllString(path, "x"), "/x")
	r, err := http.NewRequest(method, "http://"+cmp.Or(host, "example.com")+path, nil)
	if err != nil {
		return nil, err
	}
	r.RequestURI, r.RemoteAddr = r.URL.RequestURI(), "192.0.2.1:1234" // as a server has it
	return r, nil
}
