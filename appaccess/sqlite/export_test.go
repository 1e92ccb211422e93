package sqlite

import (
	"context"

	"github.com/entragate/entragate/internal/sqlstore"
)

// OpenNewer opens a store as a program does that knows one version of the schema
// more than this one, from which on a program must know the version oldest.
func OpenNewer(ctx context.Context, name string, oldest int) (*Store, error) {
	newer := sqlstore.Migration{SQL: "ALTER TABLE records ADD COLUMN later text NOT NULL DEFAULT ''", Oldest: oldest}
	return openWith(ctx, name, append(append([]sqlstore.Migration(nil), migrations...), newer))
}

// Version is the version of the schema that this program knows.
func Version() int { return len(migrations) }
