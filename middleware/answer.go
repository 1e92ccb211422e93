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

// refuse answers a request that does not pass.
func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, d *decision) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
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
	if d.reason == TokenAudienceNotAllowed && d.status == http.StatusForbidden && d.route.scope != "" {
		body = otherProduct
	}
	w.WriteHeader(d.status)
	_, _ = w.Write(body)
}

// refusal is what Config.Refuse writes to. An answer that says no status has
// that of the decision: net/http's own default would be 200.
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

// Unwrap gives [http.ResponseController] the rest.
func (w *refusal) Unwrap() http.ResponseWriter { return w.ResponseWriter }

const (
	keyMissing = "Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API."
	keyInvalid = "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription."
)

// messages are what a caller is told: the kind of failure, no more. The two on
// keys are API Management's.
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
	ClientNotAllowed:          "Access denied: the client application has no access.",
	ClientNotGranted:          "Access denied: the client application is not granted this product.",
	ProductSuspended:          "Access denied: the product is suspended.",
	ProductOpen:               "Access denied: the product asks for no credential and is not open to the public.",
	OperationNotFound:         "Resource not found",
	KeysUnavailable:           "The access token cannot be checked at present. Try again later.",
	CatalogUnavailable:        "The request cannot be authorized at present. Try again later.",
}

type answer struct {
	reason Reason
	status int
}

// bodies are the answers with API Management's shape.
var bodies = func() map[answer][]byte {
	all := map[answer][]byte{}
	for reason, message := range messages {
		for _, status := range []int{400, 401, 403, 404, 503} {
			all[answer{reason, status}] = text(status, message)
		}
	}
	return all
}()

// otherProduct is for a token of another product, where the challenge names the
// scope of one that would do.
var otherProduct = text(http.StatusForbidden, "Access denied: the access token is for another product. Ask for one with the scope that the WWW-Authenticate header names.")

func text(status int, message string) []byte {
	quoted, err := jsontext.AppendQuote(nil, message)
	if err != nil {
		panic(err)
	}
	return []byte(`{ "statusCode": ` + strconv.Itoa(status) + `, "message": ` + string(quoted) + ` }`)
}

// challenge says which credentials would do: one challenge for tokens
// (RFC 6750, 3) and one for keys, as far as the route's products accept them.
func (g *Gate) challenge(h http.Header, r *http.Request, d *decision) {
	if d.route == nil || d.reason == PathNotAllowed {
		return
	}
	if d.route.token || d.credential == TokenCredential {
		h.Add("WWW-Authenticate", g.bearerChallenge(d))
	}
	if d.route.key && d.status == http.StatusUnauthorized {
		h.Add("WWW-Authenticate", `AzureApiManagementKey realm="`+quotable(g.realm(r)+d.route.path)+`",name="`+g.cfg.KeyHeader+`",type="header"`)
	}
}

// realm is the public address of the service, as far as it is known.
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
		param("error_description", string(d.reason))
	}
	if d.status != http.StatusBadRequest {
		param("scope", d.route.scopeFor(d.product))
	}
	param("resource_metadata", g.metadata)
	return string(b)
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

// quotable is text that may stand in a quoted string.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
}

const wellKnown = "/.well-known/oauth-protected-resource"

// metadataURL is where the metadata of a resource is found; empty without one.
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

// MetadataPath is where to mount [Gate.Metadata]:
// /.well-known/oauth-protected-resource, followed by the path of
// Config.Resource if that has one (RFC 9728, 3.1). A proxy in front of the
// service that takes a prefix off its paths must route this one, too.
func (g *Gate) MetadataPath() string {
	u, err := url.Parse(g.cfg.Resource)
	if err != nil {
		return wellKnown
	}
	return metadataPath(u)
}

// Metadata serves the protected-resource metadata of RFC 9728: which tenants
// issue tokens for this service and which scopes to ask for. Mount it, outside
// the gate, at [Gate.MetadataPath]. Without Config.Resource it answers 404.
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
		for _, tn := range g.verifier.tenants {
			doc.Servers = append(doc.Servers, tn.issuerV2)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.MarshalWrite(w, doc)
	})
}

// scopes are those of all published products that accept tokens, sorted.
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
