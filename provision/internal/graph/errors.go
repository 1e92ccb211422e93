package graph

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/entragate/entragate/internal/wait"
	"github.com/entragate/entragate/provision"
)

// graphError is the body of a response that is not a success:
// https://learn.microsoft.com/graph/errors
type graphError struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Details []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Target  string `json:"target"`
		} `json:"details"`
		InnerError struct {
			RequestID string `json:"request-id"`
		} `json:"innerError"`
	} `json:"error"`
}

// Limits of the parts of an error's body that are kept.
const (
	maxText    = 2000
	maxCode    = 200
	maxDetails = 20
	maxError   = 1 << 20
)

// apiError reads the error of a response, whatever its body holds.
func apiError(status int, header http.Header, body []byte, now time.Time) *provision.APIError {
	e := &provision.APIError{Status: status, RequestID: printable(header.Get("Request-Id"), maxCode), RetryAfter: wait.RetryAfter(header, now)}
	var g graphError
	if len(body) > maxError || json.Unmarshal(body, &g) != nil {
		media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
		e.Message = fmt.Sprintf("%s, with a body of %d bytes and content type %q that is not an error of Graph", http.StatusText(status), len(body), printable(media, 100))
		return e
	}
	e.Code, e.Message = printable(g.Error.Code, maxCode), printable(g.Error.Message, maxText)
	for _, d := range g.Error.Details[:min(len(g.Error.Details), maxDetails)] {
		e.Details = append(e.Details, provision.APIErrorDetail{
			Code: printable(d.Code, maxCode), Message: printable(d.Message, maxText), Target: printable(d.Target, maxCode),
		})
	}
	if e.Message == "" {
		e.Message = http.StatusText(status)
	}
	if e.RequestID == "" {
		e.RequestID = printable(g.Error.InnerError.RequestID, maxCode)
	}
	return e
}

// printable makes a text from a server fit for one line of a log: control
// characters become blanks and a long text is cut.
func printable(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// Printable is printable for an error of the token endpoint.
func Printable(s string) string { return printable(s, maxText) }
