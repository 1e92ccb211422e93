package portal

import (
	"fmt"

	"github.com/entragate/entragate/appaccess"
)

var transferFields = []formField{{"to", "New owner"}}

// transferPage is where an object, or all that a user owns, gets another owner.
type transferPage struct {
	Form  form
	Text  string // what happens
	To    picker // for managers
	Typed bool   // developers enter the recipient's user ID
	Back  string
}

// transferred is what a transfer page is about.
type transferred struct {
	kind  appaccess.Kind // empty: all that a user owns
	id    string
	name  string
	crumb []link
	back  string
	nav   string
}

func (p *Portal) transferred(rq *request) (transferred, error) {
	switch {
	case rq.PathValue("application") != "":
		one, err := p.service.Application(rq.Context(), rq.actor, rq.PathValue("application"))
		return transferred{appaccess.KindApplication, one.ID, one.Name, p.applicationCrumbs(rq), p.applicationPath(rq, one.ID), rq.nav("applications")}, err
	case rq.PathValue("subscription") != "":
		one, err := p.service.Subscription(rq.Context(), rq.actor, rq.PathValue("subscription"))
		return transferred{appaccess.KindSubscription, one.ID, one.Name, p.subscriptionCrumbs(rq), p.subscriptionPath(rq, one.ID), rq.nav("subscriptions")}, err
	}
	one, err := p.service.User(rq.Context(), rq.actor, rq.PathValue("user"))
	return transferred{"", one.ID, one.Name, p.crumbs("Users", "users"), p.path("users", one.ID), "users"}, err
}

func (p *Portal) showTransfer(rq *request) error {
	return p.transfer(rq, nil, form{Fields: transferFields})
}

func (p *Portal) transfer(rq *request, cause error, f form) error {
	at, err := p.transferred(rq)
	if err != nil {
		return err
	}
	data := transferPage{Form: f, Back: at.back, Typed: rq.mine(), Text: "The new owner sees it in the portal at once, and makes new credentials. Those that exist go on working: remove them when every program has new ones."}
	if rq.mine() {
		data.Text = "The other user accepts or declines your offer in the portal. You own it until then. They find their user ID on their page Transfers."
	} else if data.To, err = p.pickUser(rq, f, "to", ""); err != nil {
		return err
	}
	title := "Give " + at.name + " to another user"
	if at.kind == "" {
		title = "Give everything of " + at.name + " to another user"
	}
	return p.write(rq, formStatus(cause), "transfer", page{
		Title: title, Nav: at.nav, Crumbs: append(at.crumb, link{at.name, at.back}), Data: data,
	})
}

func (p *Portal) sendTransfer(rq *request) error {
	f, ctx := p.sent(rq, transferFields), rq.Context()
	if f.searching() {
		return p.transfer(rq, nil, f)
	}
	at, err := p.transferred(rq)
	if err != nil {
		return err
	}
	text, to := "The owner is changed.", at.back
	switch {
	case f.Get("to") == "":
		err = &appaccess.InvalidError{Field: "to", Rule: "choose the new owner"}
	case rq.mine():
		_, err = p.service.OfferTransfer(ctx, rq.actor, at.kind, at.id, f.Get("to"))
		text, to = "Your offer is made. It ends in 14 days.", p.path("my", "transfers")
	case at.kind == appaccess.KindApplication:
		_, err = p.service.TransferApplication(ctx, rq.actor, at.id, f.Get("to"))
	case at.kind == appaccess.KindSubscription:
		_, err = p.service.TransferSubscription(ctx, rq.actor, at.id, f.Get("to"))
	default:
		var n int
		n, err = p.service.TransferAll(ctx, rq.actor, at.id, f.Get("to"))
		text = fmt.Sprintf("Given to the new owner: %s.", countOf(n, "object", "objects"))
		if rq.URL.Query().Get("then") == "delete" {
			to = p.path("users", at.id, "delete")
		}
	}
	if p.refuse(rq, &f, err) {
		return p.transfer(rq, err, f)
	}
	return p.done(rq, err, text, to, nil)
}

// transferRow is an offer among the owner's pages.
type transferRow struct {
	appaccess.Transfer
	Mine bool // made by the reader
	With string
}

type transfersPage struct {
	Items  []transferRow
	UserID string
}

func (p *Portal) showTransfers(rq *request) error {
	found, err := p.service.Transfers(rq.Context(), rq.actor)
	if err != nil {
		return err
	}
	data := transfersPage{UserID: rq.account.ID}
	var users []string
	for _, one := range found {
		users = append(users, one.From, one.To)
	}
	book, err := p.namesOf(rq, refs(appaccess.KindUser, users...)...)
	if err != nil {
		return err
	}
	for _, one := range found {
		row := transferRow{Transfer: one, Mine: one.From == rq.account.ID, With: book.User(one.From).Text}
		if row.Mine {
			row.With = one.To // whether a user of that ID exists is not said
		}
		data.Items = append(data.Items, row)
	}
	return p.show(rq, "transfers", page{Title: "Transfers", Nav: "transfers", Lead: "Applications and subscriptions that are offered to another owner.", Data: data})
}

// offered finds an offer that concerns the reader.
func (p *Portal) offered(rq *request) (appaccess.Transfer, error) {
	found, err := p.service.Transfers(rq.Context(), rq.actor)
	for _, one := range found {
		if one.ID == rq.PathValue("transfer") {
			return one, nil
		}
	}
	if err == nil {
		err = appaccess.ErrNotFound
	}
	return appaccess.Transfer{}, err
}

func (p *Portal) acceptTransfer(rq *request) (operation, error) {
	one, err := p.offered(rq)
	if err == nil && one.To != rq.account.ID {
		err = appaccess.ErrNotFound
	}
	list := p.path("my", "transfers")
	return operation{
		Title: "Accept " + one.Name, Nav: "transfers", Crumbs: p.crumbs("Transfers", "my", "transfers"), Safe: true, Label: "Accept", Back: list,
		Text: "You own it from now on: its credentials, its keys and what its programs do are yours to look after.", Done: "It is yours now.",
		To: p.path("my", kindPages[one.Kind], one.Object),
		Do: func(bool) error { _, err := p.service.AcceptTransfer(rq.Context(), rq.actor, one.ID); return err },
	}, err
}

func (p *Portal) endTransfer(rq *request) (operation, error) {
	one, err := p.offered(rq)
	return operation{
		Title: "End the offer of " + one.Name, Nav: "transfers", Crumbs: p.crumbs("Transfers", "my", "transfers"), Safe: true, Label: "End the offer",
		Back: p.path("my", "transfers"), Text: "It stays with its owner.", Done: "The offer is ended.",
		Do: func(bool) error { return p.service.EndTransfer(rq.Context(), rq.actor, one.ID) },
	}, err
}
