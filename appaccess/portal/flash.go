package portal

import (
	"errors"
	"net/http"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// flash is a message that the next page shows.
type flash struct {
	Look string // ok, warn
	Text string
	User string // whose: nobody else's session shows it
	Undo *undo  `json:",omitempty"`
}

const flashLife = time.Minute

// done ends a POST: the browser goes on to a page that shows the message. If
// Entra is not in sync yet, that page says so; other errors are returned.
func (p *Portal) done(rq *request, err error, text, to string, back *undo) error {
	f := flash{Look: "ok", Text: text, User: rq.user.key(), Undo: back}
	var lagging *appaccess.ProvisionError
	if errors.As(err, &lagging) {
		f.Look = "warn"
		f.Text += " Entra is not in sync yet; the page Entra shows why, and Apply now tries again."
		if !rq.actor.Manager {
			f.Text = text + " Entra is not in sync yet. An API manager can see why and try again."
		}
		p.log.WarnContext(rq.Context(), "portal: entra is not in sync", "object", lagging.Object, "error", lagging.Err)
	} else if err != nil {
		return err
	}
	sealed, err := p.keys.seal(p.purpose("flash"), f)
	if err != nil {
		return err
	}
	setCookie(rq.w, p.cookie("message"), sealed, flashLife)
	http.Redirect(rq.w, rq.Request, to, http.StatusSeeOther)
	return nil
}

// takeFlash reads the message and removes it. It must be called before the
// answer's body.
func (p *Portal) takeFlash(rq *request) *flash {
	c, err := rq.Cookie(p.cookie("message"))
	if err != nil {
		return nil
	}
	setCookie(rq.w, p.cookie("message"), "", 0)
	var f flash
	if p.keys.open(p.purpose("flash"), c.Value, &f) != nil || f.User != rq.user.key() {
		return nil
	}
	return &f
}
