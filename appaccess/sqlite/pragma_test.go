package sqlite

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/sqlstore"
)

func TestPragmasOnEveryConnection(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	check := func(db *sql.DB, connections int, want map[string]string) {
		for range connections { // all held, so each is another one
			conn, err := db.Conn(t.Context())
			require.NoError(t, err)
			defer func() { require.NoError(t, conn.Close()) }()
			for pragma, value := range want {
				var got string
				require.NoError(t, conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
				assert.Equal(t, value, got, pragma)
			}
		}
		assert.Equal(t, db.Stats().MaxOpenConnections, db.Stats().InUse, "all were looked at")
	}
	check(s.db.open.read, readers, map[string]string{"journal_mode": "wal", "busy_timeout": "30000", "query_only": "1", "trusted_schema": "0"})
	check(s.db.open.gate, lookups+1, map[string]string{"journal_mode": "wal", "query_only": "1"}) // and hold
	check(s.db.open.write, 1, map[string]string{"journal_mode": "wal", "busy_timeout": "30000", "query_only": "0", "synchronous": "2"})
}

// spans are all kinds of walks.
var spans = []sqlstore.Span{
	{Kind: "thing"}, {Kind: "thing", ID: "a"}, {Kind: "thing", ID: "a", Descending: true},
	{Kind: "thing", Name: "owner", Exact: true, From: "u"}, {Kind: "thing", Name: "owner", Exact: true, From: "u", ID: "a"},
	{Kind: "thing", Name: "owner", Exact: true, From: "u", ID: "a", Descending: true},
	{Kind: "thing", Name: "end"}, {Kind: "thing", Name: "end", From: "a", To: "b"}, {Kind: "thing", Name: "end", Descending: true},
	{Kind: "thing", Name: "end", From: "a", To: "b", Value: "aa", ID: "x"},
	{Kind: "thing", Name: "end", From: "a", To: "b", Value: "aa", ID: "x", Descending: true},
}

// Every walk follows an index, in the order asked for: none reads a whole table
// or sorts.
func TestWalksAreIndexed(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Temporary)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for _, span := range spans {
		where, order, args := condition(span)
		from := " FROM records r"
		if span.Name != "" {
			from = " FROM entries e CROSS JOIN records r ON r.kind = e.kind AND r.id = e.id"
		}
		rows, err := s.db.open.read.QueryContext(t.Context(), "EXPLAIN QUERY PLAN SELECT r.body"+from+where+order+" LIMIT 5", args...)
		require.NoError(t, err)
		var plan []string
		for rows.Next() {
			var id, parent, unused int
			var detail string
			require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
			plan = append(plan, detail)
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
		text := strings.Join(plan, "\n")
		assert.NotContains(t, text, "SCAN", "%+v", span)
		assert.NotContains(t, text, "TEMP B-TREE", "%+v", span)
		if span.Name != "" && span.ID != "" && !span.Exact {
			assert.Contains(t, text, "(value,id)", "the walk begins at the place: %+v", span)
		}
	}
}
