package portal

import (
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// pageSize is how many objects a list shows at once.
const pageSize = 25

// listing is one page of a list.
type listing[T any] struct {
	controls
	Items    []T
	Total    template.HTML // of all pages; empty: that is not known
	First    string        // URL of the first page, if this is a later one
	Previous string        // URL of the page before, if there is one
	Next     string        // URL of the next page, if there is one
}

// listSpec says what a list can be searched, filtered and sorted by, and what can
// be done to several of its objects at once.
type listSpec struct {
	Placeholder string
	States      []string
	Kinds       []choice
	Sorts       []choice // the first is the order without a choice
	Owner       bool
	Product     bool
	Sync        bool
	Export      string   // address of the list as a file
	Many        string   // address of the actions for several objects; empty: there are none
	Actions     []choice // for several objects
}

// The orders that most lists have.
var (
	sortsByName = []choice{{ID: "name", Name: "Name"}, {ID: "-name", Name: "Name, from the end"}, {ID: "-created", Name: "Newest first"}, {ID: "created", Name: "Oldest first"}}
	sortsByTime = []choice{{ID: "-created", Name: "Newest first"}, {ID: "created", Name: "Oldest first"}}
)

// controls are the search, filters and order of a list, as its form shows them.
type controls struct {
	listSpec
	Search, State, Kind, Sort string
	OwnerText, ProductText    string
	NotInSync                 bool
	Which                     []auditChoice // the objects that match a typed name, if several do
	Narrowed                  bool          // something is searched or filtered
	Shown                     string        // address of the list with this filter, as a file
	known                     map[appaccess.Ref]string
	filter                    appaccess.Filter
}

// Filters reports whether the list has more than a search.
func (c controls) Filters() bool {
	return len(c.States)+len(c.Kinds)+len(c.Sorts) > 0 || c.Owner || c.Product || c.Sync
}

// reader is on whose behalf the lists of an audience are read. A manager was
// admitted a moment ago, so that the portal reads for them.
func (rq *request) reader() appaccess.Actor {
	if rq.user.Manager && !rq.mine() {
		return portalActor
	}
	return rq.actor
}

// listControls reads what the address of a list selects.
func (p *Portal) listControls(rq *request, spec listSpec) (controls, error) {
	q := rq.URL.Query()
	c := controls{
		listSpec: spec, Search: q.Get("q"), State: q.Get("state"), Kind: q.Get("kind"), Sort: q.Get("sort"), NotInSync: q.Get("sync") == "no",
		known: map[appaccess.Ref]string{},
	}
	if rq.mine() {
		c.known[appaccess.Ref{Kind: appaccess.KindUser, ID: rq.account.ID}] = rq.account.Name
	}
	if spec.Export != "" {
		c.Shown = spec.Export + withPlace(q, "", "")
	}
	c.filter = appaccess.Filter{
		Search: strings.TrimSpace(c.Search), After: q.Get("after"), Before: q.Get("before"), Limit: pageSize, Total: true,
	}
	if slices.Contains(spec.States, c.State) {
		c.filter.State = c.State
	}
	if len(spec.Sorts) > 0 {
		if !slices.ContainsFunc(spec.Sorts, func(one choice) bool { return one.ID == c.Sort }) {
			c.Sort = spec.Sorts[0].ID
		}
		order, descending := strings.CutPrefix(c.Sort, "-")
		c.filter.Order, c.filter.Descending = appaccess.Order(order), descending
	}
	c.filter.NotInSync = spec.Sync && c.NotInSync
	var err error
	if spec.Owner {
		if c.filter.OwnerID, c.OwnerText, err = p.chosen(rq, &c, "owner", appaccess.KindUser); err != nil {
			return c, err
		}
	}
	if spec.Product {
		if c.filter.ProductID, c.ProductText, err = p.chosen(rq, &c, "product", appaccess.KindProduct); err != nil {
			return c, err
		}
	}
	c.Narrowed = c.Search != "" || c.filter.State != "" || c.filter.NotInSync || c.OwnerText != "" || c.ProductText != "" || c.Kind != ""
	return c, nil
}

// chosen is the object that a filter names, by ID or as people call it.
func (p *Portal) chosen(rq *request, c *controls, field string, kind appaccess.Kind) (id, text string, err error) {
	text = strings.TrimSpace(rq.URL.Query().Get(field))
	text = strings.TrimPrefix(text, string(kind)+"/")
	if text == "" {
		return "", "", nil
	}
	found, err := p.search(rq, kind, text)
	if err != nil {
		return "", text, err
	}
	for _, r := range found {
		c.known[r.Ref] = r.Name
	}
	exact := slices.DeleteFunc(slices.Clone(found), func(r foundRef) bool { return r.ID != text })
	if len(exact) == 0 {
		exact = slices.DeleteFunc(slices.Clone(found), func(r foundRef) bool { return !strings.EqualFold(r.Name, text) })
	}
	if len(exact) > 0 {
		found = exact
	}
	switch len(found) {
	case 0:
		return text, text, nil // nothing is found by it
	case 1:
		return found[0].ID, found[0].Name, nil
	}
	c.Which = append(c.Which, p.choicesOf(rq, field, found)...)
	return found[0].ID, text, nil
}

// listed makes the page of a list from what was found and its rows. Its links keep
// the query and change only the place.
func listed[T, S any](rq *request, c controls, found appaccess.Page[S], rows []T) listing[T] {
	q := rq.URL.Query()
	out := listing[T]{controls: c, Items: rows, Total: totalText(found.Total, found.AtLeast)}
	if q.Get("after") != "" || q.Get("before") != "" && found.Previous != "" {
		out.First = withPlace(q, "", "")
	}
	if found.Previous != "" {
		out.Previous = withPlace(q, "before", found.Previous)
	}
	if found.Next != "" {
		out.Next = withPlace(q, "after", found.Next)
	}
	return out
}

// totalText is a number of objects.
func totalText(n int, atLeast bool) template.HTML {
	text := numberText(int64(n))
	if atLeast {
		return "more than " + text
	}
	return text
}

// number writes a number with its thousands apart.
func number(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// withPlace is the query of a list at another place.
func withPlace(q url.Values, name, place string) string {
	c := url.Values{}
	for name, values := range q {
		if name != "after" && name != "before" && (len(values) > 1 || values[0] != "") {
			c[name] = values
		}
	}
	if place != "" {
		c.Set(name, place)
	}
	return "?" + c.Encode()
}

// errNoAction refuses an action that a list does not have.
var errNoAction = &appaccess.InvalidError{Field: "action", Rule: "must be one that the list offers"}

// many is what is done to several objects that a list shows: the page that asks
// names them all.
type many struct {
	Kind       appaccess.Kind
	Title      string // "Suspend %s", with "3 applications"
	Text, Done string // Done: "%s suspended."
	Label      string
	Safe       bool
	Ask        string // label of a text that goes with the action; empty: none
	Do         func(id string) error
}

// manyOperation makes the operation for the objects that the address names.
func (p *Portal) manyOperation(rq *request, one, several string, m many) (operation, error) {
	ids := rq.URL.Query()["id"]
	list := p.path(kindPages[m.Kind])
	if len(ids) == 0 || len(ids) > 4*pageSize {
		return operation{}, &appaccess.InvalidError{Field: "id", Rule: fmt.Sprintf("choose 1 to %d first", 4*pageSize)}
	}
	book, err := p.namesOf(rq, refs(m.Kind, ids...)...)
	if err == nil && m.Kind == appaccess.KindRequest {
		err = p.requestNames(rq, book, ids)
	}
	if err != nil {
		return operation{}, err
	}
	count := countOf(len(ids), one, several)
	op := operation{
		Title: fmt.Sprintf(m.Title, count), Nav: kindPages[m.Kind], Crumbs: p.crumbs(words(kindPages[m.Kind]), kindPages[m.Kind]),
		Text: m.Text, Label: m.Label, Safe: m.Safe, Back: list, Done: fmt.Sprintf(m.Done, count), List: true, Ask: m.Ask,
	}
	for _, id := range ids {
		at := book.Link(m.Kind, id, "")
		op.Affected.add(caller{Name: at.Text, URL: at.URL, Kind: one})
	}
	op.Do = func(bool) error {
		done := 0
		for _, id := range ids {
			err := m.Do(id)
			var invalid *appaccess.InvalidError
			if errors.As(err, &invalid) && invalid.Field == "answer" {
				return err
			}
			if err != nil && !isProvision(err) {
				return p.partly(rq, book.Link(m.Kind, id, "").Text, done, len(ids), err)
			}
			done++
		}
		return nil
	}
	return op, nil
}

// requestNames adds what requests ask for to the names.
func (p *Portal) requestNames(rq *request, book nameBook, ids []string) error {
	for _, id := range ids {
		one, err := p.service.Request(rq.Context(), rq.reader(), id)
		if err != nil {
			return err
		}
		rows, err := p.requestRows(rq, nil, one)
		if err != nil {
			return err
		}
		book.names[appaccess.Ref{Kind: appaccess.KindRequest, ID: id}] = strings.TrimSuffix(rows[0].What+" for "+rows[0].Who.Text+": "+one.Reason, ": ")
	}
	return nil
}

// partly says how far an operation on several objects came.
func (p *Portal) partly(rq *request, name string, done, all int, err error) error {
	var text string
	switch pb := p.explain(rq, err); {
	case pb.Status >= 500:
		return err
	default:
		text = strings.TrimSuffix(pb.Text, ".")
	}
	return &appaccess.ConflictError{Reason: fmt.Sprintf("%d of %d are done. %s stopped the rest: %s", done, all, name, text)}
}

func countOf(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(int64(n)) + " " + several
}
