package provision

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/entragate/entragate/appaccess"
)

// reconcileAll reconciles those objects that need it, several at a time. An error
// of one object is kept in the object and does not stop the others. The returned
// error concerns all objects: the store is unreachable, or the context ended.
func (r *run) reconcileAll(ctx context.Context, objects []*object) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.e.cfg.Concurrency)
	for _, o := range objects {
		if !o.named || o.err == nil && !r.needsWork(o) {
			continue
		}
		g.Go(func() error {
			if o.err == nil {
				o.err = r.reconcile(ctx, o)
			} else {
				o.err = r.recordFailure(ctx, o, o.err) // the read failed
			}
			if o.err != nil {
				r.e.cfg.Logger.Warn("object not in sync with Entra", slog.String("object", o.name), slog.Any("error", o.err))
			}
			var unreachable *StateError
			if errors.As(o.err, &unreachable) && !o.wasLocked {
				return o.err // the store is unreachable: no object can be locked
			}
			return context.Cause(ctx)
		})
	}
	return g.Wait()
}

// needsWork reports whether an object that was read without a lock may need a
// step, or a change of its record.
func (r *run) needsWork(o *object) bool {
	s, err := r.next(o)
	return s != nil || err != nil || !o.inSync || r.due(o) || o.unrecorded() || r.recoveryEnds(o)
}

// unrecorded reports whether the Service's record does not say yet that the object
// is in sync.
func (o *object) unrecorded() bool {
	if o.product != nil {
		return o.product.Pending || !o.toBeDeleted() && o.product.Revision != 0 && !o.product.Recorded.Equal(o.productApplication())
	}
	return o.client.Pending || !o.toBeDeleted() && o.client.Revision != 0 && o.client.Recorded != o.registration()
}

// reconcile brings one object in sync: it locks the object, reads it again, takes
// steps until none is missing, and records the outcome as it unlocks.
func (r *run) reconcile(ctx context.Context, o *object) (err error) {
	ctx, end := r.e.telemetry.object(ctx, o.kind, o.name)
	defer func() { end(err) }()
	if err := r.acquire(ctx, o); err != nil {
		return err
	}
	defer r.unlock(ctx, o)
	o.wasLocked = true
	err = r.rereadIfOld(ctx, o)
	if err == nil {
		err = r.begin(ctx, o)
	}
	if err == nil {
		err = r.takeSteps(ctx, o)
	}
	if err == nil {
		err = r.recordInSync(ctx, o)
	}
	if err != nil {
		err = r.recordFailure(ctx, o, err)
	}
	return err
}

// acquire locks the object and reads its desired state and entry in the same
// transaction. If the object is locked, it waits up to lockWaitTime.
func (r *run) acquire(ctx context.Context, o *object) error {
	var waited time.Duration
	for attempt := 1; ; attempt++ {
		err := r.lock(ctx, o, lockTime, func(w appaccess.Writer) error { return r.load(w, w, o) })
		var locked *lockedError
		if !errors.As(err, &locked) {
			return err
		}
		if waited >= lockWaitTime {
			return o.problem(Unknown, "wait for another replica", err)
		}
		wait := min(5*time.Second, max(100*time.Millisecond, locked.Until.Sub(r.e.cfg.Now())))
		wait = time.Duration(float64(wait) * (0.5 + r.e.cfg.Jitter()))
		waited += wait
		r.report(appaccess.Progress{Object: o.name, Step: "wait for another replica", Attempt: attempt, Wait: wait, Err: err})
		if err := r.e.cfg.Sleep(ctx, wait); err != nil {
			return o.problem(Unknown, "wait for another replica", err)
		}
	}
}

// rereadIfOld reads Entra again if the read without the lock may be old: the
// desired state or the entry has changed, replicas may lag, or the read is older
// than readAge.
func (r *run) rereadIfOld(ctx context.Context, o *object) error {
	r.recoverObject(ctx, o)
	if o.err != nil {
		return o.err
	}
	more, err := r.loadNewProducts(ctx, o)
	if err != nil {
		return err
	}
	if more || o.changed || (o.app != nil || o.existing()) && r.e.cfg.Now().Sub(o.readAt) > readAge || o.readAt.Before(o.lagsUntil) {
		return r.reread(ctx, o)
	}
	return nil
}

// loadNewProducts loads and reads the products that a client was granted after the
// run began. They are kept in the client, because other goroutines read the run's
// map.
func (r *run) loadNewProducts(ctx context.Context, o *object) (bool, error) {
	if o.client == nil || o.toBeDeleted() {
		return false, nil
	}
	var more []*object
	for _, id := range o.client.Grants.Products() {
		if r.productOf(o, id) != nil {
			continue
		}
		p := r.e.newObject(kindProduct, id)
		if o.more == nil {
			o.more = map[string]*object{}
		}
		o.more[id] = p
		more = append(more, p)
	}
	if len(more) == 0 {
		return false, nil
	}
	if err := r.loadAll(ctx, more); err != nil {
		return false, err
	}
	return true, r.look(ctx, more)
}

func (r *run) reread(ctx context.Context, o *object) error {
	if err := r.look(ctx, []*object{o}); err != nil {
		return o.problem(Unknown, string(opRead), err)
	}
	return o.err
}

// begin records, before the first write, that the object is being changed and
// which grants will be made. It does nothing if no step is missing.
func (r *run) begin(ctx context.Context, o *object) error {
	s, err := r.next(o)
	if s == nil || err != nil {
		return err
	}
	before := o.entry
	o.entry.InSyncWith, o.writing = "", true
	o.remember()
	if o.client != nil && !o.client.Deleted {
		for _, g := range r.desiredGrants(o) {
			if r.productOf(o, g.ProductID).ungrantable(g.Permission) == nil && o.recorded(g) == nil {
				o.entry.Grants = append(slices.Clone(o.entry.Grants), g)
			}
		}
	}
	if o.client != nil && o.client.Disabled && !o.existing() {
		o.entry.Disabled = o.entry.Disabled || o.sp == nil || o.sp.AccountEnabled
	}
	err = r.save(ctx, o)
	var taken *appaccess.ConflictError
	if errors.As(err, &taken) && taken.Field == indexObject {
		// Another object adopted the application since it was read.
		o.entry, o.writing, o.managedBy = before, false, strings.Join(taken.Objects, ", ")
		return o.ours()
	}
	return err
}

// takeSteps takes one step after the other until none is missing.
func (r *run) takeSteps(ctx context.Context, o *object) error {
	var b backoff
	for range 10 * maxSteps(o) {
		s, err := r.next(o)
		if s == nil || err != nil {
			return err
		}
		err = s.run(ctx)
		r.e.telemetry.step(ctx, s.action, err)
		switch {
		case err == nil:
			s.model()
			r.report(appaccess.Progress{Object: o.name, Step: string(s.action) + " " + s.detail, Attempt: 1, Done: true})
			r.e.cfg.Logger.Info("written to Entra", slog.String("object", o.name), slog.String("action", string(s.action)), slog.String("detail", s.detail))
		case errors.Is(err, errStale):
			wait, more := b.next(r.e, isLag, nil)
			if !more {
				return r.failed(ctx, o, r.e.dir, s.op, isLag, err)
			}
			r.report(appaccess.Progress{Object: o.name, Step: string(s.op), Attempt: b.n, Wait: wait, Err: err})
			if err := r.pause(ctx, o, wait); err != nil {
				return o.problem(Unknown, string(s.op), err)
			}
			if err := r.reread(ctx, o); err != nil {
				return err
			}
		default:
			r.report(appaccess.Progress{Object: o.name, Step: string(s.action) + " " + s.detail, Attempt: 1, Err: err})
			return err
		}
	}
	return o.problem(Permanent, "reconcile", errEndless)
}

// recordInSync records that the object is in sync, and unlocks it.
func (r *run) recordInSync(ctx context.Context, o *object) error {
	if o.client != nil {
		if o.existing() {
			r.recordHeld(o)
		}
		for _, g := range r.undesired(o) {
			r.revoke(o, revocation{Grant: &g})
			o.forgetGrant(g)
		}
		for _, a := range o.entry.PendingCredentials {
			r.revoke(o, a.revocation())
		}
		o.entry.PendingCredentials = nil
	}
	if o.toBeDeleted() {
		for _, c := range o.entry.Credentials {
			r.revoke(o, revocation{Kind: c.Kind, KeyID: c.KeyID})
		}
		o.entry.Credentials = nil
		if o.entry.Removed.IsZero() {
			o.entry.Removed = r.e.cfg.Now()
			r.revokeObject(o)
		}
	}
	if r.recoveryEnds(o) {
		o.entry.Recovered = false
	}
	wrote := o.wrote || o.entry.InSyncWith != o.digest
	o.entry.InSyncWith = o.digest
	r.confirm(o)
	return r.saveAndUnlock(ctx, o, wrote, func(w appaccess.Writer) error { return r.recordOutcome(w, o, nil) })
}

// recordFailure records that the object is not in sync, and unlocks it. It returns
// the failure, joined with the error of recording it. If the lock was lost, it
// records nothing: the new lock holder does.
func (r *run) recordFailure(ctx context.Context, o *object, failed error) error {
	if errors.Is(failed, ErrLockLost) {
		return failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	record := func(w appaccess.Writer) error { return r.recordOutcome(w, o, failed) }
	var err error
	if o.lock != nil {
		err = r.saveAndUnlock(ctx, o, o.wrote, record)
	} else if _, err = r.e.cfg.Store.Update(ctx, record); err != nil {
		err = &StateError{err}
	}
	if errors.Is(err, ErrLockLost) {
		return failed
	}
	return errors.Join(failed, err)
}

// recordOutcome writes the outcome to the Service's record.
func (r *run) recordOutcome(w appaccess.Writer, o *object, failed error) error {
	out := appaccess.Outcome{Err: failed, Unconfirmed: o.unconfirmed()}
	exists := !o.toBeDeleted() && o.recordedInEntra()
	if o.product != nil {
		var p appaccess.ProductApplication
		if exists {
			p = o.productApplication()
		}
		out.Revision = o.product.Revision
		return r.desired.RecordProduct(w, o.id, p, out)
	}
	var a appaccess.ApplicationRegistration
	if exists {
		a = o.registration()
	}
	out.Revision = o.client.Revision
	return r.desired.RecordApplication(w, o.id, a, out)
}

// save records the entry, before or after a write to Entra.
func (r *run) save(ctx context.Context, o *object) error {
	return r.record(ctx, o, true, false, nil)
}

// saveAndUnlock records the entry, unlocks the object and calls also in the same
// transaction.
func (r *run) saveAndUnlock(ctx context.Context, o *object, wrote bool, also func(appaccess.Writer) error) error {
	err := r.record(ctx, o, wrote, true, also)
	if err == nil {
		o.lock = nil
	}
	return err
}

func (r *run) record(ctx context.Context, o *object, wrote, unlock bool, also func(appaccess.Writer) error) error {
	ours := o.app != nil && o.ours() == nil // never record an application that is not ours
	if ours && o.app.ObjectID != "" {
		o.entry.ObjectID, o.entry.AppID, o.entry.Replacing = o.app.ObjectID, o.app.AppID, false
		if !o.toBeDeleted() {
			o.entry.Removed = time.Time{}
		}
		if o.product != nil {
			o.recordRoles(r.mayLag(o))
		}
	}
	if ours && o.sp != nil && o.sp.ObjectID != "" {
		o.entry.ServicePrincipalID = o.sp.ObjectID
	}
	if o.existing() && o.sp != nil && o.expected() {
		o.entry.AppID, o.entry.ServicePrincipalID = o.sp.AppID, o.sp.ObjectID
		if !o.toBeDeleted() {
			o.entry.Removed = time.Time{}
		}
	}
	if err := r.keepLock(ctx, o, 0); err != nil {
		return err
	}
	if o.entry.Due.IsZero() && (o.entry.InSyncWith == "" && o.writing || len(o.entry.PendingCredentials) > 0) {
		o.entry.Due = r.e.cfg.Now()
	}
	if wrote {
		o.entry.LastWritten = r.e.cfg.Now()
	}
	o.entry.Version++
	err := r.e.state.save(ctx, r.holder, o.entry, unlock, also)
	switch {
	case errors.Is(err, ErrLockLost):
		return o.problem(Unknown, "record", err)
	case err != nil:
		return &StateError{err}
	}
	return nil
}

// heldLock is the lock of an object that this run holds.
type heldLock struct{ until time.Time }

// lock locks the object or prolongs the lock. The error is a *lockedError if
// another lock holder has the lock. read, if not nil, runs in the same
// transaction.
func (r *run) lock(ctx context.Context, o *object, d time.Duration, read func(appaccess.Writer) error) error {
	now := r.e.cfg.Now()
	err := r.e.state.lock(ctx, o.key, r.holder, now, now.Add(d), read)
	var locked *lockedError
	switch {
	case err == nil:
		o.lock = &heldLock{until: now.Add(d)}
		return nil
	case errors.As(err, &locked):
		return err
	}
	var own *Error
	if errors.As(err, &own) {
		return err // its records cannot be read
	}
	return &StateError{err}
}

// keepLock prolongs the lock if it would end within the wait and the call after
// it, so that no write is under way when the lock ends.
func (r *run) keepLock(ctx context.Context, o *object, wait time.Duration) error {
	now := r.e.cfg.Now()
	if o == nil || o.lock == nil {
		return nil
	}
	if !now.Before(o.lock.until) { // another lock holder may have had it since
		return o.problem(Unknown, "keep the lock", ErrLockLost)
	}
	if o.lock.until.Sub(now) > wait+callTimeout+callTimeout/2 {
		return nil
	}
	err := r.lock(ctx, o, wait+lockTime, nil)
	var locked *lockedError
	if errors.As(err, &locked) {
		return o.problem(Unknown, "keep the lock", ErrLockLost)
	}
	return err
}

// unlock releases the lock, unless saveAndUnlock has done so.
func (r *run) unlock(ctx context.Context, o *object) {
	if o.lock == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	o.lock = nil
	if err := r.e.state.unlock(ctx, o.key, r.holder); err != nil {
		r.e.cfg.Logger.Warn("lock not released; it ends by itself", slog.String("object", o.name), slog.Any("error", err))
	}
}
