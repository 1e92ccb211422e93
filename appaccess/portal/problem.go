package portal

import (
	"crypto/rand"
	"errors"
	"net/http"

	"github.com/entragate/entragate/appaccess"
)

// problem is an error page: what happened and what to do about it.
type problem struct {
	Status    int
	Title     string
	Text      string
	Detail    string // the cause, for managers
	Reference string // to find the log line by
	SignIn    string // address to sign in at; empty: no such button
	Account   *User  // show which account is signed in
	Request   string // address at which an account can be requested
}

// explain turns an error into words. What a user cannot correct is logged under
// a reference, and its text is shown to managers only.
func (p *Portal) explain(rq *request, err error) problem {
	var invalid *appaccess.InvalidError
	var conflict *appaccess.ConflictError
	var limited *limitError
	switch {
	case errors.Is(err, ErrSignedOut):
		return problem{Status: http.StatusUnauthorized, Title: "You are signed out", SignIn: p.path("signin"),
			Text: "Nobody is signed in, or your session has ended. Nothing was changed."}
	case errors.Is(err, errBlocked):
		return problem{Status: http.StatusForbidden, Title: "Your account is blocked",
			Text: "An API manager has blocked it. Your applications and keys have no access until it is unblocked."}
	case errors.Is(err, errNoAccount):
		out := problem{Status: http.StatusForbidden, Title: "You have no account here yet", SignIn: p.path("signin") + "?account=other",
			Text: "You are signed in, but your account is not linked to a user. Request access, or sign in with another account."}
		if rq.user.ObjectID != "" {
			out.Account, out.Request = &rq.user, p.path("request-access")
		}
		return out
	case errors.Is(err, errSpent):
		return problem{Status: http.StatusConflict, Title: "This form was sent already",
			Text: "What it asked for was done once. A value that is shown once is not shown or made a second time by reloading or going back: if you did not keep it, go to the object and make a new one."}
	case errors.Is(err, errExpired):
		return problem{Status: http.StatusConflict, Title: "This form is too old", Text: "Open its page again and send it once more."}
	case errors.As(err, &limited):
		return problem{Status: http.StatusTooManyRequests, Title: "Too many at once",
			Text: "To protect your applications, this is limited. Wait a minute and try again."}
	case errors.As(err, &invalid):
		return problem{Status: http.StatusBadRequest, Title: "This cannot be done as asked", Text: invalid.Error()}
	case errors.As(err, &conflict):
		return problem{Status: http.StatusConflict, Title: "This is not possible now", Text: p.sentence(rq, conflict)}
	}
	out := problem{Status: appaccess.Status(err)}
	switch out.Status {
	case http.StatusNotFound:
		out.Title, out.Text = "Not found", "There is nothing at this address, or it is not yours to see."
		return out
	case http.StatusForbidden:
		out.Title, out.Text = "For API managers only", "Your account does not have the manager's role. What you own is under My applications."
		return out
	case http.StatusServiceUnavailable:
		out.Title, out.Text = "Not available now", "The service cannot be reached at the moment. Try again in a minute; nothing is lost."
	case http.StatusBadGateway:
		out.Title, out.Text = "Entra is not in sync yet", "Your change is stored, but Entra could not be changed yet. Sending it again continues where it stopped."
	default:
		out.Title, out.Text = "Something went wrong", "It is on our side, and it has been logged. If it happens again, tell an API manager the reference."
	}
	out.Reference = rand.Text()[:10]
	if rq.user.Manager {
		out.Detail = err.Error()
	}
	p.log.ErrorContext(rq.Context(), "portal: page failed",
		"reference", out.Reference, "status", out.Status, "method", rq.Method, "route", rq.Pattern, "error", err)
	return out
}

// problem writes an error page. Who is signed in keeps the menu.
func (p *Portal) problem(rq *request, pb problem) {
	if pb.Status == http.StatusTooManyRequests || pb.Status == http.StatusServiceUnavailable {
		rq.w.Header().Set("Retry-After", "60")
	}
	pg := page{Title: pb.Title, Narrow: rq.user.ObjectID == "" || pb.Account != nil, Data: pb}
	if err := p.write(rq, pb.Status, "problem", pg); err != nil {
		p.log.ErrorContext(rq.Context(), "portal: error page failed", "error", err)
		http.Error(rq.w, pb.Title, pb.Status)
	}
}

// notFound answers every address that is no page.
func (p *Portal) notFound(w http.ResponseWriter, r *http.Request) {
	rq := &request{Request: r, w: w}
	if err := p.identify(rq); err != nil {
		rq.user = User{} // nobody may know the address, so the user does not matter
	}
	p.problem(rq, p.explain(rq, appaccess.ErrNotFound))
}

// formStatus is the status of a page that shows a refused form again.
func formStatus(err error) int {
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, errStale), errors.Is(err, errExpired):
		return http.StatusConflict
	}
	return appaccess.Status(err)
}
