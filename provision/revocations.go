package provision

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// revocation is a grant, a credential or an object that must not exist any more. A
// DELETE may have reached a replica that lags, so neither success nor "not found"
// proves that the subject is gone. The revocation stays in the entry until reads
// spread over [Config.ConfirmTime] do not show the subject. If it shows, it is
// deleted again and the time starts again.
type revocation struct {
	Grant  *recordedGrant           `json:"grant,omitempty"`
	Kind   appaccess.CredentialKind `json:"kind,omitempty"`   // of a credential
	KeyID  string                   `json:"keyId,omitempty"`  // of a credential, if known
	Tag    string                   `json:"tag,omitempty"`    // of a credential that was not delivered
	Object string                   `json:"object,omitempty"` // application or servicePrincipal

	Since    time.Time `json:"since"`             // since then no read has shown it
	Deleted  bool      `json:"deleted,omitempty"` // a DELETE was answered with success
	Reads    int       `json:"reads,omitempty"`   // reads since then that did not show it
	LastRead time.Time `json:"lastRead,omitzero"`
}

// The values of revocation.Object.
const (
	theApplication = "application"
	thePrincipal   = "servicePrincipal"
)

const (
	// confirmingReads is how many reads, spread over ConfirmTime, must not show
	// the subject.
	confirmingReads = 3
	// notDeletedFactor multiplies ConfirmTime if no DELETE succeeded: the subject
	// may exist and not show yet.
	notDeletedFactor = 4
)

// revoke records a revocation, unless it is recorded.
func (r *run) revoke(o *object, x revocation) {
	if o.revoking(x) >= 0 {
		return
	}
	x.Since = r.e.cfg.Now()
	o.entry.Revoking = append(slices.Clone(o.entry.Revoking), x)
}

// revokeObject records that the application and its service principal must not
// exist any more. It does so even if they do not show, because they may be new. An
// adopted application stays.
func (r *run) revokeObject(o *object) {
	if o.entry.Adopted || o.existing() || o.entry.LastWritten.IsZero() {
		return
	}
	r.revoke(o, revocation{Object: theApplication})
	if o.entry.ServicePrincipalID != "" {
		r.revoke(o, revocation{Object: thePrincipal})
	}
}

// revoking returns the index of a revocation; -1: not recorded.
func (o *object) revoking(x revocation) int {
	return slices.IndexFunc(o.entry.Revoking, func(y revocation) bool { return x.same(y) })
}

func (x revocation) same(y revocation) bool {
	switch {
	case x.Grant != nil || y.Grant != nil:
		return x.Grant != nil && y.Grant != nil && x.Grant.same(*y.Grant)
	case x.Object != "" || y.Object != "":
		return x.Object == y.Object
	case x.KeyID != "" && x.KeyID == y.KeyID:
		return true
	}
	return x.Tag != "" && x.Tag == y.Tag
}

// deletionAnswered records the outcome of a DELETE. Success and "not found" both
// start the time again.
func (r *run) deletionAnswered(o *object, x revocation, success bool) {
	r.revoke(o, x)
	i := o.revoking(x)
	o.entry.Revoking = slices.Clone(o.entry.Revoking)
	y := &o.entry.Revoking[i]
	y.Since, y.Reads, y.LastRead = r.e.cfg.Now(), 0, time.Time{}
	y.Deleted = y.Deleted || success
}

// confirm counts the last read for each revocation, drops confirmed revocations,
// and sets when the object is due. Call it when no step is missing.
func (r *run) confirm(o *object) {
	o.entry.Due = time.Time{}
	if o.writing && o.entry.InSyncWith == "" {
		o.entry.Due = r.e.cfg.Now()
	}
	var left []revocation
	for _, x := range o.entry.Revoking {
		if o.readAt.After(x.Since) && o.readAt.After(x.LastRead) && o.wouldShow(x) && !o.showsRevoked(x) {
			x.Reads, x.LastRead = x.Reads+1, o.readAt
		}
		need := r.e.cfg.ConfirmTime
		if !x.Deleted {
			need *= notDeletedFactor
		}
		if x.Reads < confirmingReads || x.LastRead.Sub(x.Since) < need {
			left = append(left, x)
		}
	}
	o.entry.Revoking = left
	if o.unconfirmed() > 0 || len(o.entry.PendingCredentials) > 0 {
		o.entry.Due = r.e.cfg.Now().Add(r.e.cfg.ConfirmTime / confirmingReads)
	}
}

// unconfirmed is the number of revocations that reads can still confirm. It does
// not count grants and credentials of a deleted application: they stay in the
// entry, because the application may be restored.
func (o *object) unconfirmed() int {
	n := 0
	for _, x := range o.entry.Revoking {
		if o.wouldShow(x) {
			n++
		}
	}
	return n
}

// wouldShow reports whether the read would show the subject of x if it existed.
func (o *object) wouldShow(x revocation) bool {
	switch {
	case x.Object != "":
		return o.toBeDeleted()
	case o.existing():
		return o.sp != nil
	case o.app == nil:
		return false
	}
	return x.Grant == nil || o.sp != nil || o.entry.ServicePrincipalID == ""
}

// showsRevoked reports whether the read shows the subject of x.
func (o *object) showsRevoked(x revocation) bool {
	switch {
	case x.Object == theApplication:
		return o.app != nil
	case x.Object == thePrincipal:
		return o.sp != nil
	case x.Grant != nil:
		return o.holds(x.Grant.ResourceID, x.Grant.RoleID)
	case o.app == nil:
		return false
	}
	return slices.Contains(o.hidden, x.KeyID) || slices.ContainsFunc(o.app.Passwords, func(p Password) bool { return x.is(p.KeyID, p.DisplayName) }) ||
		slices.ContainsFunc(o.app.Keys, func(k KeyCredential) bool { return x.is(k.KeyID, k.DisplayName) }) ||
		slices.ContainsFunc(o.federated, func(f FederatedCredential) bool { return x.is(f.ID, f.Name) })
}

// is reports whether a credential is the subject of x.
func (x revocation) is(keyID, name string) bool {
	return x.KeyID != "" && x.KeyID == keyID || x.Tag != "" && strings.HasSuffix(name, x.Tag)
}

// due reports whether the object must be read again now.
func (r *run) due(o *object) bool {
	return !o.entry.Due.IsZero() && !r.e.cfg.Now().Before(o.entry.Due)
}

// confirmGrants confirms revoked grants of clients that are otherwise in sync. It
// needs one list for each product, not one read for each client. A client whose
// grant shows, or whose product cannot be listed, is reconciled like any other.
func (r *run) confirmGrants(ctx context.Context) error {
	at := r.e.cfg.Now()
	var due []*object
	resources := map[string]bool{}
	for _, o := range r.objects {
		if !r.awaitsGrants(o) {
			continue
		}
		due = append(due, o)
		for _, x := range o.entry.Revoking {
			resources[x.Grant.ResourceID] = true
		}
	}
	if len(due) == 0 {
		return nil
	}
	ids := slices.Sorted(maps.Keys(resources))
	lists, errs := readAll(ctx, r, nil, ids, r.e.dir.AssignedTo)
	held := map[string][]Assignment{} // by principal
	for i, id := range ids {
		resources[id] = errs[i] == nil
		for _, a := range lists[i] {
			held[a.PrincipalID] = append(held[a.PrincipalID], a)
		}
	}
	for _, o := range due {
		unread := slices.ContainsFunc(o.entry.Revoking, func(x revocation) bool { return !resources[x.Grant.ResourceID] })
		o.assignments = held[o.entry.ServicePrincipalID]
		if unread || slices.ContainsFunc(o.entry.Revoking, o.showsRevoked) {
			continue
		}
		if err := r.recordConfirmed(ctx, o, at); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// awaitsGrants reports whether the only work that is due for a client is to
// confirm revoked grants.
func (r *run) awaitsGrants(o *object) bool {
	return o.err == nil && o.client != nil && !o.toBeDeleted() && !o.client.Pending && o.inSync && r.due(o) &&
		len(o.entry.PendingCredentials) == 0 && o.entry.ServicePrincipalID != "" &&
		!slices.ContainsFunc(o.entry.Revoking, func(x revocation) bool { return x.Grant == nil })
}

// recordConfirmed counts a read that showed no revoked grant of a client. It takes
// no lock, because it writes nothing to Entra. If the object is locked or has
// changed, it records nothing.
func (r *run) recordConfirmed(ctx context.Context, o *object, at time.Time) error {
	held := o.assignments
	_, err := r.e.cfg.Store.Update(ctx, func(w appaccess.Writer) error {
		var l lease
		if _, err := getJSON(w, appaccess.KindLock, o.key, &l); err != nil {
			return err
		}
		if err := r.load(w, w, o); err != nil {
			return err
		}
		if o.changed || l.inForce(r.e.cfg.Now()) {
			return nil
		}
		o.app, o.sp = &Application{ObjectID: o.entry.ObjectID}, &ServicePrincipal{ObjectID: o.entry.ServicePrincipalID}
		o.assignments, o.readAt = held, at
		r.confirm(o)
		o.entry.Version++
		if err := r.e.state.put(w, o.entry); err != nil {
			return err
		}
		out := appaccess.Outcome{Revision: o.client.Revision, Unconfirmed: o.unconfirmed()}
		return r.desired.RecordApplication(w, o.id, appaccess.ApplicationRegistration{}, out)
	})
	o.app, o.sp, o.assignments = nil, nil, nil
	if err != nil {
		return &StateError{err}
	}
	o.confirmed = !o.changed
	return nil
}

// nextReappeared removes a revoked credential that shows.
func (r *run) nextReappeared(o *object) *step {
	if o.app == nil {
		return nil
	}
	for _, x := range o.entry.Revoking {
		if x.Grant != nil || x.Object != "" {
			continue
		}
		for _, p := range o.app.Passwords {
			if x.is(p.KeyID, p.DisplayName) {
				return r.secretRemoval(o, p, "secret "+quoted(p.DisplayName)+", which was revoked and shows again")
			}
		}
		for i, k := range o.app.Keys {
			if x.is(k.KeyID, k.DisplayName) {
				return r.keyRemoval(o, i, "certificate "+quoted(k.DisplayName)+", which was revoked and shows again")
			}
		}
		for i, f := range o.federated {
			if x.is(f.ID, f.Name) {
				return r.federatedRemoval(o, i, "federated credential "+quoted(f.Name)+", which was revoked and shows again")
			}
		}
	}
	return nil
}

// Unfinished implements [appaccess.Provisioner].
func (e *Reconciler) Unfinished(ctx context.Context) (appaccess.Unfinished, error) {
	var left appaccess.Unfinished
	now := e.cfg.Now()
	err := e.state.unfinished(ctx, now, func(x entry, locked bool) {
		if x.Object != uniqueName(e.cfg.Instance, x.Kind, x.ID) {
			return // of another instance
		}
		for _, y := range x.Revoking {
			if x.Removed.IsZero() || x.Existing || y.Object != "" {
				left.Revocations++
			}
		}
		switch {
		case locked || now.Before(x.Due):
		case x.Kind == kindProduct:
			left.Due.Products = append(left.Due.Products, x.ID)
		default:
			left.Due.Applications = append(left.Due.Applications, x.ID)
		}
	})
	if err == nil {
		err = e.state.purge(ctx, now)
	}
	if err != nil {
		return left, &StateError{err}
	}
	return left, nil
}
