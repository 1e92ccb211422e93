package portal

import (
	"crypto/rand"
	"errors"
	"strings"
	"time"
)

// onceToken is what makes a form work once: sealed, for one user and address.
type onceToken struct {
	ID      string
	User    string
	Path    string
	Expires time.Time
}

const onceLife = time.Hour

var (
	errSpent   = errors.New("portal: form already sent")
	errExpired = errors.New("portal: form too old")
)

// once makes the token of the form on the page that is being shown.
func (p *Portal) once(rq *request) (string, error) {
	return p.keys.seal(p.purpose("once"), onceToken{
		ID: strings.ToLower(rand.Text()), User: rq.user.key(), Path: rq.URL.Path, Expires: p.now().Add(onceLife),
	})
}

// spend takes the token of a form that was sent, and refuses one that was sent
// before, to this replica or another: the store remembers.
func (p *Portal) spend(rq *request) error {
	var t onceToken
	if p.keys.open(p.purpose("once"), rq.PostForm.Get("once"), &t) != nil || t.User != rq.user.key() || t.Path != rq.URL.Path {
		return errExpired
	}
	if !p.now().Before(t.Expires) {
		return errExpired
	}
	first, err := p.service.SpendForm(rq.Context(), portalActor, t.ID, t.Expires)
	if err == nil && !first {
		err = errSpent
	}
	return err
}

// oneTime passes a request whose answer shows a value once: not too many, and
// not the same form twice.
func (p *Portal) oneTime(rq *request) error {
	if err := p.secrets.allow(rq.user.key()); err != nil {
		return err
	}
	return p.spend(rq)
}
