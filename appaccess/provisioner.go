package appaccess

import (
	"context"
	"time"
)

// Provisioner makes Entra match the desired state of [Service]. Package provision
// implements it. A process may die at any point of a method; the next call continues.
// All methods are safe for concurrent use, also by several replicas.
type Provisioner interface {
	// Plan returns what Apply would do, without a write.
	Plan(ctx context.Context, objects Objects, desired DesiredState) (Plan, error)

	// Drift returns the part of Plan that undoes changes by others in Entra: the
	// steps for objects that were in sync with exactly the present desired state. It
	// also names credentials that are missing in Entra.
	Drift(ctx context.Context, objects Objects, desired DesiredState) (Plan, error)

	// Unknown finds objects, credentials and grants in Entra that belong to this
	// installation and are not desired, without a write. Because of replication lag,
	// recent changes may not show yet.
	Unknown(ctx context.Context) (Unknown, error)

	// RemoveUnknown removes what Unknown found, but deletes only objects that this
	// installation provably made. It reconciles a client application that has an
	// unknown grant.
	RemoveUnknown(ctx context.Context, u Unknown, desired DesiredState) error

	// Apply reconciles the named objects. It locks an object that needs work, reads
	// its desired state and Entra, changes Entra, and records the outcome with
	// desired before it takes the next object. An object that fails does not stop the
	// others: see Applied.Failed. The error concerns the whole call (the context
	// ended, the store is unreachable); the objects that were not reached are in
	// Applied.Failed, too. One goroutine at a time calls progress, which may be nil,
	// and the work waits for it.
	Apply(ctx context.Context, objects Objects, desired DesiredState, progress func(Progress)) (Applied, error)

	// AddCredential adds a credential to a client application that was applied
	// before, and passes it to req.Deliver. If Deliver fails, AddCredential removes
	// the credential again and returns the error. If the process dies before the
	// delivery, the next call that locks the application removes the credential.
	AddCredential(ctx context.Context, applicationID string, req CredentialRequest) (Credential, error)

	// RemoveCredential removes a credential and calls record in the transaction that
	// records the removal. unconfirmed is the number of revocations of the
	// application that later reads must confirm. If Entra does not have the
	// credential, the error is nil.
	RemoveCredential(ctx context.Context, applicationID string, c Credential, record func(w Writer, unconfirmed int) error) error

	// Unfinished finds work that no running call will finish.
	Unfinished(ctx context.Context) (Unfinished, error)

	// Review reads the named objects from Entra.
	Review(ctx context.Context, products, applications []string) (Review, error)

	// Preflight checks what the identity can do, without a write.
	Preflight(ctx context.Context) (Preflight, error)

	// Store returns the store of the Provisioner's state. It must be the Service's
	// store, because both record an object in one transaction.
	Store() Store
}

// Objects names products and client applications by their IDs.
type Objects struct {
	Products, Applications []string
	// Read may have records of the objects that the caller has just read. A
	// Provisioner need not read them again before it locks an object; when it has
	// locked the object, it reads the record again.
	Read []Record
}

func (o Objects) empty() bool { return len(o.Products)+len(o.Applications) == 0 }

// Unfinished is what a Provisioner must still do for earlier calls.
type Unfinished struct {
	// Due names objects for Apply: a call that worked on the object died, a
	// credential was not delivered, or a revocation must be confirmed. Objects that a
	// running call has locked are left out.
	Due Objects
	// Revocations is the number of grants, credentials and objects that were
	// deleted in Entra and that reads have not confirmed yet.
	Revocations int
}

// DesiredState is the desired state of Entra. A [Provisioner] gets only the names of
// objects. It reads their desired state when it has locked them, and records the
// outcome. Service implements it.
type DesiredState interface {
	// Product and Application read an object. For an object that does not exist they
	// return a desired state with Deleted, not an error.
	Product(r Reader, id string) (DesiredProduct, error)
	Application(r Reader, id string) (DesiredApplication, error)
	// RecordProduct and RecordApplication record the outcome of one object, in
	// the transaction in which the Provisioner records its own state. They
	// write nothing if nothing changed.
	RecordProduct(w Writer, id string, p ProductApplication, o Outcome) error
	RecordApplication(w Writer, id string, a ApplicationRegistration, o Outcome) error
}

// Outcome is the result of reconciling one object.
type Outcome struct {
	// Revision is the revision of the desired state that was read. The object is in
	// sync if its record was not written since.
	Revision Revision
	// Err says why the object is not in sync. Nil: Entra matches the desired state.
	Err error
	// Unconfirmed is the number of revocations that later reads have to confirm.
	Unconfirmed int
}

// DesiredProduct is a product's backend application.
type DesiredProduct struct {
	ID              string // identity: the uniqueName in Entra is made from it
	ApplicationName string // display name in Entra
	Roles           []Role // app roles that it defines, one for each permission; their IDs are not read
	Description     string
	Adopt           string // application (client) ID of an existing app to take over; empty: none
	AdoptChanges    AdoptChanges
	Deleted         bool // must be removed

	Revision Revision           // revision of the record that was read; 0: no record
	Pending  bool               // the object is not recorded as in sync
	Recorded ProductApplication // what exists in Entra, according to the record
}

// DesiredApplication is a client application.
type DesiredApplication struct {
	ID              string
	ApplicationName string // display name in Entra
	Name            string // the client's own name, kept in tags or description
	OwnerID         string
	Description     string
	Grants          Grants // other grants of products of this installation are revoked
	Adopt           string
	AdoptChanges    AdoptChanges
	Deleted         bool
	Disabled        bool // suspended: Entra must issue no tokens to it
	// ServicePrincipal names an existing service principal. Only its grants are
	// changed; the names above are not used. If it is suspended, it must have no
	// grants. Zero: the application is registered by this installation.
	ServicePrincipal ServicePrincipal

	Revision Revision                // revision of the record that was read; 0: no record
	Pending  bool                    // the object is not recorded as in sync
	Recorded ApplicationRegistration // what exists in Entra, according to the record
}

// Applied is the result of Apply, by product ID and application ID.
type Applied struct {
	// Products and Applications are the recorded applications in Entra.
	Products     map[string]ProductApplication
	Applications map[string]ApplicationRegistration
	// Failed has the objects that are not in sync. The keys are "product <id>" and
	// "application <id>".
	Failed map[string]error
	// MissingInEntra has, by application ID, credentials that were added and no
	// longer exist in Entra. Their owners must add new ones. They are reported until
	// RemoveCredential is called for them.
	MissingInEntra map[string][]Credential
}

// Plan is what Apply would do, in its order. Empty: everything is in sync.
type Plan struct {
	Steps []Step
	// Unknown are objects, credentials and grants in Entra that belong to this
	// installation and are not desired. Apply does not remove them. Only the plans of
	// a Service list them.
	Unknown Unknown
	// Failed has, as in Applied, the objects that could not be read.
	Failed map[string]error
}

// Step is one change in Entra.
type Step struct {
	Action Action `json:"action"`
	Object string `json:"object"` // "product starter", "application 42"
	Detail string `json:"detail"` // as text: what changes, from what to what
}

// Action is the kind of a step.
type Action string

// The actions.
const (
	ActionCreate  Action = "create"
	ActionRestore Action = "restore"
	ActionAdopt   Action = "adopt"
	ActionChange  Action = "change"
	ActionGrant   Action = "grant"
	ActionRevoke  Action = "revoke"
	ActionRemove  Action = "remove"
	// ActionRenew is for a credential that is missing in Entra: Apply cannot
	// repair that, AddCredential can.
	ActionRenew Action = "renew"
	// ActionEnable is for a client application that somebody disabled in Entra:
	// Apply leaves it disabled, an administrator can enable it there.
	ActionEnable Action = "enable"
)

// Progress reports a step under way.
type Progress struct {
	Object  string
	Step    string
	Attempt int           // 1 for the first try
	Wait    time.Duration // how long the call waits before its next attempt; 0 if it does not wait
	Done    bool
	Err     error
}

// CredentialRequest asks for a credential.
type CredentialRequest struct {
	// OperationID identifies the request. After a crash, a second call with the same
	// OperationID finishes or replaces the first instead of adding another
	// credential.
	OperationID string
	Kind        CredentialKind
	Name        string
	Lifetime    time.Duration // of a secret; 0: one year

	// Deliver records the credential in the transaction that records it in the
	// provisioning state: both are committed, or neither. It receives the value of a
	// secret; for other kinds the value is empty. It may run again if the transaction
	// does, and must use the store only through the Writer. It is required for
	// secrets.
	Deliver func(context.Context, Writer, Credential, Secret) error

	CertificatePEM string // of a certificate: the public part only
	Issuer         string // of a federated credential
	Subject        string
	Audience       string // empty: api://AzureADTokenExchange
}

// Review is what exists in Entra for products and applications, for the "Review"
// sections of the pages.
type Review struct {
	Products     []ProductReview
	Applications []ApplicationReview
}

// ProductReview is a product's application as read back.
type ProductReview struct {
	ProductID           string
	Found               bool
	Name                string // display name
	AppID               string
	IdentifierURIs      []string
	AppRoles            []RoleReview
	AssignmentRequired  bool
	AccessTokenVersion  int
	ServicePrincipal    string // its object ID; empty if missing
	Enabled             bool   // Entra issues tokens for it: neither its service principal nor its application is disabled
	AssignedPrincipals  int
	OptionalClaimIDType bool // asks for idtyp in access tokens
}

// RoleReview is an app role.
type RoleReview struct {
	ID      string
	Value   string
	Name    string
	Enabled bool
	Ours    bool
}

// ApplicationReview is a client application as read back.
type ApplicationReview struct {
	ApplicationID    string
	Found            bool
	Type             string // servicePrincipalType of an existing service principal; else empty
	Name             string
	AppID            string
	ServicePrincipal string
	Enabled          bool
	Permissions      []PermissionReview
	Credentials      []Credential // all credentials that exist in Entra, without values
}

// PermissionReview is one API permission.
type PermissionReview struct {
	ResourceAppID string
	Resource      string // display name: APIMProductApplicationStarter
	Role          string // Product.Starter.All
	Requested     bool   // listed under API permissions
	Granted       bool   // assigned to the service principal
}

// Preflight is what the identity that provisions can do.
type Preflight struct {
	OK       bool
	Identity string // name or ID of the identity, as far as known
	TenantID string // of the identity, as far as known
	// Instance is the configured name of this installation, and Installation the ID
	// in the tags of its objects in Entra; empty while no object was made.
	Instance, Installation string
	Checks                 []Check
}

// Check is one line of a Preflight.
type Check struct {
	Name   string
	OK     bool
	Detail string // what was found
	Remedy string // what to do, and who may do it
}
