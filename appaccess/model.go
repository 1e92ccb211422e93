package appaccess

import (
	"slices"
	"time"

	"github.com/entragate/entragate/internal/secret"
)

// Secret is a value that is shown once. It never prints, logs or marshals; Reveal
// returns it.
type Secret = secret.Value

// NewSecret wraps a value that must not be printed, such as the key of a
// [OneTimeSecretKey].
func NewSecret(value string) Secret { return secret.New(value) }

// ProductState says whether developers see a product. As in API Management, it
// decides what is listed and what may be newly linked; it does not revoke existing
// access.
type ProductState string

// The states of a product.
const (
	NotPublished ProductState = "notPublished"
	Published    ProductState = "published"
)

// Access says which credentials a product accepts: its "application based access"
// switches. With both, either credential suffices. With neither, the product is open
// to everybody.
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
	Suspended   bool         `json:"suspended,omitempty"` // gates refuse all requests
	Access      Access       `json:"access"`
	APIs        []string     `json:"apis,omitempty"` // API IDs, sorted
	// Permissions are what a client application can be granted of the product,
	// beside [AllPermission], which every product with token access has. Each is
	// an app role of the product's application in Entra.
	Permissions []Permission `json:"permissions,omitempty"`
	// SelfService says what developers may do by themselves. PerDeveloper is how many
	// client applications, and how many subscriptions, a developer may have for the
	// product without a manager; 0: 10.
	SelfService  SelfService `json:"selfService,omitempty"`
	PerDeveloper int         `json:"perDeveloper,omitempty"`

	// Entra is what exists in Entra for the product, as last recorded. It is zero
	// until token access is first switched on.
	Entra ProductApplication `json:"entra,omitzero"`
	Sync  Sync               `json:"sync,omitzero"`
	// Adopt is the client ID of an application in Entra that is to be taken
	// over instead of creating one; empty once that is done.
	Adopt        string       `json:"adopt,omitempty"`
	AdoptChanges AdoptChanges `json:"adoptChanges,omitzero"`
	// Deleted marks a product whose access is revoked and whose objects in Entra are
	// still to be removed. It is in no list.
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
	// Roles are its app roles, one for each permission, [AllPermission] first.
	Roles         []Role `json:"roles,omitempty"`
	IdentifierURI string `json:"identifierUri,omitempty"` // api://<appId>
}

// Audience returns the audience of version 2 tokens for the product: the application
// ID. It is empty if the product has no application yet.
func (a ProductApplication) Audience() string { return a.AppID }

// Scope returns the scope that a client requests at the token endpoint:
// api://<appId>/.default. It is empty if the product has no application yet.
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
	// AllowEncodedSlash lets paths below Path have encoded slashes and empty
	// segments, as in /repos/group%2Fproject and /proxy/https://host. Otherwise a
	// gate refuses them. The risk: servers differ in whether an encoded slash begins
	// a segment, so the API must not base a decision on it. A gate still refuses a
	// path that either reading would send to another API.
	AllowEncodedSlash bool `json:"allowEncodedSlash,omitempty"`
	// ServiceURL is the address at which a gateway reaches the API. The portal's Try
	// it box uses it too, unless the portal's Config names the gateway. Empty: not
	// configured.
	ServiceURL string `json:"serviceUrl,omitempty"`
	// KeyHeader and KeyQuery name the header and the query parameter in which callers
	// of this API send their subscription key. If empty, the names in the gate's
	// Config apply. See [CheckKeyNames].
	KeyHeader string `json:"keyHeader,omitempty"`
	KeyQuery  string `json:"keyQuery,omitempty"`
	// Operations are the known operations of the API. Enforcement says what a gate
	// does with them.
	Operations  []Operation `json:"operations,omitempty"`
	Enforcement Enforcement `json:"enforcement,omitempty"`
	Created     time.Time   `json:"created"`
	Updated     time.Time   `json:"updated"`
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
	Email string    `json:"email,omitempty"` // for display, never an identity
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

// The states of a client application. A pending application is not yet complete in
// Entra, or is granted no product. An application that waits for approval is a
// [Request].
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
	// Grants are the products that it is granted, in the order of granting, each at
	// most once. The first product names the Entra application.
	Grants Grants `json:"grants,omitempty"`
	// ServicePrincipal is an existing service principal that is the client
	// application: then only its grants are changed in Entra. Zero: the application
	// is registered here.
	ServicePrincipal ServicePrincipal `json:"servicePrincipal,omitzero"`

	// Entra is what exists in Entra, as last recorded.
	Entra ApplicationRegistration `json:"entra,omitzero"`
	Sync  Sync                    `json:"sync,omitzero"`
	// Adopt is the client ID of an application in Entra that is to be taken
	// over instead of creating one; empty once that is done.
	Adopt        string       `json:"adopt,omitempty"`
	AdoptChanges AdoptChanges `json:"adoptChanges,omitzero"`
	// Deleted marks an application whose access is revoked and whose objects in Entra
	// are still to be removed. It is in no list.
	Deleted bool `json:"deleted,omitempty"`

	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// ApplicationRegistration is a client application as Entra knows it.
type ApplicationRegistration struct {
	Name               string `json:"name,omitempty"`     // APIMApplication<product-name>
	ObjectID           string `json:"objectId,omitempty"` // of the application; empty for an existing service principal
	AppID              string `json:"appId,omitempty"`    // the Client ID
	ServicePrincipalID string `json:"servicePrincipalId,omitempty"`
	// Type is the servicePrincipalType of an existing service principal:
	// ManagedIdentity, Application.
	Type string `json:"type,omitempty"`
}

// ServicePrincipal names a service principal that exists in the tenant: a managed
// identity, or an application that others registered. An object ID is never used
// twice: a service principal that was deleted and created again is another one, even
// with the same name.
type ServicePrincipal struct {
	// ObjectID is the object ID of the service principal, which Azure calls
	// principal ID: az identity show prints it as principalId. It is not the
	// object ID of an application.
	ObjectID string `json:"objectId"`
	// ClientID, if not empty, is the client ID that the service principal must have.
	// It protects against a confusion of IDs.
	ClientID string `json:"clientId,omitempty"`
}

// ClientKind says what a client application is in Entra.
type ClientKind string

// The kinds of client application.
const (
	// RegisteredClient: an application that is registered, or was adopted, here.
	RegisteredClient ClientKind = "application"
	// ManagedIdentityClient: a managed identity of Azure, without credentials. Its
	// tokens live 24 hours, and Azure caches them as long: for up to a day a new
	// grant may be missing in its tokens, and a revoked grant may still be in them. A
	// gate with a [Catalog] refuses a revoked grant at once.
	ManagedIdentityClient ClientKind = "managedIdentity"
	// ServicePrincipalClient: the service principal of an application that others
	// registered. They manage its credentials.
	ServicePrincipalClient ClientKind = "servicePrincipal"
)

// ClientKind says what the application is in Entra. An existing service principal
// counts as [ServicePrincipalClient] until Entra was read.
func (a *ClientApplication) ClientKind() ClientKind {
	switch {
	case !a.existing():
		return RegisteredClient
	case a.Entra.Type == "ManagedIdentity":
		return ManagedIdentityClient
	}
	return ServicePrincipalClient
}

// existing reports whether the client application is an existing service principal.
func (a *ClientApplication) existing() bool { return a.ServicePrincipal.ObjectID != "" }

// Sync says how far Entra matches the desired state of one object.
type Sync struct {
	Pending bool   `json:"pending,omitempty"` // Entra does not match the desired state yet
	Error   string `json:"error,omitempty"`   // of the last try, for the manager; never holds a secret
	// Unconfirmed is the number of grants and credentials that were deleted in Entra
	// and that a replica may still show. It becomes 0 when three reads over 15
	// minutes show none of them; what they show again is deleted again.
	Unconfirmed int       `json:"unconfirmed,omitempty"`
	At          time.Time `json:"at,omitzero"` // of the last try
}

// InSync reports whether Entra matches the desired state and every revocation is
// confirmed.
func (s Sync) InSync() bool { return !s.Pending && s.Unconfirmed == 0 }

// CredentialKind says how a client application authenticates.
type CredentialKind string

// The kinds of credential. Many tenants forbid secrets: certificates and
// federated credentials are the alternatives.
const (
	SecretCredential      CredentialKind = "secret"
	CertificateCredential CredentialKind = "certificate"
	FederatedCredential   CredentialKind = "federated"
)

// Credential describes a credential. Its value is shown once and never stored.
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

	// Thumbprint is the SHA-256 thumbprint of a certificate, in base64url. Issuer,
	// Subject and Audience are what the assertion of a federated credential must
	// carry.
	Thumbprint string `json:"thumbprint,omitempty"`
	Issuer     string `json:"issuer,omitempty"`
	Subject    string `json:"subject,omitempty"`
	Audience   string `json:"audience,omitempty"`

	CreatedBy string    `json:"createdBy,omitempty"`
	Created   time.Time `json:"created"`
}

// SubscriptionState says whether a subscription's keys give access: only the keys of
// an active subscription do.
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

// AllAPIs is the scope of every API in a product that accepts keys.
const AllAPIs Scope = "/apis"

// ProductScope is the scope of one product.
func ProductScope(id string) Scope { return Scope("/products/" + id) }

// APIScope is the scope of one API.
func APIScope(id string) Scope { return Scope("/apis/" + id) }

// Subscription has two keys, of which only hashes are stored. Callers may have had
// the keys before: see [SubscriptionRequest].
type Subscription struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	OwnerID string            `json:"ownerId,omitempty"` // may be empty
	Scope   Scope             `json:"scope"`
	State   SubscriptionState `json:"state"`
	// PrimaryHash and SecondaryHash are the SHA-256 of the keys.
	PrimaryHash   KeyHash   `json:"primaryHash"`
	SecondaryHash KeyHash   `json:"secondaryHash"`
	Expires       time.Time `json:"expires,omitzero"` // zero: never
	Created       time.Time `json:"created"`
	Updated       time.Time `json:"updated"`
}
