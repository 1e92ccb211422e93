package portal

import (
	"errors"
	"net/http"

	"github.com/entragate/entragate/appaccess"
)

var userFields = []string{"name", "id", "email", "tenantId", "objectId"}

func (p *Portal) userList(rq *request) error {
	found, err := p.service.Users(rq.Context(), rq.actor, filter(rq))
	if err != nil {
		return err
	}
	list := listed(rq, found, same[appaccess.User])
	list.Placeholder = "Name, email or ID"
	return p.show(rq, "users", page{
		Title: "Users", Nav: "users", Data: list,
		Lead: "Developers who own client applications and subscriptions.",
	})
}

type userForm struct{ Form form }

func (p *Portal) userNew(rq *request) error { return p.userNewPage(rq, http.StatusOK, form{}) }

func (p *Portal) userNewPage(rq *request, status int, f form) error {
	return p.write(rq, status, "user_new", page{
		Title: "Create a user", Nav: "users", Crumbs: p.crumbs("Users", "users"), Data: userForm{f},
	})
}

// userCreate makes a user and, if an account is given, binds it. A refused
// account leaves the user unbound and says so on its page.
func (p *Portal) userCreate(rq *request) error {
	f := form{Values: rq.PostForm}
	made, err := p.service.CreateUser(rq.Context(), rq.actor, appaccess.UserRequest{ID: f.Get("id"), Name: f.Get("name"), Email: f.Get("email")})
	if f.refuse(err, userFields...) {
		return p.userNewPage(rq, appaccess.Status(err), f)
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
	return p.done(rq, nil, text, p.path("users", made.ID))
}

type userData struct {
	User          appaccess.User
	Form          form
	Self          bool
	Applications  []appaccess.ClientApplication
	Subscriptions []subscriptionRow
}

func (p *Portal) userDetails(rq *request) error { return p.userPage(rq, http.StatusOK, form{}) }

func (p *Portal) userPage(rq *request, status int, f form) error {
	one, err := p.service.User(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	if f.Values == nil {
		f.Values = map[string][]string{}
	}
	for name, value := range map[string]string{"name": one.Name, "email": one.Email, "tenantId": one.TenantID, "objectId": one.ObjectID} {
		if !f.Values.Has(name) {
			f.Values.Set(name, value)
		}
	}
	data := userData{User: one, Form: f, Self: rq.account != nil && rq.account.ID == one.ID}
	own := appaccess.Filter{OwnerID: one.ID, Limit: pageSize}
	apps, err := p.service.Applications(rq.Context(), rq.actor, own)
	if err != nil {
		return err
	}
	subs, err := p.service.Subscriptions(rq.Context(), rq.actor, appaccess.SubscriptionFilter{Filter: own})
	if err != nil {
		return err
	}
	data.Applications, data.Subscriptions = apps.Items, p.subscriptionRows(rq, subs).Items
	return p.write(rq, status, "user", page{
		Title: one.Name, Lead: one.Email, Nav: "users", Crumbs: p.crumbs("Users", "users"), Data: data,
	})
}

func (p *Portal) userSave(rq *request) error {
	id, f := rq.PathValue("id"), form{Values: rq.PostForm}
	name, email := f.Get("name"), f.Get("email")
	_, err := p.service.UpdateUser(rq.Context(), rq.actor, id, appaccess.UserUpdate{Name: &name, Email: &email})
	if f.refuse(err, userFields...) {
		return p.userPage(rq, appaccess.Status(err), f)
	}
	return p.done(rq, err, "Saved.", p.path("users", id))
}

func (p *Portal) userBind(rq *request) error {
	id, f := rq.PathValue("id"), form{Values: rq.PostForm}
	one, err := p.service.BindUser(rq.Context(), rq.actor, id, f.Get("tenantId"), f.Get("objectId"))
	if f.refuse(err, userFields...) {
		return p.userPage(rq, appaccess.Status(err), f)
	}
	text := "Account linked: they can sign in now."
	if one.ObjectID == "" {
		text = "No account is linked: they cannot sign in any more."
	}
	return p.done(rq, err, text, p.path("users", id))
}

func (p *Portal) userState(rq *request) error {
	id := rq.PathValue("id")
	var err error
	var text string
	switch rq.PostForm.Get("do") {
	case "block":
		_, err = p.service.BlockUser(rq.Context(), rq.actor, id)
		text = "Blocked: all access of this user has ended."
	case "unblock":
		_, err = p.service.UnblockUser(rq.Context(), rq.actor, id)
		text = "Unblocked: the user's applications and subscriptions have access again."
	default:
		err = errUnknownAction
	}
	return p.done(rq, err, text, p.path("users", id))
}

func (p *Portal) userDelete(rq *request) error { return p.userDeletePage(rq, http.StatusOK, "") }

func (p *Portal) userDeletePage(rq *request, status int, wrong string) error {
	one, err := p.service.User(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	back := p.path("users", one.ID)
	return p.write(rq, status, "confirm", page{
		Title: "Delete " + one.Name, Nav: "users", Crumbs: append(p.crumbs("Users", "users"), link{one.Name, back}),
		Data: confirm{
			Text:  "Only a user who owns nothing can be deleted. To end somebody's access at once, block them instead.",
			Label: "Delete user", Back: back, Wrong: wrong,
		},
	})
}

func (p *Portal) userDeleted(rq *request) error {
	err := p.service.DeleteUser(rq.Context(), rq.actor, rq.PathValue("id"))
	var conflict *appaccess.ConflictError
	if errors.As(err, &conflict) {
		return p.userDeletePage(rq, http.StatusConflict, sentence(conflict.Error()))
	}
	return p.done(rq, err, "User deleted.", p.path("users"))
}
