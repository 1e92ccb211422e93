// Package feed is what the stores share of following their changes.
package feed

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/wait"
)

// Bell wakes everybody who waits for its next ring. The zero value is ready.
// It is safe for concurrent use.
type Bell struct {
	mu   sync.Mutex
	next chan struct{}
}

// Next is closed at the next ring.
func (b *Bell) Next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

// Ring wakes those who wait.
func (b *Bell) Ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}

// Source is the change feed of one store.
type Source struct {
	// Read returns the next commits after a revision, each as a whole; none if
	// there are none yet.
	Read func(ctx context.Context, after appaccess.Revision) ([]appaccess.Change, error)
	// News rings when there may be something to read, and Poll is how often it
	// is looked for all the same.
	News *Bell
	Poll time.Duration
	// Quit ends with the store. Feeds then end with Closed.
	Quit   context.Context
	Closed error
}

// Changes is what [appaccess.Store] promises of it.
func (s Source) Changes(ctx context.Context, after appaccess.Revision) iter.Seq2[appaccess.Change, error] {
	return func(yield func(appaccess.Change, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.Quit, cancel)()
		for {
			news := s.News.Next() // before the read, so that none is missed
			batch, err := s.Read(ctx, after)
			if err == nil && len(batch) == 0 {
				err = wait.ForEvent(ctx, news, s.Poll)
			}
			if err != nil {
				if s.Quit.Err() != nil {
					err = s.Closed
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
