package appaccess

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// AuditRecord says who did what to which object when. It never holds a secret.
type AuditRecord struct {
	ID      string            `json:"id"` // ascending in the order of the commits
	Time    time.Time         `json:"time"`
	Actor   string            `json:"actor"` // user ID
	Manager bool              `json:"manager,omitempty"`
	Action  string            `json:"action"` // product.create, application.grant, ...
	Kind    Kind              `json:"kind"`
	Object  string            `json:"object"` // ID
	Details map[string]string `json:"details,omitempty"`
}

// AuditFilter selects audit records. Empty fields select all.
type AuditFilter struct {
	Object string    // kind and ID: "product/starter"
	Actor  string    // user ID
	Action string    // exactly: product.create
	From   time.Time // inclusive
	To     time.Time // exclusive
	After  string    // the Next of the page before
	Limit  int       // 0 is 100, at most 999
}

// Names of the index entries of audit records.
const (
	auditByObject = "object"
	auditByActor  = "actor"
	auditByAction = "action"
)

// Audit lists what was done, newest first. For managers only. A filter by
// object, actor or action is an index look-up; further ones and the time are
// compared record by record.
func (s *Service) Audit(ctx context.Context, by Actor, f AuditFilter) (Page[AuditRecord], error) {
	var found Page[AuditRecord]
	limit := f.Limit
	if limit == 0 {
		limit = 100
	}
	if limit < 0 || limit > maxList {
		return found, &InvalidError{"limit", fmt.Sprintf("must be 1 to %d, or 0 for 100", maxList)}
	}
	err := s.view(ctx, by, func(l *look) error {
		if err := l.onlyManager(); err != nil {
			return err
		}
		found = Page[AuditRecord]{}
		return f.walk(l, true, func(a AuditRecord) (bool, error) {
			if len(found.Items) == limit {
				found.Next = found.Items[limit-1].ID
				return false, nil
			}
			found.Items = append(found.Items, a)
			return true, nil
		})
	})
	return found, err
}

// ExportAudit writes what the filter selects as JSON Lines, one AuditRecord a
// line, oldest first; the filter's Limit is ignored. For managers only. The
// trail is read page by page, so records that are added meanwhile may be among
// what is written, at its end.
func (s *Service) ExportAudit(ctx context.Context, by Actor, w io.Writer, f AuditFilter) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	for more := true; more; {
		// The writer may be slow, so no transaction stays open while it works.
		var batch []AuditRecord
		err := s.view(ctx, by, func(l *look) error {
			if err := l.onlyManager(); err != nil {
				return err
			}
			batch = batch[:0]
			return f.walk(l, false, func(a AuditRecord) (bool, error) {
				batch = append(batch, a)
				return len(batch) < MaxPage, nil
			})
		})
		if err != nil {
			return err
		}
		for _, a := range batch {
			if err := enc.Encode(a); err != nil {
				return err
			}
			f.After = a.ID
		}
		more = len(batch) == MaxPage
	}
	return out.Flush()
}

// walk calls fn for each record that the filter selects until it returns false.
func (f AuditFilter) walk(r Reader, descending bool, fn func(AuditRecord) (bool, error)) error {
	q := Query{Kind: KindAudit, After: f.After, Descending: descending, Limit: MaxPage}
	switch {
	case f.Object != "":
		q.Index, q.Value = auditByObject, f.Object
	case f.Actor != "":
		q.Index, q.Value = auditByActor, f.Actor
	case f.Action != "":
		q.Index, q.Value = auditByAction, f.Action
	}
	for {
		recs, err := r.List(q)
		if err != nil {
			return err
		}
		for _, rec := range recs {
			var a AuditRecord
			if err := json.Unmarshal(rec.Body, &a); err != nil {
				return fmt.Errorf("appaccess: decoding audit %s: %w", rec.ID, err)
			}
			q.After = rec.ID
			if !f.selects(&a) {
				continue
			}
			if more, err := fn(a); err != nil || !more {
				return err
			}
		}
		if len(recs) < q.Limit {
			return nil
		}
	}
}

func (f AuditFilter) selects(a *AuditRecord) bool {
	return (f.Object == "" || f.Object == auditObject(a.Kind, a.Object)) &&
		(f.Actor == "" || f.Actor == a.Actor) &&
		(f.Action == "" || f.Action == a.Action) &&
		(f.From.IsZero() || !a.Time.Before(f.From)) &&
		(f.To.IsZero() || a.Time.Before(f.To))
}

func auditObject(kind Kind, id string) string { return string(kind) + "/" + id }

// audit adds a record to the transaction. Its ID comes from the store's
// revision, so the order of the records is that of the commits, whatever the
// clocks of the replicas show; the random part keeps two records apart even on
// a store that let two transactions read one revision.
func (e *edit) audit(action string, kind Kind, id string, details map[string]string) error {
	a := AuditRecord{
		ID:   fmt.Sprintf("%019d-%06d-%s", e.revision+1, e.audited, newID()[:6]),
		Time: e.now, Actor: e.by.UserID, Manager: e.by.Manager,
		Action: action, Kind: kind, Object: id, Details: details,
	}
	e.audited++
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return e.w.Put(Record{Kind: KindAudit, ID: a.ID, Body: body, Index: entries(
		IndexEntry{Name: auditByObject, Value: auditObject(kind, id)},
		IndexEntry{Name: auditByActor, Value: a.Actor},
		IndexEntry{Name: auditByAction, Value: action},
	)})
}
