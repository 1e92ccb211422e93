package appaccess

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// PlanRequest describes what a plan or an apply does.
type PlanRequest struct {
	// Document is imported first. If it is nil, only Entra is made to match the
	// store.
	Document *Document
	// Prune deletes the objects that a section of the document does not hold.
	Prune bool
}

// DocumentPlan is everything that [Service.ApplyDocument] would do, in the same
// order: first the store, then Entra.
type DocumentPlan struct {
	// Store has every object that changes in the store, also objects that the
	// document does not name: the subscriptions of a product that is pruned,
	// subscriptions that expire, one-time secrets that nobody received.
	Store []Difference
	// Entra has the steps in Entra, and the objects whose steps are unknown because
	// they could not be read.
	Entra Plan
}

// Empty reports whether there is nothing to do.
func (p DocumentPlan) Empty() bool { return len(p.Store) == 0 && p.Entra.Empty() }

// Hash identifies the plan: two plans with the same hash do the same.
func (p DocumentPlan) Hash() string {
	failed := map[string]string{}
	for object, err := range p.Entra.Failed {
		failed[object] = err.Error()
	}
	raw, err := json.Marshal([]any{p.Store, p.Entra.Steps, failed})
	if err != nil {
		panic("appaccess: a plan cannot be encoded: " + err.Error()) // it holds strings only
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

// String returns the plan as text, with one line for each field that changes.
func (p DocumentPlan) String() string {
	if p.Empty() {
		return "Nothing to do: the store and Entra are in sync.\n" + p.Entra.Unknown.String()
	}
	var b strings.Builder
	count := map[DiffAction]int{}
	for i, d := range p.Store {
		if i == 0 {
			b.WriteString("In the store:\n")
		}
		count[d.Change]++
		fmt.Fprintf(&b, "  %s %s %s\n", d.Change, d.Kind, d.ID)
		for _, f := range d.Fields {
			if d.Change == DiffCreate {
				fmt.Fprintf(&b, "    %s: %s\n", f.Name, f.To)
			} else {
				fmt.Fprintf(&b, "    %s: %s -> %s\n", f.Name, cmp.Or(f.From, "none"), cmp.Or(f.To, "none"))
			}
		}
	}
	var parts []string
	for _, a := range []DiffAction{DiffCreate, DiffChange, DiffDelete} {
		if count[a] > 0 {
			parts = append(parts, fmt.Sprintf("%d to %s", count[a], a))
		}
	}
	if len(parts) > 0 {
		fmt.Fprintf(&b, "Objects: %s.\n", strings.Join(parts, ", "))
	}
	if !p.Entra.Empty() || !p.Entra.Unknown.Empty() {
		b.WriteString("In Entra:\n")
		for line := range strings.Lines(p.Entra.String()) {
			if !strings.HasPrefix(line, "Steps:") {
				b.WriteString("  ")
			}
			b.WriteString(line)
		}
	}
	return b.String()
}

// PlanDocument returns what [Service.ApplyDocument] would do. It writes nothing. An
// error says why the apply would be refused. For managers only.
//
// It reads the store piece by piece, and Entra after it: what others change meanwhile
// may be missing in the plan. A plan is in memory as a whole: a plan that changes more
// than 100,000 records, audit records among them, is an [*InvalidError].
// [Service.Diff] and [Service.Import] have no such limit.
func (s *Service) PlanDocument(ctx context.Context, by Actor, req PlanRequest) (DocumentPlan, error) {
	shadow, after := s.shadow()
	var plan DocumentPlan
	if req.Document != nil {
		if _, err := shadow.Import(ctx, by, *req.Document, ImportRequest{Prune: req.Prune}); err != nil {
			return DocumentPlan{}, err
		}
	}
	var removals []Step
	err := shadow.manage(ctx, by, func(e *edit) (err error) {
		removals, err = e.upkeep()
		return err
	})
	if err != nil {
		return DocumentPlan{}, err
	}
	if plan.Store, err = after.differences(); err != nil {
		return DocumentPlan{}, err
	}
	if req.Document != nil {
		addKeys(plan.Store, req.Document.Subscriptions)
	}
	plan.Entra, err = shadow.Plan(ctx, by)
	plan.Entra.Steps = append(removals, plan.Entra.Steps...)
	return orZero(plan, err)
}

// shadow returns a copy of the Service whose writes stay in memory, in changes. It
// reads Entra, and plans what these changes need there.
func (s *Service) shadow() (*Service, *changes) {
	store := newOverlayStore(s.store)
	shadow := *s
	shadow.store = store
	if s.entra != nil {
		shadow.entra = planner{s.entra, store.changes}
	}
	return &shadow, store.changes
}

// planner is a Provisioner that plans for a store with changes, and changes nothing
// in Entra.
type planner struct {
	Provisioner
	changes *changes
}

func (p planner) Plan(ctx context.Context, objects Objects, desired DesiredState) (Plan, error) {
	return p.Provisioner.Plan(ctx, objects, changedState{desired, p.changes})
}

// Apply leaves the objects for later.
func (planner) Apply(context.Context, Objects, DesiredState, func(Progress)) (Applied, error) {
	return Applied{}, nil
}

// changedState is the desired state after changes to the store.
type changedState struct {
	DesiredState
	changes *changes
}

func (d changedState) Product(r Reader, id string) (DesiredProduct, error) {
	return d.DesiredState.Product(d.changes.over(r), id)
}

func (d changedState) Application(r Reader, id string) (DesiredApplication, error) {
	return d.DesiredState.Application(d.changes.over(r), id)
}

// upkeep does in the store what Sync does independently of a document. It returns the
// steps that remove credentials from Entra.
func (e *edit) upkeep() ([]Step, error) {
	for v, err := range each[Subscription](e, dueBy(byExpiry, e.now)) {
		if err != nil {
			return nil, err
		}
		if v.expires() && !e.now.Before(v.Expires) {
			v.State = SubscriptionExpired
			if err := write(e, &v); err != nil {
				return nil, err
			}
		}
	}
	q := dueBy(byExpiry, e.now)
	q.Kind = KindOneTimeSecret
	lapsed, err := e.List(q)
	if err != nil {
		return nil, err
	}
	for _, r := range lapsed {
		if err := e.lapse(r.ID); err != nil {
			return nil, err
		}
	}
	var steps []Step
	for c, err := range each[Credential](e, dueBy(byRemoval, e.now)) {
		if err != nil {
			return nil, err
		}
		if due(&c, e.now) {
			steps = append(steps, Step{
				Action: ActionRemove, Object: applicationObject(c.ApplicationID),
				Detail: fmt.Sprintf("%s %q (key ID %s), which was replaced or not received", c.Kind, c.Name, c.KeyID),
			})
		}
	}
	return steps, nil
}

// differences returns the changed objects that a document can contain or that a
// person must know.
func (c *changes) differences() ([]Difference, error) {
	var found []Difference
	for _, key := range c.order {
		d, err := c.record[key].difference(key)
		if err != nil {
			return nil, err
		}
		if d != nil {
			found = append(found, *d)
		}
	}
	return found, nil
}

func (c *changedRecord) difference(key recordKey) (*Difference, error) {
	before, err := fieldsIn(key.kind, c.before, nil)
	if err != nil {
		return nil, err
	}
	after, err := fieldsIn(key.kind, c.after, c.before)
	if err != nil {
		return nil, err
	}
	d := &Difference{Kind: key.kind, ID: key.id, Change: DiffChange}
	switch {
	case before == nil && after == nil:
		return nil, nil
	case before == nil:
		d.Change = DiffCreate
		delete(after, "id")
	case after == nil:
		d.Change = DiffDelete
		return d, nil
	}
	d.Fields = changedFields(before, after)
	if d.Change == DiffChange && len(d.Fields) == 0 {
		return nil, nil
	}
	return d, nil
}

// fieldsIn returns the fields of a record in the form of a document. The field adopt is
// included if before does not have the same value. The result is nil for a nil record
// and for an object that a document cannot contain.
func fieldsIn(kind Kind, r, before *Record) (map[string]json.RawMessage, error) {
	if r == nil {
		return nil, nil
	}
	switch kind {
	case KindProduct:
		return fieldsOfRecord(r, before, documentProduct, func(d *DocumentProduct, p, old *Product) {
			if old == nil || old.Adopt != p.Adopt {
				d.Adopt = p.Adopt
			}
		})
	case KindAPI:
		return fieldsOfRecord(r, before, documentAPI, nil)
	case KindUser:
		return fieldsOfRecord(r, before, documentUser, nil)
	case KindApplication:
		return fieldsOfRecord(r, before, documentApplication, func(d *DocumentApplication, a, old *ClientApplication) {
			if old == nil || old.Adopt != a.Adopt {
				d.Adopt = a.Adopt
			}
		})
	case KindSubscription:
		return fieldsOfRecord(r, before, documentSubscription, nil)
	case KindCredential, KindOneTimeSecret, KindRequest, KindTransfer:
		return map[string]json.RawMessage{}, nil
	}
	return nil, nil
}

func fieldsOfRecord[T entity, D any](r, before *Record, form func(*T) (D, bool), more func(d *D, v, old *T)) (map[string]json.RawMessage, error) {
	v, err := decode[T](*r)
	if err != nil {
		return nil, err
	}
	d, shown := form(&v)
	if !shown {
		return nil, nil
	}
	if more != nil && before != r {
		var old *T
		if before != nil {
			o, err := decode[T](*before)
			if err != nil {
				return nil, err
			}
			old = &o
		}
		more(&d, &v, old)
	}
	return fieldsOf(d)
}

// addKeys adds the keys of new subscriptions.
func addKeys(found []Difference, section []DocumentSubscription) {
	brings := make(map[string]DocumentSubscription, len(section))
	for _, v := range section {
		brings[v.ID] = v
	}
	for i := range found {
		if d := &found[i]; d.Kind == KindSubscription && d.Change == DiffCreate {
			d.Fields = append(d.Fields, keysOf(brings[d.ID])...)
		}
	}
}

// keysOf returns, for each key of a new subscription, the beginning of the hash if
// the document brings the key. That is enough to compare it.
func keysOf(v DocumentSubscription) []FieldChange {
	shown := func(name string, hash KeyHash) FieldChange {
		if hash == (KeyHash{}) {
			return FieldChange{Name: name, To: `"generated"`}
		}
		return FieldChange{Name: name, To: `"` + hash.String()[:8] + `…"`}
	}
	return []FieldChange{shown("primaryHash", v.PrimaryHash), shown("secondaryHash", v.SecondaryHash)}
}

// ApplyRequest describes an apply.
type ApplyRequest struct {
	PlanRequest
	// Plan, if not empty, is the Hash of the plan that is expected. Another plan
	// is refused with a [*ConflictError], and nothing is written.
	Plan string
	// Progress is called for each step in Entra, by one goroutine at a time. It may
	// be nil.
	Progress func(Progress)
}

func (d Difference) action() string { return fmt.Sprintf("%s %s %s", d.Change, d.Kind, d.ID) }

// ApplyReport says what ApplyDocument did.
type ApplyReport struct {
	Plan DocumentPlan // what was planned
	// Stored is what the import did. It is empty if nothing was written.
	Stored []Difference
	// Subscriptions are the created subscriptions, with the keys that the document
	// did not bring. They cannot be read again.
	Subscriptions []IssuedSubscription
	// Sync is zero if the apply stopped before Entra.
	Sync SyncReport
	// Unplanned lists, as text, what was done although it was not planned, because
	// somebody changed the store or Entra meanwhile.
	Unplanned []string
}

// ApplyDocument makes the store match a document and then Entra match the store, as
// [Service.Import] and [Service.Sync] with All do. It plans first. It writes nothing
// if the plan is not the expected one, or has objects that cannot be read. Changes by
// others meanwhile may add to what it does: see ApplyReport.Unplanned. For managers
// only.
func (s *Service) ApplyDocument(ctx context.Context, by Actor, req ApplyRequest) (ApplyReport, error) {
	plan, err := s.PlanDocument(ctx, by, req.PlanRequest)
	report := ApplyReport{Plan: plan}
	if err != nil {
		return report, err
	}
	if hash := plan.Hash(); req.Plan != "" && hash != req.Plan {
		return report, &ConflictError{Field: "plan", Reason: "the plan is now " + hash + ", not " + req.Plan + ": the document, the store or Entra changed, look at the new plan"}
	}
	for _, object := range slices.Sorted(maps.Keys(plan.Entra.Failed)) {
		return report, &ProvisionError{Object: object, Err: fmt.Errorf("the steps cannot be planned, and nothing was written: %w", plan.Entra.Failed[object])}
	}
	planned := map[string]bool{}
	for _, d := range plan.Store {
		planned[d.action()] = true
	}
	for _, step := range plan.Entra.Steps {
		planned[step.Object+": "+string(step.Action)] = true
	}
	if req.Document != nil {
		// Entra is reconciled when the whole document is stored.
		later := *s
		if s.entra != nil {
			later.entra = planner{s.entra, nil}
		}
		imported, err := later.Import(ctx, by, *req.Document, ImportRequest{Prune: req.Prune})
		report.Stored, report.Subscriptions = imported.Differences, imported.Subscriptions
		for _, d := range imported.Differences {
			if !planned[d.action()] {
				report.Unplanned = append(report.Unplanned, d.String())
			}
		}
		if err != nil {
			return report, err
		}
	}
	report.Sync, err = s.Sync(ctx, by, SyncRequest{All: true, Progress: func(p Progress) {
		action, _, _ := strings.Cut(p.Step, " ") // the following words may contain IDs that did not exist when it was planned
		if p.Done && !planned[p.Object+": "+action] {
			report.Unplanned = append(report.Unplanned, p.Object+": "+p.Step)
		}
		if req.Progress != nil {
			req.Progress(p)
		}
	}})
	return report, err
}

func changedFields(from, to map[string]json.RawMessage) []FieldChange {
	names := map[string]bool{}
	for name := range from {
		names[name] = true
	}
	for name := range to {
		names[name] = true
	}
	var found []FieldChange
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if string(from[name]) != string(to[name]) {
			found = append(found, FieldChange{Name: name, From: string(from[name]), To: string(to[name])})
		}
	}
	return found
}
