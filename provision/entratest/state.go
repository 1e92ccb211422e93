package entratest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// State is what stands in the tenant, as every replica will show it once
// changes have reached it, in an order of its own. [State.String] leaves out what the server draws, so that two
// tenants that were brought to the same end by different ways compare equal.
type State struct {
	Applications []ApplicationState
	// Deleted are the keys of soft-deleted applications.
	Deleted []string
}

// ApplicationState is one application with its service principal.
type ApplicationState struct {
	Key         string // unique name, or the display name where it has none
	DisplayName string
	Description string
	AppID       string
	ObjectID    string
	Tags        []string
	URIs        []string // "{appId}" stands for the application ID
	Roles       []string // value, with " (disabled)" if it is
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

// State reads the tenant's newest state. Microsoft's own objects and managed
// identities are left out.
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
	slices.Sort(s.Deleted)
	slices.SortFunc(s.Applications, func(a, b ApplicationState) int { return strings.Compare(a.String(), b.String()) })
	return s
}

// Settled is the time from which all replicas show the newest state.
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
		for _, g := range v.held(sp.ID) {
			s.Grants = append(s.Grants, v.roleName(v.principal(g.ResourceID), g.AppRoleID))
		}
	}
	slices.Sort(s.Grants)
}

// roleName is "resource key/role value".
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

// String is the canonical text. Of secrets it tells how many there are; names,
// IDs and dates differ between runs that end alike.
func (s State) String() string {
	var b strings.Builder
	for _, a := range s.Applications {
		b.WriteString(a.String())
	}
	for _, key := range s.Deleted {
		fmt.Fprintf(&b, "deleted %s\n", key)
	}
	return b.String()
}

// String is the canonical text of one application.
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
