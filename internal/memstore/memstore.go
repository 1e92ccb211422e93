// Package memstore is an [appaccess.Store] in memory for tests that run a flow
// hundreds of times. It has no change feed, and its queries read every record
// of a kind.
package memstore

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/entragate/entragate/appaccess"
)

// Store keeps records in memory. It is safe for concurrent use; set the hooks
// before the first call, or while no call is running.
type Store struct {
	// Before, if not nil, is called before each View and Update. Its error is
	// returned and nothing is done: the process was killed or the store is down.
	Before func() error
	// After, if not nil, is called after each Update that committed. Its error
	// is returned although the commit stays: the answer was lost.
	After func() error

	mu       sync.Mutex
	records  map[key]appaccess.Record
	revision appaccess.Revision
}

type key struct {
	kind appaccess.Kind
	id   string
}

// New makes an empty store.
func New() *Store { return &Store{records: map[key]appaccess.Record{}} }

// Clone copies the store's records, as a backup does. The copy has no hooks.
func (s *Store) Clone() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Store{records: maps.Clone(s.records), revision: s.revision}
}

// Records returns all records, in no order.
func (s *Store) Records() []appaccess.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.records))
}

// View implements [appaccess.Store].
func (s *Store) View(ctx context.Context, fn func(appaccess.Reader) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return err
	}
	return fn(&tx{store: s})
}

// Update implements [appaccess.Store].
func (s *Store) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	x := &tx{store: s, written: map[key]*appaccess.Record{}}
	if err := fn(x); err != nil {
		return 0, err
	}
	for k := range x.written {
		if k.kind != appaccess.KindUsage {
			s.revision++
			break
		}
	}
	for k, r := range x.written {
		if r == nil {
			delete(s.records, k)
		} else {
			s.records[k] = *r
		}
	}
	if s.After != nil {
		return s.revision, s.After()
	}
	return s.revision, nil
}

func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.Before != nil {
		return s.Before()
	}
	return nil
}

// Lookup implements [appaccess.Store].
func (s *Store) Lookup(ctx context.Context, fn func(appaccess.Reader) error) error {
	return s.View(ctx, fn)
}

// Changes is not implemented: it panics.
func (s *Store) Changes(context.Context, appaccess.Position) iter.Seq2[appaccess.Change, error] {
	panic("memstore: there is no change feed")
}

// Close does nothing.
func (s *Store) Close() error { return nil }

// tx reads its own writes. A nil record in written was deleted.
type tx struct {
	store   *Store
	written map[key]*appaccess.Record
}

func (x *tx) Get(kind appaccess.Kind, id string) (appaccess.Record, error) {
	if r, ok := x.written[key{kind, id}]; ok {
		if r == nil {
			return appaccess.Record{}, appaccess.ErrNotFound
		}
		return *r, nil
	}
	r, ok := x.store.records[key{kind, id}]
	if !ok {
		return r, appaccess.ErrNotFound
	}
	return r, nil
}

// each yields the records of a kind.
func (x *tx) each(kind appaccess.Kind) iter.Seq[appaccess.Record] {
	return func(yield func(appaccess.Record) bool) {
		for k, r := range x.store.records {
			if _, again := x.written[k]; k.kind == kind && !again && !yield(r) {
				return
			}
		}
		for k, r := range x.written {
			if k.kind == kind && r != nil && !yield(*r) {
				return
			}
		}
	}
}

func (x *tx) List(q appaccess.Query) ([]appaccess.Record, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	found := x.selects(q)
	if q.After != "" {
		found = slices.DeleteFunc(found, func(r appaccess.Record) bool {
			order := strings.Compare(q.Cursor(r), q.After)
			return !q.Descending && order <= 0 || q.Descending && order >= 0
		})
	}
	return found[:min(len(found), cmp.Or(q.Limit, appaccess.MaxPage))], nil
}

func (x *tx) Count(q appaccess.Query, most int) (int, error) {
	return min(len(x.selects(q)), most), q.Validate()
}

func (x *tx) Find(kind appaccess.Kind, index string, values []string) ([]appaccess.Record, error) {
	var found []appaccess.Record
	for r := range x.each(kind) {
		if slices.ContainsFunc(values, func(v string) bool {
			return index == "" && r.ID == v || index != "" && indexed(r, index, v)
		}) {
			found = append(found, r)
		}
	}
	return found, nil
}

// selects returns all records that a query selects, in its order.
func (x *tx) selects(q appaccess.Query) []appaccess.Record {
	var found []appaccess.Record
	for r := range x.each(q.Kind) {
		if meets(r, q) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b appaccess.Record) int {
		if q.Descending {
			a, b = b, a
		}
		return strings.Compare(q.Cursor(a), q.Cursor(b))
	})
	return found
}

func meets(r appaccess.Record, q appaccess.Query) bool {
	for _, e := range q.Where {
		if !indexed(r, e.Name, e.Value) {
			return false
		}
	}
	return q.OrderBy == "" || slices.ContainsFunc(r.Index, func(e appaccess.IndexEntry) bool {
		return e.Name == q.OrderBy && e.Value >= q.From && (q.To == "" || e.Value < q.To)
	})
}

func indexed(r appaccess.Record, name, value string) bool {
	return slices.ContainsFunc(r.Index, func(e appaccess.IndexEntry) bool { return e.Name == name && e.Value == value })
}

func (x *tx) Position() (appaccess.Position, error) {
	return appaccess.Position{Revision: x.store.revision}, nil
}

func (x *tx) Put(r appaccess.Record) error {
	if err := r.Validate(); err != nil {
		return err
	}
	for _, e := range r.Index {
		if !e.Unique {
			continue
		}
		for other := range x.each(r.Kind) {
			if other.ID != r.ID && indexed(other, e.Name, e.Value) {
				return &appaccess.ConflictError{Field: e.Name, Reason: "another record has this value", Objects: []string{other.ID}}
			}
		}
	}
	r.Revision = x.store.revision + 1
	x.written[key{r.Kind, r.ID}] = &r
	return nil
}

func (x *tx) Delete(kind appaccess.Kind, id string) error {
	if _, err := x.Get(kind, id); err == nil {
		x.written[key{kind, id}] = nil
	}
	return nil
}
