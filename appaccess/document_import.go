package appaccess

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// ImportRequest says how a document is imported.
type ImportRequest struct {
	// Prune deletes the objects that a section of the document does not hold.
	Prune bool
	// Progress, if not nil, receives what each transaction did, after its commit. The
	// report of Import is then empty, so that the memory needed does not grow with
	// the document. Import waits for Progress.
	Progress func(ImportReport)
}

// ImportReport says what an import did.
type ImportReport struct {
	Differences []Difference
	// Subscriptions are the created subscriptions, with the keys that the document
	// did not bring. They cannot be read again.
	Subscriptions []IssuedSubscription
}

// maxRefused is the number of refusals after which a long import stops.
const maxRefused = 1000

// Import makes the configuration match a document. The rules of the single methods
// apply, except that a product may be granted or subscribed to before it is
// published: such states exist. Objects that the document removes are removed as by
// force. Entra is reconciled after that. For managers only.
//
// If at most 50 objects differ, Import is one transaction: it stores all of them or,
// after any error but a [*ProvisionError], none. If more differ, it stores 20 at a
// time, so that other transactions do not wait long; objects that others refer to
// come first. Each transaction leaves a valid configuration, but the whole is not
// atomic: others see the objects appear, and an interrupted import keeps what it
// stored. Import tries a refused object again after the others. If the object is
// still refused, the error says why, and all else is imported. To continue, import
// the document again: that writes only what still differs.
//
// The report contains what was committed, also after an error.
func (s *Service) Import(ctx context.Context, by Actor, source DocumentSource, req ImportRequest) (ImportReport, error) {
	run, err := s.newImport(ctx, by, source, req)
	if err != nil {
		return ImportReport{}, err
	}
	next, stop := iter.Pull2(run.differing(ctx, nil))
	defer stop()
	batch, more, err := take(next, nil, atOnce+1)
	if err != nil {
		return ImportReport{}, err
	}
	if !more {
		behind, many, err := run.commit(ctx, batch)
		if err != nil {
			return ImportReport{}, err
		}
		return run.report, s.reconcileAll(ctx, behind, many)
	}
	err = run.all(ctx, batch, next)
	return run.report, errors.Join(err, s.reconcileAll(ctx, Objects{}, true))
}

func (s *Service) newImport(ctx context.Context, by Actor, source DocumentSource, req ImportRequest) (*importRun, error) {
	if err := s.view(ctx, by, (*look).onlyManager); err != nil {
		return nil, err
	}
	sections, err := source.sections()
	return &importRun{s: s, by: by, req: req, sections: sections}, err
}

// importRun is one import.
type importRun struct {
	s        *Service
	by       Actor
	req      ImportRequest
	sections documentSections
	report   ImportReport
	// These are reset in each round.
	committed bool
	refused   []error
	again     map[Kind]bool // the kinds of refused objects
}

// all imports what next yields. It tries the refused objects again as long as that
// makes progress.
func (r *importRun) all(ctx context.Context, batch []differing, next func() (differing, error, bool)) error {
	for {
		r.committed, r.refused, r.again = false, nil, map[Kind]bool{}
		for more := true; more || len(batch) > 0; {
			var err error
			if batch, more, err = take(next, batch, inTurn); err == nil {
				n := min(len(batch), inTurn)
				err = r.some(ctx, batch[:n])
				batch = batch[n:]
			}
			if err != nil {
				return errors.Join(append(r.refused, err)...)
			}
		}
		if len(r.refused) == 0 || !r.committed {
			return errors.Join(r.refused...)
		}
		var stop func()
		next, stop = iter.Pull2(r.differing(ctx, r.again))
		defer stop()
	}
}

// take adds objects from next to a batch until the batch has n objects. more is false
// after the last one.
func take(next func() (differing, error, bool), batch []differing, n int) (filled []differing, more bool, err error) {
	for len(batch) < n {
		d, err, ok := next()
		if err != nil || !ok {
			return batch, false, err
		}
		batch = append(batch, d)
	}
	return batch, true, nil
}

// differing yields the objects that differ, of some kinds or, if kinds is nil, of
// all. Objects that others refer to come first. Users and APIs to be deleted come
// last, when nothing refers to them.
func (r *importRun) differing(ctx context.Context, kinds map[Kind]bool) iter.Seq2[differing, error] {
	place := comparison{s: r.s, by: r.by, sections: r.sections}
	both := place
	both.prune = r.req.Prune
	return func(yield func(differing, error) bool) {
		for _, step := range []struct {
			kind Kind
			comparison
			deletes bool
		}{
			{KindUser, place, false}, {KindAPI, place, false},
			{KindProduct, both, true}, {KindApplication, both, true}, {KindSubscription, both, true},
			{KindAPI, both, true}, {KindUser, both, true},
		} {
			last := step.deletes && (step.kind == KindAPI || step.kind == KindUser)
			if kinds != nil && !kinds[step.kind] || last && !r.req.Prune {
				continue
			}
			for d, err := range step.of(ctx, step.kind) {
				if last && err == nil && d.Change != DiffDelete {
					continue // placed or refused before
				}
				if !yield(d, err) || err != nil {
					return
				}
			}
		}
	}
}

// some imports a few objects. If they are refused together, it imports each half by
// itself.
func (r *importRun) some(ctx context.Context, batch []differing) error {
	if len(batch) == 0 {
		return nil
	}
	_, _, err := r.commit(ctx, batch)
	var invalid *InvalidError
	var conflict *ConflictError
	switch {
	case err == nil:
		r.committed = true
		return nil
	case !errors.As(err, &invalid) && !errors.As(err, &conflict):
		return err
	case len(batch) == 1:
		r.refused, r.again[batch[0].Kind] = append(r.refused, err), true
		if len(r.refused) == maxRefused {
			return fmt.Errorf("the import was given up after %d refusals", maxRefused)
		}
		return nil
	}
	half := len(batch) / 2
	if err := r.some(ctx, batch[:half]); err != nil {
		return err
	}
	return r.some(ctx, batch[half:])
}

// commit imports some objects in one transaction. It returns the objects to reconcile
// in Entra, and whether a task is left.
func (r *importRun) commit(ctx context.Context, batch []differing) (behind Objects, many bool, err error) {
	var report ImportReport
	err = r.s.manage(ctx, r.by, func(e *edit) error {
		im := &importer{edit: e, batch: batch}
		if err := im.run(); err != nil {
			return err
		}
		report, behind, many = im.report, im.behind, im.many
		return nil
	})
	if err != nil || len(batch) == 0 {
		return Objects{}, false, err
	}
	for _, d := range batch {
		report.Differences = append(report.Differences, d.Difference)
	}
	if r.req.Progress != nil {
		r.req.Progress(report)
		return behind, many, nil
	}
	r.report.Differences = append(r.report.Differences, report.Differences...)
	r.report.Subscriptions = append(r.report.Subscriptions, report.Subscriptions...)
	return behind, many, nil
}

// importer imports some objects within one transaction.
type importer struct {
	*edit
	batch  []differing
	report ImportReport
	behind Objects
	many   bool // a task was added
	// The placed objects, which are verified when all are placed.
	products      []Product
	applications  []ClientApplication
	subscriptions []Subscription
}

// run deletes first, because that frees names and paths for the new objects. Objects
// that others refer to are placed first and deleted last.
func (im *importer) run() error {
	if err := im.read(); err != nil {
		return err
	}
	for _, kind := range []Kind{KindSubscription, KindApplication, KindProduct, KindAPI, KindUser} {
		if err := im.each(kind, true, func(d differing) error { return im.remove(d.Kind, d.ID) }); err != nil {
			return err
		}
	}
	for _, kind := range []Kind{KindUser, KindAPI, KindProduct, KindApplication, KindSubscription} {
		if err := im.each(kind, false, func(d differing) error { return d.place(im) }); err != nil {
			return err
		}
	}
	return im.verify()
}

// read reads all objects at once. To read each when it is due would take a round trip to
// the database for each.
func (im *importer) read() error {
	ids := map[Kind][]string{}
	for _, d := range im.batch {
		ids[d.Kind] = append(ids[d.Kind], d.ID)
	}
	for kind, ids := range ids {
		if _, err := im.w.Find(kind, "", ids); err != nil {
			return err
		}
	}
	return nil
}

// each calls fn with the objects of a kind that must be deleted, or with the others.
func (im *importer) each(kind Kind, deleted bool, fn func(differing) error) error {
	for _, d := range im.batch {
		if d.Kind != kind || (d.Change == DiffDelete) != deleted {
			continue
		}
		if err := fn(d); err != nil {
			return within(string(kind)+" "+d.ID, err)
		}
	}
	return nil
}

func firstOf(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes an object and what depends on it, as by force.
func (im *importer) remove(kind Kind, id string) error {
	if _, err := im.Get(kind, id); err != nil {
		return ignoreNotFound(err) // another call deleted it meanwhile
	}
	switch kind {
	case KindSubscription:
		return im.dropSubscriptions(id)
	case KindApplication:
		a, err := find[ClientApplication](im, id)
		im.behind.Applications = append(im.behind.Applications, id)
		if err != nil {
			return err
		}
		return im.dropApplication(&a)
	case KindProduct:
		revoked, many, err := im.dropProduct(id, true)
		im.many = im.many || many
		im.behind.Products = append(im.behind.Products, id)
		im.behind.Applications = slices.Concat(im.behind.Applications, revoked)
		return err
	case KindAPI:
		return im.dropAPI(id)
	}
	return im.dropUser(id)
}
