package portal

import (
	"errors"
	"net/http"
	"slices"

	"github.com/entragate/entragate/appaccess"
)

// applicationRow is a line of the list.
type applicationRow struct {
	appaccess.ClientApplication
	Owner string // name
}

func (p *Portal) applicationList(rq *request) error {
	f := filter(rq)
	f.OwnerID = rq.URL.Query().Get("owner")
	found, err := p.service.Applications(rq.Context(), rq.actor, f)
	if err != nil {
		return err
	}
	var owners []string
	for _, a := range found.Items {
		owners = append(owners, a.OwnerID)
	}
	names := p.userNames(rq, owners...)
	list := listed(rq, found, func(a appaccess.ClientApplication) applicationRow { return applicationRow{a, names[a.OwnerID]} })
	list.Placeholder = "Name, ID or client ID"
	return p.show(rq, "applications", page{
		Title: "Applications", Nav: "applications", Data: list,
		Lead: "Client applications that users own. Each may ask for tokens for the products that it is granted.",
	})
}

type applicationForm struct {
	Form     form
	Owners   []choice
	Products []choice
}

var applicationFields = []string{"name", "ownerId", "products", "description"}

func (p *Portal) applicationNew(rq *request) error {
	q := rq.URL.Query()
	return p.applicationFormPage(rq, http.StatusOK, form{Values: map[string][]string{"products": q["product"], "ownerId": q["owner"]}})
}

func (p *Portal) applicationFormPage(rq *request, status int, f form) error {
	owners, err := p.userChoices(rq, f.Get("ownerId"))
	if err != nil {
		return err
	}
	products, err := p.productChoices(rq, func(one appaccess.Product) bool { return one.Access.Token })
	if err != nil {
		return err
	}
	return p.write(rq, status, "application_new", page{
		Title: "Register an application", Nav: "applications", Crumbs: p.crumbs("Applications", "applications"),
		Data: applicationForm{Form: f, Owners: owners, Products: products},
	})
}

func (p *Portal) applicationRegister(rq *request) error {
	f := form{Values: rq.PostForm}
	made, err := p.service.RegisterApplication(rq.Context(), rq.actor, appaccess.ApplicationRequest{
		Name: f.Get("name"), OwnerID: f.Get("ownerId"), Products: f.Values["products"], Description: f.Get("description"),
	})
	if f.refuse(err, applicationFields...) {
		return p.applicationFormPage(rq, appaccess.Status(err), f)
	}
	return p.done(rq, err, "Application registered. Its owner sees it in the portal; the next step is a client secret.", p.path("applications", made.ID))
}

type applicationData struct {
	Settings    appaccess.ApplicationSettings
	Application appaccess.ClientApplication
	Owner       appaccess.User
	Form        form
	Choices     []choice
	Review      *appaccess.ApplicationReview
	Trouble     string
	Audit       []appaccess.AuditRecord
	Table       credentialTable
}

// application reads the application of the address and makes the page's frame.
func (p *Portal) application(rq *request, tab string) (applicationData, page, error) {
	set, err := p.service.ApplicationSettings(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return applicationData{}, page{}, err
	}
	one := set.Application
	data := applicationData{Settings: set, Application: one}
	data.Owner, err = p.service.User(rq.Context(), rq.actor, one.OwnerID)
	if errors.Is(err, appaccess.ErrNotFound) {
		err = nil
	}
	at := func(s ...string) string { return p.path(append([]string{"applications", one.ID}, s...)...) }
	return data, page{
		Title: one.Name, Lead: one.Description, Nav: "applications", Crumbs: p.crumbs("Applications", "applications"), Tab: tab,
		Tabs: []link{
			{"Overview", at()}, {"Products", at("products")}, {"Credentials", at("credentials")}, {"Review in Entra", at("review")},
		},
	}, err
}

func (p *Portal) applicationOverview(rq *request) error {
	return p.applicationOverviewPage(rq, http.StatusOK, form{})
}

func (p *Portal) applicationOverviewPage(rq *request, status int, f form) error {
	data, pg, err := p.application(rq, "Overview")
	if err != nil {
		return err
	}
	if f.Values == nil {
		f.Values = map[string][]string{"name": {data.Application.Name}, "description": {data.Application.Description}}
	}
	trail, err := p.service.Audit(rq.Context(), rq.actor, appaccess.AuditFilter{Object: "application/" + data.Application.ID, Limit: 6})
	if err != nil {
		return err
	}
	data.Form, data.Audit = f, trail.Items
	pg.Data = data
	return p.write(rq, status, "application", pg)
}

func (p *Portal) applicationSave(rq *request) error {
	id, f := rq.PathValue("id"), form{Values: rq.PostForm}
	name, description := f.Get("name"), f.Get("description")
	_, err := p.service.UpdateApplication(rq.Context(), rq.actor, id, appaccess.ApplicationUpdate{Name: &name, Description: &description})
	if f.refuse(err, applicationFields...) {
		return p.applicationOverviewPage(rq, appaccess.Status(err), f)
	}
	return p.done(rq, err, "Saved.", p.path("applications", id))
}

func (p *Portal) applicationState(rq *request) error {
	id := rq.PathValue("id")
	var err error
	var text string
	switch rq.PostForm.Get("do") {
	case "suspend":
		_, err = p.service.SuspendApplication(rq.Context(), rq.actor, id)
		text = "Suspended: the application's access has ended."
	case "resume":
		_, err = p.service.ResumeApplication(rq.Context(), rq.actor, id)
		text = "Resumed: the application has access again."
	default:
		err = errUnknownAction
	}
	return p.done(rq, err, text, p.path("applications", id))
}

func (p *Portal) applicationProducts(rq *request) error {
	data, pg, err := p.application(rq, "Products")
	if err != nil {
		return err
	}
	data.Choices, err = p.productChoices(rq, func(one appaccess.Product) bool {
		return one.Access.Token && !slices.Contains(data.Application.Products, one.ID)
	})
	pg.Data = data
	if err != nil {
		return err
	}
	return p.show(rq, "application_products", pg)
}

func (p *Portal) applicationGrant(rq *request) error {
	id, text := rq.PathValue("id"), "Product added: the application may now ask for tokens for it."
	var err error
	if remove := rq.PostForm.Get("remove"); remove != "" {
		text = "Product removed: the application's access to it has ended."
		_, err = p.service.RevokeProducts(rq.Context(), rq.actor, id, []string{remove})
	} else {
		_, err = p.service.GrantProducts(rq.Context(), rq.actor, id, rq.PostForm["products"])
	}
	return p.done(rq, err, text, p.path("applications", id, "products"))
}

func (p *Portal) applicationReview(rq *request) error {
	data, pg, err := p.application(rq, "Review in Entra")
	if err != nil {
		return err
	}
	if data.Settings.ClientID != "" {
		found, err := p.service.Review(rq.Context(), rq.actor, nil, []string{data.Application.ID})
		if err != nil {
			data.Trouble = p.trouble(rq, err)
		} else if len(found.Applications) > 0 {
			data.Review = &found.Applications[0]
		}
	}
	pg.Data = data
	return p.show(rq, "application_review", pg)
}

func (p *Portal) applicationDelete(rq *request) error {
	data, pg, err := p.application(rq, "")
	if err != nil {
		return err
	}
	one := data.Application
	pg.Crumbs = append(pg.Crumbs, link{one.Name, p.path("applications", one.ID)})
	pg.Title, pg.Tabs, pg.Lead = "Delete "+one.Name, nil, ""
	pg.Data = confirm{
		Text:  "Its access to every product ends at once. After that its grants, secrets and application are removed from Microsoft Entra ID.",
		Also:  "Programs that use its client ID will be refused. To stop access for a while only, suspend it instead.",
		Label: "Delete application", Back: p.path("applications", one.ID),
	}
	return p.show(rq, "confirm", pg)
}

func (p *Portal) applicationDeleted(rq *request) error {
	err := p.service.DeleteApplication(rq.Context(), rq.actor, rq.PathValue("id"))
	return p.done(rq, err, "Application deleted.", p.path("applications"))
}
