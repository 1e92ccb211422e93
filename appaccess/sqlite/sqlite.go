// Package sqlite keeps an [appaccess.Store] in one SQLite file, without cgo and
// without a server. Several processes of one machine may open the file at the
// same time; it must not be on a network file system.
//
// The file, its -wal and its -shm belong together: copy them with [Store.Backup]
// only, and put a copy in their place with [Restore]. Open refuses a backup that
// was copied beside the -wal of another file. It cannot know that the file of a
// running store was copied without its -wal: the newest commits, or all, are missing
// in such a copy, and Restore refuses it.
//
// If one of the three is moved away while a process uses the store, every call fails
// with [appaccess.ErrUnavailable] and names it, until it is back. Nothing that was
// acknowledged is lost, unless a process is killed meanwhile. A backup may take the
// place of a missing file; a file that uses a -wal is refused there until all
// processes are started again, because its newest commits may be missing.
//
// A newer version of this package upgrades the file when it opens it. Processes of
// an older version go on working if the upgrade only added something; otherwise
// every call of theirs, and their Open, says that a newer program is needed. To
// return to an older version, restore a backup from before the upgrade.
//
// Writers take turns, on one machine a few hundred acknowledged commits a
// second; readers are never held up by them. Every commit is on disk (fsync)
// when Update returns. For replicas on several machines use package postgres.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/sqlstore"
	"github.com/entragate/entragate/internal/wait"
)

// Temporary is the path of a database that is gone once the store is closed.
// The caller must ask for it by this name: Open refuses an empty path, which a
// variable that is not set would give.
const Temporary = ":memory:"

// Store is a database file. All its methods are safe for concurrent use.
type Store struct {
	*sqlstore.Store
	db *database
}

var _ appaccess.Store = (*Store)(nil)

// Open opens the database file at path, and creates it (mode 0600, in an
// existing directory) if it does not exist; for [Temporary] it creates one that
// Close removes. The context bounds opening only.
func Open(ctx context.Context, path string) (*Store, error) {
	return openWith(ctx, path, migrations)
}

func openWith(ctx context.Context, path string, migrations []sqlstore.Migration) (*Store, error) {
	if path == "" {
		return nil, errors.New("sqlite: the path is empty: it must name a file, or be sqlite.Temporary for a store that is gone once it is closed")
	}
	d := &database{migrations: migrations}
	if err := d.prepare(ctx, path); err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: opening %s: %w", path, err), d.Close())
	}
	return &Store{sqlstore.New(sqlstore.Config{
		Name: "sqlite", Version: len(migrations), Database: d, Reads: readers, Lookups: lookups, Writes: 1, Poll: pollInterval,
	}), d}, nil
}

// pollInterval is how soon a commit of another process is seen. Those of this
// one are seen at once.
const pollInterval = 100 * time.Millisecond

// database implements [sqlstore.Database].
type database struct {
	path       string
	remove     string // directory to remove at Close
	migrations []sqlstore.Migration

	mu     sync.Mutex
	open   *connections // nil: to be opened
	missed bool         // the file was missing since it was opened
}

// connections are those to one file.
type connections struct {
	path  string
	files files // that the connections use; without the last two until all are known
	// counted: the file is one of openFiles.
	counted bool
	read    *sql.DB // for reads of the management plane
	gate    *sql.DB // for look-ups and the feed
	write   *sql.DB // one connection
	// hold is never used. SQLite removes the -wal and the -shm with the last
	// connection, so the same ones stay as long as there is one.
	hold *sql.Conn
	// failed: the file system refused something. A connection that was made while
	// it was read-only stays read-only.
	failed bool
}

func (d *database) prepare(ctx context.Context, path string) error {
	if path == Temporary {
		dir, err := os.MkdirTemp("", "entragate-")
		if err != nil {
			return err
		}
		d.remove, path = dir, filepath.Join(dir, "store.db")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	// SQLite gives its -wal and -shm files the mode of the database file.
	if err := create(path); err != nil {
		return err
	}
	d.path = path
	d.open, err = connect(ctx, path, d.migrations)
	return err
}

func connect(ctx context.Context, path string, migrations []sqlstore.Migration) (c *connections, err error) {
	c = &connections{path: path}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.files.main, err = os.Stat(path); err != nil {
		return c, err
	}
	if err := openFiles.add(path, c.files.main); err != nil {
		return c, err
	}
	c.counted = true
	if c.write, err = c.pool(1, false); err != nil {
		return c, err
	}
	if err := migrate(ctx, c.write, migrations); err != nil {
		return c, err
	}
	if c.read, err = c.pool(readers, true); err != nil {
		return c, err
	}
	if c.gate, err = c.pool(lookups+2, true); err != nil { // for the feed and hold, too
		return c, err
	}
	if c.hold, err = c.gate.Conn(ctx); err != nil {
		return c, err
	}
	c.files, err = look(path)
	return c, err
}

// pool returns a pool of n connections, which are made when they are needed.
func (c *connections) pool(n int, readOnly bool) (*sql.DB, error) {
	driver, err := sqlite.NewConnector(dsn(c.path, readOnly))
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector{driver, c})
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// connector makes connections to the same three files only. SQLite makes a -wal
// that is missing, and would then find none of the latest commits.
type connector struct {
	driver.Connector
	c *connections
}

func (k connector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := k.c.complete(); err != nil {
		return nil, err
	}
	conn, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := k.c.complete(); err != nil { // they may have been moved meanwhile
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// complete refuses to go on unless all files are in their places.
func (c *connections) complete() error {
	if c.files.wal == nil {
		return nil // they are not known yet
	}
	now, err := look(c.path)
	if err != nil {
		return err
	}
	return c.files.same(c.path, now)
}

func (c *connections) close() error {
	if c == nil {
		return nil
	}
	var errs []error
	if c.hold != nil {
		errs = append(errs, c.hold.Close())
	}
	for _, db := range []*sql.DB{c.read, c.gate, c.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if c.counted {
		openFiles.remove(c.files.main)
		c.counted = false
	}
	return errors.Join(errs...)
}

// current returns the connections to the file that now has the path. SQLite goes
// on with files that were removed or replaced, and what is then written is lost. Files
// that are missing are awaited: the connections stay, so that nothing is lost
// once all are back. The files are only looked at: to open and close one would
// release all locks.
func (d *database) current(ctx context.Context) (*connections, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, err := look(d.path)
	if err != nil {
		d.missed = true
		return nil, err
	}
	if d.open != nil && os.SameFile(now.main, d.open.files.main) {
		if err := d.open.files.same(d.path, now); err != nil {
			return nil, err
		}
		if !d.open.failed {
			return d.open, nil
		}
	}
	if err := d.leave(now); err != nil {
		return nil, err
	}
	d.open, err = connect(ctx, d.path, d.migrations)
	if err != nil {
		d.open = nil
		return nil, fmt.Errorf("the database file cannot be opened again: %w: %w", appaccess.ErrUnavailable, err)
	}
	d.missed = false
	return d.open, nil
}

// leave closes the connections, because now another file has the path or because
// they failed.
func (d *database) leave(now files) error {
	if d.open == nil {
		return nil
	}
	replaced := !os.SameFile(now.main, d.open.files.main)
	if replaced && d.missed {
		if err := refuseUnlessWhole(d.path, now.main); err != nil {
			return err
		}
	}
	// SQLite leaves the log of a file that was replaced, and would apply it to
	// the new file. The log is compared before its last connection is closed, so
	// that no other file can have its number.
	stale := replaced && now.wal != nil && os.SameFile(now.wal, d.open.files.wal)
	_ = d.open.close()
	d.open = nil
	if stale {
		_ = os.Remove(d.path + "-wal")
		_ = os.Remove(d.path + "-shm")
	}
	return nil
}

// create creates an empty file unless it exists. The file is never opened under
// its own name: to close it would release all locks that this process has on
// it by other connections.
func create(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".entragate-") // with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

const (
	readers     = 8
	lookups     = 3
	busyTimeout = 30 * time.Second
)

// dsn carries the pragmas, so that every connection of a pool has them. The
// driver ends a wait for a lock early when its context ends.
func dsn(path string, readOnly bool) string {
	q := url.Values{"_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"journal_size_limit(67108864)",
		"trusted_schema(0)",
	}}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
		// KiB. There are many such connections, and the system caches the file.
		q.Add("_pragma", "cache_size(-500)")
	} else {
		q.Set("_txlock", "immediate")
	}
	return dsnOf(path, q)
}

func dsnOf(path string, q url.Values) string {
	return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String()
}

// Begin implements [sqlstore.Database].
func (d *database) Begin(ctx context.Context, use sqlstore.Use) (sqlstore.Tx, sqlstore.Meta, error) {
	c, err := d.current(ctx)
	if err != nil {
		return nil, sqlstore.Meta{}, err
	}
	db := map[sqlstore.Use]*sql.DB{sqlstore.Read: c.read, sqlstore.Lookup: c.gate, sqlstore.Feed: c.gate, sqlstore.Write: c.write}[use]
	t, err := begin(ctx, db, use != sqlstore.Write)
	if err != nil {
		return nil, sqlstore.Meta{}, err
	}
	m, err := meta(ctx, t) // takes the snapshot that later reads see
	if err != nil {
		_ = t.Rollback()
		return nil, sqlstore.Meta{}, err
	}
	return tx{t, ctx, map[string]*sql.Stmt{}}, m, nil
}

// begin begins a transaction. SQLite waits for locks by itself, but not while a
// connection is made. The file is busy at once while another connection changes a new
// file to WAL, or closes it as the last one.
func begin(ctx context.Context, db *sql.DB, readOnly bool) (*sql.Tx, error) {
	for start := time.Now(); ; {
		tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: readOnly})
		e := new(sqlite.Error)
		if !errors.As(err, &e) || e.Code()&0xff != sqlite3.SQLITE_BUSY || time.Since(start) > busyTimeout {
			return tx, err
		}
		if err := wait.For(ctx, busyPause); err != nil {
			return nil, err
		}
	}
}

const busyPause = 5 * time.Millisecond

// Collision implements [sqlstore.Database]: writers wait for each other.
func (d *database) Collision(error) bool { return false }

// Close implements [sqlstore.Database].
func (d *database) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.open.close()
	if d.remove != "" {
		err = errors.Join(err, os.RemoveAll(d.remove))
	}
	return err
}

// Failure implements [sqlstore.Database]. After an error of the file system the next
// call opens the file again.
func (d *database) Failure(err error) error {
	if e := new(sqlite.Error); errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.open != nil {
				d.open.failed = true
			}
		}
	}
	return failure(err)
}

// errClosed is the text of an error of database/sql that has no name.
const errClosed = "sql: database is closed"

// failure wraps an error of the driver and says whether it may pass.
func failure(err error) error {
	if err.Error() == errClosed { // another call has found that the file must be opened again
		return fmt.Errorf("sqlite: %w: the file is opened again", appaccess.ErrUnavailable)
	}
	if e := new(sqlite.Error); errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
			sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY:
			return fmt.Errorf("sqlite: %w: %w", appaccess.ErrUnavailable, err)
		}
	}
	return fmt.Errorf("sqlite: %w", err)
}
