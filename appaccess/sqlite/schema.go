package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// applicationID marks a file as one of ours: "ENTG".
const applicationID = 0x454e5447

// migrations lead from each version of the schema to the next. They only add,
// so that an older process on the same file goes on working.
var migrations = []string{`
CREATE TABLE meta (
	one      INTEGER PRIMARY KEY CHECK (one = 1),
	revision INTEGER NOT NULL, -- of the last commit
	forgot   INTEGER NOT NULL  -- the last revision whose changes are no longer kept
);
INSERT INTO meta VALUES (1, 0, 0);
CREATE TABLE records (
	kind     TEXT NOT NULL,
	id       TEXT NOT NULL,
	body     BLOB NOT NULL,
	text     TEXT NOT NULL,
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
	kind     TEXT NOT NULL,
	id       TEXT NOT NULL
);
CREATE INDEX changes_revision ON changes (revision);
`}

// migrate brings the file to the newest version. Processes that start together
// take turns. A newer version is left as it is.
func migrate(ctx context.Context, db *sql.DB) error {
	tx, err := begin(ctx, db, nil)
	if err != nil {
		return failure(ctx, err)
	}
	defer func() { _ = tx.Rollback() }()
	var id, version, tables int
	for query, to := range map[string]*int{
		"PRAGMA application_id":              &id,
		"PRAGMA user_version":                &version,
		"SELECT count(*) FROM sqlite_schema": &tables,
	} {
		if err := tx.QueryRowContext(ctx, query).Scan(to); err != nil {
			return failure(ctx, err)
		}
	}
	if id != applicationID && (id != 0 || version != 0 || tables != 0) {
		return errors.New("the file is another program's database")
	}
	if version >= len(migrations) {
		return nil
	}
	for _, m := range migrations[version:] {
		if _, err := tx.ExecContext(ctx, m); err != nil {
			return failure(ctx, err)
		}
	}
	mark := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(migrations))
	if _, err := tx.ExecContext(ctx, mark); err != nil {
		return failure(ctx, err)
	}
	if err := tx.Commit(); err != nil {
		return failure(ctx, err)
	}
	return nil
}
