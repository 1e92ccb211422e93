package entratest

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"
)

// addPassword adds a secret to the newest state of an application.
func (c *graphCall) addPassword() (graphReply, *graphError) {
	var in struct {
		PasswordCredential struct {
			DisplayName   string     `json:"displayName"`
			StartDateTime *time.Time `json:"startDateTime"`
			EndDateTime   *time.Time `json:"endDateTime"`
		} `json:"passwordCredential"`
	}
	if hasJSON(c.body) {
		if failed := c.decode(&in); failed != nil {
			return graphReply{}, failed
		}
	}
	t := c.t
	start := t.now()
	if s := in.PasswordCredential.StartDateTime; s != nil {
		start = s.UTC()
	}
	end := start.AddDate(2, 0, 0)
	if e := in.PasswordCredential.EndDateTime; e != nil {
		end = e.UTC()
	}
	if !end.After(start) || end.Before(t.now()) {
		return graphReply{}, invalid("endDateTime", "PasswordCredential")
	}
	if failed := t.cfg.Policy.checkSecret(start, end); failed != nil {
		return graphReply{}, failed
	}
	a := t.newest().application(c.app.ID).clone()
	p := t.newPassword(in.PasswordCredential.DisplayName, start, end)
	a.PasswordCredentials = append(slices.Clone(a.PasswordCredentials), p)
	if failed := checkSize(a); failed != nil {
		return graphReply{}, failed
	}
	t.putApplication(a, t.spread())
	p.SecretText = ptr(p.secret.Reveal())
	return c.ok(p)
}

// removePassword removes a secret that the replica knows.
func (c *graphCall) removePassword() (graphReply, *graphError) {
	seen := c.app
	var in struct {
		KeyID string `json:"keyId"`
	}
	if failed := c.decode(&in); failed != nil {
		return graphReply{}, failed
	}
	a := c.t.newest().application(seen.ID).clone()
	is := func(p passwordCredential) bool { return p.KeyID == in.KeyID }
	if !slices.ContainsFunc(seen.PasswordCredentials, is) || !slices.ContainsFunc(a.PasswordCredentials, is) {
		return graphReply{}, bad("No password credential found with keyId %s.", in.KeyID)
	}
	a.PasswordCredentials = slices.DeleteFunc(slices.Clone(a.PasswordCredentials), is)
	c.t.putApplication(a, c.t.spread())
	return noContent()
}

func (c *graphCall) listFederated() (graphReply, *graphError) {
	return c.list(entities(c.app.federated))
}

func (c *graphCall) getFederated() (graphReply, *graphError) {
	key := c.keys["{key}"]
	if i := findFederated(c.app, key); i >= 0 {
		return c.ok(c.app.federated[i])
	}
	return graphReply{}, notFound(key.val)
}

func (c *graphCall) removeFederated() (graphReply, *graphError) {
	key := c.keys["{key}"]
	i := findFederated(c.app, key)
	if i < 0 {
		return graphReply{}, notFound(key.val)
	}
	gone := c.app.federated[i].ID
	a := c.t.newest().application(c.app.ID).clone()
	a.federated = slices.DeleteFunc(slices.Clone(a.federated), func(f federatedCredential) bool { return f.ID == gone })
	c.t.putApplication(a, c.t.spread())
	return noContent()
}

// findFederated looks by ID or name; -1: none.
func findFederated(a *application, by segment) int {
	return slices.IndexFunc(a.federated, func(f federatedCredential) bool {
		return by.key == "name" && f.Name == by.val || by.key == "id" && (f.ID == by.val || f.Name == by.val)
	})
}

var federatedName = regexp.MustCompile(`^[A-Za-z0-9_-]{3,120}$`)

func (c *graphCall) addFederated() (graphReply, *graphError) {
	a := c.t.newest().application(c.app.ID).clone()
	a.federated = slices.Clone(a.federated)
	var f federatedCredential
	if failed := c.decode(&f); failed != nil {
		return graphReply{}, failed
	}
	if failed := checkFederatedForm(f); failed != nil {
		return graphReply{}, failed
	}
	if len(a.federated) >= 20 {
		return graphReply{}, bad("The limit of 20 federated identity credentials on an application is reached.").about("MaxLengthExceeded", "federatedIdentityCredentials")
	}
	for _, other := range a.federated {
		if other.Name == f.Name {
			return graphReply{}, refuse(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue",
				"FederatedIdentityCredential with name %s already exists.", f.Name).about("ObjectConflict", "name")
		}
		if other.Issuer == f.Issuer && other.Subject == f.Subject {
			return graphReply{}, refuse(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue",
				"FederatedIdentityCredential with issuer %s and subject %s already exists.", f.Issuer, f.Subject).about("ObjectConflict", "subject")
		}
	}
	f.ID = c.t.newID()
	a.federated = append(a.federated, f)
	c.t.putApplication(a, c.t.spread())
	return c.created(f)
}

func checkFederatedForm(f federatedCredential) *graphError {
	const kind = "FederatedIdentityCredential"
	issuer, err := url.Parse(f.Issuer)
	switch {
	case !federatedName.MatchString(f.Name):
		return invalid("name", kind)
	case err != nil || issuer.Scheme != "https" || issuer.Host == "" || len(f.Issuer) > 600:
		return invalid("issuer", kind)
	case f.Subject == "" || len(f.Subject) > 600:
		return invalid("subject", kind)
	case len(f.Audiences) != 1 || f.Audiences[0] == "" || len(f.Audiences[0]) > 600:
		return invalid("audiences", kind)
	case f.Description != nil && len(*f.Description) > 600:
		return tooLong("description", kind)
	}
	return nil
}
