package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// step is one change of an object. Apply calls run and then model. Plan calls
// model alone, so both take the same steps.
type step struct {
	action appaccess.Action
	detail string
	op     operation
	run    func(context.Context) error // writes; may store the answer in the object
	model  func()                      // applies the change to the object
}

// next returns the first missing step of an object; nil: the object is in sync. It
// changes nothing. The package documentation lists the states and their steps.
func (r *run) next(o *object) (*step, error) {
	switch {
	case o.product == nil && o.client == nil:
		return nil, nil
	case o.existing():
		return r.nextOfExisting(o)
	case o.toBeDeleted():
		return r.nextRemoval(o), nil
	case o.app == nil:
		return r.nextCreation(o)
	}
	if err := o.ours(); err != nil {
		return nil, err
	}
	if o.product != nil {
		return r.nextOfProduct(o), nil
	}
	return r.nextOfClient(o)
}

// simulate returns the steps of an object without running them.
func (r *run) simulate(o *object) ([]appaccess.Step, error) {
	var steps []appaccess.Step
	for range maxSteps(o) {
		if o.err != nil {
			return steps, o.err
		}
		s, err := r.next(o)
		if s == nil || err != nil {
			return steps, err
		}
		steps = append(steps, appaccess.Step{Action: s.action, Object: o.name, Detail: s.detail})
		s.model()
	}
	return steps, errEndless
}

// errEndless means that a step does not do what its model says.
var errEndless = errors.New("the steps do not come to an end")

func maxSteps(o *object) int {
	n := 20 + len(o.entry.Grants) + len(o.entry.PendingCredentials) + len(o.entry.Credentials)
	if o.client != nil {
		for _, g := range o.client.Grants {
			n += len(g.Permissions)
		}
	}
	return 2 * n
}

// ours returns an error if nothing proves that the application is ours to change.
func (o *object) ours() error {
	adopt := o.adopt()
	switch {
	case adopt != "" && !strings.EqualFold(adopt, o.app.AppID):
		return &appaccess.ConflictError{Field: "adopt", Reason: o.name + " already has another application", Objects: []string{o.app.AppID}}
	case o.managedBy != "":
		return o.problem(Permanent, "adopt the application", fmt.Errorf("%w: %s of this installation manages %s (client ID %s); give it up there first", ErrNotOurs, o.managedBy, quoted(o.app.DisplayName), o.app.AppID))
	case managedElsewhere(o.app.Tags, o.key):
		return o.problem(Permanent, "adopt the application", fmt.Errorf("%w: its tags say that another object or installation manages it", ErrNotOurs))
	case o.proved(o.app):
		return nil
	case adopt != "" && o.entry.ObjectID == "" && tagged(o.app.Tags, proofTag) == "":
		return nil // the operator asked for the adoption, and nobody manages the application
	}
	return o.notOurs(o.app, false)
}

// nextCreation restores or creates a missing application.
func (r *run) nextCreation(o *object) (*step, error) {
	if o.softDeleted != nil {
		if !o.proved(o.softDeleted) {
			return nil, o.notOurs(o.softDeleted, true)
		}
		return r.restoration(o, *o.softDeleted), nil
	}
	if o.adopt() != "" {
		return nil, o.problem(Permanent, "adopt the application", fmt.Errorf("the tenant has no application with the client ID %s: %w", o.adopt(), appaccess.ErrNotFound))
	}
	var patch ApplicationPatch
	detail := "application " + quoted(o.displayName()) + " (" + o.key + ")"
	if o.product != nil {
		patch = r.newProduct(o)
		detail += " with the app roles " + roleValues(o.product.Roles)
	} else {
		patch = r.newClient(o)
	}
	return &step{
		action: appaccess.ActionCreate, detail: detail, op: opCreate,
		run: func(ctx context.Context) error { return r.create(ctx, o, patch) },
		model: func() {
			if o.app == nil {
				o.app = &Application{AppID: "<appId>", UniqueName: o.key}
				patch.apply(o.app)
			}
		},
	}, nil
}

func (r *run) create(ctx context.Context, o *object, patch ApplicationPatch) error {
	if o.entry.ObjectID != "" && !o.entry.Replacing {
		// The nonce of the application that is gone was public: it proves nothing.
		o.entry.Replacing, o.entry.Nonce = true, newNonce()
		if err := r.save(ctx, o); err != nil {
			return err
		}
		patch.Tags = ptr(mergeTags(nil, o.tags()...))
	}
	var app Application
	err := r.write(ctx, o, r.e.dir, opCreate, func(ctx context.Context) (err error) {
		app, err = r.e.dir.CreateApplication(ctx, patch)
		return err
	})
	if errors.Is(err, errHeld) {
		return r.restoreByName(ctx, o, err)
	}
	if err != nil {
		return err
	}
	r.wrote(o)
	o.app = &app
	if err := r.save(ctx, o); err != nil {
		return err
	}
	return r.confirmOwned(ctx, o, theApplication)
}

// restoreByName restores the soft-deleted application that reserves our unique
// name.
func (r *run) restoreByName(ctx context.Context, o *object, held error) error {
	if restored, err := r.restoreRecorded(ctx, o); restored || err != nil {
		return err
	}
	var found *Application
	err := r.await(ctx, o, "look for the deleted application that holds the name", func(ctx context.Context) (bool, error) {
		if found = r.deletedApplication(ctx, o, AppRef{UniqueName: o.key}); found != nil {
			return true, nil
		}
		// Another Reconciler may have created or restored it meanwhile.
		_, errs := readAll(ctx, r, o, []AppRef{{UniqueName: o.key}}, r.applications)
		if errs[0] == nil {
			if o.entry.ObjectID != "" { // a read by this ID did not find it
				o.entry.ObjectID = ""
				if !o.entry.Replacing {
					o.entry.Nonce = ""
				}
			}
			return false, errors.Join(errStale, held)
		}
		return false, context.Cause(ctx)
	})
	switch {
	case errors.Is(err, errStale):
		return err
	case ctx.Err() != nil:
		return o.problem(Unknown, string(opCreate), context.Cause(ctx))
	case found == nil:
		return &Error{
			Kind: Permanent, Op: string(opCreate), Object: o.name, Err: errors.Join(ErrNameHeld, held),
			Advice: "delete it for good or restore it under Microsoft Entra ID > App registrations > Deleted applications; reading those needs the Application Administrator role",
		}
	case !o.proved(found):
		return o.notOurs(found, true)
	}
	return r.restore(ctx, o, *found)
}

func (r *run) restoration(o *object, deleted Application) *step {
	return &step{
		action: appaccess.ActionRestore, op: opRestore,
		detail: "application " + quoted(deleted.DisplayName) + " (client ID " + deleted.AppID + "), which was deleted",
		run:    func(ctx context.Context) error { return r.restore(ctx, o, deleted) },
		model: func() {
			if o.app == nil {
				o.app = &deleted
			}
		},
	}
}

// restoreRecorded restores the application by its recorded object ID. The record
// proves that the application is ours, which matters because an identity with
// Application.ReadWrite.OwnedBy may not read soft-deleted objects. It returns
// false if no such application exists.
func (r *run) restoreRecorded(ctx context.Context, o *object) (restored bool, err error) {
	id := o.entry.ObjectID
	if id == "" {
		return false, nil
	}
	err = bounded(ctx, func(ctx context.Context) error { return r.e.dir.Restore(ctx, id) })
	var api *APIError
	switch {
	case err == nil:
		return true, r.restored(ctx, o, id)
	case errors.As(err, &api) && isDenied(api):
		denied := &RestoreDeniedError{ObjectID: id, Err: err}
		if !o.entry.Removed.IsZero() {
			denied.NameFree = o.entry.Removed.Add(deletedItemsKept)
		}
		return false, &Error{
			Kind: Permanent, Op: string(opRestore), Object: o.name, Err: denied,
			Advice: "assign one of these roles to " + r.caller(ctx, r.e.dir) + ", or let one of their holders restore the application under Microsoft Entra ID > App registrations > Deleted applications",
		}
	}
	return false, nil
}

// restore restores a soft-deleted application.
func (r *run) restore(ctx context.Context, o *object, deleted Application) error {
	err := r.write(ctx, o, r.e.dir, opRestore, func(ctx context.Context) error {
		return r.e.dir.Restore(ctx, deleted.ObjectID)
	})
	if err != nil {
		return err
	}
	return r.restored(ctx, o, deleted.ObjectID)
}

// restored reads the restored application and restores its recorded service
// principal, which Entra does not restore with it. If that fails, a later step
// creates a service principal.
func (r *run) restored(ctx context.Context, o *object, objectID string) error {
	r.wrote(o)
	app, err := r.awaitApplication(ctx, o, AppRef{ObjectID: objectID})
	if err != nil {
		return err
	}
	o.app, o.softDeleted = &app, nil
	r.recoverObject(ctx, o)
	if err := r.save(ctx, o); err != nil {
		return err
	}
	if id := o.entry.ServicePrincipalID; id != "" {
		err := r.write(ctx, o, r.e.dir, opRestore, func(ctx context.Context) error { return r.e.dir.Restore(ctx, id) })
		if err != nil && ctx.Err() != nil {
			return err
		}
	}
	r.readPrincipalsByAppID(ctx, []*object{o})
	r.readAssignments(ctx, []*object{o})
	r.recoverObject(ctx, o)
	o.rewriteGrants = true // the service principal may have lost its grants
	return o.err
}

func (r *run) awaitApplication(ctx context.Context, o *object, ref AppRef) (Application, error) {
	var app Application
	err := r.await(ctx, o, "wait until the application shows", func(ctx context.Context) (bool, error) {
		apps, errs := readAll(ctx, r, o, []AppRef{ref}, r.applications)
		if notFound(errs[0]) {
			return false, nil
		}
		app = apps[0]
		return errs[0] == nil, errs[0]
	})
	return app, err
}

// nextPrincipal creates the service principal.
func (r *run) nextPrincipal(o *object, detail string, patch ServicePrincipalPatch) *step {
	return &step{
		action: appaccess.ActionCreate, detail: detail, op: opCreatePrincipal,
		run: func(ctx context.Context) error { return r.upsertPrincipal(ctx, o, patch) },
		model: func() {
			if o.sp == nil {
				o.sp = &ServicePrincipal{ObjectID: "<new>", AppID: o.app.AppID, AccountEnabled: true}
			}
			patch.apply(o.sp)
		},
	}
}

// changePrincipal changes the service principal.
func (r *run) changePrincipal(o *object, detail string, patch ServicePrincipalPatch) *step {
	s := r.nextPrincipal(o, detail, patch)
	s.action = appaccess.ActionChange
	return s
}

func (r *run) upsertPrincipal(ctx context.Context, o *object, patch ServicePrincipalPatch) error {
	var sp ServicePrincipal
	var created bool
	err := r.write(ctx, o, r.e.dir, opCreatePrincipal, func(ctx context.Context) (err error) {
		sp, created, err = r.e.dir.UpsertServicePrincipal(ctx, o.app.AppID, patch)
		return err
	})
	if err != nil {
		return err
	}
	r.wrote(o)
	switch {
	case created:
		o.sp, o.assignments = &sp, nil
		err = r.confirmOwned(ctx, o, thePrincipal)
	case o.sp == nil:
		err = r.await(ctx, o, "wait until the service principal shows", func(ctx context.Context) (bool, error) {
			r.readPrincipalsByAppID(ctx, []*object{o})
			return o.sp != nil, o.err
		})
	}
	return err
}

// patch changes the application.
func (r *run) patch(o *object, action appaccess.Action, words []string, patch ApplicationPatch) *step {
	return &step{
		action: action, detail: strings.Join(words, "; "), op: opPatch,
		run: func(ctx context.Context) error {
			err := r.write(ctx, o, r.e.dir, opPatch, func(ctx context.Context) error {
				return r.e.dir.PatchApplication(ctx, o.app.ObjectID, patch)
			})
			if err == nil {
				r.wrote(o)
			}
			return err
		},
		model: func() {
			patch.apply(o.app)
			o.rewriteApp = false
		},
	}
}

func quoted(name string) string { return fmt.Sprintf("%q", name) }
