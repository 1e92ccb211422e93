package appaccess

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	runEvery    = 5 * time.Minute
	minRunEvery = time.Second
)

// keeper is for whom Run works. No user's ID holds a colon, so nobody can stop
// it by blocking a user of its name.
var keeper = Manager("entragate:run")

// Run keeps Entra in step until the context ends, and then returns nil: it
// calls [Service.Sync] at once and then again and again, with pauses of about
// every (0: 5 minutes; at least a second), each up to a tenth shorter or
// longer, so that replicas do not all work at the same moment. Every replica
// with a Provisioner may run it. What fails is logged and tried again the next
// time; credentials that are gone from Entra are logged as warnings, since only
// their owners can replace them.
//
// It looks at what is known to be pending. What was changed in Entra by hand is
// found by Sync with All, which reads everything there: call that by yourself,
// once a day for example. The audit trail shows what Run did as entragate:run.
func (s *Service) Run(ctx context.Context, every time.Duration) error {
	if every == 0 {
		every = runEvery
	}
	if every < minRunEvery {
		return &InvalidError{"every", fmt.Sprintf("must be at least %v, or 0 for %v", minRunEvery, runEvery)}
	}
	for ctx.Err() == nil {
		s.keep(ctx)
		if s.sleep(ctx, every*9/10+rand.N(every/5)) != nil {
			break
		}
	}
	return nil
}

// keep is one turn of Run.
func (s *Service) keep(ctx context.Context) {
	report, err := s.Sync(ctx, keeper, SyncRequest{})
	if err != nil && ctx.Err() == nil {
		s.log.ErrorContext(ctx, "sync left something undone: it is tried again", "error", err)
	}
	for id, lost := range report.Lost {
		s.log.WarnContext(ctx, "credentials no longer stand in Entra: their owner needs new ones", "application", id, "credentials", ids(lost, func(c *Credential) string { return c.ID }))
	}
	if report.Objects+report.Credentials+report.Expired > 0 {
		s.log.InfoContext(ctx, "sync", "objects", report.Objects, "credentials", report.Credentials, "subscriptions", report.Expired)
	}
}
