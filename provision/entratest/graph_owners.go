package entratest

import (
	"slices"
	"strings"
)

// Owners are service principals here; in Entra users can be owners too.

func (c *graphCall) owned() []string {
	if c.app != nil {
		return c.app.owners
	}
	return c.sp.owners
}

func (c *graphCall) listOwners() (graphReply, *graphError) {
	var all []entity
	for _, id := range c.owned() {
		if sp := c.v.principal(id); sp != nil {
			all = append(all, typed("servicePrincipal", sp))
		}
	}
	return c.list(all)
}

func (c *graphCall) addOwner() (graphReply, *graphError) {
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
	if slices.Contains(c.newestOwners(), id) {
		return graphReply{}, bad("One or more added object references already exist for the following modified properties: 'owners'.")
	}
	return c.setOwners(append(slices.Clone(c.newestOwners()), id))
}

func (c *graphCall) removeOwner() (graphReply, *graphError) {
	id := c.keys["{key}"].val
	if !slices.Contains(c.newestOwners(), id) {
		return graphReply{}, notFound(id)
	}
	return c.setOwners(slices.DeleteFunc(slices.Clone(c.newestOwners()), func(o string) bool { return o == id }))
}

func (c *graphCall) newestOwners() []string {
	if c.app != nil {
		return c.t.newest().application(c.app.ID).owners
	}
	return c.t.newest().principal(c.sp.ID).owners
}

func (c *graphCall) setOwners(owners []string) (graphReply, *graphError) {
	if c.app != nil {
		a := c.t.newest().application(c.app.ID).clone()
		a.owners = owners
		c.t.putApplication(a, c.t.spread())
	} else {
		sp := c.t.newest().principal(c.sp.ID).clone()
		sp.owners = owners
		c.t.putPrincipal(sp, c.t.spread())
	}
	return noContent()
}

// listOwned lists what a service principal owns.
func (c *graphCall) listOwned() (graphReply, *graphError) {
	return c.objects(func(owners []string, _ *string) bool { return slices.Contains(owners, c.sp.ID) })
}

// listCreated lists what a service principal created.
func (c *graphCall) listCreated() (graphReply, *graphError) {
	return c.objects(func(_ []string, by *string) bool { return by != nil && *by == c.sp.AppID })
}

func (c *graphCall) objects(match func(owners []string, createdBy *string) bool) (graphReply, *graphError) {
	var all []entity
	for _, id := range c.t.store.appOrder {
		if a := c.v.application(id); a != nil && match(a.owners, a.CreatedByAppID) {
			all = append(all, typed("application", a))
		}
	}
	for _, id := range c.t.store.spOrder {
		if sp := c.v.principal(id); sp != nil && match(sp.owners, sp.CreatedByAppID) {
			all = append(all, typed("servicePrincipal", sp))
		}
	}
	return c.list(all)
}
