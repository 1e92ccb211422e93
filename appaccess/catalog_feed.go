package appaccess

import (
	"context"
	"errors"
	"time"

	"github.com/entragate/entragate/internal/wait"
)

// follow applies what the store's feed tells, for as long as ctx lasts.
func (c *Catalog) follow(ctx context.Context) {
	for pause := minWait; ctx.Err() == nil; pause = min(2*pause, maxWait) {
		feed, stop := context.WithCancel(ctx)
		c.feedStop.Store(&stop)
		for change, err := range c.store.Changes(feed, Revision(c.applied.Load())) {
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					c.lost(ctx, "following its changes", err)
				}
				break
			}
			c.apply(change)
			pause = minWait
		}
		stop()
		_ = wait.For(ctx, pause)
	}
}

const (
	minWait = 20 * time.Millisecond
	maxWait = time.Second
)

// apply forgets what a change may have made untrue.
func (c *Catalog) apply(change Change) {
	switch {
	case change.Reset:
		c.forgetAll()
		c.outdated(change.Revision)
	case change.Kind == KindProduct || change.Kind == KindAPI:
		c.outdated(change.Revision)
	case change.Kind == KindUser || change.Kind == KindApplication || change.Kind == KindSubscription:
		c.forget(change.Kind, change.ID)
	}
	c.applied.Store(int64(change.Revision))
}

func (c *Catalog) forget(kind Kind, id string) {
	r := refTo(kind, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recent.add(r)
	// A record that is new may be one that was asked for in vain.
	switch kind {
	case KindApplication:
		c.clients.era.Add(1)
	case KindSubscription:
		c.keys.era.Add(1)
	}
	c.clients.known.forget(r)
	c.keys.known.forget(r)
}

func (c *Catalog) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recent.addReset()
	c.clients.era.Add(1)
	c.keys.era.Add(1)
	c.clients.known.clear()
	c.keys.known.clear()
}

// outdated has the snapshot read again.
func (c *Catalog) outdated(rev Revision) {
	c.needed.Store(int64(rev))
	select {
	case c.reload <- struct{}{}:
	default: // is going to be
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
			err := c.readSnapshot(ctx)
			if err == nil || ctx.Err() != nil {
				break
			}
			c.lost(ctx, "reading products and APIs", err)
			_ = wait.For(ctx, pause)
		}
	}
}

// readSnapshot replaces the snapshot.
func (c *Catalog) readSnapshot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, snapshotTimeout)
	defer cancel()
	return c.store.View(ctx, func(r Reader) error {
		rev, err := r.Revision()
		if err != nil {
			return err
		}
		products, err := all[Product](r, Query{})
		if err != nil {
			return err
		}
		apis, err := all[API](r, Query{})
		if err != nil {
			return err
		}
		c.snapshot.Store(NewSnapshot(rev, products, apis))
		return nil
	})
}

const snapshotTimeout = 30 * time.Second

// poll asks for the revision now and then. When all changes up to an answer
// were applied, the Catalog is current as of when it asked.
func (c *Catalog) poll(ctx context.Context) {
	var asked time.Time // zero: no answer is waited for
	var answer, before Revision
	for wait.For(ctx, pollInterval) == nil {
		if !asked.IsZero() {
			applied := Revision(c.applied.Load())
			if !c.shows(answer) {
				if applied < answer && applied == before {
					c.restartFeed() // there was something to tell, and it told nothing
				}
				if c.Staleness() > downAfter {
					c.lost(ctx, "following its changes", errSilent)
				}
				before = applied
				continue
			}
			c.fresh.Store(int64(asked.Sub(c.start)))
			c.back(ctx)
		}
		asked = time.Now()
		rev, err := c.askRevision(ctx)
		if err != nil {
			if ctx.Err() == nil {
				c.lost(ctx, "asking for its revision", err)
			}
			asked = time.Time{}
		}
		answer, before = rev, Revision(c.applied.Load())
	}
}

// shows reports whether all changes up to a revision can be seen.
func (c *Catalog) shows(rev Revision) bool {
	return Revision(c.applied.Load()) >= rev &&
		c.snapshot.Load().Revision() >= min(rev, Revision(c.needed.Load()))
}

func (c *Catalog) restartFeed() {
	if stop := c.feedStop.Load(); stop != nil {
		(*stop)()
	}
}

func (c *Catalog) askRevision(ctx context.Context) (rev Revision, err error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	err = c.store.View(ctx, func(r Reader) error {
		rev, err = r.Revision()
		return err
	})
	return rev, err
}
