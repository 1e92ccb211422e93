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

// keeper is the actor of Run. User IDs have no colon, so nobody can stop Run by
// blocking a user with its ID.
var keeper = Manager("entragate:run")

// Run calls [Service.Sync] at once and then again and again until the context ends;
// then it returns nil. The pauses are about every (0: 5 minutes; at least a second),
// each up to a tenth shorter or longer, so that replicas do not all work at the same
// moment. Every replica with a Provisioner may run it. Failures are logged and tried
// again the next time. Credentials that are missing in Entra are logged as warnings,
// because only their owners can replace them.
//
// Run takes only objects that are known to be pending. Changes that were made in
// Entra by hand are found by Sync with All, which reads everything there: call that
// yourself, for example once a day. In the audit trail the actor of Run is
// entragate:run.
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
	for id, lost := range report.MissingInEntra {
		s.log.WarnContext(ctx, "credentials are missing in Entra: their owner needs new ones", "application", id, "credentials", ids(lost, func(c *Credential) string { return c.ID }))
	}
	if report.Objects+report.Credentials+report.Expired+report.Unconfirmed > 0 {
		s.log.InfoContext(ctx, "sync", "objects", report.Objects, "credentials", report.Credentials, "subscriptions", report.Expired, "unconfirmed", report.Unconfirmed)
	}
}
