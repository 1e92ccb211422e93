package tokenclient

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/entragate/entragate/internal/cloud"
)

// SubscriptionKeyHeader is the header in which API Management and its like look
// for a subscription key.
const SubscriptionKeyHeader = "Ocp-Apim-Subscription-Key"

// ErrNotAllowed is wrapped by the errors of a [Transport] for a request that it
// does not send, because a credential must not go there.
var ErrNotAllowed = errors.New("tokenclient: request not allowed")

// TransportConfig says what a [Transport] sends and where to.
type TransportConfig struct {
	// Hosts that may get the credential, such as "api.contoso.com" or, for a
	// port other than the scheme's own, "api.contoso.com:8443": without scheme
	// and path. At least one is required; there are no wildcards.
	Hosts []string
	// Source gives the token. Exactly one of Source and SubscriptionKey is
	// required.
	Source *Source
	// SubscriptionKey is sent in the header [SubscriptionKeyHeader] instead of
	// a token. It is made with [Secret], [SecretEnv], [SecretFile] or
	// [SecretFunc] and read again for each request, also by several at once.
	SubscriptionKey Credential
	// Base makes the requests, nil for http.DefaultTransport.
	Base http.RoundTripper
}

// Transport is an http.RoundTripper that adds a credential to each request.
//
// It works on a clone and leaves the caller's request alone. The request must
// go to one of the allowed hosts by https (plain http passes for loopback hosts
// only); any other is refused with [ErrNotAllowed]. A redirect that leaves the
// host of the first request is followed without the credential, also when it
// leads to another allowed host or back again.
//
// A 401 whose Bearer challenge says invalid_token (RFC 6750) invalidates
// exactly the token that was sent. If a new one can be had and the body can be
// sent again (it is empty or has GetBody), the request is tried once more;
// otherwise the caller gets the 401. At most one fetch is forced in 30 seconds.
//
// The answer's Request is the caller's, so what looks at it later does not find
// the credential.
//
// Safe for concurrent use.
type Transport struct {
	hosts  map[string]bool
	source *Source
	key    *secretMethod
	base   http.RoundTripper
}

// NewTransport checks cfg and makes a Transport. Its error names the field.
func NewTransport(cfg TransportConfig) (*Transport, error) {
	t := &Transport{hosts: map[string]bool{}, source: cfg.Source, base: cfg.Base}
	if t.base == nil {
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
	if err := t.key.check(time.Time{}); err != nil {
		return nil, fmt.Errorf("tokenclient: SubscriptionKey: %w", err)
	}
	return t, nil
}

// notAHost says what is wrong with a host, and what was meant if that is plain.
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

// Client is an http.Client that sends the source's token to the named hosts
// ("api.contoso.com", see [TransportConfig]) and no others; see [Transport]. It
// fails for a host name that is none and for a scope that was refused.
//
// Its Timeout is zero, as every http.Client's: a call whose context has no
// deadline waits for a hung API without end. Set Timeout before the first call,
// or give each request a context with a deadline. Either bounds the wait for a
// token, too. There is no default because Timeout also counts the reading of
// the body: it would cut off downloads and streams.
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
	if err := t.allowed(req.URL); err != nil {
		closeBody(req)
		return nil, err
	}
	if t.key != nil {
		return t.sendKey(req)
	}
	return t.sendToken(req)
}

func (t *Transport) sendKey(req *http.Request) (*http.Response, error) {
	key, err := t.key.value(req.Context())
	if err != nil {
		closeBody(req)
		return nil, fmt.Errorf("tokenclient: %w", err)
	}
	clone := req.Clone(req.Context())
	clone.Header.Set(SubscriptionKeyHeader, key)
	return t.send(req, clone)
}

// send makes the request out, in whose place the answer names req: redirects are
// told by that chain, whatever the base fills in.
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
	if err != nil || !invalidToken(resp) || !t.source.Invalidate(token) || !repeatable(req) {
		return resp, err
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
	discard(resp)
	return t.send(req, again)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach Base.
func (t *Transport) CloseIdleConnections() {
	if b, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		b.CloseIdleConnections()
	}
}

// elsewhere reports whether req is part of a chain of redirects that has left
// the host on which it began.
func elsewhere(req *http.Request) bool {
	for hop := req; hop.Response != nil && hop.Response.Request != nil; hop = hop.Response.Request {
		if site(hop.URL) != site(hop.Response.Request.URL) {
			return true
		}
	}
	return false
}

// site is scheme, host and port of u.
func site(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = schemePort[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

var schemePort = map[string]string{"https": "443", "http": "80"}

func (t *Transport) allowed(u *url.URL) error {
	if u.Scheme != "https" && (u.Scheme != "http" || !cloud.IsLoopback(u.Hostname())) {
		return fmt.Errorf("%w: a credential goes by https only (plain http to loopback hosts), not by %q", ErrNotAllowed, u.Scheme)
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

// invalidToken reports whether resp refuses the token itself (RFC 6750 section
// 3.1), rather than what it may do.
func invalidToken(resp *http.Response) bool {
	if resp.StatusCode != http.StatusUnauthorized {
		return false
	}
	for _, c := range challenges(resp.Header.Values("WWW-Authenticate")) {
		if c.scheme == "bearer" && c.params["error"] == "invalid_token" {
			return true
		}
	}
	return false
}

func repeatable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// discard reads a little of what is left, so that the connection can be used
// again, and closes it.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, leftOver)
	_ = resp.Body.Close()
}
