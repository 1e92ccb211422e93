package appaccess

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// What the domain's objects look like in a Store: the body is their JSON, and
// these are the names to find them by. Service writes them, Catalog reads them.
const (
	byAppID       = "appid"       // product, application: Entra's client ID; unique
	byName        = "name"        // product, api: folded; unique
	byRole        = "role"        // product: the value of its app role; unique
	byPath        = "path"        // api; unique
	byEntra       = "entra"       // user: tid/oid; unique
	byKey         = "key"         // subscription: hex sum of either key; unique
	byAPI         = "api"         // product: each API's ID
	byProduct     = "product"     // application: each product's ID
	byOwner       = "owner"       // application, subscription: the user's ID
	byEmail       = "email"       // user: folded
	byScope       = "scope"       // subscription
	byApplication = "application" // credential
	bySync        = "sync"        // product, application: syncPending while Entra is to follow
	byRemoval     = "removal"     // credential: indexSet once it is to be removed, now or later
	byExpiry      = "expiry"      // subscription: indexSet while it is to expire
)

const (
	syncPending = "pending"
	indexSet    = "set"
)

// entity is an object of the domain that a store keeps.
type entity interface {
	Product | API | User | ClientApplication | Credential | Subscription
}

// kindOf is the kind of an entity's records.
func kindOf[T entity]() Kind {
	switch any((*T)(nil)).(type) {
	case *Product:
		return KindProduct
	case *API:
		return KindAPI
	case *User:
		return KindUser
	case *ClientApplication:
		return KindApplication
	case *Credential:
		return KindCredential
	case *Subscription:
		return KindSubscription
	}
	panic("appaccess: entity without a kind")
}

// encode makes the record of an entity.
func encode[T entity](v *T) (Record, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return Record{}, fmt.Errorf("appaccess: encoding a %s: %w", kindOf[T](), err)
	}
	var r Record
	switch v := any(v).(type) {
	case *Product:
		r = productRecord(v)
	case *API:
		r = apiRecord(v)
	case *User:
		r = userRecord(v)
	case *ClientApplication:
		r = applicationRecord(v)
	case *Credential:
		r = credentialRecord(v)
	case *Subscription:
		r = subscriptionRecord(v)
	}
	r.Kind, r.Body = kindOf[T](), body
	return r, nil
}

// decode reads an entity from its record.
func decode[T entity](r Record) (T, error) {
	var v T
	if err := json.Unmarshal(r.Body, &v); err != nil {
		return v, fmt.Errorf("appaccess: decoding %s %s: %w", r.Kind, r.ID, err)
	}
	return v, nil
}

// put writes an entity.
func put[T entity](w Writer, v *T) error {
	r, err := encode(v)
	if err != nil {
		return err
	}
	return w.Put(r)
}

// get reads an entity by its ID. The error may be ErrNotFound.
func get[T entity](r Reader, id string) (T, error) {
	rec, err := r.Get(kindOf[T](), id)
	if err != nil {
		var none T
		return none, err
	}
	return decode[T](rec)
}

// getBy reads the one entity that has a unique entry. The error may be
// ErrNotFound.
func getBy[T entity](r Reader, index, value string) (T, error) {
	found, err := page[T](r, Query{Index: index, Value: value, Limit: 1})
	if err != nil || len(found) == 0 {
		var none T
		if err == nil {
			err = fmt.Errorf("%s with this %s: %w", kindOf[T](), index, ErrNotFound)
		}
		return none, err
	}
	return found[0], nil
}

// page reads the entities that a query selects; the query's kind is implied.
func page[T entity](r Reader, q Query) ([]T, error) {
	q.Kind, q.Value = kindOf[T](), indexValue(q.Value)
	recs, err := r.List(q)
	if err != nil {
		return nil, err
	}
	found := make([]T, 0, len(recs))
	for _, rec := range recs {
		v, err := decode[T](rec)
		if err != nil {
			return nil, err
		}
		found = append(found, v)
	}
	return found, nil
}

// each reads all entities that a query selects, page by page; an error is the
// last thing that it yields. The query's kind and limit are implied.
func each[T entity](r Reader, q Query) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		q.Kind, q.Value, q.Limit = kindOf[T](), indexValue(q.Value), MaxPage
		for {
			recs, err := r.List(q)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, rec := range recs {
				v, err := decode[T](rec)
				if !yield(v, err) || err != nil {
					return
				}
			}
			if len(recs) < MaxPage {
				return
			}
			q.After = recs[len(recs)-1].ID
		}
	}
}

// all collects what each yields.
func all[T entity](r Reader, q Query) ([]T, error) {
	var found []T
	for v, err := range each[T](r, q) {
		if err != nil {
			return nil, err
		}
		found = append(found, v)
	}
	return found, nil
}

func productRecord(p *Product) Record {
	index := []IndexEntry{
		unique(byName, fold(p.Name)),
		unique(byRole, p.Entra.Role),
		unique(byAppID, p.Entra.AppID),
		pending(p.Sync),
	}
	for _, id := range p.APIs {
		index = append(index, IndexEntry{Name: byAPI, Value: id})
	}
	return Record{ID: p.ID, Index: entries(index...), Text: text(p.Name, p.ID)}
}

func apiRecord(a *API) Record {
	return Record{ID: a.ID, Text: text(a.Name, a.ID, a.Path), Index: entries(
		unique(byName, fold(a.Name)),
		unique(byPath, a.Path),
	)}
}

func userRecord(u *User) Record {
	index := []IndexEntry{{Name: byEmail, Value: fold(u.Email)}}
	if u.TenantID != "" && u.ObjectID != "" {
		index = append(index, unique(byEntra, entraAccount(u.TenantID, u.ObjectID)))
	}
	return Record{ID: u.ID, Index: entries(index...), Text: text(u.Name, u.Email)}
}

// entraAccount is the value of the index byEntra.
func entraAccount(tenantID, objectID string) string { return tenantID + "/" + objectID }

// A deleted application keeps its client ID, so that a gate refuses it and no
// other may have it, but is in nobody's list.
func applicationRecord(a *ClientApplication) Record {
	index := []IndexEntry{unique(byAppID, a.Entra.AppID), pending(a.Sync)}
	if !a.Deleted {
		index = append(index, IndexEntry{Name: byOwner, Value: a.OwnerID})
		for _, id := range a.Products {
			index = append(index, IndexEntry{Name: byProduct, Value: id})
		}
	}
	return Record{ID: a.ID, Index: entries(index...), Text: text(a.Name, a.Entra.AppID)}
}

func credentialRecord(c *Credential) Record {
	index := []IndexEntry{{Name: byApplication, Value: c.ApplicationID}}
	if !c.RemoveAfter.IsZero() {
		index = append(index, IndexEntry{Name: byRemoval, Value: indexSet})
	}
	return Record{ID: c.ID, Text: text(c.Name), Index: entries(index...)}
}

func subscriptionRecord(s *Subscription) Record {
	index := []IndexEntry{
		unique(byKey, s.PrimarySum.String()),
		unique(byKey, s.SecondarySum.String()),
		{Name: byOwner, Value: s.OwnerID},
		{Name: byScope, Value: string(s.Scope)},
	}
	if s.expires() {
		index = append(index, IndexEntry{Name: byExpiry, Value: indexSet})
	}
	return Record{ID: s.ID, Text: text(s.Name), Index: entries(index...)}
}

func unique(name, value string) IndexEntry {
	return IndexEntry{Name: name, Value: value, Unique: true}
}

func pending(s Sync) IndexEntry {
	if !s.Pending {
		return IndexEntry{}
	}
	return IndexEntry{Name: bySync, Value: syncPending}
}

// entries drops what has no value and brings the others within the limit.
func entries(list ...IndexEntry) []IndexEntry {
	list = slices.DeleteFunc(list, func(e IndexEntry) bool { return e.Value == "" })
	for i := range list {
		list[i].Value = indexValue(list[i].Value)
	}
	return list
}

// indexValue is a value as it stands in the index: one that is too long for it
// (a name may have 1,200 bytes) is hashed.
func indexValue(v string) string {
	if len(v) <= MaxIndexValue {
		return v
	}
	sum := sha256.Sum256([]byte(v))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// fold makes names that differ only in case the same.
func fold(name string) string { return strings.ToLower(name) }

func text(parts ...string) string { return strings.Join(parts, "\n") }
