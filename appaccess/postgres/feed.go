package postgres

import (
	"context"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/feed"
	"github.com/entragate/entragate/internal/wait"
)

const (
	channel      = "entragate"
	pollInterval = time.Second // in case that a notice is lost
)

// Changes implements [appaccess.Store]. Some 16,000 changes are kept. Notices
// of commits come through one connection for all feeds of the store.
func (s *Store) Changes(ctx context.Context, after appaccess.Revision) iter.Seq2[appaccess.Change, error] {
	changes := feed.Source{
		Read: s.changesAfter, News: &s.news, Poll: pollInterval, Quit: s.quit, Closed: errClosed,
	}.Changes(ctx, after)
	return func(yield func(appaccess.Change, error) bool) {
		s.listen()
		changes(yield)
	}
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
	tx, err := s.begin(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer rollback(ctx, tx)
	var newest, forgot appaccess.Revision
	if err := tx.QueryRow(ctx, "SELECT revision, forgot FROM entragate_meta").Scan(&newest, &forgot); err != nil {
		return nil, failure(ctx, err)
	}
	switch {
	case after == newest:
		return nil, nil
	case after < forgot || after > newest:
		return []appaccess.Change{{Revision: newest, Reset: true}}, nil
	}
	rows, err := tx.Query(ctx, "SELECT revision, kind, id FROM entragate_changes WHERE revision > $1 AND revision <= coalesce("+
		"(SELECT revision FROM entragate_changes WHERE revision > $1 ORDER BY revision LIMIT 1 OFFSET $2), $3)"+
		" ORDER BY revision, seq", int64(after), batchSize, int64(newest))
	if err != nil {
		return nil, failure(ctx, err)
	}
	batch, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c appaccess.Change, err error) {
		err = row.Scan(&c.Revision, &c.Kind, &c.ID)
		return c, err
	})
	if err != nil {
		return nil, failure(ctx, err)
	}
	return batch, nil
}

// listen has notices awaited from now on.
func (s *Store) listen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listening || s.closed {
		return
	}
	s.listening = true
	s.calls.Go(func() {
		for pause := minWait; s.quit.Err() == nil; pause = min(2*pause, maxWait) {
			if s.notices(s.quit) {
				pause = minWait
			}
			_ = wait.For(s.quit, pause)
		}
	})
}

const (
	minWait = 50 * time.Millisecond
	maxWait = 5 * time.Second
)

// notices wakes the feeds at every notice, until the connection or the context
// ends. It reports whether there was a connection.
func (s *Store) notices(ctx context.Context) bool {
	conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return false // the feeds go on polling, and report what is wrong
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return false
	}
	s.news.Ring() // for what was committed while nobody listened
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return true
		}
		s.news.Ring()
	}
}
