package portal

import (
	"net/url"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// myApplicationRow is an application in its owner's list.
type myApplicationRow struct {
	appaccess.ClientApplication
	Ends time.Time // the first of its credentials to end
	Mark string    // expires soon, expired
	None bool      // it has no credential
}

type myApplicationsPage struct{ listing[myApplicationRow] }

func (p *Portal) showMyApplications(rq *request) error {
	c, err := p.listControls(rq, listSpec{Placeholder: "Name or client ID", Sorts: sortsByName})
	if err != nil {
		return err
	}
	found, err := p.service.Applications(rq.Context(), rq.actor, c.filter)
	if err != nil {
		return err
	}
	var ids []string
	for _, a := range found.Items {
		ids = append(ids, a.ID)
	}
	creds, err := p.service.CredentialsOf(rq.Context(), portalActor, ids...)
	if err != nil {
		return err
	}
	var rows []myApplicationRow
	for _, a := range found.Items {
		row := myApplicationRow{ClientApplication: a, None: len(creds[a.ID]) == 0}
		for _, c := range creds[a.ID] {
			if end := lastUseOf(c); !end.IsZero() && (row.Ends.IsZero() || end.Before(row.Ends)) {
				row.Ends, row.Mark = end, expiring(c, p.now())
			}
		}
		rows = append(rows, row)
	}
	return p.show(rq, "my_applications", page{
		Title: "Applications", Nav: "mine", Lead: "The client applications that you own. Each calls the APIs of its products with an access token.",
		Data: myApplicationsPage{listed(rq, c, found, rows)},
	})
}

type myApplicationPage struct {
	Settings appaccess.ApplicationSettings
	Table    credentialTable
	Expiring []appaccess.Credential
	Replaced []appaccess.Credential // old secrets that still work beside a new one
	Snippets snippetPanel
	CanTry   bool
	Base     string
}

func (p *Portal) showMyApplication(rq *request) error {
	set, err := p.service.ApplicationSettings(rq.Context(), rq.actor, rq.PathValue("application"))
	if err != nil {
		return err
	}
	base := p.path("my", "applications", set.Application.ID)
	data := myApplicationPage{
		Settings: set, Base: base, Table: credentialTable{set.Credentials, base + "/credentials"},
		CanTry: p.try.enabled() && len(set.Products) > 0,
	}
	for _, c := range set.Credentials {
		switch {
		case !c.RemoveAfter.IsZero():
			data.Replaced = append(data.Replaced, c)
		case expiring(c, p.now()) != "":
			data.Expiring = append(data.Expiring, c)
		}
	}
	targets, err := p.targets(rq, set)
	if err != nil {
		return err
	}
	data.Snippets = newSnippetPanel(rq.URL.Query(), set, targets)
	return p.show(rq, "my_application", page{
		Title: set.Application.Name, Lead: set.Application.Description, Nav: "mine",
		Crumbs: p.applicationCrumbs(rq), Data: data,
	})
}

// target is an API of a product that an application is granted.
type target struct {
	Product appaccess.ProductSettings
	API     appaccess.API
	Address string // where callers reach it; empty: that is not known
	Key     bool   // the product accepts subscription keys, too
}

// Value names the target in forms.
func (t target) Value() string { return t.Product.ID + " " + t.API.ID }

// address is where callers reach an API.
func (p *Portal) address(api appaccess.API) string {
	if p.gateway == "" {
		return api.ServiceURL
	}
	return p.gateway + api.Path
}

// targets are the APIs that an application reaches. Its owner may know of them
// even if a product is no longer published, so they are read as a manager does;
// set says which they are, and was read as the owner.
func (p *Portal) targets(rq *request, set appaccess.ApplicationSettings) ([]target, error) {
	var out []target
	for _, granted := range set.Products {
		one, err := p.service.Product(rq.Context(), portalActor, granted.ID)
		if err != nil {
			return nil, err
		}
		for _, id := range one.APIs {
			api, err := p.service.API(rq.Context(), portalActor, id)
			if err != nil {
				return nil, err
			}
			out = append(out, target{granted, api, p.address(api), one.Access.Key})
		}
	}
	return out, nil
}

type mySubscriptionsPage struct{ listing[subscriptionRow] }

func (p *Portal) showMySubscriptions(rq *request) error {
	c, err := p.listControls(rq, listSpec{Placeholder: "Name or ID", States: subscriptionStates, Sorts: sortsByName})
	if err != nil {
		return err
	}
	found, err := p.service.Subscriptions(rq.Context(), rq.actor, subscriptionFilter(c.filter))
	if err != nil {
		return err
	}
	list, err := p.subscriptionListing(rq, c, found)
	if err != nil {
		return err
	}
	return p.show(rq, "my_subscriptions", page{
		Title: "Subscriptions", Nav: "mykeys", Data: mySubscriptionsPage{list},
		Lead: "Keys for products and APIs that accept them. A token is the safer way where there is a choice.",
	})
}

type mySubscriptionPage struct {
	Row    subscriptionRow
	Base   string
	Live   bool // may still be cancelled
	Header string
}

func (p *Portal) showMySubscription(rq *request) error {
	one, err := p.service.Subscription(rq.Context(), rq.actor, rq.PathValue("subscription"))
	if err != nil {
		return err
	}
	rows, err := p.subscriptionRows(rq, nil, one)
	if err != nil {
		return err
	}
	header, err := p.keyHeaders(rq, one.Scope)
	if err != nil {
		return err
	}
	return p.show(rq, "my_subscription", page{
		Title: one.Name, Nav: "mykeys", Crumbs: p.subscriptionCrumbs(rq),
		Data: mySubscriptionPage{rows[0], p.path("my", "subscriptions", one.ID), !final(one.State), header},
	})
}

// final reports whether a subscription cannot change any more.
func final(s appaccess.SubscriptionState) bool {
	return s == appaccess.SubscriptionCancelled || s == appaccess.SubscriptionRejected
}

// catalogRow is a published product as a developer sees it.
type catalogRow struct {
	appaccess.Product
	Groups []appaccess.API
}

type catalogPage struct{ listing[catalogRow] }

func (p *Portal) showCatalog(rq *request) error {
	c, err := p.listControls(rq, listSpec{Placeholder: "Name of a product", Sorts: sortsByName[:3]})
	if err != nil {
		return err
	}
	found, err := p.service.Products(rq.Context(), rq.actor, c.filter)
	if err != nil {
		return err
	}
	var ids []string
	for _, one := range found.Items {
		ids = append(ids, one.ID)
	}
	apis, err := p.service.APIsOf(rq.Context(), portalActor, ids...)
	if err != nil {
		return err
	}
	var rows []catalogRow
	for _, one := range found.Items {
		row := catalogRow{Product: one}
		for _, id := range one.APIs {
			if api, exists := apis[id]; exists {
				row.Groups = append(row.Groups, api)
			}
		}
		rows = append(rows, row)
	}
	return p.show(rq, "my_catalog", page{
		Title: "Catalog", Nav: "catalog", Lead: "The products that are published, and what each of them accepts.",
		Data: catalogPage{listed(rq, c, found, rows)},
	})
}

var subscribeFields = []formField{{"name", "Name of the subscription"}, {"reason", "What you need it for"}}

type subscribePage struct {
	Product appaccess.Product
	Form    form
	Back    string
}

func (p *Portal) showSubscribe(rq *request) error {
	return p.subscribing(rq, nil, form{Fields: subscribeFields})
}

func (p *Portal) subscribing(rq *request, cause error, f form) error {
	one, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	if f.Values == nil {
		f.Values = url.Values{"name": {one.Name}}
	}
	if f.Once, err = p.once(rq); err != nil {
		return err
	}
	return p.write(rq, formStatus(cause), "my_subscribe", page{
		Title: "Subscribe to " + one.Name, Nav: "catalog", Crumbs: p.crumbs("Catalog", "my", "catalog"),
		Data: subscribePage{Product: one, Form: f, Back: p.path("my", "catalog")},
	})
}

func (p *Portal) subscribe(rq *request) error {
	f := p.sent(rq, subscribeFields)
	product, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	var made appaccess.IssuedSubscription
	open := product.SelfService == appaccess.SelfServiceOpen
	if err = p.oneTime(rq); err == nil && open {
		made, err = p.service.CreateSubscription(rq.Context(), rq.actor, appaccess.SubscriptionRequest{
			Name: f.Get("name"), OwnerID: rq.account.ID, Scope: appaccess.ProductScope(product.ID),
		})
	} else if err == nil {
		if _, err = p.service.RequestSubscription(rq.Context(), rq.actor, product.ID, f.Get("name"), f.Get("reason")); err == nil {
			return p.done(rq, nil, "You requested the subscription. An API manager decides on it.", p.path("my", "requests"), nil)
		}
	}
	if p.refuse(rq, &f, err) {
		return p.subscribing(rq, err, f)
	}
	if err != nil {
		return err
	}
	return p.showKeys(rq, made)
}
