package appaccess

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	strict "github.com/go-json-experiment/json"
)

// Document is the whole configuration as one JSON document: products as code.
// As [Service.Export] makes it, it holds no secret, no key nor its sum, and
// nothing that Entra made up, so it can be kept in version control and brought to
// another tenant.
//
//	{
//	  "version": 1,
//	  "apis":     [{"id": "echo-api", "name": "Echo API", "path": "/echo"}],
//	  "products": [{"id": "starter", "name": "Starter", "published": true,
//	                "access": {"token": true, "key": true}, "apis": ["echo-api"]}],
//	  "users":    [{"id": "ada", "name": "Ada", "email": "ada@example.com"}],
//	  "applications":  [{"id": "billing", "name": "Billing", "ownerId": "ada",
//	                     "products": ["starter"]}],
//	  "subscriptions": [{"id": "try-out", "name": "Try out", "ownerId": "ada",
//	                     "scope": "/products/starter", "state": "active"}]
//	}
//
// A section that is missing (null) says nothing about its objects. An object
// that a section does not hold is left alone, unless the import prunes.
type Document struct {
	Version       int                    `json:"version"` // 1
	APIs          []DocumentAPI          `json:"apis,omitzero"`
	Products      []DocumentProduct      `json:"products,omitzero"`
	Users         []DocumentUser         `json:"users,omitzero"`
	Applications  []DocumentApplication  `json:"applications,omitzero"`
	Subscriptions []DocumentSubscription `json:"subscriptions,omitzero"`
}

// DocumentAPI is an [API] in a [Document].
type DocumentAPI struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Path        string `json:"path"`
	Description string `json:"description,omitempty"`
	ServiceURL  string `json:"serviceUrl,omitempty"`
}

// DocumentProduct is a [Product] in a [Document].
type DocumentProduct struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Published   bool     `json:"published,omitempty"`
	Suspended   bool     `json:"suspended,omitempty"`
	Access      Access   `json:"access"`
	APIs        []string `json:"apis,omitempty"`
}

// DocumentUser is a [User] in a [Document].
type DocumentUser struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Email    string `json:"email,omitempty"`
	Blocked  bool   `json:"blocked,omitempty"`
	TenantID string `json:"tenantId,omitempty"`
	ObjectID string `json:"objectId,omitempty"`
}

// DocumentApplication is a [ClientApplication] in a [Document]. Its owner
// cannot change.
type DocumentApplication struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	OwnerID     string   `json:"ownerId"`
	Products    []string `json:"products,omitempty"`
	Suspended   bool     `json:"suspended,omitempty"`
}

// DocumentSubscription is a [Subscription] in a [Document]. Owner and scope
// cannot change.
//
// PrimarySum and SecondarySum bring keys that callers have already, as those of a
// [SubscriptionRequest] do and with the same warning. They are taken when an
// import creates the subscription and mean nothing after that: a key that was
// regenerated does not come back with the next import. One of a subscription that
// was deleted does: take it out of the document, too. [Service.Export] leaves
// them out, so that a document of one environment does not open another to its
// callers; for a move that is to keep all keys, fill in those that
// [Service.Subscriptions] shows.
type DocumentSubscription struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	OwnerID string            `json:"ownerId,omitempty"`
	Scope   Scope             `json:"scope"`
	State   SubscriptionState `json:"state"`
	Expires time.Time         `json:"expires,omitzero"`

	PrimarySum   KeySum `json:"primarySum,omitzero"`
	SecondarySum KeySum `json:"secondarySum,omitzero"`
}

// keyed is an entry of a section.
type keyed interface{ key() string }

func (v DocumentAPI) key() string          { return v.ID }
func (v DocumentProduct) key() string      { return v.ID }
func (v DocumentUser) key() string         { return v.ID }
func (v DocumentApplication) key() string  { return v.ID }
func (v DocumentSubscription) key() string { return v.ID }

const (
	documentVersion = 1
	maxDocument     = 64 << 20 // bytes
)

// ParseDocument reads a document of at most 64 MiB. It is strict: unknown and
// duplicate names, other cases of a name, invalid UTF-8 and anything behind the
// document are an [*InvalidError].
func ParseDocument(r io.Reader) (Document, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return Document{}, fmt.Errorf("appaccess: read the document: %w", err)
	}
	if len(raw) > maxDocument {
		return Document{}, &InvalidError{"document", "must have at most 64 MiB"}
	}
	var d Document
	if err := strict.Unmarshal(raw, &d, strict.RejectUnknownMembers(true)); err != nil {
		return Document{}, &InvalidError{"document", err.Error()}
	}
	return orZero(d, d.check())
}

// Write writes the document as indented JSON.
func (d Document) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(d)
}

// Export reads the whole configuration in one consistent state, each section in
// the order of IDs. It is held in memory: about 200 bytes for a subscription.
// For managers only.
func (s *Service) Export(ctx context.Context, by Actor) (Document, error) {
	var d Document
	err := s.view(ctx, by, func(l *look) (err error) {
		if err := l.onlyManager(); err != nil {
			return err
		}
		d, err = l.document()
		return err
	})
	return orZero(d, err)
}

func (l *look) document() (Document, error) {
	d := Document{
		Version: documentVersion, APIs: []DocumentAPI{}, Products: []DocumentProduct{}, Users: []DocumentUser{},
		Applications: []DocumentApplication{}, Subscriptions: []DocumentSubscription{},
	}
	err := firstError(
		collect(l, &d.APIs, documentAPI),
		collect(l, &d.Products, documentProduct),
		collect(l, &d.Users, documentUser),
		collect(l, &d.Applications, documentApplication),
		collect(l, &d.Subscriptions, documentSubscription),
	)
	return d, err
}

// collect adds the document's form of every entity that has one.
func collect[T entity, D any](r Reader, into *[]D, form func(*T) (D, bool)) error {
	for v, err := range each[T](r, Query{}) {
		if err != nil {
			return err
		}
		if d, ok := form(&v); ok {
			*into = append(*into, d)
		}
	}
	return nil
}

func documentAPI(a *API) (DocumentAPI, bool) {
	return DocumentAPI{ID: a.ID, Name: a.Name, Path: a.Path, Description: a.Description, ServiceURL: a.ServiceURL}, true
}

func documentProduct(p *Product) (DocumentProduct, bool) {
	return DocumentProduct{
		ID: p.ID, Name: p.Name, Description: p.Description, Published: p.State == Published,
		Suspended: p.Suspended, Access: p.Access, APIs: p.APIs,
	}, !p.Deleted
}

func documentUser(u *User) (DocumentUser, bool) {
	return DocumentUser{ID: u.ID, Name: u.Name, Email: u.Email, Blocked: u.State == UserBlocked, TenantID: u.TenantID, ObjectID: u.ObjectID}, true
}

func documentApplication(a *ClientApplication) (DocumentApplication, bool) {
	return DocumentApplication{
		ID: a.ID, Name: a.Name, Description: a.Description, OwnerID: a.OwnerID,
		Products: a.Products, Suspended: a.State == ApplicationSuspended,
	}, !a.Deleted
}

func documentSubscription(v *Subscription) (DocumentSubscription, bool) {
	return DocumentSubscription{ID: v.ID, Name: v.Name, OwnerID: v.OwnerID, Scope: v.Scope, State: v.State, Expires: v.Expires}, true
}
