package appaccess_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/memstore"
)

// listCounter counts the lists that are read of a store.
type listCounter struct {
	appaccess.Store
	n atomic.Int64
}

func (s *listCounter) View(ctx context.Context, fn func(appaccess.Reader) error) error {
	return s.Store.View(ctx, func(r appaccess.Reader) error { return fn(listCountingReader{r, s}) })
}

type listCountingReader struct {
	appaccess.Reader
	store *listCounter
}

func (r listCountingReader) List(q appaccess.Query) ([]appaccess.Record, error) {
	r.store.n.Add(1)
	return r.Reader.List(q)
}

// A search reads the records of a rare word, also if it is the shorter one. A whole
// mail address finds its user alone, and a part of one is not looked for by the words
// that all addresses have.
func TestASearchWithACommonWordReadsFewLists(t *testing.T) {
	t.Parallel()
	store := &listCounter{Store: memstore.New()}
	h := newFixtureOn(t, store)
	d := appaccess.Document{Version: 1}
	for i := range appaccess.MaxPage + 100 {
		d.Users = append(d.Users, appaccess.DocumentUser{ID: fmt.Sprintf("u%d", i), Name: fmt.Sprintf("Colleague %d", i), Email: fmt.Sprintf("Colleague.%d@contoso.example", i)})
	}
	_, err := h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	for search, expected := range map[string]struct {
		found int
		lists int64
	}{"colleague 1099": {1, 2}, "1099": {1, 1}, "colleague 5": {10, 2}, "colleague": {10, 2},
		"colleague.109@contoso.example": {1, 1}, "COLLEAGUE.109@Contoso.example": {1, 1}, "109@contoso.exam": {10, 2}, "109@example.org": {0, 2},
	} {
		before := store.n.Load()
		page, err := h.Users(ctx, boss, appaccess.Filter{Search: search, Limit: 10})
		require.NoError(t, err)
		assert.Len(t, page.Items, expected.found, search)
		assert.LessOrEqual(t, store.n.Load()-before, expected.lists, search)
	}
}

// Each page says how many objects all pages have together.
func TestEachPageHasTheTotalOfAllPages(t *testing.T) {
	t.Parallel()
	h := newFixtureOn(t, memstore.New())
	for i := range 7 {
		_, err := h.CreateUser(ctx, boss, appaccess.UserRequest{ID: fmt.Sprintf("total-%d", i), Name: "Person"})
		require.NoError(t, err)
	}
	whole, err := h.Users(ctx, boss, appaccess.Filter{Total: true, Order: appaccess.ByName})
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(whole.Items), 7)
	assert.Equal(t, len(whole.Items), whole.Total)
	f := appaccess.Filter{Total: true, Order: appaccess.ByName, Limit: 3}
	pages := 0
	for {
		page, err := h.Users(ctx, boss, f)
		require.NoError(t, err)
		assert.Equal(t, whole.Total, page.Total)
		pages++
		if f.After = page.Next; f.After == "" {
			break
		}
	}
	assert.Greater(t, pages, 2)
}
