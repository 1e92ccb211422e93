package appaccess

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The limits of a [Record].
const (
	MaxRecordID    = 200     // bytes
	MaxRecordBody  = 1 << 20 // bytes
	MaxRecordIndex = 1200    // entries
	MaxIndexValue  = 512     // bytes, for the name and for the value of an entry
)

const (
	maxQueryText  = 1 << 16 // bytes
	maxRecordKind = 32      // bytes
)

// Validate checks the limits that every store keeps to. The error is an
// [*InvalidError] that names the field.
func (r Record) Validate() error {
	if err := validKind(r.Kind); err != nil {
		return err
	}
	if err := validID(r.ID); err != nil {
		return err
	}
	if len(r.Body) > MaxRecordBody {
		return &InvalidError{Field: "body", Rule: fmt.Sprintf("must have at most %d bytes", MaxRecordBody)}
	}
	if len(r.Index) > MaxRecordIndex {
		return &InvalidError{Field: "index", Rule: fmt.Sprintf("must have at most %d entries", MaxRecordIndex)}
	}
	for _, e := range r.Index {
		if e.Name == "" {
			return &InvalidError{Field: "index", Rule: "must have a name for every entry"}
		}
		if err := validText("index", e.Name, MaxIndexValue); err != nil {
			return err
		}
		if err := validText("index "+e.Name, e.Value, MaxIndexValue); err != nil {
			return err
		}
	}
	return nil
}

// Validate checks what every store refuses in a query. The error is an
// [*InvalidError] that names the field.
func (q Query) Validate() error {
	if err := validKind(q.Kind); err != nil {
		return err
	}
	if q.Limit < 0 || q.Limit > MaxPage {
		return &InvalidError{Field: "limit", Rule: fmt.Sprintf("must be 1 to %d, or 0 for %d", MaxPage, MaxPage)}
	}
	fields := []struct{ field, value string }{{"orderBy", q.OrderBy}, {"from", q.From}, {"to", q.To}}
	for _, e := range q.Where {
		if e.Name == "" {
			return &InvalidError{Field: "where", Rule: "must have a name for every entry"}
		}
		fields = append(fields, struct{ field, value string }{"where", e.Name}, struct{ field, value string }{"where " + e.Name, e.Value})
	}
	if q.OrderBy != "" && q.After != "" && strings.Count(q.After, "\x00") != 1 {
		return &InvalidError{Field: "after", Rule: "must be the Cursor of a record"}
	}
	value, id := q.Place()
	fields = append(fields, struct{ field, value string }{"after", value}, struct{ field, value string }{"after", id})
	for _, f := range fields {
		if err := validText(f.field, f.value, maxQueryText); err != nil {
			return err
		}
	}
	return nil
}

func validKind(k Kind) error {
	for _, c := range []byte(k) {
		if c < 'a' || c > 'z' {
			return &InvalidError{Field: "kind", Rule: "must be lower-case letters"}
		}
	}
	if k == "" || len(k) > maxRecordKind {
		return &InvalidError{Field: "kind", Rule: fmt.Sprintf("must have 1 to %d letters", maxRecordKind)}
	}
	return nil
}

func validID(id string) error {
	if id == "" {
		return &InvalidError{Field: "id", Rule: fmt.Sprintf("must have 1 to %d bytes", MaxRecordID)}
	}
	return validText("id", id, MaxRecordID)
}

// validText refuses what a database cannot keep as text.
func validText(field, s string, limit int) error {
	switch {
	case len(s) > limit:
		return &InvalidError{Field: field, Rule: fmt.Sprintf("must have at most %d bytes", limit)}
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		return &InvalidError{Field: field, Rule: "must be valid UTF-8 without NUL"}
	}
	return nil
}
