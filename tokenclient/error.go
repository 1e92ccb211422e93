package tokenclient

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Error is why there is no token. Its text never holds a secret, an assertion
// or a token. It is shared among callers: do not change it.
type Error struct {
	// Scope that was asked for.
	Scope string
	// StatusCode is the token endpoint's HTTP status, 0 if it gave none.
	StatusCode int
	// Code is the OAuth 2.0 error, such as "invalid_client" (RFC 6749 section
	// 5.2). Empty if the endpoint gave none.
	Code string
	// AADSTS is Entra's number, such as 7000215, or 0.
	AADSTS int
	// Description is the endpoint's text, shortened, on one line.
	Description string
	// CorrelationID finds the request in Entra's sign-in logs. It is set for
	// every request that was sent, answered or not.
	CorrelationID string
	// TraceID is Entra's own number for the request, if it gave one.
	TraceID string
	// RetryAfter is how long the endpoint asked to wait, counted from its
	// answer, or 0. Calls within that time get this error without a request.
	RetryAfter time.Duration
	// Retryable tells that the same request may work later without anybody
	// changing anything. Just call Token again: how often that asks the endpoint
	// is the client's care. A service that cannot do without the token may answer
	// 503 with Retry-After instead of 500.
	Retryable bool
	// Advice says in a sentence what to do, for the common troubles.
	Advice string
	// Err is the cause, if there is one: a network error, the context's error,
	// what a credential's function returned, [ErrClosed], [ErrScope].
	Err error

	credential bool // our own credential could not be read
	timeout    bool // it took all the time that a request may take
}

// Error is one line: what failed, what the endpoint said, what to do.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "tokenclient: no token for %q", e.Scope)
	if e.StatusCode != 0 {
		fmt.Fprintf(&b, ": status %d", e.StatusCode)
	}
	if e.RetryAfter != 0 {
		fmt.Fprintf(&b, ", asks to wait %v", e.RetryAfter)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, " %s", e.Code)
	}
	switch {
	case e.Description != "":
		fmt.Fprintf(&b, ": %s", e.Description)
	case e.AADSTS != 0:
		fmt.Fprintf(&b, ": AADSTS%d", e.AADSTS)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Advice != "" {
		fmt.Fprintf(&b, " (%s)", e.Advice)
	}
	if e.CorrelationID != "" {
		fmt.Fprintf(&b, " [correlation id %s]", e.CorrelationID)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Timeout reports whether the cause was a time that ran out, as [net.Error] does:
// [url.Error], which http.Client returns, asks for it.
func (e *Error) Timeout() bool {
	var cause interface{ Timeout() bool }
	return errors.As(e.Err, &cause) && cause.Timeout()
}

// LogValue is the error's fields for log/slog.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("scope", e.Scope)}
	add := func(name string, set bool, value any) {
		if set {
			attrs = append(attrs, slog.Any(name, value))
		}
	}
	add("status", e.StatusCode != 0, e.StatusCode)
	add("code", e.Code != "", e.Code)
	add("aadsts", e.AADSTS != 0, e.AADSTS)
	add("description", e.Description != "", e.Description)
	add("correlation_id", e.CorrelationID != "", e.CorrelationID)
	add("retry_after", e.RetryAfter != 0, e.RetryAfter)
	add("retryable", true, e.Retryable)
	add("advice", e.Advice != "", e.Advice)
	if e.Err != nil {
		add("cause", true, e.Err.Error())
	}
	return slog.GroupValue(attrs...)
}

// forScope is e as another source of the same client reports it.
func (e *Error) forScope(scope string) *Error {
	if e.Scope == scope {
		return e
	}
	own := *e
	own.Scope = scope
	return &own
}

// advise is what to do about what the endpoint answered.
func (e *Error) advise() string {
	known := advice[e.AADSTS]
	switch {
	case e.StatusCode >= 300 && e.StatusCode < 400:
		return "the token endpoint redirects, which is not followed because the credential would go along: check Authority or TokenURL"
	case known != "":
		return known
	case e.StatusCode == http.StatusTooManyRequests:
		return "too many requests for tokens: make one Client for each client application and keep it; the first call after the pause asks again"
	case e.Retryable:
		return "the token endpoint cannot serve at present: nothing to change here, the first call after a pause asks again"
	case e.Code == "" && e.AADSTS == 0:
		return "this is no answer of a token endpoint: check TenantID and Authority, or TokenURL"
	}
	return ""
}

// advice for Entra's numbers:
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes.
var advice = map[int]string{
	7000215: "the client secret is wrong: send the secret's value, not its ID; a new secret takes up to a few minutes to reach every Entra server",
	7000222: "the client secret or certificate has expired: make a new one and replace it here",
	700016:  "this client ID is not known in this tenant: check ClientID, TenantID and that the application was not deleted; a new application takes a few minutes",
	7000112: "the client application is disabled: ask whoever administers it",
	700024:  "the client assertion's times are not valid now: check this machine's clock",
	700027:  "the certificate's signature was refused: check that this certificate is registered with the application and has not expired",
	700211:  "no federated credential of the application matches the assertion's issuer",
	700212:  "no federated credential of the application matches the assertion's audience",
	700213:  "no federated credential of the application matches the assertion's subject",
	500011:  "no such resource in this tenant: the scope is api://{application ID of the product}/.default",
	70011:   "the scope is not valid: it is the resource's identifier with /.default at its end",
	1002012: "the scope is not valid: client credentials take the resource's identifier with /.default at its end",
	50105:   "the client has not been granted this product: ask the API's manager",
	501051:  "the client has not been granted this product: ask the API's manager",
	90002:   "no such tenant: check TenantID, Cloud and Authority",
	50034:   "no such account in this tenant: check TenantID and ClientID",
}

// otherCredential are the numbers that say that this credential is no good,
// and another one may be.
var otherCredential = []int{7000215, 7000222, 700027, 700024}

// ofScope are the numbers that concern the scope alone, so that the client's
// other scopes need not pause.
var ofScope = []int{500011, 70011, 1002012, 50105, 501051}

// refusesCredential reports whether another credential of the same client may
// be accepted.
func (e *Error) refusesCredential() bool {
	if e.AADSTS != 0 {
		return slices.Contains(otherCredential, e.AADSTS)
	}
	return e.Code == "invalid_client"
}

// concernsClient reports whether every scope of the client would fail the same
// way.
func (e *Error) concernsClient() bool {
	if slices.Contains(ofScope, e.AADSTS) {
		return false
	}
	return e.Retryable || e.credential || e.Code == "invalid_client" || e.Code == "unauthorized_client"
}
