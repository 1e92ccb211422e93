package appaccess

import (
	"context"
	"errors"
	"slices"
)

// UserRequest describes a new user.
type UserRequest struct {
	ID    string // empty: one is made
	Name  string // 1 to 300 characters
	Email string // for people only; may be empty
}

// UserUpdate changes the fields that are not nil.
type UserUpdate struct{ Name, Email *string }

// CreateUser adds an active user. For managers only.
func (s *Service) CreateUser(ctx context.Context, by Actor, req UserRequest) (User, error) {
	id, err := idOr(req.ID, newID)
	if err := firstError(err, checkText("name", req.Name, 1, maxName), checkEmail(req.Email)); err != nil {
		return User{}, err
	}
	var u User
	err = s.manage(ctx, by, func(e *edit) error {
		u = User{ID: id, Name: req.Name, Email: req.Email, State: UserActive, Created: e.now, Updated: e.now}
		if err := absent[User](e, id); err != nil {
			return err
		}
		return firstError(write(e, &u), e.auditUser("user.create", &u))
	})
	return orZero(u, err)
}

// Users lists users. For managers only.
func (s *Service) Users(ctx context.Context, by Actor, f Filter) (Page[User], error) {
	q, limit, err := f.query()
	if err != nil {
		return Page[User]{}, err
	}
	var found Page[User]
	err = s.view(ctx, by, func(l *look) (err error) {
		if err := l.onlyManager(); err != nil {
			return err
		}
		found, err = list(l, q, limit, func(*User) bool { return true }, func(u *User) string { return u.ID })
		return err
	})
	return found, err
}

// User reads one: managers any, a developer themselves.
func (s *Service) User(ctx context.Context, by Actor, id string) (User, error) {
	var u User
	err := s.view(ctx, by, func(l *look) (err error) {
		if !l.mayHave(id) {
			return notFound(KindUser, id)
		}
		u, err = l.user(id)
		return err
	})
	return u, err
}

// UserByAccount finds the user who is bound to an Entra account (the claims tid
// and oid of a signed-in person), blocked or not. For managers: what signs
// people in asks as a manager of its own.
func (s *Service) UserByAccount(ctx context.Context, by Actor, tenantID, objectID string) (User, error) {
	tid, err1 := checkGUID("tenantId", tenantID)
	oid, err2 := checkGUID("objectId", objectID)
	if err := firstError(err1, err2); err != nil {
		return User{}, err
	}
	var u User
	err := s.view(ctx, by, func(l *look) (err error) {
		if err := l.onlyManager(); err != nil {
			return err
		}
		u, err = getBy[User](l, byEntra, entraAccount(tid, oid))
		return err
	})
	return u, err
}

// UpdateUser changes a user's name or email. For managers only.
func (s *Service) UpdateUser(ctx context.Context, by Actor, id string, up UserUpdate) (User, error) {
	return s.editUser(ctx, by, id, "user.update", func(u *User) (bool, error) {
		a, b := change(&u.Name, up.Name), change(&u.Email, up.Email)
		return a || b, firstError(checkText("name", u.Name, 1, maxName), checkEmail(u.Email))
	})
}

// BindUser binds a user to an Entra account, in place of any before; two empty
// IDs unbind. An account belongs to one user at most. For managers only.
func (s *Service) BindUser(ctx context.Context, by Actor, id, tenantID, objectID string) (User, error) {
	if tenantID != "" || objectID != "" {
		var err1, err2 error
		tenantID, err1 = checkGUID("tenantId", tenantID)
		objectID, err2 = checkGUID("objectId", objectID)
		if err := firstError(err1, err2); err != nil {
			return User{}, err
		}
	}
	u, err := s.editUser(ctx, by, id, "user.bind", func(u *User) (bool, error) {
		a, b := change(&u.TenantID, &tenantID), change(&u.ObjectID, &objectID)
		return a || b, nil
	})
	var taken *ConflictError
	if errors.As(err, &taken) && taken.Field == byEntra {
		err = &ConflictError{Field: "objectId", Reason: "the Entra account is bound to another user", Objects: taken.Objects}
	}
	return u, err
}

func (s *Service) editUser(ctx context.Context, by Actor, id, action string, fn func(*User) (changed bool, err error)) (User, error) {
	var u User
	err := s.manage(ctx, by, func(e *edit) (err error) {
		if u, err = e.user(id); err != nil {
			return err
		}
		changed, err := fn(&u)
		if err != nil || !changed {
			return err
		}
		u.Updated = e.now
		return firstError(write(e, &u), e.auditUser(action, &u))
	})
	return orZero(u, err)
}

// auditUser records how a user now stands: above all the account, which says
// who may sign in as them.
func (e *edit) auditUser(action string, u *User) error {
	details := map[string]string{"name": u.Name, "state": string(u.State)}
	if u.ObjectID != "" {
		details["account"] = entraAccount(u.TenantID, u.ObjectID)
	}
	return e.audit(action, KindUser, u.ID, details)
}

// BlockUser ends all access of a user: they may do nothing here any more, every
// gate refuses their applications and subscriptions at once, and Entra is told
// to issue no tokens to their applications. For managers only.
func (s *Service) BlockUser(ctx context.Context, by Actor, id string) (User, error) {
	return s.setUserState(ctx, by, id, UserBlocked, "user.block")
}

// UnblockUser takes a block back. For managers only.
func (s *Service) UnblockUser(ctx context.Context, by Actor, id string) (User, error) {
	return s.setUserState(ctx, by, id, UserActive, "user.unblock")
}

func (s *Service) setUserState(ctx context.Context, by Actor, id string, state UserState, action string) (User, error) {
	var u User
	var behind targets
	err := s.manage(ctx, by, func(e *edit) (err error) {
		behind = targets{}
		if u, err = e.user(id); err != nil {
			return err
		}
		changed := u.State != state
		if changed {
			u.State, u.Updated = state, e.now
			if err := firstError(write(e, &u), e.audit(action, KindUser, id, nil)); err != nil {
				return err
			}
		}
		behind.applications, err = e.disturb(id, changed && s.entra != nil)
		return err
	})
	if err != nil {
		return User{}, err
	}
	return u, s.follow(ctx, behind)
}

// disturb has Entra follow in all applications of a user whose state changed,
// and returns those that it is behind with.
func (e *edit) disturb(userID string, changed bool) (behind []string, err error) {
	for a, err := range each[ClientApplication](e, Query{Index: byOwner, Value: userID}) {
		if err != nil {
			return nil, err
		}
		if changed && !a.Sync.Pending {
			a.Sync.Pending = true
			if err := write(e, &a); err != nil {
				return nil, err
			}
		}
		if a.Sync.Pending {
			behind = append(behind, a.ID)
		}
	}
	return behind, nil
}

// DeleteUser removes a user who owns nothing any more. For managers only.
func (s *Service) DeleteUser(ctx context.Context, by Actor, id string) error {
	return s.manage(ctx, by, func(e *edit) error {
		if _, err := e.user(id); err != nil {
			return err
		}
		if err := e.ownsNothing(id); err != nil {
			return err
		}
		return firstError(e.w.Delete(KindUser, id), e.audit("user.delete", KindUser, id, nil))
	})
}

// ownsNothing refuses if a user owns anything, and names some of it.
func (l *look) ownsNothing(userID string) error {
	q := Query{Index: byOwner, Value: userID, Limit: 20}
	apps, err := page[ClientApplication](l, q)
	if err != nil {
		return err
	}
	subs, err := page[Subscription](l, q)
	owned := slices.Concat(ids(apps, applicationID), ids(subs, subscriptionID))
	if err == nil && len(owned) > 0 {
		err = &ConflictError{Field: "id", Reason: "the user still owns applications or subscriptions: delete them first", Objects: owned}
	}
	return err
}

// owner checks that a user may own something new.
func (l *look) owner(id string) error {
	u, err := l.user(id)
	switch {
	case errors.Is(err, ErrNotFound):
		return unknownRef("ownerId", KindUser, id, err)
	case err == nil && u.State != UserActive:
		return &ConflictError{Field: "ownerId", Reason: "the user is blocked: unblock them first", Objects: []string{id}}
	}
	return err
}

// orZero drops what an error left half made.
func orZero[T any](v T, err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}
