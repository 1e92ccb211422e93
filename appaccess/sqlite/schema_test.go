package sqlite_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/internal/sqlstore/schematest"
)

func TestUpgrades(t *testing.T) {
	t.Parallel()
	schematest.Run(t, schematest.Opener{
		Name: func(t *testing.T) string { return filepath.Join(memory(t), "store.db") },
		Open: func(ctx context.Context, path string) (appaccess.Store, error) { return sqlite.Open(ctx, path) },
		OpenNewer: func(ctx context.Context, path string, oldest int) (appaccess.Store, error) {
			return sqlite.OpenNewer(ctx, path, oldest)
		},
		Version: sqlite.Version(),
	})
}

// A backup of an upgraded store is restored by older programs that may use it, and
// by no others.
func TestRestoreChecksTheSchema(t *testing.T) {
	t.Parallel()
	for _, oldest := range []int{0, sqlite.Version() + 1} {
		path := func(name string) string { return filepath.Join(memory(t), name) }
		newer, err := sqlite.OpenNewer(t.Context(), path("store.db"), oldest)
		require.NoError(t, err)
		copied := path("copy.db")
		require.NoError(t, newer.Backup(t.Context(), copied))
		require.NoError(t, newer.Close())
		err = sqlite.Restore(t.Context(), copied, path("restored.db"))
		if oldest == 0 {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "its schema needs a program that knows version")
		}
	}
}
