package sqlite

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
		assert.Equal(t, connections, db.Stats().InUse)
	}
	check(s.read, readers, map[string]string{"journal_mode": "wal", "busy_timeout": "30000", "query_only": "1", "trusted_schema": "0"})
	check(s.write, 1, map[string]string{"journal_mode": "wal", "busy_timeout": "30000", "query_only": "0", "synchronous": "2"})
}
