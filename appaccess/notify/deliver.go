package notify

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// pauses are those between attempts, as Standard Webhooks recommends: three days
// in all.
var pauses = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// deliver makes the attempts that are due.
func (n *Notifier) deliver(ctx context.Context) error {
	q := appaccess.Query{Kind: KindNotification, Where: []appaccess.IndexEntry{{Name: stateIndex, Value: pending}}, Limit: batch}
	for {
		var recs []appaccess.Record
		if err := n.store.View(ctx, func(r appaccess.Reader) (err error) {
			recs, err = r.List(q)
			return err
		}); err != nil {
			return err
		}
		for _, rec := range recs {
			q.After = rec.ID
			for _, t := range n.targets {
				if err := n.attempt(ctx, rec.ID, t); err != nil {
					return err
				}
			}
		}
		if len(recs) < batch {
			return nil
		}
	}
}

// attempt delivers one event to one receiver if that is due. It first moves the
// next attempt on, so that another replica does not begin it too; if this process
// dies in between, the event is sent again.
func (n *Notifier) attempt(ctx context.Context, id string, t target) error {
	var event Event
	due := false
	if err := n.change(ctx, id, t.name, func(one *Notification, d *Delivery) bool {
		due = d.Delivered.IsZero() && !d.Next.IsZero() && !n.now().Before(d.Next)
		if due {
			event, d.Next = one.Event, n.now().UTC().Add(lease)
		}
		return due
	}); err != nil || !due {
		return err
	}
	sending, cancel := context.WithTimeout(ctx, deliveryTimeout)
	sent := t.send(sending, event)
	cancel()
	if ctx.Err() != nil {
		return ctx.Err() // the lease ends by itself
	}
	return n.change(ctx, id, t.name, func(_ *Notification, d *Delivery) bool {
		d.Attempts++
		switch {
		case sent == nil:
			d.Delivered, d.Next, d.Error = n.now().UTC(), time.Time{}, ""
		case d.Attempts > len(pauses):
			d.Next, d.Error = time.Time{}, sent.Error()
			n.log.ErrorContext(ctx, "a notification was given up", "event", id, "target", t.name, "error", sent)
		default:
			d.Next, d.Error = n.now().UTC().Add(pauses[d.Attempts-1]), sent.Error()
		}
		return true
	})
}

// change changes a delivery in one transaction. fn reports whether it did.
func (n *Notifier) change(ctx context.Context, id, target string, fn func(*Notification, *Delivery) bool) error {
	_, err := n.store.Update(ctx, func(w appaccess.Writer) error {
		rec, err := w.Get(KindNotification, id)
		if errors.Is(err, appaccess.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		var one Notification
		if err := json.Unmarshal(rec.Body, &one); err != nil {
			return err
		}
		i := slices.IndexFunc(one.Deliveries, func(d Delivery) bool { return d.Target == target })
		if i < 0 || !fn(&one, &one.Deliveries[i]) {
			return nil
		}
		return n.put(w, one)
	})
	return err
}

// List returns notifications, newest first; after is the ID of the last event of
// the page before. It does not ask who may see them: that is the caller's.
func (n *Notifier) List(ctx context.Context, after string, limit int) (appaccess.Page[Notification], error) {
	var page appaccess.Page[Notification]
	err := n.store.View(ctx, func(r appaccess.Reader) error {
		page = appaccess.Page[Notification]{}
		recs, err := r.List(appaccess.Query{Kind: KindNotification, After: after, Descending: true, Limit: limit + 2})
		if err != nil {
			return err
		}
		for _, rec := range recs {
			if rec.ID == cursorID {
				continue
			}
			if len(page.Items) == limit {
				page.Next = page.Items[limit-1].Event.ID
				return nil
			}
			var one Notification
			if err := json.Unmarshal(rec.Body, &one); err != nil {
				return err
			}
			page.Items = append(page.Items, one)
		}
		return nil
	})
	return page, err
}

// Redeliver makes an event due again, for every receiver that is configured. An
// event that does not exist is [appaccess.ErrNotFound].
func (n *Notifier) Redeliver(ctx context.Context, id string) error {
	_, err := n.store.Update(ctx, func(w appaccess.Writer) error {
		rec, err := w.Get(KindNotification, id)
		if err != nil || id == cursorID {
			return errors.Join(err, appaccess.ErrNotFound)
		}
		var one Notification
		if err := json.Unmarshal(rec.Body, &one); err != nil {
			return err
		}
		one.Deliveries = n.fresh()
		return n.put(w, one)
	})
	return err
}
