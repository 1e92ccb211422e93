package appaccess

import (
	"context"
	"errors"
	"slices"
)

// APIRequest describes a new API.
type APIRequest struct {
	ID          string // empty: made from the name
	Name        string // 1 to 300 characters, unique
	Path        string // whole segments, unique: /echo
	Description string // at most 1,000 characters
	ServiceURL  string // where the API itself is reached; may be empty
}

// APIUpdate changes the fields that are not nil.
type APIUpdate struct{ Name, Path, Description, ServiceURL *string }

// CreateAPI adds an API. It is in no product yet. For managers only.
func (s *Service) CreateAPI(ctx context.Context, by Actor, req APIRequest) (API, error) {
	id, err := idOr(req.ID, func() string { return slug(req.Name) })
	if err != nil {
		return API{}, err
	}
	a := API{ID: id, Name: req.Name, Path: req.Path, Description: req.Description, ServiceURL: req.ServiceURL}
	if err := checkAPI(&a); err != nil {
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
	return firstError(
		checkText("name", a.Name, 1, maxName),
		checkPath(a.Path),
		checkText("description", a.Description, 0, maxDescription),
		checkServiceURL(a.ServiceURL),
	)
}

// APIs lists APIs. A developer gets those of published products.
func (s *Service) APIs(ctx context.Context, by Actor, f Filter) (Page[API], error) {
	q, limit, err := f.query()
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
		}, func(a *API) string { return a.ID })
		return errors.Join(err, failed)
	})
	return found, err
}

// API reads one. A developer sees those of published products.
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
	for p, err := range each[Product](l, Query{Index: byAPI, Value: a.ID}) {
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
		changed := []bool{change(&a.Name, up.Name), change(&a.Path, up.Path), change(&a.Description, up.Description), change(&a.ServiceURL, up.ServiceURL)}
		if err := checkAPI(&a); err != nil || !slices.Contains(changed, true) {
			return err
		}
		a.Updated = e.now
		return firstError(write(e, &a), e.auditAPI("api.update", &a))
	})
	return orZero(a, err)
}

// auditAPI records how an API now stands: its service URL says where callers'
// requests go.
func (e *edit) auditAPI(action string, a *API) error {
	details := map[string]string{"name": a.Name, "path": a.Path}
	if a.ServiceURL != "" {
		details["serviceUrl"] = a.ServiceURL
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
		return firstError(e.w.Delete(KindAPI, id), e.audit("api.delete", KindAPI, id, nil))
	})
}

func (l *look) apiUnused(id string) error {
	products, err := page[Product](l, Query{Index: byAPI, Value: id, Limit: 20})
	if err != nil {
		return err
	}
	if len(products) > 0 {
		return &ConflictError{Field: "id", Reason: "the API is in products: unassign it first", Objects: ids(products, func(p *Product) string { return p.ID })}
	}
	subs, err := page[Subscription](l, Query{Index: byScope, Value: string(APIScope(id)), Limit: 20})
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
