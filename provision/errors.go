package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// Kind tells the errors of Graph apart by what can be done about them.
type Kind string

// The four kinds.
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
)

// Error is a step that could not be done. Test for it with [errors.As]. All
// kinds but Permanent are also [appaccess.ErrUnavailable] for [errors.Is].
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
	return target == appaccess.ErrUnavailable && e.Kind != Permanent
}

// Errors of the engine itself, found in [Error.Err].
var (
	// ErrLeaseLost: another replica took the object over. It will finish it.
	ErrLeaseLost = errors.New("another replica works on this object")
	// ErrNotOurs: an application holds the name that we need, or was to be
	// touched, and nothing proves that it is ours. Adopt it by its client ID if
	// it is to be managed.
	ErrNotOurs = errors.New("the application is not managed here")
	// ErrNameHeld: a deleted application, which keeps its name for 30 days,
	// holds ours and cannot be found or restored.
	ErrNameHeld = errors.New("the name is held by a deleted application")
)

// JournalError says that the journal is out of reach. Work stops at once: no
// write is sent that could not be recorded.
type JournalError struct{ Err error }

func (e *JournalError) Error() string { return "provision: journal: " + e.Err.Error() }

func (e *JournalError) Unwrap() error { return e.Err }

// advice says what to do about an error that will not pass by itself.
func (r *run) advice(ctx context.Context, d Directory, err error) string {
	var api *APIError
	if !errors.As(err, &api) {
		return ""
	}
	switch {
	case isDenied(api):
		return "denied, or still replicating: is the Application Administrator role assigned to " + r.caller(ctx, d) +
			"? Assigning it needs the Privileged Role Administrator role"
	case api.has("CredentialTypeNotAllowedAsPerAppPolicy"):
		return "a policy of the tenant forbids secrets: use a certificate or a federated credential instead, or have the policy except this application"
	case api.has("CredentialInvalidLifetimeAsPerAppPolicy"):
		return "a policy of the tenant limits the lifetime of secrets: ask for a shorter one, or use a certificate or a federated credential instead"
	case api.says("size of the object has exceeded its limit"):
		return "the application holds too many credentials or permissions: remove some that are not used"
	}
	return ""
}

// caller names the identity behind a directory, for people. It asks once a run.
func (r *run) caller(ctx context.Context, d Directory) string {
	if name, ok := r.callers.Load(d); ok {
		return name.(string)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	id, err := d.Identity(ctx)
	if err != nil {
		return "the identity that provisions"
	}
	r.callers.Store(d, describe(id))
	return describe(id)
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
