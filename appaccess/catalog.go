package appaccess

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/entragate/entragate/internal/wait"
)

// CatalogConfig configures a [Catalog]. The zero value of every field but Store
// is safe.
type CatalogConfig struct {
	Store Store // required; the Catalog does not close it

	// Clients and Keys bound the client applications and the subscription keys
	// that are remembered: 16,384 each if zero, none if negative. One takes
	// about 1 KiB.
	Clients int
	Keys    int
	// Unknown bounds the client IDs and the keys that are remembered as unknown:
	// 8,192 each if zero, none if negative. They do not count for Clients and Keys.
	Unknown int

	// StaleFor chooses between availability and revocation. It is how long the
	// Catalog still gives remembered answers after it has not reached the store for 3
	// seconds: 15 minutes if zero, not at all if negative.
	StaleFor time.Duration

	// UsageInterval is the time between two writes of what [Catalog.CountCall]
	// collected: 1 minute if zero. If it is negative, the Catalog writes nothing to the
	// store, not even signing keys ([Catalog.RememberSigningKeys]).
	UsageInterval time.Duration

	// Logger receives a record at Warn when the store becomes unreachable, another
	// each minute until it is back, and one at Info then. Nil logs nothing.
	Logger *slog.Logger
	// MeterProvider gets OpenTelemetry metrics; nil measures nothing:
	//
	//	entragate.catalog.staleness     s         time since all answers were last known to be current
	//	entragate.catalog.entries       {entry}   what is remembered; entragate.entry: client or key
	//	entragate.catalog.hits          {lookup}  answered from memory; entragate.entry: client or key
	//	entragate.catalog.loads         {load}    read from the store
	//	entragate.catalog.failures      {load}    reads that failed
	//	entragate.calls                 {call}    by API, operation and outcome, as the usage pages count them
	//	entragate.calls.dropped         {call}    calls that could not be written: the usage pages miss them
	MeterProvider metric.MeterProvider
}

// How a Catalog follows its store.
const (
	downAfter       = 3 * time.Second // without an answer: the store is down
	feedSilence     = 2 * time.Second // without an answer of the feed: it is restarted
	loadTimeout     = 3 * time.Second
	snapshotTimeout = 30 * time.Second
	maxWaiting      = 1 << 16 // missing entries that are waited for
)

// Catalog answers at memory speed what a gate asks on every request: the products and
// APIs, the state of a client application, the state of a subscription key. It holds
// all products and APIs. It reads clients and keys when they are first asked for, up
// to 1,000 in at most two indexed queries, and remembers as many as CatalogConfig
// allows, so that its memory does not grow with the store.
//
// A change in the store, by any process, changes the answers within a fraction of a
// second: as soon as the store's feed reports it. If the store is unreachable for 3
// seconds or more, the Catalog gives only remembered answers, for
// CatalogConfig.StaleFor; all else is [ErrUnavailable]. It reports a client or key as
// unknown only if the store said so.
//
// All methods are safe for concurrent use. What they return must not be
// changed.
type Catalog struct {
	store    Store
	log      *slog.Logger
	staleFor time.Duration // from the last contact, downAfter included
	start    time.Time

	snapshot atomic.Pointer[Snapshot]
	fresh    atomic.Int64 // time.Duration after start at which all answers were known to be current

	clients   lookup[string, ClientState]
	keys      lookup[[32]byte, KeyState]
	mu        sync.Mutex // serializes what is remembered with what is forgotten
	recent    changeLog  // guarded by mu
	needed    Revision   // guarded by mu: the snapshot must at least show this
	current   currency   // guarded by mu: what waits for the snapshot
	loadCount atomic.Int64
	loadFails atomic.Int64
	reload    chan struct{} // the snapshot is to be read again

	changes wait.Bell // of everything that may change an answer

	usage  usageWriter
	calls  callLog
	outage outage

	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	metrics metric.Registration
	closing sync.Once
}

// NewCatalog reads products and APIs within ctx's deadline, at most 30 seconds, and
// begins to follow the store. Close ends that. The store must be reachable at the
// start: otherwise the error is [ErrUnavailable].
func NewCatalog(ctx context.Context, config CatalogConfig) (*Catalog, error) {
	if config.Store == nil {
		return nil, errors.New("appaccess: CatalogConfig.Store is required")
	}
	// fresh is 0: the first snapshot is read right after the start.
	c := &Catalog{
		store:    config.Store,
		log:      config.Logger,
		staleFor: downAfter + min(orDefault(config.StaleFor, 15*time.Minute), longest),
		start:    time.Now(),
		reload:   make(chan struct{}, 1),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.usage.interval = orDefault(config.UsageInterval, time.Minute)
	seed := maphash.MakeSeed()
	unknown := orDefault(config.Unknown, 8192)
	c.clients.init(c, orDefault(config.Clients, 16384), unknown,
		func(appID string) uint64 { return maphash.String(seed, appID) }, loadClients)
	c.keys.init(c, orDefault(config.Keys, 16384), unknown,
		func(sum [32]byte) uint64 { return maphash.Bytes(seed, sum[:]) }, loadKeys)

	at, err := c.readSnapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("appaccess: reading products and APIs: %w", unavailable(err))
	}
	c.recent.applied = at
	if err := c.measure(config.MeterProvider); err != nil {
		return nil, err
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	for _, run := range []func(context.Context){c.follow, c.reloadSnapshots, c.writeUsage, c.clients.run, c.keys.run} {
		c.running.Go(func() { run(c.ctx) })
	}
	return c, nil
}

// orDefault resolves a config value: the default if zero, 0 if negative.
func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return max(v, 0)
}

// Snapshot returns the present products and APIs. It returns nil if they are older
// than CatalogConfig.StaleFor allows: then answer as for [ErrUnavailable].
func (c *Catalog) Snapshot() *Snapshot {
	if c.Staleness() > c.staleFor {
		return nil
	}
	return c.snapshot.Load()
}

// Client returns the state of a client application, by its Entra client ID. If the
// client is unknown, not active or deleted, or its owner is blocked, the error is nil
// and DenyReason says why. The error is [ErrUnavailable] if the state cannot be known
// now.
func (c *Catalog) Client(ctx context.Context, appID string) (ClientState, error) {
	if len(appID) > MaxIndexValue {
		return ClientState{DenyReason: UnknownClient}, nil
	}
	st, err := c.clients.get(ctx, appID)
	switch {
	case err != nil:
		return ClientState{}, err
	case st == nil:
		return ClientState{AppID: appID, DenyReason: UnknownClient}, nil
	}
	return *st, nil
}

// Key returns the state of a subscription key, by its SHA-256. If the key gives no
// access, the error is nil and DenyReason says why. Key does not compare
// KeyState.Expires with a clock: the caller must. The error is [ErrUnavailable] if the
// state cannot be known now.
func (c *Catalog) Key(ctx context.Context, sum [32]byte) (KeyState, error) {
	st, err := c.keys.get(ctx, sum)
	switch {
	case err != nil:
		return KeyState{}, err
	case st == nil:
		return KeyState{DenyReason: UnknownKey}, nil
	}
	return *st, nil
}

// Staleness returns how long ago all answers were last known to be current: up to a
// second while the store is reachable.
func (c *Catalog) Staleness() time.Duration {
	return time.Since(c.start) - time.Duration(c.fresh.Load())
}

// Ready returns nil if the Catalog can answer requests, even if only with remembered
// answers. It returns [ErrUnavailable] if the store has been unreachable for longer
// than CatalogConfig.StaleFor, or if the Catalog is closed.
func (c *Catalog) Ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if stale := c.Staleness(); stale > c.staleFor {
		return errStale
	}
	return nil
}

// Close writes the usage that is not yet written, for at most 5 seconds, and stops
// the Catalog's goroutines. From then on all answers are [ErrUnavailable].
func (c *Catalog) Close() error {
	var err error
	c.closing.Do(func() {
		c.stop()
		c.running.Wait()
		c.fresh.Store(int64(longAgo))
		if c.metrics != nil {
			err = c.metrics.Unregister()
		}
	})
	return err
}

const longest = 100 * 365 * 24 * time.Hour // so that no sum of durations overflows

const longAgo = -200 * 365 * 24 * time.Hour

var (
	errStale   = fmt.Errorf("appaccess: the store has been unreachable for too long: %w", ErrUnavailable)
	errDown    = fmt.Errorf("appaccess: the store is unreachable: %w", ErrUnavailable)
	errCrowded = fmt.Errorf("appaccess: too many look-ups are waiting for the store: %w", ErrUnavailable)
)

// unavailable marks an error of the store.
func unavailable(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
