package appaccess

import (
	"context"
	"errors"
	"slices"
	"time"
)

// ExpiringCredential is a credential that ends soon or has ended.
type ExpiringCredential struct {
	Credential      Credential `json:"credential"`
	ApplicationName string     `json:"applicationName"`
	OwnerID         string     `json:"ownerId"`
	Expired         bool       `json:"expired"`
}

// Expiring lists the credentials that have expired or will expire within a duration,
// in the order of their ends; with a duration of 0, the credentials that have
// expired. The end of a replaced credential is the end of its overlap. A developer
// gets the credentials of their own applications.
func (s *Service) Expiring(ctx context.Context, by Actor, within time.Duration, f Filter) (Page[ExpiringCredential], error) {
	q, limit, err := f.expiringQuery(s.clock().Add(within))
	if err != nil {
		return Page[ExpiringCredential]{}, err
	}
	var found Page[ExpiringCredential]
	err = s.view(ctx, by, func(l *look) error {
		found = Page[ExpiringCredential]{}
		creds, err := l.expiring(f, q, limit)
		if err != nil {
			return err
		}
		found.Next, found.Previous, found.Total, found.AtLeast = creds.Next, creds.Previous, creds.Total, creds.AtLeast
		apps, err := l.applicationsOf(creds.Items)
		if err != nil {
			return err
		}
		for _, c := range creds.Items {
			if a, exists := apps[c.ApplicationID]; exists {
				found.Items = append(found.Items, ExpiringCredential{c, a.Name, a.OwnerID, c.End.Before(s.clock())})
			}
		}
		return nil
	})
	return found, err
}

// expiringQuery selects credentials by their end. Credentials do not name their
// owner, so the caller filters by owner.
func (f Filter) expiringQuery(until time.Time) (listQuery, int, error) {
	after, before := f.After, f.Before
	f.OwnerID, f.After, f.Before, f.Order = "", "", "", ByID
	q, limit, err := f.query(KindCredential)
	if err != nil {
		return listQuery{}, 0, err
	}
	q.OrderBy, q.To = byEnd, timeValue(until)
	var err1, err2 error
	q.After, err1 = q.decodePlace("after", after)
	q.before, err2 = q.decodePlace("before", before)
	return q, limit, firstError(err1, err2)
}

// applicationsOf returns the applications of credentials, by ID.
func (l *look) applicationsOf(creds []Credential) (map[string]ClientApplication, error) {
	var ids []string
	for _, c := range creds {
		ids = append(ids, c.ApplicationID)
	}
	recs, err := l.Find(KindApplication, "", ids)
	if err != nil {
		return nil, err
	}
	found, err := decodeAll[ClientApplication](recs)
	apps := map[string]ClientApplication{}
	for _, a := range found {
		apps[a.ID] = a
	}
	return apps, err
}

// CredentialsOf lists the credentials of several client applications, by application
// ID. It leaves out applications that the actor must not know of.
func (s *Service) CredentialsOf(ctx context.Context, by Actor, applicationIDs ...string) (map[string][]Credential, error) {
	var found map[string][]Credential
	err := s.view(ctx, by, func(l *look) error {
		found = map[string][]Credential{}
		recs, err := l.Find(KindApplication, "", applicationIDs)
		if err != nil {
			return err
		}
		apps, err := decodeAll[ClientApplication](recs)
		if err != nil {
			return err
		}
		apps = slices.DeleteFunc(apps, func(a ClientApplication) bool { return a.Deleted || !l.mayHave(a.OwnerID) })
		if recs, err = l.Find(KindCredential, byApplication, ids(apps, applicationID)); err != nil {
			return err
		}
		creds, err := decodeAll[Credential](recs)
		slices.SortFunc(creds, func(a, b Credential) int { return a.Created.Compare(b.Created) })
		for _, c := range creds {
			found[c.ApplicationID] = append(found[c.ApplicationID], c)
		}
		return err
	})
	return found, err
}

func (l *look) expiring(f Filter, q listQuery, limit int) (Page[Credential], error) {
	owner := f.OwnerID
	if !l.by.Manager {
		owner = l.by.UserID
	}
	if owner == "" {
		return list(l, q, limit, func(*Credential) bool { return true })
	}
	// A credential does not name its owner. For most owners, all credentials of their
	// few applications are read; for an owner of many, the expiring credentials are
	// filtered.
	apps, err := page[ClientApplication](l, Query{Where: where(byOwner, owner), Limit: manyApplications})
	if err != nil {
		return Page[Credential]{}, err
	}
	if len(apps) == manyApplications {
		var failed error
		found, err := list(l, q, limit, func(c *Credential) bool {
			a, err := find[ClientApplication](l, c.ApplicationID)
			failed = errors.Join(failed, ignoreNotFound(err))
			return err == nil && a.OwnerID == owner
		})
		return found, errors.Join(err, failed)
	}
	recs, err := l.Find(KindCredential, byApplication, ids(apps, applicationID))
	if err != nil {
		return Page[Credential]{}, err
	}
	mine := slices.DeleteFunc(recs, func(r Record) bool {
		return !q.selects(r) || !slices.ContainsFunc(r.Index, func(e IndexEntry) bool { return e.Name == byEnd && e.Value < q.To })
	})
	items := make([]listItem[Credential], 0, len(mine))
	for _, rec := range mine {
		c, err := decode[Credential](rec)
		if err != nil {
			return Page[Credential]{}, err
		}
		items = append(items, listItem[Credential]{rec, c})
	}
	return paged(q, items, limit), nil
}

const manyApplications = 100
