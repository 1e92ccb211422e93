package appaccess

import (
	"slices"
	"time"

	"github.com/entragate/entragate/internal/secret"
)

// Secret is a value that is shown once: it never prints, logs or marshals.
// Call Reveal to read it.
type Secret = secret.Value

// NewSecret wraps a value that must not be printed, such as the key of a
// [HandoverKey].
func NewSecret(value string) Secret { return secret.New(value) }

// ProductState says whether developers see a product. It governs what is
// listed and what may be newly linked; it does not end existing access, as in
// API Management.
type ProductState string

// The states of a product.
const (
	NotPublished ProductState = "notPublished"
	Published    ProductState = "published"
)

// Access is the set of credentials that a product accepts: its "application
// based access" switches. With both, either credential suffices. With neither
// the product is open.
type Access struct {
	// Token accepts OAuth 2.0 access tokens of client applications and gives
	// the product an application of its own in Entra.
	Token bool `json:"token"`
	// Key accepts subscription keys.
	Key bool `json:"key"`
}

// Open reports whether no credential is asked for.
func (a Access) Open() bool { return !a.Token && !a.Key }

// Product groups APIs under one way of access.
type Product struct {
	ID          string       `json:"id"`   // URL-safe, chosen at creation, never changes
	Name        string       `json:"name"` // 1 to 300 characters; fixed once the product has a role
	Description string       `json:"description,omitempty"`
	State       ProductState `json:"state"`
	Suspended   bool         `json:"suspended,omitempty"` // ends the product's traffic
	Access      Access       `json:"access"`
	APIs        []string     `json:"apis,omitempty"` // API IDs, sorted

	// Entra is what stands in Entra for the product, as last recorded. It is
	// zero until token access was first switched on.
	Entra ProductApplication `json:"entra,omitzero"`
	Sync  Sync               `json:"sync,omitzero"`
	// Adopt is the client ID of an application in Entra that is to be taken
	// over instead of creating one; empty once that is done.
	Adopt string `json:"adopt,omitempty"`
	// Deleted marks a product whose access has ended and whose objects in
	// Entra are still to be removed. It is in no list.
	Deleted bool `json:"deleted,omitempty"`

	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// HasAPI reports whether the product groups the API.
func (p *Product) HasAPI(id string) bool { return slices.Contains(p.APIs, id) }

// ProductApplication is the backend application that represents a product in
// Entra.
type ProductApplication struct {
	Name               string `json:"name,omitempty"`     // APIMProductApplication<product-name>
	ObjectID           string `json:"objectId,omitempty"` // of the application
	AppID              string `json:"appId,omitempty"`    // the client ID: the product's application ID
	ServicePrincipalID string `json:"servicePrincipalId,omitempty"`
	RoleID             string `json:"roleId,omitempty"`
	Role               string `json:"role,omitempty"`          // Product.<product-name>.All
	IdentifierURI      string `json:"identifierUri,omitempty"` // api://<appId>
}

// Audience is the value that tokens for the product carry (version 2 tokens:
// the application ID). Empty while the product has no application.
func (a ProductApplication) Audience() string { return a.AppID }

// Scope is what a client asks the token endpoint for: api://<appId>/.default.
// Empty while the product has no application.
func (a ProductApplication) Scope() string {
	if a.AppID == "" {
		return ""
	}
	return "api://" + a.AppID + "/.default"
}

// API is a set of routes below one path.
type API struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Path        string `json:"path"` // whole segments, begins with a slash: /echo
	Description string `json:"description,omitempty"`
	// ServiceURL is where a gateway reaches the API and, unless the portal's
	// Config names the gateway, the Try it box too; empty if that is not
	// configured.
	ServiceURL string    `json:"serviceUrl,omitempty"`
	Created    time.Time `json:"created"`
	Updated    time.Time `json:"updated"`
}

// UserState says whether a user's applications and subscriptions give access.
type UserState string

// The states of a user.
const (
	UserActive  UserState = "active"
	UserBlocked UserState = "blocked"
)

// User owns client applications and subscriptions.
type User struct {
	ID    string    `json:"id"`
	Name  string    `json:"name"`
	Email string    `json:"email,omitempty"` // for people only, never an identity
	State UserState `json:"state"`
	// TenantID and ObjectID bind the user to an Entra account (tid and oid).
	// Both or neither are set; a pair belongs to at most one user.
	TenantID string    `json:"tenantId,omitempty"`
	ObjectID string    `json:"objectId,omitempty"`
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`
}

// ApplicationState says whether a client application gives access.
type ApplicationState string

// The states of a client application. Pending: registered here, not yet
// complete in Entra, or linked to no product.
const (
	ApplicationPending   ApplicationState = "pending"
	ApplicationActive    ApplicationState = "active"
	ApplicationSuspended ApplicationState = "suspended"
)

// ClientApplication is an Entra application that one user owns and that is
// granted products.
type ClientApplication struct {
	ID          string           `json:"id"`
	Name        string           `json:"name"` // 1 to 300 characters
	Description string           `json:"description,omitempty"`
	OwnerID     string           `json:"ownerId"`
	State       ApplicationState `json:"state"`
	// Products are the product links in the order of their granting; the first
	// names the Entra application.
	Products []string `json:"products,omitempty"`

	// Entra is what stands in Entra, as last recorded.
	Entra ApplicationRegistration `json:"entra,omitzero"`
	Sync  Sync                    `json:"sync,omitzero"`
	// Adopt is the client ID of an application in Entra that is to be taken
	// over instead of creating one; empty once that is done.
	Adopt string `json:"adopt,omitempty"`
	// Deleted marks an application whose access has ended and whose objects in
	// Entra are still to be removed. It is in no list.
	Deleted bool `json:"deleted,omitempty"`

	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// ApplicationRegistration is a client application as Entra knows it.
type ApplicationRegistration struct {
	Name               string `json:"name,omitempty"` // APIMApplication<product-name>
	ObjectID           string `json:"objectId,omitempty"`
	AppID              string `json:"appId,omitempty"` // the Client ID
	ServicePrincipalID string `json:"servicePrincipalId,omitempty"`
}

// Sync is how far Entra has followed what is wanted of one object.
type Sync struct {
	Pending bool      `json:"pending,omitempty"` // Entra is still to follow
	Error   string    `json:"error,omitempty"`   // of the last try, for the manager; never holds a secret
	At      time.Time `json:"at,omitzero"`       // of the last try
}

// CredentialKind is the way in which a client application proves itself.
type CredentialKind string

// The kinds of credential. Many tenants forbid secrets: certificates and
// federated credentials are the alternatives.
const (
	SecretCredential      CredentialKind = "secret"
	CertificateCredential CredentialKind = "certificate"
	FederatedCredential   CredentialKind = "federated"
)

// Credential is what is known of a credential after its value was shown: the
// value itself is never kept.
type Credential struct {
	ID            string         `json:"id"`
	ApplicationID string         `json:"applicationId"`
	Kind          CredentialKind `json:"kind"`
	Name          string         `json:"name,omitempty"`
	KeyID         string         `json:"keyId,omitempty"` // Entra's; for a federated credential its object ID
	Hint          string         `json:"hint,omitempty"`  // first three characters of a secret, as Entra shows them
	Start         time.Time      `json:"start,omitzero"`
	End           time.Time      `json:"end,omitzero"`         // zero: does not expire (federated)
	RemoveAfter   time.Time      `json:"removeAfter,omitzero"` // set once a newer one replaces it: end of the overlap

	// Of a certificate: SHA-256 thumbprint, base64url. Of a federated
	// credential: what an assertion must carry.
	Thumbprint string `json:"thumbprint,omitempty"`
	Issuer     string `json:"issuer,omitempty"`
	Subject    string `json:"subject,omitempty"`
	Audience   string `json:"audience,omitempty"`

	CreatedBy string    `json:"createdBy,omitempty"`
	Created   time.Time `json:"created"`
}

// SubscriptionState says whether a subscription's keys give access: only those
// of an active one do.
type SubscriptionState string

// The states of a subscription, as in API Management.
const (
	SubscriptionSubmitted SubscriptionState = "submitted"
	SubscriptionActive    SubscriptionState = "active"
	SubscriptionSuspended SubscriptionState = "suspended"
	SubscriptionRejected  SubscriptionState = "rejected"
	SubscriptionCancelled SubscriptionState = "cancelled"
	SubscriptionExpired   SubscriptionState = "expired"
)

// Scope of a subscription: /products/{id}, /apis/{id} or /apis (all).
type Scope string

// AllAPIs is the scope that reaches every API of a product that accepts keys.
const AllAPIs Scope = "/apis"

// ProductScope is the scope of one product.
func ProductScope(id string) Scope { return Scope("/products/" + id) }

// APIScope is the scope of one API.
func APIScope(id string) Scope { return Scope("/apis/" + id) }

// Subscription holds two keys, of which only hashes are kept. Some are keys that
// callers had before: see [SubscriptionRequest].
type Subscription struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	OwnerID string            `json:"ownerId,omitempty"` // may be empty
	Scope   Scope             `json:"scope"`
	State   SubscriptionState `json:"state"`
	// PrimarySum and SecondarySum are the SHA-256 of the keys.
	PrimarySum   KeySum    `json:"primarySum"`
	SecondarySum KeySum    `json:"secondarySum"`
	Expires      time.Time `json:"expires,omitzero"` // zero: never
	Created      time.Time `json:"created"`
	Updated      time.Time `json:"updated"`
}
