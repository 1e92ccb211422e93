package appaccess

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// AuditRecord says who did what to which object when. It never holds a secret.
type AuditRecord struct {
	ID    string    `json:"id"` // ascending in the order of the commits
	Time  time.Time `json:"time"`
	Actor string    `json:"actor"` // user ID
	// ActorName and Name are the names of the actor and the object at the time of the
	// change, because objects are renamed and deleted. Either may be empty.
	ActorName string            `json:"actorName,omitempty"`
	Name      string            `json:"name,omitempty"`
	Manager   bool              `json:"manager,omitempty"`
	Action    string            `json:"action"` // product.create, application.grant, ...
	Kind      Kind              `json:"kind"`
	Object    string            `json:"object"` // ID
	Details   map[string]string `json:"details,omitempty"`
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

// Audit lists what was done, newest first. For managers only.
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
				found.Next = found.Items[limit-1].cursor()
				return false, nil
			}
			found.Items = append(found.Items, a)
			return true, nil
		})
	})
	return found, err
}

// ExportAudit writes the selected records as JSON Lines, one [AuditRecord] a line,
// oldest first. It ignores the filter's Limit. It reads the trail page by page, so
// that records which are added meanwhile may be at the end. For managers only.
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
			f.After = a.cursor()
		}
		more = len(batch) == MaxPage
	}
	return out.Flush()
}

// auditKept is how long audit records cannot be pruned.
const auditKept = 30 * 24 * time.Hour

// PruneAudit deletes the audit records before an instant, which must be at least 30
// days ago, and returns how many. Export them first: see [Service.ExportAudit]. Until
// it is pruned, the trail grows by one record of about a kilobyte for each change.
// Each transaction deletes 20 records; call PruneAudit again after an error. An audit
// record says who pruned the trail, and up to when. For managers only.
func (s *Service) PruneAudit(ctx context.Context, by Actor, before time.Time) (int, error) {
	if latest := s.clock().Add(-auditKept); before.After(latest) {
		return 0, &InvalidError{"before", "must be at least 30 days ago: at most " + latest.Format(time.RFC3339)}
	}
	pruned := 0
	for {
		n := 0
		err := s.manage(ctx, by, func(e *edit) error {
			old, err := e.List(Query{Kind: KindAudit, OrderBy: "time", To: timeValue(before), Limit: inTurn})
			if n = len(old); err != nil || n == 0 {
				return err
			}
			for _, r := range old {
				if err := e.w.Delete(KindAudit, r.ID); err != nil {
					return err
				}
			}
			if pruned == 0 { // the first transaction records it
				err = e.audit("audit.prune", KindAudit, timeValue(before), map[string]string{"name": "before " + timeValue(before)})
			}
			return err
		})
		if err != nil {
			return pruned, err
		}
		if pruned += n; n < inTurn {
			return pruned, nil
		}
	}
}

// walk calls fn for each selected record until fn returns false. Any filter is one
// walk along an index in the order of time. With all three fields, walk compares the
// action record by record.
func (f AuditFilter) walk(r Reader, descending bool, fn func(AuditRecord) (bool, error)) error {
	action := f.Action
	if f.Object != "" && f.Actor != "" {
		action = ""
	}
	name, prefix := auditIndex(f.Object, f.Actor, action)
	q := listQuery{Query: Query{Kind: KindAudit, OrderBy: name, From: prefix, To: prefix + "~", Descending: descending, Limit: 100}}
	if !f.From.IsZero() {
		q.From = prefix + timeValue(f.From)
	}
	if !f.To.IsZero() {
		q.To = prefix + timeValue(f.To)
	}
	if f.After != "" {
		at, id, ok := strings.Cut(f.After, "_")
		if !ok || checkText("after", f.After, 0, maxName) != nil {
			return &InvalidError{"after", "must be the Next of the page before"}
		}
		q.After = prefix + at + "\x00" + id
	}
	for {
		recs, err := r.List(q.Query)
		if err != nil {
			return err
		}
		for _, rec := range recs {
			var a AuditRecord
			if err := json.Unmarshal(rec.Body, &a); err != nil {
				return fmt.Errorf("appaccess: decoding audit %s: %w", rec.ID, err)
			}
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
		q.After = q.Cursor(recs[len(recs)-1])
		q.Limit = MaxPage
	}
}

// cursor is the Next of a page that ends with a record.
func (a *AuditRecord) cursor() string { return timeValue(a.Time) + "_" + a.ID }

// auditIndex is the name of the index of audit records that have some of these
// fields, and what its values begin with. A time follows.
func auditIndex(object, actor, action string) (name, prefix string) {
	name, prefix = "time", ""
	for _, f := range []struct{ name, value string }{{"object", object}, {"actor", actor}, {"action", action}} {
		if f.value != "" {
			name, prefix = name+"+"+f.name, prefix+indexValue(f.value)+"|"
		}
	}
	if len(prefix) > MaxIndexValue-len("2006-01-02T15:04:05.000Z") {
		prefix = indexValue(strings.Repeat(" ", MaxIndexValue)+prefix) + "|"
	}
	return name, prefix
}

func (f AuditFilter) selects(a *AuditRecord) bool {
	return (f.Object == "" || f.Object == auditObject(a.Kind, a.Object)) &&
		(f.Actor == "" || f.Actor == a.Actor) &&
		(f.Action == "" || f.Action == a.Action) &&
		(f.From.IsZero() || !a.Time.Before(f.From)) &&
		(f.To.IsZero() || a.Time.Before(f.To))
}

func auditObject(kind Kind, id string) string { return string(kind) + "/" + id }

// audit adds a record to the transaction. The ID begins with the store's revision, so
// that the records are in the order of the commits, whatever the replicas' clocks
// show. Its random part keeps two records apart if a store lets two transactions read
// one revision. Call audit before the object is deleted: it reads the object's name.
func (e *edit) audit(action string, kind Kind, id string, details map[string]string) error {
	a := AuditRecord{
		ID:   fmt.Sprintf("%019d-%06d-%s", e.revision+1, e.audited, newID()[:6]),
		Time: e.now, Actor: e.by.UserID, Manager: e.by.Manager,
		Action: action, Kind: kind, Object: id, Details: details,
	}
	e.audited++
	a.ActorName, a.Name = e.by.Name, details["name"]
	var err error
	if a.Name == "" {
		if a.Name, err = e.nameOf(kind, id); err != nil {
			return err
		}
	}
	if a.ActorName == "" && e.by.UserID != "" {
		if a.ActorName, err = e.nameOf(KindUser, e.by.UserID); err != nil {
			return err
		}
	}
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	object, at := auditObject(kind, id), timeValue(a.Time)
	var index []IndexEntry
	for _, f := range [][3]string{
		{}, {object}, {"", a.Actor}, {"", "", action}, {object, a.Actor}, {object, "", action}, {"", a.Actor, action},
	} {
		name, prefix := auditIndex(f[0], f[1], f[2])
		entry := IndexEntry{Name: name, Value: prefix + at}
		if !slices.Contains(index, entry) { // what a Service does by itself has no actor
			index = append(index, entry)
		}
	}
	return e.w.Put(Record{Kind: KindAudit, ID: a.ID, Body: body, Index: index})
}
