package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// Kind groups the errors of Graph by what can be done about them.
type Kind string

// The kinds.
const (
	// Lag: Entra's replicas do not show yet what was written a moment ago.
	// It was waited for as long as [Config.LagBudget] allows.
	Lag Kind = "replication lag"
	// Throttle: too many requests; trying later helps.
	Throttle Kind = "throttled"
	// Unknown: the call may or may not have been carried out (transport, 5xx).
	// The next call looks and goes on.
	Unknown Kind = "unknown outcome"
	// Permanent: the same call will fail again until somebody changes
	// something. Advice says what, where that is known.
	Permanent Kind = "permanent"
	// Quota: the identity that provisions, or the tenant, has as many objects as
	// Entra allows. No further object is created in the same round.
	Quota Kind = "quota exceeded"
)

// Error is a step that could not be done. Test for it with [errors.As]. All
// kinds but Permanent and Quota are also [appaccess.ErrUnavailable] for [errors.Is].
type Error struct {
	Kind   Kind
	Op     string // what was tried, in words: "create the application"
	Object string // "product starter"; empty if it concerns none
	Advice string // what to do and who may do it; empty if nothing is known
	Err    error
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Object != "" {
		b.WriteString(e.Object + ": ")
	}
	fmt.Fprintf(&b, "%s (%s): %v", e.Op, e.Kind, e.Err)
	if e.Advice != "" {
		b.WriteString("; " + e.Advice)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes an error that may pass match [appaccess.ErrUnavailable].
func (e *Error) Is(target error) bool {
	return target == appaccess.ErrUnavailable && e.Kind != Permanent && e.Kind != Quota
}

// Errors of the Reconciler itself, found in [Error.Err].
var (
	// ErrLockLost: another replica took the object over. It will finish it.
	ErrLockLost = errors.New("another replica works on this object")
	// ErrNotOurs: an application holds the name that we need, or was to be
	// touched, and nothing proves that it is ours. Adopt it by its client ID if
	// it is to be managed.
	ErrNotOurs = errors.New("the application is not managed here")
	// ErrNameHeld: a deleted application, which keeps its name for 30 days,
	// holds ours and cannot be found or restored.
	ErrNameHeld = errors.New("the name is held by a deleted application")
)

// deletedItemsKept is how long Entra keeps a deleted application and reserves its
// unique name.
const deletedItemsKept = 30 * 24 * time.Hour

// RestoreDeniedError says that a deleted application of ours cannot be restored,
// because the identity that provisions holds none of the roles that may.
type RestoreDeniedError struct {
	ObjectID string    // of the deleted application
	NameFree time.Time // when Entra forgets it and its unique name is free; zero: not known
	Err      error     // the answer of Graph
}

// RestoreRoles are the directory roles whose holders may restore a deleted
// application: https://learn.microsoft.com/graph/api/directory-deleteditems-restore
var RestoreRoles = []string{"Application Administrator", "Cloud Application Administrator", "Hybrid Identity Administrator"}

func (e *RestoreDeniedError) Error() string {
	text := fmt.Sprintf("the deleted application %s holds the name and may be restored by holders of %s only", e.ObjectID, strings.Join(RestoreRoles, ", "))
	if !e.NameFree.IsZero() {
		text += "; the name is free on " + e.NameFree.UTC().Format(time.DateOnly)
	}
	return text + ": " + e.Err.Error()
}

func (e *RestoreDeniedError) Unwrap() error { return e.Err }

// StateError says that the provisioning state cannot be read or written. Work stops at once: no
// write is sent that could not be recorded.
type StateError struct{ Err error }

func (e *StateError) Error() string { return "provision: provisioning state: " + e.Err.Error() }

func (e *StateError) Unwrap() error { return e.Err }

// advice says what to do about an error that will not pass by itself.
func (r *run) advice(ctx context.Context, d Directory, op operation, err error) string {
	var api *APIError
	if !errors.As(err, &api) {
		return ""
	}
	row := judge(api, op)
	if row == nil {
		return ""
	}
	if strings.Contains(row.advice, "{caller}") {
		return strings.ReplaceAll(row.advice, "{caller}", r.caller(ctx, d))
	}
	return row.advice
}

// caller names the identity behind a directory, for people.
func (r *run) caller(ctx context.Context, d Directory) string {
	id, err := r.identityOf(ctx, d)
	if err != nil {
		return "the identity that provisions"
	}
	return describe(id)
}

// identityOf is the identity behind a directory. It asks once a run.
func (r *run) identityOf(ctx context.Context, d Directory) (Identity, error) {
	if id, ok := r.callers.Load(d); ok {
		return id.(Identity), nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	id, err := d.Identity(ctx)
	if err == nil {
		r.callers.Store(d, id)
	}
	return id, err
}

func describe(id Identity) string {
	switch {
	case id.Name != "" && id.ObjectID != "":
		return fmt.Sprintf("%q (object ID %s)", id.Name, id.ObjectID)
	case id.ObjectID != "":
		return "object ID " + id.ObjectID
	case id.AppID != "":
		return "client ID " + id.AppID
	}
	return "the identity that provisions"
}
