package appaccess_test

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

// memory is a store for tests that run a flow hundreds of times. It keeps what
// Service asks of a store and nothing more: there is no change feed.
type memory struct {
	mu       sync.Mutex
	records  map[recordKey]appaccess.Record
	revision appaccess.Revision
}

type recordKey struct {
	kind appaccess.Kind
	id   string
}

func newMemory() *memory { return &memory{records: map[recordKey]appaccess.Record{}} }

func (m *memory) View(ctx context.Context, fn func(appaccess.Reader) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	return fn(&memoryTx{records: m.records, revision: m.revision})
}

func (m *memory) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	tx := &memoryTx{records: maps.Clone(m.records), revision: m.revision}
	if err := fn(tx); err != nil {
		return 0, err
	}
	if tx.wrote {
		m.records = tx.records
		m.revision++
	}
	return m.revision, nil
}

func (m *memory) Changes(context.Context, appaccess.Revision) iter.Seq2[appaccess.Change, error] {
	panic("not used by Service")
}

func (m *memory) Close() error { return nil }

type memoryTx struct {
	records  map[recordKey]appaccess.Record
	revision appaccess.Revision
	wrote    bool
}

func (x *memoryTx) Get(kind appaccess.Kind, id string) (appaccess.Record, error) {
	rec, ok := x.records[recordKey{kind, id}]
	if !ok {
		return rec, appaccess.ErrNotFound
	}
	return rec, nil
}

func (x *memoryTx) List(q appaccess.Query) ([]appaccess.Record, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	var found []appaccess.Record
	for _, r := range x.records {
		after := q.After == "" || r.ID > q.After
		if q.Descending {
			after = q.After == "" || r.ID < q.After
		}
		if r.Kind == q.Kind && after && indexed(r, q.Index, q.Value) && strings.Contains(strings.ToLower(r.Text), strings.ToLower(q.Text)) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b appaccess.Record) int {
		if q.Descending {
			a, b = b, a
		}
		return strings.Compare(a.ID, b.ID)
	})
	return found[:min(len(found), cmp.Or(q.Limit, appaccess.MaxPage))], nil
}

func indexed(r appaccess.Record, name, value string) bool {
	return name == "" || slices.ContainsFunc(r.Index, func(e appaccess.IndexEntry) bool { return e.Name == name && e.Value == value })
}

func (x *memoryTx) Revision() (appaccess.Revision, error) { return x.revision, nil }

func (x *memoryTx) Put(r appaccess.Record) error {
	if err := r.Validate(); err != nil {
		return err
	}
	for _, e := range r.Index {
		for _, other := range x.records {
			if e.Unique && other.Kind == r.Kind && other.ID != r.ID && indexed(other, e.Name, e.Value) {
				return &appaccess.ConflictError{Field: e.Name, Reason: "is taken", Objects: []string{other.ID}}
			}
		}
	}
	r.Revision = x.revision + 1
	x.records[recordKey{r.Kind, r.ID}] = r
	x.wrote = true
	return nil
}

func (x *memoryTx) Delete(kind appaccess.Kind, id string) error {
	if _, there := x.records[recordKey{kind, id}]; there {
		delete(x.records, recordKey{kind, id})
		x.wrote = true
	}
	return nil
}
