package portal

import (
	"net/url"

	"github.com/entragate/entragate/appaccess"
)

// applicationOperation is the frame of what is done to an application.
func (p *Portal) applicationOperation(rq *request) (appaccess.ClientApplication, operation, error) {
	one, err := p.service.Application(rq.Context(), rq.actor, rq.PathValue("application"))
	if err != nil {
		return one, operation{}, err
	}
	op := operation{Nav: rq.nav("applications"), Crumbs: append(p.applicationCrumbs(rq), link{one.Name, p.applicationPath(rq, one.ID)}), Back: p.applicationPath(rq, one.ID)}
	op.Affected.add(p.applicationCaller(rq, one))
	return one, op, nil
}

// nav is the entry of the menu that is current: the owner's lists are other
// entries than the manager's.
func (rq *request) nav(manager string) string {
	if rq.mine() {
		return map[string]string{"applications": "mine", "subscriptions": "mykeys"}[manager]
	}
	return manager
}

func (p *Portal) applicationCrumbs(rq *request) []link {
	text := "Applications"
	if rq.mine() && rq.user.Manager {
		text = "My applications"
	}
	return p.crumbs(text, rq.base("applications")...)
}

func (p *Portal) suspendApplication(rq *request) (operation, error) {
	one, op, err := p.applicationOperation(rq)
	op.Title, op.Label = "Suspend "+one.Name, "Suspend"
	op.Text, op.Done = "Every gate refuses the application at once. Its products and credentials stay for when it is resumed.", "Suspended: every gate refuses the application."
	op.Undo = &undo{Path: p.path("applications", one.ID, "resume")}
	op.Do = func(bool) error {
		_, err := p.service.SuspendApplication(rq.Context(), rq.actor, one.ID)
		return err
	}
	return op, err
}

func (p *Portal) resumeApplication(rq *request) (operation, error) {
	one, op, err := p.applicationOperation(rq)
	op.Title, op.Label, op.Safe = "Resume "+one.Name, "Resume", true
	op.Text, op.Done = "The application has access again.", "Resumed: the application has access again."
	op.Undo = &undo{Path: p.path("applications", one.ID, "suspend")}
	op.Do = func(bool) error {
		_, err := p.service.ResumeApplication(rq.Context(), rq.actor, one.ID)
		return err
	}
	return op, err
}

func (p *Portal) deleteApplication(rq *request) (operation, error) {
	one, op, err := p.applicationOperation(rq)
	op.Title, op.Label, op.To, op.Done = "Delete "+one.Name, "Delete application", p.path("applications"), "Application deleted."
	op.Text = "Its access to every product is revoked at once. After that its grants, secrets and application are removed from Microsoft Entra ID. Programs that use its client ID will be refused. To stop access for a while only, suspend it instead."
	op.Do = func(bool) error { return p.service.DeleteApplication(rq.Context(), rq.actor, one.ID) }
	return op, err
}

// revokeProduct takes a product from an application, from the page of either.
func (p *Portal) revokeProduct(rq *request) (operation, error) {
	one, op, err := p.applicationOperation(rq)
	if err != nil {
		return op, err
	}
	product, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return op, err
	}
	op.Title, op.Label = "Revoke "+product.Name+" from "+one.Name, "Revoke access"
	op.Text, op.Done = "Every gate refuses the application's requests to this product at once.", "Grant removed: the application has no access to the product any more."
	op.Back = p.path("applications", one.ID, "products")
	op.Undo = &undo{op.Back, url.Values{"grants": {product.ID}}}
	if pathStarts(rq, "/products/") {
		op.Nav, op.Crumbs = "products", append(p.crumbs("Products", "products"), link{product.Name, p.path("products", product.ID)})
		op.Back = p.path("products", product.ID, "applications")
		op.Undo = &undo{op.Back, url.Values{"applications": {one.ID}}}
	}
	op.Do = func(bool) error {
		_, err := p.service.RevokeProducts(rq.Context(), rq.actor, one.ID, []string{product.ID})
		return err
	}
	return op, nil
}

func pathStarts(rq *request, with string) bool {
	return len(rq.URL.Path) >= len(with) && rq.URL.Path[:len(with)] == with
}

func (p *Portal) removeCredential(rq *request) (operation, error) {
	one, op, err := p.applicationOperation(rq)
	if err != nil {
		return op, err
	}
	creds, err := p.service.Credentials(rq.Context(), rq.actor, one.ID)
	if err != nil {
		return op, err
	}
	for _, c := range creds {
		if c.ID != rq.PathValue("credential") {
			continue
		}
		name := credentialName(c)
		op.Title, op.Label = "Remove "+name, "Remove credential"
		op.Text = "Programs that use it get no new tokens. Tokens that were issued with it stay valid until they expire, at most about an hour."
		if len(creds) == 1 {
			op.Text += " It is the only credential: without it the application gets no tokens at all."
		}
		if !rq.mine() {
			op.Back = p.path("applications", one.ID, "credentials")
		}
		op.Done = "Credential removed. Tokens that were issued with it end with their own lifetime."
		op.Do = func(bool) error { return p.service.RemoveCredential(rq.Context(), rq.actor, one.ID, c.ID) }
		return op, nil
	}
	return op, appaccess.ErrNotFound
}

// credentialName is what people call a credential.
func credentialName(c appaccess.Credential) string {
	if c.Name != "" {
		return c.Name
	}
	return string(c.Kind)
}
