package appaccess

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// reconcileAll does what reconcile does. If a change concerns too many objects to
// name, it finishes the change's task and reconciles everything that is pending.
func (s *Service) reconcileAll(ctx context.Context, objects Objects, many bool) error {
	if !many {
		return s.reconcile(ctx, objects)
	}
	return errors.Join(s.finishTasks(ctx), s.reconcilePending(ctx))
}

// reconcile makes Entra match the store for each given object that is pending.
func (s *Service) reconcile(ctx context.Context, objects Objects) error {
	if len(objects.Applications) > syncChunk { // each part includes the products that it needs
		var errs []error
		for some := range slices.Chunk(objects.Applications, syncChunk) {
			errs = append(errs, s.reconcile(ctx, Objects{Applications: some}))
		}
		return errors.Join(append(errs, s.reconcile(ctx, Objects{Products: objects.Products}))...)
	}
	var pending Objects
	err := s.store.View(ctx, func(r Reader) error {
		pending = Objects{}
		for _, id := range objects.Products {
			if err := pending.addProduct(r, id); err != nil {
				return err
			}
		}
		for _, id := range objects.Applications {
			a, err := find[ClientApplication](r, id)
			if err != nil || !a.Sync.Pending {
				if ignoreNotFound(err) != nil {
					return err
				}
				continue
			}
			for _, product := range a.Grants.Products() { // granted products must exist in Entra first
				if err := pending.addProduct(r, product); err != nil {
					return err
				}
			}
			pending.Applications = addID(pending.Applications, id)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("appaccess: read which objects are pending: %w", err)
	}
	_, err = s.apply(ctx, pending, nil, nil)
	return err
}

// addProduct adds a product if it is pending.
func (o *Objects) addProduct(r Reader, id string) error {
	p, err := find[Product](r, id)
	if err == nil && p.Sync.Pending {
		o.Products = addID(o.Products, id)
	}
	return ignoreNotFound(err)
}

// apply makes the Provisioner reconcile objects. It returns how many are in sync, and
// adds credentials that Entra no longer has to missing, if missing is not nil. The
// error joins one ProvisionError for each object that failed.
func (s *Service) apply(ctx context.Context, objects Objects, progress func(Progress), missing map[string][]Credential) (int, error) {
	if objects.empty() {
		return 0, nil
	}
	if s.entra == nil {
		return 0, objects.failed(errNoEntra())
	}
	done, err := s.entra.Apply(ctx, objects, desiredState{s}, progress)
	if missing != nil {
		maps.Copy(missing, done.MissingInEntra)
	}
	if err != nil && len(done.Failed) == 0 {
		return 0, objects.failed(err)
	}
	var failed []error
	for _, object := range slices.Sorted(maps.Keys(done.Failed)) {
		failed = append(failed, &ProvisionError{Object: object, Err: done.Failed[object]})
		s.log.WarnContext(ctx, "object not in sync with Entra", "object", object, "error", done.Failed[object])
		s.telemetry.failed.Add(ctx, 1)
	}
	return len(objects.Products) + len(objects.Applications) - len(failed), errors.Join(failed...)
}

// failed returns one ProvisionError for each object.
func (o Objects) failed(err error) error {
	var errs []error
	for _, id := range o.Products {
		errs = append(errs, &ProvisionError{Object: productObject(id), Err: err})
	}
	for _, id := range o.Applications {
		errs = append(errs, &ProvisionError{Object: applicationObject(id), Err: err})
	}
	return errors.Join(errs...)
}

// desiredState is the [DesiredState] of a Service. The Provisioner calls its
// methods in transactions of the Service's store.
type desiredState struct{ s *Service }

func (d desiredState) Product(r Reader, id string) (DesiredProduct, error) {
	p, rev, err := versioned[Product](r, id)
	if errors.Is(err, ErrNotFound) {
		return DesiredProduct{ID: id, Deleted: true}, nil
	}
	want := d.s.desiredProduct(&p)
	want.Revision, want.Pending, want.Recorded = rev, p.Sync.Pending, p.Entra
	return want, err
}

func (d desiredState) Application(r Reader, id string) (DesiredApplication, error) {
	a, rev, err := versioned[ClientApplication](r, id)
	if errors.Is(err, ErrNotFound) {
		return DesiredApplication{ID: id, Deleted: true}, nil
	}
	if err != nil {
		return DesiredApplication{}, err
	}
	want, err := d.s.desiredApplication(&look{Reader: r}, &a)
	want.Revision, want.Pending, want.Recorded = rev, a.Sync.Pending, a.Entra
	return want, err
}

func (d desiredState) RecordProduct(w Writer, id string, got ProductApplication, o Outcome) error {
	e, err := d.s.edit(w, Actor{})
	if err != nil {
		return err
	}
	p, rev, err := versioned[Product](e, id)
	if err != nil {
		return ignoreNotFound(err)
	}
	before := p
	if got.ObjectID != "" {
		p.Entra = got
	}
	p.Sync = o.sync(p.Sync, rev, e.now)
	if !p.Sync.Pending {
		p.Adopt, p.AdoptChanges = "", AdoptChanges{}
		if busy, err := e.hasTask(KindProduct, id); p.Deleted && (err != nil || !busy) {
			return firstError(err, e.w.Delete(KindProduct, id))
		}
		if !p.Access.Token { // the task of a deleted product deletes the record
			p.Entra = ProductApplication{}
		}
	}
	if unchanged(before.Sync, p.Sync) && p.Entra.Equal(before.Entra) && p.Adopt == before.Adopt {
		return nil // a full Sync must not rewrite the store
	}
	return write(e, &p)
}

func (d desiredState) RecordApplication(w Writer, id string, got ApplicationRegistration, o Outcome) error {
	e, err := d.s.edit(w, Actor{})
	if err != nil {
		return err
	}
	a, rev, err := versioned[ClientApplication](e, id)
	if err != nil {
		return ignoreNotFound(err)
	}
	before := a
	if got != (ApplicationRegistration{}) {
		a.Entra = got
	}
	a.Sync = o.sync(a.Sync, rev, e.now)
	if !a.Sync.Pending {
		a.Adopt, a.AdoptChanges = "", AdoptChanges{}
		if a.Deleted {
			return e.forgetApplication(id)
		}
	}
	a.settle()
	if unchanged(before.Sync, a.Sync) && a.Entra == before.Entra && a.State == before.State && a.Adopt == before.Adopt {
		return nil
	}
	return write(e, &a)
}

// sync returns the Sync of an object after a reconciliation. An object whose record
// was written since it was read stays pending, because Entra may match an older
// desired state.
func (o Outcome) sync(before Sync, now Revision, at time.Time) Sync {
	switch {
	case o.Err != nil:
		return Sync{Pending: true, Unconfirmed: o.Unconfirmed, At: at, Error: shorten(o.Err.Error(), 500)}
	case now == o.Revision:
		return Sync{Unconfirmed: o.Unconfirmed, At: at}
	}
	before.Pending, before.Unconfirmed = true, o.Unconfirmed
	return before
}

// versioned reads an entity with the revision of its record.
func versioned[T entity](r Reader, id string) (T, Revision, error) {
	v, err := find[T](r, id)
	if err != nil {
		return v, 0, err
	}
	rec, err := r.Get(kindOf[T](), id)
	return v, rec.Revision, err
}

// unchanged reports whether two states differ only in the time.
func unchanged(before, after Sync) bool {
	before.At, after.At = time.Time{}, time.Time{}
	return before == after
}

func productObject(id string) string     { return "product " + id }
func applicationObject(id string) string { return "application " + id }

func addID(list []string, id string) []string {
	if slices.Contains(list, id) {
		return list
	}
	return append(list, id)
}
