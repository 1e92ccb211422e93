package sqlstore_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/sqlstore"
)

var errBegin = errors.New("no transaction here")

// beginning is a Database that notes which transactions have a deadline.
type beginning struct {
	sqlstore.Database
	bounded map[sqlstore.Use]bool
}

func (b *beginning) Begin(ctx context.Context, use sqlstore.Use) (sqlstore.Tx, sqlstore.Meta, error) {
	_, b.bounded[use] = ctx.Deadline()
	return nil, sqlstore.Meta{}, errBegin
}

func (b *beginning) Failure(err error) error { return err }

func (b *beginning) Collision(error) bool { return false }

// An export of any size is one read: only writes, for which others wait, have a limit.
func TestWritesHaveATimeLimitAndReadsHaveNone(t *testing.T) {
	t.Parallel()
	db := &beginning{bounded: map[sqlstore.Use]bool{}}
	s := sqlstore.New(sqlstore.Config{Name: "test", Database: db, Reads: 1, Lookups: 1, Writes: 1, WriteTimeout: time.Minute})
	require.ErrorIs(t, s.View(t.Context(), func(appaccess.Reader) error { return nil }), errBegin)
	_, err := s.Update(t.Context(), func(appaccess.Writer) error { return nil })
	require.ErrorIs(t, err, errBegin)
	assert.Equal(t, map[sqlstore.Use]bool{sqlstore.Read: false, sqlstore.Write: true}, db.bounded)
}

// asked is a Database, and its only transaction, that counts what it is asked.
type asked struct {
	sqlstore.Database
	sqlstore.Tx
	reads, puts int
}

func (a *asked) Begin(context.Context, sqlstore.Use) (sqlstore.Tx, sqlstore.Meta, error) {
	return a, sqlstore.Meta{}, nil
}

func (a *asked) Find(appaccess.Kind, string, []string) ([]appaccess.Record, error) {
	a.reads++
	return nil, nil
}

func (a *asked) Get(appaccess.Kind, string) (rec appaccess.Record, found bool, err error) {
	a.reads++
	return rec, false, nil
}

func (a *asked) Put(appaccess.Record, []appaccess.IndexEntry, []appaccess.IndexEntry) error {
	a.puts++
	return nil
}

func (a *asked) Append(appaccess.Position, []sqlstore.Key) (int64, error) { return 0, nil }
func (a *asked) Commit() error                                            { return nil }
func (a *asked) Rollback()                                                {}

// A transaction with an audit record for each of its changes does not take a round trip
// for each of them.
func TestRecordsThatCannotConflictAreReadTogether(t *testing.T) {
	t.Parallel()
	db := &asked{}
	s := sqlstore.New(sqlstore.Config{Name: "test", Database: db, Reads: 1, Lookups: 1, Writes: 1})
	_, err := s.Update(t.Context(), func(w appaccess.Writer) error {
		for i := range 50 {
			rec := appaccess.Record{Kind: appaccess.KindAudit, ID: strconv.Itoa(i), Index: []appaccess.IndexEntry{{Name: "time", Value: "t"}}}
			if err := w.Put(rec); err != nil {
				return err
			}
			if _, err := w.Get(rec.Kind, rec.ID); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, 1, db.reads)
	assert.Equal(t, 50, db.puts)
}
