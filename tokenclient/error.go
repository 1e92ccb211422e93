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

// Error says why there is no token. Its text never holds a secret, an assertion or a
// token. Several callers can get the same Error: do not change it.
type Error struct {
	// Scope is the requested scope.
	Scope string
	// StatusCode is the token endpoint's HTTP status, 0 if there was no answer.
	StatusCode int
	// Code is the OAuth 2.0 error, such as "invalid_client" (RFC 6749 section
	// 5.2). It is empty if the endpoint sent none.
	Code string
	// AADSTS is Entra's error number, such as 7000215, or 0.
	AADSTS int
	// Description is the endpoint's text, shortened, on one line.
	Description string
	// CorrelationID finds the request in Entra's sign-in logs. It is set for every
	// request that was sent, with or without an answer.
	CorrelationID string
	// TraceID is Entra's own ID of the request, if Entra sent one.
	TraceID string
	// RetryAfter is how long the endpoint asked to wait, counted from its answer, or 0.
	// Calls within that time, one hour at most, get this error without a request.
	RetryAfter time.Duration
	// Retryable reports whether the same call may succeed later without any change.
	// Call Token again: the Client limits the requests to the endpoint. A service that
	// needs the token can answer its own caller with 503 and Retry-After.
	Retryable bool
	// Advice says in one sentence what to do, for common errors.
	Advice string
	// Err is the cause, or nil: a network error, the context's error, the error of a
	// credential's function, [ErrClosed] or [ErrScope]. If the text of a cause holds the
	// credential or the query of TokenURL, it is replaced by an error with a redacted
	// text, for which errors.Is still works.
	Err error

	credential bool // the credential could not be read
	timeout    bool // the request took Config.Timeout
}

// Error returns one line: what failed, what the endpoint answered, what to do.
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
		b.WriteString(": " + redactor(nil).line(e.Err.Error()))
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

// Timeout reports whether the cause is a timeout, like [net.Error]. [url.Error], which
// http.Client returns, calls it.
func (e *Error) Timeout() bool {
	var cause interface{ Timeout() bool }
	return errors.As(e.Err, &cause) && cause.Timeout()
}

// LogValue returns the error's fields for log/slog.
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
		add("cause", true, redactor(nil).line(e.Err.Error()))
	}
	return slog.GroupValue(attrs...)
}

// forScope returns e with another scope, for another source of the same client.
func (e *Error) forScope(scope string) *Error {
	if e.Scope == scope {
		return e
	}
	own := *e
	own.Scope = scope
	return &own
}

// advise returns the Advice for an answer of the endpoint.
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
		return "this is not the answer of a token endpoint: check TenantID and Authority, or TokenURL"
	}
	return ""
}

// assertionOutOfTime is Entra's number for an assertion that has expired or is not valid
// yet.
const assertionOutOfTime = 700024

// advice for Entra's numbers:
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes.
var advice = map[int]string{
	7000215:            "the client secret is wrong: send the secret's value, not its ID; a new secret takes up to a few minutes to reach every Entra server",
	7000222:            "the client secret or certificate has expired: make a new one and replace it here",
	700016:             "this client ID is not known in this tenant: check ClientID, TenantID and that the application was not deleted; a new application takes a few minutes",
	7000112:            "the client application is disabled: ask whoever administers it",
	assertionOutOfTime: "the client assertion's times are not valid now: check this machine's clock",
	700027:             "the certificate's signature was refused: check that this certificate is registered with the application and has not expired",
	700211:             "no federated credential of the application matches the assertion's issuer",
	700212:             "no federated credential of the application matches the assertion's audience",
	700213:             "no federated credential of the application matches the assertion's subject",
	500011:             "no such resource in this tenant: the scope is api://{application ID of the product}/.default",
	70011:              "the scope is not valid: it is the resource's identifier with /.default at its end",
	1002012:            "the scope is not valid: client credentials take the resource's identifier with /.default at its end",
	50105:              "the client has not been granted this product: ask the API's manager",
	501051:             "the client has not been granted this product: ask the API's manager",
	90002:              "no such tenant: check TenantID, Cloud and Authority",
	50034:              "no such account in this tenant: check TenantID and ClientID",
}

// otherCredential are the numbers for a refused credential, where another credential may
// be accepted.
var otherCredential = []int{7000215, 7000222, 700027, assertionOutOfTime}

// ofScope are the numbers for a problem of one scope. The client's other scopes do not
// pause after them.
var ofScope = []int{500011, 70011, 1002012, 50105, 501051}

// refusesCredential reports whether the credential was refused and another one of the
// same client may be accepted.
func (e *Error) refusesCredential() bool {
	if e.AADSTS != 0 {
		return slices.Contains(otherCredential, e.AADSTS)
	}
	return e.Code == "invalid_client"
}

// concernsClient reports whether all scopes of the client would fail in the same way.
func (e *Error) concernsClient() bool {
	if slices.Contains(ofScope, e.AADSTS) {
		return false
	}
	return e.Retryable || e.credential || e.Code == "invalid_client" || e.Code == "unauthorized_client"
}
