// Package sqlstore is the protocol that the SQL stores share: how records and
// their index entries are written, which index a query walks, what a commit
// leaves for the change feed, how the feed is read, and how a store is closed.
// A store supplies its SQL as a [Database].
package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/wait"
)

// Use says what a transaction is for. Each use has its own connections.
type Use int

// The uses.
const (
	Read   Use = iota // of the management plane: any number of rows
	Lookup            // of a gate: few rows, never delayed by other uses
	Feed              // of the change feed
	Write
	uses
)

// Database is what a store supplies.
type Database interface {
	// Begin begins a transaction and reads the meta data. A Write transaction
	// then excludes all others until it ends.
	Begin(context.Context, Use) (Tx, Meta, error)
	// Failure wraps an error of the driver. An error that trying again later
	// can help is marked with appaccess.ErrUnavailable.
	Failure(error) error
	// Collision reports whether a transaction was undone because of another,
	// and may be tried again at once.
	Collision(error) bool
	Close() error
}

// Meta is what a database says about itself.
type Meta struct {
	appaccess.Position
	// Forgotten is the last position whose changes are no longer kept.
	Forgotten appaccess.Position
	// Oldest is the version of the schema that a program must know.
	Oldest int
}

// Row is a record that an index walk found, and the value that it was found by.
type Row struct {
	appaccess.Record
	Value string
}

// Span is a part of an index: the records of a kind that have a value of the
// index Name, exactly From, or from From up to but not including To. Without a
// Name it is all records of the kind, by ID.
type Span struct {
	Kind     appaccess.Kind
	Name     string
	Exact    bool
	From, To string // an empty To: up to the end
	// Value and ID are the place after which a walk begins; an empty ID is the
	// beginning.
	Value, ID  string
	Descending bool
}

// Tx is one transaction. It returns the errors of the driver.
type Tx interface {
	Get(kind appaccess.Kind, id string) (rec appaccess.Record, found bool, err error)
	// Find implements Find of [appaccess.Reader].
	Find(kind appaccess.Kind, index string, values []string) ([]appaccess.Record, error)
	// Walk returns the next rows of a span.
	Walk(span Span, limit int) ([]Row, error)
	// Count counts the rows of a span, at most most.
	Count(span Span, most int) (int, error)
	// Owner returns the ID of another record of the kind that has one of the
	// entries, and the name of the entry; an empty ID if no record has one.
	Owner(kind appaccess.Kind, id string, entries []appaccess.IndexEntry) (owner, name string, err error)
	// Put writes a record without checking it, and removes and adds index entries.
	Put(rec appaccess.Record, dropped, added []appaccess.IndexEntry) error
	// Delete removes a record and its entries.
	Delete(rec appaccess.Record) error

	// CommitOf returns the number of the commit that has a revision, which is
	// later than Meta.Forgotten.
	CommitOf(appaccess.Revision) (int64, error)
	// Changes returns the changes of the next commits after a revision, each
	// commit as a whole, and about limit changes.
	Changes(after appaccess.Revision, limit int) ([]appaccess.Change, error)
	// Append writes the position and the changes of this commit. It returns how
	// many changes are kept.
	Append(at appaccess.Position, changed []Key) (kept int64, err error)
	// Prune forgets the oldest whole commits that are no later than upTo, so
	// that about keep changes are left.
	Prune(keep int64, upTo appaccess.Revision) error

	Commit() error
	// Rollback ends a transaction that was not committed. It may be called
	// after Commit.
	Rollback()
}

// Key names a record.
type Key struct {
	Kind appaccess.Kind
	ID   string
}

// Config describes a store. All fields are required unless they say otherwise.
type Config struct {
	Name string // begins every error: sqlite
	// Version is the version of the schema that this program knows. A store that
	// a newer program upgrades while it is open may need a newer one.
	Version  int
	Database Database
	// Reads, Lookups and Writes are how many transactions run at a time. The
	// feed has one.
	Reads, Lookups, Writes int
	// Poll is how often the feed looks for commits of other processes.
	Poll time.Duration
	// Notices, if not nil, calls ring whenever there may be something to read,
	// until the context ends. It runs from the first call of Changes on.
	Notices func(ctx context.Context, ring func())
	// WriteTimeout ends a write transaction that takes longer; 0 for never. Reads
	// may be as long as an export.
	WriteTimeout time.Duration
}

// Store implements [appaccess.Store].
type Store struct {
	config Config
	db     Database
	news   wait.Bell
	slots  [uses]chan struct{}
	closed error
	listen sync.Once

	mu      sync.Mutex
	closing bool
	calls   sync.WaitGroup
	quit    context.Context
	stop    context.CancelFunc
}

// New returns a store, which closes the Database.
func New(config Config) *Store {
	s := &Store{config: config, db: config.Database}
	for use, n := range map[Use]int{Read: config.Reads, Lookup: config.Lookups, Feed: 1, Write: config.Writes} {
		s.slots[use] = make(chan struct{}, n)
	}
	s.closed = fmt.Errorf("%s: the store is closed: %w", config.Name, appaccess.ErrUnavailable)
	s.quit, s.stop = context.WithCancel(context.Background())
	return s
}

// View implements [appaccess.Store].
func (s *Store) View(ctx context.Context, fn func(appaccess.Reader) error) error {
	return s.read(ctx, Read, fn)
}

// Lookup implements [appaccess.Store].
func (s *Store) Lookup(ctx context.Context, fn func(appaccess.Reader) error) error {
	return s.read(ctx, Lookup, fn)
}

func (s *Store) read(ctx context.Context, use Use, fn func(appaccess.Reader) error) error {
	return s.transaction(ctx, use, func(r *reader) error { return fn(r) })
}

// transaction runs fn in one transaction, which it rolls back unless fn has
// committed it.
func (s *Store) transaction(ctx context.Context, use Use, fn func(*reader) error) error {
	leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	free, err := s.acquire(ctx, use)
	if err != nil {
		return err
	}
	defer free()
	bounded := ctx
	if use == Write && s.config.WriteTimeout > 0 {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, s.config.WriteTimeout)
		defer cancel()
	}
	tx, meta, err := s.db.Begin(bounded, use)
	if err != nil {
		return s.failure(ctx, err)
	}
	defer tx.Rollback()
	if err := CheckVersion(s.config.Version, meta.Oldest); err != nil {
		return fmt.Errorf("%s: %w", s.config.Name, err)
	}
	return fn(&reader{store: s, ctx: ctx, tx: tx, meta: meta})
}

// poolTimeout bounds how long a read waits for others to end.
const poolTimeout = 10 * time.Second

// acquire waits until a transaction of a use may run.
func (s *Store) acquire(ctx context.Context, use Use) (free func(), err error) {
	slots := s.slots[use]
	free = func() { <-slots }
	if ctx.Err() != nil {
		return nil, s.failure(ctx, ctx.Err())
	}
	select {
	case slots <- struct{}{}:
		return free, nil
	default:
	}
	var timeout <-chan time.Time
	if use == Read {
		timer := time.NewTimer(poolTimeout)
		defer timer.Stop()
		timeout = timer.C
	}
	what := [uses]string{Read: "reads", Lookup: "look-ups", Feed: "reads of changes", Write: "writes"}[use]
	select {
	case slots <- struct{}{}:
		return free, nil
	case <-timeout:
		return nil, fmt.Errorf("%s: pool exhausted: %d %s are running: %w", s.config.Name, cap(slots), what, appaccess.ErrUnavailable)
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: pool exhausted: %d %s are running: %w", s.config.Name, cap(slots), what, ctx.Err())
	case <-s.quit.Done():
		return nil, s.closed
	}
}

// maxTries bounds how often one Update is begun.
const maxTries = 10

// Update implements [appaccess.Store].
func (s *Store) Update(ctx context.Context, fn func(appaccess.Writer) error) (rev appaccess.Revision, err error) {
	for try := 1; ; try++ {
		err = s.transaction(ctx, Write, func(r *reader) error {
			rev, err = newWriter(r).run(fn)
			return err
		})
		if err == nil {
			return rev, nil
		}
		if try == maxTries || !s.db.Collision(err) {
			return 0, err
		}
	}
}

// Close implements [appaccess.Store]. Running transactions are waited for,
// running feeds are ended. Calling it again does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	closing := s.closing
	s.closing = true
	s.mu.Unlock()
	if closing {
		return nil
	}
	s.stop()
	s.calls.Wait()
	return s.db.Close()
}

// enter counts a call that Close waits for.
func (s *Store) enter() (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, s.closed
	}
	s.calls.Add(1)
	return s.calls.Done, nil
}

// failure is the error of a caller whose context is ctx.
func (s *Store) failure(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", s.config.Name, ctx.Err())
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer in time: %w", s.config.Name, appaccess.ErrUnavailable)
	}
	return s.db.Failure(err)
}
