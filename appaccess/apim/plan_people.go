package apim

import (
	"net/mail"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/cloud"
)

func (p *Plan) planUsers() {
	if _, missing := p.instance.Missing[KindUser]; missing {
		return
	}
	p.document.Users = []appaccess.DocumentUser{}
	bound := map[string]string{}
	for i := range p.instance.Users {
		u := &p.instance.Users[i]
		where := "users/" + u.ID
		if p.leftOut(where) {
			continue
		}
		d := appaccess.DocumentUser{
			ID: p.users.assign(u.ID), Name: plainName(u.FirstName+" "+u.LastName, u.ID),
			Email: address(u.Email), Blocked: u.State != "active",
		}
		if u.State == "pending" || u.State == "deleted" {
			p.find(Info, "user-state", where, "is "+u.State, "is imported as blocked: the user's keys and applications give no access",
				"unblock the user if that is wrong")
		}
		d.TenantID, d.ObjectID = p.identity(u, where)
		if other, twice := bound[d.ObjectID]; twice && d.ObjectID != "" {
			p.find(Info, "user-identity", where, "has the same Entra account as users/"+other,
				"is not bound to the account", "merge the two users by hand")
			d.TenantID, d.ObjectID = "", ""
		}
		bound[d.ObjectID] = u.ID
		p.document.Users = append(p.document.Users, d)
	}
	byID(p.document.Users, func(u *appaccess.DocumentUser) string { return u.ID })
}

func address(s string) string {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || len(s) > 254 || strings.ContainsAny(s, " <>,;\"") {
		return ""
	}
	return s
}

// identity binds a user to the Entra account by which they sign in. An e-mail
// address identifies nobody.
func (p *Plan) identity(u *User, where string) (tenant, object string) {
	i := slices.IndexFunc(u.Identities, func(v Identity) bool { return v.Provider == "Aad" && cloud.IsGUID(v.ID) })
	if i < 0 {
		p.find(Info, "user-unbound", where, "signs in to the developer portal without an Entra account",
			"cannot sign in to the portal until bound to one", "bind the user to an Entra account when they ask")
		return "", ""
	}
	tenants := slices.DeleteFunc(slices.Clone(p.instance.UserTenants), func(t string) bool { return !cloud.IsGUID(t) })
	if len(tenants) != 1 || len(p.instance.UserTenants) != 1 {
		p.find(Info, "user-unbound", where, "signs in with an Entra account whose tenant is not certain",
			"cannot sign in to the portal until bound to one", "bind the user to their tenant and object ID")
		return "", ""
	}
	return strings.ToLower(tenants[0]), strings.ToLower(u.Identities[i].ID)
}

func (p *Plan) planApplications() {
	if _, missing := p.instance.Missing[KindApplication]; missing {
		return
	}
	p.document.Applications = []appaccess.DocumentApplication{}
	for i := range p.instance.Applications {
		a := &p.instance.Applications[i]
		if !p.leftOut("clientApplications/" + a.ID) {
			p.addApplication(a)
		}
	}
	byID(p.document.Applications, func(a *appaccess.DocumentApplication) string { return a.ID })
}

func (p *Plan) addApplication(a *Application) {
	where := "clientApplications/" + a.ID
	if a.State != "active" && a.State != "approved" {
		p.find(Info, "application-state", where, "is "+a.State, "is not imported", "let its owner ask again")
		return
	}
	owner, ok := p.users.get(a.OwnerID)
	if !ok {
		p.find(Breaks, "application-owner", where, "has the owner users/"+a.OwnerID+", who is not imported",
			"is not imported: an application needs an owner", "import the owner, or register the application for another")
		return
	}
	id := p.applications.assign(a.ID)
	d := appaccess.DocumentApplication{
		ID: id, Name: p.applications.unused(plainName(a.Name, a.ID), id), Description: plainText(a.Description, maxDescription),
		OwnerID: owner, Adopt: p.adopt(where, a.AppID, a.TenantID),
	}
	for _, id := range a.Products {
		v := p.instance.product(id)
		product, ok := p.products.get(id)
		if v == nil || !ok || !v.token() {
			p.find(Breaks, "application-product", where, "is granted products/"+id,
				"the grant is left out: the product is not imported with token access", "grant the product by hand")
			continue
		}
		d.Grants = append(d.Grants, appaccess.GrantsOfAll(product)...)
	}
	p.document.Applications = append(p.document.Applications, d)
}
