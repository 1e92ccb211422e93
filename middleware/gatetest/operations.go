package gatetest

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Operations describes the operations of the API that Target.Path belongs to, for a
// service that enforces them. Each operation is a method and a path, such as
// "POST /orders".
type Operations struct {
	// Roles are the roles of a token that may GET Target.Path but may not call Forbidden.
	Roles []string
	// Forbidden is an operation that needs other roles than Roles. The attacks are the
	// hardest to refuse if it is a GET operation, such as "GET /orders/audit", beside
	// another that Roles permits and whose path has a parameter there, such as
	// "GET /orders/{id}".
	Forbidden string
	// Unlisted is a request, such as "GET /none", that matches no operation of the API.
	Unlisted string
}

// attacksOnOperations are rows 48 to 51: a genuine token that permits one operation, and
// requests that a service may take for another operation.
func attacksOnOperations(t *Target) []Attack {
	if t.Operations == nil {
		return nil
	}
	return []Attack{
		insufficientScope(48, "operation without its permission", func(a *attacker) error {
			if err := a.pass(a.reader()); err != nil {
				return err
			}
			return a.operation(a.Operations.Forbidden, a.reader())
		}),
		{Row: 49, Name: "other spellings of an operation without its permission", run: respelled},
		{Row: 50, Name: "headers that name another method", Status: http.StatusBadRequest, run: methodOverrides},
		{Row: 51, Name: "no operation", Status: http.StatusNotFound, run: func(a *attacker) error {
			return a.operation(a.Operations.Unlisted, a.token(nil, nil))
		}},
		{Row: 51, Name: "method of no operation", run: unlistedMethods},
	}
}

// reader returns a token with the roles for Target.Path only.
func (a *attacker) reader() string {
	return a.token(map[string]any{"roles": a.Operations.Roles}, nil)
}

// operation sends a token to an operation and compares the answer.
func (a *attacker) operation(operation, token string) error {
	r, err := a.requestOf(operation, token)
	if err != nil {
		return err
	}
	return a.send(r)
}

// requestOf returns a request for an operation, a method and a path.
func (a *attacker) requestOf(operation, token string) (*http.Request, error) {
	method, path, found := strings.Cut(operation, " ")
	u, err := url.Parse("http://example.com" + path)
	if err != nil || !found || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("gatetest: Target.Operations: %q must be a method and a path such as GET /orders", operation)
	}
	r := a.request()
	r.Method, r.URL.Path, r.URL.RawPath = method, u.Path, u.RawPath
	if a.Handler != nil {
		r.RequestURI = path
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return r, nil
}

// respelled sends requests whose paths some servers read as the path of the forbidden
// operation.
func respelled(a *attacker) error {
	method, path, _ := strings.Cut(a.Operations.Forbidden, " ")
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 || slash == len(path)-1 {
		return errors.New("gatetest: Target.Operations.Forbidden needs a path that ends in a segment")
	}
	parent, name := path[:slash+1], path[slash+1:]
	for _, spelling := range []string{
		parent + swapCase(name), parent + fmt.Sprintf("%%%02x%s", name[0], name[1:]), parent + fmt.Sprintf("%%25%02x%s", name[0], name[1:]),
		path + "/", path + "//", path + "%2f", path + "/.", path + "/x/..", parent + "./" + name, parent + "/" + name, parent + "x/../" + name,
		path + ".", path + "%20", path + "%09", path + ";x=y", path + "%3bx=y", path + "%00", path + "%3f", path + "%23",
	} {
		r, err := a.requestOf(method+" "+spelling, a.reader())
		if err != nil {
			continue // no client can send it
		}
		if err := a.refused(r); err != nil {
			return fmt.Errorf("%s %s: %w", method, spelling, err)
		}
	}
	return nil
}

// methodOverrides asks for another method of a permitted path with headers that some
// frameworks honour.
func methodOverrides(a *attacker) error {
	for _, name := range []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X_http_method_override"} {
		for _, method := range []string{http.MethodDelete, http.MethodPost, "delete"} {
			if err := a.header("Authorization", "Bearer "+a.reader(), name, method); err != nil {
				return fmt.Errorf("%s: %s: %w", name, method, err)
			}
		}
	}
	return nil
}

// unlistedMethods sends a token with all roles with methods that differ from GET in
// letter case, or that no API has.
func unlistedMethods(a *attacker) error {
	for _, method := range []string{"get", "Get", "PROPFIND", "TRACE"} {
		r := a.request()
		r.Method = method
		r.Header.Set("Authorization", "Bearer "+a.token(nil, nil))
		if err := a.refused(r); err != nil {
			return fmt.Errorf("method %s: %w", method, err)
		}
	}
	return nil
}
