package appaccess

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ImportRequest says how a document is taken.
type ImportRequest struct {
	// Prune deletes the objects that a section of the document does not hold.
	Prune bool
}

// Difference is one object that an import would create, change or delete.
type Difference struct {
	Kind   Kind          `json:"kind"`
	ID     string        `json:"id"`
	Change DiffAction    `json:"change"`
	Fields []FieldChange `json:"fields,omitempty"` // of a change
}

// DiffAction is what an import does to an object.
type DiffAction string

// The actions of an import.
const (
	DiffCreate DiffAction = "create"
	DiffChange DiffAction = "change"
	DiffDelete DiffAction = "delete"
)

// FieldChange is one field of a [Difference], its values as JSON; empty: not
// there.
type FieldChange struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// String is the difference in one line of words.
func (d Difference) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", d.Change, d.Kind, d.ID)
	for i, f := range d.Fields {
		fmt.Fprintf(&b, "%s %s: %s -> %s", [2]string{":", ","}[min(i, 1)], f.Name, standing(f.From, "none"), standing(f.To, "none"))
	}
	return b.String()
}

// Diff says what [Service.Import] of a document would do, without doing it. For
// managers only. An import may still be refused, where the document breaks a
// rule.
func (s *Service) Diff(ctx context.Context, by Actor, d Document, req ImportRequest) ([]Difference, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	var found []Difference
	err := s.view(ctx, by, func(l *look) error {
		if err := l.onlyManager(); err != nil {
			return err
		}
		now, err := l.document()
		if err == nil {
			found, err = diffDocuments(now, d, req.Prune)
		}
		return err
	})
	return found, err
}

// diffDocuments compares section by section, in the order in which an import
// would create.
func diffDocuments(from, to Document, prune bool) ([]Difference, error) {
	var found []Difference
	err := firstError(
		diffSection(&found, KindAPI, from.APIs, to.APIs, prune),
		diffSection(&found, KindProduct, from.Products, to.Products, prune),
		diffSection(&found, KindUser, from.Users, to.Users, prune),
		diffSection(&found, KindApplication, from.Applications, to.Applications, prune),
		diffSection(&found, KindSubscription, from.Subscriptions, withoutKeys(to.Subscriptions), prune),
	)
	return found, err
}

// withoutKeys leaves out the keys, which no difference is about: only a new
// subscription takes them.
func withoutKeys(section []DocumentSubscription) []DocumentSubscription {
	bare := slices.Clone(section)
	for i := range bare {
		bare[i].PrimarySum, bare[i].SecondarySum = KeySum{}, KeySum{}
	}
	return bare
}

func diffSection[T keyed](found *[]Difference, kind Kind, from, to []T, prune bool) error {
	if to == nil {
		return nil
	}
	old := make(map[string]T, len(from))
	for _, v := range from {
		old[v.key()] = v
	}
	for _, v := range to {
		before, there := old[v.key()]
		delete(old, v.key())
		if !there {
			*found = append(*found, Difference{Kind: kind, ID: v.key(), Change: DiffCreate})
			continue
		}
		fields, err := diffFields(before, v)
		if err != nil {
			return err
		}
		if len(fields) > 0 {
			*found = append(*found, Difference{Kind: kind, ID: v.key(), Change: DiffChange, Fields: fields})
		}
	}
	if prune {
		for _, gone := range slices.Sorted(maps.Keys(old)) {
			*found = append(*found, Difference{Kind: kind, ID: gone, Change: DiffDelete})
		}
	}
	return nil
}

// diffFields compares two objects as the JSON that people see.
func diffFields(from, to any) ([]FieldChange, error) {
	a, err := fieldsOf(from)
	if err != nil {
		return nil, err
	}
	b, err := fieldsOf(to)
	if err != nil {
		return nil, err
	}
	names := maps.Clone(a)
	maps.Copy(names, b)
	var found []FieldChange
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if string(a[name]) != string(b[name]) {
			found = append(found, FieldChange{Name: name, From: string(a[name]), To: string(b[name])})
		}
	}
	return found, nil
}

func fieldsOf(v any) (map[string]json.RawMessage, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	return fields, json.Unmarshal(raw, &fields)
}
