package appaccess

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ApplicationRequest describes a new client application.
type ApplicationRequest struct {
	ID          string   // empty: one is made
	Name        string   // 1 to 300 characters, unique among the owner's
	OwnerID     string   // an active user
	Products    []string // one or more, each with token access, published and with an API
	Description string   // at most 1,000 characters
	// Adopt is the client ID of an application in Entra to take over; empty:
	// one is created.
	Adopt string
}

// ApplicationUpdate changes the fields that are not nil.
type ApplicationUpdate struct{ Name, Description *string }

// RegisterApplication registers a client application in Entra and grants it
// products. It is pending until Entra has it, then active. For managers only.
func (s *Service) RegisterApplication(ctx context.Context, by Actor, req ApplicationRequest) (ClientApplication, error) {
	id, err := idOr(req.ID, newID)
	adopt, err2 := checkAdopt(req.Adopt)
	a := ClientApplication{
		ID: id, Name: req.Name, Description: req.Description, OwnerID: req.OwnerID,
		State: ApplicationPending, Products: slices.Clone(req.Products), Adopt: adopt,
		Sync: Sync{Pending: true},
	}
	if err := firstError(err, err2, checkApplication(&a), checkIDs("products", a.Products, 1, maxProducts)); err != nil {
		return ClientApplication{}, err
	}
	err = s.manage(ctx, by, func(e *edit) error {
		if s.entra == nil {
			return errNoEntra()
		}
		if old, ok, err := e.registered(&a, req.ID); err != nil || ok {
			a = old
			return err
		}
		if err := firstError(absent[ClientApplication](e, a.ID), e.owner(a.OwnerID), e.grantable(a.Products)); err != nil {
			return err
		}
		a.Created, a.Updated = e.now, e.now
		return firstError(write(e, &a), e.audit("application.register", KindApplication, a.ID, map[string]string{
			"name": a.Name, "owner": a.OwnerID, "products": strings.Join(a.Products, " "),
		}))
	})
	if err != nil {
		return ClientApplication{}, err
	}
	return s.followApplication(ctx, by, a)
}

func checkApplication(a *ClientApplication) error {
	return firstError(
		checkText("name", a.Name, 1, maxName),
		checkText("description", a.Description, 0, maxDescription),
		checkID("ownerId", a.OwnerID),
	)
}

// registered looks for the owner's application of this name. It is found if
// the same request stored it before and Entra could not follow; any other is
// in the way.
func (e *edit) registered(a *ClientApplication, askedID string) (ClientApplication, bool, error) {
	for old, err := range each[ClientApplication](e, Query{Index: byOwner, Value: a.OwnerID}) {
		switch {
		case err != nil:
			return old, false, err
		case fold(old.Name) != fold(a.Name):
			continue
		case old.Sync.Pending && (askedID == "" || askedID == old.ID) && old.Name == a.Name && old.Description == a.Description &&
			old.Adopt == a.Adopt && slices.Equal(old.Products, a.Products):
			return old, true, nil
		}
		return old, false, &ConflictError{Field: "name", Reason: "the owner has an application of this name already", Objects: []string{old.ID}}
	}
	return ClientApplication{}, false, nil
}

// grantable checks that products may be linked to a client application.
func (l *look) grantable(productIDs []string) error {
	for _, id := range productIDs {
		if err := l.tokenProduct(id); err != nil {
			return err
		}
		p, err := l.product(id)
		if err != nil {
			return err
		}
		if lacks := missing(&p); len(lacks) > 0 {
			return &ConflictError{Field: "products", Reason: "the product cannot be granted yet: " + strings.Join(lacks, "; "), Objects: []string{id}}
		}
	}
	return nil
}

// tokenProduct checks that a product exists and has application based access.
func (l *look) tokenProduct(id string) error {
	p, err := l.product(id)
	if err != nil {
		return unknownRef("products", KindProduct, id, err)
	}
	if !p.Access.Token {
		return &ConflictError{Field: "products", Reason: "application based access is off: switch OAuth 2.0 token access on first", Objects: []string{id}}
	}
	return nil
}

// Applications lists client applications, a developer's own or, for managers,
// all; Search finds a client ID, too.
func (s *Service) Applications(ctx context.Context, by Actor, f Filter) (Page[ClientApplication], error) {
	q, limit, err := f.query()
	if err != nil {
		return Page[ClientApplication]{}, err
	}
	owner := f.OwnerID
	if !by.Manager {
		owner = by.UserID
	}
	var found Page[ClientApplication]
	err = s.view(ctx, by, func(l *look) (err error) {
		if !l.by.Manager && f.OwnerID != "" && f.OwnerID != owner {
			found = Page[ClientApplication]{}
			return nil
		}
		if owner != "" {
			q.Index, q.Value = byOwner, owner
		}
		found, err = list(l, q, limit, f.selectsApplication, applicationID)
		return err
	})
	for i := range found.Items {
		found.Items[i] = shownApplication(by, found.Items[i])
	}
	return found, err
}

func (f Filter) selectsApplication(a *ClientApplication) bool {
	return !a.Deleted && (f.OwnerID == "" || f.OwnerID == a.OwnerID)
}

func applicationID(a *ClientApplication) string { return a.ID }

// Application reads one: its client ID is in its Entra field.
func (s *Service) Application(ctx context.Context, by Actor, id string) (ClientApplication, error) {
	var a ClientApplication
	err := s.view(ctx, by, func(l *look) (err error) {
		a, err = l.application(id)
		return err
	})
	return shownApplication(by, a), err
}

// shownApplication keeps what concerns the manager's work in Entra from others.
func shownApplication(by Actor, a ClientApplication) ClientApplication {
	if !by.Manager {
		a.Sync.Error, a.Adopt = "", ""
	}
	return a
}

// UpdateApplication changes an application's name or description, for its
// owner, too.
func (s *Service) UpdateApplication(ctx context.Context, by Actor, id string, up ApplicationUpdate) (ClientApplication, error) {
	return s.editApplication(ctx, by, id, false, func(e *edit, a *ClientApplication) error {
		before := a.Name
		named, described := change(&a.Name, up.Name), change(&a.Description, up.Description)
		if err := checkApplication(a); err != nil || !named && !described {
			return err
		}
		if fold(a.Name) != fold(before) {
			if _, _, err := e.registered(&ClientApplication{Name: a.Name, OwnerID: a.OwnerID}, a.ID); err != nil {
				return err
			}
		}
		return e.saveApplication(a, "application.update", "name", a.Name)
	})
}

// GrantProducts grants products to an application; those that it has already
// stay. Each product must have token access, be published and hold an API. An
// application has at most 50 of them. For managers only.
func (s *Service) GrantProducts(ctx context.Context, by Actor, id string, productIDs []string) (ClientApplication, error) {
	return s.linkProducts(ctx, by, id, productIDs, s.grant)
}

// RevokeProducts takes products back: every gate refuses the application there
// at once, and Entra follows. For managers only.
func (s *Service) RevokeProducts(ctx context.Context, by Actor, id string, productIDs []string) (ClientApplication, error) {
	return s.linkProducts(ctx, by, id, productIDs, (*edit).ungrant)
}

func (s *Service) linkProducts(ctx context.Context, by Actor, id string, productIDs []string, link func(*edit, *ClientApplication, []string) error) (ClientApplication, error) {
	if err := checkIDs("products", productIDs, 1, maxProducts); err != nil {
		return ClientApplication{}, err
	}
	return s.editApplication(ctx, by, id, true, func(e *edit, a *ClientApplication) error {
		return link(e, a, productIDs)
	})
}

func (s *Service) grant(e *edit, a *ClientApplication, productIDs []string) error {
	added := slices.DeleteFunc(slices.Clone(productIDs), func(id string) bool { return slices.Contains(a.Products, id) })
	if len(added) == 0 {
		return nil
	}
	if s.entra == nil {
		return errNoEntra()
	}
	if err := e.grantable(added); err != nil {
		return err
	}
	if len(a.Products)+len(added) > maxProducts {
		return &InvalidError{"products", fmt.Sprintf("an application is granted at most %d products", maxProducts)}
	}
	a.Products = append(a.Products, added...)
	return e.saveApplication(a, "application.grant", "products", strings.Join(added, " "))
}

// ungrant takes products back; those that are not granted are ignored.
func (e *edit) ungrant(a *ClientApplication, productIDs []string) error {
	kept := slices.DeleteFunc(slices.Clone(a.Products), func(id string) bool { return slices.Contains(productIDs, id) })
	if len(kept) == len(a.Products) {
		return nil
	}
	a.Products = kept
	return e.saveApplication(a, "application.revoke", "products", strings.Join(productIDs, " "))
}

// SuspendApplication ends an application's access at once, until it is resumed:
// gates refuse it, and Entra is told to issue no tokens to it. For managers
// only.
func (s *Service) SuspendApplication(ctx context.Context, by Actor, id string) (ClientApplication, error) {
	return s.editApplication(ctx, by, id, true, func(e *edit, a *ClientApplication) error {
		if a.State == ApplicationSuspended {
			return nil
		}
		a.State = ApplicationSuspended
		return e.saveApplication(a, "application.suspend")
	})
}

// ResumeApplication takes a suspension back. For managers only.
func (s *Service) ResumeApplication(ctx context.Context, by Actor, id string) (ClientApplication, error) {
	return s.editApplication(ctx, by, id, true, func(e *edit, a *ClientApplication) error {
		if a.State != ApplicationSuspended {
			return nil
		}
		a.State = ApplicationPending // until settled
		return e.saveApplication(a, "application.resume")
	})
}

// editApplication changes an application and lets Entra follow.
func (s *Service) editApplication(ctx context.Context, by Actor, id string, managersOnly bool, fn func(*edit, *ClientApplication) error) (ClientApplication, error) {
	var a ClientApplication
	err := s.update(ctx, by, func(e *edit) (err error) {
		if a, err = e.application(id); err != nil {
			return err
		}
		if managersOnly {
			if err := e.onlyManager(); err != nil {
				return err
			}
		}
		return fn(e, &a)
	})
	if err != nil {
		return ClientApplication{}, err
	}
	return s.followApplication(ctx, by, a)
}

// saveApplication writes a change that Entra has to follow. details are pairs
// of names and values for the audit trail.
func (e *edit) saveApplication(a *ClientApplication, action string, details ...string) error {
	a.Sync.Pending, a.Updated = true, e.now
	a.settle()
	return firstError(write(e, a), e.audit(action, KindApplication, a.ID, pairs(details)))
}

// settle brings the state in line with the rest. An application that Entra
// has completely is active while it is linked to a product.
func (a *ClientApplication) settle() {
	switch {
	case a.State == ApplicationSuspended:
	case len(a.Products) == 0 || a.Entra.ServicePrincipalID == "":
		a.State = ApplicationPending
	default:
		a.State = ApplicationActive
	}
}

// DeleteApplication ends an application's access at once, then removes its
// grants and objects in Entra, and then its credentials and itself here.
// Calling it again finishes a deletion that Entra cut off. For managers only.
func (s *Service) DeleteApplication(ctx context.Context, by Actor, id string) error {
	var behind targets
	err := s.manage(ctx, by, func(e *edit) error {
		behind = targets{}
		a, err := find[ClientApplication](e, id)
		if err != nil {
			return err
		}
		behind.applications = []string{id}
		if a.Deleted {
			return nil
		}
		return e.dropApplication(&a)
	})
	if err != nil {
		return err
	}
	return s.follow(ctx, behind)
}

// dropApplication turns an application into the mark of one that is still to be
// removed from Entra.
func (e *edit) dropApplication(a *ClientApplication) error {
	a.Deleted, a.State, a.Products, a.Adopt = true, ApplicationSuspended, nil, ""
	a.Sync.Pending, a.Updated = true, e.now
	return firstError(write(e, a), e.audit("application.delete", KindApplication, a.ID, map[string]string{"name": a.Name, "owner": a.OwnerID}))
}

// unknownRef is the error for a reference to an object that does not exist.
func unknownRef(field string, kind Kind, id string, err error) error {
	if errors.Is(err, ErrNotFound) {
		return &InvalidError{field, fmt.Sprintf("there is no %s %q", kind.words(), id)}
	}
	return err
}

// words is the kind for people.
func (k Kind) words() string {
	switch k {
	case KindAPI:
		return "API"
	case KindApplication:
		return "client application"
	}
	return string(k)
}

func ignoreNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
