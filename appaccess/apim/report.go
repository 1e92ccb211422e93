package apim

import (
	"fmt"
	"io"
	"strings"
)

// WriteReport writes the plan as readable text: what is imported, each
// finding by severity, IDs that change, and what could not be read. The order
// is the same in every run.
func (p *Plan) WriteReport(w io.Writer) error {
	var b strings.Builder
	name := p.instance.Name
	if name == "" {
		name = "files"
	}
	fmt.Fprintf(&b, "Move from API Management: %s\n\n", name)
	d := p.document
	p.count(&b, "APIs", len(d.APIs), true)
	p.count(&b, "products", len(d.Products), true)
	p.count(&b, "users", len(d.Users), d.Users != nil)
	p.count(&b, "client applications", len(d.Applications), d.Applications != nil)
	p.count(&b, "subscriptions", len(d.Subscriptions), d.Subscriptions != nil)
	for _, part := range []struct {
		severity Severity
		title    string
	}{
		{Opens, "Opens access: each must be acknowledged by ID, or its object left out"},
		{Breaks, "Breaks callers"},
		{Info, "For information"},
	} {
		p.writeFindings(&b, part.severity, part.title)
	}
	if len(p.Renames) > 0 {
		b.WriteString("\nIDs that change\n")
		for _, r := range p.Renames {
			fmt.Fprintf(&b, "  %s: %s -> %s\n", r.Kind, r.From, r.To)
		}
	}
	if open := p.Unacknowledged(); len(open) > 0 {
		fmt.Fprintf(&b, "\n%d findings need a decision before anything is imported:\n", len(open))
		for _, f := range open {
			fmt.Fprintf(&b, "  %s\n", f.ID)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *Plan) count(b *strings.Builder, what string, n int, read bool) {
	if !read {
		fmt.Fprintf(b, "  %s: not read, left alone\n", what)
		return
	}
	fmt.Fprintf(b, "  %s: %d\n", what, n)
}

func (p *Plan) writeFindings(b *strings.Builder, severity Severity, title string) {
	first := true
	for _, f := range p.Findings {
		if f.Severity != severity {
			continue
		}
		if first {
			fmt.Fprintf(b, "\n%s\n", title)
			first = false
		}
		mark := ""
		switch {
		case f.Acknowledged:
			mark = " (acknowledged)"
		case f.blocks():
			mark = " (needs a decision)"
		}
		fmt.Fprintf(b, "  %s%s\n    today: %s\n    then:  %s\n    do:    %s\n", f.ID, mark, f.Today, f.Then, f.Do)
	}
}
