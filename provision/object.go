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
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/entragate/entragate/appaccess"
)

// object is a product or a client application in one run: what is wanted of
// it, what the journal holds and what Entra shows.
type object struct {
	kind, id string
	name     string // "product starter"
	key      string // its uniqueName
	digest   string // of what is wanted

	// Exactly one is set, but for a product that a client names and that this
	// run is not to change.
	product *appaccess.WantedProduct
	client  *appaccess.WantedApplication

	entry   Entry
	applied bool      // the journal says that it was brought in step with this want
	fresh   time.Time // up to here a replica may not show what we wrote
	readAt  time.Time
	// unsure: the state was read while a replica may have lagged behind an
	// earlier run of ours with another want, so what it shows is written again.
	unsure  bool
	regrant bool // the same of grants

	// What Entra shows. app nil: no such application. assignments are those of
	// a client's service principal.
	app         *Application
	sp          *ServicePrincipal
	assignments []Assignment
	granted     map[string]bool       // by product, in this run
	federated   []FederatedCredential // read only if an attempt to add one was cut off
	deleted     *Application          // the soft-deleted application, if app is nil

	lost []appaccess.Credential // ours, but no longer in Entra
	err  error

	lease *held
	role  sync.Mutex // guards roleShown
	// roleShown: the service principal was seen to carry the role.
	roleShown bool
}

// run is one Plan or Apply.
type run struct {
	e        *Engine
	holder   string
	objects  []*object
	products map[string]*object // by ID, those that clients name too
	also     []*object          // products that clients name and that are not to be changed
	callers  sync.Map           // Directory to the name of its identity
	report   func(appaccess.Progress)
}

// open checks what is wanted and loads the journal.
func (e *Engine) open(ctx context.Context, want appaccess.Wanted, progress func(appaccess.Progress)) (*run, error) {
	r := e.newRun(progress)
	seen := map[string]bool{}
	add := func(o *object) error {
		if o.id == "" {
			return &appaccess.InvalidError{Field: o.kind + ".id", Rule: "must not be empty"}
		}
		if seen[o.key] {
			return &appaccess.InvalidError{Field: o.kind + ".id", Rule: "named twice: " + o.id}
		}
		seen[o.key] = true
		r.objects = append(r.objects, o)
		return nil
	}
	for i := range want.Products {
		p := want.Products[i]
		o := e.newObject(kindProduct, p.ID)
		o.product, o.digest = &p, digest(p)
		o.err = invalidProduct(p)
		if err := add(o); err != nil {
			return nil, err
		}
		r.products[p.ID] = o
	}
	for i := range want.Applications {
		a := want.Applications[i]
		o := e.newObject(kindApplication, a.ID)
		o.client, o.digest = &a, digest(a)
		o.err = invalidApplication(a)
		if err := add(o); err != nil {
			return nil, err
		}
	}
	r.also = r.named()
	if err := r.load(ctx, slices.Concat(r.also, r.objects)); err != nil {
		return nil, err
	}
	return r, nil
}

func (e *Engine) newRun(progress func(appaccess.Progress)) *run {
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

func (e *Engine) newObject(kind, id string) *object {
	o := &object{kind: kind, id: id, name: kind + " " + id, key: uniqueName(e.cfg.Instance, kind, id)}
	o.entry.Object = o.key
	return o
}

// named adds the products that clients name and that are not to be changed.
func (r *run) named() []*object {
	var more []*object
	for _, o := range r.objects {
		if o.client == nil {
			continue
		}
		for _, id := range o.client.Products {
			if r.products[id] == nil {
				p := r.e.newObject(kindProduct, id)
				r.products[id] = p
				more = append(more, p)
			}
		}
	}
	return more
}

func (r *run) load(ctx context.Context, objects []*object) error {
	keys := make([]string, len(objects))
	for i, o := range objects {
		keys[i] = o.key
	}
	entries, err := r.e.cfg.Journal.Load(ctx, keys)
	if err != nil {
		return &JournalError{err}
	}
	for _, o := range objects {
		o.set(entries[o.key], r.e.cfg.LagBudget)
	}
	return nil
}

func (o *object) set(e Entry, lag time.Duration) {
	e.Object = o.key
	o.entry = e
	o.applied = e.Want != "" && e.Want == o.digest
	if !e.Touched.IsZero() {
		o.fresh = e.Touched.Add(lag)
	}
}

// phases are the objects in the order in which they must be done: products
// before the clients that are granted them, products to be removed last.
func (r *run) phases() iter.Seq[[]*object] {
	return func(yield func([]*object) bool) {
		var first, second, last []*object
		for _, o := range r.objects {
			switch {
			case o.client != nil:
				second = append(second, o)
			case o.absent():
				last = append(last, o)
			default:
				first = append(first, o)
			}
		}
		first = append(first, r.also...)
		_ = yield(first) && yield(second) && yield(last)
	}
}

func (o *object) absent() bool {
	return o.product != nil && o.product.Absent || o.client != nil && o.client.Absent
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

// wrote notes that a replica may lag behind from now on.
func (r *run) wrote(o *object) { o.fresh = r.e.cfg.Now().Add(r.e.cfg.LagBudget) }

func (r *run) isFresh(o *object) bool { return r.e.cfg.Now().Before(o.fresh) }

// digest tells one want from another.
func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs of strings
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

func invalidProduct(p appaccess.WantedProduct) error {
	if p.Absent {
		return nil
	}
	switch {
	case p.Role == "" || utf8.RuneCountInString(p.Role) > maxName || p.Role[0] == '.' || strings.ContainsFunc(p.Role, notTag):
		return &appaccess.InvalidError{Field: "role", Rule: "1 to 120 printable ASCII characters without spaces, not beginning with a dot"}
	}
	return invalidName(p.ApplicationName)
}

func invalidApplication(a appaccess.WantedApplication) error {
	if a.Absent {
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

// problem makes the error of an object's step. One that is made already keeps
// its kind and learns whose it is.
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
