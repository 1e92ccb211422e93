package postgres_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/growth"
	"github.com/entragate/entragate/internal/pgtest"
)

// A server that ends statements after a time answers Unavailable for those, and
// the connection goes on serving.
func TestStatementTimeout(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Schema(t)
	s := open(t, pgtest.With(dsn, "statement_timeout", "300ms"))
	put(t, s, "a")
	other := connect(t, dsn)
	tx, err := other.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT FROM entragate_meta FOR UPDATE")
	require.NoError(t, err)
	_, err = s.Update(t.Context(), func(w appaccess.Writer) error { return w.Put(rec("b")) })
	require.ErrorIs(t, err, appaccess.ErrUnavailable)
	assert.True(t, has(t, s, "a"))
	require.NoError(t, tx.Rollback(t.Context()))
	put(t, s, "c")
}

func BenchmarkFlood(b *testing.B) {
	dsn, n := populated(b)
	growth.Flood(b, open(b, dsn), n)
}
