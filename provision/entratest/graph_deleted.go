package entratest

import "net/http"

// Soft-deleted objects: /directory/deletedItems.

func (c *graphCall) listDeletedApplications() (graphReply, *graphError) {
	return c.listDeleted(func(id string) any {
		if a := c.v.deletedApplication(id); a != nil {
			return a
		}
		return nil
	})
}

func (c *graphCall) listDeletedPrincipals() (graphReply, *graphError) {
	return c.listDeleted(func(id string) any {
		if sp := c.v.deletedPrincipal(id); sp != nil {
			return sp
		}
		return nil
	})
}

func (c *graphCall) listDeleted(find func(id string) any) (graphReply, *graphError) {
	var all []entity
	seen := map[string]bool{}
	for _, d := range c.t.store.bin {
		if v := find(d.id); v != nil && !seen[d.id] {
			seen[d.id] = true
			all = append(all, whole(v))
		}
	}
	return c.list(all)
}

func (c *graphCall) getDeleted() (graphReply, *graphError) { return c.ok(c.deleted()) }

// deleted is the found object with its type, because the collection holds several.
func (c *graphCall) deleted() entity {
	if c.app != nil {
		return typed("application", c.app)
	}
	return typed("servicePrincipal", c.sp)
}

// forget deletes for good.
func (c *graphCall) forget() (graphReply, *graphError) {
	truth := c.t.newest()
	switch {
	case c.app != nil && truth.deletedApplication(c.app.ID) != nil:
		c.t.forgetApplication(truth.deletedApplication(c.app.ID))
	case c.sp != nil && truth.deletedPrincipal(c.sp.ID) != nil:
		c.t.forgetPrincipal(truth.deletedPrincipal(c.sp.ID))
	default:
		return graphReply{}, notFound(c.keys["{deleted}"].val)
	}
	return noContent()
}

func (c *graphCall) restore() (graphReply, *graphError) {
	if c.app != nil {
		return c.restoreApplication()
	}
	return c.restorePrincipal()
}

func (c *graphCall) restoreApplication() (graphReply, *graphError) {
	a := c.t.newest().deletedApplication(c.app.ID)
	if a == nil {
		return graphReply{}, notFound(c.app.ID)
	}
	a = a.clone()
	a.DeletedDateTime = nil
	c.t.putApplication(a, c.t.spread())
	return c.ok(typed("application", a))
}

func (c *graphCall) restorePrincipal() (graphReply, *graphError) {
	t := c.t
	sp := t.newest().deletedPrincipal(c.sp.ID)
	if sp == nil {
		return graphReply{}, notFound(c.sp.ID)
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
	return c.ok(typed("servicePrincipal", sp))
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
