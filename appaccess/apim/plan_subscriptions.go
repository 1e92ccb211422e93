package apim

import (
	"fmt"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

func (p *Plan) planSubscriptions() {
	if _, missing := p.instance.Missing[KindSubscription]; missing {
		return
	}
	p.document.Subscriptions = []appaccess.DocumentSubscription{}
	for i := range p.instance.Subscriptions {
		s := &p.instance.Subscriptions[i]
		if !p.leftOut("subscriptions/" + s.ID) {
			p.addSubscription(s)
		}
	}
	byID(p.document.Subscriptions, func(s *appaccess.DocumentSubscription) string { return s.ID })
}

func (p *Plan) addSubscription(s *Subscription) {
	where := "subscriptions/" + s.ID
	scope, ok := p.scope(s, where)
	if !ok {
		return
	}
	state := appaccess.SubscriptionState(s.State)
	switch state {
	case appaccess.SubscriptionSubmitted, appaccess.SubscriptionActive, appaccess.SubscriptionSuspended,
		appaccess.SubscriptionRejected, appaccess.SubscriptionCancelled, appaccess.SubscriptionExpired:
	default:
		p.find(Breaks, "subscription-state", where, fmt.Sprintf("has the state %q", s.State), "is not imported", "import it by hand")
		return
	}
	d := appaccess.DocumentSubscription{Name: plainText(s.Name, maxName), Scope: scope, State: state}
	if d.Name == "" {
		d.Name = plainText(fmt.Sprintf("%s of %s", s.ID, strings.TrimPrefix(s.Scope, "/")), maxName)
	}
	d.OwnerID = p.owner(s, where)
	p.expiry(s, &d, where)
	d.ID = p.subscriptions.assign(s.ID)
	p.source[d.ID] = s.ID
	p.document.Subscriptions = append(p.document.Subscriptions, d)
}

// scope is what the subscription's keys reach.
func (p *Plan) scope(s *Subscription, where string) (appaccess.Scope, bool) {
	kind, id, _ := strings.Cut(strings.TrimPrefix(s.Scope, "/"), "/")
	switch {
	case s.Scope == "/":
		if !p.options.AllAccess {
			p.find(Breaks, "all-access", where, "is the built-in subscription whose keys open every API",
				"is not imported", "import it with -all-access (Options.AllAccess) if a caller really uses it")
			return "", false
		}
		return appaccess.AllAPIs, true
	case strings.EqualFold(kind, "apis") && id == "":
		p.find(Info, "all-apis", where, "its keys reach every API", "its keys reach every API that a product with key access groups", "nothing")
		return appaccess.AllAPIs, true
	case strings.EqualFold(kind, "products"):
		if product, ok := p.products.get(id); ok {
			return appaccess.ProductScope(product), true
		}
	case strings.EqualFold(kind, "apis"):
		if strings.Contains(id, ";rev=") {
			p.find(Info, "scope-revision", where, "names the revision "+id+"; the gateway refuses its keys",
				"is not imported", "make a new subscription of the API if its caller needs one")
			return "", false
		}
		if api, ok := p.apiID(id); ok {
			if first, merged := p.merged[strings.ToLower(id)]; merged {
				p.find(Opens, "scope-merged", where, "its keys reach one version, apis/"+id,
					"its keys reach every version, because the versions are one API with apis/"+first, "let the backend tell the versions' callers apart")
			}
			return appaccess.APIScope(api), true
		}
	}
	p.find(Info, "scope-unknown", where, "has the scope "+s.Scope+", which does not exist or is not imported",
		"is not imported", "import its scope, too, if a caller uses it")
	return "", false
}

func (p *Plan) owner(s *Subscription, where string) string {
	if s.OwnerID == "" {
		return ""
	}
	if owner, ok := p.users.get(s.OwnerID); ok {
		return owner
	}
	p.find(Info, "subscription-owner", where, "has the owner users/"+s.OwnerID+", who is not among the users",
		"is imported without an owner", "transfer it to a user")
	return ""
}

// expiry carries an end only where the operator says so: API Management keeps
// dates as information and goes on accepting the keys.
func (p *Plan) expiry(s *Subscription, d *appaccess.DocumentSubscription, where string) {
	switch {
	case s.Expires.IsZero() || d.State != appaccess.SubscriptionActive:
	case !p.now.Before(s.Expires):
		p.find(Info, "expiry-passed", where, "is active although its end "+s.Expires.Format("2006-01-02")+" has passed",
			"is imported without an end, so that its callers still pass", "cancel it if the end was meant")
	case p.options.KeepExpiry:
		d.Expires = s.Expires.UTC()
		p.find(Breaks, "expiry-kept", where, "its end "+s.Expires.Format("2006-01-02")+" has no effect",
			"its keys are refused after that day", "tell its owner")
	default:
		p.find(Info, "expiry-dropped", where, "its end "+s.Expires.Format("2006-01-02")+" has no effect",
			"is imported without an end", "import with -keep-expiry (Options.KeepExpiry) if the end is meant")
	}
}
