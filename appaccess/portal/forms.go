package portal

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// formField names a field of a form and its label.
type formField struct{ Name, Label string }

// form is what a form's template needs: what the user entered and what is
// wrong with it.
type form struct {
	Fields []formField
	Values url.Values
	Wrong  map[string]string // by field name
	Other  string            // what is wrong with no field that the form has
	Once   string            // token of a form that works once
	Base   string            // token of what the object was when the form was shown
	Stale  []difference      // fields that somebody else changed meanwhile
}

// sent is the form that a request carries.
func (p *Portal) sent(rq *request, fields []formField) form {
	return form{Fields: fields, Values: rq.PostForm}
}

// Get is the value of a field.
func (f form) Get(name string) string { return f.Values.Get(name) }

// Has reports whether a choice is chosen.
func (f form) Has(name, value string) bool { return slices.Contains(f.Values[name], value) }

// set fills a field that the form has no value of.
func (f *form) set(name string, values ...string) {
	if f.Values == nil {
		f.Values = url.Values{}
	}
	if !f.Values.Has(name) {
		f.Values[name] = values
	}
}

// Takes reports whether the form has a field.
func (f form) Takes(name string) bool {
	return slices.ContainsFunc(f.Fields, func(one formField) bool { return one.Name == name })
}

// Problems are the fields that are wrong, in the order of the form.
func (f form) Problems() []formField {
	var out []formField
	for _, one := range f.Fields {
		if f.Wrong[one.Name] != "" {
			out = append(out, formField{one.Name, one.Label + ": " + f.Wrong[one.Name]})
		}
	}
	return out
}

// Failed reports whether the form was refused.
func (f form) Failed() bool { return f.Other != "" || len(f.Wrong) > 0 || len(f.Stale) > 0 }

const expiredText = "This form was open for more than an hour, so it was not accepted. Your input is still here: send it again."

// refuse notes the errors that the user can correct in the form, all of them,
// and reports whether there are only such.
func (p *Portal) refuse(rq *request, f *form, err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, errExpired):
		f.Other = expiredText
		return true
	case errors.Is(err, errStale):
		return true
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, one := range joined.Unwrap() {
			if !p.refuse(rq, f, one) {
				return false
			}
		}
		return true
	}
	var invalid *appaccess.InvalidError
	var conflict *appaccess.ConflictError
	switch {
	case errors.As(err, &invalid):
		f.note(invalid.Field, sentence(invalid.Rule), sentence(invalid.Field+" "+invalid.Rule))
	case errors.As(err, &conflict):
		text := p.sentence(rq, conflict)
		f.note(conflict.Field, text, text)
	default:
		return false
	}
	return true
}

// note marks a field, or else the form. A form has one field for an object with parts,
// such as servicePrincipal.objectId.
func (f *form) note(field, text, other string) {
	if whole, _, _ := strings.Cut(field, "."); !f.Takes(field) {
		field = whole
	}
	if !f.Takes(field) {
		f.Other = other
		return
	}
	if f.Wrong == nil {
		f.Wrong = map[string]string{}
	}
	if f.Wrong[field] == "" {
		f.Wrong[field] = text
	}
}

// sentence makes a rule ("must have 1 to 80 characters") read as one.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// fieldLine is one line of a form, as its template gets it.
type fieldLine struct {
	form
	Name, Label, Hint string
}

// newFieldLine is the template function field: {{template "text" (field .Form "name" "hint")}}.
func newFieldLine(f form, name, hint string) fieldLine {
	line := fieldLine{form: f, Name: name, Label: name, Hint: hint}
	for _, one := range f.Fields {
		if one.Name == name {
			line.Label = one.Label
		}
	}
	return line
}

// Value is what the user entered before.
func (f fieldLine) Value() string { return f.Get(f.Name) }

// Fault is what is wrong with it.
func (f fieldLine) Fault() string { return f.Wrong[f.Name] }
