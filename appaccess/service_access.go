package appaccess

import (
	"context"
	"fmt"
	"slices"
)

// AccessRequest says which credentials a product is to accept.
type AccessRequest struct {
	Access Access
	// Force switches token access off although client applications are still
	// granted, and takes their grants back; and key access off although
	// subscriptions to the product are live, which stay as they are and give
	// no access until key access is on again.
	Force bool
	// Adopt is the client ID of an application in Entra to take over when token
	// access goes on; empty: one is created.
	Adopt string
}

// words is the access for people: "token, key" or "open".
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
// Switching token access on creates the product's application and role in
// Entra. Switching it off while client applications are granted is a
// [*ConflictError] that lists them, unless forced; then tokens are refused
// first, the grants go next and the application in Entra last. For managers
// only.
func (s *Service) SetAccess(ctx context.Context, by Actor, id string, req AccessRequest) (Product, error) {
	adopt, err := checkAdopt(req.Adopt)
	if err != nil {
		return Product{}, err
	}
	var p Product
	var behind targets
	err = s.manage(ctx, by, func(e *edit) (err error) {
		behind = targets{products: []string{id}}
		if p, err = e.product(id); err != nil {
			return err
		}
		from := p.Access
		if from == req.Access {
			return nil
		}
		if err := s.switchAccess(e, &p, req, adopt, &behind); err != nil {
			return err
		}
		p.Updated = e.now
		return firstError(write(e, &p), e.audit("product.access", KindProduct, id, map[string]string{"from": from.words(), "to": p.Access.words()}))
	})
	if err != nil {
		return Product{}, err
	}
	if !p.Sync.Pending {
		return p, nil
	}
	err = s.follow(ctx, behind)
	return s.reread(ctx, by, p), err
}

func (s *Service) switchAccess(e *edit, p *Product, req AccessRequest, adopt string, behind *targets) error {
	from := p.Access
	p.Access = req.Access
	if from.Key && !p.Access.Key && !req.Force {
		if err := e.noSubscriptions(p.ID); err != nil {
			return err
		}
	}
	switch {
	case !from.Token && p.Access.Token:
		p.Adopt, p.Sync.Pending = adopt, true
		return s.nameable(e, p)
	case adopt != "":
		return &InvalidError{"adopt", "is only taken when token access goes on"}
	case from.Token && !p.Access.Token:
		p.Adopt, p.Sync.Pending = "", true
		revoked, err := e.revokeAll(p.ID, req.Force)
		behind.applications = revoked
		return err
	}
	return nil
}

// noSubscriptions refuses if subscriptions to a product could give access.
func (l *look) noSubscriptions(productID string) error {
	subs, err := l.liveSubscriptions(ProductScope(productID))
	if err == nil && len(subs) > 0 {
		return standsInTheWay("access.key", "subscriptions to the product are live: cancel them first, or force it", ids(subs, subscriptionID))
	}
	return err
}

// standsInTheWay names the objects, the first 100 if there are more.
func standsInTheWay(field, reason string, objects []string) error {
	const most = 100
	if n := len(objects); n > most {
		reason, objects = fmt.Sprintf("%s (%d in all)", reason, n), objects[:most]
	}
	return &ConflictError{Field: field, Reason: reason, Objects: objects}
}

func (l *look) liveSubscriptions(scope Scope) ([]Subscription, error) {
	subs, err := all[Subscription](l, Query{Index: byScope, Value: string(scope)})
	return slices.DeleteFunc(subs, func(v Subscription) bool { return !v.State.live() }), err
}

// revokeAll takes a product back from every application, or refuses if any has
// it.
func (e *edit) revokeAll(productID string, force bool) ([]string, error) {
	apps, err := all[ClientApplication](e, Query{Index: byProduct, Value: productID})
	if err != nil || len(apps) == 0 {
		return nil, err
	}
	granted := ids(apps, applicationID)
	if !force {
		return nil, standsInTheWay("access.token", "client applications are still granted the product: revoke them first, or force it", granted)
	}
	for i := range apps {
		if err := e.ungrant(&apps[i], []string{productID}); err != nil {
			return nil, err
		}
	}
	return granted, nil
}

// DeleteProduct ends the product's access at once, removes its application from
// Entra and then the product. While client applications are granted it, or
// subscriptions to it exist, that is refused unless forced; then the grants and
// the subscriptions go with it. Calling it again finishes a deletion that Entra
// cut off. For managers only.
func (s *Service) DeleteProduct(ctx context.Context, by Actor, id string, force bool) error {
	var behind targets
	err := s.manage(ctx, by, func(e *edit) error {
		revoked, err := e.dropProduct(id, force)
		behind = targets{products: []string{id}, applications: revoked}
		return err
	})
	if err != nil {
		return err
	}
	return s.follow(ctx, behind)
}

// dropProduct ends a product: it is gone at once if Entra never heard of it,
// else it becomes the mark of one that is still to be removed there. It returns
// the applications that lost it.
func (e *edit) dropProduct(id string, force bool) ([]string, error) {
	p, err := find[Product](e, id)
	if err != nil || p.Deleted {
		return nil, err
	}
	revoked, err := e.revokeAll(id, force)
	if err != nil {
		return nil, err
	}
	err = firstError(e.dropSubscriptions(id, force), e.audit("product.delete", KindProduct, id, map[string]string{"name": p.Name}))
	if err != nil {
		return nil, err
	}
	if !inEntra(&p) {
		return revoked, e.w.Delete(KindProduct, id)
	}
	p.Deleted, p.Suspended, p.State, p.Updated = true, true, NotPublished, e.now
	p.APIs, p.Access, p.Adopt, p.Sync.Pending = nil, Access{}, "", true
	return revoked, write(e, &p)
}

func (e *edit) dropSubscriptions(productID string, force bool) error {
	subs, err := all[Subscription](e, Query{Index: byScope, Value: string(ProductScope(productID))})
	if err != nil || len(subs) == 0 {
		return err
	}
	found := ids(subs, subscriptionID)
	if !force {
		return standsInTheWay("id", "the product has subscriptions: delete them first, or force it", found)
	}
	for _, id := range found {
		if err := e.dropSubscription(id); err != nil {
			return err
		}
	}
	return nil
}

// GrantedApplications lists the client applications that are granted a product.
// For managers only.
func (s *Service) GrantedApplications(ctx context.Context, by Actor, productID string, f Filter) (Page[ClientApplication], error) {
	q, limit, err := f.query()
	if err != nil {
		return Page[ClientApplication]{}, err
	}
	q.Index, q.Value = byProduct, productID
	var found Page[ClientApplication]
	err = s.view(ctx, by, func(l *look) error {
		if err := l.onlyManager(); err != nil {
			return err
		}
		if _, err := l.product(productID); err != nil {
			return err
		}
		found, err = list(l, q, limit, f.selectsApplication, applicationID)
		return err
	})
	return found, err
}

// GrantApplications grants one product to applications: GrantProducts from the
// product's side. For managers only.
func (s *Service) GrantApplications(ctx context.Context, by Actor, productID string, applicationIDs []string) error {
	return s.linkApplications(ctx, by, productID, applicationIDs, s.grant)
}

// RevokeApplications takes one product back from applications. For managers
// only.
func (s *Service) RevokeApplications(ctx context.Context, by Actor, productID string, applicationIDs []string) error {
	return s.linkApplications(ctx, by, productID, applicationIDs, (*edit).ungrant)
}

func (s *Service) linkApplications(ctx context.Context, by Actor, productID string, applicationIDs []string, link func(*edit, *ClientApplication, []string) error) error {
	if err := checkIDs("applications", applicationIDs, 1, maxList); err != nil {
		return err
	}
	err := s.manage(ctx, by, func(e *edit) error {
		if _, err := e.product(productID); err != nil {
			return err
		}
		for _, id := range applicationIDs {
			a, err := e.application(id)
			if err != nil {
				return unknownRef("applications", KindApplication, id, err)
			}
			if err := link(e, &a, []string{productID}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.follow(ctx, targets{applications: applicationIDs})
}
