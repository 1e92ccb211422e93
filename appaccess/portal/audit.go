package portal

import (
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// auditData is the audit trail with the filter that selected it.
type auditData struct {
	listing[appaccess.AuditRecord]
	Form form
}

func (p *Portal) auditTrail(rq *request) error {
	q := rq.URL.Query()
	data := auditData{Form: form{Values: q}}
	f := appaccess.AuditFilter{
		Object: strings.TrimSpace(q.Get("object")), Actor: strings.TrimSpace(q.Get("actor")),
		Action: strings.TrimSpace(q.Get("action")), After: q.Get("after"), Limit: 50,
	}
	var err error
	if f.From, err = dayOf(q.Get("from")); err != nil {
		return err
	}
	if f.To, err = dayOf(q.Get("to")); err != nil {
		return err
	}
	if !f.To.IsZero() {
		f.To = f.To.Add(day)
	}
	found, err := p.service.Audit(rq.Context(), rq.actor, f)
	if err != nil {
		return err
	}
	data.listing = listed(rq, found, same[appaccess.AuditRecord])
	return p.show(rq, "audit", page{
		Title: "Audit trail", Nav: "audit", Data: data,
		Lead: "Who did what to which object, newest first. No secret is ever recorded.",
	})
}

func dayOf(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, &appaccess.InvalidError{Field: "from, to", Rule: "must be dates such as 2027-01-31"}
	}
	return t, nil
}
