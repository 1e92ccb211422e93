package gatetest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/entragate/entragate/provision/entratest"
)

// Target is the service to attack: how to reach it, and what it accepts. Only the
// fields of the first group are required.
type Target struct {
	// Tenant issues the tokens that the service accepts. The service must read its
	// signing keys from this tenant.
	Tenant *entratest.Tenant
	// Claims are the claims of a token that the service accepts: at least aud, roles
	// and azp (or appid), for example the result of [entratest.Tenant.AppClaims].
	// [entratest.Tenant.MintToken] adds the others. Each attack sets iat, nbf and exp.
	Claims map[string]any
	// Exactly one of Handler and Send is required: Handler is the service in the same
	// process, Send sends it a request. Some attacks cannot be sent over a real HTTP
	// connection and run only with Handler.
	Handler http.Handler
	Send    func(*http.Request) (*http.Response, error)

	// Path is the path of a guarded route: "/" if empty.
	Path string
	// OtherAudience is the audience of another product of the service, which does not
	// open the route. If empty, the attacks with such a token are left out.
	OtherAudience string
	// Leeway is the clock difference that the service allows: 1 minute if zero.
	Leeway time.Duration
	// MaxLifetime is the longest token lifetime that the service accepts: 28 hours if
	// zero.
	MaxLifetime time.Duration
	// Key is a subscription key that opens the route, sent in KeyHeader
	// (Ocp-Apim-Subscription-Key if empty). If Key is empty, the attacks with keys
	// are left out.
	Key, KeyHeader string
	// Advance moves the clocks of service and tenant forward. If nil, a token expires
	// in real time, which takes 2 seconds, and the attacks with a withdrawn signing key
	// are left out.
	Advance func(time.Duration)
	// Revoke has, by name, each way in which the service can revoke the client's access
	// without Entra: the client's state, its owner's state, its grant. The function
	// revokes and returns the function that restores.
	Revoke map[string]func() (restore func())
	// Reached returns how many requests have reached the service's handlers so far. A
	// refused request must not reach one. If nil, this is not checked.
	Reached func() int
	// Received is for a service that is a proxy. It returns the header of the last
	// request that the API behind the service received. The header must hold nothing
	// that the caller forged. CallerHeaders are the headers, besides the usual headers of
	// proxies, in which the service names the caller. If Received is nil, this is not
	// checked.
	Received      func() http.Header
	CallerHeaders []string
	// Log returns what the service has logged so far. It must hold no credential. If
	// nil, the log is not checked.
	Log func() string
	// Operations describes the operations that the service enforces. If nil, the attacks
	// on operations are left out.
	Operations *Operations
	// AnyChallenge accepts refusals without RFC 6750's error code, for services with
	// answers of their own.
	AnyChallenge bool
}

// Attack is one attempt to pass a gate without the right to do so.
type Attack struct {
	// Row groups the attacks by their target, from 1 to 51. Row 0 is not an attack: it
	// checks that the service accepts a genuine token.
	Row  int
	Name string
	// Status is the expected status, Code the expected error code in the
	// WWW-Authenticate header. If Status is 0, every refusal is accepted.
	Status int
	Code   string

	run func(*attacker) error
}

// Run sends the requests of the attack. It returns an error if an answer is not the
// expected one, or if target is incomplete.
func (a Attack) Run(target Target) error {
	at := &attacker{Target: target, attack: a}
	if err := at.complete(); err != nil {
		return err
	}
	if err := a.run(at); err != nil {
		return fmt.Errorf("row %d, %s: %w", a.Row, a.Name, err)
	}
	return nil
}

// Attacks returns the attacks on a target. Run them one after the other, in this order:
// the last ones change the tenant's keys. During the test the service must fetch its
// keys whenever a token names an unknown one: for a gate of package middleware, set
// Config.KeyInterval to a nanosecond. There are 51 rows, some with several attacks.
// Attacks for which the target has no field are left out. Skip row 46 if the service
// answers every path with 200, for example with a page for unknown paths.
//
//	for _, a := range gatetest.Attacks(target) {
//		t.Run(a.Name, func(t *testing.T) {
//			if err := a.Run(target); err != nil {
//				t.Error(err)
//			}
//		})
//	}
func Attacks(target Target) []Attack {
	all := []Attack{{Name: "0 genuine token", Status: http.StatusOK, run: func(a *attacker) error { return a.bearer(a.token(nil, nil)) }}}
	for _, group := range [][]Attack{attacksOnForm(&target), attacksOnClaims(&target), attacksOnWiring(&target), attacksOnOperations(&target), attacksOnWorld(&target)} {
		all = append(all, group...)
	}
	for i := range all {
		if a := &all[i]; a.Row > 0 {
			a.Name = fmt.Sprintf("%d %s", a.Row, a.Name)
		}
	}
	return all
}

// invalidToken is an attack that is answered with 401 invalid_token.
func invalidToken(row int, name string, run func(*attacker) error) Attack {
	return Attack{Row: row, Name: name, Status: http.StatusUnauthorized, Code: "invalid_token", run: run}
}

// insufficientScope is an attack with a genuine token without the right to the route.
func insufficientScope(row int, name string, run func(*attacker) error) Attack {
	return Attack{Row: row, Name: name, Status: http.StatusForbidden, Code: "insufficient_scope", run: run}
}

// attacker makes one attack.
type attacker struct {
	Target
	attack Attack
}

func (a *attacker) complete() error {
	if a.Tenant == nil || (a.Handler == nil) == (a.Send == nil) {
		return errors.New("gatetest: Target needs Tenant, and either Handler or Send")
	}
	if a.Claims["aud"] == nil || a.Claims["roles"] == nil || a.Claims["azp"] == nil && a.Claims["appid"] == nil {
		return errors.New("gatetest: Target.Claims need aud, roles, and azp or appid")
	}
	if a.Handler != nil {
		a.Send = func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			a.Handler.ServeHTTP(w, r)
			return w.Result(), nil
		}
	}
	a.Path = cmp.Or(a.Path, "/")
	a.KeyHeader = cmp.Or(a.KeyHeader, "Ocp-Apim-Subscription-Key")
	if a.Leeway == 0 {
		a.Leeway = time.Minute
	}
	if a.MaxLifetime == 0 {
		a.MaxLifetime = 28 * time.Hour
	}
	return nil
}

// token signs a genuine token of now, with changes to its claims and header.
func (a *attacker) token(claims, header map[string]any) string {
	now := a.Tenant.Now()
	all := maps.Clone(a.Claims)
	all["iat"], all["nbf"], all["exp"] = now.Unix(), now.Unix(), now.Add(time.Hour).Unix()
	maps.Copy(all, claims)
	return a.Tenant.MintToken(all, header)
}

// bearer sends a token and compares the answer.
func (a *attacker) bearer(token string) error {
	return a.header("Authorization", "Bearer "+token)
}

// header sends a request with header lines and compares the answer.
func (a *attacker) header(lines ...string) error {
	r := a.request()
	for i := 0; i+1 < len(lines); i += 2 {
		r.Header.Add(lines[i], lines[i+1])
	}
	return a.send(r)
}

func (a *attacker) request() *http.Request {
	r := httptest.NewRequest(http.MethodGet, a.Path, nil)
	if a.Handler == nil {
		r.RequestURI = "" // a client must not set it
	}
	return r
}

func (a *attacker) send(r *http.Request) error { return a.expect(r, a.attack.Status, a.attack.Code) }

// pass sends a token that must pass.
func (a *attacker) pass(token string) error {
	r := a.request()
	r.Header.Set("Authorization", "Bearer "+token)
	return a.expect(r, http.StatusOK, "")
}

const headersTooLarge = http.StatusRequestHeaderFieldsTooLarge

func (a *attacker) expect(r *http.Request, status int, code string) error {
	logged := 0
	if a.Log != nil {
		logged = len(a.Log())
	}
	reached := 0
	if a.Reached != nil {
		reached = a.Reached()
	}
	resp, err := a.Send(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	huge := len(r.Header.Get("Authorization")) > http.DefaultMaxHeaderBytes/2 && resp.StatusCode == headersTooLarge
	if resp.StatusCode != status && !huge {
		hint := ""
		if a.attack.Row >= 40 && status == http.StatusOK {
			hint = " (the keys have changed: does the service fetch them at once in this test? See Config.KeyInterval of package middleware)"
		}
		return fmt.Errorf("status %d, expected %d: %s %q%s", resp.StatusCode, status, body, resp.Header.Values("WWW-Authenticate"), hint)
	}
	if more := trailing(resp.Header, body); status >= 400 && more != "" {
		return fmt.Errorf("answered %d, but %s: does a handler run after the refusal?", status, more)
	}
	if a.Reached != nil && a.Reached() != reached && status >= 400 {
		return fmt.Errorf("answered %d, but a handler ran", status)
	}
	if status == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "" {
		return errors.New("answered 503 without Retry-After")
	}
	if err := a.challenged(resp, code, huge); err != nil {
		return err
	}
	if a.Log != nil {
		return a.leaks(r, a.Log()[logged:], string(body))
	}
	return a.leaks(r, "", string(body))
}

func (a *attacker) challenged(resp *http.Response, code string, huge bool) error {
	if code == "" || a.AnyChallenge || huge {
		return nil
	}
	challenges := strings.Join(resp.Header.Values("WWW-Authenticate"), ", ")
	if !strings.Contains(challenges, `error="`+code+`"`) {
		return fmt.Errorf("the challenge %q does not say %s", challenges, code)
	}
	return nil
}

// leaks fails if log or answer holds the credential or a log line that the attack
// injected.
func (a *attacker) leaks(r *http.Request, log, body string) error {
	for _, name := range []string{"Authorization", a.KeyHeader} {
		for _, v := range r.Header.Values(name) {
			v = strings.TrimPrefix(v, "Bearer ")
			if len(v) >= 16 && (strings.Contains(log, v) || strings.Contains(body, v)) {
				return fmt.Errorf("the credential in %s is in the log or the answer", name)
			}
		}
	}
	if strings.Contains(log, "\n"+injected) || strings.Contains(log, "\r"+injected) {
		return errors.New("the log holds a line that the attack injected")
	}
	return nil
}

const injected = "level=INFO msg=injected"

// both combines several attacks that must get the same answer.
func both(attacks ...func(*attacker) error) func(*attacker) error {
	return func(a *attacker) error {
		for i, run := range attacks {
			if err := run(a); err != nil {
				return fmt.Errorf("variant %d: %w", i+1, err)
			}
		}
		return nil
	}
}

// heading attacks with a token whose header is changed.
func heading(changes map[string]any) func(*attacker) error {
	return func(a *attacker) error { return a.bearer(a.token(nil, changes)) }
}

// claiming attacks with a token whose claims are changed.
func claiming(changes map[string]any) func(*attacker) error {
	return func(a *attacker) error { return a.bearer(a.token(changes, nil)) }
}

// edit replaces old in the text of a genuine header or payload.
func edit(doc []byte, old, with string) []byte {
	out := bytes.Replace(doc, []byte(old), []byte(with), 1)
	if bytes.Equal(out, doc) {
		panic("gatetest: an attack changes nothing: " + old) // a fault of this package
	}
	return out
}
