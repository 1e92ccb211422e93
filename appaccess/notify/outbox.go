package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// KindNotification is the kind of the outbox's records: one for each event, and
// one for how far the audit trail was read.
const KindNotification appaccess.Kind = "notification"

const (
	stateIndex  = "state"
	pending     = "pending"
	failed      = "failed"
	cursorID    = "~cursor" // after every event
	batch       = 200
	keepFor     = 30 * 24 * time.Hour
	lease       = time.Minute // a delivery that was begun is not begun again before
	watchEvery  = time.Hour
	outOfSyncAt = time.Hour
)

// Delivery is an event on its way to one receiver.
type Delivery struct {
	Target    string    `json:"target"` // "hook", or a webhook's address
	Attempts  int       `json:"attempts,omitempty"`
	Next      time.Time `json:"next,omitzero"`      // of the next attempt; zero: none is due
	Delivered time.Time `json:"delivered,omitzero"` // zero: not yet
	Error     string    `json:"error,omitempty"`    // of the last attempt
}

// Failed reports whether no further attempt will be made.
func (d Delivery) Failed() bool { return d.Delivered.IsZero() && d.Next.IsZero() }

// Notification is an event and its deliveries.
type Notification struct {
	Event      Event      `json:"event"`
	Deliveries []Delivery `json:"deliveries"`
}

type cursor struct {
	After   string    `json:"after"` // audit record
	Watched time.Time `json:"watched,omitzero"`
}

func (n *Notifier) cursor(r appaccess.Reader) (cursor, error) {
	var c cursor
	rec, err := r.Get(KindNotification, cursorID)
	if errors.Is(err, appaccess.ErrNotFound) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(rec.Body, &c)
}

func putCursor(w appaccess.Writer, c cursor) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return w.Put(appaccess.Record{Kind: KindNotification, ID: cursorID, Body: body})
}

// collect moves what the audit trail has since the last time into the outbox,
// with the place that was reached, in one transaction. A new outbox begins with
// what happens from then on.
func (n *Notifier) collect(ctx context.Context) error {
	for more := true; more; {
		_, err := n.store.Update(ctx, func(w appaccess.Writer) error {
			at, err := n.cursor(w)
			if err != nil {
				return err
			}
			if at.After == "" {
				more = false
				return n.begin(w)
			}
			recs, err := w.List(appaccess.Query{Kind: appaccess.KindAudit, After: at.After, Limit: batch})
			if err != nil || len(recs) == 0 {
				more = false
				return err
			}
			for _, rec := range recs {
				at.After = rec.ID
				var a appaccess.AuditRecord
				if err := json.Unmarshal(rec.Body, &a); err != nil {
					return fmt.Errorf("notify: audit record %s: %w", rec.ID, err)
				}
				if e, ok := eventOf(a); ok {
					if err := n.put(w, Notification{Event: e, Deliveries: n.fresh()}); err != nil {
						return err
					}
				}
			}
			more = len(recs) == batch
			return putCursor(w, at)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *Notifier) begin(w appaccess.Writer) error {
	newest, err := w.List(appaccess.Query{Kind: appaccess.KindAudit, Descending: true, Limit: 1})
	if err != nil {
		return err
	}
	at := cursor{After: "0"}
	if len(newest) > 0 {
		at.After = newest[0].ID
	}
	return putCursor(w, at)
}

// fresh are the deliveries of a new event, all due now.
func (n *Notifier) fresh() []Delivery {
	var all []Delivery
	for _, t := range n.targets {
		all = append(all, Delivery{Target: t.name, Next: n.now().UTC()})
	}
	return all
}

func (n *Notifier) put(w appaccess.Writer, one Notification) error {
	body, err := json.Marshal(one)
	if err != nil {
		return err
	}
	rec := appaccess.Record{Kind: KindNotification, ID: one.Event.ID, Body: body}
	for _, d := range one.Deliveries {
		if d.Delivered.IsZero() && !d.Next.IsZero() {
			rec.Index = []appaccess.IndexEntry{{Name: stateIndex, Value: pending}}
			break
		}
	}
	return w.Put(rec)
}

// watch finds events that no call causes: credentials that end in 30, 7 and 1 days, and
// objects that are not in sync for an hour. Each is reported once, and again when the
// event was removed after 30 days and its cause still exists.
func (n *Notifier) watch(ctx context.Context) error {
	var due bool
	if err := n.store.View(ctx, func(r appaccess.Reader) error {
		at, err := n.cursor(r)
		due = n.now().Sub(at.Watched) >= watchEvery
		return err
	}); err != nil || !due {
		return err
	}
	events, err := n.ending(ctx)
	if err != nil {
		return err
	}
	behind, err := n.behind(ctx)
	if err != nil {
		return err
	}
	_, err = n.store.Update(ctx, func(w appaccess.Writer) error {
		at, err := n.cursor(w)
		if err != nil {
			return err
		}
		for _, e := range append(events, behind...) {
			switch _, err := w.Get(KindNotification, e.ID); {
			case err == nil:
				continue
			case !errors.Is(err, appaccess.ErrNotFound):
				return err
			}
			if err := n.put(w, Notification{Event: e, Deliveries: n.fresh()}); err != nil {
				return err
			}
		}
		at.Watched = n.now().UTC()
		return errors.Join(putCursor(w, at), n.tidy(w))
	})
	return err
}

// tidy removes events that are older than keepFor, some at a time.
func (n *Notifier) tidy(w appaccess.Writer) error {
	recs, err := w.List(appaccess.Query{Kind: KindNotification, Limit: batch})
	if err != nil {
		return err
	}
	for _, rec := range recs {
		var one Notification
		if rec.ID == cursorID || json.Unmarshal(rec.Body, &one) != nil || n.now().Sub(one.Event.Time) < keepFor {
			continue
		}
		if err := w.Delete(KindNotification, rec.ID); err != nil {
			return err
		}
	}
	return nil
}

// each reads all records of a kind.
func (n *Notifier) each(ctx context.Context, kind appaccess.Kind, fn func(appaccess.Reader, appaccess.Record) error) error {
	return n.store.View(ctx, func(r appaccess.Reader) error {
		q := appaccess.Query{Kind: kind, Limit: appaccess.MaxPage}
		for {
			recs, err := r.List(q)
			if err != nil {
				return err
			}
			for _, rec := range recs {
				if err := fn(r, rec); err != nil {
					return err
				}
				q.After = rec.ID
			}
			if len(recs) < q.Limit {
				return nil
			}
		}
	})
}

func (n *Notifier) ending(ctx context.Context) ([]Event, error) {
	var events []Event
	err := n.each(ctx, appaccess.KindCredential, func(r appaccess.Reader, rec appaccess.Record) error {
		var c appaccess.Credential
		if err := json.Unmarshal(rec.Body, &c); err != nil {
			return fmt.Errorf("notify: credential %s: %w", rec.ID, err)
		}
		left := c.End.Sub(n.now())
		if c.End.IsZero() || !c.RemoveAfter.IsZero() || left <= 0 || left > 30*24*time.Hour {
			return nil
		}
		days := 30
		for _, d := range []int{7, 1} {
			if left <= time.Duration(d)*24*time.Hour {
				days = d
			}
		}
		app, err := r.Get(appaccess.KindApplication, c.ApplicationID)
		if errors.Is(err, appaccess.ErrNotFound) {
			return nil
		}
		var a appaccess.ClientApplication
		if err == nil {
			err = json.Unmarshal(app.Body, &a)
		}
		if err != nil {
			return err
		}
		events = append(events, Event{
			ID: "ending-" + c.ID + "-" + strconv.Itoa(days), Type: CredentialEnding, Time: n.now().UTC(),
			Kind: appaccess.KindApplication, Object: a.ID, Name: a.Name, Owner: a.OwnerID,
			Details: map[string]string{"credential": c.Name, "kind": string(c.Kind), "end": c.End.UTC().Format(time.RFC3339), "days": strconv.Itoa(days)},
		})
		return nil
	})
	return events, err
}

func (n *Notifier) behind(ctx context.Context) ([]Event, error) {
	var events []Event
	for _, kind := range []appaccess.Kind{appaccess.KindProduct, appaccess.KindApplication} {
		err := n.each(ctx, kind, func(_ appaccess.Reader, rec appaccess.Record) error {
			var one struct {
				ID      string         `json:"id"`
				Name    string         `json:"name"`
				OwnerID string         `json:"ownerId"`
				Sync    appaccess.Sync `json:"sync"`
				Updated time.Time      `json:"updated"`
			}
			if err := json.Unmarshal(rec.Body, &one); err != nil {
				return fmt.Errorf("notify: %s %s: %w", kind, rec.ID, err)
			}
			if (one.Sync.Pending || one.Sync.Error != "") && n.now().Sub(one.Updated) >= outOfSyncAt {
				events = append(events, Event{
					ID:   "outofsync-" + string(kind) + "-" + one.ID + "-" + strconv.FormatInt(one.Updated.Unix(), 10),
					Type: OutOfSync, Time: n.now().UTC(), Kind: kind, Object: one.ID, Name: one.Name, Owner: one.OwnerID,
					Details: map[string]string{"error": one.Sync.Error},
				})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return events, nil
}
