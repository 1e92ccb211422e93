package portal

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// form is what a form's template needs: what the user entered and what is
// wrong with it.
type form struct {
	Values url.Values
	Wrong  map[string]string // by field name
	Other  string            // what is wrong with no field that the form has
	Once   string            // token of a form that works once
}

// Get is the value of a field.
func (f form) Get(name string) string { return f.Values.Get(name) }

// Has reports whether a choice is chosen.
func (f form) Has(name, value string) bool { return slices.Contains(f.Values[name], value) }

// refuse notes an error of Service that the user can mend in the form, and
// reports whether it is one. fields are those that the form shows.
func (f *form) refuse(err error, fields ...string) bool {
	var invalid *appaccess.InvalidError
	var conflict *appaccess.ConflictError
	var name, text string
	switch {
	case errors.As(err, &invalid):
		name, text = invalid.Field, invalid.Rule
	case errors.As(err, &conflict):
		name, text = conflict.Field, conflict.Reason
		if len(conflict.Objects) > 0 {
			text += ": " + strings.Join(conflict.Objects, ", ")
		}
	default:
		return false
	}
	if f.Wrong == nil {
		f.Wrong = map[string]string{}
	}
	switch {
	case slices.Contains(fields, name):
		f.Wrong[name] = sentence(text)
	case invalid != nil:
		f.Other = sentence(name + " " + text)
	default:
		f.Other = sentence(text)
	}
	return true
}

// sentence makes a rule ("must have 1 to 80 characters") read as one.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// formField is one line of a form.
type formField struct {
	form
	Name, Label, Hint string
}

// newField is the template function field: {{template "text" (field .Data.Form "name" "Name" "hint")}}.
func newField(f form, name, label, hint string) formField {
	return formField{form: f, Name: name, Label: label, Hint: hint}
}

// Value is what the user entered before.
func (f formField) Value() string { return f.Get(f.Name) }

// Fault is what is wrong with it.
func (f formField) Fault() string { return f.Wrong[f.Name] }

// The cookies. All are HttpOnly, Secure and for this host alone.
const (
	sessionCookie = "__Host-entragate-session"
	signInCookie  = "__Host-entragate-signin"
	flashCookie   = "__Host-entragate-message"
	spentCookie   = "__Host-entragate-spent"
)

// setCookie sets one of them; an empty value removes it.
func setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	c := &http.Cookie{
		Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: int(life / time.Second),
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// flash is a message that the next page shows.
type flash struct {
	Look string // ok, warn
	Text string
	User string // whose: nobody else's session shows it
}

const flashLife = time.Minute

// done ends a POST: the browser goes on to a page that shows the message. If
// Entra did not follow, that page says so; other errors are returned.
func (p *Portal) done(rq *request, err error, text string, to string) error {
	f := flash{Look: "ok", Text: text, User: rq.user.key()}
	var lagging *appaccess.ProvisionError
	if errors.As(err, &lagging) {
		f.Look = "warn"
		f.Text += " Entra could not follow yet; the page Entra shows why, and Apply now tries again."
		if !rq.actor.Manager {
			f.Text = text + " Entra could not follow yet. An API manager can see why and try again."
		}
		p.log.WarnContext(rq.Context(), "portal: entra does not follow", "object", lagging.Object, "error", lagging.Err)
	} else if err != nil {
		return err
	}
	sealed, err := p.keys.seal("flash", f)
	if err != nil {
		return err
	}
	setCookie(rq.w, flashCookie, sealed, flashLife)
	http.Redirect(rq.w, rq.Request, to, http.StatusSeeOther)
	return nil
}

// takeFlash reads the message and removes it. It must be called before the
// answer's body.
func (p *Portal) takeFlash(rq *request) *flash {
	c, err := rq.Cookie(flashCookie)
	if err != nil {
		return nil
	}
	setCookie(rq.w, flashCookie, "", 0)
	var f flash
	if p.keys.open("flash", c.Value, &f) != nil || f.User != rq.user.key() {
		return nil
	}
	return &f
}

// onceToken is what makes a form work once: sealed, for one user and address.
type onceToken struct {
	ID      string
	User    string
	Path    string
	Expires time.Time
}

const onceLife = time.Hour

// errSpent: the form was sent before, or is too old.
var errSpent = errors.New("portal: form already sent")

// once makes the token of a form that posts to path.
func (p *Portal) once(rq *request, path string) (string, error) {
	return p.keys.seal("once", onceToken{ID: rand.Text()[:12], User: rq.user.key(), Path: path, Expires: p.now().Add(onceLife)})
}

// spend takes the token of a form that was sent, and refuses one that was sent
// before. This process remembers them, and so does the browser, for the case
// that another replica gets the second request.
func (p *Portal) spend(rq *request) error {
	var t onceToken
	if p.keys.open("once", rq.PostForm.Get("once"), &t) != nil ||
		t.User != rq.user.key() || t.Path != p.prefix+rq.URL.Path || !p.now().Before(t.Expires) {
		return errSpent
	}
	var before []string
	if c, err := rq.Cookie(spentCookie); err == nil {
		before = strings.Split(c.Value, ".")
	}
	if slices.Contains(before, t.ID) || !p.spent.add(t.ID, t.Expires) {
		return errSpent
	}
	before = append(before, t.ID)
	setCookie(rq.w, spentCookie, strings.Join(before[max(0, len(before)-16):], "."), onceLife)
	return nil
}

// spentForms remembers the tokens that were used until they expire anyway.
type spentForms struct {
	now func() time.Time
	mu  sync.Mutex
	ids map[string]time.Time
}

func newSpentForms(now func() time.Time) *spentForms {
	return &spentForms{now: now, ids: map[string]time.Time{}}
}

// add reports whether the token is new. The limiter on secrets, which comes
// first, bounds how many there are.
func (s *spentForms) add(id string, expires time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for old, end := range s.ids {
		if !now.Before(end) {
			delete(s.ids, old)
		}
	}
	if _, used := s.ids[id]; used {
		return false
	}
	s.ids[id] = expires
	return true
}
