package appaccess

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// SubscriptionRequest describes a new subscription.
type SubscriptionRequest struct {
	ID      string    // empty: one is made
	Name    string    // 1 to 300 characters
	OwnerID string    // an active user; managers may leave it empty
	Scope   Scope     // ProductScope(id), APIScope(id) or AllAPIs
	Expires time.Time // zero: never

	// PrimaryHash and SecondaryHash bring keys that callers already have, such as
	// keys of API Management: [HashKey] of each. For managers only. A key that is not
	// brought (zero) is generated. A key that another subscription has is a
	// [*ConflictError].
	//
	// A hash does not show how good its key is. Bring only random keys with 128 bits
	// or more: anybody who reads the store or a document can guess a key that a
	// person invented. A gate accepts keys of 1 to 512 bytes.
	PrimaryHash, SecondaryHash KeyHash
}

// SubscriptionUpdate changes the fields that are not nil. A zero Expires means
// never.
type SubscriptionUpdate struct {
	Name     *string
	Expires  *time.Time
	Revision Revision // refuses the update if the subscription has another one by now; 0: any
}

// SubscriptionFilter selects subscriptions. Empty fields select all.
type SubscriptionFilter struct {
	Filter
	Scope Scope
}

// IssuedSubscription is a new subscription with the keys that were generated for it,
// which are not stored and cannot be read again. A key that was brought is zero.
type IssuedSubscription struct {
	Subscription       Subscription
	Primary, Secondary Secret
}

// live reports whether a subscription gives access, or can give access again without
// a new request.
func (st SubscriptionState) live() bool {
	return st == SubscriptionActive || st == SubscriptionSuspended || st == SubscriptionSubmitted
}

// expires reports whether a subscription can still become expired.
func (s *Subscription) expires() bool {
	return !s.Expires.IsZero() && (s.State == SubscriptionActive || s.State == SubscriptionSuspended)
}

// next are the states that a manager may set from each state. Rejected and cancelled
// are final. An expired subscription can become active once its Expires was set to a
// later time.
var next = map[SubscriptionState][]SubscriptionState{
	SubscriptionSubmitted: {SubscriptionActive, SubscriptionRejected, SubscriptionCancelled},
	SubscriptionActive:    {SubscriptionSuspended, SubscriptionCancelled, SubscriptionExpired},
	SubscriptionSuspended: {SubscriptionActive, SubscriptionCancelled, SubscriptionExpired},
	SubscriptionExpired:   {SubscriptionActive, SubscriptionCancelled},
}

// CreateSubscription creates an active subscription with two keys. It returns the
// keys that were not brought, only this once. A developer may create one of their own
// to a published product that is open to all developers, as many as its PerDeveloper
// allows; for other products see [Service.RequestSubscription]. A product that does
// not accept keys is a [*ConflictError].
func (s *Service) CreateSubscription(ctx context.Context, by Actor, req SubscriptionRequest) (IssuedSubscription, error) {
	id, err := idOr(req.ID, newID)
	if err != nil {
		return IssuedSubscription{}, err
	}
	v := Subscription{
		ID: id, Name: req.Name, OwnerID: req.OwnerID, Scope: req.Scope, State: SubscriptionActive,
		PrimaryHash: req.PrimaryHash, SecondaryHash: req.SecondaryHash, Expires: storedTime(req.Expires),
	}
	if !by.Manager {
		v.OwnerID = cmp.Or(v.OwnerID, by.UserID)
	}
	keys := broughtKeys(req.PrimaryHash, req.SecondaryHash)
	if err := allErrors(checkSubscription(&v, s.clock()), keys.check()); err != nil {
		return IssuedSubscription{}, err
	}
	made := issue(&v)
	err = s.update(ctx, by, func(e *edit) error {
		if err := firstError(absent[Subscription](e, id), e.mayBring(keys), e.subscribable(&v)); err != nil {
			return err
		}
		v.Created, v.Updated = e.now, e.now
		return firstError(write(e, &v), e.auditSubscription("subscription.create", &v, keys.audit()...))
	})
	made.Subscription = v
	return orZero(made, err)
}

func checkSubscription(v *Subscription, now time.Time) error {
	var owner, expires error
	if v.OwnerID != "" {
		owner = checkID("ownerId", v.OwnerID)
	}
	if !v.Expires.IsZero() && !now.Before(v.Expires) {
		expires = &InvalidError{"expires", "must be in the future, or zero for never"}
	}
	return allErrors(checkText("name", v.Name, 1, maxName), checkScope(v.Scope), owner, expires)
}

func checkScope(scope Scope) error {
	if scope == AllAPIs || isID(scope.product()) || isID(scope.api()) {
		return nil
	}
	return &InvalidError{"scope", "must be /products/{id}, /apis/{id} or /apis"}
}

// product returns the ID of a product scope, otherwise empty.
func (sc Scope) product() string {
	id, ok := strings.CutPrefix(string(sc), "/products/")
	if !ok {
		return ""
	}
	return id
}

// api returns the ID of an API scope, otherwise empty.
func (sc Scope) api() string {
	id, ok := strings.CutPrefix(string(sc), "/apis/")
	if !ok {
		return ""
	}
	return id
}

// subscribable checks owner and scope of a new subscription.
func (e *edit) subscribable(v *Subscription) error {
	if v.OwnerID != "" {
		if !e.mayHave(v.OwnerID) {
			return fmt.Errorf("a subscription for somebody else: %w", ErrForbidden)
		}
		if err := e.owner(v.OwnerID); err != nil {
			return err
		}
	}
	if v.Scope.product() == "" && !e.by.Manager {
		return fmt.Errorf("subscriptions that are not to a product are a manager's: %w", ErrForbidden)
	}
	if id := v.Scope.api(); id != "" {
		_, err := e.api(id)
		return unknownRef("scope", KindAPI, id, err)
	}
	id := v.Scope.product()
	if id == "" {
		return nil
	}
	if err := e.subscribableProduct(id); err != nil || e.by.Manager {
		return err
	}
	return firstError(e.requestable("scope", []string{id}, true), e.fewEnough(v.OwnerID, id))
}

func (e *edit) subscribableProduct(id string) error {
	p, err := e.product(id)
	if err == nil && !e.seesProduct(&p) {
		err = notFound(KindProduct, id)
	}
	if err != nil {
		return unknownRef("scope", KindProduct, id, err)
	}
	if !p.Access.Key {
		return &ConflictError{Field: "scope", Reason: "the product does not accept subscription keys: switch key access on first", Objects: []string{id}}
	}
	if absent := missing(&p); len(absent) > 0 {
		return &ConflictError{Field: "scope", Reason: "the product cannot be subscribed to yet: " + strings.Join(absent, "; "), Objects: []string{id}}
	}
	return nil
}

// Subscriptions lists subscriptions: a developer's own or, for managers, all.
func (s *Service) Subscriptions(ctx context.Context, by Actor, f SubscriptionFilter) (Page[Subscription], error) {
	asked := f.OwnerID
	if !by.Manager {
		f.OwnerID = by.UserID
	}
	q, limit, err := f.query(KindSubscription)
	if err != nil {
		return Page[Subscription]{}, err
	}
	if f.Scope != "" {
		q.Where = append(q.Where, where(byScope, string(f.Scope))...)
	}
	var found Page[Subscription]
	err = s.view(ctx, by, func(l *look) (err error) {
		found, err = list(l, q, limit, func(v *Subscription) bool { return asked == "" || v.OwnerID == asked })
		return err
	})
	return found, err
}

// Subscription returns a subscription. It has the hashes of its keys; the keys are
// not stored.
func (s *Service) Subscription(ctx context.Context, by Actor, id string) (Subscription, error) {
	var v Subscription
	err := s.view(ctx, by, func(l *look) (err error) {
		v, err = l.subscription(id)
		return err
	})
	return v, err
}

// UpdateSubscription changes a subscription's name, for the owner and managers, or
// its expiry, for managers only. An expired subscription stays expired until its
// state is set to active.
func (s *Service) UpdateSubscription(ctx context.Context, by Actor, id string, up SubscriptionUpdate) (Subscription, error) {
	return s.editSubscription(ctx, by, id, "subscription.update", func(e *edit, v *Subscription) (bool, error) {
		if err := e.expect(KindSubscription, id, up.Revision); err != nil {
			return false, err
		}
		renamed := change(&v.Name, up.Name)
		if up.Expires == nil || v.Expires.Equal(storedTime(*up.Expires)) {
			return renamed, checkText("name", v.Name, 1, maxName)
		}
		v.Expires = storedTime(*up.Expires)
		return true, firstError(e.onlyManager(), checkSubscription(v, e.now))
	})
}

// SetSubscriptionState changes a subscription's state: submitted to active or
// rejected, active to suspended and back, either to expired, expired to active once a
// later expiry is set, and all but rejected to cancelled. Rejected and cancelled are
// final; any other change is a [*ConflictError]. It takes effect in every gate at
// once. For managers; an owner may cancel.
func (s *Service) SetSubscriptionState(ctx context.Context, by Actor, id string, state SubscriptionState) (Subscription, error) {
	return s.editSubscription(ctx, by, id, "subscription."+string(state), func(e *edit, v *Subscription) (bool, error) {
		if state != SubscriptionCancelled {
			if err := e.onlyManager(); err != nil {
				return false, err
			}
		}
		if v.State == state {
			return false, nil
		}
		if !slices.Contains(next[v.State], state) {
			return false, &ConflictError{Field: "state", Reason: fmt.Sprintf("cannot become %s: %s may become %v", strings.ToValidUTF8(shorten(string(state), 30), "?"), v.State, next[v.State]), Objects: []string{id}}
		}
		if state == SubscriptionActive && !v.Expires.IsZero() && !e.now.Before(v.Expires) {
			return false, &ConflictError{Field: "state", Reason: "the subscription has expired: set a later expiry first", Objects: []string{id}}
		}
		v.State = state
		return true, nil
	})
}

// DeleteSubscription deletes a subscription: gates refuse its keys at once. For
// managers only; an owner may cancel it.
func (s *Service) DeleteSubscription(ctx context.Context, by Actor, id string) error {
	return s.update(ctx, by, func(e *edit) error {
		if _, err := e.subscription(id); err != nil {
			return err
		}
		return firstError(e.onlyManager(), e.dropSubscriptions(id))
	})
}

// dropSubscriptions deletes subscriptions and the offers of them.
func (e *edit) dropSubscriptions(ids ...string) error {
	for _, id := range ids {
		if err := firstError(e.audit("subscription.delete", KindSubscription, id, nil), e.w.Delete(KindSubscription, id)); err != nil {
			return err
		}
	}
	return e.endTransfersOf(KindSubscription, ids...)
}

func idsOf(subs []Subscription) []string {
	ids := make([]string, len(subs))
	for i := range subs {
		ids[i] = subs[i].ID
	}
	return ids
}

func (s *Service) editSubscription(ctx context.Context, by Actor, id, action string, fn func(*edit, *Subscription) (changed bool, err error), details ...string) (Subscription, error) {
	var v Subscription
	err := s.update(ctx, by, func(e *edit) (err error) {
		if v, err = e.subscription(id); err != nil {
			return err
		}
		changed, err := fn(e, &v)
		if err != nil || !changed {
			return err
		}
		v.Updated = e.now
		return firstError(write(e, &v), e.auditSubscription(action, &v, details...))
	})
	return orZero(v, err)
}

// auditSubscription records the subscription after a change, with further pairs of
// names and values.
func (e *edit) auditSubscription(action string, v *Subscription, more ...string) error {
	details := map[string]string{"name": v.Name, "owner": v.OwnerID, "scope": string(v.Scope), "state": string(v.State)}
	if !v.Expires.IsZero() {
		details["expires"] = v.Expires.Format(time.RFC3339)
	}
	maps.Copy(details, pairs(more))
	return e.audit(action, KindSubscription, v.ID, details)
}

// storedTime returns a time as JSON stores it.
func storedTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

func subscriptionID(v *Subscription) string { return v.ID }
