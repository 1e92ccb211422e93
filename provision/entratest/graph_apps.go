package entratest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// applications answers /applications and what is below it.
func (c *graphCall) applications() (graphReply, *graphError) {
	head := c.path[0]
	if len(c.path) == 1 && head.key == "" {
		switch c.method {
		case http.MethodGet:
			return c.listApplications()
		case http.MethodPost:
			return c.postApplication()
		}
		return graphReply{}, c.unknown()
	}
	rest := c.path[1:]
	if head.key == "" {
		head, rest = segment{key: "id", val: c.path[1].name}, c.path[2:]
	}
	if head.key != "id" && head.key != "appId" && head.key != "uniqueName" {
		return graphReply{}, refuse(http.StatusBadRequest, "BadRequest", "The key '%s' is not one of applications.", head.key)
	}
	if len(rest) == 0 && c.method == http.MethodPatch && head.key == "uniqueName" {
		return c.upsertApplication(head.val)
	}
	a := c.findApplication(head)
	if a == nil {
		if !c.mayList() {
			return graphReply{}, denied()
		}
		return graphReply{}, notFound(head.val)
	}
	if len(rest) == 0 {
		return c.oneApplication(a)
	}
	return c.belowApplication(a, rest)
}

// findApplication looks at the replica that answers.
func (c *graphCall) findApplication(by segment) *application {
	switch by.key {
	case "appId":
		return c.v.applicationOf(strings.ToLower(by.val))
	case "uniqueName":
		a := c.v.application(c.t.store.byUniqueName[by.val])
		if a == nil || a.UniqueName == nil { // set later than this replica knows
			return nil
		}
		return a
	}
	return c.v.application(by.val)
}

func (c *graphCall) oneApplication(a *application) (graphReply, *graphError) {
	switch c.method {
	case http.MethodGet:
		if !c.mayRead(a.owners) {
			return graphReply{}, denied()
		}
		return c.ok(c.shown(a))
	case http.MethodPatch:
		return c.patchApplication(a.ID)
	case http.MethodDelete:
		return c.deleteApplication(a.ID)
	}
	return graphReply{}, c.unknown()
}

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
	if !c.mayList() {
		return graphReply{}, denied()
	}
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

// upsertApplication is PATCH by uniqueName. It meets the newest state: two
// creates of one name make one application.
func (c *graphCall) upsertApplication(name string) (graphReply, *graphError) {
	id := c.t.store.byUniqueName[name]
	if c.t.newest().application(id) != nil {
		if !c.prefersCreate() && c.findApplication(segment{key: "uniqueName", val: name}) == nil {
			return graphReply{}, notFound(name)
		}
		return c.patchApplication(id)
	}
	if !c.prefersCreate() {
		return graphReply{}, notFound(name)
	}
	props, failed := c.object()
	if failed != nil {
		return graphReply{}, failed
	}
	props["uniqueName"] = jsonString(name)
	return c.createApplication(props)
}

func (c *graphCall) createApplication(props map[string]json.RawMessage) (graphReply, *graphError) {
	if !c.mayCreate() {
		return graphReply{}, denied()
	}
	t := c.t
	a := &application{
		ID: t.newID(), AppID: t.newID(), CreatedDateTime: t.now(),
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

func (c *graphCall) patchApplication(id string) (graphReply, *graphError) {
	old := c.t.newest().application(id)
	if old == nil {
		return graphReply{}, notFound(id)
	}
	if !c.mayWrite(old.owners) {
		return graphReply{}, denied()
	}
	props, failed := c.object()
	if failed != nil {
		return graphReply{}, failed
	}
	a := old.clone()
	if failed := c.t.setApplication(a, old, props); failed != nil {
		return graphReply{}, failed
	}
	if seen := c.v.application(id); seen != nil && props["appRoles"] != nil {
		// A replica that still shows the role enabled refuses its change.
		if failed := checkRoleChange(seen.AppRoles, a.AppRoles); failed != nil {
			return graphReply{}, failed
		}
	}
	c.t.putApplication(a, c.t.spread())
	return noContent()
}

// deleteApplication soft-deletes it, and its service principal with it.
func (c *graphCall) deleteApplication(id string) (graphReply, *graphError) {
	a := c.t.newest().application(id)
	if a == nil {
		return graphReply{}, notFound(id)
	}
	if !c.mayWrite(a.owners) {
		return graphReply{}, denied()
	}
	t := c.t
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

// belowApplication answers /applications/{id}/...
func (c *graphCall) belowApplication(a *application, rest []segment) (graphReply, *graphError) {
	switch rest[0].name {
	case "addPassword", "removePassword":
		if len(rest) > 1 || c.method != http.MethodPost {
			return graphReply{}, c.unknown()
		}
		if newest := c.t.newest().application(a.ID); newest == nil {
			return graphReply{}, notFound(a.ID)
		} else if !c.mayWrite(newest.owners) {
			return graphReply{}, denied()
		}
		if rest[0].name == "addPassword" {
			return c.addPassword(a.ID)
		}
		return c.removePassword(a)
	case "federatedIdentityCredentials":
		if rest[0].key != "" { // (name='...') is a credential, not the collection
			return c.federatedCredentials(a, rest)
		}
		return c.federatedCredentials(a, rest[1:])
	case "owners":
		return c.owners(a.owners, rest[1:], func(owners []string) *graphError {
			newest := c.t.newest().application(a.ID)
			if newest == nil {
				return notFound(a.ID)
			}
			changed := newest.clone()
			changed.owners = owners
			c.t.putApplication(changed, c.t.spread())
			return nil
		})
	}
	return graphReply{}, c.unknown()
}

// owners answers .../owners: a list, POST $ref, DELETE {id}/$ref. Only service
// principals can be owners here.
func (c *graphCall) owners(ids []string, rest []segment, set func([]string) *graphError) (graphReply, *graphError) {
	if len(rest) == 0 && c.method == http.MethodGet {
		if !c.mayRead(ids) {
			return graphReply{}, denied()
		}
		var all []entity
		for _, id := range ids {
			if sp := c.v.principal(id); sp != nil {
				e := toEntity(sp)
				e["@odata.type"] = jsonString("#microsoft.graph.servicePrincipal")
				all = append(all, e)
			}
		}
		return c.list(all)
	}
	if !c.mayWrite(ids) {
		return graphReply{}, denied()
	}
	switch {
	case len(rest) == 1 && rest[0].name == "$ref" && c.method == http.MethodPost:
		var ref struct {
			ID string `json:"@odata.id"`
		}
		if failed := c.decode(&ref); failed != nil {
			return graphReply{}, failed
		}
		id := ref.ID[strings.LastIndexByte(ref.ID, '/')+1:]
		if c.v.principal(id) == nil {
			return graphReply{}, notFound(id)
		}
		if slices.Contains(ids, id) {
			return graphReply{}, bad("One or more added object references already exist for the following modified properties: 'owners'.")
		}
		return done(set(append(slices.Clone(ids), id)))
	case len(rest) == 2 && rest[1].name == "$ref" && c.method == http.MethodDelete:
		if !slices.Contains(ids, rest[0].name) {
			return graphReply{}, notFound(rest[0].name)
		}
		return done(set(slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == rest[0].name })))
	}
	return graphReply{}, c.unknown()
}

func done(failed *graphError) (graphReply, *graphError) {
	if failed != nil {
		return graphReply{}, failed
	}
	return noContent()
}
