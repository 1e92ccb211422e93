package apim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/cloud"
)

func (p *Plan) planProducts() {
	for i := range p.instance.Products {
		v := &p.instance.Products[i]
		if !p.leftOut("products/" + v.ID) {
			p.addProduct(v)
		}
	}
	byID(p.document.Products, func(v *appaccess.DocumentProduct) string { return v.ID })
	p.openAndProtected()
}

func (p *Plan) addProduct(v *Product) {
	where := "products/" + v.ID
	product := p.products.assign(v.ID)
	d := appaccess.DocumentProduct{
		ID: product, Name: p.products.unused(plainName(v.Name, v.ID), product), Description: plainText(v.Description, maxDescription),
		Published: v.Published, Access: appaccess.Access{Token: v.token(), Key: v.key()},
	}
	for _, id := range v.APIs {
		if strings.Contains(id, ";rev=") {
			continue // only the current revision is carried
		}
		if api, ok := p.apiID(id); ok && !slices.Contains(d.APIs, api) {
			d.APIs = append(d.APIs, api)
		}
	}
	slices.Sort(d.APIs)
	p.openProduct(v)
	if v.token() {
		d.Adopt = p.adopt(where, v.ApplicationID, "")
		p.audience(v, where)
	}
	p.document.Products = append(p.document.Products, d)
	p.productTerms(v, where)
}

// openProduct asks before a product is opened that may accept tokens only: the
// stable version of the interface shows both alike.
func (p *Plan) openProduct(v *Product) {
	where := "products/" + v.ID
	if why, missing := p.instance.Missing[KindPreview]; missing && v.open() {
		p.find(Opens, "open-product", where,
			"asks for no key; whether it asks for tokens could not be read ("+why+")",
			"would be open to everyone", "make sure that the product is open today, or leave it out")
		return
	}
	if v.open() {
		p.find(Info, "open-product", where, "calls without a credential pass", "calls without a credential pass",
			"nothing, unless that was a mistake")
	}
}

func (p *Plan) audience(v *Product, where string) {
	if strings.HasPrefix(v.Audience, "api://") {
		p.find(Breaks, "token-version", where, "tokens carry the audience "+v.Audience+", which version 1 tokens have",
			"tokens carry the application ID alone once the application issues version 2 tokens",
			"let the gate accept both audiences before the application is adopted")
	}
}

func (p *Plan) productTerms(v *Product, where string) {
	if v.ApprovalRequired || v.Limit >= 0 {
		p.find(Info, "subscribing", where, "limits new subscriptions: "+limits(v), "existing subscriptions are carried; the rule for new ones is not",
			"set how developers may subscribe, in the portal")
	}
	if v.Terms {
		p.find(Info, "terms", where, "shows terms of use", "the text is not carried", "show it in the portal's footer")
	}
	if len(v.Groups) > 0 {
		p.find(Info, "groups", where, "is visible to groups "+strings.Join(v.Groups, ", "),
			"every user sees published products", "leave the product unpublished if it must stay hidden")
	}
}

func limits(v *Product) string {
	var parts []string
	if v.ApprovalRequired {
		parts = append(parts, "approval")
	}
	if v.Limit >= 0 {
		parts = append(parts, fmt.Sprintf("at most %d a user", v.Limit))
	}
	return strings.Join(parts, ", ")
}

// openAndProtected reports APIs that an open product opens today although
// another product protects them: entragate then asks for a credential.
func (p *Plan) openAndProtected() {
	for _, a := range p.document.APIs {
		var open, protected []string
		for _, v := range p.document.Products {
			if !slices.Contains(v.APIs, a.ID) {
				continue
			}
			if v.Access.Open() {
				open = append(open, v.ID)
			} else {
				protected = append(protected, v.ID)
			}
		}
		if len(open) > 0 && len(protected) > 0 {
			p.find(Breaks, "open-and-protected", "apis/"+a.ID,
				fmt.Sprintf("calls without a credential pass by product %s", strings.Join(open, ", ")),
				fmt.Sprintf("calls need a credential, because product %s protects the API, too", strings.Join(protected, ", ")),
				"take the API out of one of the products")
		}
	}
}

// planLooseAPIs makes a product for each API that is in none, because
// entragate's keys reach an API through a product only.
func (p *Plan) planLooseAPIs() {
	for i := range p.instance.APIs {
		a := &p.instance.APIs[i]
		id, ok := p.apis.get(a.ID)
		if !ok || !a.Current || p.grouped(id) {
			continue
		}
		product := p.products.assign("api-" + a.ID)
		p.document.Products = append(p.document.Products, appaccess.DocumentProduct{
			ID: product, Name: p.products.unused(plainText(plainName(a.Name, a.ID)+" (API without a product)", maxName), product),
			Access: appaccess.Access{Key: true}, APIs: []string{id},
		})
		p.find(Info, "product-made", "apis/"+a.ID, "is in no product; keys of the API and of all APIs reach it",
			"gets an unpublished product of its own that accepts keys", "nothing")
	}
	byID(p.document.Products, func(v *appaccess.DocumentProduct) string { return v.ID })
}

func (p *Plan) grouped(api string) bool {
	return slices.ContainsFunc(p.document.Products, func(v appaccess.DocumentProduct) bool { return slices.Contains(v.APIs, api) })
}

// adopt is the client ID of the Entra application that an object takes over, or
// empty where that cannot be. tenant is empty if the object does not say.
func (p *Plan) adopt(where, appID, tenant string) string {
	appID = strings.ToLower(appID)
	if tenant == "" {
		tenant = p.instance.TenantID
	}
	switch {
	case appID == "":
		p.find(Breaks, "adopt", where, "accepts tokens, but its application in Entra is not known",
			"gets a new application in Entra: callers must ask for another scope", "name the application's client ID in the document")
	case !cloud.IsGUID(appID):
		p.find(Breaks, "adopt", where, "names the application "+appID+", which is not a client ID",
			"gets a new application in Entra", "name the application's client ID in the document")
	case p.options.TenantID == "":
		p.find(Breaks, "adopt", where, "has the application "+appID+" in Entra",
			"gets a new application with new IDs and secrets", "plan with the tenant's ID, so that the application is adopted")
	case !strings.EqualFold(tenant, p.options.TenantID):
		p.find(Breaks, "adopt", where, "has the application "+appID+" in tenant "+tenant,
			"cannot be adopted by a Service of tenant "+p.options.TenantID, "run the Service in that tenant")
	default:
		return appID
	}
	return ""
}
