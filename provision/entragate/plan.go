package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/sqlite"
	"github.com/entragate/entragate/provision"
)

func (s *session) request(p *program) appaccess.PlanRequest {
	return appaccess.PlanRequest{Document: s.document, Prune: p.prune}
}

func plan(ctx context.Context, p *program, s *session) error {
	found, err := s.service.PlanDocument(ctx, operator, s.request(p))
	if err != nil {
		return err
	}
	if p.json {
		err = p.printJSON(newPlanOutput(found))
	} else {
		p.printTenant(s)
		fmt.Fprint(p.out, found)
		if !found.Empty() {
			fmt.Fprintf(p.out, "Plan: %s\n", found.Hash())
		}
	}
	if err = errors.Join(err, failures(found.Entra)); err == nil && !found.Empty() {
		err = errChanges
	}
	return err
}

func (p *program) printTenant(s *session) {
	if !p.quiet {
		fmt.Fprintf(p.out, "Tenant %s, as %s\n", s.identity.TenantID, describe(s.identity))
	}
}

// failures is one error for all objects that could not be read; nil if there are none.
func failures(plan appaccess.Plan) error {
	var errs []error
	for _, object := range slices.Sorted(maps.Keys(plan.Failed)) {
		errs = append(errs, fmt.Errorf("%s cannot be read: %w", object, plan.Failed[object]))
	}
	return errors.Join(errs...)
}

func apply(ctx context.Context, p *program, s *session) error {
	ready, err := s.service.Preflight(ctx, operator)
	if err != nil {
		return err
	}
	if !ready.OK {
		return notReady(ready)
	}
	if !p.json {
		p.printTenant(s)
	}
	progress := p.newProgress()
	report, err := s.service.ApplyDocument(ctx, operator, appaccess.ApplyRequest{
		PlanRequest: s.request(p), Plan: p.plan, Progress: progress.show,
	})
	progress.end()
	if p.json {
		err = errors.Join(err, p.printJSON(newApplyOutput(report, err)))
	} else {
		p.printReport(report)
	}
	if err == nil && p.plan != "" && len(report.Unplanned) > 0 {
		err = fmt.Errorf("the store or Entra changed while apply worked: %d steps were not part of the plan", len(report.Unplanned))
	}
	if err == nil && !report.Plan.Empty() {
		err = errChanges
	}
	return err
}

func (p *program) printReport(r appaccess.ApplyReport) {
	for _, d := range r.Stored {
		fmt.Fprintf(p.out, "stored: %s %s %s\n", d.Change, d.Kind, d.ID)
	}
	if r.Sync.MissingInEntra == nil {
		return // Entra was not reconciled
	}
	fmt.Fprintf(p.out, "In sync: %d objects.\n", r.Sync.Objects)
	if r.Sync.Unconfirmed > 0 {
		fmt.Fprintf(p.out, "Revoked, and to be confirmed by a later run: %d.\n", r.Sync.Unconfirmed)
	}
	for _, k := range unseenKeys(r) {
		fmt.Fprintf(p.out, "subscription %s has a %s key that nobody has seen: regenerate it where its caller can take it.\n", k.Subscription, k.Key)
	}
	for _, id := range slices.Sorted(maps.Keys(r.Sync.MissingInEntra)) {
		fmt.Fprintf(p.out, "application %s: %d credentials are missing in Entra: its owner needs new ones.\n", id, len(r.Sync.MissingInEntra[id]))
	}
	for _, step := range r.Unplanned {
		fmt.Fprintf(p.out, "not in the plan: %s\n", step)
	}
}

// notReady names the checks that failed, and what to do.
func notReady(ready appaccess.Preflight) error {
	err := fmt.Errorf("%s cannot do what is needed; nothing was written", ready.Identity)
	for _, c := range ready.Checks {
		if !c.OK {
			err = fmt.Errorf("%w\n  %s: %s; %s", err, c.Name, c.Detail, c.Remedy)
		}
	}
	return err
}

func preflight(ctx context.Context, p *program) error {
	directory, err := p.directory()
	if err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, sqlite.Temporary)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }() // it is in memory
	reconciler, err := provision.New(provision.Config{Directory: directory, Store: store, Instance: p.instance, LagBudget: p.lag})
	if err != nil {
		return err
	}
	ready, err := reconciler.Preflight(ctx)
	if err != nil {
		return err
	}
	if p.json {
		err = p.printJSON(ready)
	} else {
		for _, c := range ready.Checks {
			verdict := "ok    "
			if !c.OK {
				verdict = "FAILED"
			}
			fmt.Fprintf(p.out, "%s  %s: %s\n", verdict, c.Name, c.Detail)
			if !c.OK && c.Remedy != "" {
				fmt.Fprintf(p.out, "        %s\n", c.Remedy)
			}
		}
	}
	if err == nil && !ready.OK {
		err = errors.New("the identity cannot do what is needed")
	}
	return err
}

// drift compares Entra with what was applied, and a document with the store.
func drift(ctx context.Context, p *program, s *session) error {
	found := driftOutput{Version: outputVersion}
	if s.document != nil {
		s.entra.idle = true
		differs, err := s.service.PlanDocument(ctx, operator, s.request(p))
		if err != nil {
			return err
		}
		found.Store = differs.Store
	}
	changed, err := s.service.Drift(ctx, operator)
	if err != nil {
		return err
	}
	found.Entra = changed.Steps
	found.Unknown = changed.Unknown
	found.Changes = len(found.Store)+len(found.Entra) > 0 || !changed.Unknown.Empty()
	if p.json {
		err = p.printJSON(found)
	} else {
		p.printTenant(s)
		p.printDrift(found, changed)
	}
	if err = errors.Join(err, failures(changed)); err == nil && found.Changes {
		err = errChanges
	}
	return err
}

func (p *program) printDrift(found driftOutput, changed appaccess.Plan) {
	if len(found.Store) > 0 {
		fmt.Fprintln(p.out, "The store differs from the document; apply would do this:")
		fmt.Fprint(p.out, appaccess.DocumentPlan{Store: found.Store})
	}
	if len(changed.Steps) > 0 {
		fmt.Fprintln(p.out, "Somebody changed Entra; apply would undo it:")
		fmt.Fprint(p.out, changed)
	} else {
		fmt.Fprint(p.out, changed.Unknown)
	}
	if !found.Changes {
		fmt.Fprintln(p.out, "No drift: nobody changed what was applied.")
	}
}

// takeOver records the applications of a store that was lost.
func takeOver(ctx context.Context, p *program, s *session) error {
	req := provision.TakeOverRequest{Installation: p.installation}
	for _, v := range s.document.Products {
		req.Products = append(req.Products, v.ID)
	}
	for _, v := range s.document.Applications {
		req.Applications = append(req.Applications, v.ID)
	}
	found, err := s.reconciler.TakeOver(ctx, req)
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b appaccess.TenantApplication) int {
		return cmp.Or(strings.Compare(a.Object, b.Object), strings.Compare(a.AppID, b.AppID))
	})
	if p.json {
		return p.printJSON(found)
	}
	for _, a := range found {
		object := a.Object
		if object == "" {
			object = "unknown to the document"
		}
		fmt.Fprintf(p.out, "%s: %s (client ID %s), %d credentials of other people\n", object, a.UniqueName, a.AppID, a.Foreign)
	}
	fmt.Fprintf(p.out, "Taken over: %d applications. Nothing proves who made them: look through the list, then run plan and apply.\n", len(found))
	return nil
}

// adopt puts an existing app registration under management, or prints the plan.
func adopt(ctx context.Context, p *program) error {
	if p.clientID == "" || (p.product == "") == (p.application == "") {
		return p.misused("adopt needs -client-id, and either -product or -application")
	}
	if p.application != "" && (p.name == "" || p.owner == "") {
		return p.misused("adopt -application needs -name and -owner")
	}
	if p.yes {
		return with(readWrite, applyAdoption)(ctx, p)
	}
	return with(readOnly, planAdoption)(ctx, p)
}

func planAdoption(ctx context.Context, p *program, s *session) (err error) {
	if s.document, err = s.adoption(ctx, p); err != nil {
		return err
	}
	found, err := s.service.PlanDocument(ctx, operator, s.request(p))
	if err != nil {
		return err
	}
	fmt.Fprint(p.out, found)
	fmt.Fprintln(p.out, "Nothing was written: add -yes to do it.")
	return failures(found.Entra)
}

func applyAdoption(ctx context.Context, p *program, s *session) (err error) {
	if s.document, err = s.adoption(ctx, p); err != nil {
		return err
	}
	progress := p.newProgress()
	report, err := s.service.ApplyDocument(ctx, operator, appaccess.ApplyRequest{PlanRequest: s.request(p), Plan: p.plan, Progress: progress.show})
	progress.end()
	p.printReport(report)
	return err
}

// adoption makes the document of the object that takes over the app registration.
func (s *session) adoption(ctx context.Context, p *program) (*appaccess.Document, error) {
	d := &appaccess.Document{Version: 1}
	if p.application != "" {
		d.Applications = []appaccess.DocumentApplication{{
			ID: p.application, Name: p.name, OwnerID: p.owner, Grants: appaccess.GrantsOfAll(p.grant...), Adopt: p.clientID,
		}}
		return d, nil
	}
	v, err := s.service.Product(ctx, operator, p.product)
	if err != nil {
		return nil, err
	}
	if v.Access.Token {
		return nil, fmt.Errorf("product %s has token access and so an application (client ID %s) already", v.ID, v.Entra.AppID)
	}
	d.Products = []appaccess.DocumentProduct{{
		ID: v.ID, Name: v.Name, Description: v.Description, Published: v.State == appaccess.Published, Suspended: v.Suspended,
		Access: appaccess.Access{Token: true, Key: v.Access.Key}, APIs: v.APIs, Permissions: v.Permissions,
		SelfService: v.SelfService, PerDeveloper: v.PerDeveloper, Adopt: p.clientID,
	}}
	return d, nil
}

// progress prints the steps in Entra while they are taken.
type progress struct {
	p    *program
	done int
	open bool // the terminal's last line is not finished
}

func (p *program) newProgress() *progress { return &progress{p: p} }

func (g *progress) show(s appaccess.Progress) {
	if g.p.quiet || g.p.json && !g.p.terminal {
		return
	}
	text := fmt.Sprintf("%s: %s", s.Object, s.Step)
	switch {
	case s.Done:
		g.done++
	case s.Wait > 0:
		text = fmt.Sprintf("%s: attempt %d, again in %s", text, s.Attempt, s.Wait.Round(time.Second/10))
	default:
		return
	}
	if !g.p.terminal {
		fmt.Fprintln(g.p.errOut, text)
		return
	}
	text = fmt.Sprintf("%d steps done; %s", g.done, text)
	fmt.Fprintf(g.p.errOut, "\r\x1b[K%s", strings.ToValidUTF8(text[:min(len(text), 100)], ""))
	g.open = true
}

func (g *progress) end() {
	if g.open {
		fmt.Fprint(g.p.errOut, "\r\x1b[K")
	}
}
