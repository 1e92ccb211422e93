// Package middleware guards HTTP handlers with Microsoft Entra application
// tokens and subscription keys. [New] makes a [Gate], [Gate.Product],
// [Gate.API] and [Gate.Wrap] put it in front of a handler, [PrincipalFrom]
// tells the handler who calls.
//
// A request passes when a product that its route belongs to accepts the kind
// of credential that it carries and
//
//   - its access token was signed by a current key of its tenant, was issued
//     by that tenant, to an application and not to a user, is within its time,
//     and names an audience and a role of that one product; in managed mode
//     its client is also active and granted the product; or
//   - its subscription key is that of an active subscription whose scope
//     reaches the product or the API.
//
// Either suffices, and an invalid one does not spoil a valid other. Two
// Authorization headers are refused even beside a valid key: servers differ in
// which of the two they read. Everything else is refused: 400 (the request is ambiguous), 401 (no valid credential),
// 403 (a valid one without the right), 404 (no such API) or 503 (the answer
// could not be had and might have let the request pass).
//
// # Static and managed
//
// In static mode the tenant and the products stand in [Config]. In managed
// mode a [Catalog] knows them, with clients, grants, subscriptions and owners,
// and what is revoked there is refused here at once, though its token lives.
//
// # What is not checked
//
// A Gate looks at tokens, not at how they came: it does not bind them to a TLS
// connection or proof key, does not detect that a token was stolen and does
// not ask Entra whether one was revoked (in static mode a token passes until
// it expires). It does not look at acr, amr, azpacr, ipaddr, wids or groups, at
// the request's body, method, host or rate, or at roles other than the
// product's. Encrypted tokens (JWE), opaque tokens, tokens in the query or the
// body, and tokens of users are refused, not interpreted.
//
// # HEAD and OPTIONS
//
// Every method needs a credential. A browser sends CORS preflights (OPTIONS)
// without one: put a CORS handler outside the gate. Answers to HEAD are those
// to GET without a body.
package middleware
