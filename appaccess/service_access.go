package appaccess

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// AccessRequest says which credentials a product is to accept.
type AccessRequest struct {
	Access Access
	// Force switches token access off although client applications are granted the
	// product, and revokes their grants. It switches key access off although
	// subscriptions to the product are live; they stay, and give no access until key
	// access is on again.
	Force bool
	// Adopt is the client ID of an application in Entra to adopt when token access is
	// switched on. If empty, an application is created.
	Adopt        string
	AdoptChanges AdoptChanges
	// Revision refuses the request if the product's record has another revision by
	// now; 0: any.
	Revision Revision
}

// words returns the access as text: "token, key" or "open".
func (a Access) words() string {
	switch a {
	case Access{Token: true}:
		return "token"
	case Access{Key: true}:
		return "key"
	case Access{Token: true, Key: true}:
		return "token, key"
	}
	return "open"
}

// SetAccess switches what a product accepts: OAuth 2.0 tokens, subscription
// keys, either, or nothing at all, which makes the product OPEN to everyone.
//
// Switching token access on creates the product's application and role in Entra.
// Switching it off while client applications are granted the product is a
// [*ConflictError] that lists them, unless forced. Then gates refuse tokens at once,
// the grants are removed, 20 in each transaction, and the application in Entra last.
// Calling SetAccess again, or Sync, continues what was interrupted. For managers
// only.
func (s *Service) SetAccess(ctx context.Context, by Actor, id string, req AccessRequest) (Product, error) {
	adopt, err := checkAdopt(req.Adopt)
	if err != nil {
		return Product{}, err
	}
	var p Product
	var behind Objects
	var many bool
	err = s.manage(ctx, by, func(e *edit) (err error) {
		behind, many = Objects{Products: []string{id}}, false
		if p, err = e.product(id); err != nil {
			return err
		}
		if err := e.expect(KindProduct, id, req.Revision); err != nil {
			return err
		}
		from := p.Access
		if from == req.Access {
			many, err = e.hasTask(KindProduct, id)
			return err
		}
		behind.Applications, many, err = s.switchAccess(e, &p, req, adopt)
		if err != nil {
			return err
		}
		p.Updated = e.now
		return firstError(write(e, &p), e.audit("product.access", KindProduct, id, map[string]string{"from": from.words(), "to": p.Access.words()}))
	})
	if err != nil {
		return Product{}, err
	}
	if !p.Sync.Pending && !many {
		return p, nil
	}
	err = s.reconcileAll(ctx, behind, many)
	return s.reread(ctx, by, p), err
}

// switchAccess returns the applications that lost the product. If they are many, a
// task revokes the product from them.
func (s *Service) switchAccess(e *edit, p *Product, req AccessRequest, adopt string) (revoked []string, many bool, err error) {
	from := p.Access
	p.Access = req.Access
	if from.Key && !p.Access.Key && !req.Force {
		if err := e.noSubscriptions(p.ID); err != nil {
			return nil, false, err
		}
	}
	switch {
	case !from.Token && p.Access.Token:
		p.Adopt, p.AdoptChanges, p.Sync.Pending = adopt, req.AdoptChanges, true
		return nil, false, firstError(e.notBeingRevoked(p.ID, "access.token"), s.nameable(e, p))
	case adopt != "":
		return nil, false, &InvalidError{"adopt", "is only taken when token access goes on"}
	case from.Token && !p.Access.Token:
		p.Adopt, p.AdoptChanges, p.Sync.Pending = "", AdoptChanges{}, true
		if !req.Force {
			return nil, false, e.notGranted(p.ID)
		}
		return e.revokeFrom(p)
	}
	return nil, false, nil
}

// noSubscriptions refuses if subscriptions to a product could give access.
func (l *look) noSubscriptions(productID string) error {
	return inTheWay(l, Query{Where: where(byLive, string(ProductScope(productID)))}, subscriptionID, "access.key", "subscriptions to the product are live: cancel them first, or force it")
}

// notGranted refuses if applications are granted a product.
func (l *look) notGranted(productID string) error {
	return inTheWay(l, Query{Where: where(byProduct, productID)}, applicationID, "access.token", "client applications are still granted the product: revoke them first, or force it")
}

// permissionsHeld refuses if client applications are granted a permission that
// the product does not have. It reads one application for each permission that is
// granted, however many applications there are.
func (l *look) permissionsHeld(p *Product) error {
	names := p.permissionNames()
	q := Query{Kind: KindApplication, OrderBy: byPermission, From: grantedPermission(p.ID, ""), To: p.ID + "0", Limit: 1} // 0 follows the slash
	for {
		found, err := l.List(q)
		if err != nil || len(found) == 0 {
			return err
		}
		value, _, _ := strings.Cut(q.Cursor(found[0]), "\x00")
		if !slices.Contains(names, strings.TrimPrefix(value, grantedPermission(p.ID, ""))) {
			return inTheWay(l, Query{Where: where(byPermission, value)}, applicationID, "permissions", "client applications are still granted a permission that is to be removed: revoke it first")
		}
		q.From = value + "\x01" // behind this permission
	}
}

// DeleteProduct revokes the product's access at once, removes its application from
// Entra and then the product. If client applications are granted it, or subscriptions
// to it exist, that is refused unless forced; then the grants and subscriptions are
// deleted too, 20 in each transaction. Calling DeleteProduct again, or Sync,
// continues a deletion that was interrupted. For managers only.
func (s *Service) DeleteProduct(ctx context.Context, by Actor, id string, force bool) error {
	var behind Objects
	var many bool
	err := s.manage(ctx, by, func(e *edit) (err error) {
		behind = Objects{Products: []string{id}}
		behind.Applications, many, err = e.dropProduct(id, force)
		return err
	})
	if err != nil {
		return err
	}
	return s.reconcileAll(ctx, behind, many)
}

// dropProduct deletes a product at once if Entra has nothing of it. Otherwise it
// marks the product as deleted until Entra has nothing. It returns the applications
// that lost the product. If applications or subscriptions are many, a task deletes
// them and then the product.
func (e *edit) dropProduct(id string, force bool) (revoked []string, many bool, err error) {
	p, err := find[Product](e, id)
	if err != nil {
		return nil, false, err
	}
	if p.Deleted {
		many, err = e.hasTask(KindProduct, id)
		return nil, many, err
	}
	subscribed := Query{Where: where(byScope, string(ProductScope(id)))}
	if !force {
		err = firstError(e.notGranted(id), inTheWay(e, subscribed, subscriptionID, "id", "the product has subscriptions: delete them first, or force it"))
		if err != nil {
			return nil, false, err
		}
	}
	if err := e.audit("product.delete", KindProduct, id, map[string]string{"name": p.Name}); err != nil {
		return nil, false, err
	}
	held := inEntra(&p)
	p.Deleted, p.Suspended, p.State, p.Updated = true, true, NotPublished, e.now
	p.APIs, p.Access, p.Adopt, p.AdoptChanges, p.Sync.Pending = nil, Access{}, "", AdoptChanges{}, held
	subs, many, err := few[Subscription](e, subscribed)
	switch {
	case err != nil:
		return nil, false, err
	case many:
		err = e.addTask(KindProduct, id)
	default:
		revoked, many, err = e.revokeFrom(&p)
		err = firstError(err, e.dropSubscriptions(idsOf(subs)...))
	}
	if err == nil && !held && !many {
		return revoked, false, e.w.Delete(KindProduct, id)
	}
	return revoked, many, firstError(err, write(e, &p))
}

// GrantedApplications lists the client applications that are granted a product.
// For managers only.
func (s *Service) GrantedApplications(ctx context.Context, by Actor, productID string, f Filter) (Page[ClientApplication], error) {
	f.ProductID = productID
	q, limit, err := f.query(KindApplication)
	if err != nil {
		return Page[ClientApplication]{}, err
	}
	var found Page[ClientApplication]
	err = s.view(ctx, by, func(l *look) error {
		if err := l.onlyManager(); err != nil {
			return err
		}
		if _, err := l.product(productID); err != nil {
			return err
		}
		found, err = list(l, q, limit, f.selectsApplication)
		return err
	})
	return found, err
}

// GrantApplications grants one product to many applications, as GrantProducts does
// for one application. Each transaction does it for 20; after an error, earlier
// transactions stay. For managers only.
func (s *Service) GrantApplications(ctx context.Context, by Actor, g Grant, applicationIDs []string) error {
	grants, err := checkGrants([]Grant{g}, 1)
	if err != nil {
		return err
	}
	return s.linkApplications(ctx, by, g.Product, applicationIDs, func(e *edit, a *ClientApplication) error {
		return s.grant(e, a, grants)
	})
}

// RevokeApplications revokes one product from applications. Each transaction does it
// for 20; after an error, earlier transactions stay. For managers only.
func (s *Service) RevokeApplications(ctx context.Context, by Actor, productID string, applicationIDs []string) error {
	return s.linkApplications(ctx, by, productID, applicationIDs, func(e *edit, a *ClientApplication) error {
		return e.ungrant(a, []string{productID})
	})
}

func (s *Service) linkApplications(ctx context.Context, by Actor, productID string, applicationIDs []string, link func(*edit, *ClientApplication) error) error {
	if err := checkIDs("applications", applicationIDs, 1, maxList); err != nil {
		return err
	}
	for i, some := range slices.Collect(slices.Chunk(applicationIDs, inTurn)) {
		err := s.manage(ctx, by, func(e *edit) error {
			if _, err := e.product(productID); err != nil {
				return err
			}
			for _, id := range some {
				a, err := e.application(id)
				if err != nil {
					return unknownRef("applications", KindApplication, id, err)
				}
				if err := link(e, &a); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return errors.Join(err, s.reconcile(ctx, Objects{Applications: applicationIDs[:i*inTurn]}))
		}
	}
	return s.reconcile(ctx, Objects{Applications: applicationIDs})
}
