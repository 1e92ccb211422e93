package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/pgtest"
	"github.com/entragate/entragate/internal/sqlstore"
)

// Every walk follows an index, in the order asked for: none reads a whole
// table or sorts.
func TestWalksAreIndexed(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), pgtest.Schema(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for _, span := range []sqlstore.Span{
		{}, {ID: "a"}, {ID: "a", Descending: true},
		{Name: "owner", Exact: true, From: "u"}, {Name: "owner", Exact: true, From: "u", ID: "a"},
		{Name: "owner", Exact: true, From: "u", ID: "a", Descending: true},
		{Name: "end"}, {Name: "end", From: "a", To: "b"}, {Name: "end", Descending: true},
		{Name: "end", From: "a", To: "b", Value: "aa", ID: "x"},
		{Name: "end", From: "a", To: "b", Value: "aa", ID: "x", Descending: true},
	} {
		span.Kind = "thing"
		query, args := walk(span, 5)
		var plan []string
		require.NoError(t, pgx.BeginFunc(t.Context(), s.db.read, func(tx pgx.Tx) error {
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
		assert.NotContains(t, text, "Seq Scan", "%+v", span)
		assert.NotContains(t, text, "Sort", "%+v", span)
		assert.Contains(t, text, "Index", "%+v", span)
		assert.NotContains(t, text, "Hash", "%+v", span)
	}
}
