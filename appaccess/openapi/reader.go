package openapi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxSteps bounds the work of a reader that follows references: a short
	// document can name one long path item thousands of times.
	maxSteps      = 600_000
	stepsOfPart   = 10 // of a part that is kept: a parameter, a response, a media type
	maxNotes      = 200
	maxOperations = 2_000
)

// reader takes a Document from a tree. It keeps the first error and does
// nothing more after it.
type reader struct {
	root     *value
	doc      *Document
	at       []string // where the reader is
	err      error
	steps    int
	security map[string]scheme
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = &Error{pointer(r.at), fmt.Sprintf(format, args...)}
	}
}

func (r *reader) step(n int) bool {
	if r.steps += n; r.steps > maxSteps && r.err == nil {
		r.err = refuse("repeats the same parts by $ref too often")
	}
	return r.err == nil
}

// note records a part that has no effect.
func (r *reader) note(name, text string) {
	if len(r.doc.Notes) < maxNotes {
		r.doc.Notes = append(r.doc.Notes, Note{pointer(append(r.at, name)), text})
	}
}

// in runs fn one level deeper.
func (r *reader) in(name string, fn func()) {
	if !r.step(1) {
		return
	}
	r.at = append(r.at, name)
	fn()
	r.at = r.at[:len(r.at)-1]
}

// member finds a member and checks its kind; nil if it is missing.
func (r *reader) member(v *value, name, kinds, words string) *value {
	m := v.get(name)
	if m != nil && strings.IndexByte(kinds, byte(m.kind)) < 0 {
		r.in(name, func() { r.fail("must be %s", words) })
		return nil
	}
	return m
}

func (r *reader) text(v *value, name string) string {
	if m := r.member(v, name, `"`, "a text"); m != nil {
		return m.text
	}
	return ""
}

// scalar is a text that an author may forget to quote, such as version: 1.0.
func (r *reader) scalar(v *value, name string) string {
	if m := r.member(v, name, `"0`, "a text"); m != nil {
		return m.text
	}
	return ""
}

func (r *reader) flag(v *value, name string) bool {
	m := r.member(v, name, "tf", "true or false")
	return m != nil && m.kind == 't'
}

func (r *reader) list(v *value, name string) *named {
	if m := r.member(v, name, "[", "a list"); m != nil {
		return &named{name, m}
	}
	return nil
}

func (r *reader) texts(v *value, name string) []string {
	var out []string
	r.each(r.list(v, name), func(_ string, item *value) {
		if item.kind != '"' {
			r.fail("must be a text")
		}
		out = append(out, item.text)
	})
	return out
}

func (r *reader) object(v *value, name string, required bool) *value {
	m := r.member(v, name, "{", "an object")
	if m == nil && required {
		r.fail("is required and must be an object")
	}
	return m
}

// named is a member with its name.
type named struct {
	name string
	v    *value
}

func (r *reader) objects(v *value, name string) *named {
	if m := r.member(v, name, "{", "an object"); m != nil {
		return &named{name, m}
	}
	return nil
}

// each calls fn for the items of a list or the members of an object.
func (r *reader) each(n *named, fn func(name string, v *value)) {
	if n == nil {
		return
	}
	r.in(n.name, func() {
		for i := range n.v.items {
			m := &n.v.items[i]
			name := m.name
			if n.v.kind == '[' {
				name = strconv.Itoa(i)
			}
			r.in(name, func() { fn(name, &m.value) })
			if r.err != nil {
				return
			}
		}
	})
}

// target follows a reference. It reports a target that is not an object.
func (r *reader) target(v *value) *value {
	t := v.resolved()
	if t.kind != '{' {
		r.fail("must be an object")
		return &value{kind: '{'}
	}
	return t
}

// known notes members of other names. A name that differs from a known one only
// in case is refused: another parser may take "Security" for "security".
func (r *reader) known(v *value, names ...string) {
	if !r.step(len(v.items)) {
		return
	}
	for i := range v.items {
		name := v.items[i].name
		if isExtension(name) || slices.Contains(names, name) {
			continue
		}
		for _, k := range names {
			if strings.EqualFold(k, name) {
				r.in(name, func() { r.fail("must be written %s", k) })
				return
			}
		}
		r.note(name, "is not known here and has no effect")
	}
}
