package portal

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/entragate/entragate/appaccess"
)

const (
	tryTimeout  = 15 * time.Second
	maxTryBody  = 1 << 20 // of an answer
	maxTryToken = 1 << 16
)

// tryClient calls a token endpoint and the APIs of configured hosts. It
// follows no redirect and keeps no cookie.
type tryClient struct {
	http  *http.Client
	hosts map[string]bool // with port
}

func newTryClient(from *http.Client, hosts []string) (*tryClient, error) {
	t := &tryClient{
		http: &http.Client{
			Timeout:       tryTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		hosts: map[string]bool{},
	}
	if from != nil {
		t.http.Transport = from.Transport
	}
	for i, host := range hosts {
		u, err := url.Parse("https://" + host)
		if err != nil || host == "" || u.Host != host {
			return nil, fmt.Errorf("portal: APIHosts[%d]: %q: must be a host, with its port if that is not the scheme's own", i, host)
		}
		t.hosts[strings.ToLower(host)] = true
	}
	return t, nil
}

func (t *tryClient) enabled() bool { return len(t.hosts) > 0 }

// allowed reports whether an address may be called.
func (t *tryClient) allowed(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || !t.hosts[strings.ToLower(u.Host)] {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname())
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// hostOf is an address's host with its port, as allowed hosts are written.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}

// tryURL joins an API's address and what the user typed. It cannot leave the
// API: no other host, no dot segments, no fragment.
func tryURL(base, rest string) (string, error) {
	bad := &appaccess.InvalidError{Field: "path", Rule: "must be empty or begin with a slash, and hold no dot segments, backslashes, spaces, control characters or fragment"}
	if strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' || r == '#' }) {
		return "", bad
	}
	if rest != "" && rest[0] != '/' && rest[0] != '?' {
		return "", bad
	}
	from, err := url.Parse(base)
	if err != nil {
		return "", bad
	}
	u, err := url.Parse(strings.TrimSuffix(base, "/") + rest)
	if err != nil || u.Host != from.Host || u.Scheme != from.Scheme || u.User != nil {
		return "", bad
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		segment, _, _ = strings.Cut(segment, ";") // some servers drop what follows it: "..;" is ".." there
		if segment == "." || segment == ".." || strings.Contains(segment, `\`) {
			return "", bad
		}
	}
	return u.String(), nil
}

// exchange is a request and its answer, as the page shows them: without secret,
// key, or token.
type exchange struct {
	Request string
	Status  string
	OK      bool
	Header  string
	Body    string
	Note    string
	Advice  string // what a refusal means and what to do
}

// tryResult is all that one try showed.
type tryResult struct {
	Token         *exchange
	Header, Claim string // of the token, decoded; its signature is left out
	Call          *exchange
	Wrong         string
}

// token asks for a token. The answer is shown without it.
func (t *tryClient) token(ctx context.Context, set appaccess.ApplicationSettings, scope, secret string) (string, exchange, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {set.ClientID}, "scope": {scope}}
	shown := exchange{Request: "POST " + set.TokenURL + "\nContent-Type: application/x-www-form-urlencoded\n\n" + form.Encode() + "&client_secret=••••••"}
	form.Set("client_secret", secret)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, set.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", shown, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := t.http.Do(req)
	if err != nil {
		return "", shown, plain(err)
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   any    `json:"expires_in"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	shown.Status, shown.OK = resp.Status, resp.StatusCode == http.StatusOK
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxTryToken)).Decode(&answer); err != nil {
		return "", shown, errors.New("the token endpoint's answer is no JSON")
	}
	if !shown.OK || answer.AccessToken == "" {
		shown.OK = false
		shown.Body = strings.TrimSpace(answer.Error + "\n" + answer.Description)
		shown.Advice = tokenAdvice(answer.Description)
		return "", shown, nil
	}
	shown.Note = fmt.Sprintf("A token that is valid for %v seconds.", answer.ExpiresIn)
	return answer.AccessToken, shown, nil
}

// plain is a transport's error without the address in it.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// claims decodes the two readable parts of a token. Nothing is verified: that
// is the gate's.
func claims(token string) (header, claim string) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", ""
	}
	read := func(part string) string {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		var out bytes.Buffer
		if err != nil || json.Indent(&out, raw, "", "  ") != nil {
			return ""
		}
		return out.String()
	}
	return read(parts[0]), read(parts[1])
}

// tryMethods are what the box offers.
var tryMethods = []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}

// call sends a request with one credential header, whose value is not shown, and
// with further headers.
func (t *tryClient) call(ctx context.Context, method, address, body string, more http.Header, header, value, veil string) (exchange, error) {
	shown := exchange{Request: method + " " + address + "\n" + header + ": " + veil}
	if len(more) > 0 {
		shown.Request += "\n" + headerText(more)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return shown, plain(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "text/plain; charset=utf-8")
		if json.Valid([]byte(body)) {
			req.Header.Set("Content-Type", "application/json")
		}
		shown.Request += "\nContent-Type: " + req.Header.Get("Content-Type") + "\n\n" + body
	}
	for name, values := range more {
		req.Header[name] = values
	}
	req.Header.Set(header, value)
	req.Header.Set("User-Agent", "entragate-portal")
	resp, err := t.http.Do(req)
	if err != nil {
		return shown, plain(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxTryBody+1))
	if err != nil {
		return shown, plain(err)
	}
	shown.Status, shown.OK = resp.Status, resp.StatusCode < 400
	resp.Header.Del("Set-Cookie")
	shown.Header = headerText(resp.Header)
	if len(raw) > maxTryBody {
		raw = raw[:maxTryBody]
		shown.Note = "The answer is longer: this is its first MiB."
	}
	shown.Body = bodyText(raw)
	shown.Advice = advice(resp, header != "Authorization")
	return shown, nil
}

// tokenRemedies are what to do about the refusals of the token endpoint that owners of
// an application meet, by Entra's error number.
var tokenRemedies = map[string]string{
	"AADSTS7000215": "The client secret is wrong. Paste the whole value as it was shown once, not its ID. A secret that was made a moment ago may need a minute.",
	"AADSTS7000222": "The client secret has expired. Generate a new one.",
	"AADSTS7000112": "The application is disabled: it is suspended, or its owner is blocked. Ask an API manager.",
	"AADSTS700016":  "Entra does not know the client ID. An application that was registered a moment ago may need some minutes. If it stays so, ask an API manager.",
	"AADSTS500011":  "Entra does not know the product. If access to it was switched on a moment ago, try again in some minutes. If it stays so, ask an API manager.",
	"AADSTS50105":   "The application is not granted this product. Request it in the catalog. A new grant may need some minutes.",
	"AADSTS501051":  "The application is not granted this product. Request it in the catalog. A new grant may need some minutes.",
}

// tokenAdvice explains why the token endpoint gave no token.
func tokenAdvice(description string) string {
	number, _, _ := strings.Cut(description, ":")
	if remedy := tokenRemedies[number]; remedy != "" {
		return remedy
	}
	return "Entra gave no token: its answer says why. An API manager can look for the number in it."
}

// advice explains a refusal, and says whether the gate or the API refused.
func advice(resp *http.Response, key bool) string {
	if resp.StatusCode < 400 {
		return ""
	}
	if resp.Header.Get("Entragate-Decision-Id") == "" {
		if resp.StatusCode >= 500 {
			return "The API itself failed: the gate let the call pass. Ask who runs the API."
		}
		return "The API itself answered this: the gate let the call pass. Check path, parameters and body against the documentation."
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		if key {
			return "The gate does not know this key, or the subscription is not active. Check that the whole key was pasted, and the state of the subscription; or regenerate the key."
		}
		return "The gate did not accept the token. Check that the product is the one of this API; a token that was issued a moment ago for a new application may need a minute."
	case http.StatusForbidden:
		return "The gate knows who calls, but the permission is missing. Request the product or the permission in the catalog. A grant that is new needs a new token, and for a managed identity up to a day."
	case http.StatusNotFound:
		return "The gate knows no such operation of this API. Check method and path against the documentation."
	case http.StatusServiceUnavailable:
		return "The gate cannot decide at the moment. Try again in a minute."
	}
	return "The gate refused the call before the API saw it. Its answer says why."
}

func headerText(h http.Header) string {
	var lines []string
	for name, values := range h {
		for _, v := range values {
			lines = append(lines, name+": "+v)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// maxTryPage bounds a body that is laid out: deep nesting would make gigabytes
// of a few kilobytes.
const maxTryPage = 8 << 20

// laidOut is what a body has at most when it is laid out: each byte may begin a
// line, and each opening bracket indents the lines within by two.
func laidOut(raw []byte) int {
	depth, deepest := 0, 0
	for _, b := range raw {
		switch b {
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth = max(0, depth-1)
		}
	}
	return len(raw) * (2 + 2*deepest)
}

// bodyText is a body for reading; JSON is laid out.
func bodyText(raw []byte) string {
	var out bytes.Buffer
	if laidOut(raw) <= maxTryPage && json.Indent(&out, raw, "", "  ") == nil {
		return out.String()
	}
	for len(raw) > 0 && !utf8.Valid(raw) {
		r, size := utf8.DecodeLastRune(raw)
		if r != utf8.RuneError || size != 1 || len(raw) < maxTryBody-4 {
			return fmt.Sprintf("(%d bytes that are no text)", len(raw))
		}
		raw = raw[:len(raw)-1] // a character that the limit cut in two
	}
	return string(raw)
}
