package postgres

import (
	"context"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/entragate/entragate/appaccess"
)

const (
	channel      = "entragate"
	pollInterval = time.Second // in case that a notice is lost
)

// Changes implements [appaccess.Store]. Some 16,000 changes are kept. Notices
// of commits come through one connection for all feeds of the store.
func (s *Store) Changes(ctx context.Context, after appaccess.Revision) iter.Seq2[appaccess.Change, error] {
	return func(yield func(appaccess.Change, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.quit, cancel)()
		s.listen()
		for {
			woken := s.nextNotice()
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
		for wait := minWait; s.quit.Err() == nil; wait = min(2*wait, maxWait) {
			if s.notices(s.quit) {
				wait = minWait
			}
			pause(s.quit, wait)
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
	s.wake() // for what was committed while nobody listened
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return true
		}
		s.wake()
	}
}

func pause(ctx context.Context, d time.Duration) {
	_ = wait(ctx, nil, d)
}

func (s *Store) nextNotice() <-chan struct{} {
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
