package appaccess

import (
	"context"
	"time"
)

// makeSecret creates a secret; keep stores the value or its sealed form.
func (s *Service) makeSecret(ctx context.Context, by Actor, applicationID string, req SecretRequest, keep func(*edit, *Credential, Secret) error) (Credential, error) {
	if err := req.check(); err != nil {
		return Credential{}, err
	}
	c := Credential{ID: newID(), ApplicationID: applicationID, Kind: SecretCredential, Name: req.Name, CreatedBy: by.UserID}
	return s.makeCredential(ctx, by, c, CredentialRequest{Lifetime: req.Lifetime}, keep)
}

// makeCredential creates a credential. Under the application's lock, the Provisioner
// records the operation, adds and tries the credential, and then records in one
// transaction that the credential belongs to the application, together with what keep
// writes. If the call dies before that, the next call that locks the application
// removes the credential from Entra.
func (s *Service) makeCredential(ctx context.Context, by Actor, c Credential, req CredentialRequest, keep func(*edit, *Credential, Secret) error) (Credential, error) {
	if err := s.view(ctx, by, func(l *look) error { return s.mayAdd(l, &c) }); err != nil {
		return Credential{}, err
	}
	var refused error
	req.OperationID, req.Kind, req.Name = c.ID, c.Kind, c.Name
	req.Deliver = func(_ context.Context, w Writer, made Credential, v Secret) error {
		refused = s.edits(w, by, func(e *edit) error {
			if err := s.mayAdd(&e.look, &c); err != nil { // the application may have been deleted since
				return err
			}
			c.KeyID, c.Created = made.KeyID, e.now
			if c.Kind == SecretCredential {
				c.Hint, c.Start, c.End = made.Hint, made.Start, made.End
			}
			return keep(e, &c, v)
		})
		return refused
	}
	_, err := s.entra.AddCredential(ctx, c.ApplicationID, req)
	switch {
	case err != nil && refused != nil:
		return Credential{}, refused
	case err != nil:
		return Credential{}, credentialError(c.ApplicationID, err)
	}
	return c, nil
}

// edits runs fn in a transaction that the Provisioner began, for an actor who may
// write.
func (s *Service) edits(w Writer, by Actor, fn func(*edit) error) error {
	e, err := s.edit(w, by)
	if err != nil {
		return err
	}
	if err := e.admit(); err != nil {
		return err
	}
	return fn(e)
}

// mayAdd checks that an application can get one more credential now.
func (s *Service) mayAdd(l *look, c *Credential) error {
	if err := s.provisioned(l, c.ApplicationID); err != nil {
		return err
	}
	return l.roomFor(c, s.clock())
}

// replaceOthers sets the end of the credentials of a kind that a new one replaces.
func (e *edit) replaceOthers(c *Credential, overlap time.Duration) error {
	standing, err := e.credentials(c.ApplicationID)
	if err != nil {
		return err
	}
	for _, o := range standing {
		if o.Kind != c.Kind || o.ID == c.ID {
			continue
		}
		if err := e.replace(&o, c, e.now.Add(overlap)); err != nil {
			return err
		}
	}
	return nil
}

// replace sets the end of a replaced credential: the end of the overlap, or its own
// end if that is earlier.
func (e *edit) replace(o, c *Credential, end time.Time) error {
	if !o.End.IsZero() && o.End.Before(end) {
		end = o.End
	}
	if !o.RemoveAfter.IsZero() && !end.Before(o.RemoveAfter) {
		return nil
	}
	o.RemoveAfter = end
	return firstError(e.forgetOneTimeSecret(o.ID), write(e, o), e.audit("credential.replace", KindApplication, o.ApplicationID, map[string]string{
		"credential": o.ID, "by": c.ID, "removeAfter": end.Format(time.RFC3339),
	}))
}
