package openapi

import (
	"bytes"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// value is one plain JSON value. Its members keep their order.
type value struct {
	kind  jsontext.Kind  // n, t, f, ", 0, { or [
	text  string         // of a string or a number
	items []member       // of an object or an array
	index map[string]int // of a large object, made by the first get
	next  *value         // of a reference object: what $ref points to
}

type member struct {
	name string // empty in an array
	value
}

// get returns a member of an object; nil if the object does not have it.
func (v *value) get(name string) *value {
	if v == nil || v.kind != '{' {
		return nil
	}
	if len(v.items) > 16 && v.index == nil {
		v.index = make(map[string]int, len(v.items))
		for i := range v.items {
			v.index[v.items[i].name] = i
		}
	}
	if v.index != nil {
		if i, ok := v.index[name]; ok {
			return &v.items[i].value
		}
		return nil
	}
	for i := range v.items {
		if v.items[i].name == name {
			return &v.items[i].value
		}
	}
	return nil
}

// str is a member that is a string; empty if it is missing or something else.
func (v *value) str(name string) string {
	if m := v.get(name); m != nil && m.kind == '"' {
		return m.text
	}
	return ""
}

func (v *value) isTrue(name string) bool {
	m := v.get(name)
	return m != nil && m.kind == 't'
}

// ref returns the target of a reference object; ok is false for any other value. A
// schema may also have a property named $ref: its value is an object, not a string.
func (v *value) ref() (target string, ok bool) {
	m := v.get("$ref")
	if m == nil || m.kind != '"' {
		return "", false
	}
	return m.text, true
}

// find walks a local reference such as #/components/schemas/Pet.
func (v *value) find(ref string) *value {
	pointer, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	for token := range strings.SplitSeq(pointer, "/") {
		name, err := url.PathUnescape(token)
		if err != nil || v == nil {
			return nil
		}
		name = unescape.Replace(name)
		if v.kind == '[' {
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(v.items) {
				return nil
			}
			v = &v.items[i].value
			continue
		}
		v = v.get(name)
	}
	return v
}

var (
	unescape = strings.NewReplacer("~1", "/", "~0", "~")
	escape   = strings.NewReplacer("~", "~0", "/", "~1")
)

// pointer returns the JSON pointer of a path for messages: long names are cut.
func pointer(path []string) string {
	var b strings.Builder
	for _, name := range path {
		if len(name) > 100 {
			name = strings.ToValidUTF8(name[:100], "") + "..."
		}
		b.WriteByte('/')
		b.WriteString(escape.Replace(name))
	}
	return b.String()
}

const (
	maxRefs  = 20_000
	maxChain = 16
)

// checkRefs resolves each reference once. It refuses references that leave the
// document, that point to nothing or to each other, so that following a reference
// ends after a few steps.
func checkRefs(root *value) error {
	count := 0
	err := root.walk(nil, func(v *value, at []string) error {
		target, ok := v.ref()
		if !ok {
			return nil
		}
		if count++; count > maxRefs {
			return refuse("must have at most %d references", maxRefs)
		}
		if !strings.HasPrefix(target, "#/") {
			return &Error{pointer(at), fmt.Sprintf("$ref %.80q: only references into this document are allowed, such as #/components/schemas/Order", target)}
		}
		if v.next = root.find(target); v.next == nil {
			return &Error{pointer(at), fmt.Sprintf("$ref %.80q: the document has no such value", target)}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return root.walk(nil, func(v *value, at []string) error {
		if v.resolved() == nil {
			return &Error{pointer(at), fmt.Sprintf("$ref is part of a circle, or of a chain of more than %d references", maxChain)}
		}
		return nil
	})
}

// walk calls fn for a value and everything in it.
func (v *value) walk(at []string, fn func(v *value, at []string) error) error {
	if err := fn(v, at); err != nil {
		return err
	}
	for i := range v.items {
		name := v.items[i].name
		if v.kind == '[' {
			name = strconv.Itoa(i)
		}
		if err := v.items[i].walk(append(at, name), fn); err != nil {
			return err
		}
	}
	return nil
}

// resolved follows references until it finds a value that is not a reference; nil if
// that takes more than maxChain steps.
func (v *value) resolved() *value {
	for range maxChain {
		if v.next == nil {
			return v
		}
		v = v.next
	}
	return nil
}

// encode writes the value as JSON; keep reports whether a member is written.
func (v *value) encode(keep func(path []string) bool) ([]byte, error) {
	var b bytes.Buffer
	e := jsontext.NewEncoder(&b)
	if err := v.write(e, nil, keep); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func (v *value) write(e *jsontext.Encoder, at []string, keep func([]string) bool) error {
	switch v.kind {
	case '{':
		if err := e.WriteToken(jsontext.BeginObject); err != nil {
			return err
		}
		for i := range v.items {
			m := &v.items[i]
			path := append(at, m.name)
			if !keep(path) {
				continue
			}
			if err := e.WriteToken(jsontext.String(m.name)); err != nil {
				return err
			}
			if err := m.write(e, path, keep); err != nil {
				return err
			}
		}
		return e.WriteToken(jsontext.EndObject)
	case '[':
		if err := e.WriteToken(jsontext.BeginArray); err != nil {
			return err
		}
		for i := range v.items {
			if err := v.items[i].write(e, append(at, "0"), keep); err != nil {
				return err
			}
		}
		return e.WriteToken(jsontext.EndArray)
	case '"':
		return e.WriteToken(jsontext.String(v.text))
	case '0':
		return e.WriteValue(jsontext.Value(v.text))
	case 't':
		return e.WriteToken(jsontext.True)
	case 'f':
		return e.WriteToken(jsontext.False)
	}
	return e.WriteToken(jsontext.Null)
}
