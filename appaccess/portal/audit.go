package portal

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// auditRow is an audit record in words.
type auditRow struct {
	appaccess.AuditRecord
	Did     string // what was done
	Who     link
	What    link
	Details []auditDetail
}

type auditDetail struct {
	Name   string
	Values []link
}

// auditActions maps each recorded action to the words that the page shows. An action
// without words is shown as it is recorded.
var auditActions = map[string]string{
	"api.create": "API created", "api.update": "API changed", "api.delete": "API deleted",
	"application.register": "Application registered", "application.update": "Application changed", "application.delete": "Application deleted",
	"application.grant": "Products granted", "application.revoke": "Products revoked",
	"application.suspend": "Application suspended", "application.resume": "Application resumed",
	"credential.add": "Credential added", "credential.remove": "Credential removed", "credential.replace": "Secret replaced",
	"secret.lapse": "One-time secret expired unread", "secret.receive": "One-time secret received",
	"product.create": "Product created", "product.update": "Product changed", "product.delete": "Product deleted",
	"product.access": "Access changed", "product.assign": "APIs assigned", "product.unassign": "APIs removed",
	"product.publish": "Product published", "product.unpublish": "Product unpublished",
	"product.suspend": "Product suspended", "product.resume": "Product resumed",
	"subscription.create": "Subscription created", "subscription.update": "Subscription changed", "subscription.delete": "Subscription deleted",
	"subscription.active": "Subscription activated", "subscription.suspended": "Subscription suspended",
	"subscription.rejected": "Subscription rejected", "subscription.cancelled": "Subscription cancelled",
	"subscription.expired": "Subscription marked as expired", "subscription.expire": "Subscription expired",
	"subscription.regenerate": "Key regenerated",
	"request.open":            "Access requested", "request.approve": "Request approved", "request.reject": "Request rejected", "request.withdraw": "Request withdrawn",
	"product.permissions": "Permissions changed", "api.operations": "Operations changed", "api.import": "Operations imported",
	"api.enforce": "Enforcement changed", "api.require": "Permissions of an operation changed",
	"application.approve": "Application approved", "application.transfer": "Owner of an application changed", "subscription.transfer": "Owner of a subscription changed",
	"application.offer": "Application offered to another user", "subscription.offer": "Subscription offered to another user",
	"application.decline": "Offer of an application ended", "subscription.decline": "Offer of a subscription ended",
	"application.withdraw": "Offer of an application withdrawn", "subscription.withdraw": "Offer of a subscription withdrawn",
	"user.give": "Everything given away", "user.receive": "Everything received", "secret.void": "One-time secret removed", "audit.prune": "Audit records deleted",
	"entra.remove": "Unknown application or credential removed from Entra", "entra.revoke": "Unknown grant revoked in Entra",
	"user.create": "User created", "user.update": "User changed", "user.delete": "User deleted",
	"user.bind": "Account linked", "user.block": "User blocked", "user.unblock": "User unblocked",
}

// auditDetails are the names of details in words, and the kind of what they
// name, if they name objects.
var auditDetails = map[string]struct {
	Text string
	Kind appaccess.Kind
}{
	"name": {"Name", ""}, "owner": {"Owner", appaccess.KindUser}, "products": {"Products", appaccess.KindProduct}, "grants": {"Granted", appaccess.KindProduct}, "product": {"Product", appaccess.KindProduct}, "uniqueName": {"Name in Entra", ""}, "clientId": {"Client ID", ""},
	"apis": {"APIs", appaccess.KindAPI}, "access": {"Access", ""}, "from": {"Before", ""}, "to": {"After", ""},
	"scope": {"Reaches", ""}, "state": {"State", ""}, "expires": {"Expires", ""}, "path": {"Path", ""}, "serviceUrl": {"Service URL", ""},
	"email": {"Email", ""}, "kind": {"Kind", ""}, "keyId": {"Key ID", ""}, "credential": {"Credential ID", ""},
	"tenantId": {"Tenant ID", ""}, "objectId": {"Object ID", ""}, "slot": {"Key", ""},
}

// auditRows puts records into words, with the names of the objects that they
// mention.
func (p *Portal) auditRows(rq *request, records []appaccess.AuditRecord) ([]auditRow, error) {
	var all []appaccess.Ref
	for _, a := range records {
		all = append(all, appaccess.Ref{Kind: a.Kind, ID: a.Object}, appaccess.Ref{Kind: appaccess.KindUser, ID: a.Actor}, scopeRef(appaccess.Scope(a.Details["scope"])))
		for name, value := range a.Details {
			if kind := auditDetails[name].Kind; kind != "" {
				for _, word := range strings.Fields(value) {
					id, _ := cutPermissions(word)
					all = append(all, appaccess.Ref{Kind: kind, ID: id})
				}
			}
		}
	}
	book, err := p.namesOf(rq, all...)
	rows := make([]auditRow, 0, len(records))
	for _, a := range records {
		row := auditRow{AuditRecord: a, Did: a.Action, What: book.Link(a.Kind, a.Object, a.Name), Who: book.Link(appaccess.KindUser, a.Actor, actorName(a))}
		if text := auditActions[a.Action]; text != "" {
			row.Did = text
		}
		for _, name := range slices.Sorted(maps.Keys(a.Details)) {
			if name == "name" && a.Details[name] == row.What.Text || a.Details[name] == "" {
				continue
			}
			row.Details = append(row.Details, detail(book, name, a.Details[name]))
		}
		rows = append(rows, row)
	}
	return rows, err
}

func detail(book nameBook, name, value string) auditDetail {
	known := auditDetails[name]
	d := auditDetail{Name: known.Text, Values: []link{{Text: value}}}
	if d.Name == "" {
		d.Name = words(name)
	}
	if known.Kind != "" {
		d.Values = nil
		for _, word := range strings.Fields(value) {
			id, permissions := cutPermissions(word)
			at := book.Link(known.Kind, id, "")
			if permissions != "" {
				at.Text += " (" + strings.ReplaceAll(permissions, ",", ", ") + ")"
			}
			d.Values = append(d.Values, at)
		}
	}
	if at := scopeRef(appaccess.Scope(value)); name == "scope" && at.ID != "" {
		d.Values = []link{book.Link(at.Kind, at.ID, "")}
	} else if name == "scope" {
		d.Values = []link{{Text: "All APIs"}}
	}
	return d
}

// cutPermissions splits a word of recorded grants: orders(Read,Write).
func cutPermissions(word string) (id, permissions string) {
	id, permissions, _ = strings.Cut(strings.TrimSuffix(word, ")"), "(")
	return id, permissions
}

// actorName is who did it, if they are no user here.
func actorName(a appaccess.AuditRecord) string {
	switch {
	case a.ActorName != "":
		return a.ActorName
	case a.Actor == "":
		return "The service"
	case strings.HasPrefix(a.Actor, "account:"):
		return "An API manager"
	}
	return a.Actor
}

// history is the latest of what was done to an object.
func (p *Portal) history(rq *request, kind appaccess.Kind, id string) ([]auditRow, error) {
	trail, err := p.service.Audit(rq.Context(), rq.actor, appaccess.AuditFilter{Object: string(kind) + "/" + id, Limit: 6})
	if err != nil {
		return nil, err
	}
	return p.auditRows(rq, trail.Items)
}

var auditFields = []formField{{"object", "Object"}, {"who", "Who"}, {"action", "Action"}, {"from", "From"}, {"to", "To"}}

// auditPage is the audit trail with the filter that selected it.
type auditPage struct {
	listing[auditRow]
	Form    form
	Actions []choice
	Which   []auditChoice // objects and users that match what was typed, if several do
	Export  string        // address of the same records as a file
}

// auditChoice is one of several objects that a filter may mean.
type auditChoice struct {
	link
	Kind string
}

func (p *Portal) showAudit(rq *request) error {
	q := rq.URL.Query()
	data := auditPage{Form: form{Fields: auditFields, Values: q}, Export: p.path("audit", "export") + withPlace(q, "", "")}
	for action, text := range auditActions {
		data.Actions = append(data.Actions, choice{ID: action, Name: text})
	}
	slices.SortFunc(data.Actions, func(a, b choice) int { return strings.Compare(a.Name, b.Name) })
	f, which, err := p.auditFilter(rq)
	if err != nil {
		return err
	}
	data.Which = which
	if len(which) == 0 {
		f.After, f.Limit = q.Get("after"), 50
		found, err := p.service.Audit(rq.Context(), rq.actor, f)
		if err != nil {
			return err
		}
		rows, err := p.auditRows(rq, found.Items)
		if err != nil {
			return err
		}
		data.listing = listed(rq, controls{}, found, rows)
	}
	return p.show(rq, "audit", page{
		Title: "Audit trail", Nav: "audit", Data: data,
		Lead: "Who did what to which object, newest first. No secret is ever recorded.",
	})
}

// auditFilter reads the filter from a page's address. The days from and to are
// both within. Objects and users are typed as people call them: which are those
// that match, if more than one does.
func (p *Portal) auditFilter(rq *request) (f appaccess.AuditFilter, which []auditChoice, err error) {
	q := rq.URL.Query()
	f.Action = strings.TrimSpace(q.Get("action"))
	if f.From, err = dayOf(q.Get("from")); err != nil {
		return f, nil, err
	}
	if f.To, err = dayOf(q.Get("to")); err != nil {
		return f, nil, err
	}
	if !f.To.IsZero() {
		f.To = f.To.Add(day)
	}
	found, err := p.meant(rq, "object", []appaccess.Kind{appaccess.KindProduct, appaccess.KindApplication, appaccess.KindSubscription, appaccess.KindAPI, appaccess.KindUser})
	if err != nil {
		return f, nil, err
	}
	if len(found) == 1 {
		f.Object = string(found[0].Kind) + "/" + found[0].ID
	}
	which = p.choicesOf(rq, "object", found)
	found, err = p.meant(rq, "who", []appaccess.Kind{appaccess.KindUser})
	if err != nil {
		return f, nil, err
	}
	if len(found) == 1 {
		f.Actor = found[0].ID
	}
	return f, append(which, p.choicesOf(rq, "who", found)...), nil
}

// foundRef is an object that was found by what people call it.
type foundRef struct {
	appaccess.Ref
	Name string
}

// meant finds what a field of the filter names: "product/starter", an ID, a
// name or a part of one.
func (p *Portal) meant(rq *request, field string, kinds []appaccess.Kind) ([]foundRef, error) {
	text := strings.TrimSpace(rq.URL.Query().Get(field))
	if text == "" {
		return nil, nil
	}
	if kind, id, ok := strings.Cut(text, "/"); ok && kindPages[appaccess.Kind(kind)] != "" {
		return []foundRef{{appaccess.Ref{Kind: appaccess.Kind(kind), ID: id}, id}}, nil
	}
	var found []foundRef
	for _, kind := range kinds {
		some, err := p.search(rq, kind, text)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	exact := slices.DeleteFunc(slices.Clone(found), func(r foundRef) bool { return !strings.EqualFold(r.Name, text) && r.ID != text })
	switch {
	case len(exact) > 0:
		return exact, nil
	case len(found) == 0: // the text may be the ID of a deleted object, or of an actor outside the users
		return []foundRef{{appaccess.Ref{Kind: kinds[0], ID: text}, text}}, nil
	}
	return found, nil
}

// search finds some objects of a kind by their name.
func (p *Portal) search(rq *request, kind appaccess.Kind, text string) (out []foundRef, err error) {
	f := appaccess.Filter{Search: text, Limit: 10}
	add := func(id, name string) { out = append(out, foundRef{appaccess.Ref{Kind: kind, ID: id}, name}) }
	switch kind {
	case appaccess.KindProduct:
		found, err := p.service.Products(rq.Context(), rq.reader(), f)
		for _, one := range found.Items {
			add(one.ID, one.Name)
		}
		return out, err
	case appaccess.KindApplication:
		found, err := p.service.Applications(rq.Context(), rq.reader(), f)
		for _, one := range found.Items {
			add(one.ID, one.Name)
		}
		return out, err
	case appaccess.KindSubscription:
		found, err := p.service.Subscriptions(rq.Context(), rq.reader(), appaccess.SubscriptionFilter{Filter: f})
		for _, one := range found.Items {
			add(one.ID, one.Name)
		}
		return out, err
	case appaccess.KindAPI:
		found, err := p.service.APIs(rq.Context(), rq.reader(), f)
		for _, one := range found.Items {
			add(one.ID, one.Name)
		}
		return out, err
	}
	found, err := p.service.Users(rq.Context(), rq.reader(), f)
	for _, one := range found.Items {
		add(one.ID, one.Name)
	}
	return out, err
}

// choicesOf are links that narrow a filter to one of several objects.
func (p *Portal) choicesOf(rq *request, field string, found []foundRef) []auditChoice {
	if len(found) < 2 {
		return nil
	}
	var out []auditChoice
	for _, r := range found {
		q := url.Values{}
		maps.Copy(q, rq.URL.Query())
		q.Del("after")
		q.Set(field, string(r.Kind)+"/"+r.ID)
		out = append(out, auditChoice{link{r.Name, "?" + q.Encode()}, string(r.Kind)})
	}
	return out
}

// exportAudit sends what the filter selects as a file of JSON Lines.
func (p *Portal) exportAudit(rq *request) error {
	f, which, err := p.auditFilter(rq)
	if err != nil {
		return err
	}
	if len(which) > 0 {
		return &appaccess.InvalidError{Field: "object, who", Rule: "names several: choose one on the page first"}
	}
	p.attach(rq, "audit", "jsonl", "application/jsonl")
	if err := p.service.ExportAudit(rq.Context(), rq.actor, rq.w, f); err != nil {
		p.breakOff(rq, err)
	}
	return nil
}

func dayOf(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, &appaccess.InvalidError{Field: "from, to", Rule: "must be dates such as 2027-01-31"}
	}
	return t, nil
}
