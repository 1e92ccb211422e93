package portal

import (
	"errors"
	"net/url"
	"strconv"
	"time"

	"github.com/entragate/entragate/appaccess"
)

const day = 24 * time.Hour

type credentialsPage struct {
	Settings    appaccess.ApplicationSettings
	Application appaccess.ClientApplication
	Table       credentialTable
}

// credentialTable lists credentials; Base is the address below which they are
// removed.
type credentialTable struct {
	Items []appaccess.Credential
	Base  string
}

func (p *Portal) showCredentials(rq *request) error {
	set, err := p.service.ApplicationSettings(rq.Context(), rq.actor, rq.PathValue("application"))
	if err != nil {
		return err
	}
	pg := p.applicationHead(set.Application, "Credentials")
	pg.Data = credentialsPage{set, set.Application, credentialTable{set.Credentials, p.applicationPath(rq, set.Application.ID, "credentials")}}
	return p.show(rq, "application_credentials", pg)
}

var secretFields = []formField{{"name", "Name (optional)"}, {"lifetime", "Valid for"}, {"old", "The secret that is in use now"}, {"overlap", "Overlap"}}

// newSecretPage is the page New client secret.
type newSecretPage struct {
	Form    form
	Full    bool           // the application has as many secrets as it may have
	Current bool           // a secret exists that the new one may replace
	Offers  []overlapOffer // how long the old one may go on working
	Owner   string         // name of the owner, if a value can be sealed for them
	Back    string
}

// overlapOffer is a choice of how long the old secret works beside the new one.
type overlapOffer struct {
	Days string
	Text string
	Note string
}

// overlapOffers are those that the old secret can keep: it ends at its own end
// whatever was promised.
func overlapOffers(old appaccess.Credential, now time.Time) []overlapOffer {
	var out []overlapOffer
	left := old.End.Sub(now)
	for _, days := range []int{7, 30} {
		if old.End.IsZero() || left > time.Duration(days)*day {
			note := "Both work until then, so nothing breaks while you switch."
			out = append(out, overlapOffer{strconv.Itoa(days), "Replace, after " + strconv.Itoa(days) + " days", note})
		}
	}
	if len(out) == 0 && left > 0 {
		days := strconv.Itoa(int(left/day) + 1)
		out = append(out, overlapOffer{days, "Replace, when it ends (" + until(old.End, now) + ")", "Both work until the old one expires. No longer overlap is possible."})
	}
	return out
}

func (p *Portal) showNewSecret(rq *request) error {
	return p.newSecret(rq, nil, form{Fields: secretFields})
}

func (p *Portal) newSecret(rq *request, cause error, f form) error {
	set, err := p.service.ApplicationSettings(rq.Context(), rq.actor, rq.PathValue("application"))
	if err != nil {
		return err
	}
	one := set.Application
	data := newSecretPage{Back: p.credentialsPath(rq, one.ID)}
	secrets := 0
	var newest appaccess.Credential
	for _, c := range set.Credentials {
		if c.Kind == appaccess.SecretCredential {
			secrets++
			newest = c
		}
	}
	data.Full, data.Current = secrets >= 2, secrets == 1
	if data.Current {
		data.Offers = overlapOffers(newest, p.now())
	}
	if rq.actor.Manager && one.OwnerID != rq.actor.UserID {
		book, err := p.namesOf(rq, refs(appaccess.KindUser, one.OwnerID)...)
		if err != nil {
			return err
		}
		data.Owner = book.User(one.OwnerID).Text
	}
	old := "keep"
	if len(data.Offers) > 0 {
		old = data.Offers[0].Days
	} else if data.Current {
		old = "0"
	}
	for name, value := range map[string]string{"lifetime": "365", "old": old, "to": "owner"} {
		f.set(name, value)
	}
	if f.Once, err = p.once(rq); err != nil {
		return err
	}
	data.Form = f
	pg := p.belowApplication(rq, one, "New client secret")
	pg.Data = data
	return p.write(rq, formStatus(cause), "secret_new", pg)
}

// secretRequest reads the form. Service checks the values.
func secretRequest(f form) (appaccess.SecretRequest, error) {
	req := appaccess.SecretRequest{Name: f.Get("name")}
	var errs []error
	days, err := strconv.Atoi(f.Get("lifetime"))
	if err != nil || days < 1 || days > 365 {
		errs = append(errs, &appaccess.InvalidError{Field: "lifetime", Rule: "must be 1 to 365 days"})
	}
	req.Lifetime = time.Duration(days) * day
	if old := f.Get("old"); old != "keep" {
		overlap, err := strconv.Atoi(old)
		if err != nil || overlap < 0 || overlap > 90 {
			errs = append(errs, &appaccess.InvalidError{Field: "old", Rule: "must be keep or 0 to 90 days"})
		}
		req.Rotate, req.Overlap = true, time.Duration(overlap)*day
	}
	return req, errors.Join(errs...)
}

// addSecret makes a secret. Who it is shown to is a manager's choice: to
// themselves, or sealed, to the owner alone.
func (p *Portal) addSecret(rq *request) error {
	id, f := rq.PathValue("application"), p.sent(rq, secretFields)
	one, err := p.service.Application(rq.Context(), rq.actor, id)
	if err != nil {
		return err
	}
	req, err := secretRequest(f)
	if err == nil {
		err = p.oneTime(rq)
	}
	sealed := rq.actor.Manager && f.Get("to") == "owner" && one.OwnerID != rq.actor.UserID
	var made appaccess.IssuedSecret
	switch {
	case err != nil:
	case sealed:
		_, err = p.service.CreateOneTimeSecret(rq.Context(), rq.actor, id, req)
	default:
		made, err = p.service.AddSecret(rq.Context(), rq.actor, id, req)
	}
	if p.refuse(rq, &f, err) {
		return p.newSecret(rq, err, f)
	}
	if err != nil {
		return err
	}
	if sealed {
		return p.done(rq, nil, "Secret made and sealed. Its owner receives it once, in the portal.", p.credentialsPath(rq, id), nil)
	}
	return p.showSecret(rq, one, made)
}

// shownValue is one value on the page that shows values once.
type shownValue struct {
	Label string
	Value string
}

// shownPage shows values once.
type shownPage struct {
	Values []shownValue
	Facts  []shownValue
	Note   string
	Back   string
}

func (p *Portal) showSecret(rq *request, one appaccess.ClientApplication, made appaccess.IssuedSecret) error {
	pg := p.belowApplication(rq, one, "Your client secret")
	pg.Data = shownPage{
		Values: []shownValue{{"Client secret", made.Value.Reveal()}},
		Facts: []shownValue{
			{"Client ID", one.Entra.AppID}, {"Name", made.Credential.Name},
			{"Expires", made.Credential.End.UTC().Format("2 January 2006")},
		},
		Note: "Copy it now and store it in a safe place, such as a key vault. It is not kept here and cannot be shown again.",
		Back: p.credentialsPath(rq, one.ID),
	}
	return p.show(rq, "shown", pg)
}

// oneTimeSecretPage is the page on which an owner receives a secret.
type oneTimeSecretPage struct {
	OneTimeSecret appaccess.OneTimeSecret
	Form          form
	Back          string
}

func (p *Portal) showOneTimeSecret(rq *request) error {
	return p.oneTimeSecret(rq, nil, form{Values: url.Values{}})
}

func (p *Portal) oneTimeSecret(rq *request, cause error, f form) error {
	one, err := p.service.Application(rq.Context(), rq.actor, rq.PathValue("application"))
	if err != nil {
		return err
	}
	waiting, err := p.service.OneTimeSecrets(rq.Context(), rq.actor, one.ID)
	if err != nil {
		return err
	}
	for _, h := range waiting {
		if h.ID != rq.PathValue("secret") {
			continue
		}
		pg := p.belowApplication(rq, one, "Receive a client secret")
		if f.Once, err = p.once(rq); err != nil {
			return err
		}
		pg.Data = oneTimeSecretPage{OneTimeSecret: h, Form: f, Back: p.credentialsPath(rq, one.ID)}
		return p.write(rq, formStatus(cause), "one_time_secret", pg)
	}
	return appaccess.ErrNotFound
}

func (p *Portal) receiveSecret(rq *request) error {
	one, err := p.service.Application(rq.Context(), rq.actor, rq.PathValue("application"))
	if err != nil {
		return err
	}
	if err := p.oneTime(rq); err != nil {
		if f := p.sent(rq, nil); p.refuse(rq, &f, err) {
			return p.oneTimeSecret(rq, err, f)
		}
		return err
	}
	made, err := p.service.ReceiveSecret(rq.Context(), rq.actor, one.ID, rq.PathValue("secret"))
	if errors.Is(err, appaccess.ErrNotFound) {
		return errSpent
	}
	if err != nil {
		return err
	}
	return p.showSecret(rq, one, made)
}
