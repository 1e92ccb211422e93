package appaccess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// look is one state of the store as an actor reads it; edit is one that they
// change. Both exist only after the actor was admitted.
type look struct {
	Reader
	by Actor
}

type edit struct {
	look
	w        Writer
	now      time.Time
	revision Revision // that the transaction began with
	audited  int
}

// view runs fn for an actor who may read.
func (s *Service) view(ctx context.Context, by Actor, fn func(*look) error) error {
	return s.store.View(ctx, func(r Reader) error {
		l := &look{Reader: r, by: by}
		if err := l.admit(); err != nil {
			return err
		}
		return fn(l)
	})
}

// update runs fn for an actor who may write, in one transaction.
func (s *Service) update(ctx context.Context, by Actor, fn func(*edit) error) error {
	return s.transact(ctx, by, func(e *edit) error {
		if err := e.admit(); err != nil {
			return err
		}
		return fn(e)
	})
}

// transact is update for what must be recorded whoever began it, and whether or
// not they may still write.
func (s *Service) transact(ctx context.Context, by Actor, fn func(*edit) error) error {
	_, err := s.store.Update(ctx, func(w Writer) error {
		e, err := s.edit(w, by)
		if err != nil {
			return err
		}
		return fn(e)
	})
	return err
}

// manage is update for managers only.
func (s *Service) manage(ctx context.Context, by Actor, fn func(*edit) error) error {
	return s.update(ctx, by, func(e *edit) error {
		if err := e.onlyManager(); err != nil {
			return err
		}
		return fn(e)
	})
}

func (s *Service) edit(w Writer, by Actor) (*edit, error) {
	rev, err := w.Revision()
	return &edit{look: look{Reader: w, by: by}, w: w, now: s.clock(), revision: rev}, err
}

// clock is the time as it is stored: JSON keeps it as it is.
func (s *Service) clock() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// admit refuses who may do nothing at all: the zero Actor, a developer who is
// no user, and whoever is blocked.
func (l *look) admit() error {
	if l.by == (Actor{}) {
		return fmt.Errorf("no actor: %w", ErrForbidden)
	}
	if l.by.UserID == "" {
		return nil
	}
	switch u, err := l.user(l.by.UserID); {
	case errors.Is(err, ErrNotFound) && l.by.Manager:
		return nil
	case errors.Is(err, ErrNotFound):
		return fmt.Errorf("unknown user: %w", ErrForbidden)
	case err != nil:
		return err
	case u.State != UserActive:
		return fmt.Errorf("the user is blocked: %w", ErrForbidden)
	}
	return nil
}

func (l *look) onlyManager() error {
	if !l.by.Manager {
		return ErrForbidden
	}
	return nil
}

// mayHave reports whether the actor may know of what a user owns.
func (l *look) mayHave(ownerID string) bool {
	return l.by.Manager || l.by.UserID != "" && l.by.UserID == ownerID
}

// find reads an entity; whatever cannot be an ID is not found.
func find[T entity](r Reader, id string) (T, error) {
	var none T
	if !isID(id) {
		return none, notFound(kindOf[T](), id)
	}
	v, err := get[T](r, id)
	if errors.Is(err, ErrNotFound) {
		return none, notFound(kindOf[T](), id)
	}
	return v, err
}

func notFound(kind Kind, id string) error {
	if len(id) > maxID {
		id = id[:maxID]
	}
	return fmt.Errorf("%s %q: %w", kind, id, ErrNotFound)
}

func (l *look) user(id string) (User, error) { return find[User](l, id) }

func (l *look) api(id string) (API, error) { return find[API](l, id) }

func (l *look) product(id string) (Product, error) {
	p, err := find[Product](l, id)
	if err == nil && p.Deleted {
		return Product{}, notFound(KindProduct, id)
	}
	return p, err
}

// application reads one that the actor may know of.
func (l *look) application(id string) (ClientApplication, error) {
	a, err := find[ClientApplication](l, id)
	if err == nil && (a.Deleted || !l.mayHave(a.OwnerID)) {
		return ClientApplication{}, notFound(KindApplication, id)
	}
	return a, err
}

// subscription reads one that the actor may know of.
func (l *look) subscription(id string) (Subscription, error) {
	v, err := find[Subscription](l, id)
	if err == nil && !l.mayHave(v.OwnerID) {
		return Subscription{}, notFound(KindSubscription, id)
	}
	return v, err
}

// credentials are all of an application, oldest first.
func (l *look) credentials(applicationID string) ([]Credential, error) {
	found, err := all[Credential](l, Query{Index: byApplication, Value: applicationID})
	slices.SortStableFunc(found, func(a, b Credential) int { return a.Created.Compare(b.Created) })
	return found, err
}

// write is put for what has no revision of its own to look after.
func write[T entity](e *edit, v *T) error { return put(e.w, v) }

// note is the record of what the Service keeps for itself: one of a kind and an
// ID; the zero value if there is none.
func note[T any](r Reader, kind Kind, id string) (T, error) {
	var v T
	rec, err := r.Get(kind, id)
	if err != nil {
		return v, ignoreNotFound(err)
	}
	if err := json.Unmarshal(rec.Body, &v); err != nil {
		return v, fmt.Errorf("appaccess: decoding %s %s: %w", kind, id, err)
	}
	return v, nil
}

func putNote(w Writer, kind Kind, id string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("appaccess: encoding %s %s: %w", kind, id, err)
	}
	return w.Put(Record{Kind: kind, ID: id, Body: body})
}

// absent makes sure that an ID is free.
func absent[T entity](e *edit, id string) error {
	switch _, err := get[T](e, id); {
	case err == nil:
		return &ConflictError{Field: "id", Reason: fmt.Sprintf("a %s of this ID exists already or is still being removed", kindOf[T]()), Objects: []string{id}}
	case errors.Is(err, ErrNotFound):
		return nil
	default:
		return err
	}
}

// list reads one page of entities that keep accepts, searching on until it is
// full and there is a next one.
func list[T entity](r Reader, q Query, limit int, keep func(*T) bool, id func(*T) string) (Page[T], error) {
	var found Page[T]
	for {
		q.Limit = limit + 1
		batch, err := page[T](r, q)
		if err != nil {
			return Page[T]{}, err
		}
		for i := range batch {
			if !keep(&batch[i]) {
				continue
			}
			if len(found.Items) == limit {
				found.Next = id(&found.Items[limit-1])
				return found, nil
			}
			found.Items = append(found.Items, batch[i])
		}
		if len(batch) < q.Limit {
			return found, nil
		}
		q.After = id(&batch[len(batch)-1])
	}
}

// query turns a Filter into the limit of a page and the store's query.
func (f Filter) query() (Query, int, error) {
	limit := f.Limit
	switch {
	case limit == 0:
		limit = 100
	case limit < 0 || limit > maxList:
		return Query{}, 0, &InvalidError{"limit", fmt.Sprintf("must be 1 to %d, or 0 for 100", maxList)}
	}
	for field, v := range map[string]string{"search": f.Search, "after": f.After, "ownerId": f.OwnerID} {
		if err := checkText(field, v, 0, maxName); err != nil {
			return Query{}, 0, err
		}
	}
	return Query{Text: f.Search, After: f.After}, limit, nil
}
