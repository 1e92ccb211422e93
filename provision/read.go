package provision

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// missingReads is how many more reads must miss a recorded object before the
// reconciler believes that it is gone.
const missingReads = 3

// look reads from Entra, in batches, until no read may be wrong because of lag. An
// error that concerns one object is kept in the object; the returned error is that
// of the context.
func (r *run) look(ctx context.Context, objects []*object) error {
	for _, o := range objects {
		if o.product == nil && o.client == nil && o.entry.AppID == "" {
			o.err = &Error{Kind: Permanent, Op: string(opRead), Object: o.name, Err: errors.New("has no application in Entra yet: apply it first")}
		}
	}
	r.read(ctx, objects)
	r.rereadStale(ctx, objects)
	r.findDeleted(ctx, objects)
	for _, o := range objects {
		if !o.toBeDeleted() {
			o.missingInEntra = o.missingCredentials()
		}
	}
	return context.Cause(ctx)
}

// rereadStale reads those objects again that a lagging replica may have shown
// wrongly.
func (r *run) rereadStale(ctx context.Context, objects []*object) {
	var b backoff
	waited := time.Duration(0)
	for try := 0; ctx.Err() == nil; try++ {
		again := slices.DeleteFunc(slices.Clone(objects), func(o *object) bool { return !r.mustReread(o, try) })
		if len(again) == 0 || r.waitedEnough(waited, try) {
			return
		}
		wait, _ := b.next(r.e, isLag, nil)
		b.lag = 0 // mustReread ends the wait, not this budget
		waited += wait
		for _, o := range again {
			r.report(appaccess.Progress{Object: o.name, Step: "confirm what was read", Attempt: try + 1, Wait: wait})
		}
		if err := r.pause(ctx, locked(again), wait); err != nil {
			if ctx.Err() == nil {
				again[0].err = err
			}
			return
		}
		r.read(ctx, again)
	}
}

// waitedEnough ends the wait for an object when the waits add up to the lag
// budget. The clock alone does not end it if it was set back.
func (r *run) waitedEnough(waited time.Duration, tries int) bool {
	return waited > r.e.cfg.LagBudget && tries >= missingReads
}

// mustReread reports whether the object must be read again, because it is missing
// or the read is stale.
func (r *run) mustReread(o *object, tries int) bool {
	if o.err != nil {
		return false
	}
	lagging := o.readAt.Before(o.lagsUntil)
	if o.isMissing() && (lagging || tries < missingReads) {
		return true
	}
	return lagging && r.isStaleRead(o)
}

// isMissing reports whether the record says that the object exists and the read
// does not show it.
func (o *object) isMissing() bool {
	switch {
	case !o.entry.Removed.IsZero():
		return false
	case o.existing():
		return o.sp == nil && !o.toBeDeleted()
	case o.app == nil:
		return o.entry.ObjectID != "" || o.adopt() != ""
	}
	return o.sp == nil && o.entry.ServicePrincipalID != "" && !o.toBeDeleted()
}

// isStaleRead reports whether the read contradicts what is recorded of recent
// writes.
func (r *run) isStaleRead(o *object) bool {
	switch {
	case o.existing():
	case o.app == nil:
		return o.toBeDeleted() && o.entry.ObjectID == "" // its creation may not show yet
	case !o.entry.Removed.IsZero():
		return true // its deletion does not show yet
	case len(o.missingCredentials()) > 0:
		return true
	}
	if o.client != nil && o.sp != nil && (!o.toBeDeleted() || o.existing()) {
		for _, g := range r.undesired(o) {
			if o.revoking(revocation{Grant: &g}) >= 0 {
				continue // its absence is expected
			}
			if !o.holds(g.ResourceID, g.RoleID) || !o.existing() && !requests(o.app.RequiredAccess, g.ResourceAppID, g.RoleID) {
				return true // it must show before it can be revoked
			}
		}
	}
	if o.lock != nil && slices.ContainsFunc(o.entry.PendingCredentials, func(a pendingCredential) bool { return !o.shows(a) }) {
		return true
	}
	if !o.inSync {
		return false
	}
	step, err := r.next(o)
	return step != nil || err != nil
}

// read reads the objects once, in batches. It leaves out objects that have an
// error.
func (r *run) read(ctx context.Context, objects []*object) {
	var own, existing []*object
	for _, o := range objects {
		o.readAt = r.e.cfg.Now()
		switch {
		case o.err != nil:
			continue
		case o.existing():
			existing = append(existing, o)
		default:
			own = append(own, o)
		}
		o.app, o.sp, o.assignments, o.federated, o.granted, o.recreated = nil, nil, nil, nil, nil, ""
	}
	r.readApplications(ctx, own)
	r.readExisting(ctx, existing)
	r.readAssignments(ctx, existing)
	for _, o := range existing {
		r.recoverObject(ctx, o)
	}
}

// readApplications reads the applications that are not existing service
// principals, with their federated credentials, service principals and grants.
func (r *run) readApplications(ctx context.Context, objects []*object) {
	refs := make([]AppRef, len(objects))
	for i, o := range objects {
		refs[i] = o.ref()
	}
	apps, errs := readAll(ctx, r, locked(objects), refs, r.applications)
	var existing, orphans []*object // orphans: the service principal may exist without an application
	for i, o := range objects {
		switch {
		case errs[i] == nil:
			o.app = &apps[i]
			r.hideRemoved(o)
			existing = append(existing, o)
		case !notFound(errs[i]):
			o.err = o.problem(Unknown, string(opRead), errs[i])
		case o.toBeDeleted() && o.revoking(revocation{Object: thePrincipal}) >= 0 && o.entry.AppID != "":
			orphans = append(orphans, o)
		}
		o.rewriteApp = o.lock != nil && o.app != nil && !o.inSync && o.readAt.Before(o.lagsUntil)
		o.rewriteGrants = o.rewriteApp
	}
	r.readFederated(ctx, existing)
	r.readPrincipals(ctx, existing)
	r.readPrincipalsByAppID(ctx, orphans)
	r.readAssignments(ctx, existing)
	for _, o := range existing {
		r.recoverObject(ctx, o)
	}
	r.findManagers(ctx, existing)
}

// applications reads from the directory. With the right OwnedBy, Graph answers 403
// for a name that does not exist; for our unique names that means "not found".
func (r *run) applications(ctx context.Context, refs []AppRef) ([]Application, []error) {
	apps, errs := r.e.dir.Applications(ctx, refs)
	for i := range refs {
		if refs[i].UniqueName != "" {
			errs[i] = deniedAsNotFound(errs[i])
		}
	}
	return apps, errs
}

// servicePrincipals reads service principals of our applications. It also takes
// 403 for "not found".
func (r *run) servicePrincipals(ctx context.Context, refs []PrincipalRef) ([]ServicePrincipal, []error) {
	sps, errs := r.e.dir.ServicePrincipals(ctx, refs)
	for i := range errs {
		errs[i] = deniedAsNotFound(errs[i])
	}
	return sps, errs
}

// deniedAsNotFound reports a 403 as "not found": with OwnedBy rights Graph answers
// 403 for objects that do not exist and for objects of other owners. If the object
// exists, the next write fails with 403 too and names the missing right.
func deniedAsNotFound(err error) error {
	var api *APIError
	if !errors.As(err, &api) || !isDenied(api) {
		return err
	}
	absent := *api
	absent.Status = http.StatusNotFound
	return &absent
}

// ref names the application by its object ID, else by the client ID to adopt, else
// by its unique name.
func (o *object) ref() AppRef {
	switch {
	case o.entry.ObjectID != "":
		return AppRef{ObjectID: o.entry.ObjectID}
	case o.adopt() != "":
		return AppRef{AppID: o.adopt()}
	}
	return AppRef{UniqueName: o.key}
}

// readPrincipals reads service principals. It skips enabled clients whose service
// principal is recorded: readAssignments finds out whether that exists.
func (r *run) readPrincipals(ctx context.Context, objects []*object) {
	var ask []*object
	for _, o := range objects {
		if !r.inspect && o.client != nil && o.entry.ServicePrincipalID != "" && !o.client.Disabled && !o.entry.Disabled {
			o.sp = &ServicePrincipal{ObjectID: o.entry.ServicePrincipalID, AppID: o.app.AppID, AccountEnabled: true}
			continue
		}
		ask = append(ask, o)
	}
	r.readPrincipalsByAppID(ctx, ask)
}

func (r *run) readPrincipalsByAppID(ctx context.Context, objects []*object) {
	refs := make([]PrincipalRef, len(objects))
	for i, o := range objects {
		refs[i].AppID = o.entry.AppID
		if o.app != nil {
			refs[i].AppID = o.app.AppID
		}
	}
	sps, errs := readAll(ctx, r, locked(objects), refs, r.servicePrincipals)
	for i, o := range objects {
		switch {
		case errs[i] == nil:
			o.sp = &sps[i]
		case !notFound(errs[i]):
			o.err = o.problem(Unknown, string(opRead), errs[i])
		}
	}
}

// readAssignments reads the grants of clients. If a recorded service principal is
// missing, it reads the service principal by the client ID, because somebody may
// have replaced it.
func (r *run) readAssignments(ctx context.Context, objects []*object) {
	for range 2 {
		var ask, gone []*object
		var ids []string
		for _, o := range objects {
			if o.client != nil && o.sp != nil && o.err == nil {
				ask, ids = append(ask, o), append(ids, o.sp.ObjectID)
			}
		}
		held, errs := readAll(ctx, r, locked(ask), ids, r.e.dir.Assignments)
		for i, o := range ask {
			switch {
			case errs[i] == nil:
				o.assignments = held[i]
			case notFound(errs[i]):
				gone = append(gone, o)
			default:
				o.err = o.problem(Unknown, string(opRead), errs[i])
			}
		}
		gone = slices.DeleteFunc(gone, func(o *object) bool {
			o.sp = nil
			return o.existing() // another service principal is another client
		})
		r.readPrincipalsByAppID(ctx, gone)
		objects = gone
	}
}

// locked is the object whose lock must be kept while objects are read; nil for a
// batch that is read without a lock.
func locked(objects []*object) *object {
	if len(objects) == 1 && objects[0].lock != nil {
		return objects[0]
	}
	return nil
}

// findDeleted looks among the soft-deleted applications for recorded ones that are
// missing. An identity that may not read soft-deleted applications finds none.
func (r *run) findDeleted(ctx context.Context, objects []*object) {
	for _, o := range objects {
		if o.err != nil || o.app != nil || o.toBeDeleted() || o.entry.ObjectID == "" {
			continue
		}
		o.softDeleted = r.deletedApplication(ctx, o, AppRef{ObjectID: o.entry.ObjectID})
	}
}

func (r *run) deletedApplication(ctx context.Context, o *object, ref AppRef) *Application {
	app, err := readOne(ctx, r, o, ref, r.e.dir.DeletedApplication)
	if err != nil {
		return nil
	}
	return &app
}

// holds reports whether a client's service principal has a grant.
func (o *object) holds(resourceID, roleID string) bool {
	return slices.ContainsFunc(o.assignments, func(a Assignment) bool {
		return a.ResourceID == resourceID && a.RoleID == roleID
	})
}

// missingCredentials are the delivered credentials that the application does not
// show, or shows changed.
func (o *object) missingCredentials() []appaccess.Credential {
	if o.app == nil {
		return nil
	}
	var lost []appaccess.Credential
	for _, c := range o.entry.Credentials {
		if !o.hasCredential(c.Credential) {
			lost = append(lost, c.Credential)
		}
	}
	return lost
}

func (o *object) hasCredential(c appaccess.Credential) bool {
	switch c.Kind {
	case appaccess.SecretCredential:
		return slices.ContainsFunc(o.app.Passwords, func(p Password) bool { return p.KeyID == c.KeyID })
	case appaccess.CertificateCredential:
		return slices.ContainsFunc(o.app.Keys, func(k KeyCredential) bool { return k.KeyID == c.KeyID })
	}
	// Somebody may have changed whom a federated credential trusts.
	return slices.ContainsFunc(o.federated, func(f FederatedCredential) bool {
		return f.ID == c.KeyID && f.Issuer == c.Issuer && f.Subject == c.Subject && slices.Equal(f.Audiences, []string{c.Audience})
	})
}
