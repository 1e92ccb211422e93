package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/pgtest"
)

// Every query walks along an index, in the order asked for: none reads a whole
// table or sorts.
func TestQueriesAreIndexed(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), pgtest.Schema(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for _, q := range []appaccess.Query{
		{}, {After: "a"}, {Descending: true}, {After: "a", Descending: true, Limit: 5}, {Text: "x"},
		{Index: "owner", Value: "u"}, {Index: "owner", Value: "u", After: "a", Limit: 1},
		{Index: "owner", Value: "u", After: "a", Descending: true}, {Index: "owner", Value: "u", Text: "x", After: "a"},
	} {
		q.Kind = "thing"
		query, args := selection(q)
		var plan []string
		require.NoError(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
			// What the planner would not choose, having a better way, it
			// shows now only if there is no other.
			_, err := tx.Exec(t.Context(), "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")
			require.NoError(t, err)
			rows, err := tx.Query(t.Context(), "EXPLAIN "+query, args...)
			require.NoError(t, err)
			plan, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		}))
		text := strings.Join(plan, "\n")
		assert.NotContains(t, text, "Seq Scan", "%+v", q)
		assert.NotContains(t, text, "Sort", "%+v", q)
		assert.Contains(t, text, "Index", "%+v", q)
	}
}

func TestEveryConnectionIsPrepared(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), pgtest.Schema(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for range 3 { // all held, so each is another one
		conn, err := s.pool.Acquire(t.Context())
		require.NoError(t, err)
		defer conn.Release()
		var timeout string
		require.NoError(t, conn.QueryRow(t.Context(), "SHOW idle_in_transaction_session_timeout").Scan(&timeout))
		assert.Equal(t, "30s", timeout)
	}
}
