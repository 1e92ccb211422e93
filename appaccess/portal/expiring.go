package portal

import (
	"time"

	"github.com/entragate/entragate/appaccess"
)

// expiringRow is a credential that ends soon or has ended.
type expiringRow struct {
	appaccess.ExpiringCredential
	Name  string // of the credential
	Ends  time.Time
	Mark  string
	Owner link
	URL   string
}

// expiringRows adds the names that the rows need.
func (p *Portal) expiringRows(rq *request, known map[appaccess.Ref]string, creds ...appaccess.ExpiringCredential) ([]expiringRow, error) {
	var rows []expiringRow
	var owners []string
	for _, one := range creds {
		owners = append(owners, one.OwnerID)
	}
	book, err := p.namesBeside(rq, known, refs(appaccess.KindUser, owners...)...)
	for _, one := range creds {
		rows = append(rows, expiringRow{
			ExpiringCredential: one, Name: credentialName(one.Credential), Ends: one.Credential.End, Owner: book.User(one.OwnerID),
			Mark: expiring(one.Credential, p.now()), URL: p.path("applications", one.Credential.ApplicationID, "credentials"),
		})
	}
	return rows, err
}

// expiringPage lists credentials by their end, soonest first.
type expiringPage struct {
	listing[expiringRow]
	Within string
}

// expiringWithin are the choices of how soon, in days.
var expiringWithin = map[string]time.Duration{"expired": 0, "7": 7 * day}

// expiringList reads what the address of the list selects.
func (p *Portal) expiringList(rq *request) (c controls, within time.Duration, err error) {
	c, err = p.listControls(rq, listSpec{Placeholder: "Name of a credential", Owner: true, Export: p.path("expiring", "export")})
	within, narrower := expiringWithin[rq.URL.Query().Get("within")]
	if !narrower {
		within = warnBefore
	}
	c.Narrowed = c.Narrowed || narrower
	return c, within, err
}

func (p *Portal) showExpiring(rq *request) error {
	c, within, err := p.expiringList(rq)
	if err != nil {
		return err
	}
	found, err := p.service.Expiring(rq.Context(), rq.reader(), within, c.filter)
	if err != nil {
		return err
	}
	rows, err := p.expiringRows(rq, c.known, found.Items...)
	if err != nil {
		return err
	}
	return p.show(rq, "expiring", page{
		Title: "Expiring credentials", Nav: "expiring", Lead: "Secrets and certificates that have expired or will within 30 days, soonest first.",
		Data: expiringPage{listed(rq, c, found, rows), rq.URL.Query().Get("within")},
	})
}

func (p *Portal) exportExpiring(rq *request) error {
	c, within, err := p.expiringList(rq)
	if err != nil {
		return err
	}
	return exportList(p, rq, "expiring", []string{"Application", "Owner", "Credential", "Kind", "Ends", "Application ID"}, c.filter, func(f appaccess.Filter) (appaccess.Page[appaccess.ExpiringCredential], error) {
		return p.service.Expiring(rq.Context(), rq.reader(), within, f)
	}, func(creds []appaccess.ExpiringCredential) (table [][]string, err error) {
		rows, err := p.expiringRows(rq, c.known, creds...)
		for _, r := range rows {
			table = append(table, []string{r.ApplicationName, r.Owner.Text, r.Name, string(r.Credential.Kind), instant(r.Ends), r.Credential.ApplicationID})
		}
		return table, err
	})
}
