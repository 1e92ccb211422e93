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
	Email string // for display; may be empty
}

// UserUpdate changes the fields that are not nil.
type UserUpdate struct {
	Name, Email *string
	Revision    Revision // refuses the update if the user has another one by now; 0: any
}

// CreateUser adds an active user. For managers only.
func (s *Service) CreateUser(ctx context.Context, by Actor, req UserRequest) (User, error) {
	id, err := idOr(req.ID, newID)
	if err := allErrors(err, checkText("name", req.Name, 1, maxName), checkEmail(req.Email)); err != nil {
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
	q, limit, err := f.query(KindUser)
	if err != nil {
		return Page[User]{}, err
	}
	var found Page[User]
	err = s.view(ctx, by, func(l *look) (err error) {
		if err := l.onlyManager(); err != nil {
			return err
		}
		found, err = list(l, q, limit, func(*User) bool { return true })
		return err
	})
	return found, err
}

// User returns a user: managers see any user, developers themselves.
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

// UserByAccount returns the user who is bound to an Entra account (the claims tid and
// oid of a signed-in person), blocked or not. For managers: a program that signs
// people in calls as a manager of its own.
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
	return s.editUser(ctx, by, id, "user.update", func(e *edit, u *User) (bool, error) {
		if err := e.expect(KindUser, id, up.Revision); err != nil {
			return false, err
		}
		a, b := change(&u.Name, up.Name), change(&u.Email, up.Email)
		return a || b, allErrors(checkText("name", u.Name, 1, maxName), checkEmail(u.Email))
	})
}

// BindUser binds a user to an Entra account and replaces an earlier binding; two
// empty IDs unbind. An account belongs to at most one user. For managers only.
func (s *Service) BindUser(ctx context.Context, by Actor, id, tenantID, objectID string) (User, error) {
	if tenantID != "" || objectID != "" {
		var err1, err2 error
		tenantID, err1 = checkGUID("tenantId", tenantID)
		objectID, err2 = checkGUID("objectId", objectID)
		if err := allErrors(err1, err2); err != nil {
			return User{}, err
		}
	}
	u, err := s.editUser(ctx, by, id, "user.bind", func(_ *edit, u *User) (bool, error) {
		a, b := change(&u.TenantID, &tenantID), change(&u.ObjectID, &objectID)
		return a || b, nil
	})
	return u, boundElsewhere(err)
}

func (s *Service) editUser(ctx context.Context, by Actor, id, action string, fn func(*edit, *User) (changed bool, err error)) (User, error) {
	var u User
	err := s.manage(ctx, by, func(e *edit) (err error) {
		if u, err = e.user(id); err != nil {
			return err
		}
		changed, err := fn(e, &u)
		if err != nil || !changed {
			return err
		}
		u.Updated = e.now
		return firstError(write(e, &u), e.auditUser(action, &u))
	})
	return orZero(u, err)
}

// auditUser records the user after a change, with the account, which decides who can
// sign in as the user.
func (e *edit) auditUser(action string, u *User) error {
	details := map[string]string{"name": u.Name, "state": string(u.State)}
	if u.ObjectID != "" {
		details["account"] = entraAccount(u.TenantID, u.ObjectID)
	}
	return e.audit(action, KindUser, u.ID, details)
}

// BlockUser revokes all access of a user. The Service refuses every call of the user,
// every gate refuses the user's applications and subscriptions at once, and Entra stops
// issuing tokens to the applications. Calling BlockUser again, or Sync, continues what was
// interrupted. For managers only.
func (s *Service) BlockUser(ctx context.Context, by Actor, id string) (User, error) {
	return s.setUserState(ctx, by, id, UserBlocked, "user.block")
}

// UnblockUser ends a block. For managers only.
func (s *Service) UnblockUser(ctx context.Context, by Actor, id string) (User, error) {
	return s.setUserState(ctx, by, id, UserActive, "user.unblock")
}

func (s *Service) setUserState(ctx context.Context, by Actor, id string, state UserState, action string) (User, error) {
	var u User
	var behind Objects
	var many bool
	err := s.manage(ctx, by, func(e *edit) (err error) {
		behind = Objects{}
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
		behind.Applications, many, err = e.disturb(id, changed && s.entra != nil)
		return err
	})
	if err != nil {
		return User{}, err
	}
	return u, s.reconcileAll(ctx, behind, many)
}

// disturb makes all applications of a user pending after the user's state changed,
// and returns them. If they are many, a task does it.
func (e *edit) disturb(userID string, changed bool) (behind []string, many bool, err error) {
	apps, many, err := few[ClientApplication](e, Query{Where: where(byOwner, userID)})
	if err != nil {
		return nil, false, err
	}
	if many && changed {
		return nil, true, e.addTask(KindUser, userID)
	}
	for i := range apps {
		a := &apps[i]
		if changed && !a.Sync.Pending {
			a.Sync.Pending = true
			if err := write(e, a); err != nil {
				return nil, false, err
			}
		}
		if a.Sync.Pending {
			behind = append(behind, a.ID)
		}
	}
	return behind, many, nil
}

// DeleteUser deletes a user who owns nothing: see [Service.TransferAll]. For managers
// only.
func (s *Service) DeleteUser(ctx context.Context, by Actor, id string) error {
	return s.manage(ctx, by, func(e *edit) error {
		if _, err := e.user(id); err != nil {
			return err
		}
		if err := e.ownsNothing(id); err != nil {
			return err
		}
		return e.dropUser(id)
	})
}

func (e *edit) dropUser(id string) error {
	return firstError(e.endRequestsOf(id), e.audit("user.delete", KindUser, id, nil), e.w.Delete(KindUser, id))
}

// ownsNothing refuses if a user owns anything, and names some of it.
func (l *look) ownsNothing(userID string) error {
	q := Query{Where: where(byOwner, userID), Limit: 20}
	apps, err := page[ClientApplication](l, q)
	if err != nil {
		return err
	}
	subs, err := page[Subscription](l, q)
	owned := slices.Concat(ids(apps, applicationID), ids(subs, subscriptionID))
	if err == nil && len(owned) > 0 {
		err = &ConflictError{Field: "id", Reason: "the user still owns applications or subscriptions: transfer them (TransferAll) or delete them first", Objects: owned}
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

// orZero returns the zero value if there is an error.
func orZero[T any](v T, err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}
