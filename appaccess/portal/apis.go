package portal

import (
	"errors"
	"net/http"

	"github.com/entragate/entragate/appaccess"
)

var apiFields = []string{"name", "id", "path", "description", "serviceUrl"}

func (p *Portal) apiList(rq *request) error {
	found, err := p.service.APIs(rq.Context(), rq.actor, filter(rq))
	if err != nil {
		return err
	}
	list := listed(rq, found, same[appaccess.API])
	list.Placeholder = "Name or ID of an API"
	return p.show(rq, "apis", page{Title: "APIs", Nav: "apis", Data: list, Lead: "Sets of routes below one path. Products group them."})
}

type apiForm struct {
	Form form
	New  bool
	API  appaccess.API
	Back string
}

func (p *Portal) apiNew(rq *request) error { return p.apiNewPage(rq, http.StatusOK, form{}) }

func (p *Portal) apiNewPage(rq *request, status int, f form) error {
	return p.write(rq, status, "api", page{
		Title: "Create an API", Nav: "apis", Crumbs: p.crumbs("APIs", "apis"),
		Data: apiForm{Form: f, New: true, Back: p.path("apis")},
	})
}

func (p *Portal) apiCreate(rq *request) error {
	f := form{Values: rq.PostForm}
	made, err := p.service.CreateAPI(rq.Context(), rq.actor, appaccess.APIRequest{
		ID: f.Get("id"), Name: f.Get("name"), Path: f.Get("path"), Description: f.Get("description"), ServiceURL: f.Get("serviceUrl"),
	})
	if f.refuse(err, apiFields...) {
		return p.apiNewPage(rq, appaccess.Status(err), f)
	}
	return p.done(rq, err, "API created. Assign it to a product to give access to it.", p.path("apis", made.ID))
}

func (p *Portal) apiDetails(rq *request) error { return p.apiPage(rq, http.StatusOK, form{}) }

func (p *Portal) apiPage(rq *request, status int, f form) error {
	one, err := p.service.API(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	if f.Values == nil {
		f.Values = map[string][]string{"name": {one.Name}, "path": {one.Path}, "description": {one.Description}, "serviceUrl": {one.ServiceURL}}
	}
	return p.write(rq, status, "api", page{
		Title: one.Name, Nav: "apis", Crumbs: p.crumbs("APIs", "apis"), Data: apiForm{Form: f, API: one, Back: p.path("apis")},
	})
}

func (p *Portal) apiSave(rq *request) error {
	id, f := rq.PathValue("id"), form{Values: rq.PostForm}
	name, path, description, service := f.Get("name"), f.Get("path"), f.Get("description"), f.Get("serviceUrl")
	_, err := p.service.UpdateAPI(rq.Context(), rq.actor, id, appaccess.APIUpdate{Name: &name, Path: &path, Description: &description, ServiceURL: &service})
	if f.refuse(err, apiFields...) {
		return p.apiPage(rq, appaccess.Status(err), f)
	}
	return p.done(rq, err, "Saved.", p.path("apis", id))
}

func (p *Portal) apiDelete(rq *request) error { return p.apiDeletePage(rq, http.StatusOK, "") }

func (p *Portal) apiDeletePage(rq *request, status int, wrong string) error {
	one, err := p.service.API(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	back := p.path("apis", one.ID)
	return p.write(rq, status, "confirm", page{
		Title: "Delete " + one.Name, Nav: "apis", Crumbs: append(p.crumbs("APIs", "apis"), link{one.Name, back}),
		Data: confirm{Text: "Requests below " + one.Path + " are then no longer known to any gate.", Label: "Delete API", Back: back, Wrong: wrong},
	})
}

func (p *Portal) apiDeleted(rq *request) error {
	err := p.service.DeleteAPI(rq.Context(), rq.actor, rq.PathValue("id"))
	var conflict *appaccess.ConflictError
	if errors.As(err, &conflict) {
		return p.apiDeletePage(rq, http.StatusConflict, sentence(conflict.Error()))
	}
	return p.done(rq, err, "API deleted.", p.path("apis"))
}
