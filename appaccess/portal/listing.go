package portal

import (
	"net/url"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// pageSize is how many objects a list shows at once.
const pageSize = 25

// listing is one page of a list.
type listing[T any] struct {
	Items       []T
	Search      string
	Placeholder string
	First       string // URL of the first page, if this is a later one
	Next        string // URL of the next page, if there is one
}

// filter is what the query of a list's address selects.
func filter(rq *request) appaccess.Filter {
	q := rq.URL.Query()
	return appaccess.Filter{Search: strings.TrimSpace(q.Get("q")), After: q.Get("after"), Limit: pageSize}
}

// listed makes the page of a list. The query stays as it is but for the place.
func listed[T, S any](rq *request, found appaccess.Page[S], item func(S) T) listing[T] {
	q := rq.URL.Query()
	out := listing[T]{Search: q.Get("q")}
	for _, one := range found.Items {
		out.Items = append(out.Items, item(one))
	}
	if q.Get("after") != "" {
		out.First = withAfter(q, "")
	}
	if found.Next != "" {
		out.Next = withAfter(q, found.Next)
	}
	return out
}

func withAfter(q url.Values, after string) string {
	c := url.Values{}
	for name, values := range q {
		c[name] = values
	}
	c.Del("after")
	if after != "" {
		c.Set("after", after)
	}
	return "?" + c.Encode()
}

func same[T any](v T) T { return v }

// maxChoices bounds the lists that forms offer to choose from.
const maxChoices = 999

// userNames are the names of owners by ID; one that is gone has its ID.
func (p *Portal) userNames(rq *request, ids ...string) map[string]string {
	names := map[string]string{"": "–"}
	for _, id := range ids {
		if names[id] != "" {
			continue
		}
		names[id] = id
		if u, err := p.service.User(rq.Context(), rq.actor, id); err == nil {
			names[id] = u.Name
		}
	}
	return names
}

// choice is one thing to choose in a form.
type choice struct{ ID, Name, Note string }

// userChoices are the active users, as many as can be listed; chosen is among
// them in any case.
func (p *Portal) userChoices(rq *request, chosen string) ([]choice, error) {
	users, err := p.service.Users(rq.Context(), rq.actor, appaccess.Filter{Limit: maxChoices})
	if users.Next != "" && chosen != "" {
		if u, err := p.service.User(rq.Context(), rq.actor, chosen); err == nil && !slices.ContainsFunc(users.Items, func(o appaccess.User) bool { return o.ID == u.ID }) {
			users.Items = append(users.Items, u)
		}
	}
	var out []choice
	for _, u := range users.Items {
		if u.State == appaccess.UserActive {
			out = append(out, choice{ID: u.ID, Name: u.Name, Note: u.Email})
		}
	}
	return out, err
}

// productChoices are the products that pass.
func (p *Portal) productChoices(rq *request, pass func(appaccess.Product) bool) ([]choice, error) {
	products, err := p.service.Products(rq.Context(), rq.actor, appaccess.Filter{Limit: maxChoices})
	var out []choice
	for _, one := range products.Items {
		if pass(one) {
			out = append(out, choice{ID: one.ID, Name: one.Name, Note: one.Description})
		}
	}
	return out, err
}

func (p *Portal) apiChoices(rq *request, pass func(appaccess.API) bool) ([]choice, error) {
	apis, err := p.service.APIs(rq.Context(), rq.actor, appaccess.Filter{Limit: maxChoices})
	var out []choice
	for _, one := range apis.Items {
		if pass(one) {
			out = append(out, choice{ID: one.ID, Name: one.Name, Note: one.Path})
		}
	}
	return out, err
}

// confirm is a page that asks before something is removed.
type confirm struct {
	Text  string
	Also  string // what else ends with it
	Label string // of the button
	Back  string
	Wrong string // why it was refused
	Force string // label of a choice to do it all the same; empty: none
}
