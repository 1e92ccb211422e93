package portal

import (
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strconv"

	"github.com/entragate/entragate/appaccess"
)

// usagePage shows what gates counted for an object.
type usagePage struct {
	appaccess.Usage
	Hours, Days usageChart
	Reasons     []reasonRow
	Operations  []operationRow
	Export      string
	Back        string
}

type reasonRow struct {
	Reason string
	Calls  int64
}

type operationRow struct {
	appaccess.OperationUsage
	On link // the API
}

// usageChart is a bar chart with the table that says the same.
type usageChart struct {
	Title  string
	Points []appaccess.UsagePoint
	Layout string // of a point's start
	Format string // in the reader's own zone: moment or date
}

// Empty reports whether nothing was counted.
func (c usageChart) Empty() bool {
	return !slices.ContainsFunc(c.Points, func(p appaccess.UsagePoint) bool { return p.Calls > 0 })
}

// SVG draws the bars: refused calls on top of those that passed. Screen readers
// get the table instead.
func (c usageChart) SVG() template.HTML {
	const width, height = 720, 120
	most := int64(1)
	for _, p := range c.Points {
		most = max(most, p.Calls)
	}
	step := float64(width) / float64(len(c.Points))
	out := fmt.Sprintf(`<svg class="chart" viewBox="0 0 %d %d" preserveAspectRatio="none" aria-hidden="true" focusable="false">`, width, height)
	for i, p := range c.Points {
		x, scale := float64(i)*step, float64(height)/float64(most)
		passed, refused := float64(p.Calls-p.Refused)*scale, float64(p.Refused)*scale
		out += fmt.Sprintf(`<rect class="passed" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, x, height-passed, step*.8, passed)
		if p.Refused > 0 {
			out += fmt.Sprintf(`<rect class="refused" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, x, height-passed-refused, step*.8, refused)
		}
	}
	return template.HTML(out + `</svg>`)
}

// Rows are the points in which something was counted, newest first.
func (c usageChart) Rows() []usageRow {
	var rows []usageRow
	for _, p := range slices.Backward(c.Points) {
		if p.Calls > 0 {
			rows = append(rows, usageRow{stamp(p.Start, c.Format, c.Layout), p})
		}
	}
	return rows
}

type usageRow struct {
	At template.HTML
	appaccess.UsagePoint
}

// usageOf is the object of a usage page.
func usageOf(rq *request) appaccess.Ref {
	for kind, name := range map[appaccess.Kind]string{
		appaccess.KindApplication: "application", appaccess.KindSubscription: "subscription", appaccess.KindAPI: "api",
	} {
		if id := rq.PathValue(name); id != "" {
			return appaccess.Ref{Kind: kind, ID: id}
		}
	}
	return appaccess.Ref{}
}

func (p *Portal) showUsage(rq *request) error {
	of := usageOf(rq)
	found, err := p.service.Usage(rq.Context(), rq.actor, of)
	if err != nil {
		return err
	}
	data := usagePage{
		Usage:  found,
		Hours:  usageChart{"Last 48 hours", found.Hours, "2 Jan, 15:04 UTC", "moment"},
		Days:   usageChart{"Last 90 days", found.Days, "2 Jan 2006", "date"},
		Export: p.here(rq.Request) + "/export",
	}
	for _, reason := range slices.Sorted(maps.Keys(found.Reasons)) {
		data.Reasons = append(data.Reasons, reasonRow{words(reason), found.Reasons[reason]})
	}
	var apis []string
	for _, o := range found.Operations {
		apis = append(apis, o.API)
	}
	book, err := p.namesOf(rq, append(refs(appaccess.KindAPI, apis...), of)...)
	if err != nil {
		return err
	}
	for _, o := range found.Operations {
		row := operationRow{o, book.Link(appaccess.KindAPI, o.API, "")}
		if rq.mine() {
			row.On.URL = ""
		}
		data.Operations = append(data.Operations, row)
	}
	pg := page{Title: "Usage", Nav: "usage", Lead: "Calls that the gates counted. The newest minute may be missing.", Data: data}
	if of.ID != "" {
		at := book.Link(of.Kind, of.ID, "")
		pg.Nav = rq.nav(kindPages[of.Kind])
		list := rq.base(kindPages[of.Kind])
		pg.Title = "Usage of " + at.Text
		pg.Crumbs = append(p.crumbs(words(kindPages[of.Kind]), list...), link{at.Text, p.path(append(list, of.ID)...)})
	}
	return p.show(rq, "usage", pg)
}

// exportUsage sends the same numbers as a file: a row for each hour, day, reason of
// refusal and operation.
func (p *Portal) exportUsage(rq *request) error {
	found, err := p.service.Usage(rq.Context(), rq.actor, usageOf(rq))
	if err != nil {
		return err
	}
	table := [][]string{{"Of", "Start (UTC)", "API", "Operation", "Reason", "Calls", "Refused", "Not decided", "API errors"}}
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	add := func(period string, points []appaccess.UsagePoint) {
		for _, at := range points {
			table = append(table, []string{period, instant(at.Start), "", "", "", count(at.Calls), count(at.Refused), count(at.Failed), count(at.Errors)})
		}
	}
	add("hour", found.Hours)
	add("day", found.Days)
	for _, reason := range slices.Sorted(maps.Keys(found.Reasons)) {
		table = append(table, []string{"reason, 90 days", "", "", "", reason, count(found.Reasons[reason]), count(found.Reasons[reason]), "", ""})
	}
	for _, o := range found.Operations {
		table = append(table, []string{"operation, 90 days", "", o.API, o.Operation, "", count(o.Calls), count(o.Refused), "", count(o.Errors)})
	}
	p.attachCSV(rq, "usage")
	_ = writeCSV(rq.w, table) // the browser may be gone
	return nil
}
