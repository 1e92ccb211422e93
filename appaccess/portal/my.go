package portal

import (
	"net/http"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// myRow is an application in its owner's list.
type myRow struct {
	appaccess.ClientApplication
	Ends time.Time // the first of its credentials to end
	Mark string    // expires soon, expired
	None bool      // it has no credential
}

func (p *Portal) myApplications(rq *request) error {
	found, err := p.service.Applications(rq.Context(), rq.actor, filter(rq))
	if err != nil {
		return err
	}
	rows := map[string]myRow{}
	for _, a := range found.Items {
		creds, err := p.service.Credentials(rq.Context(), rq.actor, a.ID)
		if err != nil {
			return err
		}
		row := myRow{ClientApplication: a, None: len(creds) == 0}
		for _, c := range creds {
			if !c.End.IsZero() && (row.Ends.IsZero() || c.End.Before(row.Ends)) {
				row.Ends, row.Mark = c.End, expiring(c, p.now())
			}
		}
		rows[a.ID] = row
	}
	list := listed(rq, found, func(a appaccess.ClientApplication) myRow { return rows[a.ID] })
	list.Placeholder = "Name or client ID"
	return p.show(rq, "my_applications", page{
		Title: "Applications", Nav: "mine", Data: list,
		Lead: "The client applications that you own. Each calls the APIs of its products with an access token.",
	})
}

type myData struct {
	Settings appaccess.ApplicationSettings
	Table    credentialTable
	Expiring []appaccess.Credential
	Snippets []snippet
	CanTry   bool
	Base     string
}

func (p *Portal) myApplication(rq *request) error {
	set, err := p.service.ApplicationSettings(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	base := p.path("my", "applications", set.Application.ID)
	data := myData{
		Settings: set, Base: base, Table: credentialTable{set.Credentials, base + "/credentials"},
		CanTry: p.try.enabled() && len(set.Products) > 0,
	}
	for _, c := range set.Credentials {
		if expiring(c, p.now()) != "" && c.RemoveAfter.IsZero() {
			data.Expiring = append(data.Expiring, c)
		}
	}
	targets, err := p.targets(rq, set)
	if err != nil {
		return err
	}
	if v, ok := snippetValues(set, targets); ok {
		data.Snippets = snippets(v)
	}
	return p.show(rq, "my_application", page{
		Title: set.Application.Name, Lead: set.Application.Description, Nav: "mine",
		Crumbs: p.crumbs("Applications", "my", "applications"), Data: data,
	})
}

// target is an API of a product that an application is granted.
type target struct {
	Product appaccess.ProductSettings
	API     appaccess.API
	Address string // where callers reach it; empty: that is not known
}

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
		one, err := p.service.Product(rq.Context(), itself, granted.ID)
		if err != nil {
			return nil, err
		}
		for _, id := range one.APIs {
			api, err := p.service.API(rq.Context(), itself, id)
			if err != nil {
				return nil, err
			}
			out = append(out, target{granted, api, p.address(api)})
		}
	}
	return out, nil
}

func (p *Portal) mySubscriptions(rq *request) error {
	found, err := p.service.Subscriptions(rq.Context(), rq.actor, appaccess.SubscriptionFilter{Filter: filter(rq)})
	if err != nil {
		return err
	}
	list := p.subscriptionRows(rq, found)
	list.Placeholder = "Name or ID"
	return p.show(rq, "my_subscriptions", page{
		Title: "Subscriptions", Nav: "mykeys", Data: list,
		Lead: "Keys for products and APIs that accept them. A token is the safer way where there is a choice.",
	})
}

type mySubscriptionData struct {
	Row  subscriptionRow
	Once string
	Live bool // may still be cancelled
}

func (p *Portal) mySubscription(rq *request) error {
	one, err := p.service.Subscription(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	data := mySubscriptionData{Row: p.subscriptionRow(rq, one, nil), Live: len(steps(one.State)) > 0}
	if data.Once, err = p.once(rq, p.path("my", "subscriptions", one.ID, "keys")); err != nil {
		return err
	}
	return p.show(rq, "my_subscription", page{
		Title: one.Name, Nav: "mykeys", Crumbs: p.crumbs("Subscriptions", "my", "subscriptions"), Data: data,
	})
}

func (p *Portal) mySubscriptionKey(rq *request) error {
	return p.regenerate(rq, "mykeys", link{"Subscriptions", p.path("my", "subscriptions")}, p.path("my", "subscriptions", rq.PathValue("id")))
}

func (p *Portal) mySubscriptionCancel(rq *request) error {
	id := rq.PathValue("id")
	_, err := p.service.SetSubscriptionState(rq.Context(), rq.actor, id, appaccess.SubscriptionCancelled)
	return p.done(rq, err, "Subscription cancelled: its keys are refused from now on.", p.path("my", "subscriptions", id))
}

// catalogRow is a published product as a developer sees it.
type catalogRow struct {
	appaccess.Product
	Groups []appaccess.API
}

func (p *Portal) myCatalog(rq *request) error {
	found, err := p.service.Products(rq.Context(), rq.actor, filter(rq))
	if err != nil {
		return err
	}
	rows := map[string]catalogRow{}
	for _, one := range found.Items {
		apis, err := p.apisOf(rq, one)
		if err != nil {
			return err
		}
		rows[one.ID] = catalogRow{one, apis}
	}
	list := listed(rq, found, func(one appaccess.Product) catalogRow { return rows[one.ID] })
	list.Placeholder = "Name of a product"
	return p.show(rq, "my_catalog", page{
		Title: "Catalog", Nav: "catalog", Data: list,
		Lead: "The products that are published, and what each of them takes.",
	})
}

type subscribeData struct {
	Product appaccess.Product
	Form    form
	Back    string
}

func (p *Portal) mySubscribe(rq *request) error { return p.subscribePage(rq, http.StatusOK, form{}) }

func (p *Portal) subscribePage(rq *request, status int, f form) error {
	one, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	if f.Values == nil {
		f.Values = map[string][]string{"name": {one.Name}}
	}
	if f.Once, err = p.once(rq, p.path("my", "catalog", one.ID, "subscribe")); err != nil {
		return err
	}
	return p.write(rq, status, "my_subscribe", page{
		Title: "Subscribe to " + one.Name, Nav: "catalog", Crumbs: p.crumbs("Catalog", "my", "catalog"),
		Data: subscribeData{Product: one, Form: f, Back: p.path("my", "catalog")},
	})
}

func (p *Portal) mySubscribed(rq *request) error {
	f := form{Values: rq.PostForm}
	err := p.oneTime(rq)
	var made appaccess.IssuedSubscription
	if err == nil {
		made, err = p.service.CreateSubscription(rq.Context(), rq.actor, appaccess.SubscriptionRequest{
			Name: f.Get("name"), OwnerID: rq.account.ID, Scope: appaccess.ProductScope(rq.PathValue("id")),
		})
	}
	if f.refuse(err, "name") {
		return p.subscribePage(rq, appaccess.Status(err), f)
	}
	if err != nil {
		return err
	}
	return p.showKeys(rq, page{
		Title: "Your subscription keys", Nav: "mykeys", Crumbs: p.crumbs("Subscriptions", "my", "subscriptions"),
	}, made, p.path("my", "subscriptions", made.Subscription.ID))
}
