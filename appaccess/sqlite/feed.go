package sqlite

import (
	"context"
	"database/sql"
	"iter"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/feed"
)

// pollInterval is how soon a commit of another process is seen. Those of this
// one are seen at once.
const pollInterval = 100 * time.Millisecond

// Changes implements [appaccess.Store]. Some 16,000 changes are kept.
func (s *Store) Changes(ctx context.Context, after appaccess.Revision) iter.Seq2[appaccess.Change, error] {
	return feed.Source{
		Read: s.changesAfter, News: &s.news, Poll: pollInterval, Quit: s.quit, Closed: errClosed,
	}.Changes(ctx, after)
}

// batchSize is how many changes are read at a time, give or take a commit.
const batchSize = 1000

// changesAfter reads the next commits, each as a whole.
func (s *Store) changesAfter(ctx context.Context, after appaccess.Revision) ([]appaccess.Change, error) {
	leave, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	tx, err := begin(ctx, s.read, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, failure(ctx, err)
	}
	defer func() { _ = tx.Rollback() }()
	var newest, forgot appaccess.Revision
	if err := tx.QueryRowContext(ctx, "SELECT revision, forgot FROM meta").Scan(&newest, &forgot); err != nil {
		return nil, failure(ctx, err)
	}
	switch {
	case after == newest:
		return nil, nil
	case after < forgot || after > newest:
		return []appaccess.Change{{Revision: newest, Reset: true}}, nil
	}
	batch, err := readChanges(ctx, tx, after)
	if err != nil {
		return nil, failure(ctx, err)
	}
	return batch, nil
}

func readChanges(ctx context.Context, tx *sql.Tx, after appaccess.Revision) ([]appaccess.Change, error) {
	rows, err := tx.QueryContext(ctx, "SELECT revision, kind, id FROM changes WHERE revision > ?1 AND revision <= coalesce("+
		"(SELECT revision FROM changes WHERE revision > ?1 ORDER BY revision LIMIT 1 OFFSET ?2), (SELECT revision FROM meta))"+
		" ORDER BY revision, seq", after, batchSize)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var batch []appaccess.Change
	for rows.Next() {
		var c appaccess.Change
		if err := rows.Scan(&c.Revision, &c.Kind, &c.ID); err != nil {
			return nil, err
		}
		batch = append(batch, c)
	}
	return batch, rows.Err()
}
