package portal

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

var (
	operationsFields  = []formField{{"document", "OpenAPI document"}, {"operations", "Operations"}}
	enforcementFields = []formField{{"enforcement", "What gates do with the operations"}}
	operationFields   = []formField{{"method", "Method"}, {"path", "Path below the API"}, {"summary", "Summary (optional)"}, {"anyOf", "Permissions needed"}}
)

// operationsPage is where a manager imports and lists an API's operations, and
// says what gates do with them.
type operationsPage struct {
	API         appaccess.API
	Rows        []apiOperationRow
	Form        form
	Enforcement form
	Report      *appaccess.OperationsReport // of what an import would do
	Docs        string
	New         string
}

// apiOperationRow is an operation with its page and its permissions in words.
type apiOperationRow struct {
	appaccess.Operation
	URL   string
	Needs string
}

func (p *Portal) operationsPath(api string, more ...string) string {
	return p.path(append([]string{"apis", api, "operations"}, more...)...)
}

// operationsVersion reads the operations as lines, and what gates do with them.
func (p *Portal) operationsVersion(rq *request) (appaccess.API, version, error) {
	one, now, err := p.apiVersion(rq)
	var lines []string
	for _, o := range one.Operations {
		lines = append(lines, o.String()+": "+needs(o.AnyOf))
	}
	now.Values = url.Values{"operations": {strings.Join(lines, "\n")}, "enforcement": {string(one.Enforcement)}}
	return one, now, err
}

func (p *Portal) showOperations(rq *request) error {
	return p.operations(rq, nil, form{Fields: operationsFields}, form{Fields: enforcementFields}, nil)
}

func (p *Portal) operations(rq *request, cause error, f, enforcement form, report *appaccess.OperationsReport) error {
	one, now, err := p.operationsVersion(rq)
	if err != nil {
		return err
	}
	if err := errors.Join(p.based(rq, &f, now), p.based(rq, &enforcement, now)); err != nil {
		return err
	}
	data := operationsPage{API: one, Form: f, Enforcement: enforcement, Report: report, Docs: p.path("apis", one.ID, "docs"), New: p.operationsPath(one.ID, "-", "new")}
	for _, o := range one.Operations {
		data.Rows = append(data.Rows, apiOperationRow{o, p.operationsPath(one.ID, o.ID), needs(o.AnyOf)})
	}
	return p.write(rq, formStatus(cause), "operations", page{
		Title: "Operations of " + one.Name, Nav: "apis", Crumbs: append(p.crumbs("APIs", "apis"), link{one.Name, p.path("apis", one.ID)}), Data: data,
	})
}

// saveOperations imports a document, after it showed what that would do, or sets
// the enforcement.
func (p *Portal) saveOperations(rq *request) error {
	if rq.PostForm.Get("do") == "enforce" {
		return p.saveEnforcement(rq)
	}
	f, id := p.sent(rq, operationsFields), rq.PathValue("api")
	req := appaccess.OperationsImport{Document: []byte(f.Get("document")), DryRun: f.Get("do") != "import", Force: f.Has("force", "yes")}
	f.Values.Set("operations", "The operations of your document")
	var report appaccess.OperationsReport
	err := p.revise(rq, &f, func() (version, error) {
		_, now, err := p.operationsVersion(rq)
		return now, err
	}, func(rev appaccess.Revision) (err error) {
		req.Revision = rev
		report, err = p.service.ImportOperations(rq.Context(), rq.actor, id, req)
		return err
	})
	if err == nil && req.DryRun {
		return p.operations(rq, nil, f, form{Fields: enforcementFields}, &report)
	}
	if p.refuse(rq, &f, err) {
		return p.operations(rq, err, f, form{Fields: enforcementFields}, nil)
	}
	return p.done(rq, err, "Operations imported.", p.operationsPath(id), nil)
}

func (p *Portal) saveEnforcement(rq *request) error {
	f, id := p.sent(rq, enforcementFields), rq.PathValue("api")
	err := p.revise(rq, &f, func() (version, error) {
		_, now, err := p.operationsVersion(rq)
		return now, err
	}, func(rev appaccess.Revision) error {
		_, err := p.service.SetEnforcement(rq.Context(), rq.actor, id, appaccess.Enforcement(f.Get("enforcement")), rev)
		return err
	})
	if p.refuse(rq, &f, err) {
		return p.operations(rq, err, form{Fields: operationsFields}, f, nil)
	}
	return p.done(rq, err, "Saved.", p.operationsPath(id), nil)
}

// apiOperationPage is where a manager adds an operation or says what it needs.
type apiOperationPage struct {
	API       appaccess.API
	Operation *appaccess.Operation // nil: a new one
	Form      form
	Known     string // permissions of the API's products
	Back      string
}

// permissionWays writes each alternative in a line of its own.
func permissionWays(anyOf [][]string) string {
	var lines []string
	for _, together := range anyOf {
		lines = append(lines, strings.Join(together, " "))
	}
	return strings.Join(lines, "\n")
}

// anyOfWays reads what permissionWays writes. It is never nil.
func anyOfWays(text string) [][]string {
	out := [][]string{}
	for line := range strings.Lines(text) {
		if together := strings.Fields(line); len(together) > 0 {
			out = append(out, together)
		}
	}
	return out
}

// apiOperation finds the operation that the address names.
func (p *Portal) apiOperation(rq *request) (appaccess.API, appaccess.Operation, version, error) {
	api, now, err := p.apiVersion(rq)
	if err != nil {
		return api, appaccess.Operation{}, now, err
	}
	i := slices.IndexFunc(api.Operations, func(o appaccess.Operation) bool { return o.ID == rq.PathValue("operation") })
	if i < 0 {
		return api, appaccess.Operation{}, now, appaccess.ErrNotFound
	}
	o := api.Operations[i]
	now.Values = url.Values{"anyOf": {permissionWays(o.AnyOf)}}
	return api, o, now, nil
}

func (p *Portal) showOperation(rq *request) error {
	return p.operation(rq, nil, form{Fields: operationFields})
}

func (p *Portal) operation(rq *request, cause error, f form) error {
	api, o, now, err := p.apiOperation(rq)
	if err != nil {
		return err
	}
	if err := p.based(rq, &f, now); err != nil {
		return err
	}
	return p.operationForm(rq, cause, api, o.String(), apiOperationPage{Operation: &o, Form: f})
}

func (p *Portal) operationForm(rq *request, cause error, api appaccess.API, title string, data apiOperationPage) (err error) {
	data.API, data.Back = api, p.operationsPath(api.ID)
	if data.Known, err = p.knownPermissions(rq, api.ID); err != nil {
		return err
	}
	return p.write(rq, formStatus(cause), "api_operation", page{
		Title: title, Nav: "apis", Data: data,
		Crumbs: append(p.crumbs("APIs", "apis"), link{api.Name, p.path("apis", api.ID)}, link{"Operations", data.Back}),
	})
}

// knownPermissions are the names of the permissions of the first products that
// group an API.
func (p *Portal) knownPermissions(rq *request, api string) (string, error) {
	products, err := p.service.Products(rq.Context(), rq.reader(), appaccess.Filter{Limit: maxChoices})
	var names []string
	for _, one := range products.Items {
		if !one.HasAPI(api) {
			continue
		}
		for _, permission := range one.Permissions {
			names = append(names, permission.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", "), err
}

// saveOperation sets the permissions that an operation needs, or resets them to
// what the document asks for.
func (p *Portal) saveOperation(rq *request) error {
	f, api, id := p.sent(rq, operationFields), rq.PathValue("api"), rq.PathValue("operation")
	anyOf := anyOfWays(f.Get("anyOf"))
	if f.Get("do") == "declared" {
		anyOf = nil
	}
	err := p.revise(rq, &f, func() (version, error) {
		_, _, now, err := p.apiOperation(rq)
		return now, err
	}, func(rev appaccess.Revision) error {
		_, err := p.service.RequirePermissions(rq.Context(), rq.actor, api, id, anyOf, rev)
		return err
	})
	if p.refuse(rq, &f, err) {
		return p.operation(rq, err, f)
	}
	return p.done(rq, err, "Saved.", p.operationsPath(api), nil)
}

func (p *Portal) showNewOperation(rq *request) error {
	return p.newOperation(rq, nil, form{Fields: operationFields, Values: url.Values{"method": {"GET"}}})
}

func (p *Portal) newOperation(rq *request, cause error, f form) error {
	api, err := p.service.API(rq.Context(), rq.actor, rq.PathValue("api"))
	if err != nil {
		return err
	}
	if f.Once, err = p.once(rq); err != nil {
		return err
	}
	return p.operationForm(rq, cause, api, "Add an operation", apiOperationPage{Form: f})
}

// addOperation lists an operation by hand beside those that are listed already.
func (p *Portal) addOperation(rq *request) error {
	f, api := p.sent(rq, operationFields), rq.PathValue("api")
	added := appaccess.Operation{
		Method: strings.ToUpper(strings.TrimSpace(f.Get("method"))), Path: strings.TrimSpace(f.Get("path")), Summary: f.Get("summary"), AnyOf: anyOfWays(f.Get("anyOf")),
	}
	err := p.spend(rq)
	for range 5 {
		if err != nil {
			break
		}
		one, now, err1 := p.apiVersion(rq)
		if err1 != nil {
			return err1
		}
		listed := slices.DeleteFunc(slices.Clone(one.Operations), func(o appaccess.Operation) bool { return !o.ByHand })
		_, err = p.service.SetOperations(rq.Context(), rq.actor, api, append(listed, added), now.Revision)
		var conflict *appaccess.ConflictError
		if !errors.As(err, &conflict) || conflict.Field != appaccess.RevisionField {
			break
		}
		err = nil // somebody else changed the API meanwhile: add to what they made
	}
	if p.refuse(rq, &f, err) {
		return p.newOperation(rq, err, f)
	}
	return p.done(rq, err, "Operation added.", p.operationsPath(api), nil)
}

// removeOperation removes an operation that no document holds.
func (p *Portal) removeOperation(rq *request) (operation, error) {
	api, o, _, err := p.apiOperation(rq)
	back := p.operationsPath(api.ID)
	return operation{
		Title: "Remove " + o.String(), Nav: "apis", Label: "Remove operation", Back: back, Done: "Operation removed.",
		Crumbs: append(p.crumbs("APIs", "apis"), link{api.Name, p.path("apis", api.ID)}, link{"Operations", back}),
		Text:   "Requests for it may then match the path of another operation, and need the permissions of that one. Where gates enforce operations and none matches, they refuse the requests.",
		Do: func(bool) error {
			_, err := p.service.RemoveOperation(rq.Context(), rq.actor, api.ID, o.ID)
			return err
		},
	}, err
}
