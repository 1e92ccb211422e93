package growth

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/internal/testkit"
	"github.com/entragate/entragate/provision"
	"github.com/entragate/entragate/provision/entratest"
)

// Writes does what concerns everything in a store of n client applications in Entra
// and n subscriptions: [Scale] if EnvScale is set, else 100. For each action it reports
// ms-longest and ms-mean, how long a write transaction kept others from writing, and
// ms-behind, the longest time that a suspension took meanwhile. ahead is the most
// transactions that ended while one waited for its turn; it does not depend on the
// machine. ms-alone is the mean of the suspension's own write, the baseline.
func Writes(b *testing.B, store appaccess.Store) {
	b.Helper()
	n := 100
	if os.Getenv(EnvScale) != "" {
		n = Scale(b)
	}
	t := &timing{Store: store}
	w := &world{store: &counting{Store: t}, n: n}
	w.s = inEntra(b, w.store)
	var err error
	if w.file, err = os.Create(filepath.Join(b.TempDir(), "document.json")); err != nil {
		b.Fatal(err)
	}
	w.suspending(b, "", func() {})
	alone := t.take()
	for _, a := range writing(n) {
		b.Run(a.name, func(b *testing.B) {
			for b.Loop() { // each action leaves nothing to do for a second turn
				t.take()
				behind := w.suspending(b, "suspended", func() {
					if err := a.do(b.Context(), w); err != nil {
						b.Fatalf("%s: %v", a.name, err)
					}
				})
				took := t.take()
				b.ReportMetric(millis(took.longest), "ms-longest")
				b.ReportMetric(millis(took.mean()), "ms-mean")
				b.ReportMetric(millis(behind), "ms-behind")
				b.ReportMetric(float64(took.ahead), "ahead")
				b.ReportMetric(millis(alone.mean()), "ms-alone")
				b.Logf("%d write transactions", took.count)
			}
		})
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// inEntra returns a Service whose objects are in a local tenant.
func inEntra(b *testing.B, store appaccess.Store) *appaccess.Service {
	b.Helper()
	clock := testkit.NewClock(time.Now())
	tenant, err := entratest.New(entratest.Config{Now: clock.Now, Sleep: clock.Sleep})
	if err != nil {
		b.Fatal(err)
	}
	caller, err := tenant.AddCaller("entragate", entratest.ApplicationAdministrator)
	if err != nil {
		b.Fatal(err)
	}
	engine, err := provision.New(provision.Config{Directory: tenant.Directory(caller), Store: store, Now: clock.Now, Sleep: clock.Sleep})
	if err != nil {
		b.Fatal(err)
	}
	s, err := appaccess.NewService(b.Context(), appaccess.ServiceConfig{
		Store: store, Provisioner: engine, TenantID: tenant.ID(), Authority: tenant.BaseURL(), Now: clock.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// writing are the actions, in this order.
func writing(n int) []wholeAction {
	d := appaccess.Document{
		Version: 1,
		APIs:    []appaccess.DocumentAPI{{ID: "orders", Name: "Orders", Path: "/orders"}},
		Users:   []appaccess.DocumentUser{{ID: owner, Name: "Big Owner"}},
		Products: []appaccess.DocumentProduct{
			{ID: "gold", Name: "Gold", Published: true, Access: appaccess.Access{Key: true, Token: true}, APIs: []string{"orders"}},
		},
		Applications:  []appaccess.DocumentApplication{},
		Subscriptions: []appaccess.DocumentSubscription{},
	}
	for i := range n {
		d.Applications = append(d.Applications, appaccess.DocumentApplication{
			ID: fmt.Sprintf("app-%06d", i), Name: fmt.Sprintf("Client C%06d", i), OwnerID: owner, Grants: appaccess.GrantsOfAll("gold"),
		})
		d.Subscriptions = append(d.Subscriptions, appaccess.DocumentSubscription{
			ID: fmt.Sprintf("sub-%06d", i), Name: fmt.Sprintf("Subscription N%06d", i), OwnerID: owner,
			Scope: appaccess.ProductScope("gold"), State: appaccess.SubscriptionActive,
		})
	}
	renamed := d
	renamed.Applications, renamed.Subscriptions = nil, nil
	for _, a := range d.Applications {
		a.Name += " again"
		renamed.Applications = append(renamed.Applications, a)
	}
	for _, s := range d.Subscriptions {
		s.Name += " again"
		renamed.Subscriptions = append(renamed.Subscriptions, s)
	}
	actions := []wholeAction{
		{"Import", func(ctx context.Context, w *world) error {
			_, err := w.s.Import(ctx, boss, d, appaccess.ImportRequest{})
			return err
		}},
		{"Import of new names", func(ctx context.Context, w *world) error {
			_, err := w.s.Import(ctx, boss, renamed, appaccess.ImportRequest{})
			return err
		}},
		{"Sync of everything", func(ctx context.Context, w *world) error {
			_, err := w.s.Sync(ctx, boss, appaccess.SyncRequest{All: true})
			return err
		}},
		{"Plan", func(ctx context.Context, w *world) error {
			plan, err := w.s.Plan(ctx, boss)
			if err == nil && !plan.Empty() {
				err = fmt.Errorf("the plan has steps, expected none: %.500s", plan.String())
			}
			return err
		}},
	}
	actions = append(actions, whole...)
	return append(actions,
		wholeAction{"BlockUser", func(ctx context.Context, w *world) error {
			_, err := w.s.BlockUser(ctx, boss, owner)
			return err
		}},
		wholeAction{"SetAccess off", func(ctx context.Context, w *world) error {
			_, err := w.s.SetAccess(ctx, boss, "gold", appaccess.AccessRequest{Access: appaccess.Access{Key: true}, Force: true})
			return err
		}},
		wholeAction{"DeleteProduct", func(ctx context.Context, w *world) error {
			return w.s.DeleteProduct(ctx, boss, "gold", true)
		}},
	)
}

// timing measures how long write transactions keep others from writing: from their
// begin, when they have the lock, until their commit is done.
type timing struct {
	appaccess.Store
	mu   sync.Mutex
	took took
	ends atomic.Int64 // of all transactions
}

type took struct {
	longest, all time.Duration
	count, ahead int
}

func (t took) mean() time.Duration { return t.all / time.Duration(max(t.count, 1)) }

// take returns what was measured since the last call.
func (t *timing) take() took {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer func() { t.took = took{} }()
	return t.took
}

func (t *timing) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	var began time.Time
	var ahead int64
	before := t.ends.Load()
	rev, err := t.Store.Update(ctx, func(w appaccess.Writer) error {
		began, ahead = time.Now(), t.ends.Load()-before
		return fn(w)
	})
	t.ends.Add(1)
	if !began.IsZero() {
		held := time.Since(began)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.took.ahead = max(t.took.ahead, int(ahead))
		t.took.longest, t.took.all, t.took.count = max(t.took.longest, held), t.took.all+held, t.took.count+1
	}
	return rev, err
}
