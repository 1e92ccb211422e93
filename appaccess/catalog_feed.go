package appaccess

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entragate/entragate/internal/wait"
)

// follow applies what the store's feed reports, for as long as ctx lasts.
func (c *Catalog) follow(ctx context.Context) {
	for pause := minWait; ctx.Err() == nil; pause = min(2*pause, maxWait) {
		feed, stop := context.WithCancelCause(ctx)
		watchdog := time.AfterFunc(feedSilence, func() { stop(errSilent) })
		for change, err := range c.store.Changes(feed, c.applied()) {
			if err != nil {
				if cause := context.Cause(feed); errors.Is(err, context.Canceled) && cause != nil {
					err = cause
				}
				if ctx.Err() == nil {
					c.lost(ctx, "following its changes", err)
				}
				break
			}
			watchdog.Reset(feedSilence)
			c.apply(ctx, change)
			pause = minWait
		}
		watchdog.Stop()
		stop(nil)
		_ = wait.For(ctx, pause)
	}
}

const (
	minWait = 20 * time.Millisecond
	maxWait = time.Second
)

// applied is the position up to which changes were applied.
func (c *Catalog) applied() Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recent.applied
}

// apply forgets the answers that a change may have made wrong. The logger may be
// slow, so it is called without a lock.
func (c *Catalog) apply(ctx context.Context, change Change) {
	switch reset, asOf := c.applyLocked(change); {
	case reset:
		c.log.WarnContext(ctx, "the store reports another history, or changes were missed: everything is read again", "revision", int64(change.Revision))
	case !asOf.IsZero():
		c.fresh.Store(int64(asOf.Sub(c.start)))
		c.back(ctx)
	}
}

// applyLocked reports whether everything was forgotten, and as of when all answers
// are now known to be current, if that is news.
func (c *Catalog) applyLocked(change Change) (reset bool, asOf time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if change.Reset || !c.recent.apply(change.Position, change.AsOf) {
		c.forgetAll()
		c.recent.apply(change.Position, change.AsOf)
		c.outdated(change.Revision)
		c.current = currency{}
		return true, asOf
	}
	switch {
	case !change.AsOf.IsZero():
		asOf = c.currentAsOf(change.AsOf)
	case change.Kind == KindProduct || change.Kind == KindAPI:
		c.outdated(change.Revision)
	case change.Kind == KindUser || change.Kind == KindApplication || change.Kind == KindSubscription:
		c.forget(change.Kind, change.ID)
	}
	return false, asOf
}

// currency is a time as of which all answers are current once the snapshot shows
// a revision.
type currency struct {
	asOf   time.Time
	needed Revision
}

// currentAsOf returns as of when all answers are current, now that all changes before
// asOf are applied. Reading the snapshot takes time. While products change all the
// time, the snapshot is never the newest, but soon as new as it must be.
func (c *Catalog) currentAsOf(asOf time.Time) (current time.Time) {
	switch snapshot := c.snapshot.Load(); {
	case snapshot.shows(c.recent.reset, c.needed):
		c.current = currency{}
		return asOf
	case c.current.asOf.IsZero():
		c.current = currency{asOf, c.needed}
	case snapshot.shows(c.recent.reset, c.current.needed):
		current = c.current.asOf
		c.current = currency{asOf, c.needed}
	}
	return current
}

// forget is called with mu held.
func (c *Catalog) forget(kind Kind, id string) {
	r := refTo(kind, id)
	c.recent.add(r)
	// A new record may be one that the Catalog remembers as unknown.
	switch kind {
	case KindApplication:
		c.clients.era.Add(1)
	case KindSubscription:
		c.keys.era.Add(1)
	}
	c.clients.known.forget(r)
	c.keys.known.forget(r)
	c.changes.Ring()
}

// forgetAll is called with mu held.
func (c *Catalog) forgetAll() {
	c.recent.addReset()
	c.clients.era.Add(1)
	c.keys.era.Add(1)
	c.clients.known.clear()
	c.keys.known.clear()
	c.changes.Ring()
}

// outdated makes the Catalog read the snapshot again. It is called with mu held.
func (c *Catalog) outdated(rev Revision) {
	c.needed = rev
	select {
	case c.reload <- struct{}{}:
	default: // a read is already due
	}
}

func (c *Catalog) reloadSnapshots(ctx context.Context) {
	for {
		select {
		case <-c.reload:
		case <-ctx.Done():
			return
		}
		for pause := minWait; ; pause = min(2*pause, maxWait) {
			_, err := c.readSnapshot(ctx)
			if err == nil || ctx.Err() != nil {
				break
			}
			c.lost(ctx, "reading products and APIs", err)
			_ = wait.For(ctx, pause)
		}
	}
}

// readSnapshot replaces the snapshot.
func (c *Catalog) readSnapshot(ctx context.Context) (at Position, err error) {
	ctx, cancel := context.WithTimeout(ctx, snapshotTimeout)
	defer cancel()
	began := c.mark()
	var products []Product
	var apis []API
	err = c.store.Lookup(ctx, func(r Reader) (err error) {
		if at, err = r.Position(); err != nil {
			return err
		}
		if products, err = all[Product](r, Query{}); err != nil {
			return err
		}
		apis, err = all[API](r, Query{})
		return err
	})
	if err != nil {
		return at, err
	}
	snapshot := NewSnapshot(at.Revision, products, apis)
	snapshot.resets = began.reset
	c.mu.Lock()
	defer c.mu.Unlock()
	if began.reset != c.recent.reset || c.recent.compare(at, began.applied) == anotherHistory {
		return at, errHistory
	}
	c.snapshot.Store(snapshot)
	c.changes.Ring()
	return at, nil
}

// mark is a place among the changes seen so far.
type mark struct {
	change, reset uint64
	applied       Position
}

func (c *Catalog) mark() mark {
	c.mu.Lock()
	defer c.mu.Unlock()
	return mark{c.recent.last, c.recent.reset, c.recent.applied}
}

var (
	errSilent  = errors.New("the feed of changes is silent")
	errHistory = fmt.Errorf("appaccess: the store shows an older state or another history: %w", ErrUnavailable)
)
