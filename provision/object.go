package provision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/entragate/entragate/appaccess"
)

// object is a product or a client application in one run: what is desired, what
// is recorded and what Entra shows.
type object struct {
	kind, id string
	name     string // "product starter"
	key      string // its uniqueName
	named    bool   // the run may change it; false: a product that is only granted

	// Exactly one of the two is set if named is true.
	product *appaccess.DesiredProduct
	client  *appaccess.DesiredApplication
	digest  string // of what is desired

	instance     string
	installation installation

	loaded  bool
	changed bool // its desired state or entry was changed after it was read without a lock

	entry     entry
	inSync    bool      // the entry says that Entra was brought in sync with what is desired
	lagsUntil time.Time // until then a replica may not show what we wrote
	readAt    time.Time
	// rewriteApp: the desired state was changed while a replica could lag behind
	// an earlier write. The read may agree by chance with the new desired state,
	// so the properties are written again.
	rewriteApp    bool
	rewriteGrants bool // the same for grants
	wrote         bool // to Entra, in this run
	writing       bool // this run is changing Entra. If it dies, the entry is due.

	// What Entra shows. app nil: no such application. assignments are those of
	// a client's service principal.
	app         *Application
	sp          *ServicePrincipal
	assignments []Assignment
	granted     map[recordedGrant]bool // in this run
	hidden      []string               // keys that we removed and that were still shown
	more        map[string]*object     // products that it was granted since the run began
	federated   []FederatedCredential  // read only if one of ours may exist
	softDeleted *Application           // the soft-deleted application, if app is nil
	recreated   string                 // object ID of another service principal with the client ID of a missing one
	managedBy   string                 // the object of this store that manages the application to adopt

	missingInEntra []appaccess.Credential // ours, but no longer in Entra
	err            error

	lock      *heldLock
	wasLocked bool // it was locked in this run
	// confirmed: a list of grants confirmed the revoked grants, and no other work
	// is due.
	confirmed bool
	role      sync.Mutex // guards rolesShown
	// rolesShown are the IDs of roles that the service principal was seen to carry.
	rolesShown []string
}

// run is one call of Plan, Apply or another method.
type run struct {
	e        *Reconciler
	holder   string
	desired  appaccess.DesiredState
	objects  []*object          // the named objects
	products map[string]*object // by ID, those that clients are granted too
	also     []*object          // products that clients are granted and that are not to be changed
	callers  sync.Map           // Directory to its Identity
	full     atomic.Value       // *Error of the quota, once it is met
	recorded struct {           // see recordedProducts
		sync.Mutex
		products map[string]entry
	}
	report func(appaccess.Progress)
	// inspect makes the run read the service principals of all clients, also where
	// only the grants are needed.
	inspect bool
	// unknown are grants, by unique name of the client, that are to be revoked
	// although they are not recorded: see RemoveUnknown.
	unknown map[string][]recordedGrant
}

// open reads the desired state and the entries of the named objects, and the
// entries of the products that they are granted.
func (e *Reconciler) open(ctx context.Context, objects appaccess.Objects, desired appaccess.DesiredState, progress func(appaccess.Progress)) (*run, error) {
	r := e.newRun(progress)
	r.desired = desired
	return r, r.open(ctx, objects)
}

func (r *run) open(ctx context.Context, objects appaccess.Objects) error {
	e := r.e
	seen := map[string]bool{}
	for kind, ids := range map[string][]string{kindProduct: objects.Products, kindApplication: objects.Applications} {
		for _, id := range ids {
			o := e.newObject(kind, id)
			switch {
			case id == "":
				return &appaccess.InvalidError{Field: kind + ".id", Rule: "must not be empty"}
			case seen[o.key]:
				return &appaccess.InvalidError{Field: kind + ".id", Rule: "named twice: " + id}
			}
			seen[o.key], o.named = true, true
			r.objects = append(r.objects, o)
			if kind == kindProduct {
				r.products[id] = o
			}
		}
	}
	if err := r.loadAll(ctx, r.objects, objects.Read...); err != nil {
		return err
	}
	r.also = r.granted()
	return r.loadAll(ctx, r.also)
}

func (e *Reconciler) newRun(progress func(appaccess.Progress)) *run {
	r := &run{e: e, holder: uuid.NewString(), products: map[string]*object{}}
	var mu sync.Mutex
	r.report = func(p appaccess.Progress) {
		if progress != nil {
			mu.Lock()
			defer mu.Unlock()
			progress(p)
		}
	}
	return r
}

func (e *Reconciler) newObject(kind, id string) *object {
	o := &object{kind: kind, id: id, name: kind + " " + id, key: uniqueName(e.cfg.Instance, kind, id), instance: e.cfg.Instance}
	o.entry.Object = o.key
	return o
}

// productOf returns a product that a client is granted; nil if the run does not
// know the product.
func (r *run) productOf(o *object, id string) *object {
	if p := o.more[id]; p != nil {
		return p
	}
	return r.products[id]
}

// granted returns the products that clients are granted and that are not named,
// and adds them to the run.
func (r *run) granted() []*object {
	var more []*object
	for _, o := range r.objects {
		if o.client == nil {
			continue
		}
		for _, id := range o.client.Grants.Products() {
			if r.products[id] == nil {
				p := r.e.newObject(kindProduct, id)
				r.products[id] = p
				more = append(more, p)
			}
		}
	}
	return more
}

// loadAll loads objects in one transaction. An error that concerns one object is
// kept in the object; the returned error is that of the store. It does not read the
// records that the caller has read.
func (r *run) loadAll(ctx context.Context, objects []*object, read ...appaccess.Record) error {
	if len(objects) == 0 {
		return nil
	}
	err := r.e.cfg.Store.View(ctx, func(rd appaccess.Reader) error {
		known := newKnown(rd, read)
		var ids [3][]string // of products, applications and entries
		for _, o := range objects {
			switch {
			case o.named && o.kind == kindProduct:
				ids[0] = append(ids[0], o.id)
			case o.named:
				ids[1] = append(ids[1], o.id)
			}
			ids[2] = append(ids[2], o.key)
		}
		for i, kind := range []appaccess.Kind{appaccess.KindProduct, appaccess.KindApplication, appaccess.KindProvisioning} {
			if err := known.readAll(kind, ids[i]); err != nil {
				return err
			}
		}
		for _, o := range objects {
			err := r.load(known, nil, o)
			var own *Error
			if err != nil && !errors.As(err, &own) {
				return err
			}
			o.err = err
		}
		return nil
	})
	if err != nil {
		return &StateError{err}
	}
	return nil
}

// load reads what is desired of an object, if it is named, and its entry. With a
// Writer it stores the installation if there is none.
func (r *run) load(rd appaccess.Reader, w appaccess.Writer, o *object) error {
	err := r.loadDesired(rd, o)
	if err == nil {
		o.installation, err = r.e.state.installation(rd, w, o.instance)
	}
	if err == nil {
		var e entry
		if e, err = r.e.state.get(rd, o.key); err == nil {
			o.set(e, r.e.cfg.LagBudget)
			for _, g := range r.unknown[o.key] {
				if o.recorded(g) == nil {
					o.entry.Grants = append(slices.Clone(o.entry.Grants), g)
				}
			}
		}
	}
	if err != nil && !errors.Is(err, appaccess.ErrUnavailable) {
		return o.problem(Permanent, "read its records", err)
	}
	return err
}

func (r *run) loadDesired(rd appaccess.Reader, o *object) error {
	if !o.named || r.desired == nil {
		return nil
	}
	before := o.digest
	switch o.kind {
	case kindProduct:
		p, err := r.desired.Product(rd, o.id)
		if err == nil {
			err = invalidProduct(p)
		}
		bare := p
		bare.Revision, bare.Pending, bare.Recorded = 0, false, appaccess.ProductApplication{}
		o.product, o.digest = &p, digest(bare)
		if err != nil {
			return err
		}
	case kindApplication:
		a, err := r.desired.Application(rd, o.id)
		if err == nil {
			err = invalidApplication(a)
		}
		bare := a
		bare.Revision, bare.Pending, bare.Recorded = 0, false, appaccess.ApplicationRegistration{}
		o.client, o.digest = &a, digest(bare)
		if err != nil {
			return err
		}
	}
	o.changed = o.changed || o.digest != before
	return nil
}

func (o *object) set(e entry, lag time.Duration) {
	o.changed = o.loaded && (o.changed || o.entry.Version != e.Version)
	o.loaded = true
	e.Object, e.Kind, e.ID = o.key, o.kind, o.id
	if e.ObjectID == "" && e.Nonce == "" && !o.existing() {
		e.Nonce = newNonce() // recorded with the first step, before the POST
	}
	o.entry = e
	o.entry.Existing = o.existing()
	o.inSync = e.InSyncWith != "" && e.InSyncWith == o.digest
	if !e.LastWritten.IsZero() {
		o.lagsUntil = e.LastWritten.Add(lag)
	}
}

// phases yields the objects in the order in which they are reconciled: products,
// then the clients that are granted them, then the products to delete.
func (r *run) phases() iter.Seq[[]*object] {
	return func(yield func([]*object) bool) {
		var first, second, last []*object
		for _, o := range r.objects {
			switch {
			case o.confirmed:
			case o.client != nil:
				second = append(second, o)
			case o.toBeDeleted():
				last = append(last, o)
			default:
				first = append(first, o)
			}
		}
		if len(second) > 0 {
			first = append(first, r.also...)
		}
		_ = yield(first) && yield(second) && yield(last)
	}
}

func (o *object) toBeDeleted() bool {
	return o.product != nil && o.product.Deleted || o.client != nil && o.client.Deleted
}

func (o *object) adopt() string {
	switch {
	case o.product != nil:
		return o.product.Adopt
	case o.client != nil:
		return o.client.Adopt
	}
	return ""
}

func (o *object) displayName() string {
	switch {
	case o.product != nil:
		return o.product.ApplicationName
	case o.client != nil:
		return o.client.ApplicationName
	}
	return o.id
}

// wrote records the time until which replicas may lag behind this write.
func (r *run) wrote(o *object) {
	o.lagsUntil, o.wrote = r.e.cfg.Now().Add(r.e.cfg.LagBudget), true
}

func (r *run) mayLag(o *object) bool { return r.e.cfg.Now().Before(o.lagsUntil) }

// digest identifies a desired state.
func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs of strings
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

func invalidProduct(p appaccess.DesiredProduct) error {
	if p.Deleted {
		return nil
	}
	if len(p.Roles) == 0 {
		return &appaccess.InvalidError{Field: "roles", Rule: "a product must have at least one role"}
	}
	for i, role := range p.Roles {
		v := role.Value
		if role.Permission == "" || v == "" || utf8.RuneCountInString(v) > maxName || v[0] == '.' || strings.ContainsFunc(v, notTag) {
			return &appaccess.InvalidError{Field: "roles", Rule: "a role must have a permission and a value of 1 to 120 printable ASCII characters without spaces, not beginning with a dot"}
		}
		if slices.ContainsFunc(p.Roles[:i], func(other appaccess.Role) bool { return other.Permission == role.Permission || other.Value == v }) {
			return &appaccess.InvalidError{Field: "roles", Rule: "two roles of a product must differ in permission and value: " + v}
		}
	}
	return invalidName(p.ApplicationName)
}

func invalidApplication(a appaccess.DesiredApplication) error {
	if a.Deleted || a.ServicePrincipal.ObjectID != "" {
		return nil
	}
	return invalidName(a.ApplicationName)
}

func invalidName(name string) error {
	if name == "" || utf8.RuneCountInString(name) > maxName {
		return &appaccess.InvalidError{Field: "applicationName", Rule: "1 to 120 characters"}
	}
	return nil
}

// problem makes an Error with the name of the object. An err that is an Error
// already keeps its kind.
func (o *object) problem(kind Kind, what string, err error) error {
	var done *Error
	if errors.As(err, &done) {
		if done.Object != "" {
			return err
		}
		named := *done
		named.Object = o.name
		return &named
	}
	return &Error{Kind: kind, Op: what, Object: o.name, Err: err}
}
