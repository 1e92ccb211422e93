// Package postgres keeps an [appaccess.Store] in PostgreSQL, for replicas on
// any number of machines.
//
// Its tables begin with entragate_ and are made in the first schema of the
// connection's search_path. Updates take turns on one row, so that the order of
// commits is the order of revisions: some hundred small commits a second.
// Views and gates are never delayed by them. A commit is announced with NOTIFY,
// which replicas LISTEN for; they also ask for new commits twice a second, so a
// lost notice does no harm.
//
// A pooler such as PgBouncer may be in between, in session or in transaction
// mode. The store notices one and then asks for new commits five times a second
// instead of listening. It keeps no state in a session and prepares no
// statement. PgBouncer refuses a search_path in the connection string: set one
// with ALTER ROLE or ALTER DATABASE instead.
//
// A newer version of this package upgrades the tables when it opens them. Replicas
// of an older version go on working if the upgrade only added something; otherwise
// every call of theirs, and their Open, says that a newer program is needed. To
// return to an older version, restore a dump from before the upgrade.
//
// Connections are made to servers that accept writes only, so that a connection
// string may name all nodes of a cluster (host=a,b). After a failover that lost
// commits, catalogs notice that the history is another one and read everything
// again.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/sqlstore"
	"github.com/entragate/entragate/internal/wait"
)

// Store is a database. All its methods are safe for concurrent use.
type Store struct {
	*sqlstore.Store
	db *database
}

var _ appaccess.Store = (*Store)(nil)

const (
	channel        = "entragate"
	pollInterval   = 500 * time.Millisecond // in case a notice is lost
	pooledInterval = 200 * time.Millisecond // where there are no notices
	connectTimeout = 5 * time.Second
	// silence bounds how long a server is waited for that does not answer. No
	// statement of the store takes that long.
	silence = time.Minute

	lookups = 3
	writes  = 2
)

// Open connects to the database that dsn names and makes the tables that are
// missing. dsn is a URL or a list of key=value, as for libpq; environment
// variables such as PGPASSWORD count. pool_max_conns (at least 4) bounds the
// connections for reads of the management plane. Six more are for look-ups, the
// change feed and writes, and one for notices. The context bounds opening only.
func Open(ctx context.Context, dsn string) (*Store, error) {
	return openWith(ctx, dsn, migrations)
}

func openWith(ctx context.Context, dsn string, migrations []sqlstore.Migration) (*Store, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	prepare(config.ConnConfig)
	d := &database{}
	if d.read, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, failure(err)
	}
	reserved := config.Copy()
	reserved.MaxConns, reserved.MinConns = lookups+writes+1, 2
	if d.reserved, err = pgxpool.NewWithConfig(ctx, reserved); err != nil {
		d.read.Close()
		return nil, failure(err)
	}
	pooled, err := migrate(ctx, d.reserved, migrations)
	if err != nil {
		_ = d.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("postgres: %w", ctx.Err())
		}
		return nil, err
	}
	protocol := sqlstore.Config{
		Name: "postgres", Version: len(migrations), Database: d, Reads: int(config.MaxConns), Lookups: lookups, Writes: writes,
		Poll: pollInterval, Notices: d.notices, WriteTimeout: silence,
	}
	if pooled {
		protocol.Poll, protocol.Notices = pooledInterval, nil
	}
	return &Store{sqlstore.New(protocol), d}, nil
}

// Exists reports whether the database that dsn names, see [Open], holds a store. It
// writes nothing.
func Exists(ctx context.Context, dsn string) (bool, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return false, fmt.Errorf("postgres: %w", err)
	}
	prepare(config.ConnConfig)
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return false, failure(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	exists, err := hasSchema(ctx, conn)
	if err != nil {
		return false, failure(err)
	}
	return exists, nil
}

// prepare sets up connections. Statements are not prepared: a pooler may give
// the next transaction another session, and a prepared statement fails once
// after a column changes.
func prepare(config *pgx.ConnConfig) {
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.ValidateConnect == nil {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	// A server that vanished without closing its connections is given up after
	// eleven seconds.
	config.DialFunc = (&net.Dialer{
		Timeout:         config.ConnectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3},
	}).DialContext
}

// database implements [sqlstore.Database].
type database struct {
	read     *pgxpool.Pool // for reads of the management plane
	reserved *pgxpool.Pool // for all else
}

// Begin implements [sqlstore.Database]. If a connection of the pool turns out to be
// dead, as after a restart of the server, all idle ones are given up: a new one works,
// or shows why the server refuses it.
func (d *database) Begin(ctx context.Context, use sqlstore.Use) (sqlstore.Tx, sqlstore.Meta, error) {
	pool := d.reserved
	if use == sqlstore.Read {
		pool = d.read
	}
	var err error
	for range 3 {
		var conn *pgxpool.Conn
		if conn, err = pool.Acquire(ctx); err != nil {
			return nil, sqlstore.Meta{}, err
		}
		t, meta, beginErr := begin(ctx, conn, use == sqlstore.Write)
		if beginErr == nil {
			return t, meta, nil
		}
		err = beginErr
		answered := errors.As(err, new(*pgconn.PgError)) && !conn.Conn().IsClosed()
		t.Rollback()
		if answered || ctx.Err() != nil {
			break
		}
		pool.Reset()
	}
	return nil, sqlstore.Meta{}, err
}

// Collision implements [sqlstore.Database].
func (d *database) Collision(err error) bool {
	e := new(pgconn.PgError)
	return errors.As(err, &e) && (e.Code == "40001" || e.Code == "40P01")
}

// Failure implements [sqlstore.Database]. A server that no longer accepts writes
// is not asked again: connections are made anew, to one that does.
func (d *database) Failure(err error) error {
	if e := new(pgconn.PgError); errors.As(err, &e) && demoted(e.Code) {
		d.read.Reset()
		d.reserved.Reset()
	}
	return failure(err)
}

// Close implements [sqlstore.Database].
func (d *database) Close() error {
	d.read.Close()
	d.reserved.Close()
	return nil
}

// failure wraps an error of the driver and says whether it may pass. An answer
// of the server is final unless its code says otherwise; anything else is the
// way to it.
func failure(err error) error {
	e := new(pgconn.PgError)
	switch answered := errors.As(err, &e); {
	case answered && !retryable(e.Code):
		return fmt.Errorf("postgres: %w", err)
	case !answered && lost(err):
		return fmt.Errorf("postgres: %w: connection lost: %w", appaccess.ErrUnavailable, err)
	}
	return fmt.Errorf("postgres: %w: %w", appaccess.ErrUnavailable, err)
}

// lost reports whether an open connection broke. The system's own word for that,
// such as broken pipe, does not say so.
func lost(err error) bool {
	if errors.As(err, new(*pgconn.ConnectError)) {
		return false
	}
	return errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, new(net.Error))
}

// retryable reports whether a later try can succeed: connection, rollback, resources,
// operator's intervention, system error, a standby after a failover.
func retryable(code string) bool {
	for _, class := range []string{"08", "40", "53", "57", "58", "25P03"} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return demoted(code)
}

// demoted reports whether a server refuses a write because it is a standby or
// read-only: 25006 in a transaction, 0A000 when one begins.
func demoted(code string) bool { return code == "25006" || code == "0A000" }

// notices rings at every notice of a commit, on one connection for all feeds of
// the store. Without a connection the feeds poll, and report what is wrong.
func (d *database) notices(ctx context.Context, ring func()) {
	for pause := minWait; ctx.Err() == nil; pause = min(2*pause, maxWait) {
		if d.listen(ctx, ring) {
			pause = minWait
		}
		_ = wait.For(ctx, pause)
	}
}

const (
	minWait = 50 * time.Millisecond
	maxWait = 5 * time.Second
	// listenTimeout bounds how long a connection is trusted that says nothing.
	listenTimeout = time.Minute
)

// listen waits for notices until the connection or the context ends. It reports
// whether there was a connection.
func (d *database) listen(ctx context.Context, ring func()) bool {
	conn, err := pgx.ConnectConfig(ctx, d.reserved.Config().ConnConfig)
	if err != nil {
		return false
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return false
	}
	ring() // for what was committed while nobody listened
	for ctx.Err() == nil {
		quiet, cancel := context.WithTimeout(ctx, listenTimeout)
		_, err := conn.WaitForNotification(quiet)
		cancel()
		if err != nil {
			return true
		}
		ring()
	}
	return true
}
