package sqlstore

import (
	"context"
	"iter"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/wait"
)

const (
	batchSize   = 1000            // changes that are read at a time
	feedTimeout = 2 * time.Second // of one read
)

// Changes implements [appaccess.Store].
func (s *Store) Changes(ctx context.Context, after appaccess.Position) iter.Seq2[appaccess.Change, error] {
	return func(yield func(appaccess.Change, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.quit, cancel)()
		s.listen.Do(s.startListening)
		for {
			news := s.news.Next() // before the read, so that no commit is missed
			batch, err := s.changesAfter(ctx, after)
			if err != nil {
				if s.quit.Err() != nil {
					err = s.closed
				}
				yield(appaccess.Change{}, err)
				return
			}
			current := false
			for _, c := range batch {
				if !yield(c, nil) {
					return
				}
				after, current = c.Position, !c.AsOf.IsZero()
			}
			if current {
				_ = wait.ForEvent(ctx, news, s.config.Poll) // the read returns the error of ctx
			}
		}
	}
}

func (s *Store) startListening() {
	if s.config.Notices == nil {
		return
	}
	if leave, err := s.enter(); err == nil {
		go func() {
			defer leave()
			s.config.Notices(s.quit, s.news.Ring)
		}()
	}
}

// changesAfter reads the next commits, each as a whole. If there are no others
// the last Change says so.
func (s *Store) changesAfter(ctx context.Context, after appaccess.Position) (batch []appaccess.Change, err error) {
	limited, cancel := context.WithTimeout(ctx, feedTimeout)
	defer cancel()
	began := time.Now()
	err = s.transaction(limited, Feed, func(r *reader) error {
		known, err := r.knows(after)
		if err != nil {
			return s.failure(limited, err)
		}
		switch {
		case !known:
			batch = []appaccess.Change{{Position: r.meta.Position, Reset: true}}
		case after.Revision < r.meta.Revision:
			if batch, err = r.tx.Changes(after.Revision, batchSize); err != nil {
				return s.failure(limited, err)
			}
		}
		if len(batch) == 0 || batch[len(batch)-1].Position == r.meta.Position {
			batch = append(batch, appaccess.Change{Position: r.meta.Position, AsOf: began})
		}
		return nil
	})
	if err != nil && limited.Err() != nil {
		err = s.failure(ctx, limited.Err()) // the context's own end, or no answer in time
	}
	return batch, err
}

// knows reports whether a position is part of the history, and the changes after
// it are kept.
func (r *reader) knows(at appaccess.Position) (bool, error) {
	switch newest, forgotten := r.meta.Position, r.meta.Forgotten; {
	case at.Revision < forgotten.Revision || at.Revision > newest.Revision:
		return false, nil
	case at.Revision == newest.Revision:
		return at == newest, nil
	case at.Revision == forgotten.Revision:
		return at == forgotten, nil
	}
	commit, err := r.tx.CommitOf(at.Revision)
	return commit == at.Commit, err
}
