package appaccess

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// reconcileProduct reconciles one product, if it is pending, and returns it as stored
// after that.
func (s *Service) reconcileProduct(ctx context.Context, by Actor, p Product) (Product, error) {
	if !p.Sync.Pending {
		return p, nil
	}
	err := s.reconcile(ctx, Objects{Products: []string{p.ID}})
	return s.reread(ctx, by, p), err
}

// reread reads the product from the store again. It returns p if the read fails.
func (s *Service) reread(ctx context.Context, by Actor, p Product) Product {
	if now, err := s.Product(context.WithoutCancel(ctx), by, p.ID); err == nil {
		return now
	}
	return p
}

// reconcileApplication reconciles one application, if it is pending, and returns it
// as stored after that.
func (s *Service) reconcileApplication(ctx context.Context, by Actor, a ClientApplication) (ClientApplication, error) {
	if !a.Sync.Pending {
		return shownApplication(by, a), nil
	}
	err := s.reconcile(ctx, Objects{Applications: []string{a.ID}})
	if now, rerr := s.Application(context.WithoutCancel(ctx), by, a.ID); rerr == nil {
		return now, err
	}
	return shownApplication(by, a), err
}

// forgetApplication removes an application and all its records.
func (e *edit) forgetApplication(id string) error {
	creds, err := e.credentials(id)
	if err != nil {
		return err
	}
	for _, c := range creds {
		if err := e.w.Delete(KindCredential, c.ID); err != nil {
			return err
		}
	}
	if err := e.forgetOneTimeSecrets(id); err != nil {
		return err
	}
	return e.w.Delete(KindApplication, id)
}

// inEntra reports whether Entra has, or shall have, something of a product.
func inEntra(p *Product) bool {
	return p.Access.Token || p.Sync.Pending || p.Entra.ObjectID != ""
}

func (s *Service) desiredProduct(p *Product) DesiredProduct {
	if p.Deleted || !p.Access.Token {
		return DesiredProduct{ID: p.ID, Deleted: true}
	}
	return DesiredProduct{
		ID: p.ID, Description: p.Description, Adopt: p.Adopt, AdoptChanges: p.AdoptChanges,
		ApplicationName: cmp.Or(p.Entra.Name, s.naming.ProductApplication(p.Name)),
		Roles:           s.desiredRoles(p),
	}
}

// desiredRoles returns a product's app roles, one for each permission. A role that
// exists in Entra keeps its value.
func (s *Service) desiredRoles(p *Product) []Role {
	var roles []Role
	for _, name := range p.permissionNames() {
		roles = append(roles, Role{Permission: name, Value: cmp.Or(p.Entra.Role(name), s.naming.Role(p.Name, name))})
	}
	return roles
}

func (s *Service) desiredApplication(l *look, a *ClientApplication) (DesiredApplication, error) {
	if a.Deleted {
		return DesiredApplication{ID: a.ID, Deleted: true, ServicePrincipal: a.ServicePrincipal}, nil
	}
	owner, err := l.user(a.OwnerID)
	if ignoreNotFound(err) != nil {
		return DesiredApplication{}, err
	}
	var first string
	if len(a.Grants) > 0 {
		p, err := l.product(a.Grants[0].Product)
		if ignoreNotFound(err) != nil {
			return DesiredApplication{}, err
		}
		first = p.Name
	}
	return DesiredApplication{
		ID: a.ID, Name: a.Name, OwnerID: a.OwnerID, Description: a.Description, Adopt: a.Adopt, AdoptChanges: a.AdoptChanges, ServicePrincipal: a.ServicePrincipal,
		ApplicationName: cmp.Or(a.Entra.Name, s.naming.Application(first, a.Name)),
		Grants:          slices.Clone(a.Grants),
		Disabled:        a.State == ApplicationSuspended || owner.State != UserActive,
	}, nil
}

func shorten(s string, maximum int) string {
	if len(s) <= maximum {
		return s
	}
	return strings.ToValidUTF8(s[:maximum], "") + "…"
}
