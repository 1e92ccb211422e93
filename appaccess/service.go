package appaccess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/entragate/entragate/internal/cloud"
	"github.com/entragate/entragate/internal/wait"
)

// Service holds every workflow of the management plane and all authorization.
// Each method takes the [Actor] for whom it works: a manager may do
// everything; a developer sees what is published and works on what they own.
// What belongs to another owner is not found; what is a manager's alone is
// [ErrForbidden]; a blocked user may do nothing.
//
// A method first stores what is wanted, together with its audit record, and
// then has the [Provisioner] make Entra follow. So an end of access takes
// effect in every gate at once, whatever Entra does. When Entra does not
// follow, the method returns the object as stored and a [*ProvisionError]; the
// same call again, or [Service.Sync], finishes the work. After any other error
// nothing was changed, except that after [ErrUnavailable] and the context's end
// the store may have committed without our hearing of it: look, or call again.
//
// Service keeps no state of its own: any number of replicas may work on one
// store, with clocks that differ by less than 30 seconds. Each object is worked
// on by one call at a time; what a replica that died was at work on is free
// after 90 seconds, and at once if it ran on the same machine. All methods are
// safe for concurrent use.
type Service struct {
	store    Store
	entra    Provisioner
	naming   Naming
	tenantID string
	tokenURL string
	sealer   *sealer
	ttl      time.Duration
	log      *slog.Logger
	now      func() time.Time
	sleep    func(context.Context, time.Duration) error
}

// ServiceConfig configures a [Service].
type ServiceConfig struct {
	// Store is required. The Service does not close it.
	Store Store
	// Provisioner works on Entra. Without one, token access and client
	// applications are refused with a [*ConflictError].
	Provisioner Provisioner
	// Naming gives names in Entra; nil: [DefaultNaming]. Names that stand in
	// Entra already do not change with it.
	Naming Naming

	// TenantID is the Entra tenant, shown to developers. It is required with a
	// Provisioner.
	TenantID string
	// Cloud is "public" (also if empty), "usgov", "usgov-dod" or "china".
	Cloud string
	// Authority, if not empty, is the login host, such as
	// https://login.contoso.com, with or without the tenant as its path. A host
	// of one of the clouds is the same as its name in Cloud; any other excludes
	// Cloud.
	Authority string

	// HandoverKeys seal secrets that a manager makes for an owner; [NewSecret]
	// wraps their bytes. The first seals, all of them open: put a new key in
	// front and drop an old one after HandoverTTL. Without any,
	// [Service.HandOverSecret] is refused.
	HandoverKeys []HandoverKey
	// HandoverTTL is how long a sealed secret waits for its owner; 0: 72 hours.
	// Negative ones are refused.
	HandoverTTL time.Duration

	// Logger is told what fails in Entra, at Warn, and of [Service.Run] what was
	// done, at Info, or is left undone, at Error. Nil: nothing is logged.
	Logger *slog.Logger
	// Now is the clock; nil: [time.Now]. It is asked by many goroutines at once,
	// like Naming and Sleep.
	Now func() time.Time
	// Sleep waits, for another replica that is at work on the same object and
	// between the turns of Run, and returns early with an error when the context
	// ends; nil: a timer.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Actor is for whom a method works. The zero Actor may do nothing. Who an
// actor is, the caller has made sure of.
type Actor struct {
	// UserID is a user's ID. That of a manager need not be one of our users
	// ("cli"); it is what the audit trail shows.
	UserID string
	// Manager is set for an API manager.
	Manager bool
}

// Manager is an actor who may do everything.
func Manager(userID string) Actor { return Actor{UserID: userID, Manager: true} }

// Developer is an actor who works on what they own.
func Developer(userID string) Actor { return Actor{UserID: userID} }

// Filter selects what a list returns, in the order of IDs.
type Filter struct {
	// Search selects objects whose names (or ID, or email) contain it,
	// ignoring ASCII case.
	Search string
	// OwnerID selects what a user owns, where that makes sense.
	OwnerID string
	// After is the Next of the page before; empty: the first page.
	After string
	// Limit is the most items of a page: 0 is 100, at most 999.
	Limit int
}

// Page is one page of a list.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"` // the After of the next page; empty: this is the last one
}

// NewService checks the configuration and, when the store is new, puts the
// product Starter (published, with subscription keys) with the API Echo (at
// /echo) into it, as API Management does. They are not put back once deleted. The
// error names the field of the configuration that is wrong, or is the store's:
// [ErrUnavailable] if it is out of reach.
func NewService(ctx context.Context, cfg ServiceConfig) (*Service, error) {
	if cfg.Store == nil {
		return nil, errors.New("appaccess: ServiceConfig.Store is required")
	}
	if cfg.Provisioner != nil && cfg.TenantID == "" {
		return nil, errors.New("appaccess: ServiceConfig.TenantID is required with a Provisioner")
	}
	if cfg.HandoverTTL < 0 {
		return nil, errors.New("appaccess: ServiceConfig.HandoverTTL must not be negative")
	}
	tokenURL, err := tokenEndpoint(cfg)
	if err != nil {
		return nil, fmt.Errorf("appaccess: ServiceConfig.%w", err)
	}
	sealer, err := newSealer(cfg.HandoverKeys)
	if err != nil {
		return nil, fmt.Errorf("appaccess: ServiceConfig.HandoverKeys: %w", err)
	}
	s := &Service{
		store: cfg.Store, entra: cfg.Provisioner, naming: cfg.Naming,
		tenantID: cfg.TenantID, tokenURL: tokenURL,
		sealer: sealer, ttl: cfg.HandoverTTL, log: cfg.Logger, now: cfg.Now, sleep: cfg.Sleep,
	}
	s.fillDefaults()
	return s, s.seed(ctx)
}

func (s *Service) fillDefaults() {
	if s.naming == nil {
		s.naming = DefaultNaming{}
	}
	if s.ttl == 0 {
		s.ttl = 72 * time.Hour
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.sleep == nil {
		s.sleep = wait.For
	}
}

func tokenEndpoint(cfg ServiceConfig) (string, error) {
	hosts, err := cloud.Resolve(cfg.Cloud, cfg.Authority, cfg.TenantID)
	if err != nil || cfg.TenantID == "" {
		return "", err
	}
	return hosts.TokenURL(cfg.TenantID), nil
}
