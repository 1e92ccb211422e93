package portal

import (
	"encoding/csv"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// attach begins an answer that the browser stores as a file.
func (p *Portal) attach(rq *request, name, extension, contentType string) {
	_ = http.NewResponseController(rq.w).SetWriteDeadline(time.Time{}) // it may take longer than a server allows a page
	rq.w.Header().Set("Content-Type", contentType)
	rq.w.Header().Set("Content-Disposition", `attachment; filename="`+name+"-"+p.now().UTC().Format("20060102-150405")+"."+extension+`"`)
}

// attachCSV begins a table in UTF-8 as RFC 4180 describes.
func (p *Portal) attachCSV(rq *request, name string) {
	p.attach(rq, name, "csv", "text/csv; charset=utf-8; header=present")
}

// breakOff ends a file that cannot be completed. It breaks the connection, so that
// no browser takes the file for complete.
func (p *Portal) breakOff(rq *request, err error) {
	p.log.ErrorContext(rq.Context(), "portal: export ended early", "route", rq.Pattern, "error", err)
	panic(http.ErrAbortHandler)
}

// exportList sends all pages of a list as a table. It holds one page at a time. An
// error on the first page is returned; a later one breaks the file off.
func exportList[T any](p *Portal, rq *request, name string, head []string, f appaccess.Filter, read func(appaccess.Filter) (appaccess.Page[T], error), rows func([]T) ([][]string, error)) error {
	f.Limit, f.Total, f.After, f.Before = maxChoices, false, "", ""
	for first := true; ; first = false {
		var table [][]string
		found, err := read(f)
		if err == nil {
			table, err = rows(found.Items)
		}
		switch {
		case err != nil && first:
			return err
		case err != nil:
			p.breakOff(rq, err)
		case first:
			p.attachCSV(rq, name)
			table = slices.Insert(table, 0, head)
		}
		if writeCSV(rq.w, table) != nil || found.Next == "" {
			return nil // at the end, or the browser is gone
		}
		f.After = found.Next
	}
}

// writeCSV writes rows of a table.
func writeCSV(to io.Writer, table [][]string) error {
	out := csv.NewWriter(to)
	for _, row := range table {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = plainCell(cell)
		}
		_ = out.Write(cells) // Error returns it
	}
	out.Flush()
	return out.Error()
}

// instant is a time in a file; empty for the zero time.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// plainCell keeps a spreadsheet from taking a cell for a formula: names are
// typed by users and may begin with one.
func plainCell(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
