package portal

import (
	"errors"
	"html/template"
	"net/http"

	"github.com/entragate/entragate/appaccess"
)

// tile is a number of the overview.
type tile struct {
	Text, Icon, URL string
	Count           template.HTML
}

// homePage is the manager's overview. Each list shows the first ones; the counts
// are of all.
type homePage struct {
	Tiles     []tile
	Behind    []syncRow
	BehindN   int
	Expiring  []expiringRow
	ExpiringN int
	Requests  []requestRow
	RequestsN int
	Waiting   []subscriptionRow
	WaitingN  int
	Audit     []auditRow
}

// Calm reports whether nothing needs attention.
func (h homePage) Calm() bool { return h.BehindN+h.ExpiringN+h.WaitingN+h.RequestsN == 0 }

// shownFirst is how many of a list the overview shows.
const shownFirst = 5

// showHome is the manager's overview; a developer goes on to their applications.
func (p *Portal) showHome(rq *request) error {
	if !rq.user.Manager {
		http.Redirect(rq.w, rq.Request, p.path("my", "applications"), http.StatusSeeOther)
		return nil
	}
	data := homePage{}
	if err := p.overview(rq, &data); err != nil {
		return err
	}
	return p.show(rq, "home", page{Title: "Overview", Nav: "home", Data: data})
}

// overview fills the page. The counts are of all objects, whatever their number.
func (p *Portal) overview(rq *request, data *homePage) error {
	ctx, by := rq.Context(), rq.reader()
	one := appaccess.Filter{Limit: 1, Total: true}
	products, err1 := p.service.Products(ctx, by, one)
	apps, err2 := p.service.Applications(ctx, by, one)
	subs, err3 := p.service.Subscriptions(ctx, by, appaccess.SubscriptionFilter{Filter: one})
	users, err4 := p.service.Users(ctx, by, one)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	data.Tiles = []tile{
		{"Products", "box", p.path("products"), numberText(int64(products.Total))},
		{"Applications", "app", p.path("applications"), numberText(int64(apps.Total))},
		{"Subscriptions", "key", p.path("subscriptions"), numberText(int64(subs.Total))},
		{"Users", "users", p.path("users"), numberText(int64(users.Total))},
	}
	waiting, err := p.service.Subscriptions(ctx, by, appaccess.SubscriptionFilter{Filter: appaccess.Filter{
		State: string(appaccess.SubscriptionSubmitted), Order: appaccess.ByCreated, Limit: shownFirst, Total: true,
	}})
	if err != nil {
		return err
	}
	asked, err := p.service.Requests(ctx, by, appaccess.RequestFilter{Filter: appaccess.Filter{
		State: string(appaccess.RequestOpen), Order: appaccess.ByCreated, Limit: shownFirst, Total: true,
	}})
	if err != nil {
		return err
	}
	data.RequestsN = asked.Total
	if data.Requests, err = p.requestRows(rq, nil, asked.Items...); err != nil {
		return err
	}
	data.WaitingN = waiting.Total
	if data.Waiting, err = p.subscriptionRows(rq, nil, waiting.Items...); err != nil {
		return err
	}
	state, err := p.syncState(rq)
	if err != nil {
		return err
	}
	data.Behind, data.BehindN = state.Behind[:min(len(state.Behind), shownFirst)], state.Count
	expiring, err := p.service.Expiring(ctx, by, warnBefore, appaccess.Filter{Limit: shownFirst, Total: true})
	if err != nil {
		return err
	}
	if data.Expiring, err = p.expiringRows(rq, nil, expiring.Items...); err != nil {
		return err
	}
	data.ExpiringN = expiring.Total
	trail, err := p.service.Audit(ctx, by, appaccess.AuditFilter{Limit: 8})
	if err != nil {
		return err
	}
	data.Audit, err = p.auditRows(rq, trail.Items)
	return err
}
