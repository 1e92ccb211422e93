package entratest

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/entragate/entragate/internal/secret"
)

// The directory's objects, with Graph's JSON names. A value in the store is immutable: to
// change an object, store a changed clone.

type application struct {
	ID                     string               `json:"id"`
	DeletedDateTime        *time.Time           `json:"deletedDateTime"`
	AppID                  string               `json:"appId"`
	UniqueName             *string              `json:"uniqueName"`
	CreatedDateTime        time.Time            `json:"createdDateTime"`
	CreatedByAppID         *string              `json:"createdByAppId"`
	IsDisabled             *bool                `json:"isDisabled"`
	DisplayName            string               `json:"displayName"`
	Description            *string              `json:"description"`
	PublisherDomain        string               `json:"publisherDomain"`
	SignInAudience         string               `json:"signInAudience"`
	IdentifierURIs         []string             `json:"identifierUris"`
	Tags                   []string             `json:"tags"`
	API                    apiSettings          `json:"api"`
	AppRoles               []appRole            `json:"appRoles"`
	RequiredResourceAccess []resourceAccess     `json:"requiredResourceAccess"`
	OptionalClaims         *optionalClaims      `json:"optionalClaims"`
	PasswordCredentials    []passwordCredential `json:"passwordCredentials"`
	KeyCredentials         []keyCredential      `json:"keyCredentials"`
	Web                    webSettings          `json:"web"`
	Notes                  *string              `json:"notes"`

	federated []federatedCredential
	owners    []string
	inert     map[string]json.RawMessage // properties that are stored but have no effect

	rendered entity // see whole
}

func (a *application) clone() *application {
	c := *a
	c.rendered = nil
	return &c
}

type apiSettings struct {
	AcceptMappedClaims          *bool           `json:"acceptMappedClaims"`
	KnownClientApplications     []string        `json:"knownClientApplications"`
	RequestedAccessTokenVersion *int            `json:"requestedAccessTokenVersion"`
	OAuth2PermissionScopes      json.RawMessage `json:"oauth2PermissionScopes"`
	PreAuthorizedApplications   json.RawMessage `json:"preAuthorizedApplications"`
}

type webSettings struct {
	HomePageURL           *string               `json:"homePageUrl"`
	LogoutURL             *string               `json:"logoutUrl"`
	RedirectURIs          []string              `json:"redirectUris"`
	RedirectURISettings   []redirectURISettings `json:"redirectUriSettings"`
	ImplicitGrantSettings struct {
		AccessToken bool `json:"enableAccessTokenIssuance"`
		IDToken     bool `json:"enableIdTokenIssuance"`
	} `json:"implicitGrantSettings"`
}

type redirectURISettings struct {
	URI   *string `json:"uri"`
	Index *int    `json:"index"`
}

type appRole struct {
	AllowedMemberTypes []string `json:"allowedMemberTypes"`
	Description        *string  `json:"description"`
	DisplayName        string   `json:"displayName"`
	ID                 string   `json:"id"`
	IsEnabled          bool     `json:"isEnabled"`
	Origin             string   `json:"origin"`
	Value              *string  `json:"value"`
}

func (r appRole) value() string {
	if r.Value == nil {
		return ""
	}
	return *r.Value
}

func (r appRole) allows(memberType string) bool {
	return slices.Contains(r.AllowedMemberTypes, memberType)
}

type resourceAccess struct {
	ResourceAppID  string `json:"resourceAppId"`
	ResourceAccess []struct {
		ID   string `json:"id"`
		Type string `json:"type"`
	} `json:"resourceAccess"`
}

// optionalClaims are the optional claims in an application's tokens.
type optionalClaims struct {
	IDToken     []optionalClaim `json:"idToken"`
	AccessToken []optionalClaim `json:"accessToken"`
	SAML2Token  []optionalClaim `json:"saml2Token"`
}

type optionalClaim struct {
	Name                 string   `json:"name"`
	Source               *string  `json:"source"`
	Essential            bool     `json:"essential"`
	AdditionalProperties []string `json:"additionalProperties"`
}

type passwordCredential struct {
	CustomKeyIdentifier *string   `json:"customKeyIdentifier"`
	DisplayName         *string   `json:"displayName"`
	EndDateTime         time.Time `json:"endDateTime"`
	Hint                string    `json:"hint"`
	KeyID               string    `json:"keyId"`
	SecretText          *string   `json:"secretText"` // in the answer to addPassword only
	StartDateTime       time.Time `json:"startDateTime"`

	secret secret.Value
}

func (p passwordCredential) displayName() string {
	if p.DisplayName == nil {
		return ""
	}
	return *p.DisplayName
}

type keyCredential struct {
	CustomKeyIdentifier *string   `json:"customKeyIdentifier"`
	DisplayName         *string   `json:"displayName"`
	EndDateTime         time.Time `json:"endDateTime"`
	Key                 *string   `json:"key"` // base64 DER; null in ordinary reads
	KeyID               string    `json:"keyId"`
	StartDateTime       time.Time `json:"startDateTime"`
	Type                string    `json:"type"`
	Usage               string    `json:"usage"`

	der []byte
}

type federatedCredential struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Issuer      string   `json:"issuer"`
	Subject     string   `json:"subject"`
	Description *string  `json:"description"`
	Audiences   []string `json:"audiences"`
}

type servicePrincipal struct {
	ID                        string     `json:"id"`
	DeletedDateTime           *time.Time `json:"deletedDateTime"`
	AccountEnabled            bool       `json:"accountEnabled"`
	AppID                     string     `json:"appId"`
	AppDisplayName            string     `json:"appDisplayName"`
	AppOwnerOrganizationID    string     `json:"appOwnerOrganizationId"`
	AppRoleAssignmentRequired bool       `json:"appRoleAssignmentRequired"`
	AppRoles                  []appRole  `json:"appRoles"`
	CreatedByAppID            *string    `json:"createdByAppId"`
	IsDisabled                *bool      `json:"isDisabled"`
	Description               *string    `json:"description"`
	DisplayName               string     `json:"displayName"`
	Notes                     *string    `json:"notes"`
	ServicePrincipalNames     []string   `json:"servicePrincipalNames"`
	ServicePrincipalType      string     `json:"servicePrincipalType"`
	SignInAudience            string     `json:"signInAudience"`
	Tags                      []string   `json:"tags"`

	owners         []string
	directoryRoles []string // display names

	rendered entity // see whole
}

func (s *servicePrincipal) clone() *servicePrincipal {
	c := *s
	c.rendered = nil
	return &c
}

func (a *application) disabled() bool { return a.IsDisabled != nil && *a.IsDisabled }

func (s *servicePrincipal) disabled() bool { return s.IsDisabled != nil && *s.IsDisabled }

// usable reports whether Entra issues tokens to the service principal, and tokens whose
// audience is its application.
func (s *servicePrincipal) usable() bool {
	return s.AccountEnabled && !s.disabled()
}

// managed reports whether the service principal belongs to a managed identity, which
// only Azure can change.
func (s *servicePrincipal) managed() bool { return s.ServicePrincipalType == "ManagedIdentity" }

func (s *servicePrincipal) role(id string) (appRole, bool) {
	for _, r := range s.AppRoles {
		if r.ID == id {
			return r, true
		}
	}
	return appRole{}, false
}

type assignment struct {
	ID                   string     `json:"id"`
	DeletedDateTime      *time.Time `json:"deletedDateTime"`
	AppRoleID            string     `json:"appRoleId"`
	CreatedDateTime      time.Time  `json:"createdDateTime"`
	PrincipalDisplayName string     `json:"principalDisplayName"`
	PrincipalID          string     `json:"principalId"`
	PrincipalType        string     `json:"principalType"`
	ResourceDisplayName  string     `json:"resourceDisplayName"`
	ResourceID           string     `json:"resourceId"`
}

// noRole is the role ID of an assignment without a role.
const noRole = "00000000-0000-0000-0000-000000000000"

func ptr[T any](v T) *T { return &v }

// sameRole compares the properties of a role that clients can set.
func sameRole(a, b appRole) bool {
	return a.ID == b.ID && a.value() == b.value() && a.DisplayName == b.DisplayName && a.IsEnabled == b.IsEnabled &&
		(a.Description == b.Description || a.Description != nil && b.Description != nil && *a.Description == *b.Description) &&
		slices.Equal(a.AllowedMemberTypes, b.AllowedMemberTypes)
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func mapped[A, B any](from []A, f func(A) B) []B {
	var to []B
	for _, v := range from {
		to = append(to, f(v))
	}
	return to
}
