package appaccess

import (
	_ "embed"
	"time"
)

//go:embed document.schema.json
var documentSchema string

// DocumentSchema returns the JSON Schema (draft 2020-12) of a [Document], for editors
// and for checks before an import. An import refuses a document that breaks the
// schema, except that it accepts null for a missing member. It also checks what a
// schema cannot, such as references.
func DocumentSchema() string { return documentSchema }

// Document is the whole configuration as one JSON document: products as code.
// [Service.Export] writes a document without secrets, keys, hashes of keys and
// anything that Entra generated, so that it can be kept in version control and
// imported for another tenant. Requests and offers of transfer are not configuration
// and are in no document. Of an OpenAPI document it has the operations, not the text.
// A [DocumentFile] imports a document of any size without holding it in memory.
//
//	{
//	  "version": 1,
//	  "apis":     [{"id": "echo-api", "name": "Echo API", "path": "/echo"}],
//	  "products": [{"id": "starter", "name": "Starter", "published": true,
//	                "access": {"token": true, "key": true}, "apis": ["echo-api"]}],
//	  "users":    [{"id": "ada", "name": "Ada", "email": "ada@example.com"}],
//	  "applications":  [{"id": "billing", "name": "Billing", "ownerId": "ada",
//	                     "grants": [{"product": "starter", "permissions": ["All"]}]}],
//	  "subscriptions": [{"id": "try-out", "name": "Try out", "ownerId": "ada",
//	                     "scope": "/products/starter", "state": "active"}]
//	}
//
// [DocumentSchema] describes the format for editors.
//
// An import changes nothing of a section that is missing (null). It leaves the
// objects alone that a section does not contain, unless it prunes.
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
	// AllowEncodedSlash is as in [API], with the same risk.
	AllowEncodedSlash bool `json:"allowEncodedSlash,omitempty"`
	// KeyHeader and KeyQuery are as in [API].
	KeyHeader string `json:"keyHeader,omitempty"`
	KeyQuery  string `json:"keyQuery,omitempty"`
	// Operations are the operations of the [API], with the permissions that they
	// need. Without Operations (null) the API keeps its operations and its
	// enforcement; an empty list removes the operations.
	Operations []Operation `json:"operations,omitzero"`
	// Enforcement is the enforcement of the [API], with "show" for
	// [ShowOperations]. Without it the API keeps its own, so that only a document
	// that says so ends enforcement.
	Enforcement Enforcement `json:"enforcement,omitempty"`
}

// DocumentProduct is a [Product] in a [Document].
type DocumentProduct struct {
	ID          string       `json:"id"`
	Name        string       `json:"name"`
	Description string       `json:"description,omitempty"`
	Published   bool         `json:"published,omitempty"`
	Suspended   bool         `json:"suspended,omitempty"`
	Access      Access       `json:"access"`
	APIs        []string     `json:"apis,omitempty"`
	Permissions []Permission `json:"permissions,omitempty"` // beside [AllPermission]
	// SelfService and PerDeveloper are as in [Product].
	SelfService  SelfService `json:"selfService,omitempty"`
	PerDeveloper int         `json:"perDeveloper,omitempty"`
	// Adopt is the client ID of an application in Entra that an import adopts when it
	// switches token access on, as [AccessRequest] does. Later imports ignore it, and
	// Export leaves it out.
	Adopt        string       `json:"adopt,omitempty"`
	AdoptChanges AdoptChanges `json:"adoptChanges,omitzero"`
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

// DocumentApplication is a [ClientApplication] in a [Document]. Another OwnerID
// transfers it, as [Service.TransferApplication] does.
type DocumentApplication struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	OwnerID     string `json:"ownerId"`
	Grants      Grants `json:"grants,omitempty"`
	Suspended   bool   `json:"suspended,omitempty"`
	// Adopt is the client ID of an application in Entra that an import adopts when it
	// registers the application, so that callers keep their client ID and secrets.
	// Later imports ignore it, and Export leaves it out.
	Adopt        string       `json:"adopt,omitempty"`
	AdoptChanges AdoptChanges `json:"adoptChanges,omitzero"`
	// ServicePrincipal is as in [ClientApplication]. It cannot change.
	ServicePrincipal ServicePrincipal `json:"servicePrincipal,omitzero"`
}

// DocumentSubscription is a [Subscription] in a [Document]. Another OwnerID
// transfers it. Its scope cannot change.
//
// PrimaryHash and SecondaryHash bring keys that callers already have, as in
// [SubscriptionRequest], with the same warning. An import takes them when it creates
// the subscription and ignores them later: a key that was regenerated does not come
// back with the next import. If the subscription is deleted, the next import creates
// it again with these keys: remove it from the document, too. [Service.Export] leaves
// the hashes out, so that callers of one environment do not get access to another. To
// move with all keys, fill in the hashes that [Service.Subscriptions] shows.
type DocumentSubscription struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	OwnerID string            `json:"ownerId,omitempty"`
	Scope   Scope             `json:"scope"`
	State   SubscriptionState `json:"state"`
	Expires time.Time         `json:"expires,omitzero"`

	PrimaryHash   KeyHash `json:"primaryHash,omitzero"`
	SecondaryHash KeyHash `json:"secondaryHash,omitzero"`
}

// showInDocument is [ShowOperations] in a document, where an empty value keeps the
// enforcement of the API.
const showInDocument Enforcement = "show"

func documentAPI(a *API) (DocumentAPI, bool) {
	d := DocumentAPI{
		ID: a.ID, Name: a.Name, Path: a.Path, Description: a.Description, ServiceURL: a.ServiceURL,
		AllowEncodedSlash: a.AllowEncodedSlash, KeyHeader: a.KeyHeader, KeyQuery: a.KeyQuery, Operations: a.Operations, Enforcement: a.Enforcement,
	}
	if d.Enforcement == ShowOperations && len(d.Operations) > 0 {
		d.Enforcement = showInDocument
	}
	return d, true
}

func documentProduct(p *Product) (DocumentProduct, bool) {
	return DocumentProduct{
		ID: p.ID, Name: p.Name, Description: p.Description, Published: p.State == Published,
		Suspended: p.Suspended, Access: p.Access, APIs: p.APIs, Permissions: p.Permissions,
		SelfService: p.SelfService, PerDeveloper: p.PerDeveloper,
	}, !p.Deleted
}

func documentUser(u *User) (DocumentUser, bool) {
	return DocumentUser{ID: u.ID, Name: u.Name, Email: u.Email, Blocked: u.State == UserBlocked, TenantID: u.TenantID, ObjectID: u.ObjectID}, true
}

func documentApplication(a *ClientApplication) (DocumentApplication, bool) {
	return DocumentApplication{
		ID: a.ID, Name: a.Name, Description: a.Description, OwnerID: a.OwnerID,
		Grants: a.Grants, Suspended: a.State == ApplicationSuspended,
		ServicePrincipal: a.ServicePrincipal,
	}, !a.Deleted
}

func documentSubscription(v *Subscription) (DocumentSubscription, bool) {
	return DocumentSubscription{ID: v.ID, Name: v.Name, OwnerID: v.OwnerID, Scope: v.Scope, State: v.State, Expires: v.Expires}, true
}
