package provision

import (
	"context"
	"fmt"
	"time"
)

// Directory has the calls of Microsoft Graph v1.0 that the reconciler makes. Package
// msgraph implements it with Microsoft's SDK. Package entratest implements it with its
// local tenant, in process.
//
// An implementation does one thing per call and never retries, because the reconciler
// decides how to continue after an error. Methods that read several objects send $batch
// requests of 20, a few at a time, and return one result and one error for each
// argument, in the order of the arguments. They never list the tenant. If Graph answers
// without success, the error is an [*APIError]. After any other error (network, ended
// context) the caller does not know whether the call had an effect.
//
// All methods are safe for concurrent use.
type Directory interface {
	// Applications reads applications.
	Applications(ctx context.Context, refs []AppRef) ([]Application, []error)
	// TaggedApplications lists all applications that have a tag.
	TaggedApplications(ctx context.Context, tag string) ([]Application, error)
	// ServicePrincipals reads service principals.
	ServicePrincipals(ctx context.Context, refs []PrincipalRef) ([]ServicePrincipal, []error)
	// Assignments reads all app roles that each client holds (…/appRoleAssignments).
	// The argument has the object IDs of the clients' service principals.
	Assignments(ctx context.Context, servicePrincipalIDs []string) ([][]Assignment, []error)
	// AssignedTo reads all assignments to each product's app roles
	// (…/appRoleAssignedTo). The argument has the object IDs of the products' service
	// principals.
	AssignedTo(ctx context.Context, servicePrincipalIDs []string) ([][]Assignment, []error)

	// CreateApplication creates an application (POST). If its UniqueName is in use, the
	// error is an [*APIError] and nothing is changed. It is not idempotent: after an
	// unknown outcome the caller must look for the name.
	CreateApplication(ctx context.Context, patch ApplicationPatch) (Application, error)
	// PatchApplication changes an application. It is idempotent.
	PatchApplication(ctx context.Context, objectID string, patch ApplicationPatch) error
	// UpsertServicePrincipal changes the service principal of an application, or creates
	// it (PATCH with Prefer: create-if-missing). It is idempotent. sp is set only if
	// created is true.
	UpsertServicePrincipal(ctx context.Context, appID string, patch ServicePrincipalPatch) (sp ServicePrincipal, created bool, err error)

	// Assign grants an app role (POST …/appRoleAssignedTo on the resource). If the grant
	// exists, the error is an [*APIError].
	Assign(ctx context.Context, a Assignment) (Assignment, error)
	// Unassign revokes an assignment. resourceID is the object ID of the resource's
	// service principal.
	Unassign(ctx context.Context, resourceID, assignmentID string) error

	// AddPassword adds a secret to an application. It is not idempotent: after an
	// unknown outcome the caller must look for the DisplayName before it tries again.
	AddPassword(ctx context.Context, objectID string, p PasswordRequest) (Password, error)
	// RemovePassword removes a secret of an application.
	RemovePassword(ctx context.Context, objectID, keyID string) error

	// FederatedCredentials lists all federated credentials of each application.
	FederatedCredentials(ctx context.Context, objectIDs []string) ([][]FederatedCredential, []error)
	// AddFederatedCredential adds a federated credential to an application. If the
	// application has one with the same Name, the error is an [*APIError].
	AddFederatedCredential(ctx context.Context, objectID string, f FederatedCredential) (FederatedCredential, error)
	// RemoveFederatedCredential removes a federated credential of an application.
	RemoveFederatedCredential(ctx context.Context, objectID, id string) error

	// DeletedApplication finds a soft-deleted application by its object ID, or by its
	// unique name if the caller may list deleted items.
	DeletedApplication(ctx context.Context, ref AppRef) (Application, error)
	// Restore restores a soft-deleted application or service principal.
	Restore(ctx context.Context, objectID string) error
	// DeleteApplication soft-deletes an application and its service principal in this
	// tenant.
	DeleteApplication(ctx context.Context, objectID string) error
	// DeleteServicePrincipal deletes a service principal.
	DeleteServicePrincipal(ctx context.Context, objectID string) error

	// ApplicationOwners and PrincipalOwners list the object IDs of all owners of an
	// application and of a service principal.
	ApplicationOwners(ctx context.Context, objectID string) ([]string, error)
	PrincipalOwners(ctx context.Context, objectID string) ([]string, error)
	// CreatedObjects counts the existing objects that a service principal created.
	CreatedObjects(ctx context.Context, servicePrincipalID string) (int, error)

	// Identity returns the caller's identity, from its access token and from Graph.
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

// Application has the properties of Graph's application that the reconciler uses. Reads
// select exactly these properties.
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
	// UniqueName can be set only if the application has no unique name yet.
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
	// AccessTokenClaims are the names of the optional access-token claims. Claims that
	// exist keep their settings. The optional claims of ID and SAML tokens stay.
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

// RequiredAccess has the permissions that an application requests on one resource (an
// entry of requiredResourceAccess).
type RequiredAccess struct {
	ResourceAppID string
	Roles         []string      // app role IDs (type Role)
	Scopes        []string      // IDs of delegated permissions (type Scope); never changed
	Others        []OtherAccess // permissions of another type; never changed
}

// OtherAccess is a permission whose type is neither Role nor Scope.
type OtherAccess struct{ ID, Type string }

// ServicePrincipal has the properties of Graph's servicePrincipal that the reconciler
// uses.
type ServicePrincipal struct {
	ObjectID           string
	AppID              string
	DisplayName        string
	Type               string // servicePrincipalType: Application, ManagedIdentity
	AccountEnabled     bool
	Disabled           bool // isDisabled, which Entra copies from the application
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

// PasswordRequest describes a new secret. The secret is valid as soon as Entra adds it.
type PasswordRequest struct {
	DisplayName string
	End         time.Time // zero: Entra's default, two years from now
}

// Password has the properties of a secret. Only AddPassword returns SecretText.
type Password struct {
	KeyID       string
	DisplayName string
	Hint        string
	Start, End  time.Time
	SecretText  Secret
}

// KeyCredential is a certificate. A new one needs Key (DER). A certificate that was read
// has Raw: a patch sends Raw back unchanged and ignores the other fields.
type KeyCredential struct {
	KeyID       string
	DisplayName string
	Type        string // AsymmetricX509Cert
	Usage       string // Verify
	Key         []byte
	Thumbprint  string // customKeyIdentifier, in the form that Graph returns
	Start, End  time.Time
	Raw         string // the JSON that Graph returned; empty for a new certificate
}

// FederatedCredential lets a workload authenticate as the application with a token of
// another issuer.
type FederatedCredential struct {
	ID          string
	Name        string
	Description string
	Issuer      string
	Subject     string
	Audiences   []string
}

// Identity is the identity that calls Graph.
type Identity struct {
	ObjectID   string // of the service principal
	AppID      string
	TenantID   string
	Name       string
	Roles      []string // names of directory roles, such as "Application Administrator"
	GraphRoles []string // app roles in the access token: "Application.ReadWrite.OwnedBy"
	// Pending are the directory roles and app roles of Graph that the identity holds but
	// its access token does not contain, because the token is older. They have no effect
	// until the identity gets a new token.
	Pending  []string
	TokenEnd time.Time // when the access token expires; zero if unknown
}

// APIError is an answer of Graph without success. It never holds a secret.
type APIError struct {
	Status     int    // HTTP status
	Code       string // error.code: Request_ResourceNotFound
	Message    string // error.message
	Details    []APIErrorDetail
	RequestID  string        // for Microsoft's support
	RetryAfter time.Duration // 0: Graph sent none
}

// APIErrorDetail is one entry of error.details.
type APIErrorDetail struct {
	Code, Message, Target string
}

func (e *APIError) Error() string {
	return fmt.Sprintf("graph: %d %s: %s (request-id %s)", e.Status, e.Code, e.Message, e.RequestID)
}
