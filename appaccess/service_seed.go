package appaccess

import (
	"context"
	"errors"
	"fmt"
)

// kindInstance is the kind of the record that says what was done to the whole store.
const kindInstance Kind = "instance"

// seed fills a new store once: the marker stays when the seeded objects are deleted.
// A store that a document filled before gets only the marker.
func (s *Service) seed(ctx context.Context) error {
	_, err := s.store.Update(ctx, func(w Writer) error {
		switch _, err := w.Get(kindInstance, "seed"); {
		case err == nil:
			return nil
		case !errors.Is(err, ErrNotFound):
			return err
		}
		e, err := s.edit(w, Manager("entragate"))
		if err != nil {
			return err
		}
		return e.seed()
	})
	if err != nil {
		return fmt.Errorf("appaccess: fill the new store: %w", err)
	}
	return nil
}

func (e *edit) seed() error {
	marker := Record{Kind: kindInstance, ID: "seed", Body: []byte(`{}`)}
	for _, kind := range []Kind{KindProduct, KindAPI} {
		if n, err := e.Count(Query{Kind: kind}, 1); err != nil || n > 0 {
			return firstError(err, e.w.Put(marker))
		}
	}
	echo := API{
		ID: "echo-api", Name: "Echo API", Path: "/echo",
		Description: "Answers with the request that it got.",
		Created:     e.now, Updated: e.now,
	}
	starter := Product{
		ID: "starter", Name: "Starter", State: Published,
		Description: "A first product, to try things out.",
		Access:      Access{Key: true}, APIs: []string{echo.ID},
		Created: e.now, Updated: e.now,
	}
	return firstError(
		e.w.Put(marker),
		write(e, &echo), e.auditAPI("api.create", &echo),
		write(e, &starter), e.audit("product.create", KindProduct, starter.ID, nil),
	)
}
