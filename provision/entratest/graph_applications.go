package entratest

import (
	"encoding/json"
	"slices"
	"strings"
)

func (c *graphCall) getApplication() (graphReply, *graphError) { return c.ok(c.shown(c.app)) }

// shown is an application as a single read shows it: the keys of certificates
// only if they are asked for by name.
func (c *graphCall) shown(a *application) *application {
	if !strings.Contains(c.query.Get("$select"), "keyCredentials") {
		return a
	}
	a = a.clone()
	a.KeyCredentials = slices.Clone(a.KeyCredentials)
	for i, k := range a.KeyCredentials {
		a.KeyCredentials[i].Key = ptr(encodeDER(k.der))
	}
	return a
}

func (c *graphCall) listApplications() (graphReply, *graphError) {
	var all []*application
	for _, id := range c.t.store.appOrder {
		if a := c.v.application(id); a != nil {
			all = append(all, a)
		}
	}
	return c.list(entities(all))
}

func (c *graphCall) postApplication() (graphReply, *graphError) {
	props, failed := c.object()
	if failed != nil {
		return graphReply{}, failed
	}
	return c.createApplication(props)
}

// patchApplication changes an application. By uniqueName it is an upsert, which
// meets the newest state: two creates of one name make one application.
func (c *graphCall) patchApplication() (graphReply, *graphError) {
	name := c.keys["{application}"]
	var old *application
	if c.app != nil {
		old = c.t.newest().application(c.app.ID)
	} else if c.prefersCreate() {
		old = c.t.newest().application(c.t.store.byUniqueName[name.val])
	} else {
		return graphReply{}, c.missing(name.val)
	}
	props, failed := c.object()
	if failed != nil {
		return graphReply{}, failed
	}
	if old == nil {
		props["uniqueName"] = jsonString(name.val)
		return c.createApplication(props)
	}
	if !c.allowed(writeObjects, old.owners) {
		return graphReply{}, denied()
	}
	a := old.clone()
	if failed := c.t.setApplication(a, old, props); failed != nil {
		return graphReply{}, failed
	}
	if seen := c.v.application(old.ID); seen != nil && props["appRoles"] != nil {
		// A replica that still shows the role enabled refuses its change.
		if failed := checkRoleChange(seen.AppRoles, a.AppRoles); failed != nil {
			return graphReply{}, failed
		}
	}
	c.t.putApplication(a, c.t.spread())
	return noContent()
}

func (c *graphCall) createApplication(props map[string]json.RawMessage) (graphReply, *graphError) {
	if !c.allowed(createObjects, nil) {
		return graphReply{}, denied()
	}
	if failed := c.checkQuota(); failed != nil {
		return graphReply{}, failed
	}
	t := c.t
	a := &application{
		ID: t.newID(), AppID: t.newID(), CreatedDateTime: t.now(), CreatedByAppID: &c.caller.appID,
		SignInAudience: "AzureADMyOrg", PublisherDomain: t.domain(), owners: c.firstOwners(),
	}
	if failed := t.setApplication(a, nil, props); failed != nil {
		return graphReply{}, failed
	}
	if a.DisplayName == "" {
		return graphReply{}, invalid("displayName", "Application")
	}
	t.putApplication(a, t.spread())
	return c.created(a)
}

// deleteApplication soft-deletes it, and its service principal with it.
func (c *graphCall) deleteApplication() (graphReply, *graphError) {
	t := c.t
	a := t.newest().application(c.app.ID)
	now := t.now()
	if sp := t.newest().principalOf(a.AppID); sp != nil {
		t.buryPrincipal(sp)
	}
	a = a.clone()
	a.DeletedDateTime = &now
	t.store.bin = append(t.store.bin, deletion{a.ID, now})
	t.putApplication(a, t.spread())
	return noContent()
}
