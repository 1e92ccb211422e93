package appaccess

import (
	"context"
	"slices"
	"strings"
)

// PermissionsRequest are the permissions that a product shall have.
type PermissionsRequest struct {
	Permissions []Permission // in addition to [AllPermission], at most 100; others are removed
	// Force revokes removed permissions from the client applications that are granted
	// them.
	Force    bool
	Revision Revision // refuses the change if the product has another one by now; 0: any
}

// SetPermissions replaces a product's permissions. Each is an app role of the
// product's application in Entra. Removing a permission that client applications are
// granted is a [*ConflictError] that lists them, unless forced. Then gates refuse the
// permission at once, and it is removed in Entra after that. For managers only.
func (s *Service) SetPermissions(ctx context.Context, by Actor, id string, req PermissionsRequest) (Product, error) {
	if err := checkPermissions(req.Permissions); err != nil {
		return Product{}, err
	}
	var p Product
	var behind Objects
	var many bool
	err := s.manage(ctx, by, func(e *edit) (err error) {
		behind = Objects{}
		if p, err = e.product(id); err != nil {
			return err
		}
		if err := e.expect(KindProduct, id, req.Revision); err != nil || slices.Equal(p.Permissions, req.Permissions) {
			return err
		}
		if err := e.notBeingRevoked(id, "permissions"); err != nil {
			return err
		}
		p.Permissions, p.Updated = slices.Clone(req.Permissions), e.now
		if p.Access.Token {
			p.Sync.Pending, behind.Products = true, []string{id}
		}
		if err := s.nameable(e, &p); err != nil {
			return err
		}
		if req.Force {
			behind.Applications, many, err = e.revokeFrom(&p)
		} else {
			err = e.permissionsHeld(&p)
		}
		names := strings.Join(p.permissionNames(), " ")
		return firstError(err, write(e, &p), e.audit("product.permissions", KindProduct, id, map[string]string{"name": p.Name, "permissions": names}))
	})
	if err != nil {
		return Product{}, err
	}
	err = s.reconcileAll(ctx, behind, many)
	return s.reread(ctx, by, p), err
}

// revokeFrom revokes, from the applications that are granted a product, the
// permissions that the product does not have. It returns the applications that lost a
// permission. If they are many, a task does the work.
func (e *edit) revokeFrom(p *Product) (changed []string, many bool, err error) {
	apps, many, err := few[ClientApplication](e, Query{Where: where(byProduct, p.ID)})
	if err != nil {
		return nil, false, err
	}
	if many {
		return nil, true, e.addTask(KindProduct, p.ID)
	}
	for i := range apps {
		lost, err := e.revokeMissing(p, &apps[i])
		if err != nil {
			return nil, false, err
		}
		if lost {
			changed = append(changed, apps[i].ID)
		}
	}
	return changed, false, nil
}

// revokeMissing revokes from an application the permissions that a product does not
// have. It reports whether there were any. A grant without a permission ends. A
// product without token access has no permissions.
func (e *edit) revokeMissing(p *Product, a *ClientApplication) (lost bool, err error) {
	var names []string
	if p.Access.Token && !p.Deleted {
		names = p.permissionNames()
	}
	a.Grants = slices.Clone(a.Grants)
	g := a.Grants.of(p.ID)
	kept := slices.DeleteFunc(slices.Clone(g.Permissions), func(name string) bool { return !slices.Contains(names, name) })
	switch {
	case len(kept) == len(g.Permissions):
		return false, nil
	case len(kept) == 0:
		return true, e.ungrant(a, []string{p.ID})
	}
	g.Permissions = kept
	return true, e.saveApplication(a, "application.revoke", "grants", a.Grants.String())
}
