package provision

import (
	"context"
	"fmt"
	"slices"

	"github.com/entragate/entragate/appaccess"
)

// Ownership. An identity whose only right to write is Application.ReadWrite.OwnedBy
// can change what it owns. Graph makes the caller of a POST an owner, but users saw
// objects that a PATCH created without an owner, and a new identity owns nothing that
// its predecessor created.

// NotOwnedError says that the identity that provisions does not own an application
// or its service principal, so that Graph refuses to let it change the object. The
// Advice of the [Error] around it says who can add it as an owner, and how.
type NotOwnedError struct {
	Kind     string // "application" or "service principal"
	ObjectID string
	AppID    string // client ID
	Created  bool   // this call created the object a moment ago
	Err      error  // the answer of Graph; nil if Created
}

func (e *NotOwnedError) Error() string {
	text := fmt.Sprintf("the identity that provisions does not own the %s %s (client ID %s)", e.Kind, e.ObjectID, e.AppID)
	if e.Created {
		text = fmt.Sprintf("the %s %s (client ID %s) was created, but the identity that provisions does not own it", e.Kind, e.ObjectID, e.AppID)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *NotOwnedError) Unwrap() error { return e.Err }

// mayOwnOnly reports whether an identity can change only what it owns.
func mayOwnOnly(id Identity) bool {
	return slices.Contains(id.GraphRoles, ownedBy) && !slices.ContainsFunc(adminRoles, id.inForce) && !slices.Contains(id.GraphRoles, readWriteAll)
}

// inForce reports whether the identity holds a directory role and its access token
// carries it.
func (id Identity) inForce(role string) bool {
	return slices.Contains(id.Roles, role) && !slices.Contains(id.Pending, role)
}

// ownerRemedy says how an identity becomes an owner.
func ownerRemedy(id Identity, kind, appID string) string {
	who := "; adding an owner needs the Application Administrator role"
	if kind == thePrincipal {
		return "add " + describe(id) + " as an owner under Enterprise applications > Owners" + who
	}
	return fmt.Sprintf("add %s as an owner: az ad app owner add --id %s --owner-object-id %s%s", describe(id), appID, id.ObjectID, who)
}

// confirmOwned reads the owners of an object that was created a moment ago, if the
// identity can change only what it owns.
func (r *run) confirmOwned(ctx context.Context, o *object, kind string) error {
	id, err := r.identityOf(ctx, r.e.dir)
	if err != nil || !mayOwnOnly(id) {
		return nil // a later write fails if it is not owned
	}
	var read error
	err = r.await(ctx, o, "wait until the new "+kind+" shows its owner", func(ctx context.Context) (bool, error) {
		var owned bool
		owned, read = r.owned(ctx, o, id, kind)
		return owned, nil
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return err
	case read != nil && !notFound(read):
		return o.problem(Unknown, "read the owners", read)
	}
	return r.notOwned(o, id, kind, opCreate, nil)
}

// owned reports whether the identity owns an object.
func (r *run) owned(ctx context.Context, o *object, id Identity, kind string) (bool, error) {
	read, objectID := r.e.dir.ApplicationOwners, o.app.ObjectID
	if kind == thePrincipal {
		read, objectID = r.e.dir.PrincipalOwners, o.sp.ObjectID
	}
	owners, err := readOne(ctx, r, o, objectID, read)
	return slices.Contains(owners, id.ObjectID), err
}

// refusedForOwner finds out whether a write was refused because the identity does
// not own the object. nil: something else is the reason.
func (r *run) refusedForOwner(ctx context.Context, o *object, d Directory, op operation, refused error) error {
	id, err := r.identityOf(ctx, d)
	if err != nil || d != r.e.dir || o.app == nil || o.app.ObjectID == "" || !mayOwnOnly(id) {
		return nil
	}
	kinds := []string{theApplication}
	if op == opCreatePrincipal && o.sp != nil {
		kinds = []string{thePrincipal}
	}
	for _, kind := range kinds {
		if owned, err := r.owned(ctx, o, id, kind); err == nil && !owned {
			return r.notOwned(o, id, kind, op, refused)
		}
	}
	return nil
}

func (r *run) notOwned(o *object, id Identity, kind string, op operation, refused error) error {
	e := &NotOwnedError{Kind: "application", ObjectID: o.app.ObjectID, AppID: o.app.AppID, Created: refused == nil, Err: refused}
	if kind == thePrincipal {
		e.Kind, e.ObjectID = "service principal", o.sp.ObjectID
	}
	return &Error{Kind: Permanent, Op: string(op), Object: o.name, Err: e, Advice: ownerRemedy(id, kind, o.app.AppID)}
}

// ownsApplications checks that an identity owns the applications that are recorded,
// up to 20 of them. ok is false if there is nothing to check, or if no owners can be
// read.
func (r *run) ownsApplications(ctx context.Context, id Identity) (c appaccess.Check, ok bool, err error) {
	if !mayOwnOnly(id) {
		return c, false, nil
	}
	entries, err := r.e.state.all(ctx)
	if err != nil {
		return c, false, &StateError{err}
	}
	c = appaccess.Check{Name: "own the applications", OK: true}
	entries = slices.DeleteFunc(entries, func(e entry) bool {
		return e.ObjectID == "" || !e.Removed.IsZero() || e.Object != uniqueName(r.e.cfg.Instance, e.Kind, e.ID)
	})
	checked := 0
	for _, e := range entries[:min(20, len(entries))] {
		o := &object{app: &Application{ObjectID: e.ObjectID, AppID: e.AppID}}
		owned, err := r.owned(ctx, o, id, theApplication)
		switch {
		case err != nil: // deleted, or the identity may not read the owners
			continue
		case !owned:
			c.OK = false
			c.Detail = fmt.Sprintf("%s does not own the application of %s %s, which another identity created", describe(id), e.Kind, e.ID)
			c.Remedy = ownerRemedy(id, theApplication, e.AppID) + "; do the same for every other application and service principal of this instance"
			return c, true, nil
		}
		checked++
	}
	c.Detail = fmt.Sprintf("%s owns the %d applications that were checked", describe(id), checked)
	return c, checked > 0, nil
}

// principalQuota is how many objects Entra lets an identity create that holds no
// administrator's role.
const principalQuota = 250

// quota reports how near an identity is to the limit of what it may create. ok is
// false if it has no limit, or if the number of its objects cannot be read.
func (r *run) quota(ctx context.Context, id Identity) (c appaccess.Check, ok bool) {
	if !mayOwnOnly(id) {
		return c, false
	}
	n, err := readOne(ctx, r, nil, id.ObjectID, r.e.dir.CreatedObjects)
	if err != nil {
		return c, false
	}
	c = appaccess.Check{
		Name: "quota", OK: n < principalQuota,
		Detail: fmt.Sprintf("%s created %d of at most %d objects; objects deleted in the last 30 days count too, and a quarter of those of the 30 days before", describe(id), n, principalQuota),
	}
	if !c.OK {
		c.Remedy = "delete objects for good, or assign a role with microsoft.directory/applications/create to " + describe(id)
	}
	return c, true
}
