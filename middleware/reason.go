package middleware

import (
	"net/http"

	"github.com/entragate/entragate/appaccess"
)

// Reason says why a request was allowed or refused. A reason that API Management also
// has, has the same name.
type Reason string

// The reasons, with the status of the answer.
const (
	Allowed Reason = "Allowed" // a valid credential let the request pass
	// Open: no product of the route asks for a credential, and
	// Config.InsecureAllowOpenProducts is set.
	Open Reason = "Open"

	RequestAmbiguous Reason = "RequestAmbiguous" // 400: a credential was sent twice, or a header names another method
	PathNotAllowed   Reason = "PathNotAllowed"   // 400: a path that servers may read differently: see Paths in the package documentation

	TokenNotPresent           Reason = "TokenNotPresent"           // 401
	SubscriptionKeyNotFound   Reason = "SubscriptionKeyNotFound"   // 401: none was sent
	SubscriptionKeyInvalid    Reason = "SubscriptionKeyInvalid"    // 401: unknown, not active, expired, or out of scope
	JwtInvalid                Reason = "JwtInvalid"                // 401: malformed, too large, or not in the form of Entra's tokens
	TokenIssuerNotAllowed     Reason = "TokenIssuerNotAllowed"     // 401
	TokenAudienceNotAllowed   Reason = "TokenAudienceNotAllowed"   // 401; 403 if it is the audience of another product of the gate
	TokenExpired              Reason = "TokenExpired"              // 401
	TokenNotYetValid          Reason = "TokenNotYetValid"          // 401
	TokenClaimNotFound        Reason = "TokenClaimNotFound"        // 401
	TokenClaimValueNotAllowed Reason = "TokenClaimValueNotAllowed" // 401
	TokenSignatureKeyNotFound Reason = "TokenSignatureKeyNotFound" // 401
	TokenSignatureInvalid     Reason = "TokenSignatureInvalid"     // 401
	// CredentialNotAccepted: no product of the route accepts subscription keys (401),
	// or the product of the token's audience does not accept tokens (403).
	CredentialNotAccepted Reason = "CredentialNotAccepted"

	TokenOfUser      Reason = "TokenOfUser"      // 403: not an application's token, where only those are accepted
	RoleMissing      Reason = "RoleMissing"      // 403
	ScopeMissing     Reason = "ScopeMissing"     // 403: a user's token without one of the product's scopes
	ClientNotAllowed Reason = "ClientNotAllowed" // 403: unknown, not active, or its owner is blocked
	ClientNotGranted Reason = "ClientNotGranted" // 403: not granted the product
	ProductSuspended Reason = "ProductSuspended" // 403
	ProductOpen      Reason = "ProductOpen"      // 403: asks for no credential, and InsecureAllowOpenProducts is not set

	OperationNotFound Reason = "OperationNotFound" // 404: no such product, API or operation, or an API in no product

	// CallerGone: the caller closed the connection before the gate could decide. The
	// status in records is 499.
	CallerGone Reason = "CallerGone"

	KeysUnavailable    Reason = "KeysUnavailable"    // 503
	CatalogUnavailable Reason = "CatalogUnavailable" // 503
)

// failure is why a credential or a request is refused. It is passed by value, without
// allocation, so that a refusal is cheap.
type failure struct {
	reason   Reason
	status   int
	field    string               // what was compared: aud, roles, exp, ...
	actual   string               // what the request holds; never a credential
	expected string               // what would pass
	refusal  appaccess.DenyReason // the catalog's reason, for a client or key
	product  string               // whose check failed last
}

// ok reports that there is no failure.
func (f *failure) ok() bool { return f.reason == "" }

// rank orders the failures of several credentials: 400 is answered before 503, 403
// and 401.
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

func unauthorized(reason Reason, field, actual, expected string) failure {
	return failure{reason: reason, status: http.StatusUnauthorized, field: field, actual: actual, expected: expected}
}

func forbidden(reason Reason, field, actual, expected string) failure {
	return failure{reason: reason, status: http.StatusForbidden, field: field, actual: actual, expected: expected}
}

// unavailable makes a failure with status 503. cause is for records; it may be nil.
func unavailable(reason Reason, field string, cause error) failure {
	f := failure{reason: reason, status: http.StatusServiceUnavailable, field: field, actual: "unavailable"}
	if cause != nil {
		f.actual = clip(cause.Error())
	}
	return f
}

// missing is the value of a field that the request does not have.
const missing = "missing"
