package portal

import (
	"html/template"
	"net/url"
	"time"

	"github.com/entragate/entragate/appaccess"
)

var pruneFields = []formField{{"before", "Records before"}, {"exported", "Export"}}

// prunePage is where a manager deletes old audit records, after an export.
type prunePage struct {
	Form   form
	Count  template.HTML // of the records; empty: no day is chosen
	Export string        // address of these records as a file
	Back   string
}

// prunedBefore is the day that is proposed: a year ago.
const prunedBefore = 365 * day

func (p *Portal) showPrune(rq *request) error {
	before := rq.URL.Query().Get("before")
	if before == "" {
		before = p.now().UTC().Add(-prunedBefore).Format(time.DateOnly)
	}
	return p.prune(rq, nil, form{Fields: pruneFields, Values: url.Values{"before": {before}}})
}

func (p *Portal) prune(rq *request, cause error, f form) error {
	data := prunePage{Back: p.path("audit")}
	before, err := dayOf(f.Get("before"))
	if err != nil {
		p.refuse(rq, &f, &appaccess.InvalidError{Field: "before", Rule: "must be a date such as 2027-01-31"})
	} else {
		found, err := p.service.Audit(rq.Context(), rq.actor, appaccess.AuditFilter{To: before, Limit: maxChoices})
		if err != nil {
			return err
		}
		data.Count = totalText(len(found.Items), found.Next != "")
		to := before.AddDate(0, 0, -1).Format(time.DateOnly) // the filter's last day is within
		data.Export = p.path("audit", "export") + "?" + url.Values{"to": {to}}.Encode()
	}
	if f.Once, err = p.once(rq); err != nil {
		return err
	}
	data.Form = f
	return p.write(rq, formStatus(cause), "audit_prune", page{
		Title: "Delete old audit records", Nav: "audit", Crumbs: p.crumbs("Audit trail", "audit"), Data: data,
		Lead: "The trail grows with each change. Records of the last 30 days always stay.",
	})
}

func (p *Portal) pruneAudit(rq *request) error {
	f := p.sent(rq, pruneFields)
	before, err := dayOf(f.Get("before"))
	switch {
	case err != nil || before.IsZero():
		err = &appaccess.InvalidError{Field: "before", Rule: "must be a date such as 2027-01-31"}
	case !f.Has("exported", "yes"):
		err = &appaccess.InvalidError{Field: "exported", Rule: "export the records first, and confirm that you have them"}
	default:
		err = p.spend(rq)
	}
	n := 0
	if err == nil {
		n, err = p.service.PruneAudit(rq.Context(), rq.actor, before)
	}
	if p.refuse(rq, &f, err) {
		return p.prune(rq, err, f)
	}
	return p.done(rq, err, countOf(n, "record", "records")+" deleted.", p.path("audit"), nil)
}
