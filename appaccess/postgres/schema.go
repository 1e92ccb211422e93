package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// migrations lead from each version of the schema to the next. They only add,
// and what they add has defaults, so that replicas of an older version go on
// working. Statements name their columns for the same reason.
var migrations = []string{`
CREATE TABLE entragate_meta (
	one      integer PRIMARY KEY CHECK (one = 1),
	version  integer NOT NULL, -- of the schema
	revision bigint NOT NULL,  -- of the last commit
	forgot   bigint NOT NULL   -- the last revision whose changes are no longer kept
) WITH (fillfactor = 10);
INSERT INTO entragate_meta (one, version, revision, forgot) VALUES (1, 0, 0, 0);
CREATE TABLE entragate_records (
	kind     text COLLATE "C" NOT NULL,
	id       text COLLATE "C" NOT NULL,
	body     bytea NOT NULL,
	text     text COLLATE "C" NOT NULL,
	entries  text NOT NULL, -- JSON, as in entragate_entries
	revision bigint NOT NULL,
	PRIMARY KEY (kind, id)
);
CREATE TABLE entragate_entries (
	kind  text COLLATE "C" NOT NULL,
	name  text COLLATE "C" NOT NULL,
	value text COLLATE "C" NOT NULL,
	id    text COLLATE "C" NOT NULL,
	PRIMARY KEY (kind, name, value, id)
);
CREATE TABLE entragate_changes (
	seq      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	revision bigint NOT NULL,
	kind     text NOT NULL,
	id       text NOT NULL
);
CREATE INDEX entragate_changes_revision ON entragate_changes (revision);
`}

// migrate brings the schema to the newest version. Replicas that start together
// take turns. A newer version is left as it is.
func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	var encoding string
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "SHOW server_encoding").Scan(&encoding); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('entragate ' || current_schema(), 0))"); err != nil {
			return err
		}
		version, err := schemaVersion(ctx, tx)
		if err != nil || version >= len(migrations) {
			return err
		}
		for _, m := range migrations[version:] {
			if _, err := tx.Exec(ctx, m); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, "UPDATE entragate_meta SET version = $1", len(migrations))
		return err
	})
	if err != nil {
		return fmt.Errorf("the schema cannot be brought up to date: %w", failure(ctx, err))
	}
	if encoding != "UTF8" {
		return errors.New("postgres: the database must have the encoding UTF8, not " + encoding)
	}
	return nil
}

func schemaVersion(ctx context.Context, tx pgx.Tx) (version int, err error) {
	var exists bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass('entragate_meta') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return 0, err
	}
	err = tx.QueryRow(ctx, "SELECT version FROM entragate_meta").Scan(&version)
	return version, err
}
