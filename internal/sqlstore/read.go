package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// reader implements [appaccess.Reader].
type reader struct {
	store *Store
	ctx   context.Context
	tx    Tx
	meta  Meta
	rows  int
}

// RowsRead returns how many rows the database returned or counted so far.
// Package storetest looks for it.
func (r *reader) RowsRead() int { return r.rows }

func (r *reader) Position() (appaccess.Position, error) { return r.meta.Position, nil }

func (r *reader) Get(kind appaccess.Kind, id string) (appaccess.Record, error) {
	var rec appaccess.Record
	var found bool
	if (appaccess.Record{Kind: kind, ID: id}).Validate() == nil { // else no record can have this ID
		var err error
		if rec, found, err = r.tx.Get(kind, id); err != nil {
			return appaccess.Record{}, r.store.failure(r.ctx, err)
		}
	}
	if !found {
		return appaccess.Record{}, notFound(kind, id)
	}
	r.rows++
	return rec, nil
}

func notFound(kind appaccess.Kind, id string) error {
	return fmt.Errorf("%s %q: %w", kind, id, appaccess.ErrNotFound)
}

func (r *reader) Find(kind appaccess.Kind, index string, values []string) ([]appaccess.Record, error) {
	if len(values) > appaccess.MaxPage {
		return nil, &appaccess.InvalidError{Field: "values", Rule: fmt.Sprintf("must be at most %d", appaccess.MaxPage)}
	}
	if err := (appaccess.Query{Kind: kind, OrderBy: index}).Validate(); err != nil {
		return nil, err
	}
	values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { // what no record can have
		return (appaccess.Query{Kind: kind, From: v}).Validate() != nil
	})
	if len(values) == 0 {
		return nil, nil
	}
	found, err := r.tx.Find(kind, index, values)
	if err != nil {
		return nil, r.store.failure(r.ctx, err)
	}
	r.rows += len(found)
	// Two values can find the same record.
	seen := make(map[string]bool, len(found))
	return slices.DeleteFunc(found, func(rec appaccess.Record) bool {
		again := seen[rec.ID]
		seen[rec.ID] = true
		return again
	}), nil
}

func (r *reader) List(q appaccess.Query) ([]appaccess.Record, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	limit := cmp.Or(q.Limit, appaccess.MaxPage)
	span, sorted, err := r.plan(q)
	if err != nil {
		return nil, err
	}
	if !sorted {
		return r.sort(q, span, limit)
	}
	var found []appaccess.Record
	err = r.walk(q, span, limit, func(rec appaccess.Record) bool {
		found = append(found, rec)
		return len(found) < limit
	})
	return found, err
}

func (r *reader) Count(q appaccess.Query, most int) (n int, err error) {
	q.After, q.Limit = "", 0
	if err := q.Validate(); err != nil || most <= 0 {
		return 0, err
	}
	span, _, err := r.plan(q)
	if err != nil {
		return 0, err
	}
	if len(q.Where) == 0 || q.OrderBy == "" && len(q.Where) == 1 {
		n, err = r.tx.Count(span, most)
		r.rows += n
		return n, r.store.failure(r.ctx, err)
	}
	err = r.walk(q, span, most, func(appaccess.Record) bool { n++; return n < most })
	return n, err
}

// plan chooses the index that a query walks. sorted reports whether that gives
// the order asked for; if not, the span has at most MaxPage rows.
func (r *reader) plan(q appaccess.Query) (span Span, sorted bool, err error) {
	value, id := q.Place()
	span = Span{Kind: q.Kind, Value: value, ID: id, Descending: q.Descending}
	if q.OrderBy != "" {
		span.Name, span.From, span.To = q.OrderBy, q.From, q.To
		if !q.Descending && value < q.From || q.Descending && q.To != "" && value >= q.To {
			span.Value, span.ID = "", "" // outside of the range, which begins after that
		}
	}
	if len(q.Where) == 0 {
		return span, true, nil
	}
	exact := func(e appaccess.IndexEntry) Span {
		return Span{Kind: q.Kind, Name: e.Name, Exact: true, From: e.Value, ID: id, Descending: q.Descending}
	}
	best := exact(q.Where[0])
	if q.OrderBy == "" && len(q.Where) == 1 {
		return best, true, nil
	}
	fewest := appaccess.MaxPage + 1
	for _, e := range q.Where {
		s := exact(e)
		s.ID = "" // all of it counts
		n, err := r.tx.Count(s, fewest)
		if err != nil {
			return span, false, r.store.failure(r.ctx, err)
		}
		r.rows += n
		if n < fewest {
			fewest, best = n, exact(e)
		}
	}
	switch {
	case q.OrderBy == "":
		return best, true, nil
	case fewest <= appaccess.MaxPage:
		best.ID = ""
		return best, false, nil
	}
	return span, true, nil
}

// walk calls fn with the records that a query selects, in the order of the span,
// until fn returns false. expected is about how many fn takes.
func (r *reader) walk(q appaccess.Query, span Span, expected int, fn func(appaccess.Record) bool) error {
	for size := min(expected, appaccess.MaxPage); ; size = min(4*size, appaccess.MaxPage) {
		rows, err := r.tx.Walk(span, size)
		if err != nil {
			return r.store.failure(r.ctx, err)
		}
		r.rows += len(rows)
		for _, row := range rows {
			if matches(q, row.Record) && (span.Exact || first(q, row)) && !fn(row.Record) {
				return nil
			}
			span.Value, span.ID = row.Value, row.ID
		}
		if len(rows) < size {
			return nil
		}
	}
}

// sort reads a whole span and brings it into the order of the query.
func (r *reader) sort(q appaccess.Query, span Span, limit int) ([]appaccess.Record, error) {
	var found []appaccess.Record
	var places []string
	value, id := q.Place()
	after := order(value, id)
	if err := r.walk(q, span, appaccess.MaxPage, func(rec appaccess.Record) bool {
		value, id := appaccess.Query{OrderBy: q.OrderBy, After: q.Cursor(rec)}.Place()
		place := order(value, id)
		if q.After == "" || !q.Descending && place > after || q.Descending && place < after {
			at, _ := slices.BinarySearchFunc(places, place, func(a, b string) int {
				if q.Descending {
					return strings.Compare(b, a)
				}
				return strings.Compare(a, b)
			})
			found, places = slices.Insert(found, at, rec), slices.Insert(places, at, place)
		}
		return true
	}); err != nil {
		return nil, err
	}
	return found[:min(limit, len(found))], nil
}

// order is a key that sorts by value and then by ID: neither has a NUL.
func order(value, id string) string { return value + "\x00" + id }

// matches reports whether a record meets all conditions of a query.
func matches(q appaccess.Query, rec appaccess.Record) bool {
	for _, e := range q.Where {
		if !slices.ContainsFunc(rec.Index, func(have appaccess.IndexEntry) bool { return have.Name == e.Name && have.Value == e.Value }) {
			return false
		}
	}
	return q.OrderBy == "" || slices.ContainsFunc(rec.Index, func(e appaccess.IndexEntry) bool { return inRange(q, e) })
}

// first reports whether a row of the range is the first one of its record.
func first(q appaccess.Query, row Row) bool {
	return !slices.ContainsFunc(row.Index, func(e appaccess.IndexEntry) bool {
		return inRange(q, e) && (!q.Descending && e.Value < row.Value || q.Descending && e.Value > row.Value)
	})
}

func inRange(q appaccess.Query, e appaccess.IndexEntry) bool {
	return q.OrderBy != "" && e.Name == q.OrderBy && e.Value >= q.From && (q.To == "" || e.Value < q.To)
}
