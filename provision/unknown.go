package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// What Entra holds of this installation and the store does not know. Somebody made
// it by hand, or it was made after the backup from which the store was restored.

// tenantApplication describes an application for people. The object stays empty if
// its unique name contains only a hash of the ID.
func (e *Reconciler) tenantApplication(a Application) appaccess.TenantApplication {
	t := appaccess.TenantApplication{
		UniqueName: a.UniqueName, DisplayName: a.DisplayName, ObjectID: a.ObjectID, AppID: a.AppID,
		Installation: tagged(a.Tags, installationTag),
	}
	if o := e.objectOf(a.UniqueName); o != nil {
		t.Object = o.name
	}
	for _, p := range a.Passwords {
		if !operationTag.MatchString(p.DisplayName) {
			t.Foreign++
		}
	}
	for _, k := range a.Keys {
		if !operationTag.MatchString(k.DisplayName) {
			t.Foreign++
		}
	}
	return t
}

// objectOf returns the object that has a unique name; nil: the name does not
// contain the ID.
func (e *Reconciler) objectOf(name string) *object {
	for _, kind := range []string{kindProduct, kindApplication} {
		if id, ok := strings.CutPrefix(name, namePrefix(e.cfg.Instance, kind)); ok && uniqueName(e.cfg.Instance, kind, id) == name {
			return e.newObject(kind, id)
		}
	}
	return nil
}

// inventory is what the provisioning state knows of this instance.
type inventory struct {
	own      installation
	objects  map[string]entry // by object ID of the application
	clients  map[string]entry // by object ID of the service principal
	products []entry          // those with a service principal
}

func (e *Reconciler) inventory(ctx context.Context) (inventory, error) {
	v := inventory{objects: map[string]entry{}, clients: map[string]entry{}}
	err := e.cfg.Store.View(ctx, func(rd appaccess.Reader) (err error) {
		v.own, err = e.state.installation(rd, nil, e.cfg.Instance)
		return err
	})
	if err != nil {
		return v, &StateError{err}
	}
	known, err := e.state.all(ctx)
	if err != nil {
		return v, &StateError{err}
	}
	for _, k := range known {
		if k.Object != uniqueName(e.cfg.Instance, k.Kind, k.ID) || k.deleted() {
			continue
		}
		if !k.takenOver() {
			v.objects[k.ObjectID] = k
		}
		v.add(k)
	}
	return v, nil
}

// add adds an object that has a service principal.
func (v *inventory) add(x entry) {
	switch {
	case x.ServicePrincipalID == "":
	case x.Kind == kindProduct:
		v.products = append(v.products, x)
	default:
		v.clients[x.ServicePrincipalID] = x
	}
}

// deleted reports whether the object was deleted and reads have confirmed that.
func (e entry) deleted() bool {
	return !e.Removed.IsZero() && !slices.ContainsFunc(e.Revoking, func(x revocation) bool { return x.Object != "" })
}

// Unknown finds applications that name this installation and that the
// provisioning state does not know, or that TakeOver recorded and Apply has not
// written yet; secrets and certificates of client applications that carry our
// operation tag and are not recorded; and grants of our products, known and unknown,
// that nobody desires: to client applications of ours and to others. A managed
// identity that was a client application of a lost store shows by such a grant
// alone. Unknown writes nothing. It takes one list of applications and one list for
// each product. What was written a moment ago may be missing or still show.
func (e *Reconciler) Unknown(ctx context.Context) (appaccess.Unknown, error) {
	var found appaccess.Unknown
	r := e.newRun(nil)
	apps, err := r.instanceApplications(ctx)
	if err != nil {
		return found, err
	}
	// The state is read after the tenant: what is added to Entra is recorded before.
	known, err := e.inventory(ctx)
	if err != nil {
		return found, err
	}
	var strangers []Application
	for _, a := range apps {
		x, recorded := known.objects[a.ObjectID]
		switch {
		case recorded:
			found.Credentials = append(found.Credentials, x.unknownCredentials(a)...)
		case tagged(a.Tags, installationTag) == known.own.ID:
			strangers = append(strangers, a)
			found.Applications = append(found.Applications, e.tenantApplication(a))
		}
	}
	if err := r.addUnknown(ctx, &known, strangers); err != nil {
		return found, err
	}
	ids := make([]string, len(known.products))
	for i, p := range known.products {
		ids[i] = p.ServicePrincipalID
	}
	lists, errs := readAll(ctx, r, nil, ids, r.e.dir.AssignedTo)
	for i, p := range known.products {
		if errs[i] != nil && !notFound(errs[i]) {
			return found, errs[i]
		}
		for _, a := range lists[i] {
			client, ours := known.clients[a.PrincipalID]
			if ours && client.grants(a) {
				continue
			}
			found.Grants = append(found.Grants, appaccess.UnknownGrant{
				Application: client.ID, Principal: a.PrincipalID, Product: p.ID, AppID: p.AppID, Resource: a.ResourceID,
				Permission: p.permission(a.RoleID), Role: a.RoleID, Assignment: a.ID,
			})
		}
	}
	slices.SortFunc(found.Grants, func(a, b appaccess.UnknownGrant) int {
		return cmp.Or(strings.Compare(a.Application, b.Application), strings.Compare(a.Product, b.Product), strings.Compare(a.Assignment, b.Assignment))
	})
	return found, nil
}

// addUnknown adds the service principals of unknown applications to an inventory,
// so that their grants are found.
func (r *run) addUnknown(ctx context.Context, known *inventory, apps []Application) error {
	sps, err := r.principalsOf(ctx, apps)
	if err != nil {
		return err
	}
	for i, a := range apps {
		if o := r.e.objectOf(a.UniqueName); o != nil {
			known.add(o.entryOf(a, sps[i]))
		}
	}
	return nil
}

// unknownCredentials returns the secrets and certificates of a client application
// that we made and that are not recorded, because a store was restored from a backup
// from before they were made. Nobody knows who holds them.
func (e entry) unknownCredentials(a Application) []appaccess.UnknownCredential {
	var found []appaccess.UnknownCredential
	add := func(kind appaccess.CredentialKind, keyID, name string) {
		if e.Kind == kindApplication && operationTag.MatchString(name) && !e.knows(keyID, name) {
			found = append(found, appaccess.UnknownCredential{Application: e.ID, AppID: a.AppID, Kind: kind, KeyID: keyID, Name: name})
		}
	}
	for _, p := range a.Passwords {
		add(appaccess.SecretCredential, p.KeyID, p.DisplayName)
	}
	for _, k := range a.Keys {
		add(appaccess.CertificateCredential, k.KeyID, k.DisplayName)
	}
	return found
}

// knows reports whether a credential is recorded as delivered, pending or revoked.
func (e entry) knows(keyID, name string) bool {
	return slices.ContainsFunc(e.Credentials, func(c managedCredential) bool { return c.KeyID == keyID }) ||
		slices.ContainsFunc(e.PendingCredentials, func(a pendingCredential) bool { return hasTag(name, a.Tag) }) ||
		slices.ContainsFunc(e.Revoking, func(x revocation) bool { return x.is(keyID, name) })
}

// removeUnknown removes a credential unless it is recorded by now.
func (e *Reconciler) removeUnknown(ctx context.Context, c appaccess.UnknownCredential) error {
	return e.withClient(ctx, c.Application, func(r *run, o *object) error {
		if o.entry.knows(c.KeyID, c.Name) {
			return nil
		}
		if err := r.removeCredential(ctx, o, appaccess.Credential{Kind: c.Kind, KeyID: c.KeyID}); err != nil {
			return err
		}
		return r.saveAndUnlock(ctx, o, o.wrote, nil)
	})
}

// permission returns the permission of a product's role; empty: the product does
// not have the role.
func (e entry) permission(roleID string) string {
	for _, role := range e.Roles {
		if role.ID == roleID {
			return role.Permission
		}
	}
	return ""
}

// grants reports whether an assignment is one that we made or are revoking.
func (e entry) grants(a Assignment) bool {
	same := func(g recordedGrant) bool { return g.ResourceID == a.ResourceID && g.RoleID == a.RoleID }
	return slices.ContainsFunc(e.Grants, same) ||
		slices.ContainsFunc(e.Revoking, func(x revocation) bool { return x.Grant != nil && same(*x.Grant) })
}

// RemoveUnknown implements [appaccess.Provisioner]. An unknown application is
// reconciled as an object that is to be deleted, and a client application that is
// granted something unknown as one that holds a grant of ours that is not desired,
// so both are locked, confirmed and recorded like any other. A grant to a principal
// that is no client application, or to an application without proof, is revoked once
// and not confirmed: Unknown lists it as long as it shows. The error joins what could
// not be removed: an application without proof gives a [*NotOursError]; only a person
// can delete it.
func (e *Reconciler) RemoveUnknown(ctx context.Context, u appaccess.Unknown, desired appaccess.DesiredState) error {
	var objects appaccess.Objects
	var failed []error
	add := func(o *object) {
		list := &objects.Applications
		if o.kind == kindProduct {
			list = &objects.Products
		}
		if !slices.Contains(*list, o.id) {
			*list = append(*list, o.id)
		}
	}
	more := map[string][]recordedGrant{}
	grants := map[string][]appaccess.UnknownGrant{} // by unique name of the client
	for _, a := range u.Applications {
		if o := e.objectOf(a.UniqueName); o != nil {
			add(o)
		} else {
			failed = append(failed, fmt.Errorf("application %s (client ID %s): its unique name does not contain its ID: delete it in Entra", a.UniqueName, a.AppID))
		}
	}
	for _, c := range u.Credentials {
		failed = append(failed, e.removeUnknown(ctx, c))
	}
	for _, g := range u.Grants {
		if g.Application == "" {
			failed = append(failed, e.revokeForeign(ctx, g))
			continue
		}
		o := e.newObject(kindApplication, g.Application)
		add(o)
		grants[o.key] = append(grants[o.key], g)
		more[o.key] = append(more[o.key], recordedGrant{ProductID: g.Product, Permission: g.Permission, ResourceAppID: g.AppID, ResourceID: g.Resource, RoleID: g.Role, AssignmentID: g.Assignment})
	}
	r := e.newRun(nil)
	r.desired, r.unknown = desired, more
	err := r.open(ctx, objects)
	if err != nil {
		return errors.Join(append(failed, err)...)
	}
	for phase := range r.phases() {
		if err = r.look(ctx, phase); err != nil {
			break
		}
		for _, o := range phase {
			if o.named && o.err == nil && o.app != nil {
				o.err = o.ours()
			}
			if errors.Is(o.err, ErrNotOurs) {
				for _, g := range grants[o.key] {
					failed = append(failed, e.revokeForeign(ctx, g))
				}
			}
		}
		if err = r.reconcileAll(ctx, phase); err != nil {
			break
		}
	}
	for _, o := range r.objects {
		failed = append(failed, o.err)
	}
	return errors.Join(append(failed, err)...)
}

// revokeForeign revokes a grant that a principal holds which is no client
// application of ours, under the lock of the product.
func (e *Reconciler) revokeForeign(ctx context.Context, g appaccess.UnknownGrant) error {
	r := e.newRun(nil)
	o := e.newObject(kindProduct, g.Product)
	if err := r.acquire(ctx, o); err != nil {
		return err
	}
	defer r.unlock(ctx, o)
	return r.write(ctx, o, e.grants, opUnassign, func(ctx context.Context) error {
		return e.grants.Unassign(ctx, g.Resource, g.Assignment)
	})
}
