package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/sqlstore"
)

// tx implements [sqlstore.Tx]. Writes of records are sent together with the next
// read or with the commit, because a round trip costs more than a write.
type tx struct {
	conn    *pgxpool.Conn
	ctx     context.Context
	done    bool
	pending *pgx.Batch // writes that were not sent yet
	failed  error      // of a write: the transaction is over
}

// maxPending bounds the writes that are kept back.
const maxPending = 200

// write queues statements.
func (t *tx) write(statements ...statement) error {
	if t.failed != nil {
		return t.failed
	}
	for _, s := range statements {
		t.pending.Queue(s.sql, s.args...)
	}
	if t.pending.Len() < maxPending {
		return nil
	}
	return t.send()
}

type statement struct {
	sql  string
	args []any
}

// send sends what is queued, in one round trip.
func (t *tx) send() error {
	if t.failed != nil || t.pending.Len() == 0 {
		return t.failed
	}
	batch := t.pending
	t.pending = &pgx.Batch{}
	ctx, cancel := context.WithTimeout(t.ctx, silence)
	defer cancel()
	t.failed = t.conn.SendBatch(ctx, batch).Close()
	return t.failed
}

// query sends a query behind the writes that are queued, and calls fn with its
// rows.
func (t *tx) query(fn func(pgx.Rows) error, sql string, args ...any) error {
	if t.failed == nil {
		t.pending.Queue(sql, args...).Query(fn)
	}
	return t.send()
}

// row is query for a single row. It reports whether there is one.
func (t *tx) row(fn func(pgx.Row) error, sql string, args ...any) (found bool, err error) {
	err = t.query(func(rows pgx.Rows) error {
		defer rows.Close()
		if found = rows.Next(); !found {
			return rows.Err()
		}
		return fn(rows)
	}, sql, args...)
	return found, err
}

// rows is query for any number of rows, each of which read turns into a value.
func rows[T any](t *tx, read func(pgx.Row) (T, error), sql string, args ...any) (found []T, err error) {
	err = t.query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (T, error) { return read(row) })
		return err
	}, sql, args...)
	return found, err
}

// The writer that holds the row's lock sees all earlier commits, and no other writer
// runs: writers are serializable although READ COMMITTED never fails for that. A
// writer that hangs must not keep the others waiting for long. Nothing is set
// beyond the transaction, so that a pooler may give the next one another session.
const (
	beginRead  = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
	beginWrite = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
	boundIdle  = "SET LOCAL idle_in_transaction_session_timeout = '5s'"
	selectMeta = "SELECT revision, number, forgotten_revision, forgotten_number, oldest FROM entragate_meta"
)

// begin begins a transaction in one round trip.
func begin(ctx context.Context, conn *pgxpool.Conn, write bool) (*tx, sqlstore.Meta, error) {
	batch := &pgx.Batch{}
	query := selectMeta
	if write {
		batch.Queue(beginWrite)
		batch.Queue(boundIdle)
		query += " FOR UPDATE"
	} else {
		batch.Queue(beginRead)
	}
	var m sqlstore.Meta
	batch.Queue(query).QueryRow(func(row pgx.Row) error {
		return row.Scan(&m.Revision, &m.Commit, &m.Forgotten.Revision, &m.Forgotten.Commit, &m.Oldest)
	})
	t := &tx{conn: conn, ctx: ctx, pending: &pgx.Batch{}}
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return t, m, err
	}
	return t, m, nil
}

func (t *tx) Commit() error {
	if err := t.send(); err != nil {
		return err
	}
	_, err := t.conn.Exec(t.ctx, "COMMIT")
	t.done = err == nil
	return err
}

// Rollback also returns the connection to its pool. After the context's end pgx
// has closed the connection, and the server undoes what was open.
func (t *tx) Rollback() {
	defer t.conn.Release()
	if t.done || t.conn.Conn().IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), rollbackTimeout)
	defer cancel()
	if _, err := t.conn.Exec(ctx, "ROLLBACK"); err != nil {
		_ = t.conn.Conn().Close(ctx)
	}
}

const rollbackTimeout = 2 * time.Second

const columns = "r.id, r.body, r.entries, r.revision"

// scan reads a row that begins with the columns of a record.
func scan(row pgx.Row, kind appaccess.Kind, more ...any) (appaccess.Record, error) {
	rec := appaccess.Record{Kind: kind}
	var entries []byte
	if err := row.Scan(append([]any{&rec.ID, &rec.Body, &entries, &rec.Revision}, more...)...); err != nil {
		return rec, err
	}
	return rec, json.Unmarshal(entries, &rec.Index)
}

func (t *tx) Get(kind appaccess.Kind, id string) (rec appaccess.Record, found bool, err error) {
	found, err = t.row(func(row pgx.Row) (err error) {
		rec, err = scan(row, kind)
		return err
	}, "SELECT "+columns+" FROM entragate_records r WHERE kind = $1 AND id = $2", string(kind), id)
	return rec, found, err
}

func (t *tx) Find(kind appaccess.Kind, index string, values []string) ([]appaccess.Record, error) {
	// LATERAL keeps this order: from the values to the records, whatever the
	// planner believes about the tables.
	query := "SELECT " + columns + " FROM unnest($1::text[]) AS v (value) CROSS JOIN LATERAL" +
		" (SELECT * FROM entragate_records WHERE kind = $2 AND id = v.value LIMIT 1) AS r"
	args := []any{values, string(kind)}
	if index != "" {
		query = "SELECT " + columns + " FROM unnest($1::text[]) AS v (value) CROSS JOIN LATERAL" +
			" (SELECT id FROM entragate_entries WHERE kind = $2 AND name = $3 AND value = v.value LIMIT 1) AS e" +
			" CROSS JOIN LATERAL (SELECT * FROM entragate_records WHERE kind = $2 AND id = e.id LIMIT 1) AS r"
		args = append(args, index)
	}
	return rows(t, func(row pgx.Row) (appaccess.Record, error) { return scan(row, kind) }, query, args...)
}

func (t *tx) Walk(span sqlstore.Span, limit int) ([]sqlstore.Row, error) {
	query, args := walk(span, limit)
	return rows(t, func(row pgx.Row) (r sqlstore.Row, err error) {
		r.Record, err = scan(row, span.Kind, &r.Value)
		return r, err
	}, query, args...)
}

// walk is the SQL that returns rows of a span. The limit is part of the text:
// the planner must know it to walk along the index.
func walk(span sqlstore.Span, limit int) (query string, args []any) {
	where, order, args := condition(span)
	rest := where + order + " LIMIT " + strconv.Itoa(limit)
	if span.Name == "" {
		return "SELECT " + columns + ", '' FROM entragate_records r" + rest, args
	}
	// LIMIT and LATERAL keep this order: along the index, then to the records,
	// whatever the planner believes about the tables.
	return "SELECT " + columns + ", e.value FROM (SELECT e.kind, e.id, e.value FROM entragate_entries e" + rest + ") AS e" +
		" CROSS JOIN LATERAL (SELECT * FROM entragate_records WHERE kind = e.kind AND id = e.id LIMIT 1) AS r" + order, args
}

// condition is the SQL that selects a span, and its order. Values are only ever
// arguments.
func condition(span sqlstore.Span) (where, order string, args []any) {
	beyond, direction := " > ", ""
	if span.Descending {
		beyond, direction = " < ", " DESC"
	}
	var conditions []string
	add := func(sql string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			sql = strings.Replace(sql, "?", "$"+strconv.Itoa(len(args)), 1)
		}
		conditions = append(conditions, sql)
	}
	table := "e"
	if span.Name == "" {
		table = "r"
	}
	order = " ORDER BY " + table + ".id" + direction
	add(table+".kind = ?", string(span.Kind))
	switch {
	case span.Name == "":
	case span.Exact:
		add("e.name = ?", span.Name)
		add("e.value = ?", span.From)
	default:
		order = " ORDER BY e.value" + direction + ", e.id" + direction
		add("e.name = ?", span.Name)
		if span.ID == "" || span.Descending {
			add("e.value >= ?", span.From)
		}
		if span.To != "" && (span.ID == "" || !span.Descending) {
			add("e.value < ?", span.To)
		}
		if span.ID != "" {
			add("(e.value, e.id)"+beyond+"(?, ?)", span.Value, span.ID)
		}
		return " WHERE " + strings.Join(conditions, " AND "), order, args
	}
	if span.ID != "" {
		add(table+".id"+beyond+"?", span.ID)
	}
	return " WHERE " + strings.Join(conditions, " AND "), order, args
}

func (t *tx) Count(span sqlstore.Span, most int) (n int, err error) {
	from := " FROM entragate_records r"
	if span.Name != "" {
		from = " FROM entragate_entries e"
	}
	where, _, args := condition(span)
	_, err = t.row(func(row pgx.Row) error { return row.Scan(&n) },
		"SELECT count(*) FROM (SELECT 1"+from+where+" LIMIT "+strconv.Itoa(most)+") AS selected", args...)
	return n, err
}

func (t *tx) Owner(kind appaccess.Kind, id string, entries []appaccess.IndexEntry) (owner, name string, err error) {
	names, values := columnsOf(entries)
	_, err = t.row(func(row pgx.Row) error { return row.Scan(&name, &owner) },
		"SELECT u.name, o.id FROM unnest($3::text[], $4::text[]) AS u (name, value)"+
			" CROSS JOIN LATERAL (SELECT e.id FROM entragate_entries e"+
			" WHERE e.kind = $1 AND e.name = u.name AND e.value = u.value AND e.id <> $2 LIMIT 1) AS o LIMIT 1",
		string(kind), id, names, values)
	return owner, name, err
}

func (t *tx) Put(rec appaccess.Record, dropped, added []appaccess.IndexEntry) error {
	index, err := json.Marshal(rec.Index)
	if err != nil {
		return err
	}
	statements := []statement{{"INSERT INTO entragate_records (kind, id, body, entries, revision) VALUES ($1, $2, $3, $4, $5)" +
		" ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, entries = excluded.entries, revision = excluded.revision",
		[]any{string(rec.Kind), rec.ID, slices.Clone(rec.Body), string(index), int64(rec.Revision)}}}
	statements = append(statements, dropping(rec, dropped)...)
	if len(added) > 0 {
		names, values := columnsOf(added)
		statements = append(statements, statement{"INSERT INTO entragate_entries (kind, name, value, id)" +
			" SELECT $1, u.name, u.value, $2 FROM unnest($3::text[], $4::text[]) AS u (name, value) ON CONFLICT DO NOTHING",
			[]any{string(rec.Kind), rec.ID, names, values}})
	}
	return t.write(statements...)
}

func (t *tx) Delete(rec appaccess.Record) error {
	return t.write(append(dropping(rec, rec.Index),
		statement{"DELETE FROM entragate_records WHERE kind = $1 AND id = $2", []any{string(rec.Kind), rec.ID}})...)
}

// dropping removes entries of a record.
func dropping(rec appaccess.Record, dropped []appaccess.IndexEntry) []statement {
	if len(dropped) == 0 {
		return nil
	}
	names, values := columnsOf(dropped)
	return []statement{{"DELETE FROM entragate_entries e USING unnest($3::text[], $4::text[]) AS u (name, value)" +
		" WHERE e.kind = $1 AND e.name = u.name AND e.value = u.value AND e.id = $2", []any{string(rec.Kind), rec.ID, names, values}}}
}

func (t *tx) CommitOf(rev appaccess.Revision) (number int64, err error) {
	_, err = t.row(func(row pgx.Row) error { return row.Scan(&number) },
		"SELECT number FROM entragate_changes WHERE revision = $1 LIMIT 1", int64(rev))
	return number, err
}

func (t *tx) Changes(after appaccess.Revision, limit int) ([]appaccess.Change, error) {
	return rows(t, func(row pgx.Row) (c appaccess.Change, err error) {
		err = row.Scan(&c.Revision, &c.Commit, &c.Kind, &c.ID)
		return c, err
	}, "SELECT revision, number, kind, id FROM entragate_changes WHERE revision > $1 AND revision <= coalesce("+
		"(SELECT revision FROM entragate_changes WHERE revision > $1 ORDER BY revision LIMIT 1 OFFSET $2), (SELECT revision FROM entragate_meta))"+
		" ORDER BY revision, seq", int64(after), limit)
}

// Append also announces the commit.
func (t *tx) Append(at appaccess.Position, changed []sqlstore.Key) (kept int64, err error) {
	var kinds, ids []string
	for _, key := range changed {
		kinds, ids = append(kinds, string(key.Kind)), append(ids, key.ID)
	}
	if err := t.write(
		statement{"INSERT INTO entragate_changes (revision, number, kind, id)" +
			" SELECT $1, $2, u.kind, u.id FROM unnest($3::text[], $4::text[]) AS u (kind, id)", []any{int64(at.Revision), at.Commit, kinds, ids}},
		statement{"UPDATE entragate_meta SET revision = $1, number = $2", []any{int64(at.Revision), at.Commit}},
		statement{"SELECT pg_notify($1, $2)", []any{channel, strconv.FormatInt(int64(at.Revision), 10)}},
	); err != nil {
		return 0, err
	}
	_, err = t.row(func(row pgx.Row) error { return row.Scan(&kept) },
		"SELECT (SELECT max(seq) FROM entragate_changes) - (SELECT min(seq) FROM entragate_changes)")
	return kept, err
}

func (t *tx) Prune(keep int64, upTo appaccess.Revision) error {
	return t.write(statement{"WITH old AS (SELECT revision, number FROM entragate_changes WHERE revision <= $2" +
		" AND seq <= (SELECT max(seq) FROM entragate_changes) - $1 ORDER BY revision DESC LIMIT 1)," +
		" gone AS (DELETE FROM entragate_changes c USING old WHERE c.revision <= old.revision)" +
		" UPDATE entragate_meta SET forgotten_revision = old.revision, forgotten_number = old.number FROM old", []any{keep, int64(upTo)}})
}

func columnsOf(entries []appaccess.IndexEntry) (names, values []string) {
	for _, e := range entries {
		names, values = append(names, e.Name), append(values, e.Value)
	}
	return names, values
}
