package portal

import (
	"slices"

	"github.com/entragate/entragate/appaccess"
)

// unknownRow is something in Entra that nobody here desires.
type unknownRow struct {
	ID    string // names it in the form
	What  string
	About link // the product of a grant, or the client application of a credential
	To    link // the client application that has the grant
	Where string
}

// unknownRows puts what is unknown into words.
func (p *Portal) unknownRows(rq *request, u appaccess.Unknown) ([]unknownRow, error) {
	var all []appaccess.Ref
	for _, g := range u.Grants {
		all = append(all, appaccess.Ref{Kind: appaccess.KindProduct, ID: g.Product}, appaccess.Ref{Kind: appaccess.KindApplication, ID: g.Application})
	}
	for _, c := range u.Credentials {
		all = append(all, appaccess.Ref{Kind: appaccess.KindApplication, ID: c.Application})
	}
	book, err := p.namesOf(rq, all...)
	var rows []unknownRow
	for _, a := range u.Applications {
		rows = append(rows, unknownRow{ID: a.ObjectID, What: "Application", About: link{Text: a.DisplayName}, Where: a.UniqueName + ", client ID " + a.AppID})
	}
	for _, c := range u.Credentials {
		what := map[appaccess.CredentialKind]string{appaccess.SecretCredential: "Secret", appaccess.CertificateCredential: "Certificate"}[c.Kind]
		rows = append(rows, unknownRow{ID: c.KeyID, What: what + " of application", About: book.Application(c.Application), Where: c.Name + ", key ID " + c.KeyID})
	}
	for _, g := range u.Grants {
		row := unknownRow{
			ID: g.Assignment, What: "Grant of product", About: book.Product(g.Product), To: link{Text: "a principal that is no client application"},
			Where: "principal " + g.Principal + ", assignment " + g.Assignment,
		}
		if g.Application != "" {
			row.To = book.Application(g.Application)
		}
		rows = append(rows, row)
	}
	return rows, err
}

// removeUnknown removes from Entra what was ticked on the page of the preview. Entra
// is read again: what is known by now stays.
func (p *Portal) removeUnknown(rq *request) (operation, error) {
	ids, back := rq.URL.Query()["id"], p.path("entra", "preview")
	if len(ids) == 0 || len(ids) > maxChoices {
		return operation{}, &appaccess.InvalidError{Field: "id", Rule: "tick what is to be removed first"}
	}
	plan, err := p.service.Plan(rq.Context(), rq.actor)
	if err != nil {
		return operation{}, err
	}
	chosen := plan.Unknown
	chosen.Applications = slices.DeleteFunc(chosen.Applications, func(a appaccess.TenantApplication) bool { return !slices.Contains(ids, a.ObjectID) })
	chosen.Credentials = slices.DeleteFunc(chosen.Credentials, func(c appaccess.UnknownCredential) bool { return !slices.Contains(ids, c.KeyID) })
	chosen.Grants = slices.DeleteFunc(chosen.Grants, func(g appaccess.UnknownGrant) bool { return !slices.Contains(ids, g.Assignment) })
	rows, err := p.unknownRows(rq, chosen)
	if err != nil {
		return operation{}, err
	}
	if len(rows) == 0 {
		return operation{}, &appaccess.ConflictError{Reason: "nothing of what was ticked is in Entra any more, or all of it is known by now"}
	}
	count := countOf(len(rows), "unknown object", "unknown objects")
	op := operation{
		Title: "Remove " + count + " from Entra", Nav: "entra", Crumbs: append(p.crumbs("Entra", "entra"), link{"Preview changes", back}), Label: "Remove", Back: back, List: true,
		Text: "Programs that use these applications, credentials and grants lose their access. An application is deleted only if this installation can prove that it made it; Entra keeps it for 30 days.",
		Done: words(count) + " removed.",
		Do:   func(bool) error { return p.service.RemoveUnknown(rq.Context(), rq.actor, chosen) },
	}
	for _, row := range rows {
		name := row.What + " " + row.About.Text
		if row.To.Text != "" {
			name += " to " + row.To.Text
		}
		op.Affected.add(caller{Name: name + " (" + row.Where + ")"})
	}
	return op, nil
}
