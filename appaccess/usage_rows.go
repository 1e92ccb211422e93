package appaccess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// KindUsage is the kind of the usage rows: one for each subject and hour, kept for 48
// hours, and one for each subject and day, kept for 90 days. A subject is a caller,
// an API, or all calls together.
const KindUsage Kind = "usage"

const (
	keepHours   = 48 * time.Hour
	keepDays    = 90 * 24 * time.Hour
	hourLayout  = "h20060102T15"
	dayLayout   = "d20060102"
	maxUsageOps = 100 // operations that a row counts apart

	bySubject = "subject" // usage
	subjectOf = "api/"    // begins the subject of an API
	// subjectAll is the subject of all calls together.
	subjectAll = "all"
)

// usageRow is the body of a row.
type usageRow struct {
	Calls   int64            `json:"calls"`
	Refused int64            `json:"refused,omitempty"`
	Failed  int64            `json:"failed,omitempty"`
	Errors  int64            `json:"errors,omitempty"`
	Reasons map[string]int64 `json:"reasons,omitempty"`
	// Operations are counts by "API operation"; the operations beyond maxUsageOps are
	// counted together under "other".
	Operations map[string]usageCount `json:"operations,omitempty"`
	Last       time.Time             `json:"last,omitzero"` // of a call that passed
}

type usageCount struct {
	Calls   int64 `json:"calls"`
	Refused int64 `json:"refused,omitempty"`
	Errors  int64 `json:"errors,omitempty"`
}

// add counts calls that had the same outcome.
func (r *usageRow) add(key callKey, n *callCount) {
	r.Calls += n.calls
	r.Failed += n.failed
	r.Errors += n.errors
	refused := int64(0)
	if key.reason != "" {
		refused = n.calls
		r.Refused += refused
		if r.Reasons == nil {
			r.Reasons = map[string]int64{}
		}
		r.Reasons[key.reason] += refused
	} else if n.last.After(r.Last) {
		r.Last = n.last.UTC()
	}
	r.count(key.api+" "+key.operation, usageCount{n.calls, refused, n.errors})
}

func (r *usageRow) count(operation string, n usageCount) {
	if r.Operations == nil {
		r.Operations = map[string]usageCount{}
	}
	if _, known := r.Operations[operation]; !known && len(r.Operations) >= maxUsageOps {
		operation = otherOps
	}
	sum := r.Operations[operation]
	sum.Calls += n.Calls
	sum.Refused += n.Refused
	sum.Errors += n.Errors
	r.Operations[operation] = sum
}

// merge adds the counts of another process.
func (r *usageRow) merge(o usageRow) {
	r.Calls += o.Calls
	r.Refused += o.Refused
	r.Failed += o.Failed
	r.Errors += o.Errors
	for reason, n := range o.Reasons {
		if r.Reasons == nil {
			r.Reasons = map[string]int64{}
		}
		r.Reasons[reason] += n
	}
	for operation, n := range o.Operations {
		r.count(operation, n)
	}
	if o.Last.After(r.Last) {
		r.Last = o.Last
	}
}

// flushCalls adds the counts of an interval to the rows in the store, so that the
// replicas' counts add up.
func (c *Catalog) flushCalls(ctx context.Context, now time.Time) {
	rows := map[string]*usageRow{} // by subject
	add := func(subject string, key callKey, n *callCount) {
		if rows[subject] == nil {
			rows[subject] = &usageRow{}
		}
		rows[subject].add(key, n)
	}
	counts := c.calls.take()
	c.calls.noteOutcomes(counts)
	known, err := c.knownCallers(ctx, counts)
	if err != nil {
		c.uncounted(ctx, err, counts)
		return
	}
	for key, n := range counts {
		if !known[key.caller] {
			key.caller = callerUnknown
		}
		add(key.caller, key, n)
		if key.api != "" {
			add(subjectOf+key.api, key, n)
		}
		add(subjectAll, key, n)
	}
	subjects := make([]string, 0, len(rows))
	for subject := range rows {
		subjects = append(subjects, subject)
	}
	slices.Sort(subjects)
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	for batch := range slices.Chunk(subjects, usageBatch) {
		_, err := c.store.Update(ctx, func(w Writer) error {
			if err := findUsage(w, now, batch); err != nil {
				return err
			}
			for _, subject := range batch {
				if err := errors.Join(addUsage(w, hourLayout, subject, now, rows[subject]), addUsage(w, dayLayout, subject, now, rows[subject])); err != nil {
					return err
				}
			}
			return errors.Join(dropUsage(w, "h", now.Add(-keepHours).Format(hourLayout)), dropUsage(w, "d", now.Add(-keepDays).Format(dayLayout)))
		})
		if err != nil {
			c.uncounted(ctx, err, counts)
			return
		}
	}
}

// uncounted drops counts that cannot be written. That does not affect the calls
// themselves.
func (c *Catalog) uncounted(ctx context.Context, err error, counts map[callKey]*callCount) {
	for _, n := range counts {
		c.calls.dropped.Add(n.calls)
	}
	c.cannotWrite(ctx, err)
}

// knownCallers returns the callers that are client applications or subscriptions in
// the store. The others share one row, so that nobody can create rows by calling.
func (c *Catalog) knownCallers(ctx context.Context, counts map[callKey]*callCount) (map[string]bool, error) {
	known := map[string]bool{callerOther: true}
	asked := map[string]bool{}
	for key := range counts {
		if key.caller != callerUnknown && key.caller != callerOther {
			asked[key.caller] = true
		}
	}
	err := c.store.View(ctx, func(r Reader) error {
		for some := range slices.Chunk(slices.Collect(maps.Keys(asked)), MaxPage) {
			subs, err := r.Find(KindSubscription, "", some)
			if err != nil {
				return err
			}
			recs, err := r.Find(KindApplication, byAppID, some)
			if err != nil {
				return err
			}
			apps, err := decodeAll[ClientApplication](recs)
			if err != nil {
				return err
			}
			for _, rec := range subs {
				known[rec.ID] = true
			}
			for i := range apps {
				known[apps[i].Entra.AppID] = true
			}
		}
		return nil
	})
	return known, err
}

// findUsage reads all rows that addUsage adds to at once. To read each when it is due
// would take a round trip to the database for each.
func findUsage(w Writer, now time.Time, subjects []string) error {
	ids := make([]string, 0, 2*len(subjects))
	for _, subject := range subjects {
		ids = append(ids, usageID(hourLayout, subject, now), usageID(dayLayout, subject, now))
	}
	_, err := w.Find(KindUsage, "", ids)
	return err
}

func usageID(layout, subject string, at time.Time) string {
	return at.UTC().Format(layout) + " " + subject
}

func addUsage(w Writer, layout, subject string, now time.Time, more *usageRow) error {
	id := usageID(layout, subject, now)
	row, err := note[usageRow](w, KindUsage, id)
	if err != nil {
		return err
	}
	row.merge(*more)
	body, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("appaccess: encoding usage: %w", err)
	}
	return w.Put(Record{Kind: KindUsage, ID: id, Body: body, Index: entries(IndexEntry{Name: bySubject, Value: subject})})
}

// dropUsage removes some rows of one size that begin before oldest, the oldest first.
func dropUsage(w Writer, size, oldest string) error {
	recs, err := w.List(Query{Kind: KindUsage, After: size, Limit: 4 * usageBatch})
	if err != nil {
		return err
	}
	for _, rec := range recs {
		if rec.ID >= oldest || !strings.HasPrefix(rec.ID, size) {
			return nil
		}
		if err := w.Delete(KindUsage, rec.ID); err != nil {
			return err
		}
	}
	return nil
}
