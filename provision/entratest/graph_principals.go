package entratest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// servicePrincipals answers /servicePrincipals and what is below it.
func (c *graphCall) servicePrincipals() (graphReply, *graphError) {
	head, rest := c.path[0], c.path[1:]
	if len(rest) == 0 && head.key == "" {
		switch c.method {
		case http.MethodGet:
			return c.listPrincipals()
		case http.MethodPost:
			return c.postPrincipal()
		}
		return graphReply{}, c.unknown()
	}
	if head.key == "" {
		head, rest = segment{key: "id", val: rest[0].name}, rest[1:]
	}
	if head.key != "id" && head.key != "appId" {
		return graphReply{}, refuse(http.StatusBadRequest, "BadRequest", "The key '%s' is not one of servicePrincipals.", head.key)
	}
	if len(rest) == 0 && c.method == http.MethodPatch && head.key == "appId" {
		return c.upsertPrincipal(strings.ToLower(head.val))
	}
	sp := c.v.principal(head.val)
	if head.key == "appId" {
		sp = c.v.principalOf(strings.ToLower(head.val))
	}
	if sp == nil {
		if !c.mayList() && !c.mayReadAssignments() {
			return graphReply{}, denied()
		}
		if c.method == http.MethodPost && c.t.newest().principal(head.val) != nil && c.t.rng.IntN(2) == 0 {
			return graphReply{}, resourceMissing() // lag has two faces here
		}
		return graphReply{}, notFound(head.val)
	}
	if len(rest) == 0 {
		return c.onePrincipal(sp)
	}
	return c.belowPrincipal(sp, rest)
}

func (c *graphCall) onePrincipal(sp *servicePrincipal) (graphReply, *graphError) {
	switch c.method {
	case http.MethodGet:
		if !c.mayRead(sp.owners) && sp.ID != c.caller.objectID {
			return graphReply{}, denied()
		}
		return c.ok(sp)
	case http.MethodPatch:
		return c.patchPrincipal(sp.ID)
	case http.MethodDelete:
		return c.deletePrincipal(sp.ID)
	}
	return graphReply{}, c.unknown()
}

func (c *graphCall) listPrincipals() (graphReply, *graphError) {
	if !c.mayList() {
		return graphReply{}, denied()
	}
	var all []*servicePrincipal
	for _, id := range c.t.store.spOrder {
		if sp := c.v.principal(id); sp != nil {
			all = append(all, sp)
		}
	}
	return c.list(entities(all))
}

func (c *graphCall) postPrincipal() (graphReply, *graphError) {
	props, failed := c.object()
	if failed != nil {
		return graphReply{}, failed
	}
	var appID string
	if json.Unmarshal(props["appId"], &appID) != nil || appID == "" {
		return graphReply{}, invalid("appId", "ServicePrincipal")
	}
	appID = strings.ToLower(appID)
	if c.t.newest().principalOf(appID) != nil {
		return graphReply{}, nameTaken(appID)
	}
	return c.createPrincipal(appID, props)
}

func nameTaken(appID string) *graphError {
	return refuse(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue",
		"The service principal cannot be created, updated, or restored because the service principal name %s is already in use.", appID).
		about("ObjectConflict", "servicePrincipalNames")
}

func (c *graphCall) upsertPrincipal(appID string) (graphReply, *graphError) {
	if sp := c.t.newest().principalOf(appID); sp != nil {
		if !c.prefersCreate() && c.v.principalOf(appID) == nil {
			return graphReply{}, notFound(appID)
		}
		return c.patchPrincipal(sp.ID)
	}
	if !c.prefersCreate() {
		return graphReply{}, notFound(appID)
	}
	props, failed := c.object()
	if failed != nil {
		return graphReply{}, failed
	}
	return c.createPrincipal(appID, props)
}

// createPrincipal needs the application, as the replica knows it: one that is
// not there yet is refused in one of the two ways that Entra has.
func (c *graphCall) createPrincipal(appID string, props map[string]json.RawMessage) (graphReply, *graphError) {
	if !c.mayCreate() {
		return graphReply{}, denied()
	}
	t := c.t
	a := c.v.applicationOf(appID)
	if a == nil {
		if t.newest().applicationOf(appID) != nil && t.rng.IntN(2) == 0 {
			return graphReply{}, refuse(http.StatusForbidden, "Authorization_RequestDenied",
				"When using this permission, the backing application of the service principal being created must in the local tenant")
		}
		return graphReply{}, refuse(http.StatusBadRequest, "NoBackingApplicationObject",
			"The appId '%s' of the service principal does not reference a valid application object.", appID).about("NoBackingApplicationObject", "appId")
	}
	if a = t.newest().applicationOf(appID); a == nil {
		return graphReply{}, notFound(appID)
	}
	if !c.mayWrite(a.owners) {
		return graphReply{}, denied()
	}
	sp := t.newPrincipal(a)
	sp.owners = c.firstOwners()
	if failed := setPrincipal(sp, props); failed != nil {
		return graphReply{}, failed
	}
	t.putPrincipal(sp, t.spread())
	return c.created(sp)
}

func (c *graphCall) patchPrincipal(id string) (graphReply, *graphError) {
	sp := c.t.newest().principal(id)
	if sp == nil {
		return graphReply{}, notFound(id)
	}
	if !c.mayWrite(sp.owners) {
		return graphReply{}, denied()
	}
	props, failed := c.object()
	if failed != nil {
		return graphReply{}, failed
	}
	sp = sp.clone()
	if failed := setPrincipal(sp, props); failed != nil {
		return graphReply{}, failed
	}
	c.t.putPrincipal(sp, c.t.spread())
	return noContent()
}

func setPrincipal(sp *servicePrincipal, props map[string]json.RawMessage) *graphError {
	for _, name := range slices.Sorted(maps.Keys(props)) {
		raw := props[name]
		var dst any
		switch name {
		case "accountEnabled":
			dst = &sp.AccountEnabled
		case "appRoleAssignmentRequired":
			dst = &sp.AppRoleAssignmentRequired
		case "notes":
			dst = &sp.Notes
		case "description":
			dst = &sp.Description
		case "tags":
			tags, failed := parseTags(raw, "ServicePrincipal")
			if failed != nil {
				return failed
			}
			sp.Tags = tags
			continue
		case "appId":
			var v string
			if json.Unmarshal(raw, &v) != nil || !strings.EqualFold(v, sp.AppID) {
				return bad("Property 'appId' is read-only and cannot be set.").about("ReadOnly", "appId")
			}
			continue
		default:
			if strings.HasPrefix(name, "@odata") {
				continue
			}
			return unknown("the property '%s' of a service principal", name)
		}
		if string(raw) == "null" && (name == "accountEnabled" || name == "appRoleAssignmentRequired") || json.Unmarshal(raw, dst) != nil {
			return invalid(name, "ServicePrincipal")
		}
	}
	return nil
}

func (c *graphCall) deletePrincipal(id string) (graphReply, *graphError) {
	sp := c.t.newest().principal(id)
	if sp == nil {
		return graphReply{}, notFound(id)
	}
	if !c.mayWrite(sp.owners) {
		return graphReply{}, denied()
	}
	c.t.buryPrincipal(sp)
	return noContent()
}

// buryPrincipal soft-deletes a service principal. Its assignments, held and
// given, go at once.
func (t *Tenant) buryPrincipal(sp *servicePrincipal) {
	now := t.now()
	v := t.newest()
	grave := append(v.held(sp.ID), v.given(sp.ID)...)
	for _, g := range grave {
		t.dropAssignment(g.ID, t.spread())
	}
	t.store.graves[sp.ID] = grave
	sp = sp.clone()
	sp.DeletedDateTime = &now
	t.store.bin = append(t.store.bin, deletion{sp.ID, now})
	t.putPrincipal(sp, t.spread())
}

// belowPrincipal answers /servicePrincipals/{id}/...
func (c *graphCall) belowPrincipal(sp *servicePrincipal, rest []segment) (graphReply, *graphError) {
	switch rest[0].name {
	case "appRoleAssignedTo":
		return c.assignments(sp, rest[1:], c.v.given(sp.ID))
	case "appRoleAssignments":
		return c.assignments(sp, rest[1:], c.v.held(sp.ID))
	case "memberOf", "transitiveMemberOf":
		return c.memberOf(sp, rest[1:])
	case "owners":
		return c.owners(sp.owners, rest[1:], func(owners []string) *graphError {
			newest := c.t.newest().principal(sp.ID)
			if newest == nil {
				return notFound(sp.ID)
			}
			changed := newest.clone()
			changed.owners = owners
			c.t.putPrincipal(changed, c.t.spread())
			return nil
		})
	}
	return graphReply{}, c.unknown()
}

// memberOf lists the directory roles, also by their type cast.
func (c *graphCall) memberOf(sp *servicePrincipal, rest []segment) (graphReply, *graphError) {
	if c.method != http.MethodGet || len(rest) > 1 || len(rest) == 1 && rest[0].name != "microsoft.graph.directoryRole" {
		return graphReply{}, c.unknown()
	}
	if !c.mayRead(sp.owners) {
		return graphReply{}, denied()
	}
	var all []entity
	for _, name := range sp.directoryRoles {
		e := toEntity(map[string]any{
			"id": guidFrom(c.t.cfg.TenantID + name), "displayName": name, "description": name,
			"roleTemplateId": directoryRoles[name], "deletedDateTime": nil,
		})
		if len(rest) == 0 {
			e["@odata.type"] = jsonString("#microsoft.graph.directoryRole")
		}
		all = append(all, e)
	}
	return c.list(all)
}

// roleAssignments answers /roleManagement/directory/roleAssignments.
func (c *graphCall) roleAssignments() (graphReply, *graphError) {
	if c.method != http.MethodGet || len(c.path) != 3 || c.path[1].name != "directory" || c.path[2].name != "roleAssignments" {
		return graphReply{}, c.unknown()
	}
	if !c.mayRead(nil) {
		return graphReply{}, denied()
	}
	var all []entity
	for _, id := range c.t.store.spOrder {
		sp := c.v.principal(id)
		if sp == nil {
			continue
		}
		for _, name := range sp.directoryRoles {
			all = append(all, toEntity(map[string]any{
				"id": guidFrom(sp.ID + name), "principalId": sp.ID,
				"roleDefinitionId": directoryRoles[name], "directoryScopeId": "/",
			}))
		}
	}
	return c.list(all)
}

func (c *graphCall) organization() (graphReply, *graphError) {
	if c.method != http.MethodGet || len(c.path) != 1 {
		return graphReply{}, c.unknown()
	}
	return c.list([]entity{toEntity(map[string]any{
		"id": c.t.cfg.TenantID, "displayName": c.t.cfg.Name,
		"verifiedDomains": []any{map[string]any{"name": c.t.domain(), "isDefault": true, "isInitial": true, "type": "Managed"}},
	})})
}
