package appaccess

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Errors without details. Test with [errors.Is].
var (
	// ErrNotFound: no such object, or one that the actor may not know of.
	ErrNotFound = errors.New("not found")
	// ErrForbidden: the actor may do nothing at all (unknown or blocked), or
	// the object is theirs to see but the action is a manager's.
	ErrForbidden = errors.New("forbidden")
	// ErrUnavailable: the store or Entra cannot be reached now; trying again
	// later can help. What was to be written may have been.
	ErrUnavailable = errors.New("unavailable")
)

// InvalidError refuses an input. Nothing was changed.
type InvalidError struct {
	Field string // the input's name, as in JSON
	Rule  string // what is allowed
}

func (e *InvalidError) Error() string { return e.Field + ": " + e.Rule }

// ConflictError refuses an action that the state of the objects does not
// allow. Nothing was changed.
type ConflictError struct {
	Field   string   // what collides: a field's name
	Reason  string   // why, and what would allow it
	Objects []string // the IDs of the objects that stand in the way, if any
}

func (e *ConflictError) Error() string {
	if len(e.Objects) == 0 {
		return e.Field + ": " + e.Reason
	}
	return fmt.Sprintf("%s: %s: %s", e.Field, e.Reason, strings.Join(e.Objects, ", "))
}

// ProvisionError says that what is wanted was stored and that Entra could not
// be made to follow yet. The same call, or [Service.Sync], goes on where it
// stopped. Err tells lag, throttling, unknown outcome and permanent errors
// apart.
type ProvisionError struct {
	Object string // kind and ID: product starter
	Err    error
}

func (e *ProvisionError) Error() string {
	return "entra: " + e.Object + ": " + e.Err.Error()
}

func (e *ProvisionError) Unwrap() error { return e.Err }

// Status is the one table from error to HTTP status: 200 for nil, 404, 403,
// 400 for an InvalidError, 409 for a ConflictError, 502 for a ProvisionError,
// 503 where trying again can help, else 500.
func Status(err error) int {
	var invalid *InvalidError
	var conflict *ConflictError
	var provision *ProvisionError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &invalid):
		return http.StatusBadRequest
	case errors.As(err, &conflict):
		return http.StatusConflict
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrForbidden):
		return http.StatusForbidden
	case errors.Is(err, ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	case errors.As(err, &provision):
		return http.StatusBadGateway
	}
	return http.StatusInternalServerError
}
