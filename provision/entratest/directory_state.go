package entratest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// State holds the newest state of the tenant's objects, sorted. [State.String] leaves out
// random values, so that the states of two tenants can be compared although their objects
// were created in different ways.
type State struct {
	Applications []ApplicationState
	// Deleted are the keys of soft-deleted applications.
	Deleted []string
	// Identities are the managed identities that hold app roles.
	Identities []IdentityState
}

// IdentityState is a managed identity.
type IdentityState struct {
	Name     string
	ObjectID string   // of its service principal
	Grants   []string // "resource key/role value" that it holds
}

// ApplicationState is one application with its service principal.
type ApplicationState struct {
	Key         string // unique name, or the display name if there is none
	DisplayName string
	Description string
	AppID       string
	ObjectID    string
	Tags        []string
	URIs        []string // "{appId}" replaces the application ID
	Roles       []string // values; " (disabled)" follows the value of a disabled role
	Version     int      // of access tokens; 0: null
	Claims      []string // optional access-token claims
	Required    []string // "resource key/role value" of requiredResourceAccess
	Passwords   []PasswordState
	Keys        []string // thumbprints
	Federated   []string // "name issuer subject audience"

	ServicePrincipals  int // 0 or 1
	Enabled            bool
	AssignmentRequired bool
	PrincipalTags      []string
	Grants             []string // "resource key/role value" that it holds
}

// PasswordState is one secret.
type PasswordState struct {
	DisplayName string
	KeyID       string
	Start, End  time.Time
}

// State reads the tenant's newest state. Microsoft's own objects are left out.
func (t *Tenant) State() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.newest()
	var s State
	for _, id := range t.store.appOrder {
		if a := v.application(id); a != nil {
			s.Applications = append(s.Applications, v.stateOf(a))
		} else if a := v.deletedApplication(id); a != nil {
			s.Deleted = append(s.Deleted, keyOf(a))
		}
	}
	for _, id := range t.store.spOrder {
		if sp := v.principal(id); sp != nil && sp.managed() {
			if grants := v.grantNames(id); len(grants) > 0 {
				s.Identities = append(s.Identities, IdentityState{Name: sp.DisplayName, ObjectID: id, Grants: grants})
			}
		}
	}
	slices.Sort(s.Deleted)
	slices.SortFunc(s.Applications, func(a, b ApplicationState) int { return strings.Compare(a.String(), b.String()) })
	return s
}

// Settled returns the time from which all replicas show the newest state.
func (t *Tenant) Settled() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	var at time.Time
	later := func(c time.Time) {
		if c.After(at) {
			at = c
		}
	}
	for _, o := range t.store.apps {
		later(o.settled())
	}
	for _, o := range t.store.sps {
		later(o.settled())
	}
	for _, o := range t.store.grants {
		later(o.settled())
	}
	return at
}

func keyOf(a *application) string {
	if a.UniqueName != nil {
		return *a.UniqueName
	}
	return a.DisplayName
}

func (v view) stateOf(a *application) ApplicationState {
	s := ApplicationState{
		Key: keyOf(a), DisplayName: a.DisplayName, Description: orEmpty(a.Description), AppID: a.AppID, ObjectID: a.ID,
		Tags: sorted(a.Tags),
		URIs: sorted(mapped(a.IdentifierURIs, func(u string) string { return strings.ReplaceAll(u, a.AppID, "{appId}") })),
		Keys: sorted(mapped(a.KeyCredentials, func(k keyCredential) string { return orEmpty(k.CustomKeyIdentifier) })),
	}
	if n := a.API.RequestedAccessTokenVersion; n != nil {
		s.Version = *n
	}
	if a.OptionalClaims != nil {
		s.Claims = sorted(mapped(a.OptionalClaims.AccessToken, func(c optionalClaim) string { return c.Name }))
	}
	for _, r := range a.AppRoles {
		value := r.value()
		if !r.IsEnabled {
			value += " (disabled)"
		}
		s.Roles = append(s.Roles, value)
	}
	for _, p := range a.PasswordCredentials {
		s.Passwords = append(s.Passwords, PasswordState{p.displayName(), p.KeyID, p.StartDateTime, p.EndDateTime})
	}
	for _, f := range a.federated {
		s.Federated = append(s.Federated, strings.Join([]string{f.Name, f.Issuer, f.Subject, strings.Join(f.Audiences, ",")}, " "))
	}
	for _, r := range a.RequiredResourceAccess {
		for _, p := range r.ResourceAccess {
			s.Required = append(s.Required, v.roleName(v.principalOf(r.ResourceAppID), p.ID))
		}
	}
	slices.Sort(s.Roles)
	slices.Sort(s.Federated)
	slices.Sort(s.Required)
	v.principalState(&s)
	return s
}

func (v view) principalState(s *ApplicationState) {
	for _, id := range v.s.spByAppID[s.AppID] {
		sp := v.principal(id)
		if sp == nil {
			continue
		}
		s.ServicePrincipals++
		s.Enabled, s.AssignmentRequired, s.PrincipalTags = sp.AccountEnabled, sp.AppRoleAssignmentRequired, sorted(sp.Tags)
		s.Grants = append(s.Grants, v.grantNames(sp.ID)...)
	}
	slices.Sort(s.Grants)
}

// grantNames returns the app roles that a principal holds.
func (v view) grantNames(principalID string) []string {
	return sorted(mapped(v.held(principalID), func(g *assignment) string { return v.roleName(v.principal(g.ResourceID), g.AppRoleID) }))
}

// roleName returns "resource key/role value".
func (v view) roleName(resource *servicePrincipal, roleID string) string {
	if resource == nil {
		return "?/" + roleID
	}
	key := resource.DisplayName
	if a := v.applicationOf(resource.AppID); a != nil {
		key = keyOf(a)
	}
	role, _ := resource.role(roleID)
	return key + "/" + role.value()
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// String returns the state as text. Of secrets it contains only the number, because their
// names, IDs and dates differ between runs.
func (s State) String() string {
	var b strings.Builder
	for _, a := range s.Applications {
		b.WriteString(a.String())
	}
	for _, key := range s.Deleted {
		fmt.Fprintf(&b, "deleted %s\n", key)
	}
	for _, i := range s.Identities {
		fmt.Fprintf(&b, "managed identity %s\n  grants: %s\n", i.Name, strings.Join(i.Grants, ", "))
	}
	return b.String()
}

// String returns the application's state as text.
func (a ApplicationState) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "application %s %q %q\n", a.Key, a.DisplayName, a.Description)
	line := func(name string, list []string) {
		if len(list) > 0 {
			fmt.Fprintf(&b, "  %s: %s\n", name, strings.Join(list, ", "))
		}
	}
	line("tags", a.Tags)
	line("uris", a.URIs)
	line("roles", a.Roles)
	line("claims", a.Claims)
	line("required", a.Required)
	line("keys", a.Keys)
	line("federated", a.Federated)
	fmt.Fprintf(&b, "  token version: %d, secrets: %d\n", a.Version, len(a.Passwords))
	fmt.Fprintf(&b, "  service principals: %d, enabled: %t, assignment required: %t\n", a.ServicePrincipals, a.Enabled, a.AssignmentRequired)
	line("principal tags", a.PrincipalTags)
	line("grants", a.Grants)
	return b.String()
}
