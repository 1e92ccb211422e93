package middleware

import (
	"strings"

	"github.com/entragate/entragate/internal/cloud"
)

// remedy says in one sentence how the operator of the service or of the client can fix
// a refusal. It is empty if the reason is enough. It is made only for records.
func (d *decision) remedy() string {
	switch d.reason {
	case TokenNotPresent:
		return d.askFor("Send an access token")
	case TokenAudienceNotAllowed:
		return d.audienceRemedy()
	case TokenIssuerNotAllowed:
		if t := d.token; t != nil && t.ver == "1.0" {
			return "The token has version 1, which this gate does not accept: set api.requestedAccessTokenVersion of the product's application to 2."
		}
		return "Ask the authority of a tenant for the token that this gate accepts."
	case TokenExpired:
		return "Get a new token; if new tokens are refused as well, compare the clocks."
	case TokenNotYetValid:
		return "Compare the clocks of this service and of the authority."
	case TokenClaimNotFound:
		if d.field == "idtyp" {
			return "Add the optional claim idtyp for access tokens to the product's application, so that its tokens say that they are an application's."
		}
	case TokenOfUser:
		return d.askFor("Get the token with the client-credentials flow")
	case RoleMissing:
		return d.roleRemedy()
	case ScopeMissing:
		return "Let the client ask for one of the scopes " + d.expected + ", and consent to it."
	case ClientNotAllowed:
		if d.field == "oid" {
			return "The token was issued to another service principal than the client application names: register the one that calls, if it may."
		}
		if d.caller.client == nil && d.refusal == "" { // static mode
			return "Add the client to the product's Clients if it may call."
		}
		return "Register the client application, or let its owner or a manager activate it."
	case ClientNotGranted:
		return "Grant the product to the client application."
	case KeysUnavailable:
		return "Check that this service reaches the authority's key endpoint."
	case CatalogUnavailable:
		return "Check that this service reaches the store."
	case SubscriptionKeyInvalid:
		return "Send a key of an active subscription that reaches this API."
	}
	return ""
}

// askFor returns an advice with the scope of the route, if there is one.
func (d *decision) askFor(what string) string {
	if d.route == nil || d.route.scopeFor(d.product) == "" {
		return what + "."
	}
	return what + ", with the scope " + d.route.scopeFor(d.product) + "."
}

// audienceRemedy compares the audience with the audiences of this route's products
// only: records of a route do not show other products.
func (d *decision) audienceRemedy() string {
	if d.token == nil || d.route == nil {
		return ""
	}
	for _, aud := range d.token.aud {
		for _, p := range d.route.products {
			for _, expected := range p.audiences {
				if r := nearly(aud, expected); r != "" {
					return r
				}
				if d.token.ver == "1.0" && cloud.IsGUID(expected) && strings.EqualFold(aud, "api://"+expected) {
					return "The token has version 1: set api.requestedAccessTokenVersion of the product's application to 2, or add " + aud + " to the product's audiences."
				}
			}
		}
	}
	return d.askFor("Get a token for this product")
}

// nearly explains an audience that differs from an expected one only by a final slash
// or by letter case.
func nearly(aud, expected string) string {
	switch {
	case aud == expected:
		return ""
	case strings.TrimSuffix(aud, "/") == strings.TrimSuffix(expected, "/"):
		return "The audience differs from " + expected + " by a slash at its end: register and request exactly one of the two."
	case strings.EqualFold(aud, expected):
		return "The audience differs from " + expected + " by letter case only: register and request exactly one of the two."
	}
	return ""
}

func (d *decision) roleRemedy() string {
	switch {
	case d.token != nil && d.token.user():
		return d.askFor("Get the token with the client-credentials flow")
	case d.token == nil || !d.token.has(hasRoles):
		return "The token has no roles: assign the app role " + d.expected + ", which must allow applications as members, to the client's service principal, and get a new token."
	}
	return "Assign the app role " + d.expected + " to the client's service principal, and get a new token: one issued before does not have it."
}

// gone replaces a 503 of a request whose caller closed the connection while the gate
// waited for keys or the catalog.
func (d *decision) gone() {
	d.failure = failure{reason: CallerGone, status: statusCallerGone, field: "request", actual: "cancelled by the caller"}
	d.retry = 0
}

// statusCallerGone is nginx's status for a caller who closed the connection.
const statusCallerGone = 499
