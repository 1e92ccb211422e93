package appaccess

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// Ref names an object: its kind and ID.
type Ref struct {
	Kind Kind   `json:"kind"`
	ID   string `json:"id"`
}

// Names returns the names of products, APIs, users, applications and subscriptions.
// The map has no entry for an object that does not exist or is of another kind. For
// managers only.
func (s *Service) Names(ctx context.Context, by Actor, refs ...Ref) (map[Ref]string, error) {
	names := map[Ref]string{}
	err := s.view(ctx, by, func(l *look) error {
		if err := l.onlyManager(); err != nil {
			return err
		}
		clear(names)
		wanted := map[Kind][]string{}
		for _, ref := range refs {
			if isID(ref.ID) {
				wanted[ref.Kind] = append(wanted[ref.Kind], ref.ID)
			}
		}
		for _, kind := range []Kind{KindProduct, KindAPI, KindUser, KindApplication, KindSubscription} {
			slices.Sort(wanted[kind])
			for ids := range slices.Chunk(slices.Compact(wanted[kind]), MaxPage) {
				recs, err := l.Find(kind, "", ids)
				if err != nil {
					return err
				}
				for _, rec := range recs {
					if names[Ref{kind, rec.ID}], err = nameIn(rec); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	return names, err
}

// nameOf returns the name of an object; empty if it has none or does not exist.
func (l *look) nameOf(kind Kind, id string) (string, error) {
	switch kind {
	case KindProduct, KindAPI, KindUser, KindApplication, KindSubscription:
	default:
		return "", nil
	}
	if !isID(id) {
		return "", nil
	}
	rec, err := l.Get(kind, id)
	if err != nil {
		return "", ignoreNotFound(err)
	}
	return nameIn(rec)
}

// nameIn returns the name of the object in a record.
func nameIn(rec Record) (string, error) {
	var named struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(rec.Body, &named); err != nil {
		return "", fmt.Errorf("appaccess: decoding %s %s: %w", rec.Kind, rec.ID, err)
	}
	return named.Name, nil
}
