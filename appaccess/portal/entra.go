package portal

import (
	"maps"
	"slices"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// syncRow is one object and how far Entra has followed it.
type syncRow struct {
	Kind string
	Name string
	URL  string
	Sync appaccess.Sync
}

type entraData struct {
	Behind []syncRow // failed ones first
	Total  int
	More   bool // not all objects were looked at
	Plan   appaccess.Plan
	Failed []failure
	Report appaccess.Preflight
	Wrong  string
}

type failure struct{ Object, Error string }

// behind finds the objects that Entra has not followed yet.
func (p *Portal) behind(rq *request) (entraData, error) {
	data := entraData{}
	add := func(row syncRow) {
		data.Total++
		if row.Sync.Pending || row.Sync.Error != "" {
			data.Behind = append(data.Behind, row)
		}
	}
	products, err := p.service.Products(rq.Context(), rq.actor, appaccess.Filter{Limit: maxChoices})
	if err != nil {
		return data, err
	}
	for _, one := range products.Items {
		if one.Access.Token || one.Sync.Pending {
			add(syncRow{"Product", one.Name, p.path("products", one.ID), one.Sync})
		}
	}
	apps, err := p.service.Applications(rq.Context(), rq.actor, appaccess.Filter{Limit: maxChoices})
	if err != nil {
		return data, err
	}
	for _, one := range apps.Items {
		add(syncRow{"Application", one.Name, p.path("applications", one.ID), one.Sync})
	}
	data.More = products.Next != "" || apps.Next != ""
	slices.SortStableFunc(data.Behind, func(a, b syncRow) int {
		switch {
		case (a.Sync.Error != "") == (b.Sync.Error != ""):
			return 0
		case a.Sync.Error != "":
			return -1
		}
		return 1
	})
	return data, nil
}

func (p *Portal) entraState(rq *request) error {
	data, err := p.behind(rq)
	if err != nil {
		return err
	}
	return p.show(rq, "entra", page{
		Title: "Entra", Nav: "entra", Data: data,
		Lead: "How far Microsoft Entra ID has followed what is wanted here.",
	})
}

func (p *Portal) entraPreview(rq *request) error {
	data := entraData{}
	var err error
	if data.Plan, err = p.service.Plan(rq.Context(), rq.actor); err != nil {
		data.Wrong = p.trouble(rq, err)
	}
	data.Failed = failures(data.Plan.Failed)
	return p.show(rq, "entra_preview", page{
		Title: "Preview changes", Nav: "entra", Crumbs: p.crumbs("Entra", "entra"), Data: data,
		Lead: "What Apply now would do, in this order. Nothing has been changed.",
	})
}

func failures(failed map[string]error) []failure {
	var out []failure
	for _, object := range slices.Sorted(maps.Keys(failed)) {
		out = append(out, failure{object, failed[object].Error()})
	}
	return out
}

// progressLine is a line of the page that shows work as it goes.
type progressLine struct {
	Look, Icon   string
	Object, Text string
}

func line(g appaccess.Progress) progressLine {
	l := progressLine{Icon: "clock", Object: g.Object, Text: g.Step}
	switch {
	case g.Err != nil && g.Wait > 0:
		l.Look, l.Text = "warn", g.Step+": trying again in "+g.Wait.Round(time.Second/10).String()
	case g.Err != nil:
		l.Look, l.Icon, l.Text = "bad", "cross", g.Step+": "+g.Err.Error()
	case g.Done:
		l.Look, l.Icon = "ok", "check"
	}
	return l
}

// entraApply works while its page loads: each step is a line of it. Work that
// the browser cuts off goes on with the next run where it stopped.
func (p *Portal) entraApply(rq *request) error {
	put, end, err := p.stream(rq, "entra_apply", page{
		Title: "Apply now", Nav: "entra", Crumbs: p.crumbs("Entra", "entra"),
		Lead: "Keep this page open. If it is closed, the next run goes on where this one stopped.",
	})
	if err != nil {
		return nil // the browser is gone
	}
	_ = put("begin", nil)
	report, err := p.service.Sync(rq.Context(), rq.actor, appaccess.SyncRequest{
		All: true, Progress: func(g appaccess.Progress) { _ = put("line", line(g)) },
	})
	result := applied{Report: report}
	if err != nil {
		result.Wrong = p.trouble(rq, err)
	}
	_ = put("result", result)
	_ = end()
	return nil
}

// applied is the end of the page that shows work as it goes.
type applied struct {
	Report appaccess.SyncReport
	Wrong  string
}

func (p *Portal) entraDiagnosis(rq *request) error {
	data := entraData{}
	var err error
	if data.Report, err = p.service.Preflight(rq.Context(), rq.actor); err != nil {
		data.Wrong = p.trouble(rq, err)
	}
	return p.show(rq, "entra_diagnosis", page{
		Title: "Diagnosis", Nav: "diagnosis", Data: data,
		Lead: "Checks, without changing anything, whether the portal's identity may do in Microsoft Entra ID what it has to.",
	})
}
