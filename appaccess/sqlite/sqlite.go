// Package sqlite keeps an [appaccess.Store] in one SQLite file, without cgo and
// without a server. Several processes of one machine may open the file at the
// same time; it must not be on a network file system.
//
// Writers take turns, on one machine a few hundred acknowledged commits a
// second; readers are never held up by them. Every commit is on disk (fsync)
// when Update returns. For replicas on several machines use package postgres.
package sqlite

import (
	"context"
	"database/sql"
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
	"github.com/entragate/entragate/internal/feed"
	"github.com/entragate/entragate/internal/wait"
)

// Temporary is the path of a database that is gone once the store is closed.
// It has to be asked for by this name: an empty path, such as that of a variable
// that is not set, is refused.
const Temporary = ":memory:"

// Store is a database file. All its methods are safe for concurrent use.
type Store struct {
	read   *sql.DB // several connections, read only
	write  *sql.DB // one connection
	remove string  // directory to remove at Close

	news feed.Bell // rings at every commit of this process

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup
	quit   context.Context
	stop   context.CancelFunc
}

var _ appaccess.Store = (*Store)(nil)

// Open opens the database file at path, and makes it (mode 0600, in an existing
// directory) if there is none; for [Temporary] it makes one that Close removes.
// The context bounds opening only.
func Open(ctx context.Context, path string) (*Store, error) {
	if path == "" {
		return nil, errors.New("sqlite: the path is empty: it must name a file, or be sqlite.Temporary for a store that is gone once it is closed")
	}
	s := &Store{}
	s.quit, s.stop = context.WithCancel(context.Background())
	if err := s.open(ctx, path); err != nil {
		s.stop()
		return nil, errors.Join(fmt.Errorf("sqlite: opening %s: %w", path, err), s.release())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, path string) error {
	if path == Temporary {
		dir, err := os.MkdirTemp("", "entragate-")
		if err != nil {
			return err
		}
		s.remove, path = dir, filepath.Join(dir, "store.db")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	// SQLite gives its -wal and -shm files the mode of the database file.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if s.write, err = sql.Open("sqlite", dsn(path, false)); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if err := migrate(ctx, s.write); err != nil {
		return err
	}
	if s.read, err = sql.Open("sqlite", dsn(path, true)); err != nil {
		return err
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	return nil
}

const (
	readers     = 8
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
	} else {
		q.Set("_txlock", "immediate")
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String()
}

// View implements [appaccess.Store].
func (s *Store) View(ctx context.Context, fn func(appaccess.Reader) error) error {
	leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	tx, err := begin(ctx, s.read, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return failure(ctx, err)
	}
	defer func() { _ = tx.Rollback() }()
	r := &reader{ctx: ctx, tx: tx}
	// The first read takes the snapshot that the others see.
	if r.revision, err = revision(ctx, tx); err != nil {
		return failure(ctx, err)
	}
	return fn(r)
}

// Update implements [appaccess.Store]. fn runs once.
func (s *Store) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	leave, err := s.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	tx, err := begin(ctx, s.write, nil)
	if err != nil {
		return 0, failure(ctx, err)
	}
	defer func() { _ = tx.Rollback() }()
	base, err := revision(ctx, tx)
	if err != nil {
		return 0, failure(ctx, err)
	}
	w := &writer{reader: reader{ctx: ctx, tx: tx, revision: base}, touched: map[recordKey]bool{}}
	if err := fn(w); err != nil {
		return 0, err
	}
	if w.failed != nil {
		return 0, w.failed // fn has hidden it
	}
	if len(w.touched) == 0 {
		return base, nil
	}
	if err := w.finish(); err != nil {
		return 0, failure(ctx, err)
	}
	if err := tx.Commit(); err != nil {
		return 0, failure(ctx, err)
	}
	s.news.Ring()
	return base + 1, nil
}

// begin begins a transaction. SQLite waits for locks by itself, but not while a
// connection is made: when another is just turning a new file to WAL, or is the
// last one to close it, the file is busy at once.
func begin(ctx context.Context, db *sql.DB, options *sql.TxOptions) (*sql.Tx, error) {
	for start := time.Now(); ; {
		tx, err := db.BeginTx(ctx, options)
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

// Close implements [appaccess.Store]. Running Views and Updates are waited for,
// running Changes are ended. Calling it again does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.stop()
	s.calls.Wait()
	return s.release()
}

func (s *Store) release() error {
	var errs []error
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	if s.remove != "" {
		errs = append(errs, os.RemoveAll(s.remove))
	}
	return errors.Join(errs...)
}

var errClosed = fmt.Errorf("sqlite: the store is closed: %w", appaccess.ErrUnavailable)

// enter counts a call that Close waits for.
func (s *Store) enter() (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	s.calls.Add(1)
	return s.calls.Done, nil
}

// failure wraps an error of the driver and says whether it may pass.
func failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("sqlite: %w", ctx.Err())
	}
	if e := new(sqlite.Error); errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
			sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM:
			return fmt.Errorf("sqlite: %w: %w", appaccess.ErrUnavailable, err)
		}
	}
	return fmt.Errorf("sqlite: %w", err)
}
