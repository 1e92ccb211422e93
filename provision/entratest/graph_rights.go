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
	HybridIdentityAdministrator   = "Hybrid Identity Administrator"   // directory role
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
	HybridIdentityAdministrator:   "8ac3fc64-6eca-42ea-9e69-59f4c7b60eb2",
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

// wids returns the claim in which Graph finds directory roles.
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
	rights          []string // app roles and directory roles in the token
}

// bearerToken is a checked access token for Graph.
type bearerToken struct {
	appID, objectID, uti string
	rights               []string
	expires              time.Time
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
	sp := t.newest().principal(token.objectID)
	switch {
	case t.revoked[token.uti]:
		return nil, refuse(http.StatusUnauthorized, "InvalidAuthenticationToken", "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenCreatedWithOutdatedPolicies.")
	case sp == nil:
		return nil, refuse(http.StatusUnauthorized, "Authorization_IdentityNotFound", "The identity of the calling application could not be established.")
	case !sp.usable():
		return nil, refuse(http.StatusUnauthorized, "Authorization_IdentityDisabled", "The identity of the calling application is disabled.")
	}
	return &caller{appID: token.appID, objectID: token.objectID, rights: token.rights}, nil
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
	token.uti, _ = claims["uti"].(string)
	token.rights = texts(claims["roles"])
	for _, id := range texts(claims["wids"]) {
		for name, template := range directoryRoles {
			if template == id {
				token.rights = append(token.rights, name)
			}
		}
	}
	if t.bearers == nil || len(t.bearers) >= 256 {
		t.bearers = map[string]*bearerToken{}
	}
	t.bearers[raw] = token
	return token
}

// texts are the strings of a claim that is a list.
func texts(claim any) []string {
	list, _ := claim.([]any)
	var all []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

func (t *Tenant) isGraph(aud string) bool {
	aud = strings.TrimSuffix(aud, "/")
	return aud == GraphAppID || aud == "https://graph.microsoft.com" || aud == t.graphBase()
}

// right is what an operation needs, as Microsoft documents it for each call: one of
// any, or one of owner for objects that the caller owns.
type right struct {
	name       string
	any, owner []string
}

var (
	administrators = []string{ApplicationAdministrator, CloudApplicationAdministrator}
	readers        = append([]string{ReadWriteAll, ReadApplications, ReadDirectory, DirectoryReaders}, administrators...)
	writers        = append([]string{ReadWriteAll}, administrators...)

	// Application.ReadWrite.OwnedBy may also read and list what it does not own
	// (https://learn.microsoft.com/graph/api/serviceprincipal-get), unless
	// Policy.StrictOwnedBy is set.
	readObjects   = right{name: "read objects", any: readers, owner: []string{ReadWriteOwned}}
	readRelations = right{name: "read assignments", any: append([]string{ReadWriteOwned}, readers...)}
	createObjects = right{name: "create objects", any: append([]string{ReadWriteOwned}, writers...)}
	writeObjects  = right{name: "write objects", any: writers, owner: []string{ReadWriteOwned}}
	// Application.ReadWrite.OwnedBy alone is refused here and for deleted items.
	addOwners      = right{name: "add owners", any: writers, owner: []string{ReadWriteOwned}}
	readDeleted    = right{name: "read deleted objects", any: readers}
	restoreObjects = right{name: "restore objects", any: append([]string{HybridIdentityAdministrator}, writers...), owner: []string{ReadWriteOwned}}
	// Granting also needs to read the resource, see mayAssign.
	grantRoles       = right{name: "grant app roles", any: append([]string{AssignAll}, writers...)}
	revokeRoles      = grantRoles
	readOrganization = right{name: "read the organization", any: append([]string{ReadDirectory, DirectoryReaders}, administrators...)}
)

func (c *caller) has(rights ...string) bool {
	return slices.ContainsFunc(rights, func(r string) bool { return slices.Contains(c.rights, r) })
}

// allowed says whether the caller may do what a right is for, with an object of
// these owners.
func (c *graphCall) allowed(r right, owners []string) bool {
	who := c.caller
	if who.has(r.any...) {
		return true
	}
	own := slices.Contains(owners, who.objectID)
	policy := c.t.cfg.Policy
	switch {
	case !who.has(r.owner...):
		// An identity may read itself.
		return own && c.method == http.MethodGet && c.sp != nil && c.sp.ID == who.objectID
	case c.route != nil && c.route.right.name == addOwners.name:
		return own && who.has(ReadDirectory)
	case c.method == http.MethodGet && !policy.StrictOwnedBy:
		return true
	case c.route != nil && c.route.right.name == restoreObjects.name && policy.RestoreNeedsRole:
		return false
	}
	return own
}

// firstOwners are the owners of what the caller creates: an application that may
// only write what it owns becomes the owner. Holders of a role that may write
// everything do not.
func (c *graphCall) firstOwners() []string {
	policy := c.t.cfg.Policy
	if c.caller.has(writers...) || policy.UpsertWithoutOwner && c.method == patch || policy.CreateWithoutOwner && c.method == post {
		return nil
	}
	return []string{c.caller.objectID}
}

// mayAssign says whether roles of a resource may be granted and revoked.
// AppRoleAssignment.ReadWrite.All grants together with the right to read
// applications only, and revokes alone. All other rights exclude the roles of
// Microsoft Graph.
func (c *graphCall) mayAssign(resource *servicePrincipal) bool {
	who := c.caller
	if who.has(AssignAll) && (c.method == http.MethodDelete || who.has(readers...)) {
		return true
	}
	return who.has(writers...) && (resource == nil || resource.AppID != GraphAppID)
}

// checkQuota refuses a new object to a caller that has created as many as Entra
// allows to callers without an administrator's rights. A deleted object counts in
// full for 30 days, as long as it can be restored, and a quarter for 30 more:
// https://learn.microsoft.com/entra/identity/users/directory-service-limits-restrictions
func (c *graphCall) checkQuota() *graphError {
	most := c.t.cfg.Policy.Quota
	if most == 0 {
		most = DefaultQuota
	}
	if most < 0 || c.caller.has(writers...) {
		return nil
	}
	used, by := c.t.purgedBy(c.caller.appID)/4, c.caller.appID
	for _, o := range c.t.store.apps {
		if a := o.at(-1, c.v.now); a != nil && a.CreatedByAppID != nil && *a.CreatedByAppID == by {
			used++
		}
	}
	for _, o := range c.t.store.sps {
		if sp := o.at(-1, c.v.now); sp != nil && sp.CreatedByAppID != nil && *sp.CreatedByAppID == by {
			used++
		}
	}
	if used < most {
		return nil
	}
	return refuse(http.StatusForbidden, "Directory_QuotaExceeded", "The directory object quota limit for the Principal has been exceeded. Please ask your administrator to increase the quota limit or delete objects to reduce the used quota.")
}

// deletedKept is how long a deleted object can be restored, and for how long after
// that it counts a quarter.
const deletedKept = 30 * 24 * time.Hour

// countPurged notes an object that is removed for good, by when it could have been
// restored at the latest.
func (t *Tenant) countPurged(by *string, deleted *time.Time) {
	if by == nil {
		return
	}
	at := t.now()
	if deleted != nil && deleted.Add(deletedKept).Before(at) {
		at = deleted.Add(deletedKept)
	}
	t.store.gone = append(t.store.gone, purged{*by, at})
}

// purgedBy is how many objects of a creator were removed for good in the last 30
// days.
func (t *Tenant) purgedBy(appID string) int {
	now := t.now()
	t.store.gone = slices.DeleteFunc(t.store.gone, func(p purged) bool { return p.at.Add(deletedKept).Before(now) })
	n := 0
	for _, p := range t.store.gone {
		if p.by == appID {
			n++
		}
	}
	return n
}
