package appaccess

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/entragate/entragate/internal/process"
)

// kindApplying is the kind of the record that claims an object for one call
// that has Entra follow. Without it, of two calls the one that read first could
// write to Entra last and leave there what is no longer wanted. Only the holder
// of the claim says that an object is in step.
const kindApplying Kind = "applying"

type applying struct {
	Holder string `json:"holder"`
	// Overtaken: a call without a claim may have written what it had read
	// before. The holder works on, but the object stays pending.
	Overtaken bool `json:"overtaken,omitempty"`
}

// kindHolder is the kind of the record of a call that holds claims on objects.
// Without it they are nobody's. Whoever takes one of them because the call has
// run out of time removes it, so that the call learns of that.
const kindHolder Kind = "holder"

type holder struct {
	Process string    `json:"process,omitempty"`
	Until   time.Time `json:"until"` // should that call have died
}

// applyPatience is how long a call waits for one that is at work on its object.
const applyPatience = 30 * time.Second

// errAtWork is behind the ProvisionError for an object that another call has.
var errAtWork = fmt.Errorf("another call is at work on it, or died in it: it stays pending: %w", ErrUnavailable)

// round is one turn of having Entra follow.
type round struct {
	holder    string
	every     bool // objects that are not pending, too
	want      Wanted
	claimed   map[string]bool // by object: "product starter"
	unclaimed targets         // the others
	until     time.Time       // end of the claims, unless prolonged
	busy      targets         // others are at work on them

	begun    bool // something may have been written to Entra
	done     Applied
	failures []error
}

// follow makes Entra follow in those of the targets that are pending.
func (s *Service) follow(ctx context.Context, t targets) error {
	_, err := s.followReported(ctx, t, SyncRequest{}, nil)
	return err
}

// followReported makes Entra follow in the targets, the pending ones or all,
// and waits for other calls that are at work on them. It counts the objects
// that came in step and adds to lost what is. The error joins one
// ProvisionError for each object that failed.
func (s *Service) followReported(ctx context.Context, t targets, req SyncRequest, lost map[string][]Credential) (int, error) {
	var errs []error
	count, waited := 0, time.Duration(0)
	for wait := 100 * time.Millisecond; !t.empty(); wait = min(2*wait, 2*time.Second) {
		r := &round{holder: newID(), every: req.All}
		if err := s.take(ctx, r, t); err != nil {
			s.giveBack(ctx, r) // the claims may stand, with the answer lost
			return count, errors.Join(append(errs, err)...)
		}
		err := s.apply(ctx, r, req.Progress)
		errs = append(errs, append(r.failures, err)...)
		if err == nil {
			count += len(r.want.Products) + len(r.want.Applications) - len(r.failures)
		}
		if lost != nil {
			maps.Copy(lost, r.done.Lost)
		}
		if t = r.busy; t.empty() {
			break
		}
		if waited >= applyPatience {
			return count, errors.Join(append(errs, t.failed(errAtWork)...)...)
		}
		if err := s.sleep(ctx, wait); err != nil {
			return count, errors.Join(append(errs, t.failed(err)...)...)
		}
		waited += wait
	}
	return count, errors.Join(errs...)
}

// failed is one error for each target.
func (t targets) failed(err error) []error {
	var errs []error
	for _, id := range t.products {
		errs = append(errs, &ProvisionError{Object: productObject(id), Err: err})
	}
	for _, id := range t.applications {
		errs = append(errs, &ProvisionError{Object: applicationObject(id), Err: err})
	}
	return errs
}

// take claims the pending targets, and pending products that applications
// need, and reads what is wanted of them, in one state.
func (s *Service) take(ctx context.Context, r *round, t targets) error {
	err := s.transact(ctx, Actor{}, func(e *edit) error {
		r.want, r.claimed, r.unclaimed, r.busy = Wanted{}, map[string]bool{}, targets{}, targets{}
		if err := s.takeProducts(e, r, t.products); err != nil {
			return err
		}
		for _, id := range t.applications {
			if err := s.takeApplication(e, r, id); err != nil {
				return err
			}
		}
		if !r.unclaimed.empty() {
			if err := e.putUnclaimed(r); err != nil {
				return err
			}
		}
		if len(r.claimed) == 0 {
			return nil
		}
		r.until = e.now.Add(claimTime)
		return e.putHolder(r, r.until)
	})
	if err != nil {
		return fmt.Errorf("appaccess: read what Entra is to hold: %w", err)
	}
	return nil
}

func (s *Service) takeProducts(e *edit, r *round, productIDs []string) error {
	for _, id := range productIDs {
		if _, err := s.takeProduct(e, r, id, r.every); err != nil {
			return err
		}
	}
	return nil
}

// takeProduct reports whether another call is at work on the product.
func (s *Service) takeProduct(e *edit, r *round, id string, every bool) (busy bool, err error) {
	p, err := find[Product](e, id)
	if err != nil || r.claimed[productObject(id)] || !p.Sync.Pending && !(every && inEntra(&p)) {
		return false, ignoreNotFound(err)
	}
	if p.Sync.Pending {
		if ok, err := e.claimObject(r, productObject(id)); err != nil || !ok {
			r.busy.products = addID(r.busy.products, id)
			return true, err
		}
	} else {
		r.unclaimed.products = append(r.unclaimed.products, id)
	}
	r.want.Products = append(r.want.Products, s.wantedProduct(&p))
	return false, nil
}

func (s *Service) takeApplication(e *edit, r *round, id string) error {
	a, err := find[ClientApplication](e, id)
	if err != nil || r.claimed[applicationObject(id)] || !a.Sync.Pending && !r.every {
		return ignoreNotFound(err)
	}
	for _, product := range a.Products {
		busy, err := s.takeProduct(e, r, product, false)
		if busy && err == nil {
			r.busy.applications = addID(r.busy.applications, id)
		}
		if err != nil || busy {
			return err
		}
	}
	if a.Sync.Pending {
		if ok, err := e.claimObject(r, applicationObject(id)); err != nil || !ok {
			r.busy.applications = addID(r.busy.applications, id)
			return err
		}
	} else {
		r.unclaimed.applications = append(r.unclaimed.applications, id)
	}
	want, err := s.wantedApplication(&e.look, &a)
	r.want.Applications = append(r.want.Applications, want)
	return err
}

// claimObject takes a claim unless another call has it.
func (e *edit) claimObject(r *round, object string) (bool, error) {
	held, err := e.claimOn(object)
	if err != nil {
		return false, err
	}
	if held.Holder != "" {
		h, err := e.holder(held.Holder)
		if err != nil || inForce(h.Process, h.Until, e.now) {
			return false, err
		}
		if err := e.w.Delete(kindHolder, held.Holder); err != nil {
			return false, err
		}
	}
	r.claimed[object] = true
	return true, putNote(e.w, kindApplying, object, applying{Holder: r.holder})
}

func (e *edit) holder(id string) (holder, error) { return note[holder](e, kindHolder, id) }

func (e *edit) putHolder(r *round, until time.Time) error {
	return putNote(e.w, kindHolder, r.holder, holder{Process: process.ID(), Until: until})
}

// prolong keeps the round's claims.
func (r *round) prolong(e *edit, until time.Time) error {
	h, err := e.holder(r.holder)
	if err != nil {
		return err
	}
	if h == (holder{}) {
		return errClaimLost
	}
	return e.putHolder(r, until)
}

func (e *edit) claimOn(object string) (applying, error) {
	return note[applying](e, kindApplying, object)
}

// apply has the Provisioner work and records how far it got.
func (s *Service) apply(ctx context.Context, r *round, progress func(Progress)) error {
	if len(r.want.Products)+len(r.want.Applications) == 0 {
		return nil
	}
	failed := errNoEntra()
	if s.entra != nil {
		r.begun = true
		work := func(ctx context.Context) (err error) {
			r.done, err = s.entra.Apply(ctx, r.want, progress)
			return err
		}
		if len(r.claimed) == 0 {
			failed = work(ctx)
		} else {
			failed = s.claimed(ctx, r.until, r.prolong, work)
		}
	}
	// What was done is recorded even if the caller has gone away meanwhile.
	after, cancel := afterwards(ctx)
	defer cancel()
	err := s.record(after, r, failed)
	if err != nil {
		s.giveBack(after, r)
	}
	for _, f := range r.failures {
		s.log.WarnContext(ctx, "entra could not follow", "error", f)
	}
	return err
}

// giveBack ends the claims of a round whose outcome could not be recorded, and
// has looked at again what it had none on.
func (s *Service) giveBack(ctx context.Context, r *round) {
	if len(r.claimed) == 0 && r.unclaimed.empty() {
		return
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	err := s.transact(ctx, Actor{}, func(e *edit) error {
		for object := range r.claimed {
			if _, err := e.endClaim(r, object); err != nil {
				return err
			}
		}
		if r.begun {
			if err := e.markPending(r.unclaimed); err != nil {
				return err
			}
		}
		return e.endRound(r)
	})
	if err != nil {
		s.log.WarnContext(ctx, "claims on objects stay until they run out", "error", err)
	}
}

// endRound removes what stands for a round in the store.
func (e *edit) endRound(r *round) error {
	if len(r.claimed) > 0 {
		if err := e.w.Delete(kindHolder, r.holder); err != nil {
			return err
		}
	}
	if r.unclaimed.empty() {
		return nil
	}
	return e.w.Delete(kindUnclaimed, r.holder)
}

// endClaim ends a claim, and reports whether it was the round's and nobody
// overtook it.
func (e *edit) endClaim(r *round, object string) (bool, error) {
	held, err := e.claimOn(object)
	if err != nil || held.Holder != r.holder {
		return false, err
	}
	return !held.Overtaken, e.w.Delete(kindApplying, object)
}

// overtake tells the holder of a claim, if there is one, that what it leaves in
// Entra may have been replaced.
func (e *edit) overtake(object string) error {
	held, err := e.claimOn(object)
	if err != nil || held.Holder == "" {
		return err
	}
	held.Overtaken = true
	return putNote(e.w, kindApplying, object, held)
}

// record stores what Apply returned.
func (s *Service) record(ctx context.Context, r *round, failed error) error {
	err := s.transact(ctx, Actor{}, func(e *edit) error {
		r.failures = nil
		for _, p := range r.want.Products {
			if err := s.recordProduct(e, r, p, r.outcome(productObject(p.ID), failed)); err != nil {
				return err
			}
		}
		for _, a := range r.want.Applications {
			if err := s.recordApplication(e, r, a, r.outcome(applicationObject(a.ID), failed)); err != nil {
				return err
			}
		}
		return e.endRound(r)
	})
	if err != nil {
		return fmt.Errorf("appaccess: record what stands in Entra: %w", err)
	}
	return nil
}

// outcome is why an object is not in step; nil: it is.
func (r *round) outcome(object string, failed error) error {
	if err := r.done.Failed[object]; err != nil {
		failed = err
	}
	if failed != nil {
		r.failures = append(r.failures, &ProvisionError{Object: object, Err: failed})
	}
	return failed
}

// recordGone records on an object that was deleted and removed from Entra while
// the round worked, which may have made it there again: it marks it as one that
// is still to be removed.
func (s *Service) recordGone(e *edit, r *round, object string, absent bool, t targets) error {
	if _, err := e.endClaim(r, object); err != nil || absent || s.entra == nil {
		return err
	}
	return e.markPending(t)
}

func (s *Service) recordProduct(e *edit, r *round, want WantedProduct, failed error) error {
	p, err := find[Product](e, want.ID)
	if errors.Is(err, ErrNotFound) {
		return s.recordGone(e, r, productObject(want.ID), want.Absent, targets{products: []string{want.ID}})
	}
	if err != nil {
		return err
	}
	before, got := p, r.done.Products[want.ID]
	if got != (ProductApplication{}) {
		p.Entra = got
	}
	if failed == nil && want.Absent {
		p.Entra = ProductApplication{}
	}
	if failed == nil && !want.Absent && p.Adopt == want.Adopt {
		p.Adopt = ""
	}
	// Names and adoption are settled by what was recorded: no change to compare.
	now := s.wantedProduct(&p)
	current := now.Absent == want.Absent && now.Description == want.Description
	if p.Sync, err = e.settled(r, productObject(p.ID), p.Sync, failed, current); err != nil {
		return err
	}
	if p.Deleted && !p.Sync.Pending {
		return e.w.Delete(KindProduct, p.ID)
	}
	if unchanged(before.Sync, p.Sync) && p.Entra == before.Entra && p.Adopt == before.Adopt {
		return nil // a full Sync must not rewrite the store
	}
	return write(e, &p)
}

func (s *Service) recordApplication(e *edit, r *round, want WantedApplication, failed error) error {
	a, err := find[ClientApplication](e, want.ID)
	if errors.Is(err, ErrNotFound) {
		return s.recordGone(e, r, applicationObject(want.ID), want.Absent, targets{applications: []string{want.ID}})
	}
	if err != nil {
		return err
	}
	before, got := a, r.done.Applications[want.ID]
	if got != (ApplicationRegistration{}) {
		a.Entra = got
	}
	if failed == nil && !want.Absent && a.Adopt == want.Adopt {
		a.Adopt = ""
	}
	now, err := s.wantedApplication(&e.look, &a)
	if err != nil {
		return err
	}
	now.Adopt, now.ApplicationName = want.Adopt, want.ApplicationName
	if a.Sync, err = e.settled(r, applicationObject(a.ID), a.Sync, failed, reflect.DeepEqual(now, want)); err != nil {
		return err
	}
	if a.Deleted && !a.Sync.Pending {
		return e.forgetApplication(a.ID)
	}
	a.settle()
	if unchanged(before.Sync, a.Sync) && a.Entra == before.Entra && a.State == before.State && a.Adopt == before.Adopt {
		return nil
	}
	return write(e, &a)
}

// settled is the state of an object after a round. It is in step if the round
// had claimed it, still has the claim, and did what is wanted now; or if nobody
// had to claim it, and what is wanted stayed the same. Otherwise the round may
// have left in Entra what is no longer wanted: the object is pending, and
// whoever works on it meanwhile loses the right to say otherwise.
func (e *edit) settled(r *round, object string, before Sync, failed error, current bool) (Sync, error) {
	mine, err := e.endClaim(r, object)
	if err != nil {
		return before, err
	}
	inStep := failed == nil && current && (mine || !r.claimed[object] && !before.Pending)
	switch {
	case inStep:
		return Sync{At: e.now}, nil
	case !mine:
		err = e.overtake(object)
	}
	after := Sync{Pending: true, At: e.now}
	if failed != nil {
		after.Error = shorten(failed.Error(), 500)
	}
	return after, err
}

// unchanged reports whether there is nothing new but the time.
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
