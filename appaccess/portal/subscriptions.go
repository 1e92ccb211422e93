package portal

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// subscriptionRow is a subscription with the names that its IDs stand for.
type subscriptionRow struct {
	appaccess.Subscription
	Owner   link
	Reaches link // its scope in words
}

// scopeRef is the object that a scope names; empty for all APIs.
func scopeRef(scope appaccess.Scope) appaccess.Ref {
	if id, ok := strings.CutPrefix(string(scope), "/products/"); ok {
		return appaccess.Ref{Kind: appaccess.KindProduct, ID: id}
	}
	if id, ok := strings.CutPrefix(string(scope), "/apis/"); ok {
		return appaccess.Ref{Kind: appaccess.KindAPI, ID: id}
	}
	return appaccess.Ref{}
}

// subscriptionRows adds the names that the rows need. An owner sees the name of
// the product or API of their subscription, even after it was unpublished.
func (p *Portal) subscriptionRows(rq *request, known map[appaccess.Ref]string, subs ...appaccess.Subscription) ([]subscriptionRow, error) {
	var all []appaccess.Ref
	for _, s := range subs {
		all = append(all, scopeRef(s.Scope), appaccess.Ref{Kind: appaccess.KindUser, ID: s.OwnerID})
	}
	book, err := p.namesBeside(rq, known, all...)
	var rows []subscriptionRow
	for _, s := range subs {
		row := subscriptionRow{Subscription: s, Owner: book.User(s.OwnerID), Reaches: link{Text: "All APIs"}}
		if at := scopeRef(s.Scope); at.ID != "" {
			row.Reaches = book.Link(at.Kind, at.ID, "")
			row.Reaches.Text = map[appaccess.Kind]string{appaccess.KindProduct: "Product ", appaccess.KindAPI: "API "}[at.Kind] + row.Reaches.Text
		}
		if rq.mine() {
			row.Reaches.URL = ""
		}
		rows = append(rows, row)
	}
	return rows, err
}

// subscriptionListing is one page of a list of subscriptions.
func (p *Portal) subscriptionListing(rq *request, c controls, found appaccess.Page[appaccess.Subscription]) (listing[subscriptionRow], error) {
	rows, err := p.subscriptionRows(rq, c.known, found.Items...)
	return listed(rq, c, found, rows), err
}

// subscriptionStates are the states to filter by, in the order of their life.
var subscriptionStates = []string{"submitted", "active", "suspended", "rejected", "cancelled", "expired"}

type subscriptionsPage struct{ listing[subscriptionRow] }

// subscriptionList reads what the address of the list selects.
func (p *Portal) subscriptionList(rq *request) (controls, error) {
	return p.listControls(rq, listSpec{
		Placeholder: "Name or ID", States: subscriptionStates, Owner: true, Product: true,
		Sorts:  append(slices.Clone(sortsByName), choice{ID: "expiry", Name: "What expires first"}),
		Export: p.path("subscriptions", "-", "export"), Many: p.path("subscriptions", "-", "many"),
		Actions: []choice{{ID: "activate", Name: "Activate"}, {ID: "suspend", Name: "Suspend"}, {ID: "cancel", Name: "Cancel"}},
	})
}

// subscriptionFilter is a filter for Service: the product is a scope there.
func subscriptionFilter(f appaccess.Filter) appaccess.SubscriptionFilter {
	out := appaccess.SubscriptionFilter{Filter: f}
	if out.ProductID != "" {
		out.Scope, out.ProductID = appaccess.ProductScope(out.ProductID), ""
	}
	return out
}

func (p *Portal) exportSubscriptions(rq *request) error {
	c, err := p.subscriptionList(rq)
	if err != nil {
		return err
	}
	return exportList(p, rq, "subscriptions", []string{"Name", "Reaches", "Owner", "State", "Expires", "Created", "ID"}, c.filter, func(f appaccess.Filter) (appaccess.Page[appaccess.Subscription], error) {
		return p.service.Subscriptions(rq.Context(), rq.reader(), subscriptionFilter(f))
	}, func(subs []appaccess.Subscription) (table [][]string, err error) {
		rows, err := p.subscriptionRows(rq, c.known, subs...)
		for _, one := range rows {
			table = append(table, []string{one.Name, one.Reaches.Text, one.Owner.Text, string(one.State), instant(one.Expires), instant(one.Created), one.ID})
		}
		return table, err
	})
}

// manySubscriptions moves the subscriptions that are chosen in the list on.
func (p *Portal) manySubscriptions(rq *request) (operation, error) {
	m := many{Kind: appaccess.KindSubscription}
	var to appaccess.SubscriptionState
	switch rq.URL.Query().Get("action") {
	case "activate":
		to, m.Title, m.Label, m.Done, m.Safe, m.Text = appaccess.SubscriptionActive, "Activate %s", "Activate", "%s activated.", true, "Their keys work from now on."
	case "suspend":
		to, m.Title, m.Label, m.Done, m.Text = appaccess.SubscriptionSuspended, "Suspend %s", "Suspend", "%s suspended.", "Every gate refuses their keys at once, until they are activated again."
	case "cancel":
		to, m.Title, m.Label, m.Done, m.Text = appaccess.SubscriptionCancelled, "Cancel %s", "Cancel", "%s cancelled.", "Every gate refuses their keys at once. A cancelled subscription cannot be activated again."
	default:
		return operation{}, errNoAction
	}
	m.Do = func(id string) error {
		_, err := p.service.SetSubscriptionState(rq.Context(), rq.actor, id, to)
		return err
	}
	return p.manyOperation(rq, "subscription", "subscriptions", m)
}

func (p *Portal) showSubscriptions(rq *request) error {
	c, err := p.subscriptionList(rq)
	if err != nil {
		return err
	}
	found, err := p.service.Subscriptions(rq.Context(), rq.reader(), subscriptionFilter(c.filter))
	if err != nil {
		return err
	}
	list, err := p.subscriptionListing(rq, c, found)
	if err != nil {
		return err
	}
	return p.show(rq, "subscriptions", page{
		Title: "Subscriptions", Nav: "subscriptions", Data: subscriptionsPage{list},
		Lead: "Each has two keys, so callers can move to a new one without a gap. Only hashes of the keys are kept.",
	})
}

var subscriptionFields = []formField{{"name", "Name"}, {"scope", "Reaches"}, {"ownerId", "Owner (optional)"}, {"expires", "Expires (optional)"}}

type newSubscriptionPage struct {
	Form     form
	Owner    picker
	Products picker
	APIs     picker
}

func (p *Portal) showNewSubscription(rq *request) error {
	q := rq.URL.Query()
	f := form{Fields: subscriptionFields, Values: url.Values{"ownerId": q["owner"], "reach": {"product"}}}
	return p.newSubscription(rq, nil, f)
}

func (p *Portal) newSubscription(rq *request, cause error, f form) (err error) {
	data := newSubscriptionPage{}
	if data.Owner, err = p.pickUser(rq, f, "ownerId", ""); err != nil {
		return err
	}
	data.Owner.Empty = "Nobody"
	if data.Products, err = p.pickProducts(rq, f, "product", "Products accept keys when their subscription key setting is on.", false, func(one appaccess.Product) bool { return one.Access.Key }); err != nil {
		return err
	}
	if data.APIs, err = p.pickAPIs(rq, f, "api", "", false, func(appaccess.API) bool { return true }); err != nil {
		return err
	}
	data.Products.Label, data.APIs.Label = "Product", "API"
	if f.Once, err = p.once(rq); err != nil {
		return err
	}
	data.Form = f
	return p.write(rq, formStatus(cause), "subscription_new", page{
		Title: "Create a subscription", Nav: "subscriptions", Crumbs: p.crumbs("Subscriptions", "subscriptions"), Data: data,
	})
}

// scopeOf reads what a form chose.
func scopeOf(f form) (appaccess.Scope, error) {
	switch f.Get("reach") {
	case "product":
		if f.Get("product") != "" {
			return appaccess.ProductScope(f.Get("product")), nil
		}
	case "api":
		if f.Get("api") != "" {
			return appaccess.APIScope(f.Get("api")), nil
		}
	case "all":
		return appaccess.AllAPIs, nil
	}
	return "", &appaccess.InvalidError{Field: "scope", Rule: "choose a product, an API or all APIs"}
}

// endOf reads a date: the end of that day, in UTC. Empty: the zero time.
func endOf(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, &appaccess.InvalidError{Field: "expires", Rule: "must be a date such as 2027-01-31"}
	}
	return t.Add(day), nil
}

func (p *Portal) createSubscription(rq *request) error {
	f := p.sent(rq, subscriptionFields)
	if f.searching() {
		return p.newSubscription(rq, nil, f)
	}
	expires, err := endOf(f.Get("expires"))
	scope, err2 := scopeOf(f)
	if err = errors.Join(err, err2); err == nil {
		err = p.oneTime(rq)
	}
	var made appaccess.IssuedSubscription
	if err == nil {
		made, err = p.service.CreateSubscription(rq.Context(), rq.actor, appaccess.SubscriptionRequest{
			Name: f.Get("name"), OwnerID: f.Get("ownerId"), Scope: scope, Expires: expires,
		})
	}
	if p.refuse(rq, &f, err) {
		return p.newSubscription(rq, err, f)
	}
	if err != nil {
		return err
	}
	return p.showKeys(rq, made)
}

const keyNote = "Copy it now and store it in a safe place. Only a hash is kept here, so it cannot be shown again."

func (p *Portal) subscriptionCrumbs(rq *request) []link {
	text := "Subscriptions"
	if rq.mine() && rq.user.Manager {
		text = "My subscriptions"
	}
	return p.crumbs(text, rq.base("subscriptions")...)
}

// keyHeaders names the headers in which callers send the keys of a subscription.
func (p *Portal) keyHeaders(rq *request, scope appaccess.Scope) (string, error) {
	at := scopeRef(scope)
	ids := []string{at.ID}
	switch at.Kind {
	case appaccess.KindProduct:
		product, err := p.service.Product(rq.Context(), portalActor, at.ID)
		if err != nil {
			return "", err
		}
		ids = product.APIs
	case appaccess.KindAPI:
	default:
		return keyHeader, nil
	}
	var headers []string
	for _, id := range ids {
		api, err := p.service.API(rq.Context(), portalActor, id)
		if err != nil {
			return "", err
		}
		headers = append(headers, keyHeaderOf(api))
	}
	slices.Sort(headers)
	if headers = slices.Compact(headers); len(headers) == 0 {
		return keyHeader, nil
	}
	return strings.Join(headers, " or "), nil
}

func (p *Portal) showKeys(rq *request, made appaccess.IssuedSubscription) error {
	nav := "subscriptions"
	back := p.path("subscriptions", made.Subscription.ID)
	if rq.mine() {
		nav, back = "mykeys", p.path("my", "subscriptions", made.Subscription.ID)
	}
	header, err := p.keyHeaders(rq, made.Subscription.Scope)
	if err != nil {
		header = keyHeader // the keys must be shown
	}
	return p.show(rq, "shown", page{
		Title: "Your subscription keys", Nav: nav, Crumbs: p.subscriptionCrumbs(rq),
		Data: shownPage{
			Values: []shownValue{{"Primary key", made.Primary.Reveal()}, {"Secondary key", made.Secondary.Reveal()}},
			Facts:  []shownValue{{"Subscription", made.Subscription.Name}, {"State", words(made.Subscription.State)}, {"Header", header}},
			Note:   strings.Replace(keyNote, "Copy it", "Copy them", 1), Back: back,
		},
	})
}

type subscriptionPage struct {
	Row   subscriptionRow
	Form  form
	Last  time.Time // of use; zero: never, as far as recorded
	Keys  string    // address below which keys are regenerated
	Audit []auditRow
}

func (p *Portal) subscriptionVersion(rq *request) (appaccess.Subscription, version, error) {
	id := rq.PathValue("subscription")
	rev, err := p.service.Revision(rq.Context(), rq.actor, appaccess.KindSubscription, id)
	if err != nil {
		return appaccess.Subscription{}, version{}, err
	}
	one, err := p.service.Subscription(rq.Context(), rq.actor, id)
	values := url.Values{"name": {one.Name}, "expires": {""}}
	if !one.Expires.IsZero() {
		values.Set("expires", one.Expires.Add(-time.Second).UTC().Format(time.DateOnly))
	}
	return one, version{rev, values}, err
}

func (p *Portal) showSubscription(rq *request) error {
	return p.subscription(rq, nil, form{Fields: subscriptionFields})
}

func (p *Portal) subscription(rq *request, cause error, f form) error {
	one, now, err := p.subscriptionVersion(rq)
	if err != nil {
		return err
	}
	if err := p.based(rq, &f, now); err != nil {
		return err
	}
	rows, err := p.subscriptionRows(rq, nil, one)
	if err != nil {
		return err
	}
	data := subscriptionPage{Row: rows[0], Form: f, Keys: p.path("subscriptions", one.ID, "keys")}
	if data.Last, err = p.service.LastUsed(rq.Context(), rq.actor, appaccess.Ref{Kind: appaccess.KindSubscription, ID: one.ID}); err != nil {
		return err
	}
	if data.Audit, err = p.history(rq, appaccess.KindSubscription, one.ID); err != nil {
		return err
	}
	return p.write(rq, formStatus(cause), "subscription", page{
		Title: one.Name, Nav: "subscriptions", Crumbs: p.crumbs("Subscriptions", "subscriptions"), Data: data,
	})
}

func (p *Portal) saveSubscription(rq *request) error {
	f := p.sent(rq, subscriptionFields)
	name := f.Get("name")
	expires, err := endOf(f.Get("expires"))
	if err == nil {
		err = p.revise(rq, &f, func() (version, error) {
			_, now, err := p.subscriptionVersion(rq)
			return now, err
		}, func(rev appaccess.Revision) error {
			_, err := p.service.UpdateSubscription(rq.Context(), rq.actor, rq.PathValue("subscription"), appaccess.SubscriptionUpdate{
				Name: &name, Expires: &expires, Revision: rev,
			})
			return err
		})
	}
	if p.refuse(rq, &f, err) {
		return p.subscription(rq, err, f)
	}
	return p.done(rq, err, "Saved.", p.path("subscriptions", rq.PathValue("subscription")), nil)
}
