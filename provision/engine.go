package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/wait"
)

// Config makes an [Engine]. Directory and Journal are required.
type Config struct {
	// Directory is Microsoft Graph, with the identity that manages applications.
	Directory Directory
	// Grants, if not nil, grants and revokes app roles in place of Directory,
	// with an identity of its own: so that the first one needs no more than
	// Application.ReadWrite.OwnedBy.
	Grants Directory
	// Journal keeps what was recorded: [NewStoreJournal] over the Service's store.
	Journal Journal
	// Instance tells the objects of this installation from those of others in
	// one tenant: 1 to 32 of a-z and 0-9, and never to be changed, because the
	// names in Entra are made from it. Empty: "default".
	Instance string
	// LagBudget is the longest that one step waits for Entra's replicas to
	// catch up, and the time in which what was written counts as written a
	// moment ago. 0: 120 s.
	LagBudget time.Duration
	// Concurrency is the number of objects worked on at once. 0: 32.
	Concurrency int
	// Probe, if not nil, tries a new secret by asking for a token with it. It
	// is called before the secret is handed over, and again until it returns
	// nil or LagBudget ends, since Entra may refuse a new secret for a while.
	// It must not keep the secret, and no error of it may hold it.
	Probe func(ctx context.Context, appID string, secret Secret) error
	// Logger takes warnings and what was written. nil: none.
	Logger *slog.Logger
	// Now and Sleep are the clock, Jitter a random number in [0, 1): for tests.
	// nil: the real ones.
	Now    func() time.Time
	Sleep  func(context.Context, time.Duration) error
	Jitter func() float64
}

// Engine brings Entra in step. It implements [appaccess.Provisioner] and is
// safe for concurrent use, by other engines on the same journal too.
type Engine struct {
	cfg    Config
	dir    Directory
	grants Directory
}

var _ appaccess.Provisioner = (*Engine)(nil)

const (
	// callTimeout bounds one call of a Directory.
	callTimeout = 30 * time.Second
	// leaseTime is how long a lease lasts unless it is prolonged: as long an
	// object stays locked when its engine died.
	leaseTime = 90 * time.Second
	// leasePatience is how long an object that another replica works on is waited for.
	leasePatience = 10 * time.Minute
	// patience is how long throttling and unknown outcomes of one step are borne.
	patience = 5 * time.Minute
	// refusedPatience is how long a refusal is taken for lag.
	refusedPatience = 15 * time.Second
	// readAge is the age at which a read state is too old to replace collections by.
	readAge = 30 * time.Second
)

// New checks the configuration and makes an Engine. It calls nobody.
func New(cfg Config) (*Engine, error) {
	if cfg.Directory == nil {
		return nil, errors.New("provision: Config.Directory is required")
	}
	if cfg.Journal == nil {
		return nil, errors.New("provision: Config.Journal is required: NewStoreJournal keeps it in the Service's store")
	}
	if cfg.Instance == "" {
		cfg.Instance = "default"
	}
	if !instanceOK.MatchString(cfg.Instance) {
		return nil, fmt.Errorf("provision: Config.Instance is %q: 1 to 32 of a-z and 0-9 are allowed", cfg.Instance)
	}
	if cfg.LagBudget < 0 || cfg.Concurrency < 0 {
		return nil, errors.New("provision: Config.LagBudget and Config.Concurrency must not be negative")
	}
	if cfg.LagBudget == 0 {
		cfg.LagBudget = 120 * time.Second
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
	e := &Engine{cfg: cfg, dir: cfg.Directory, grants: cfg.Grants}
	if e.grants == nil {
		e.grants = e.dir
	}
	return e, nil
}

// Plan says what Apply would do, without a write to Entra or the journal. Like
// Apply it may wait, up to LagBudget, for replicas to show what was written a
// moment ago.
func (e *Engine) Plan(ctx context.Context, want appaccess.Wanted) (appaccess.Plan, error) {
	return e.plan(ctx, want, false)
}

// Drift is the part of Plan that undoes what others changed: the steps for
// objects that Apply had brought in step with exactly what is wanted. It also
// names our credentials that are gone, which only [Engine.AddCredential] can
// replace.
func (e *Engine) Drift(ctx context.Context, want appaccess.Wanted) (appaccess.Plan, error) {
	return e.plan(ctx, want, true)
}

func (e *Engine) plan(ctx context.Context, want appaccess.Wanted, drift bool) (appaccess.Plan, error) {
	r, err := e.open(ctx, want, nil)
	if err != nil {
		return appaccess.Plan{}, err
	}
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
			if drift && !o.applied {
				continue
			}
			plan.Steps = append(plan.Steps, steps...)
			if drift {
				plan.Steps = append(plan.Steps, lostSteps(o)...)
			}
		}
	}
	return plan, nil
}

func lostSteps(o *object) []appaccess.Step {
	var steps []appaccess.Step
	for _, c := range o.lost {
		steps = append(steps, appaccess.Step{
			Action: appaccess.ActionRenew, Object: o.name,
			Detail: fmt.Sprintf("%s %s (key ID %s), which no longer stands in Entra", c.Kind, quoted(c.Name), c.KeyID),
		})
	}
	return steps
}

// Apply makes Entra follow. Progress is reported one call at a time.
func (e *Engine) Apply(ctx context.Context, want appaccess.Wanted, progress func(appaccess.Progress)) (appaccess.Applied, error) {
	r, err := e.open(ctx, want, progress)
	if err != nil {
		return appaccess.Applied{}, err
	}
	for phase := range r.phases() {
		if err = r.look(ctx, phase); err == nil {
			err = r.workAll(ctx, phase)
		}
		if err != nil {
			break
		}
	}
	return r.applied(), err
}

// applied is what was recorded of the objects, of those that failed half way too.
func (r *run) applied() appaccess.Applied {
	a := appaccess.Applied{
		Products:     map[string]appaccess.ProductApplication{},
		Applications: map[string]appaccess.ApplicationRegistration{},
		Failed:       map[string]error{},
		Lost:         map[string][]appaccess.Credential{},
	}
	for _, o := range r.objects {
		if o.err != nil {
			a.Failed[o.name] = o.err
		}
		if len(o.lost) > 0 {
			a.Lost[o.id] = o.lost
		}
		if o.absent() || o.entry.ObjectID == "" {
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
		ServicePrincipalID: o.entry.ServicePrincipalID, RoleID: o.entry.RoleID, Role: o.entry.Role,
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
	if o.app != nil {
		a.Name = o.app.DisplayName
	}
	return a
}
