package appaccess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// Approval is a manager's consent to a [Request], or to a part of it.
type Approval struct {
	Answer string // for the developer; may be empty
	// Grants are the grants that the manager approves: the requested products or
	// fewer, with the requested permissions or fewer. Nil: all.
	Grants Grants
	// UserID, for an account, is the user to bind to the Entra account. If empty, a
	// new user is created.
	UserID string
}

// ApproveRequest does what an open request asks for: it creates a user, registers a
// client application, grants products, or creates a subscription. If several managers
// decide at the same time, or the developer withdraws the request, the first one
// decides; the others get a *ConflictError on "state". After a [*ProvisionError] the
// request is approved, but Entra does not match it yet. For managers only.
func (s *Service) ApproveRequest(ctx context.Context, by Actor, id string, approval Approval) (Request, error) {
	if err := checkText("answer", approval.Answer, 0, maxDescription); err != nil {
		return Request{}, err
	}
	var r Request
	var behind Objects
	err := s.decide(ctx, by, id, &r, RequestApproved, approval.Answer, func(e *edit) error {
		behind = Objects{}
		if err := r.narrow(approval); err != nil {
			return err
		}
		switch r.Kind {
		case AccountRequest:
			return e.approveAccount(&r, approval.UserID)
		case ClientApplicationRequest:
			behind.Applications = []string{newID()}
			r.Result = behind.Applications[0]
			return s.approveApplication(e, &r)
		case ProductsRequest:
			r.Result, behind.Applications = r.ApplicationID, []string{r.ApplicationID}
			return s.approveProducts(e, &r)
		}
		return e.approveSubscription(&r)
	})
	if err != nil {
		return Request{}, err
	}
	return r, s.reconcile(ctx, behind)
}

// RejectRequest rejects an open request, with a reason for the developer. For
// managers only.
func (s *Service) RejectRequest(ctx context.Context, by Actor, id, answer string) (Request, error) {
	if err := checkText("answer", answer, 1, maxDescription); err != nil {
		return Request{}, err
	}
	var r Request
	err := s.decide(ctx, by, id, &r, RequestRejected, answer, nil)
	return orZero(r, err)
}

// WithdrawRequest withdraws an open request. For the developer who made it, and for
// managers.
func (s *Service) WithdrawRequest(ctx context.Context, by Actor, id string) (Request, error) {
	var r Request
	err := s.update(ctx, by, func(e *edit) error {
		return e.decide(id, &r, RequestWithdrawn, "", nil)
	})
	return orZero(r, err)
}

func (s *Service) decide(ctx context.Context, by Actor, id string, r *Request, state RequestState, answer string, fn func(*edit) error) error {
	return s.update(ctx, by, func(e *edit) error {
		if _, err := e.request(id); err != nil {
			return err
		}
		return firstError(e.onlyManager(), e.decide(id, r, state, answer, fn))
	})
}

// decide sets the final state of an open request.
func (e *edit) decide(id string, r *Request, state RequestState, answer string, fn func(*edit) error) (err error) {
	if *r, err = e.request(id); err != nil {
		return err
	}
	if r.State != RequestOpen {
		return &ConflictError{Field: "state", Reason: fmt.Sprintf("the request was %s already by %s", r.State, cmp.Or(r.DecidedBy, "its author")), Objects: []string{id}}
	}
	r.State, r.Answer, r.DecidedBy, r.Decided, r.Updated = state, answer, e.by.UserID, e.now, e.now
	if fn != nil {
		if err := fn(e); err != nil {
			return err
		}
	}
	return firstError(write(e, r), e.auditRequest("request."+map[RequestState]string{
		RequestApproved: "approve", RequestRejected: "reject", RequestWithdrawn: "withdraw",
	}[state], r))
}

// narrow sets the approved part of the requested grants.
func (r *Request) narrow(a Approval) error {
	r.Granted = r.Grants
	if a.Grants == nil {
		return nil
	}
	grants, err := checkGrants(a.Grants, 1)
	if err != nil {
		return err
	}
	for _, g := range grants {
		for _, name := range g.Permissions {
			if !r.Grants.Permit(g.Product, name) {
				return &InvalidError{"grants", fmt.Sprintf("permission %s of product %s was not asked for: approve what was, or less", name, g.Product)}
			}
		}
	}
	r.Granted = grants
	return nil
}

func (e *edit) approveAccount(r *Request, userID string) error {
	u := User{ID: newID(), Name: r.Name, Email: r.Email, State: UserActive, Created: e.now}
	action := "user.create"
	if userID != "" {
		var err error
		if u, err = e.user(userID); err != nil {
			return unknownRef("userId", KindUser, userID, err)
		}
		if u.ObjectID != "" {
			return &ConflictError{Field: "userId", Reason: "the user is bound to another Entra account", Objects: []string{userID}}
		}
		action = "user.bind"
	}
	u.TenantID, u.ObjectID, u.Updated = r.TenantID, r.ObjectID, e.now
	r.Result = u.ID
	return boundElsewhere(firstError(write(e, &u), e.auditUser(action, &u)))
}

// boundElsewhere returns the conflict of an account that another user has.
func boundElsewhere(err error) error {
	var taken *ConflictError
	if errors.As(err, &taken) && taken.Field == byEntra {
		return &ConflictError{Field: "objectId", Reason: "the Entra account is bound to another user", Objects: taken.Objects}
	}
	return err
}

func (s *Service) approveApplication(e *edit, r *Request) error {
	a := ClientApplication{
		ID: r.Result, Name: r.Name, Description: r.Description, OwnerID: r.UserID, State: ApplicationPending,
		Grants: r.Granted, Sync: Sync{Pending: true}, ServicePrincipal: r.ServicePrincipal,
	}
	if _, _, err := e.registered(&a, a.ID); err != nil {
		return err
	}
	return s.register(e, &a)
}

// register stores a new client application.
func (s *Service) register(e *edit, a *ClientApplication) error {
	if s.entra == nil {
		return errNoEntra()
	}
	if err := firstError(absent[ClientApplication](e, a.ID), e.owner(a.OwnerID), s.grantable(e, a, a.Grants)); err != nil {
		return err
	}
	a.Created, a.Updated = e.now, e.now
	return principalTaken(firstError(write(e, a), e.audit("application.register", KindApplication, a.ID, map[string]string{
		"name": a.Name, "owner": a.OwnerID, "grants": a.Grants.String(), "state": string(a.State),
	})))
}

// principalTaken returns the conflict of a service principal that another client
// application has.
func principalTaken(err error) error {
	var taken *ConflictError
	if errors.As(err, &taken) && taken.Field == byPrincipal {
		return &ConflictError{Field: "servicePrincipal", Reason: "the service principal belongs to another client application", Objects: taken.Objects}
	}
	return err
}

func (s *Service) approveProducts(e *edit, r *Request) error {
	a, err := e.application(r.ApplicationID)
	if err != nil {
		return unknownRef("applicationId", KindApplication, r.ApplicationID, err)
	}
	if a.OwnerID != r.UserID {
		return &ConflictError{Field: "applicationId", Reason: "the application has another owner by now: reject the request", Objects: []string{a.ID}}
	}
	return s.grant(e, &a, r.Granted)
}

func (e *edit) approveSubscription(r *Request) error {
	v := Subscription{ID: newID(), Name: r.Name, OwnerID: r.UserID, Scope: ProductScope(r.Granted[0].Product), State: SubscriptionActive, Created: e.now, Updated: e.now}
	issue(&v) // nobody sees these keys: the owner regenerates them
	r.Result = v.ID
	return firstError(e.subscribable(&v), write(e, &v), e.auditSubscription("subscription.create", &v))
}

// endRequestsOf withdraws the open requests of a user who is deleted.
func (e *edit) endRequestsOf(userID string) error {
	open, err := all[Request](e, Query{Where: where(byOpen, userID)})
	if err != nil {
		return err
	}
	for i := range open {
		if err := e.decide(open[i].ID, &open[i], RequestWithdrawn, "", nil); err != nil {
			return err
		}
	}
	return nil
}
