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
	SignIn    bool   // offer to sign in
	Account   *User  // show which account is signed in
}

// explain turns an error into words. What a user cannot mend is logged under a
// reference, and its text is shown to managers only.
func (p *Portal) explain(r *http.Request, rq *request, err error) problem {
	var invalid *appaccess.InvalidError
	var conflict *appaccess.ConflictError
	var limited *limitError
	manager := rq != nil && rq.user.Manager
	switch {
	case errors.Is(err, ErrSignedOut):
		return problem{Status: http.StatusUnauthorized, Title: "You are signed out", SignIn: true,
			Text: "Nobody is signed in, or your session has ended. Nothing was changed."}
	case errors.Is(err, errBlocked):
		return problem{Status: http.StatusForbidden, Title: "Your account is blocked",
			Text: "An API manager has blocked it. Your applications and keys have no access until it is unblocked."}
	case errors.Is(err, errNoAccount):
		out := problem{Status: http.StatusForbidden, Title: "You have no account here yet",
			Text: "You are signed in, but your account is not linked to a user. Ask an API manager to link the account below."}
		if rq != nil && rq.user.ObjectID != "" {
			out.Account = &rq.user
		}
		return out
	case errors.Is(err, errSpent):
		return problem{Status: http.StatusConflict, Title: "This form was sent already",
			Text: "A value that is shown once is not shown or made a second time by reloading or going back. If you did not keep it, go to the object and make a new one."}
	case errors.As(err, &limited):
		return problem{Status: http.StatusTooManyRequests, Title: "Too many at once",
			Text: "To protect your applications, this is limited. Wait a minute and try again."}
	case errors.As(err, &invalid):
		return problem{Status: http.StatusBadRequest, Title: "This cannot be done as asked", Text: invalid.Error()}
	case errors.As(err, &conflict):
		return problem{Status: http.StatusConflict, Title: "This is not possible now", Text: conflict.Error()}
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
		out.Title, out.Text = "Entra has not followed yet", "Your change is stored, and Entra could not be brought in step yet. Sending it again goes on where it stopped."
	default:
		out.Title, out.Text = "Something went wrong", "It is on our side, and it has been logged. If it happens again, tell an API manager the reference."
	}
	out.Reference = rand.Text()[:10]
	if manager {
		out.Detail = err.Error()
	}
	p.log.ErrorContext(r.Context(), "portal: page failed",
		"reference", out.Reference, "status", out.Status, "method", r.Method, "route", r.Pattern, "error", err)
	return out
}

// problem writes an error page. rq is nil when it is not known who asks.
func (p *Portal) problem(w http.ResponseWriter, r *http.Request, rq *request, pb problem) {
	if rq == nil {
		rq = &request{Request: r}
	}
	rq.w = w
	if pb.Status == http.StatusTooManyRequests || pb.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "60")
	}
	if err := p.write(rq, pb.Status, "problem", page{Title: pb.Title, Narrow: true, Data: pb}); err != nil {
		p.log.ErrorContext(r.Context(), "portal: error page failed", "error", err)
		http.Error(w, pb.Title, pb.Status)
	}
}

// notFound answers every address that is no page.
func (p *Portal) notFound(w http.ResponseWriter, r *http.Request) {
	p.problem(w, r, nil, p.explain(r, nil, appaccess.ErrNotFound))
}
