package entratest

import (
	"net/http"
	"strings"
)

// route is one operation of Graph that is imitated. An operation without a route
// answers 501. TestMetadata checks the table against Microsoft's metadata.
type route struct {
	method  string
	pattern string // below /v1.0; {name} matches a key, see graphCall.find
	right   right
	handle  func(*graphCall) (graphReply, *graphError)
	// context is what @odata.context names; "": the path itself, for objects that
	// belong to another one.
	context string
}

const (
	get   = http.MethodGet
	post  = http.MethodPost
	patch = http.MethodPatch
	del   = http.MethodDelete
)

var routes []route

func init() { // not in the declaration: $batch refers to the table
	routes = []route{
		{get, "/applications", readObjects, (*graphCall).listApplications, "applications"},
		{get, "/applications/$count", readObjects, (*graphCall).listApplications, "applications"},
		{post, "/applications", createObjects, (*graphCall).postApplication, "applications"},
		{get, "/applications/{application}", readObjects, (*graphCall).getApplication, "applications"},
		{patch, "/applications/{application}", writeObjects, (*graphCall).patchApplication, "applications"},
		{del, "/applications/{application}", writeObjects, (*graphCall).deleteApplication, "applications"},
		{post, "/applications/{application}/addPassword", writeObjects, (*graphCall).addPassword, "microsoft.graph.passwordCredential"},
		{post, "/applications/{application}/removePassword", writeObjects, (*graphCall).removePassword, ""},
		{get, "/applications/{application}/federatedIdentityCredentials", readObjects, (*graphCall).listFederated, ""},
		{post, "/applications/{application}/federatedIdentityCredentials", writeObjects, (*graphCall).addFederated, ""},
		{get, "/applications/{application}/federatedIdentityCredentials/{key}", readObjects, (*graphCall).getFederated, ""},
		{del, "/applications/{application}/federatedIdentityCredentials/{key}", writeObjects, (*graphCall).removeFederated, ""},
		{get, "/applications/{application}/owners", readObjects, (*graphCall).listOwners, "directoryObjects"},
		{post, "/applications/{application}/owners/$ref", addOwners, (*graphCall).addOwner, ""},
		{del, "/applications/{application}/owners/{key}/$ref", writeObjects, (*graphCall).removeOwner, ""},

		{get, "/servicePrincipals", readObjects, (*graphCall).listPrincipals, "servicePrincipals"},
		{get, "/servicePrincipals/$count", readObjects, (*graphCall).listPrincipals, "servicePrincipals"},
		{post, "/servicePrincipals", createObjects, (*graphCall).postPrincipal, "servicePrincipals"},
		{get, "/servicePrincipals/{servicePrincipal}", readObjects, (*graphCall).getPrincipal, "servicePrincipals"},
		{patch, "/servicePrincipals/{servicePrincipal}", writeObjects, (*graphCall).patchPrincipal, "servicePrincipals"},
		{del, "/servicePrincipals/{servicePrincipal}", writeObjects, (*graphCall).deletePrincipal, "servicePrincipals"},
		{get, "/servicePrincipals/{servicePrincipal}/owners", readObjects, (*graphCall).listOwners, "directoryObjects"},
		{post, "/servicePrincipals/{servicePrincipal}/owners/$ref", addOwners, (*graphCall).addOwner, ""},
		{del, "/servicePrincipals/{servicePrincipal}/owners/{key}/$ref", writeObjects, (*graphCall).removeOwner, ""},
		{get, "/servicePrincipals/{servicePrincipal}/ownedObjects", readObjects, (*graphCall).listOwned, "directoryObjects"},
		{get, "/servicePrincipals/{servicePrincipal}/createdObjects", readObjects, (*graphCall).listCreated, "directoryObjects"},
		{get, "/servicePrincipals/{servicePrincipal}/memberOf", readObjects, (*graphCall).memberOf, "directoryObjects"},
		{get, "/servicePrincipals/{servicePrincipal}/memberOf/microsoft.graph.directoryRole", readObjects, (*graphCall).memberOf, "directoryRoles"},
		{get, "/servicePrincipals/{servicePrincipal}/transitiveMemberOf", readObjects, (*graphCall).memberOf, "directoryObjects"},
		{get, "/servicePrincipals/{servicePrincipal}/transitiveMemberOf/microsoft.graph.directoryRole", readObjects, (*graphCall).memberOf, "directoryRoles"},
		{get, "/servicePrincipals/{servicePrincipal}/appRoleAssignedTo", readRelations, (*graphCall).listAssignments, ""},
		{post, "/servicePrincipals/{servicePrincipal}/appRoleAssignedTo", grantRoles, (*graphCall).assign, ""},
		{get, "/servicePrincipals/{servicePrincipal}/appRoleAssignedTo/{key}", readRelations, (*graphCall).getAssignment, ""},
		{del, "/servicePrincipals/{servicePrincipal}/appRoleAssignedTo/{key}", revokeRoles, (*graphCall).unassign, ""},
		{get, "/servicePrincipals/{servicePrincipal}/appRoleAssignments", readRelations, (*graphCall).listAssignments, ""},
		{post, "/servicePrincipals/{servicePrincipal}/appRoleAssignments", grantRoles, (*graphCall).assign, ""},
		{get, "/servicePrincipals/{servicePrincipal}/appRoleAssignments/{key}", readRelations, (*graphCall).getAssignment, ""},
		{del, "/servicePrincipals/{servicePrincipal}/appRoleAssignments/{key}", revokeRoles, (*graphCall).unassign, ""},

		{get, "/directory/deletedItems/microsoft.graph.application", readDeleted, (*graphCall).listDeletedApplications, "applications"},
		{get, "/directory/deletedItems/microsoft.graph.servicePrincipal", readDeleted, (*graphCall).listDeletedPrincipals, "servicePrincipals"},
		{get, "/directory/deletedItems/{deleted}", readDeleted, (*graphCall).getDeleted, "directoryObjects"},
		{del, "/directory/deletedItems/{deleted}", writeObjects, (*graphCall).forget, ""},
		{post, "/directory/deletedItems/{deleted}/restore", restoreObjects, (*graphCall).restore, "directoryObjects"},

		{get, "/organization", readOrganization, (*graphCall).organization, "organization"},
	}
}

// findRoute finds the route of a path and fills in the keys of the call.
func (c *graphCall) findRoute() *route {
	for i, r := range routes {
		if r.method == c.method && c.match(r.pattern) {
			return &routes[i]
		}
	}
	return nil
}

func (c *graphCall) match(pattern string) bool {
	parts := strings.Split(pattern[1:], "/")
	if len(parts) != len(c.path) {
		return false
	}
	keys := map[string]segment{}
	for i, part := range parts {
		s := c.path[i]
		if part[0] != '{' {
			if s.isKey() || s.name != part {
				return false
			}
			continue
		}
		if !s.isKey() {
			if strings.HasPrefix(s.name, "$") || strings.HasPrefix(s.name, "microsoft.graph.") {
				return false
			}
			s = segment{key: "id", val: s.name}
		}
		keys[part] = s
	}
	c.keys = keys
	return true
}

// run answers one operation from a replica of its own.
func (c *graphCall) run() (graphReply, *graphError) {
	c.v = c.t.replica()
	c.t.purge()
	r := c.findRoute()
	if r == nil {
		return graphReply{}, c.unknown()
	}
	c.route = r
	owners, failed := c.find()
	if failed != nil {
		return graphReply{}, failed
	}
	if !c.upserts() && !c.allowed(r.right, owners) {
		return graphReply{}, denied()
	}
	return r.handle(c)
}

// upserts reports whether the call may create what it addresses; its handler then
// checks the right, which depends on what exists.
func (c *graphCall) upserts() bool {
	return c.method == patch && c.app == nil && c.sp == nil
}

// find looks for the object that the path names, as the replica shows it, and
// returns its owners in the newest state. An object that is not found is 403 to
// callers that may not list, else 404.
func (c *graphCall) find() (owners []string, failed *graphError) {
	if key, ok := c.keys["{application}"]; ok {
		return c.findApplication(key)
	}
	if key, ok := c.keys["{servicePrincipal}"]; ok {
		return c.findPrincipal(key)
	}
	if key, ok := c.keys["{deleted}"]; ok {
		return c.findDeleted(key.val)
	}
	return nil, nil
}

func (c *graphCall) missing(id string) *graphError {
	if !c.allowed(readObjects, nil) {
		return denied()
	}
	return notFound(id)
}

func (c *graphCall) findApplication(by segment) ([]string, *graphError) {
	switch by.key {
	case "id":
		c.app = c.v.application(by.val)
	case "appId":
		c.app = c.v.applicationOf(strings.ToLower(by.val))
	case "uniqueName":
		// A replica may know the application, but not the name that it was given later.
		if a := c.v.application(c.t.store.byUniqueName[by.val]); a != nil && a.UniqueName != nil {
			c.app = a
		}
	default:
		return nil, refuse(http.StatusBadRequest, "BadRequest", "The key '%s' is not one of applications.", by.key)
	}
	if c.app == nil {
		if c.method == patch && by.key == "uniqueName" && len(c.path) == 2 {
			return nil, nil // an upsert meets the newest state
		}
		return nil, c.missing(by.val)
	}
	if c.method == get {
		return c.app.owners, nil
	}
	newest := c.t.newest().application(c.app.ID)
	if newest == nil {
		return nil, notFound(c.app.ID)
	}
	return newest.owners, nil
}

func (c *graphCall) findPrincipal(by segment) ([]string, *graphError) {
	switch by.key {
	case "id":
		c.sp = c.v.principal(by.val)
	case "appId":
		c.sp = c.v.principalOf(strings.ToLower(by.val))
	default:
		return nil, refuse(http.StatusBadRequest, "BadRequest", "The key '%s' is not one of servicePrincipals.", by.key)
	}
	if c.sp == nil {
		switch {
		case c.method == patch && by.key == "appId" && len(c.path) == 2:
			return nil, nil
		case c.method == post && c.t.newest().principal(by.val) != nil && c.t.rng.IntN(2) == 0:
			return nil, resourceMissing() // under lag Entra answers 404 or 400
		}
		return nil, c.missing(by.val)
	}
	if c.method == get {
		return append([]string{c.sp.ID}, c.sp.owners...), nil // everyone may read themselves
	}
	newest := c.t.newest().principal(c.sp.ID)
	if newest == nil {
		return nil, notFound(c.sp.ID)
	}
	return newest.owners, nil
}

func (c *graphCall) findDeleted(id string) ([]string, *graphError) {
	if a := c.v.deletedApplication(id); a != nil {
		c.app = a
		return a.owners, nil
	}
	if sp := c.v.deletedPrincipal(id); sp != nil {
		c.sp = sp
		return sp.owners, nil
	}
	return nil, c.missing(id)
}
