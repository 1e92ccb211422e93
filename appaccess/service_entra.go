package appaccess

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
)

// SyncRequest says what [Service.Sync] does.
type SyncRequest struct {
	// All reconciles every object, which repairs what was changed in Entra by hand,
	// and lists unknown objects. Otherwise Sync takes only objects that are known to
	// need work.
	All bool
	// Progress is called for each step, by one goroutine at a time. It may be nil.
	Progress func(Progress)
}

// SyncReport says what Sync did.
type SyncReport struct {
	Objects     int // products and applications that were reconciled and are in sync
	Credentials int // credentials that were removed
	Expired     int // subscriptions that became expired
	// Unconfirmed is the number of grants, credentials and objects that were
	// deleted in Entra and that reads have not confirmed yet.
	Unconfirmed int
	// MissingInEntra holds, by application ID, credentials that Entra no longer has
	// although nobody removed them here. Their owners need new ones.
	MissingInEntra map[string][]Credential
	// Unknown are the objects in Entra that this installation made and that are not
	// desired, if All was set. Sync does not remove them: see
	// [Service.RemoveUnknown].
	Unknown Unknown
}

// syncChunk is how many objects one call of the Provisioner gets.
const syncChunk = 200

// Sync does what is left to do. It reconciles pending objects, finishes the work of
// calls that died, reads again whether revocations took effect, removes credentials
// whose overlap is over and one-time secrets that nobody received in time, and marks
// expired subscriptions. Call it every few minutes, as [Service.Run] does; several
// replicas may do so at the same time. The error joins all failures, a
// [*ProvisionError] for each object; all else is done. For managers only.
func (s *Service) Sync(ctx context.Context, by Actor, req SyncRequest) (report SyncReport, err error) {
	report.MissingInEntra = map[string][]Credential{}
	if err := s.view(ctx, by, (*look).onlyManager); err != nil {
		return report, err
	}
	ctx, end := s.telemetry.sync(ctx)
	defer func() { end(report, err) }()
	errs := []error{s.finishTasks(ctx), s.expire(ctx, by, &report)}
	var due Objects
	if s.entra != nil {
		errs = append(errs, s.tidyCredentials(ctx, by, &report))
		left, err := s.entra.Unfinished(ctx)
		errs = append(errs, err)
		due = left.Due
	}
	for objects, err := range s.todo(ctx, req.All, due) {
		var n int
		if err == nil {
			n, err = s.apply(ctx, objects, req.Progress, report.MissingInEntra)
		}
		report.Objects += n
		errs = append(errs, err)
	}
	if s.entra != nil {
		left, err := s.entra.Unfinished(ctx)
		report.Unconfirmed = left.Revocations
		errs = append(errs, err)
	}
	if s.entra != nil && req.All && ctx.Err() == nil {
		var err error
		if report.Unknown, err = s.unknown(ctx); err != nil {
			errs = append(errs, &ProvisionError{Object: unknownObjects, Err: err})
		}
	}
	return report, errors.Join(errs...)
}

// todo yields, some at a time, the objects that are pending, or all that concern
// Entra, and then the objects of due that were not among them. Products come first,
// because applications need them; products to be removed come last, when no
// application is granted them any more. An error, also that the context ended, is the
// last thing that it yields.
func (s *Service) todo(ctx context.Context, every bool, due Objects) iter.Seq2[Objects, error] {
	q := Query{Where: where(bySync, syncPending)}
	if every {
		q = Query{}
	}
	return func(yield func(Objects, error) bool) {
		_ = yieldTodo(ctx, s, q, nil, func(p *Product) bool { return p.Access.Token }, yield) &&
			yieldTodo(ctx, s, q, due.Applications, func(*ClientApplication) bool { return true }, yield) &&
			yieldTodo(ctx, s, q, due.Products, func(p *Product) bool { return !p.Access.Token && inEntra(p) }, yield)
	}
}

// yieldTodo yields the entities of a query that concern Entra, and then those in due
// that were not among them. It returns false if the caller stopped. No transaction is
// open while the caller works: an object that is done meanwhile leaves the query, and
// the next page begins behind it.
func yieldTodo[T entity](ctx context.Context, s *Service, q Query, due []string, concerns func(*T) bool, yield func(Objects, error) bool) bool {
	q.Kind, q.Limit = kindOf[T](), syncChunk
	left := make(map[string]bool, len(due))
	for _, id := range due {
		left[id] = true
	}
	for more := true; more; {
		var found []string
		var recs []Record
		err := s.store.View(ctx, func(r Reader) (err error) {
			recs, err = r.List(q)
			return err
		})
		for _, rec := range recs {
			v, derr := decode[T](rec)
			err = firstError(err, derr)
			if derr == nil && concerns(&v) {
				found = append(found, rec.ID)
				delete(left, rec.ID)
			}
		}
		if err != nil {
			yield(Objects{}, err)
			return false
		}
		if len(found) > 0 && !yield(objectsOf[T](found, recs), nil) {
			return false
		}
		if more = len(recs) == q.Limit; more {
			q.After = q.Cursor(recs[len(recs)-1])
		}
	}
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(left)), syncChunk) {
		if err := ctx.Err(); err != nil {
			yield(Objects{}, err)
			return false
		}
		if !yield(objectsOf[T](ids, nil), nil) {
			return false
		}
	}
	return true
}

// objectsOf returns products or applications with their IDs.
func objectsOf[T entity](ids []string, read []Record) Objects {
	if kindOf[T]() == KindProduct {
		return Objects{Products: ids, Read: read}
	}
	return Objects{Applications: ids, Read: read}
}

// reconcilePending reconciles everything that is pending.
func (s *Service) reconcilePending(ctx context.Context) error {
	var errs []error
	for objects, err := range s.todo(ctx, false, Objects{}) {
		if err == nil {
			_, err = s.apply(ctx, objects, nil, nil)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Plan returns what [Service.Sync] with All would do in Entra, and the unknown
// objects, without a write. For managers only.
func (s *Service) Plan(ctx context.Context, by Actor) (Plan, error) {
	return s.compare(ctx, by, Provisioner.Plan)
}

// Drift returns the part of [Service.Plan] that others caused: the steps for objects
// that were in sync before, credentials that are missing in Entra, and unknown
// objects. For managers only.
func (s *Service) Drift(ctx context.Context, by Actor) (Plan, error) {
	return s.compare(ctx, by, Provisioner.Drift)
}

func (s *Service) compare(ctx context.Context, by Actor, with func(Provisioner, context.Context, Objects, DesiredState) (Plan, error)) (Plan, error) {
	plan := Plan{Failed: map[string]error{}}
	if err := s.view(ctx, by, (*look).onlyManager); err != nil {
		return plan, err
	}
	missing := map[string]bool{} // products without an application in Entra
	var granted []string         // the products of missing that the next applications are granted
	var failed error
	some := func(objects Objects, err error) bool {
		if err == nil && s.entra == nil {
			err = errNoEntra()
		}
		if err != nil {
			failed = err
			return false
		}
		// They are planned again with the applications, which need their roles.
		objects.Products = slices.Concat(objects.Products, granted)
		again := granted
		granted = nil
		part, err := with(s.entra, ctx, objects, desiredState{s})
		if err != nil {
			failed = &ProvisionError{Object: "plan", Err: err}
			return false
		}
		plan.Steps = append(plan.Steps, slices.DeleteFunc(part.Steps, func(step Step) bool {
			return slices.ContainsFunc(again, func(id string) bool { return step.Object == productObject(id) })
		})...)
		maps.Copy(plan.Failed, part.Failed)
		return true
	}
	_ = yieldTodo(ctx, s, Query{}, nil, func(p *Product) bool {
		if p.Access.Token && p.Entra.ObjectID == "" {
			missing[p.ID] = true
		}
		return p.Access.Token
	}, some) &&
		yieldTodo(ctx, s, Query{}, nil, func(a *ClientApplication) bool {
			for _, id := range a.Grants.Products() {
				if missing[id] {
					granted = addID(granted, id)
				}
			}
			return true
		}, some) &&
		yieldTodo(ctx, s, Query{}, nil, func(p *Product) bool { return !p.Access.Token && inEntra(p) }, some)
	if failed == nil && s.entra != nil {
		s.addUnknown(ctx, &plan)
	}
	return plan, failed
}

// Review reads from Entra what exists for products and applications: names, app
// roles, API permissions, credentials. For managers only.
func (s *Service) Review(ctx context.Context, by Actor, productIDs, applicationIDs []string) (Review, error) {
	err := s.view(ctx, by, func(l *look) error {
		if err := l.onlyManager(); err != nil {
			return err
		}
		for _, id := range productIDs {
			if _, err := l.product(id); err != nil {
				return err
			}
		}
		for _, id := range applicationIDs {
			if _, err := l.application(id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Review{}, err
	}
	if s.entra == nil {
		return Review{}, errNoEntra()
	}
	found, err := s.entra.Review(ctx, productIDs, applicationIDs)
	if err != nil {
		err = &ProvisionError{Object: "review", Err: err}
	}
	return found, err
}

// Preflight checks what the Provisioner's identity can do in Entra. It names missing
// rights and who can grant them. For managers only.
func (s *Service) Preflight(ctx context.Context, by Actor) (Preflight, error) {
	if err := s.view(ctx, by, (*look).onlyManager); err != nil {
		return Preflight{}, err
	}
	if s.entra == nil {
		return Preflight{}, errNoEntra()
	}
	found, err := s.entra.Preflight(ctx)
	if err != nil {
		err = &ProvisionError{Object: "preflight", Err: err}
	}
	return found, err
}

// expire marks the subscriptions that have expired. Gates compare the time themselves
// and do not wait for expire.
func (s *Service) expire(ctx context.Context, by Actor, report *SyncReport) error {
	var over []string
	err := s.view(ctx, by, func(l *look) error {
		over = nil
		for v, err := range each[Subscription](l, dueBy(byExpiry, s.clock())) {
			if err != nil {
				return err
			}
			if !s.clock().Before(v.Expires) {
				over = append(over, v.ID)
			}
		}
		return nil
	})
	for _, id := range over {
		var v Subscription
		v, err = s.editSubscription(ctx, by, id, "subscription.expire", func(e *edit, v *Subscription) (bool, error) {
			if !v.expires() || e.now.Before(v.Expires) {
				return false, nil
			}
			v.State = SubscriptionExpired
			return true, nil
		})
		if ignoreNotFound(err) != nil {
			return err
		}
		if v.State == SubscriptionExpired {
			report.Expired++
		}
	}
	return ignoreNotFound(err)
}

// tidyCredentials removes the credentials whose overlap is over and the one-time
// secrets that nobody received.
func (s *Service) tidyCredentials(ctx context.Context, by Actor, report *SyncReport) error {
	errs := []error{s.lapseOneTimeSecrets(ctx, by)}
	var over []Credential
	err := s.view(ctx, by, func(l *look) error {
		over = nil
		for c, err := range each[Credential](l, dueBy(byRemoval, s.clock())) {
			if err != nil {
				return err
			}
			if due(&c, s.clock()) {
				over = append(over, c)
			}
		}
		return nil
	})
	errs = append(errs, err)
	for _, c := range over {
		if err := s.dropCredential(ctx, &c); err != nil {
			errs = append(errs, err)
			continue
		}
		report.Credentials++
	}
	return errors.Join(errs...)
}

// lapseOneTimeSecrets ends the one-time secrets that nobody received in time. Their
// credentials are then due for removal.
func (s *Service) lapseOneTimeSecrets(ctx context.Context, by Actor) error {
	var lapsed []Record
	err := s.store.View(ctx, func(r Reader) (err error) {
		q := dueBy(byExpiry, s.clock())
		q.Kind = KindOneTimeSecret
		lapsed, err = r.List(q)
		return err
	})
	if err != nil || len(lapsed) == 0 {
		return err
	}
	for _, rec := range lapsed {
		if err := s.update(ctx, by, func(e *edit) error { return e.lapse(rec.ID) }); err != nil {
			return err
		}
	}
	return nil
}

// lapse ends a one-time secret unless somebody has received it meanwhile.
func (e *edit) lapse(id string) error {
	box, err := e.waitingSecret(id)
	if err != nil || e.now.Before(box.Expires) {
		return ignoreNotFound(err)
	}
	c, err := find[Credential](e, box.ID)
	if ignoreNotFound(err) != nil {
		return err
	}
	if err == nil {
		c.RemoveAfter = e.now
		err = write(e, &c)
	}
	return firstError(ignoreNotFound(err), e.forgetOneTimeSecret(box.ID), e.audit("secret.lapse", KindApplication, box.ApplicationID, map[string]string{"credential": box.ID}))
}
