package portal

import (
	"errors"
	"net/url"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

var productFields = []formField{
	{"name", "Name"}, {"id", "ID (optional)"}, {"description", "Description (optional)"}, {"access", "Application based access"}, {"apis", "APIs"}, {"adopt", "Application to take over (optional)"},
	{"tokenVersion2", "Version of tokens"},
}

type productsPage struct{ listing[appaccess.Product] }

func (p *Portal) productList(rq *request) (controls, error) {
	return p.listControls(rq, listSpec{
		Placeholder: "Name or ID of a product", States: []string{string(appaccess.Published), string(appaccess.NotPublished), "suspended"},
		Sorts: sortsByName, Sync: true, Export: p.path("products", "-", "export"), Many: p.path("products", "-", "many"),
		Actions: []choice{{ID: "publish", Name: "Publish"}, {ID: "unpublish", Name: "Unpublish"}, {ID: "suspend", Name: "Suspend"}, {ID: "resume", Name: "Resume"}},
	})
}

func (p *Portal) showProducts(rq *request) error {
	c, err := p.productList(rq)
	if err != nil {
		return err
	}
	found, err := p.service.Products(rq.Context(), rq.reader(), c.filter)
	if err != nil {
		return err
	}
	return p.show(rq, "products", page{
		Title: "Products", Nav: "products", Lead: "A product groups APIs under one way of access. Client applications are granted products.",
		Data: productsPage{listed(rq, c, found, found.Items)},
	})
}

func (p *Portal) exportProducts(rq *request) error {
	c, err := p.productList(rq)
	if err != nil {
		return err
	}
	return exportList(p, rq, "products", []string{"Name", "State", "Suspended", "Token", "Key", "APIs", "In sync", "Application ID", "Created", "ID"}, c.filter, func(f appaccess.Filter) (appaccess.Page[appaccess.Product], error) {
		return p.service.Products(rq.Context(), rq.reader(), f)
	}, func(products []appaccess.Product) (table [][]string, err error) {
		for _, one := range products {
			table = append(table, []string{
				one.Name, string(one.State), yesNo(one.Suspended), yesNo(one.Access.Token), yesNo(one.Access.Key), strings.Join(one.APIs, " "),
				yesNo(one.Sync.InSync()), one.Entra.AppID, instant(one.Created), one.ID,
			})
		}
		return table, nil
	})
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// manyProducts changes the state of the products that are chosen in the list.
func (p *Portal) manyProducts(rq *request) (operation, error) {
	ctx, by := rq.Context(), rq.actor
	m := many{Kind: appaccess.KindProduct, Safe: true}
	switch rq.URL.Query().Get("action") {
	case "publish":
		m.Title, m.Label, m.Done, m.Text = "Publish %s", "Publish", "%s published.", "Developers see the products, and applications can be granted them."
		m.Do = func(id string) error { _, err := p.service.PublishProduct(ctx, by, id); return err }
	case "unpublish":
		m.Title, m.Label, m.Done, m.Text = "Unpublish %s", "Unpublish", "%s unpublished.", "Developers no longer see the products. Existing access goes on."
		m.Do = func(id string) error { _, err := p.service.UnpublishProduct(ctx, by, id); return err }
	case "suspend":
		m.Title, m.Label, m.Done, m.Safe = "Suspend %s", "Suspend", "%s suspended.", false
		m.Text = "Every gate refuses the callers of these products at once. Grants and subscriptions stay for when they are resumed."
		m.Do = func(id string) error { _, err := p.service.SuspendProduct(ctx, by, id); return err }
	case "resume":
		m.Title, m.Label, m.Done, m.Text = "Resume %s", "Resume", "%s resumed.", "The callers of these products have access again."
		m.Do = func(id string) error { _, err := p.service.ResumeProduct(ctx, by, id); return err }
	default:
		return operation{}, errNoAction
	}
	return p.manyOperation(rq, "product", "products", m)
}

type newProductPage struct {
	Form    form
	APIs    picker
	Planned *planned
}

func (p *Portal) showNewProduct(rq *request) error {
	return p.newProduct(rq, nil, nil, form{Fields: productFields, Values: url.Values{"access": {"token"}, "published": {"yes"}}})
}

func (p *Portal) newProduct(rq *request, cause error, plan *planned, f form) (err error) {
	data := newProductPage{Planned: plan}
	if f.Once, err = p.once(rq); err != nil {
		return err
	}
	if data.APIs, err = p.pickAPIs(rq, f, "apis", "They can be assigned later, too.", true, func(appaccess.API) bool { return true }); err != nil {
		return err
	}
	data.Form = f
	return p.write(rq, formStatus(cause), "product_new", page{
		Title: "Create a product", Nav: "products", Crumbs: p.crumbs("Products", "products"), Data: data,
	})
}

func (p *Portal) createProduct(rq *request) error {
	f := p.sent(rq, productFields)
	if f.searching() {
		return p.newProduct(rq, nil, nil, f)
	}
	access, err := accessOf(f)
	req := appaccess.ProductRequest{
		ID: f.Get("id"), Name: f.Get("name"), Description: f.Get("description"),
		Access: access, Adopt: f.Get("adopt"), AdoptChanges: adoptChanges(f), APIs: f.Values["apis"], Published: f.Has("published", "yes"),
	}
	var plan *planned
	if err == nil {
		plan, err = planFirst(f, func() (appaccess.Plan, error) { return p.service.PlanProduct(rq.Context(), rq.actor, req) })
	}
	if plan != nil {
		return p.newProduct(rq, nil, plan, f)
	}
	if err2 := p.spend(rq); err2 != nil {
		err = err2
	}
	var made appaccess.Product
	if err == nil {
		made, err = p.service.CreateProduct(rq.Context(), rq.actor, req)
	}
	if p.refuse(rq, &f, err) {
		return p.newProduct(rq, err, nil, f)
	}
	return p.done(rq, err, "Product created.", p.path("products", made.ID), nil)
}

// accessOf reads what a form chose. That nothing is asked of callers is a choice
// of its own, so no slip and no form that was cut short opens a product.
func accessOf(f form) (appaccess.Access, error) {
	a := appaccess.Access{Token: f.Has("access", "token"), Key: f.Has("access", "key")}
	if a.Open() != f.Has("access", "open") {
		return a, &appaccess.InvalidError{Field: "access", Rule: "choose a token, a key or both; or open alone"}
	}
	return a, nil
}

// accessValues is the choice that a form shows for an access.
func accessValues(a appaccess.Access) []string {
	var out []string
	if a.Token {
		out = append(out, "token")
	}
	if a.Key {
		out = append(out, "key")
	}
	if a.Open() {
		out = append(out, "open")
	}
	return out
}

// productHead is the head of a product's pages.
func (p *Portal) productHead(one appaccess.Product, tab string) page {
	at := func(s ...string) string { return p.path(append([]string{"products", one.ID}, s...)...) }
	return page{
		Title: one.Name, Lead: one.Description, Nav: "products", Crumbs: p.crumbs("Products", "products"), Tab: tab,
		Tabs: []link{
			{"Overview", at()}, {"Properties", at("properties")}, {"Permissions", at("permissions")}, {"APIs", at("apis")},
			{"Applications", at("applications")}, {"Review in Entra", at("review")},
		},
	}
}

type productPage struct {
	Product   appaccess.Product
	Readiness appaccess.Readiness
	APIs      []appaccess.API
	Audit     []auditRow
}

func (p *Portal) showProduct(rq *request) error {
	one, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	data := productPage{Product: one}
	if data.Readiness, err = p.service.Readiness(rq.Context(), rq.actor, one.ID); err != nil {
		return err
	}
	if data.APIs, err = p.apisOf(rq, one); err != nil {
		return err
	}
	if data.Audit, err = p.history(rq, appaccess.KindProduct, one.ID); err != nil {
		return err
	}
	pg := p.productHead(one, "Overview")
	pg.Data = data
	return p.show(rq, "product", pg)
}

// apisOf reads the APIs that a product groups.
func (p *Portal) apisOf(rq *request, one appaccess.Product) ([]appaccess.API, error) {
	var out []appaccess.API
	for _, id := range one.APIs {
		api, err := p.service.API(rq.Context(), rq.actor, id)
		if errors.Is(err, appaccess.ErrNotFound) {
			continue // removed a moment ago
		}
		if err != nil {
			return nil, err
		}
		out = append(out, api)
	}
	return out, nil
}

type productAPIsPage struct {
	Product appaccess.Product
	APIs    []appaccess.API
	Form    form
	Choices picker
}

func (p *Portal) showProductAPIs(rq *request) error {
	return p.productAPIs(rq, nil, form{Fields: productFields})
}

func (p *Portal) productAPIs(rq *request, cause error, f form) error {
	one, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	data := productAPIsPage{Product: one, Form: f}
	if data.APIs, err = p.apisOf(rq, one); err != nil {
		return err
	}
	if data.Choices, err = p.pickAPIs(rq, f, "apis", "", true, func(a appaccess.API) bool { return !one.HasAPI(a.ID) }); err != nil {
		return err
	}
	pg := p.productHead(one, "APIs")
	pg.Data = data
	return p.write(rq, formStatus(cause), "product_apis", pg)
}

func (p *Portal) assignAPIs(rq *request) error {
	f := p.sent(rq, productFields)
	if f.searching() {
		return p.productAPIs(rq, nil, f)
	}
	_, err := p.service.AssignAPIs(rq.Context(), rq.actor, rq.PathValue("id"), f.Values["apis"])
	if p.refuse(rq, &f, err) {
		return p.productAPIs(rq, err, f)
	}
	return p.done(rq, err, "APIs assigned.", p.path("products", rq.PathValue("id"), "apis"), nil)
}

func (p *Portal) unassignAPI(rq *request) (operation, error) {
	one, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return operation{}, err
	}
	api, err := p.service.API(rq.Context(), rq.actor, rq.PathValue("api"))
	if err != nil {
		return operation{}, err
	}
	op, err := p.productOperation(rq, one)
	op.Title, op.Label = "Remove "+api.Name+" from "+one.Name, "Remove API"
	op.Text = "Callers of this product no longer reach " + api.Path + " through it. The API itself stays."
	op.Back = p.path("products", one.ID, "apis")
	op.Done = "API removed from the product."
	op.Undo = &undo{op.Back, url.Values{"apis": {api.ID}}}
	op.Do = func(bool) error {
		_, err := p.service.UnassignAPIs(rq.Context(), rq.actor, one.ID, []string{api.ID})
		return err
	}
	return op, err
}

type productApplicationsPage struct {
	Product appaccess.Product
	Linked  listing[applicationRow]
	Form    form
	Choices picker
}

var grantFields = []formField{{"applications", "Applications"}}

func (p *Portal) showProductApplications(rq *request) error {
	return p.productApplications(rq, nil, form{Fields: grantFields})
}

func (p *Portal) productApplications(rq *request, cause error, f form) error {
	one, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	data := productApplicationsPage{Product: one, Form: f}
	c, err := p.listControls(rq, listSpec{
		Placeholder: applicationPlaceholder, Sorts: sortsByName, Many: p.path("products", one.ID, "applications", "-", "many"), Actions: []choice{{ID: "revoke", Name: "Remove from the product"}},
	})
	if err != nil {
		return err
	}
	found, err := p.service.GrantedApplications(rq.Context(), rq.actor, one.ID, c.filter)
	if err != nil {
		return err
	}
	rows, err := p.applicationRows(rq, c.known, found.Items...)
	if err != nil {
		return err
	}
	data.Linked = listed(rq, c, found, rows)
	if one.Access.Token {
		if data.Choices, err = p.pickApplications(rq, f, "applications", "", func(a appaccess.ClientApplication) bool { return !a.Grants.Has(one.ID) }); err != nil {
			return err
		}
	}
	pg := p.productHead(one, "Applications")
	pg.Data = data
	return p.write(rq, formStatus(cause), "product_applications", pg)
}

// manyGrants revokes the product from the applications that are chosen in its list.
func (p *Portal) manyGrants(rq *request) (operation, error) {
	one, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return operation{}, err
	}
	if rq.URL.Query().Get("action") != "revoke" {
		return operation{}, errNoAction
	}
	op, err := p.manyOperation(rq, "application", "applications", many{
		Kind: appaccess.KindApplication, Title: "Revoke " + one.Name + " from %s", Label: "Revoke access", Done: "Revoked from %s.",
		Text: "Every gate refuses these applications' requests to the product at once.",
	})
	op.Nav, op.Crumbs, op.Back = "products", append(p.crumbs("Products", "products"), link{one.Name, p.path("products", one.ID)}), p.path("products", one.ID, "applications")
	op.Do = func(bool) error {
		return p.service.RevokeApplications(rq.Context(), rq.actor, one.ID, rq.URL.Query()["id"])
	}
	return op, err
}

func (p *Portal) grantApplications(rq *request) error {
	f := p.sent(rq, grantFields)
	if f.searching() {
		return p.productApplications(rq, nil, f)
	}
	err := p.service.GrantApplications(rq.Context(), rq.actor, appaccess.GrantsOfAll(rq.PathValue("id"))[0], f.Values["applications"])
	if p.refuse(rq, &f, err) {
		return p.productApplications(rq, err, f)
	}
	return p.done(rq, err, "Applications linked: they may now ask for tokens for this product.", p.path("products", rq.PathValue("id"), "applications"), nil)
}

type productReviewPage struct {
	Product appaccess.Product
	Review  *appaccess.ProductReview
	Trouble string
}

func (p *Portal) showProductReview(rq *request) error {
	one, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	data := productReviewPage{Product: one}
	if one.Entra.AppID != "" {
		found, err := p.service.Review(rq.Context(), rq.actor, []string{one.ID}, nil)
		if err != nil {
			data.Trouble = p.trouble(rq, err)
		} else if len(found.Products) > 0 {
			data.Review = &found.Products[0]
		}
	}
	pg := p.productHead(one, "Review in Entra")
	pg.Data = data
	return p.show(rq, "product_review", pg)
}

// trouble is what a manager reads when Entra does not answer a page that can
// be shown without it.
func (p *Portal) trouble(rq *request, err error) string {
	p.log.WarnContext(rq.Context(), "portal: entra does not answer", "error", err)
	return err.Error()
}
