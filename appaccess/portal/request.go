package portal

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/entragate/entragate/appaccess"
)

// request is one request of a user who is signed in and not blocked.
type request struct {
	*http.Request
	w       http.ResponseWriter
	user    User
	account *appaccess.User // nil: a manager who owns nothing here
	actor   appaccess.Actor // on whose behalf Service is asked
}

// action answers a request. An error it returns becomes an error page; it must
// then have written nothing.
type action func(*request) error

// manager serves the pages that are for managers.
func (p *Portal) manager(do action) http.HandlerFunc {
	return p.signedIn(func(rq *request) error {
		if !rq.user.Manager {
			return appaccess.ErrForbidden
		}
		return do(rq)
	})
}

// owner serves the pages of what a user owns, for managers too: there they act
// as the owner and see their own objects only.
func (p *Portal) owner(do action) http.HandlerFunc {
	return p.signedIn(func(rq *request) error {
		if rq.account == nil {
			return errNoAccount
		}
		rq.actor = appaccess.Developer(rq.account.ID)
		return do(rq)
	})
}

var (
	errNoAccount = errors.New("portal: the account is no user here")
	errBlocked   = errors.New("portal: the user is blocked")
)

func (p *Portal) signedIn(do action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rq := &request{Request: r, w: w}
		err := p.identify(rq)
		if err == nil {
			err = parseForm(rq)
		}
		if err == nil {
			err = do(rq)
		}
		if err != nil {
			p.fail(w, r, rq, err)
		}
	}
}

// itself looks up what the user of a request may not. No user's ID holds a
// colon, so nobody can lock the portal out by blocking a user of its name.
var itself = appaccess.Manager("portal:itself")

// identify finds out who asks, on every request anew: a user blocked a moment
// ago is out.
func (p *Portal) identify(rq *request) error {
	user, err := p.who(rq.Request)
	if err != nil {
		return err
	}
	if user.TenantID == "" || user.ObjectID == "" {
		return ErrSignedOut
	}
	rq.user = user
	rq.actor = appaccess.Manager("account:" + user.ObjectID)
	account, err := p.service.UserByAccount(rq.Context(), itself, user.TenantID, user.ObjectID)
	switch {
	case errors.Is(err, appaccess.ErrNotFound):
		if !user.Manager {
			return errNoAccount
		}
		return nil
	case err != nil:
		return err
	case account.State == appaccess.UserBlocked:
		return errBlocked
	}
	if p.signIn != nil && p.signIn.startedBefore(rq.Request, account.Updated) {
		return ErrSignedOut
	}
	rq.account = &account
	rq.actor = appaccess.Manager(account.ID)
	return nil
}

func parseForm(rq *request) error {
	if rq.Method != http.MethodPost {
		return nil
	}
	if err := rq.ParseForm(); err != nil {
		return &appaccess.InvalidError{Field: "form", Rule: "must be complete and at most 256 KiB long"}
	}
	return nil
}

// fail shows an error of a page.
func (p *Portal) fail(w http.ResponseWriter, r *http.Request, rq *request, err error) {
	if errors.Is(err, ErrSignedOut) && p.signIn != nil {
		p.signIn.end(w)
		if r.Method == http.MethodGet {
			http.Redirect(w, r, p.path("signin")+"?"+url.Values{"return": {p.here(r)}}.Encode(), http.StatusSeeOther)
			return
		}
	}
	if errors.Is(err, errBlocked) && p.signIn != nil {
		p.signIn.end(w)
	}
	p.problem(w, r, rq, p.explain(r, rq, err))
}

// here is the path of the request as the browser sees it.
func (p *Portal) here(r *http.Request) string {
	u := url.URL{Path: p.prefix + r.URL.Path, RawQuery: r.URL.RawQuery}
	return u.String()
}
