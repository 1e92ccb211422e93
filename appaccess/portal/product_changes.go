package portal

import (
	"errors"
	"net/url"

	"github.com/entragate/entragate/appaccess"
)

type productPropertiesPage struct {
	forceQuestion
	Product appaccess.Product
	Form    form
	Planned *planned
}

// forceQuestion is what a form of a product asks before it revokes access that is in
// use.
type forceQuestion struct {
	Ask      string // whose access Save would revoke; empty: nobody's
	Affected callers
}

// forceable reports whether a form was refused because it would revoke access that
// is in use: force overrides it.
func forceable(err error) bool {
	var conflict *appaccess.ConflictError
	return errors.As(err, &conflict) && len(conflict.Objects) > 0 && conflict.Field != "name" && conflict.Field != appaccess.RevisionField
}

// question makes the question about a form that was refused.
func (p *Portal) question(rq *request, cause error, product string) (forceQuestion, error) {
	var conflict *appaccess.ConflictError
	if !forceable(cause) || !errors.As(cause, &conflict) {
		return forceQuestion{}, nil
	}
	affected, err := p.productCallers(rq, product)
	return forceQuestion{p.sentence(rq, conflict), affected}, err
}

func (p *Portal) productVersion(rq *request) (appaccess.Product, version, error) {
	id := rq.PathValue("id")
	rev, err := p.service.Revision(rq.Context(), rq.actor, appaccess.KindProduct, id)
	if err != nil {
		return appaccess.Product{}, version{}, err
	}
	one, err := p.service.Product(rq.Context(), rq.actor, id)
	return one, version{rev, url.Values{"name": {one.Name}, "description": {one.Description}, "access": accessValues(one.Access)}}, err
}

func (p *Portal) showProductProperties(rq *request) error {
	return p.productProperties(rq, nil, form{Fields: productFields}, nil)
}

func (p *Portal) productProperties(rq *request, cause error, f form, plan *planned) error {
	one, now, err := p.productVersion(rq)
	if err != nil {
		return err
	}
	if f.Values != nil && f.Values["access"] == nil {
		f.Values["access"] = []string{} // nothing was chosen, and the form shows it
	}
	if err := p.based(rq, &f, now); err != nil {
		return err
	}
	data := productPropertiesPage{Product: one, Form: f, Planned: plan}
	if data.forceQuestion, err = p.question(rq, cause, one.ID); err != nil {
		return err
	}
	pg := p.productHead(one, "Properties")
	pg.Data = data
	return p.write(rq, formStatus(cause), "product_properties", pg)
}

// saveProduct changes what differs. What would revoke access asks first.
func (p *Portal) saveProduct(rq *request) error {
	f := p.sent(rq, productFields)
	name, description := f.Get("name"), f.Get("description")
	access, accessErr := accessOf(f)
	if accessErr != nil {
		f.Values["access"] = nil
		p.refuse(rq, &f, accessErr)
		return p.productProperties(rq, accessErr, f, nil)
	}
	req := appaccess.AccessRequest{Access: access, Adopt: f.Get("adopt"), AdoptChanges: adoptChanges(f), Force: f.Has("force", "yes")}
	plan, planErr := planFirst(f, func() (appaccess.Plan, error) {
		return p.service.PlanAccess(rq.Context(), rq.actor, rq.PathValue("id"), req)
	})
	if plan != nil || p.refuse(rq, &f, planErr) {
		return p.productProperties(rq, planErr, f, plan)
	}
	if planErr != nil {
		return planErr
	}
	saved := false
	err := p.revise(rq, &f, func() (version, error) {
		_, now, err := p.productVersion(rq)
		return now, err
	}, func(rev appaccess.Revision) error {
		id := rq.PathValue("id")
		before, err := p.service.Product(rq.Context(), rq.actor, id)
		if err != nil {
			return err
		}
		if before.Name != name || before.Description != description {
			_, err = p.service.UpdateProduct(rq.Context(), rq.actor, id, appaccess.ProductUpdate{Name: &name, Description: &description, Revision: rev})
			if saved = err == nil || isProvision(err); !saved {
				return err
			}
			// The product has a new revision, which is ours only if its access is
			// still the one that the form showed.
			now, v, err := p.productVersion(rq)
			if err != nil {
				return err
			}
			if now.Access != before.Access {
				f.Stale = f.differences(nil, url.Values{"access": accessValues(now.Access)})
				return errStale
			}
			rev = v.Revision
		}
		req.Revision = rev
		_, err = p.service.SetAccess(rq.Context(), rq.actor, id, req)
		return err
	})
	if forceable(err) {
		return p.productProperties(rq, err, f, nil)
	}
	if p.refuse(rq, &f, err) {
		if saved && f.Other == "" {
			f.Other = "Name and description are saved. The access is as it was: please look at the marked fields."
		}
		return p.productProperties(rq, err, f, nil)
	}
	return p.done(rq, err, "Saved.", p.path("products", rq.PathValue("id"), "properties"), nil)
}

func isProvision(err error) bool {
	var lagging *appaccess.ProvisionError
	return errors.As(err, &lagging)
}

// productOperation is the frame of what is done to a product and revokes the
// access of its callers.
func (p *Portal) productOperation(rq *request, one appaccess.Product) (operation, error) {
	back := p.path("products", one.ID)
	affected, err := p.productCallers(rq, one.ID)
	return operation{Nav: "products", Crumbs: append(p.crumbs("Products", "products"), link{one.Name, back}), Affected: affected, Back: back}, err
}

// productState makes an operation that changes a product's state.
func (p *Portal) productState(rq *request, fill func(*operation, appaccess.Product), do func(id string) (appaccess.Product, error), back string) (operation, error) {
	one, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return operation{}, err
	}
	op, err := p.productOperation(rq, one)
	fill(&op, one)
	op.Undo = &undo{Path: p.path("products", one.ID, back)}
	op.Do = func(bool) error {
		_, err := do(one.ID)
		return err
	}
	return op, err
}

func (p *Portal) publishProduct(rq *request) (operation, error) {
	return p.productState(rq, func(op *operation, one appaccess.Product) {
		op.Title, op.Label, op.Safe, op.Affected = "Publish "+one.Name, "Publish", true, callers{}
		op.Text, op.Done = "Developers see the product, and applications can be granted it.", "Published: developers see the product."
	}, func(id string) (appaccess.Product, error) {
		return p.service.PublishProduct(rq.Context(), rq.actor, id)
	}, "unpublish")
}

func (p *Portal) unpublishProduct(rq *request) (operation, error) {
	return p.productState(rq, func(op *operation, one appaccess.Product) {
		op.Title, op.Label, op.Safe, op.Affected = "Unpublish "+one.Name, "Unpublish", true, callers{}
		op.Text, op.Done = "Developers no longer see the product. Existing access goes on.", "No longer published. Existing access goes on."
	}, func(id string) (appaccess.Product, error) {
		return p.service.UnpublishProduct(rq.Context(), rq.actor, id)
	}, "publish")
}

func (p *Portal) suspendProduct(rq *request) (operation, error) {
	return p.productState(rq, func(op *operation, one appaccess.Product) {
		op.Title, op.Label = "Suspend "+one.Name, "Suspend"
		op.Text, op.Done = "Every gate refuses the product's callers at once. Grants and subscriptions stay for when it is resumed.", "Suspended: every gate refuses the product's callers."
	}, func(id string) (appaccess.Product, error) {
		return p.service.SuspendProduct(rq.Context(), rq.actor, id)
	}, "resume")
}

func (p *Portal) resumeProduct(rq *request) (operation, error) {
	return p.productState(rq, func(op *operation, one appaccess.Product) {
		op.Title, op.Label, op.Safe = "Resume "+one.Name, "Resume", true
		op.Text, op.Done = "The product's callers have access again.", "Resumed: the product's callers have access again."
	}, func(id string) (appaccess.Product, error) {
		return p.service.ResumeProduct(rq.Context(), rq.actor, id)
	}, "suspend")
}

func (p *Portal) deleteProduct(rq *request) (operation, error) {
	one, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return operation{}, err
	}
	op, err := p.productOperation(rq, one)
	op.Title, op.Label, op.To, op.Done = "Delete "+one.Name, "Delete product", p.path("products"), "Product deleted."
	op.Text = "The product's access is revoked at once. After that its application is removed from Microsoft Entra ID, where it can be restored for 30 days. To stop access for a while only, suspend it instead."
	op.Force = "Delete it all the same, with its grants and subscriptions"
	op.Do = func(force bool) error { return p.service.DeleteProduct(rq.Context(), rq.actor, one.ID, force) }
	return op, err
}
