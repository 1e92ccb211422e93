package appaccess

import (
	"context"
	"errors"
	"slices"
)

// APIRequest describes a new API.
type APIRequest struct {
	ID          string // empty: derived from the name
	Name        string // 1 to 300 characters, unique
	Path        string // whole segments, unique whatever the letter case: /echo
	Description string // at most 1,000 characters
	ServiceURL  string // the address at which a gateway reaches the API; may be empty
	// AllowEncodedSlash is as in [API], with the same risk.
	AllowEncodedSlash bool
	// KeyHeader and KeyQuery are as in [API].
	KeyHeader, KeyQuery string
}

// APIUpdate changes the fields that are not nil.
type APIUpdate struct {
	Name, Path, Description, ServiceURL *string
	AllowEncodedSlash                   *bool
	KeyHeader, KeyQuery                 *string
	Revision                            Revision // refuses the update if the API has another one by now; 0: any
}

// CreateAPI adds an API. It is in no product yet. For managers only.
func (s *Service) CreateAPI(ctx context.Context, by Actor, req APIRequest) (API, error) {
	id, err := idOr(req.ID, func() string { return slug(req.Name) })
	a := API{
		ID: id, Name: req.Name, Path: req.Path, Description: req.Description, ServiceURL: req.ServiceURL,
		AllowEncodedSlash: req.AllowEncodedSlash, KeyHeader: req.KeyHeader, KeyQuery: req.KeyQuery,
	}
	if err := allErrors(err, checkAPI(&a)); err != nil {
		return API{}, err
	}
	err = s.manage(ctx, by, func(e *edit) error {
		a.Created, a.Updated = e.now, e.now
		if err := absent[API](e, id); err != nil {
			return err
		}
		return firstError(write(e, &a), e.auditAPI("api.create", &a))
	})
	return orZero(a, err)
}

func checkAPI(a *API) error {
	return allErrors(
		checkText("name", a.Name, 1, maxName),
		checkPath(a.Path),
		checkText("description", a.Description, 0, maxDescription),
		checkServiceURL(a.ServiceURL),
		CheckKeyNames(a.KeyHeader, a.KeyQuery),
	)
}

// APIs lists APIs. A developer gets the APIs of published products.
func (s *Service) APIs(ctx context.Context, by Actor, f Filter) (Page[API], error) {
	q, limit, err := f.query(KindAPI)
	if err != nil {
		return Page[API]{}, err
	}
	var found Page[API]
	err = s.view(ctx, by, func(l *look) (err error) {
		var failed error
		found, err = list(l, q, limit, func(a *API) bool {
			ok, err := l.seesAPI(a)
			failed = errors.Join(failed, err)
			return ok
		})
		return errors.Join(err, failed)
	})
	return found, err
}

// APIsOf returns the APIs that products group, by API ID. A developer gets the APIs
// of published products.
func (s *Service) APIsOf(ctx context.Context, by Actor, productIDs ...string) (map[string]API, error) {
	var found map[string]API
	err := s.view(ctx, by, func(l *look) error {
		found = map[string]API{}
		var wanted []string
		recs, err := l.Find(KindProduct, "", productIDs)
		if err != nil {
			return err
		}
		products, err := decodeAll[Product](recs)
		if err != nil {
			return err
		}
		for _, p := range products {
			if l.seesProduct(&p) {
				wanted = append(wanted, p.APIs...)
			}
		}
		slices.Sort(wanted)
		for part := range slices.Chunk(slices.Compact(wanted), MaxPage) {
			recs, err := l.Find(KindAPI, "", part)
			if err != nil {
				return err
			}
			apis, err := decodeAll[API](recs)
			if err != nil {
				return err
			}
			for _, a := range apis {
				found[a.ID] = a
			}
		}
		return nil
	})
	return found, err
}

// API returns an API. A developer sees the APIs of published products.
func (s *Service) API(ctx context.Context, by Actor, id string) (API, error) {
	var a API
	err := s.view(ctx, by, func(l *look) (err error) {
		if a, err = l.api(id); err != nil {
			return err
		}
		ok, err := l.seesAPI(&a)
		if err == nil && !ok {
			err = notFound(KindAPI, id)
		}
		return err
	})
	return orZero(a, err)
}

func (l *look) seesAPI(a *API) (bool, error) {
	if l.by.Manager {
		return true, nil
	}
	for p, err := range each[Product](l, Query{Where: where(byAPI, a.ID)}) {
		if err != nil || l.seesProduct(&p) {
			return err == nil, err
		}
	}
	return false, nil
}

// UpdateAPI changes an API. A new path takes effect in the gates at once. For
// managers only.
func (s *Service) UpdateAPI(ctx context.Context, by Actor, id string, up APIUpdate) (API, error) {
	var a API
	err := s.manage(ctx, by, func(e *edit) (err error) {
		if a, err = e.api(id); err != nil {
			return err
		}
		if err := e.expect(KindAPI, id, up.Revision); err != nil {
			return err
		}
		changed := []bool{
			change(&a.Name, up.Name), change(&a.Path, up.Path), change(&a.Description, up.Description),
			change(&a.ServiceURL, up.ServiceURL), change(&a.AllowEncodedSlash, up.AllowEncodedSlash),
			change(&a.KeyHeader, up.KeyHeader), change(&a.KeyQuery, up.KeyQuery),
		}
		if err := checkAPI(&a); err != nil || !slices.Contains(changed, true) {
			return err
		}
		a.Updated = e.now
		return firstError(write(e, &a), e.auditAPI("api.update", &a))
	})
	return orZero(a, err)
}

// auditAPI records the API after a change. The service URL is part of the record,
// because it says where callers' requests go.
func (e *edit) auditAPI(action string, a *API) error {
	details := map[string]string{"name": a.Name, "path": a.Path}
	if a.ServiceURL != "" {
		details["serviceUrl"] = a.ServiceURL
	}
	if a.AllowEncodedSlash {
		details["allowEncodedSlash"] = "yes"
	}
	if a.KeyHeader != "" {
		details["keyHeader"] = a.KeyHeader
	}
	if a.KeyQuery != "" {
		details["keyQuery"] = a.KeyQuery
	}
	return e.audit(action, KindAPI, a.ID, details)
}

// DeleteAPI removes an API that is in no product and has no subscription of its
// own. For managers only.
func (s *Service) DeleteAPI(ctx context.Context, by Actor, id string) error {
	return s.manage(ctx, by, func(e *edit) error {
		if _, err := e.api(id); err != nil {
			return err
		}
		if err := e.apiUnused(id); err != nil {
			return err
		}
		return e.dropAPI(id)
	})
}

func (e *edit) dropAPI(id string) error {
	return firstError(e.audit("api.delete", KindAPI, id, nil), e.w.Delete(KindAPI, id), e.w.Delete(KindDocument, id))
}

func (l *look) apiUnused(id string) error {
	products, err := page[Product](l, Query{Where: where(byAPI, id), Limit: 20})
	if err != nil {
		return err
	}
	if len(products) > 0 {
		return &ConflictError{Field: "id", Reason: "the API is in products: unassign it first", Objects: ids(products, func(p *Product) string { return p.ID })}
	}
	subs, err := page[Subscription](l, Query{Where: where(byScope, string(APIScope(id))), Limit: 20})
	if err == nil && len(subs) > 0 {
		return &ConflictError{Field: "id", Reason: "the API has subscriptions: delete them first", Objects: ids(subs, subscriptionID)}
	}
	return err
}

func ids[T any](list []T, id func(*T) string) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = id(&list[i])
	}
	return out
}
