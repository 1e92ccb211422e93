package middleware

import (
	"net/http"

	"github.com/entragate/entragate/appaccess"
)

// Reason says why a request was let pass or refused. Those that API Management
// has too are named as there.
type Reason string

// The reasons, with the status that each is answered with.
const (
	Allowed Reason = "Allowed" // 200 as far as the gate is concerned
	// Open: no product of the route asks for a credential, and the
	// configuration allows that.
	Open Reason = "Open"

	RequestAmbiguous Reason = "RequestAmbiguous" // 400: a credential is there twice; two Authorization headers whatever else is there
	PathNotAllowed   Reason = "PathNotAllowed"   // 400: dot segments, //, encoded slashes, parameters in an API's path

	TokenNotPresent           Reason = "TokenNotPresent"           // 401
	SubscriptionKeyNotFound   Reason = "SubscriptionKeyNotFound"   // 401: none was sent
	SubscriptionKeyInvalid    Reason = "SubscriptionKeyInvalid"    // 401: unknown, not active, expired, or out of scope
	JwtInvalid                Reason = "JwtInvalid"                // 401: not a token as Entra makes it
	TokenIssuerNotAllowed     Reason = "TokenIssuerNotAllowed"     // 401
	TokenAudienceNotAllowed   Reason = "TokenAudienceNotAllowed"   // 401; 403 if it is that of another product of the gate
	TokenExpired              Reason = "TokenExpired"              // 401
	TokenNotYetValid          Reason = "TokenNotYetValid"          // 401
	TokenClaimNotFound        Reason = "TokenClaimNotFound"        // 401
	TokenClaimValueNotAllowed Reason = "TokenClaimValueNotAllowed" // 401
	TokenSignatureKeyNotFound Reason = "TokenSignatureKeyNotFound" // 401
	TokenSignatureInvalid     Reason = "TokenSignatureInvalid"     // 401
	// CredentialNotAccepted: no product of the route takes this kind of
	// credential (401), or the one that it fits does not (403).
	CredentialNotAccepted Reason = "CredentialNotAccepted"

	TokenOfUser      Reason = "TokenOfUser"      // 403: not proven to be an application's
	RoleMissing      Reason = "RoleMissing"      // 403
	ClientNotAllowed Reason = "ClientNotAllowed" // 403: unknown, not active, or its owner is blocked
	ClientNotGranted Reason = "ClientNotGranted" // 403: not granted the product
	ProductSuspended Reason = "ProductSuspended" // 403
	ProductOpen      Reason = "ProductOpen"      // 403: open, and the configuration does not allow that

	OperationNotFound Reason = "OperationNotFound" // 404: in no API, or in one of no product

	KeysUnavailable    Reason = "KeysUnavailable"    // 503
	CatalogUnavailable Reason = "CatalogUnavailable" // 503
)

// failure is why one credential, or a whole request, does not pass. Its parts
// stay on the stack: a refusal must be cheap.
type failure struct {
	reason  Reason
	status  int
	field   string            // what was compared: aud, roles, exp, ...
	got     string            // what the request holds; never a credential
	want    string            // what is allowed
	refusal appaccess.Refusal // of a client or key
	product string            // that came closest
}

// ok reports that there is no failure.
func (f *failure) ok() bool { return f.reason == "" }

// worse orders failures by what is answered first where several credentials
// fail: 400, then 503, then 403, then 401.
func (f *failure) rank() int {
	switch f.status {
	case http.StatusBadRequest:
		return 4
	case http.StatusServiceUnavailable:
		return 3
	case http.StatusForbidden:
		return 2
	case http.StatusUnauthorized:
		return 1
	}
	return 0
}

func unauthorized(reason Reason, field, got, want string) failure {
	return failure{reason: reason, status: http.StatusUnauthorized, field: field, got: got, want: want}
}

func forbidden(reason Reason, field, got, want string) failure {
	return failure{reason: reason, status: http.StatusForbidden, field: field, got: got, want: want}
}

// unavailable tells an operator what the cause is; it may be nil.
func unavailable(reason Reason, field string, cause error) failure {
	f := failure{reason: reason, status: http.StatusServiceUnavailable, field: field, got: "unavailable"}
	if cause != nil {
		f.got = clip(cause.Error())
	}
	return f
}

// absent is what a request holds that has nothing there.
const absent = "absent"
