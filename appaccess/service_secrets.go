package appaccess

import (
	"context"
	"errors"
	"time"

	"github.com/entragate/entragate/internal/process"
)

// kindOperation is the kind of the record of a secret in the making, one for
// an application. It is there before Entra is asked and goes when the secret is
// recorded, so whatever a crash leaves in Entra is known by its operation ID
// and is replaced by the next secret, or removed by Sync.
const kindOperation Kind = "operation"

// operation is a secret in the making.
type operation struct {
	ID            string    `json:"id"` // also that of the credential
	ApplicationID string    `json:"applicationId"`
	Claim         string    `json:"claim,omitempty"` // of the call that works on it
	Process       string    `json:"process,omitempty"`
	Until         time.Time `json:"until,omitzero"` // end of the claim, should that call have died
}

func (l *look) operation(applicationID string) (operation, error) {
	return note[operation](l, kindOperation, applicationID)
}

// has reports whether the claim on an operation is still the call's that made op.
func (l *look) has(op operation) (bool, error) {
	now, err := l.operation(op.ApplicationID)
	return err == nil && now.Claim == op.Claim, err
}

// keeps fails unless has.
func (l *look) keeps(op operation) error {
	has, err := l.has(op)
	if err == nil && !has {
		err = errClaimLost
	}
	return err
}

func (e *edit) putOperation(op operation) error {
	return putNote(e.w, kindOperation, op.ApplicationID, op)
}

// makeSecret claims the operation, has the secret made and delivered, and
// records it.
func (s *Service) makeSecret(ctx context.Context, by Actor, applicationID string, req SecretRequest, deliver func(context.Context, operation, Credential, Secret) error) (Credential, error) {
	if err := req.check(); err != nil {
		return Credential{}, err
	}
	op, err := s.claim(ctx, by, applicationID, true)
	if err != nil {
		return Credential{}, err
	}
	var c Credential
	err = s.claimed(ctx, op.Until, op.prolong, func(ctx context.Context) (err error) {
		c, err = s.mint(ctx, op, req, deliver)
		return err
	})
	if err == nil {
		c.CreatedBy = by.UserID
		after, cancel := afterwards(ctx)
		defer cancel()
		err = s.recordSecret(after, by, op, &c, req)
		if err != nil && s.recorded(after, c) {
			err = nil // the store did it and its answer was lost
		}
	}
	if err != nil {
		s.release(ctx, by, op)
		return Credential{}, err
	}
	return c, nil
}

// claim takes up the operation of an application that was left, or, if a new
// secret is wanted, begins one.
func (s *Service) claim(ctx context.Context, by Actor, applicationID string, wanted bool) (operation, error) {
	var op operation
	claim := newID()
	err := s.update(ctx, by, func(e *edit) (err error) {
		if err := s.provisioned(e, applicationID); err != nil {
			return err
		}
		if wanted {
			if err := e.roomFor(&Credential{ApplicationID: applicationID, Kind: SecretCredential}); err != nil {
				return err
			}
		}
		if op, err = e.operation(applicationID); err != nil {
			return err
		}
		if op.Claim != "" && inForce(op.Process, op.Until, e.now) {
			if !wanted {
				return notFound(kindOperation, applicationID) // none was left
			}
			return &ConflictError{Field: "credential", Reason: "a secret is being made for the application right now: try again when that is done", Objects: []string{applicationID}}
		}
		if op.ID == "" && !wanted {
			return notFound(kindOperation, applicationID)
		}
		if op.ID == "" {
			op = operation{ID: newID(), ApplicationID: applicationID}
		}
		op.Claim, op.Process, op.Until = claim, process.ID(), e.now.Add(claimTime)
		// A call that died may have sealed a value that is replaced now: left
		// there, its end would take the new secret with it.
		return firstError(e.forgetHandover(op.ID), e.putOperation(op))
	})
	if err != nil && op.Claim == claim {
		s.release(ctx, by, op) // the claim may stand, with its answer lost
	}
	return op, err
}

// release lets the next call take the operation up.
func (s *Service) release(ctx context.Context, by Actor, op operation) {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	err := s.transact(ctx, by, func(e *edit) error {
		if has, err := e.has(op); err != nil || !has {
			return err
		}
		return e.putOperation(operation{ID: op.ID, ApplicationID: op.ApplicationID})
	})
	if err != nil {
		s.log.WarnContext(ctx, "the claim on a secret in the making stays until it runs out", "application", op.ApplicationID, "error", err)
	}
}

// prolong keeps the claim on the operation.
func (op operation) prolong(e *edit, until time.Time) error {
	if _, err := e.application(op.ApplicationID); err != nil {
		return err
	}
	if err := e.keeps(op); err != nil {
		return err
	}
	op.Until = until
	return e.putOperation(op)
}

// mint has Entra make the secret. A value that was delivered to a call that
// died is lost: that secret is removed and another one made.
func (s *Service) mint(ctx context.Context, op operation, req SecretRequest, deliver func(context.Context, operation, Credential, Secret) error) (Credential, error) {
	for range 2 {
		delivered := false
		c, err := s.entra.AddCredential(ctx, op.ApplicationID, CredentialRequest{
			OperationID: op.ID, Kind: SecretCredential, Name: req.Name, Lifetime: req.Lifetime,
			Deliver: func(ctx context.Context, c Credential, v Secret) error {
				c.ID, c.ApplicationID = op.ID, op.ApplicationID
				if err := deliver(ctx, op, c, v); err != nil {
					return err
				}
				delivered = true
				return nil
			},
		})
		c.ID, c.ApplicationID, c.Kind, c.Name = op.ID, op.ApplicationID, SecretCredential, req.Name
		if err == nil && delivered {
			return c, nil
		}
		if err == nil {
			err = s.removeUndelivered(ctx, op, c)
		}
		if err != nil {
			return Credential{}, credentialError(op.ApplicationID, err)
		}
	}
	return Credential{}, credentialError(op.ApplicationID, errors.New("the value of the new secret was not delivered"))
}

// removeUndelivered removes a secret whose value went to a call that died. Had
// that call only stood still, the secret may by now be somebody's.
func (s *Service) removeUndelivered(ctx context.Context, op operation, c Credential) error {
	err := s.store.View(ctx, func(r Reader) error {
		return (&look{Reader: r}).keeps(op)
	})
	if err != nil {
		return err
	}
	return s.entra.RemoveCredential(ctx, op.ApplicationID, c)
}

// recordSecret ends the operation. With a hand-over the rotation waits until
// the owner has the new secret.
func (s *Service) recordSecret(ctx context.Context, by Actor, op operation, c *Credential, req SecretRequest) error {
	return s.update(ctx, by, func(e *edit) error {
		if _, err := e.application(op.ApplicationID); err != nil {
			return err
		}
		has, err := e.has(op)
		if err != nil {
			return err
		}
		if !has {
			return &ConflictError{Field: "credential", Reason: "another call took over: make a new secret", Objects: []string{op.ApplicationID}}
		}
		c.Created = e.now
		handover, err := e.handover(c.ID)
		if ignoreNotFound(err) != nil {
			return err
		}
		value := "sealed for the owner"
		if handover == nil {
			value = "shown to the actor"
		}
		if req.Rotate && handover == nil {
			if err := e.replaceOthers(c, req.Overlap); err != nil {
				return err
			}
		}
		return firstError(e.addCredential(c, value), e.w.Delete(kindOperation, op.ApplicationID))
	})
}

// recorded reports whether a secret was recorded, not one that another call
// made in its place.
func (s *Service) recorded(ctx context.Context, c Credential) bool {
	return s.store.View(ctx, func(r Reader) error {
		found, err := find[Credential](r, c.ID)
		if err == nil && found.KeyID != c.KeyID {
			err = errClaimLost
		}
		return err
	}) == nil
}

// replaceOthers sets the end of the secrets that a new one replaces.
func (e *edit) replaceOthers(c *Credential, overlap time.Duration) error {
	standing, err := e.credentials(c.ApplicationID)
	if err != nil {
		return err
	}
	end := e.now.Add(overlap)
	for _, o := range standing {
		if o.Kind != SecretCredential || o.ID == c.ID || !o.RemoveAfter.IsZero() && o.RemoveAfter.Before(end) {
			continue
		}
		o.RemoveAfter = end
		err := firstError(e.forgetHandover(o.ID), write(e, &o), e.audit("credential.replace", KindApplication, o.ApplicationID, map[string]string{
			"credential": o.ID, "by": c.ID, "removeAfter": end.Format(time.RFC3339),
		}))
		if err != nil {
			return err
		}
	}
	return nil
}
