package portal

import (
	"net/http"

	"github.com/entragate/entragate/appaccess"
)

// keylessForm is the page for credentials that need no secret: certificates and
// federated credentials.
type keylessForm struct {
	Form form
	Kind string // of the form that was sent
	Back string
}

func (p *Portal) keylessNew(rq *request) error {
	return p.keylessPage(rq, http.StatusOK, managerPlace(rq, p), form{})
}

func (p *Portal) myKeylessNew(rq *request) error {
	return p.keylessPage(rq, http.StatusOK, ownerPlace(rq, p), form{})
}

func (p *Portal) keylessPage(rq *request, status int, at place, f form) error {
	one, err := p.service.Application(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	pg := at.frame(p, one, "Certificate or federation")
	pg.Lead = "Ways for the application to prove itself without a secret that can leak."
	pg.Data = keylessForm{Form: f, Kind: f.Get("kind"), Back: p.path(at.back...)}
	return p.write(rq, status, "keyless_new", pg)
}

func (p *Portal) keylessAdd(rq *request) error { return p.addKeyless(rq, managerPlace(rq, p)) }

func (p *Portal) myKeylessAdd(rq *request) error { return p.addKeyless(rq, ownerPlace(rq, p)) }

func (p *Portal) addKeyless(rq *request, at place) error {
	id, f := rq.PathValue("id"), form{Values: rq.PostForm}
	var err error
	switch f.Get("kind") {
	case "certificate":
		_, err = p.service.AddCertificate(rq.Context(), rq.actor, id, appaccess.CertificateRequest{Name: f.Get("name"), PEM: f.Get("pem")})
	case "federated":
		_, err = p.service.AddFederatedCredential(rq.Context(), rq.actor, id, appaccess.FederatedRequest{
			Name: f.Get("name"), Issuer: f.Get("issuer"), Subject: f.Get("subject"), Audience: f.Get("audience"),
		})
	default:
		err = &appaccess.InvalidError{Field: "kind", Rule: "must be certificate or federated"}
	}
	if f.refuse(err, "name", "pem", "issuer", "subject", "audience") {
		return p.keylessPage(rq, appaccess.Status(err), at, f)
	}
	return p.done(rq, err, "Credential added.", p.path(at.back...))
}
