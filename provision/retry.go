package provision

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// errHeld says that a create failed because another object has the unique name.
var errHeld = errors.New("another object holds the name")

// errStale says that the step was computed from an old state: the caller reads
// again and computes the step again.
var errStale = errors.New("the state has changed since it was read")

// write makes one call that changes Entra and retries it as far as its error and
// the budgets allow. All calls are idempotent except adding a secret, which is not
// retried after an unknown outcome.
func (r *run) write(ctx context.Context, o *object, d Directory, op operation, f func(context.Context) error) error {
	if op == opCreate || op == opCreatePrincipal {
		if full, ok := r.full.Load().(*Error); ok { // after one quota error no create of the run can succeed
			return &Error{Kind: Quota, Op: string(op), Object: o.name, Advice: full.Advice, Err: full.Err}
		}
	}
	var b backoff
	for attempt := 1; ; attempt++ {
		if err := r.keepLock(ctx, o, 0); err != nil {
			return err
		}
		fresh := r.mayLag(o) || op == opAddSecret && r.newlyCreated(o)
		o.wrote = true
		err := bounded(ctx, f)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return o.problem(Unknown, string(op), context.Cause(ctx))
		}
		v := classify(err, situation{op: op, fresh: fresh})
		switch {
		case v == isDone:
			return nil
		case v == isHeld:
			return errors.Join(errHeld, err)
		case v == isStale:
			return errors.Join(errStale, err)
		case v.final(), v == isUnknown && op == opAddSecret:
			return r.failed(ctx, o, d, op, v, err)
		}
		wait, more := b.next(r.e, v, err)
		if !more && v == isGone {
			return nil
		}
		if !more {
			return r.failed(ctx, o, d, op, v, err)
		}
		r.report(appaccess.Progress{Object: o.name, Step: string(op), Attempt: attempt, Wait: wait, Err: err})
		if err := r.pause(ctx, o, wait); err != nil {
			return o.problem(Unknown, string(op), err)
		}
	}
}

// remove calls write for a DELETE and records whether the DELETE succeeded. "Not
// found" does not prove that the subject is gone.
func (r *run) remove(ctx context.Context, o *object, d Directory, op operation, x revocation, f func(context.Context) error) error {
	success := false
	err := r.write(ctx, o, d, op, func(ctx context.Context) error {
		err := f(ctx)
		success = err == nil
		return err
	})
	if err == nil {
		r.deletionAnswered(o, x, success)
	}
	return err
}

// bounded limits the time of a call, so that no call is under way when the lock
// ends.
func bounded(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return f(ctx)
}

// pause sleeps and keeps the lock.
func (r *run) pause(ctx context.Context, o *object, d time.Duration) error {
	if err := r.keepLock(ctx, o, d); err != nil {
		return err
	}
	return r.e.cfg.Sleep(ctx, d)
}

// failed makes the error of a step that is not retried any more.
func (r *run) failed(ctx context.Context, o *object, d Directory, op operation, v verdict, err error) error {
	if v == isRefused {
		if e := r.refusedForOwner(ctx, o, d, op, err); e != nil {
			return e
		}
	}
	failed := &Error{Kind: v.kind(), Op: string(op), Object: o.name, Advice: r.advice(ctx, d, op, err), Err: err}
	if v == isQuota {
		r.full.Store(failed)
	}
	return failed
}

// creationLag is how long after its creation an application may be missing on a
// replica. Users reported minutes.
const creationLag = time.Hour

// newlyCreated reports whether the application was created less than creationLag
// ago.
func (r *run) newlyCreated(o *object) bool {
	return o.app != nil && r.e.cfg.Now().Before(o.app.Created.Add(creationLag))
}

func (v verdict) kind() Kind {
	switch v {
	case isLag, isGone, isStale:
		return Lag
	case isThrottle:
		return Throttle
	case isUnknown:
		return Unknown
	case isQuota:
		return Quota
	}
	return Permanent
}

// backoff adds up the waits of one step. It does not read the clock, so a clock
// that jumps does not use up a budget.
type backoff struct {
	n                   int
	lag, other, refused time.Duration
}

// next returns the wait before the next try, and false if the budget is used up.
func (b *backoff) next(e *Reconciler, v verdict, err error) (time.Duration, bool) {
	spent, budget, limit := &b.other, retryTime, 30*time.Second
	switch v {
	case isLag, isGone:
		spent, budget, limit = &b.lag, e.cfg.LagBudget, 10*time.Second
	case isRefused:
		spent, budget, limit = &b.refused, min(refusedTime, e.cfg.LagBudget), 5*time.Second
	}
	if *spent >= budget {
		return 0, false
	}
	d := min(limit, time.Duration(float64(time.Second)*math.Pow(1.6, float64(min(b.n, 20)))))
	d = time.Duration(float64(d) * (0.5 + e.cfg.Jitter()))
	var api *APIError
	if errors.As(err, &api) && api.RetryAfter > 0 {
		d = api.RetryAfter + time.Duration(float64(time.Second)*e.cfg.Jitter())
	}
	b.n++
	*spent += d
	return d, true
}

// readChunk is the most items that one call of a Directory reads: 20 batches.
const readChunk = 400

// readAll reads items and retries those whose error is temporary. An item that
// does not exist keeps Graph's error: see [notFound]. If o is not nil, its lock is
// kept.
func readAll[K, V any](ctx context.Context, r *run, o *object, keys []K, read func(context.Context, []K) ([]V, []error)) ([]V, []error) {
	values, errs := make([]V, len(keys)), make([]error, len(keys))
	for start := 0; start < len(keys); start += readChunk {
		end := min(start+readChunk, len(keys))
		readSome(ctx, r, o, keys[start:end], values[start:end], errs[start:end], read)
	}
	return values, errs
}

// readOne calls readAll for a read that takes one item.
func readOne[K, V any](ctx context.Context, r *run, o *object, key K, read func(context.Context, K) (V, error)) (V, error) {
	values, errs := readAll(ctx, r, o, []K{key}, func(ctx context.Context, keys []K) ([]V, []error) {
		v, err := read(ctx, keys[0])
		return []V{v}, []error{err}
	})
	return values[0], errs[0]
}

func readSome[K, V any](ctx context.Context, r *run, o *object, keys []K, values []V, errs []error, read func(context.Context, []K) ([]V, []error)) {
	var b backoff
	left := make([]int, len(keys))
	for i := range left {
		left[i] = i
	}
	for {
		some := make([]K, len(left))
		for i, k := range left {
			some[i] = keys[k]
		}
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		vs, es := read(callCtx, some)
		cancel()
		var again []int
		var wait time.Duration
		for i, k := range left {
			values[k], errs[k] = vs[i], es[i]
			switch v := classify(es[i], situation{op: opRead}); {
			case es[i] == nil, notFound(es[i]):
			case ctx.Err() != nil:
				errs[k] = context.Cause(ctx)
			case v.final():
				errs[k] = &Error{Kind: v.kind(), Op: string(opRead), Err: es[i], Advice: r.advice(ctx, r.e.dir, opRead, es[i])}
			default:
				if d, more := peek(&b, r.e, v, es[i]); more {
					again, wait = append(again, k), max(wait, d)
				} else {
					errs[k] = &Error{Kind: v.kind(), Op: string(opRead), Err: es[i], Advice: r.advice(ctx, r.e.dir, opRead, es[i])}
				}
			}
		}
		if len(again) == 0 {
			return
		}
		b.n++
		b.other += wait
		b.refused += wait
		r.report(appaccess.Progress{Object: "graph", Step: string(opRead), Attempt: b.n, Wait: wait, Err: errs[again[0]]})
		if err := r.pause(ctx, o, wait); err != nil {
			for _, k := range again {
				errs[k] = err
			}
			return
		}
		left = again
	}
}

// peek returns the next wait without spending it. A batch spends one wait for all
// of its items.
func peek(b *backoff, e *Reconciler, v verdict, err error) (time.Duration, bool) {
	c := *b
	return c.next(e, v, err)
}

// await polls until ok returns true, as long as LagBudget allows.
func (r *run) await(ctx context.Context, o *object, step string, ok func(context.Context) (bool, error)) error {
	var b backoff
	for attempt := 1; ; attempt++ {
		done, err := ok(ctx)
		if done || err != nil {
			return err
		}
		wait, more := b.next(r.e, isLag, nil)
		if !more {
			return &Error{Kind: Lag, Op: step, Object: o.name, Err: errors.New("not seen within the lag budget")}
		}
		r.report(appaccess.Progress{Object: o.name, Step: step, Attempt: attempt, Wait: wait})
		if err := r.pause(ctx, o, wait); err != nil {
			return o.problem(Unknown, step, err)
		}
	}
}
