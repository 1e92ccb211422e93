package provision

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/entragate/entragate/appaccess"
)

// held is the lease of an object.
type held struct{ until time.Time }

// workAll brings the objects in step, some at a time. The error is one that
// concerns them all: the journal, or the context.
func (r *run) workAll(ctx context.Context, objects []*object) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.e.cfg.Concurrency)
	for _, o := range objects {
		if o.err != nil || o.product == nil && o.client == nil || !r.needsWork(o) {
			continue
		}
		g.Go(func() error {
			if err := r.work(ctx, o); err != nil {
				var j *JournalError
				if errors.As(err, &j) || ctx.Err() != nil {
					return err
				}
				o.err = err
				r.e.cfg.Logger.Warn("object not in step with Entra", slog.String("object", o.name), slog.Any("error", err))
			}
			return nil
		})
	}
	return g.Wait()
}

// needsWork reports whether anything, in Entra or in the journal, is to be written.
func (r *run) needsWork(o *object) bool {
	s, err := r.next(o)
	return s != nil || err != nil || !o.applied || len(o.entry.Attempts) > 0
}

// work brings one object in step, under its lease.
func (r *run) work(ctx context.Context, o *object) error {
	if err := r.acquire(ctx, o); err != nil {
		return err
	}
	defer r.release(ctx, o)
	if err := r.renew(ctx, o); err != nil {
		return err
	}
	s, err := r.next(o)
	if err != nil {
		return err
	}
	if s != nil {
		if err := r.begin(ctx, o); err != nil {
			return err
		}
	}
	if err := r.walk(ctx, o); err != nil {
		return err
	}
	return r.finish(ctx, o)
}

// renew reads the object again if what is known of it may be old: another
// engine worked on it meanwhile, or collections that stand are to be replaced.
func (r *run) renew(ctx context.Context, o *object) error {
	version := o.entry.Version
	if err := r.load(ctx, []*object{o}); err != nil {
		return err
	}
	old := o.app != nil && r.e.cfg.Now().Sub(o.readAt) > readAge
	if o.entry.Version != version || old || len(o.entry.Attempts) > 0 || o.readAt.Before(o.fresh) {
		return r.again(ctx, o)
	}
	return nil
}

func (r *run) again(ctx context.Context, o *object) error {
	if err := r.look(ctx, []*object{o}); err != nil {
		return o.problem(Unknown, string(opRead), err)
	}
	return o.err
}

// walk takes the steps one after the other.
func (r *run) walk(ctx context.Context, o *object) error {
	var b backoff
	for range 10 * maxSteps(o) {
		s, err := r.next(o)
		if s == nil || err != nil {
			return err
		}
		err = s.run(ctx)
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
			if err := r.again(ctx, o); err != nil {
				return err
			}
		default:
			r.report(appaccess.Progress{Object: o.name, Step: string(s.action) + " " + s.detail, Attempt: 1, Err: err})
			return err
		}
	}
	return o.problem(Permanent, "bring in step", errEndless)
}

// begin records, before the first write, that work is under way and which
// grants are about to be made.
func (r *run) begin(ctx context.Context, o *object) error {
	o.entry.Want = ""
	o.entry.Adopted = o.entry.Adopted || o.adopt() != ""
	if o.client != nil && !o.client.Absent {
		for _, id := range o.client.Products {
			if p := r.products[id]; p.ungrantable() == nil && !slices.Contains(o.entry.Grants, p.grant()) {
				o.entry.Grants = append(slices.Clone(o.entry.Grants), p.grant())
			}
		}
	}
	if o.client != nil && o.client.Disabled {
		o.entry.Disabled = o.entry.Disabled || o.sp == nil || o.sp.AccountEnabled
	}
	return r.save(ctx, o)
}

// finish records that the object is in step.
func (r *run) finish(ctx context.Context, o *object) error {
	if o.client != nil {
		un := r.unwanted(o)
		o.entry.Grants = slices.DeleteFunc(slices.Clone(o.entry.Grants), func(g Grant) bool { return slices.Contains(un, g) })
		o.entry.Attempts = slices.DeleteFunc(slices.Clone(o.entry.Attempts), func(a Attempt) bool { return !o.shows(a) })
	}
	if o.absent() {
		o.entry.Credentials = nil
		if o.entry.Removed.IsZero() {
			o.entry.Removed = r.e.cfg.Now()
		}
	}
	o.entry.Want = o.digest
	return r.save(ctx, o)
}

// save records what is known of an object.
func (r *run) save(ctx context.Context, o *object) error {
	if o.app != nil && o.app.ObjectID != "" {
		o.entry.ObjectID, o.entry.AppID = o.app.ObjectID, o.app.AppID
		if !o.absent() {
			o.entry.Removed = time.Time{}
		}
		if o.product != nil {
			o.entry.RoleID, o.entry.Role = o.roleToGrant(), o.product.Role
		}
	}
	if o.sp != nil && o.sp.ObjectID != "" {
		o.entry.ServicePrincipalID = o.sp.ObjectID
	}
	if err := r.hold(ctx, o, 0); err != nil {
		return err
	}
	o.entry.Touched = r.e.cfg.Now()
	o.entry.Version++
	err := r.e.cfg.Journal.Save(ctx, r.holder, o.entry)
	switch {
	case errors.Is(err, ErrLeaseLost):
		return o.problem(Unknown, "record", err)
	case err != nil:
		return &JournalError{err}
	}
	return nil
}

// acquire waits for the object's lease.
func (r *run) acquire(ctx context.Context, o *object) error {
	var waited time.Duration
	for attempt := 1; ; attempt++ {
		err := r.lease(ctx, o, leaseTime)
		var taken *LeasedError
		if !errors.As(err, &taken) {
			return err
		}
		if waited >= leasePatience {
			return o.problem(Unknown, "wait for another replica", err)
		}
		wait := min(5*time.Second, max(100*time.Millisecond, taken.Until.Sub(r.e.cfg.Now())))
		wait = time.Duration(float64(wait) * (0.5 + r.e.cfg.Jitter()))
		waited += wait
		r.report(appaccess.Progress{Object: o.name, Step: "wait for another replica", Attempt: attempt, Wait: wait, Err: err})
		if err := r.e.cfg.Sleep(ctx, wait); err != nil {
			return o.problem(Unknown, "wait for another replica", err)
		}
	}
}

func (r *run) lease(ctx context.Context, o *object, d time.Duration) error {
	now := r.e.cfg.Now()
	err := r.e.cfg.Journal.Lease(ctx, o.key, r.holder, now, now.Add(d))
	var taken *LeasedError
	switch {
	case err == nil:
		o.lease = &held{until: now.Add(d)}
		return nil
	case errors.As(err, &taken):
		return err
	}
	return &JournalError{err}
}

// hold makes the lease last for a wait and a call after it, so that no write
// is under way once it has ended.
func (r *run) hold(ctx context.Context, o *object, wait time.Duration) error {
	now := r.e.cfg.Now()
	if o == nil || o.lease == nil {
		return nil
	}
	if !now.Before(o.lease.until) { // another may have had it since
		return o.problem(Unknown, "keep the lease", ErrLeaseLost)
	}
	if o.lease.until.Sub(now) > wait+callTimeout+callTimeout/2 {
		return nil
	}
	err := r.lease(ctx, o, wait+leaseTime)
	var taken *LeasedError
	if errors.As(err, &taken) {
		return o.problem(Unknown, "keep the lease", ErrLeaseLost)
	}
	return err
}

func (r *run) release(ctx context.Context, o *object) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	o.lease = nil
	if err := r.e.cfg.Journal.Release(ctx, o.key, r.holder); err != nil {
		r.e.cfg.Logger.Warn("lease not released; it ends by itself", slog.String("object", o.name), slog.Any("error", err))
	}
}
