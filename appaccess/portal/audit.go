package portal

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// auditData is the audit trail with the filter that selected it.
type auditData struct {
	listing[appaccess.AuditRecord]
	Form   form
	Export string // address of the same records as a file
}

func (p *Portal) auditTrail(rq *request) error {
	q := rq.URL.Query()
	data := auditData{Form: form{Values: q}, Export: p.path("audit", "export") + withAfter(q, "")}
	f, err := auditFilter(q)
	if err != nil {
		return err
	}
	f.After, f.Limit = q.Get("after"), 50
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

// auditFilter reads the filter from a page's address. The days from and to are
// both within.
func auditFilter(q url.Values) (f appaccess.AuditFilter, err error) {
	f = appaccess.AuditFilter{
		Object: strings.TrimSpace(q.Get("object")), Actor: strings.TrimSpace(q.Get("actor")), Action: strings.TrimSpace(q.Get("action")),
	}
	if f.From, err = dayOf(q.Get("from")); err != nil {
		return f, err
	}
	if f.To, err = dayOf(q.Get("to")); err == nil && !f.To.IsZero() {
		f.To = f.To.Add(day)
	}
	return f, err
}

// auditExport sends what the filter selects as a file of JSON Lines.
func (p *Portal) auditExport(rq *request) error {
	f, err := auditFilter(rq.URL.Query())
	if err != nil {
		return err
	}
	_ = http.NewResponseController(rq.w).SetWriteDeadline(time.Time{})
	rq.w.Header().Set("Content-Type", "application/jsonl")
	rq.w.Header().Set("Content-Disposition", `attachment; filename="audit-`+p.now().UTC().Format("20060102-150405")+`.jsonl"`)
	if err := p.service.ExportAudit(rq.Context(), rq.actor, rq.w, f); err != nil {
		p.log.ErrorContext(rq.Context(), "portal: audit export ended early", "error", err)
		panic(http.ErrAbortHandler) // a file that lacks its end must not look complete
	}
	return nil
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
