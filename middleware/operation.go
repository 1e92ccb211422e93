package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// operations are the compiled operations of one API.
type operations struct {
	enforce bool // otherwise they are only reported
	root    opNode
	all     []*operation
	byID    map[string]*operation
}

// operation is an operation of an API, with the roles that it needs for each product.
type operation struct {
	id, method  string
	path        string // the template below the API's path
	gone        bool
	permissions [][]string            // alternatives of permissions; empty: only the product's own role
	roles       map[string][][]string // by product: the alternatives as role values
	expected    map[string]string     // by product: the first alternative, as text
}

// opNode is a node of the tree of path templates. An edge is one segment.
type opNode struct {
	literal  map[string]*opNode
	folded   map[string]bool // the literals in lower case
	template *opNode
	ops      []*operation // one for each method
}

// newOperations compiles an API's operations. It returns nil if they are neither
// enforced nor reported.
func newOperations(api *appaccess.API, products []*product) *operations {
	if api.Enforcement == appaccess.ShowOperations {
		return nil
	}
	out := &operations{enforce: api.Enforcement == appaccess.EnforceOperations, byID: map[string]*operation{}}
	for i := range api.Operations {
		o := &api.Operations[i]
		op := &operation{id: o.ID, method: o.Method, path: o.Path, gone: o.Gone, permissions: o.AnyOf, roles: map[string][][]string{}, expected: map[string]string{}}
		for _, pr := range products {
			op.addProduct(pr)
		}
		out.all = append(out.all, op)
		out.byID[op.id] = op
		out.root.insert(o.Path, op)
	}
	return out
}

// addProduct adds the role values of a product. It leaves out alternatives with a
// permission that the product does not have: no token can meet them.
func (o *operation) addProduct(pr *product) {
	for _, names := range o.permissions {
		values := make([]string, 0, len(names))
		for _, name := range names {
			if v := pr.roles[name]; v != "" {
				values = append(values, v)
			}
		}
		if len(values) < len(names) {
			continue
		}
		o.roles[pr.id] = append(o.roles[pr.id], values)
		if o.expected[pr.id] == "" {
			o.expected[pr.id] = strings.Join(values, " and ")
		}
	}
	if o.expected[pr.id] == "" {
		o.expected[pr.id] = pr.role
	}
}

func (n *opNode) insert(path string, op *operation) {
	if path != "/" {
		for s := range strings.SplitSeq(path[1:], "/") {
			n = n.child(s)
		}
	}
	n.ops = append(n.ops, op)
}

func (n *opNode) child(segment string) *opNode {
	if segment != "" && segment[0] == '{' {
		if n.template == nil {
			n.template = &opNode{}
		}
		return n.template
	}
	if n.literal == nil {
		n.literal, n.folded = map[string]*opNode{}, map[string]bool{}
	}
	if n.literal[segment] == nil {
		n.literal[segment] = &opNode{}
		n.folded[fold(segment)] = true
	}
	return n.literal[segment]
}

// find finds the operation for a method and the part of the path after the API's
// path. It compares segment by segment from the left and prefers a literal to a
// template among operations of the method. HEAD is treated like GET unless the API
// has a HEAD operation for the path. mixed reports that a template matched a segment
// that a lax server may read as a literal, such as one in another letter case.
func (o *operations) find(method, rest string) (op *operation, mixed bool) {
	rest = strings.TrimPrefix(rest, "/")
	op, mixed = o.root.find(method, rest, rest == "")
	if op == nil && method == http.MethodHead {
		return o.root.find(http.MethodGet, rest, rest == "")
	}
	return op, mixed
}

// find matches the rest of a path below n. end says that no segment is left. An empty
// rest without end is a trailing slash, which no operation has.
func (n *opNode) find(method, rest string, end bool) (op *operation, mixed bool) {
	if end {
		for _, op := range n.ops {
			if op.method == method {
				return op, false
			}
		}
		return nil, false
	}
	s, tail, more := strings.Cut(rest, "/")
	if child := n.literal[s]; child != nil {
		if op, mixed := child.find(method, tail, !more); op != nil {
			return op, mixed
		}
	}
	if n.template == nil || s == "" {
		return nil, false
	}
	op, mixed = n.template.find(method, tail, !more)
	return op, op != nil && (mixed || n.literal[s] == nil && n.isLiteral(s))
}

// isLiteral reports whether a lax server may read segment s as a literal of n, or as
// an empty segment: see matchLoosely.
func (n *opNode) isLiteral(s string) bool {
	s = strings.TrimRight(looseSegment(s), ". ")
	return s == "" || n.folded[fold(s)]
}

// operationOf finds the operation of a request to an API. A failure is answered if
// operations are enforced, otherwise only recorded.
func (o *operations) operationOf(r *http.Request, api string) (*operation, failure) {
	for name, values := range r.Header {
		if !overridesMethod(name) {
			continue
		}
		for _, v := range values {
			if v != r.Method {
				return nil, failure{reason: RequestAmbiguous, status: http.StatusBadRequest, field: clip(name), actual: clip(v), expected: "the request's own method, or no such header"}
			}
		}
	}
	path, raw := r.URL.Path, r.URL.RawPath
	rest, ok := under(api, path)
	if !ok {
		return nil, notFoundOperation(r, "a path below "+api)
	}
	op, mixed := o.find(r.Method, rest)
	if raw != "" && !o.same(r.Method, api, raw, op) {
		return nil, notAllowed(raw, "no needless escapes")
	}
	if strings.ContainsAny(rest, "%?#\\\x00") {
		again, ok := decodeAgain(path)
		if !ok || !o.same(r.Method, api, again, op) {
			return nil, notAllowed(path, "no repeated escapes")
		}
	}
	switch {
	case mixed:
		return nil, notAllowed(path, "one that every server reads as the same operation: letter case, parameters (;), blanks and dots at the end of a segment count")
	case op == nil || op.gone:
		return nil, notFoundOperation(r, "an operation of the API")
	}
	return op, failure{}
}

// same reports whether another spelling of the path leads to the same operation.
func (o *operations) same(method, api, path string, op *operation) bool {
	rest, ok := under(api, path)
	other, _ := o.find(method, rest)
	return ok && other == op
}

// under returns the part of path that follows an API's path, if path is below it.
func under(api, path string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, strings.TrimSuffix(api, "/"))
	return rest, ok && (rest == "" || rest[0] == '/')
}

func notFoundOperation(r *http.Request, expected string) failure {
	return failure{reason: OperationNotFound, status: http.StatusNotFound, field: "operation", actual: clip(r.Method + " " + r.URL.Path), expected: expected}
}

// methodOverrides are headers, in lower case, with which a request can make some servers
// run another method than its own.
var methodOverrides = [...]string{"x-http-method-override", "x-http-method", "x-method-override"}

// overridesMethod reports whether a header is one of methodOverrides. Servers that pass
// headers as variables, such as CGI and WSGI servers, do not distinguish -, _ and other
// characters that are neither letters nor digits.
func overridesMethod(name string) bool {
	if name == "" || name[0]|0x20 != 'x' {
		return false
	}
	return slices.ContainsFunc(methodOverrides[:], func(known string) bool {
		if len(name) != len(known) {
			return false
		}
		for i := range len(name) {
			c := name[i] | 0x20 // lower case
			if alphanumeric := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'; alphanumeric && c != known[i] || !alphanumeric && known[i] != '-' {
				return false
			}
		}
		return true
	})
}

// met reports whether a token's roles include one alternative that the operation
// needs for a product.
func (o *operation) met(productID string, roles []string) bool {
	if o == nil {
		return false
	}
	for _, together := range o.roles[productID] {
		if !slices.ContainsFunc(together, func(role string) bool { return !slices.Contains(roles, role) }) {
			return true
		}
	}
	return false
}

// granted reports whether a client's grants permit the operation: all permissions of
// the product, or one alternative of the operation. o may be nil.
func (o *operation) granted(productID string, grants appaccess.Grants) bool {
	if grants.Permit(productID, appaccess.AllPermission) {
		return true
	}
	if o == nil {
		return false
	}
	for _, together := range o.permissions {
		if !slices.ContainsFunc(together, func(name string) bool { return !grants.Permit(productID, name) }) {
			return true
		}
	}
	return false
}

// required names the role or roles that a token of the product needs, for records. o
// may be nil.
func (o *operation) required(pr *product) string {
	if o == nil {
		return pr.role
	}
	return o.expected[pr.id]
}

// operation finds the operation of a request, if the route's API enforces or reports
// operations. reported is a failure that is only recorded, refused one that is
// answered.
func (p *policy) operation(r *http.Request, rt *route) (op *operation, reported, refused failure) {
	ops, api := rt.ops, rt.path
	if ops == nil && rt.enforced {
		// The route is a whole product: find the API by the path.
		of, f := p.routeOf(r.URL.Path, r.URL.RawPath)
		if !f.ok() {
			return nil, failure{}, f
		}
		if !slices.Contains(rt.products[0].apis, of.api) {
			return nil, failure{}, notFoundOperation(r, "a path of an API of the product")
		}
		ops, api = of.ops, of.path
	}
	if ops == nil {
		return nil, failure{}, failure{}
	}
	op, f := ops.operationOf(r, api)
	if !ops.enforce {
		return nil, f, failure{}
	}
	return op, failure{}, f
}

// checkOperations checks the operations of an API in static mode. It refuses
// operations that the gate could match differently from the API's router.
func checkOperations(a *appaccess.API) error {
	switch a.Enforcement {
	case appaccess.ShowOperations:
		return nil
	case appaccess.ReportOperations, appaccess.EnforceOperations:
	default:
		return fmt.Errorf("Enforcement: %q: allowed are \"report\", \"enforce\" and empty", a.Enforcement)
	}
	if len(a.Operations) == 0 {
		return errors.New("Operations: at least one is needed with Enforcement")
	}
	return appaccess.CheckOperations(a.Operations)
}
