package appaccess

import (
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

	// PrimarySum and SecondarySum bring keys that callers have already, such as
	// those of API Management: [SumKey] of each. For managers only. A key that
	// is not brought (zero) is made, as ever. One that another subscription has
	// is a [*ConflictError].
	//
	// Nothing can be told of a key by its sum. Bring only keys that were drawn
	// at random, with 128 bits or more: whoever reads the store or a document
	// guesses one that people thought of. A gate takes keys of 1 to 512 bytes.
	PrimarySum, SecondarySum KeySum
}

// SubscriptionUpdate changes the fields that are not nil. A zero Expires means
// never.
type SubscriptionUpdate struct {
	Name    *string
	Expires *time.Time
}

// SubscriptionFilter selects subscriptions. Empty fields select all.
type SubscriptionFilter struct {
	Filter
	Scope Scope
	State SubscriptionState
}

// IssuedSubscription is a new subscription with the keys that were made for it,
// which are not kept and cannot be read again. A key that was brought is zero.
type IssuedSubscription struct {
	Subscription       Subscription
	Primary, Secondary Secret
}

func subscriptionID(v *Subscription) string { return v.ID }

// live reports whether a subscription gives access or may again without being
// asked for anew.
func (st SubscriptionState) live() bool {
	return st == SubscriptionActive || st == SubscriptionSuspended || st == SubscriptionSubmitted
}

// expires reports whether a subscription is still to become expired.
func (s *Subscription) expires() bool {
	return !s.Expires.IsZero() && (s.State == SubscriptionActive || s.State == SubscriptionSuspended)
}

// next are the states that a manager may set from each. Rejected and cancelled
// are final; an expired subscription becomes active again once its Expires is
// set anew.
var next = map[SubscriptionState][]SubscriptionState{
	SubscriptionSubmitted: {SubscriptionActive, SubscriptionRejected, SubscriptionCancelled},
	SubscriptionActive:    {SubscriptionSuspended, SubscriptionCancelled, SubscriptionExpired},
	SubscriptionSuspended: {SubscriptionActive, SubscriptionCancelled, SubscriptionExpired},
	SubscriptionExpired:   {SubscriptionActive, SubscriptionCancelled},
}

// CreateSubscription makes a subscription with two keys and returns those that
// were not brought, this once. A manager's is active at once; a developer asks
// for one of their own to a published product, which is submitted until a manager
// activates it, as long as they have fewer than 100. A product that does not
// accept keys is a [*ConflictError].
func (s *Service) CreateSubscription(ctx context.Context, by Actor, req SubscriptionRequest) (IssuedSubscription, error) {
	id, err := idOr(req.ID, newID)
	if err != nil {
		return IssuedSubscription{}, err
	}
	v := Subscription{
		ID: id, Name: req.Name, OwnerID: req.OwnerID, Scope: req.Scope, State: SubscriptionActive,
		PrimarySum: req.PrimarySum, SecondarySum: req.SecondarySum, Expires: storedTime(req.Expires),
	}
	if !by.Manager {
		v.OwnerID, v.State = standing(v.OwnerID, by.UserID), SubscriptionSubmitted
	}
	keys := broughtKeys(req.PrimarySum, req.SecondarySum)
	if err := firstError(checkSubscription(&v, s.clock()), keys.check()); err != nil {
		return IssuedSubscription{}, err
	}
	made := issue(&v)
	err = s.update(ctx, by, func(e *edit) error {
		if err := firstError(absent[Subscription](e, id), e.subscribable(&v), e.mayBring(keys)); err != nil {
			return err
		}
		v.Created, v.Updated = e.now, e.now
		return firstError(write(e, &v), e.auditSubscription("subscription.create", &v, keys.audit()...))
	})
	made.Subscription = v
	return orZero(made, err)
}

func checkSubscription(v *Subscription, now time.Time) error {
	if v.OwnerID != "" {
		if err := checkID("ownerId", v.OwnerID); err != nil {
			return err
		}
	}
	if !v.Expires.IsZero() && !now.Before(v.Expires) {
		return &InvalidError{"expires", "must be in the future, or zero for never"}
	}
	return firstError(checkText("name", v.Name, 1, maxName), checkScope(v.Scope))
}

func checkScope(scope Scope) error {
	if scope == AllAPIs || isID(scope.product()) || isID(scope.api()) {
		return nil
	}
	return &InvalidError{"scope", "must be /products/{id}, /apis/{id} or /apis"}
}

// product is the ID of a product scope, else empty.
func (sc Scope) product() string {
	id, ok := strings.CutPrefix(string(sc), "/products/")
	if !ok {
		return ""
	}
	return id
}

// api is the ID of an API scope, else empty.
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
	if err := e.fewEnough(v.OwnerID); err != nil {
		return err
	}
	if id := v.Scope.api(); id != "" {
		_, err := e.api(id)
		return unknownRef("scope", KindAPI, id, err)
	}
	if id := v.Scope.product(); id != "" {
		return e.subscribableProduct(id)
	}
	return nil
}

// maxOwnSubscriptions is how many subscriptions, also past ones, a developer may
// have and still ask for another. A manager may give them more.
const maxOwnSubscriptions = 100

// fewEnough keeps a developer from filling the store with requests.
func (e *edit) fewEnough(ownerID string) error {
	if e.by.Manager {
		return nil
	}
	subs, err := page[Subscription](e, Query{Index: byOwner, Value: ownerID, Limit: maxOwnSubscriptions})
	if err == nil && len(subs) == maxOwnSubscriptions {
		return &ConflictError{Field: "ownerId", Reason: fmt.Sprintf("a developer asks for at most %d subscriptions: have an API manager delete old ones or create this one", maxOwnSubscriptions)}
	}
	return err
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
	if lacks := missing(&p); len(lacks) > 0 {
		return &ConflictError{Field: "scope", Reason: "the product cannot be subscribed to yet: " + strings.Join(lacks, "; "), Objects: []string{id}}
	}
	return nil
}

// Subscriptions lists subscriptions, a developer's own or, for managers, all.
func (s *Service) Subscriptions(ctx context.Context, by Actor, f SubscriptionFilter) (Page[Subscription], error) {
	q, limit, err := f.query()
	if err != nil {
		return Page[Subscription]{}, err
	}
	owner := f.OwnerID
	if !by.Manager {
		owner = by.UserID
	}
	switch {
	case owner != "":
		q.Index, q.Value = byOwner, owner
	case f.Scope != "":
		q.Index, q.Value = byScope, string(f.Scope)
	}
	var found Page[Subscription]
	err = s.view(ctx, by, func(l *look) (err error) {
		found, err = list(l, q, limit, func(v *Subscription) bool {
			return (f.OwnerID == "" || v.OwnerID == f.OwnerID) && (f.Scope == "" || v.Scope == f.Scope) && (f.State == "" || v.State == f.State)
		}, subscriptionID)
		return err
	})
	return found, err
}

// Subscription reads one. Its keys are not kept: only their hashes are.
func (s *Service) Subscription(ctx context.Context, by Actor, id string) (Subscription, error) {
	var v Subscription
	err := s.view(ctx, by, func(l *look) (err error) {
		v, err = l.subscription(id)
		return err
	})
	return v, err
}

// LastUse is when one of a subscription's keys was last used at a gate; zero:
// never, as far as is known. Gates note uses now and then, so it may be some
// minutes behind. For the owner and managers.
func (s *Service) LastUse(ctx context.Context, by Actor, id string) (time.Time, error) {
	var at time.Time
	err := s.view(ctx, by, func(l *look) error {
		_, err := l.subscription(id)
		if err == nil {
			at, err = lastUse(l, id)
		}
		return err
	})
	return at, err
}

// UpdateSubscription changes a subscription's name, for its owner too, or when
// it expires, for managers only. One that has expired stays so until its state is
// set to active.
func (s *Service) UpdateSubscription(ctx context.Context, by Actor, id string, up SubscriptionUpdate) (Subscription, error) {
	return s.editSubscription(ctx, by, id, "subscription.update", func(e *edit, v *Subscription) (bool, error) {
		renamed := change(&v.Name, up.Name)
		if up.Expires == nil || v.Expires.Equal(storedTime(*up.Expires)) {
			return renamed, checkText("name", v.Name, 1, maxName)
		}
		v.Expires = storedTime(*up.Expires)
		return true, firstError(e.onlyManager(), checkSubscription(v, e.now))
	})
}

// SetSubscriptionState moves a subscription on: submitted to active or
// rejected, active to suspended and back, either to expired, expired to active
// once a later expiry is set, and all but rejected to cancelled. Rejected and
// cancelled are final; any other move is a [*ConflictError]. It takes effect in
// every gate at once. For managers; an owner may cancel.
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

// DeleteSubscription removes a subscription: its keys are refused at once. For
// managers only; an owner cancels.
func (s *Service) DeleteSubscription(ctx context.Context, by Actor, id string) error {
	return s.update(ctx, by, func(e *edit) error {
		if _, err := e.subscription(id); err != nil {
			return err
		}
		return firstError(e.onlyManager(), e.dropSubscription(id))
	})
}

func (e *edit) dropSubscription(id string) error {
	return firstError(e.w.Delete(KindSubscription, id), e.w.Delete(KindUse, id), e.audit("subscription.delete", KindSubscription, id, nil))
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

// auditSubscription records how a subscription now stands, and further pairs of
// names and values.
func (e *edit) auditSubscription(action string, v *Subscription, more ...string) error {
	details := map[string]string{"name": v.Name, "owner": v.OwnerID, "scope": string(v.Scope), "state": string(v.State)}
	if !v.Expires.IsZero() {
		details["expires"] = v.Expires.Format(time.RFC3339)
	}
	maps.Copy(details, pairs(more))
	return e.audit(action, KindSubscription, v.ID, details)
}

// storedTime is a time as JSON keeps it.
func storedTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}
