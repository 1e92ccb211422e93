package entratest

import (
	"fmt"
	"slices"
	"strings"
)

// User is a person of the tenant, who can sign in.
type User struct {
	ObjectID string // given by AddUser
	Name     string // "Ada Lovelace"
	Username string // userPrincipalName; without an @ the tenant's domain is added
}

type user struct {
	User
	disabled bool
}

// AddUser seeds a user and returns it with its object ID. A username that another user
// has is an error.
func (t *Tenant) AddUser(u User) (User, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u.Name == "" || u.Username == "" {
		return User{}, fmt.Errorf("entratest: User: Name and Username must be set")
	}
	if !strings.Contains(u.Username, "@") {
		u.Username += "@" + t.domain()
	}
	if slices.ContainsFunc(t.users, func(o *user) bool { return strings.EqualFold(o.Username, u.Username) }) {
		return User{}, fmt.Errorf("entratest: User.Username: %q is taken", u.Username)
	}
	u.ObjectID = t.newID()
	t.users = append(t.users, &user{User: u})
	return u, nil
}

// AssignUser assigns a user to a role of the application with an application ID. With an
// empty role the user is assigned without a role.
func (t *Tenant) AssignUser(u User, appID, role string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	resource := t.newest().principalOf(appID)
	if resource == nil {
		return fmt.Errorf("entratest: no service principal of application %q", appID)
	}
	if t.user(u.ObjectID) == nil {
		return fmt.Errorf("entratest: no user %q", u.ObjectID)
	}
	return t.grant(u.ObjectID, u.Name, "User", resource, role)
}

// DisableUser sets whether a user is disabled. A disabled user cannot sign in.
func (t *Tenant) DisableUser(u User, disabled bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found := t.user(u.ObjectID); found != nil {
		found.disabled = disabled
	}
}

// user finds a user by object ID. It returns nil if there is none. The caller holds mu.
func (t *Tenant) user(id string) *user {
	i := slices.IndexFunc(t.users, func(u *user) bool { return u.ObjectID == id })
	if i < 0 {
		return nil
	}
	return t.users[i]
}
