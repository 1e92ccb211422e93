package provision

import (
	"context"
	"fmt"
	"time"
)

// Directory is what provisioning needs of Microsoft Graph v1.0. Package msgraph
// implements it on Microsoft's SDK; package entratest offers its local tenant
// as one, in process.
//
// An implementation does one thing per call and never retries: what to do
// about an error is decided in one place, by the caller. Reads take slices,
// send them as $batch requests of 20, a few in flight, and return one result
// and one error for each item, in the order asked; they never list the tenant.
// An answer of the service that is not a success is an [*APIError]; any other
// error (transport, a cut connection, a context) leaves the outcome unknown.
//
// All methods are safe for concurrent use.
type Directory interface {
	// Applications reads applications.
	Applications(ctx context.Context, refs []AppRef) ([]Application, []error)
	// ServicePrincipals reads service principals by the appId of their application.
	ServicePrincipals(ctx context.Context, appIDs []string) ([]ServicePrincipal, []error)
	// Assignments reads the app roles that clients, given by the object ID of
	// their service principals, hold on resources (…/appRoleAssignments), all pages.
	Assignments(ctx context.Context, servicePrincipalIDs []string) ([][]Assignment, []error)
	// AssignedTo reads the same from the resource's side: who holds app roles
	// on products, given by the object ID of their service principals
	// (…/appRoleAssignedTo), all pages.
	AssignedTo(ctx context.Context, servicePrincipalIDs []string) ([][]Assignment, []error)

	// UpsertApplication creates the application with this uniqueName, or
	// changes the one that has it (PATCH with Prefer: create-if-missing).
	// Idempotent. created reports which; the Application is filled only if it
	// was created.
	UpsertApplication(ctx context.Context, uniqueName string, patch ApplicationPatch) (app Application, created bool, err error)
	// PatchApplication changes an application by its object ID. Idempotent.
	PatchApplication(ctx context.Context, objectID string, patch ApplicationPatch) error
	// UpsertServicePrincipal is the same for the service principal of an appId.
	UpsertServicePrincipal(ctx context.Context, appID string, patch ServicePrincipalPatch) (sp ServicePrincipal, created bool, err error)

	// Assign grants an app role (POST …/appRoleAssignedTo on the resource). A
	// duplicate is an APIError, not a second grant.
	Assign(ctx context.Context, a Assignment) (Assignment, error)
	// Unassign revokes one by the resource's object ID and the assignment's ID.
	Unassign(ctx context.Context, resourceID, assignmentID string) error

	// AddPassword adds a secret. NOT idempotent: after an unknown outcome look
	// for its DisplayName before trying again.
	AddPassword(ctx context.Context, objectID string, p PasswordRequest) (Password, error)
	// RemovePassword removes one by its key ID.
	RemovePassword(ctx context.Context, objectID, keyID string) error

	// FederatedCredentials lists those of an application, all pages.
	FederatedCredentials(ctx context.Context, objectID string) ([]FederatedCredential, error)
	// AddFederatedCredential adds one; Name is its natural key.
	AddFederatedCredential(ctx context.Context, objectID string, f FederatedCredential) (FederatedCredential, error)
	// RemoveFederatedCredential removes one by its ID.
	RemoveFederatedCredential(ctx context.Context, objectID, id string) error

	// DeletedApplication finds a soft-deleted application by its object ID, or
	// by its uniqueName where the identity may list deleted items.
	DeletedApplication(ctx context.Context, ref AppRef) (Application, error)
	// Restore brings a soft-deleted object back (applications and service
	// principals, each by its own object ID).
	Restore(ctx context.Context, objectID string) error
	// DeleteApplication soft-deletes an application, and with it its service
	// principal in this tenant.
	DeleteApplication(ctx context.Context, objectID string) error
	// DeleteServicePrincipal deletes a service principal.
	DeleteServicePrincipal(ctx context.Context, objectID string) error

	// Identity tells who is calling, from the access token in use and from
	// what Graph says of the caller.
	Identity(ctx context.Context) (Identity, error)
}

// AppRef names an application in one of three ways: exactly one field is set.
type AppRef struct {
	ObjectID   string
	AppID      string
	UniqueName string
}

func (r AppRef) String() string {
	switch {
	case r.ObjectID != "":
		return "application " + r.ObjectID
	case r.AppID != "":
		return "application(appId=" + r.AppID + ")"
	}
	return "application(uniqueName=" + r.UniqueName + ")"
}

// Application is the part of Graph's application that provisioning reads. Every
// read selects exactly these properties.
type Application struct {
	ObjectID           string
	AppID              string
	UniqueName         string
	DisplayName        string
	Description        string
	SignInAudience     string
	IdentifierURIs     []string
	Tags               []string
	AppRoles           []AppRole
	RequiredAccess     []RequiredAccess
	Passwords          []Password
	Keys               []KeyCredential
	AccessTokenVersion int      // api.requestedAccessTokenVersion; 0 is null, that is version 1
	AccessTokenClaims  []string // names of optionalClaims.accessToken
	// Raw optional claims and other collections that a PATCH would replace as a
	// whole are kept by the implementation behind AccessTokenClaims: a patch
	// that sets them adds names and keeps what else is there.
}

// ApplicationPatch changes the properties whose pointer is set. A slice
// replaces the whole collection, as in Graph.
type ApplicationPatch struct {
	// UniqueName gives a name to an application that has none (Graph takes it
	// once). Only PatchApplication may set it: UpsertApplication has it already.
	UniqueName         *string
	DisplayName        *string
	Description        *string
	SignInAudience     *string
	IdentifierURIs     *[]string
	Tags               *[]string
	AppRoles           *[]AppRole
	RequiredAccess     *[]RequiredAccess
	Keys               *[]KeyCredential
	AccessTokenVersion *int
	// AccessTokenClaims sets the names of optional access-token claims;
	// IDTokenClaims and SAML2Claims that stand are written back as they were
	// read only by Graph itself: provisioning sets this on creation and
	// otherwise only when a name is missing.
	AccessTokenClaims *[]string
}

// AppRole is a role that an application defines.
type AppRole struct {
	ID                 string
	Value              string
	DisplayName        string
	Description        string
	Enabled            bool
	AllowedMemberTypes []string // "Application", "User"
}

// RequiredAccess is what an application asks for of one resource (an entry of
// requiredResourceAccess).
type RequiredAccess struct {
	ResourceAppID string
	Roles         []string // app role IDs (type Role)
	Scopes        []string // delegated permission IDs (type Scope), kept as they are
}

// ServicePrincipal is the part of Graph's servicePrincipal that is read.
type ServicePrincipal struct {
	ObjectID           string
	AppID              string
	DisplayName        string
	AccountEnabled     bool
	AssignmentRequired bool // appRoleAssignmentRequired
	Tags               []string
	AppRoles           []AppRole
}

// ServicePrincipalPatch changes the properties whose pointer is set.
type ServicePrincipalPatch struct {
	AccountEnabled     *bool
	AssignmentRequired *bool
	Tags               *[]string
}

// Assignment is an app role granted to a principal.
type Assignment struct {
	ID          string
	PrincipalID string // object ID of the client's service principal
	ResourceID  string // object ID of the product's service principal
	RoleID      string
}

// PasswordRequest asks for a secret.
type PasswordRequest struct {
	DisplayName string
	Start, End  time.Time
}

// Password is the metadata of a secret; SecretText is set only in the answer to
// AddPassword.
type Password struct {
	KeyID       string
	DisplayName string
	Hint        string
	Start, End  time.Time
	SecretText  Secret
}

// KeyCredential is a certificate. Key (DER) is needed when one is added; Graph
// does not return it in ordinary reads, and keeps the key of an entry that is
// sent back with its KeyID and without Key.
type KeyCredential struct {
	KeyID       string
	DisplayName string
	Type        string // AsymmetricX509Cert
	Usage       string // Verify
	Key         []byte
	Thumbprint  string // customKeyIdentifier as Graph returns it
	Start, End  time.Time
}

// FederatedCredential trusts assertions of another issuer.
type FederatedCredential struct {
	ID          string
	Name        string
	Description string
	Issuer      string
	Subject     string
	Audiences   []string
}

// Identity is who calls Graph.
type Identity struct {
	ObjectID   string // of the service principal
	AppID      string
	TenantID   string
	Name       string
	Roles      []string // directory role names that are known: "Application Administrator"
	GraphRoles []string // app roles in the access token: "Application.ReadWrite.OwnedBy"
}

// APIError is an answer of Graph that is not a success. It never holds a
// secret.
type APIError struct {
	Status     int    // HTTP status
	Code       string // error.code: Request_ResourceNotFound
	Message    string // error.message
	Details    []APIErrorDetail
	RequestID  string        // for Microsoft's support
	RetryAfter time.Duration // 0: not given
}

// APIErrorDetail is one entry of error.details.
type APIErrorDetail struct {
	Code, Message, Target string
}

func (e *APIError) Error() string {
	return fmt.Sprintf("graph: %d %s: %s (request-id %s)", e.Status, e.Code, e.Message, e.RequestID)
}
