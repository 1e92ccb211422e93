package appaccess

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// lookup is a read-through cache: of what the store knows by a key, and apart
// from it, so that they cannot crowd out anything, of the keys that it does not
// know.
type lookup[K comparable, V any] struct {
	catalog *Catalog
	load    func(Reader, K) (V, []recordRef, error)

	known   cache[K, V]
	unknown cache[K, uint64] // the value is the era in which the key was unknown
	era     atomic.Uint64    // ends with each change that may make a key known

	mu      sync.Mutex
	flights map[K]*flight[V] // nil once closed
}

// flight is the reading of one entry. Everyone who asks for the entry meanwhile
// waits for it.
type flight[V any] struct {
	done  chan struct{}
	value *V
	err   error
}

func (l *lookup[K, V]) init(c *Catalog, size, unknown int, hash func(K) uint64, load func(Reader, K) (V, []recordRef, error)) {
	l.catalog, l.load = c, load
	l.known.init(size, hash)
	l.unknown.init(unknown, hash)
	l.flights = map[K]*flight[V]{}
}

// get returns the value of a key, or nil if the store does not know it.
func (l *lookup[K, V]) get(ctx context.Context, k K) (*V, error) {
	stale := l.catalog.Staleness()
	if stale > l.catalog.staleFor {
		return nil, errStale
	}
	if v := l.known.get(k); v != nil {
		return v, nil
	}
	if era := l.unknown.get(k); era != nil && *era == l.era.Load() {
		return nil, nil
	}
	if stale > downAfter {
		return nil, errDown
	}
	f, err := l.join(k)
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
}

// join returns the flight of a key and starts it if there is none. It goes on
// when those who wait for it leave.
func (l *lookup[K, V]) join(k K) (*flight[V], error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.flights[k]; f != nil {
		return f, nil
	}
	if l.flights == nil {
		return nil, errStale
	}
	if len(l.flights) >= maxWaiting {
		return nil, errCrowded
	}
	f := &flight[V]{done: make(chan struct{})}
	l.flights[k] = f
	l.catalog.running.Go(func() {
		f.value, f.err = l.read(k)
		l.mu.Lock()
		delete(l.flights, k)
		l.mu.Unlock()
		close(f.done)
	})
	return f, nil
}

// close starts no more flights.
func (l *lookup[K, V]) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flights = nil
}

// read asks the store, and again if what it asked for changed meanwhile: the
// answer may be of before the change.
func (l *lookup[K, V]) read(k K) (v *V, err error) {
	c := l.catalog
	ctx, cancel := context.WithTimeout(c.ctx, loadTimeout)
	defer cancel()
	select {
	case c.loads <- struct{}{}:
		defer func() { <-c.loads }()
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
	for range 3 {
		var current bool
		if v, current, err = l.readOnce(ctx, k); err != nil || current {
			break
		}
	}
	return v, err
}

// readOnce reports also whether the answer is of a state that no change has
// overtaken, and was remembered.
func (l *lookup[K, V]) readOnce(ctx context.Context, k K) (v *V, current bool, err error) {
	c := l.catalog
	mark, era := c.mark(), l.era.Load()
	c.loadCount.Add(1)
	var value V
	var refs []recordRef
	err = c.store.View(ctx, func(r Reader) (err error) {
		value, refs, err = l.load(r, k)
		return err
	})
	switch {
	case err == nil:
		return &value, l.remember(mark, k, value, refs), nil
	case errors.Is(err, ErrNotFound):
		l.unknown.put(k, era, nil)
		return nil, l.era.Load() == era, nil
	}
	c.loadFails.Add(1)
	return nil, false, unavailable(err)
}

// remember puts a value in the cache unless one of its records changed after
// mark. It reports whether it did.
func (l *lookup[K, V]) remember(mark uint64, k K, v V, refs []recordRef) bool {
	c := l.catalog
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recent.changed(mark, refs) {
		return false
	}
	l.known.put(k, v, refs)
	return true
}

// mark numbers the changes seen so far.
func (c *Catalog) mark() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recent.last
}

// loadClient reads a client application and its owner.
func loadClient(r Reader, appID string) (ClientState, []recordRef, error) {
	if validText("appID", appID, MaxIndexValue) != nil {
		return ClientState{}, nil, ErrNotFound // no store can hold it
	}
	app, err := getBy[ClientApplication](r, byAppID, appID)
	if err != nil {
		return ClientState{}, nil, err
	}
	st := ClientState{
		ApplicationID: app.ID, AppID: appID, Name: app.Name, OwnerID: app.OwnerID, Products: app.Products,
	}
	refs := []recordRef{refTo(KindApplication, app.ID), refTo(KindUser, app.OwnerID)}
	switch {
	case app.Deleted:
		st.Refusal = UnknownClient
	case app.State != ApplicationActive:
		st.Refusal = ApplicationNotActive
	default:
		st.Refusal, err = ownerRefusal(r, app.OwnerID)
	}
	return st, refs, err
}

// loadKey reads a subscription and its owner.
func loadKey(r Reader, sum [32]byte) (KeyState, []recordRef, error) {
	sub, err := getBy[Subscription](r, byKey, KeySum(sum).String())
	if err != nil {
		return KeyState{}, nil, err
	}
	st := KeyState{
		SubscriptionID: sub.ID, Name: sub.Name, OwnerID: sub.OwnerID, Scope: sub.Scope,
		Primary: sub.PrimarySum == sum, Expires: sub.Expires,
	}
	refs := []recordRef{refTo(KindSubscription, sub.ID), refTo(KindUser, sub.OwnerID)}
	if sub.State != SubscriptionActive {
		st.Refusal = SubscriptionNotActive
		return st, refs, nil
	}
	st.Refusal, err = ownerRefusal(r, sub.OwnerID)
	return st, refs, err
}

// ownerRefusal refuses what a blocked user owns, or one that is no more. What
// never had an owner is not refused.
func ownerRefusal(r Reader, ownerID string) (Refusal, error) {
	if ownerID == "" {
		return NotRefused, nil
	}
	owner, err := get[User](r, ownerID)
	switch {
	case errors.Is(err, ErrNotFound):
		return OwnerBlocked, nil
	case err != nil:
		return NotRefused, err
	case owner.State != UserActive:
		return OwnerBlocked, nil
	}
	return NotRefused, nil
}
