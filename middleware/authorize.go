package middleware

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// decision is what becomes of one request. Its failure is empty if it passes.
type decision struct {
	failure
	route      *route
	credential CredentialKind
	open       bool          // passes without a credential
	cached     bool          // the token had been checked before
	caller     caller        // of a genuine credential; without a product if that was refused
	retry      time.Duration // of a 503
	claimed    string        // client ID, as a token that was refused says
}

// decide holds a request's credentials against a route. A valid one passes
// whatever the other is, unless there are two Authorization headers; of several
// failures the one that ranks highest is answered.
func (g *Gate) decide(ctx context.Context, c *credentials, p *policy, r *route, now time.Time) (d decision) {
	d.route, d.credential = r, NoCredential
	if c.none() {
		d.failure = g.anonymous(r)
		d.open = d.ok()
		return d
	}
	if c.twoAuth { // which one counts, others may see differently: no key makes up for it
		d.credential = TokenCredential
		d.failure = failure{reason: RequestAmbiguous, status: http.StatusBadRequest, field: "Authorization", got: "more than one", want: "one"}
		return d
	}
	if c.hasAuth {
		d.credential = TokenCredential
		if d.failure = g.token(ctx, c, p, r, now, &d); d.ok() {
			return d
		}
	}
	if !c.hasKey {
		return d
	}
	f := g.key(ctx, c, r, now, &d)
	if f.ok() {
		d.cached = false
	}
	if f.ok() || !c.hasAuth || f.rank() > d.rank() {
		d.failure, d.credential = f, KeyCredential
	}
	return d
}

// anonymous decides on a request without any credential.
func (g *Gate) anonymous(r *route) failure {
	switch {
	case r.token:
		return unauthorized(TokenNotPresent, "Authorization", absent, "Bearer and an access token")
	case r.key:
		return unauthorized(SubscriptionKeyNotFound, g.cfg.KeyHeader, absent, "a subscription key")
	case !r.open || !g.cfg.InsecureAllowOpenProducts:
		return forbidden(ProductOpen, "access of the product", "open", "a product that asks for a credential")
	case !slices.ContainsFunc(r.products, func(p *product) bool { return !p.suspended }):
		return forbidden(ProductSuspended, "product", "suspended", "not suspended")
	}
	return failure{}
}

// token decides on the Authorization header.
func (g *Gate) token(ctx context.Context, c *credentials, p *policy, r *route, now time.Time, d *decision) failure {
	if !c.hasBearer {
		return unauthorized(TokenNotPresent, "Authorization", "another scheme", "Bearer and an access token")
	}
	v, f := g.verifier.check(ctx, c.token, p, now)
	if v.token != nil {
		d.claimed = v.token.client()
	}
	if f.status == http.StatusServiceUnavailable {
		d.retry = v.tenant.keys.retryAfter()
		if hopeless := g.grants(ctx, v.token, p, r, nil); !hopeless.ok() && hopeless.status != f.status {
			return hopeless
		}
		return f
	}
	if !f.ok() {
		return f
	}
	d.caller, d.cached = caller{token: v.token, api: r.api}, v.cached
	return g.grants(ctx, v.token, p, r, d)
}

// grants looks for a product of the route that lets a token pass: audience,
// role and access must be that one product's, and in managed mode the client
// must be granted it. d may be nil, to see only whether one could: the token
// is not verified then, and the catalog is not asked about whom it names.
func (g *Gate) grants(ctx context.Context, t *token, p *policy, r *route, d *decision) failure {
	if f := p.knows(t); !f.ok() {
		return f
	}
	best, closest := failure{}, -1
	var roles []string // of products that a token comes closest to, but for the role
	var client *appaccess.ClientState
	for _, pr := range r.products {
		f, near := pr.admits(t)
		if f.ok() && g.managed && d != nil {
			near = 5
			client, f = g.client(ctx, t, pr, client)
		}
		if f.ok() {
			if d != nil {
				d.caller.product, d.caller.client = pr, client
			}
			return f
		}
		if near > closest {
			closest, best = near, f
			best.product = pr.id
		}
		if near == roleMissing && f.reason == RoleMissing && len(roles) <= mostNamed && !slices.Contains(roles, pr.role) {
			roles = append(roles, pr.role)
		}
	}
	if closest == roleMissing && best.reason == RoleMissing {
		best.want = clip(anyOf(roles))
	}
	if closest <= 0 {
		got := listed(t.aud, absent)
		if len(t.aud) == 1 { // p knows it
			got += " of product " + p.audiences[t.aud[0]].id
		}
		best = forbidden(TokenAudienceNotAllowed, "aud", got, r.audList)
	}
	return best
}

// roleMissing is how near a token is that lacks nothing but the role.
const roleMissing = 4

// listed is a list as it is told, or what stands for an empty one.
func listed(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return clip(strings.Join(list, " "))
}

// admits holds a token against one product; near says how far it got.
func (pr *product) admits(t *token) (f failure, near int) {
	switch {
	case !pr.accepts(t.aud):
		return failure{reason: TokenAudienceNotAllowed, status: http.StatusForbidden}, 0
	case !pr.access.Token:
		return forbidden(CredentialNotAccepted, "access of "+pr.id, "token", "another kind of credential"), 1
	case pr.suspended:
		return forbidden(ProductSuspended, "product", pr.id+" is suspended", "not suspended"), 2
	case pr.role == "":
		return forbidden(RoleMissing, "role of product "+pr.id, absent, "one (it is not in Entra yet)"), 3
	case !slices.Contains(t.roles, pr.role):
		if slices.ContainsFunc(t.roles, func(s string) bool { return strings.EqualFold(s, pr.role) }) {
			// Entra writes a role as it was defined: this one is none of its.
			return unauthorized(TokenClaimValueNotAllowed, "roles", listed(t.roles, absent), pr.role), roleMissing
		}
		return forbidden(RoleMissing, "roles", listed(t.roles, absent), pr.role), roleMissing
	}
	return failure{}, 5
}

// client asks the catalog, once for all products, whether the token's client
// may use a product now.
func (g *Gate) client(ctx context.Context, t *token, pr *product, known *appaccess.ClientState) (*appaccess.ClientState, failure) {
	if known == nil {
		s, err := g.catalog.Client(ctx, t.client())
		if err != nil {
			return nil, unavailable(CatalogUnavailable, "client application", err)
		}
		known = &s
	}
	if known.Refusal != appaccess.NotRefused {
		f := forbidden(ClientNotAllowed, "client", clip(t.client())+": "+string(known.Refusal), "an active application of an active owner")
		f.refusal = known.Refusal
		return known, f
	}
	if !known.Granted(pr.id) {
		return known, forbidden(ClientNotGranted, "products of the client", listed(known.Products, "none"), pr.id)
	}
	return known, failure{}
}

// key decides on the subscription key.
func (g *Gate) key(ctx context.Context, c *credentials, r *route, now time.Time, d *decision) failure {
	switch {
	case c.twoKeys:
		return failure{reason: RequestAmbiguous, status: http.StatusBadRequest, field: "subscription key", got: "more than one", want: "one"}
	case c.key == "" || len(c.key) > maxKeyInput:
		return unauthorized(SubscriptionKeyInvalid, "subscription key", "empty or too long", "a subscription key")
	case !r.key:
		return unauthorized(CredentialNotAccepted, "access of the product", "subscription key", "a token")
	}
	k, err := g.catalog.Key(ctx, appaccess.SumKey(c.key))
	switch {
	case err != nil:
		return unavailable(CatalogUnavailable, "subscription", err)
	case k.Refusal != appaccess.NotRefused:
		f := unauthorized(SubscriptionKeyInvalid, "subscription key", string(k.Refusal), "a key of an active subscription")
		f.refusal = k.Refusal
		return f
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return unauthorized(SubscriptionKeyInvalid, "subscription "+k.SubscriptionID, "expired", "after "+second(now))
	}
	who := caller{key: &k, api: r.api}
	f := who.reach(r)
	if d.caller.token == nil || f.ok() {
		d.caller = who
	}
	return f
}

// reach looks for a product of the route that a subscription's scope reaches.
func (c *caller) reach(r *route) failure {
	k := c.key
	best := unauthorized(SubscriptionKeyInvalid, "scope", string(k.Scope), "one that reaches this API")
	wide := k.Scope == appaccess.AllAPIs || r.api != "" && isScope(k.Scope, "/apis/", r.api)
	for _, pr := range r.products {
		switch {
		case !pr.access.Key || !wide && !isScope(k.Scope, "/products/", pr.id):
		case pr.suspended:
			best = forbidden(ProductSuspended, "product", pr.id+" is suspended", "not suspended")
			best.product = pr.id
		default:
			c.product = pr
			return failure{}
		}
	}
	return best
}

// isScope compares without building the scope.
func isScope(s appaccess.Scope, kind, id string) bool {
	return len(s) == len(kind)+len(id) && string(s[:len(kind)]) == kind && string(s[len(kind):]) == id
}
