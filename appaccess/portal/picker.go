package portal

import (
	"slices"

	"github.com/entragate/entragate/appaccess"
)

// choice is one thing to choose in a form.
type choice struct{ ID, Name, Note string }

// shownChoices is how many a picker shows at once; a search finds the rest.
const shownChoices = 20

// maxChoices is the most objects that one page reads of a kind.
const maxChoices = 999

// picker lets a form choose objects. It searches without JavaScript: its button
// sends the form to be shown again with what was found.
type picker struct {
	fieldLine
	Many  bool
	Empty string // label of choosing none, if that is allowed
	Found []choice
	More  bool // more match than are shown
}

// Search is what the user looks for.
func (k picker) Search() string { return k.Get("find-" + k.Name) }

// searching reports whether a form was sent only to search in a picker.
func (f form) searching() bool { return f.Get("find") != "" }

// pick makes a picker. search lists what matches, and names reads what is chosen
// already, which is shown first whatever was searched.
func (p *Portal) pick(rq *request, f form, name, hint string, many bool, kind appaccess.Kind, search func(appaccess.Filter) ([]choice, bool, error)) (picker, error) {
	k := picker{fieldLine: newFieldLine(f, name, hint), Many: many}
	chosen := slices.DeleteFunc(slices.Clone(f.Values[name]), func(id string) bool { return id == "" })
	book, err := p.namesOf(rq, refs(kind, chosen...)...)
	if err != nil {
		return k, err
	}
	for _, id := range chosen {
		if text := book.Link(kind, id, "").Text; text != id || book.names[appaccess.Ref{Kind: kind, ID: id}] != "" {
			k.Found = append(k.Found, choice{ID: id, Name: text})
		}
	}
	found, more, err := search(appaccess.Filter{Search: k.Search(), Limit: 5 * shownChoices})
	if err != nil {
		return k, err
	}
	for _, one := range found {
		at := slices.IndexFunc(k.Found, func(c choice) bool { return c.ID == one.ID })
		switch {
		case at >= 0:
			k.Found[at].Note = one.Note
		case len(k.Found) >= shownChoices+len(chosen):
			more = true
		default:
			k.Found = append(k.Found, one)
		}
	}
	k.More = more
	return k, nil
}

func (p *Portal) pickUser(rq *request, f form, name, hint string) (picker, error) {
	return p.pick(rq, f, name, hint, false, appaccess.KindUser, func(search appaccess.Filter) ([]choice, bool, error) {
		users, err := p.service.Users(rq.Context(), rq.actor, search)
		var out []choice
		for _, u := range users.Items {
			if u.State == appaccess.UserActive {
				out = append(out, choice{u.ID, u.Name, u.Email})
			}
		}
		return out, users.Next != "", err
	})
}

func (p *Portal) pickProducts(rq *request, f form, name, hint string, many bool, pass func(appaccess.Product) bool) (picker, error) {
	return p.pick(rq, f, name, hint, many, appaccess.KindProduct, func(search appaccess.Filter) ([]choice, bool, error) {
		products, err := p.service.Products(rq.Context(), rq.actor, search)
		var out []choice
		for _, one := range products.Items {
			if pass(one) {
				out = append(out, choice{one.ID, one.Name, one.Description})
			}
		}
		return out, products.Next != "", err
	})
}

func (p *Portal) pickAPIs(rq *request, f form, name, hint string, many bool, pass func(appaccess.API) bool) (picker, error) {
	return p.pick(rq, f, name, hint, many, appaccess.KindAPI, func(search appaccess.Filter) ([]choice, bool, error) {
		apis, err := p.service.APIs(rq.Context(), rq.actor, search)
		var out []choice
		for _, one := range apis.Items {
			if pass(one) {
				out = append(out, choice{one.ID, one.Name, one.Path})
			}
		}
		return out, apis.Next != "", err
	})
}

func (p *Portal) pickApplications(rq *request, f form, name, hint string, pass func(appaccess.ClientApplication) bool) (picker, error) {
	return p.pick(rq, f, name, hint, true, appaccess.KindApplication, func(search appaccess.Filter) ([]choice, bool, error) {
		apps, err := p.service.Applications(rq.Context(), rq.actor, search)
		var owners []string
		for _, a := range apps.Items {
			owners = append(owners, a.OwnerID)
		}
		book, err2 := p.namesOf(rq, refs(appaccess.KindUser, owners...)...)
		if err == nil {
			err = err2
		}
		var out []choice
		for _, a := range apps.Items {
			if pass(a) {
				out = append(out, choice{a.ID, a.Name, book.User(a.OwnerID).Text})
			}
		}
		return out, apps.Next != "", err
	})
}
