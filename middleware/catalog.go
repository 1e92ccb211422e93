package middleware

import (
	"context"
	"crypto/subtle"
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// Catalog answers what a Gate asks on every request. Package appaccess has
// one over a store. All methods are safe for concurrent use and answer from
// memory nearly always; an error means that the answer could not be had, not
// that there is none.
type Catalog interface {
	// Snapshot is the newest state of all products and APIs; nil if there is
	// none yet. It returns the same pointer until something changes.
	Snapshot() *appaccess.Snapshot
	// Client tells of the client application with a client ID. One that is not
	// known has the Refusal [appaccess.UnknownClient].
	Client(ctx context.Context, appID string) (appaccess.ClientState, error)
	// Key tells of the subscription key with a SHA-256. One that is not known
	// has the Refusal [appaccess.UnknownKey].
	Key(ctx context.Context, sum [32]byte) (appaccess.KeyState, error)
}

// UseRecorder is what a [Catalog] may also implement to learn which
// subscriptions are used. Used must not wait for anything. A gate calls it for
// a subscription whose key let a request pass, about once in ten seconds.
type UseRecorder interface {
	Used(subscriptionID string, at time.Time)
}

// Readier is what a [Catalog] may also implement to take part in [Gate.Ready].
type Readier interface {
	Ready(context.Context) error
}

// static is the Catalog of static mode. It never changes.
type static struct {
	snapshot *appaccess.Snapshot
	keys     map[[32]byte]staticKey
}

type staticKey struct {
	sum   appaccess.KeySum
	state appaccess.KeyState
}

func newStatic(c *Config) *static {
	products := make([]appaccess.Product, len(c.Products))
	for i, p := range c.Products {
		products[i] = appaccess.Product{
			ID: p.ID, Name: p.ID, State: appaccess.Published, Suspended: p.Suspended, APIs: slices.Clone(p.APIs),
			Access: appaccess.Access{Token: len(p.Audiences) > 0, Key: p.Keys},
			Entra:  appaccess.ProductApplication{Role: p.Role},
		}
	}
	s := &static{keys: map[[32]byte]staticKey{}}
	s.snapshot = appaccess.NewSnapshot(1, products, slices.Clone(c.APIs))
	for _, sub := range c.Subscriptions {
		state := appaccess.KeyState{
			SubscriptionID: sub.ID, Name: sub.Name, OwnerID: sub.OwnerID, Scope: sub.Scope, Expires: sub.Expires,
		}
		if sub.State != appaccess.SubscriptionActive {
			state.Refusal = appaccess.SubscriptionNotActive
		}
		s.keys[sub.SecondarySum] = staticKey{sub.SecondarySum, state}
		state.Primary = true
		s.keys[sub.PrimarySum] = staticKey{sub.PrimarySum, state}
	}
	delete(s.keys, [32]byte{}) // a sum that was left out is no key's
	return s
}

func (s *static) Snapshot() *appaccess.Snapshot { return s.snapshot }

// Client is not asked in static mode: a token's role is the grant.
func (s *static) Client(_ context.Context, appID string) (appaccess.ClientState, error) {
	return appaccess.ClientState{AppID: appID, Refusal: appaccess.UnknownClient}, nil
}

func (s *static) Key(_ context.Context, sum [32]byte) (appaccess.KeyState, error) {
	k, ok := s.keys[sum]
	if !ok || subtle.ConstantTimeCompare(k.sum[:], sum[:]) != 1 {
		return appaccess.KeyState{Refusal: appaccess.UnknownKey}, nil
	}
	return k.state, nil
}

// uses thins out what a UseRecorder is told: a place remembers a subscription
// and when it was last told of. Two that share a place are told of more often.
type uses struct {
	recorder UseRecorder
	seed     maphash.Seed
	places   [1024]atomic.Uint64
}

const useInterval = 10 // seconds

func newUses(c Catalog) *uses {
	r, ok := c.(UseRecorder)
	if !ok {
		return nil
	}
	return &uses{recorder: r, seed: maphash.MakeSeed()}
}

func (u *uses) note(subscriptionID string, now time.Time) {
	sum := maphash.String(u.seed, subscriptionID)
	mark := sum<<32 | uint64(uint32(now.Unix()/useInterval))
	if place := &u.places[sum>>32%uint64(len(u.places))]; place.Load() != mark {
		place.Store(mark)
		u.recorder.Used(subscriptionID, now)
	}
}
