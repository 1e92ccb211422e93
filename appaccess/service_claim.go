package appaccess

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/entragate/entragate/internal/process"
	"github.com/entragate/entragate/internal/wait"
)

// What only one call may work on at a time, of all processes on one store, it
// claims there: an object that Entra is to follow in (kindApplying), a secret
// in the making (kindOperation).

// claimTime is how long a claim lasts unless its holder prolongs it: as long as
// the object is out of reach when the holder died on another machine. Clocks of
// processes on one store must not differ by more than a third of that.
const claimTime = 90 * time.Second

// errClaimLost ends the work of a holder that could not prolong its claim in
// time, or whose claim another took.
var errClaimLost = fmt.Errorf("the claim was lost on the way, to another process or because the store was out of reach: %w", ErrUnavailable)

// inForce reports whether a claim still holds. One of a process that died on
// this machine does not; one of a process that died elsewhere does, until its
// end.
func inForce(id string, until, now time.Time) bool {
	return now.Before(until) && !process.Dead(id)
}

// claimed does work for which a claim was made that lasts until then, and
// prolongs it however long the work takes. If it cannot be kept, the context of
// the work ends before the claim does, whatever the store is doing meanwhile,
// and the error says so: errClaimLost, or that what was claimed is no more.
func (s *Service) claimed(ctx context.Context, until time.Time, prolong func(e *edit, until time.Time) error, work func(context.Context) error) error {
	kept, stop := context.WithCancelCause(ctx)
	safe := func(until time.Time) time.Duration { return until.Sub(s.now()) - claimTime/3 }
	lost := time.AfterFunc(safe(until), func() { stop(errClaimLost) })
	var keeping sync.WaitGroup
	keeping.Go(func() {
		for pause := claimTime / 3; wait.For(kept, pause) == nil; {
			until := s.clock().Add(claimTime)
			err := s.prolong(kept, until, prolong)
			switch {
			case err == nil:
				lost.Reset(safe(until))
				pause = claimTime / 3
			case errors.Is(err, errClaimLost), errors.Is(err, ErrNotFound):
				stop(err)
			default:
				pause = claimTime / 18
			}
		}
	})
	defer keeping.Wait()
	defer stop(nil)
	defer lost.Stop()
	err := work(kept)
	if err != nil && kept.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", context.Cause(kept), err)
	}
	return err
}

func (s *Service) prolong(ctx context.Context, until time.Time, prolong func(e *edit, until time.Time) error) error {
	ctx, cancel := context.WithTimeout(ctx, claimTime/9)
	defer cancel()
	return s.transact(ctx, Actor{Manager: true}, func(e *edit) error { return prolong(e, until) })
}
