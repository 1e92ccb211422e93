package sqlite

import (
	"context"
	"database/sql"
	"iter"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// pollInterval is how soon a commit of another process is seen. Those of this
// one are seen at once.
const pollInterval = 100 * time.Millisecond

// Changes implements [appaccess.Store]. Some 16,000 changes are kept.
func (s *Store) Changes(ctx context.Context, after appaccess.Revision) iter.Seq2[appaccess.Change, error] {
	return func(yield func(appaccess.Change, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.quit, cancel)()
		for {
			woken := s.nextCommit()
			batch, err := s.changesAfter(ctx, after)
			if err == nil && len(batch) == 0 {
				err = wait(ctx, woken, pollInterval)
			}
			if err != nil {
				if s.quit.Err() != nil {
					err = errClosed
				}
				yield(appaccess.Change{}, err)
				return
			}
			for _, c := range batch {
				if !yield(c, nil) {
					return
				}
				after = c.Revision
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) error { return wait(ctx, nil, d) }

func wait(ctx context.Context, woken <-chan struct{}, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-woken:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
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

func (s *Store) nextCommit() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.woken
}

func (s *Store) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.woken)
	s.woken = make(chan struct{})
}
