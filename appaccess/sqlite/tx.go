package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/sqlstore"
)

// tx implements [sqlstore.Tx].
type tx struct {
	*sql.Tx
	ctx context.Context
	// prepared are the statements of the transaction that write and look up, by
	// their text: a transaction may write many records.
	prepared map[string]*sql.Stmt
}

// prepare returns a prepared statement, which ends with the transaction.
func (t tx) prepare(query string) (*sql.Stmt, error) {
	if s := t.prepared[query]; s != nil {
		return s, nil
	}
	s, err := t.PrepareContext(t.ctx, query)
	if err == nil {
		t.prepared[query] = s
	}
	return s, err
}

// row reads one row of a prepared query. It reports whether there is one.
func (t tx) row(query string, args []any, to ...any) (found bool, err error) {
	s, err := t.prepare(query)
	if err != nil {
		return false, err
	}
	err = s.QueryRowContext(t.ctx, args...).Scan(to...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func meta(ctx context.Context, t *sql.Tx) (m sqlstore.Meta, err error) {
	err = t.QueryRowContext(ctx, "SELECT revision, number, forgotten_revision, forgotten_number, oldest FROM meta").
		Scan(&m.Revision, &m.Commit, &m.Forgotten.Revision, &m.Forgotten.Commit, &m.Oldest)
	return m, err
}

func (t tx) Rollback() { _ = t.Tx.Rollback() }

const columns = "r.id, r.body, r.entries, r.revision"

// scan reads a row that begins with the columns of a record.
func scan(row interface{ Scan(...any) error }, kind appaccess.Kind, more ...any) (appaccess.Record, error) {
	rec := appaccess.Record{Kind: kind}
	var entries []byte
	if err := row.Scan(append([]any{&rec.ID, &rec.Body, &entries, &rec.Revision}, more...)...); err != nil {
		return rec, err
	}
	return rec, json.Unmarshal(entries, &rec.Index)
}

// collect runs a query and calls fn with each row.
func (t tx) collect(fn func(*sql.Rows) error, query string, args ...any) error {
	rows, err := t.QueryContext(t.ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t tx) Get(kind appaccess.Kind, id string) (appaccess.Record, bool, error) {
	s, err := t.prepare("SELECT " + columns + " FROM records r WHERE kind = ? AND id = ?")
	if err != nil {
		return appaccess.Record{}, false, err
	}
	rec, err := scan(s.QueryRowContext(t.ctx, string(kind), id), kind)
	if errors.Is(err, sql.ErrNoRows) {
		return rec, false, nil
	}
	return rec, err == nil, err
}

func (t tx) Find(kind appaccess.Kind, index string, values []string) (found []appaccess.Record, err error) {
	list, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	// CROSS JOIN keeps this order: from the values to the records.
	query := "SELECT " + columns + " FROM json_each(?1) v CROSS JOIN records r WHERE r.kind = ?2 AND r.id = v.value AND ?3 = ''"
	if index != "" {
		query = "SELECT " + columns + " FROM json_each(?1) v CROSS JOIN entries e CROSS JOIN records r" +
			" WHERE e.kind = ?2 AND e.name = ?3 AND e.value = v.value AND r.kind = e.kind AND r.id = e.id"
	}
	return found, t.collect(func(rows *sql.Rows) error {
		rec, err := scan(rows, kind)
		found = append(found, rec)
		return err
	}, query, string(list), string(kind), index)
}

func (t tx) Walk(span sqlstore.Span, limit int) (found []sqlstore.Row, err error) {
	from, value := " FROM records r", "''"
	if span.Name != "" {
		// CROSS JOIN keeps this order: along the index, never along the records.
		from, value = " FROM entries e CROSS JOIN records r ON r.kind = e.kind AND r.id = e.id", "e.value"
	}
	where, order, args := condition(span)
	return found, t.collect(func(rows *sql.Rows) (err error) {
		var row sqlstore.Row
		row.Record, err = scan(rows, span.Kind, &row.Value)
		found = append(found, row)
		return err
	}, "SELECT "+columns+", "+value+from+where+order+" LIMIT ?", append(args, limit)...)
}

// condition is the SQL that selects a span, and its order. Values are only ever
// arguments.
func condition(span sqlstore.Span) (where, order string, args []any) {
	beyond, direction := " > ", ""
	if span.Descending {
		beyond, direction = " < ", " DESC"
	}
	add := func(sql string, values ...any) { where, args = where+sql, append(args, values...) }
	switch {
	case span.Name == "":
		add(" WHERE r.kind = ?", string(span.Kind))
		order = " ORDER BY r.id" + direction
		if span.ID != "" {
			add(" AND r.id"+beyond+"?", span.ID)
		}
		return where, order, args
	case span.Exact:
		add(" WHERE e.kind = ? AND e.name = ? AND e.value = ?", string(span.Kind), span.Name, span.From)
		order = " ORDER BY e.id" + direction
		if span.ID != "" {
			add(" AND e.id"+beyond+"?", span.ID)
		}
		return where, order, args
	}
	add(" WHERE e.kind = ? AND e.name = ?", string(span.Kind), span.Name)
	order = " ORDER BY e.value" + direction + ", e.id" + direction
	if span.ID != "" {
		add(" AND (e.value, e.id)"+beyond+"(?, ?)", span.Value, span.ID)
	}
	if span.ID == "" || span.Descending {
		add(" AND e.value >= ?", span.From)
	}
	if span.To != "" && (span.ID == "" || !span.Descending) {
		add(" AND e.value < ?", span.To)
	}
	return where, order, args
}

func (t tx) Count(span sqlstore.Span, most int) (n int, err error) {
	from := " FROM records r"
	if span.Name != "" {
		from = " FROM entries e"
	}
	where, _, args := condition(span)
	err = t.QueryRowContext(t.ctx, "SELECT count(*) FROM (SELECT 1"+from+where+" LIMIT ?)", append(args, most)...).Scan(&n)
	return n, err
}

func (t tx) Owner(kind appaccess.Kind, id string, entries []appaccess.IndexEntry) (owner, name string, err error) {
	for _, e := range entries {
		found, err := t.row("SELECT id FROM entries WHERE kind = ? AND name = ? AND value = ? AND id <> ? LIMIT 1",
			[]any{string(kind), e.Name, e.Value, id}, &owner)
		if found || err != nil {
			return owner, e.Name, err
		}
	}
	return "", "", nil
}

func (t tx) Put(rec appaccess.Record, dropped, added []appaccess.IndexEntry) error {
	index, err := json.Marshal(rec.Index)
	if err != nil {
		return err
	}
	if err := t.exec("INSERT INTO records (kind, id, body, entries, revision) VALUES (?, ?, ?, ?, ?)"+
		" ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, entries = excluded.entries, revision = excluded.revision",
		string(rec.Kind), rec.ID, rec.Body, string(index), rec.Revision); err != nil {
		return err
	}
	if err := t.drop(rec, dropped); err != nil || len(added) == 0 {
		return err
	}
	pairs, err := pairsOf(added)
	if err != nil {
		return err
	}
	return t.exec("INSERT OR IGNORE INTO entries (kind, name, value, id)"+
		" SELECT ?1, e.value ->> 0, e.value ->> 1, ?2 FROM json_each(?3) e", string(rec.Kind), rec.ID, pairs)
}

// pairsOf is a JSON list of names and values, so that one statement handles all
// entries of a record.
func pairsOf(entries []appaccess.IndexEntry) (string, error) {
	pairs := make([][2]string, len(entries))
	for i, e := range entries {
		pairs[i] = [2]string{e.Name, e.Value}
	}
	list, err := json.Marshal(pairs)
	return string(list), err
}

func (t tx) Delete(rec appaccess.Record) error {
	if err := t.drop(rec, rec.Index); err != nil {
		return err
	}
	return t.exec("DELETE FROM records WHERE kind = ? AND id = ?", string(rec.Kind), rec.ID)
}

func (t tx) drop(rec appaccess.Record, entries []appaccess.IndexEntry) error {
	if len(entries) == 0 {
		return nil
	}
	pairs, err := pairsOf(entries)
	if err != nil {
		return err
	}
	return t.exec("DELETE FROM entries WHERE (kind, name, value, id) IN"+
		" (SELECT ?1, e.value ->> 0, e.value ->> 1, ?2 FROM json_each(?3) e)", string(rec.Kind), rec.ID, pairs)
}

func (t tx) CommitOf(rev appaccess.Revision) (number int64, err error) {
	err = t.QueryRowContext(t.ctx, "SELECT number FROM changes WHERE revision = ? LIMIT 1", rev).Scan(&number)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return number, err
}

func (t tx) Changes(after appaccess.Revision, limit int) (batch []appaccess.Change, err error) {
	return batch, t.collect(func(rows *sql.Rows) error {
		var c appaccess.Change
		err := rows.Scan(&c.Revision, &c.Commit, &c.Kind, &c.ID)
		batch = append(batch, c)
		return err
	}, "SELECT revision, number, kind, id FROM changes WHERE revision > ?1 AND revision <= coalesce("+
		"(SELECT revision FROM changes WHERE revision > ?1 ORDER BY revision LIMIT 1 OFFSET ?2), (SELECT revision FROM meta))"+
		" ORDER BY revision, seq", after, limit)
}

func (t tx) Append(at appaccess.Position, changed []sqlstore.Key) (kept int64, err error) {
	list, err := json.Marshal(changed)
	if err != nil {
		return 0, err
	}
	if err := t.exec("INSERT INTO changes (revision, number, kind, id)"+
		" SELECT ?1, ?2, c.value ->> 'Kind', c.value ->> 'ID' FROM json_each(?3) c", at.Revision, at.Commit, string(list)); err != nil {
		return 0, err
	}
	if err := t.exec("UPDATE meta SET revision = ?, number = ?", at.Revision, at.Commit); err != nil {
		return 0, err
	}
	err = t.QueryRowContext(t.ctx, "SELECT (SELECT max(seq) FROM changes) - (SELECT min(seq) FROM changes)").Scan(&kept)
	return kept, err
}

func (t tx) Prune(keep int64, upTo appaccess.Revision) error {
	var last appaccess.Position
	err := t.QueryRowContext(t.ctx, "SELECT revision, number FROM changes WHERE revision <= ?2"+
		" AND seq <= (SELECT max(seq) FROM changes) - ?1 ORDER BY revision DESC LIMIT 1", keep, upTo).Scan(&last.Revision, &last.Commit)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = t.exec("DELETE FROM changes WHERE revision <= ?", last.Revision)
	}
	if err == nil {
		err = t.exec("UPDATE meta SET forgotten_revision = ?, forgotten_number = ?", last.Revision, last.Commit)
	}
	return err
}

func (t tx) exec(query string, args ...any) error {
	s, err := t.prepare(query)
	if err == nil {
		_, err = s.ExecContext(t.ctx, args...)
	}
	return err
}
