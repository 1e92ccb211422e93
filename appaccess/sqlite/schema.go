package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/entragate/entragate/internal/sqlstore"
)

// applicationID marks a file as one of ours: "ENTG".
const applicationID = 0x454e5447

// migrations lead from each version of the schema to the next.
var migrations = []sqlstore.Migration{{SQL: `
CREATE TABLE meta (
	one                INTEGER PRIMARY KEY CHECK (one = 1),
	revision           INTEGER NOT NULL, -- of the last commit
	number             INTEGER NOT NULL, -- random, of the last commit
	forgotten_revision INTEGER NOT NULL, -- of the last commit whose changes are no longer kept
	forgotten_number   INTEGER NOT NULL,
	oldest             INTEGER NOT NULL  -- version of the schema that a program must know
);
INSERT INTO meta VALUES (1, 0, 0, 0, 0, 0);
CREATE TABLE records (
	kind     TEXT NOT NULL,
	id       TEXT NOT NULL,
	body     BLOB NOT NULL,
	entries  TEXT NOT NULL, -- JSON, as in table entries
	revision INTEGER NOT NULL,
	PRIMARY KEY (kind, id)
);
CREATE TABLE entries (
	kind  TEXT NOT NULL,
	name  TEXT NOT NULL,
	value TEXT NOT NULL,
	id    TEXT NOT NULL,
	PRIMARY KEY (kind, name, value, id)
) WITHOUT ROWID;
CREATE TABLE changes (
	seq      INTEGER PRIMARY KEY,
	revision INTEGER NOT NULL,
	number   INTEGER NOT NULL, -- of the commit
	kind     TEXT NOT NULL,
	id       TEXT NOT NULL
);
CREATE INDEX changes_revision ON changes (revision);
`}}

// migrate brings the file to the newest version. Processes that start together
// take turns. A newer version that this program may use stays.
func migrate(ctx context.Context, db *sql.DB, migrations []sqlstore.Migration) error {
	tx, err := begin(ctx, db, false)
	if err != nil {
		return failure(err)
	}
	defer func() { _ = tx.Rollback() }()
	var id, version, tables int
	for query, to := range map[string]*int{
		"PRAGMA application_id":              &id,
		"PRAGMA user_version":                &version,
		"SELECT count(*) FROM sqlite_schema": &tables,
	} {
		if err := tx.QueryRowContext(ctx, query).Scan(to); err != nil {
			return failure(err)
		}
	}
	if id != applicationID && (id != 0 || version != 0 || tables != 0) {
		return errors.New("the file is another program's database")
	}
	if version > 0 {
		var oldest int
		if err := tx.QueryRowContext(ctx, "SELECT oldest FROM meta").Scan(&oldest); err != nil {
			return failure(err)
		}
		if err := sqlstore.CheckVersion(len(migrations), oldest); err != nil {
			return err
		}
	}
	if version >= len(migrations) {
		return nil
	}
	for _, m := range migrations[version:] {
		if _, err := tx.ExecContext(ctx, m.SQL); err != nil {
			return failure(err)
		}
	}
	mark := fmt.Sprintf("UPDATE meta SET oldest = %d; PRAGMA application_id = %d; PRAGMA user_version = %d", sqlstore.Oldest(migrations), applicationID, len(migrations))
	if _, err := tx.ExecContext(ctx, mark); err != nil {
		return failure(err)
	}
	if err := tx.Commit(); err != nil {
		return failure(err)
	}
	return nil
}
