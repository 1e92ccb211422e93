package sqlstore_test

import (
	"context"
	"errors"
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
