package appaccess

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

const (
	// atOnce is the most objects that a change concerns if it is one transaction.
	atOnce = 50
	// inTurn is the most objects that each transaction of a larger change concerns, so
	// that other transactions do not wait long.
	inTurn = 20
)

// task is the part of a change that concerns more than atOnce objects. The change
// itself, such as a user's block, is stored with the task in one transaction and
// revokes access at once; the task then changes the objects, a few in each
// transaction. The call that made it, or Sync, continues it.
type task struct {
	UserID  string `json:"userId,omitempty"` // of the actor
	Name    string `json:"name,omitempty"`
	Manager bool   `json:"manager,omitempty"`
	// Cursor is the ID of the last object that is done.
	Cursor string `json:"cursor,omitempty"`
}

// A task concerns a product or a user. Of a product, it revokes from applications
// what the product no longer has, and deletes the subscriptions of a deleted product.
// Of a user, it makes the applications pending.
func taskID(kind Kind, id string) string { return auditObject(kind, id) }

// addTask stores a task, in place of an earlier task of the object.
func (e *edit) addTask(kind Kind, id string) error {
	return putNote(e.w, KindTask, taskID(kind, id), task{UserID: e.by.UserID, Name: e.by.Name, Manager: e.by.Manager})
}

// hasTask reports whether an object has a task that is not done.
func (l *look) hasTask(kind Kind, id string) (bool, error) {
	_, err := l.Get(KindTask, taskID(kind, id))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// finishTasks does all tasks. Replicas that call it at the same time share the work.
func (s *Service) finishTasks(ctx context.Context) error {
	var errs []error
	q := Query{Kind: KindTask}
	var recs []Record
	err := s.store.View(ctx, func(r Reader) (err error) {
		recs, err = r.List(q)
		return err
	})
	for _, rec := range recs {
		errs = append(errs, s.finishTask(ctx, rec.ID))
	}
	return errors.Join(append(errs, err)...)
}

// finishTask does one task to its end.
func (s *Service) finishTask(ctx context.Context, id string) error {
	for more := true; more; {
		_, err := s.store.Update(ctx, func(w Writer) error {
			more = false
			t, err := note[task](w, KindTask, id)
			if _, gone := w.Get(KindTask, id); gone != nil || err != nil {
				return firstError(err, ignoreNotFound(gone))
			}
			e, err := s.edit(w, Actor{UserID: t.UserID, Name: t.Name, Manager: t.Manager})
			if err != nil {
				return err
			}
			kind, object, _ := strings.Cut(id, "/")
			if Kind(kind) == KindUser {
				more, err = e.markApplications(object, &t)
			} else {
				more, err = e.withdraw(object, &t)
			}
			switch {
			case err != nil:
				return err
			case more:
				return putNote(w, KindTask, id, t)
			}
			return w.Delete(KindTask, id)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// markApplications makes the next applications of a user pending, and reports
// whether there are more.
func (e *edit) markApplications(userID string, t *task) (more bool, err error) {
	apps, err := page[ClientApplication](e, Query{Where: where(byOwner, userID), After: t.Cursor, Limit: inTurn})
	for i := range apps {
		a := &apps[i]
		t.Cursor = a.ID
		if err == nil && !a.Sync.Pending {
			a.Sync.Pending = true
			err = write(e, a)
		}
	}
	return len(apps) == inTurn, err
}

// withdraw revokes what a product no longer has from the next applications, and
// deletes the next subscriptions of a deleted product. It reports whether there are
// more. At the end it deletes a product of which Entra has nothing.
func (e *edit) withdraw(productID string, t *task) (more bool, err error) {
	p, err := find[Product](e, productID)
	if err != nil {
		return false, ignoreNotFound(err)
	}
	apps, err := page[ClientApplication](e, Query{Where: where(byProduct, productID), After: t.Cursor, Limit: inTurn})
	for i := range apps {
		t.Cursor = apps[i].ID
		if err == nil {
			_, err = e.revokeMissing(&p, &apps[i])
		}
	}
	if err != nil || len(apps) == inTurn || !p.Deleted {
		return len(apps) == inTurn, err
	}
	subs, err := page[Subscription](e, Query{Where: where(byScope, string(ProductScope(productID))), Limit: inTurn - len(apps)})
	if err == nil {
		err = e.dropSubscriptions(idsOf(subs)...)
	}
	if err != nil || len(subs) == inTurn-len(apps) {
		return true, err
	}
	if !inEntra(&p) {
		err = e.w.Delete(KindProduct, productID)
	}
	return false, err
}

// few returns the entities of a query if they are at most atOnce; otherwise many is
// true.
func few[T entity](r Reader, q Query) (found []T, many bool, err error) {
	q.Limit = atOnce + 1
	found, err = page[T](r, q)
	if len(found) > atOnce {
		return nil, true, err
	}
	return found, false, err
}

// mostNamed is how many objects an error names.
const mostNamed = 100

// inTheWay refuses a change if a query selects any entities.
func inTheWay[T entity](r Reader, q Query, id func(*T) string, field, reason string) error {
	q.Limit = mostNamed + 1
	found, err := page[T](r, q)
	if err != nil || len(found) == 0 {
		return err
	}
	return conflictWith(field, reason, ids(found, id))
}

// conflictWith returns a [*ConflictError] that names the objects, the first hundred
// if there are more.
func conflictWith(field, reason string, objects []string) error {
	if len(objects) > mostNamed {
		reason, objects = fmt.Sprintf("%s (more than %d in all)", reason, mostNamed), objects[:mostNamed]
	}
	return &ConflictError{Field: field, Reason: reason, Objects: objects}
}

// notBeingRevoked refuses a change of a product from which a task still revokes
// permissions.
func (l *look) notBeingRevoked(productID, field string) error {
	busy, err := l.hasTask(KindProduct, productID)
	if err == nil && busy {
		err = &ConflictError{Field: field, Reason: "the product is still being revoked from applications: run Sync first", Objects: []string{productID}}
	}
	return err
}
