package provision

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// confirmations is how often a recorded object must be missing in a row before
// it is believed to be gone.
const confirmations = 3

// look reads what Entra shows of the objects, in batches, until it can be
// believed. What goes wrong with one object is kept in it; the error is that of
// a context that ended.
func (r *run) look(ctx context.Context, objects []*object) error {
	for _, o := range objects {
		if o.product == nil && o.client == nil && o.entry.AppID == "" {
			o.err = &Error{Kind: Permanent, Op: string(opRead), Object: o.name, Err: errors.New("has no application in Entra yet: apply it first")}
		}
	}
	r.read(ctx, objects)
	r.settle(ctx, objects)
	r.findDeleted(ctx, objects)
	for _, o := range objects {
		if !o.absent() {
			o.lost = o.lostCredentials()
		}
	}
	return context.Cause(ctx)
}

// settle reads those again that a lagging replica may have shown wrongly.
func (r *run) settle(ctx context.Context, objects []*object) {
	var b backoff
	waited := time.Duration(0)
	for try := 0; ctx.Err() == nil; try++ {
		again := slices.DeleteFunc(slices.Clone(objects), func(o *object) bool { return !r.doubtful(o, try) })
		if len(again) == 0 || r.outwaited(waited, try) {
			return
		}
		wait, _ := b.next(r.e, isLag, nil)
		b.lag = 0 // it is each object's own time that bounds this
		waited += wait
		for _, o := range again {
			r.report(appaccess.Progress{Object: o.name, Step: "confirm what was read", Attempt: try + 1, Wait: wait})
		}
		if err := r.pause(ctx, leased(again), wait); err != nil {
			if ctx.Err() == nil {
				again[0].err = err
			}
			return
		}
		r.read(ctx, again)
	}
}

// outwaited ends a wait for an object's time that does not come, because the
// clock was set back meanwhile.
func (r *run) outwaited(waited time.Duration, tries int) bool {
	return waited > r.e.cfg.LagBudget && tries >= confirmations
}

// doubtful reports whether what was read of an object is to be read again.
func (r *run) doubtful(o *object, tries int) bool {
	if o.err != nil {
		return false
	}
	lagging := o.readAt.Before(o.fresh)
	if o.vanished() && (lagging || tries < confirmations) {
		return true
	}
	return lagging && r.stale(o)
}

// vanished: what was recorded is not there.
func (o *object) vanished() bool {
	switch {
	case !o.entry.Removed.IsZero():
		return false
	case o.app == nil:
		return o.entry.ObjectID != "" || o.adopt() != ""
	}
	return o.sp == nil && o.entry.ServicePrincipalID != "" && !o.absent()
}

// stale: what was read disagrees with what we wrote a moment ago.
func (r *run) stale(o *object) bool {
	switch {
	case o.app == nil:
		return o.absent() && o.entry.ObjectID == "" // its creation may not show yet
	case !o.entry.Removed.IsZero():
		return true // its removal does not show yet
	case len(o.lostCredentials()) > 0:
		return true
	}
	if o.client != nil && o.sp != nil && !o.absent() {
		for _, g := range r.unwanted(o) {
			if !o.holds(g.ResourceID, g.RoleID) || !asksFor(o.app.RequiredAccess, g.ResourceAppID, g.RoleID) {
				return true // it is to be revoked, and must be seen for that
			}
		}
	}
	if o.lease != nil && slices.ContainsFunc(o.entry.Attempts, func(a Attempt) bool { return !o.shows(a) }) {
		return true
	}
	if !o.applied {
		return false
	}
	step, err := r.next(o)
	return step != nil || err != nil
}

// read reads once, in batches. It leaves out objects that failed.
func (r *run) read(ctx context.Context, objects []*object) {
	objects = slices.DeleteFunc(slices.Clone(objects), func(o *object) bool { return o.err != nil })
	if len(objects) == 0 {
		return
	}
	refs := make([]AppRef, len(objects))
	for i, o := range objects {
		o.readAt = r.e.cfg.Now()
		o.app, o.sp, o.assignments = nil, nil, nil
		refs[i] = o.ref()
	}
	apps, errs := readAll(ctx, r, leased(objects), refs, r.applications)
	var standing []*object
	for i, o := range objects {
		switch {
		case errs[i] == nil:
			o.app = &apps[i]
			o.hideRemoved()
			standing = append(standing, o)
		case !notFound(errs[i]):
			o.err = o.problem(Unknown, string(opRead), errs[i])
		}
		o.unsure = o.lease != nil && o.app != nil && !o.applied && o.readAt.Before(o.fresh)
		o.regrant, o.granted = o.unsure, nil
	}
	r.readFederated(ctx, standing)
	r.readPrincipals(ctx, standing)
	r.readAssignments(ctx, standing)
}

// applications reads from the directory. An identity that may see only its own
// is refused what does not exist: by a name that is ours, that is the same.
func (r *run) applications(ctx context.Context, refs []AppRef) ([]Application, []error) {
	apps, errs := r.e.dir.Applications(ctx, refs)
	for i := range refs {
		if refs[i].UniqueName != "" {
			errs[i] = unseen(errs[i])
		}
	}
	return apps, errs
}

// servicePrincipals is the same for service principals of our applications.
func (r *run) servicePrincipals(ctx context.Context, appIDs []string) ([]ServicePrincipal, []error) {
	sps, errs := r.e.dir.ServicePrincipals(ctx, appIDs)
	for i := range errs {
		errs[i] = unseen(errs[i])
	}
	return sps, errs
}

// unseen makes a refusal an absence. If it was no absence, the write that
// follows is refused as well, and says why.
func unseen(err error) error {
	var api *APIError
	if !errors.As(err, &api) || !isDenied(api) {
		return err
	}
	absent := *api
	absent.Status = http.StatusNotFound
	return &absent
}

// ref is the surest way to name the application.
func (o *object) ref() AppRef {
	switch {
	case o.entry.ObjectID != "":
		return AppRef{ObjectID: o.entry.ObjectID}
	case o.adopt() != "":
		return AppRef{AppID: o.adopt()}
	}
	return AppRef{UniqueName: o.key}
}

// readPrincipals reads service principals, but those of clients of which only
// the grants matter: reading these shows whether the service principal stands.
func (r *run) readPrincipals(ctx context.Context, objects []*object) {
	var ask []*object
	for _, o := range objects {
		if o.client != nil && o.entry.ServicePrincipalID != "" && !o.client.Disabled && !o.entry.Disabled {
			o.sp = &ServicePrincipal{ObjectID: o.entry.ServicePrincipalID, AppID: o.app.AppID, AccountEnabled: true}
			continue
		}
		ask = append(ask, o)
	}
	r.askPrincipals(ctx, ask)
}

func (r *run) askPrincipals(ctx context.Context, objects []*object) {
	ids := make([]string, len(objects))
	for i, o := range objects {
		ids[i] = o.app.AppID
	}
	sps, errs := readAll(ctx, r, leased(objects), ids, r.servicePrincipals)
	for i, o := range objects {
		switch {
		case errs[i] == nil:
			o.sp = &sps[i]
		case !notFound(errs[i]):
			o.err = o.problem(Unknown, string(opRead), errs[i])
		}
	}
}

// readAssignments reads the grants of clients. A recorded service principal
// that is not there may have been replaced, so it is asked for by its appId.
func (r *run) readAssignments(ctx context.Context, objects []*object) {
	for range 2 {
		var ask, gone []*object
		var ids []string
		for _, o := range objects {
			if o.client != nil && o.sp != nil && o.err == nil {
				ask, ids = append(ask, o), append(ids, o.sp.ObjectID)
			}
		}
		held, errs := readAll(ctx, r, leased(ask), ids, r.e.dir.Assignments)
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
		for _, o := range gone {
			o.sp = nil
		}
		r.askPrincipals(ctx, gone)
		objects = gone
	}
}

// leased is the object under whose lease a read is made; nil if it is a batch
// before any lease.
func leased(objects []*object) *object {
	if len(objects) == 1 && objects[0].lease != nil {
		return objects[0]
	}
	return nil
}

// findDeleted looks for recorded applications that are missing among the
// deleted ones. An identity that may not read those finds none.
func (r *run) findDeleted(ctx context.Context, objects []*object) {
	for _, o := range objects {
		if o.err != nil || o.app != nil || o.absent() || o.entry.ObjectID == "" {
			continue
		}
		o.deleted = r.deleted(ctx, o, AppRef{ObjectID: o.entry.ObjectID})
	}
}

func (r *run) deleted(ctx context.Context, o *object, ref AppRef) *Application {
	apps, errs := readAll(ctx, r, o, []AppRef{ref}, func(ctx context.Context, refs []AppRef) ([]Application, []error) {
		app, err := r.e.dir.DeletedApplication(ctx, refs[0])
		return []Application{app}, []error{err}
	})
	if errs[0] != nil {
		return nil
	}
	return &apps[0]
}

// holds reports whether a client's service principal has a grant.
func (o *object) holds(resourceID, roleID string) bool {
	return slices.ContainsFunc(o.assignments, func(a Assignment) bool {
		return a.ResourceID == resourceID && a.RoleID == roleID
	})
}

// lostCredentials are those of ours that the application does not show.
// Federated credentials are not part of it and are not judged.
func (o *object) lostCredentials() []appaccess.Credential {
	if o.app == nil {
		return nil
	}
	var lost []appaccess.Credential
	for _, c := range o.entry.Credentials {
		if !o.stands(c.Credential) {
			lost = append(lost, c.Credential)
		}
	}
	return lost
}

func (o *object) stands(c appaccess.Credential) bool {
	switch c.Kind {
	case appaccess.SecretCredential:
		return slices.ContainsFunc(o.app.Passwords, func(p Password) bool { return p.KeyID == c.KeyID })
	case appaccess.CertificateCredential:
		return slices.ContainsFunc(o.app.Keys, func(k KeyCredential) bool { return k.KeyID == c.KeyID })
	}
	return true
}
