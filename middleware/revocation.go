package middleware

import (
	"errors"
	"net/http"
)

// CancelPolicy says which open responses the gate ends when their caller loses
// access. It also says whether event streams and upgraded connections end when their
// credential expires: they do, except with CancelNone.
//
// When the catalog, the tenants or the signing keys change, the gate decides again on
// each open response. It ends a response only if the same request would be refused
// now. While the store or the key endpoint is unreachable, it ends nothing and asks
// again until it has an answer.
type CancelPolicy int

// The policies.
const (
	// CancelReads ends GET and HEAD requests, event streams and upgraded
	// connections. Other requests continue: a cancelled POST may be half done.
	CancelReads CancelPolicy = iota
	// CancelAll ends requests of every method. Use it for gRPC, whose calls are POST
	// requests.
	CancelAll
	// CancelNone ends nothing. An open response continues until client or handler
	// ends it, even long after access was revoked.
	CancelNone
)

// These errors are the [context.Cause] of a request's context that the gate cancelled.
// Later writes to the response return them, too.
var (
	// ErrAccessRevoked: the caller lost access while the response was open.
	ErrAccessRevoked = errors.New("middleware: the caller's access was revoked")
	// ErrCredentialExpired: the token or the subscription key of an event stream or an
	// upgraded connection has expired.
	ErrCredentialExpired = errors.New("middleware: the caller's credential has expired")
)

// OnRevocation returns a middleware that sets the policy of one route. Put it inside
// the gate, around the handler. It replaces Config.OnRevocation for the requests that
// reach it:
//
//	mux.Handle("POST /batch", middleware.OnRevocation(middleware.CancelAll)(batch))
//	handler := gate.Wrap(mux)
//
// Without a gate around it, it has no effect. OnRevocation panics if policy is not one
// of the constants.
func OnRevocation(policy CancelPolicy) func(http.Handler) http.Handler {
	if !policy.valid() {
		panic("middleware: OnRevocation: not a CancelPolicy")
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if p, ok := r.Context().Value(passageKey{}).(*passage); ok {
				p.policy.Store(int32(policy))
			}
			next.ServeHTTP(w, r)
		})
	}
}

func (p CancelPolicy) valid() bool { return p >= CancelReads && p <= CancelNone }
