package portal

import (
	"github.com/entragate/entragate/appaccess"
)

// shownCallers is how many callers a page names; it counts all.
const shownCallers = 20

// callers are the applications and subscriptions whose access an operation
// concerns.
type callers struct {
	Items []caller // the first ones
	Total int
	More  bool // Total is a lower bound
}

// Rest is how many are not named.
func (c callers) Rest() int { return c.Total - len(c.Items) }

type caller struct {
	Name, URL string
	Kind      string // application, subscription
	Note      string // when it was last used, where that is known
}

func (c *callers) add(one caller) {
	c.Total++
	if len(c.Items) < shownCallers {
		c.Items = append(c.Items, one)
	}
}

// applicationCaller is an application as a caller. A suspended one has no
// access that could end.
func (p *Portal) applicationCaller(rq *request, a appaccess.ClientApplication) caller {
	of := appaccess.Ref{Kind: appaccess.KindApplication, ID: a.ID}
	return caller{Name: a.Name, URL: p.applicationPath(rq, a.ID), Kind: "application", Note: p.callerNote(rq, of, string(a.State))}
}

func (p *Portal) subscriptionCaller(rq *request, s appaccess.Subscription) caller {
	of := appaccess.Ref{Kind: appaccess.KindSubscription, ID: s.ID}
	return caller{Name: s.Name, URL: p.subscriptionPath(rq, s.ID), Kind: "subscription", Note: p.callerNote(rq, of, string(s.State))}
}

// callerNote says when a caller was last used, or why it has no access now.
func (p *Portal) callerNote(rq *request, of appaccess.Ref, state string) string {
	if state != "active" {
		return state
	}
	switch at, err := p.service.LastUsed(rq.Context(), rq.actor, of); {
	case err != nil:
		return ""
	case at.IsZero():
		return "not used in the last 90 days"
	default:
		return "last used " + until(at, p.now())
	}
}

// addApplications adds applications, and the notes of those that are named.
func (p *Portal) addApplications(rq *request, to *callers, apps []appaccess.ClientApplication) {
	for _, a := range apps {
		if len(to.Items) < shownCallers {
			to.add(p.applicationCaller(rq, a))
		} else {
			to.Total++
		}
	}
}

// productCallers are the applications that are granted a product and the
// subscriptions to it.
func (p *Portal) productCallers(rq *request, id string) (callers, error) {
	var out callers
	apps, err := p.service.GrantedApplications(rq.Context(), rq.actor, id, appaccess.Filter{Limit: maxChoices, Order: appaccess.ByName})
	if err != nil {
		return out, err
	}
	p.addApplications(rq, &out, apps.Items)
	subs, err := p.service.Subscriptions(rq.Context(), rq.actor, appaccess.SubscriptionFilter{
		Filter: appaccess.Filter{Limit: maxChoices, Order: appaccess.ByName}, Scope: appaccess.ProductScope(id),
	})
	if err != nil {
		return out, err
	}
	p.addSubscriptions(rq, &out, subs.Items)
	out.More = apps.Next != "" || subs.Next != ""
	return out, nil
}

// addSubscriptions adds those whose keys open something now.
func (p *Portal) addSubscriptions(rq *request, to *callers, subs []appaccess.Subscription) {
	for _, s := range subs {
		if s.State != appaccess.SubscriptionActive {
			continue
		}
		if len(to.Items) < shownCallers {
			to.add(p.subscriptionCaller(rq, s))
		} else {
			to.Total++
		}
	}
}

// ownerCallers are what a user owns.
func (p *Portal) ownerCallers(rq *request, id string) (callers, error) {
	var out callers
	own := appaccess.Filter{OwnerID: id, Limit: maxChoices, Order: appaccess.ByName}
	apps, err := p.service.Applications(rq.Context(), rq.actor, own)
	if err != nil {
		return out, err
	}
	p.addApplications(rq, &out, apps.Items)
	subs, err := p.service.Subscriptions(rq.Context(), rq.actor, appaccess.SubscriptionFilter{Filter: own})
	if err != nil {
		return out, err
	}
	p.addSubscriptions(rq, &out, subs.Items)
	out.More = apps.Next != "" || subs.Next != ""
	return out, nil
}
