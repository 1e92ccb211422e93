package appaccess

import (
	"slices"
	"strings"
)

// The importer places each object of a document that differs from the stored one.
// When all are placed, verify checks the references.

func (im *importer) placeUser(d DocumentUser) error {
	u, err := find[User](im, d.ID)
	if ignoreNotFound(err) != nil {
		return err
	}
	action := "user.update"
	if err != nil {
		action = "user.create"
		u = User{ID: d.ID, State: UserActive, Created: im.now}
	}
	was := u.State
	u.Name, u.Email, u.TenantID, u.ObjectID, u.Updated = d.Name, d.Email, d.TenantID, d.ObjectID, im.now
	u.State = UserActive
	if d.Blocked {
		u.State = UserBlocked
	}
	if err := firstError(write(im.edit, &u), im.auditUser(action, &u)); err != nil || was == u.State {
		return err
	}
	owned, many, err := im.disturb(d.ID, im.s.entra != nil)
	im.many = im.many || many
	im.behind.Applications = append(im.behind.Applications, owned...)
	return err
}

func (im *importer) placeAPI(d DocumentAPI) error {
	action, now := "api.update", d.api()
	old, err := find[API](im, d.ID)
	switch {
	case ignoreNotFound(err) != nil:
		return err
	case err != nil:
		action, old.Created = "api.create", im.now
	}
	now.Created, now.Updated = old.Created, im.now
	if d.Operations == nil {
		now.Operations = old.Operations
	}
	if d.Enforcement == "" {
		now.Enforcement = old.Enforcement
	}
	if err := now.enforceable(); err != nil {
		return err
	}
	return firstError(write(im.edit, now), im.auditAPI(action, now))
}

func (im *importer) placeProduct(d DocumentProduct) error {
	p, err := find[Product](im, d.ID)
	if ignoreNotFound(err) != nil {
		return err
	}
	action := "product.update"
	if err != nil {
		action = "product.create"
		p = Product{ID: d.ID, Created: im.now, Name: d.Name}
	}
	if p.Deleted {
		return &ConflictError{Field: "id", Reason: "the product of this ID is still being removed from Entra: run Sync first", Objects: []string{d.ID}}
	}
	if d.Name != p.Name && hasRole(&p) {
		return &ConflictError{Field: "name", Reason: "the product has a role in Entra that carries its name: renaming it would cut its callers off", Objects: []string{d.ID}}
	}
	switched := d.Access.Token != p.Access.Token
	described := d.Description != p.Description || !slices.Equal(d.Permissions, p.Permissions)
	if switched || !slices.Equal(d.Permissions, p.Permissions) {
		if err := im.notBeingRevoked(d.ID, "access"); err != nil {
			return err
		}
	}
	p.Name, p.Description, p.Suspended, p.Access, p.Updated = d.Name, d.Description, d.Suspended, d.Access, im.now
	p.APIs, p.Permissions = slices.Sorted(slices.Values(d.APIs)), slices.Clone(d.Permissions)
	p.SelfService, p.PerDeveloper = d.SelfService, d.PerDeveloper
	p.State = NotPublished
	if d.Published {
		p.State = Published
	}
	if switched || described && p.Access.Token {
		p.Sync.Pending = true
		im.behind.Products = append(im.behind.Products, p.ID)
	}
	if switched {
		p.Adopt, p.AdoptChanges = d.Adopt, d.AdoptChanges
	}
	if switched || described {
		if err := im.s.nameable(im.edit, &p); err != nil {
			return err
		}
	}
	im.products = append(im.products, p)
	return firstError(write(im.edit, &p), im.audit(action, KindProduct, d.ID, map[string]string{
		"name": p.Name, "access": p.Access.words(), "apis": strings.Join(p.APIs, " "), "state": string(p.State),
	}))
}

func (im *importer) placeApplication(d DocumentApplication) error {
	a, err := find[ClientApplication](im, d.ID)
	if ignoreNotFound(err) != nil {
		return err
	}
	action := "application.update"
	if err != nil {
		if im.s.entra == nil {
			return errNoEntra()
		}
		action = "application.register"
		a = ClientApplication{ID: d.ID, OwnerID: d.OwnerID, State: ApplicationPending, Created: im.now, Adopt: d.Adopt, AdoptChanges: d.AdoptChanges, ServicePrincipal: d.ServicePrincipal}
	}
	switch {
	case a.Deleted:
		return &ConflictError{Field: "id", Reason: "the application of this ID is still being removed from Entra: run Sync first", Objects: []string{d.ID}}
	case a.ServicePrincipal != d.ServicePrincipal:
		return &ConflictError{Field: "servicePrincipal", Reason: "an application's service principal cannot change: give the other one an application of its own", Objects: []string{d.ID}}
	}
	if a.OwnerID != d.OwnerID {
		if err := im.transfer(Transfer{Kind: KindApplication, Object: d.ID, To: d.OwnerID}); err != nil {
			return err
		}
		if a, err = find[ClientApplication](im, d.ID); err != nil {
			return err
		}
	}
	if fold(a.Name) != fold(d.Name) {
		if _, _, err := im.registered(&ClientApplication{Name: d.Name, OwnerID: d.OwnerID}, d.ID); err != nil {
			return err
		}
	}
	a.Name, a.Description, a.Grants = d.Name, d.Description, slices.Clone(d.Grants)
	switch {
	case d.Suspended:
		a.State = ApplicationSuspended
	case a.State == ApplicationSuspended:
		a.State = ApplicationPending // settle changes it
	}
	im.behind.Applications = append(im.behind.Applications, a.ID)
	im.applications = append(im.applications, a)
	return principalTaken(im.saveApplication(&a, action, "name", a.Name, "owner", a.OwnerID, "grants", a.Grants.String()))
}

func (im *importer) placeSubscription(d DocumentSubscription) error {
	v, err := find[Subscription](im, d.ID)
	if ignoreNotFound(err) != nil {
		return err
	}
	action := "subscription.update"
	var keys brought
	if err != nil {
		action, keys = "subscription.create", broughtKeys(d.PrimaryHash, d.SecondaryHash)
		v = Subscription{
			ID: d.ID, OwnerID: d.OwnerID, Scope: d.Scope, State: d.State, Created: im.now,
			PrimaryHash: d.PrimaryHash, SecondaryHash: d.SecondaryHash,
		}
		if err := im.mayBring(keys); err != nil {
			return err
		}
		made := issue(&v)
		defer func() {
			made.Subscription = v
			im.report.Subscriptions = append(im.report.Subscriptions, made)
		}()
	}
	switch {
	case v.Scope != d.Scope:
		return &ConflictError{Field: "scope", Reason: "a subscription's scope cannot change", Objects: []string{d.ID}}
	case v.State != d.State && !slices.Contains(next[v.State], d.State):
		return &ConflictError{Field: "state", Reason: "a subscription cannot go from " + string(v.State) + " to " + string(d.State), Objects: []string{d.ID}}
	}
	if v.OwnerID != d.OwnerID {
		if err := im.transfer(Transfer{Kind: KindSubscription, Object: d.ID, To: d.OwnerID}); err != nil {
			return err
		}
		if v, err = find[Subscription](im, d.ID); err != nil {
			return err
		}
	}
	v.Name, v.State, v.Expires, v.Updated = d.Name, d.State, d.Expires, im.now
	im.subscriptions = append(im.subscriptions, v)
	return firstError(write(im.edit, &v), im.auditSubscription(action, &v, keys.audit()...))
}

// verify checks, when all objects are placed, what they refer to, and that nothing
// refers to a deleted object.
func (im *importer) verify() error {
	return firstOf(im.verifyGone, im.verifyProducts, im.verifyApplications, im.verifySubscriptions)
}

func (im *importer) verifyGone() error {
	for _, d := range im.batch {
		var err error
		switch {
		case d.Change != DiffDelete:
		case d.Kind == KindAPI:
			err = im.apiUnused(d.ID)
		case d.Kind == KindUser:
			err = im.ownsNothing(d.ID)
		}
		if err != nil {
			return within(string(d.Kind)+" "+d.ID, err)
		}
	}
	return nil
}

func (im *importer) verifyProducts() error {
	for _, p := range im.products {
		err := im.knownAPIs(p.APIs)
		if err == nil && !p.Access.Token {
			err = im.notGranted(p.ID)
		}
		if err == nil {
			err = im.permissionsHeld(&p)
		}
		if err != nil {
			return within("product "+p.ID, err)
		}
	}
	return nil
}

func (im *importer) verifyApplications() error {
	for _, a := range im.applications {
		err := im.ownerExists(a.OwnerID)
		for _, g := range a.Grants {
			if err == nil {
				_, err = im.grantedProduct(g)
			}
		}
		if err != nil {
			return within("application "+a.ID, err)
		}
	}
	return nil
}

func (im *importer) verifySubscriptions() error {
	for _, v := range im.subscriptions {
		var err error
		if v.OwnerID != "" {
			err = im.ownerExists(v.OwnerID)
		}
		if id := v.Scope.product(); err == nil && id != "" {
			_, err = im.product(id)
			err = unknownRef("scope", KindProduct, id, err)
		}
		if id := v.Scope.api(); err == nil && id != "" {
			_, err = im.api(id)
			err = unknownRef("scope", KindAPI, id, err)
		}
		if err != nil {
			return within("subscription "+v.ID, err)
		}
	}
	return nil
}

// ownerExists accepts a blocked user, who still owns their objects.
func (im *importer) ownerExists(id string) error {
	_, err := im.user(id)
	return unknownRef("ownerId", KindUser, id, err)
}
