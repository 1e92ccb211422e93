package appaccess

import (
	"cmp"
	"fmt"
)

// SelfService says what developers may do with a product by themselves.
type SelfService string

// The values of a [Product]'s SelfService.
const (
	// OnRequest: developers request the product and a manager approves.
	OnRequest SelfService = ""
	// SelfServiceOpen: every developer may subscribe to the product, and register
	// client applications for it, without approval.
	SelfServiceOpen SelfService = "open"
	// SelfServiceClosed: only managers give access to the product.
	SelfServiceClosed SelfService = "closed"
)

const (
	defaultPerDeveloper = 10
	maxPerDeveloper     = 1000
)

func checkSelfService(v SelfService, perDeveloper int) error {
	var err1, err2 error
	if v != OnRequest && v != SelfServiceOpen && v != SelfServiceClosed {
		err1 = &InvalidError{"selfService", `must be "open", "closed" or empty for on request`}
	}
	if perDeveloper < 0 || perDeveloper > maxPerDeveloper {
		err2 = &InvalidError{"perDeveloper", fmt.Sprintf("must be 1 to %d, or 0 for %d", maxPerDeveloper, defaultPerDeveloper)}
	}
	return allErrors(err1, err2)
}

// requestable refuses products that a developer may not request and, if atOnce is
// set, products that need an approval.
func (l *look) requestable(field string, productIDs []string, atOnce bool) error {
	for _, id := range productIDs {
		p, err := l.product(id)
		if err == nil && !l.seesProduct(&p) {
			err = notFound(KindProduct, id)
		}
		switch {
		case err != nil:
			return unknownRef(field, KindProduct, id, err)
		case p.SelfService == SelfServiceClosed:
			return &ConflictError{Field: field, Reason: "the product is not open to requests: ask an API manager", Objects: []string{id}}
		case atOnce && p.SelfService != SelfServiceOpen:
			return &ConflictError{Field: field, Reason: "the product needs an API manager's approval: request it", Objects: []string{id}}
		}
	}
	return nil
}

// allOpen reports whether a developer may have the products without a manager.
func (l *look) allOpen(productIDs []string) bool {
	return len(productIDs) > 0 && l.requestable("grants", productIDs, true) == nil
}

// withinLimits refuses more access to products for which the developer already has as
// many client applications as the product allows.
func (l *look) withinLimits(ownerID string, productIDs []string) error {
	for _, id := range productIDs {
		if err := withinLimit(l, byOwnerProduct, ownerID, id, applicationID, "grants"); err != nil {
			return err
		}
	}
	return nil
}

// withinLimit counts what an owner has of a product by an index, up to the
// product's limit.
func withinLimit[T entity](l *look, index, ownerID, productID string, id func(*T) string, field string) error {
	p, err := l.product(productID)
	if err != nil {
		return err
	}
	limit := cmp.Or(p.PerDeveloper, defaultPerDeveloper)
	have, err := page[T](l, Query{Where: where(index, ownedProduct(ownerID, productID)), Limit: limit})
	if err == nil && len(have) >= limit {
		return conflictWith(field, fmt.Sprintf("a developer has at most %d for this product: give one up, or ask an API manager", limit), ids(have, id))
	}
	return err
}

// maxOwnSubscriptions is how many subscriptions, past ones included, a developer may
// have and still create another. Managers may create more for the developer.
const maxOwnSubscriptions = 100

// fewEnough refuses another subscription of a developer to a product. Cancelled
// subscriptions count too, so that nobody fills the store.
func (l *look) fewEnough(ownerID, productID string) error {
	n, err := l.Count(Query{Kind: KindSubscription, Where: where(byOwner, ownerID)}, maxOwnSubscriptions)
	if err != nil {
		return err
	}
	if n == maxOwnSubscriptions {
		return &ConflictError{Field: "ownerId", Reason: fmt.Sprintf("a developer has at most %d subscriptions, past ones included: have an API manager delete old ones or create this one", maxOwnSubscriptions)}
	}
	return withinLimit(l, byOwnerProduct, ownerID, productID, subscriptionID, "scope")
}
