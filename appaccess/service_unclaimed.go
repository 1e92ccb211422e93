package appaccess

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entragate/entragate/internal/process"
)

// kindUnclaimed is the kind of the record of a round that works on objects
// without a claim: a full Sync looks at what is in step, and claiming that would
// have every other call wait. Such a round may write to Entra what it had read
// before another call changed it, which its outcome tells. Where the outcome
// cannot be recorded, this is what is left, and the objects are looked at again.
const kindUnclaimed Kind = "unclaimed"

type unclaimed struct {
	Process      string    `json:"process,omitempty"`
	Until        time.Time `json:"until"` // should that process have died elsewhere
	Products     []string  `json:"products,omitempty"`
	Applications []string  `json:"applications,omitempty"`
}

// unclaimedTime is far more than a round takes. One that takes longer goes on;
// its objects are looked at once more. Only if it then cannot store its outcome
// either is what it wrote last not known of until the next full Sync.
const unclaimedTime = 30 * time.Minute

func (e *edit) putUnclaimed(r *round) error {
	return putNote(e.w, kindUnclaimed, r.holder, unclaimed{
		Process: process.ID(), Until: e.now.Add(unclaimedTime),
		Products: r.unclaimed.products, Applications: r.unclaimed.applications,
	})
}

// lookAgain marks what a round without a recorded outcome may have written to
// as pending. If there is no trace of it there is nothing to do.
func (e *edit) lookAgain(round string) error {
	left, err := note[unclaimed](e, kindUnclaimed, round)
	if err != nil {
		return err
	}
	return firstError(e.markPending(targets{left.Products, left.Applications}), e.w.Delete(kindUnclaimed, round))
}

// markPending has objects looked at again, also by whoever works on them now,
// and what was deleted removed once more.
func (e *edit) markPending(t targets) error {
	for _, id := range t.products {
		p, err := find[Product](e, id)
		if errors.Is(err, ErrNotFound) {
			p, err = Product{ID: id, Deleted: true, Suspended: true, State: NotPublished, Updated: e.now}, nil
		}
		if err != nil {
			return err
		}
		p.Sync = Sync{Pending: true, At: e.now}
		if err := firstError(e.overtake(productObject(id)), write(e, &p)); err != nil {
			return err
		}
	}
	for _, id := range t.applications {
		a, err := find[ClientApplication](e, id)
		if errors.Is(err, ErrNotFound) {
			a, err = ClientApplication{ID: id, Name: id, Deleted: true, State: ApplicationSuspended, Updated: e.now}, nil
		}
		if err != nil {
			return err
		}
		a.Sync = Sync{Pending: true, At: e.now}
		if err := firstError(e.overtake(applicationObject(id)), write(e, &a)); err != nil {
			return err
		}
	}
	return nil
}

// findUnfinished looks for rounds that ended without a recorded outcome.
func (s *Service) findUnfinished(ctx context.Context) error {
	var rounds []string
	err := s.store.View(ctx, func(r Reader) error {
		rounds = nil
		return eachRecord(r, kindUnclaimed, func(rec Record) error {
			u, err := note[unclaimed](r, kindUnclaimed, rec.ID)
			if err != nil || !inForce(u.Process, u.Until, s.clock()) { // which is bad is told below
				rounds = append(rounds, rec.ID)
			}
			return nil
		})
	})
	errs := []error{err}
	for _, id := range rounds {
		errs = append(errs, s.transact(ctx, Actor{}, func(e *edit) error { return e.lookAgain(id) }))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("appaccess: look for a full Sync that did not end: %w", err)
	}
	return nil
}
