package appaccess

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// KindForm is the kind of the records that [Service.SpendForm] keeps.
const KindForm Kind = "form"

// RevisionField is the Field of the [ConflictError] that an update returns if the object
// was changed after the revision of the update.
const RevisionField = "revision"

// Revision returns the revision of an object's record. A caller that shows the object
// in a form reads first the revision and then the object, and passes the revision to
// the update. The update is refused if anything, the reconciler included, wrote the
// record in between. kind is product, API, user, application or subscription. For
// managers, and for the owner of an application or subscription.
func (s *Service) Revision(ctx context.Context, by Actor, kind Kind, id string) (Revision, error) {
	var rev Revision
	err := s.view(ctx, by, func(l *look) (err error) {
		switch kind {
		case KindApplication:
			_, err = l.application(id)
		case KindSubscription:
			_, err = l.subscription(id)
		case KindProduct, KindAPI, KindUser:
			err = l.onlyManager()
		default:
			return &InvalidError{"kind", "must be product, api, user, application or subscription"}
		}
		if err != nil {
			return err
		}
		if !isID(id) {
			return notFound(kind, id)
		}
		rec, err := l.Get(kind, id)
		if errors.Is(err, ErrNotFound) {
			return notFound(kind, id)
		}
		rev = rec.Revision
		return err
	})
	return rev, err
}

// expect refuses a write if the record's revision is not the seen one. 0 accepts any
// revision.
func (l *look) expect(kind Kind, id string, seen Revision) error {
	if seen == 0 {
		return nil
	}
	rec, err := l.Get(kind, id)
	if err != nil {
		return err
	}
	if rec.Revision != seen {
		return &ConflictError{Field: RevisionField, Reason: "the object was changed since it was read: read it again", Objects: []string{id}}
	}
	return nil
}

// spentForm is the body of a KindForm record.
type spentForm struct {
	Expires time.Time `json:"expires"`
}

// maxFormLife bounds how long the record of a spent form is kept.
const maxFormLife = 24 * time.Hour

// SpendForm records that a form was sent. It reports false if the form was sent
// before, to this replica or another: of several calls with one ID, exactly one gets
// true. id is the form's own random ID. expires must be within 24 hours. The record
// is removed some time after expires, so the caller must refuse the form from then
// on. For everybody who may sign in.
func (s *Service) SpendForm(ctx context.Context, by Actor, id string, expires time.Time) (bool, error) {
	if !isID(id) {
		return false, &InvalidError{"id", idRule}
	}
	now := s.clock()
	if !now.Before(expires) || expires.Sub(now) > maxFormLife {
		return false, &InvalidError{"expires", "must be within 24 hours from now"}
	}
	// IDs begin with the time of expiry, so the oldest records come first.
	key := fmt.Sprintf("%012d-%s", expires.Unix(), id)
	var first bool
	err := s.update(ctx, by, func(e *edit) error {
		first = false
		if _, err := e.w.Get(KindForm, key); !errors.Is(err, ErrNotFound) {
			return err
		}
		old, err := e.w.List(Query{Kind: KindForm, Limit: 20})
		if err != nil {
			return err
		}
		for _, rec := range old {
			if rec.ID >= fmt.Sprintf("%012d", e.now.Unix()) {
				break
			}
			if err := e.w.Delete(KindForm, rec.ID); err != nil {
				return err
			}
		}
		first = true
		return putNote(e.w, KindForm, key, spentForm{expires.UTC()})
	})
	return first && err == nil, err
}

// allErrors joins the errors of checks of one input, so that a form can mark
// every wrong field at once.
func allErrors(errs ...error) error { return errors.Join(errs...) }
