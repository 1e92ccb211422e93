package portal

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/entragate/entragate/appaccess"
)

const day = 24 * time.Hour

func (p *Portal) applicationCredentials(rq *request) error {
	data, pg, err := p.application(rq, "Credentials")
	if err != nil {
		return err
	}
	data.Table = credentialTable{data.Settings.Credentials, p.path("applications", data.Application.ID, "credentials")}
	pg.Data = data
	return p.show(rq, "application_credentials", pg)
}

// credentialTable lists credentials; Post is where one is removed.
type credentialTable struct {
	Items []appaccess.Credential
	Post  string
}

// place is where an application's pages are: among the manager's or the
// owner's. Both share what is about credentials.
type place struct {
	base []string // the application's address
	nav  string
	list link // the page above
	back []string
}

func managerPlace(rq *request, p *Portal) place {
	base := []string{"applications", rq.PathValue("id")}
	return place{base: base, nav: "applications", list: link{"Applications", p.path("applications")}, back: append(base[:2:2], "credentials")}
}

func ownerPlace(rq *request, p *Portal) place {
	base := []string{"my", "applications", rq.PathValue("id")}
	return place{base: base, nav: "mine", list: link{"My applications", p.path("my", "applications")}, back: base}
}

func (at place) sub(s ...string) []string { return append(at.base[:len(at.base):len(at.base)], s...) }

// frame is the head of a page below an application.
func (at place) frame(p *Portal, one appaccess.ClientApplication, title string) page {
	return page{Title: title, Nav: at.nav, Crumbs: []link{at.list, {one.Name, p.path(at.base...)}}}
}

func (p *Portal) credentialRemove(rq *request) error {
	return p.removeCredential(rq, managerPlace(rq, p))
}

func (p *Portal) myCredentialRemove(rq *request) error {
	return p.removeCredential(rq, ownerPlace(rq, p))
}

func (p *Portal) removeCredential(rq *request, at place) error {
	err := p.service.RemoveCredential(rq.Context(), rq.actor, rq.PathValue("id"), rq.PostForm.Get("remove"))
	return p.done(rq, err, "Credential removed. Tokens that were issued with it end with their own lifetime.", p.path(at.back...))
}

// secretForm is the page New client secret.
type secretForm struct {
	Form     form
	Standing int    // secrets that the application has: with two there is no room
	Owner    string // name of the owner, if a value can be sealed for them
	Back     string
	Post     string
}

func (p *Portal) secretNew(rq *request) error {
	return p.secretPage(rq, http.StatusOK, managerPlace(rq, p), form{})
}

func (p *Portal) mySecretNew(rq *request) error {
	return p.secretPage(rq, http.StatusOK, ownerPlace(rq, p), form{})
}

func (p *Portal) secretPage(rq *request, status int, at place, f form) error {
	set, err := p.service.ApplicationSettings(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	one := set.Application
	data := secretForm{Form: f, Back: p.path(at.back...), Post: p.path(at.sub("secrets", "new")...)}
	for _, c := range set.Credentials {
		if c.Kind == appaccess.SecretCredential {
			data.Standing++
		}
	}
	if rq.actor.Manager && one.OwnerID != rq.actor.UserID {
		data.Owner = p.userNames(rq, one.OwnerID)[one.OwnerID]
	}
	if data.Form.Values == nil {
		data.Form.Values = map[string][]string{"lifetime": {"365"}, "old": {"keep"}, "to": {"owner"}}
		if data.Standing > 0 {
			data.Form.Values.Set("old", "7")
		}
	}
	if data.Form.Once, err = p.once(rq, data.Post); err != nil {
		return err
	}
	pg := at.frame(p, one, "New client secret")
	pg.Data = data
	return p.write(rq, status, "secret_new", pg)
}

// secretRequest reads the form. Service checks the values.
func secretRequest(f form) (appaccess.SecretRequest, error) {
	req := appaccess.SecretRequest{Name: f.Get("name")}
	days, err := strconv.Atoi(f.Get("lifetime"))
	if err != nil || days < 1 || days > 365 {
		return req, &appaccess.InvalidError{Field: "lifetime", Rule: "must be 1 to 365 days"}
	}
	req.Lifetime = time.Duration(days) * day
	if old := f.Get("old"); old != "keep" {
		overlap, err := strconv.Atoi(old)
		if err != nil || overlap < 0 || overlap > 90 {
			return req, &appaccess.InvalidError{Field: "old", Rule: "must be keep or 0 to 90 days"}
		}
		req.Rotate, req.Overlap = true, time.Duration(overlap)*day
	}
	return req, nil
}

func (p *Portal) secretGenerate(rq *request) error { return p.generate(rq, managerPlace(rq, p)) }

func (p *Portal) mySecretGenerate(rq *request) error { return p.generate(rq, ownerPlace(rq, p)) }

// generate makes a secret. Who it is shown to is a manager's choice: to
// themselves, or sealed, to the owner alone.
func (p *Portal) generate(rq *request, at place) error {
	id, f := rq.PathValue("id"), form{Values: rq.PostForm}
	one, err := p.service.Application(rq.Context(), rq.actor, id)
	if err != nil {
		return err
	}
	req, err := secretRequest(f)
	if err == nil {
		err = p.oneTime(rq)
	}
	sealed := err == nil && rq.actor.Manager && f.Get("to") == "owner" && one.OwnerID != rq.actor.UserID
	var made appaccess.IssuedSecret
	switch {
	case err != nil:
	case sealed:
		_, err = p.service.HandOverSecret(rq.Context(), rq.actor, id, req)
	default:
		made, err = p.service.AddSecret(rq.Context(), rq.actor, id, req)
	}
	if f.refuse(err, "name", "lifetime", "old", "overlap") {
		return p.secretPage(rq, appaccess.Status(err), at, f)
	}
	if err != nil {
		return err
	}
	if sealed {
		return p.done(rq, nil, "Secret made and sealed. Its owner receives it once, in the portal.", p.path(at.back...))
	}
	return p.showSecret(rq, at, one, made)
}

// oneTime passes a request whose answer shows a value once: not too many, and
// not the same form twice.
func (p *Portal) oneTime(rq *request) error {
	if err := p.secrets.allow(rq.user.key()); err != nil {
		return err
	}
	return p.spend(rq)
}

// shownValue is one value on the page that shows values once.
type shownValue struct {
	Label string
	Value string
}

type shown struct {
	Values []shownValue
	Facts  []shownValue
	Note   string
	Back   string
}

func (p *Portal) showSecret(rq *request, at place, one appaccess.ClientApplication, made appaccess.IssuedSecret) error {
	pg := at.frame(p, one, "Your client secret")
	pg.Data = shown{
		Values: []shownValue{{"Client secret", made.Value.Reveal()}},
		Facts: []shownValue{
			{"Client ID", one.Entra.AppID}, {"Name", made.Credential.Name},
			{"Expires", stamp(made.Credential.End, "2 January 2006")},
		},
		Note: "Copy it now and store it in a safe place, such as a key vault. It is not kept here and cannot be shown again.",
		Back: p.path(at.back...),
	}
	return p.show(rq, "shown", pg)
}

// handoverData is the page on which an owner receives a secret.
type handoverData struct {
	Handover appaccess.Handover
	Form     form
	Back     string
}

func (p *Portal) myHandover(rq *request) error {
	at := ownerPlace(rq, p)
	one, err := p.service.Application(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	waiting, err := p.service.Handovers(rq.Context(), rq.actor, one.ID)
	if err != nil {
		return err
	}
	for _, h := range waiting {
		if h.ID != rq.PathValue("handover") {
			continue
		}
		pg := at.frame(p, one, "Receive a client secret")
		data := handoverData{Handover: h, Back: p.path(at.back...)}
		if data.Form.Once, err = p.once(rq, p.prefix+rq.URL.Path); err != nil {
			return err
		}
		pg.Data = data
		return p.show(rq, "handover", pg)
	}
	return appaccess.ErrNotFound
}

func (p *Portal) myReceive(rq *request) error {
	one, err := p.service.Application(rq.Context(), rq.actor, rq.PathValue("id"))
	if err != nil {
		return err
	}
	if err := p.oneTime(rq); err != nil {
		return err
	}
	made, err := p.service.ReceiveSecret(rq.Context(), rq.actor, one.ID, rq.PathValue("handover"))
	if errors.Is(err, appaccess.ErrNotFound) {
		return errSpent
	}
	if err != nil {
		return err
	}
	return p.showSecret(rq, ownerPlace(rq, p), one, made)
}
