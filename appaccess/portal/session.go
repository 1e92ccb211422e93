package portal

import (
	"errors"
	"net/http"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// session is what the cookie holds.
type session struct {
	User    User
	Hint    string // of the account, for Entra
	Started time.Time
	Expires time.Time
	// Account is when the user's account here was last changed, as read at the
	// sign-in. It is compared, never measured: replicas' clocks differ.
	Account time.Time
	// Checked is when Entra last said that the user is a manager.
	Checked time.Time
}

// errRoleCheck says that a manager's role has to be confirmed first.
var errRoleCheck = errors.New("portal: the manager's role has to be confirmed")

// authenticate is the portal's Authenticate.
func (s *signIn) authenticate(r *http.Request) (User, error) {
	one, ok := s.session(r)
	if !ok {
		return User{}, ErrSignedOut
	}
	believed := s.cfg.RoleCheck
	if r.Method != http.MethodGet {
		believed *= 2 // who opened a page just before may still send its form
	}
	if one.User.Manager && s.portal.now().Sub(one.Checked) >= believed {
		return User{}, errRoleCheck
	}
	return one.User, nil
}

func (s *signIn) session(r *http.Request) (session, bool) {
	var one session
	c, err := r.Cookie(s.portal.cookie("session"))
	if err != nil || s.portal.keys.open(s.portal.purpose("session"), c.Value, &one) != nil {
		return session{}, false
	}
	now := s.portal.now()
	return one, now.Before(one.Expires) && now.Before(one.Started.Add(s.cfg.Lifetime))
}

// startedBefore reports whether the user's account was changed after the sign-in:
// a block ends the session for good, also when it is revoked.
func (s *signIn) startedBefore(r *http.Request, changed time.Time) bool {
	one, ok := s.session(r)
	return !ok || !one.Account.Equal(changed)
}

// start begins a session. A sign-in that only confirmed the manager's role goes
// on with the session's lifetime.
func (s *signIn) start(w http.ResponseWriter, r *http.Request, user User, hint string, confirmed bool) error {
	now := s.portal.now()
	one := session{User: user, Hint: hint, Started: now, Expires: now.Add(s.cfg.Lifetime), Checked: now}
	if old, ok := s.session(r); ok && confirmed && old.User.key() == user.key() {
		one.Started, one.Expires = old.Started, old.Expires
	}
	account, err := s.portal.service.UserByAccount(r.Context(), portalActor, user.TenantID, user.ObjectID)
	switch {
	case err == nil:
		one.Account = account.Updated
	case !errors.Is(err, appaccess.ErrNotFound):
		return err
	}
	sealed, err := s.portal.keys.seal(s.portal.purpose("session"), one)
	if err != nil {
		return err
	}
	setCookie(w, s.portal.cookie("session"), sealed, one.Expires.Sub(now))
	return nil
}

// end removes the session from the browser.
func (s *signIn) end(w http.ResponseWriter) { setCookie(w, s.portal.cookie("session"), "", 0) }
