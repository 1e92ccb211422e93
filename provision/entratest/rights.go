package entratest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Rights that a caller can be given, as Entra names them.
const (
	ApplicationAdministrator      = "Application Administrator"       // directory role
	CloudApplicationAdministrator = "Cloud Application Administrator" // directory role
	DirectoryReaders              = "Directory Readers"               // directory role
	ReadWriteOwned                = "Application.ReadWrite.OwnedBy"
	ReadWriteAll                  = "Application.ReadWrite.All"
	AssignAll                     = "AppRoleAssignment.ReadWrite.All"
	ReadApplications              = "Application.Read.All"
	ReadDirectory                 = "Directory.Read.All"
)

// directoryRoles are role template IDs by name.
var directoryRoles = map[string]string{
	ApplicationAdministrator:      "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3",
	CloudApplicationAdministrator: "158c047a-c907-4556-b7ef-446551a6b5f7",
	DirectoryReaders:              "88d8e3e3-8f55-4a1e-953a-9b9898b8876b",
}

// graphRoles are the app roles of Microsoft Graph that are imitated.
var graphRoles = []struct{ value, id string }{
	{ReadWriteAll, "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9"},
	{ReadWriteOwned, "18a4783c-866b-4cc7-a460-3d5e5662c884"},
	{AssignAll, "06b708a9-e830-4db3-a914-8e69da51d44f"},
	{ReadApplications, "9a5d68dd-52b0-4cc2-bd40-abcf4ac3a30e"},
	{ReadDirectory, "7ab1d382-f21e-4acd-a863-ba3e13f7da61"},
}

// Rights are the names that [Tenant.AddCaller] takes.
func Rights() []string {
	names := slices.Sorted(maps.Keys(directoryRoles))
	for _, r := range graphRoles {
		names = append(names, r.value)
	}
	return names
}

// wids is the claim that tells Graph of directory roles.
func wids(sp *servicePrincipal) []string {
	ids := []string{"0997a1d0-0d1d-4acb-b408-d5ca73121e90"} // in every app token for Graph
	for _, name := range sp.directoryRoles {
		ids = append(ids, directoryRoles[name])
	}
	return ids
}

// caller is who calls Graph, from the access token.
type caller struct {
	appID, objectID string
	rights          []string // app roles in the token, directory roles held now
}

// bearerToken is a checked access token for Graph.
type bearerToken struct {
	appID, objectID string
	roles           []string
	expires         time.Time
}

// authorize checks the access token: one that this tenant issued for Graph. The
// caller holds mu.
func (t *Tenant) authorize(r *http.Request) (*caller, *graphError) {
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || raw == "" {
		t.misuse("%s %s without an access token", r.Method, r.URL.Path)
		return nil, refuse(http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token is empty.")
	}
	token := t.checkBearer(raw)
	if token == nil {
		return nil, refuse(http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience, issuer or signature.")
	}
	if !t.now().Before(token.expires) {
		return nil, refuse(http.StatusUnauthorized, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired.")
	}
	c := &caller{appID: token.appID, objectID: token.objectID, rights: slices.Clone(token.roles)}
	if sp := t.newest().principal(token.objectID); sp != nil {
		c.rights = append(c.rights, sp.directoryRoles...)
	}
	return c, nil
}

// checkBearer checks all but the time, and remembers what it found. It is nil
// for a token that is not valid here.
func (t *Tenant) checkBearer(raw string) *bearerToken {
	if token, ok := t.bearers[raw]; ok {
		return token
	}
	claims := jwt.MapClaims{}
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation()).
		ParseWithClaims(raw, claims, func(token *jwt.Token) (any, error) {
			for n := range t.keys.current + 1 {
				if k := poolKey(t.cfg.TenantID, n); token.Header["kid"] == k.kid {
					return &k.private.PublicKey, nil
				}
			}
			return nil, jwt.ErrTokenUnverifiable
		})
	aud, _ := claims["aud"].(string)
	if err != nil || claims["tid"] != t.cfg.TenantID || !t.isGraph(aud) {
		return nil
	}
	exp, _ := claims.GetExpirationTime()
	if exp == nil {
		return nil
	}
	token := &bearerToken{expires: exp.Time}
	token.appID, _ = claims["appid"].(string)
	token.objectID, _ = claims["oid"].(string)
	roles, _ := claims["roles"].([]any)
	for _, r := range roles {
		if s, ok := r.(string); ok {
			token.roles = append(token.roles, s)
		}
	}
	if t.bearers == nil || len(t.bearers) >= 256 {
		t.bearers = map[string]*bearerToken{}
	}
	t.bearers[raw] = token
	return token
}

func (t *Tenant) isGraph(aud string) bool {
	aud = strings.TrimSuffix(aud, "/")
	return aud == GraphAppID || aud == "https://graph.microsoft.com" || aud == t.base
}

func (c *caller) has(rights ...string) bool {
	return slices.ContainsFunc(rights, func(r string) bool { return slices.Contains(c.rights, r) })
}

func (c *caller) administers() bool {
	return c.has(ApplicationAdministrator, CloudApplicationAdministrator)
}

func (c *caller) owns(owners []string) bool { return slices.Contains(owners, c.objectID) }

// mayRead says whether an application or service principal with these owners
// may be read.
func (c *graphCall) mayRead(owners []string) bool {
	who := c.caller
	if who.administers() || who.has(DirectoryReaders, ReadWriteAll, ReadApplications, ReadDirectory) {
		return true
	}
	return who.has(ReadWriteOwned) && (!c.t.cfg.Policy.StrictOwnedBy || who.owns(owners))
}

// mayList says whether collections of them may be read.
func (c *graphCall) mayList() bool { return c.mayRead(nil) }

// mayWrite says whether one with these owners may be changed.
func (c *graphCall) mayWrite(owners []string) bool {
	who := c.caller
	return who.administers() || who.has(ReadWriteAll) || who.has(ReadWriteOwned) && who.owns(owners)
}

func (c *graphCall) mayCreate() bool {
	return c.caller.administers() || c.caller.has(ReadWriteAll, ReadWriteOwned)
}

// firstOwners are the owners of what the caller creates: an application that
// may only write what it owns becomes the owner.
func (c *graphCall) firstOwners() []string {
	if !c.caller.administers() && !c.caller.has(ReadWriteAll) {
		return []string{c.caller.objectID}
	}
	return nil
}

// mayAssign says whether roles of a resource may be granted. Application
// administrators may not grant those of Microsoft Graph.
func (c *graphCall) mayAssign(resource *servicePrincipal) bool {
	if c.caller.has(AssignAll) {
		return true
	}
	return c.caller.administers() && (resource == nil || resource.AppID != GraphAppID)
}

func (c *graphCall) mayReadAssignments() bool {
	return c.caller.has(AssignAll) || c.mayRead(nil) || c.caller.has(ReadWriteOwned)
}
