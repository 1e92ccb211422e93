package appaccess

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// UsagePoint counts the calls of one hour or day.
type UsagePoint struct {
	Start   time.Time `json:"start"` // in UTC
	Calls   int64     `json:"calls"`
	Refused int64     `json:"refused"`
	Failed  int64     `json:"failed"` // the gate could not decide (503)
	Errors  int64     `json:"errors"` // passed, and the API answered 500 or more, or not at all
}

// OperationUsage counts the calls of an operation.
type OperationUsage struct {
	API       string `json:"api,omitempty"`       // API ID
	Operation string `json:"operation,omitempty"` // operation ID; "other": those beyond the first 100
	Calls     int64  `json:"calls"`
	Refused   int64  `json:"refused"`
	Errors    int64  `json:"errors"`
}

// Usage is what gates counted for one subject.
type Usage struct {
	Hours      []UsagePoint     `json:"hours"` // the last 48, oldest first
	Days       []UsagePoint     `json:"days"`  // the last 90, oldest first
	Calls      int64            `json:"calls"` // in 90 days
	Refused    int64            `json:"refused"`
	Failed     int64            `json:"failed"`
	Errors     int64            `json:"errors"`
	Reasons    map[string]int64 `json:"reasons,omitempty"`    // refused calls by reason
	Operations []OperationUsage `json:"operations,omitempty"` // most called first
	Last       time.Time        `json:"last,omitzero"`        // of a call that passed
}

// Usage returns what gates counted: for an application or a subscription, to its
// owner and managers; for an API, or for all calls if of is zero, to managers. Gates
// write once in CatalogConfig.UsageInterval, so the newest calls may be missing. A
// call that passes is counted when its response is complete.
func (s *Service) Usage(ctx context.Context, by Actor, of Ref) (Usage, error) {
	var u Usage
	operations := map[string]usageCount{}
	err := s.view(ctx, by, func(l *look) error {
		subject, err := l.usageSubject(of)
		if err != nil {
			return err
		}
		u = emptyUsage(s.now().UTC())
		return l.usageRows(subject, MaxPage, func(id string, row usageRow) bool {
			u.add(id, row, operations)
			return true
		})
	})
	u.Operations = sortedUsage(operations)
	return u, err
}

// LastUsed returns when a call of an application or a subscription, or a call to an
// API, last passed a gate; zero: never in 90 days. It is the Last of [Service.Usage],
// at less cost, for the same actors.
func (s *Service) LastUsed(ctx context.Context, by Actor, of Ref) (time.Time, error) {
	var last time.Time
	err := s.view(ctx, by, func(l *look) error {
		subject, err := l.usageSubject(of)
		if err != nil {
			return err
		}
		return l.usageRows(subject, 4, func(_ string, row usageRow) bool {
			if row.Last.After(last) {
				last = row.Last
			}
			return last.IsZero()
		})
	})
	return last, err
}

// usageRows calls fn with the rows of a subject: the newest hour first, then older
// ones, then days. After the first few rows, and then after each page, it stops if the
// last call of fn returned false.
func (l *look) usageRows(subject string, first int, fn func(id string, row usageRow) (more bool)) error {
	if subject == "" {
		return nil
	}
	q := Query{Kind: KindUsage, Where: where(bySubject, subject), Descending: true, Limit: first}
	for {
		recs, err := l.List(q)
		more := false
		for _, rec := range recs {
			var row usageRow
			if err := json.Unmarshal(rec.Body, &row); err != nil {
				return fmt.Errorf("appaccess: decoding usage %s: %w", rec.ID, err)
			}
			q.After, more = rec.ID, fn(rec.ID, row)
		}
		if err != nil || !more || len(recs) < q.Limit {
			return err
		}
		q.Limit = MaxPage
	}
}

// usageSubject returns the subject of an object's rows; empty if it cannot have any.
func (l *look) usageSubject(of Ref) (string, error) {
	switch of.Kind {
	case KindApplication:
		a, err := l.application(of.ID)
		return a.Entra.AppID, err
	case KindSubscription:
		v, err := l.subscription(of.ID)
		return v.ID, err
	case KindAPI:
		if err := l.onlyManager(); err != nil {
			return "", err
		}
		a, err := l.api(of.ID)
		return subjectOf + a.ID, err
	case "":
		return subjectAll, l.onlyManager()
	}
	return "", &InvalidError{"of", "must be an application, a subscription, an API or nothing"}
}

func emptyUsage(now time.Time) Usage {
	u := Usage{Reasons: map[string]int64{}}
	for h := range 48 {
		u.Hours = append(u.Hours, UsagePoint{Start: now.Truncate(time.Hour).Add(time.Duration(h-47) * time.Hour)})
	}
	for d := range 90 {
		u.Days = append(u.Days, UsagePoint{Start: now.Truncate(24*time.Hour).AddDate(0, 0, d-89)})
	}
	return u
}

// add adds a row. The totals are the sums of the days.
func (u *Usage) add(id string, row usageRow, operations map[string]usageCount) {
	points, layout := u.Days, dayLayout
	if strings.HasPrefix(id, "h") {
		points, layout = u.Hours, hourLayout
	}
	at, _, _ := strings.Cut(id, " ")
	start, err := time.Parse(layout, at)
	i := slices.IndexFunc(points, func(p UsagePoint) bool { return p.Start.Equal(start) })
	if err != nil || i < 0 {
		return // older than what is shown
	}
	points[i].Calls += row.Calls
	points[i].Refused += row.Refused
	points[i].Failed += row.Failed
	points[i].Errors += row.Errors
	if layout == hourLayout {
		return
	}
	u.Calls += row.Calls
	u.Refused += row.Refused
	u.Failed += row.Failed
	u.Errors += row.Errors
	for reason, n := range row.Reasons {
		u.Reasons[reason] += n
	}
	for operation, n := range row.Operations {
		sum := operations[operation]
		operations[operation] = usageCount{sum.Calls + n.Calls, sum.Refused + n.Refused, sum.Errors + n.Errors}
	}
	if row.Last.After(u.Last) {
		u.Last = row.Last
	}
}

func sortedUsage(operations map[string]usageCount) []OperationUsage {
	var out []OperationUsage
	for name, n := range operations {
		one := OperationUsage{Operation: name, Calls: n.Calls, Refused: n.Refused, Errors: n.Errors}
		if api, operation, ok := strings.Cut(name, " "); ok {
			one.API, one.Operation = api, operation
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b OperationUsage) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), strings.Compare(a.API, b.API), strings.Compare(a.Operation, b.Operation))
	})
	return out
}
