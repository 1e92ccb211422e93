package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/entragate/entragate/appaccess"
)

// reader implements [appaccess.Reader].
type reader struct {
	ctx      context.Context
	tx       pgx.Tx
	revision appaccess.Revision
	known    bool // the revision
}

func (r *reader) Revision() (appaccess.Revision, error) {
	if !r.known {
		if err := r.tx.QueryRow(r.ctx, "SELECT revision FROM entragate_meta").Scan(&r.revision); err != nil {
			return 0, failure(r.ctx, err)
		}
		r.known = true
	}
	return r.revision, nil
}

const columns = "r.id, r.body, r.text, r.entries, r.revision"

func (r *reader) Get(kind appaccess.Kind, id string) (appaccess.Record, error) {
	notFound := fmt.Errorf("%s %q: %w", kind, id, appaccess.ErrNotFound)
	if err := (appaccess.Record{Kind: kind, ID: id}).Validate(); err != nil {
		return appaccess.Record{}, notFound
	}
	row := r.tx.QueryRow(r.ctx, "SELECT "+columns+" FROM entragate_records r WHERE kind = $1 AND id = $2", string(kind), id)
	rec, err := scan(row, kind)
	if errors.Is(err, pgx.ErrNoRows) {
		return appaccess.Record{}, notFound
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
	rows, err := r.tx.Query(r.ctx, query, args...)
	if err != nil {
		return nil, failure(r.ctx, err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (appaccess.Record, error) { return scan(row, q.Kind) })
	if err != nil {
		return nil, failure(r.ctx, err)
	}
	return found, nil
}

// selection is the SQL of a query. Values are only ever arguments. The limit is
// part of the text: the planner must know it to walk along the index.
func selection(q appaccess.Query) (query string, args []any) {
	arg := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	limit := q.Limit
	if limit == 0 {
		limit = appaccess.MaxPage
	}
	after, order := " > ", " ASC"
	if q.Descending {
		after, order = " < ", " DESC"
	}
	from, id := " FROM entragate_records r", "r.id"
	where := " WHERE r.kind = " + arg(string(q.Kind))
	if q.Index != "" {
		from, id = from+", entragate_entries e", "e.id"
		where += " AND e.kind = r.kind AND e.id = r.id AND e.kind = $1 AND e.name = " + arg(q.Index) + " AND e.value = " + arg(q.Value)
	}
	if q.Text != "" {
		where += " AND strpos(lower(r.text), lower(" + arg(q.Text) + ` COLLATE "C")) > 0` // lower is ASCII's there
	}
	if q.After != "" {
		where += " AND " + id + after + arg(q.After)
	}
	return "SELECT " + columns + from + where + " ORDER BY " + id + order + " LIMIT " + strconv.Itoa(limit), args
}

func scan(row pgx.Row, kind appaccess.Kind) (appaccess.Record, error) {
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
	names, values := columnsOf(slices.DeleteFunc(slices.Clone(entries), func(e appaccess.IndexEntry) bool { return !e.Unique }))
	if len(names) == 0 {
		return nil
	}
	var name, holder string
	err := w.tx.QueryRow(w.ctx, "SELECT u.name, h.id FROM unnest($3::text[], $4::text[]) AS u (name, value)"+
		" CROSS JOIN LATERAL (SELECT e.id FROM entragate_entries e"+
		" WHERE e.kind = $1 AND e.name = u.name AND e.value = u.value AND e.id <> $2 LIMIT 1) AS h LIMIT 1",
		string(rec.Kind), rec.ID, names, values).Scan(&name, &holder)
	switch {
	case err == nil:
		return &appaccess.ConflictError{Field: name, Reason: "is another's already", Objects: []string{holder}}
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	}
	return w.fail(failure(w.ctx, err))
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
	batch := &pgx.Batch{}
	batch.Queue("INSERT INTO entragate_records (kind, id, body, text, entries, revision) VALUES ($1, $2, $3, $4, $5, $6)"+
		" ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, text = excluded.text,"+
		" entries = excluded.entries, revision = excluded.revision",
		string(rec.Kind), rec.ID, body, rec.Text, string(index), int64(w.revision+1))
	queueDrop(batch, rec.Kind, rec.ID, dropped)
	if len(added) > 0 {
		names, values := columnsOf(added)
		batch.Queue("INSERT INTO entragate_entries (kind, name, value, id)"+
			" SELECT $1, u.name, u.value, $2 FROM unnest($3::text[], $4::text[]) AS u (name, value) ON CONFLICT DO NOTHING",
			string(rec.Kind), rec.ID, names, values)
	}
	return w.send(batch, rec.Kind, rec.ID)
}

func (w *writer) Delete(kind appaccess.Kind, id string) error {
	old, err := w.Get(kind, id)
	if errors.Is(err, appaccess.ErrNotFound) {
		return nil
	}
	if err != nil {
		return w.fail(err)
	}
	batch := &pgx.Batch{}
	queueDrop(batch, kind, id, old.Index)
	batch.Queue("DELETE FROM entragate_records WHERE kind = $1 AND id = $2", string(kind), id)
	return w.fail(w.send(batch, kind, id))
}

func queueDrop(batch *pgx.Batch, kind appaccess.Kind, id string, dropped []appaccess.IndexEntry) {
	if len(dropped) == 0 {
		return
	}
	names, values := columnsOf(dropped)
	batch.Queue("DELETE FROM entragate_entries e USING unnest($3::text[], $4::text[]) AS u (name, value)"+
		" WHERE e.kind = $1 AND e.name = u.name AND e.value = u.value AND e.id = $2", string(kind), id, names, values)
}

func (w *writer) send(batch *pgx.Batch, kind appaccess.Kind, id string) error {
	if err := w.tx.SendBatch(w.ctx, batch).Close(); err != nil {
		return failure(w.ctx, err)
	}
	w.touched[recordKey{kind, id}] = true
	return nil
}

// finish writes what a commit leaves for the change feed, and announces it.
func (w *writer) finish() error {
	next := int64(w.revision + 1)
	var kinds, ids []string
	for key := range w.touched {
		kinds, ids = append(kinds, string(key.kind)), append(ids, key.id)
	}
	batch := &pgx.Batch{}
	batch.Queue("INSERT INTO entragate_changes (revision, kind, id)"+
		" SELECT $1, u.kind, u.id FROM unnest($2::text[], $3::text[]) AS u (kind, id)", next, kinds, ids)
	batch.Queue("UPDATE entragate_meta SET revision = $1", next)
	batch.Queue("SELECT pg_notify($1, $2)", channel, strconv.FormatInt(next, 10))
	var first, last int64
	batch.Queue("SELECT (SELECT min(seq) FROM entragate_changes), (SELECT max(seq) FROM entragate_changes)").
		QueryRow(func(row pgx.Row) error { return row.Scan(&first, &last) })
	if err := w.tx.SendBatch(w.ctx, batch).Close(); err != nil || last-first < history+history/8 {
		return err
	}
	return w.prune(last - history)
}

// history is how many changes are kept for those who follow. A little more
// stay, so that not every commit prunes.
const history = 1 << 14

// prune forgets whole commits up to a change, and never the one that is being
// made.
func (w *writer) prune(upTo int64) error {
	_, err := w.tx.Exec(w.ctx, "WITH old AS (SELECT max(revision) AS revision FROM entragate_changes WHERE seq <= $1 AND revision <= $2),"+
		" gone AS (DELETE FROM entragate_changes c USING old WHERE c.revision <= old.revision)"+
		" UPDATE entragate_meta SET forgot = old.revision FROM old WHERE old.revision IS NOT NULL", upTo, int64(w.revision))
	return err
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

func columnsOf(entries []appaccess.IndexEntry) (names, values []string) {
	for _, e := range entries {
		names, values = append(names, e.Name), append(values, e.Value)
	}
	return names, values
}
