package middleware

import (
	"context"
	"crypto/subtle"
	"slices"

	"github.com/entragate/entragate/appaccess"
)

// Catalog supplies what a [Gate] in managed mode reads on every request: products,
// client applications and subscription keys. appaccess.Catalog implements it over
// a store. All methods must be safe for concurrent use and should answer from
// memory. An error means that the catalog cannot answer now, not that the object
// does not exist; the gate then answers 503.
type Catalog interface {
	// Snapshot returns the newest state of all products and APIs, nil if none was
	// read yet. It returns the same pointer until something changes.
	Snapshot() *appaccess.Snapshot
	// Client returns the state of the client application with a client ID. An
	// unknown one has the DenyReason [appaccess.UnknownClient] and no error.
	Client(ctx context.Context, appID string) (appaccess.ClientState, error)
	// Key returns the state of the subscription key with a SHA-256. An unknown one
	// has the DenyReason [appaccess.UnknownKey] and no error.
	Key(ctx context.Context, sum [32]byte) (appaccess.KeyState, error)
}

// CallRecorder is an optional interface of a [Catalog] that counts calls. A gate
// calls CountCall once for every request: at once if it refuses the request or is
// in report-only mode, otherwise when the handler has returned. CountCall must not
// block.
type CallRecorder interface {
	CountCall(appaccess.Call)
}

// ReadinessChecker is an optional interface of a [Catalog]: [Gate.Ready] fails with
// the error that its Ready method returns.
type ReadinessChecker interface {
	Ready(context.Context) error
}

// static is the Catalog of static mode. It never changes.
type static struct {
	snapshot *appaccess.Snapshot
	keys     map[[32]byte]staticKey
}

type staticKey struct {
	sum   appaccess.KeyHash
	state appaccess.KeyState
}

func newStatic(c *Config) *static {
	products := make([]appaccess.Product, len(c.Products))
	for i, p := range c.Products {
		products[i] = appaccess.Product{
			ID: p.ID, Name: p.ID, State: appaccess.Published, Suspended: p.Suspended, APIs: slices.Clone(p.APIs),
			Access: appaccess.Access{Token: len(p.Audiences) > 0, Key: p.Keys},
			Entra:  appaccess.ProductApplication{Roles: []appaccess.Role{{Permission: appaccess.AllPermission, Value: p.Role}}},
		}
	}
	s := &static{keys: map[[32]byte]staticKey{}}
	s.snapshot = appaccess.NewSnapshot(1, products, slices.Clone(c.APIs))
	for _, sub := range c.Subscriptions {
		state := appaccess.KeyState{
			SubscriptionID: sub.ID, Name: sub.Name, OwnerID: sub.OwnerID, Scope: sub.Scope, Expires: sub.Expires,
		}
		if sub.State != appaccess.SubscriptionActive {
			state.DenyReason = appaccess.SubscriptionNotActive
		}
		s.keys[sub.SecondaryHash] = staticKey{sub.SecondaryHash, state}
		state.Primary = true
		s.keys[sub.PrimaryHash] = staticKey{sub.PrimaryHash, state}
	}
	delete(s.keys, [32]byte{}) // SecondaryHash is optional
	return s
}

func (s *static) Snapshot() *appaccess.Snapshot { return s.snapshot }

// Client is never called in static mode: a token's role is the grant.
func (s *static) Client(_ context.Context, appID string) (appaccess.ClientState, error) {
	return appaccess.ClientState{AppID: appID, DenyReason: appaccess.UnknownClient}, nil
}

func (s *static) Key(_ context.Context, sum [32]byte) (appaccess.KeyState, error) {
	k, ok := s.keys[sum]
	if !ok || subtle.ConstantTimeCompare(k.sum[:], sum[:]) != 1 {
		return appaccess.KeyState{DenyReason: appaccess.UnknownKey}, nil
	}
	return k.state, nil
}
