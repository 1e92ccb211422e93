package portal

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

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

// mine reports whether the request is for one of the owner's pages.
func (rq *request) mine() bool { return strings.HasPrefix(rq.URL.Path, "/my/") }

// action answers a request. An error it returns becomes an error page; it must
// then have written nothing.
type action func(*request) error

// admit passes the users of an audience, and reads the form of nobody else. On the
// owner's pages managers act as the owner, too, and see their own objects only.
func (p *Portal) admit(who audience, do action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rq := &request{Request: r, w: w}
		err := p.identify(rq)
		if err == nil {
			err = rq.enter(who)
		}
		if err == nil {
			err = parseForm(rq)
		}
		if err == nil {
			err = do(rq)
		}
		if err != nil {
			p.fail(rq, err)
		}
	}
}

// enter refuses who does not belong to an audience.
func (rq *request) enter(who audience) error {
	switch {
	case who == newcomers:
	case rq.account == nil && !rq.user.Manager:
		return errNoAccount
	case who == managers && !rq.user.Manager:
		return appaccess.ErrForbidden
	case who == owners && rq.account == nil:
		return errNoAccount
	case who == owners:
		rq.actor = appaccess.Developer(rq.account.ID)
	}
	return nil
}

var (
	errNoAccount = errors.New("portal: the signed-in account does not belong to a user")
	errBlocked   = errors.New("portal: the user is blocked")
)

// portalActor reads objects that the signed-in user may not read. No user's ID
// holds a colon, so nobody can lock the portal out by blocking a user of its name.
var portalActor = appaccess.Manager("portal:itself")

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
	rq.actor = appaccess.Actor{UserID: "account:" + user.ObjectID, Manager: true, Name: user.Name}
	account, err := p.service.UserByAccount(rq.Context(), portalActor, user.TenantID, user.ObjectID)
	switch {
	case errors.Is(err, appaccess.ErrNotFound):
		if !user.Manager {
			rq.actor = appaccess.Actor{} // may do nothing
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

// What a browser may send: a form, and a manager's form with a file.
const (
	maxForm   = 256 << 10
	maxUpload = 5 << 20
)

// parseForm reads the form of a POST. Only managers have forms with files.
func parseForm(rq *request) error {
	if rq.Method != http.MethodPost {
		return nil
	}
	files := strings.HasPrefix(rq.Header.Get("Content-Type"), "multipart/")
	most := int64(maxForm)
	if files && rq.user.Manager {
		most = maxUpload
	}
	rq.Body = http.MaxBytesReader(rq.w, rq.Body, most)
	err := rq.ParseForm()
	if err == nil && files {
		err = parseFiles(rq)
	}
	if err != nil {
		return &appaccess.InvalidError{Field: "form", Rule: "must be complete and at most 256 KiB long, or 5 MiB with a file"}
	}
	return nil
}

// parseFiles reads a form with files. A file that was chosen is the value of its
// field.
func parseFiles(rq *request) error {
	if err := rq.ParseMultipartForm(maxUpload); err != nil {
		return err
	}
	for name, files := range rq.MultipartForm.File {
		for _, header := range files {
			if header.Size == 0 {
				continue
			}
			file, err := header.Open()
			if err != nil {
				return err
			}
			content, err := io.ReadAll(file)
			_ = file.Close() // it was only read
			if err != nil {
				return err
			}
			rq.PostForm[name] = []string{string(content)}
		}
	}
	return nil
}

// fail shows an error of a page.
func (p *Portal) fail(rq *request, err error) {
	if errors.Is(err, errRoleCheck) {
		if rq.Method == http.MethodGet {
			http.Redirect(rq.w, rq.Request, p.signInPath(p.here(rq.Request))+"&check=role", http.StatusSeeOther)
			return
		}
		p.keepText(rq)
		return
	}
	if errors.Is(err, ErrSignedOut) {
		if p.signIn != nil {
			p.signIn.end(rq.w)
		}
		switch {
		case rq.Method == http.MethodGet && p.signIn != nil:
			http.Redirect(rq.w, rq.Request, p.signInPath(p.here(rq.Request)), http.StatusSeeOther)
			return
		case rq.Method == http.MethodPost:
			p.keepText(rq)
			return
		}
	}
	if errors.Is(err, errBlocked) && p.signIn != nil {
		p.signIn.end(rq.w)
	}
	p.problem(rq, p.explain(rq, err))
}

func (p *Portal) signInPath(from string) string {
	return p.path("signin") + "?" + url.Values{"return": {from}}.Encode()
}

// here is the path of the request as the browser sees it.
func (p *Portal) here(r *http.Request) string {
	u := url.URL{Path: p.prefix + r.URL.Path, RawQuery: r.URL.RawQuery}
	return u.String()
}

// keptField is one value of a form that is shown to its sender again.
type keptField struct{ Name, Value string }

// neverKept are fields whose values are not sent back, not even to the browser
// that they came from.
var neverKept = map[string]bool{"secret": true, "pem": true}

// resendPage is shown to somebody whose session ended while they typed: it holds
// what they sent, to send again after the sign-in. Nothing is stored.
type resendPage struct {
	Action string
	SignIn string // empty: the host signs in
	Fields []keptField
	Left   bool // a secret was left out
}

func (p *Portal) keepText(rq *request) {
	if parseForm(rq) != nil { // too long to send again
		p.problem(rq, p.explain(rq, ErrSignedOut))
		return
	}
	data := resendPage{Action: p.here(rq.Request)}
	if p.signIn != nil {
		data.SignIn = p.path("signin") + "?" + url.Values{"return": {p.path("signedin")}}.Encode()
	}
	for name, values := range rq.PostForm {
		for _, v := range values {
			if neverKept[name] {
				data.Left = data.Left || v != ""
				continue
			}
			data.Fields = append(data.Fields, keptField{name, v})
		}
	}
	if err := p.write(rq, http.StatusUnauthorized, "resend", page{Title: "Your session has ended", Narrow: true, Data: data}); err != nil {
		p.problem(rq, p.explain(rq, err))
	}
}

// showSignedIn is where a sign-in leads that was begun to send a form again.
func (p *Portal) showSignedIn(rq *request) error {
	p.problem(rq, problem{Status: http.StatusOK, Title: "You are signed in", Text: "Go back to the tab with your form and send it again. You can close this one."})
	return nil
}
