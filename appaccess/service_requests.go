package appaccess

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// AccountApplicant is a person who signed in and is not a user. TenantID and ObjectID
// identify the person: they must come from a verified token. Name and Email are only
// shown, as unverified.
type AccountApplicant struct {
	TenantID, ObjectID  string // tid and oid
	Name, Email, Reason string
}

// RequestAccount requests a user for an Entra account. A person has at most one open
// request: asking again returns it. At most 1,000 account requests are open, so that
// a tenant's people cannot fill the store. For managers: a program that signs people
// in calls as a manager of its own.
func (s *Service) RequestAccount(ctx context.Context, by Actor, who AccountApplicant) (Request, error) {
	tid, err1 := checkGUID("tenantId", who.TenantID)
	oid, err2 := checkGUID("objectId", who.ObjectID)
	err := allErrors(err1, err2, checkText("name", who.Name, 1, maxName), checkEmail(who.Email), checkText("reason", who.Reason, 0, maxDescription))
	if err != nil {
		return Request{}, err
	}
	var r Request
	err = s.manage(ctx, by, func(e *edit) error {
		account := entraAccount(tid, oid)
		switch u, err := getBy[User](e, byEntra, account); {
		case err == nil:
			return &ConflictError{Field: "objectId", Reason: "the Entra account is bound to a user already", Objects: []string{u.ID}}
		case !errors.Is(err, ErrNotFound):
			return err
		}
		old, err := getBy[Request](e, byEntra, account)
		if err == nil || !errors.Is(err, ErrNotFound) {
			r = old
			return err
		}
		open := append(where(byState, string(RequestOpen)), where(byKind, string(AccountRequest))...)
		n, err := e.Count(Query{Kind: KindRequest, Where: open}, maxOpenAccounts)
		if err != nil {
			return err
		}
		if n >= maxOpenAccounts {
			return &ConflictError{Field: "objectId", Reason: fmt.Sprintf("there are %d open requests for an account: an API manager must decide some first", maxOpenAccounts)}
		}
		r = Request{Kind: AccountRequest, TenantID: tid, ObjectID: oid, Name: who.Name, Email: who.Email, Reason: who.Reason}
		return firstError(e.forgetOldRequests(Query{Where: where(byAccount, account)}, 0), e.open(&r))
	})
	return orZero(r, err)
}

// AccountRequestOf returns the newest request of an Entra account, in any state, to
// show it to the person who signs in. For managers, as [Service.RequestAccount].
func (s *Service) AccountRequestOf(ctx context.Context, by Actor, tenantID, objectID string) (Request, error) {
	tid, err1 := checkGUID("tenantId", tenantID)
	oid, err2 := checkGUID("objectId", objectID)
	if err := allErrors(err1, err2); err != nil {
		return Request{}, err
	}
	var r Request
	err := s.view(ctx, by, func(l *look) (err error) {
		if err := l.onlyManager(); err != nil {
			return err
		}
		r, err = l.newestOf(entraAccount(tid, oid))
		return err
	})
	return orZero(r, err)
}

func (l *look) newestOf(account string) (Request, error) {
	var newest Request
	for r, err := range each[Request](l, Query{Where: where(byAccount, account)}) {
		if err != nil {
			return Request{}, err
		}
		if newest.ID == "" || r.Created.After(newest.Created) || r.State == RequestOpen {
			newest = r
		}
	}
	if newest.ID == "" {
		return Request{}, fmt.Errorf("request of this account: %w", ErrNotFound)
	}
	return newest, nil
}

// RequestApplication requests a client application of the actor's own, with grants.
// reason is for the manager. asked must not have ID or Adopt; the owner is the actor,
// even if OwnerID is empty.
func (s *Service) RequestApplication(ctx context.Context, by Actor, asked ApplicationRequest, reason string) (Request, error) {
	r := Request{Kind: ClientApplicationRequest, Name: asked.Name, Description: asked.Description, Reason: reason, Grants: asked.Grants}
	var err error
	r.ServicePrincipal, err = checkServicePrincipal(asked.ServicePrincipal, "")
	for field, given := range map[string]bool{"id": asked.ID != "", "adopt": asked.Adopt != "", "ownerId": asked.OwnerID != "" && asked.OwnerID != by.UserID} {
		if given {
			err = allErrors(err, &InvalidError{field, "cannot be requested: an API manager registers such an application"})
		}
	}
	err = allErrors(err, checkText("name", asked.Name, 1, maxName), checkText("description", asked.Description, 0, maxDescription), checkAsked(&r))
	return s.request(ctx, by, r, err, func(e *edit) error {
		a := ClientApplication{Name: r.Name, OwnerID: by.UserID, ServicePrincipal: r.ServicePrincipal}
		if err := s.askable(e, &a, r.Grants); err != nil {
			return err
		}
		_, _, err := e.registered(&a, "")
		return err
	})
}

// RequestProducts requests more products, or other permissions, for a client
// application of the actor's own.
func (s *Service) RequestProducts(ctx context.Context, by Actor, applicationID, reason string, grants Grants) (Request, error) {
	r := Request{Kind: ProductsRequest, ApplicationID: applicationID, Reason: reason, Grants: grants}
	return s.request(ctx, by, r, checkAsked(&r), func(e *edit) error {
		a, err := e.application(applicationID)
		switch {
		case err != nil:
			return err
		case a.OwnerID != by.UserID:
			return fmt.Errorf("only the owner requests products; a manager grants them: %w", ErrForbidden)
		}
		return s.askable(e, &a, r.Grants)
	})
}

// RequestSubscription requests a subscription to a product. Its keys are generated at
// the approval; the owner gets a key by regenerating it.
func (s *Service) RequestSubscription(ctx context.Context, by Actor, productID, name, reason string) (Request, error) {
	r := Request{Kind: SubscriptionKeysRequest, Name: name, Reason: reason, Grants: GrantsOfAll(productID)}
	err := allErrors(checkText("name", name, 1, maxName), checkAsked(&r))
	return s.request(ctx, by, r, err, func(e *edit) error {
		return firstError(e.requestable("grants", []string{productID}, false), e.subscribableProduct(productID), e.fewEnough(by.UserID, productID))
	})
}

func checkAsked(r *Request) error {
	grants, err := checkGrants(r.Grants, 1)
	r.Grants = grants
	return allErrors(checkText("reason", r.Reason, 0, maxDescription), err)
}

// askable checks the grants that a developer requests.
func (s *Service) askable(e *edit, a *ClientApplication, grants Grants) error {
	return firstError(e.requestable("grants", grants.Products(), false), s.grantable(e, a, grants))
}

func (s *Service) request(ctx context.Context, by Actor, r Request, checked error, may func(*edit) error) (Request, error) {
	if checked != nil {
		return Request{}, checked
	}
	err := s.update(ctx, by, func(e *edit) error {
		if _, err := e.user(by.UserID); err != nil {
			return fmt.Errorf("only a user requests something: %w", ErrForbidden)
		}
		if r.Kind != SubscriptionKeysRequest && s.entra == nil {
			return errNoEntra()
		}
		if err := may(e); err != nil {
			return err
		}
		open, err := page[Request](e, Query{Where: where(byOpen, by.UserID), Limit: maxOpenRequests})
		if err != nil {
			return err
		}
		if len(open) == maxOpenRequests {
			return conflictWith("userId", fmt.Sprintf("a developer has at most %d open requests: withdraw one", maxOpenRequests), ids(open, requestID))
		}
		r.UserID = by.UserID
		return firstError(e.forgetOldRequests(Query{Where: where(byOwner, by.UserID)}, maxRequests-1), e.open(&r))
	})
	return orZero(r, err)
}

// open stores a new request.
func (e *edit) open(r *Request) error {
	r.ID, r.State, r.Created, r.Updated = newID(), RequestOpen, e.now, e.now
	return firstError(write(e, r), e.auditRequest("request.open", r))
}

// forgetOldRequests removes the oldest decided requests, so that at most keep are
// left.
func (e *edit) forgetOldRequests(q Query, keep int) error {
	list, err := all[Request](e, q)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b Request) int { return a.Created.Compare(b.Created) })
	for _, r := range list[:max(0, len(list)-keep)] {
		if r.State == RequestOpen {
			continue
		}
		if err := e.w.Delete(KindRequest, r.ID); err != nil {
			return err
		}
	}
	return nil
}

func (e *edit) auditRequest(action string, r *Request) error {
	details := map[string]string{"kind": string(r.Kind)}
	for name, v := range map[string]string{
		"name": r.Name, "owner": r.UserID, "application": r.ApplicationID, "grants": r.Grants.String(),
		"granted": r.Granted.String(), "result": r.Result, "answer": r.Answer, "servicePrincipal": r.ServicePrincipal.ObjectID,
	} {
		if v != "" {
			details[name] = v
		}
	}
	if r.ObjectID != "" {
		details["account"] = entraAccount(r.TenantID, r.ObjectID)
	}
	return e.audit(action, KindRequest, r.ID, details)
}

// RequestFilter selects requests. Empty fields select all.
type RequestFilter struct {
	Filter
	Kind RequestKind
}

// Requests lists requests: a developer's own or, for managers, all.
func (s *Service) Requests(ctx context.Context, by Actor, f RequestFilter) (Page[Request], error) {
	asked := f.OwnerID
	if !by.Manager {
		f.OwnerID = by.UserID
	}
	q, limit, err := f.query(KindRequest)
	if err != nil {
		return Page[Request]{}, err
	}
	if f.Kind != "" {
		q.Where = append(q.Where, where(byKind, string(f.Kind))...)
	}
	var found Page[Request]
	err = s.view(ctx, by, func(l *look) (err error) {
		found, err = list(l, q, limit, func(r *Request) bool { return asked == "" || r.UserID == asked })
		return err
	})
	return found, err
}

// Request returns a request, to the developer who made it and to managers.
func (s *Service) Request(ctx context.Context, by Actor, id string) (Request, error) {
	var r Request
	err := s.view(ctx, by, func(l *look) (err error) {
		r, err = l.request(id)
		return err
	})
	return r, err
}

// request reads a request that the actor may know of.
func (l *look) request(id string) (Request, error) {
	r, err := find[Request](l, id)
	if err == nil && !l.mayHave(r.UserID) {
		err = notFound(KindRequest, id)
	}
	return orZero(r, err)
}
