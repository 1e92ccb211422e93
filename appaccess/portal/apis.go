package portal

import (
	"net/url"
	"strconv"

	"github.com/entragate/entragate/appaccess"
)

var apiFields = []formField{
	{"name", "Name"}, {"id", "ID (optional)"}, {"path", "Path"}, {"description", "Description (optional)"}, {"serviceUrl", "Service URL (optional)"},
	{"allowEncodedSlash", "Encoded slashes"}, {"keyHeader", "Header of subscription keys (optional)"}, {"keyQuery", "Query parameter of subscription keys (optional)"},
}

type apisPage struct{ listing[appaccess.API] }

func (p *Portal) apiList(rq *request) (controls, error) {
	return p.listControls(rq, listSpec{Placeholder: "Name or ID of an API", Sorts: sortsByName, Export: p.path("apis", "-", "export")})
}

func (p *Portal) showAPIs(rq *request) error {
	c, err := p.apiList(rq)
	if err != nil {
		return err
	}
	found, err := p.service.APIs(rq.Context(), rq.reader(), c.filter)
	if err != nil {
		return err
	}
	return p.show(rq, "apis", page{
		Title: "APIs", Nav: "apis", Lead: "Sets of routes below one path. Products group them.",
		Data: apisPage{listed(rq, c, found, found.Items)},
	})
}

func (p *Portal) exportAPIs(rq *request) error {
	c, err := p.apiList(rq)
	if err != nil {
		return err
	}
	return exportList(p, rq, "apis", []string{"Name", "Path", "Reached at", "Operations", "Created", "ID"}, c.filter, func(f appaccess.Filter) (appaccess.Page[appaccess.API], error) {
		return p.service.APIs(rq.Context(), rq.reader(), f)
	}, func(apis []appaccess.API) (table [][]string, err error) {
		for _, one := range apis {
			table = append(table, []string{one.Name, one.Path, one.ServiceURL, strconv.Itoa(len(one.Operations)), instant(one.Created), one.ID})
		}
		return table, nil
	})
}

type newAPIPage struct{ Form form }

func (p *Portal) showNewAPI(rq *request) error {
	return p.newAPI(rq, nil, form{Fields: apiFields})
}

func (p *Portal) newAPI(rq *request, cause error, f form) error {
	var err error
	if f.Once, err = p.once(rq); err != nil {
		return err
	}
	return p.write(rq, formStatus(cause), "api_new", page{
		Title: "Create an API", Nav: "apis", Crumbs: p.crumbs("APIs", "apis"), Data: newAPIPage{f},
	})
}

func (p *Portal) createAPI(rq *request) error {
	f := p.sent(rq, apiFields)
	err := p.spend(rq)
	var made appaccess.API
	if err == nil {
		made, err = p.service.CreateAPI(rq.Context(), rq.actor, appaccess.APIRequest{
			ID: f.Get("id"), Name: f.Get("name"), Path: f.Get("path"), Description: f.Get("description"), ServiceURL: f.Get("serviceUrl"),
			AllowEncodedSlash: f.Has("allowEncodedSlash", "yes"), KeyHeader: f.Get("keyHeader"), KeyQuery: f.Get("keyQuery"),
		})
	}
	if p.refuse(rq, &f, err) {
		return p.newAPI(rq, err, f)
	}
	return p.done(rq, err, "API created. Assign it to a product to give access to it.", p.path("apis", made.ID), nil)
}

type apiPage struct {
	Form form
	API  appaccess.API
}

// apiVersion reads an API as its form shows it.
func (p *Portal) apiVersion(rq *request) (appaccess.API, version, error) {
	id := rq.PathValue("api")
	rev, err := p.service.Revision(rq.Context(), rq.actor, appaccess.KindAPI, id)
	if err != nil {
		return appaccess.API{}, version{}, err
	}
	one, err := p.service.API(rq.Context(), rq.actor, id)
	values := url.Values{
		"name": {one.Name}, "path": {one.Path}, "description": {one.Description}, "serviceUrl": {one.ServiceURL},
		"keyHeader": {one.KeyHeader}, "keyQuery": {one.KeyQuery},
	}
	if one.AllowEncodedSlash {
		values.Set("allowEncodedSlash", "yes")
	}
	return one, version{rev, values}, err
}

func (p *Portal) showAPI(rq *request) error { return p.api(rq, nil, form{Fields: apiFields}) }

func (p *Portal) api(rq *request, cause error, f form) error {
	one, now, err := p.apiVersion(rq)
	if err != nil {
		return err
	}
	if err := p.based(rq, &f, now); err != nil {
		return err
	}
	return p.write(rq, formStatus(cause), "api", page{
		Title: one.Name, Nav: "apis", Crumbs: p.crumbs("APIs", "apis"), Data: apiPage{f, one},
	})
}

func (p *Portal) saveAPI(rq *request) error {
	f := p.sent(rq, apiFields)
	name, path, description, service := f.Get("name"), f.Get("path"), f.Get("description"), f.Get("serviceUrl")
	slashes, header, query := f.Has("allowEncodedSlash", "yes"), f.Get("keyHeader"), f.Get("keyQuery")
	f.set("allowEncodedSlash") // a box that is not ticked is not sent: keep it so if the form is shown again
	err := p.revise(rq, &f, func() (version, error) {
		_, now, err := p.apiVersion(rq)
		return now, err
	}, func(rev appaccess.Revision) error {
		_, err := p.service.UpdateAPI(rq.Context(), rq.actor, rq.PathValue("api"), appaccess.APIUpdate{
			Name: &name, Path: &path, Description: &description, ServiceURL: &service, AllowEncodedSlash: &slashes, KeyHeader: &header, KeyQuery: &query, Revision: rev,
		})
		return err
	})
	if p.refuse(rq, &f, err) {
		return p.api(rq, err, f)
	}
	return p.done(rq, err, "Saved.", p.path("apis", rq.PathValue("api")), nil)
}

func (p *Portal) deleteAPI(rq *request) (operation, error) {
	one, err := p.service.API(rq.Context(), rq.actor, rq.PathValue("api"))
	if err != nil {
		return operation{}, err
	}
	back := p.path("apis", one.ID)
	subs, err := p.service.Subscriptions(rq.Context(), rq.actor, appaccess.SubscriptionFilter{
		Filter: appaccess.Filter{Limit: maxChoices}, Scope: appaccess.APIScope(one.ID),
	})
	if err != nil {
		return operation{}, err
	}
	op := operation{
		Title: "Delete " + one.Name, Nav: "apis", Crumbs: append(p.crumbs("APIs", "apis"), link{one.Name, back}),
		Text:  "Gates no longer know requests below " + one.Path + ". An API that is in a product or has subscriptions cannot be deleted.",
		Label: "Delete API", Back: back, To: p.path("apis"), Done: "API deleted.",
		Do: func(bool) error { return p.service.DeleteAPI(rq.Context(), rq.actor, one.ID) },
	}
	p.addSubscriptions(rq, &op.Affected, subs.Items)
	return op, nil
}
