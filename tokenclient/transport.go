package tokenclient

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/entragate/entragate/internal/cloud"
)

// SubscriptionKeyHeader is the header in which API Management and a gate of package
// middleware expect a subscription key by default.
const SubscriptionKeyHeader = "Ocp-Apim-Subscription-Key"

// maxHungKeys is the largest number of abandoned reads of a subscription key. It is larger
// than maxHung, because each request reads the key.
const maxHungKeys = 256

// ErrNotAllowed is the cause of errors of a [Transport] for a request that it does not
// send, because the target must not get the credential.
var ErrNotAllowed = errors.New("tokenclient: request not allowed")

// TransportConfig configures a [Transport].
type TransportConfig struct {
	// Hosts are the hosts that may get the credential, without scheme and path:
	// "api.contoso.com" or, for a port other than the scheme's default,
	// "api.contoso.com:8443". At least one is required. Wildcards are not supported.
	Hosts []string
	// Source supplies the token. Exactly one of Source and SubscriptionKey is required.
	Source *Source
	// SubscriptionKey is sent in the header [SubscriptionKeyHeader] instead of a token.
	// Make it with [Secret], [SecretEnv], [SecretFile] or [SecretFunc]. It is read again
	// for each request, from several goroutines at once.
	SubscriptionKey Credential
	// Base sends the requests. nil means the transport of the Source's client (see
	// Config.HTTPClient), or http.DefaultTransport with a SubscriptionKey.
	Base http.RoundTripper
}

// Transport is an http.RoundTripper that adds a credential to each request. It is safe for
// concurrent use.
//
// It sends a clone of the request, with the credential, and does not change the caller's
// request. The request must go to one of the allowed hosts over https (http is allowed for
// loopback hosts only); any other request fails with [ErrNotAllowed]. A redirect to
// another scheme, host or port than the first request had is followed without the
// credential, even if it leads to another allowed host or back to the first.
//
// If an API answers 401 with a Bearer challenge with invalid_token (RFC 6750), Transport
// invalidates the token that was sent. If it gets a new token and the body can be sent
// again (it is empty or has GetBody), it sends the request once more; otherwise the caller
// gets the 401. Such answers cause at most one fetch in 30 seconds. A claims challenge
// (insufficient_claims with claims, which Microsoft's APIs send for continuous access
// evaluation) has the same effect, and the new token is requested with these claims.
//
// The Request of an answer is the caller's request, without the credential.
type Transport struct {
	hosts  map[string]bool
	source *Source
	key    *secretMethod
	hung   hung // reads of key
	base   http.RoundTripper
}

// NewTransport checks cfg and makes a Transport. It reads a SubscriptionKey once, unless
// it is a [SecretFunc]. An error names the field that is wrong.
func NewTransport(cfg TransportConfig) (*Transport, error) {
	t := &Transport{hosts: map[string]bool{}, source: cfg.Source, base: cfg.Base, hung: hung{most: maxHungKeys}}
	switch {
	case t.base != nil:
	case cfg.Source != nil:
		t.base = cfg.Source.client.base
	default:
		t.base = http.DefaultTransport
	}
	if len(cfg.Hosts) == 0 {
		return nil, errors.New("tokenclient: Hosts: at least one is required")
	}
	for _, host := range cfg.Hosts {
		u, err := url.Parse("https://" + host)
		if err != nil || u.Host != host || u.Hostname() == "" || strings.ContainsAny(host, "*/@") {
			return nil, fmt.Errorf("tokenclient: Hosts: %s", notAHost(host))
		}
		t.hosts[strings.ToLower(host)] = true
	}
	if (cfg.Source == nil) == (cfg.SubscriptionKey.method == nil) {
		return nil, errors.New("tokenclient: exactly one of Source and SubscriptionKey is required")
	}
	if cfg.Source != nil {
		if cfg.Source.refused != nil {
			return nil, fmt.Errorf("tokenclient: Source: %w", cfg.Source.refused.Err)
		}
		return t, nil
	}
	var ok bool
	if t.key, ok = cfg.SubscriptionKey.method.(*secretMethod); !ok {
		return nil, errors.New("tokenclient: SubscriptionKey: must be made with Secret, SecretEnv, SecretFile or SecretFunc")
	}
	ctx, cancel := context.WithTimeout(context.Background(), DefaultTimeout)
	defer cancel()
	if err := newCredentialState(cfg.SubscriptionKey).check(ctx, time.Time{}); err != nil {
		return nil, fmt.Errorf("tokenclient: SubscriptionKey: %w", err)
	}
	return t, nil
}

// notAHost says what is wrong with a host, and suggests the right one if possible.
func notAHost(host string) string {
	if strings.Contains(host, "@") { // not shown: there may be a password in front of it
		return "must not carry user info: give a host name with or without port"
	}
	text := fmt.Sprintf("%q is not a host name with or without port", host)
	_, rest, scheme := strings.Cut(host, "://")
	if !scheme {
		rest = host
	}
	bare, _, path := strings.Cut(rest, "/")
	if bare == "" || strings.Contains(bare, "*") {
		return text
	}
	switch {
	case scheme && path:
		text += ": leave out the scheme and the path"
	case scheme:
		text += ": leave out the scheme"
	case path:
		text += ": leave out the path"
	default:
		return text
	}
	return fmt.Sprintf("%s, as in %q", text, bare)
}

// Client returns an http.Client that sends the source's token to the named hosts
// ("api.contoso.com", see [TransportConfig]) and to no others: see [Transport]. It fails
// if a host name is malformed or the scope of s was refused.
//
// The http.Client has no Timeout: a call whose context has no deadline waits forever for an
// API that hangs. Set Timeout before the first call, or give each request a context with a
// deadline. Both also limit the wait for a token. There is no default, because Timeout
// includes reading the body and would end downloads and streams.
func (s *Source) Client(hosts ...string) (*http.Client, error) {
	t, err := NewTransport(TransportConfig{Hosts: hosts, Source: s})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: t}, nil
}

// RoundTrip sends req with the credential.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if elsewhere(req) {
		return t.send(req, req)
	}
	if err := t.allowed(req); err != nil {
		closeBody(req)
		return nil, err
	}
	if t.key != nil {
		return t.sendKey(req)
	}
	return t.sendToken(req)
}

func (t *Transport) sendKey(req *http.Request) (*http.Response, error) {
	key, err := bounded(req.Context(), &t.hung, t.key.value)
	if err != nil {
		closeBody(req)
		return nil, fmt.Errorf("tokenclient: %w", err)
	}
	clone := req.Clone(req.Context())
	clone.Header.Set(SubscriptionKeyHeader, key)
	return t.send(req, clone)
}

// send sends out and sets the answer's Request to req, whatever the base sets: elsewhere
// follows this chain to recognise redirects.
func (t *Transport) send(req, out *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(out)
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

func (t *Transport) sendToken(req *http.Request) (*http.Response, error) {
	token, err := t.source.Token(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := t.send(req, withToken(req, token))
	if err != nil {
		return resp, err
	}
	claims, refused := refusedToken(resp)
	if !refused || !t.source.invalidate(token, claims) || !repeatable(req) {
		return resp, nil
	}
	fresh, err := t.source.Token(req.Context())
	if err != nil || fresh == token {
		return resp, nil
	}
	again := withToken(req, fresh)
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return resp, nil
		}
	}
	_ = resp.Body.Close() // without reading it: the body may never end
	return t.send(req, again)
}

// CloseIdleConnections closes the idle connections of Base, if Base supports that.
// http.Client.CloseIdleConnections calls it.
func (t *Transport) CloseIdleConnections() {
	if b, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		b.CloseIdleConnections()
	}
}

// elsewhere reports whether one of the redirects that led to req went to another scheme,
// host or port.
func elsewhere(req *http.Request) bool {
	for hop := req; hop.Response != nil && hop.Response.Request != nil; hop = hop.Response.Request {
		if site(hop.URL) != site(hop.Response.Request.URL) {
			return true
		}
	}
	return false
}

// site returns scheme, host and port of u.
func site(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = schemePort[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

var schemePort = map[string]string{"https": "443", "http": "80"}

// allowed refuses a request that would send the credential to another host.
func (t *Transport) allowed(req *http.Request) error {
	u := req.URL
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !cloud.IsLoopback(u.Hostname())):
		return fmt.Errorf("%w: a credential goes by https only (plain http to loopback hosts), not by %q", ErrNotAllowed, u.Scheme)
	case u.Opaque != "": // a proxy may send the request to another host
		return fmt.Errorf("%w: URL.Opaque is set: use Path and RawPath", ErrNotAllowed)
	case u.Scheme == "http" && req.Host != "" && !strings.EqualFold(req.Host, u.Host): // without TLS, a proxy uses the Host header
		return fmt.Errorf("%w: without TLS the request's Host must be that of its URL", ErrNotAllowed)
	}
	host, bare := strings.ToLower(u.Host), strings.ToLower(u.Hostname())
	if strings.Contains(bare, ":") {
		bare = "[" + bare + "]"
	}
	plainPort := u.Port() == "" || u.Port() == schemePort[u.Scheme]
	if t.hosts[host] || plainPort && (t.hosts[bare] || t.hosts[bare+":"+schemePort[u.Scheme]]) {
		return nil
	}
	return fmt.Errorf("%w: host %q is not among Hosts", ErrNotAllowed, u.Host)
}

func withToken(req *http.Request, token *Token) *http.Request {
	clone := req.Clone(req.Context())
	clone.Header.Set("Authorization", token.Authorization())
	return clone
}

// refusedToken reports whether resp refuses the token as invalid (RFC 6750 section 3.1), so
// that a new token may pass. claims are the claims to request for the new token:
// https://learn.microsoft.com/entra/identity-platform/claims-challenge.
func refusedToken(resp *http.Response) (claims string, refused bool) {
	if resp.StatusCode != http.StatusUnauthorized {
		return "", false
	}
	for c := range bearerChallenges(resp) {
		switch c.params["error"] {
		case "invalid_token":
			return "", true
		case "insufficient_claims":
			if claims := decodeClaims(c.params["claims"]); claims != "" {
				return claims, true
			}
		}
	}
	return "", false
}

// decodeClaims returns the JSON object in a claims challenge; empty if it is malformed.
func decodeClaims(s string) string {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	decoded, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil || !strings.HasPrefix(string(decoded), "{") || !jsontext.Value(decoded).IsValid() {
		return ""
	}
	return string(decoded)
}

func repeatable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
