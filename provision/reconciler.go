package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/wait"
)

// Config makes a [Reconciler]. Directory and Store are required.
type Config struct {
	// Directory is Microsoft Graph, with the identity that manages applications.
	Directory Directory
	// GrantDirectory, if not nil, grants and revokes app roles in place of Directory,
	// with an identity of its own: so that the first one needs no more than
	// Application.ReadWrite.OwnedBy.
	GrantDirectory Directory
	// Store keeps the provisioning state. It must be the store of the
	// [appaccess.Service] that uses the Reconciler.
	Store appaccess.Store
	// Instance distinguishes the objects of this installation from other objects in
	// one tenant: 1 to 32 of a-z and 0-9, and never to be changed, because the
	// names in Entra are made from it. Empty: "default".
	Instance string
	// LagBudget is the longest that one step waits for Entra's replicas to
	// catch up, and the time in which what was written counts as written a
	// moment ago. 0: 120 s.
	LagBudget time.Duration
	// ConfirmTime is how long at least three reads must agree that a grant or a
	// credential that was revoked is gone, before it is believed. 0: 15 minutes.
	ConfirmTime time.Duration
	// Concurrency is the number of objects worked on at once. 0: 32.
	Concurrency int
	// Probe, if not nil, tries a new secret by asking for a token with it. It
	// is called before the secret is handed over, and again until it returns
	// nil or LagBudget ends, since Entra may refuse a new secret for a while.
	// It must not keep the secret, and no error of it may hold it.
	Probe func(ctx context.Context, appID string, secret Secret) error
	// MeterProvider and TracerProvider get OpenTelemetry metrics and spans: see the
	// package's part on telemetry. nil: none.
	MeterProvider  metric.MeterProvider
	TracerProvider trace.TracerProvider
	// Logger takes warnings and what was written. nil: none.
	Logger *slog.Logger
	// Now and Sleep are the clock, Jitter a random number in [0, 1): for tests.
	// nil: the real ones.
	Now    func() time.Time
	Sleep  func(context.Context, time.Duration) error
	Jitter func() float64
}

// Reconciler makes Entra hold what is desired. It implements
// [appaccess.Provisioner] and is safe for concurrent use, also by other
// Reconcilers on the same store.
type Reconciler struct {
	cfg    Config          // its Store bounds the write transactions
	store  appaccess.Store // that was configured
	dir    Directory
	grants Directory
	state  state

	telemetry *telemetry
}

var _ appaccess.Provisioner = (*Reconciler)(nil)

const (
	// callTimeout bounds one call of a Directory.
	callTimeout = 30 * time.Second
	// lockTime is how long a lock lasts unless it is prolonged. If a process dies
	// on another machine, its objects stay locked for that long.
	lockTime = 90 * time.Second
	// lockWaitTime is how long a call waits for an object that is locked.
	lockWaitTime = 10 * time.Minute
	// retryTime is how long a step is retried after throttling or unknown
	// outcomes.
	retryTime = 5 * time.Minute
	// refusedTime is how long a 403 is treated as lag.
	refusedTime = 15 * time.Second
	// readAge is the age at which a read is too old to replace collections by.
	readAge = 30 * time.Second
)

// New checks the configuration and makes a Reconciler. It sends no request.
func New(cfg Config) (*Reconciler, error) {
	if cfg.Directory == nil {
		return nil, errors.New("provision: Config.Directory is required")
	}
	if cfg.Store == nil {
		return nil, errors.New("provision: Config.Store is required: the store of the Service")
	}
	if cfg.Instance == "" {
		cfg.Instance = "default"
	}
	if !instanceOK.MatchString(cfg.Instance) {
		return nil, fmt.Errorf("provision: Config.Instance is %q: 1 to 32 of a-z and 0-9 are allowed", cfg.Instance)
	}
	if cfg.LagBudget < 0 || cfg.ConfirmTime < 0 || cfg.Concurrency < 0 {
		return nil, errors.New("provision: Config.LagBudget, Config.ConfirmTime and Config.Concurrency must not be negative")
	}
	if cfg.LagBudget == 0 {
		cfg.LagBudget = 120 * time.Second
	}
	if cfg.ConfirmTime == 0 {
		cfg.ConfirmTime = 15 * time.Minute
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 32
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = wait.For
	}
	if cfg.Jitter == nil {
		cfg.Jitter = rand.Float64
	}
	given := cfg.Store
	cfg.Store = &fewWrites{given, make(chan struct{}, maxWrites)}
	e := &Reconciler{cfg: cfg, store: given, dir: cfg.Directory, grants: cfg.GrantDirectory, state: state{cfg.Store}}
	if e.grants == nil {
		e.grants = e.dir
	}
	var err error
	e.telemetry, err = newTelemetry(cfg.MeterProvider, cfg.TracerProvider)
	return e, err
}

// Plan says what Apply would do, without a write to Entra or the provisioning state. Like
// Apply it may wait, up to LagBudget, for replicas to show what was written a
// moment ago.
func (e *Reconciler) Plan(ctx context.Context, objects appaccess.Objects, desired appaccess.DesiredState) (appaccess.Plan, error) {
	return e.plan(ctx, objects, desired, false)
}

// Drift is the part of Plan that undoes what others changed: the steps for
// objects that Apply had brought in sync with exactly what is desired. It also
// names our credentials that are missing in Entra, which only
// [Reconciler.AddCredential] can replace, and client applications that somebody
// disabled, which Apply leaves disabled.
func (e *Reconciler) Drift(ctx context.Context, objects appaccess.Objects, desired appaccess.DesiredState) (appaccess.Plan, error) {
	return e.plan(ctx, objects, desired, true)
}

func (e *Reconciler) plan(ctx context.Context, objects appaccess.Objects, desired appaccess.DesiredState, drift bool) (appaccess.Plan, error) {
	r, err := e.open(ctx, objects, desired, nil)
	if err != nil {
		return appaccess.Plan{}, err
	}
	r.inspect = drift
	plan := appaccess.Plan{Failed: map[string]error{}}
	for phase := range r.phases() {
		if err := r.look(ctx, phase); err != nil {
			return appaccess.Plan{}, err
		}
		for _, o := range phase {
			steps, err := r.simulate(o)
			if err != nil {
				plan.Failed[o.name] = err
			}
			if drift && !o.inSync {
				continue
			}
			plan.Steps = append(plan.Steps, steps...)
			if drift {
				plan.Steps = append(plan.Steps, missingSteps(o)...)
				plan.Steps = append(plan.Steps, disabledSteps(o)...)
			}
		}
	}
	return plan, nil
}

func missingSteps(o *object) []appaccess.Step {
	var steps []appaccess.Step
	for _, c := range o.missingInEntra {
		why := "which Entra no longer has"
		if slices.ContainsFunc(o.federated, func(f FederatedCredential) bool { return f.ID == c.KeyID }) {
			why = "which somebody changed in Entra: remove it, then add it again"
		}
		steps = append(steps, appaccess.Step{
			Action: appaccess.ActionRenew, Object: o.name,
			Detail: fmt.Sprintf("%s credential %s (key ID %s), %s", c.Kind, quoted(c.Name), c.KeyID, why),
		})
	}
	return steps
}

// disabledSteps report a client application that somebody disabled in Entra. Apply
// leaves it disabled: that may be how an administrator stops a client in an
// emergency. Products are enabled again by Apply.
func disabledSteps(o *object) []appaccess.Step {
	if o.client == nil || o.client.Disabled || o.toBeDeleted() || o.entry.Disabled {
		return nil
	}
	var detail string
	switch {
	case o.app != nil && o.app.Disabled:
		detail = "the application was deactivated in Entra (isDisabled): reactivate it under App registrations"
	case o.sp != nil && !o.sp.AccountEnabled:
		detail = "the service principal was disabled in Entra (accountEnabled false): enable it under Enterprise applications"
	default:
		return nil
	}
	return []appaccess.Step{{Action: appaccess.ActionEnable, Object: o.name, Detail: detail}}
}

// Apply implements [appaccess.Provisioner].
func (e *Reconciler) Apply(ctx context.Context, objects appaccess.Objects, desired appaccess.DesiredState, progress func(appaccess.Progress)) (appaccess.Applied, error) {
	r, err := e.open(ctx, objects, desired, progress)
	if err != nil {
		return appaccess.Applied{}, err
	}
	err = r.confirmGrants(ctx)
	for phase := range r.phases() {
		if err == nil {
			err = r.look(ctx, phase)
		}
		if err == nil {
			err = r.reconcileAll(ctx, phase)
		}
		if err != nil {
			break
		}
	}
	return r.applied(err), err
}

// Store implements [appaccess.Provisioner].
func (e *Reconciler) Store() appaccess.Store { return e.store }

// applied returns what is recorded of the objects, also of those that failed.
// stopped is why the run ended early.
func (r *run) applied(stopped error) appaccess.Applied {
	a := appaccess.Applied{
		Products:       map[string]appaccess.ProductApplication{},
		Applications:   map[string]appaccess.ApplicationRegistration{},
		Failed:         map[string]error{},
		MissingInEntra: map[string][]appaccess.Credential{},
	}
	for _, o := range r.objects {
		switch {
		case o.err != nil:
			a.Failed[o.name] = o.err
		case stopped != nil && !o.wasLocked && !o.confirmed:
			a.Failed[o.name] = stopped
		}
		if len(o.missingInEntra) > 0 {
			a.MissingInEntra[o.id] = o.missingInEntra
		}
		if o.toBeDeleted() || !o.recordedInEntra() {
			continue
		}
		if o.product != nil {
			a.Products[o.id] = o.productApplication()
		} else {
			a.Applications[o.id] = o.registration()
		}
	}
	return a
}

func (o *object) productApplication() appaccess.ProductApplication {
	p := appaccess.ProductApplication{
		Name: o.displayName(), ObjectID: o.entry.ObjectID, AppID: o.entry.AppID,
		ServicePrincipalID: o.entry.ServicePrincipalID,
	}
	for _, role := range o.entry.Roles {
		if _, desired := o.roleOf(role.Permission); desired {
			p.Roles = append(p.Roles, role)
		}
	}
	if o.app != nil {
		p.Name = o.app.DisplayName
	}
	if p.AppID != "" {
		p.IdentifierURI = identifierURI(p.AppID)
	}
	return p
}

func (o *object) registration() appaccess.ApplicationRegistration {
	a := appaccess.ApplicationRegistration{
		Name: o.displayName(), ObjectID: o.entry.ObjectID, AppID: o.entry.AppID,
		ServicePrincipalID: o.entry.ServicePrincipalID,
	}
	switch {
	case o.app != nil:
		a.Name = o.app.DisplayName
	case o.existing() && o.sp != nil:
		a.Name, a.Type = o.sp.DisplayName, o.sp.Type
	case o.existing() && o.client != nil:
		a.Name, a.Type = o.client.Recorded.Name, o.client.Recorded.Type
	}
	return a
}
