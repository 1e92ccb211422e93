package entratest

import (
	"slices"
	"time"

	"github.com/entragate/entragate/internal/secret"
	"github.com/entragate/entragate/provision"
)

// What the Directory sends and reads, between Graph's JSON and provision's types.

func applicationJSON(p provision.ApplicationPatch) map[string]any {
	body := map[string]any{}
	put(body, "uniqueName", p.UniqueName)
	put(body, "displayName", p.DisplayName)
	put(body, "description", p.Description)
	put(body, "signInAudience", p.SignInAudience)
	put(body, "identifierUris", p.IdentifierURIs)
	put(body, "tags", p.Tags)
	if p.AppRoles != nil {
		body["appRoles"] = emptyNotNull(mapped(*p.AppRoles, toRole))
	}
	if p.RequiredAccess != nil {
		body["requiredResourceAccess"] = emptyNotNull(mapped(*p.RequiredAccess, toRequiredAccess))
	}
	if p.Keys != nil {
		body["keyCredentials"] = emptyNotNull(mapped(*p.Keys, toKey))
	}
	if p.AccessTokenVersion != nil {
		var version any // 0 is null
		if *p.AccessTokenVersion != 0 {
			version = *p.AccessTokenVersion
		}
		body["api"] = map[string]any{"requestedAccessTokenVersion": version}
	}
	return body
}

func put[V any](body map[string]any, name string, v *V) {
	if v != nil {
		body[name] = *v
	}
}

func emptyNotNull[V any](list []V) []V {
	if list == nil {
		return []V{}
	}
	return list
}

func withClaims(stands *optionalClaims, names []string) optionalClaims {
	var all optionalClaims
	if stands != nil {
		all = *stands
	}
	for _, name := range names {
		if !slices.ContainsFunc(all.AccessToken, func(c optionalClaim) bool { return c.Name == name }) {
			all.AccessToken = append(all.AccessToken, optionalClaim{Name: name, AdditionalProperties: []string{}})
		}
	}
	all.IDToken, all.AccessToken, all.SAML2Token = emptyNotNull(all.IDToken), emptyNotNull(all.AccessToken), emptyNotNull(all.SAML2Token)
	return all
}

func toRole(r provision.AppRole) map[string]any {
	return map[string]any{
		"id": r.ID, "value": r.Value, "displayName": r.DisplayName, "description": r.Description,
		"isEnabled": r.Enabled, "allowedMemberTypes": emptyNotNull(r.AllowedMemberTypes),
	}
}

func toRequiredAccess(r provision.RequiredAccess) map[string]any {
	access := []map[string]any{}
	for _, id := range r.Roles {
		access = append(access, map[string]any{"id": id, "type": "Role"})
	}
	for _, id := range r.Scopes {
		access = append(access, map[string]any{"id": id, "type": "Scope"})
	}
	return map[string]any{"resourceAppId": r.ResourceAppID, "resourceAccess": access}
}

func toKey(k provision.KeyCredential) map[string]any {
	body := map[string]any{"type": k.Type, "usage": k.Usage, "displayName": k.DisplayName}
	if k.KeyID != "" {
		body["keyId"] = k.KeyID
	}
	if k.Key != nil {
		body["key"] = encodeDER(k.Key)
	}
	if k.Thumbprint != "" {
		body["customKeyIdentifier"] = k.Thumbprint
	}
	if !k.Start.IsZero() {
		body["startDateTime"] = k.Start.UTC().Format(time.RFC3339Nano)
	}
	if !k.End.IsZero() {
		body["endDateTime"] = k.End.UTC().Format(time.RFC3339Nano)
	}
	return body
}

func fromApplication(a application) provision.Application {
	app := provision.Application{
		ObjectID: a.ID, AppID: a.AppID, UniqueName: orEmpty(a.UniqueName), DisplayName: a.DisplayName,
		Description: orEmpty(a.Description), SignInAudience: a.SignInAudience,
		IdentifierURIs: a.IdentifierURIs, Tags: a.Tags,
		AppRoles:       mapped(a.AppRoles, fromRole),
		RequiredAccess: mapped(a.RequiredResourceAccess, fromRequiredAccess),
		Passwords:      mapped(a.PasswordCredentials, fromPassword),
		Keys:           mapped(a.KeyCredentials, fromKey),
	}
	if v := a.API.RequestedAccessTokenVersion; v != nil {
		app.AccessTokenVersion = *v
	}
	if a.OptionalClaims != nil {
		app.AccessTokenClaims = mapped(a.OptionalClaims.AccessToken, func(c optionalClaim) string { return c.Name })
	}
	return app
}

func fromRole(r appRole) provision.AppRole {
	return provision.AppRole{
		ID: r.ID, Value: r.value(), DisplayName: r.DisplayName, Description: orEmpty(r.Description),
		Enabled: r.IsEnabled, AllowedMemberTypes: r.AllowedMemberTypes,
	}
}

func fromRequiredAccess(r resourceAccess) provision.RequiredAccess {
	access := provision.RequiredAccess{ResourceAppID: r.ResourceAppID}
	for _, p := range r.ResourceAccess {
		if p.Type == "Role" {
			access.Roles = append(access.Roles, p.ID)
		} else {
			access.Scopes = append(access.Scopes, p.ID)
		}
	}
	return access
}

func fromPrincipal(sp servicePrincipal) provision.ServicePrincipal {
	return provision.ServicePrincipal{
		ObjectID: sp.ID, AppID: sp.AppID, DisplayName: sp.DisplayName, AccountEnabled: sp.AccountEnabled,
		AssignmentRequired: sp.AppRoleAssignmentRequired, Tags: sp.Tags, AppRoles: mapped(sp.AppRoles, fromRole),
	}
}

func fromAssignment(g assignment) provision.Assignment {
	return provision.Assignment{ID: g.ID, PrincipalID: g.PrincipalID, ResourceID: g.ResourceID, RoleID: g.AppRoleID}
}

func fromPassword(p passwordCredential) provision.Password {
	return provision.Password{
		KeyID: p.KeyID, DisplayName: orEmpty(p.DisplayName), Hint: p.Hint,
		Start: p.StartDateTime, End: p.EndDateTime, SecretText: secret.New(orEmpty(p.SecretText)),
	}
}

func fromKey(k keyCredential) provision.KeyCredential {
	return provision.KeyCredential{
		KeyID: k.KeyID, DisplayName: orEmpty(k.DisplayName), Type: k.Type, Usage: k.Usage,
		Thumbprint: orEmpty(k.CustomKeyIdentifier), Start: k.StartDateTime, End: k.EndDateTime,
	}
}

func fromFederated(f federatedCredential) provision.FederatedCredential {
	return provision.FederatedCredential{
		ID: f.ID, Name: f.Name, Description: orEmpty(f.Description), Issuer: f.Issuer, Subject: f.Subject, Audiences: f.Audiences,
	}
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
