package portal

import (
	"errors"
	"net/url"

	"github.com/entragate/entragate/appaccess"
)

var (
	userFields    = []formField{{"name", "Name"}, {"email", "Email (optional)"}, {"id", "ID (optional)"}, {"tenantId", "Tenant ID"}, {"objectId", "Object ID"}}
	accountFields = userFields[3:]
)

type usersPage struct{ listing[appaccess.User] }

func (p *Portal) userList(rq *request) (controls, error) {
	return p.listControls(rq, listSpec{
		Placeholder: "Name, email or ID", States: []string{string(appaccess.UserActive), string(appaccess.UserBlocked)}, Sorts: sortsByName,
		Export: p.path("users", "-", "export"), Many: p.path("users", "-", "many"), Actions: []choice{{ID: "block", Name: "Block"}, {ID: "unblock", Name: "Unblock"}},
	})
}

func (p *Portal) showUsers(rq *request) error {
	c, err := p.userList(rq)
	if err != nil {
		return err
	}
	found, err := p.service.Users(rq.Context(), rq.reader(), c.filter)
	if err != nil {
		return err
	}
	return p.show(rq, "users", page{
		Title: "Users", Nav: "users", Lead: "Developers who own client applications and subscriptions.",
		Data: usersPage{listed(rq, c, found, found.Items)},
	})
}

func (p *Portal) exportUsers(rq *request) error {
	c, err := p.userList(rq)
	if err != nil {
		return err
	}
	return exportList(p, rq, "users", []string{"Name", "Email", "State", "Created", "Entra tenant ID", "Entra object ID", "ID"}, c.filter, func(f appaccess.Filter) (appaccess.Page[appaccess.User], error) {
		return p.service.Users(rq.Context(), rq.reader(), f)
	}, func(users []appaccess.User) (table [][]string, err error) {
		for _, one := range users {
			table = append(table, []string{one.Name, one.Email, string(one.State), instant(one.Created), one.TenantID, one.ObjectID, one.ID})
		}
		return table, nil
	})
}

// manyUsers blocks or unblocks the users that are chosen in the list.
func (p *Portal) manyUsers(rq *request) (operation, error) {
	m := many{Kind: appaccess.KindUser, Title: "Block %s", Label: "Block", Done: "%s blocked.",
		Text: "The users are signed out, and every gate refuses their applications and subscriptions at once.",
		Do:   func(id string) error { _, err := p.service.BlockUser(rq.Context(), rq.actor, id); return err }}
	switch rq.URL.Query().Get("action") {
	case "block":
	case "unblock":
		m = many{Kind: m.Kind, Title: "Unblock %s", Label: "Unblock", Done: "%s unblocked.", Safe: true,
			Text: "The users can sign in, and their applications and subscriptions have access again.",
			Do:   func(id string) error { _, err := p.service.UnblockUser(rq.Context(), rq.actor, id); return err }}
	default:
		return operation{}, errNoAction
	}
	return p.manyOperation(rq, "user", "users", m)
}

type newUserPage struct{ Form form }

func (p *Portal) showNewUser(rq *request) error {
	q := rq.URL.Query()
	f := form{Fields: userFields, Values: url.Values{"name": q["name"], "tenantId": q["tenantId"], "objectId": q["objectId"]}}
	return p.newUser(rq, nil, f)
}

func (p *Portal) newUser(rq *request, cause error, f form) (err error) {
	if f.Once, err = p.once(rq); err != nil {
		return err
	}
	return p.write(rq, formStatus(cause), "user_new", page{
		Title: "Create a user", Nav: "users", Crumbs: p.crumbs("Users", "users"), Data: newUserPage{f},
	})
}

// createUser makes a user and, if an account is given, links it. A refused
// account leaves the user without one and says so on its page.
func (p *Portal) createUser(rq *request) error {
	f := p.sent(rq, userFields)
	err := p.spend(rq)
	var made appaccess.User
	if err == nil {
		made, err = p.service.CreateUser(rq.Context(), rq.actor, appaccess.UserRequest{ID: f.Get("id"), Name: f.Get("name"), Email: f.Get("email")})
	}
	if p.refuse(rq, &f, err) {
		return p.newUser(rq, err, f)
	}
	if err != nil {
		return err
	}
	text := "User created. Link an Entra account so that they can sign in."
	if f.Get("tenantId") != "" || f.Get("objectId") != "" {
		text = "User created. They can sign in now."
		if _, err := p.service.BindUser(rq.Context(), rq.actor, made.ID, f.Get("tenantId"), f.Get("objectId")); err != nil {
			text = "User created, but the account was not linked: " + err.Error()
		}
	}
	return p.done(rq, nil, text, p.path("users", made.ID), nil)
}

type userPage struct {
	User          appaccess.User
	Form          form
	Self          bool
	Applications  []appaccess.ClientApplication
	MoreApps      bool
	Subscriptions []subscriptionRow
	MoreSubs      bool
}

func (p *Portal) userVersion(rq *request) (appaccess.User, version, error) {
	id := rq.PathValue("user")
	rev, err := p.service.Revision(rq.Context(), rq.actor, appaccess.KindUser, id)
	if err != nil {
		return appaccess.User{}, version{}, err
	}
	one, err := p.service.User(rq.Context(), rq.actor, id)
	return one, version{rev, url.Values{"name": {one.Name}, "email": {one.Email}}}, err
}

func (p *Portal) showUser(rq *request) error { return p.user(rq, nil, form{Fields: userFields}) }

func (p *Portal) user(rq *request, cause error, f form) error {
	one, now, err := p.userVersion(rq)
	if err != nil {
		return err
	}
	if err := p.based(rq, &f, now); err != nil {
		return err
	}
	data := userPage{User: one, Form: f, Self: rq.account != nil && rq.account.ID == one.ID}
	own := appaccess.Filter{OwnerID: one.ID, Limit: pageSize}
	apps, err := p.service.Applications(rq.Context(), rq.actor, own)
	if err != nil {
		return err
	}
	subs, err := p.service.Subscriptions(rq.Context(), rq.actor, appaccess.SubscriptionFilter{Filter: own})
	if err != nil {
		return err
	}
	data.Applications, data.MoreApps, data.MoreSubs = apps.Items, apps.Next != "", subs.Next != ""
	if data.Subscriptions, err = p.subscriptionRows(rq, nil, subs.Items...); err != nil {
		return err
	}
	return p.write(rq, formStatus(cause), "user", page{
		Title: one.Name, Lead: one.Email, Nav: "users", Crumbs: p.crumbs("Users", "users"), Data: data,
	})
}

func (p *Portal) saveUser(rq *request) error {
	f := p.sent(rq, userFields)
	name, email := f.Get("name"), f.Get("email")
	err := p.revise(rq, &f, func() (version, error) {
		_, now, err := p.userVersion(rq)
		return now, err
	}, func(rev appaccess.Revision) error {
		_, err := p.service.UpdateUser(rq.Context(), rq.actor, rq.PathValue("user"), appaccess.UserUpdate{Name: &name, Email: &email, Revision: rev})
		return err
	})
	if p.refuse(rq, &f, err) {
		return p.user(rq, err, f)
	}
	return p.done(rq, err, "Saved.", p.path("users", rq.PathValue("user")), nil)
}

type accountPage struct {
	User appaccess.User
	Form form
	Back string
}

func (p *Portal) showAccount(rq *request) error {
	return p.account(rq, nil, form{Fields: accountFields})
}

func (p *Portal) accountVersion(rq *request) (version, error) {
	one, now, err := p.userVersion(rq)
	now.Values = url.Values{"tenantId": {one.TenantID}, "objectId": {one.ObjectID}}
	return now, err
}

func (p *Portal) account(rq *request, cause error, f form) error {
	one, _, err := p.userVersion(rq)
	if err != nil {
		return err
	}
	now, err := p.accountVersion(rq)
	if err != nil {
		return err
	}
	if err := p.based(rq, &f, now); err != nil {
		return err
	}
	back := p.path("users", one.ID)
	return p.write(rq, formStatus(cause), "user_account", page{
		Title: "Entra account of " + one.Name, Nav: "users", Crumbs: append(p.crumbs("Users", "users"), link{one.Name, back}),
		Lead: "The account with which the user signs in. A change signs the user out.",
		Data: accountPage{one, f, back},
	})
}

func (p *Portal) linkAccount(rq *request) error {
	id, f := rq.PathValue("user"), p.sent(rq, accountFields)
	var one appaccess.User
	err := p.revise(rq, &f, func() (version, error) { return p.accountVersion(rq) }, func(appaccess.Revision) (err error) {
		one, err = p.service.BindUser(rq.Context(), rq.actor, id, f.Get("tenantId"), f.Get("objectId"))
		return err
	})
	if p.refuse(rq, &f, err) {
		return p.account(rq, err, f)
	}
	text := "Account linked: they can sign in now."
	if one.ObjectID == "" {
		text = "No account is linked: they cannot sign in any more."
	}
	return p.done(rq, err, text, p.path("users", id), nil)
}

// userOperation is the frame of what is done to a user.
func (p *Portal) userOperation(rq *request) (appaccess.User, operation, error) {
	one, err := p.service.User(rq.Context(), rq.actor, rq.PathValue("user"))
	if err != nil {
		return one, operation{}, err
	}
	back := p.path("users", one.ID)
	affected, err := p.ownerCallers(rq, one.ID)
	return one, operation{Nav: "users", Crumbs: append(p.crumbs("Users", "users"), link{one.Name, back}), Affected: affected, Back: back}, err
}

func (p *Portal) blockUser(rq *request) (operation, error) {
	one, op, err := p.userOperation(rq)
	op.Title, op.Label = "Block "+one.Name, "Block"
	op.Text, op.Done = "The user is signed out, and every gate refuses their applications and subscriptions at once.", "Blocked: every gate refuses this user's applications and subscriptions."
	op.Undo = &undo{Path: p.path("users", one.ID, "unblock")}
	op.Do = func(bool) error {
		_, err := p.service.BlockUser(rq.Context(), rq.actor, one.ID)
		return err
	}
	return op, err
}

func (p *Portal) unblockUser(rq *request) (operation, error) {
	one, op, err := p.userOperation(rq)
	op.Title, op.Label, op.Safe = "Unblock "+one.Name, "Unblock", true
	op.Text, op.Done = "The user can sign in, and their applications and subscriptions have access again.", "Unblocked: the user's applications and subscriptions have access again."
	op.Undo = &undo{Path: p.path("users", one.ID, "block")}
	op.Do = func(bool) error {
		_, err := p.service.UnblockUser(rq.Context(), rq.actor, one.ID)
		return err
	}
	return op, err
}

func (p *Portal) deleteUser(rq *request) (operation, error) {
	one, op, err := p.userOperation(rq)
	op.Title, op.Label, op.To, op.Done = "Delete "+one.Name, "Delete user", p.path("users"), "User deleted."
	op.Text = "Only a user who owns nothing can be deleted. To revoke somebody's access at once, block them instead."
	owns, err2 := p.owns(rq, one.ID)
	if owns {
		op.Instead = &link{"Give everything to another user first", p.path("users", one.ID, "transfer") + "?then=delete"}
	}
	op.Do = func(bool) error { return p.service.DeleteUser(rq.Context(), rq.actor, one.ID) }
	return op, errors.Join(err, err2)
}

// owns reports whether a user owns an application or a subscription.
func (p *Portal) owns(rq *request, id string) (bool, error) {
	own := appaccess.Filter{OwnerID: id, Limit: 1}
	apps, err := p.service.Applications(rq.Context(), rq.actor, own)
	subs, err2 := p.service.Subscriptions(rq.Context(), rq.actor, appaccess.SubscriptionFilter{Filter: own})
	return len(apps.Items)+len(subs.Items) > 0, errors.Join(err, err2)
}
