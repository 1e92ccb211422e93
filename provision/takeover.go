package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// TakeOverRequest says what a store whose provisioning state was lost takes over.
type TakeOverRequest struct {
	// Installation is the installation ID to adopt. Empty: the only one that the
	// tenant's applications name.
	Installation string
	// Products and Applications are the IDs of the objects that the store knows.
	Products, Applications []string
}

// TakeOver makes the applications of a lost store those of this store: it adopts
// their installation ID, makes a new key and records the applications of the
// objects in the request. It writes nothing to Entra. After it, Plan shows what
// Apply does: sign the applications with the new key, and remove every credential
// with our operation tag and every grant among our own objects that is not
// desired, because the store does not know who holds them. A store that still
// has the old key is refused with a [*NotOursError] from then on.
//
// The result lists every application that names the installation. The key is
// lost, so nothing proves who made them: look through the list before Apply, at
// client IDs that you do not know and at Foreign above all. An application whose
// Object is empty is not named by the request and not touched.
//
// TakeOver refuses a store that has recorded applications, and a tenant with
// several installations of the instance unless the request names one. If Apply
// refuses an application that was taken over, because a lagging replica showed
// TakeOver an older signature of it, call TakeOver again: it then records only
// applications that Apply has not written yet, and keeps the key.
func (e *Reconciler) TakeOver(ctx context.Context, req TakeOverRequest) ([]appaccess.TenantApplication, error) {
	r := e.newRun(nil)
	names := map[string]*object{}
	for _, id := range req.Products {
		o := e.newObject(kindProduct, id)
		names[o.key] = o
	}
	for _, id := range req.Applications {
		o := e.newObject(kindApplication, id)
		names[o.key] = o
	}
	apps, err := r.instanceApplications(ctx)
	if err != nil {
		return nil, err
	}
	id, err := chosen(apps, req.Installation)
	if err != nil {
		return nil, err
	}
	apps = slices.DeleteFunc(apps, func(a Application) bool { return tagged(a.Tags, installationTag) != id })
	sps, err := r.principalsOf(ctx, apps)
	if err != nil {
		return nil, err
	}
	var list []appaccess.TenantApplication
	var entries []entry
	for i, a := range apps {
		t := e.tenantApplication(a)
		t.Object = "" // the request does not name it
		if o := names[a.UniqueName]; o != nil {
			delete(names, a.UniqueName)
			t.Object = o.name
			x := o.entryOf(a, sps[i])
			x.Nonce, x.Recovered, x.Accepted = tagged(a.Tags, nonceTag), true, tagged(a.Tags, proofTag)
			entries = append(entries, x)
		}
		list = append(list, t)
	}
	for _, id := range req.Applications {
		// An existing service principal carries no tags: Apply finds it by the object ID
		// that the store knows, and what else it holds of ours.
		if o := e.newObject(kindApplication, id); names[o.key] != nil {
			entries = append(entries, entry{Object: o.key, Kind: o.kind, ID: o.id, Recovered: true})
		}
	}
	own := newInstallation()
	own.ID = id
	if err := e.state.takeOver(ctx, e.cfg.Instance, own, entries); err != nil {
		return nil, err
	}
	return list, nil
}

// takenOver reports whether the application was taken over and not written since.
func (e entry) takenOver() bool { return e.Accepted != "" && e.LastWritten.IsZero() }

// principalsOf reads the service principals of applications. An application
// without one gets an empty one.
func (r *run) principalsOf(ctx context.Context, apps []Application) ([]ServicePrincipal, error) {
	refs := make([]PrincipalRef, len(apps))
	for i, a := range apps {
		refs[i] = PrincipalRef{AppID: a.AppID}
	}
	sps, errs := readAll(ctx, r, nil, refs, r.e.dir.ServicePrincipals)
	for _, err := range errs {
		if err != nil && !notFound(err) {
			return nil, err
		}
	}
	return sps, nil
}

// entryOf is the entry of an object whose application was found in the tenant.
func (o *object) entryOf(a Application, sp ServicePrincipal) entry {
	return entry{
		Object: o.key, Kind: o.kind, ID: o.id, ObjectID: a.ObjectID, AppID: a.AppID,
		ServicePrincipalID: sp.ObjectID, Roles: o.madeRoles(a),
	}
}

// madeRoles returns the app roles that we made for a product. A role is ours if its
// ID is that of the permission at the end of its value.
func (o *object) madeRoles(a Application) []appaccess.Role {
	if o.kind != kindProduct {
		return nil
	}
	var roles []appaccess.Role
	for _, role := range a.AppRoles {
		permission := role.Value[strings.LastIndexByte(role.Value, '.')+1:]
		if role.ID == roleID(o.key, permission) {
			roles = append(roles, appaccess.Role{Permission: permission, Value: role.Value, ID: role.ID})
		}
	}
	return roles
}

// chosen is the installation to adopt.
func chosen(apps []Application, asked string) (string, error) {
	found := map[string]bool{}
	for _, a := range apps {
		if id := tagged(a.Tags, installationTag); id != "" {
			found[id] = true
		}
	}
	switch {
	case asked != "" && !found[asked]:
		return "", fmt.Errorf("no application of this instance names installation %q: %w", asked, appaccess.ErrNotFound)
	case asked != "":
		return asked, nil
	case len(found) == 0:
		return "", fmt.Errorf("no application of this instance names an installation: %w", appaccess.ErrNotFound)
	case len(found) > 1:
		return "", &appaccess.ConflictError{Field: "installation", Reason: "applications of this instance name several installations: name one", Objects: slices.Sorted(maps.Keys(found))}
	}
	return slices.Collect(maps.Keys(found))[0], nil
}

// instanceApplications lists the applications that carry the tag of the instance.
// A lagging replica may leave one out or show an old one.
func (r *run) instanceApplications(ctx context.Context) ([]Application, error) {
	return readOne(ctx, r, nil, instanceTag+r.e.cfg.Instance, r.e.dir.TaggedApplications)
}

// takeOver stores an installation and the entries that it takes over. If it was
// called before, it keeps the installation and replaces only the entries of
// applications that were not written since.
func (s state) takeOver(ctx context.Context, instance string, own installation, entries []entry) error {
	all, err := s.all(ctx)
	if err != nil {
		return &StateError{err}
	}
	var written []string
	open := map[string]bool{} // by unique name: taken over and not written yet
	for _, e := range all {
		switch {
		case e.ObjectID == "" || e.Object != uniqueName(instance, e.Kind, e.ID):
		case e.takenOver():
			open[e.Object] = true
		default:
			written = append(written, e.Kind+" "+e.ID)
		}
	}
	again := len(written) > 0 && len(open) > 0
	if len(written) > 0 && !again {
		return &appaccess.ConflictError{Field: "store", Reason: "the store has recorded applications, so it is not a lost one: Apply repairs it", Objects: written[:1]}
	}
	_, err = s.store.Update(ctx, func(w appaccess.Writer) error {
		if again {
			now, err := s.installation(w, nil, instance)
			if err != nil {
				return err
			}
			if now.ID != own.ID {
				return &appaccess.ConflictError{Field: "installation", Reason: "the store has taken over another installation", Objects: []string{now.ID}}
			}
		} else if err := putJSON(w, appaccess.KindInstallation, instance, own); err != nil {
			return err
		}
		for _, e := range entries {
			if again && !open[e.Object] {
				continue
			}
			if err := s.put(w, e); err != nil {
				return err
			}
		}
		return nil
	})
	var conflict *appaccess.ConflictError
	if err != nil && !errors.As(err, &conflict) {
		return &StateError{err}
	}
	return err
}
