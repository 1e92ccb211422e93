package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/wait"
)

// Config configures a [Notifier]. Store and at least one of Hook and Webhooks are
// required.
type Config struct {
	// Store is the Service's.
	Store appaccess.Store
	// Hook is called with each event, such as to send a mail; an error means that
	// it is called again later. It must return within 15 seconds, when its
	// context ends, and may be called twice with one event.
	Hook     func(context.Context, Event) error
	Webhooks []Webhook
	// Source is the CloudEvents source: a URI that names this installation. Empty:
	// urn:entragate.
	Source string

	Logger *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // nil: time.Now
}

// Notifier keeps the outbox and delivers it. Its methods are safe for concurrent
// use; any number of replicas may run one over the same store.
type Notifier struct {
	store   appaccess.Store
	targets []target
	source  string
	log     *slog.Logger
	now     func() time.Time
}

// target is where events go.
type target struct {
	name string // what the page of deliveries shows
	send func(context.Context, Event) error
}

// deliveryTimeout bounds one attempt.
const deliveryTimeout = 15 * time.Second

// New makes a Notifier. The error names the field that is wrong.
func New(cfg Config) (*Notifier, error) {
	if cfg.Store == nil {
		return nil, errors.New("notify: Config.Store is required")
	}
	n := &Notifier{store: cfg.Store, source: cfg.Source, log: cfg.Logger, now: cfg.Now}
	if n.source == "" {
		n.source = "urn:entragate"
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if n.now == nil {
		n.now = time.Now
	}
	if cfg.Hook != nil {
		n.targets = append(n.targets, target{"hook", cfg.Hook})
	}
	seen := map[string]bool{}
	for i, w := range cfg.Webhooks {
		send, name, err := n.webhook(w)
		if err != nil {
			return nil, fmt.Errorf("notify: Config.Webhooks[%d].%w", i, err)
		}
		if seen[name] {
			return nil, fmt.Errorf("notify: Config.Webhooks[%d].URL: is configured twice", i)
		}
		seen[name] = true
		n.targets = append(n.targets, target{name, send})
	}
	if len(n.targets) == 0 {
		return nil, errors.New("notify: Config.Hook, Webhooks: at least one is required")
	}
	return n, nil
}

// Run works until the context ends: a Turn at once and then every so often. An
// interval of 0 is 10 seconds. What fails is logged and tried again.
func (n *Notifier) Run(ctx context.Context, every time.Duration) error {
	if every == 0 {
		every = 10 * time.Second
	}
	for {
		if err := n.Turn(ctx); err != nil && ctx.Err() == nil {
			n.log.WarnContext(ctx, "notifications are delayed", "error", err)
		}
		if err := wait.For(ctx, every); err != nil {
			return err
		}
	}
}

// Turn collects what happened since the last turn and makes the deliveries that
// are due.
func (n *Notifier) Turn(ctx context.Context) error {
	return errors.Join(n.collect(ctx), n.watch(ctx), n.deliver(ctx))
}
