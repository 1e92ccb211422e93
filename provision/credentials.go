package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/entragate/entragate/appaccess"
)

// maxSecrets is the most secrets that we keep on an application: the one in use
// and, during an overlap, its successor.
const maxSecrets = 2

const defaultLifetime = 365 * 24 * time.Hour

// AddCredential adds a credential to a client application that was applied. A
// secret is minted, probed ([Config.Probe]), handed over with req.Deliver and
// then recorded. If anything fails before that, what was minted is removed,
// at once or, after a crash, by the next call or Apply, so that one that nobody
// took does not stay. A call with the OperationID of one that was finished
// returns the same credential, without its value.
//
// At most two secrets of ours stand at once; a third is refused with a
// [*appaccess.ConflictError]. Credentials that others made are neither counted
// nor touched.
func (e *Engine) AddCredential(ctx context.Context, applicationID string, req appaccess.CredentialRequest) (appaccess.Credential, error) {
	draft, err := e.draft(applicationID, req)
	if err != nil {
		return appaccess.Credential{}, err
	}
	var made appaccess.Credential
	err = e.withClient(ctx, applicationID, func(r *run, o *object) error {
		made, err = r.addCredential(ctx, o, req, draft)
		return err
	})
	return made, err
}

// RemoveCredential removes a credential of ours. One that is gone is no error;
// one that we did not make is refused with [ErrNotOurs].
func (e *Engine) RemoveCredential(ctx context.Context, applicationID string, c appaccess.Credential) error {
	return e.withClient(ctx, applicationID, func(r *run, o *object) error {
		return r.removeCredential(ctx, o, c)
	})
}

// withClient works on one client application under its lease.
func (e *Engine) withClient(ctx context.Context, id string, f func(*run, *object) error) error {
	if id == "" {
		return &appaccess.InvalidError{Field: "applicationId", Rule: "must not be empty"}
	}
	r := e.newRun(nil)
	o := e.newObject(kindApplication, id)
	if err := r.acquire(ctx, o); err != nil {
		return err
	}
	defer r.release(ctx, o)
	if err := r.load(ctx, []*object{o}); err != nil {
		return err
	}
	if o.entry.ObjectID == "" || !o.entry.Removed.IsZero() {
		return fmt.Errorf("%s has no application in Entra yet: apply it first: %w", o.name, appaccess.ErrNotFound)
	}
	if err := r.readCredentials(ctx, o); err != nil {
		return err
	}
	return f(r, o)
}

// readCredentials reads the application until it shows the credentials that we
// know of, as long as a replica may lag behind.
func (r *run) readCredentials(ctx context.Context, o *object) error {
	var b backoff
	waited := time.Duration(0)
	for try := 0; ; try++ {
		o.readAt = r.e.cfg.Now()
		apps, errs := readAll(ctx, r, o, []AppRef{{ObjectID: o.entry.ObjectID}}, r.applications)
		if errs[0] != nil && !notFound(errs[0]) {
			return o.problem(Unknown, string(opRead), errs[0])
		}
		o.app = &apps[0]
		if errs[0] == nil {
			o.hideRemoved()
			r.readFederated(ctx, []*object{o})
		}
		lagging := o.readAt.Before(o.fresh) && !r.outwaited(waited, try)
		switch {
		case o.err != nil:
			return o.err
		case errs[0] == nil && (!lagging || len(o.lostCredentials()) == 0):
			return nil
		case errs[0] != nil && !lagging && try >= confirmations:
			return o.problem(Permanent, string(opRead), fmt.Errorf("the application is not in Entra; apply brings it back: %w", errs[0]))
		}
		wait, _ := b.next(r.e, isLag, nil)
		b.lag = 0
		waited += wait
		if err := r.pause(ctx, o, wait); err != nil {
			return o.problem(Unknown, string(opRead), err)
		}
	}
}

func (r *run) addCredential(ctx context.Context, o *object, req appaccess.CredentialRequest, d draft) (appaccess.Credential, error) {
	if err := r.sweep(ctx, o); err != nil {
		return appaccess.Credential{}, err
	}
	for i, c := range o.entry.Credentials {
		if c.OperationID != req.OperationID {
			continue
		}
		if o.stands(c.Credential) {
			return c.Credential, nil
		}
		o.entry.Credentials = slices.Delete(slices.Clone(o.entry.Credentials), i, i+1)
		break
	}
	switch req.Kind {
	case appaccess.SecretCredential:
		if err := r.makeRoom(ctx, o); err != nil {
			return appaccess.Credential{}, err
		}
		return r.addSecret(ctx, o, req, d.credential)
	case appaccess.CertificateCredential:
		return r.addCertificate(ctx, o, req, d)
	}
	return r.addFederated(ctx, o, req, d)
}

// makeRoom removes our secrets that have expired and refuses a third one.
func (r *run) makeRoom(ctx context.Context, o *object) error {
	var standing []string
	for _, c := range o.entry.Credentials {
		switch {
		case c.Kind != appaccess.SecretCredential:
		case c.End.Before(r.e.cfg.Now()):
			if err := r.removeCredential(ctx, o, c.Credential); err != nil {
				return err
			}
		case o.stands(c.Credential):
			standing = append(standing, c.KeyID)
		}
	}
	if len(standing) >= maxSecrets {
		return &appaccess.ConflictError{
			Field: "credentials", Objects: standing,
			Reason: fmt.Sprintf("%s has %d secrets already: remove one, or wait until its overlap has ended", o.name, len(standing)),
		}
	}
	return nil
}

// attempt records, before a credential is sent, the label by which it will be
// known again.
func (r *run) attempt(ctx context.Context, o *object, req appaccess.CredentialRequest) (Attempt, error) {
	a := Attempt{
		Label:       labelPrefix + strings.ReplaceAll(uuid.NewString(), "-", "")[:20],
		OperationID: req.OperationID, Kind: req.Kind, At: r.e.cfg.Now(),
	}
	o.entry.Attempts = append(slices.Clone(o.entry.Attempts), a)
	return a, r.save(ctx, o)
}

const labelPrefix = "entragate-"

// labelled is a credential's display name in Entra: the name that people gave,
// and the label. Entra shortens what is longer than 90 characters.
func labelled(name, label string) string {
	if name == "" {
		return label
	}
	return clip(name, 90-1-len(label)) + " " + label
}

// labelForm is a label at the end of a name, as only we give it.
var labelForm = regexp.MustCompile(`(^| )` + labelPrefix + `[0-9a-f]{20}$`)

func hasLabel(displayName, label string) bool { return strings.HasSuffix(displayName, label) }

// acknowledge records that the taker has the credential.
func (r *run) acknowledge(ctx context.Context, o *object, a Attempt, c appaccess.Credential) error {
	o.forget(a.Label)
	o.entry.Credentials = append(slices.Clone(o.entry.Credentials), ManagedCredential{OperationID: a.OperationID, Credential: c})
	return r.save(ctx, o)
}

func (o *object) forget(label string) {
	o.entry.Attempts = slices.DeleteFunc(slices.Clone(o.entry.Attempts), func(a Attempt) bool { return a.Label == label })
}

func (o *object) forgetCredential(keyID string) {
	o.entry.Credentials = slices.DeleteFunc(slices.Clone(o.entry.Credentials), func(c ManagedCredential) bool { return c.KeyID == keyID })
}

// addSecret mints, probes, hands over and records.
func (r *run) addSecret(ctx context.Context, o *object, req appaccess.CredentialRequest, c appaccess.Credential) (appaccess.Credential, error) {
	a, p, err := r.mint(ctx, o, req, c)
	if err != nil {
		return appaccess.Credential{}, err
	}
	c.ID, c.KeyID, c.Hint = p.KeyID, p.KeyID, p.Hint
	c.Start, c.End, c.Created = p.Start, p.End, r.e.cfg.Now()
	err = r.probe(ctx, o, p.SecretText)
	if err == nil {
		if err = req.Deliver(ctx, c, p.SecretText); err != nil {
			err = o.problem(Permanent, "hand the secret over", err)
		}
	}
	if err != nil {
		return appaccess.Credential{}, errors.Join(err, r.discard(ctx, o, a))
	}
	return c, r.acknowledge(ctx, o, a, c)
}

// mint adds a secret, once. After an unknown outcome it looks for what may have
// been added, removes it and starts anew under another label.
func (r *run) mint(ctx context.Context, o *object, req appaccess.CredentialRequest, c appaccess.Credential) (Attempt, Password, error) {
	var b backoff
	for {
		a, err := r.attempt(ctx, o, req)
		if err != nil {
			return a, Password{}, err
		}
		var p Password
		now := r.e.cfg.Now()
		err = r.write(ctx, o, r.e.dir, opAddSecret, func(ctx context.Context) (err error) {
			p, err = r.e.dir.AddPassword(ctx, o.entry.ObjectID, PasswordRequest{
				DisplayName: labelled(c.Name, a.Label), Start: now, End: now.Add(lifetime(req)),
			})
			return err
		})
		if err == nil {
			r.wrote(o)
			o.app.Passwords = append(slices.Clone(o.app.Passwords), Password{KeyID: p.KeyID, DisplayName: labelled(c.Name, a.Label), Start: p.Start, End: p.End})
			o.setKeyID(a.Label, p.KeyID)
			a.KeyID = p.KeyID
			return a, p, r.save(ctx, o)
		}
		if kindOf(err) != Unknown {
			o.forget(a.Label) // it was refused: nothing stands
			return a, Password{}, errors.Join(err, r.save(ctx, o))
		}
		wait, more := b.next(r.e, isUnknown, errors.Unwrap(err))
		if !more || ctx.Err() != nil || errors.Is(err, ErrLeaseLost) {
			return a, Password{}, err
		}
		if err := r.lookFor(ctx, o, a, wait); err != nil {
			return a, Password{}, err
		}
	}
}

func lifetime(req appaccess.CredentialRequest) time.Duration {
	if req.Lifetime == 0 {
		return defaultLifetime
	}
	return req.Lifetime
}

func (o *object) setKeyID(label, keyID string) {
	o.entry.Attempts = slices.Clone(o.entry.Attempts)
	for i := range o.entry.Attempts {
		if o.entry.Attempts[i].Label == label {
			o.entry.Attempts[i].KeyID = keyID
		}
	}
}

// lookFor reads a few times whether an attempt of unknown outcome shows, and
// removes what it left. One that does not show stays recorded: Apply waits for
// it as long as replicas may lag.
func (r *run) lookFor(ctx context.Context, o *object, a Attempt, wait time.Duration) error {
	r.wrote(o)
	for range confirmations {
		if err := r.pause(ctx, o, wait); err != nil {
			return o.problem(Unknown, string(opAddSecret), err)
		}
		apps, errs := readAll(ctx, r, o, []AppRef{{ObjectID: o.entry.ObjectID}}, r.applications)
		if errs[0] == nil {
			o.app.Passwords = apps[0].Passwords
			if o.shows(a) {
				return r.sweep(ctx, o)
			}
		} else if !notFound(errs[0]) {
			return o.problem(Unknown, string(opRead), errs[0])
		}
	}
	return nil
}

// probe tries a new secret until it works.
func (r *run) probe(ctx context.Context, o *object, secret Secret) error {
	if r.e.cfg.Probe == nil || o.entry.Disabled {
		return nil
	}
	var last error
	err := r.await(ctx, o, "try the new secret", func(ctx context.Context) (bool, error) {
		last = bounded(ctx, func(ctx context.Context) error { return r.e.cfg.Probe(ctx, o.entry.AppID, secret) })
		return last == nil, context.Cause(ctx)
	})
	if err != nil && last != nil && ctx.Err() == nil {
		return &Error{Kind: Lag, Op: "try the new secret", Object: o.name, Err: last}
	}
	return err
}

// discard removes what an attempt left, also when the caller has gone. If that
// fails too, the next call or Apply does it: the attempt is recorded.
func (r *run) discard(ctx context.Context, o *object, a Attempt) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if s := r.cleanUp(o, a); s != nil {
		if err := s.run(ctx); err != nil {
			r.e.cfg.Logger.Warn("unfinished credential not removed; the next Apply does it", slog.String("object", o.name), slog.Any("error", err))
			return nil
		}
		s.model()
	}
	o.forget(a.Label)
	return r.save(ctx, o)
}

// sweep removes what earlier attempts left, as far as it shows.
func (r *run) sweep(ctx context.Context, o *object) error {
	swept := false
	for s := r.nextCleanUp(o); s != nil; s = r.nextCleanUp(o) {
		if err := s.run(ctx); err != nil {
			return err
		}
		s.model()
		swept = true
	}
	late := slices.DeleteFunc(slices.Clone(o.entry.Attempts), func(a Attempt) bool {
		return !o.shows(a) && a.At.Add(r.e.cfg.LagBudget).Before(o.readAt)
	})
	if swept || len(late) != len(o.entry.Attempts) {
		o.entry.Attempts = late
		return r.save(ctx, o)
	}
	return nil
}

// nextCleanUp removes a credential that nobody acknowledged.
func (r *run) nextCleanUp(o *object) *step {
	for _, a := range o.entry.Attempts {
		if s := r.cleanUp(o, a); s != nil {
			return s
		}
	}
	return nil
}

// shows reports whether what an attempt added is to be seen.
func (o *object) shows(a Attempt) bool {
	return o.app != nil && (o.passwordOf(a) >= 0 || o.keyOf(a) >= 0 || o.federatedOf(a) >= 0)
}

func (o *object) passwordOf(a Attempt) int {
	return slices.IndexFunc(o.app.Passwords, func(p Password) bool { return hasLabel(p.DisplayName, a.Label) })
}

func (r *run) cleanUp(o *object, a Attempt) *step {
	if i := o.passwordOf(a); i >= 0 {
		return r.secretRemoval(o, o.app.Passwords[i], "unfinished secret "+quoted(o.app.Passwords[i].DisplayName))
	}
	if i := o.keyOf(a); i >= 0 {
		return r.keyRemoval(o, i, "unfinished certificate "+quoted(o.app.Keys[i].DisplayName))
	}
	if i := o.federatedOf(a); i >= 0 {
		return r.federatedRemoval(o, i, "unfinished federated credential "+quoted(o.federated[i].Name))
	}
	return nil
}

func (r *run) secretRemoval(o *object, p Password, detail string) *step {
	return &step{
		action: appaccess.ActionRemove, detail: detail, op: opRemoveSecret,
		run: func(ctx context.Context) error {
			return r.write(ctx, o, r.e.dir, opRemoveSecret, func(ctx context.Context) error {
				return r.e.dir.RemovePassword(ctx, o.app.ObjectID, p.KeyID)
			})
		},
		model: func() {
			o.app.Passwords = slices.DeleteFunc(slices.Clone(o.app.Passwords), func(q Password) bool { return q.KeyID == p.KeyID })
		},
	}
}

// removeCredential takes a credential that we recorded, or whose label shows
// that we made it, out of Entra and then out of the journal.
func (r *run) removeCredential(ctx context.Context, o *object, c appaccess.Credential) error {
	known := slices.ContainsFunc(o.entry.Credentials, func(m ManagedCredential) bool { return m.KeyID == c.KeyID && c.KeyID != "" })
	if c.Kind == appaccess.FederatedCredential {
		r.listFederated(ctx, o)
	}
	s, ours := r.removalOf(o, c)
	switch {
	case o.err != nil:
		return o.err
	case s != nil && !known && !ours:
		return o.problem(Permanent, opRemoving(c.Kind), fmt.Errorf("%w: credential %s was not made by it", ErrNotOurs, c.KeyID))
	case s != nil:
		if err := s.run(ctx); err != nil {
			return err
		}
		s.model()
	}
	if s == nil && !known {
		return nil
	}
	o.forgetCredential(c.KeyID)
	return r.save(ctx, o)
}

func opRemoving(kind appaccess.CredentialKind) string {
	return "remove a credential of the kind " + string(kind)
}

// removalOf is the step that removes a credential, if it stands, and whether
// its label shows that we made it.
func (r *run) removalOf(o *object, c appaccess.Credential) (*step, bool) {
	switch c.Kind {
	case appaccess.SecretCredential:
		for _, p := range o.app.Passwords {
			if p.KeyID == c.KeyID {
				return r.secretRemoval(o, p, "secret "+c.KeyID), labelForm.MatchString(p.DisplayName)
			}
		}
	case appaccess.CertificateCredential:
		for i, k := range o.app.Keys {
			if k.KeyID == c.KeyID {
				return r.keyRemoval(o, i, "certificate "+c.KeyID), labelForm.MatchString(k.DisplayName)
			}
		}
	case appaccess.FederatedCredential:
		for i, f := range o.federated {
			if f.ID == c.KeyID {
				return r.federatedRemoval(o, i, "federated credential "+f.Name), labelForm.MatchString(f.Name)
			}
		}
	}
	return nil, false
}
