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
// which of the two they read. Everything else is refused: 400 (the request is
// ambiguous), 401 (no valid credential), 403 (a valid one without the right),
// 404 (no such API) or 503 (the answer could not be had and might have let the
// request pass).
//
// # Static and managed
//
// In static mode the tenant and the products stand in [Config]. In managed
// mode a [Catalog] knows them, with clients, grants, subscriptions and owners,
// and what is revoked there is refused here, though its token lives, as soon as
// the Catalog knows: that of package appaccess follows its store within a
// second.
//
// # Several roles
//
// A product has one role. Where reading needs another role than writing, make
// two products of the same audience and guard each route with its own:
//
//	mux.Handle("GET /orders", gate.Product("orders-read")(list))
//	mux.Handle("POST /orders", gate.Product("orders-write")(create))
//
// [Gate.Wrap] goes by the path alone and cannot tell methods apart; a handler
// can, by [Principal.HasRole].
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
//
// # Behind a proxy
//
// API paths are those that the gate sees. Where a proxy takes a prefix off, set
// Config.Resource to the public address with the prefix: challenges name it,
// and the proxy must route [Gate.MetadataPath], too. The gate reads no
// X-Forwarded header.
//
// # Telemetry
//
// Metrics of Config.MeterProvider, with their units and attributes:
//
//	entragate.gate.decisions    {request}  entragate.allowed, entragate.reason, entragate.credential,
//	                                       entragate.product, entragate.api, entragate.report_only
//	entragate.gate.cache        {token}    entragate.hit: genuine tokens, whether they had been checked before
//	entragate.gate.key_fetches  {fetch}    entragate.tenant, entragate.ok
//	entragate.gate.key_age      s          entragate.tenant; absent while there are no keys
//
// Product and API come from the configuration or the catalog and the reason is
// one of [Reason], so callers cannot make new series. entragate.report_only is
// there, and true, in report-only mode only. With Config.SpanAttributes the
// attributes of a decision are also set on the span of the request's context.
//
// Records of Config.Logger:
//
//	request allowed             DEBUG  what follows, but for status and detail
//	request refused             INFO   reason, credential, product, api, method, path, status, detail, and
//	                                   client and subscription, or claimed_client (not verified)
//	  without a credential      DEBUG
//	  503; an unknown ID        WARN
//	  whose caller has gone     DEBUG
//	request would be refused    INFO   the same in report-only mode, at DEBUG or WARN as above but for
//	                                   requests without a credential
//	signing keys changed        INFO   tenant, keys
//	signing keys unchanged      DEBUG  tenant
//	signing keys not fetched    WARN   tenant, error
//	report-only mode: ...       WARN   at the start
//	no token can pass: ...      WARN   Config.Tenants is empty and a product accepts tokens
package middleware
