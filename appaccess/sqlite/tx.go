package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/entragate/entragate/appaccess"
)

func revision(ctx context.Context, tx *sql.Tx) (rev appaccess.Revision, err error) {
	err = tx.QueryRowContext(ctx, "SELECT revision FROM meta").Scan(&rev)
	return rev, err
}

// reader implements [appaccess.Reader].
type reader struct {
	ctx      context.Context
	tx       *sql.Tx
	revision appaccess.Revision
}

func (r *reader) Revision() (appaccess.Revision, error) { return r.revision, nil }

func (r *reader) Get(kind appaccess.Kind, id string) (appaccess.Record, error) {
	row := r.tx.QueryRowContext(r.ctx,
		"SELECT id, body, text, entries, revision FROM records WHERE kind = ? AND id = ?", string(kind), id)
	rec, err := scan(row, kind)
	if errors.Is(err, sql.ErrNoRows) {
		return appaccess.Record{}, fmt.Errorf("%s %q: %w", kind, id, appaccess.ErrNotFound)
	}
	if err != nil {
		return appaccess.Record{}, failure(r.ctx, err)
	}
	return rec, nil
}

func (r *reader) List(q appaccess.Query) ([]appaccess.Record, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	query, args := selection(q)
	rows, err := r.tx.QueryContext(r.ctx, query, args...)
	if err != nil {
		return nil, failure(r.ctx, err)
	}
	defer func() { _ = rows.Close() }()
	var found []appaccess.Record
	for rows.Next() {
		rec, err := scan(rows, q.Kind)
		if err != nil {
			return nil, failure(r.ctx, err)
		}
		found = append(found, rec)
	}
	if err := rows.Err(); err != nil {
		return nil, failure(r.ctx, err)
	}
	return found, nil
}

// selection is the SQL of a query. Values are only ever arguments.
func selection(q appaccess.Query) (query string, args []any) {
	query = "SELECT r.id, r.body, r.text, r.entries, r.revision FROM records r WHERE r.kind = ?"
	id := "r.id"
	args = append(args, string(q.Kind))
	if q.Index != "" {
		// CROSS JOIN keeps this order: by the index, never by the records.
		query = "SELECT r.id, r.body, r.text, r.entries, r.revision FROM entries e CROSS JOIN records r" +
			" WHERE r.kind = e.kind AND r.id = e.id AND e.kind = ? AND e.name = ? AND e.value = ?"
		id = "e.id"
		args = append(args, q.Index, q.Value)
	}
	if q.Text != "" {
		query += " AND instr(lower(r.text), lower(?)) > 0" // lower is ASCII's
		args = append(args, q.Text)
	}
	after, order := " > ?", " ASC"
	if q.Descending {
		after, order = " < ?", " DESC"
	}
	if q.After != "" {
		query += " AND " + id + after
		args = append(args, q.After)
	}
	limit := q.Limit
	if limit == 0 {
		limit = appaccess.MaxPage
	}
	return query + " ORDER BY " + id + order + " LIMIT ?", append(args, limit)
}

func scan(row interface{ Scan(...any) error }, kind appaccess.Kind) (appaccess.Record, error) {
	rec := appaccess.Record{Kind: kind}
	var entries []byte
	if err := row.Scan(&rec.ID, &rec.Body, &rec.Text, &entries, &rec.Revision); err != nil {
		return rec, err
	}
	return rec, json.Unmarshal(entries, &rec.Index)
}

type recordKey struct {
	kind appaccess.Kind
	id   string
}

// writer implements [appaccess.Writer].
type writer struct {
	reader
	touched map[recordKey]bool
	failed  error // the transaction is not whole any more and must not commit
}

func (w *writer) Put(rec appaccess.Record) error {
	if err := rec.Validate(); err != nil {
		return err
	}
	old, err := w.Get(rec.Kind, rec.ID)
	if err != nil && !errors.Is(err, appaccess.ErrNotFound) {
		return w.fail(err)
	}
	added := without(rec.Index, old.Index)
	if err := w.free(rec, added); err != nil {
		return err
	}
	return w.fail(w.put(rec, without(old.Index, rec.Index), added))
}

// free reports a conflict if another record holds one of the unique entries.
func (w *writer) free(rec appaccess.Record, entries []appaccess.IndexEntry) error {
	for _, e := range entries {
		if !e.Unique {
			continue
		}
		var holder string
		err := w.tx.QueryRowContext(w.ctx,
			"SELECT id FROM entries WHERE kind = ? AND name = ? AND value = ? AND id <> ? LIMIT 1",
			string(rec.Kind), e.Name, e.Value, rec.ID).Scan(&holder)
		switch {
		case err == nil:
			return &appaccess.ConflictError{Field: e.Name, Reason: "is another's already", Objects: []string{holder}}
		case !errors.Is(err, sql.ErrNoRows):
			return w.fail(failure(w.ctx, err))
		}
	}
	return nil
}

func (w *writer) put(rec appaccess.Record, dropped, added []appaccess.IndexEntry) error {
	index, err := json.Marshal(rec.Index)
	if err != nil {
		return err
	}
	body := rec.Body
	if body == nil {
		body = []byte{}
	}
	if err := w.exec("INSERT INTO records (kind, id, body, text, entries, revision) VALUES (?, ?, ?, ?, ?, ?)"+
		" ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, text = excluded.text,"+
		" entries = excluded.entries, revision = excluded.revision",
		string(rec.Kind), rec.ID, body, rec.Text, string(index), w.revision+1); err != nil {
		return err
	}
	for _, e := range dropped {
		if err := w.exec("DELETE FROM entries WHERE kind = ? AND name = ? AND value = ? AND id = ?",
			string(rec.Kind), e.Name, e.Value, rec.ID); err != nil {
			return err
		}
	}
	for _, e := range added {
		if err := w.exec("INSERT OR IGNORE INTO entries (kind, name, value, id) VALUES (?, ?, ?, ?)",
			string(rec.Kind), e.Name, e.Value, rec.ID); err != nil {
			return err
		}
	}
	w.touched[recordKey{rec.Kind, rec.ID}] = true
	return nil
}

func (w *writer) Delete(kind appaccess.Kind, id string) error {
	old, err := w.Get(kind, id)
	if errors.Is(err, appaccess.ErrNotFound) {
		return nil
	}
	if err != nil {
		return w.fail(err)
	}
	for _, e := range old.Index {
		if err := w.exec("DELETE FROM entries WHERE kind = ? AND name = ? AND value = ? AND id = ?",
			string(kind), e.Name, e.Value, id); err != nil {
			return w.fail(err)
		}
	}
	if err := w.exec("DELETE FROM records WHERE kind = ? AND id = ?", string(kind), id); err != nil {
		return w.fail(err)
	}
	w.touched[recordKey{kind, id}] = true
	return nil
}

// finish writes what a commit leaves for the change feed.
func (w *writer) finish() error {
	next := w.revision + 1
	for key := range w.touched {
		if err := w.exec("INSERT INTO changes (revision, kind, id) VALUES (?, ?, ?)", next, string(key.kind), key.id); err != nil {
			return err
		}
	}
	if err := w.exec("UPDATE meta SET revision = ?", next); err != nil {
		return err
	}
	return w.prune()
}

// history is how many changes are kept for those who follow. A little more
// stay, so that not every commit prunes.
const history = 1 << 14

func (w *writer) prune() error {
	var first, last int64
	err := w.tx.QueryRowContext(w.ctx, "SELECT (SELECT min(seq) FROM changes), (SELECT max(seq) FROM changes)").
		Scan(&first, &last)
	if err != nil || last-first < history+history/8 {
		return err
	}
	// Whole commits only, and never the one that is being made.
	var forgot sql.NullInt64
	err = w.tx.QueryRowContext(w.ctx, "SELECT max(revision) FROM changes WHERE seq <= ? AND revision <= ?",
		last-history, w.revision).Scan(&forgot)
	if err != nil || !forgot.Valid {
		return err
	}
	if err := w.exec("DELETE FROM changes WHERE revision <= ?", forgot.Int64); err != nil {
		return err
	}
	return w.exec("UPDATE meta SET forgot = ?", forgot.Int64)
}

func (w *writer) exec(query string, args ...any) error {
	if _, err := w.tx.ExecContext(w.ctx, query, args...); err != nil {
		return failure(w.ctx, err)
	}
	return nil
}

// fail remembers that a write stopped half way.
func (w *writer) fail(err error) error {
	if err != nil && w.failed == nil {
		w.failed = err
	}
	return err
}

// without is what of a is not in b.
func without(a, b []appaccess.IndexEntry) []appaccess.IndexEntry {
	var rest []appaccess.IndexEntry
	for _, e := range a {
		if !slices.Contains(b, e) {
			rest = append(rest, e)
		}
	}
	return rest
}
