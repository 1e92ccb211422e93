package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/provision"
)

// house is everything put together: the store, the engine and the service.
type house struct {
	store          *sqlite.Store
	scratch        string // directory to remove at the end; empty: none
	service        *appaccess.Service
	entra          *switchboard
	document       *appaccess.Document
	prune          bool
	issued         []appaccess.IssuedSubscription // what the document made
	tenant, caller string
}

// manager is for whom the command works; the audit trail shows it.
var manager = appaccess.Manager("cli")

func open(ctx context.Context, o options, document *appaccess.Document) (*house, error) {
	c, err := connect(o)
	if err != nil {
		return nil, err
	}
	who, err := c.directory.Identity(ctx)
	if err != nil {
		return nil, err
	}
	h := &house{document: document, prune: o.prune, tenant: who.TenantID, caller: name(who)}
	if err := h.openStore(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("-store: %w", err), h.close())
	}
	engine, err := provision.New(provision.Config{
		Directory: c.directory, Journal: provision.NewStoreJournal(h.store), Instance: o.instance, LagBudget: o.lag,
	})
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	h.entra = &switchboard{Engine: engine}
	h.service, err = appaccess.NewService(ctx, appaccess.ServiceConfig{
		Store: h.store, Provisioner: h.entra, TenantID: who.TenantID,
		Authority: withoutTenant(c.authority, who.TenantID),
	})
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func name(who provision.Identity) string {
	if who.Name == "" {
		return "object ID " + who.ObjectID
	}
	return fmt.Sprintf("%q (object ID %s)", who.Name, who.ObjectID)
}

// openStore opens the store itself to apply. The other commands work on a copy
// that is gone afterwards: they may take a document in without keeping it.
func (h *house) openStore(ctx context.Context, o options) (err error) {
	if o.store == "" {
		return errors.New("must name a file")
	}
	path := o.store
	if o.command != "apply" {
		if h.scratch, err = os.MkdirTemp("", "entra-"); err != nil {
			return err
		}
		path = filepath.Join(h.scratch, "copy.db")
		if _, missing := os.Stat(o.store); missing == nil {
			err = copyStore(ctx, o.store, path)
		}
	}
	if err == nil {
		h.store, err = sqlite.Open(ctx, path)
	}
	return err
}

func (h *house) close() (err error) {
	if h.store != nil {
		err = h.store.Close()
	}
	if h.scratch != "" {
		err = errors.Join(err, os.RemoveAll(h.scratch))
	}
	return err
}

// take stores what the document wants, without a word to Entra yet.
func (h *house) take(ctx context.Context) error {
	if h.document == nil {
		return nil
	}
	h.entra.held = true
	defer func() { h.entra.held = false }()
	report, err := h.service.Import(ctx, manager, *h.document, appaccess.ImportRequest{Prune: h.prune})
	if err != nil && !errors.Is(err, errHeld) {
		return fmt.Errorf("-config: %w", err)
	}
	h.issued = report.Subscriptions
	return nil
}

// unseen names the new subscriptions with a key that was made for them: this is
// a pipeline, whose output is no place for keys.
func (h *house) unseen(out io.Writer) {
	for _, made := range h.issued {
		for _, k := range []struct {
			slot  appaccess.KeySlot
			value appaccess.Secret
		}{{appaccess.PrimaryKey, made.Primary}, {appaccess.SecondaryKey, made.Secondary}} {
			if !k.value.IsZero() {
				fmt.Fprintf(out, "subscription %s has a %s key that nobody has seen: regenerate it where its caller can take it.\n", made.Subscription.ID, k.slot)
			}
		}
	}
}

func (h *house) plan(ctx context.Context, out io.Writer) error {
	if err := h.take(ctx); err != nil {
		return err
	}
	plan, err := h.service.Plan(ctx, manager)
	if err != nil {
		return err
	}
	fmt.Fprint(out, plan)
	return failures(plan)
}

// apply asks first what the identity may do, so that nothing is half done for
// want of a role.
func (h *house) apply(ctx context.Context, out io.Writer) error {
	ready, err := h.service.Preflight(ctx, manager)
	if err != nil {
		return err
	}
	if !ready.OK {
		return lacks(ready)
	}
	if err := h.take(ctx); err != nil {
		return err
	}
	report, err := h.service.Sync(ctx, manager, appaccess.SyncRequest{All: true, Progress: func(p appaccess.Progress) { show(out, p) }})
	fmt.Fprintf(out, "In step: %d objects.\n", report.Objects)
	h.unseen(out)
	for id, lost := range report.Lost {
		fmt.Fprintf(out, "application %s has lost %d credentials in Entra: its owner needs new ones.\n", id, len(lost))
	}
	return err
}

func (h *house) drift(ctx context.Context, out io.Writer) error {
	if err := h.take(ctx); err != nil {
		return err
	}
	h.entra.drift = true
	plan, err := h.service.Plan(ctx, manager)
	if err != nil {
		return err
	}
	fmt.Fprint(out, plan)
	if err := failures(plan); err != nil || len(plan.Steps) == 0 {
		return err
	}
	return errDrift
}

// failures are the objects that could not be read.
func failures(p appaccess.Plan) error {
	var errs []error
	for _, err := range p.Failed {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// lacks says what the identity cannot do.
func lacks(p appaccess.Preflight) error {
	err := fmt.Errorf("%s cannot do what is needed; nothing was written", p.Identity)
	for _, c := range p.Checks {
		if !c.OK {
			err = fmt.Errorf("%w\n  %s: %s; %s", err, c.Name, c.Detail, c.Remedy)
		}
	}
	return err
}

// show prints a step that is done, and one that is waited for.
func show(out io.Writer, p appaccess.Progress) {
	switch {
	case p.Done:
		fmt.Fprintf(out, "%s: %s\n", p.Object, p.Step)
	case p.Wait > 0:
		fmt.Fprintf(out, "%s: %s: attempt %d, again in %s\n", p.Object, p.Step, p.Attempt, p.Wait.Round(time.Second/10))
	}
}

// switchboard is the engine as the service sees it.
type switchboard struct {
	*provision.Engine
	held  bool // Apply leaves everything for later
	drift bool // Plan tells drift only
}

// errHeld leaves an object to be applied later.
var errHeld = errors.New("held back until everything is stored")

func (s *switchboard) Apply(ctx context.Context, want appaccess.Wanted, progress func(appaccess.Progress)) (appaccess.Applied, error) {
	if s.held {
		return appaccess.Applied{}, errHeld
	}
	return s.Engine.Apply(ctx, want, progress)
}

func (s *switchboard) Plan(ctx context.Context, want appaccess.Wanted) (appaccess.Plan, error) {
	if s.drift {
		return s.Engine.Drift(ctx, want)
	}
	return s.Engine.Plan(ctx, want)
}
