package middleware

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// refuse writes the answer to a refused request.
func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, d *decision) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h["Entragate-Decision-Id"] = []string{d.identifier()}
	if d.status == http.StatusUnauthorized || d.status == http.StatusForbidden || d.status == http.StatusBadRequest {
		g.challenge(h, r, d)
	}
	if d.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(int(d.retryAfter()/time.Second)))
	}
	if g.cfg.Refuse != nil {
		own := &refusal{ResponseWriter: w, status: d.status}
		g.cfg.Refuse(own, r, d.public(g.cfg.Now(), g.cfg.ReportOnly))
		own.begin()
		return
	}
	h.Set("Content-Type", "application/json")
	body := bodies[answer{d.reason, d.status}]
	if d.op != nil && (d.reason == RoleMissing || d.reason == ClientNotGranted) {
		body = text(d.status, messages[d.reason]+" "+d.description()+".")
	}
	if d.reason == TokenAudienceNotAllowed && d.status == http.StatusForbidden && d.route.scope != "" {
		body = otherProduct
	}
	w.WriteHeader(d.status)
	var buffer [320]byte
	out := append(append(buffer[:0], body...), `, "decisionId": "`...)
	_, _ = w.Write(append(d.appendID(out), `" }`...))
}

// refusal is the ResponseWriter of Config.Refuse. If Refuse writes no status, the
// answer gets the decision's status: net/http's own default would be 200.
type refusal struct {
	http.ResponseWriter
	status int
	begun  bool
}

func (w *refusal) begin() {
	if !w.begun {
		w.WriteHeader(w.status)
	}
}

// WriteHeader implements [http.ResponseWriter].
func (w *refusal) WriteHeader(status int) {
	w.begun = w.begun || status >= 200 || status == http.StatusSwitchingProtocols
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *refusal) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// FlushError implements what [http.ResponseController] asks for.
func (w *refusal) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements [http.Flusher].
func (w *refusal) Flush() { _ = w.FlushError() }

// Unwrap lets [http.ResponseController] reach the wrapped writer's other methods.
func (w *refusal) Unwrap() http.ResponseWriter { return w.ResponseWriter }

const (
	keyMissing = "Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API."
	keyInvalid = "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription."
)

// messages are shown to the caller. They name only the kind of failure. The two
// messages about keys are API Management's.
var messages = map[Reason]string{
	RequestAmbiguous:          "A credential was sent more than once. Send it once.",
	PathNotAllowed:            "The path has dot segments, empty segments, encoded slashes or parameters. Send it in its plain form.",
	TokenNotPresent:           "Access denied due to missing access token. Make sure to include a bearer token in the Authorization header.",
	SubscriptionKeyNotFound:   keyMissing,
	SubscriptionKeyInvalid:    keyInvalid,
	JwtInvalid:                "Access denied due to invalid access token.",
	TokenIssuerNotAllowed:     "Access denied due to invalid access token: its issuer is not accepted.",
	TokenAudienceNotAllowed:   "Access denied due to invalid access token: its audience is not accepted.",
	TokenExpired:              "Access denied due to expired access token.",
	TokenNotYetValid:          "Access denied due to invalid access token: it is not valid yet.",
	TokenClaimNotFound:        "Access denied due to invalid access token: a claim is missing.",
	TokenClaimValueNotAllowed: "Access denied due to invalid access token: a claim's value is not accepted.",
	TokenSignatureKeyNotFound: "Access denied due to invalid access token: its signing key is not known.",
	TokenSignatureInvalid:     "Access denied due to invalid access token: its signature is wrong.",
	CredentialNotAccepted:     "Access denied: this kind of credential is not accepted here.",
	TokenOfUser:               "Access denied: only tokens of applications are accepted.",
	RoleMissing:               "Access denied: the application's token lacks the role for this product.",
	ScopeMissing:              "Access denied: the user's token has none of the scopes of this product.",
	ClientNotAllowed:          "Access denied: the client application has no access.",
	ClientNotGranted:          "Access denied: the client application is not granted this product.",
	ProductSuspended:          "Access denied: the product is suspended.",
	ProductOpen:               "Access denied: the product asks for no credential and is not open to the public.",
	OperationNotFound:         "Resource not found",
	CallerGone:                "The request was cancelled by the caller.",
	KeysUnavailable:           "The access token cannot be checked at present. Try again later.",
	CatalogUnavailable:        "The request cannot be authorized at present. Try again later.",
}

type answer struct {
	reason Reason
	status int
}

// bodies are the JSON bodies of refusals in API Management's format, without the
// decision's ID and the closing brace.
var bodies = func() map[answer][]byte {
	all := map[answer][]byte{}
	for reason, message := range messages {
		for _, status := range []int{400, 401, 403, 404, statusCallerGone, 503} {
			all[answer{reason, status}] = text(status, message)
		}
	}
	return all
}()

// otherProduct is the body for a token of another product. The challenge beside it
// names a scope that the route accepts.
var otherProduct = text(http.StatusForbidden, "Access denied: the access token is for another product. Ask for one with the scope that the WWW-Authenticate header names.")

func text(status int, message string) []byte {
	quoted, err := jsontext.AppendQuote(nil, message)
	if err != nil {
		panic(err)
	}
	return []byte(`{ "statusCode": ` + strconv.Itoa(status) + `, "message": ` + string(quoted))
}

// challenge adds a WWW-Authenticate header for each kind of credential that the
// route's products accept: tokens (RFC 6750, 3) and keys. A refused token gets a
// Bearer challenge in any case.
func (g *Gate) challenge(h http.Header, r *http.Request, d *decision) {
	if d.route == nil || d.reason == PathNotAllowed {
		return
	}
	if d.route.token || d.credential == TokenCredential {
		h.Add("WWW-Authenticate", g.bearerChallenge(d))
	}
	if d.route.key && d.status == http.StatusUnauthorized {
		h.Add("WWW-Authenticate", `AzureApiManagementKey realm="`+quotable(g.realm(r)+d.route.path)+`",name="`+g.keysAt(d.route).header+`",type="header"`)
	}
}

// realm is Config.Resource, or the host of the request if that is empty.
func (g *Gate) realm(r *http.Request) string {
	if g.cfg.Resource != "" {
		return strings.TrimSuffix(g.cfg.Resource, "/")
	}
	return "https://" + r.Host
}

func (g *Gate) bearerChallenge(d *decision) string {
	b := make([]byte, 0, 256)
	b = append(b, "Bearer"...)
	sep := byte(' ')
	param := func(name, value string) {
		if value == "" {
			return
		}
		b = append(b, sep)
		sep = ','
		b = append(b, name...)
		b = append(b, `="`...)
		b = append(b, value...)
		b = append(b, '"')
	}
	if d.credential == TokenCredential && d.reason != TokenNotPresent {
		param("error", d.code())
		param("error_description", d.description())
	}
	if d.status != http.StatusBadRequest {
		param("scope", d.route.scopeFor(d.product))
	}
	param("resource_metadata", g.metadata)
	return string(b)
}

// description is the reason and, if the caller may not use the operation, the app
// roles that the operation needs.
func (d *decision) description() string {
	if d.op == nil || d.expected == "" || d.reason != RoleMissing && d.reason != ClientNotGranted {
		return string(d.reason)
	}
	return string(d.reason) + ": operation " + quotable(d.op.id) + " needs " + quotable(d.expected)
}

// code is RFC 6750's error code (3.1).
func (d *decision) code() string {
	switch d.status {
	case http.StatusBadRequest:
		return "invalid_request"
	case http.StatusForbidden:
		return "insufficient_scope"
	}
	return "invalid_token"
}

// quotable drops the characters of s that a quoted string cannot hold.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
}

const wellKnown = "/.well-known/oauth-protected-resource"

// metadataURL is the URL of a resource's metadata; empty if resource is empty or
// is not a URL.
func metadataURL(resource string) string {
	u, err := url.Parse(resource)
	if err != nil || resource == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host + metadataPath(u)
}

func metadataPath(resource *url.URL) string {
	return wellKnown + strings.TrimSuffix(resource.EscapedPath(), "/")
}

// MetadataPath returns the path at which to mount [Gate.Metadata]:
// /.well-known/oauth-protected-resource, followed by the path of Config.Resource
// if it has one (RFC 9728, 3.1). A proxy in front of the service that removes a
// prefix from paths must also route this path.
func (g *Gate) MetadataPath() string {
	u, err := url.Parse(g.cfg.Resource)
	if err != nil {
		return wellKnown
	}
	return metadataPath(u)
}

// Metadata returns a handler that serves the protected-resource metadata of RFC
// 9728: which tenants issue tokens for this service and which scopes to ask for.
// Mount it outside the gate, at [Gate.MetadataPath]. Without Config.Resource it
// answers 404.
func (g *Gate) Metadata() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := g.current()
		switch {
		case g.cfg.Resource == "":
			http.NotFound(w, r)
			return
		case p == nil:
			http.Error(w, "no products yet", http.StatusServiceUnavailable)
			return
		}
		doc := struct {
			Resource string   `json:"resource"`
			Servers  []string `json:"authorization_servers,omitempty"`
			Scopes   []string `json:"scopes_supported,omitempty"`
			Methods  []string `json:"bearer_methods_supported"`
		}{Resource: g.cfg.Resource, Scopes: p.scopes(), Methods: []string{"header"}}
		for _, tn := range g.verifier.trust.Load().tenants {
			doc.Servers = append(doc.Servers, tn.issuerV2)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.MarshalWrite(w, doc)
	})
}

// scopes returns the sorted scopes of all published products that accept tokens.
func (p *policy) scopes() []string {
	var out []string
	for _, pr := range p.products {
		if pr.access.Token && pr.published && pr.scope != "" {
			out = append(out, pr.scope)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
