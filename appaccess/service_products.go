package appaccess

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// ProductRequest describes a new product.
type ProductRequest struct {
	ID          string       // empty: derived from the name
	Name        string       // 1 to 300 characters, unique; fewer with token access, see [DefaultNaming]
	Description string       // at most 1,000 characters
	Access      Access       // accepted credentials
	Permissions []Permission // in addition to [AllPermission], at most 100
	APIs        []string     // at most 900 IDs
	Published   bool
	// SelfService and PerDeveloper say what developers may do by themselves.
	SelfService  SelfService
	PerDeveloper int
	// Adopt is the client ID of an application in Entra to adopt as the product's
	// application, with token access. If empty, an application is created.
	Adopt        string
	AdoptChanges AdoptChanges
}

// ProductUpdate changes the fields that are not nil.
type ProductUpdate struct {
	Name, Description *string
	SelfService       *SelfService
	PerDeveloper      *int
	Revision          Revision // refuses the update if the product has another one by now; 0: any
}

// maxProductAPIs keeps a product's record below the limits of a store.
const maxProductAPIs = 900

// CreateProduct adds a product and, with token access, its application in
// Entra. For managers only.
func (s *Service) CreateProduct(ctx context.Context, by Actor, req ProductRequest) (Product, error) {
	p, err := s.newProduct(req)
	if err != nil {
		return Product{}, err
	}
	err = s.manage(ctx, by, func(e *edit) error {
		if old, ok, err := e.begun(&p); err != nil || ok {
			p = old
			return err
		}
		if err := firstError(absent[Product](e, p.ID), e.knownAPIs(p.APIs), s.nameable(e, &p)); err != nil {
			return err
		}
		p.Created, p.Updated = e.now, e.now
		p.Sync.Pending = p.Access.Token
		return firstError(write(e, &p), e.audit("product.create", KindProduct, p.ID, map[string]string{
			"name": p.Name, "access": p.Access.words(), "apis": strings.Join(p.APIs, " "), "state": string(p.State),
		}))
	})
	if err != nil {
		return Product{}, err
	}
	return s.reconcileProduct(ctx, by, p)
}

func (s *Service) newProduct(req ProductRequest) (Product, error) {
	id, err := idOr(req.ID, func() string { return slug(req.Name) })
	adopt, err2 := checkAdopt(req.Adopt)
	p := Product{
		ID: id, Name: req.Name, Description: req.Description, State: NotPublished,
		Access: req.Access, APIs: slices.Sorted(slices.Values(req.APIs)), Adopt: adopt, AdoptChanges: req.AdoptChanges,
		Permissions: slices.Clone(req.Permissions),
		SelfService: req.SelfService, PerDeveloper: req.PerDeveloper,
	}
	if req.Published {
		p.State = Published
	}
	err3 := checkIDs("apis", p.APIs, 0, maxProductAPIs)
	if adopt != "" && !p.Access.Token {
		err3 = &InvalidError{"adopt", "needs token access"}
	}
	return p, allErrors(err, err2, err3, checkProduct(&p), checkPermissions(p.Permissions))
}

func checkProduct(p *Product) error {
	return allErrors(checkText("name", p.Name, 1, maxName), checkText("description", p.Description, 0, maxDescription), checkSelfService(p.SelfService, p.PerDeveloper))
}

func checkAdopt(appID string) (string, error) {
	if appID == "" {
		return "", nil
	}
	return checkGUID("adopt", appID)
}

// begun finds the product that the same request stored before, if it is not in sync
// yet: the same call again then continues.
func (e *edit) begun(p *Product) (Product, bool, error) {
	old, err := e.product(p.ID)
	if err != nil {
		return Product{}, false, ignoreNotFound(err)
	}
	same := old.Sync.Pending && old.Name == p.Name && old.Description == p.Description && old.State == p.State &&
		old.Access == p.Access && slices.Equal(old.APIs, p.APIs) && slices.Equal(old.Permissions, p.Permissions) && old.Adopt == p.Adopt && old.AdoptChanges == p.AdoptChanges &&
		old.SelfService == p.SelfService && old.PerDeveloper == p.PerDeveloper
	return old, same, nil
}

func (l *look) knownAPIs(apiIDs []string) error {
	for _, id := range apiIDs {
		if _, err := l.api(id); err != nil {
			return unknownRef("apis", KindAPI, id, err)
		}
	}
	return nil
}

// nameable refuses token access for a product if Entra does not accept its names or
// another product has them.
func (s *Service) nameable(l *edit, p *Product) error {
	if !p.Access.Token {
		return nil
	}
	if s.entra == nil {
		return errNoEntra()
	}
	if err := checkEntraNames(s.naming, p); err != nil {
		return err
	}
	names := s.entraNames(p)
	if p.Entra.Name != "" {
		names = names[1:] // its application exists
	}
	recs, err := l.Find(KindProduct, byEntraName, names)
	if err != nil {
		return err
	}
	var others []string
	for _, rec := range recs {
		if rec.ID != p.ID {
			others = append(others, rec.ID)
		}
	}
	if len(others) == 0 {
		return nil
	}
	slices.Sort(others)
	return conflictWith("name", fmt.Sprintf("another product has the application name or a role of this product in Entra already, such as %s (spaces and hyphens, and upper and lower case, are one there): choose another name", s.naming.Role(p.Name, AllPermission)), others)
}

// entraNames returns the index values of the names that a product has in Entra, or
// will get: of its application first, then of its roles. They have no letter case, because
// Entra's search ignores it.
func (s *Service) entraNames(p *Product) []string {
	if !hasRole(p) {
		return nil
	}
	names := []string{indexValue("application " + fold(cmp.Or(p.Entra.Name, s.naming.ProductApplication(p.Name))))}
	for _, r := range s.desiredRoles(p) {
		names = append(names, indexValue("role "+fold(r.Value)))
	}
	return names
}

// hasRole reports whether a product's name exists in Entra, or may exist there.
func hasRole(p *Product) bool { return p.Access.Token || len(p.Entra.Roles) > 0 || p.Sync.Pending }

func errNoEntra() error {
	return &ConflictError{Field: "access.token", Reason: "this instance works without Entra: configure a Provisioner to use token access and client applications"}
}

// Products lists products. A developer gets the published ones.
func (s *Service) Products(ctx context.Context, by Actor, f Filter) (Page[Product], error) {
	q, limit, err := f.query(KindProduct)
	if err != nil {
		return Page[Product]{}, err
	}
	if !by.Manager {
		q.Where = append(q.Where, where(byState, string(Published))...)
	}
	var found Page[Product]
	err = s.view(ctx, by, func(l *look) (err error) {
		found, err = list(l, q, limit, l.seesProduct)
		return err
	})
	for i := range found.Items {
		found.Items[i] = shownProduct(by, found.Items[i])
	}
	return found, err
}

// Product returns a product. Application ID, audience, role and scope are in its
// Entra field. A developer sees published products.
func (s *Service) Product(ctx context.Context, by Actor, id string) (Product, error) {
	var p Product
	err := s.view(ctx, by, func(l *look) (err error) {
		p, err = l.product(id)
		if err == nil && !l.seesProduct(&p) {
			err = notFound(KindProduct, id)
		}
		return err
	})
	p, err = orZero(p, err)
	return shownProduct(by, p), err
}

func (l *look) seesProduct(p *Product) bool {
	return !p.Deleted && (l.by.Manager || p.State == Published)
}

// shownProduct hides from developers what concerns the managers' work in Entra.
func shownProduct(by Actor, p Product) Product {
	if !by.Manager {
		p.Sync.Error, p.Adopt, p.AdoptChanges = "", "", AdoptChanges{}
	}
	return p
}

// UpdateProduct changes a product's name or description. The name of a product with a
// role cannot change: tokens carry it, so callers would be refused. For managers
// only.
func (s *Service) UpdateProduct(ctx context.Context, by Actor, id string, up ProductUpdate) (Product, error) {
	p, err := s.editProduct(ctx, by, id, "product.update", func(e *edit, p *Product) (bool, error) {
		if err := e.expect(KindProduct, id, up.Revision); err != nil {
			return false, err
		}
		if up.Name != nil && *up.Name != p.Name && hasRole(p) {
			return false, &ConflictError{Field: "name", Reason: "the product has a role in Entra that carries its name: renaming it would cut its callers off", Objects: []string{id}}
		}
		named, described := change(&p.Name, up.Name), change(&p.Description, up.Description)
		self, limit := change(&p.SelfService, up.SelfService), change(&p.PerDeveloper, up.PerDeveloper)
		// The description is in Entra, too.
		p.Sync.Pending = p.Sync.Pending || described && p.Access.Token
		return named || described || self || limit, checkProduct(p)
	})
	if err != nil {
		return Product{}, err
	}
	return s.reconcileProduct(ctx, by, p)
}

// PublishProduct lets developers see the product. For managers only.
func (s *Service) PublishProduct(ctx context.Context, by Actor, id string) (Product, error) {
	return s.setProduct(ctx, by, id, "product.publish", func(p *Product) { p.State = Published })
}

// UnpublishProduct hides the product and stops new grants and subscriptions. Existing
// access continues; to stop it, use [Service.SuspendProduct]. For managers only.
func (s *Service) UnpublishProduct(ctx context.Context, by Actor, id string) (Product, error) {
	return s.setProduct(ctx, by, id, "product.unpublish", func(p *Product) { p.State = NotPublished })
}

// SuspendProduct makes gates refuse all requests for the product at once. Grants and
// subscriptions stay for when it is resumed. For managers only.
func (s *Service) SuspendProduct(ctx context.Context, by Actor, id string) (Product, error) {
	return s.setProduct(ctx, by, id, "product.suspend", func(p *Product) { p.Suspended = true })
}

// ResumeProduct ends a suspension. For managers only.
func (s *Service) ResumeProduct(ctx context.Context, by Actor, id string) (Product, error) {
	return s.setProduct(ctx, by, id, "product.resume", func(p *Product) { p.Suspended = false })
}

// setProduct changes a state that does not concern Entra.
func (s *Service) setProduct(ctx context.Context, by Actor, id, action string, set func(*Product)) (Product, error) {
	return s.editProduct(ctx, by, id, action, func(_ *edit, p *Product) (bool, error) {
		state, suspended := p.State, p.Suspended
		set(p)
		return p.State != state || p.Suspended != suspended, nil
	})
}

// AssignAPIs adds APIs to the product; present ones stay. For managers only.
func (s *Service) AssignAPIs(ctx context.Context, by Actor, id string, apiIDs []string) (Product, error) {
	if err := checkIDs("apis", apiIDs, 1, maxProductAPIs); err != nil {
		return Product{}, err
	}
	return s.editProduct(ctx, by, id, "product.assign", func(e *edit, p *Product) (bool, error) {
		if err := e.knownAPIs(apiIDs); err != nil {
			return false, err
		}
		apis := slices.Compact(slices.Sorted(slices.Values(slices.Concat(p.APIs, apiIDs))))
		if len(apis) > maxProductAPIs {
			return false, &InvalidError{"apis", fmt.Sprintf("a product holds at most %d APIs", maxProductAPIs)}
		}
		changed := len(apis) != len(p.APIs)
		p.APIs = apis
		return changed, nil
	}, "apis", strings.Join(apiIDs, " "))
}

// UnassignAPIs removes APIs from the product. Gates refuse the product's callers for
// these APIs at once. For managers only.
func (s *Service) UnassignAPIs(ctx context.Context, by Actor, id string, apiIDs []string) (Product, error) {
	if err := checkIDs("apis", apiIDs, 1, maxProductAPIs); err != nil {
		return Product{}, err
	}
	return s.editProduct(ctx, by, id, "product.unassign", func(_ *edit, p *Product) (bool, error) {
		before := len(p.APIs)
		p.APIs = slices.DeleteFunc(p.APIs, func(api string) bool { return slices.Contains(apiIDs, api) })
		return len(p.APIs) != before, nil
	}, "apis", strings.Join(apiIDs, " "))
}

// editProduct changes a product. details are pairs of names and values for the
// audit trail.
func (s *Service) editProduct(ctx context.Context, by Actor, id, action string, fn func(*edit, *Product) (changed bool, err error), details ...string) (Product, error) {
	var p Product
	err := s.manage(ctx, by, func(e *edit) (err error) {
		if p, err = e.product(id); err != nil {
			return err
		}
		changed, err := fn(e, &p)
		if err != nil || !changed {
			return err
		}
		p.Updated = e.now
		return firstError(write(e, &p), e.audit(action, KindProduct, id, pairs(details)))
	})
	return orZero(p, err)
}

func pairs(list []string) map[string]string {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]string, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		m[list[i]] = list[i+1]
	}
	return m
}

// Readiness says whether developers can use a product.
type Readiness struct {
	Ready bool `json:"ready"`
	// Missing lists what is missing, each with the action that adds it.
	Missing []string `json:"missing,omitempty"`
}

// Readiness reports whether developers can use a product, and what is missing: it
// must be published, have at least one API, not be suspended and, with token access,
// be complete in Entra.
func (s *Service) Readiness(ctx context.Context, by Actor, id string) (Readiness, error) {
	p, err := s.Product(ctx, by, id)
	if err != nil {
		return Readiness{}, err
	}
	absent := missing(&p)
	if p.Suspended {
		absent = append(absent, "it is suspended: resume it")
	}
	if p.Access.Token && p.Entra.ServicePrincipalID == "" {
		absent = append(absent, "its application in Entra is not complete: run Sync")
	}
	return Readiness{Ready: len(absent) == 0, Missing: absent}, nil
}

// missing returns what a product needs before it can be granted or subscribed to.
func missing(p *Product) (list []string) {
	if p.State != Published {
		list = append(list, "it is not published: publish it")
	}
	if len(p.APIs) == 0 {
		list = append(list, "it has no API: assign one")
	}
	return list
}
