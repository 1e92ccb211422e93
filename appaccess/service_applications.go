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
	ID          string // empty: one is made
	Name        string // 1 to 300 characters, unique among the owner's
	OwnerID     string // an active user
	Description string // at most 1,000 characters
	// Grants are the products that it may call: one or more, each with token
	// access, published and with an API. See [GrantsOfAll].
	Grants Grants
	// Adopt is the client ID of an application in Entra to adopt. If empty, an
	// application is created.
	Adopt        string
	AdoptChanges AdoptChanges
	// ServicePrincipal makes an existing service principal, such as a managed
	// identity, the client application. Only its grants are changed in Entra, and it
	// gets no credentials here. Only managers may set it, and not together with
	// Adopt. Zero: none.
	ServicePrincipal ServicePrincipal
}

// ApplicationUpdate changes the fields that are not nil.
type ApplicationUpdate struct {
	Name, Description *string
	Revision          Revision // refuses the update if the application has another one by now; 0: any
}

// RegisterApplication registers a client application in Entra and grants it products.
// The application is pending until it exists in Entra, then active. For managers. A
// developer may register an application of their own if all products are open to all
// developers; for other products see [Service.RequestApplication].
func (s *Service) RegisterApplication(ctx context.Context, by Actor, req ApplicationRequest) (ClientApplication, error) {
	a, err := req.application()
	if err != nil {
		return ClientApplication{}, err
	}
	err = s.update(ctx, by, func(e *edit) error {
		if err := e.mayRegister(&a); err != nil {
			return err
		}
		if s.entra == nil {
			return errNoEntra()
		}
		if old, ok, err := e.registered(&a, req.ID); err != nil || ok {
			a = old
			return err
		}
		if !by.Manager {
			if err := e.withinLimits(a.OwnerID, a.Grants.Products()); err != nil {
				return err
			}
		}
		return s.register(e, &a)
	})
	if err != nil {
		return ClientApplication{}, err
	}
	return s.reconcileApplication(ctx, by, a)
}

// application checks the request without the store and returns what it asks for.
func (req ApplicationRequest) application() (ClientApplication, error) {
	id, err := idOr(req.ID, newID)
	adopt, err2 := checkAdopt(req.Adopt)
	grants, err3 := checkGrants(req.Grants, 1)
	principal, err4 := checkServicePrincipal(req.ServicePrincipal, adopt)
	a := ClientApplication{
		ID: id, Name: req.Name, Description: req.Description, OwnerID: req.OwnerID, State: ApplicationPending,
		Grants: grants, Adopt: adopt, AdoptChanges: req.AdoptChanges, ServicePrincipal: principal, Sync: Sync{Pending: true},
	}
	return a, allErrors(err, err2, checkApplication(&a), err3, err4)
}

// mayRegister lets a developer register an application of their own for open
// products. The developer must not name an object in Entra, which may belong to
// somebody else.
func (l *look) mayRegister(a *ClientApplication) error {
	if l.by.Manager || a.OwnerID == l.by.UserID && a.Adopt == "" && !a.existing() && l.allOpen(a.Grants.Products()) {
		return nil
	}
	return fmt.Errorf("not every product is open to all developers: request the application: %w", ErrForbidden)
}

func checkApplication(a *ClientApplication) error {
	return allErrors(
		checkText("name", a.Name, 1, maxName),
		checkText("description", a.Description, 0, maxDescription),
		checkID("ownerId", a.OwnerID),
	)
}

// registered looks for the owner's application of this name. It finds the application
// if the same request stored it before and it is not complete in Entra yet. Any other
// application of the name is a conflict.
func (e *edit) registered(a *ClientApplication, askedID string) (ClientApplication, bool, error) {
	for old, err := range each[ClientApplication](e, Query{Where: where(byOwnerName, ownerName(a.OwnerID, a.Name))}) {
		switch {
		case err != nil:
			return old, false, err
		case fold(old.Name) != fold(a.Name):
			continue
		case old.Sync.Pending && (askedID == "" || askedID == old.ID) && old.Name == a.Name && old.Description == a.Description &&
			old.Adopt == a.Adopt && old.AdoptChanges == a.AdoptChanges && old.ServicePrincipal == a.ServicePrincipal && old.Grants.equal(a.Grants):
			return old, true, nil
		}
		return old, false, &ConflictError{Field: "name", Reason: "the owner has an application of this name already", Objects: []string{old.ID}}
	}
	return ClientApplication{}, false, nil
}

// grantable checks that the grants may be added to a client application.
func (s *Service) grantable(e *edit, a *ClientApplication, grants Grants) error {
	for i, g := range grants {
		p, err := e.grantedProduct(g)
		if err != nil {
			return err
		}
		if absent := missing(&p); len(absent) > 0 {
			return &ConflictError{Field: "grants", Reason: "the product cannot be granted yet: " + strings.Join(absent, "; "), Objects: []string{p.ID}}
		}
		if i == 0 && a.Entra.Name == "" && !a.existing() {
			if err := checkClientName(s.naming, p.Name, a.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// grantedProduct reads the product of a grant and checks that it has
// application based access and the permissions.
func (l *look) grantedProduct(g Grant) (Product, error) {
	p, err := l.product(g.Product)
	if err != nil {
		return p, unknownRef("grants", KindProduct, g.Product, err)
	}
	if !p.Access.Token {
		return p, &ConflictError{Field: "grants", Reason: "application based access is off: switch OAuth 2.0 token access on first", Objects: []string{p.ID}}
	}
	names := p.permissionNames()
	for _, name := range g.Permissions {
		if !slices.Contains(names, name) {
			return p, &InvalidError{"grants", fmt.Sprintf("product %s has no permission %q: it has %s", p.ID, name, strings.Join(names, ", "))}
		}
	}
	return p, nil
}

// Applications lists client applications: a developer's own or, for managers, all.
// Search also finds a client ID.
func (s *Service) Applications(ctx context.Context, by Actor, f Filter) (Page[ClientApplication], error) {
	asked := f.OwnerID
	if !by.Manager {
		f.OwnerID = by.UserID
	}
	q, limit, err := f.query(KindApplication)
	if err != nil {
		return Page[ClientApplication]{}, err
	}
	var found Page[ClientApplication]
	err = s.view(ctx, by, func(l *look) (err error) {
		if asked != "" && asked != f.OwnerID {
			found = Page[ClientApplication]{}
			return nil
		}
		found, err = list(l, q, limit, f.selectsApplication)
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

// Application returns a client application. Its client ID is in its Entra field.
func (s *Service) Application(ctx context.Context, by Actor, id string) (ClientApplication, error) {
	var a ClientApplication
	err := s.view(ctx, by, func(l *look) (err error) {
		a, err = l.application(id)
		return err
	})
	return shownApplication(by, a), err
}

// shownApplication hides from developers what concerns the managers' work in Entra.
func shownApplication(by Actor, a ClientApplication) ClientApplication {
	if !by.Manager {
		a.Sync.Error, a.Adopt, a.AdoptChanges = "", "", AdoptChanges{}
	}
	return a
}

// UpdateApplication changes an application's name or description. For the owner and
// managers.
func (s *Service) UpdateApplication(ctx context.Context, by Actor, id string, up ApplicationUpdate) (ClientApplication, error) {
	return s.editApplication(ctx, by, id, false, func(e *edit, a *ClientApplication) error {
		if err := e.expect(KindApplication, id, up.Revision); err != nil {
			return err
		}
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

// GrantProducts grants products to an application. If a product is already granted,
// its permissions are replaced; other products stay. Each product must have token
// access, be published and have an API. An application has at most 50 products. For
// managers; the owner may add products that are open to all developers.
func (s *Service) GrantProducts(ctx context.Context, by Actor, id string, grants Grants) (ClientApplication, error) {
	grants, err := checkGrants(grants, 1)
	if err != nil {
		return ClientApplication{}, err
	}
	return s.editApplication(ctx, by, id, false, func(e *edit, a *ClientApplication) error {
		if !by.Manager {
			if !e.allOpen(grants.Products()) {
				return fmt.Errorf("not every product is open to all developers: request it: %w", ErrForbidden)
			}
			if err := e.withinLimits(a.OwnerID, grants.Products()); err != nil {
				return err
			}
		}
		return s.grant(e, a, grants)
	})
}

// RevokeProducts revokes products. Every gate refuses the application for these
// products at once; the grants in Entra are removed after that. For managers only.
func (s *Service) RevokeProducts(ctx context.Context, by Actor, id string, productIDs []string) (ClientApplication, error) {
	if err := checkIDs("products", productIDs, 1, maxProducts); err != nil {
		return ClientApplication{}, err
	}
	return s.editApplication(ctx, by, id, true, func(e *edit, a *ClientApplication) error {
		return e.ungrant(a, productIDs)
	})
}

func (s *Service) grant(e *edit, a *ClientApplication, grants Grants) error {
	changed := slices.DeleteFunc(slices.Clone(grants), func(g Grant) bool {
		old := a.Grants.of(g.Product)
		return old != nil && old.equal(g)
	})
	if len(changed) == 0 {
		return nil
	}
	if s.entra == nil {
		return errNoEntra()
	}
	if err := s.grantable(e, a, changed); err != nil {
		return err
	}
	a.Grants = slices.Clone(a.Grants)
	for _, g := range changed {
		if old := a.Grants.of(g.Product); old != nil {
			*old = g
		} else {
			a.Grants = append(a.Grants, g)
		}
	}
	if len(a.Grants) > maxProducts {
		return &InvalidError{"grants", fmt.Sprintf("an application is granted at most %d products", maxProducts)}
	}
	if err := a.Grants.few(); err != nil {
		return err
	}
	return e.saveApplication(a, "application.grant", "grants", changed.String())
}

// ungrant revokes products. It ignores products that are not granted.
func (e *edit) ungrant(a *ClientApplication, productIDs []string) error {
	kept := slices.DeleteFunc(slices.Clone(a.Grants), func(g Grant) bool { return slices.Contains(productIDs, g.Product) })
	if len(kept) == len(a.Grants) {
		return nil
	}
	a.Grants = kept
	return e.saveApplication(a, "application.revoke", "products", strings.Join(productIDs, " "))
}

// SuspendApplication revokes an application's access at once, until it is resumed:
// gates refuse it, and Entra issues no tokens to it. Nobody can disable a managed
// identity in Entra, so an existing service principal still gets tokens, but loses
// its grants until then. For managers only.
func (s *Service) SuspendApplication(ctx context.Context, by Actor, id string) (ClientApplication, error) {
	return s.editApplication(ctx, by, id, true, func(e *edit, a *ClientApplication) error {
		if a.State == ApplicationSuspended {
			return nil
		}
		a.State = ApplicationSuspended
		return e.saveApplication(a, "application.suspend")
	})
}

// ResumeApplication ends a suspension. For managers only.
func (s *Service) ResumeApplication(ctx context.Context, by Actor, id string) (ClientApplication, error) {
	return s.editApplication(ctx, by, id, true, func(e *edit, a *ClientApplication) error {
		if a.State != ApplicationSuspended {
			return nil
		}
		a.State = ApplicationPending // until settled
		return e.saveApplication(a, "application.resume")
	})
}

// editApplication changes an application and reconciles it.
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
	return s.reconcileApplication(ctx, by, a)
}

// saveApplication writes a change that Entra must get. details are pairs of names and
// values for the audit trail.
func (e *edit) saveApplication(a *ClientApplication, action string, details ...string) error {
	a.Sync.Pending, a.Updated = true, e.now
	a.settle()
	return firstError(write(e, a), e.audit(action, KindApplication, a.ID, pairs(details)))
}

// settle derives the state: an application that is complete in Entra and granted a
// product is active.
func (a *ClientApplication) settle() {
	switch {
	case a.State == ApplicationSuspended:
	case len(a.Grants) == 0 || a.Entra.ServicePrincipalID == "":
		a.State = ApplicationPending
	default:
		a.State = ApplicationActive
	}
}

// DeleteApplication revokes an application's access at once, then removes its grants
// and objects in Entra, then its credentials and the application itself. Calling it
// again finishes a deletion that failed in Entra. For managers only.
func (s *Service) DeleteApplication(ctx context.Context, by Actor, id string) error {
	var behind Objects
	err := s.manage(ctx, by, func(e *edit) error {
		behind = Objects{}
		a, err := find[ClientApplication](e, id)
		if err != nil {
			return err
		}
		behind.Applications = []string{id}
		if a.Deleted {
			return nil
		}
		return e.dropApplication(&a)
	})
	if err != nil {
		return err
	}
	return s.reconcile(ctx, behind)
}

// dropApplication revokes an application's access and marks it as still to be removed
// from Entra.
func (e *edit) dropApplication(a *ClientApplication) error {
	err := firstError(
		e.endTransfersOf(KindApplication, a.ID),
		e.audit("application.delete", KindApplication, a.ID, map[string]string{"name": a.Name, "owner": a.OwnerID}),
	)
	if err != nil {
		return err
	}
	a.Deleted, a.State, a.Grants, a.Adopt, a.AdoptChanges = true, ApplicationSuspended, nil, "", AdoptChanges{}
	a.Sync.Pending, a.Updated = true, e.now
	return write(e, a)
}

// unknownRef is the error for a reference to an object that does not exist.
func unknownRef(field string, kind Kind, id string, err error) error {
	if errors.Is(err, ErrNotFound) {
		return &InvalidError{field, fmt.Sprintf("there is no %s %q", kind.words(), id)}
	}
	return err
}

// words returns the kind as text.
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

func applicationID(a *ClientApplication) string { return a.ID }
