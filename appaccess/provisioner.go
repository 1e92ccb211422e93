package appaccess

import (
	"context"
	"time"
)

// Provisioner makes Entra hold what [Service] wants. Package provision
// implements it. Every method may be cut off at any point and called again; it
// then goes on where it stopped. All are safe for concurrent use, by several
// replicas too.
type Provisioner interface {
	// Plan says what Apply would do, without a write.
	Plan(ctx context.Context, want Wanted) (Plan, error)

	// Apply makes Entra follow. An object that fails does not keep the others
	// from being done: Applied holds what was recorded and, by object, what
	// failed. The error is for what concerns the whole call (a context that
	// ended, a journal out of reach). progress, which may be nil, is called by
	// one goroutine at a time and holds the work up meanwhile.
	Apply(ctx context.Context, want Wanted, progress func(Progress)) (Applied, error)

	// AddCredential adds a credential to a client application that was applied
	// before. The value of a secret goes to req.Deliver; if that fails, the
	// credential is removed again and the error returned.
	AddCredential(ctx context.Context, applicationID string, req CredentialRequest) (Credential, error)

	// RemoveCredential removes one. One that is gone already is no error.
	RemoveCredential(ctx context.Context, applicationID string, c Credential) error

	// Review reads back from Entra what stands there for the objects named.
	Review(ctx context.Context, products, applications []string) (Review, error)

	// Preflight checks what the identity can do, without a write.
	Preflight(ctx context.Context) (Preflight, error)
}

// Wanted is what Entra is to hold. It need not be complete: objects that are
// not named are left as they are.
type Wanted struct {
	Products     []WantedProduct
	Applications []WantedApplication
}

// WantedProduct is a product's backend application.
type WantedProduct struct {
	ID              string // identity: the uniqueName in Entra is made from it
	ApplicationName string // display name in Entra
	Role            string // value of its app role
	Description     string
	Adopt           string // application (client) ID of an existing app to take over; empty: none
	Absent          bool   // is to be removed
}

// WantedApplication is a client application.
type WantedApplication struct {
	ID              string
	ApplicationName string // display name in Entra
	Name            string // the client's own name, kept in tags or description
	OwnerID         string
	Description     string
	Products        []string // product IDs to be granted; grants of ours that are not named are revoked
	Adopt           string
	Absent          bool
	Disabled        bool // suspended: Entra is to issue no tokens to it
}

// Applied is what Apply has recorded, by our IDs.
type Applied struct {
	Products     map[string]ProductApplication
	Applications map[string]ApplicationRegistration
	// Failed holds the objects that could not be brought in step. The keys are
	// "product <id>" and "application <id>".
	Failed map[string]error
	// Lost holds, by application ID, the credentials that were made for it and
	// no longer stand in Entra. A new one has to be added: only its taker can
	// ask for that. It is told again until RemoveCredential is called for it.
	Lost map[string][]Credential
}

// Plan is what Apply would do, in its order. Empty: everything is in step.
type Plan struct {
	Steps []Step
	// Failed holds, as in Applied, the objects that could not be read.
	Failed map[string]error
}

// Step is one change in Entra.
type Step struct {
	Action Action `json:"action"`
	Object string `json:"object"` // "product starter", "application 42"
	Detail string `json:"detail"` // in words: what, and from what to what
}

// Action is what a step does.
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
	// ActionRenew is for a credential that is gone from Entra: Apply cannot
	// mend that, AddCredential does.
	ActionRenew Action = "renew"
)

// Progress reports a step under way.
type Progress struct {
	Object  string
	Step    string
	Attempt int           // 1 for the first try
	Wait    time.Duration // before the next try; 0 if none is awaited
	Done    bool
	Err     error
}

// CredentialRequest asks for a credential.
type CredentialRequest struct {
	// OperationID names the request: a second call with the same one, after a
	// crash, finishes or replaces the first instead of adding another.
	OperationID string
	Kind        CredentialKind
	Name        string
	Lifetime    time.Duration // of a secret; 0: one year

	// Deliver takes the value of a secret and returns once it is safe. It is
	// required for secrets and not called for the other kinds.
	Deliver func(context.Context, Credential, Secret) error

	CertificatePEM string // of a certificate: the public part only
	Issuer         string // of a federated credential
	Subject        string
	Audience       string // empty: api://AzureADTokenExchange
}

// Review is what Entra shows of products and applications: the spec's "Review"
// sections.
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
	Name             string
	AppID            string
	ServicePrincipal string
	Enabled          bool
	Permissions      []PermissionReview
	Credentials      []Credential // metadata of all credentials that stand in Entra
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
	Checks   []Check
}

// Check is one line of a Preflight.
type Check struct {
	Name   string
	OK     bool
	Detail string // what was found
	Remedy string // what to do, and who may do it
}
