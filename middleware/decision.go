package middleware

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/entragate/entragate/internal/cloud"
)

// Decision is the record of what became of one request: for the audit hook,
// the error hook and Explain. It holds no credential.
type Decision struct {
	// Allowed reports whether the request passes by the rules; in report-only
	// mode it passes either way.
	Allowed    bool   `json:"allowed"`
	ReportOnly bool   `json:"reportOnly,omitempty"`
	Status     int    `json:"status,omitempty"` // of the answer; 0 if allowed
	Reason     Reason `json:"reason"`
	// Credential is the kind that let the request pass or was refused.
	Credential CredentialKind `json:"credential"`
	// Product is the one that let the request pass or that came closest; API is
	// the route's. Each may be empty.
	Product string `json:"product,omitempty"`
	API     string `json:"api,omitempty"`
	// Principal is who calls; nil unless a credential was valid. Of a valid
	// credential that was refused it names no product.
	Principal *Principal `json:"principal,omitempty"`
	// ClaimedClient is the client ID that a refused token names, where Principal
	// is nil: not verified, anybody can write it. It tells whom to ask.
	ClaimedClient string `json:"claimedClient,omitempty"`
	// Detail is the comparison that failed; zero if allowed.
	Detail Detail `json:"detail,omitzero"`
	// Cached: the token had been checked before.
	Cached bool `json:"cached,omitempty"`
	// RetryAfter is when asking again may help, of a 503, in whole seconds. It is
	// not in the JSON, where libraries differ on what a Duration is.
	RetryAfter time.Duration `json:"-"`
	Time       time.Time     `json:"time"`
}

// Detail is a comparison and its two sides. Got is what the caller sent, cut
// at 200 bytes: it may hold anything, but no credential. It is "absent" where
// nothing was sent, and empty where what was sent is not shown. Of a 503, Got
// is why the answer could not be had, and Want is empty.
type Detail struct {
	Field string `json:"field"` // a claim, a header parameter, "path", "scope", ...
	Got   string `json:"got,omitempty"`
	Want  string `json:"want,omitempty"` // what is allowed, in words
}

// String is one line: aud is "api://x", allowed is "y".
func (d Detail) String() string {
	switch {
	case d.Field == "":
		return ""
	case d.Want == "" && d.Got == absent:
		return d.Field + " is absent"
	case d.Want == "":
		return d.Field + ": " + d.Got
	case d.Got == "":
		return d.Field + " must be " + d.Want
	case d.Got == absent:
		return d.Field + " is absent, allowed is " + strconv.Quote(d.Want)
	}
	return d.Field + " is " + strconv.Quote(d.Got) + hint(d) + ", allowed is " + strconv.Quote(d.Want)
}

// hint names what people most often mix up.
func hint(d Detail) string {
	switch {
	case d.Field != "aud":
		return ""
	case cloud.IsGUID(d.Got) && strings.Contains(d.Want, "://"):
		return " (a client ID, as in version 2 tokens)"
	case strings.Contains(d.Got, "://") && !strings.Contains(d.Want, "://"):
		return " (an App ID URI, as in version 1 tokens)"
	}
	return ""
}

// Explain decides on a request as [Gate.Wrap] would, without passing it on,
// and says why: for support and tests. Where there are no APIs at all, it is
// held against every product at once. It counts in no metric, is in no log,
// and records no use of a key.
//
// For a route behind [Gate.Product] or [Gate.API] ask [Gate.ExplainProduct] or
// [Gate.ExplainAPI]: the answer may be another.
func (g *Gate) Explain(r *http.Request) Decision {
	return g.explain(r, func(p *policy, r *http.Request) (*route, failure) {
		if len(p.routes) == 0 && len(p.every.products) > 0 {
			return p.every, failure{}
		}
		return byPath(p, r)
	})
}

// ExplainProduct is [Gate.Explain] of a request to a handler that
// [Gate.Product] guards. An unknown ID is [OperationNotFound].
func (g *Gate) ExplainProduct(id string, r *http.Request) Decision {
	return g.explain(r, ofProduct(id))
}

// ExplainAPI is [Gate.Explain] of a request to a handler that [Gate.API]
// guards. An unknown ID is [OperationNotFound].
func (g *Gate) ExplainAPI(id string, r *http.Request) Decision {
	return g.explain(r, ofAPI(id))
}

func (g *Gate) explain(r *http.Request, find finder) Decision {
	c := g.find(r)
	d := g.judge(r, &c, find)
	return d.public(g.cfg.Now(), g.cfg.ReportOnly)
}

// retryAfter is what a 503 tells the caller, in whole seconds; else 0.
func (d *decision) retryAfter() time.Duration {
	if d.status != http.StatusServiceUnavailable {
		return 0
	}
	return (max(d.retry, time.Second) + time.Second - 1).Truncate(time.Second)
}

func (d *decision) public(now time.Time, reportOnly bool) Decision {
	out := Decision{
		Allowed: d.ok(), ReportOnly: reportOnly, Status: d.status, Reason: d.reason, Credential: d.credential,
		Product: d.product, Detail: Detail{d.field, d.got, d.want}, Cached: d.cached,
		RetryAfter: d.retryAfter(), Time: now,
	}
	if d.route != nil {
		out.API = d.route.api
	}
	if d.caller.kind() != NoCredential {
		p := d.caller.principal()
		out.Principal = &p
	} else {
		out.ClaimedClient = clip(d.claimed)
	}
	switch {
	case d.open:
		out.Reason = Open
	case d.ok():
		out.Reason, out.Product = Allowed, out.Principal.Product
	}
	return out
}
