// Package middleware protects HTTP handlers with Microsoft Entra access tokens
// and subscription keys.
//
// # Getting started
//
// Make one [Gate] for the service, put it in front of the handlers, and read in
// a handler who the caller is:
//
//	gate, err := middleware.New(middleware.Config{
//		Tenants: []string{"aaaabbbb-0000-cccc-1111-dddd2222eeee"},
//		Products: []middleware.Product{{
//			ID:        "orders",
//			Audiences: []string{"55556666-ffff-7777-aaaa-8888bbbb9999", "api://55556666-ffff-7777-aaaa-8888bbbb9999"},
//			Role:      "Product.Orders.All",
//		}},
//	})
//	...
//	mux.Handle("GET /orders", gate.Product("orders")(list))
//
//	func list(w http.ResponseWriter, r *http.Request) {
//		caller, ok := middleware.PrincipalFrom(r.Context())
//		...
//
// A product is what a caller can be granted: an audience (the application ID of
// the product's backend application, and its api:// form for version 1 tokens), an
// app role of it, and the APIs that the product groups. There are three ways to guard a handler:
//
//   - [Gate.Product] guards it with one product, whatever the path.
//   - [Gate.API] guards it with all products that group one API.
//   - [Gate.Wrap] guards a whole mux and finds the API by the path.
//
// Then mount [Gate.ReadyHandler] for probes and close the gate at shutdown. In a
// test, [Gate.CheckRoutes] and gatetest.Unguarded find routes that are not
// protected, and gatetest.Attacks sends forged credentials. To add a gate to a
// running service, begin with Config.ReportOnly. [Gate.Explain] says why a request
// is refused.
//
// # Static and managed mode
//
// In static mode Config lists the products, APIs and subscriptions. In managed
// mode a [Catalog] supplies them, together with the client applications, their
// grants and their owners. A right that is revoked in the catalog is refused by
// the gate as soon as the catalog reports it, although the token has not
// expired. The catalog of package appaccess follows its store within a second.
//
// Only static mode accepts users' tokens (Product.Scopes) and clients without a
// role (Product.Clients). In static mode a product has one role, and further ones
// (Product.Permissions) only for APIs whose operations are enforced. Where reading
// needs another role than writing, you can also make two products with the same
// audience and guard each route with its own:
//
//	mux.Handle("GET /orders", gate.Product("orders-read")(list))
//	mux.Handle("POST /orders", gate.Product("orders-write")(create))
//
// A handler can also call [Principal.HasRole].
//
// # Order of checks
//
// The gate checks a request in this order. The first check that fails decides
// the answer.
//
//  1. Path: it leads to an API that is in a product (400 or 404). Only
//     [Gate.Wrap] checks the path; see Paths below. Where an API's operations are
//     enforced, method and path must belong to one of them (400 or 404).
//  2. Presence: there is a credential (401), unless no product of the route asks
//     for one and Config.InsecureAllowOpenProducts is set. Two Authorization
//     headers are refused with 400, even beside a valid key, because servers
//     differ in which of the two they read.
//  3. Token, what needs no key (401): size, three parts, strict decoding of
//     header and claims, algorithm; iss, ver and tid; exp, nbf, iat and the
//     lifetime; each audience belongs to a product of the gate; the token is not
//     an ID token.
//  4. Token, signature (401, or 503 while the keys are unavailable): a key of the
//     tenant signed the token.
//  5. Token, rights (403): the token is an application's, or Product.Scopes
//     accepts the user's; one product of the route has the token's audience,
//     accepts tokens and is not suspended; the token has the role of that same
//     product, or the roles that the operation needs; Product.Clients and
//     Product.Claims match. A missing idtyp claim, if Config.AppOnly requires it,
//     is answered with 401.
//  6. Token, catalog (403, or 503 while the catalog is unavailable), in managed
//     mode only: the client application is active, its owner is not blocked, the
//     token's oid is the service principal that the client application names (if
//     it names one), and it is granted the product.
//  7. Subscription key, if no token let the request pass: the key is sent once
//     (400); a product of the route accepts keys (401); the key belongs to an
//     active subscription and has not expired (401, or 503 while the catalog is
//     unavailable); its scope covers the product or the API (401); the product is
//     not suspended (403).
//
// One valid credential is enough: an invalid one beside it does no harm. If both
// are invalid, the gate answers with the first of 400, 503, 403 and 401 that
// applies. A verified token is cached: steps 3 and 4 are skipped for it until it
// expires or its key or tenant is removed. Steps 5 and 6 are repeated for each
// request.
//
// The statuses mean: 400 the request is ambiguous, 401 no valid credential, 403 a
// valid credential without the right, 404 no such API or operation, 503 the gate
// cannot decide now, and the request might pass later. [Reason] lists all reasons.
//
// # Signing keys
//
// The gate fetches each tenant's signing keys every hour. A token with an unknown
// key ID causes a fetch if the last successful fetch is at least 30 seconds old
// (Config.KeyInterval). The request waits for the fetch for up to 3 seconds
// (Config.KeyWait), and gets 503 if the fetch takes longer or fails. It gets 401
// if the key is not among the fetched keys. While fetches fail, the gate uses the
// known keys for up to 24 hours.
//
// Microsoft's endpoint was observed to alternate between two key sets. The gate
// therefore drops a key after three answers without it, at most 75 minutes after
// the tenant stopped publishing it. [Gate.DenyKeys] drops a key at once.
//
// A gate can remember the keys, so that it can start while the key endpoint is
// unreachable: in the file Config.KeyFile if it is set, otherwise in the catalog's
// store, in managed mode. It uses remembered keys until a fetch succeeds, and at
// most 24 hours after they were fetched. It remembers neither denied keys nor keys
// that were missing in the last answer. The remembered keys are not signed: anybody who
// can write the store or the file can have forged tokens accepted during an outage.
// Calls of Gate.DenyKeys are not remembered: repeat them in each replica, after each
// start.
//
// # Revocation and open responses
//
// New requests are refused as soon as the catalog reports that a right was
// revoked. The gate also ends responses that are still open. When the catalog, the
// tenants or the signing keys change, the gate decides again on each open response,
// and ends those whose request would be refused now, within a second of the
// change.
//
// By default it ends GET and HEAD requests, event streams (Content-Type
// text/event-stream) and upgraded connections. Other methods continue, because a
// cancelled POST may be half done; this includes gRPC calls, which are POST
// requests. Config.OnRevocation sets another policy for the gate, [OnRevocation]
// for a route. To end a response, the gate cancels the request's context, lets
// further writes fail, and closes an upgraded connection. If the response has not
// begun, the client gets the refusal. If it has begun, the gate aborts it, so that
// the client does not take a part for the whole; an event stream only stops.
//
// Event streams and upgraded connections also end when their credential expires,
// in static mode too. For tokens the leeway is added.
//
// While the store or the key endpoint is unreachable, the gate ends nothing and
// asks again until it has an answer. The gate cannot stop a handler that looks
// neither at its context nor at the errors of its writes: the client receives
// nothing more, but the handler continues to run. A handler must write through the
// ResponseWriter that it gets from the gate.
//
// # Paths
//
// [Gate.Wrap] finds the API by the path. It refuses a path with 400 if another
// usual reading of the path leads to another API: other letter case, blanks and
// dots at the end of a segment, parameters (;), repeated escapes. Dot segments
// and encoded backslashes are always refused; empty segments and encoded slashes
// are refused unless the API sets AllowEncodedSlash. The gate does not know how a
// server behind it rewrites paths: guard such routes with [Gate.API] or
// [Gate.Product], which do not read the path unless the API's operations are
// enforced or reported.
//
// Every method needs a credential. A browser sends CORS preflights (OPTIONS)
// without one: put a CORS handler outside the gate. The answer to HEAD is the
// answer to GET without the body.
//
// # Operations
//
// If an API's operations are enforced ([appaccess.EnforceOperations]), the gate finds
// the operation of each request and checks the permissions that it needs. These rules
// keep the gate and the handler from choosing different operations:
//
//  1. The gate compares the path below the API's path segment by segment, with the
//     operations of the request's method. It prefers a literal to a template. A
//     template matches one segment, which must not be empty.
//  2. The path, the path as it was sent, and the path decoded once more must belong to
//     the same operation (400).
//  3. A segment must not match a template if it differs from a literal beside it only in
//     letter case, in blanks and dots at its end, or in parameters (;) (400).
//  4. A request that matches no operation gets 404, also if only its method is unknown. A
//     slash at the end of the path counts.
//  5. HEAD needs what GET needs, unless the API has a HEAD operation. OPTIONS is an
//     operation like any other. Letter case counts in methods.
//  6. A header X-HTTP-Method-Override, X-HTTP-Method or X-Method-Override, also with _ or
//     . in place of -, must not name another method than the request's own (400).
//  7. [appaccess.CheckOperations] refuses operations that routers could confuse.
//  8. [Gate.CheckRoutes] finds operations without a route, and routes of several
//     operations that need different permissions.
//
// The gate reads neither query nor body. An API that chooses what it does by a query
// parameter such as _method, by SOAPAction, or by the body (GraphQL, JSON-RPC) must
// check permissions itself: see [Principal.Permits].
//
// # Limits
//
// A token may have 6 KiB (Config.MaxTokenSize), a subscription key 512 bytes.
// The gate remembers 4096 verified tokens (Config.CacheSize). It accepts RS256
// signatures (Config.Algorithms), tokens of at most 28 hours (Config.MaxLifetime)
// and clocks that differ by a minute (Config.Leeway).
//
// # What is not checked
//
// A gate does not bind a token to a TLS connection or to a proof key, does not
// detect a stolen token, and does not ask Entra whether a token was revoked: in
// static mode a token passes until it expires. It does not check acr, amr, ipaddr,
// wids or groups, nor azpacr unless Product.Claims requires a value. It does not
// check the request's body, host or rate, nor roles of other products. It refuses
// encrypted tokens (JWE), opaque tokens, and tokens in the query or the body.
// Azure AD B2C is not supported.
//
// # Proxies
//
// In front of the gate: the gate sees the path that the proxy sends. If the proxy
// removes a prefix, set Config.Resource to the public address with the prefix.
// Challenges name that address, and the proxy must route [Gate.MetadataPath], too.
// The gate reads no X-Forwarded header.
//
// Behind the gate, a proxy must
//
//   - forward the path that the gate decided on, and choose the target by
//     Principal.API instead of reading the path again;
//   - remove the caller's X-Forwarded headers, headers that name another path or
//     method, and headers that name the caller, before it sets its own, also where
//     the name has _ or . in place of -, which CGI servers do not distinguish;
//   - not let the caller switch protocols: "Upgrade: h2c" opens a tunnel in which
//     the gate sees no further request. Put [WebSocketOnly] between gate and proxy.
//
// examples/gateway does all of this.
//
// # Frameworks
//
// chi accepts the gate directly: r.Use(gate.Product("starter")). For echo use
// echo.WrapMiddleware(gate.Product("starter")). gin needs an adapter:
//
//	func Use(m func(http.Handler) http.Handler) gin.HandlerFunc {
//		return func(c *gin.Context) {
//			passed := false
//			m(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
//				passed = true
//				c.Request = r // and c.Writer must write through w
//				c.Next()
//			})).ServeHTTP(c.Writer, c.Request)
//			if !passed {
//				c.Abort()
//			}
//		}
//	}
//
// The module examples/frameworks has the complete adapter. gin.WrapH(gate.Product(...)(h))
// as gin middleware is wrong: gin runs the next handler although the gate has
// refused the request. gatetest.Unguarded and gatetest.Attacks find this mistake.
//
// # Telemetry
//
// Metrics of Config.MeterProvider, with their units and attributes:
//
//	entragate.gate.decisions    {request}  entragate.allowed, entragate.reason, entragate.credential,
//	                                       entragate.product, entragate.api, entragate.report_only,
//	                                       entragate.would_refuse
//	entragate.gate.cache        {token}    entragate.hit: verified tokens, whether they were cached
//	entragate.gate.ended        {response} as decisions: open responses that the gate ended
//	entragate.gate.key_fetches  {fetch}    entragate.tenant, entragate.ok
//	entragate.gate.key_age      s          entragate.tenant; not reported while there are no keys
//
// Product and API come from the configuration or the catalog, and the reason is
// one of [Reason], so callers cannot create new time series.
// entragate.report_only is set, to true, in report-only mode only;
// entragate.would_refuse where an API's operations are only reported. With
// Config.SpanAttributes the gate also sets the attributes of a decision on the
// span of the request's context, and entragate.decision_id for a refusal.
//
// A refused caller can quote the decision's ID: it is in the answer's body as
// decisionId, in its Entragate-Decision-Id header, in the log as decision, and in
// [Decision].
//
// Records of Config.Logger:
//
//	request allowed             DEBUG  reason, credential, product, api, method, path, and client and
//	                                   subscription of a valid credential
//	request refused             INFO   the same and decision, status, detail, remedy; for a credential that
//	                                   is not valid claimed_client (not verified) instead of client
//	  no credential, or no
//	  API at the path           DEBUG
//	  503, or 404 for a product
//	  or API that a route names WARN
//	  CallerGone                DEBUG
//	request would be refused    INFO   report-only mode: as request refused, but INFO without a credential
//	open response ended         INFO   reason, credential, product, api, method, path, detail, client,
//	                                   subscription
//	signing keys changed        INFO   tenant, keys
//	signing keys unchanged      DEBUG  tenant
//	signing keys not fetched    WARN   tenant, error
//	remembered signing keys used      WARN  tenant, keys, fetched, until: no fetch succeeded since the start
//	remembered signing keys not used  WARN  tenant, error
//	signing keys not remembered       WARN  tenant, error
//	report-only mode: ...       WARN   at the start
//	no token can pass: ...      WARN   Config.Tenants is empty and a product accepts tokens
package middleware
