package openapi

import (
	"regexp"
	"strings"
)

// Document is what [Read] understood of an OpenAPI document. It must not be
// changed; reading it is safe for concurrent use.
type Document struct {
	Version     string   // of OpenAPI: 3.1.0
	Title       string   // of the API
	APIVersion  string   // the document's own version
	Description string   // plain text or CommonMark, as given
	Servers     []string // URLs as given; the gate does not use them

	Operations []Operation // in the order of the document
	Tags       []Tag       // as declared; operations may use others
	Scopes     []Scope     // of the security schemes, in the order of the document
	Schemas    []Schema    // of components, in the order of the document

	// Notes list what Read did not understand or what the gate cannot enforce.
	// There are at most 200.
	Notes []Note

	root *value
}

// Note names a part of a document that has no effect.
type Note struct {
	Pointer string // JSON pointer of the part
	Text    string
}

// Tag groups operations.
type Tag struct{ Name, Description string }

// Scope is a scope of an oauth2 security scheme.
type Scope struct{ Name, Description string }

// Operation is one method of one path.
type Operation struct {
	Method      string // as a request sends it: GET
	Path        string // template below the API's path: /orders/{id}
	ID          string // operationId, which may be empty
	Summary     string
	Description string
	Tags        []string
	Deprecated  bool

	Parameters []Parameter
	Body       *Body // nil: the operation takes none
	Responses  []Response

	// AnyOf are the scopes or roles that a token needs: it must have all names
	// of one of the lists. It is empty if the document names none that a token
	// could carry; then the product's own role is needed, never none.
	AnyOf [][]string
	// Unenforceable says why the gate cannot enforce this operation's security;
	// empty if it can.
	Unenforceable string
}

// Parameter is a parameter of an operation.
type Parameter struct {
	Name        string
	In          string // path, query, querystring, header or cookie
	Required    bool
	Deprecated  bool
	Description string
	Schema      Schema
}

// Body is the body of a request.
type Body struct {
	Required    bool
	Description string
	Content     []Media
}

// Response is one answer of an operation.
type Response struct {
	Status      string // 200, 4XX or default
	Description string
	Content     []Media
}

// Media is a body in one media type.
type Media struct {
	Type    string // application/json
	Schema  Schema
	Example string // of a body, as JSON or text; empty if the document has none
}

// JSON is the document as strict plain JSON, whatever it was given in, so that
// every parser reads the same from it. If server is not empty, it replaces all
// servers of the document: a download then names the gateway and no other host.
func (d *Document) JSON(server string) ([]byte, error) {
	root := *d.root
	keep := func([]string) bool { return true }
	if server != "" {
		root.items = append([]member(nil), root.items...)
		at := -1
		for i := range root.items {
			if root.items[i].name == "servers" {
				at = i
			}
		}
		if at < 0 {
			root.items = append(root.items, member{name: "servers"})
			at = len(root.items) - 1
		}
		url := value{kind: '{', items: []member{{"url", value{kind: '"', text: server}}}}
		root.items[at].value = value{kind: '[', items: []member{{"", url}}}
		keep = func(at []string) bool { return len(at) == 1 || !isServers(at) }
	}
	return root.encode(keep)
}

// isServers reports whether a path leads to the servers of a path item or of an
// operation. Elsewhere, as in a schema, the name means something else.
func isServers(at []string) bool {
	if at[len(at)-1] != "servers" {
		return false
	}
	switch at[0] {
	case "paths", "webhooks":
		return len(at) == 3 || len(at) == 4 || len(at) == 5 && at[2] == "additionalOperations"
	case "components":
		return len(at) > 3 && at[1] == "pathItems" && (len(at) == 4 || len(at) == 5 || len(at) == 6 && at[3] == "additionalOperations")
	}
	return false
}

var versions = regexp.MustCompile(`^3\.[012]\.[0-9]{1,3}(-[0-9A-Za-z.-]{1,20})?$`)

// Read reads a document. The error is an [*Error] that names the place and the
// rule.
func Read(doc []byte) (*Document, error) {
	root, err := guard(doc)
	if err != nil {
		return nil, err
	}
	r := &reader{root: root, doc: &Document{root: root}}
	r.document()
	if r.err != nil {
		return nil, r.err
	}
	return r.doc, nil
}

func (r *reader) document() {
	d, root := r.doc, r.root
	if root.get("swagger") != nil {
		r.fail("version 2 is not supported: convert the document to OpenAPI 3.0, 3.1 or 3.2")
		return
	}
	d.Version = root.str("openapi")
	if !versions.MatchString(d.Version) {
		r.fail("openapi must be the text 3.0.x, 3.1.x or 3.2.x")
		return
	}
	r.known(root, "openapi", "$self", "info", "jsonSchemaDialect", "servers", "paths", "webhooks", "components", "security", "tags", "externalDocs")
	r.in("info", func() {
		info := r.object(root, "info", true)
		d.Title = r.text(info, "title")
		d.Description = r.text(info, "description")
		d.APIVersion = r.scalar(info, "version")
	})
	r.servers()
	r.tags()
	r.schemes()
	r.schemas()
	if root.get("webhooks") != nil {
		r.note("webhooks", "webhooks are requests that the API sends; they are not shown")
	}
	r.paths()
}

func (r *reader) servers() {
	r.each(r.list(r.root, "servers"), func(_ string, s *value) {
		r.doc.Servers = append(r.doc.Servers, r.text(s, "url"))
	})
}

func (r *reader) tags() {
	r.each(r.list(r.root, "tags"), func(_ string, t *value) {
		r.doc.Tags = append(r.doc.Tags, Tag{r.text(t, "name"), r.text(t, "description")})
	})
}

// isExtension reports whether a name is the document's author's own.
func isExtension(name string) bool { return strings.HasPrefix(name, "x-") }
