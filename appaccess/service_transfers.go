package appaccess

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Transfer is an owner's offer to give a client application or a subscription to
// another user. It ends when it is accepted, declined or withdrawn, when the object
// gets another owner in another way, or when it expires.
type Transfer struct {
	ID      string    `json:"id"`
	Kind    Kind      `json:"kind"`   // application or subscription
	Object  string    `json:"object"` // its ID
	Name    string    `json:"name"`   // its name when it was offered
	From    string    `json:"from"`   // user ID of the owner
	To      string    `json:"to"`     // user ID of the recipient
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"` // 14 days later
}

const transferTime = 14 * 24 * time.Hour

// TransferApplication changes the owner of a client application at once. Its client
// ID, credentials and products stay. One-time secrets that the former owner has not
// received become void and are removed from Entra. For managers only; an owner offers
// the application: see [Service.OfferTransfer].
func (s *Service) TransferApplication(ctx context.Context, by Actor, id, ownerID string) (ClientApplication, error) {
	err := s.transferNow(ctx, by, Transfer{Kind: KindApplication, Object: id, To: ownerID})
	if err != nil {
		return ClientApplication{}, err
	}
	return s.Application(ctx, by, id)
}

// TransferSubscription changes the owner of a subscription at once. Its keys stay.
// For managers only; an owner offers the subscription: see [Service.OfferTransfer].
func (s *Service) TransferSubscription(ctx context.Context, by Actor, id, ownerID string) (Subscription, error) {
	err := s.transferNow(ctx, by, Transfer{Kind: KindSubscription, Object: id, To: ownerID})
	if err != nil {
		return Subscription{}, err
	}
	return s.Subscription(ctx, by, id)
}

// TransferAll transfers everything that one user owns to another user, for example
// before [Service.DeleteUser], 20 objects in each transaction. Call it again after an
// error. It returns how many client applications and subscriptions it transferred.
// For managers only.
func (s *Service) TransferAll(ctx context.Context, by Actor, fromID, toID string) (int, error) {
	if fromID == toID {
		return 0, &InvalidError{"to", "must be another user"}
	}
	total := 0
	var behind []error
	for {
		var moved []Transfer
		err := s.manage(ctx, by, func(e *edit) error {
			moved = nil
			if _, err := e.user(fromID); err != nil {
				return err
			}
			apps, err := page[ClientApplication](e, Query{Where: where(byOwner, fromID), Limit: inTurn})
			for i := range apps {
				moved = append(moved, Transfer{Kind: KindApplication, Object: apps[i].ID, To: toID})
			}
			if err == nil && len(moved) < inTurn {
				var subs []Subscription
				subs, err = page[Subscription](e, Query{Where: where(byOwner, fromID), Limit: inTurn - len(moved)})
				for i := range subs {
					moved = append(moved, Transfer{Kind: KindSubscription, Object: subs[i].ID, To: toID})
				}
			}
			for _, t := range moved {
				err = firstError(err, e.transfer(t))
			}
			return err
		})
		if err != nil {
			return total, errors.Join(append(behind, err)...)
		}
		total += len(moved)
		behind = append(behind, s.afterTransfer(ctx, moved...))
		if len(moved) < inTurn {
			return total, errors.Join(behind...)
		}
	}
}

func (s *Service) transferNow(ctx context.Context, by Actor, t Transfer) error {
	err := s.update(ctx, by, func(e *edit) error {
		if _, _, err := e.transferable(&t); err != nil {
			return err
		}
		return firstError(e.onlyManager(), e.transfer(t))
	})
	if err != nil {
		return err
	}
	return s.afterTransfer(ctx, t)
}

// transferable returns the owner and the name of the object to transfer.
func (l *look) transferable(t *Transfer) (owner, name string, err error) {
	switch t.Kind {
	case KindApplication:
		a, err := l.application(t.Object)
		return a.OwnerID, a.Name, err
	case KindSubscription:
		v, err := l.subscription(t.Object)
		return v.OwnerID, v.Name, err
	}
	return "", "", &InvalidError{"kind", "must be application or subscription"}
}

// transfer changes the owner. The caller has checked the actor's rights.
func (e *edit) transfer(t Transfer) error {
	if err := e.owner(t.To); err != nil {
		return err
	}
	var from, name string
	switch t.Kind {
	case KindApplication:
		a, err := find[ClientApplication](e, t.Object)
		if err != nil || a.OwnerID == t.To {
			return err
		}
		if _, _, err := e.registered(&ClientApplication{Name: a.Name, OwnerID: t.To}, a.ID); err != nil {
			return err
		}
		from, name, a.OwnerID = a.OwnerID, a.Name, t.To
		if err := firstError(e.voidOneTimeSecrets(a.ID), e.saveApplication(&a, "application.transfer", "name", a.Name, "from", from, "to", t.To)); err != nil {
			return err
		}
	case KindSubscription:
		v, err := find[Subscription](e, t.Object)
		if err != nil || v.OwnerID == t.To {
			return err
		}
		from, name, v.OwnerID, v.Updated = v.OwnerID, v.Name, t.To, e.now
		if err := firstError(write(e, &v), e.auditSubscription("subscription.transfer", &v, "from", from, "to", t.To)); err != nil {
			return err
		}
	}
	details := map[string]string{"object": auditObject(t.Kind, t.Object), "objectName": name, "from": from, "to": t.To}
	for _, side := range []struct{ action, user string }{{"user.give", from}, {"user.receive", t.To}} {
		if side.user == "" {
			continue
		}
		if err := e.audit(side.action, KindUser, side.user, details); err != nil {
			return err
		}
	}
	return e.endTransfersOf(t.Kind, t.Object)
}

// voidOneTimeSecrets removes the one-time secrets that an owner has not received.
// Nobody knows these secrets, so it removes their credentials too.
func (e *edit) voidOneTimeSecrets(applicationID string) error {
	recs, err := e.List(Query{Kind: KindOneTimeSecret, Where: where(byApplication, applicationID)})
	if err != nil {
		return err
	}
	for _, rec := range recs {
		c, err := find[Credential](e, rec.ID)
		switch {
		case err == nil:
			c.RemoveAfter = e.now
			err = firstError(write(e, &c), e.audit("secret.void", KindApplication, applicationID, map[string]string{"credential": c.ID, "keyId": c.KeyID}))
		default:
			err = ignoreNotFound(err)
		}
		if err = firstError(err, e.forgetOneTimeSecret(rec.ID)); err != nil {
			return err
		}
	}
	return nil
}

// afterTransfer reconciles transferred objects: the new owner may be active where the
// former owner was blocked, and secrets may be void.
func (s *Service) afterTransfer(ctx context.Context, done ...Transfer) error {
	var behind Objects
	for _, t := range done {
		if t.Kind == KindApplication {
			behind.Applications = append(behind.Applications, t.Object)
		}
	}
	err := s.reconcile(ctx, behind)
	for _, id := range behind.Applications {
		s.removeReplaced(ctx, Manager(""), id)
	}
	return err
}

// OfferTransfer offers a client application or a subscription to another user, who
// accepts it with [Service.AcceptTransfer]. An object has at most one offer: a new
// one replaces it. The answer does not show whether the other user exists. For the
// owner only; managers transfer at once.
func (s *Service) OfferTransfer(ctx context.Context, by Actor, kind Kind, objectID, toUserID string) (Transfer, error) {
	if err := checkID("to", toUserID); err != nil {
		return Transfer{}, err
	}
	var t Transfer
	err := s.update(ctx, by, func(e *edit) error {
		t = Transfer{ID: newID(), Kind: kind, Object: objectID, To: toUserID, From: by.UserID, Created: e.now, Expires: e.now.Add(transferTime)}
		owner, name, err := e.transferable(&t)
		switch {
		case err != nil:
			return err
		case owner == "" || owner != by.UserID:
			return fmt.Errorf("only the owner offers it; a manager transfers it at once: %w", ErrForbidden)
		case toUserID == owner:
			return &ConflictError{Field: "to", Reason: "the user owns it already", Objects: []string{toUserID}}
		}
		t.Name = name
		return firstError(e.endTransfersOf(kind, objectID), write(e, &t),
			e.audit(string(kind)+".offer", kind, objectID, map[string]string{"name": name, "to": toUserID, "transfer": t.ID}))
	})
	return orZero(t, err)
}

// Transfers lists open offers: the offers that a developer made or received or, for
// managers, all.
func (s *Service) Transfers(ctx context.Context, by Actor) ([]Transfer, error) {
	var found []Transfer
	err := s.view(ctx, by, func(l *look) error {
		q := Query{}
		if !by.Manager {
			q = Query{Where: where(byParty, by.UserID)}
		}
		list, err := all[Transfer](l, q)
		found = slices.DeleteFunc(list, func(t Transfer) bool { return !s.clock().Before(t.Expires) })
		return err
	})
	return orZero(found, err)
}

// AcceptTransfer makes the actor the owner of the offered object. If the offer has
// ended, the error is [ErrNotFound]. For the recipient only.
func (s *Service) AcceptTransfer(ctx context.Context, by Actor, transferID string) (Transfer, error) {
	var t Transfer
	err := s.update(ctx, by, func(e *edit) (err error) {
		if t, err = e.openTransfer(transferID); err != nil {
			return err
		}
		if t.To != by.UserID {
			return fmt.Errorf("only the recipient accepts a transfer: %w", ErrForbidden)
		}
		return e.transfer(t)
	})
	if err != nil {
		return Transfer{}, err
	}
	return t, s.afterTransfer(ctx, t)
}

// EndTransfer ends an offer: the recipient declines it, the owner or a manager
// withdraws it.
func (s *Service) EndTransfer(ctx context.Context, by Actor, transferID string) error {
	return s.update(ctx, by, func(e *edit) error {
		t, err := e.openTransfer(transferID)
		if err != nil {
			return err
		}
		action := ".withdraw"
		if t.To == by.UserID {
			action = ".decline"
		}
		return firstError(e.w.Delete(KindTransfer, t.ID), e.audit(string(t.Kind)+action, t.Kind, t.Object, map[string]string{"name": t.Name, "to": t.To, "transfer": t.ID}))
	})
}

// openTransfer reads an offer that the actor may know of.
func (e *edit) openTransfer(id string) (Transfer, error) {
	t, err := find[Transfer](e, id)
	if err == nil && (!e.now.Before(t.Expires) || !e.by.Manager && t.From != e.by.UserID && t.To != e.by.UserID) {
		err = notFound(KindTransfer, id)
	}
	return orZero(t, err)
}

// endTransfersOf removes the offers of objects, if any.
func (e *edit) endTransfersOf(kind Kind, objectIDs ...string) error {
	objects := make([]string, len(objectIDs))
	for i, id := range objectIDs {
		objects[i] = auditObject(kind, id)
	}
	found, err := e.Find(KindTransfer, byObject, objects)
	for _, rec := range found {
		err = firstError(err, e.w.Delete(KindTransfer, rec.ID))
	}
	return err
}

func transferRecord(t *Transfer) Record {
	return Record{ID: t.ID, Index: entries(
		unique(byObject, auditObject(t.Kind, t.Object)),
		IndexEntry{Name: byParty, Value: t.From},
		IndexEntry{Name: byParty, Value: t.To},
	)}
}
