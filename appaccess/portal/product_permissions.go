package portal

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

var permissionFields = []formField{{"permissions", "Permissions"}, {"selfService", "What developers may do by themselves"}, {"perDeveloper", "At most for each developer"}}

// productPermissionsPage is where a manager says what of a product can be granted
// alone, and what developers may do by themselves.
type productPermissionsPage struct {
	forceQuestion
	Product appaccess.Product
	Form    form
}

// permissionLines are permissions as a form shows them: "Read: Reads orders."
func permissionLines(permissions []appaccess.Permission) string {
	var lines []string
	for _, one := range permissions {
		line := one.Name
		if one.Description != "" {
			line += ": " + one.Description
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// permissionsOf reads what a form shows.
func permissionsOf(text string) []appaccess.Permission {
	var out []appaccess.Permission
	for line := range strings.Lines(text) {
		name, description, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, appaccess.Permission{Name: name, Description: strings.TrimSpace(description)})
		}
	}
	return out
}

func (p *Portal) permissionsVersion(rq *request) (appaccess.Product, version, error) {
	one, now, err := p.productVersion(rq)
	now.Values = url.Values{
		"permissions": {permissionLines(one.Permissions)}, "selfService": {string(one.SelfService)}, "perDeveloper": {strconv.Itoa(one.PerDeveloper)},
	}
	return one, now, err
}

func (p *Portal) showProductPermissions(rq *request) error {
	return p.productPermissions(rq, nil, form{Fields: permissionFields})
}

func (p *Portal) productPermissions(rq *request, cause error, f form) error {
	one, now, err := p.permissionsVersion(rq)
	if err != nil {
		return err
	}
	if err := p.based(rq, &f, now); err != nil {
		return err
	}
	data := productPermissionsPage{Product: one, Form: f}
	if data.forceQuestion, err = p.question(rq, cause, one.ID); err != nil {
		return err
	}
	pg := p.productHead(one, "Permissions")
	pg.Data = data
	return p.write(rq, formStatus(cause), "product_permissions", pg)
}

// saveProductPermissions changes what differs.
func (p *Portal) saveProductPermissions(rq *request) error {
	f, id := p.sent(rq, permissionFields), rq.PathValue("id")
	per, err := strconv.Atoi(f.Get("perDeveloper"))
	if err != nil {
		err = &appaccess.InvalidError{Field: "perDeveloper", Rule: "must be a number; 0 for 10"}
	}
	if err == nil {
		err = p.revise(rq, &f, func() (version, error) {
			_, now, err := p.permissionsVersion(rq)
			return now, err
		}, func(rev appaccess.Revision) error {
			before, err := p.service.Product(rq.Context(), rq.actor, id)
			if err != nil {
				return err
			}
			permissions, self := permissionsOf(f.Get("permissions")), appaccess.SelfService(f.Get("selfService"))
			if permissionLines(permissions) != permissionLines(before.Permissions) {
				_, err = p.service.SetPermissions(rq.Context(), rq.actor, id, appaccess.PermissionsRequest{Permissions: permissions, Force: f.Has("force", "yes"), Revision: rev})
				if err != nil && !isProvision(err) {
					return err
				}
				rev = 0 // ours
			}
			lagging := err
			if self != before.SelfService || per != before.PerDeveloper {
				if _, err = p.service.UpdateProduct(rq.Context(), rq.actor, id, appaccess.ProductUpdate{SelfService: &self, PerDeveloper: &per, Revision: rev}); err != nil {
					return err
				}
			}
			return lagging
		})
	}
	if forceable(err) || p.refuse(rq, &f, err) {
		return p.productPermissions(rq, err, f)
	}
	return p.done(rq, err, "Saved.", p.path("products", id, "permissions"), nil)
}
