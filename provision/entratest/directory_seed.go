package entratest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/entragate/entragate/internal/secret"
	"github.com/entragate/entragate/provision"
)

// Caller is an identity of the tenant that can get tokens.
type Caller struct {
	TenantID      string
	ApplicationID string // object ID of the application; empty for a managed identity
	AppID         string // client ID
	ObjectID      string // object ID of the service principal
	Secret        provision.Secret

	managed bool
}

// AddCaller seeds an application with a service principal and a secret that is valid for
// two years. All replicas show them at once. Rights are directory roles ("Application
// Administrator") and app roles of Graph ("Application.ReadWrite.OwnedBy"); see [Rights].
// An unknown right is an error.
func (t *Tenant) AddCaller(name string, rights ...string) (Caller, error) {
	app, err := t.AddApplication(App{Name: name})
	if err != nil {
		return Caller{}, err
	}
	value, err := t.AddSecret(app.AppID, "seed")
	if err != nil {
		return Caller{}, err
	}
	c := Caller{TenantID: t.ID(), ApplicationID: app.ApplicationID, AppID: app.AppID, ObjectID: app.ObjectID, Secret: value}
	return c, t.give(c.ObjectID, rights)
}

// AddManagedIdentity seeds a managed identity: a service principal without an
// application. It gets tokens at [Tenant.ManagedIdentityEndpoint].
func (t *Tenant) AddManagedIdentity(name string, rights ...string) (Caller, error) {
	t.mu.Lock()
	sp := &servicePrincipal{
		ID: t.newID(), AppID: t.newID(), DisplayName: name, AccountEnabled: true,
		AppOwnerOrganizationID: t.cfg.TenantID, ServicePrincipalType: "ManagedIdentity",
	}
	sp.ServicePrincipalNames = []string{sp.AppID}
	t.putPrincipal(sp, t.instantly())
	t.mu.Unlock()
	c := Caller{TenantID: t.ID(), AppID: sp.AppID, ObjectID: sp.ID, managed: true}
	return c, t.give(c.ObjectID, rights)
}

// DeleteManagedIdentity deletes the service principal of a managed identity, like Azure
// when the resource is deleted. A managed identity that is created again has other IDs.
func (t *Tenant) DeleteManagedIdentity(c Caller) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	sp := t.newest().principal(c.ObjectID)
	if !c.managed || sp == nil {
		return fmt.Errorf("entratest: there is no managed identity with the object ID %q", c.ObjectID)
	}
	t.buryPrincipal(sp)
	return nil
}

// App is an application to seed.
type App struct {
	Name       string
	UniqueName string // empty: none
	Tags       []string
	// Roles are the values of app roles. They are for applications, or for users if
	// they have the prefix "user:".
	Roles []string
	// URIs are App ID URIs; "{appId}" is replaced by the application ID.
	URIs               []string
	TokenVersion       int  // requestedAccessTokenVersion; 0: null, version 1
	IDType             bool // has the optional claim idtyp in its access tokens
	AssignmentRequired bool
	RedirectURIs       []string // of a web application that signs users in
}

// Registration is a seeded application.
type Registration struct {
	ApplicationID string            // object ID of the application
	AppID         string            // client ID
	ObjectID      string            // object ID of the service principal
	Roles         map[string]string // role IDs by value
}

// AddApplication seeds an application and its service principal. All replicas show them
// at once. A unique name or URI that another application has is an error.
func (t *Tenant) AddApplication(app App) (Registration, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := &application{
		ID: t.newID(), AppID: t.newID(), DisplayName: app.Name, CreatedDateTime: t.now(),
		SignInAudience: "AzureADMyOrg", PublisherDomain: t.domain(), Tags: app.Tags,
		Web: webSettings{RedirectURIs: app.RedirectURIs},
	}
	for _, uri := range app.URIs {
		uri = strings.ReplaceAll(uri, "{appId}", a.AppID)
		if t.store.byURI[uri] != "" {
			return Registration{}, fmt.Errorf("entratest: App.URIs: %q is taken", uri)
		}
		a.IdentifierURIs = append(a.IdentifierURIs, uri)
	}
	if app.UniqueName != "" {
		if t.store.byUniqueName[app.UniqueName] != "" {
			return Registration{}, fmt.Errorf("entratest: App.UniqueName: %q is taken", app.UniqueName)
		}
		a.UniqueName = &app.UniqueName
	}
	if app.TokenVersion != 0 {
		a.API.RequestedAccessTokenVersion = &app.TokenVersion
	}
	if app.IDType {
		a.OptionalClaims = &optionalClaims{AccessToken: []optionalClaim{{Name: "idtyp"}}}
	}
	reg := Registration{ApplicationID: a.ID, AppID: a.AppID, Roles: map[string]string{}}
	for _, value := range app.Roles {
		role := t.newRole(value)
		a.AppRoles = append(a.AppRoles, role)
		reg.Roles[role.value()] = role.ID
	}
	t.putApplication(a, t.instantly())
	sp := t.newPrincipal(a)
	sp.AppRoleAssignmentRequired = app.AssignmentRequired
	t.putPrincipal(sp, t.instantly())
	reg.ObjectID = sp.ID
	return reg, nil
}

func (t *Tenant) newRole(value string) appRole {
	members := []string{"Application"}
	if v, ok := strings.CutPrefix(value, "user:"); ok {
		value, members = v, []string{"User"}
	}
	return appRole{
		ID: t.newID(), Value: &value, DisplayName: value, Description: &value,
		IsEnabled: true, AllowedMemberTypes: members, Origin: "Application",
	}
}

// newPrincipal returns a new service principal of an application, without storing it.
func (t *Tenant) newPrincipal(a *application) *servicePrincipal {
	sp := &servicePrincipal{
		ID: t.newID(), AppID: a.AppID, AccountEnabled: true,
		AppOwnerOrganizationID: t.cfg.TenantID, ServicePrincipalType: "Application",
	}
	if m := mirror(sp, a); m != nil {
		sp = m
	}
	return sp
}

// domain returns the tenant's initial domain.
func (t *Tenant) domain() string {
	return strings.ToLower(strings.ReplaceAll(t.cfg.Name, " ", "")) + ".onmicrosoft.com"
}

// AddSecret adds a secret, valid for two years, to the application with an application
// ID, like an administrator in Entra's portal. All replicas show it at once.
func (t *Tenant) AddSecret(appID, displayName string) (provision.Secret, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.newest().applicationOf(appID)
	if a == nil {
		return provision.Secret{}, fmt.Errorf("entratest: no application %q", appID)
	}
	a = a.clone()
	p := t.newPassword(displayName, t.now(), t.now().AddDate(2, 0, 0))
	a.PasswordCredentials = append(slices.Clone(a.PasswordCredentials), p)
	t.putApplication(a, t.instantly())
	return p.secret, nil
}

// PurgeApplication deletes the application with an application ID permanently, even if it
// is soft-deleted already, like an administrator in Entra's portal. Afterwards its unique
// name can be used again.
func (t *Tenant) PurgeApplication(appID string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.newest()
	a := v.applicationOf(appID)
	if a == nil {
		a = v.deletedApplication(t.store.byAppID[appID])
	}
	if a == nil {
		return fmt.Errorf("entratest: no application %q", appID)
	}
	if sp := v.principalOf(appID); sp != nil {
		t.buryPrincipal(sp)
	}
	t.forgetApplication(a)
	return nil
}

func (t *Tenant) newPassword(displayName string, start, end time.Time) passwordCredential {
	text := t.newText(3) + "8Q~" + t.newText(34)
	p := passwordCredential{
		KeyID: t.newID(), Hint: text[:3], StartDateTime: start, EndDateTime: end, secret: secret.New(text),
	}
	if displayName != "" {
		p.DisplayName = &displayName
	}
	return p
}

// Grant grants a client a role of a resource. Both are named by application ID. All
// replicas show the grant at once. With an empty role the client is assigned without a
// role.
func (t *Tenant) Grant(clientAppID, resourceAppID, role string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.newest()
	client, resource := v.principalOf(clientAppID), v.principalOf(resourceAppID)
	if client == nil || resource == nil {
		return fmt.Errorf("entratest: no service principal of client %q or resource %q", clientAppID, resourceAppID)
	}
	return t.grant(client.ID, client.DisplayName, "ServicePrincipal", resource, role)
}

func (t *Tenant) grant(principalID, name, kind string, resource *servicePrincipal, value string) error {
	id := noRole
	if value != "" {
		i := slices.IndexFunc(resource.AppRoles, func(r appRole) bool { return r.value() == value })
		if i < 0 {
			return fmt.Errorf("entratest: %s has no app role %q", resource.DisplayName, value)
		}
		id = resource.AppRoles[i].ID
	}
	t.putAssignment(&assignment{
		ID: t.newAssignmentID(principalID), AppRoleID: id, CreatedDateTime: t.now(),
		PrincipalID: principalID, PrincipalDisplayName: name, PrincipalType: kind,
		ResourceID: resource.ID, ResourceDisplayName: resource.DisplayName,
	}, t.instantly())
	return nil
}

// give adds rights to a service principal.
func (t *Tenant) give(objectID string, rights []string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, right := range rights {
		v := t.newest()
		sp := v.principal(objectID)
		if sp == nil {
			return fmt.Errorf("entratest: no service principal %q", objectID)
		}
		if _, ok := directoryRoles[right]; ok {
			sp = sp.clone()
			sp.directoryRoles = append(slices.Clone(sp.directoryRoles), right)
			t.putPrincipal(sp, t.instantly())
			continue
		}
		if err := t.grant(sp.ID, sp.DisplayName, "ServicePrincipal", v.principalOf(GraphAppID), right); err != nil {
			return fmt.Errorf("entratest: unknown right %q: known are %v", right, Rights())
		}
	}
	return nil
}

// SetRights replaces the rights of a caller. They take effect with the caller's next
// access token. [Tenant.RevokeTokens] makes callers get a new one.
func (t *Tenant) SetRights(c Caller, rights ...string) error {
	t.mu.Lock()
	v := t.newest()
	if sp := v.principal(c.ObjectID); sp != nil {
		sp = sp.clone()
		sp.directoryRoles = nil
		t.putPrincipal(sp, t.instantly())
	}
	graph := v.principalOf(GraphAppID)
	for _, g := range v.held(c.ObjectID) {
		if g.ResourceID == graph.ID {
			t.dropAssignment(g.ID, t.instantly())
		}
	}
	t.mu.Unlock()
	return t.give(c.ObjectID, rights)
}

// TrustIssuer sets the public keys (*rsa.PublicKey) of an issuer of federated
// credentials, because entratest does not fetch them from the issuer as Entra does.
func (t *Tenant) TrustIssuer(issuer string, keys ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trust[issuer] = keys
}

// seedGraph creates Microsoft Graph's own service principal.
func (t *Tenant) seedGraph() {
	sp := &servicePrincipal{
		ID: t.newID(), AppID: GraphAppID, DisplayName: "Microsoft Graph", AppDisplayName: "Microsoft Graph",
		AccountEnabled: true, AppOwnerOrganizationID: "f8cdef31-a31e-4b4a-93e4-5f571e91255a",
		ServicePrincipalType: "Application", SignInAudience: "AzureADMultipleOrgs",
		ServicePrincipalNames: []string{GraphAppID, "https://graph.microsoft.com"},
	}
	for _, r := range graphRoles {
		sp.AppRoles = append(sp.AppRoles, appRole{
			ID: r.id, Value: ptr(r.value), DisplayName: r.value, Description: ptr(r.value),
			IsEnabled: true, AllowedMemberTypes: []string{"Application"}, Origin: "Application",
		})
	}
	t.putPrincipal(sp, t.instantly())
}

func validGUID(s string) bool {
	_, err := uuid.Parse(s)
	return err == nil && len(s) == 36
}
