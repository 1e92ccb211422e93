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
	// TaggedApplications lists the applications that have a tag, all pages.
	TaggedApplications(ctx context.Context, tag string) ([]Application, error)
	// ServicePrincipals reads service principals.
	ServicePrincipals(ctx context.Context, refs []PrincipalRef) ([]ServicePrincipal, []error)
	// Assignments reads the app roles that clients, given by the object ID of
	// their service principals, hold on resources (…/appRoleAssignments), all pages.
	Assignments(ctx context.Context, servicePrincipalIDs []string) ([][]Assignment, []error)
	// AssignedTo reads the app roles of products, given by the object ID of their
	// service principals, that clients hold (…/appRoleAssignedTo), all pages.
	AssignedTo(ctx context.Context, servicePrincipalIDs []string) ([][]Assignment, []error)

	// CreateApplication creates an application (POST). If its UniqueName is
	// taken, the error is an [*APIError] and nothing is changed. NOT idempotent:
	// after an unknown outcome look for the name.
	CreateApplication(ctx context.Context, patch ApplicationPatch) (Application, error)
	// PatchApplication changes an application by its object ID. Idempotent.
	PatchApplication(ctx context.Context, objectID string, patch ApplicationPatch) error
	// UpsertServicePrincipal creates the service principal of an application, or
	// changes the one that exists (PATCH with Prefer: create-if-missing).
	// Idempotent. created reports which; the ServicePrincipal is filled only if it
	// was created.
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

	// FederatedCredentials lists the federated credentials of applications, given by
	// their object ID, all pages.
	FederatedCredentials(ctx context.Context, objectIDs []string) ([][]FederatedCredential, []error)
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

	// ApplicationOwners and PrincipalOwners list the object IDs of the owners of an
	// application and of a service principal, given by its object ID, all pages.
	ApplicationOwners(ctx context.Context, objectID string) ([]string, error)
	PrincipalOwners(ctx context.Context, objectID string) ([]string, error)
	// CreatedObjects counts the existing objects that a service principal created.
	CreatedObjects(ctx context.Context, servicePrincipalID string) (int, error)

	// Identity returns the caller, from the access token in use and from what Graph
	// says of the caller.
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

// PrincipalRef names a service principal: exactly one field is set.
type PrincipalRef struct {
	ObjectID string
	AppID    string // of its application
}

func (r PrincipalRef) String() string {
	if r.ObjectID != "" {
		return "service principal " + r.ObjectID
	}
	return "servicePrincipal(appId=" + r.AppID + ")"
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
	Created            time.Time
	Disabled           bool // isDisabled: Entra issues no token for it
	IdentifierURIs     []string
	Tags               []string
	AppRoles           []AppRole
	RequiredAccess     []RequiredAccess
	Passwords          []Password
	Keys               []KeyCredential
	AccessTokenVersion int      // api.requestedAccessTokenVersion; 0 is null, that is version 1
	AccessTokenClaims  []string // names of optionalClaims.accessToken
}

// ApplicationPatch changes the properties whose pointer is set. A slice
// replaces the whole collection, as in Graph.
type ApplicationPatch struct {
	// UniqueName names a new application, or one that has no name yet: Graph takes
	// it once.
	UniqueName         *string
	DisplayName        *string
	Description        *string
	SignInAudience     *string
	Disabled           *bool // isDisabled
	IdentifierURIs     *[]string
	Tags               *[]string
	AppRoles           *[]AppRole
	RequiredAccess     *[]RequiredAccess
	Keys               *[]KeyCredential
	AccessTokenVersion *int
	// AccessTokenClaims sets the names of the optional access-token claims. A claim
	// that exists keeps its settings; the claims of other tokens stay.
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
	Roles         []string      // app role IDs (type Role)
	Scopes        []string      // delegated permission IDs (type Scope), kept as they are
	Others        []OtherAccess // permissions of another type, kept as they are
}

// OtherAccess is a permission whose type is neither Role nor Scope.
type OtherAccess struct{ ID, Type string }

// ServicePrincipal is the part of Graph's servicePrincipal that is read.
type ServicePrincipal struct {
	ObjectID           string
	AppID              string
	DisplayName        string
	Type               string // servicePrincipalType: Application, ManagedIdentity
	AccountEnabled     bool
	Disabled           bool // isDisabled, which comes from its application
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

// PasswordRequest asks for a secret. It is valid from the time at which Entra
// adds it.
type PasswordRequest struct {
	DisplayName string
	End         time.Time // zero: two years from now, as Entra decides
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

// KeyCredential is a certificate. Key (DER) is needed when one is added. An entry
// that was read is sent back as Raw says, whatever the other fields hold.
type KeyCredential struct {
	KeyID       string
	DisplayName string
	Type        string // AsymmetricX509Cert
	Usage       string // Verify
	Key         []byte
	Thumbprint  string // customKeyIdentifier as Graph returns it
	Start, End  time.Time
	Raw         string // the entry as Graph wrote it; empty for a new one
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
	// Pending are the directory roles and app roles of Graph that the identity holds
	// and that its access token does not carry, because the token is older. Entra
	// goes by the token.
	Pending  []string
	TokenEnd time.Time // when the access token expires; zero: not known
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
