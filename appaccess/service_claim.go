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
// the object is out of reach when the holder died on another machine.
const claimTime = 90 * time.Second

// errClaimLost ends the work of a holder that could not prolong its claims in
// time, or whose claim another took over.
var errClaimLost = fmt.Errorf("the claim on the object was lost on the way, to another process or because the store was out of reach: %w", ErrUnavailable)

// inForce reports whether a claim still holds. One of a process that died on
// this machine does not; one of a process that died elsewhere does, until its
// end.
func inForce(id string, until, now time.Time) bool {
	return now.Before(until) && !process.Dead(id)
}

// claimed does work for which claims were just made, and prolongs them however
// long it takes. The context of the work ends while the claims are still in
// force if they cannot be kept; the error is then errClaimLost.
func (s *Service) claimed(ctx context.Context, prolong func(e *edit, until time.Time) error, work func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	until := s.now().Add(claimTime)
	var keeping sync.WaitGroup
	keeping.Go(func() {
		for pause := claimTime / 3; wait.For(ctx, pause) == nil; {
			next := s.now().Add(claimTime)
			err := s.prolong(ctx, next, prolong)
			switch {
			case err == nil:
				until, pause = next, claimTime/3
			case errors.Is(err, errClaimLost) || s.now().After(until.Add(-claimTime/3)):
				stop(errClaimLost)
			default:
				pause = claimTime / 18
			}
		}
	})
	err := work(ctx)
	stop(nil)
	keeping.Wait()
	if err != nil && errors.Is(context.Cause(ctx), errClaimLost) {
		return errClaimLost
	}
	return err
}

func (s *Service) prolong(ctx context.Context, until time.Time, prolong func(e *edit, until time.Time) error) error {
	ctx, cancel := context.WithTimeout(ctx, claimTime/9)
	defer cancel()
	_, err := s.store.Update(ctx, func(w Writer) error {
		e, err := s.edit(w, Actor{})
		if err != nil {
			return err
		}
		return prolong(e, until)
	})
	return err
}
