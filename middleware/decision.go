package middleware

import (
	"net/http"
	"strconv"
	"time"
)

// Decision is the record of what became of one request: for the audit hook,
// the error hook and Explain. It holds no credential.
type Decision struct {
	// Allowed reports whether the request passes by the rules; in report-only
	// mode it passes either way.
	Allowed    bool
	ReportOnly bool
	Status     int // of the answer; 0 if allowed
	Reason     Reason
	// Credential is the kind that let the request pass or was refused.
	Credential CredentialKind
	// Product is the one that let the request pass or that came closest; API is
	// the route's. Each may be empty.
	Product string
	API     string
	// Principal is who calls; nil unless a credential was valid. Of a valid
	// credential that was refused it names no product.
	Principal *Principal
	// Detail is the comparison that failed; zero if allowed.
	Detail Detail
	// Cached: the token had been checked before.
	Cached bool
	// RetryAfter is when asking again may help, of a 503.
	RetryAfter time.Duration
	Time       time.Time
}

// Detail is a comparison and its two sides. Got is what the caller sent, cut
// at 200 bytes: it may hold anything, but no credential.
type Detail struct {
	Field string // a claim, a header parameter, "path", "scope", ...
	Got   string
	Want  string // what is allowed, in words
}

// String is one line: aud is "api://x", allowed is "y".
func (d Detail) String() string {
	switch {
	case d.Field == "":
		return ""
	case d.Got == "":
		return d.Field + ": " + d.Want
	}
	return d.Field + " is " + strconv.Quote(d.Got) + hint(d) + ", allowed is " + strconv.Quote(d.Want)
}

// hint names what people most often mix up.
func hint(d Detail) string {
	if d.Field != "aud" {
		return ""
	}
	if isGUID(d.Got) {
		return " (a client ID, as in version 2 tokens)"
	}
	return ""
}

// Explain decides on a request as [Gate.Wrap] would, without passing it on,
// and says why: for support and tests. A request whose path is in no API is
// held against every product at once. It counts in no metric, is in no log,
// and records no use of a key.
func (g *Gate) Explain(r *http.Request) Decision {
	c := g.find(r)
	d := g.judge(r, &c, func(p *policy, r *http.Request) (*route, failure) {
		route, f := byPath(p, r)
		if f.reason == OperationNotFound && route == nil && len(p.every.products) > 0 {
			return p.every, failure{}
		}
		return route, f
	})
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
	}
	switch {
	case d.open:
		out.Reason = Open
	case d.ok():
		out.Reason, out.Product = Allowed, out.Principal.Product
	}
	return out
}
