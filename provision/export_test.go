package provision

import (
	"context"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// Classify gives the verdict on an error to the table test.
func Classify(err error, op string, fresh bool) string {
	return string(classify(err, situation{op: operation(op), fresh: fresh}))
}

// UniqueName shows the names that identify objects.
func UniqueName(instance, kind, id string) string { return uniqueName(instance, kind, id) }

// Lock, Unlock and SaveEmpty show how objects are locked.
func Lock(ctx context.Context, s appaccess.Store, object, holder string, now, until time.Time) error {
	return state{s}.lock(ctx, object, holder, now, until, nil)
}

func Unlock(ctx context.Context, s appaccess.Store, object, holder string) error {
	return state{s}.unlock(ctx, object, holder)
}

func SaveEmpty(ctx context.Context, s appaccess.Store, object, holder string) error {
	return state{s}.save(ctx, holder, entry{Object: object}, false, nil)
}

// LockedError shows that an object is locked.
type LockedError = lockedError

// AdviceOf gives the advice on an error of a create.
func AdviceOf(e *APIError) string {
	if r := judge(e, opCreate); r != nil {
		return r.advice
	}
	return ""
}
