package appaccess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// SyncRequest says what [Service.Sync] is to look at.
type SyncRequest struct {
	// All brings everything in step, so that what was changed in Entra by hand
	// is mended, too; else only what is known to be pending.
	All bool
	// Progress is told the steps, one at a time; nil: nobody is.
	Progress func(Progress)
}

// SyncReport says what Sync did.
type SyncReport struct {
	Objects     int // products and applications that were brought in step
	Credentials int // credentials that were removed
	Expired     int // subscriptions that became expired
	// Lost holds, by application ID, credentials that no longer stand in Entra,
	// although nobody removed them here: their owners need new ones.
	Lost map[string][]Credential
}

// syncChunk is how many objects one call of the Provisioner gets.
const syncChunk = 200

// Sync does what is left to do: it finishes what Entra could not follow,
// removes credentials whose overlap or hand-over is over, and marks expired
// subscriptions. It has to be called every few minutes, which [Service.Run]
// does; several replicas may do so at once.
// The error joins everything that failed, a [*ProvisionError] for each object;
// the rest is done nevertheless. For managers only.
func (s *Service) Sync(ctx context.Context, by Actor, req SyncRequest) (SyncReport, error) {
	report := SyncReport{Lost: map[string][]Credential{}}
	if err := s.view(ctx, by, (*look).onlyManager); err != nil {
		return report, err
	}
	var errs []error
	if s.entra != nil {
		errs = append(errs, s.findUnfinished(ctx))
	}
	todo, err := s.todo(ctx, by, req.All)
	if err != nil {
		return report, errors.Join(append(errs, err)...)
	}
	errs = append(errs, s.expire(ctx, by, &report))
	if s.entra != nil {
		errs = append(errs, s.tidyCredentials(ctx, by, &report))
	}
	for chunk := range todo.chunks() {
		if ctx.Err() != nil {
			errs = append(errs, ctx.Err())
			break
		}
		n, err := s.followReported(ctx, chunk, req, report.Lost)
		report.Objects += n
		errs = append(errs, err)
	}
	return report, errors.Join(errs...)
}

// todo lists what is pending, or everything that concerns Entra.
func (s *Service) todo(ctx context.Context, by Actor, every bool) (targets, error) {
	q := Query{Index: bySync, Value: syncPending}
	if every {
		q = Query{}
	}
	var t targets
	err := s.view(ctx, by, func(l *look) error {
		t = targets{}
		if err := l.onlyManager(); err != nil {
			return err
		}
		for p, err := range each[Product](l, q) {
			if err != nil {
				return err
			}
			if inEntra(&p) {
				t.products = append(t.products, p.ID)
			}
		}
		for a, err := range each[ClientApplication](l, q) {
			if err != nil {
				return err
			}
			t.applications = append(t.applications, a.ID)
		}
		return nil
	})
	return t, err
}

// chunks yields the products first, because applications need them.
func (t targets) chunks() func(yield func(targets) bool) {
	return func(yield func(targets) bool) {
		for c := range slices.Chunk(t.products, syncChunk) {
			if !yield(targets{products: c}) {
				return
			}
		}
		for c := range slices.Chunk(t.applications, syncChunk) {
			if !yield(targets{applications: c}) {
				return
			}
		}
	}
}

// Plan says what [Service.Sync] with All would do in Entra, without a write.
// For managers only.
func (s *Service) Plan(ctx context.Context, by Actor) (Plan, error) {
	plan := Plan{Failed: map[string]error{}}
	todo, err := s.todo(ctx, by, true)
	if err != nil || todo.empty() {
		return plan, err
	}
	if s.entra == nil {
		return plan, errNoEntra()
	}
	var want Wanted
	err = s.store.View(ctx, func(r Reader) (err error) {
		want, err = s.wantedOf(&look{Reader: r}, todo)
		return err
	})
	if err != nil {
		return plan, err
	}
	if plan, err = s.entra.Plan(ctx, want); err != nil {
		err = &ProvisionError{Object: "plan", Err: err}
	}
	return plan, err
}

func (s *Service) wantedOf(l *look, t targets) (Wanted, error) {
	var want Wanted
	for _, id := range t.products {
		p, err := find[Product](l, id)
		if err != nil {
			return want, err
		}
		want.Products = append(want.Products, s.wantedProduct(&p))
	}
	for _, id := range t.applications {
		a, err := find[ClientApplication](l, id)
		if err != nil {
			return want, err
		}
		wa, err := s.wantedApplication(l, &a)
		if err != nil {
			return want, err
		}
		want.Applications = append(want.Applications, wa)
	}
	return want, nil
}

// Review reads back from Entra what stands there for products and applications:
// names, app roles, API permissions, credentials. For managers only.
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

// Preflight checks what the identity that works on Entra can do, and says what
// is missing and who may give it. For managers only.
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

// expire marks the subscriptions whose time is over. Gates compare the time
// themselves and do not wait for this.
func (s *Service) expire(ctx context.Context, by Actor, report *SyncReport) error {
	var over []string
	err := s.view(ctx, by, func(l *look) error {
		over = nil
		for v, err := range each[Subscription](l, Query{Index: byExpiry, Value: indexSet}) {
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

// tidyCredentials removes the credentials that are to go: those replaced whose
// overlap is over, those handed over that nobody received, and what a call that
// died left in the making.
func (s *Service) tidyCredentials(ctx context.Context, by Actor, report *SyncReport) error {
	errs := []error{s.lapseHandovers(ctx, by), s.abandon(ctx, by)}
	var over []Credential
	err := s.view(ctx, by, func(l *look) error {
		over = nil
		for c, err := range each[Credential](l, Query{Index: byRemoval, Value: indexSet}) {
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

// lapseHandovers ends the hand-overs that nobody received in time; their
// secrets are then due for removal.
func (s *Service) lapseHandovers(ctx context.Context, by Actor) error {
	return s.update(ctx, by, func(e *edit) error {
		return eachRecord(e, KindHandover, func(rec Record) error {
			var box sealedSecret
			if err := json.Unmarshal(rec.Body, &box); err != nil {
				return err
			}
			if e.now.Before(box.Expires) {
				return nil
			}
			c, err := find[Credential](e, box.ID)
			if ignoreNotFound(err) != nil {
				return err
			}
			if err == nil {
				c.RemoveAfter = e.now
				err = write(e, &c)
			}
			return firstError(ignoreNotFound(err), e.forgetHandover(box.ID), e.audit("secret.lapse", KindApplication, box.ApplicationID, map[string]string{"credential": box.ID}))
		})
	})
}

// abandon removes from Entra what calls that died left in the making.
func (s *Service) abandon(ctx context.Context, by Actor) error {
	var left []operation
	err := s.view(ctx, by, func(l *look) error {
		left = nil
		return eachRecord(l, kindOperation, func(rec Record) error {
			var op operation
			if err := json.Unmarshal(rec.Body, &op); err != nil {
				return err
			}
			if !inForce(op.Process, op.Until, s.clock()) {
				left = append(left, op)
			}
			return nil
		})
	})
	errs := []error{err}
	for _, op := range left {
		errs = append(errs, s.abandonOne(ctx, by, op.ApplicationID))
	}
	return errors.Join(errs...)
}

// errAbandoned keeps a secret from being delivered: the Provisioner then
// removes it again.
var errAbandoned = errors.New("the secret is no longer wanted")

func (s *Service) abandonOne(ctx context.Context, by Actor, applicationID string) error {
	op, err := s.claim(ctx, by, applicationID, false)
	if err != nil {
		return ignoreNotFound(err)
	}
	err = s.claimed(ctx, op.Until, op.prolong, func(ctx context.Context) error {
		c, err := s.entra.AddCredential(ctx, applicationID, CredentialRequest{
			OperationID: op.ID, Kind: SecretCredential, Name: "abandoned", Lifetime: minLifetime,
			Deliver: func(context.Context, Credential, Secret) error { return errAbandoned },
		})
		if err == nil { // it was delivered to the call that died
			err = s.removeUndelivered(ctx, op, c)
		}
		return err
	})
	if errors.Is(err, errClaimLost) {
		return nil // whoever has it now, or the next Sync, goes on with it
	}
	if err != nil && !errors.Is(err, errAbandoned) {
		s.release(ctx, by, op)
		return credentialError(applicationID, err)
	}
	after, cancel := afterwards(ctx)
	defer cancel()
	err = s.transact(after, by, func(e *edit) error {
		if has, err := e.has(op); err != nil || !has { // another call goes on with it
			return err
		}
		return firstError(e.w.Delete(kindOperation, applicationID), e.forgetHandover(op.ID))
	})
	if err != nil {
		s.release(ctx, by, op)
	}
	return err
}

// eachRecord calls fn for every record of a kind; fn may remove it.
func eachRecord(r Reader, kind Kind, fn func(Record) error) error {
	q := Query{Kind: kind, Limit: MaxPage}
	for {
		recs, err := r.List(q)
		if err != nil {
			return err
		}
		for _, rec := range recs {
			if err := fn(rec); err != nil {
				return fmt.Errorf("%s %s: %w", kind, rec.ID, err)
			}
		}
		if len(recs) < MaxPage {
			return nil
		}
		q.After = recs[len(recs)-1].ID
	}
}
