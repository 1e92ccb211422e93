package appaccess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// look reads one state of the store for an actor; edit also changes it. Both exist
// only if the actor was admitted.
type look struct {
	Reader
	by Actor
}

type edit struct {
	look
	s        *Service
	w        Writer
	now      time.Time
	revision Revision // at which the transaction began
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

// transact is update without the check of the actor's rights. It writes the outcome of
// a change that an actor began, also if the actor lost the right to write since.
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
	at, err := w.Position()
	return &edit{look: look{Reader: w, by: by}, s: s, w: w, now: s.clock(), revision: at.Revision}, err
}

// clock returns the time as JSON stores it.
func (s *Service) clock() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// admit refuses actors who may do nothing: the zero Actor, a developer who is not a
// user, and a blocked user.
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

// find reads an entity. A text that cannot be an ID is not found.
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

// application reads an application that the actor may know of.
func (l *look) application(id string) (ClientApplication, error) {
	a, err := find[ClientApplication](l, id)
	if err == nil && (a.Deleted || !l.mayHave(a.OwnerID)) {
		return ClientApplication{}, notFound(KindApplication, id)
	}
	return a, err
}

// subscription reads a subscription that the actor may know of.
func (l *look) subscription(id string) (Subscription, error) {
	v, err := find[Subscription](l, id)
	if err == nil && !l.mayHave(v.OwnerID) {
		return Subscription{}, notFound(KindSubscription, id)
	}
	return v, err
}

// credentials returns all credentials of an application, oldest first.
func (l *look) credentials(applicationID string) ([]Credential, error) {
	found, err := all[Credential](l, Query{Where: where(byApplication, applicationID)})
	slices.SortStableFunc(found, func(a, b Credential) int { return a.Created.Compare(b.Created) })
	return found, err
}

// write stores an entity.
func write[T entity](e *edit, v *T) error {
	r, err := encode(v)
	if err != nil {
		return err
	}
	if p, ok := any(v).(*Product); ok { // only the Service knows the Naming
		for _, name := range e.s.entraNames(p) {
			r.Index = append(r.Index, IndexEntry{Name: byEntraName, Value: name})
		}
	}
	return e.w.Put(r)
}

// note reads a record that the Service keeps for itself, by kind and ID. It returns
// the zero value if there is none.
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

// absent checks that an ID is free.
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
