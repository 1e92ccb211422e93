package appaccess

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// lookup is a read-through cache of what the store knows by a key. It remembers the
// keys that the store does not know apart from the others, so that invented keys
// displace nothing. It looks up missing keys together, up to MaxPage in one query;
// the keys that arrive while a query runs wait for the next one. A flood of invented
// keys therefore makes queries larger, but not the queue longer.
type lookup[K comparable, V any] struct {
	catalog *Catalog
	load    func(Reader, []K) (map[K]loaded[V], error)

	known   cache[K, V]
	unknown cache[K, uint64] // the value is the era in which the key was unknown
	era     atomic.Uint64    // ends with each change that may make a key known

	mu      sync.Mutex
	flights map[K]*flight[V] // nil once closed
	queue   []K              // of the flights, those whose query has not begun
	wake    chan struct{}
}

// loaded is a value and the records that it was made from.
type loaded[V any] struct {
	value V
	refs  []recordRef
}

// flight is the reading of one entry. All callers that ask for the entry meanwhile
// wait for it.
type flight[V any] struct {
	done  chan struct{}
	value *V
	err   error
}

func (l *lookup[K, V]) init(c *Catalog, size, unknown int, hash func(K) uint64, load func(Reader, []K) (map[K]loaded[V], error)) {
	l.catalog, l.load = c, load
	l.known.init(size, hash)
	l.unknown.init(unknown, hash)
	l.flights = map[K]*flight[V]{}
	l.wake = make(chan struct{}, 1)
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

// join returns the flight of a key, and starts it if there is none. The flight
// continues when the callers that wait for it leave.
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
	l.queue = append(l.queue, k)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return f, nil
}

// run looks up what is queued until ctx ends.
func (l *lookup[K, V]) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-l.wake:
		case <-ctx.Done():
		}
		for batch := l.next(); len(batch) > 0 && ctx.Err() == nil; batch = l.next() {
			l.read(ctx, batch)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.flights {
		f.err = errStale
		close(f.done)
	}
	l.flights, l.queue = nil, nil
}

// next takes the keys of one query from the queue.
func (l *lookup[K, V]) next() []K {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.queue), MaxPage)
	batch := l.queue[:n:n]
	l.queue = l.queue[n:]
	return batch
}

// read asks the store for keys, and asks again for the keys that changed meanwhile,
// because their answers may be older than the change.
func (l *lookup[K, V]) read(ctx context.Context, keys []K) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	for try := 1; len(keys) > 0; try++ {
		overtaken, err := l.readOnce(ctx, keys, try == 3)
		if err != nil {
			l.catalog.loadFails.Add(int64(len(keys)))
			for _, k := range keys {
				l.land(k, nil, unavailable(err))
			}
			return
		}
		keys = overtaken
	}
}

// readOnce answers keys. It returns the keys whose answer may be older than a change.
// On the last try it answers these too, without remembering the answer.
func (l *lookup[K, V]) readOnce(ctx context.Context, keys []K, last bool) (overtaken []K, err error) {
	c := l.catalog
	began, era := c.mark(), l.era.Load()
	c.loadCount.Add(int64(len(keys)))
	var at Position
	var found map[K]loaded[V]
	if err := c.store.Lookup(ctx, func(r Reader) (err error) {
		if at, err = r.Position(); err == nil {
			found, err = l.load(r, keys)
		}
		return err
	}); err != nil {
		return nil, err
	}
	c.mu.Lock()
	history := c.recent.compare(at, began.applied)
	c.mu.Unlock()
	if history == anotherHistory {
		return nil, errHistory
	}
	for _, k := range keys {
		v, known := found[k]
		var current bool
		if known {
			current = history == sameHistory && l.remember(began.change, k, v)
		} else if current = history == sameHistory && l.era.Load() == era; current {
			l.unknown.put(k, era, nil)
		}
		switch {
		case !current && !last:
			overtaken = append(overtaken, k)
		case known:
			l.land(k, &v.value, nil)
		default:
			l.land(k, nil, nil)
		}
	}
	return overtaken, nil
}

// land answers all callers that wait for a key.
func (l *lookup[K, V]) land(k K, v *V, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.flights[k]; f != nil {
		delete(l.flights, k)
		f.value, f.err = v, err
		close(f.done)
	}
}

// remember puts a value in the cache unless one of its records changed after
// mark. It reports whether it did.
func (l *lookup[K, V]) remember(mark uint64, k K, v loaded[V]) bool {
	c := l.catalog
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recent.changed(mark, v.refs) {
		return false
	}
	l.known.put(k, v.value, v.refs)
	return true
}

// loadClients reads client applications and their owners.
func loadClients(r Reader, appIDs []string) (map[string]loaded[ClientState], error) {
	recs, err := r.Find(KindApplication, byAppID, appIDs)
	if err != nil {
		return nil, err
	}
	apps, err := decodeAll[ClientApplication](recs)
	if err != nil {
		return nil, err
	}
	owners, err := findOwners(r, apps, func(a *ClientApplication) string { return a.OwnerID })
	if err != nil {
		return nil, err
	}
	found := make(map[string]loaded[ClientState], len(apps))
	for _, app := range apps {
		st := ClientState{
			ApplicationID: app.ID, AppID: app.Entra.AppID, Name: app.Name, OwnerID: app.OwnerID, Grants: app.Grants,
			Kind: app.ClientKind(), ServicePrincipalID: app.ServicePrincipal.ObjectID,
		}
		switch {
		case app.Deleted:
			st.DenyReason = UnknownClient
		case app.State != ApplicationActive:
			st.DenyReason = ApplicationNotActive
		default:
			st.DenyReason = owners.denyReason(app.OwnerID)
		}
		found[st.AppID] = loaded[ClientState]{st, []recordRef{refTo(KindApplication, app.ID), refTo(KindUser, app.OwnerID)}}
	}
	return found, nil
}

// loadKeys reads subscriptions and their owners.
func loadKeys(r Reader, sums [][32]byte) (map[[32]byte]loaded[KeyState], error) {
	values := make([]string, len(sums))
	for i, sum := range sums {
		values[i] = KeyHash(sum).String()
	}
	recs, err := r.Find(KindSubscription, byKey, values)
	if err != nil {
		return nil, err
	}
	subs, err := decodeAll[Subscription](recs)
	if err != nil {
		return nil, err
	}
	owners, err := findOwners(r, subs, func(s *Subscription) string { return s.OwnerID })
	if err != nil {
		return nil, err
	}
	found := make(map[[32]byte]loaded[KeyState], len(subs))
	for _, sub := range subs {
		for _, sum := range []KeyHash{sub.PrimaryHash, sub.SecondaryHash} {
			st := KeyState{
				SubscriptionID: sub.ID, Name: sub.Name, OwnerID: sub.OwnerID, Scope: sub.Scope,
				Primary: sub.PrimaryHash == sum, Expires: sub.Expires, DenyReason: SubscriptionNotActive,
			}
			if sub.State == SubscriptionActive {
				st.DenyReason = owners.denyReason(sub.OwnerID)
			}
			found[sum] = loaded[KeyState]{st, []recordRef{refTo(KindSubscription, sub.ID), refTo(KindUser, sub.OwnerID)}}
		}
	}
	return found, nil
}

// owners are the users that may use what they own.
type owners map[string]bool

// findOwners reads the owners of objects in one query.
func findOwners[T any](r Reader, list []T, owner func(*T) string) (owners, error) {
	active := owners{}
	for i := range list {
		active[owner(&list[i])] = false
	}
	delete(active, "")
	ids := slices.Collect(maps.Keys(active))
	active[""] = true // what never had an owner is not refused
	if len(ids) == 0 {
		return active, nil
	}
	recs, err := r.Find(KindUser, "", ids)
	if err != nil {
		return nil, err
	}
	users, err := decodeAll[User](recs)
	for _, u := range users {
		active[u.ID] = u.State == UserActive
	}
	return active, err
}

// denyReason denies the objects of a user who is blocked or no longer exists.
func (o owners) denyReason(ownerID string) DenyReason {
	if o[ownerID] {
		return NotDenied
	}
	return OwnerBlocked
}

func decodeAll[T entity](recs []Record) ([]T, error) {
	found := make([]T, 0, len(recs))
	for _, rec := range recs {
		v, err := decode[T](rec)
		if err != nil {
			return nil, err
		}
		found = append(found, v)
	}
	return found, nil
}
