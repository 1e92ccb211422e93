package tokenclient

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/entragate/entragate/internal/secret"
)

const (
	maxAnswer    = 1 << 20                // bytes of a token response
	assumedLife  = 5 * time.Minute        // of a token without expires_in
	maxLife      = 28 * time.Hour         // Entra's longest
	refreshFrom  = 0.60                   // of a token's life, without refresh_in
	refreshTo    = 0.75                   // of a token's life, with and without
	readAgain    = 250 * time.Millisecond // until the second read of a credential
	minRefreshIn = time.Second            // a smaller refresh_in is ignored
)

// fetch gets a token with the preferred credential. If that credential is refused or
// cannot be read, it tries the other one.
func (c *Client) fetch(ctx context.Context, scope, claims string) (*snapshot, *Error) {
	first := int(c.preferred.Load())
	var err *Error
	for i := range c.credentials {
		index := (first + i) % len(c.credentials)
		cred := c.credentials[index]
		var snap *snapshot
		began := c.time()
		end := c.traced(ctx, scope)
		snap, err = c.exchange(ctx, scope, claims, cred)
		c.watch(func() { end(err) })
		c.watch(func() { c.report(scope, cred.String(), snap, err, began) })
		if err == nil {
			c.preferred.Store(int32(index))
			c.watch(func() { cred.warn(c) })
			return snap, nil
		}
		if !err.refusesCredential() && !err.credential {
			break
		}
	}
	return nil, err
}

// watch runs a function that only observes. If it panics, the panic is logged if
// possible, and the token is still returned.
func (c *Client) watch(f func()) {
	err := guarded(func() error { f(); return nil })
	if err != nil && c.log != nil {
		_ = guarded(func() error {
			c.log.Error("a function of the Config panicked", "client_id", c.clientID, "error", err)
			return nil
		})
	}
}

// exchange is one request to the token endpoint.
func (c *Client) exchange(ctx context.Context, scope, claims string, cred *credentialState) (*snapshot, *Error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	proof, err := cred.prove(ctx, c)
	if err != nil && ctx.Err() == nil && c.sleep(ctx, readAgain) == nil {
		proof, err = cred.prove(ctx, c) // a vault or a file that is being replaced can fail once
	}
	proof.hidden.hide(c.hidden...)
	if err != nil {
		return nil, c.credentialError(ctx, scope, proof.hidden.cause(err))
	}
	id := newUUID()
	req, err := c.request(ctx, id, scope, claims, proof)
	if err != nil {
		return nil, &Error{Scope: scope, Err: proof.hidden.cause(err)}
	}
	from, start := c.time(), c.clock()
	status, header, body, err := c.send(req)
	if err != nil {
		return nil, c.transportError(ctx, scope, id, proof.hidden.cause(err))
	}
	if status == http.StatusOK {
		snap, err := accept(scope, id, from, body, proof.hidden)
		if err == nil {
			snap.from = start
		}
		return snap, err
	}
	refused := refusal(scope, id, status, header, body, proof.hidden, c.time())
	if refused.AADSTS == assertionOutOfTime && proof.stale != "" {
		refused.Advice = proof.stale
	}
	return nil, refused
}

func (c *Client) request(ctx context.Context, id, scope, claims string, p proof) (*http.Request, error) {
	form := url.Values{}
	maps.Copy(form, c.params)
	maps.Copy(form, p.form)
	form.Set("grant_type", "client_credentials")
	if scope != "" {
		form.Set("scope", scope)
	}
	if claims != "" {
		form.Set("claims", claims)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.tokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Client-Request-Id", id)
	req.Header.Set("Return-Client-Request-Id", "true")
	if p.header != "" {
		req.Header.Set("Authorization", p.header)
	}
	// net/http logs bytes that a server sends on an idle connection. A server could
	// send back the request, and so the credential.
	req.Close = true
	return req, nil
}

// send sends the request and reads the answer up to maxAnswer bytes.
func (c *Client) send(req *http.Request) (int, http.Header, []byte, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		var withURL *url.Error
		if errors.As(err, &withURL) { // its text shows the query of TokenURL
			err = withURL.Err
		}
		return 0, nil, nil, fmt.Errorf("%s %s: %w", req.Method, c.shownURL(), err)
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

// seconds is a whole number of seconds or, from older servers, a string that holds one.
// null is treated like a missing member.
type seconds struct {
	d     time.Duration
	known bool
}

var secondsForm = regexp.MustCompile(`^(?:"([0-9]{1,18})"|([0-9]{1,18})(?:\.0{1,3})?)$`)

func (s *seconds) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	m := secondsForm.FindSubmatch(b)
	if m == nil {
		return errors.New("a number of seconds is expected")
	}
	n, err := strconv.ParseInt(string(m[1])+string(m[2]), 10, 64)
	if err != nil {
		return err
	}
	*s = seconds{d: time.Duration(min(n, int64(maxLife/time.Second)+1)) * time.Second, known: true}
	return nil
}

// accept makes a snapshot of an answer with status 200. The caller sets snapshot.from.
func accept(scope, id string, from time.Time, body []byte, hidden redactor) (*snapshot, *Error) {
	refuse := func(why string) (*snapshot, *Error) {
		return nil, &Error{Scope: scope, StatusCode: http.StatusOK, CorrelationID: id, Err: errors.New(why)}
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		if member := hidden.line(string(position(err))); member != "" {
			return refuse(fmt.Sprintf("the answer's member %s occurs twice or is not what a token response has there (RFC 6749 section 5.1)", member))
		}
		return refuse("the answer is not a JSON token response: check the token URL")
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

// position returns the JSON member at which a decoder error occurred; empty if unknown.
func position(err error) jsontext.Pointer {
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		return semantic.JSONPointer
	}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		return syntactic.JSONPointer
	}
	return ""
}

// refreshAt returns the age at which a token is refreshed: a random age, so that replicas
// that started together do not refresh together, and never before the server's
// refresh_in.
func refreshAt(life time.Duration, in seconds) time.Duration {
	from := time.Duration(float64(life) * refreshFrom)
	to := time.Duration(float64(life) * refreshTo)
	if in.d >= minRefreshIn && in.d < life-margin(life) {
		from = in.d
		to = min(from+life/20, life-margin(life))
	}
	return from + mrand.N(max(1, to-from))
}

// refusal makes an Error of an answer without a token.
func refusal(scope, id string, status int, header http.Header, body []byte, hidden redactor, now time.Time) *Error {
	var a answer
	_ = json.Unmarshal(body, &a) // uses what could be decoded: proxies answer with HTML pages
	e := &Error{
		Scope: scope, StatusCode: status, Code: hidden.line(a.Error), AADSTS: aadsts(a),
		Description:   hidden.line(a.Description),
		CorrelationID: id, TraceID: hidden.line(a.TraceID),
		RetryAfter: retryAfter(header, now),
	}
	if a.CorrelationID != "" {
		e.CorrelationID = hidden.line(a.CorrelationID)
	}
	e.Retryable = retryableStatus(status) || e.Code == "temporarily_unavailable" || e.Code == "server_error"
	e.Advice = e.advise()
	return e
}

func retryableStatus(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout ||
		status >= 500 && status != http.StatusNotImplemented
}

// aadsts returns Entra's error number: from the start of the description, otherwise the
// first of error_codes.
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

// retryAfter reads Retry-After (RFC 9110 section 10.2.3): seconds or a date. A date is
// compared with the answer's own Date if there is one, because our clock may be wrong.
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

// credentialError makes an Error for a credential that could not be read.
func (c *Client) credentialError(ctx context.Context, scope string, err error) *Error {
	if c.life.Err() != nil {
		return &Error{Scope: scope, Err: ErrClosed, credential: true}
	}
	return &Error{
		Scope: scope, Err: err, credential: true,
		timeout: ctx.Err() != nil, Retryable: ctx.Err() != nil || errors.Is(err, errHung),
		Advice: "the credential could not be read",
	}
}

// transportError makes an Error for a request without an answer.
func (c *Client) transportError(ctx context.Context, scope, id string, err error) *Error {
	e := &Error{Scope: scope, CorrelationID: id, Err: err, Retryable: true}
	var netErr net.Error
	switch {
	case c.life.Err() != nil:
		e.Err, e.Retryable = ErrClosed, false
	case ctx.Err() != nil:
		e.timeout = true
		e.Err = fmt.Errorf("the token endpoint did not answer within %v: %w", c.timeout, err)
	case errors.As(err, &netErr) && netErr.Timeout(): // the timeout of Config.HTTPClient
		e.timeout = true
	case errors.As(err, new(*tls.CertificateVerificationError)):
		e.Retryable = false
		e.Advice = "the token endpoint's TLS certificate is not trusted: give an HTTPClient with its CA"
	}
	return e
}

// report writes one request to log and metrics.
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

// newUUID returns a random UUID (RFC 9562 section 5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
