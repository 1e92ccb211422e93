package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// step is one change of an object. Plan takes the words and the model, Apply
// runs it and then takes the model too: both walk the same steps.
type step struct {
	action appaccess.Action
	detail string
	op     operation
	run    func(context.Context) error // writes; may put into the object what Entra answered
	model  func()                      // puts into the object what stands after it
}

// next is the first thing that an object lacks; nil if it is in step. It
// changes nothing.
func (r *run) next(o *object) (*step, error) {
	switch {
	case o.product == nil && o.client == nil:
		return nil, nil
	case o.absent():
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

// simulate walks the steps of an object without running them.
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

// errEndless guards against a step that does not do what its model says.
var errEndless = errors.New("the steps do not come to an end")

func maxSteps(o *object) int {
	n := 20 + len(o.entry.Grants) + len(o.entry.Attempts) + len(o.entry.Credentials)
	if o.client != nil {
		n += len(o.client.Products)
	}
	return 2 * n
}

// ours refuses an application that nothing shows to be ours to change.
func (o *object) ours() error {
	adopt := o.adopt()
	switch {
	case adopt != "" && !strings.EqualFold(adopt, o.app.AppID):
		return &appaccess.ConflictError{Field: "adopt", Reason: o.name + " already has another application", Objects: []string{o.app.AppID}}
	case managedElsewhere(o.app.Tags, o.key):
		return o.problem(Permanent, "adopt the application", fmt.Errorf("%w: its tags say that another object or installation manages it", ErrNotOurs))
	case adopt == "" && o.entry.ObjectID == "" && !slices.Contains(o.app.Tags, proof(o.key)):
		return o.problem(Permanent, string(opRead), fmt.Errorf("%w: it holds the unique name %s but not our tag; adopt it by its client ID %s if it is ours", ErrNotOurs, o.key, o.app.AppID))
	}
	return nil
}

// nextCreation brings a missing application about.
func (r *run) nextCreation(o *object) (*step, error) {
	if o.deleted != nil {
		if !slices.Contains(o.deleted.Tags, proof(o.key)) {
			return nil, o.problem(Permanent, string(opRestore), ErrNotOurs)
		}
		return r.restoration(o, *o.deleted), nil
	}
	if o.adopt() != "" {
		return nil, o.problem(Permanent, "adopt the application", fmt.Errorf("the tenant has no application with the client ID %s: %w", o.adopt(), appaccess.ErrNotFound))
	}
	var patch ApplicationPatch
	detail := "application " + quoted(o.displayName()) + " (" + o.key + ")"
	if o.product != nil {
		patch = r.newProduct(o)
		detail += " with the app role " + o.product.Role
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
	var app Application
	var created bool
	err := r.write(ctx, o, r.e.dir, opCreate, func(ctx context.Context) (err error) {
		app, created, err = r.e.dir.UpsertApplication(ctx, o.key, patch)
		return err
	})
	if errors.Is(err, errHeld) {
		return r.unearth(ctx, o, err)
	}
	if err != nil {
		return err
	}
	r.wrote(o)
	if !created {
		if app, err = r.awaitApplication(ctx, o, AppRef{UniqueName: o.key}); err != nil {
			return err
		}
	}
	o.app = &app
	return r.save(ctx, o)
}

// unearth restores the deleted application that holds our name.
func (r *run) unearth(ctx context.Context, o *object, held error) error {
	var found *Application
	err := r.await(ctx, o, "look for the deleted application that holds the name", func(ctx context.Context) (bool, error) {
		if found = r.deleted(ctx, o, AppRef{UniqueName: o.key}); found != nil {
			return true, nil
		}
		// Another engine may have created or restored it meanwhile.
		_, errs := readAll(ctx, r, o, []AppRef{{UniqueName: o.key}}, r.applications)
		if errs[0] == nil {
			o.entry.ObjectID = "" // by which it was not found
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
	case !slices.Contains(found.Tags, proof(o.key)):
		return o.problem(Permanent, string(opRestore), fmt.Errorf("%w: the deleted application %s holds the unique name %s", ErrNotOurs, found.AppID, o.key))
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

// restore brings an application back, and its service principal if one is
// recorded: Entra restores each by itself. One that cannot be restored is
// created by a later step.
func (r *run) restore(ctx context.Context, o *object, deleted Application) error {
	err := r.write(ctx, o, r.e.dir, opRestore, func(ctx context.Context) error {
		return r.e.dir.Restore(ctx, deleted.ObjectID)
	})
	if err != nil {
		return err
	}
	r.wrote(o)
	app, err := r.awaitApplication(ctx, o, AppRef{ObjectID: deleted.ObjectID})
	if err != nil {
		return err
	}
	o.app, o.deleted = &app, nil
	if err := r.save(ctx, o); err != nil {
		return err
	}
	if id := o.entry.ServicePrincipalID; id != "" {
		err := r.write(ctx, o, r.e.dir, opRestore, func(ctx context.Context) error { return r.e.dir.Restore(ctx, id) })
		if err != nil && ctx.Err() != nil {
			return err
		}
	}
	r.askPrincipals(ctx, []*object{o})
	r.readAssignments(ctx, []*object{o})
	o.regrant = true // the grants may have gone with the service principal
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

// nextPrincipal brings the service principal about.
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

// changePrincipal changes the one that stands.
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
	case o.sp == nil:
		err = r.await(ctx, o, "wait until the service principal shows", func(ctx context.Context) (bool, error) {
			r.askPrincipals(ctx, []*object{o})
			return o.sp != nil, o.err
		})
	}
	return err
}

// patch changes the application that stands.
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
			o.unsure = false
		},
	}
}

func quoted(name string) string { return fmt.Sprintf("%q", name) }
