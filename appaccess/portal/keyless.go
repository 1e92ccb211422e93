package portal

import (
	"net/url"

	"github.com/entragate/entragate/appaccess"
)

var (
	certificateFields = []formField{{"name", "Name (optional)"}, {"pem", "Certificate (PEM)"}}
	federatedFields   = []formField{{"name", "Name"}, {"issuer", "Issuer"}, {"subject", "Subject"}, {"audience", "Audience (optional)"}}
)

// newKeylessPage is the page for credentials that need no secret: certificates
// and federated credentials.
type newKeylessPage struct {
	Certificate, Federated form
	Back                   string
}

func (p *Portal) showNewKeyless(rq *request) error { return p.newKeyless(rq, nil, form{}) }

func (p *Portal) newKeyless(rq *request, cause error, f form) error {
	one, err := p.service.Application(rq.Context(), rq.actor, rq.PathValue("application"))
	if err != nil {
		return err
	}
	data := newKeylessPage{Certificate: form{Fields: certificateFields}, Federated: form{Fields: federatedFields}, Back: p.credentialsPath(rq, one.ID)}
	if f.Values == nil {
		f.Values = url.Values{}
	}
	f.Values.Del("pem")
	switch f.Get("kind") {
	case "certificate":
		data.Certificate = f
	case "federated":
		data.Federated = f
	}
	once, err := p.once(rq)
	if err != nil {
		return err
	}
	data.Certificate.Once, data.Federated.Once = once, once
	pg := p.belowApplication(rq, one, "Certificate or federation")
	pg.Lead, pg.Data = "Ways for the application to prove itself without a secret that can leak.", data
	return p.write(rq, formStatus(cause), "keyless_new", pg)
}

func (p *Portal) addKeyless(rq *request) error {
	id, f := rq.PathValue("application"), p.sent(rq, nil)
	err := p.spend(rq)
	switch kind := f.Get("kind"); {
	case kind == "certificate":
		f.Fields = certificateFields
		if err == nil {
			_, err = p.service.AddCertificate(rq.Context(), rq.actor, id, appaccess.CertificateRequest{Name: f.Get("name"), PEM: f.Get("pem")})
		}
	case kind == "federated":
		f.Fields = federatedFields
		if err == nil {
			_, err = p.service.AddFederatedCredential(rq.Context(), rq.actor, id, appaccess.FederatedRequest{
				Name: f.Get("name"), Issuer: f.Get("issuer"), Subject: f.Get("subject"), Audience: f.Get("audience"),
			})
		}
	case err == nil:
		return &appaccess.InvalidError{Field: "kind", Rule: "must be certificate or federated"}
	}
	if p.refuse(rq, &f, err) {
		return p.newKeyless(rq, err, f)
	}
	return p.done(rq, err, "Credential added.", p.credentialsPath(rq, id), nil)
}

// credentialsPath is where an application's credentials are listed.
func (p *Portal) credentialsPath(rq *request, id string) string {
	if rq.mine() {
		return p.applicationPath(rq, id)
	}
	return p.applicationPath(rq, id, "credentials")
}

// belowApplication is the head of a page below an application.
func (p *Portal) belowApplication(rq *request, one appaccess.ClientApplication, title string) page {
	return page{Title: title, Nav: rq.nav("applications"), Crumbs: append(p.applicationCrumbs(rq), link{one.Name, p.applicationPath(rq, one.ID)})}
}
