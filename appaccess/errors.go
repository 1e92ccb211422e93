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
	// ErrNotFound: the object does not exist, or the actor must not know that it exists.
	ErrNotFound = errors.New("not found")
	// ErrForbidden: the actor may do nothing at all (unknown or blocked), or may see
	// the object but only a manager may do this.
	ErrForbidden = errors.New("forbidden")
	// ErrUnavailable: the store or Entra is unreachable; trying again later can help.
	// A write may have been committed nevertheless.
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
	Field   string   // the name of the field in conflict
	Reason  string   // why, and what would allow it
	Objects []string // the IDs of the objects that prevent the action, if any
}

func (e *ConflictError) Error() string {
	if len(e.Objects) == 0 {
		return e.Field + ": " + e.Reason
	}
	return fmt.Sprintf("%s: %s: %s", e.Field, e.Reason, strings.Join(e.Objects, ", "))
}

// ProvisionError says that the desired state was stored, but Entra does not match it
// yet. The same call, or [Service.Sync], continues. Err says why: replication lag,
// throttling, an unknown outcome or a permanent error.
type ProvisionError struct {
	Object string // kind and ID: product starter
	Err    error
}

func (e *ProvisionError) Error() string {
	return "entra: " + e.Object + ": " + e.Err.Error()
}

func (e *ProvisionError) Unwrap() error { return e.Err }

// Status returns the HTTP status of an error: 200 for nil, 404 and 403 for
// ErrNotFound and ErrForbidden, 400 for an InvalidError, 409 for a ConflictError, 502
// for a ProvisionError, 503 if trying again can help, otherwise 500.
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
