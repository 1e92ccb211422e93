package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/entragate/entragate/internal/sqlstore"
)

// migrations lead from each version of the schema to the next. What they add has
// defaults, and statements name their columns, so that replicas of an older
// version can go on working.
var migrations = []sqlstore.Migration{{SQL: `
CREATE TABLE entragate_meta (
	one                integer PRIMARY KEY CHECK (one = 1),
	version            integer NOT NULL, -- of the schema
	revision           bigint NOT NULL,  -- of the last commit
	number             bigint NOT NULL,  -- random, of the last commit
	forgotten_revision bigint NOT NULL,  -- of the last commit whose changes are no longer kept
	forgotten_number   bigint NOT NULL,
	oldest             integer NOT NULL  -- version of the schema that a program must know
) WITH (fillfactor = 10);
INSERT INTO entragate_meta (one, version, revision, number, forgotten_revision, forgotten_number, oldest) VALUES (1, 0, 0, 0, 0, 0, 0);
CREATE TABLE entragate_records (
	kind     text COLLATE "C" NOT NULL,
	id       text COLLATE "C" NOT NULL,
	body     bytea NOT NULL,
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
	number   bigint NOT NULL, -- of the commit
	kind     text NOT NULL,
	id       text NOT NULL
);
CREATE INDEX entragate_changes_revision ON entragate_changes (revision);
`}}

// migrate brings the schema to the newest version. Replicas that start together
// take turns. A newer version that this program may use stays. It
// reports whether a pooler is in between.
func migrate(ctx context.Context, pool *pgxpool.Pool, migrations []sqlstore.Migration) (pooled bool, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return false, failure(err)
	}
	defer conn.Release()
	var encoding string
	var backend uint32
	var refused error
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "SELECT current_setting('server_encoding'), pg_backend_pid()").Scan(&encoding, &backend); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('entragate ' || current_schema(), 0))"); err != nil {
			return err
		}
		version, oldest, err := schemaVersion(ctx, tx)
		refused = sqlstore.CheckVersion(len(migrations), oldest)
		if err != nil || refused != nil || version >= len(migrations) {
			return err
		}
		for _, m := range migrations[version:] {
			if _, err := tx.Exec(ctx, m.SQL); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, "UPDATE entragate_meta SET version = $1, oldest = $2", len(migrations), sqlstore.Oldest(migrations))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("the schema cannot be brought up to date: %w", failure(err))
	}
	if refused != nil {
		return false, fmt.Errorf("postgres: %w", refused)
	}
	if encoding != "UTF8" {
		return false, errors.New("postgres: the database must have the encoding UTF8, not " + encoding)
	}
	// A pooler reports its own session ID, not the ID of the server process.
	return conn.Conn().PgConn().PID() != backend, nil
}

func schemaVersion(ctx context.Context, tx pgx.Tx) (version, oldest int, err error) {
	if exists, err := hasSchema(ctx, tx); err != nil || !exists {
		return 0, 0, err
	}
	err = tx.QueryRow(ctx, "SELECT version, oldest FROM entragate_meta").Scan(&version, &oldest)
	return version, oldest, err
}

// hasSchema reports whether the tables exist.
func hasSchema(ctx context.Context, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) (exists bool, err error) {
	err = q.QueryRow(ctx, "SELECT to_regclass('entragate_meta') IS NOT NULL").Scan(&exists)
	return exists, err
}
