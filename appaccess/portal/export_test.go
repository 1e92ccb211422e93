package portal

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// Route is a row of the route table, for tests that go through all of it.
type Route struct {
	Path       string
	Managers   bool // for managers only
	Owners     bool // for owners only
	Newcomers  bool // for everybody who signs in, also without an account
	Show, Send bool
}

// Routes is the route table.
func Routes() []Route {
	var out []Route
	for _, r := range new(Portal).table() {
		out = append(out, Route{r.path, r.who == managers, r.who == owners, r.who == newcomers, r.show != nil, r.send != nil})
	}
	return out
}

// PlainCell is what becomes of a cell of an export.
var PlainCell = plainCell

// Advice explains the answer to a call.
var Advice = advice

// ExportList sends a list of texts as a table.
func ExportList(w http.ResponseWriter, r *http.Request, read func(appaccess.Filter) (appaccess.Page[string], error)) error {
	p := &Portal{log: slog.New(slog.DiscardHandler), now: time.Now}
	return exportList(p, &request{Request: r, w: w}, "names", []string{"Name"}, appaccess.Filter{}, read, func(names []string) (table [][]string, err error) {
		for _, name := range names {
			table = append(table, []string{name})
		}
		return table, nil
	})
}

// AuditActions are the actions of the audit trail in words.
var AuditActions = auditActions
