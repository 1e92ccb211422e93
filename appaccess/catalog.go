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
	// Unknown bounds, apart from those, the client IDs and the keys that are
	// remembered as unknown: 8,192 each if zero, none if negative.
	Unknown int

	// StaleFor is a choice between availability and revocation: how long
	// answers that are known go on being given once the store has not been
	// heard of for 3 seconds. 15 minutes if zero; negative: no longer at all.
	StaleFor time.Duration

	// UseInterval is the time between two writes of what [Catalog.Used] was
	// told: 1 minute if zero; negative: last uses are not recorded.
	UseInterval time.Duration

	// Logger is told at Warn when the store is lost, and once a minute for as
	// long as it is, and at Info when it is back. Nil logs nothing.
	Logger *slog.Logger
	// MeterProvider gets OpenTelemetry metrics; nil measures nothing:
	//
	//	entragate.catalog.staleness     s         time since all answers were last known to be current
	//	entragate.catalog.entries       {entry}   what is remembered; entragate.entry: client or key
	//	entragate.catalog.hits          {lookup}  answered from memory; entragate.entry: client or key
	//	entragate.catalog.loads         {load}    read from the store
	//	entragate.catalog.failures      {load}    reads that failed
	//	entragate.catalog.uses.dropped  {use}     last uses that were not written
	MeterProvider metric.MeterProvider
}

// How a Catalog follows its store. A change is normally seen through
// Store.Changes at once; asking for the revision notices when it is not.
const (
	pollInterval = 500 * time.Millisecond
	pollTimeout  = 2 * time.Second
	downAfter    = 3 * time.Second // without an answer: the store is down
	loadTimeout  = 3 * time.Second
	maxLoads     = 16   // queries of missing entries at a time
	maxWaiting   = 1024 // missing entries that are waited for
)

// Catalog answers, at memory speed, what a gate asks on every request: the
// products and APIs, the state of a client application, the state of a
// subscription key. Products and APIs are held whole. Clients and keys are read
// when first asked for, in at most two indexed queries, and remembered within
// the bounds of the CatalogConfig, so that memory does not grow with the store.
//
// Whatever is changed in the store, by any process, changes the answers as
// soon as the store's feed tells it: a fraction of a second. While the store
// is out of reach for 3 seconds or more, only what is known is answered, for
// CatalogConfig.StaleFor; everything else is [ErrUnavailable]. An answer that
// a client or key is unknown is only ever given because the store said so.
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
	loads     chan struct{}
	loadCount atomic.Int64
	loadFails atomic.Int64

	// Of the feed.
	applied  atomic.Int64  // the Revision up to which changes were applied
	needed   atomic.Int64  // the Revision that the snapshot must at least show
	reload   chan struct{} // the snapshot is to be read again
	feedStop atomic.Pointer[context.CancelFunc]

	uses   useLog
	outage outage

	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	metrics metric.Registration
	closing sync.Once
}

// NewCatalog reads products and APIs, in the time that ctx gives and at most 30
// seconds, and begins to follow the store. Close ends that. A store that is out of
// reach is [ErrUnavailable]: a Catalog needs it once to begin.
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
		loads:    make(chan struct{}, maxLoads),
		reload:   make(chan struct{}, 1),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.uses.interval = orDefault(config.UseInterval, time.Minute)
	seed := maphash.MakeSeed()
	unknown := orDefault(config.Unknown, 8192)
	c.clients.init(c, orDefault(config.Clients, 16384), unknown,
		func(appID string) uint64 { return maphash.String(seed, appID) }, loadClient)
	c.keys.init(c, orDefault(config.Keys, 16384), unknown,
		func(sum [32]byte) uint64 { return maphash.Bytes(seed, sum[:]) }, loadKey)

	if err := c.readSnapshot(ctx); err != nil {
		return nil, fmt.Errorf("appaccess: reading products and APIs: %w", unavailable(err))
	}
	c.applied.Store(int64(c.snapshot.Load().Revision()))
	if err := c.measure(config.MeterProvider); err != nil {
		return nil, err
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	for _, run := range []func(context.Context){c.follow, c.poll, c.reloadSnapshots, c.writeUses} {
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

// Snapshot returns the products and APIs as they are now, nil if they are older
// than CatalogConfig.StaleFor allows: answer as for [ErrUnavailable] then.
func (c *Catalog) Snapshot() *Snapshot {
	if c.Staleness() > c.staleFor {
		return nil
	}
	return c.snapshot.Load()
}

// Client returns what is known of a client application by its Entra client ID.
// One that is not known, not active, deleted or of a blocked owner comes
// without an error, with its Refusal. The error is [ErrUnavailable]: nobody can
// tell now.
func (c *Catalog) Client(ctx context.Context, appID string) (ClientState, error) {
	if len(appID) > MaxIndexValue {
		return ClientState{Refusal: UnknownClient}, nil
	}
	st, err := c.clients.get(ctx, appID)
	switch {
	case err != nil:
		return ClientState{}, err
	case st == nil:
		return ClientState{AppID: appID, Refusal: UnknownClient}, nil
	}
	return *st, nil
}

// Key is the same for a subscription key, by its SHA-256. It does not compare
// KeyState.Expires with a clock: that is the asker's to do.
func (c *Catalog) Key(ctx context.Context, sum [32]byte) (KeyState, error) {
	st, err := c.keys.get(ctx, sum)
	switch {
	case err != nil:
		return KeyState{}, err
	case st == nil:
		return KeyState{Refusal: UnknownKey}, nil
	}
	return *st, nil
}

// Staleness is how long ago all answers were last known to be current. It is
// up to a second while the store can be reached.
func (c *Catalog) Staleness() time.Duration {
	return time.Since(c.start) - time.Duration(c.fresh.Load())
}

// Ready returns nil if requests can be answered, if only with what is known,
// and [ErrUnavailable] if the store has been out of reach for too long or the
// Catalog is closed.
func (c *Catalog) Ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if stale := c.Staleness(); stale > c.staleFor {
		return errStale
	}
	return nil
}

// Close writes the last uses that are not yet written, for at most 5 seconds,
// and ends all that the Catalog does. It answers [ErrUnavailable] from then on.
func (c *Catalog) Close() error {
	var err error
	c.closing.Do(func() {
		c.clients.close()
		c.keys.close()
		c.stop()
		c.running.Wait()
		c.fresh.Store(int64(longAgo))
		if c.metrics != nil {
			err = c.metrics.Unregister()
		}
	})
	return err
}

const longest = 100 * 365 * 24 * time.Hour // that no sum overflows

const longAgo = -200 * 365 * 24 * time.Hour

var (
	errStale   = fmt.Errorf("appaccess: the store has been out of reach for too long: %w", ErrUnavailable)
	errDown    = fmt.Errorf("appaccess: the store is out of reach: %w", ErrUnavailable)
	errCrowded = fmt.Errorf("appaccess: too many look-ups are waiting for the store: %w", ErrUnavailable)
)

// unavailable marks an error of the store.
func unavailable(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
