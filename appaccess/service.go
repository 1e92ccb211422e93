package appaccess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/entragate/entragate/internal/cloud"
	"github.com/entragate/entragate/internal/wait"
)

// Service holds every workflow of the management plane and all authorization. Each
// method takes the [Actor] for whom it works. A manager may do everything. A
// developer sees what is published and works on the objects that they own. For an
// object of another owner the error is [ErrNotFound], for an action of managers
// [ErrForbidden]. A blocked user may do nothing.
//
// A method first stores the desired state together with its audit record. Then the
// [Provisioner] makes Entra match it. A revocation therefore takes effect in every
// gate at once, whatever Entra does. If the change in Entra fails, the method returns
// the object as stored and a [*ProvisionError]; the same call again, or
// [Service.Sync], finishes the work. After any other error nothing was changed, with
// one exception: after [ErrUnavailable], and when the context has ended, the store
// may have committed. Then read the object, or call again.
//
// Service has no state outside the store: any number of replicas may use one store,
// if their clocks differ by less than 30 seconds. One call at a time reconciles an
// object. If that call's replica dies, other calls can reconcile the object after 90
// seconds, or at once on the same machine. All methods are safe for concurrent use.
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

	readOpenAPI func([]byte) (APIDescription, error)
	telemetry   *telemetry
}

// ServiceConfig configures a [Service].
type ServiceConfig struct {
	// Store is required. The Service does not close it.
	Store Store
	// Provisioner changes Entra. Without one, token access and client applications
	// are refused with a [*ConflictError].
	Provisioner Provisioner
	// Naming gives the names of objects in Entra; nil: [DefaultNaming]. Another
	// Naming does not change the names that exist in Entra.
	Naming Naming

	// Empty adds nothing to a new store: set it if a [Document] is the configuration.
	// Otherwise NewService adds the product Starter to a new store.
	Empty bool

	// TenantID is the Entra tenant, shown to developers. It is required with a
	// Provisioner.
	TenantID string
	// Cloud is "public" (also if empty), "usgov", "usgov-dod", "china", "bleu" or
	// "delos".
	Cloud string
	// Authority, if not empty, is the login host, such as
	// https://login.contoso.com, with or without the tenant as its path. A host
	// of one of the clouds is the same as its name in Cloud; any other excludes
	// Cloud.
	Authority string

	// OneTimeSecretKeys seal the secrets that a manager makes for an owner;
	// [NewSecret] wraps their bytes. The first key seals, each of them opens. To
	// rotate, put a new key in front and remove the old one after OneTimeSecretTTL.
	// Without keys, [Service.CreateOneTimeSecret] is refused.
	OneTimeSecretKeys []OneTimeSecretKey
	// OneTimeSecretTTL is how long a sealed secret waits for its owner: 72 hours if
	// zero. It must not be negative.
	OneTimeSecretTTL time.Duration

	// ReadOpenAPI reads documents that describe APIs: openapi.Import of package
	// appaccess/openapi. Nil: [Service.ImportOperations] is refused.
	ReadOpenAPI func(document []byte) (APIDescription, error)

	// Logger receives failures in Entra at Warn. From [Service.Run] it also receives
	// what was done at Info, and what could not be done at Error. Nil logs nothing.
	Logger *slog.Logger
	// MeterProvider and TracerProvider receive OpenTelemetry metrics and spans. Nil:
	// none. Metrics, with their units:
	//
	//	entragate.service.sync.duration        s             one Sync; entragate.outcome: ok or failed
	//	entragate.service.objects.failed       {object}      objects that are not in sync with Entra; each is tried again
	//	entragate.service.unconfirmed          {revocation}  what was deleted in Entra and is not confirmed, after a Sync
	//	entragate.service.credentials.missing  {application} applications whose credentials Entra no longer has, after a Sync
	//
	// The span entragate.service.sync covers a Sync. The Provisioner's spans are
	// below the span of the caller's context.
	MeterProvider  metric.MeterProvider
	TracerProvider trace.TracerProvider
	// Now is the clock; nil: [time.Now]. Like Naming and Sleep, it must be safe for
	// concurrent use.
	Now func() time.Time
	// Sleep waits until another replica has reconciled an object, and between the
	// turns of Run. It returns an error when the context ends. Nil: a timer.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Actor is the person or program for whom a method works. The zero Actor may do
// nothing. Service does not verify who the actor is: the caller must have done so.
type Actor struct {
	// UserID is a user's ID. A manager need not be a user of the store ("cli"). The
	// audit trail shows it.
	UserID string
	// Manager is set for an API manager.
	Manager bool
	// Name is shown in the audit trail beside the ID, for an actor who is not a user
	// of the store. It has no effect on rights.
	Name string
}

// Manager is an actor who may do everything.
func Manager(userID string) Actor { return Actor{UserID: userID, Manager: true} }

// Developer is an actor who works on what they own.
func Developer(userID string) Actor { return Actor{UserID: userID} }

// Filter selects what a list returns, and in which order.
type Filter struct {
	// Search selects objects whose names (or ID, or email) have words that begin
	// with each of its words, ignoring case. The whole mail address of a user
	// selects only the users with this address.
	Search string
	// OwnerID selects what a user owns, where that makes sense.
	OwnerID string
	// State selects objects by their state. A product can be found as "suspended",
	// too.
	State string
	// ProductID selects the client applications that are granted a product.
	ProductID string
	// NotInSync selects the products and client applications for which Entra does
	// not hold what is desired.
	NotInSync bool
	Order     Order
	// Descending reverses the order.
	Descending bool
	// After is the Next of another page, Before the Previous of one, which was
	// made with the same fields of this Filter; both empty: the first page.
	After, Before string
	// Limit is the most items of a page: 0 is 100, at most 999.
	Limit int
	// Total asks for the Total of the page. That takes one more read of the store,
	// unless the first page holds everything.
	Total bool
}

// Page is one page of a list.
type Page[T any] struct {
	Items    []T    `json:"items"`
	Next     string `json:"next,omitempty"`     // the After of the next page; empty: this is the last one
	Previous string `json:"previous,omitempty"` // the Before of the page before; empty: this is the first one
	// Total is the number of items on all pages, if the Filter asked for it.
	// AtLeast says that counting stopped there: that can happen with a search and
	// with several conditions.
	Total   int  `json:"total,omitempty"`
	AtLeast bool `json:"atLeast,omitempty"`
}

// NewService checks the configuration. Like API Management, it adds to a new store
// the product Starter (published, with subscription keys) with the API Echo (at
// /echo); once deleted, they do not come back. The error names the wrong field of the
// configuration, or comes from the store: [ErrUnavailable] if the store is
// unreachable.
func NewService(ctx context.Context, cfg ServiceConfig) (*Service, error) {
	if cfg.Store == nil {
		return nil, errors.New("appaccess: ServiceConfig.Store is required")
	}
	if cfg.Provisioner != nil && cfg.TenantID == "" {
		return nil, errors.New("appaccess: ServiceConfig.TenantID is required with a Provisioner")
	}
	if cfg.Provisioner != nil && !sameStore(cfg.Provisioner.Store(), cfg.Store) {
		return nil, errors.New("appaccess: ServiceConfig.Provisioner keeps its state in another store: give both the same Store")
	}
	if cfg.OneTimeSecretTTL < 0 {
		return nil, errors.New("appaccess: ServiceConfig.OneTimeSecretTTL must not be negative")
	}
	tokenURL, err := tokenEndpoint(cfg)
	if err != nil {
		return nil, fmt.Errorf("appaccess: ServiceConfig.%w", err)
	}
	sealer, err := newSealer(cfg.OneTimeSecretKeys)
	if err != nil {
		return nil, fmt.Errorf("appaccess: ServiceConfig.OneTimeSecretKeys: %w", err)
	}
	s := &Service{
		store: cfg.Store, entra: cfg.Provisioner, naming: cfg.Naming,
		tenantID: cfg.TenantID, tokenURL: tokenURL,
		sealer: sealer, ttl: cfg.OneTimeSecretTTL, log: cfg.Logger, now: cfg.Now, sleep: cfg.Sleep,
		readOpenAPI: cfg.ReadOpenAPI,
	}
	if s.telemetry, err = newTelemetry(cfg); err != nil {
		return nil, err
	}
	s.fillDefaults()
	if cfg.Empty {
		return s, nil
	}
	return s, s.seed(ctx)
}

// sameStore compares stores without a panic for types that cannot be compared.
func sameStore(a, b Store) bool {
	return a != nil && reflect.TypeOf(a).Comparable() && a == b
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
