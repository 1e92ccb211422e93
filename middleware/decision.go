package middleware

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/cloud"
)

// Decision is the record of the gate's decision on one request, for Config.Audit,
// Config.Refuse and [Gate.Explain]. It holds no credential.
type Decision struct {
	// ID names the refusal: it is in the answer's body (decisionId) and header
	// (Entragate-Decision-Id), and in the log. It is empty if the request is allowed,
	// and in a Decision of Explain.
	ID string `json:"id,omitempty"`
	// Allowed reports whether the rules let the request pass. In report-only mode
	// the request passes in any case.
	Allowed    bool   `json:"allowed"`
	ReportOnly bool   `json:"reportOnly,omitempty"`
	Status     int    `json:"status,omitempty"` // of the answer; 0 if allowed
	Reason     Reason `json:"reason"`
	// Credential is the kind that let the request pass or was refused.
	Credential CredentialKind `json:"credential"`
	// Product is the ID of the product that let the request pass, or the product
	// whose checks the request failed last, or the route's only product. API is the
	// ID of the route's API. Both may be empty.
	Product string `json:"product,omitempty"`
	API     string `json:"api,omitempty"`
	// Operation is the ID of the operation, if the API's operations are enforced. If
	// they are only reported, WouldRefuse is the reason why the request would be
	// refused: OperationNotFound, PathNotAllowed or RequestAmbiguous.
	Operation   string `json:"operation,omitempty"`
	WouldRefuse Reason `json:"wouldRefuse,omitempty"`
	// Principal is the caller; nil unless a credential is valid. If the credential is
	// valid but has no right to the route, Principal names no product.
	Principal *Principal `json:"principal,omitempty"`
	// ClaimedClient is the client ID in a refused token, if Principal is nil. It is
	// not verified: anybody can write it. It helps to find whom to ask.
	ClaimedClient string `json:"claimedClient,omitempty"`
	// Detail is the comparison that failed; zero if allowed.
	Detail Detail `json:"detail,omitzero"`
	// Remedy says in one sentence how to fix the cause of a refusal. It is for
	// operators and is not in the answer to the caller. It may be empty.
	Remedy string `json:"remedy,omitempty"`
	// Cached reports whether the token was found in the cache of verified tokens.
	Cached bool `json:"cached,omitempty"`
	// RetryAfter is, for a 503, after how many whole seconds a retry may succeed. It
	// is not in the JSON, because libraries encode a Duration differently.
	RetryAfter time.Duration `json:"-"`
	Time       time.Time     `json:"time"`
}

// Detail is the comparison that a request failed. Actual is what the caller sent, cut
// at 200 bytes. It may hold any text of the caller's, but no credential. It is
// "missing" if nothing was sent, and empty if the value is not shown. For a 503,
// Actual is why the gate cannot decide, and Expected is empty.
type Detail struct {
	Field    string `json:"field"` // a claim, a header parameter, "path", "scope", ...
	Actual   string `json:"actual,omitempty"`
	Expected string `json:"expected,omitempty"` // what would pass, in words
}

// String returns one line, such as: aud is "api://x", expected "y".
func (d Detail) String() string {
	switch {
	case d.Field == "":
		return ""
	case d.Expected == "" && d.Actual == missing:
		return d.Field + " is missing"
	case d.Expected == "":
		return d.Field + ": " + d.Actual
	case d.Actual == "":
		return d.Field + " must be " + d.Expected
	case d.Actual == missing:
		return d.Field + " is missing, expected " + strconv.Quote(d.Expected)
	}
	return d.Field + " is " + strconv.Quote(d.Actual) + hint(d) + ", expected " + strconv.Quote(d.Expected)
}

// hint explains an audience of the other token version.
func hint(d Detail) string {
	switch {
	case d.Field != "aud":
		return ""
	case cloud.IsGUID(d.Actual) && strings.Contains(d.Expected, "://"):
		return " (a client ID, as in version 2 tokens)"
	case strings.Contains(d.Actual, "://") && !strings.Contains(d.Expected, "://"):
		return " (an App ID URI, as in version 1 tokens)"
	}
	return ""
}

// Explain decides on a request like [Gate.Wrap] and returns the decision with its
// reason, for support and tests. It calls no handler, changes no metric, writes no
// log, and records no use of a key. If there are no APIs, it checks the request
// against all products at once.
//
// For a route behind [Gate.Product] or [Gate.API] use [Gate.ExplainProduct] or
// [Gate.ExplainAPI]: their answer may differ.
func (g *Gate) Explain(r *http.Request) Decision {
	return g.explain(r, func(p *policy, r *http.Request) (*route, failure) {
		if len(p.routes) == 0 && len(p.every.products) > 0 {
			return p.every, failure{}
		}
		return byPath(p, r)
	})
}

// ExplainProduct is [Gate.Explain] for a request to a handler that [Gate.Product]
// guards. For an unknown ID the reason is [OperationNotFound].
func (g *Gate) ExplainProduct(id string, r *http.Request) Decision {
	return g.explain(r, ofProduct(id))
}

// ExplainAPI is [Gate.Explain] for a request to a handler that [Gate.API] guards.
// For an unknown ID the reason is [OperationNotFound].
func (g *Gate) ExplainAPI(id string, r *http.Request) Decision {
	return g.explain(r, ofAPI(id))
}

func (g *Gate) explain(r *http.Request, find finder) Decision {
	p := g.current()
	route, missed := p.find(find, r)
	c := g.find(r, g.keysAt(route))
	d := g.judge(r, &c, p, route, missed)
	return d.public(g.cfg.Now(), g.cfg.ReportOnly)
}

// identifier is the decision's ID as text; empty if there is no ID.
func (d *decision) identifier() string {
	if d.id == 0 {
		return ""
	}
	var b [16]byte
	return string(d.appendID(b[:0]))
}

func (d *decision) appendID(b []byte) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[d.id>>shift&15])
	}
	return b
}

// retryAfter is the Retry-After of a 503, in whole seconds; otherwise 0.
func (d *decision) retryAfter() time.Duration {
	if d.status != http.StatusServiceUnavailable {
		return 0
	}
	return (max(d.retry, time.Second) + time.Second - 1).Truncate(time.Second)
}

// call is the decision for a CallRecorder. It names the caller only if the token is
// verified or the key is known.
func (d *decision) call(now time.Time, reportOnly bool) appaccess.Call {
	call := appaccess.Call{Time: now, Failed: d.status == http.StatusServiceUnavailable}
	if d.route != nil {
		call.API = d.route.api
	}
	if d.op != nil {
		call.Operation = d.op.id
	}
	if k := d.caller.key; k != nil {
		call.SubscriptionID = k.SubscriptionID
	} else if t := d.caller.token; t != nil {
		call.ClientID = t.client()
	}
	if !d.ok() && !reportOnly {
		call.Reason = string(d.reason)
	}
	return call
}

func (d *decision) public(now time.Time, reportOnly bool) Decision {
	out := Decision{
		Allowed: d.ok(), ReportOnly: reportOnly, Status: d.status, Reason: d.reason, Credential: d.credential,
		Product: d.product, Detail: Detail{d.field, d.actual, d.expected}, Cached: d.cached,
		RetryAfter: d.retryAfter(), Time: now,
	}
	if d.route != nil {
		out.API = d.route.api
	}
	if d.op != nil {
		out.Operation = d.op.id
	}
	out.WouldRefuse = d.reported
	if d.caller.kind() != NoCredential {
		p := d.caller.principal()
		p.ClaimsJSON = "" // claims may name people, and a record outlives the request
		out.Principal = &p
	} else {
		out.ClaimedClient = clip(d.claimed)
	}
	switch {
	case d.open:
		out.Reason = Open
	case d.ok():
		out.Reason, out.Product = Allowed, out.Principal.Product
	default:
		out.ID, out.Remedy = d.identifier(), d.remedy()
	}
	if out.Product == "" && d.route != nil && len(d.route.products) == 1 {
		out.Product = d.route.products[0].id
	}
	return out
}
