package msgraph

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/entragate/entragate/provision"
)

// graphError is the body of an answer that is not a success:
// https://learn.microsoft.com/graph/errors
type graphError struct {
	Error struct {
		Code       string                     `json:"code"`
		Message    string                     `json:"message"`
		Details    []provision.APIErrorDetail `json:"details"`
		InnerError struct {
			RequestID string `json:"request-id"`
		} `json:"innerError"`
	} `json:"error"`
}

// apiError makes the error of an answer, whatever its body holds.
func apiError(status int, header http.Header, body []byte) *provision.APIError {
	e := &provision.APIError{Status: status, RequestID: header.Get("Request-Id"), RetryAfter: retryAfter(header)}
	var g graphError
	if err := json.Unmarshal(body, &g); err != nil {
		media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
		e.Message = fmt.Sprintf("%s, with %d bytes of %q that are not Graph's", http.StatusText(status), len(body), media)
		return e
	}
	e.Code, e.Message, e.Details = g.Error.Code, g.Error.Message, g.Error.Details
	if e.Message == "" {
		e.Message = http.StatusText(status)
	}
	if e.RequestID == "" {
		e.RequestID = g.Error.InnerError.RequestID
	}
	return e
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3), the latter by
// the server's own clock.
func retryAfter(header http.Header) time.Duration {
	raw := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(raw, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(raw)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(0, at.Sub(now))
}

// cause strips what net/http wraps around the transport's own errors: a URL
// that says nothing new.
func cause(err error) error {
	var api *provision.APIError
	if errors.As(err, &api) {
		return api
	}
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("msgraph: %s: %w", strings.ToUpper(u.Op), u.Err)
	}
	return err
}

// credentialError tells a refused credential, which no waiting mends, from an
// authority that cannot be reached. The authority's own words say why
// (AADSTS7000215: the secret is wrong).
func credentialError(err error) error {
	var failed *azidentity.AuthenticationFailedError
	if !errors.As(err, &failed) || failed.RawResponse == nil {
		return fmt.Errorf("msgraph: no access token: %w", err)
	}
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		TraceID     string `json:"trace_id"`
	}
	resp := failed.RawResponse
	if raw, err := runtime.Payload(resp); err == nil {
		_ = json.Unmarshal(raw, &body)
	}
	e := &provision.APIError{Status: resp.StatusCode, Code: body.Error, RequestID: body.TraceID, RetryAfter: retryAfter(resp.Header)}
	e.Message = "no access token: " + body.Description
	if resp.StatusCode == http.StatusBadRequest {
		// The token endpoint says 400 to many a wrong client; to Graph's caller
		// it all means that he is not known.
		e.Status = http.StatusUnauthorized
	}
	return e
}
