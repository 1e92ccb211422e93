package entratest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/entragate/entragate/provision/internal/metadata"
)

func (c *graphCall) getPrincipal() (graphReply, *graphError) { return c.ok(c.sp) }

func (c *graphCall) listPrincipals() (graphReply, *graphError) {
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

// createPrincipal needs the application, as the replica knows it: one that is
// not there yet is refused in one of the two ways that Entra has.
func (c *graphCall) createPrincipal(appID string, props map[string]json.RawMessage) (graphReply, *graphError) {
	if !c.allowed(createObjects, nil) {
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
	if !c.allowed(writeObjects, a.owners) {
		return graphReply{}, denied()
	}
	if failed := c.checkQuota(); failed != nil {
		return graphReply{}, failed
	}
	sp := t.newPrincipal(a)
	sp.owners, sp.CreatedByAppID = c.firstOwners(), &c.caller.appID
	if failed := setPrincipal(sp, props); failed != nil {
		return graphReply{}, failed
	}
	t.putPrincipal(sp, t.spread())
	return c.created(sp)
}

// patchPrincipal changes a service principal. By appId it is an upsert, which
// meets the newest state.
func (c *graphCall) patchPrincipal() (graphReply, *graphError) {
	appID := strings.ToLower(c.keys["{servicePrincipal}"].val)
	var old *servicePrincipal
	if c.sp != nil {
		old = c.t.newest().principal(c.sp.ID)
	} else if c.prefersCreate() {
		old = c.t.newest().principalOf(appID)
	} else {
		return graphReply{}, c.missing(appID)
	}
	props, failed := c.object()
	if failed != nil {
		return graphReply{}, failed
	}
	if old == nil {
		return c.createPrincipal(appID, props)
	}
	if !c.allowed(writeObjects, old.owners) || old.managed() {
		return graphReply{}, denied()
	}
	sp := old.clone()
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
			if _, ok := metadata.Graph().Property("servicePrincipal", name); !ok {
				return bad("Property '%s' does not exist as a declared property or extension property.", name).about("InvalidProperty", name)
			}
			return unknown("the property '%s' of a service principal", name)
		}
		if string(raw) == "null" && (name == "accountEnabled" || name == "appRoleAssignmentRequired") || json.Unmarshal(raw, dst) != nil {
			return invalid(name, "ServicePrincipal")
		}
	}
	return nil
}

func (c *graphCall) deletePrincipal() (graphReply, *graphError) {
	if c.sp.managed() {
		return graphReply{}, denied()
	}
	c.t.buryPrincipal(c.t.newest().principal(c.sp.ID))
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

// memberOf lists the directory roles.
func (c *graphCall) memberOf() (graphReply, *graphError) {
	var all []entity
	for _, name := range c.sp.directoryRoles {
		all = append(all, typed("directoryRole", map[string]any{
			"id": guidFrom(c.t.cfg.TenantID + name), "displayName": name, "description": name, "roleTemplateId": directoryRoles[name],
		}))
	}
	return c.list(all)
}

func (c *graphCall) organization() (graphReply, *graphError) {
	return c.list([]entity{shape("organization", toEntity(map[string]any{
		"id": c.t.cfg.TenantID, "displayName": c.t.cfg.Name, "mobileDeviceManagementAuthority": "unknown",
		"verifiedDomains": []any{map[string]any{"capabilities": "Email", "name": c.t.domain(), "isDefault": true, "isInitial": true, "type": "Managed"}},
	}))})
}
