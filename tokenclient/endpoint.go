package tokenclient

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/entragate/entragate/internal/secret"
)

const (
	maxAnswer      = 1 << 20         // bytes of a token response
	maxDescription = 600             // bytes of a description that are kept
	assumedLife    = 5 * time.Minute // of a token without expires_in
	maxLife        = 28 * time.Hour  // Entra's longest
	refreshFrom    = 0.60            // of a token's life, without refresh_in
	refreshTo      = 0.75            // of a token's life, with and without
	minRefreshIn   = time.Second     // a smaller refresh_in would refresh all the time
	leftOver       = int64(64 << 10) // bytes read so that a connection can be used again
)

// fetch gets a token with the preferred credential, and once more with the
// other one if that was refused.
func (c *Client) fetch(ctx context.Context, scope string) (*snapshot, *Error) {
	first := int(c.preferred.Load())
	var err *Error
	for i := range c.credentials {
		index := (first + i) % len(c.credentials)
		var snap *snapshot
		began := c.time()
		if c.stalled.Swap(false) {
			c.http.CloseIdleConnections()
		}
		snap, err = c.exchange(ctx, scope, c.credentials[index])
		c.report(scope, c.credentials[index].String(), snap, err, began)
		if err == nil {
			c.preferred.Store(int32(index))
			c.credentials[index].warn(c)
			return snap, nil
		}
		if err.timeout {
			c.stalled.Store(true)
		}
		if !err.refusesCredential() && !err.credential {
			break
		}
	}
	return nil, err
}

// exchange is one request to the token endpoint.
func (c *Client) exchange(ctx context.Context, scope string, cred *credentialState) (*snapshot, *Error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	g := &grant{client: c, now: c.time(), form: c.form(scope)}
	if err := cred.prove(ctx, g); err != nil {
		return nil, &Error{
			Scope: scope, Err: err, credential: true,
			timeout: ctx.Err() != nil, Retryable: ctx.Err() != nil,
			Advice: "the credential could not be read",
		}
	}
	id := newUUID()
	req, err := g.request(ctx, id)
	if err != nil {
		return nil, &Error{Scope: scope, Err: err}
	}
	from, start := c.time(), c.clock()
	status, header, body, err := c.send(req)
	if err != nil {
		return nil, c.transportError(ctx, scope, id, err)
	}
	if status == http.StatusOK {
		snap, err := accept(scope, id, from, body, g.hidden)
		if err == nil {
			snap.from = start
		}
		return snap, err
	}
	return nil, refusal(scope, id, status, header, body, g.hidden, c.time())
}

func (c *Client) form(scope string) url.Values {
	form := url.Values{}
	for name, values := range c.params {
		form[name] = values
	}
	form.Set("grant_type", "client_credentials")
	if scope != "" {
		form.Set("scope", scope)
	}
	return form
}

// send makes the request and reads a bounded answer.
func (c *Client) send(req *http.Request) (int, http.Header, []byte, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("the token endpoint's answer is larger than %d bytes", maxAnswer)
	}
	return resp.StatusCode, resp.Header, body, err
}

// answer is a token response (RFC 6749 section 5.1) or error response (section
// 5.2), with Entra's additions.
type answer struct {
	AccessToken string  `json:"access_token"`
	TokenType   string  `json:"token_type"`
	ExpiresIn   seconds `json:"expires_in"`
	RefreshIn   seconds `json:"refresh_in"`

	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	CorrelationID string `json:"correlation_id"`
	TraceID       string `json:"trace_id"`
}

// seconds is a number or a string with a number in it, as older servers send.
// What is neither is unknown rather than an error.
type seconds struct {
	d     time.Duration
	known bool
}

func (s *seconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	if err != nil || n != n {
		return nil
	}
	n = max(-1, min(n, (10*365*24*time.Hour).Seconds()))
	*s = seconds{d: time.Duration(n * float64(time.Second)), known: true}
	return nil
}

// accept makes a snapshot of a 200, but for its instant.
func accept(scope, id string, from time.Time, body []byte, hidden []string) (*snapshot, *Error) {
	refuse := func(why string) (*snapshot, *Error) {
		return nil, &Error{Scope: scope, StatusCode: http.StatusOK, CorrelationID: id, Err: errors.New(why)}
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return refuse("the answer is no JSON token response: is something else at the token URL?")
	}
	if a.AccessToken == "" && a.Error != "" {
		return nil, refusal(scope, id, http.StatusOK, nil, body, hidden, from)
	}
	switch {
	case a.AccessToken == "":
		return refuse("the answer holds no access_token")
	case checkPrintable("access_token", a.AccessToken) != nil:
		return refuse("the access token holds characters that no header can carry")
	case !strings.EqualFold(a.TokenType, "bearer"):
		return refuse("the token is not of type Bearer")
	case a.ExpiresIn.known && a.ExpiresIn.d < time.Second:
		return refuse("the token has expired already: expires_in is below 1")
	}
	life := assumedLife
	if a.ExpiresIn.known {
		life = min(a.ExpiresIn.d, maxLife)
	}
	return &snapshot{
		token: &Token{
			value: secret.New(a.AccessToken), header: secret.New("Bearer " + a.AccessToken),
			scope: scope, obtained: from, expires: from.Add(life),
		},
		life: life, refresh: refreshAt(life, a.RefreshIn),
	}, nil
}

// refreshAt is the age from which on a token is refreshed. The server's
// refresh_in is never anticipated; replicas that started together spread over
// the time behind it.
func refreshAt(life time.Duration, in seconds) time.Duration {
	from := time.Duration(float64(life) * refreshFrom)
	to := time.Duration(float64(life) * refreshTo)
	if in.d >= minRefreshIn && in.d < life-margin(life) {
		from = in.d
		to = min(from+life/20, life-margin(life))
	}
	return from + mrand.N(max(1, to-from))
}

// refusal makes an Error of an answer that is none of success.
func refusal(scope, id string, status int, header http.Header, body []byte, hidden []string, now time.Time) *Error {
	var a answer
	_ = json.Unmarshal(body, &a) // whatever was understood: proxies answer with pages
	e := &Error{
		Scope: scope, StatusCode: status, Code: oneLine(a.Error, hidden), AADSTS: aadsts(a),
		Description:   oneLine(a.Description, hidden),
		CorrelationID: id, TraceID: oneLine(a.TraceID, hidden),
		RetryAfter: retryAfter(header, now),
	}
	if a.CorrelationID != "" {
		e.CorrelationID = oneLine(a.CorrelationID, hidden)
	}
	e.Retryable = retryableStatus(status) || e.Code == "temporarily_unavailable" || e.Code == "server_error"
	e.Advice = e.advise()
	return e
}

func retryableStatus(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout ||
		status >= 500 && status != http.StatusNotImplemented
}

// aadsts is Entra's number: the one its text begins with, else the first listed.
func aadsts(a answer) int {
	if rest, ok := strings.CutPrefix(a.Description, "AADSTS"); ok {
		digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
		if n, err := strconv.Atoi(digits); err == nil {
			return n
		}
	}
	if len(a.Codes) > 0 {
		return a.Codes[0]
	}
	return 0
}

// retryAfter reads seconds or a date (RFC 9110 section 10.2.3), which counts from
// the answer's own Date, if it has one: our clock may be wrong.
func retryAfter(header http.Header, now time.Time) time.Duration {
	v := header.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return time.Duration(min(n, int(maxRetryAfter/time.Second))) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		if sent, err := http.ParseTime(header.Get("Date")); err == nil {
			now = sent
		}
		return min(max(0, t.Sub(now)), maxRetryAfter)
	}
	return 0
}

// oneLine takes what was sent to the server out of its text, and what could
// break a log line.
func oneLine(s string, hidden []string) string {
	for _, h := range hidden {
		s = strings.ReplaceAll(s, h, secret.Shown)
		s = strings.ReplaceAll(s, url.QueryEscape(h), secret.Shown)
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxDescription {
		s = strings.ToValidUTF8(s[:maxDescription], "") + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// transportError is for a request that got no answer.
func (c *Client) transportError(ctx context.Context, scope, id string, err error) *Error {
	e := &Error{Scope: scope, CorrelationID: id, Err: err, Retryable: true}
	var netErr net.Error
	switch {
	case c.life.Err() != nil:
		e.Err, e.Retryable = ErrClosed, false
	case ctx.Err() != nil:
		e.timeout = true
		e.Err = fmt.Errorf("the token endpoint did not answer within %v: %w", c.timeout, err)
	case errors.As(err, &netErr) && netErr.Timeout(): // of the given HTTP client
		e.timeout = true
	case errors.As(err, new(*tls.CertificateVerificationError)):
		e.Retryable = false
		e.Advice = "the token endpoint's TLS certificate is not trusted: give an HTTPClient with its CA"
	}
	return e
}

// report tells log and metrics of one request.
func (c *Client) report(scope, credential string, snap *snapshot, err *Error, began time.Time) {
	took := c.time().Sub(began)
	c.meter.fetched(c.clientID, scope, err, took)
	if c.log == nil {
		return
	}
	level, message := slog.LevelInfo, "token fetched"
	attrs := []slog.Attr{
		slog.String("client_id", c.clientID), slog.String("credential", credential), slog.Duration("took", took),
	}
	if err != nil {
		level, message = slog.LevelWarn, "no token"
		attrs = append(attrs, slog.Any("error", err))
	} else {
		attrs = append(attrs, slog.Any("token", snap.token), slog.Duration("refresh_in", snap.refresh))
	}
	c.log.LogAttrs(context.Background(), level, message, attrs...)
}

// newUUID is a random UUID (RFC 9562 section 5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
