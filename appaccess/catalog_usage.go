package appaccess

import (
	"context"
	"time"

	"github.com/entragate/entragate/internal/wait"
)

const (
	usageBatch   = 100 // subjects whose counts are written in one transaction
	flushTimeout = 5 * time.Second
)

// usageWriter says when a Catalog writes what it counted.
type usageWriter struct {
	interval time.Duration // 0: nothing is counted
	logged   time.Time     // when it was last logged that writing fails
}

// writeUsage writes at each interval, and a last time when ctx ends.
func (c *Catalog) writeUsage(ctx context.Context) {
	if c.usage.interval == 0 {
		return
	}
	for wait.For(ctx, c.usage.interval) == nil {
		c.flushCalls(ctx, time.Now())
	}
	c.flushCalls(context.WithoutCancel(ctx), time.Now())
}

// cannotWrite logs, at most once a minute, a store that can be read but not written.
func (c *Catalog) cannotWrite(ctx context.Context, err error) {
	if now := time.Now(); !c.outage.lasts() && now.Sub(c.usage.logged) >= outageReminder {
		c.usage.logged = now
		c.log.WarnContext(ctx, "usage cannot be written", "error", err)
	}
}
