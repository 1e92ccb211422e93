package appaccess

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// ExpiringCredential is a credential that ends soon or has ended.
type ExpiringCredential struct {
	Credential      Credential `json:"credential"`
	ApplicationName string     `json:"applicationName"`
	OwnerID         string     `json:"ownerId"`
	Expired         bool       `json:"expired"`
}

// Expiring lists the credentials that have expired or will within a time; one
// that was replaced counts by the end of its overlap. A developer gets those of
// their own applications. It reads all credentials of the applications it
// concerns, so it is a report, not something to ask on every request. A time of 0
// lists those that have expired.
func (s *Service) Expiring(ctx context.Context, by Actor, within time.Duration, f Filter) (Page[ExpiringCredential], error) {
	q, limit, err := f.query()
	if err != nil {
		return Page[ExpiringCredential]{}, err
	}
	var found Page[ExpiringCredential]
	err = s.view(ctx, by, func(l *look) error {
		found = Page[ExpiringCredential]{}
		until := s.clock().Add(within)
		ends := func(c *Credential) bool { return !c.End.IsZero() && c.End.Before(until) }
		creds, err := l.expiring(f, q, limit, ends)
		if err != nil {
			return err
		}
		found.Next = creds.Next
		for _, c := range creds.Items {
			a, err := find[ClientApplication](l, c.ApplicationID)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			found.Items = append(found.Items, ExpiringCredential{c, a.Name, a.OwnerID, c.End.Before(s.clock())})
		}
		return nil
	})
	return found, err
}

func (l *look) expiring(f Filter, q Query, limit int, ends func(*Credential) bool) (Page[Credential], error) {
	owner := f.OwnerID
	if !l.by.Manager {
		owner = l.by.UserID
	}
	if owner == "" {
		return list(l, q, limit, ends, func(c *Credential) string { return c.ID })
	}
	var mine []Credential
	for a, err := range each[ClientApplication](l, Query{Index: byOwner, Value: owner}) {
		if err != nil {
			return Page[Credential]{}, err
		}
		creds, err := l.credentials(a.ID)
		if err != nil {
			return Page[Credential]{}, err
		}
		for _, c := range creds {
			if ends(&c) && c.ID > f.After {
				mine = append(mine, c)
			}
		}
	}
	slices.SortFunc(mine, func(a, b Credential) int { return strings.Compare(a.ID, b.ID) })
	if len(mine) > limit {
		return Page[Credential]{Items: mine[:limit], Next: mine[limit-1].ID}, nil
	}
	return Page[Credential]{Items: mine}, nil
}
