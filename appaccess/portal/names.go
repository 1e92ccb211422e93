package portal

import (
	"maps"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// nameBook holds the names of the objects that a page mentions. It is read with
// one call of Service.
type nameBook struct {
	portal *Portal
	names  map[appaccess.Ref]string
}

// namesOf reads the names of objects.
func (p *Portal) namesOf(rq *request, refs ...appaccess.Ref) (nameBook, error) {
	refs = slices.DeleteFunc(refs, func(r appaccess.Ref) bool { return r.ID == "" })
	book := nameBook{portal: p, names: map[appaccess.Ref]string{}}
	if len(refs) == 0 {
		return book, nil
	}
	var err error
	book.names, err = p.service.Names(rq.Context(), portalActor, refs...)
	return book, err
}

// namesBeside reads the names of objects beside those that are known already.
func (p *Portal) namesBeside(rq *request, known map[appaccess.Ref]string, refs ...appaccess.Ref) (nameBook, error) {
	book, err := p.namesOf(rq, slices.DeleteFunc(refs, func(r appaccess.Ref) bool { return known[r] != "" })...)
	if err != nil {
		return book, err
	}
	maps.Copy(book.names, known)
	return book, err
}

// refs makes references to objects of one kind.
func refs(kind appaccess.Kind, ids ...string) []appaccess.Ref {
	var out []appaccess.Ref
	for _, id := range ids {
		out = append(out, appaccess.Ref{Kind: kind, ID: id})
	}
	return out
}

// Link is an object's name and page. One that does not exist any more has
// fallback as its name, or else its ID, and no page.
func (b nameBook) Link(kind appaccess.Kind, id, fallback string) link {
	if name := b.names[appaccess.Ref{Kind: kind, ID: id}]; name != "" {
		return link{name, b.portal.objectPath(kind, id)}
	}
	if fallback == "" {
		fallback = id
	}
	return link{Text: fallback}
}

func (b nameBook) User(id string) link        { return b.Link(appaccess.KindUser, id, "") }
func (b nameBook) Product(id string) link     { return b.Link(appaccess.KindProduct, id, "") }
func (b nameBook) Application(id string) link { return b.Link(appaccess.KindApplication, id, "") }

// kindPages are the first segments of the pages of objects.
var kindPages = map[appaccess.Kind]string{
	appaccess.KindProduct: "products", appaccess.KindAPI: "apis", appaccess.KindUser: "users",
	appaccess.KindApplication: "applications", appaccess.KindSubscription: "subscriptions",
	appaccess.KindRequest: "requests",
}

// objectPath is the manager's page of an object.
func (p *Portal) objectPath(kind appaccess.Kind, id string) string {
	if kindPages[kind] == "" || id == "" {
		return ""
	}
	return p.path(kindPages[kind], id)
}

// applicationPath and subscriptionPath are the pages for the user of the request:
// the manager's or the owner's.
func (p *Portal) applicationPath(rq *request, id string, more ...string) string {
	return p.path(append(rq.base("applications", id), more...)...)
}

func (p *Portal) subscriptionPath(rq *request, id string, more ...string) string {
	return p.path(append(rq.base("subscriptions", id), more...)...)
}

// base is an address among the manager's or the owner's pages.
func (rq *request) base(segments ...string) []string {
	if rq.mine() {
		return append([]string{"my"}, segments...)
	}
	return segments
}

// sentence says a conflict with the names of the objects that it concerns.
func (p *Portal) sentence(rq *request, c *appaccess.ConflictError) string {
	if len(c.Objects) == 0 || !rq.user.Manager {
		return sentence(c.Reason)
	}
	var all []appaccess.Ref
	for _, id := range c.Objects {
		for kind := range kindPages {
			all = append(all, appaccess.Ref{Kind: kind, ID: id})
		}
	}
	book, err := p.namesOf(rq, all...)
	if err != nil {
		return sentence(c.Reason)
	}
	var names []string
	for _, id := range c.Objects {
		name := id
		for kind := range kindPages {
			if known := book.names[appaccess.Ref{Kind: kind, ID: id}]; known != "" {
				name = known
			}
		}
		names = append(names, name)
	}
	return sentence(c.Reason + ": " + strings.Join(names, ", "))
}

// named replaces "application 4woviu52" by the application's name and page, as
// plans, progress and errors of Entra name their objects.
func (p *Portal) named(rq *request, objects ...string) (map[string]link, error) {
	var all []appaccess.Ref
	for _, object := range objects {
		all = append(all, refOf(object))
	}
	book, err := p.namesOf(rq, all...)
	out := map[string]link{}
	for i, object := range objects {
		out[object] = book.Link(all[i].Kind, all[i].ID, object)
	}
	return out, err
}

func refOf(object string) appaccess.Ref {
	kind, id, _ := strings.Cut(object, " ")
	return appaccess.Ref{Kind: appaccess.Kind(kind), ID: id}
}
