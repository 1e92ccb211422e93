package appaccess

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// What a Catalog logs of an outage: its beginning, each reason that the server gives
// and that was not logged yet, a reminder each minute, and its end. Without these bounds it would log each failed attempt to follow the store,
// some a second.
const (
	outageReminder = time.Minute
	outageSettled  = 10 * time.Second // without a failure: the outage is over
)

// outage is a time in which the store cannot be followed. In the zero value nothing
// has failed.
type outage struct {
	mu     sync.Mutex
	since  time.Time // first failure; zero: none
	until  time.Time // first success after the last failure; zero: none yet
	logged time.Time
	codes  []string // of the server's answers, that were logged
}

// failed notes a failure and reports what is to be logged: nothing, or for how
// long the outage has lasted, which is 0 when it begins. The first failure is often
// only a lost connection, and the server gives its reason later.
func (o *outage) failed(now time.Time, err error) (lasts time.Duration, tell bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := o.since.IsZero()
	if first {
		o.since, o.codes = now, nil
	}
	o.until = time.Time{}
	code := codeOf(err)
	news := code != "" && !slices.Contains(o.codes, code)
	if !first && !news && now.Sub(o.logged) < outageReminder {
		return 0, false
	}
	if news {
		o.codes = append(o.codes, code)
	}
	o.logged = now
	return now.Sub(o.since), true
}

// codeOf returns the code of the answer of an SQL server, such as 53300 for too many
// connections, or "" if the error is not an answer.
func codeOf(err error) string {
	if answer := (interface{ SQLState() string })(nil); errors.As(err, &answer) {
		return answer.SQLState()
	}
	return ""
}

// succeeded notes that all answers are current. It reports whether that ends an
// outage, and how long the outage lasted. A success between two failures ends
// nothing.
func (o *outage) succeeded(now time.Time) (lasted time.Duration, over bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return 0, false
	}
	if o.until.IsZero() {
		o.until = now
	}
	if now.Sub(o.until) < outageSettled {
		return 0, false
	}
	lasted = o.until.Sub(o.since)
	o.since = time.Time{}
	return lasted, true
}

// lasts reports whether there is an outage now.
func (o *outage) lasts() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.since.IsZero()
}

// lost logs, if it is time to, that the store cannot be followed. The handler
// may be slow, so no lock is held.
func (c *Catalog) lost(ctx context.Context, doing string, err error) {
	lasts, tell := c.outage.failed(time.Now(), err)
	if !tell {
		return
	}
	message := "the store is unreachable"
	if lasts > 0 {
		message = "the store is still unreachable"
	}
	c.log.WarnContext(ctx, message, "for", lasts.Round(time.Second), "while", doing, "error", err,
		"staleness", c.Staleness().Round(time.Second), "staleFor", c.staleFor)
}

// back logs, once, that the store can be followed again.
func (c *Catalog) back(ctx context.Context) {
	if lasted, over := c.outage.succeeded(time.Now()); over {
		c.log.InfoContext(ctx, "the store is back", "after", lasted.Round(time.Second))
	}
}
