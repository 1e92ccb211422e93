package entratest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// guidFrom is a GUID that stays the same for a name.
func guidFrom(name string) string { return uuid.NewSHA1(uuid.NameSpaceURL, []byte(name)).String() }

// assignments answers .../appRoleAssignedTo and .../appRoleAssignments of a
// service principal; known is what the replica lists there.
func (c *graphCall) assignments(sp *servicePrincipal, rest []segment, known []*assignment) (graphReply, *graphError) {
	switch {
	case c.method == http.MethodGet && len(rest) <= 1:
		if !c.mayReadAssignments() {
			return graphReply{}, denied()
		}
		if len(rest) == 0 {
			return c.list(entities(known))
		}
		if i := slices.IndexFunc(known, func(g *assignment) bool { return g.ID == rest[0].name }); i >= 0 {
			return c.ok(known[i])
		}
		return graphReply{}, notFound(rest[0].name)
	case c.method == http.MethodPost && len(rest) == 0:
		return c.assign(sp)
	case c.method == http.MethodDelete && len(rest) == 1:
		return c.unassign(known, rest[0].name)
	}
	return graphReply{}, c.unknown()
}

func (c *graphCall) assign(sp *servicePrincipal) (graphReply, *graphError) {
	var in struct {
		PrincipalID string `json:"principalId"`
		ResourceID  string `json:"resourceId"`
		AppRoleID   string `json:"appRoleId"`
	}
	if failed := c.decode(&in); failed != nil {
		return graphReply{}, failed
	}
	in.PrincipalID, in.ResourceID, in.AppRoleID = strings.ToLower(in.PrincipalID), strings.ToLower(in.ResourceID), strings.ToLower(in.AppRoleID)
	if end := c.path[len(c.path)-1].name; end == "appRoleAssignedTo" && in.ResourceID != sp.ID || end == "appRoleAssignments" && in.PrincipalID != sp.ID {
		return graphReply{}, bad("The resourceId or principalId does not match the object in the path.")
	}
	resource := c.v.principal(in.ResourceID)
	if !c.mayAssign(resource) {
		return graphReply{}, denied()
	}
	if resource == nil {
		return graphReply{}, resourceMissing()
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
		ID: c.t.newText(43), AppRoleID: roleID, CreatedDateTime: c.t.now(),
		PrincipalID: principal.ID, PrincipalDisplayName: principal.DisplayName, PrincipalType: "ServicePrincipal",
		ResourceID: resource.ID, ResourceDisplayName: resource.DisplayName,
	}
	c.t.putAssignment(g, c.t.spread())
	return c.created(g)
}

func (c *graphCall) unassign(known []*assignment, id string) (graphReply, *graphError) {
	i := slices.IndexFunc(known, func(g *assignment) bool { return g.ID == id })
	if !c.mayAssign(nil) {
		return graphReply{}, denied()
	}
	if i < 0 || c.t.newest().assignment(id) == nil {
		return graphReply{}, bad("EntitlementGrant being updated or deleted is not found.").about("InvalidUpdate", "appRoleAssignments")
	}
	if resource := c.t.newest().principal(known[i].ResourceID); !c.mayAssign(resource) {
		return graphReply{}, denied()
	}
	c.t.dropAssignment(id, c.t.spread())
	return noContent()
}
