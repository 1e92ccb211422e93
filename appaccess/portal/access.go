package portal

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/entragate/entragate/appaccess"
)

var accessFields = []formField{{"name", "Your name"}, {"email", "Email (optional)"}, {"reason", "What you need the access for"}}

// accessPage is where somebody who is signed in and has no account here requests
// one.
type accessPage struct {
	Form    form
	Account User
	Before  *appaccess.Request // an earlier request of the same account; nil: none
}

func (p *Portal) showRequestAccess(rq *request) error {
	return p.requestAccess(rq, nil, form{Fields: accessFields, Values: url.Values{"name": {rq.user.Name}, "email": {rq.user.Email}}})
}

func (p *Portal) requestAccess(rq *request, cause error, f form) error {
	if rq.account != nil {
		http.Redirect(rq.w, rq.Request, p.path(), http.StatusSeeOther)
		return nil
	}
	data := accessPage{Form: f, Account: rq.user}
	before, err := p.service.AccountRequestOf(rq.Context(), portalActor, rq.user.TenantID, rq.user.ObjectID)
	switch {
	case err == nil:
		data.Before = &before
	case !errors.Is(err, appaccess.ErrNotFound):
		return err
	}
	if data.Form.Once, err = p.once(rq); err != nil {
		return err
	}
	return p.write(rq, formStatus(cause), "access", page{Title: "Request access", Narrow: true, Data: data})
}

// sendRequestAccess requests an account. The sign-in names the Entra account; the
// user types name and email.
func (p *Portal) sendRequestAccess(rq *request) error {
	f := p.sent(rq, accessFields)
	err := p.spend(rq)
	if err == nil && f.Get("reason") == "" {
		err = &appaccess.InvalidError{Field: "reason", Rule: "say in a few words what you need the access for"}
	}
	if err == nil {
		_, err = p.service.RequestAccount(rq.Context(), portalActor, appaccess.AccountApplicant{
			TenantID: rq.user.TenantID, ObjectID: rq.user.ObjectID, Name: f.Get("name"), Email: f.Get("email"), Reason: f.Get("reason"),
		})
	}
	if p.refuse(rq, &f, err) {
		return p.requestAccess(rq, err, f)
	}
	return p.done(rq, err, "Your request was sent.", p.path("request-access"), nil)
}
