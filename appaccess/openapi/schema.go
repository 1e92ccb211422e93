package openapi

import (
	"slices"
	"strings"
)

// Schema is a schema, read only as far as [Schema.Rows] shows it.
type Schema struct {
	Name string // in components; empty for one that is written in place
	v    *value
}

// Row is one line of a schema's table.
type Row struct {
	Depth       int    // 0: the schema itself
	Name        string // of the property; [] for the items of a list, empty for the schema itself
	Type        string // such as "integer (int64)" or "one of"; empty if not given
	Schema      string // name in components of the schema that this value has; empty if in place
	Required    bool
	Description string
	Constraints []string // such as "at most 100"
}

// The limits of [Schema.Rows].
const (
	MaxRowDepth = 6
	MaxRows     = 500
)

// schemas reads the schemas of components.
func (r *reader) schemas() {
	r.in("components", func() {
		r.each(r.objects(r.root.get("components"), "schemas"), func(name string, v *value) {
			if v.kind != '{' && v.kind != 't' && v.kind != 'f' {
				r.fail("must be a schema")
			}
			r.doc.Schemas = append(r.doc.Schemas, Schema{name, v})
		})
	})
}

// schema is the one in a parameter or a media type.
func (r *reader) schema(v *value) Schema {
	return Schema{"", r.member(v, "schema", "{tf", "a schema")}
}

// Rows is the schema as a table, at most [MaxRowDepth] levels and [MaxRows]
// rows of it. complete is false if something was left out. A schema that refers
// to another one is one row with its name.
func (s Schema) Rows() (rows []Row, complete bool) {
	if s.v == nil {
		return nil, true
	}
	t := table{complete: true}
	t.add(s.v, Row{})
	return t.rows, t.complete
}

type table struct {
	rows     []Row
	complete bool
}

func (t *table) add(v *value, row Row) {
	if row.Depth > MaxRowDepth || len(t.rows) == MaxRows {
		t.complete = false
		return
	}
	if target, ok := v.ref(); ok {
		row.Schema = strings.TrimPrefix(target, "#/components/schemas/")
		row.Schema = unescape.Replace(row.Schema)
		if row.Schema == target || strings.Contains(row.Schema, "/") {
			row.Schema, row.Type = "", "see "+target
		}
		row.Description = v.str("description")
		t.rows = append(t.rows, row)
		return
	}
	row.Type, row.Description, row.Constraints = typeOf(v), v.str("description"), constraints(v)
	t.rows = append(t.rows, row)
	t.children(v, row.Depth+1)
}

func (t *table) children(v *value, depth int) {
	required := v.get("required")
	if properties := v.get("properties"); properties != nil && properties.kind == '{' {
		for i := range properties.items {
			m := &properties.items[i]
			if !t.room() {
				return
			}
			t.add(&m.value, Row{Depth: depth, Name: m.name, Required: contains(required, m.name)})
		}
	}
	for _, child := range []struct{ field, name string }{{"items", "[]"}, {"additionalProperties", "*"}, {"not", "not"}} {
		if m := v.get(child.field); m != nil && m.kind == '{' {
			t.add(m, Row{Depth: depth, Name: child.name})
		}
	}
	for _, field := range []struct{ field, name string }{{"allOf", "all of"}, {"anyOf", "any of"}, {"oneOf", "one of"}, {"prefixItems", "[]"}} {
		list := v.get(field.field)
		if list == nil || list.kind != '[' {
			continue
		}
		for i := range list.items {
			if !t.room() {
				return
			}
			t.add(&list.items[i].value, Row{Depth: depth, Name: field.name})
		}
	}
}

// room reports whether another row fits, so that long lists end the loop.
func (t *table) room() bool {
	if len(t.rows) < MaxRows {
		return true
	}
	t.complete = false
	return false
}

func contains(list *value, name string) bool {
	if list == nil || list.kind != '[' {
		return false
	}
	return slices.ContainsFunc(list.items[:min(len(list.items), MaxRows)], func(m member) bool { return m.kind == '"' && m.text == name })
}

func typeOf(v *value) string {
	var types []string
	switch t := v.get("type"); {
	case v.kind == 't':
		return "any"
	case v.kind == 'f':
		return "never"
	case t == nil:
	case t.kind == '"':
		types = append(types, t.text)
	case t.kind == '[':
		for i := range t.items[:min(len(t.items), 8)] {
			types = append(types, t.items[i].text)
		}
	}
	if v.isTrue("nullable") {
		types = append(types, "null")
	}
	out := strings.Join(types, " or ")
	if f := v.str("format"); f != "" {
		out = strings.TrimSpace(out + " (" + f + ")")
	}
	return out
}

var limits = []struct{ field, words string }{
	{"minimum", "at least"}, {"maximum", "at most"}, {"exclusiveMinimum", "more than"}, {"exclusiveMaximum", "less than"},
	{"minLength", "characters at least"}, {"maxLength", "characters at most"},
	{"minItems", "items at least"}, {"maxItems", "items at most"}, {"multipleOf", "multiple of"}, {"pattern", "pattern"},
	{"default", "default"}, {"const", "always"},
}

func constraints(v *value) []string {
	var out []string
	for _, l := range limits {
		if m := v.get(l.field); m != nil && (m.kind == '"' || m.kind == '0') {
			out = append(out, l.words+" "+shorten(m.text))
		}
	}
	if enum := v.get("enum"); enum != nil && enum.kind == '[' {
		var values []string
		for i := range enum.items[:min(len(enum.items), 20)] {
			values = append(values, shorten(enum.items[i].text))
		}
		out = append(out, "one of "+strings.Join(values, ", "))
	}
	for _, f := range []string{"readOnly", "writeOnly", "deprecated"} {
		if v.isTrue(f) {
			out = append(out, f)
		}
	}
	return out
}

func shorten(s string) string {
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}
