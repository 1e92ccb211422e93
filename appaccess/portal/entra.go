package portal

import (
	"maps"
	"slices"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// syncRow is one object that is not in sync with Entra.
type syncRow struct {
	Kind string
	Name string
	URL  string
	Sync appaccess.Sync
}

// syncState is how far Entra is in sync.
type syncState struct {
	Behind []syncRow // the first ones, failed ones first
	Count  int       // of all that are not in sync
	More   bool      // Count is a lower bound
}

// shownBehind is how many objects that are not in sync a page shows.
const shownBehind = 200

// syncState reads the objects that are not in sync.
func (p *Portal) syncState(rq *request) (syncState, error) {
	state := syncState{}
	f := appaccess.Filter{NotInSync: true, Order: appaccess.ByName, Limit: shownBehind, Total: true}
	products, err := p.service.Products(rq.Context(), rq.reader(), f)
	if err != nil {
		return state, err
	}
	for _, one := range products.Items {
		state.Behind = append(state.Behind, syncRow{"Product", one.Name, p.objectPath(appaccess.KindProduct, one.ID), one.Sync})
	}
	apps, err := p.service.Applications(rq.Context(), rq.reader(), f)
	if err != nil {
		return state, err
	}
	for _, one := range apps.Items {
		state.Behind = append(state.Behind, syncRow{"Application", one.Name, p.objectPath(appaccess.KindApplication, one.ID), one.Sync})
	}
	state.Count, state.More = products.Total+apps.Total, products.AtLeast || apps.AtLeast
	slices.SortStableFunc(state.Behind, func(a, b syncRow) int {
		switch {
		case (a.Sync.Error != "") == (b.Sync.Error != ""):
			return 0
		case a.Sync.Error != "":
			return -1
		}
		return 1
	})
	return state, nil
}

type entraPage struct {
	Behind []syncRow // the first ones
	Rest   int       // how many more there are
	Count  int       // of all that are behind
}

func (p *Portal) showEntra(rq *request) error {
	state, err := p.syncState(rq)
	if err != nil {
		return err
	}
	shown := state.Behind[:min(len(state.Behind), shownBehind)]
	return p.show(rq, "entra", page{
		Title: "Entra", Nav: "entra", Lead: "Which objects are in sync with Microsoft Entra ID.",
		Data: entraPage{shown, state.Count - len(shown), state.Count},
	})
}

type previewPage struct {
	Steps  []previewStep
	Failed []failure
	Wrong  string
	// Unknown is what Entra holds and the store does not know.
	Unknown []unknownRow
	// TakeOver names the installation that made objects which this one cannot prove
	// to be its own; empty: there are none.
	TakeOver string
}

type previewStep struct {
	appaccess.Step
	At link
}

type failure struct {
	Object link
	Error  string
}

func (p *Portal) showPreview(rq *request) error {
	data := previewPage{}
	plan, err := p.service.Plan(rq.Context(), rq.actor)
	if err != nil {
		data.Wrong = p.trouble(rq, err)
	}
	if data.Unknown, err = p.unknownRows(rq, plan.Unknown); err != nil {
		return err
	}
	var objects []string
	for _, step := range plan.Steps {
		objects = append(objects, step.Object)
	}
	failed := slices.Sorted(maps.Keys(plan.Failed))
	at, err := p.named(rq, append(objects, failed...)...)
	if err != nil {
		return err
	}
	for _, step := range plan.Steps {
		data.Steps = append(data.Steps, previewStep{step, at[step.Object]})
	}
	for _, object := range failed {
		data.Failed = append(data.Failed, failure{at[object], plan.Failed[object].Error()})
	}
	data.TakeOver = takeOverHint(plan.Failed)
	return p.show(rq, "entra_preview", page{
		Title: "Preview changes", Nav: "entra", Crumbs: p.crumbs("Entra", "entra"), Data: data,
		Lead: "What Apply now would do, in this order. Nothing has been changed.",
	})
}

// progressLine is a line of the page that shows work as it goes.
type progressLine struct {
	Look, Icon string
	Object     link
	Text       string
}

func line(g appaccess.Progress, object link) progressLine {
	l := progressLine{Icon: "clock", Object: object, Text: g.Step}
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

// applyNow works while its page loads: each step is a line of it. Work that the
// browser cuts off goes on with the next run where it stopped.
func (p *Portal) applyNow(rq *request) error {
	put, end, err := p.stream(rq, "entra_apply", page{
		Title: "Apply now", Nav: "entra", Crumbs: p.crumbs("Entra", "entra"),
		Lead: "Keep this page open. If it is closed, the next run continues where this one stopped.",
	})
	if err != nil {
		return nil // the browser is gone
	}
	_ = put("begin", nil)
	names := map[string]link{}
	report, err := p.service.Sync(rq.Context(), rq.actor, appaccess.SyncRequest{
		All: true, Progress: func(g appaccess.Progress) {
			if _, known := names[g.Object]; !known {
				names[g.Object] = link{Text: g.Object}
				if at, err := p.named(rq, g.Object); err == nil {
					names[g.Object] = at[g.Object]
				}
			}
			_ = put("line", line(g, names[g.Object]))
		},
	})
	result := applied{Report: report}
	if err != nil {
		result.Wrong = p.trouble(rq, err)
	}
	for id, lost := range report.MissingInEntra {
		at, _ := p.named(rq, "application "+id)
		result.Lost = append(result.Lost, lostRow{at["application "+id].Text, p.path("applications", id, "credentials"), len(lost)})
	}
	result.Unknown, _ = p.unknownRows(rq, report.Unknown) // without names, if they cannot be read
	_ = put("result", result)
	_ = end()
	return nil
}

// applied is the end of the page that shows work as it goes.
type applied struct {
	Report  appaccess.SyncReport
	Lost    []lostRow
	Unknown []unknownRow
	Wrong   string
}

// lostRow is an application whose credentials are missing in Entra.
type lostRow struct {
	Name, URL string
	Count     int
}

// diagnosisPage shows what the portal's identity may do in Entra, and which
// installation this is.
type diagnosisPage struct {
	Report appaccess.Preflight
	Wrong  string
}

func (p *Portal) showDiagnosis(rq *request) error {
	data := diagnosisPage{}
	var err error
	if data.Report, err = p.service.Preflight(rq.Context(), rq.actor); err != nil {
		data.Wrong = p.trouble(rq, err)
	}
	return p.show(rq, "entra_diagnosis", page{
		Title: "Diagnosis", Nav: "diagnosis", Data: data,
		Lead: "Checks, without changing anything, whether the portal's identity has the rights in Microsoft Entra ID that it needs.",
	})
}
