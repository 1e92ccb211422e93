package appaccess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// overlayStore is a [Store] that keeps writes in memory: it shows what calls would
// leave in the store, without changing the store. Only one goroutine may use it.
type overlayStore struct {
	Store
	changes *changes
}

func newOverlayStore(s Store) overlayStore {
	return overlayStore{s, &changes{record: map[recordKey]*changedRecord{}, index: map[entryKey]map[string]bool{}}}
}

func (s overlayStore) View(ctx context.Context, fn func(Reader) error) error {
	return s.Store.View(ctx, func(r Reader) error { return fn(s.changes.over(r)) })
}

func (s overlayStore) Lookup(ctx context.Context, fn func(Reader) error) error {
	return s.View(ctx, fn)
}

func (s overlayStore) Update(ctx context.Context, fn func(Writer) error) (Revision, error) {
	var at Position
	err := s.Store.View(ctx, func(r Reader) (err error) {
		o := s.changes.over(r)
		o.changes.undo = nil
		if err = fn(o); err != nil {
			for _, undo := range slices.Backward(o.changes.undo) {
				undo()
			}
			return err
		}
		if len(o.changes.undo) > 0 {
			o.changes.commits++
		}
		at, err = o.Position()
		return err
	})
	return at.Revision, err
}

// maxPlanned bounds the memory of a plan, which keeps each record as it was before
// and after the change.
const maxPlanned = 100_000

// overlay reads and writes one state of an overlayStore. It enforces the rules of a
// store, such as unique entries.
type overlay struct {
	Reader
	changes *changes
}

// changes are the written records, in the order of their first writes.
type changes struct {
	order   []recordKey
	record  map[recordKey]*changedRecord
	index   map[entryKey]map[string]bool // IDs of the changed records that have an entry
	commits Revision
	undo    []func() // the writes of the transaction that is running
}

// changedRecord is a record before and after the writes; nil: it does not exist.
type changedRecord struct{ before, after *Record }

type recordKey struct {
	kind Kind
	id   string
}

// entryKey is an index entry of a kind; the empty name means all records.
type entryKey struct {
	kind        Kind
	name, value string
}

// over returns a state of the store with the changes.
func (c *changes) over(r Reader) *overlay { return &overlay{r, c} }

func (o *overlay) Position() (Position, error) {
	at, err := o.Reader.Position()
	at.Revision += o.changes.commits
	return at, err
}

func (o *overlay) Get(kind Kind, id string) (Record, error) {
	c := o.changes.record[recordKey{kind, id}]
	switch {
	case c == nil:
		return o.Reader.Get(kind, id)
	case c.after == nil:
		return Record{}, ErrNotFound
	}
	return *c.after, nil
}

func (o *overlay) Find(kind Kind, index string, values []string) ([]Record, error) {
	found, err := o.Reader.Find(kind, index, values)
	if err != nil {
		return nil, err
	}
	found = o.unchanged(found)
	own := map[string]bool{}
	for _, v := range values {
		if index == "" {
			own[v] = o.changes.index[entryKey{kind: kind}][v]
		} else {
			maps.Copy(own, o.changes.index[entryKey{kind, index, v}])
		}
	}
	for id, has := range own {
		if has {
			found = append(found, *o.changes.record[recordKey{kind, id}].after)
		}
	}
	return found, nil
}

func (o *overlay) List(q Query) ([]Record, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	limit := cmp.Or(q.Limit, MaxPage)
	order := func(a, b string) int {
		if q.Descending {
			a, b = b, a
		}
		return strings.Compare(a, b)
	}
	var found []Record
	for next := q; len(found) < limit; {
		page, err := o.Reader.List(next)
		if err != nil {
			return nil, err
		}
		found = append(found, o.unchanged(page)...)
		if len(page) < limit {
			break
		}
		next.After = q.Cursor(page[len(page)-1])
	}
	candidates := entryKey{kind: q.Kind}
	if len(q.Where) > 0 {
		candidates.name, candidates.value = q.Where[0].Name, q.Where[0].Value
	}
	for id := range o.changes.index[candidates] {
		r := o.changes.record[recordKey{q.Kind, id}].after
		if q.times(r) > 0 && (q.After == "" || order(q.Cursor(*r), q.After) > 0) {
			found = append(found, *r)
		}
	}
	slices.SortStableFunc(found, func(a, b Record) int { return order(q.Cursor(a), q.Cursor(b)) })
	return found[:min(len(found), limit)], nil
}

func (o *overlay) Count(q Query, most int) (int, error) {
	var old, now int
	for _, key := range o.changes.order {
		if c := o.changes.record[key]; key.kind == q.Kind {
			old += q.times(c.before)
			now += q.times(c.after)
		}
	}
	n, err := o.Reader.Count(q, most+old)
	return min(most, n-old+now), err
}

// Put implements [Writer].
func (o *overlay) Put(r Record) error {
	if err := r.Validate(); err != nil {
		return err
	}
	for _, e := range r.Index {
		if !e.Unique {
			continue
		}
		others, err := o.Find(r.Kind, e.Name, []string{e.Value})
		if err != nil {
			return err
		}
		for _, other := range others {
			if other.ID != r.ID {
				return &ConflictError{Field: e.Name, Reason: "another record has this value", Objects: []string{other.ID}}
			}
		}
	}
	at, err := o.Position()
	if err != nil {
		return err
	}
	r.Revision = at.Revision + 1
	return o.set(recordKey{r.Kind, r.ID}, &r)
}

// Delete implements [Writer].
func (o *overlay) Delete(kind Kind, id string) error {
	return o.set(recordKey{kind, id}, nil)
}

func (o *overlay) set(key recordKey, after *Record) error {
	c := o.changes.record[key]
	if c == nil {
		if after == nil {
			if _, err := o.Reader.Get(key.kind, key.id); errors.Is(err, ErrNotFound) {
				return nil
			}
		}
		if len(o.changes.order) >= maxPlanned {
			return &InvalidError{"document", fmt.Sprintf("a plan holds at most %d records that change, with their audit records: Diff compares any number, and Import writes them", maxPlanned)}
		}
		c = &changedRecord{}
		switch before, err := o.Reader.Get(key.kind, key.id); {
		case err == nil:
			c.before, c.after = &before, &before
		case !errors.Is(err, ErrNotFound):
			return err
		}
		o.changes.order = append(o.changes.order, key)
		o.changes.record[key] = c
		o.changes.reindex(key, c.after, true)
	}
	was := c.after
	o.changes.undo = append(o.changes.undo, func() { o.changes.replace(key, was) })
	o.changes.replace(key, after)
	return nil
}

func (c *changes) replace(key recordKey, after *Record) {
	r := c.record[key]
	c.reindex(key, r.after, false)
	c.reindex(key, after, true)
	r.after = after
}

func (c *changes) reindex(key recordKey, r *Record, has bool) {
	if r == nil {
		return
	}
	for _, e := range append([]IndexEntry{{}}, r.Index...) {
		at := entryKey{key.kind, e.Name, e.Value}
		if c.index[at] == nil {
			c.index[at] = map[string]bool{}
		}
		if has {
			c.index[at][key.id] = true
		} else {
			delete(c.index[at], key.id)
		}
	}
}

// unchanged removes the records that the overlay has changed.
func (o *overlay) unchanged(list []Record) []Record {
	return slices.DeleteFunc(list, func(r Record) bool { return o.changes.record[recordKey{r.Kind, r.ID}] != nil })
}

// times returns how often a query without After and Limit counts a record.
func (q Query) times(r *Record) int {
	if r == nil || r.Kind != q.Kind {
		return 0
	}
	for _, w := range q.Where {
		if !slices.ContainsFunc(r.Index, func(e IndexEntry) bool { return e.Name == w.Name && e.Value == w.Value }) {
			return 0
		}
	}
	if q.OrderBy == "" {
		return 1
	}
	n := 0
	for _, e := range r.Index {
		if e.Name == q.OrderBy && e.Value >= q.From && (q.To == "" || e.Value < q.To) {
			n++
		}
	}
	if len(q.Where) > 0 {
		return min(n, 1)
	}
	return n
}
