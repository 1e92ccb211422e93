package provision

import (
	"errors"
	"net/http"
	"strings"
)

// situation is what, beside the error itself, decides what an error means.
type situation struct {
	op operation
	// fresh: what the call concerns was written a moment ago, so that a replica
	// may not know it yet.
	fresh bool
}

// operation is a kind of call to Graph, named as people would.
type operation string

const (
	opRead            operation = "read"
	opCreate          operation = "create the application"
	opPatch           operation = "change the application"
	opCreatePrincipal operation = "create the service principal"
	opAssign          operation = "grant the app role"
	opUnassign        operation = "revoke the app role"
	opAddSecret       operation = "add a secret"
	opRemoveSecret    operation = "remove a secret"
	opFederate        operation = "add a federated credential"
	opUnfederate      operation = "remove a federated credential"
	opRestore         operation = "restore the deleted object"
	opDelete          operation = "remove"
)

// verdict is what an error means for the call that met it.
type verdict string

const (
	isLag       verdict = "lag"       // wait: the replicas will catch up
	isThrottle  verdict = "throttle"  // wait as told
	isUnknown   verdict = "unknown"   // the write may have been done
	isPermanent verdict = "permanent" // give up
	// isDone: what the call wanted stands already.
	isDone verdict = "done"
	// isGone: what the call was to remove is not there. Of something written a
	// moment ago that is lag until the budget ends.
	isGone verdict = "gone"
	// isRefused: lag for a short while, then permanent.
	isRefused verdict = "refused"
	// isStale: the step was worked out from a state that is no longer so.
	isStale verdict = "stale"
	// isHeld: another object, maybe a deleted one, holds the unique name.
	isHeld verdict = "held"
)

// classify is the one place that tells Graph's errors apart. Where Graph gives
// no code of its own, it goes by the message, which is all that there is.
func classify(err error, s situation) verdict {
	var api *APIError
	if !errors.As(err, &api) {
		return isUnknown
	}
	switch {
	case api.Status == http.StatusTooManyRequests:
		return isThrottle
	case api.Status == http.StatusNotImplemented:
		return isPermanent
	case api.Status >= 500, api.Status == http.StatusRequestTimeout:
		return isUnknown
	case api.has("Directory_ConcurrencyViolation"), api.Status == http.StatusFailedDependency:
		return isUnknown
	}
	switch s.op {
	case opCreate:
		if api.says("value for property uniqueName already exists") || api.has("ObjectConflict") && !api.says("identifierUri") {
			return isHeld
		}
	case opPatch:
		if api.has("CannotDeleteOrUpdateEnabledEntitlement") {
			return isStale
		}
	case opCreatePrincipal:
		switch {
		case api.has("NoBackingApplicationObject"), api.says("must in the local tenant"), api.says("must be in the local tenant"):
			return isLag
		case api.has("Request_MultipleObjectsWithSameKeyValue"):
			return isLag // it exists; the next upsert sees it
		}
	case opAssign:
		switch {
		case api.says("Permission being assigned already exists"):
			return isDone
		case api.says("Not a valid reference update"), api.says("Permission being assigned was not found"), api.says("resourceId was not found"):
			return lagIf(s.fresh)
		}
	case opFederate:
		if api.says("FederatedIdentityCredential with name") && api.says("already exists") {
			return isDone // no other one has the name: a try of unknown outcome added it
		}
	case opUnassign:
		if api.says("EntitlementGrant being updated or deleted is not found") || api.Status == http.StatusNotFound {
			if s.fresh {
				return isStale // an older grant was seen, or this one lags behind
			}
			return isDone
		}
	case opRemoveSecret:
		if api.says("No password credential found") {
			return goneIf(s.fresh)
		}
	}
	switch {
	case isDenied(api):
		return isRefused
	case api.Status == http.StatusNotFound:
		switch s.op {
		case opRemoveSecret, opUnfederate, opDelete, opRestore:
			return goneIf(s.fresh)
		case opRead:
			return isGone
		}
		return lagIf(s.fresh)
	}
	return isPermanent
}

func lagIf(fresh bool) verdict {
	if fresh {
		return isLag
	}
	return isPermanent
}

func goneIf(fresh bool) verdict {
	if fresh {
		return isGone
	}
	return isDone
}

func isDenied(e *APIError) bool {
	return e.Status == http.StatusForbidden && (e.Code == "Authorization_RequestDenied" || e.Code == "accessDenied" || e.Code == "Forbidden")
}

// notFound reports whether Graph said that the object is not there.
func notFound(err error) bool {
	var api *APIError
	return errors.As(err, &api) && api.Status == http.StatusNotFound
}

// has looks for a code, in the error and in its details.
func (e *APIError) has(code string) bool {
	if strings.EqualFold(e.Code, code) {
		return true
	}
	for _, d := range e.Details {
		if strings.EqualFold(d.Code, code) {
			return true
		}
	}
	return strings.Contains(e.Message, code)
}

// says looks for a text in the messages, ignoring case.
func (e *APIError) says(text string) bool {
	text = strings.ToLower(text)
	if strings.Contains(strings.ToLower(e.Message), text) {
		return true
	}
	for _, d := range e.Details {
		if strings.Contains(strings.ToLower(d.Message), text) {
			return true
		}
	}
	return false
}
