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
// secret is created, tried with [Config.Probe], and delivered with req.Deliver in
// the transaction that records it. If anything fails before that, the secret is
// removed: at once or, after a crash, by the next call or Apply. A second call
// with the same OperationID returns the same credential without its value.
//
// An application has at most two secrets of ours; a third is refused with a
// [*appaccess.ConflictError]. Credentials that others made are not counted and not
// changed.
func (e *Reconciler) AddCredential(ctx context.Context, applicationID string, req appaccess.CredentialRequest) (appaccess.Credential, error) {
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

// RemoveCredential removes a credential that we made. It succeeds if the
// credential does not exist; a credential of others is refused with [ErrNotOurs].
func (e *Reconciler) RemoveCredential(ctx context.Context, applicationID string, c appaccess.Credential, record func(w appaccess.Writer, unconfirmed int) error) error {
	return e.withClient(ctx, applicationID, func(r *run, o *object) error {
		if err := r.removeCredential(ctx, o, c); err != nil {
			return err
		}
		return r.saveAndUnlock(ctx, o, o.wrote, func(w appaccess.Writer) error {
			if record == nil {
				return nil
			}
			return record(w, o.unconfirmed())
		})
	})
}

// withClient calls f for one client application while its lock is held.
func (e *Reconciler) withClient(ctx context.Context, id string, f func(*run, *object) error) error {
	if id == "" {
		return &appaccess.InvalidError{Field: "applicationId", Rule: "must not be empty"}
	}
	r := e.newRun(nil)
	o := e.newObject(kindApplication, id)
	if err := r.acquire(ctx, o); err != nil {
		return err
	}
	defer r.unlock(ctx, o)
	if o.entry.ObjectID == "" || !o.entry.Removed.IsZero() {
		return fmt.Errorf("%s has no application in Entra yet: apply it first: %w", o.name, appaccess.ErrNotFound)
	}
	if err := r.readCredentials(ctx, o); err != nil {
		return err
	}
	return f(r, o)
}

// readCredentials reads the application. While a replica may lag, it reads again
// until the application shows the recorded credentials.
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
			r.hideRemoved(o)
			r.readFederated(ctx, []*object{o})
		}
		lagging := o.readAt.Before(o.lagsUntil) && !r.waitedEnough(waited, try)
		switch {
		case o.err != nil:
			return o.err
		case errs[0] == nil && (!lagging || len(o.missingCredentials()) == 0):
			return nil
		case errs[0] != nil && !lagging && try >= missingReads:
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
	if err := r.removePending(ctx, o); err != nil {
		return appaccess.Credential{}, err
	}
	for i, c := range o.entry.Credentials {
		if c.OperationID != req.OperationID {
			continue
		}
		if o.hasCredential(c.Credential) {
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

// makeRoom removes our expired secrets. If two remain, it returns a ConflictError.
func (r *run) makeRoom(ctx context.Context, o *object) error {
	var present []string
	for _, c := range o.entry.Credentials {
		switch {
		case c.Kind != appaccess.SecretCredential:
		case c.End.Before(r.e.cfg.Now()):
			if err := r.removeCredential(ctx, o, c.Credential); err != nil {
				return err
			}
		case o.hasCredential(c.Credential):
			present = append(present, c.KeyID)
		}
	}
	if len(present) >= maxSecrets {
		return &appaccess.ConflictError{
			Field: "credentials", Objects: present,
			Reason: fmt.Sprintf("%s has %d secrets already: remove one, or wait until its overlap has ended", o.name, len(present)),
		}
	}
	return nil
}

// beginCredential records a pending credential before the request is sent, with
// the operation tag that identifies the credential in Entra.
func (r *run) beginCredential(ctx context.Context, o *object, req appaccess.CredentialRequest) (pendingCredential, error) {
	a := pendingCredential{
		Tag:         operationTagPrefix + strings.ReplaceAll(uuid.NewString(), "-", "")[:20],
		OperationID: req.OperationID, Kind: req.Kind, At: r.e.cfg.Now(),
	}
	o.entry.PendingCredentials = append(slices.Clone(o.entry.PendingCredentials), a)
	return a, r.save(ctx, o)
}

const operationTagPrefix = "entragate-"

// withTag returns the display name of a credential in Entra: the name from the
// request and the operation tag. Entra cuts names after 90 characters.
func withTag(name, tag string) string {
	if name == "" {
		return tag
	}
	return clip(name, 90-1-len(tag)) + " " + tag
}

// operationTag matches an operation tag at the end of a display name.
var operationTag = regexp.MustCompile(`(^| )` + operationTagPrefix + `[0-9a-f]{20}$`)

func hasTag(displayName, tag string) bool { return strings.HasSuffix(displayName, tag) }

func (o *object) forgetPending(tag string) {
	o.entry.PendingCredentials = slices.DeleteFunc(slices.Clone(o.entry.PendingCredentials), func(a pendingCredential) bool { return a.Tag == tag })
}

func (o *object) forgetCredential(keyID string) {
	o.entry.Credentials = slices.DeleteFunc(slices.Clone(o.entry.Credentials), func(c managedCredential) bool { return c.KeyID == keyID })
}

// addSecret creates a secret, tries it and delivers it.
func (r *run) addSecret(ctx context.Context, o *object, req appaccess.CredentialRequest, c appaccess.Credential) (appaccess.Credential, error) {
	a, p, err := r.createSecret(ctx, o, req, c)
	if err != nil {
		return appaccess.Credential{}, err
	}
	c.ID, c.KeyID, c.Hint = p.KeyID, p.KeyID, p.Hint
	c.Start, c.End, c.Created = p.Start, p.End, r.e.cfg.Now()
	if err = r.probe(ctx, o, p.SecretText); err != nil {
		return appaccess.Credential{}, errors.Join(err, r.discard(ctx, o, a))
	}
	return r.deliver(ctx, o, a, c, req, p.SecretText)
}

// deliver records a credential as delivered, calls req.Deliver in the same
// transaction, and unlocks. If the outcome of the transaction is unknown, it reads
// whether the credential is recorded. A credential that was not delivered is
// removed.
func (r *run) deliver(ctx context.Context, o *object, a pendingCredential, c appaccess.Credential, req appaccess.CredentialRequest, value Secret) (appaccess.Credential, error) {
	before := o.entry
	var refused error
	o.forgetPending(a.Tag)
	o.entry.Credentials = append(slices.Clone(o.entry.Credentials), managedCredential{OperationID: a.OperationID, Credential: c})
	r.confirm(o)
	err := r.saveAndUnlock(ctx, o, true, func(w appaccess.Writer) error {
		if req.Deliver != nil {
			refused = req.Deliver(ctx, w, c, value)
		}
		return refused
	})
	if err == nil {
		return c, nil
	}
	o.entry = before
	if refused != nil {
		err = o.problem(Permanent, "deliver the credential", refused)
		return appaccess.Credential{}, errors.Join(err, r.discard(ctx, o, a))
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if lerr := r.loadAll(after, []*object{o}); lerr != nil {
		return appaccess.Credential{}, errors.Join(errUnclear, err, lerr)
	}
	if slices.ContainsFunc(o.entry.Credentials, func(m managedCredential) bool { return m.KeyID == c.KeyID }) {
		return c, nil
	}
	return appaccess.Credential{}, errors.Join(err, r.discard(ctx, o, a))
}

// errUnclear: the store cannot be read, so it is unknown whether the credential
// was delivered. If it was not, the next call removes it.
var errUnclear = errors.New("it is not known whether the credential was delivered")

func (a pendingCredential) revocation() revocation {
	return revocation{Kind: a.Kind, KeyID: a.KeyID, Tag: a.Tag}
}

// createSecret adds one secret. After an unknown outcome it removes what the
// request may have added, and tries again with another operation tag.
func (r *run) createSecret(ctx context.Context, o *object, req appaccess.CredentialRequest, c appaccess.Credential) (pendingCredential, Password, error) {
	var b backoff
	for {
		a, err := r.beginCredential(ctx, o, req)
		if err != nil {
			return a, Password{}, err
		}
		var p Password
		now := r.e.cfg.Now()
		err = r.write(ctx, o, r.e.dir, opAddSecret, func(ctx context.Context) (err error) {
			p, err = r.e.dir.AddPassword(ctx, o.entry.ObjectID, PasswordRequest{
				DisplayName: withTag(c.Name, a.Tag), End: now.Add(lifetime(req)),
			})
			return err
		})
		if err == nil {
			r.wrote(o)
			o.app.Passwords = append(slices.Clone(o.app.Passwords), Password{KeyID: p.KeyID, DisplayName: withTag(c.Name, a.Tag), Start: p.Start, End: p.End})
			o.setKeyID(a.Tag, p.KeyID) // saved with the next record; the tag is recorded already
			a.KeyID = p.KeyID
			return a, p, nil
		}
		if kindOf(err) != Unknown {
			o.forgetPending(a.Tag) // Graph refused it: nothing was added
			return a, Password{}, errors.Join(err, r.save(ctx, o))
		}
		wait, more := b.next(r.e, isUnknown, errors.Unwrap(err))
		if !more || ctx.Err() != nil || errors.Is(err, ErrLockLost) {
			return a, Password{}, err
		}
		if err := r.removeIfShown(ctx, o, a, wait); err != nil {
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

func (o *object) setKeyID(tag, keyID string) {
	o.entry.PendingCredentials = slices.Clone(o.entry.PendingCredentials)
	for i := range o.entry.PendingCredentials {
		if o.entry.PendingCredentials[i].Tag == tag {
			o.entry.PendingCredentials[i].KeyID = keyID
		}
	}
}

// removeIfShown reads a few times whether a pending credential of unknown outcome
// shows, and removes it. If it does not show, it stays pending and Apply waits for
// it as long as replicas may lag.
func (r *run) removeIfShown(ctx context.Context, o *object, a pendingCredential, wait time.Duration) error {
	r.wrote(o)
	for range missingReads {
		if err := r.pause(ctx, o, wait); err != nil {
			return o.problem(Unknown, string(opAddSecret), err)
		}
		apps, errs := readAll(ctx, r, o, []AppRef{{ObjectID: o.entry.ObjectID}}, r.applications)
		if errs[0] == nil {
			o.app.Passwords = apps[0].Passwords
			if o.shows(a) {
				return r.removePending(ctx, o)
			}
		} else if !notFound(errs[0]) {
			return o.problem(Unknown, string(opRead), errs[0])
		}
	}
	return nil
}

// probe calls Config.Probe until the new secret works.
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

// discard removes a pending credential, even if the caller's context has ended. If
// that fails, the credential stays pending and the next call or Apply removes it.
func (r *run) discard(ctx context.Context, o *object, a pendingCredential) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if s := r.pendingRemoval(o, a); s != nil {
		if err := s.run(ctx); err != nil {
			r.e.cfg.Logger.Warn("unfinished credential not removed; the next Apply does it", slog.String("object", o.name), slog.Any("error", err))
			return nil
		}
		s.model()
	}
	o.forgetPending(a.Tag)
	r.revoke(o, a.revocation())
	r.confirm(o)
	return r.save(ctx, o)
}

// removePending removes the pending and the revoked credentials that show.
func (r *run) removePending(ctx context.Context, o *object) error {
	removed := false
	for s := r.nextUnwantedCredential(o); s != nil; s = r.nextUnwantedCredential(o) {
		if err := s.run(ctx); err != nil {
			return err
		}
		s.model()
		removed = true
	}
	if removed || len(o.entry.PendingCredentials) > 0 {
		for _, a := range o.entry.PendingCredentials {
			r.revoke(o, a.revocation())
		}
		o.entry.PendingCredentials = nil
		return r.save(ctx, o)
	}
	return nil
}

// nextUnwantedCredential removes a pending or a revoked credential that shows.
func (r *run) nextUnwantedCredential(o *object) *step {
	for _, a := range o.entry.PendingCredentials {
		if s := r.pendingRemoval(o, a); s != nil {
			return s
		}
	}
	return r.nextReappeared(o)
}

// shows reports whether the application shows a pending credential.
func (o *object) shows(a pendingCredential) bool {
	return o.app != nil && (o.passwordOf(a) >= 0 || o.keyOf(a) >= 0 || o.federatedOf(a) >= 0)
}

func (o *object) passwordOf(a pendingCredential) int {
	return slices.IndexFunc(o.app.Passwords, func(p Password) bool { return hasTag(p.DisplayName, a.Tag) })
}

func (r *run) pendingRemoval(o *object, a pendingCredential) *step {
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
			gone := revocation{Kind: appaccess.SecretCredential, KeyID: p.KeyID, Tag: strings.TrimSpace(operationTag.FindString(p.DisplayName))}
			return r.remove(ctx, o, r.e.dir, opRemoveSecret, gone, func(ctx context.Context) error {
				return r.e.dir.RemovePassword(ctx, o.app.ObjectID, p.KeyID)
			})
		},
		model: func() {
			o.app.Passwords = slices.DeleteFunc(slices.Clone(o.app.Passwords), func(q Password) bool { return q.KeyID == p.KeyID })
		},
	}
}

// removeCredential removes a credential that is recorded, or whose operation tag
// shows that we made it, from Entra and from the provisioning state.
func (r *run) removeCredential(ctx context.Context, o *object, c appaccess.Credential) error {
	known := slices.ContainsFunc(o.entry.Credentials, func(m managedCredential) bool { return m.KeyID == c.KeyID && c.KeyID != "" })
	if c.Kind == appaccess.FederatedCredential {
		r.listFederated(ctx, []*object{o})
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
	case known && c.Kind == appaccess.SecretCredential: // another replica may still have it
		if err := r.secretRemoval(o, Password{KeyID: c.KeyID}, "").run(ctx); err != nil {
			return err
		}
	}
	if s != nil || known {
		r.revoke(o, revocation{Kind: c.Kind, KeyID: c.KeyID})
		o.forgetCredential(c.KeyID)
		r.confirm(o)
	}
	return nil
}

func opRemoving(kind appaccess.CredentialKind) string {
	return "remove a credential of the kind " + string(kind)
}

// removalOf returns the step that removes a credential, nil if it does not show,
// and whether its operation tag shows that we made it.
func (r *run) removalOf(o *object, c appaccess.Credential) (*step, bool) {
	switch c.Kind {
	case appaccess.SecretCredential:
		for _, p := range o.app.Passwords {
			if p.KeyID == c.KeyID {
				return r.secretRemoval(o, p, "secret "+c.KeyID), operationTag.MatchString(p.DisplayName)
			}
		}
	case appaccess.CertificateCredential:
		for i, k := range o.app.Keys {
			if k.KeyID == c.KeyID {
				return r.keyRemoval(o, i, "certificate "+c.KeyID), operationTag.MatchString(k.DisplayName)
			}
		}
	case appaccess.FederatedCredential:
		for i, f := range o.federated {
			if f.ID == c.KeyID {
				return r.federatedRemoval(o, i, "federated credential "+f.Name), operationTag.MatchString(f.Name)
			}
		}
	}
	return nil, false
}
