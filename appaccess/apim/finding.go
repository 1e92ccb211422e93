package apim

import (
	"cmp"
	"fmt"
	"slices"
)

// Severity says what happens when something is not carried.
type Severity string

const (
	// Opens: callers that API Management refuses today would pass. A plan gives
	// no document until such a finding is acknowledged.
	Opens Severity = "opens"
	// Breaks: callers that pass today would be refused, or answered differently.
	Breaks Severity = "breaks"
	// Info: no caller notices.
	Info Severity = "info"
)

// Finding is one thing that entragate does differently or cannot carry.
type Finding struct {
	// ID names the finding in Options.Acknowledge: rule:object, such as
	// ip-filter:apis/orders. It is the same in every run.
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	Where    string   `json:"where"` // the object in API Management
	Today    string   `json:"today"` // what happens there
	Then     string   `json:"then"`  // what happens with entragate
	Do       string   `json:"do"`    // what to do about it
	// Acknowledged says that the options name the finding.
	Acknowledged bool `json:"acknowledged,omitempty"`

	// mustAcknowledge marks a finding that needs a yes although no caller gets
	// in by it, such as a key that can be guessed.
	mustAcknowledge bool
}

// blocks reports whether the finding keeps the plan from giving a document.
func (f *Finding) blocks() bool {
	return (f.Severity == Opens || f.mustAcknowledge) && !f.Acknowledged
}

// UnacknowledgedError is returned while findings need a decision.
type UnacknowledgedError struct {
	Findings []Finding
}

func (e *UnacknowledgedError) Error() string {
	return fmt.Sprintf("apim: %d findings must be acknowledged by ID or their objects left out, the first is %s", len(e.Findings), e.Findings[0].ID)
}

func (p *Plan) find(severity Severity, rule, where, today, then, do string) *Finding {
	id := rule + ":" + where
	for i := range p.Findings {
		if p.Findings[i].ID == id {
			return &p.Findings[i]
		}
	}
	p.Findings = append(p.Findings, Finding{
		ID: id, Severity: severity, Where: where, Today: today, Then: then, Do: do,
		Acknowledged: slices.Contains(p.options.Acknowledge, id),
	})
	return &p.Findings[len(p.Findings)-1]
}

// sortFindings puts what needs a decision first.
func (p *Plan) sortFindings() {
	rank := map[Severity]int{Opens: 0, Breaks: 1, Info: 2}
	slices.SortStableFunc(p.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), cmp.Compare(a.Where, b.Where), cmp.Compare(a.ID, b.ID))
	})
}
