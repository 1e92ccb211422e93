package middleware

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// decision is the outcome of one request. Its failure is empty if the request
// passes.
type decision struct {
	failure
	route      *route
	credential CredentialKind
	open       bool          // passes without a credential
	cached     bool          // the token had been checked before
	caller     caller        // of a valid credential; its product is nil if the request was refused
	retry      time.Duration // of a 503
	claimed    string        // client ID in the token, not verified
	token      *token        // the token that was sent, verified or not; nil if none could be decoded
	id         uint64        // of a refusal; 0 if there is no ID
	op         *operation    // nil where no operations are enforced
	reported   Reason        // why the request would be refused if operations were enforced
}

// decide checks a request's credentials against a route. One valid credential is
// enough, unless there are two Authorization headers. If both token and key are
// refused, the failure with the higher rank is answered.
func (g *Gate) decide(ctx context.Context, c *credentials, p *policy, r *route, op *operation, now time.Time) (d decision) {
	d.route, d.credential, d.op = r, NoCredential, op
	if c.none() {
		d.failure = g.anonymous(r)
		d.open = d.ok()
		return d
	}
	if c.twoAuth { // servers differ in which one they read: even a valid key does not help
		d.credential = TokenCredential
		d.failure = failure{reason: RequestAmbiguous, status: http.StatusBadRequest, field: "Authorization", actual: "more than one", expected: "one"}
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
		return unauthorized(TokenNotPresent, "Authorization", missing, "Bearer and an access token")
	case r.key:
		return unauthorized(SubscriptionKeyNotFound, g.keysAt(r).header, missing, "a subscription key")
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
		d.claimed, d.token = v.token.client(), v.token
	}
	if f.status == http.StatusServiceUnavailable {
		d.retry = v.keys.retryAfter()
		if hopeless := g.grants(ctx, v.token, p, r, d.op, nil); !hopeless.ok() && hopeless.status != f.status {
			return hopeless
		}
		return f
	}
	if !f.ok() {
		return f
	}
	d.caller, d.cached = caller{token: v.token, api: r.api, op: d.op}, v.cached
	return g.grants(ctx, v.token, p, r, d.op, d)
}

// grants looks for a product of the route that lets a token pass. One product must
// accept the token's audience, role and kind of credential, and in managed mode it
// must be granted to the client. If d is nil, the token is not verified yet: grants
// then only says whether some product could let it pass, and does not ask the
// catalog about the client.
func (g *Gate) grants(ctx context.Context, t *token, p *policy, r *route, op *operation, d *decision) failure {
	if f := p.knows(t); !f.ok() {
		return f
	}
	best, closest := failure{}, -1
	var roles []string // that products ask for whose only failed check is the role
	var client *appaccess.ClientState
	for _, pr := range r.products {
		f, near := pr.admits(t, op)
		if f.ok() && g.managed && d != nil {
			near = passes
			client, f = g.client(ctx, t, pr, op, client)
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
		if near == roleMissing && f.reason == RoleMissing && len(roles) <= mostNamed && !slices.Contains(roles, op.required(pr)) {
			roles = append(roles, op.required(pr))
		}
	}
	if closest == roleMissing && best.reason == RoleMissing {
		best.expected = clip(anyOf(roles))
	}
	if closest <= 0 {
		actual := listed(t.aud, missing)
		if len(t.aud) == 1 { // p knows it
			actual += " of product " + p.audiences[t.aud[0]].id
		}
		best = forbidden(TokenAudienceNotAllowed, "aud", actual, r.audList)
	}
	return best
}

// The checks of a product, in order. The refusal names the product at which the
// token fails the latest check.
const (
	otherAudience = iota
	tokensRefused
	productSuspended
	clientRefused
	roleMissing // nothing but the role, or the user's scope, is missing
	claimMissing
	passes
)

// listed joins a list for a record. For an empty list it returns none.
func listed(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return clip(strings.Join(list, " "))
}

// admits checks a token against one product. near is the check that failed, or
// passes.
func (pr *product) admits(t *token, op *operation) (f failure, near int) {
	switch {
	case !pr.accepts(t.aud):
		return failure{reason: TokenAudienceNotAllowed, status: http.StatusForbidden}, otherAudience
	case !pr.access.Token:
		return forbidden(CredentialNotAccepted, "access of "+pr.id, "token", "another kind of credential"), tokensRefused
	case pr.suspended:
		return forbidden(ProductSuspended, "product", pr.id+" is suspended", "not suspended"), productSuspended
	case t.user() && len(pr.scopes) == 0:
		return forbidden(TokenOfUser, "scp", "present", "none (an application's token)"), clientRefused
	case !pr.admitsSomeone():
		return forbidden(RoleMissing, "role of product "+pr.id, missing, "one (it is not in Entra yet)"), clientRefused
	case len(pr.clients) > 0 && !slices.Contains(pr.clients, strings.ToLower(t.client())):
		return forbidden(ClientNotAllowed, "azp or appid", clip(t.client()), "one of the product's Clients"), clientRefused
	}
	if f := pr.permits(t, op); !f.ok() {
		return f, roleMissing
	}
	for name, values := range pr.claims {
		if !slices.ContainsFunc(t.extra[name], func(v string) bool { return slices.Contains(values, v) }) {
			return forbidden(TokenClaimValueNotAllowed, name, listed(t.extra[name], missing), anyOf(values)), claimMissing
		}
	}
	return failure{}, passes
}

// permits checks the scope of a user's token, or the role of an application's
// token if the product has one. A role in a user's token never counts.
func (pr *product) permits(t *token, op *operation) failure {
	if t.user() {
		for _, s := range t.scopes() {
			if slices.Contains(pr.scopes, s) {
				return failure{}
			}
		}
		return forbidden(ScopeMissing, "scp", clip(t.scp), anyOf(pr.scopes))
	}
	switch {
	case pr.role == "" && len(pr.scopes) > 0:
		return forbidden(RoleMissing, "role of product "+pr.id, missing, "a user's token: the product has Scopes and no Role")
	case pr.role == "" || slices.Contains(t.roles, pr.role) || op.met(pr.id, t.roles):
		return failure{}
	case slices.ContainsFunc(t.roles, func(s string) bool { return strings.EqualFold(s, pr.role) }):
		// Entra writes a role as it was defined, so this one is not Entra's.
		return unauthorized(TokenClaimValueNotAllowed, "roles", listed(t.roles, missing), pr.role)
	}
	return forbidden(RoleMissing, "roles", listed(t.roles, missing), op.required(pr))
}

// client asks the catalog whether the token's client may use a product now. known
// is the catalog's answer for an earlier product, so that one request asks once.
func (g *Gate) client(ctx context.Context, t *token, pr *product, op *operation, known *appaccess.ClientState) (*appaccess.ClientState, failure) {
	if known == nil {
		s, err := g.catalog.Client(ctx, t.client())
		if err != nil {
			return nil, unavailable(CatalogUnavailable, "client application", err)
		}
		known = &s
	}
	if known.DenyReason != appaccess.NotDenied {
		f := forbidden(ClientNotAllowed, "client", clip(t.client())+": "+string(known.DenyReason), "an active application of an active owner")
		f.refusal = known.DenyReason
		return known, f
	}
	if id := known.ServicePrincipalID; id != "" && id != t.oid && !t.user() {
		return known, forbidden(ClientNotAllowed, "oid", clip(t.oid), id+", the service principal that is registered for the client ID")
	}
	if !op.granted(pr.id, known.Grants) {
		if op != nil && known.Grants.Has(pr.id) {
			return known, forbidden(ClientNotGranted, "permissions of the client", listed(known.Grants.Of(pr.id), "none"), op.required(pr))
		}
		return known, forbidden(ClientNotGranted, "products of the client", listed(known.Grants.Products(), "none"), pr.id)
	}
	return known, failure{}
}

// key decides on the subscription key.
func (g *Gate) key(ctx context.Context, c *credentials, r *route, now time.Time, d *decision) failure {
	switch {
	case c.twoKeys:
		return failure{reason: RequestAmbiguous, status: http.StatusBadRequest, field: "subscription key", actual: "more than one", expected: "one"}
	case c.key == "" || len(c.key) > maxKeyInput:
		return unauthorized(SubscriptionKeyInvalid, "subscription key", "empty or too long", "a subscription key")
	case !r.key:
		return unauthorized(CredentialNotAccepted, "access of the product", "subscription key", "a token")
	}
	return g.keyGrants(ctx, appaccess.HashKey(c.key), r, now, d)
}

// keyGrants looks for a product of the route that a subscription key opens. hash
// is the key's SHA-256. With the zero time as now, expiry is not checked.
func (g *Gate) keyGrants(ctx context.Context, hash [32]byte, r *route, now time.Time, d *decision) failure {
	k, err := g.catalog.Key(ctx, hash)
	switch {
	case err != nil:
		return unavailable(CatalogUnavailable, "subscription", err)
	case k.DenyReason != appaccess.NotDenied:
		f := unauthorized(SubscriptionKeyInvalid, "subscription key", string(k.DenyReason), "a key of an active subscription")
		f.refusal = k.DenyReason
		return f
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return unauthorized(SubscriptionKeyInvalid, "subscription "+k.SubscriptionID, "expired", "after "+second(now))
	}
	who := caller{key: &keyCaller{k, hash}, api: r.api, op: d.op}
	f := who.reach(r)
	if d.caller.token == nil || f.ok() {
		d.caller = who
	}
	return f
}

// reach looks for a product of the route that the subscription's scope covers.
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

// isScope reports whether s is kind+id, without allocating that string.
func isScope(s appaccess.Scope, kind, id string) bool {
	return len(s) == len(kind)+len(id) && string(s[:len(kind)]) == kind && string(s[len(kind):]) == id
}
