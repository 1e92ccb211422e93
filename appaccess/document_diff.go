package appaccess

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
)

// Difference is one object that an import would create, change or delete.
type Difference struct {
	Kind   Kind          `json:"kind"`
	ID     string        `json:"id"`
	Change DiffAction    `json:"change"`
	Fields []FieldChange `json:"fields,omitempty"` // that differ; empty for a deletion
}

// DiffAction is what an import does to an object.
type DiffAction string

// The actions of an import.
const (
	DiffCreate DiffAction = "create"
	DiffChange DiffAction = "change"
	DiffDelete DiffAction = "delete"
)

// FieldChange is one field of a [Difference]. From and To are its values as JSON;
// empty: missing.
type FieldChange struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// String returns the difference as one line of text.
func (d Difference) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", d.Change, d.Kind, d.ID)
	for i, f := range d.Fields {
		fmt.Fprintf(&b, "%s %s: %s -> %s", [2]string{":", ","}[min(i, 1)], f.Name, cmp.Or(f.From, "none"), cmp.Or(f.To, "none"))
	}
	return b.String()
}

// Diff yields what [Service.Import] of a document would do, in the same order,
// without doing it. An error is the last thing that it yields. It reads the store
// piece by piece, each piece in a transaction of its own; without Prune it reads only
// the objects that the document has. An import may still be refused if the document
// breaks a rule. For managers only.
func (s *Service) Diff(ctx context.Context, by Actor, source DocumentSource, req ImportRequest) iter.Seq2[Difference, error] {
	return func(yield func(Difference, error) bool) {
		run, err := s.newImport(ctx, by, source, req)
		if err != nil {
			yield(Difference{}, err)
			return
		}
		for d, err := range run.differing(ctx, nil) {
			if !yield(d.Difference, err) {
				return
			}
		}
	}
}

// comparison compares a document with the store.
type comparison struct {
	s        *Service
	by       Actor
	sections documentSections
	prune    bool
}

// differing is a difference, with the function by which an import places the object.
// place is nil if the object must be deleted.
type differing struct {
	Difference
	place func(*importer) error
}

// of yields the objects of a kind that differ, by ID.
func (c *comparison) of(ctx context.Context, kind Kind) iter.Seq2[differing, error] {
	switch kind {
	case KindAPI:
		return differences(ctx, c, c.sections.apis, documentAPI, keepOperations, (*importer).placeAPI)
	case KindProduct:
		return differences(ctx, c, c.sections.products, documentProduct, func(_, to *DocumentProduct) { to.Adopt, to.AdoptChanges = "", AdoptChanges{} }, (*importer).placeProduct)
	case KindUser:
		return differences(ctx, c, c.sections.users, documentUser, func(_, _ *DocumentUser) {}, (*importer).placeUser)
	case KindApplication:
		return differences(ctx, c, c.sections.applications, documentApplication, func(_, to *DocumentApplication) { to.Adopt, to.AdoptChanges = "", AdoptChanges{} }, (*importer).placeApplication)
	}
	return differences(ctx, c, c.sections.subscriptions, documentSubscription, withoutKeys, (*importer).placeSubscription)
}

// keepOperations fills in the operations and the enforcement that a document does
// not contain.
func keepOperations(from, to *DocumentAPI) {
	if to.Operations == nil {
		to.Operations = from.Operations
	}
	if to.Enforcement == "" {
		to.Enforcement = from.Enforcement
	}
	if len(to.Operations) == 0 { // no operations, whether null or an empty list
		to.Operations = nil
		if to.Enforcement == showInDocument {
			to.Enforcement = ""
		}
	}
}

// withoutKeys removes the keys: only a new subscription takes them from a document.
func withoutKeys(_, to *DocumentSubscription) {
	to.PrimaryHash, to.SecondaryHash = KeyHash{}, KeyHash{}
}

// pieceSize is how many objects of a document are compared at a time.
const pieceSize = 500

// differences compares a section with the store. form converts a stored object to its
// form in a document. align changes an object of the document where a difference from
// the stored object does not count.
func differences[T entity, D any, P entry[D]](ctx context.Context, c *comparison, objects section[D], form func(*T) (D, bool), align func(from, to *D), place func(*importer, D) error) iter.Seq2[differing, error] {
	kind := kindOf[T]()
	return func(yield func(differing, error) bool) {
		if objects == nil {
			return
		}
		next, stop := iter.Pull2(formsOf(pages[T](ctx, c.s, c.by), form))
		defer stop()
		var here D // the next stored object, if any
		var err error
		more := c.prune
		advance := func() {
			if more {
				here, err, more = next()
			}
		}
		advance()
		compare := func(from *D, v D) (Difference, bool, error) {
			d := Difference{Kind: kind, ID: P(&v).key(), Change: DiffCreate}
			if from == nil {
				return d, true, nil
			}
			to := v
			align(from, &to)
			d.Change = DiffChange
			var err error
			d.Fields, err = diffFields(from, &to)
			return d, len(d.Fields) > 0, err
		}
		gone := func() bool {
			return yield(differing{Difference: Difference{Kind: kind, ID: P(&here).key(), Change: DiffDelete}}, nil)
		}
		for piece, perr := range pieces(objects) {
			stored := map[string]*D{}
			if perr == nil && !c.prune {
				stored, perr = storedForms(ctx, c, piece, form, P.key)
			}
			for _, v := range piece {
				from := stored[P(&v).key()]
				for ; more && err == nil && P(&here).key() < P(&v).key(); advance() {
					if !gone() {
						return
					}
				}
				if more && err == nil && P(&here).key() == P(&v).key() {
					same := here
					from = &same
					advance()
				}
				if err != nil {
					break
				}
				d, differs, derr := compare(from, v)
				if derr != nil {
					yield(differing{}, derr)
					return
				}
				if differs && !yield(differing{d, func(im *importer) error { return place(im, v) }}, nil) {
					return
				}
			}
			if err := firstError(perr, err); err != nil {
				yield(differing{}, err)
				return
			}
		}
		for ; more && err == nil; advance() {
			if !gone() {
				return
			}
		}
		if err != nil {
			yield(differing{}, err)
		}
	}
}

// pieces yields the objects of a section, some at a time. It yields an error with the
// objects that were read before it.
func pieces[D any](objects section[D]) iter.Seq2[[]D, error] {
	return func(yield func([]D, error) bool) {
		var piece []D
		for v, err := range objects {
			if err != nil {
				yield(piece, err)
				return
			}
			if piece = append(piece, v); len(piece) == pieceSize {
				if !yield(piece, nil) {
					return
				}
				piece = nil
			}
		}
		if len(piece) > 0 {
			yield(piece, nil)
		}
	}
}

// pages yields all entities of a kind by ID. It reads each page in a transaction of
// its own, so that no transaction is open while the caller works.
func pages[T entity](ctx context.Context, s *Service, by Actor) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for after, last := "", false; !last; {
			var recs []Record
			err := s.view(ctx, by, func(l *look) (err error) {
				recs, err = l.List(Query{Kind: kindOf[T](), After: after, Limit: pieceSize})
				return firstError(l.onlyManager(), err)
			})
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, rec := range recs {
				v, err := decode[T](rec)
				if !yield(v, err) || err != nil {
					return
				}
				after = rec.ID
			}
			last = len(recs) < pieceSize
		}
	}
}

// formsOf yields the form in a document of the entities that have one.
func formsOf[T entity, D any](entities iter.Seq2[T, error], form func(*T) (D, bool)) section[D] {
	return func(yield func(D, error) bool) {
		for v, err := range entities {
			var d D
			ok := true
			if err == nil {
				d, ok = form(&v)
			}
			if ok && !yield(d, err) {
				return
			}
		}
	}
}

// storedForms returns the form in a document of some stored objects, by ID.
func storedForms[T entity, D any, P entry[D]](ctx context.Context, c *comparison, piece []D, form func(*T) (D, bool), key func(P) string) (map[string]*D, error) {
	ids := make([]string, len(piece))
	for i := range piece {
		ids[i] = key(&piece[i])
	}
	var recs []Record
	err := c.s.view(ctx, c.by, func(l *look) (err error) {
		recs, err = l.Find(kindOf[T](), "", ids)
		return firstError(l.onlyManager(), err)
	})
	found := make(map[string]*D, len(recs))
	for _, rec := range recs {
		v, derr := decode[T](rec)
		if derr != nil {
			return nil, derr
		}
		if d, ok := form(&v); ok {
			found[rec.ID] = &d
		}
	}
	return found, err
}

// diffFields compares the JSON of two objects.
func diffFields(from, to any) ([]FieldChange, error) {
	old, err := json.Marshal(from)
	if err != nil {
		return nil, err
	}
	updated, err := json.Marshal(to)
	if err != nil || bytes.Equal(old, updated) {
		return nil, err
	}
	a, err := fieldsOf(from)
	if err != nil {
		return nil, err
	}
	b, err := fieldsOf(to)
	return changedFields(a, b), err
}

func fieldsOf(v any) (map[string]json.RawMessage, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	return fields, json.Unmarshal(raw, &fields)
}
