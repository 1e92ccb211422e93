package openapi

import (
	"slices"
	"strings"
)

// methods are the fields of a path item that hold an operation.
var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace", "query"}

func (r *reader) paths() {
	paths := r.objects(r.root, "paths")
	if paths == nil && strings.HasPrefix(r.doc.Version, "3.0.") {
		r.fail("paths is required")
	}
	shapes, ids := map[string]string{}, map[string]bool{}
	r.each(paths, func(path string, v *value) {
		if isExtension(path) {
			return
		}
		shape, problem := r.shape(path)
		if r.err != nil {
			return
		}
		if other, ok := shapes[shape]; ok {
			r.fail("is the same path as %.100q: templates that differ only in names are equal", other)
			return
		}
		shapes[shape] = path
		r.pathItem(path, problem, v, ids)
	})
}

func (r *reader) pathItem(path, problem string, v *value, ids map[string]bool) {
	if _, ok := v.ref(); ok && len(v.items) > 1 {
		r.fail("a path item with $ref must have no other member: the specification leaves open which one counts")
		return
	}
	item := r.target(v)
	r.known(item, append([]string{"$ref", "summary", "description", "servers", "parameters", "additionalOperations"}, methods...)...)
	if item.get("servers") != nil {
		r.note("servers", "servers of a path have no effect")
	}
	common := r.parameters(item)
	add := func(method string, v *value) {
		if len(r.doc.Operations) == maxOperations {
			r.fail("the document must have at most %d operations", maxOperations)
			return
		}
		op := r.operation(method, path, v, common)
		op.Unenforceable = firstOf(problem, op.Unenforceable)
		if op.ID != "" && ids[op.ID] {
			r.fail("operationId %.100q is used twice", op.ID)
		}
		ids[op.ID] = true
		r.doc.Operations = append(r.doc.Operations, op)
	}
	// In the document's order, so that a second reading gives the same list.
	for i := range item.items {
		m := &item.items[i]
		if slices.Contains(methods, m.name) {
			r.in(m.name, func() { add(strings.ToUpper(m.name), &m.value) })
		}
	}
	r.each(r.objects(item, "additionalOperations"), func(method string, v *value) {
		if !isToken(method) || slices.Contains(methods, strings.ToLower(method)) {
			r.fail("must be a method that has no field of its own")
			return
		}
		add(method, v)
	})
}

func (r *reader) operation(method, path string, v *value, common []Parameter) Operation {
	if v.kind != '{' {
		r.fail("must be an object")
		return Operation{}
	}
	r.known(v, "tags", "summary", "description", "externalDocs", "operationId", "parameters", "requestBody", "responses", "callbacks", "deprecated", "security", "servers")
	for _, name := range []string{"callbacks", "servers"} {
		if v.get(name) != nil {
			r.note(name, name+" of an operation have no effect")
		}
	}
	op := Operation{
		Method: method, Path: path,
		ID: r.text(v, "operationId"), Summary: r.text(v, "summary"), Description: r.text(v, "description"),
		Tags: r.texts(v, "tags"), Deprecated: r.flag(v, "deprecated"),
	}
	op.Parameters = r.overridden(common, r.parameters(v))
	r.pathParameters(path, op.Parameters)
	op.Body = r.body(v)
	op.Responses = r.responses(v)
	op.AnyOf, op.Unenforceable = r.requirements(v)
	return op
}

// shape is a path with its template names left out. problem says why a gate
// cannot match the path exactly.
func (r *reader) shape(path string) (shape, problem string) {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") {
		r.fail("a path must begin with a slash and hold no query")
		return "", ""
	}
	var b strings.Builder
	names := map[string]bool{}
	for rest := path; ; {
		literal, after, found := strings.Cut(rest, "{")
		if strings.Contains(literal, "}") {
			r.fail("has a closing brace without an opening one")
			return "", ""
		}
		b.WriteString(literal)
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed || name == "" || strings.ContainsAny(name, "{/") || names[name] {
			r.fail("each template must be {name} with a name of its own")
			return "", ""
		}
		names[name] = true
		if !strings.HasSuffix(literal, "/") || tail != "" && tail[0] != '/' {
			problem = "a template must be a whole segment of the path"
		}
		b.WriteString("{}")
		rest = tail
	}
	return b.String(), problem
}

// pathParameters notes templates that no parameter describes.
func (r *reader) pathParameters(path string, params []Parameter) {
	for segment := range strings.SplitSeq(path, "/") {
		name, ok := strings.CutPrefix(segment, "{")
		name, closed := strings.CutSuffix(name, "}")
		if !ok || !closed {
			continue
		}
		if !slices.ContainsFunc(params, func(p Parameter) bool { return p.In == "path" && p.Name == name }) {
			r.note("parameters", "no path parameter describes {"+name+"}")
		}
	}
}

// isToken reports whether a text is an HTTP method or another token of RFC 9110,
// section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
