package entratest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
)

// Unguarded sends each route of a service a request without a credential and
// returns those that do not refuse it (401 or 403), each with the status that it
// answered. For the test of a service: of a route that is found the handler has
// run. Routes are patterns of net/http ("GET /echo/{id}"), chi, or gin and echo
// ("/echo/:id", "/echo/*path"); without a method they get GET, and parameters
// get the value x.
func Unguarded(service http.Handler, routes ...string) []string {
	var found []string
	for _, route := range routes {
		r := anonymous(route)
		w := httptest.NewRecorder()
		service.ServeHTTP(w, r)
		if !slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden}, w.Code) {
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
func anonymous(route string) *http.Request {
	method, target, ok := strings.Cut(route, " ")
	if !ok {
		method, target = http.MethodGet, route
	}
	host, path, _ := strings.Cut(strings.TrimSpace(target), "/")
	path = strings.ReplaceAll("/"+path, "{$}", "")
	path = parameter.ReplaceAllString(braces.ReplaceAllString(path, "x"), "/x")
	r := httptest.NewRequest(method, path, nil)
	if host != "" {
		r.Host = host
	}
	return r
}
