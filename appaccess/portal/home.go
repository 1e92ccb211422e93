package portal

import (
	"fmt"
	"net/http"

	"github.com/entragate/entragate/appaccess"
)

// tile is a number of the overview.
type tile struct {
	Text, Icon, URL string
	Count           string
}

type homeData struct {
	Tiles     []tile
	Behind    []syncRow
	Expiring  []appaccess.ExpiringCredential
	Submitted []appaccess.Subscription
	Audit     []appaccess.AuditRecord
}

// home is the manager's overview; a developer goes on to their applications.
func (p *Portal) home(rq *request) error {
	if !rq.user.Manager {
		http.Redirect(rq.w, rq.Request, p.path("my", "applications"), http.StatusSeeOther)
		return nil
	}
	data := homeData{}
	if err := p.overview(rq, &data); err != nil {
		return err
	}
	return p.show(rq, "home", page{Title: "Overview", Nav: "home", Data: data})
}

func (p *Portal) overview(rq *request, data *homeData) error {
	all := appaccess.Filter{Limit: maxChoices}
	ctx, by := rq.Context(), rq.actor
	products, err := p.service.Products(ctx, by, all)
	if err != nil {
		return err
	}
	apps, err := p.service.Applications(ctx, by, all)
	if err != nil {
		return err
	}
	subs, err := p.service.Subscriptions(ctx, by, appaccess.SubscriptionFilter{Filter: all})
	if err != nil {
		return err
	}
	users, err := p.service.Users(ctx, by, all)
	if err != nil {
		return err
	}
	data.Tiles = []tile{
		{"Products", "box", p.path("products"), count(products)},
		{"Applications", "app", p.path("applications"), count(apps)},
		{"Subscriptions", "key", p.path("subscriptions"), count(subs)},
		{"Users", "users", p.path("users"), count(users)},
	}
	for _, one := range subs.Items {
		if one.State == appaccess.SubscriptionSubmitted && len(data.Submitted) < 8 {
			data.Submitted = append(data.Submitted, one)
		}
	}
	behind, err := p.behind(rq)
	if err != nil {
		return err
	}
	data.Behind = behind.Behind
	expiring, err := p.service.Expiring(ctx, by, warnBefore, appaccess.Filter{Limit: 8})
	if err != nil {
		return err
	}
	data.Expiring = expiring.Items
	trail, err := p.service.Audit(ctx, by, appaccess.AuditFilter{Limit: 8})
	data.Audit = trail.Items
	return err
}

// count is how many there are, as far as one page tells.
func count[T any](found appaccess.Page[T]) string {
	if found.Next != "" {
		return fmt.Sprintf("%d+", len(found.Items))
	}
	return fmt.Sprint(len(found.Items))
}
