package appaccess

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// The objects of the domain in a Store: the body is their JSON, and these are the
// names of their index entries. Service writes them, Catalog reads them.
const (
	byAppID        = "appid"        // product, application: Entra's client ID; unique
	byName         = "name"         // product, api: folded; unique
	byRole         = "role"         // product: the value of each app role; unique
	byEntraName    = "entraname"    // product: each name that it has in Entra, or will get: see entraNames
	byPath         = "path"         // api; unique, whatever the letter case: gates refuse paths that differ by it
	byEntra        = "entra"        // user: tid/oid; unique
	byKey          = "key"          // subscription: hash of either key, in hex; unique
	byAPI          = "api"          // product: each API's ID
	byProduct      = "product"      // application: each product's ID
	byPermission   = "permission"   // application: each permission that it is granted, after its product's ID
	byOwner        = "owner"        // application, subscription: the user's ID
	byEmail        = "email"        // user: folded
	byOwnerProduct = "ownerproduct" // application, live subscription: owner and product
	byScope        = "scope"        // subscription
	byLive         = "live"         // subscription that could give access: its scope
	byApplication  = "application"  // credential
	bySync         = "sync"         // product, application: syncPending until Entra is in sync
	byRemoval      = "removal"      // credential: when it must be removed
	byEnd          = "end"          // credential: when it ends
	byKind         = "kind"         // request
	byOpen         = "open"         // request: the user, while it is open
	byAccount      = "account"      // request for an account: tid/oid
	byObject       = "object"       // transfer: kind/ID of the offered object; unique
	byParty        = "party"        // transfer: the users concerned
	byWord         = "word"         // all but audit: each word of names, IDs, addresses
	byExpiry       = "expiry"       // subscription, one-time secret: when it becomes expired
	byState        = "state"        // product, user, application, subscription, request
	byTitle        = "title"        // what a list shows: folded name, to sort by
	byCreated      = "created"      // what a list shows: when it was created
	byOwnerName    = "ownername"    // application: owner and folded name
	byPrincipal    = "principal"    // application: object ID of its service principal; unique
)

const (
	syncPending = "pending"
	syncListed  = "listed" // not in sync, and in a list: not deleted
)

// entity is an object of the domain that a store keeps.
type entity interface {
	Product | API | User | ClientApplication | Credential | Subscription | Transfer | Request
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
	case *Transfer:
		return KindTransfer
	case *Request:
		return KindRequest
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
	case *Transfer:
		r = transferRecord(v)
	case *Request:
		r = requestRecord(v)
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
	found, err := page[T](r, Query{Where: where(index, value), Limit: 1})
	if err != nil || len(found) == 0 {
		var none T
		if err == nil {
			err = fmt.Errorf("%s with this %s: %w", kindOf[T](), index, ErrNotFound)
		}
		return none, err
	}
	return found[0], nil
}

// page reads the entities that a query selects. It sets the query's kind.
func page[T entity](r Reader, q Query) ([]T, error) {
	q.Kind = kindOf[T]()
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

// each yields all entities that a query selects, page by page. An error is the last
// thing that it yields. It sets the query's kind and limit.
func each[T entity](r Reader, q Query) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		q.Kind, q.Limit = kindOf[T](), MaxPage
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
			q.After = q.Cursor(recs[len(recs)-1])
		}
	}
}

// all returns the entities that each yields.
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
		unique(byAppID, p.Entra.AppID),
		pending(p.Sync),
	}
	for _, r := range p.Entra.Roles {
		index = append(index, unique(byRole, r.Value))
	}
	for _, id := range p.APIs {
		index = append(index, IndexEntry{Name: byAPI, Value: id})
	}
	if !p.Deleted {
		index = append(index, sortable(p.Name, p.Created)...)
		index = append(index, IndexEntry{Name: byState, Value: string(p.State)}, behind(p.Sync))
		if p.Suspended {
			index = append(index, IndexEntry{Name: byState, Value: suspendedProducts})
		}
	}
	return Record{ID: p.ID, Index: entries(append(index, searchable(p.Name, p.ID)...)...)}
}

func apiRecord(a *API) Record {
	index := append(sortable(a.Name, a.Created), unique(byName, fold(a.Name)), unique(byPath, fold(a.Path)))
	return Record{ID: a.ID, Index: entries(append(index, searchable(a.Name, a.ID, a.Path)...)...)}
}

func userRecord(u *User) Record {
	index := append(sortable(u.Name, u.Created), IndexEntry{Name: byEmail, Value: fold(u.Email)}, IndexEntry{Name: byState, Value: string(u.State)})
	if u.TenantID != "" && u.ObjectID != "" {
		index = append(index, unique(byEntra, entraAccount(u.TenantID, u.ObjectID)))
	}
	return Record{ID: u.ID, Index: entries(append(index, searchable(u.Name, u.ID, u.Email)...)...)}
}

// entraAccount is the value of the index byEntra.
func entraAccount(tenantID, objectID string) string { return tenantID + "/" + objectID }

// A deleted application keeps its client ID, so that a gate refuses it and no other
// application can have the ID. It is in no list.
func applicationRecord(a *ClientApplication) Record {
	index := []IndexEntry{
		unique(byAppID, a.Entra.AppID), pending(a.Sync),
		unique(byPrincipal, cmp.Or(a.ServicePrincipal.ObjectID, a.Entra.ServicePrincipalID)),
	}
	if !a.Deleted {
		index = append(index, IndexEntry{Name: byOwner, Value: a.OwnerID}, IndexEntry{Name: byOwnerName, Value: ownerName(a.OwnerID, a.Name)})
		index = append(index, sortable(a.Name, a.Created)...)
		index = append(index, IndexEntry{Name: byState, Value: string(a.State)}, behind(a.Sync))
		for _, g := range a.Grants {
			index = append(index, IndexEntry{Name: byProduct, Value: g.Product}, IndexEntry{Name: byOwnerProduct, Value: ownedProduct(a.OwnerID, g.Product)})
			for _, name := range g.Permissions {
				index = append(index, IndexEntry{Name: byPermission, Value: grantedPermission(g.Product, name)})
			}
		}
	}
	return Record{ID: a.ID, Index: entries(append(index, searchable(a.Name, a.ID, a.OwnerID, a.Entra.AppID)...)...)}
}

func credentialRecord(c *Credential) Record {
	index := []IndexEntry{
		{Name: byApplication, Value: c.ApplicationID},
		{Name: byRemoval, Value: timeValue(c.RemoveAfter)},
		{Name: byEnd, Value: timeValue(c.End)},
	}
	return Record{ID: c.ID, Index: entries(append(index, searchable(c.Name)...)...)}
}

func subscriptionRecord(s *Subscription) Record {
	index := append(sortable(s.Name, s.Created),
		unique(byKey, s.PrimaryHash.String()),
		unique(byKey, s.SecondaryHash.String()),
		IndexEntry{Name: byOwner, Value: s.OwnerID},
		IndexEntry{Name: byScope, Value: string(s.Scope)},
		IndexEntry{Name: byState, Value: string(s.State)},
	)
	if s.State.live() {
		index = append(index, IndexEntry{Name: byLive, Value: string(s.Scope)})
		if id := s.Scope.product(); id != "" {
			index = append(index, IndexEntry{Name: byOwnerProduct, Value: ownedProduct(s.OwnerID, id)})
		}
	}
	if s.expires() {
		index = append(index, IndexEntry{Name: byExpiry, Value: timeValue(s.Expires)})
	}
	return Record{ID: s.ID, Index: entries(append(index, searchable(s.Name, s.ID, s.OwnerID)...)...)}
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

// behind returns the index entry by which lists find objects that are not in sync.
func behind(s Sync) IndexEntry {
	if s.InSync() && s.Error == "" {
		return IndexEntry{}
	}
	return IndexEntry{Name: bySync, Value: syncListed}
}

// suspendedProducts is the state by which lists find suspended products, whatever
// their ProductState.
const suspendedProducts = "suspended"

// sortable returns the entries by which a list sorts an object.
func sortable(name string, created time.Time) []IndexEntry {
	title := fold(name)
	if len(title) > MaxIndexValue {
		title = strings.ToValidUTF8(title[:MaxIndexValue], "")
	}
	return []IndexEntry{{Name: byTitle, Value: title}, {Name: byCreated, Value: timeValue(created)}}
}

// grantedPermission is the value of the index byPermission.
func grantedPermission(productID, name string) string { return productID + "/" + name }

// ownedProduct is the value of the index byOwnerProduct.
func ownedProduct(ownerID, productID string) string { return ownerID + "/" + productID }

// ownerName is the value of the index byOwnerName.
func ownerName(ownerID, name string) string { return ownerID + "/" + fold(name) }

// timeValue returns a time as an index value, so that values sort by time; empty for
// the zero time.
func timeValue(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// dueBy selects the records whose time in an index is not later than now.
func dueBy(index string, now time.Time) Query {
	return Query{OrderBy: index, To: timeValue(now.Add(time.Millisecond))}
}

// entries removes entries without a value and shortens values that are too long.
func entries(list ...IndexEntry) []IndexEntry {
	list = slices.DeleteFunc(list, func(e IndexEntry) bool { return e.Value == "" })
	for i := range list {
		list[i].Value = indexValue(list[i].Value)
	}
	return list
}

// indexValue returns a value as an index entry has it: a value that is too long (a
// name may have 1,200 bytes) is hashed.
func indexValue(v string) string {
	if len(v) <= MaxIndexValue {
		return v
	}
	sum := sha256.Sum256([]byte(v))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// fold returns the same text for names that differ only in case.
func fold(name string) string { return strings.ToLower(name) }

// where selects the records that have an entry.
func where(name, value string) []IndexEntry {
	return []IndexEntry{{Name: name, Value: indexValue(value)}}
}
