package entratest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// AttackTarget is a service under attack: how to reach it, and what it
// accepts. Only the fields of the first group are required.
type AttackTarget struct {
	// Tenant issues the tokens that the service accepts. The service must read
	// its keys from it.
	Tenant *Tenant
	// Claims are those of a token that the service lets pass: aud, roles and azp
	// (or appid) at least, or all as [Tenant.AppClaims] gives them. Others
	// default as those of [Tenant.MintToken]; times are renewed for each attack.
	Claims map[string]any
	// Handler is the service in process, or Send sends it a request. Some
	// attacks cannot pass a real HTTP connection and are only made on Handler.
	Handler http.Handler
	Send    func(*http.Request) (*http.Response, error)

	// Path of a guarded route; empty: "/".
	Path string
	// OtherAudience is that of another product of the service, which does not
	// open the route. Empty: such a token is not tried.
	OtherAudience string
	// Leeway is what the service allows for clocks; 0: 1 minute.
	Leeway time.Duration
	// MaxLifetime is the longest life of a token that it accepts; 0: 28 hours.
	MaxLifetime time.Duration
	// Key is a subscription key that opens the route, in KeyHeader (empty:
	// Ocp-Apim-Subscription-Key). No Key: keys are not tried.
	Key, KeyHeader string
	// Advance moves the clocks of service and tenant. Nil: tokens are let
	// expire in real time, which takes 2 seconds.
	Advance func(time.Duration)
	// Revoke takes the client's access away without Entra, in each of the ways
	// that the service has (its state, its owner's, its grant, by name), and
	// returns what gives it back.
	Revoke map[string]func() (restore func())
	// Log is what the service has logged so far. Nil: it is not looked at.
	Log func() string
	// AnyChallenge takes refusals without RFC 6750's error code, for services
	// with answers of their own.
	AnyChallenge bool
}

// Attack is one way to pass a gate without the right to.
type Attack struct {
	// Row groups the attacks by what they aim at, 1 to 43. Row 0 is no attack:
	// a genuine token must pass, or refusals prove nothing.
	Row  int
	Name string
	// Status that the service must answer with, and the error code in its
	// WWW-Authenticate.
	Status int
	Code   string

	run func(*attacker) error
}

// Run makes the attack. It returns what is wrong with the answer, if anything.
func (a Attack) Run(target AttackTarget) error {
	at := &attacker{AttackTarget: target, attack: a}
	if err := at.complete(); err != nil {
		return err
	}
	if err := a.run(at); err != nil {
		return fmt.Errorf("row %d, %s: %w", a.Row, a.Name, err)
	}
	return nil
}

// Attacks are the attacks that can be made on a target, to be run one after
// the other and in this order: the last ones change the tenant's keys. A
// service must allow a fetch of its keys whenever a token names an unknown
// one, at least in this test: for a gate of package middleware, set
// Config.KeyInterval to a nanosecond. There are 43 rows, some of several
// attacks; what a target does not have is not attacked.
//
//	for _, a := range entratest.Attacks(target) {
//		t.Run(a.Name, func(t *testing.T) {
//			if err := a.Run(target); err != nil {
//				t.Error(err)
//			}
//		})
//	}
func Attacks(target AttackTarget) []Attack {
	all := []Attack{{Name: "0 genuine token", Status: http.StatusOK, run: func(a *attacker) error { return a.bearer(a.token(nil, nil)) }}}
	for _, group := range [][]Attack{attacksOnForm(&target), attacksOnClaims(&target), attacksOnWorld(&target)} {
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

// insufficientScope is an attack with a genuine token that lacks the right.
func insufficientScope(row int, name string, run func(*attacker) error) Attack {
	return Attack{Row: row, Name: name, Status: http.StatusForbidden, Code: "insufficient_scope", run: run}
}

// attacker makes one attack.
type attacker struct {
	AttackTarget
	attack Attack
}

func (a *attacker) complete() error {
	if a.Tenant == nil || (a.Handler == nil) == (a.Send == nil) {
		return errors.New("entratest: AttackTarget needs Tenant, and either Handler or Send")
	}
	if a.Claims["aud"] == nil || a.Claims["roles"] == nil || a.Claims["azp"] == nil && a.Claims["appid"] == nil {
		return errors.New("entratest: AttackTarget.Claims need aud, roles, and azp or appid")
	}
	if a.Handler != nil {
		a.Send = func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			a.Handler.ServeHTTP(w, r)
			return w.Result(), nil
		}
	}
	a.Path = defaultTo(a.Path, "/")
	a.KeyHeader = defaultTo(a.KeyHeader, "Ocp-Apim-Subscription-Key")
	if a.Leeway == 0 {
		a.Leeway = time.Minute
	}
	if a.MaxLifetime == 0 {
		a.MaxLifetime = 28 * time.Hour
	}
	return nil
}

// claims are those of a genuine token of now, with changes.
func (a *attacker) claims(changes map[string]any) map[string]any {
	c := a.Tenant.common("2.0", a.Tenant.Issuer())
	override(c, a.Claims)
	now := a.Tenant.now()
	c["iat"], c["nbf"], c["exp"] = now.Unix(), now.Unix(), now.Add(time.Hour).Unix()
	override(c, changes)
	return c
}

// token signs a genuine token with changes.
func (a *attacker) token(claims, header map[string]any) string {
	return a.Tenant.sign(a.claims(claims), header)
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
		return fmt.Errorf("answered %d, %d is right: %s %q%s", resp.StatusCode, status, body, resp.Header.Values("WWW-Authenticate"), hint)
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

// leaks looks for the credential, or lines that an attacker wrote, in log and
// answer.
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
		return errors.New("a line of the attacker's is in the log")
	}
	return nil
}

const injected = "level=INFO msg=injected"

// both makes one attack of several that must have the same answer.
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

// edit makes a payload or header of a genuine one by changing its text.
func edit(doc []byte, old, with string) []byte {
	out := bytes.Replace(doc, []byte(old), []byte(with), 1)
	if bytes.Equal(out, doc) {
		panic("entratest: an attack changes nothing: " + old) // a mistake of ours
	}
	return out
}
