package portal

import (
	"errors"
	"net/url"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// applicationRow is a line of the list.
type applicationRow struct {
	appaccess.ClientApplication
	Owner    link
	Products []link
}

const applicationPlaceholder = "Name, ID or client ID"

// applicationRows adds the names that the rows need.
func (p *Portal) applicationRows(rq *request, known map[appaccess.Ref]string, apps ...appaccess.ClientApplication) ([]applicationRow, error) {
	var all []appaccess.Ref
	for _, a := range apps {
		all = append(all, refs(appaccess.KindUser, a.OwnerID)...)
		all = append(all, refs(appaccess.KindProduct, a.Grants.Products()...)...)
	}
	book, err := p.namesBeside(rq, known, all...)
	var rows []applicationRow
	for _, a := range apps {
		row := applicationRow{ClientApplication: a, Owner: book.User(a.OwnerID)}
		for _, id := range a.Grants.Products() {
			row.Products = append(row.Products, book.Product(id))
		}
		rows = append(rows, row)
	}
	return rows, err
}

type applicationsPage struct{ listing[applicationRow] }

func (p *Portal) applicationList(rq *request) (controls, error) {
	return p.listControls(rq, listSpec{
		Placeholder: applicationPlaceholder, Sorts: sortsByName, Owner: true, Product: true, Sync: true,
		States: []string{string(appaccess.ApplicationActive), string(appaccess.ApplicationPending), string(appaccess.ApplicationSuspended)},
		Export: p.path("applications", "-", "export"), Many: p.path("applications", "-", "many"),
		Actions: []choice{{ID: "suspend", Name: "Suspend"}, {ID: "resume", Name: "Resume"}, {ID: "delete", Name: "Delete"}},
	})
}

func (p *Portal) showApplications(rq *request) error {
	c, err := p.applicationList(rq)
	if err != nil {
		return err
	}
	found, err := p.service.Applications(rq.Context(), rq.reader(), c.filter)
	if err != nil {
		return err
	}
	rows, err := p.applicationRows(rq, c.known, found.Items...)
	if err != nil {
		return err
	}
	return p.show(rq, "applications", page{
		Title: "Applications", Nav: "applications", Data: applicationsPage{listed(rq, c, found, rows)},
		Lead: "Client applications that users own. Each may ask for tokens for the products that it is granted.",
	})
}

func (p *Portal) exportApplications(rq *request) error {
	c, err := p.applicationList(rq)
	if err != nil {
		return err
	}
	return exportList(p, rq, "applications", []string{"Name", "Client ID", "Owner", "Products", "State", "In sync", "Created", "ID"}, c.filter, func(f appaccess.Filter) (appaccess.Page[appaccess.ClientApplication], error) {
		return p.service.Applications(rq.Context(), rq.reader(), f)
	}, func(apps []appaccess.ClientApplication) (table [][]string, err error) {
		rows, err := p.applicationRows(rq, c.known, apps...)
		for _, one := range rows {
			var products []string
			for _, at := range one.Products {
				products = append(products, at.Text)
			}
			table = append(table, []string{
				one.Name, one.Entra.AppID, one.Owner.Text, strings.Join(products, ", "), string(one.State), yesNo(one.Sync.InSync()), instant(one.Created), one.ID,
			})
		}
		return table, err
	})
}

// manyApplications changes the applications that are chosen in the list.
func (p *Portal) manyApplications(rq *request) (operation, error) {
	ctx, by := rq.Context(), rq.actor
	m := many{Kind: appaccess.KindApplication}
	switch rq.URL.Query().Get("action") {
	case "suspend":
		m.Title, m.Label, m.Done = "Suspend %s", "Suspend", "%s suspended."
		m.Text = "Every gate refuses these applications at once. Their products and credentials stay for when they are resumed."
		m.Do = func(id string) error { _, err := p.service.SuspendApplication(ctx, by, id); return err }
	case "resume":
		m.Title, m.Label, m.Done, m.Safe, m.Text = "Resume %s", "Resume", "%s resumed.", true, "The applications have access again."
		m.Do = func(id string) error { _, err := p.service.ResumeApplication(ctx, by, id); return err }
	case "delete":
		m.Title, m.Label, m.Done = "Delete %s", "Delete", "%s deleted."
		m.Text = "Their access is revoked at once. After that they are removed from Microsoft Entra ID. Programs that use them will be refused."
		m.Do = func(id string) error { return p.service.DeleteApplication(ctx, by, id) }
	default:
		return operation{}, errNoAction
	}
	return p.manyOperation(rq, "application", "applications", m)
}

var applicationFields = []formField{{"name", "Name"}, {"ownerId", "Owner"}, {"grants", "Grant access to selected products"}, {"description", "Description (optional)"}, {"adopt", "Application to take over (optional)"}, {"servicePrincipal", "Managed identity (optional)"}}

type newApplicationPage struct {
	Form     form
	Owner    picker
	Products picker
	Planned  *planned
}

func (p *Portal) showNewApplication(rq *request) error {
	q := rq.URL.Query()
	return p.newApplication(rq, nil, nil, form{Fields: applicationFields, Values: url.Values{"grants": q["product"], "ownerId": q["owner"]}})
}

func (p *Portal) newApplication(rq *request, cause error, plan *planned, f form) (err error) {
	data := newApplicationPage{Planned: plan}
	if f.Once, err = p.once(rq); err != nil {
		return err
	}
	if data.Owner, err = p.pickUser(rq, f, "ownerId", "The user who gets its credentials. Only active users can own applications."); err != nil {
		return err
	}
	if data.Products, err = p.pickProducts(rq, f, "grants", "Products with OAuth 2.0 token access.", true, func(one appaccess.Product) bool { return one.Access.Token }); err != nil {
		return err
	}
	data.Form = f
	return p.write(rq, formStatus(cause), "application_new", page{
		Title: "Register an application", Nav: "applications", Crumbs: p.crumbs("Applications", "applications"), Data: data,
	})
}

func (p *Portal) registerApplication(rq *request) error {
	f := p.sent(rq, applicationFields)
	if f.searching() {
		return p.newApplication(rq, nil, nil, f)
	}
	req := appaccess.ApplicationRequest{
		Name: f.Get("name"), OwnerID: f.Get("ownerId"), Grants: appaccess.GrantsOfAll(f.Values["grants"]...), Description: f.Get("description"),
		Adopt: f.Get("adopt"), AdoptChanges: adoptChanges(f), ServicePrincipal: appaccess.ServicePrincipal{ObjectID: f.Get("servicePrincipal")},
	}
	plan, err := planFirst(f, func() (appaccess.Plan, error) { return p.service.PlanApplication(rq.Context(), rq.actor, req) })
	if plan != nil {
		return p.newApplication(rq, nil, plan, f)
	}
	if err == nil {
		err = p.spend(rq)
	}
	var made appaccess.ClientApplication
	if err == nil {
		made, err = p.service.RegisterApplication(rq.Context(), rq.actor, req)
	}
	if p.refuse(rq, &f, err) {
		return p.newApplication(rq, err, nil, f)
	}
	next := "the next step is a client secret."
	if made.ClientKind() != appaccess.RegisteredClient {
		next = "it needs no secret from here."
	}
	return p.done(rq, err, "Application registered. Its owner sees it in the portal; "+next, p.path("applications", made.ID), nil)
}

// applicationHead is the head of an application's pages.
func (p *Portal) applicationHead(one appaccess.ClientApplication, tab string) page {
	at := func(s ...string) string { return p.path(append([]string{"applications", one.ID}, s...)...) }
	return page{
		Title: one.Name, Lead: one.Description, Nav: "applications", Crumbs: p.crumbs("Applications", "applications"), Tab: tab,
		Tabs: []link{
			{"Overview", at()}, {"Products", at("products")}, {"Credentials", at("credentials")}, {"Usage", at("usage")}, {"Review in Entra", at("review")},
		},
	}
}

type applicationPage struct {
	Settings    appaccess.ApplicationSettings
	Application appaccess.ClientApplication
	Owner       appaccess.User
	Form        form
	Audit       []auditRow
}

func (p *Portal) applicationVersion(rq *request) (version, error) {
	id := rq.PathValue("application")
	rev, err := p.service.Revision(rq.Context(), rq.actor, appaccess.KindApplication, id)
	if err != nil {
		return version{}, err
	}
	one, err := p.service.Application(rq.Context(), rq.actor, id)
	return version{rev, url.Values{"name": {one.Name}, "description": {one.Description}}}, err
}

func (p *Portal) showApplication(rq *request) error {
	return p.application(rq, nil, form{Fields: applicationFields})
}

func (p *Portal) application(rq *request, cause error, f form) error {
	now, err := p.applicationVersion(rq)
	if err != nil {
		return err
	}
	set, err := p.service.ApplicationSettings(rq.Context(), rq.actor, rq.PathValue("application"))
	if err != nil {
		return err
	}
	if err := p.based(rq, &f, now); err != nil {
		return err
	}
	one := set.Application
	data := applicationPage{Settings: set, Application: one, Form: f}
	data.Owner, err = p.service.User(rq.Context(), rq.actor, one.OwnerID)
	if err != nil && !errors.Is(err, appaccess.ErrNotFound) {
		return err
	}
	if data.Audit, err = p.history(rq, appaccess.KindApplication, one.ID); err != nil {
		return err
	}
	pg := p.applicationHead(one, "Overview")
	pg.Data = data
	return p.write(rq, formStatus(cause), "application", pg)
}

func (p *Portal) saveApplication(rq *request) error {
	f := p.sent(rq, applicationFields)
	name, description := f.Get("name"), f.Get("description")
	err := p.revise(rq, &f, func() (version, error) { return p.applicationVersion(rq) }, func(rev appaccess.Revision) error {
		_, err := p.service.UpdateApplication(rq.Context(), rq.actor, rq.PathValue("application"), appaccess.ApplicationUpdate{
			Name: &name, Description: &description, Revision: rev,
		})
		return err
	})
	if p.refuse(rq, &f, err) {
		return p.application(rq, err, f)
	}
	return p.done(rq, err, "Saved.", p.path("applications", rq.PathValue("application")), nil)
}

type applicationProductsPage struct {
	Settings    appaccess.ApplicationSettings
	Application appaccess.ClientApplication
	Form        form
	Choices     picker
}

func (p *Portal) showApplicationProducts(rq *request) error {
	return p.applicationProducts(rq, nil, form{Fields: applicationFields})
}

func (p *Portal) applicationProducts(rq *request, cause error, f form) error {
	set, err := p.service.ApplicationSettings(rq.Context(), rq.actor, rq.PathValue("application"))
	if err != nil {
		return err
	}
	data := applicationProductsPage{Settings: set, Application: set.Application, Form: f}
	if data.Choices, err = p.pickProducts(rq, f, "grants", "", true, func(one appaccess.Product) bool {
		return one.Access.Token && !set.Application.Grants.Has(one.ID)
	}); err != nil {
		return err
	}
	pg := p.applicationHead(set.Application, "Products")
	pg.Data = data
	return p.write(rq, formStatus(cause), "application_products", pg)
}

func (p *Portal) grantProducts(rq *request) error {
	id, f := rq.PathValue("application"), p.sent(rq, applicationFields)
	if f.searching() {
		return p.applicationProducts(rq, nil, f)
	}
	granted, err := p.service.GrantProducts(rq.Context(), rq.actor, id, appaccess.GrantsOfAll(f.Values["grants"]...))
	if p.refuse(rq, &f, err) {
		return p.applicationProducts(rq, err, f)
	}
	note := "Product added: the application may now ask for tokens for it."
	if granted.ClientKind() == appaccess.ManagedIdentityClient {
		note = "Product added. For up to 24 hours the managed identity may still get tokens without it."
	}
	return p.done(rq, err, note, p.path("applications", id, "products"), nil)
}

type applicationReviewPage struct {
	Settings    appaccess.ApplicationSettings
	Application appaccess.ClientApplication
	Review      *appaccess.ApplicationReview
	Trouble     string
}

func (p *Portal) showApplicationReview(rq *request) error {
	set, err := p.service.ApplicationSettings(rq.Context(), rq.actor, rq.PathValue("application"))
	if err != nil {
		return err
	}
	data := applicationReviewPage{Settings: set, Application: set.Application}
	if set.ClientID != "" {
		found, err := p.service.Review(rq.Context(), rq.actor, nil, []string{set.Application.ID})
		if err != nil {
			data.Trouble = p.trouble(rq, err)
		} else if len(found.Applications) > 0 {
			data.Review = &found.Applications[0]
		}
	}
	pg := p.applicationHead(set.Application, "Review in Entra")
	pg.Data = data
	return p.show(rq, "application_review", pg)
}
