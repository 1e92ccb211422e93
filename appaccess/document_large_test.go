package appaccess_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
)

// countingStore counts how much the largest Update writes and, of a store that counts
// them itself, the rows that are read.
type countingStore struct {
	appaccess.Store
	rows, largest, updates int
	busiest                int // the rows that one Update read and wrote at most
}

func rowsRead(tx any) int {
	if counter, ok := tx.(interface{ RowsRead() int }); ok {
		return counter.RowsRead()
	}
	return 0
}

func (c *countingStore) View(ctx context.Context, fn func(appaccess.Reader) error) error {
	return c.Store.View(ctx, func(r appaccess.Reader) error {
		defer func() { c.rows += rowsRead(r) }()
		return fn(r)
	})
}

func (c *countingStore) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	return c.Store.Update(ctx, func(w appaccess.Writer) error {
		counted := &countingWriter{Writer: w}
		defer func() {
			c.rows += rowsRead(w)
			c.largest = max(c.largest, counted.written)
			c.busiest = max(c.busiest, counted.written+rowsRead(w))
			c.updates++
		}()
		return fn(counted)
	})
}

type countingWriter struct {
	appaccess.Writer
	written int
}

func (w *countingWriter) Put(rec appaccess.Record) error {
	w.written++
	return w.Writer.Put(rec)
}

func (w *countingWriter) Delete(kind appaccess.Kind, id string) error {
	w.written++
	return w.Writer.Delete(kind, id)
}

func newCountedFixture(t *testing.T) (*fixture, *countingStore) {
	t.Helper()
	counted := &countingStore{Store: onSQLite(t)}
	return newFixtureOn(t, counted), counted
}

// largeDocument has n users, n applications and n subscriptions of theirs.
func largeDocument(t *testing.T, n int) appaccess.Document {
	t.Helper()
	d := parse(t, sampleDocument)
	for i := range n {
		user := fmt.Sprintf("user-%05d", n-i)
		d.Users = append(d.Users, appaccess.DocumentUser{ID: user, Name: "User " + user})
		d.Applications = append(d.Applications, appaccess.DocumentApplication{ID: fmt.Sprint("app-", i), Name: fmt.Sprint("App ", i), OwnerID: user, Grants: appaccess.GrantsOfAll("gold")})
		d.Subscriptions = append(d.Subscriptions, appaccess.DocumentSubscription{ID: fmt.Sprint("sub-", i), Name: fmt.Sprint("Sub ", i), OwnerID: user, Scope: "/products/gold", State: appaccess.SubscriptionActive})
	}
	return d
}

func TestALargeImportIsWrittenInBoundedTransactions(t *testing.T) {
	t.Parallel()
	countsRows(t)
	const n = 120
	h, counted := newCountedFixture(t)
	var created, issued, reports int
	request := appaccess.ImportRequest{Progress: func(r appaccess.ImportReport) {
		created, issued, reports = created+len(r.Differences), issued+len(r.Subscriptions), reports+1
		assert.LessOrEqual(t, len(r.Differences), 20)
	}}
	d := largeDocument(t, n)
	counted.rows, counted.updates, counted.largest = 0, 0, 0
	report, err := h.Import(ctx, boss, d, request)
	require.NoError(t, err)
	assert.Empty(t, report)
	assert.Equal(t, 3*n+5, created)
	assert.Equal(t, n+1, issued)
	assert.LessOrEqual(t, counted.largest, 2*20, "an object and its audit record each")
	assert.Len(t, h.entra.apps, n+1)

	var first bytes.Buffer
	require.NoError(t, h.Export(ctx, boss, &first))
	file, err := appaccess.OpenDocument(bytes.NewReader(first.Bytes()))
	require.NoError(t, err)
	before := h.revision()
	counted.rows = 0
	_, err = h.Import(ctx, boss, file, appaccess.ImportRequest{Prune: true})
	require.NoError(t, err)
	assert.Equal(t, before, h.revision(), "nothing differs")
	assert.NotZero(t, counted.rows)
	assert.LessOrEqual(t, counted.rows, (3*n+20)*3/2, "rows read of %d objects", 3*n+5)

	other, counted := newCountedFixture(t)
	_, err = other.Import(ctx, boss, file, appaccess.ImportRequest{Prune: true})
	require.NoError(t, err)
	var second bytes.Buffer
	counted.rows = 0
	require.NoError(t, other.Export(ctx, boss, &second))
	assert.Equal(t, first.String(), second.String())
	assert.LessOrEqual(t, counted.rows, 3*n+20)
}

func TestARefusedObjectDoesNotStopALargeImport(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	d := largeDocument(t, 40)
	d.Subscriptions[7].OwnerID, d.Applications[9].Grants = "nobody", appaccess.GrantsOfAll("nothing")
	report, err := h.Import(ctx, boss, d, appaccess.ImportRequest{})
	assert.Equal(t, 400, appaccess.Status(err))
	require.ErrorContains(t, err, `subscription `+d.Subscriptions[7].ID+`.ownerId: there is no user "nobody"`)
	require.ErrorContains(t, err, "application "+d.Applications[9].ID+".grants")
	assert.Len(t, report.Differences, 3*40+5-2)

	d.Subscriptions[7].OwnerID, d.Applications[9].Grants = "ada", appaccess.GrantsOfAll("gold")
	report, err = h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Len(t, report.Differences, 2, "only what still differs")
}

// A name becomes free only with the object that has it, and an API only when its
// product no longer has it.
func TestALargeImportMovesNames(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	d := largeDocument(t, 40)
	silver := appaccess.DocumentProduct{ID: "silver", Name: "Silver", Access: appaccess.Access{Key: true}, APIs: []string{"orders"}}
	d.Products = append(d.Products, silver)
	_, err := h.Import(ctx, boss, d, appaccess.ImportRequest{Prune: true})
	require.NoError(t, err)
	d.APIs[0].ID = "newer-orders"
	silver.ID, silver.APIs = "a-new-silver", []string{"newer-orders"}
	gold := d.Products[0]
	gold.APIs, gold.Access = nil, appaccess.Access{Key: true} // while applications still are granted it
	d.Products = []appaccess.DocumentProduct{silver, gold}
	d.Applications, d.Subscriptions = []appaccess.DocumentApplication{}, []appaccess.DocumentSubscription{}
	_, err = h.Import(ctx, boss, d, appaccess.ImportRequest{Prune: true})
	require.NoError(t, err)
	got, err := exported(h.Service)
	require.NoError(t, err)
	assert.Equal(t, d.APIs, got.APIs)
	assert.Equal(t, d.Products, got.Products)
	assert.Empty(t, got.Subscriptions)
	assert.Empty(t, h.entra.apps)
}

func TestAnInterruptedImportIsContinued(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	d := largeDocument(t, 60)
	stopped, stop := context.WithCancelCause(ctx)
	batches := 0
	_, err := h.Import(stopped, boss, d, appaccess.ImportRequest{Progress: func(appaccess.ImportReport) {
		if batches++; batches == 2 {
			stop(errors.New("killed"))
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	report, err := h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Len(t, report.Differences, 3*60+5-2*20)
	report, err = h.Import(ctx, boss, d, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Empty(t, report.Differences)
}

func TestADocumentFileIsReadInOrder(t *testing.T) {
	t.Parallel()
	users := func(n int, descending bool) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(`{"id": "u%06d", "name": "U"}`, i)
		}
		if descending {
			slices.Reverse(list)
		}
		return `{"users": [` + strings.Join(list, ",") + `], "version": 1}`
	}
	_, err := appaccess.OpenDocument(strings.NewReader(users(10_050, false)))
	require.NoError(t, err)
	_, err = appaccess.OpenDocument(strings.NewReader(users(10_050, true)))
	require.ErrorContains(t, err, "is not in the order of IDs")
	file, err := appaccess.OpenDocument(strings.NewReader(users(30, true)))
	require.NoError(t, err)
	h := newFixture(t)
	report, err := h.Import(ctx, boss, file, appaccess.ImportRequest{})
	require.NoError(t, err)
	assert.Len(t, report.Differences, 30)
	assert.Equal(t, "u000000", report.Differences[0].ID)
}
