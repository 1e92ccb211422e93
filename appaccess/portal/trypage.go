package portal

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/openapi"
)

// keyHeader carries a subscription key where an API names no other header, as in
// API Management.
const keyHeader = "Ocp-Apim-Subscription-Key"

// keyHeaderOf is the header in which callers of an API send their key.
func keyHeaderOf(api appaccess.API) string { return cmp.Or(api.KeyHeader, keyHeader) }

var tryFields = []formField{{"target", "API"}, {"method", "Method"}, {"path", "Path below the API"}, {"body", "Body (optional)"}, {"secret", "Client secret or subscription key"}}

type tryPage struct {
	Settings  appaccess.ApplicationSettings
	Targets   []target
	Target    target
	Operation *tryOperation // that is tried; nil: any request can be entered
	Methods   []string
	Form      form
	Result    *tryResult
	Back      string
	Tokens    bool // the portal can get a token with a secret
	Keys      bool // one of the targets accepts subscription keys
}

// tryOperation is an operation with a field for each of its parameters.
type tryOperation struct {
	appaccess.Operation
	Params []tryParam
	Body   string // an example; empty: it has none
}

// tryParam is a parameter in the path, in the query or in a header.
type tryParam struct {
	docParameter
	Field string // of the form
}

// Hint says what to enter.
func (t tryParam) Hint() string {
	where := map[string]string{"path": "In the path", "query": "In the query", "header": "Header"}[t.In]
	text := where + strings.TrimSuffix(", "+t.Type, ", ")
	if !t.Required {
		text += ", optional"
	}
	return strings.TrimSuffix(text+". "+t.Description, " ")
}

// reservedForTry are headers that a call sets by itself or that change its meaning.
var reservedForTry = []string{"Authorization", "Content-Length", "Content-Type", "Cookie", "Host", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent"}

// operationToTry reads the operation that a form names; nil: it names none.
func (p *Portal) operationToTry(rq *request, f form, targets []target) (*tryOperation, error) {
	i := slices.IndexFunc(targets, func(t target) bool { return t.Value() == f.Get("target") })
	if i < 0 || f.Get("operation") == "" {
		return nil, nil
	}
	api := targets[i].API
	at := slices.IndexFunc(api.Operations, func(o appaccess.Operation) bool { return o.ID == f.Get("operation") })
	if at < 0 {
		return nil, nil
	}
	shown := docOperation{Operation: api.Operations[at]}
	stored, err := p.service.APIDocument(rq.Context(), portalActor, api.ID)
	switch {
	case errors.Is(err, appaccess.ErrNotFound): // listed by hand
	case err != nil:
		return nil, err
	default:
		document, err := openapi.Read(stored.Source)
		if err != nil {
			return nil, nil // any request can be entered
		}
		shown.describe(document)
	}
	out := &tryOperation{Operation: shown.Operation}
	for _, param := range shown.Parameters {
		reserved := param.In == "header" && (slices.Contains(reservedForTry, http.CanonicalHeaderKey(param.Name)) || strings.EqualFold(param.Name, keyHeaderOf(api)))
		if param.In != "cookie" && !reserved {
			out.Params = append(out.Params, tryParam{param, "param-" + param.In + "-" + param.Name})
		}
	}
	for _, segment := range strings.Split(out.Path, "/") { // of an operation without a document
		name, isParam := strings.CutPrefix(strings.TrimSuffix(segment, "}"), "{")
		known := slices.ContainsFunc(out.Params, func(t tryParam) bool { return t.In == "path" && t.Name == name })
		if isParam && !known {
			out.Params = append(out.Params, tryParam{docParameter{Parameter: openapi.Parameter{Name: name, In: "path", Required: true}}, "param-path-" + name})
		}
	}
	if len(shown.Body) > 0 {
		out.Body = shown.Body[0].Example
	}
	return out, nil
}

// fields are the fields of the form, with one for each parameter of the operation.
func (o *tryOperation) fields() []formField {
	out := slices.Clone(tryFields)
	if o != nil {
		for _, param := range o.Params {
			out = append(out, formField{param.Field, param.Name})
		}
	}
	return out
}

// fill makes the path and the headers of a call from what was entered.
func (o *tryOperation) fill(f form) (path string, header http.Header, err error) {
	path, header = o.Path, http.Header{}
	query := url.Values{}
	var errs []error
	for _, param := range o.Params {
		value := f.Get(param.Field)
		switch {
		case value == "" && param.Required:
			errs = append(errs, &appaccess.InvalidError{Field: param.Field, Rule: "is required"})
		case param.In == "path":
			path = strings.ReplaceAll(path, "{"+param.Name+"}", url.PathEscape(value))
		case value == "":
		case param.In == "query":
			query.Set(param.Name, value)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
			errs = append(errs, &appaccess.InvalidError{Field: param.Field, Rule: "must have printable ASCII characters only"})
		default:
			header.Set(param.Name, value)
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return path, header, errors.Join(errs...)
}

func (p *Portal) showTry(rq *request) error {
	q := rq.URL.Query()
	f := form{Fields: tryFields, Values: url.Values{"with": {"secret"}, "method": {"GET"}, "target": q["target"], "operation": q["operation"]}}
	return p.trying(rq, http.StatusOK, f, nil)
}

func (p *Portal) trying(rq *request, status int, f form, result *tryResult) error {
	set, targets, err := p.tryTargets(rq)
	if err != nil {
		return err
	}
	operation, err := p.operationToTry(rq, f, targets)
	if err != nil {
		return err
	}
	if f.Fields = operation.fields(); operation != nil {
		f.set("body", operation.Body)
	}
	if set.Application.ClientKind() == appaccess.ManagedIdentityClient {
		f.Values.Set("with", "key")
		targets = slices.DeleteFunc(targets, func(t target) bool { return !t.Key })
	}
	// What was pasted is never sent back, not even to who pasted it.
	f.Values.Del("secret")
	pg := p.belowApplication(rq, set.Application, "Try it")
	pg.Lead = "Gets a token with your secret, calls an API with it, and shows both. Nothing that you paste is kept."
	pg.Data = tryPage{
		Settings: set, Targets: targets, Target: targetNamed(targets, f.Get("target")), Operation: operation, Methods: tryMethods, Form: f, Result: result, Back: p.applicationPath(rq, set.Application.ID),
		Tokens: set.Application.ClientKind() != appaccess.ManagedIdentityClient,
		Keys:   slices.ContainsFunc(targets, func(t target) bool { return t.Key }),
	}
	return p.write(rq, status, "my_try", pg)
}

// targetNamed is the target of a name, or else the first one.
func targetNamed(targets []target, name string) target {
	i := slices.IndexFunc(targets, func(t target) bool { return t.Value() == name })
	if i < 0 && len(targets) == 0 {
		return target{}
	}
	return targets[max(i, 0)]
}

// tryTargets are the APIs of the application's products at configured hosts.
func (p *Portal) tryTargets(rq *request) (appaccess.ApplicationSettings, []target, error) {
	set, err := p.service.ApplicationSettings(rq.Context(), rq.actor, rq.PathValue("application"))
	if err != nil {
		return set, nil, err
	}
	if !p.try.enabled() {
		return set, nil, appaccess.ErrNotFound
	}
	all, err := p.targets(rq, set)
	return set, slices.DeleteFunc(all, func(t target) bool { return !p.try.allowed(t.Address) }), err
}

func (p *Portal) sendTry(rq *request) error {
	f := p.sent(rq, tryFields)
	set, targets, err := p.tryTargets(rq)
	if err != nil {
		return err
	}
	if err := p.tries.allow(rq.user.key()); err != nil {
		return err
	}
	operation, err := p.operationToTry(rq, f, targets)
	if err != nil {
		return err
	}
	f.Fields = operation.fields()
	result, err := p.tryOnce(rq, f, operation, set, targets)
	if p.refuse(rq, &f, err) {
		return p.trying(rq, http.StatusBadRequest, f, nil)
	}
	if err != nil {
		return err
	}
	return p.trying(rq, http.StatusOK, f, result)
}

func (p *Portal) tryOnce(rq *request, f form, operation *tryOperation, set appaccess.ApplicationSettings, targets []target) (*tryResult, error) {
	i := slices.IndexFunc(targets, func(t target) bool { return t.Value() == f.Get("target") })
	if i < 0 {
		return nil, &appaccess.InvalidError{Field: "target", Rule: "must be an API of this application's products"}
	}
	call := tryCall{method: f.Get("method"), body: f.Get("body"), secret: strings.TrimSpace(f.Get("secret"))}
	path := f.Get("path")
	if operation != nil {
		var err error
		call.method = operation.Method
		if path, call.header, err = operation.fill(f); err != nil {
			return nil, err
		}
	}
	if !slices.Contains(tryMethods, call.method) {
		return nil, &appaccess.InvalidError{Field: "method", Rule: "must be one of " + strings.Join(tryMethods, ", ")}
	}
	if call.secret == "" || len(call.secret) > 4096 || strings.ContainsFunc(call.secret, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, &appaccess.InvalidError{Field: "secret", Rule: "must be the secret or key as it was shown"}
	}
	var err error
	if call.address, err = tryURL(targets[i].Address, path); err != nil {
		return nil, err
	}
	if !p.try.allowed(call.address) {
		return nil, &appaccess.InvalidError{Field: "path", Rule: "must stay within the API"}
	}
	return p.run(rq, call, f.Get("with") == "key", set, targets[i]), nil
}

// tryCall is what is sent to an API.
type tryCall struct {
	method, address, body, secret string
	header                        http.Header
}

// run makes the calls. What fails in them is part of the result.
func (p *Portal) run(rq *request, send tryCall, withKey bool, set appaccess.ApplicationSettings, at target) *tryResult {
	result := &tryResult{}
	header, value, veil := keyHeaderOf(at.API), send.secret, "••••••"
	if !withKey {
		token, shown, err := p.try.token(rq.Context(), set, at.Product.Scope, send.secret)
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
	call, err := p.try.call(rq.Context(), send.method, send.address, send.body, send.header, header, value, veil)
	if err != nil {
		result.Wrong = "The API could not be called: " + err.Error()
	}
	result.Call = &call
	return result
}
