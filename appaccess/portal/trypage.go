package portal

import (
	"net/http"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// keyHeader carries a subscription key, as in API Management.
const keyHeader = "Ocp-Apim-Subscription-Key"

type tryData struct {
	Settings appaccess.ApplicationSettings
	Targets  []tryTarget
	Methods  []string
	Form     form
	Result   *tryResult
	Back     string
}

// tryTarget is an API that can be tried.
type tryTarget struct {
	target
	Value string // product and API
}

func (p *Portal) myTry(rq *request) error {
	return p.tryPage(rq, http.StatusOK, form{Values: map[string][]string{"with": {"secret"}, "method": {"GET"}}}, nil)
}

func (p *Portal) tryPage(rq *request, status int, f form, result *tryResult) error {
	set, targets, err := p.tryTargets(rq)
	if err != nil {
		return err
	}
	// What was pasted is never sent back, not even to who pasted it.
	f.Values.Del("secret")
	pg := ownerPlace(rq, p).frame(p, set.Application, "Try it")
	pg.Lead = "Gets a token with your secret, calls an API with it, and shows both. Nothing that you paste is kept."
	pg.Data = tryData{
		Settings: set, Targets: targets, Methods: tryMethods, Form: f, Result: result,
		Back: p.path("my", "applications", set.Application.ID),
	}
	return p.write(rq, status, "my_try", pg)
}

// tryTargets are the APIs of the application's products at configured hosts.
func (p *Portal) tryTargets(rq *request) (appaccess.ApplicationSettings, []tryTarget, error) {
	set, err := p.service.ApplicationSettings(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return set, nil, err
	}
	if !p.try.enabled() {
		return set, nil, appaccess.ErrNotFound
	}
	all, err := p.targets(rq, set)
	var out []tryTarget
	for _, t := range all {
		if p.try.allowed(t.Address) {
			out = append(out, tryTarget{t, t.Product.ID + " " + t.API.ID})
		}
	}
	return set, out, err
}

func (p *Portal) myTried(rq *request) error {
	f := form{Values: rq.PostForm}
	set, targets, err := p.tryTargets(rq)
	if err != nil {
		return err
	}
	if err := p.tries.allow(rq.user.key()); err != nil {
		return err
	}
	result, err := p.tryOnce(rq, f, set, targets)
	if f.refuse(err, "target", "path", "secret", "method") {
		return p.tryPage(rq, http.StatusBadRequest, f, nil)
	}
	if err != nil {
		return err
	}
	return p.tryPage(rq, http.StatusOK, f, result)
}

func (p *Portal) tryOnce(rq *request, f form, set appaccess.ApplicationSettings, targets []tryTarget) (*tryResult, error) {
	i := slices.IndexFunc(targets, func(t tryTarget) bool { return t.Value == f.Get("target") })
	if i < 0 {
		return nil, &appaccess.InvalidError{Field: "target", Rule: "must be an API of this application's products"}
	}
	method, secret := f.Get("method"), strings.TrimSpace(f.Get("secret"))
	if !slices.Contains(tryMethods, method) {
		return nil, &appaccess.InvalidError{Field: "method", Rule: "must be one of " + strings.Join(tryMethods, ", ")}
	}
	if secret == "" || len(secret) > 4096 || strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, &appaccess.InvalidError{Field: "secret", Rule: "must be the secret or key as it was shown"}
	}
	address, err := tryURL(targets[i].Address, f.Get("path"))
	if err != nil {
		return nil, err
	}
	if !p.try.allowed(address) {
		return nil, &appaccess.InvalidError{Field: "path", Rule: "must stay within the API"}
	}
	return p.run(rq, f, set, targets[i], method, address, secret), nil
}

// run makes the calls. What fails in them is part of the result.
func (p *Portal) run(rq *request, f form, set appaccess.ApplicationSettings, at tryTarget, method, address, secret string) *tryResult {
	result := &tryResult{}
	header, value, veil := keyHeader, secret, "••••••"
	if f.Get("with") != "key" {
		token, shown, err := p.try.token(rq.Context(), set, at.Product.Scope, secret)
		result.Token = &shown
		if err != nil {
			result.Wrong = "The token endpoint could not be asked: " + err.Error()
		}
		if token == "" {
			return result
		}
		result.Header, result.Claim = claims(token)
		header, value, veil = "Authorization", "Bearer "+token, "Bearer (the token above)"
	}
	call, err := p.try.call(rq.Context(), method, address, f.Get("body"), header, value, veil)
	if err != nil {
		result.Wrong = "The API could not be called: " + err.Error()
	}
	result.Call = &call
	return result
}
