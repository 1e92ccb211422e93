package portal

import (
	"errors"
	"net/http"
	"slices"

	"github.com/entragate/entragate/appaccess"
)

func (p *Portal) productList(rq *request) error {
	found, err := p.service.Products(rq.Context(), rq.actor, filter(rq))
	if err != nil {
		return err
	}
	list := listed(rq, found, same[appaccess.Product])
	list.Placeholder = "Name or ID of a product"
	return p.show(rq, "products", page{
		Title: "Products", Nav: "products", Data: list,
		Lead: "A product groups APIs under one way of access. Client applications are granted products.",
	})
}

// productForm is the page that creates a product.
type productForm struct {
	Form form
	APIs []choice
}

var productFields = []string{"name", "id", "description", "access", "apis"}

func (p *Portal) productNew(rq *request) error {
	return p.productFormPage(rq, http.StatusOK, form{Values: map[string][]string{"access": {"token"}, "published": {"yes"}}})
}

func (p *Portal) productFormPage(rq *request, status int, f form) error {
	apis, err := p.apiChoices(rq, func(appaccess.API) bool { return true })
	if err != nil {
		return err
	}
	return p.write(rq, status, "product_new", page{
		Title: "Create a product", Nav: "products", Crumbs: p.crumbs("Products", "products"),
		Data: productForm{Form: f, APIs: apis},
	})
}

func (p *Portal) productCreate(rq *request) error {
	f := form{Values: rq.PostForm}
	access, err := accessOf(f)
	var made appaccess.Product
	if err == nil {
		made, err = p.service.CreateProduct(rq.Context(), rq.actor, appaccess.ProductRequest{
			ID: f.Get("id"), Name: f.Get("name"), Description: f.Get("description"),
			Access: access, APIs: f.Values["apis"], Published: f.Has("published", "yes"),
		})
	}
	if f.refuse(err, productFields...) {
		return p.productFormPage(rq, appaccess.Status(err), f)
	}
	return p.done(rq, err, "Product created.", p.path("products", made.ID))
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

// crumbs is the way to a page: pairs of text and address below the prefix.
func (p *Portal) crumbs(text string, segments ...string) []link {
	return []link{{Text: text, URL: p.path(segments...)}}
}

// product reads the product of the address and makes the page's frame.
func (p *Portal) product(rq *request, tab string) (appaccess.Product, page, error) {
	one, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	at := func(s ...string) string { return p.path(append([]string{"products", one.ID}, s...)...) }
	return one, page{
		Title: one.Name, Lead: one.Description, Nav: "products", Crumbs: p.crumbs("Products", "products"), Tab: tab,
		Tabs: []link{
			{"Overview", at()}, {"Properties", at("properties")}, {"APIs", at("apis")},
			{"Applications", at("applications")}, {"Review in Entra", at("review")},
		},
	}, err
}

type productData struct {
	Product   appaccess.Product
	Readiness appaccess.Readiness
	Form      form
	Ask       string // what Save would end; empty: nothing
	APIs      []appaccess.API
	Choices   []choice
	Linked    listing[appaccess.ClientApplication]
	Names     map[string]string
	Review    *appaccess.ProductReview
	Trouble   string
	Audit     []appaccess.AuditRecord
}

func (p *Portal) productOverview(rq *request) error {
	one, pg, err := p.product(rq, "Overview")
	if err != nil {
		return err
	}
	data := productData{Product: one}
	if data.Readiness, err = p.service.Readiness(rq.Context(), rq.actor, one.ID); err != nil {
		return err
	}
	if data.APIs, err = p.apisOf(rq, one); err != nil {
		return err
	}
	trail, err := p.service.Audit(rq.Context(), rq.actor, appaccess.AuditFilter{Object: "product/" + one.ID, Limit: 6})
	if err != nil {
		return err
	}
	data.Audit = trail.Items
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

func (p *Portal) productState(rq *request) error {
	id := rq.PathValue("id")
	var err error
	var text string
	switch rq.PostForm.Get("do") {
	case "publish":
		_, err = p.service.PublishProduct(rq.Context(), rq.actor, id)
		text = "Published: developers see the product."
	case "unpublish":
		_, err = p.service.UnpublishProduct(rq.Context(), rq.actor, id)
		text = "No longer published. Existing access goes on."
	case "suspend":
		_, err = p.service.SuspendProduct(rq.Context(), rq.actor, id)
		text = "Suspended: the product's traffic has ended."
	case "resume":
		_, err = p.service.ResumeProduct(rq.Context(), rq.actor, id)
		text = "Resumed: the product's traffic flows again."
	default:
		err = errUnknownAction
	}
	return p.done(rq, err, text, p.path("products", id))
}

var errUnknownAction = &appaccess.InvalidError{Field: "do", Rule: "is no action of this page"}

func (p *Portal) productProperties(rq *request) error {
	one, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	values := map[string][]string{"name": {one.Name}, "description": {one.Description}}
	if one.Access.Token {
		values["access"] = append(values["access"], "token")
	}
	if one.Access.Key {
		values["access"] = append(values["access"], "key")
	}
	if one.Access.Open() {
		values["access"] = []string{"open"}
	}
	return p.productPropertiesPage(rq, http.StatusOK, form{Values: values}, "")
}

func (p *Portal) productPropertiesPage(rq *request, status int, f form, ask string) error {
	one, pg, err := p.product(rq, "Properties")
	if err != nil {
		return err
	}
	pg.Data = productData{Product: one, Form: f, Ask: ask}
	return p.write(rq, status, "product_properties", pg)
}

// productSave changes what differs. What would cut callers off asks first.
func (p *Portal) productSave(rq *request) error {
	id, f := rq.PathValue("id"), form{Values: rq.PostForm}
	name, description := f.Get("name"), f.Get("description")
	access, err := accessOf(f)
	saved := false
	if err == nil {
		_, err = p.service.UpdateProduct(rq.Context(), rq.actor, id, appaccess.ProductUpdate{Name: &name, Description: &description})
		saved = err == nil || isProvision(err)
	}
	if saved {
		_, err = p.service.SetAccess(rq.Context(), rq.actor, id, appaccess.AccessRequest{Access: access, Force: f.Has("force", "yes")})
	}
	var conflict *appaccess.ConflictError
	if errors.As(err, &conflict) && len(conflict.Objects) > 0 {
		return p.productPropertiesPage(rq, http.StatusConflict, f, sentence(conflict.Error()))
	}
	if f.refuse(err, productFields...) {
		if saved && f.Other == "" {
			f.Other = "Name and description are saved. The access is as it was: please look at the marked fields."
		}
		return p.productPropertiesPage(rq, appaccess.Status(err), f, "")
	}
	return p.done(rq, err, "Saved.", p.path("products", id, "properties"))
}

func isProvision(err error) bool {
	var lagging *appaccess.ProvisionError
	return errors.As(err, &lagging)
}

func (p *Portal) productAPIs(rq *request) error {
	one, pg, err := p.product(rq, "APIs")
	if err != nil {
		return err
	}
	data := productData{Product: one}
	if data.APIs, err = p.apisOf(rq, one); err != nil {
		return err
	}
	data.Choices, err = p.apiChoices(rq, func(a appaccess.API) bool { return !one.HasAPI(a.ID) })
	pg.Data = data
	if err != nil {
		return err
	}
	return p.show(rq, "product_apis", pg)
}

func (p *Portal) productAssign(rq *request) error {
	id, text := rq.PathValue("id"), "APIs assigned."
	var err error
	if remove := rq.PostForm.Get("remove"); remove != "" {
		text = "API taken out of the product."
		_, err = p.service.UnassignAPIs(rq.Context(), rq.actor, id, []string{remove})
	} else {
		_, err = p.service.AssignAPIs(rq.Context(), rq.actor, id, rq.PostForm["apis"])
	}
	return p.done(rq, err, text, p.path("products", id, "apis"))
}

func (p *Portal) productApplications(rq *request) error {
	one, pg, err := p.product(rq, "Applications")
	if err != nil {
		return err
	}
	found, err := p.service.GrantedApplications(rq.Context(), rq.actor, one.ID, filter(rq))
	if err != nil {
		return err
	}
	data := productData{Product: one, Linked: listed(rq, found, same[appaccess.ClientApplication])}
	var owners []string
	for _, a := range found.Items {
		owners = append(owners, a.OwnerID)
	}
	data.Names = p.userNames(rq, owners...)
	all, err := p.service.Applications(rq.Context(), rq.actor, appaccess.Filter{Limit: maxChoices})
	if err != nil {
		return err
	}
	for _, a := range all.Items {
		if !slices.Contains(a.Products, one.ID) {
			data.Choices = append(data.Choices, choice{ID: a.ID, Name: a.Name})
		}
	}
	pg.Data = data
	return p.show(rq, "product_applications", pg)
}

func (p *Portal) productLink(rq *request) error {
	id, text := rq.PathValue("id"), "Application linked: it may now ask for tokens for this product."
	var err error
	if remove := rq.PostForm.Get("remove"); remove != "" {
		text = "Grant removed: the application's access to this product has ended."
		err = p.service.RevokeApplications(rq.Context(), rq.actor, id, []string{remove})
	} else {
		err = p.service.GrantApplications(rq.Context(), rq.actor, id, rq.PostForm["application"])
	}
	return p.done(rq, err, text, p.path("products", id, "applications"))
}

func (p *Portal) productReview(rq *request) error {
	one, pg, err := p.product(rq, "Review in Entra")
	if err != nil {
		return err
	}
	data := productData{Product: one}
	if one.Entra.AppID != "" {
		found, err := p.service.Review(rq.Context(), rq.actor, []string{one.ID}, nil)
		if err != nil {
			data.Trouble = p.trouble(rq, err)
		} else if len(found.Products) > 0 {
			data.Review = &found.Products[0]
		}
	}
	pg.Data = data
	return p.show(rq, "product_review", pg)
}

// trouble is what a manager reads when Entra does not answer a page that can
// be shown without it.
func (p *Portal) trouble(rq *request, err error) string {
	p.log.WarnContext(rq.Context(), "portal: entra does not answer", "error", err)
	return err.Error()
}

func (p *Portal) productDelete(rq *request) error {
	return p.productDeletePage(rq, http.StatusOK, "", "")
}

func (p *Portal) productDeletePage(rq *request, status int, wrong, force string) error {
	one, pg, err := p.product(rq, "")
	if err != nil {
		return err
	}
	pg.Crumbs = append(pg.Crumbs, link{one.Name, p.path("products", one.ID)})
	pg.Title, pg.Tabs, pg.Lead = "Delete "+one.Name, nil, ""
	pg.Data = confirm{
		Text:  "The product's access ends at once. After that its application is removed from Microsoft Entra ID, where it can be restored for 30 days.",
		Label: "Delete product", Back: p.path("products", one.ID), Wrong: wrong, Force: force,
	}
	return p.write(rq, status, "confirm", pg)
}

func (p *Portal) productDeleted(rq *request) error {
	err := p.service.DeleteProduct(rq.Context(), rq.actor, rq.PathValue("id"), rq.PostForm.Get("force") == "yes")
	var conflict *appaccess.ConflictError
	if errors.As(err, &conflict) {
		return p.productDeletePage(rq, http.StatusConflict, sentence(conflict.Error()), "Delete it all the same, with its grants and subscriptions")
	}
	return p.done(rq, err, "Product deleted.", p.path("products"))
}
