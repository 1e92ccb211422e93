package portal

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/openapi"
)

// docPage is the documentation of an API.
type docPage struct {
	API        appaccess.API
	Text       string // of the document
	Address    string // where callers reach the API
	Operations []docOperation
	Schemas    []docSchema
	Download   string // address of the document; empty: there is none
	Enforced   bool   // gates refuse a call without the permission
	Manage     string // address at which a manager changes the operations
	Apps       []choice
	App        string // whose permissions are compared
	Trouble    string // why the document is not shown
}

// docOperation is one operation with what a caller needs.
type docOperation struct {
	appaccess.Operation
	Anchor      string
	Description string
	Deprecated  bool
	Parameters  []docParameter
	Body        []docMedia
	Responses   []docResponse
	Needs       string // the permissions, in words
	Has         string // yes, no; empty: no application is compared
	Try         string // address at which it can be tried; empty: nowhere
}

type docParameter struct {
	openapi.Parameter
	Type string
}

type docMedia struct {
	Type    string
	Example string
	Rows    []docRow
	Cut     bool // there are more rows
}

type docRow struct {
	openapi.Row
	Pad string // one level of depth each
	To  string // anchor of the schema
}

type docResponse struct {
	Status, Description string
	Content             []docMedia
}

type docSchema struct {
	Name, Anchor string
	Rows         []docRow
	Cut          bool
}

// schemaAnchor is where a page shows a schema of the document.
func schemaAnchor(name string) string { return "schema-" + url.PathEscape(name) }

func docRows(s openapi.Schema) ([]docRow, bool) {
	rows, complete := s.Rows()
	var out []docRow
	for _, row := range rows {
		one := docRow{Row: row, Pad: strings.Repeat("· ", row.Depth)}
		if row.Schema != "" {
			one.To = schemaAnchor(row.Schema)
		}
		out = append(out, one)
	}
	return out, !complete
}

func docMedias(content []openapi.Media) []docMedia {
	var out []docMedia
	for _, m := range content {
		one := docMedia{Type: m.Type, Example: laidOutJSON(m.Example)}
		one.Rows, one.Cut = docRows(m.Schema)
		out = append(out, one)
	}
	return out
}

func laidOutJSON(text string) string {
	var out bytes.Buffer
	if json.Indent(&out, []byte(text), "", "  ") == nil {
		return out.String()
	}
	return text
}

// describe adds what the document says to an operation.
func (o *docOperation) describe(d *openapi.Document) {
	if d == nil {
		return
	}
	i := slices.IndexFunc(d.Operations, func(in openapi.Operation) bool { return in.Method == o.Method && in.Path == o.Path })
	if i < 0 {
		return
	}
	in := d.Operations[i]
	o.Description, o.Deprecated = in.Description, in.Deprecated
	for _, p := range in.Parameters {
		one := docParameter{Parameter: p}
		if rows, _ := p.Schema.Rows(); len(rows) > 0 {
			one.Type = strings.TrimSpace(rows[0].Type + " " + rows[0].Schema)
		}
		o.Parameters = append(o.Parameters, one)
	}
	if in.Body != nil {
		o.Body = docMedias(in.Body.Content)
	}
	for _, r := range in.Responses {
		o.Responses = append(o.Responses, docResponse{r.Status, r.Description, docMedias(r.Content)})
	}
}

// needs is what a caller must hold, in words.
func needs(anyOf [][]string) string {
	if len(anyOf) == 0 {
		return appaccess.AllPermission
	}
	var ways []string
	for _, all := range anyOf {
		ways = append(ways, strings.Join(all, " and "))
	}
	return strings.Join(ways, ", or ") + ", or " + appaccess.AllPermission
}

// permitted reports whether grants of products of the API suffice.
func permitted(grants appaccess.Grants, products []string, anyOf [][]string) bool {
	for _, product := range products {
		if grants.Permit(product, appaccess.AllPermission) {
			return true
		}
		for _, all := range anyOf {
			if !slices.ContainsFunc(all, func(name string) bool { return !grants.Permit(product, name) }) && len(all) > 0 {
				return true
			}
		}
	}
	return false
}

// showDocs shows an API's operations, to its managers and to developers who see
// it.
func (p *Portal) showDocs(rq *request) error {
	one, err := p.service.API(rq.Context(), rq.actor, rq.PathValue("api"))
	if err != nil {
		return err
	}
	data := docPage{API: one, Address: p.address(one), Enforced: one.Enforcement == appaccess.EnforceOperations}
	base := rq.base("apis", one.ID)
	var document *openapi.Document
	stored, err := p.service.APIDocument(rq.Context(), rq.actor, one.ID)
	switch {
	case err == nil:
		data.Download = p.path(append(base, "docs", "export")...)
		if document, err = openapi.Read(stored.Source); err != nil {
			data.Trouble = "The document cannot be read: " + err.Error()
		} else {
			data.Text = document.Description
			for _, s := range document.Schemas {
				shown := docSchema{Name: s.Name, Anchor: schemaAnchor(s.Name)}
				shown.Rows, shown.Cut = docRows(s)
				data.Schemas = append(data.Schemas, shown)
			}
		}
	case !errors.Is(err, appaccess.ErrNotFound):
		return err
	}
	grants, products, err := p.compared(rq, &data)
	if err != nil {
		return err
	}
	for i, o := range one.Operations {
		if o.Gone {
			continue
		}
		shown := docOperation{Operation: o, Anchor: "operation-" + strconv.Itoa(i), Needs: needs(o.AnyOf)}
		shown.describe(document)
		if data.App != "" {
			shown.Has = yesNo(!data.Enforced && len(products) > 0 || permitted(grants, products, o.AnyOf))
			if target := targetOf(products, one.ID); target != "" && p.try.enabled() && p.try.allowed(data.Address) {
				shown.Try = p.path("my", "applications", data.App, "try") + "?" + url.Values{"target": {target}, "operation": {o.ID}}.Encode()
			}
		}
		data.Operations = append(data.Operations, shown)
	}
	pg := page{Title: "Documentation of " + one.Name, Nav: "apis", Lead: one.Description, Crumbs: append(p.crumbs("APIs", "apis"), link{one.Name, p.path("apis", one.ID)})}
	if rq.mine() {
		pg.Nav, pg.Crumbs = "catalog", p.crumbs("Catalog", "my", "catalog")
	} else {
		data.Manage = p.path("apis", one.ID, "operations")
	}
	pg.Data = data
	return p.show(rq, "docs", pg)
}

// compared reads the reader's applications and what the chosen one holds of the
// API's products.
func (p *Portal) compared(rq *request, data *docPage) (grants appaccess.Grants, products []string, err error) {
	if !rq.mine() {
		return nil, nil, nil
	}
	apps, err := p.service.Applications(rq.Context(), rq.actor, appaccess.Filter{Order: appaccess.ByName, Limit: maxChoices})
	if err != nil {
		return nil, nil, err
	}
	data.App = rq.URL.Query().Get("application")
	for _, a := range apps.Items {
		data.Apps = append(data.Apps, choice{ID: a.ID, Name: a.Name})
	}
	i := max(0, slices.IndexFunc(apps.Items, func(a appaccess.ClientApplication) bool { return a.ID == data.App }))
	if len(apps.Items) == 0 {
		data.App = ""
		return nil, nil, nil
	}
	data.App, grants = apps.Items[i].ID, apps.Items[i].Grants
	for _, id := range grants.Products() {
		granted, err := p.service.Product(rq.Context(), portalActor, id)
		if err != nil {
			return nil, nil, err
		}
		if granted.HasAPI(data.API.ID) {
			products = append(products, id)
		}
	}
	return grants, products, nil
}

// targetOf names the API within the first of the products, for the Try it box.
func targetOf(products []string, api string) string {
	if len(products) == 0 {
		return ""
	}
	return products[0] + " " + api
}

// downloadDocs sends the document as JSON. It names the address at which callers
// reach the API, and no other server.
func (p *Portal) downloadDocs(rq *request) error {
	one, err := p.service.API(rq.Context(), rq.actor, rq.PathValue("api"))
	if err != nil {
		return err
	}
	stored, err := p.service.APIDocument(rq.Context(), rq.actor, one.ID)
	if err != nil {
		return err
	}
	document, err := openapi.Read(stored.Source)
	if err != nil {
		return err
	}
	text, err := document.JSON(p.address(one))
	if err != nil {
		return err
	}
	rq.w.Header().Set("Content-Type", "application/json")
	rq.w.Header().Set("Content-Disposition", `attachment; filename="`+one.ID+`-openapi.json"`)
	rq.w.WriteHeader(http.StatusOK)
	_, _ = rq.w.Write(text)
	return nil
}
