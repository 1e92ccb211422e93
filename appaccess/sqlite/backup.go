package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/entragate/entragate/internal/sqlstore"
)

// Backup writes a consistent copy of the store to a new file at path (mode 0600),
// while the store goes on being used. A copy that was made in another way must
// hold the -wal file, too: the newest commits are missing in the database file alone, or
// all of them. One-time secrets in the copy open only with their key and until
// their end.
func (s *Store) Backup(ctx context.Context, path string) error {
	return copyInto(ctx, s.db.path, path)
}

// Restore puts a copy that [Store.Backup] made where no store is: it refuses a
// path at which there is a file, a -wal or a -shm already. Stop all processes
// that use the old file, move all three away, and then restore. Restore also
// refuses what cannot be a whole store: a damaged file, one of another program
// or of a newer version, and the file of a running store without its -wal.
//
// Everything that was committed after the backup is lost. Let [Service.Sync] with
// All bring Entra in sync afterwards.
//
// [Service.Sync]: https://pkg.go.dev/github.com/entragate/entragate/appaccess#Service.Sync
func Restore(ctx context.Context, backup, path string) error {
	if err := restore(ctx, backup, path); err != nil {
		return fmt.Errorf("sqlite: restoring %s to %s: %w", backup, path, err)
	}
	return nil
}

func restore(ctx context.Context, backup, path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if _, err := os.Stat(path + suffix); !errors.Is(err, os.ErrNotExist) {
			return errors.Join(fmt.Errorf("%s exists: stop what uses it and move it away first", path+suffix), err)
		}
	}
	if err := verify(ctx, backup); err != nil {
		return err
	}
	whole := path + ".restoring"
	if err := copyInto(ctx, backup, whole); err != nil {
		return err
	}
	defer func() { _ = os.Remove(whole) }()
	return os.Link(whole, path) // fails if there is one by now
}

// verify refuses a file that cannot be a whole store.
func verify(ctx context.Context, path string) error {
	if _, err := os.Stat(path); err != nil {
		return err
	}
	_, walErr := os.Stat(path + "-wal")
	db, err := sql.Open("sqlite", dsnOf(path, nil))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	var verdict, mode string
	var id, version int
	for _, q := range []struct {
		query string
		to    any
	}{
		{"PRAGMA application_id", &id}, {"PRAGMA user_version", &version}, {"PRAGMA journal_mode", &mode}, {"PRAGMA quick_check", &verdict},
	} {
		if err := db.QueryRowContext(ctx, q.query).Scan(q.to); err != nil {
			return failure(err)
		}
	}
	switch {
	case mode == "wal" && walErr != nil:
		return errors.New("it is the file of a running store without its -wal, which holds the newest commits: use a copy that Store.Backup made")
	case id != applicationID:
		return errors.New("it is not a store")
	case version == 0:
		return errors.New("it is not a store")
	case verdict != "ok":
		return fmt.Errorf("it is damaged: %s", verdict)
	}
	var oldest int
	if err := db.QueryRowContext(ctx, "SELECT oldest FROM meta").Scan(&oldest); err != nil {
		return failure(err)
	}
	return sqlstore.CheckVersion(len(migrations), oldest)
}

// copyInto writes a compact copy of a database to a new file.
func copyInto(ctx context.Context, from, to string) error {
	if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(fmt.Errorf("sqlite: %s exists", to), err)
	}
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	if err := create(to); err != nil { // with its mode
		return err
	}
	db, err := sql.Open("sqlite", dsnOf(from, nil))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if _, err = db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return errors.Join(failure(err), os.Remove(to))
	}
	f, err := os.OpenFile(to, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
