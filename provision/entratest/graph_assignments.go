package entratest

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// guidFrom is a GUID that stays the same for a name.
func guidFrom(name string) string { return uuid.NewSHA1(uuid.NameSpaceURL, []byte(name)).String() }

// newAssignmentID makes an ID as Entra does: 32 bytes in base64url, of which the
// first 16 are the principal's GUID in the byte order of .NET.
func (t *Tenant) newAssignmentID(principalID string) string {
	guid, random := uuid.MustParse(principalID), sha256.Sum256([]byte(t.newText(43)))
	slices.Reverse(guid[0:4])
	slices.Reverse(guid[4:6])
	slices.Reverse(guid[6:8])
	return base64.RawURLEncoding.EncodeToString(append(guid[:], random[:16]...))
}

// known are the assignments that the replica lists at the path.
func (c *graphCall) known() []*assignment {
	if c.path[2].name == "appRoleAssignedTo" {
		return c.v.given(c.sp.ID)
	}
	return c.v.held(c.sp.ID)
}

func (c *graphCall) listAssignments() (graphReply, *graphError) { return c.list(entities(c.known())) }

func (c *graphCall) getAssignment() (graphReply, *graphError) {
	id := c.keys["{key}"].val
	known := c.known()
	if i := slices.IndexFunc(known, func(g *assignment) bool { return g.ID == id }); i >= 0 {
		return c.ok(known[i])
	}
	return graphReply{}, notFound(id)
}

func (c *graphCall) assign() (graphReply, *graphError) {
	var in struct {
		PrincipalID string `json:"principalId"`
		ResourceID  string `json:"resourceId"`
		AppRoleID   string `json:"appRoleId"`
	}
	if failed := c.decode(&in); failed != nil {
		return graphReply{}, failed
	}
	in.PrincipalID, in.ResourceID, in.AppRoleID = strings.ToLower(in.PrincipalID), strings.ToLower(in.ResourceID), strings.ToLower(in.AppRoleID)
	if end := c.path[2].name; end == "appRoleAssignedTo" && in.ResourceID != c.sp.ID || end == "appRoleAssignments" && in.PrincipalID != c.sp.ID {
		return graphReply{}, bad("The resourceId or principalId does not match the object in the path.")
	}
	resource := c.v.principal(in.ResourceID)
	if resource == nil {
		return graphReply{}, resourceMissing()
	}
	if !c.mayAssign(resource) {
		return graphReply{}, denied()
	}
	principal := c.v.principal(in.PrincipalID)
	if principal == nil {
		if c.t.user(in.PrincipalID) != nil {
			return graphReply{}, unknown("the assignment of a role to a user; seed users with AddUser")
		}
		return graphReply{}, bad("Not a valid reference update.").about("InvalidUpdate", "principalId")
	}
	role, found := resource.role(in.AppRoleID)
	if in.AppRoleID != noRole && (!found || !role.IsEnabled || !role.allows("Application")) || in.AppRoleID == noRole && len(resource.AppRoles) > 0 {
		return graphReply{}, bad("Permission being assigned was not found on application '%s'.", resource.AppID).about("InvalidUpdate", "appRoleId")
	}
	return c.storeAssignment(principal, resource, in.AppRoleID)
}

func resourceMissing() *graphError {
	return bad("Specified resourceId was not found.").about("InvalidUpdate", "resourceId")
}

func (c *graphCall) storeAssignment(principal, resource *servicePrincipal, roleID string) (graphReply, *graphError) {
	truth := c.t.newest()
	if truth.principal(principal.ID) == nil || truth.principal(resource.ID) == nil {
		return graphReply{}, bad("Not a valid reference update.").about("InvalidUpdate", "principalId")
	}
	for _, g := range truth.held(principal.ID) {
		if g.ResourceID == resource.ID && g.AppRoleID == roleID {
			return graphReply{}, bad("Permission being assigned already exists on the object.").about("InvalidUpdate", "appRoleId")
		}
	}
	g := &assignment{
		ID: c.t.newAssignmentID(principal.ID), AppRoleID: roleID, CreatedDateTime: c.t.now(),
		PrincipalID: principal.ID, PrincipalDisplayName: principal.DisplayName, PrincipalType: "ServicePrincipal",
		ResourceID: resource.ID, ResourceDisplayName: resource.DisplayName,
	}
	c.t.putAssignment(g, c.t.spread())
	return c.created(g)
}

func (c *graphCall) unassign() (graphReply, *graphError) {
	id, known := c.keys["{key}"].val, c.known()
	if raw, err := base64.RawURLEncoding.DecodeString(id); err != nil || len(raw) != 32 {
		return graphReply{}, bad("Invalid resource identifier for EntitlementGrant.")
	}
	i := slices.IndexFunc(known, func(g *assignment) bool { return g.ID == id })
	if i < 0 || c.t.newest().assignment(id) == nil {
		return graphReply{}, bad("EntitlementGrant being updated or deleted is not found.").about("InvalidUpdate", "appRoleAssignments")
	}
	if resource := c.t.newest().principal(known[i].ResourceID); !c.mayAssign(resource) {
		return graphReply{}, denied()
	}
	c.t.dropAssignment(id, c.t.spread())
	return noContent()
}
