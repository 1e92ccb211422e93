package appaccess

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entragate/entragate/internal/wait"
)

// use is when a subscription was last used, as kept under KindUse and the
// subscription's ID. It is right to within CatalogConfig.UseInterval.
type use struct {
	At time.Time `json:"at"`
}

const (
	maxUses      = 10_000 // subscriptions whose use is waiting to be written
	useBatch     = 100    // written in one transaction
	flushTimeout = 5 * time.Second
)

// useLog collects uses between two writes.
type useLog struct {
	interval time.Duration // 0: none are collected
	mu       sync.Mutex
	at       map[string]time.Time
	dropped  atomic.Int64
	logged   time.Time // when it was last logged that writing fails; of writeUses
}

// Used notes that a subscription was used. It never waits for the store: uses
// are written together now and then, those of more than 10,000 subscriptions
// within one interval are dropped, and a crash loses what is not yet written.
func (c *Catalog) Used(subscriptionID string, at time.Time) {
	u := &c.uses
	if u.interval == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	before, ok := u.at[subscriptionID]
	switch {
	case ok && !at.After(before):
	case !ok && len(u.at) >= maxUses:
		u.dropped.Add(1)
	default:
		if u.at == nil {
			u.at = map[string]time.Time{}
		}
		u.at[subscriptionID] = at
	}
}

// writeUses writes at each interval, and a last time when ctx ends.
func (c *Catalog) writeUses(ctx context.Context) {
	if c.uses.interval == 0 {
		return
	}
	for wait.For(ctx, c.uses.interval) == nil {
		c.flushUses(ctx)
	}
	c.flushUses(context.WithoutCancel(ctx))
}

// flushUses writes what is collected. What cannot be written is dropped: it is
// no more than a hint, and the next use will be noted again.
func (c *Catalog) flushUses(ctx context.Context) {
	c.uses.mu.Lock()
	uses := c.uses.at
	c.uses.at = nil
	c.uses.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	batch := map[string]time.Time{}
	write := func() bool {
		if len(batch) == 0 {
			return true
		}
		if err := c.writeBatch(ctx, batch); err != nil {
			c.uses.dropped.Add(int64(len(batch) + len(uses)))
			c.cannotWrite(ctx, err)
			return false
		}
		clear(batch)
		return true
	}
	for id, at := range uses {
		batch[id] = at
		delete(uses, id)
		if len(batch) == useBatch && !write() {
			return
		}
	}
	write()
}

// cannotWrite logs, once a minute at most, what an outage does not explain:
// a store that can be read and not written.
func (c *Catalog) cannotWrite(ctx context.Context, err error) {
	if now := time.Now(); !c.outage.lasts() && now.Sub(c.uses.logged) >= outageReminder {
		c.uses.logged = now
		c.log.WarnContext(ctx, "last uses of subscriptions cannot be written", "error", err)
	}
}

func (c *Catalog) writeBatch(ctx context.Context, batch map[string]time.Time) error {
	_, err := c.store.Update(ctx, func(w Writer) error {
		for id, at := range batch {
			if err := recordUse(w, id, at); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// recordUse keeps the later of two uses, of a subscription that still exists.
func recordUse(w Writer, subscriptionID string, at time.Time) error {
	known, err := lastUse(w, subscriptionID)
	if err != nil || !at.After(known) {
		return err
	}
	if _, err := w.Get(KindSubscription, subscriptionID); err != nil {
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	return putNote(w, KindUse, subscriptionID, use{At: at.UTC()})
}

// lastUse is when a subscription was last used; zero: never, as far as known.
func lastUse(r Reader, subscriptionID string) (time.Time, error) {
	last, err := note[use](r, KindUse, subscriptionID)
	return last.At, err
}
