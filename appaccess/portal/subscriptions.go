package portal

import (
	"net/http"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// subscriptionRow is a subscription with the names that its IDs stand for.
type subscriptionRow struct {
	appaccess.Subscription
	Owner string
	Reach string // its scope in words
	Link  string // to what it reaches; empty if the viewer has no page of it
}

func (p *Portal) subscriptionRow(rq *request, one appaccess.Subscription, names map[string]string) subscriptionRow {
	row := subscriptionRow{Subscription: one, Owner: names[one.OwnerID], Reach: "All APIs"}
	scope := string(one.Scope)
	if id, ok := strings.CutPrefix(scope, "/products/"); ok {
		row.Reach, row.Link = "Product "+id, p.path("products", id)
		if product, err := p.service.Product(rq.Context(), rq.actor, id); err == nil {
			row.Reach = "Product " + product.Name
		}
	} else if id, ok := strings.CutPrefix(scope, "/apis/"); ok {
		row.Reach, row.Link = "API "+id, p.path("apis", id)
		if api, err := p.service.API(rq.Context(), rq.actor, id); err == nil {
			row.Reach = "API " + api.Name
		}
	}
	if !rq.actor.Manager {
		row.Link = ""
	}
	return row
}

// subscriptionStates are the states to filter by, in the order of their life.
var subscriptionStates = []string{"submitted", "active", "suspended", "rejected", "cancelled", "expired"}

type subscriptionList struct {
	listing[subscriptionRow]
	State  string
	States []string
}

func (p *Portal) subscriptionList(rq *request) error {
	q := rq.URL.Query()
	f := appaccess.SubscriptionFilter{Filter: filter(rq), State: appaccess.SubscriptionState(q.Get("state"))}
	f.OwnerID = q.Get("owner")
	found, err := p.service.Subscriptions(rq.Context(), rq.actor, f)
	if err != nil {
		return err
	}
	list := subscriptionList{listing: p.subscriptionRows(rq, found), State: q.Get("state"), States: subscriptionStates}
	list.Placeholder = "Name or ID"
	return p.show(rq, "subscriptions", page{
		Title: "Subscriptions", Nav: "subscriptions", Data: list,
		Lead: "Each has two keys, so callers can move to a new one without a gap. Only hashes of the keys are kept.",
	})
}

func (p *Portal) subscriptionRows(rq *request, found appaccess.Page[appaccess.Subscription]) listing[subscriptionRow] {
	names := map[string]string{}
	if rq.actor.Manager {
		var owners []string
		for _, one := range found.Items {
			owners = append(owners, one.OwnerID)
		}
		names = p.userNames(rq, owners...)
	}
	return listed(rq, found, func(one appaccess.Subscription) subscriptionRow { return p.subscriptionRow(rq, one, names) })
}

type subscriptionForm struct {
	Form     form
	Owners   []choice
	Products []choice
	APIs     []choice
}

var subscriptionFields = []string{"name", "ownerId", "scope", "expires"}

func (p *Portal) subscriptionNew(rq *request) error {
	q := rq.URL.Query()
	return p.subscriptionFormPage(rq, http.StatusOK, form{Values: map[string][]string{"ownerId": q["owner"], "scope": q["scope"]}})
}

func (p *Portal) subscriptionFormPage(rq *request, status int, f form) error {
	data := subscriptionForm{Form: f}
	var err error
	if data.Owners, err = p.userChoices(rq, f.Get("ownerId")); err != nil {
		return err
	}
	if data.Products, err = p.productChoices(rq, func(one appaccess.Product) bool { return one.Access.Key }); err != nil {
		return err
	}
	if data.APIs, err = p.apiChoices(rq, func(appaccess.API) bool { return true }); err != nil {
		return err
	}
	if data.Form.Once, err = p.once(rq, p.path("subscriptions", "new")); err != nil {
		return err
	}
	return p.write(rq, status, "subscription_new", page{
		Title: "Create a subscription", Nav: "subscriptions", Crumbs: p.crumbs("Subscriptions", "subscriptions"), Data: data,
	})
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

func (p *Portal) subscriptionCreate(rq *request) error {
	f := form{Values: rq.PostForm}
	expires, err := endOf(f.Get("expires"))
	if err == nil {
		err = p.oneTime(rq)
	}
	var made appaccess.IssuedSubscription
	if err == nil {
		made, err = p.service.CreateSubscription(rq.Context(), rq.actor, appaccess.SubscriptionRequest{
			Name: f.Get("name"), OwnerID: f.Get("ownerId"), Scope: appaccess.Scope(f.Get("scope")), Expires: expires,
		})
	}
	if f.refuse(err, subscriptionFields...) {
		return p.subscriptionFormPage(rq, appaccess.Status(err), f)
	}
	if err != nil {
		return err
	}
	return p.showKeys(rq, page{
		Title: "Your subscription keys", Nav: "subscriptions", Crumbs: p.crumbs("Subscriptions", "subscriptions"),
	}, made, p.path("subscriptions", made.Subscription.ID))
}

const keyNote = "Copy it now and store it in a safe place. Only a hash is kept here, so it cannot be shown again."

func (p *Portal) showKeys(rq *request, pg page, made appaccess.IssuedSubscription, back string) error {
	pg.Data = shown{
		Values: []shownValue{{"Primary key", made.Primary.Reveal()}, {"Secondary key", made.Secondary.Reveal()}},
		Facts:  []shownValue{{"Subscription", made.Subscription.Name}, {"State", words(made.Subscription.State)}, {"Header", "Ocp-Apim-Subscription-Key"}},
		Note:   strings.Replace(keyNote, "Copy it", "Copy them", 1), Back: back,
	}
	return p.show(rq, "shown", pg)
}

type subscriptionData struct {
	Row   subscriptionRow
	Form  form
	Once  string
	Next  []stateStep
	Audit []appaccess.AuditRecord
}

// stateStep is a button that moves a subscription on.
type stateStep struct{ State, Label string }

// steps are what a manager may do next, as Service allows it.
func steps(s appaccess.SubscriptionState) []stateStep {
	suspend, cancel := stateStep{"suspended", "Suspend"}, stateStep{"cancelled", "Cancel"}
	switch s {
	case appaccess.SubscriptionSubmitted:
		return []stateStep{{"active", "Activate"}, {"rejected", "Reject"}}
	case appaccess.SubscriptionActive:
		return []stateStep{suspend, cancel}
	case appaccess.SubscriptionSuspended:
		return []stateStep{{"active", "Activate"}, cancel}
	case appaccess.SubscriptionExpired:
		return []stateStep{{"active", "Activate"}, cancel}
	}
	return nil
}

func (p *Portal) subscriptionDetails(rq *request) error {
	return p.subscriptionPage(rq, http.StatusOK, form{})
}

func (p *Portal) subscriptionPage(rq *request, status int, f form) error {
	one, err := p.service.Subscription(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	if f.Values == nil {
		f.Values = map[string][]string{"name": {one.Name}}
		if !one.Expires.IsZero() {
			f.Values.Set("expires", one.Expires.Add(-time.Second).UTC().Format(time.DateOnly))
		}
	}
	data := subscriptionData{Row: p.subscriptionRow(rq, one, p.userNames(rq, one.OwnerID)), Form: f, Next: steps(one.State)}
	if data.Once, err = p.once(rq, p.path("subscriptions", one.ID, "keys")); err != nil {
		return err
	}
	trail, err := p.service.Audit(rq.Context(), rq.actor, appaccess.AuditFilter{Object: "subscription/" + one.ID, Limit: 6})
	if err != nil {
		return err
	}
	data.Audit = trail.Items
	return p.write(rq, status, "subscription", page{
		Title: one.Name, Nav: "subscriptions", Crumbs: p.crumbs("Subscriptions", "subscriptions"), Data: data,
	})
}

func (p *Portal) subscriptionSave(rq *request) error {
	id, f := rq.PathValue("id"), form{Values: rq.PostForm}
	name := f.Get("name")
	expires, err := endOf(f.Get("expires"))
	if err == nil {
		_, err = p.service.UpdateSubscription(rq.Context(), rq.actor, id, appaccess.SubscriptionUpdate{Name: &name, Expires: &expires})
	}
	if f.refuse(err, subscriptionFields...) {
		return p.subscriptionPage(rq, appaccess.Status(err), f)
	}
	return p.done(rq, err, "Saved.", p.path("subscriptions", id))
}

func (p *Portal) subscriptionState(rq *request) error {
	id, to := rq.PathValue("id"), appaccess.SubscriptionState(rq.PostForm.Get("do"))
	_, err := p.service.SetSubscriptionState(rq.Context(), rq.actor, id, to)
	return p.done(rq, err, "The subscription is now "+string(to)+".", p.path("subscriptions", id))
}

func (p *Portal) subscriptionKey(rq *request) error {
	return p.regenerate(rq, "subscriptions", link{"Subscriptions", p.path("subscriptions")}, p.path("subscriptions", rq.PathValue("id")))
}

// regenerate makes one of the two keys anew and shows it once.
func (p *Portal) regenerate(rq *request, nav string, list link, back string) error {
	one, err := p.service.Subscription(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	slot := appaccess.KeySlot(rq.PostForm.Get("slot"))
	if slot != appaccess.PrimaryKey && slot != appaccess.SecondaryKey {
		return &appaccess.InvalidError{Field: "slot", Rule: "must be primary or secondary"}
	}
	if err := p.oneTime(rq); err != nil {
		return err
	}
	key, err := p.service.RegenerateKey(rq.Context(), rq.actor, one.ID, slot)
	if err != nil {
		return err
	}
	return p.show(rq, "shown", page{
		Title: "Your new " + string(slot) + " key", Nav: nav, Crumbs: []link{list, {one.Name, back}},
		Data: shown{
			Values: []shownValue{{words(slot) + " key", key.Reveal()}},
			Facts:  []shownValue{{"Subscription", one.Name}, {"Header", "Ocp-Apim-Subscription-Key"}},
			Note:   keyNote + " The old " + string(slot) + " key is refused from now on.", Back: back,
		},
	})
}

func (p *Portal) subscriptionDelete(rq *request) error {
	one, err := p.service.Subscription(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	back := p.path("subscriptions", one.ID)
	return p.show(rq, "confirm", page{
		Title: "Delete " + one.Name, Nav: "subscriptions",
		Crumbs: append(p.crumbs("Subscriptions", "subscriptions"), link{one.Name, back}),
		Data:   confirm{Text: "Both keys are refused at once, and the subscription is gone.", Label: "Delete subscription", Back: back},
	})
}

func (p *Portal) subscriptionDeleted(rq *request) error {
	err := p.service.DeleteSubscription(rq.Context(), rq.actor, rq.PathValue("id"))
	return p.done(rq, err, "Subscription deleted.", p.path("subscriptions"))
}
