// Package postgres keeps an [appaccess.Store] in PostgreSQL, for replicas on
// any number of machines.
//
// Its tables begin with entragate_ and are made in the first schema of the
// connection's search_path. Updates take turns on one row, so that the order of
// commits is the order of revisions: some hundred small commits a second.
// Views and gates are never held up by them. A commit is announced with NOTIFY,
// which replicas LISTEN for; a notice that was lost is made up for by asking
// for the revision every second.
//
// A pooler in between must keep sessions whole (PgBouncer: session mode).
package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/feed"
)

// Store is a database. All its methods are safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool

	news feed.Bell // rings at every notice of a commit

	mu        sync.Mutex
	listening bool
	closed    bool
	calls     sync.WaitGroup
	quit      context.Context
	stop      context.CancelFunc
}

var _ appaccess.Store = (*Store)(nil)

// Open connects to the database that dsn names and makes the tables that are
// missing. dsn is a URL or a list of key=value, as for libpq; environment
// variables such as PGPASSWORD count, and pool_max_conns (at least 4) bounds
// the connections; one more is used for notices. The context bounds opening
// only.
func Open(ctx context.Context, dsn string) (*Store, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	config.AfterConnect = prepare
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, failure(ctx, err)
	}
	if err := migrate(ctx, pool); err != nil {
		pool.Close()
		return nil, err
	}
	s := &Store{pool: pool}
	s.quit, s.stop = context.WithCancel(context.Background())
	return s, nil
}

const connectTimeout = 5 * time.Second

// prepare sets up a new connection. One writer that hangs or whose machine is
// gone must not keep the others waiting for long.
func prepare(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `
		SET idle_in_transaction_session_timeout = '30s';
		SET tcp_keepalives_idle = 5;
		SET tcp_keepalives_interval = 5;
		SET tcp_keepalives_count = 3`)
	return err
}

// View implements [appaccess.Store].
func (s *Store) View(ctx context.Context, fn func(appaccess.Reader) error) error {
	leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	tx, err := s.begin(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer rollback(ctx, tx)
	return fn(&reader{ctx: ctx, tx: tx})
}

// Update implements [appaccess.Store].
func (s *Store) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	leave, err := s.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	for try := 1; ; try++ {
		rev, err := s.update(ctx, fn)
		if err == nil || try == maxTries || !passing(err) {
			return rev, err
		}
	}
}

// maxTries bounds how often one Update is begun. That two Updates collide
// takes somebody else's locks on the tables: the row keeps our own apart.
const maxTries = 10

func (s *Store) update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	// Whoever holds the row sees all that was committed before and is alone:
	// that makes it serializable, at the level that never fails for it.
	tx, err := s.begin(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return 0, err
	}
	defer rollback(ctx, tx)
	w := &writer{reader: reader{ctx: ctx, tx: tx, known: true}, touched: map[recordKey]bool{}}
	if err := tx.QueryRow(ctx, "SELECT revision FROM entragate_meta FOR UPDATE").Scan(&w.revision); err != nil {
		return 0, failure(ctx, err)
	}
	if err := fn(w); err != nil {
		return 0, err
	}
	if w.failed != nil {
		return 0, w.failed // fn has hidden it
	}
	if len(w.touched) == 0 {
		return w.revision, nil
	}
	if err := w.finish(); err != nil {
		return 0, failure(ctx, err)
	}
	if err := tx.Commit(ctx); err != nil {
		return 0, failure(ctx, err)
	}
	s.news.Ring()
	return w.revision + 1, nil
}

// begin begins a transaction. A connection of the pool that turns out to be
// dead, as after a restart of the server, is replaced.
func (s *Store) begin(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	var tx pgx.Tx
	var err error
	for range 3 {
		if tx, err = s.pool.BeginTx(ctx, options); err == nil {
			return tx, nil
		}
		if ctx.Err() != nil || errors.As(err, new(*pgconn.ConnectError)) {
			break
		}
	}
	return nil, failure(ctx, err)
}

// rollback ends a transaction that was not committed. After the context's end
// pgx has closed the connection, and the server undoes what was open.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	_ = tx.Rollback(ctx)
}

// Close implements [appaccess.Store]. Running Views and Updates are waited for,
// running Changes are ended. Calling it again does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.calls.Wait()
	s.pool.Close()
	return nil
}

var errClosed = fmt.Errorf("postgres: the store is closed: %w", appaccess.ErrUnavailable)

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

// failure wraps an error of the driver and says whether it may pass. An answer
// of the server does not unless it says so; anything else is the way to it.
func failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("postgres: %w", ctx.Err())
	}
	if e := new(pgconn.PgError); errors.As(err, &e) && !retryable(e.Code) {
		return fmt.Errorf("postgres: %w", err)
	}
	return fmt.Errorf("postgres: %w: %w", appaccess.ErrUnavailable, err)
}

// retryable tells the states that pass: connection, rollback, resources,
// operator's intervention, system error, read only (a standby after failover).
func retryable(code string) bool {
	for _, class := range []string{"08", "40", "53", "57", "58", "25006", "25P03"} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return false
}

// passing reports a collision of transactions: nothing was done, and it may
// be tried again at once.
func passing(err error) bool {
	e := new(pgconn.PgError)
	return errors.As(err, &e) && (e.Code == "40001" || e.Code == "40P01")
}
