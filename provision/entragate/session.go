package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/openapi"
	"github.com/entragate/entragate/appaccess/postgres"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/provision"
)

// operator is the actor that the audit records name.
var operator = appaccess.Manager("cli")

// session is the store with the Service and the Reconciler on it.
type session struct {
	store      appaccess.Store
	service    *appaccess.Service
	reconciler *provision.Reconciler // nil without Entra
	entra      *paced
	identity   provision.Identity
	document   *appaccess.Document // nil: none was given
}

// need says what a session is for.
type need int

const (
	storeOnly need = iota // Entra is not contacted
	readOnly              // nothing is written
	readWrite
)

// with makes a command of a function that works on a session.
func with(need need, run func(context.Context, *program, *session) error) func(context.Context, *program) error {
	return func(ctx context.Context, p *program) error {
		s, err := p.open(ctx, need)
		if err != nil {
			return err
		}
		return errors.Join(run(ctx, p, s), s.close())
	}
}

func (p *program) open(ctx context.Context, need need) (*session, error) {
	s := &session{}
	var err error
	if s.document, err = p.document(); err != nil {
		return nil, err
	}
	config := appaccess.ServiceConfig{Empty: true, ReadOpenAPI: openapi.Import}
	var directory provision.Directory
	if need != storeOnly {
		if directory, err = p.directory(); err != nil {
			return nil, err
		}
	}
	if s.store, err = p.openStore(ctx, need != readWrite); err != nil {
		return nil, err
	}
	config.Store = s.store
	if directory != nil {
		err = s.connect(ctx, p, directory, &config)
	}
	if err == nil {
		s.service, err = appaccess.NewService(ctx, config)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *session) connect(ctx context.Context, p *program, directory provision.Directory, config *appaccess.ServiceConfig) error {
	var err error
	if s.identity, err = directory.Identity(ctx); err != nil {
		return err
	}
	s.reconciler, err = provision.New(provision.Config{Directory: directory, Store: s.store, Instance: p.instance, LagBudget: p.lag})
	if err != nil {
		return err
	}
	authority, _, err := p.authorityHost()
	if err != nil {
		return err
	}
	s.entra = &paced{Reconciler: s.reconciler, stop: p.stop}
	config.Provisioner, config.TenantID, config.Authority = s.entra, s.identity.TenantID, authority
	return nil
}

func (s *session) close() error { return s.store.Close() }

// document reads -config; nil without -config.
func (p *program) document() (*appaccess.Document, error) {
	if p.config == "" {
		if p.prune {
			return nil, p.misused("-prune needs -config")
		}
		return nil, nil
	}
	f, err := os.Open(p.config)
	if err != nil {
		return nil, fmt.Errorf("-config: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	d, err := appaccess.ParseDocument(f)
	if err != nil {
		return nil, fmt.Errorf("-config: %s: %w", p.config, err)
	}
	return &d, nil
}

// openStore opens -store. A command that only reads never makes a store: if none
// exists, it gets an empty one that is gone at the end.
func (p *program) openStore(ctx context.Context, reads bool) (appaccess.Store, error) {
	if p.store == "" {
		return nil, errors.New("-store is missing: name a SQLite file or a PostgreSQL DSN, or set ENTRAGATE_STORE")
	}
	inPostgres := isPostgres(p.store)
	exists, missing := true, fmt.Sprintf("%s does not exist", p.store)
	var err error
	if inPostgres {
		exists, err = postgres.Exists(ctx, p.store)
		missing = "the database holds no store"
	} else if _, statErr := os.Stat(p.store); errors.Is(statErr, fs.ErrNotExist) {
		exists = false
	}
	if err != nil {
		return nil, fmt.Errorf("-store: %w", err)
	}
	if !exists && !p.create {
		advice := "\"entragate help apply\" says how to make one"
		if c, _, err := find([]string{p.command}); err == nil && slices.Contains(c.flags, "create") {
			advice = "add -create to make a new store"
		}
		return nil, fmt.Errorf("-store: %s: %s, or see \"entragate help takeover\" if it was lost", missing, advice)
	}
	var store appaccess.Store
	switch {
	case !exists && reads:
		store, err = sqlite.Open(ctx, sqlite.Temporary)
	case inPostgres:
		store, err = postgres.Open(ctx, p.store)
	default:
		store, err = sqlite.Open(ctx, p.store)
	}
	if err != nil {
		return nil, fmt.Errorf("-store: %w", err)
	}
	return store, nil
}

// isPostgres reports whether a DSN is one of PostgreSQL, a URL or key=value pairs, and
// not a path.
func isPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") ||
		strings.Contains(dsn, "host=") || strings.Contains(dsn, "dbname=")
}

// paced is the Reconciler as the Service sees it. It takes objects a few at a
// time, so that a stop comes between objects.
type paced struct {
	*provision.Reconciler
	idle bool // Plan has nothing to do
	stop <-chan struct{}
}

// errStopped is why an object was not begun.
var errStopped = errors.New("stopped before the object was begun; run the command again to continue")

// atOnce is how many objects are under way at a time.
const atOnce = 16

func (e *paced) stopped() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

func (e *paced) Apply(ctx context.Context, objects appaccess.Objects, desired appaccess.DesiredState, progress func(appaccess.Progress)) (appaccess.Applied, error) {
	total := appaccess.Applied{
		Products: map[string]appaccess.ProductApplication{}, Applications: map[string]appaccess.ApplicationRegistration{},
		Failed: map[string]error{}, MissingInEntra: map[string][]appaccess.Credential{},
	}
	var failed error
	for some := range split(objects) {
		if failed == nil && e.stopped() {
			failed = errStopped
		}
		if failed != nil {
			for _, id := range some.Products {
				total.Failed["product "+id] = failed
			}
			for _, id := range some.Applications {
				total.Failed["application "+id] = failed
			}
			continue
		}
		done, err := e.Reconciler.Apply(ctx, some, desired, progress)
		maps.Copy(total.Products, done.Products)
		maps.Copy(total.Applications, done.Applications)
		maps.Copy(total.Failed, done.Failed)
		maps.Copy(total.MissingInEntra, done.MissingInEntra)
		failed = err
	}
	if errors.Is(failed, errStopped) {
		failed = nil // each object says so
	}
	return total, failed
}

// split yields a few objects at a time, in the order given.
func split(o appaccess.Objects) iter.Seq[appaccess.Objects] {
	return func(yield func(appaccess.Objects) bool) {
		for len(o.Products)+len(o.Applications) > 0 {
			products := o.Products[:min(atOnce, len(o.Products))]
			applications := o.Applications[:min(atOnce-len(products), len(o.Applications))]
			o.Products, o.Applications = o.Products[len(products):], o.Applications[len(applications):]
			if !yield(appaccess.Objects{Products: products, Applications: applications}) {
				return
			}
		}
	}
}

func (e *paced) Plan(ctx context.Context, objects appaccess.Objects, desired appaccess.DesiredState) (appaccess.Plan, error) {
	if e.idle {
		return appaccess.Plan{}, nil
	}
	return e.Reconciler.Plan(ctx, objects, desired)
}
