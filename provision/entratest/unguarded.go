package entratest

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
)

// Unguarded sends each route of a service a request without a credential and
// returns those that do not refuse it (401 or 403), each with what it answered.
// For the test of a service: a handler that nothing guards runs. Routes are
// patterns of net/http ("GET /echo/{id}"), chi, or gin and echo ("/echo/:id",
// "/echo/*path"); without a method they get GET, and parameters get the value x.
// A parameter with an expression of its own ("{id:[0-9]+}") may not take that:
// such a route is returned too, until a path that it takes is named instead.
func Unguarded(service http.Handler, routes ...string) []string {
	var found []string
	for _, route := range routes {
		r, err := anonymous(route)
		if err != nil {
			found = append(found, fmt.Sprintf("%s: %v", route, err))
			continue
		}
		w := httptest.NewRecorder()
		service.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized && w.Code != http.StatusForbidden {
			found = append(found, fmt.Sprintf("%s: %d", route, w.Code))
		}
	}
	return found
}

var (
	braces    = regexp.MustCompile(`\{[^{}]+\}`)
	parameter = regexp.MustCompile(`/[:*][^/]*`)
)

// anonymous is a request that a route is for.
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
