package portal

import (
	"errors"
	"strings"

	"github.com/entragate/entragate/appaccess"
)

// requestRow is a request with the names that it needs.
type requestRow struct {
	appaccess.Request
	What    string // is asked for
	Who     link
	About   link   // the application or product
	Wants   []wish // products, with their permissions
	Decider link
	Made    link // what an approval made
}

// wish is a product that is asked for.
type wish struct {
	Product     link
	ID          string
	Permissions []string
}

// requestKinds are the kinds of request in words.
var requestKinds = []choice{
	{ID: string(appaccess.AccountRequest), Name: "An account"}, {ID: string(appaccess.ClientApplicationRequest), Name: "A client application"},
	{ID: string(appaccess.ProductsRequest), Name: "Products"}, {ID: string(appaccess.SubscriptionKeysRequest), Name: "A subscription"},
}

// requestRows adds the names that the rows need.
func (p *Portal) requestRows(rq *request, known map[appaccess.Ref]string, requests ...appaccess.Request) ([]requestRow, error) {
	var all []appaccess.Ref
	for _, r := range requests {
		all = append(all, refs(appaccess.KindUser, r.UserID, r.DecidedBy)...)
		all = append(all, refs(appaccess.KindApplication, r.ApplicationID)...)
		all = append(all, refs(appaccess.KindProduct, r.Grants.Products()...)...)
	}
	book, err := p.namesBeside(rq, known, all...)
	var rows []requestRow
	for _, r := range requests {
		row := requestRow{Request: r, Who: book.User(r.UserID), Decider: book.Link(appaccess.KindUser, r.DecidedBy, actorName(appaccess.AuditRecord{Actor: r.DecidedBy}))}
		for _, kind := range requestKinds {
			if kind.ID == string(r.Kind) {
				row.What = kind.Name
			}
		}
		if r.Kind == appaccess.AccountRequest {
			row.Who = link{Text: r.Name}
		}
		if r.ApplicationID != "" {
			row.About = book.Application(r.ApplicationID)
		} else if r.Kind != appaccess.AccountRequest {
			row.About = link{Text: r.Name}
		}
		for _, g := range r.Grants {
			row.Wants = append(row.Wants, wish{book.Product(g.Product), g.Product, g.Permissions})
		}
		if r.Result != "" {
			row.Made = link{"Open it", p.objectPath(resultKind[r.Kind], r.Result)}
		}
		if rq.mine() {
			for i := range row.Wants {
				row.Wants[i].Product.URL = ""
			}
			row.Who.URL, row.Decider.URL, row.About.URL = "", "", ""
			if r.Result != "" {
				row.Made.URL = p.path("my", kindPages[resultKind[r.Kind]], r.Result)
			}
		}
		rows = append(rows, row)
	}
	return rows, err
}

// resultKind is the kind of what an approval makes.
var resultKind = map[appaccess.RequestKind]appaccess.Kind{
	appaccess.AccountRequest: appaccess.KindUser, appaccess.ClientApplicationRequest: appaccess.KindApplication,
	appaccess.ProductsRequest: appaccess.KindApplication, appaccess.SubscriptionKeysRequest: appaccess.KindSubscription,
}

type requestsPage struct{ listing[requestRow] }

// showRequests is the managers' inbox, and among the owner's pages the list of
// what they requested.
func (p *Portal) showRequests(rq *request) error {
	spec := listSpec{
		Placeholder: "Name or email", Sorts: sortsByTime, Kinds: requestKinds,
		States: []string{string(appaccess.RequestOpen), string(appaccess.RequestApproved), string(appaccess.RequestRejected), string(appaccess.RequestWithdrawn)},
	}
	pg := page{Title: "Requests", Nav: "requests", Lead: "What developers ask for. Nothing exists in Entra, and no key, before you approve it."}
	if rq.mine() {
		pg.Nav, pg.Lead = "myrequests", "What you asked API managers for, and their answers."
	} else {
		spec.Many, spec.Owner = p.path("requests", "-", "many"), true
		spec.Actions = []choice{{ID: "approve", Name: "Approve"}, {ID: "reject", Name: "Reject"}}
	}
	c, err := p.listControls(rq, spec)
	if err != nil {
		return err
	}
	if !rq.mine() && !rq.URL.Query().Has("state") {
		c.State, c.filter.State = string(appaccess.RequestOpen), string(appaccess.RequestOpen)
	}
	found, err := p.service.Requests(rq.Context(), rq.reader(), appaccess.RequestFilter{Filter: c.filter, Kind: appaccess.RequestKind(c.Kind)})
	if err != nil {
		return err
	}
	rows, err := p.requestRows(rq, c.known, found.Items...)
	if err != nil {
		return err
	}
	pg.Data = requestsPage{listed(rq, c, found, rows)}
	return p.show(rq, "requests", pg)
}

var decisionFields = []formField{{"answer", "Answer to the developer"}, {"grants", "What is granted"}, {"userId", "User"}}

// requestPage is one request, with what a manager can decide.
type requestPage struct {
	Row  requestRow
	Form form
	User picker // whom an account is to be linked to
}

func (p *Portal) showRequest(rq *request) error {
	return p.request(rq, nil, form{Fields: decisionFields})
}

func (p *Portal) request(rq *request, cause error, f form) error {
	one, err := p.service.Request(rq.Context(), rq.actor, rq.PathValue("request"))
	if err != nil {
		return err
	}
	rows, err := p.requestRows(rq, nil, one)
	if err != nil {
		return err
	}
	if f.Values == nil {
		var asked []string
		for _, g := range one.Grants {
			for _, name := range g.Permissions {
				asked = append(asked, g.Product+" "+name)
			}
		}
		f.set("grants", asked...)
	}
	data := requestPage{Row: rows[0], Form: f}
	if one.Kind == appaccess.AccountRequest && one.State == appaccess.RequestOpen {
		if data.User, err = p.pickUser(rq, f, "userId", "Link the account to a user who exists already, or make a new user."); err != nil {
			return err
		}
		data.User.Empty = "A new user"
	}
	title := rows[0].What + " for " + rows[0].Who.Text
	return p.write(rq, formStatus(cause), "request", page{Title: title, Nav: "requests", Crumbs: p.crumbs("Requests", "requests"), Data: data})
}

// decideRequest approves a request, or less of it, or rejects it.
func (p *Portal) decideRequest(rq *request) error {
	f, id := p.sent(rq, decisionFields), rq.PathValue("request")
	if f.searching() {
		return p.request(rq, nil, f)
	}
	var err error
	var done string
	switch f.Get("decision") {
	case "approve":
		var grants appaccess.Grants
		one, err1 := p.service.Request(rq.Context(), rq.actor, id)
		if err1 != nil {
			return err1
		}
		for _, g := range one.Grants {
			part := appaccess.Grant{Product: g.Product}
			for _, name := range g.Permissions {
				if f.Has("grants", g.Product+" "+name) {
					part.Permissions = append(part.Permissions, name)
				}
			}
			if len(part.Permissions) > 0 {
				grants = append(grants, part)
			}
		}
		if len(one.Grants) > 0 && len(grants) == 0 {
			err = &appaccess.InvalidError{Field: "grants", Rule: "choose something to grant, or reject the request"}
			break
		}
		done = "Approved."
		_, err = p.service.ApproveRequest(rq.Context(), rq.actor, id, appaccess.Approval{Answer: f.Get("answer"), Grants: grants, UserID: f.Get("userId")})
	case "reject":
		done = "Rejected."
		_, err = p.service.RejectRequest(rq.Context(), rq.actor, id, f.Get("answer"))
	default:
		err = &appaccess.InvalidError{Field: "decision", Rule: "must be approve or reject"}
	}
	if p.refuse(rq, &f, err) {
		return p.request(rq, err, f)
	}
	return p.done(rq, err, done, p.path("requests"), nil)
}

// manyRequests decides on several requests with one answer.
func (p *Portal) manyRequests(rq *request) (operation, error) {
	answer := strings.TrimSpace(rq.PostForm.Get("answer"))
	m := many{Kind: appaccess.KindRequest, Title: "Approve %s", Label: "Approve", Done: "%s approved.", Safe: true, Ask: "Answer to the developers (optional)",
		Text: "Each developer gets what they asked for.",
		Do: func(id string) error {
			_, err := p.service.ApproveRequest(rq.Context(), rq.actor, id, appaccess.Approval{Answer: answer})
			return err
		}}
	switch rq.URL.Query().Get("action") {
	case "approve":
	case "reject":
		m.Title, m.Label, m.Done, m.Safe, m.Ask, m.Text = "Reject %s", "Reject", "%s rejected.", false, "Answer to the developers", "Each developer reads the answer and may ask again."
		m.Do = func(id string) error {
			_, err := p.service.RejectRequest(rq.Context(), rq.actor, id, answer)
			return err
		}
	default:
		return operation{}, errNoAction
	}
	return p.manyOperation(rq, "request", "requests", m)
}

// withdrawRequest ends a request of one's own.
func (p *Portal) withdrawRequest(rq *request) (operation, error) {
	one, err := p.service.Request(rq.Context(), rq.actor, rq.PathValue("request"))
	if err != nil {
		return operation{}, err
	}
	rows, err := p.requestRows(rq, nil, one)
	if err != nil {
		return operation{}, err
	}
	list := p.path("my", "requests")
	return operation{
		Title: "Withdraw the request: " + strings.ToLower(rows[0].What), Nav: "myrequests", Crumbs: p.crumbs("Requests", "my", "requests"), Safe: true,
		Text: "API managers no longer see it. You can ask again.", Label: "Withdraw", Back: list, Done: "Withdrawn.",
		Do: func(bool) error { _, err := p.service.WithdrawRequest(rq.Context(), rq.actor, one.ID); return err },
	}, nil
}

// askFields are the fields of the form with which a developer requests a product.
var askFields = []formField{{"application", "Application"}, {"name", "Name of the new application"}, {"permissions", "Permissions"}, {"reason", "What you need it for"}, {"servicePrincipal", "Managed identity (optional)"}}

type askPage struct {
	Product      appaccess.Product
	Form         form
	Applications []choice
	Permissions  []appaccess.Permission
	AtOnce       bool // nobody has to approve
	Back         string
}

func (p *Portal) showAskProduct(rq *request) error {
	return p.askProduct(rq, nil, form{Fields: askFields})
}

func (p *Portal) askProduct(rq *request, cause error, f form) error {
	one, err := p.service.Product(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	apps, err := p.service.Applications(rq.Context(), rq.actor, appaccess.Filter{Order: appaccess.ByName, Limit: maxChoices})
	if err != nil {
		return err
	}
	data := askPage{Product: one, Back: p.path("my", "catalog"), AtOnce: one.SelfService == appaccess.SelfServiceOpen}
	for _, a := range apps.Items {
		data.Applications = append(data.Applications, choice{ID: a.ID, Name: a.Name})
	}
	data.Permissions = append([]appaccess.Permission{{Name: appaccess.AllPermission, Description: "Everything that the product offers."}}, one.Permissions...)
	if f.Values == nil {
		f.set("permissions", appaccess.AllPermission)
	}
	if f.Once, err = p.once(rq); err != nil {
		return err
	}
	data.Form = f
	return p.write(rq, formStatus(cause), "my_ask", page{
		Title: "Request access to " + one.Name, Nav: "catalog", Crumbs: p.crumbs("Catalog", "my", "catalog"), Data: data,
	})
}

// sendAskProduct asks for a product, or takes it where nobody has to approve.
func (p *Portal) sendAskProduct(rq *request) error {
	f, ctx := p.sent(rq, askFields), rq.Context()
	one, err := p.service.Product(ctx, rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	grants := appaccess.Grants{{Product: one.ID, Permissions: f.Values["permissions"]}}
	app, name, reason, open := f.Get("application"), f.Get("name"), f.Get("reason"), one.SelfService == appaccess.SelfServiceOpen
	if err = p.spend(rq); err == nil {
		var missing []error
		if len(f.Values["permissions"]) == 0 {
			missing = append(missing, &appaccess.InvalidError{Field: "permissions", Rule: "choose at least one"})
		}
		if app == "" && name == "" {
			missing = append(missing, &appaccess.InvalidError{Field: "name", Rule: "is required for a new application"})
		}
		err = errors.Join(missing...)
	}
	text, to := "You requested it. An API manager decides, and you see the answer here.", p.path("my", "requests")
	switch {
	case err != nil:
	case open && app == "":
		var made appaccess.ClientApplication
		made, err = p.service.RegisterApplication(ctx, rq.actor, appaccess.ApplicationRequest{Name: name, OwnerID: rq.account.ID, Grants: grants, Description: f.Get("description")})
		text, to = "Your application is registered. The next step is a client secret.", p.path("my", "applications", made.ID)
	case open:
		_, err = p.service.GrantProducts(ctx, rq.actor, app, grants)
		text, to = "Your application has access to the product.", p.path("my", "applications", app)
	case app == "":
		_, err = p.service.RequestApplication(ctx, rq.actor, appaccess.ApplicationRequest{
			Name: name, Description: f.Get("description"), Grants: grants, ServicePrincipal: appaccess.ServicePrincipal{ObjectID: f.Get("servicePrincipal")},
		}, reason)
	default:
		_, err = p.service.RequestProducts(ctx, rq.actor, app, reason, grants)
	}
	if p.refuse(rq, &f, err) {
		return p.askProduct(rq, err, f)
	}
	return p.done(rq, err, text, to, nil)
}
