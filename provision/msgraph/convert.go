package msgraph

import (
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/microsoftgraph/msgraph-sdk-go/models"

	"github.com/entragate/entragate/internal/secret"
	"github.com/entragate/entragate/provision"
)

// Between provision's plain structs and the SDK's models. Reading forgives
// what is missing; writing refuses an ID that Graph could not take.

// value is what a pointer points to, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func convert[A, B any](in []A, f func(A) B) []B {
	if in == nil {
		return nil
	}
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = f(a)
	}
	return out
}

// convertAll is convert for what can fail. Its result is never nil: an empty
// collection in a patch empties the one that stands.
func convertAll[A, B any](in []A, f func(A) (B, error)) ([]B, error) {
	out := make([]B, len(in))
	for i, a := range in {
		var err error
		if out[i], err = f(a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func parseID(field, s string) (*uuid.UUID, error) {
	id, err := uuid.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("msgraph: %s: %q is not a GUID", field, s)
	}
	return &id, nil
}

func idString(id *uuid.UUID) string {
	if id == nil {
		return ""
	}
	return id.String()
}

// orEmpty turns nil into an empty list, which is written as one.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// errNoID is about an object that cannot be addressed. What a call gives back
// with an error is of no use to anyone.
var errNoID = errors.New("msgraph: unreadable answer: an object without its ID")

func hasID(m interface{ GetId() *string }) error {
	if value(m.GetId()) == "" {
		return errNoID
	}
	return nil
}

func applicationFrom(m models.Applicationable) (provision.Application, error) {
	app := provision.Application{
		ObjectID:       value(m.GetId()),
		AppID:          value(m.GetAppId()),
		UniqueName:     value(m.GetUniqueName()),
		DisplayName:    value(m.GetDisplayName()),
		Description:    value(m.GetDescription()),
		SignInAudience: value(m.GetSignInAudience()),
		IdentifierURIs: m.GetIdentifierUris(),
		Tags:           m.GetTags(),
		AppRoles:       convert(m.GetAppRoles(), roleFrom),
		RequiredAccess: convert(m.GetRequiredResourceAccess(), accessFrom),
		Passwords:      convert(m.GetPasswordCredentials(), passwordOf),
		Keys:           convert(m.GetKeyCredentials(), keyFrom),
	}
	if api := m.GetApi(); api != nil {
		app.AccessTokenVersion = int(value(api.GetRequestedAccessTokenVersion()))
	}
	if claims := m.GetOptionalClaims(); claims != nil {
		app.AccessTokenClaims = convert(claims.GetAccessToken(), func(c models.OptionalClaimable) string { return value(c.GetName()) })
	}
	return app, hasID(m)
}

// applicationModel is the body of a patch, without its optional claims.
func applicationModel(p provision.ApplicationPatch) (models.Applicationable, error) {
	m := models.NewApplication()
	m.SetUniqueName(p.UniqueName)
	m.SetDisplayName(p.DisplayName)
	m.SetSignInAudience(p.SignInAudience)
	if p.Description != nil {
		setText(m.GetAdditionalData(), "description", *p.Description)
	}
	if p.IdentifierURIs != nil {
		m.SetIdentifierUris(orEmpty(*p.IdentifierURIs))
	}
	if p.Tags != nil {
		m.SetTags(orEmpty(*p.Tags))
	}
	if p.AccessTokenVersion != nil {
		m.SetApi(apiModel(*p.AccessTokenVersion))
	}
	return m, setCollections(m, p)
}

// setText sets a text that Graph takes as null when it is empty.
func setText(data map[string]any, name, text string) {
	if text == "" {
		data[name] = nil
		return
	}
	data[name] = text
}

// apiModel sets the token version and nothing else of the api object: Graph
// merges it. Version 0 is null, for which the SDK's property has no value.
func apiModel(version int) models.ApiApplicationable {
	api := models.NewApiApplication()
	if version == 0 {
		api.GetAdditionalData()["requestedAccessTokenVersion"] = nil
		return api
	}
	v := int32(version)
	api.SetRequestedAccessTokenVersion(&v)
	return api
}

func setCollections(m models.Applicationable, p provision.ApplicationPatch) error {
	if p.AppRoles != nil {
		roles, err := convertAll(*p.AppRoles, roleModel)
		if err != nil {
			return err
		}
		m.SetAppRoles(roles)
	}
	if p.RequiredAccess != nil {
		access, err := convertAll(*p.RequiredAccess, accessModel)
		if err != nil {
			return err
		}
		m.SetRequiredResourceAccess(access)
	}
	if p.Keys != nil {
		keys, err := convertAll(*p.Keys, keyModel)
		if err != nil {
			return err
		}
		m.SetKeyCredentials(keys)
	}
	return nil
}

func roleFrom(m models.AppRoleable) provision.AppRole {
	return provision.AppRole{
		ID:                 idString(m.GetId()),
		Value:              value(m.GetValue()),
		DisplayName:        value(m.GetDisplayName()),
		Description:        value(m.GetDescription()),
		Enabled:            value(m.GetIsEnabled()),
		AllowedMemberTypes: m.GetAllowedMemberTypes(),
	}
}

func roleModel(r provision.AppRole) (models.AppRoleable, error) {
	id, err := parseID("AppRoles.ID", r.ID)
	if err != nil {
		return nil, err
	}
	m := models.NewAppRole()
	m.SetId(id)
	if r.Value != "" {
		m.SetValue(&r.Value)
	}
	m.SetDisplayName(&r.DisplayName)
	m.SetDescription(&r.Description)
	m.SetIsEnabled(&r.Enabled)
	m.SetAllowedMemberTypes(orEmpty(r.AllowedMemberTypes))
	return m, nil
}

func accessFrom(m models.RequiredResourceAccessable) provision.RequiredAccess {
	access := provision.RequiredAccess{ResourceAppID: value(m.GetResourceAppId())}
	for _, r := range m.GetResourceAccess() {
		if id := idString(r.GetId()); value(r.GetTypeEscaped()) == "Scope" {
			access.Scopes = append(access.Scopes, id)
		} else {
			access.Roles = append(access.Roles, id)
		}
	}
	return access
}

func accessModel(a provision.RequiredAccess) (models.RequiredResourceAccessable, error) {
	all := make([]models.ResourceAccessable, 0, len(a.Roles)+len(a.Scopes))
	add := func(kind string, ids []string) error {
		for _, raw := range ids {
			id, err := parseID("RequiredAccess."+kind, raw)
			if err != nil {
				return err
			}
			r := models.NewResourceAccess()
			r.SetId(id)
			r.SetTypeEscaped(&kind)
			all = append(all, r)
		}
		return nil
	}
	if err := add("Role", a.Roles); err != nil {
		return nil, err
	}
	if err := add("Scope", a.Scopes); err != nil {
		return nil, err
	}
	m := models.NewRequiredResourceAccess()
	m.SetResourceAppId(&a.ResourceAppID)
	m.SetResourceAccess(all)
	return m, nil
}

func passwordFrom(m models.PasswordCredentialable) (provision.Password, error) {
	if m.GetKeyId() == nil {
		return provision.Password{}, errNoID
	}
	return passwordOf(m), nil
}

func passwordOf(m models.PasswordCredentialable) provision.Password {
	return provision.Password{
		KeyID:       idString(m.GetKeyId()),
		DisplayName: value(m.GetDisplayName()),
		Hint:        value(m.GetHint()),
		Start:       value(m.GetStartDateTime()),
		End:         value(m.GetEndDateTime()),
		SecretText:  secret.New(value(m.GetSecretText())),
	}
}

func passwordModel(p provision.PasswordRequest) models.PasswordCredentialable {
	m := models.NewPasswordCredential()
	m.SetDisplayName(&p.DisplayName)
	m.SetStartDateTime(timeOrNil(p.Start))
	m.SetEndDateTime(timeOrNil(p.End))
	return m
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func keyFrom(m models.KeyCredentialable) provision.KeyCredential {
	return provision.KeyCredential{
		KeyID:       idString(m.GetKeyId()),
		DisplayName: value(m.GetDisplayName()),
		Type:        value(m.GetTypeEscaped()),
		Usage:       value(m.GetUsage()),
		Key:         m.GetKey(),
		Thumbprint:  base64.StdEncoding.EncodeToString(m.GetCustomKeyIdentifier()),
		Start:       value(m.GetStartDateTime()),
		End:         value(m.GetEndDateTime()),
	}
}

func keyModel(k provision.KeyCredential) (models.KeyCredentialable, error) {
	m := models.NewKeyCredential()
	if k.KeyID != "" {
		id, err := parseID("Keys.KeyID", k.KeyID)
		if err != nil {
			return nil, err
		}
		m.SetKeyId(id)
	}
	if k.Thumbprint != "" {
		raw, err := base64.StdEncoding.DecodeString(k.Thumbprint)
		if err != nil {
			return nil, fmt.Errorf("msgraph: Keys.Thumbprint: not base64: %w", err)
		}
		m.SetCustomKeyIdentifier(raw)
	}
	m.SetDisplayName(&k.DisplayName)
	m.SetTypeEscaped(&k.Type)
	m.SetUsage(&k.Usage)
	m.SetKey(k.Key)
	m.SetStartDateTime(timeOrNil(k.Start))
	m.SetEndDateTime(timeOrNil(k.End))
	return m, nil
}

func servicePrincipalFrom(m models.ServicePrincipalable) (provision.ServicePrincipal, error) {
	return provision.ServicePrincipal{
		ObjectID:           value(m.GetId()),
		AppID:              value(m.GetAppId()),
		DisplayName:        value(m.GetDisplayName()),
		AccountEnabled:     value(m.GetAccountEnabled()),
		AssignmentRequired: value(m.GetAppRoleAssignmentRequired()),
		Tags:               m.GetTags(),
		AppRoles:           convert(m.GetAppRoles(), roleFrom),
	}, hasID(m)
}

func servicePrincipalModel(p provision.ServicePrincipalPatch) models.ServicePrincipalable {
	m := models.NewServicePrincipal()
	m.SetAccountEnabled(p.AccountEnabled)
	m.SetAppRoleAssignmentRequired(p.AssignmentRequired)
	if p.Tags != nil {
		m.SetTags(orEmpty(*p.Tags))
	}
	return m
}

func assignmentFrom(m models.AppRoleAssignmentable) (provision.Assignment, error) {
	return provision.Assignment{
		ID:          value(m.GetId()),
		PrincipalID: idString(m.GetPrincipalId()),
		ResourceID:  idString(m.GetResourceId()),
		RoleID:      idString(m.GetAppRoleId()),
	}, hasID(m)
}

func assignmentModel(a provision.Assignment) (models.AppRoleAssignmentable, error) {
	principal, err := parseID("PrincipalID", a.PrincipalID)
	if err != nil {
		return nil, err
	}
	resource, err := parseID("ResourceID", a.ResourceID)
	if err != nil {
		return nil, err
	}
	role, err := parseID("RoleID", a.RoleID)
	if err != nil {
		return nil, err
	}
	m := models.NewAppRoleAssignment()
	m.SetPrincipalId(principal)
	m.SetResourceId(resource)
	m.SetAppRoleId(role)
	return m, nil
}

func federatedFrom(m models.FederatedIdentityCredentialable) (provision.FederatedCredential, error) {
	return provision.FederatedCredential{
		ID:          value(m.GetId()),
		Name:        value(m.GetName()),
		Description: value(m.GetDescription()),
		Issuer:      value(m.GetIssuer()),
		Subject:     value(m.GetSubject()),
		Audiences:   m.GetAudiences(),
	}, hasID(m)
}

func federatedModel(f provision.FederatedCredential) models.FederatedIdentityCredentialable {
	m := models.NewFederatedIdentityCredential()
	m.SetName(&f.Name)
	m.SetIssuer(&f.Issuer)
	m.SetSubject(&f.Subject)
	m.SetAudiences(orEmpty(f.Audiences))
	if f.Description != "" {
		m.SetDescription(&f.Description)
	}
	return m
}
