package entratest

import "net/http"

// deletedItems answers /directory/deletedItems.
func (c *graphCall) deletedItems() (graphReply, *graphError) {
	if len(c.path) < 3 || c.path[1].name != "deletedItems" {
		return graphReply{}, c.unknown()
	}
	what, rest := c.path[2].name, c.path[3:]
	strictly := c.t.cfg.Policy.StrictOwnedBy && !c.mayRead(nil)
	switch {
	case strictly:
		return graphReply{}, denied()
	case what == "microsoft.graph.application" && len(rest) == 0 && c.method == http.MethodGet:
		return c.listDeleted(func(id string) any {
			if a := c.v.deletedApplication(id); a != nil {
				return a
			}
			return nil
		})
	case what == "microsoft.graph.servicePrincipal" && len(rest) == 0 && c.method == http.MethodGet:
		return c.listDeleted(func(id string) any {
			if sp := c.v.deletedPrincipal(id); sp != nil {
				return sp
			}
			return nil
		})
	case len(rest) == 0 || len(rest) == 1 && rest[0].name == "restore" && c.method == http.MethodPost:
		return c.deletedItem(what, len(rest) == 1)
	}
	return graphReply{}, c.unknown()
}

func (c *graphCall) listDeleted(find func(id string) any) (graphReply, *graphError) {
	if !c.mayList() {
		return graphReply{}, denied()
	}
	var all []entity
	seen := map[string]bool{}
	for _, d := range c.t.store.bin {
		if v := find(d.id); v != nil && !seen[d.id] {
			seen[d.id] = true
			all = append(all, toEntity(v))
		}
	}
	return c.list(all)
}

// deletedItem reads, restores or hard-deletes one.
func (c *graphCall) deletedItem(id string, restore bool) (graphReply, *graphError) {
	if a := c.v.deletedApplication(id); a != nil {
		return c.deletedApplication(a, restore)
	}
	if sp := c.v.deletedPrincipal(id); sp != nil {
		return c.deletedPrincipal(sp, restore)
	}
	if !c.mayList() {
		return graphReply{}, denied()
	}
	return graphReply{}, notFound(id)
}

func (c *graphCall) deletedApplication(seen *application, restore bool) (graphReply, *graphError) {
	if c.method == http.MethodGet {
		return c.typed("#microsoft.graph.application", seen, seen.owners)
	}
	a := c.t.newest().deletedApplication(seen.ID)
	if a == nil {
		return graphReply{}, notFound(seen.ID)
	}
	if !c.mayWrite(a.owners) {
		return graphReply{}, denied()
	}
	if !restore {
		if c.method != http.MethodDelete {
			return graphReply{}, c.unknown()
		}
		c.t.forgetApplication(a)
		return noContent()
	}
	a = a.clone()
	a.DeletedDateTime = nil
	c.t.putApplication(a, c.t.spread())
	return c.typed("#microsoft.graph.application", a, a.owners)
}

func (c *graphCall) deletedPrincipal(seen *servicePrincipal, restore bool) (graphReply, *graphError) {
	if c.method == http.MethodGet {
		return c.typed("#microsoft.graph.servicePrincipal", seen, seen.owners)
	}
	t := c.t
	sp := t.newest().deletedPrincipal(seen.ID)
	if sp == nil {
		return graphReply{}, notFound(seen.ID)
	}
	if !c.mayWrite(sp.owners) {
		return graphReply{}, denied()
	}
	if !restore {
		if c.method != http.MethodDelete {
			return graphReply{}, c.unknown()
		}
		t.forgetPrincipal(sp)
		return noContent()
	}
	a := t.newest().applicationOf(sp.AppID)
	switch {
	case a == nil:
		return graphReply{}, refuse(http.StatusBadRequest, "NoBackingApplicationObject", "The backing application of the service principal is not in the tenant.")
	case t.newest().principalOf(sp.AppID) != nil:
		return graphReply{}, nameTaken(sp.AppID)
	}
	sp = sp.clone()
	sp.DeletedDateTime = nil
	if m := mirror(sp, a); m != nil {
		sp = m
	}
	t.putPrincipal(sp, t.spread())
	t.exhume(sp.ID)
	return c.typed("#microsoft.graph.servicePrincipal", sp, sp.owners)
}

// exhume brings assignments back with a restored service principal, if the
// policy says so and their other end is there.
func (t *Tenant) exhume(id string) {
	grave := t.store.graves[id]
	delete(t.store.graves, id)
	if !t.cfg.Policy.RestoreGrants {
		return
	}
	for _, g := range grave {
		v := t.newest()
		if v.principal(g.PrincipalID) != nil && v.principal(g.ResourceID) != nil && v.assignment(g.ID) == nil {
			t.putAssignment(g, t.spread())
		}
	}
}

// typed renders an object of a collection of several types.
func (c *graphCall) typed(kind string, v any, owners []string) (graphReply, *graphError) {
	if !c.mayRead(owners) {
		return graphReply{}, denied()
	}
	e := toEntity(v)
	e["@odata.type"] = jsonString(kind)
	return c.ok(e)
}
