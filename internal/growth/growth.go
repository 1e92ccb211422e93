// Package growth measures how what managers do grows with what is stored. It is
// the benchmark that both stores run.
package growth

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// EnvScale names the number of subscriptions in the large store: 10,000 unless
// it is set. There are a tenth as many users and products with token access.
const EnvScale = "ENTRAGATE_BENCH_SCALE"

const small = 1000

var boss = appaccess.Manager("")

// Bench seeds a store with 1,000 subscriptions and one with many, and reports for
// each action the rows that it reads in the large one, its time there, and the ratio
// of that time to the time in the small one. It fails if an action reads more rows
// than expected. Times never fail it.
func Bench(b *testing.B, open func() appaccess.Store) {
	b.Helper()
	few, many := seed(b, open(), small), seed(b, open(), Scale(b))
	benchWhole(b, few, many)
	for _, a := range actions {
		b.Run(a.name, func(b *testing.B) {
			for b.Loop() {
				before, _ := few.measure(b, a)
				took, rows := many.measure(b, a)
				if rows > a.most {
					b.Errorf("it read %d rows, expected at most %d at any size", rows, a.most)
				}
				b.ReportMetric(float64(took)/float64(before), "ratio")
				b.ReportMetric(float64(took.Microseconds()), "µs")
				b.ReportMetric(float64(rows), "rows")
			}
		})
	}
}

// Scale is the number that EnvScale names.
func Scale(b *testing.B) int {
	b.Helper()
	text := os.Getenv(EnvScale)
	if text == "" {
		return 10_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatalf("%s: %v", EnvScale, err)
	}
	return n
}

// world is a store of a size.
type world struct {
	store *counting
	s     *appaccess.Service
	file  *os.File // what the service exported
	n     int
	made  int
}

// owner is the user who has a tenth of everything, at most 10,000.
const owner = "user-big"

func seed(b *testing.B, store appaccess.Store, n int) *world {
	b.Helper()
	w := &world{store: &counting{Store: store}, n: n}
	var err error
	cfg := appaccess.ServiceConfig{Store: w.store, Provisioner: instant{store: w.store}, TenantID: "aaaabbbb-0000-cccc-1111-dddd2222eeee"}
	if w.s, err = appaccess.NewService(b.Context(), cfg); err != nil {
		b.Fatal(err)
	}
	if w.file, err = os.Create(filepath.Join(b.TempDir(), "document.json")); err != nil {
		b.Fatal(err)
	}
	d := appaccess.Document{
		Version:       1,
		APIs:          []appaccess.DocumentAPI{{ID: "orders", Name: "Orders", Path: "/orders"}},
		Users:         []appaccess.DocumentUser{{ID: owner, Name: "Big Owner"}},
		Products:      []appaccess.DocumentProduct{},
		Applications:  []appaccess.DocumentApplication{},
		Subscriptions: []appaccess.DocumentSubscription{},
	}
	for i := range 20 {
		d.Products = append(d.Products, appaccess.DocumentProduct{
			ID: fmt.Sprint("product-", i), Name: fmt.Sprint("Product ", i), Published: true, Access: appaccess.Access{Key: true}, APIs: []string{"orders"},
		})
	}
	for i := range n / 10 {
		d.Products = append(d.Products, appaccess.DocumentProduct{
			ID: fmt.Sprintf("token-%06d", i), Name: fmt.Sprintf("Token %06d", i), Access: appaccess.Access{Token: true},
		})
		d.Users = append(d.Users, appaccess.DocumentUser{ID: fmt.Sprintf("user-%06d", i), Name: fmt.Sprintf("User U%06d", i)})
	}
	for i := range n {
		s := appaccess.DocumentSubscription{
			ID: fmt.Sprintf("sub-%06d", i), Name: fmt.Sprintf("Subscription N%06d", i), OwnerID: fmt.Sprintf("user-%06d", i%(n/10)),
			Scope: appaccess.ProductScope(fmt.Sprint("product-", i%20)), State: appaccess.SubscriptionActive,
			Expires: time.Now().Add(time.Duration(1+i%1000) * 24 * time.Hour),
		}
		if i%10 == 0 {
			s.OwnerID = owner
		}
		if i%(n/20) == 0 {
			s.State = appaccess.SubscriptionSuspended
		}
		d.Subscriptions = append(d.Subscriptions, s)
	}
	longest := w.suspending(b, "", func() {
		began := time.Now()
		if _, err := w.s.Import(b.Context(), boss, d, appaccess.ImportRequest{Progress: func(appaccess.ImportReport) {}}); err != nil {
			b.Fatal(err)
		}
		b.Logf("an import of %d objects took %s", w.objects(), time.Since(began).Round(time.Millisecond))
	})
	b.Logf("a suspension waited at most %s behind it", longest.Round(time.Millisecond))
	return w
}

// objects is about how many objects the service has.
func (w *world) objects() int { return w.n + 2*w.n/10 + 22 }

// suspending suspends a subscription again and again while fn runs, and returns
// the longest time that took.
func (w *world) suspending(b *testing.B, id string, fn func()) (longest time.Duration) {
	b.Helper()
	if id == "" {
		made, err := w.s.CreateSubscription(b.Context(), boss, appaccess.SubscriptionRequest{ID: "suspended", Name: "Suspended", Scope: appaccess.AllAPIs})
		if err != nil {
			b.Fatal(err)
		}
		id = made.Subscription.ID
	}
	done, ended := make(chan struct{}), make(chan error)
	go func() {
		states := []appaccess.SubscriptionState{appaccess.SubscriptionSuspended, appaccess.SubscriptionActive}
		for i := 0; ; i++ {
			began := time.Now()
			_, err := w.s.SetSubscriptionState(context.WithoutCancel(b.Context()), boss, id, states[i%2])
			longest = max(longest, time.Since(began))
			select {
			case <-done:
				ended <- err
				return
			case <-time.After(50 * time.Millisecond):
				if err != nil {
					<-done
					ended <- err
					return
				}
			}
		}
	}()
	fn()
	close(done)
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	// The number of suspensions depends on the time that fn took. The actions
	// expect the same content after any number.
	if _, err := w.s.SetSubscriptionState(b.Context(), boss, id, appaccess.SubscriptionActive); err != nil {
		b.Fatal(err)
	}
	return longest
}

type wholeAction struct {
	name string
	do   func(context.Context, *world) error
}

// whole are the actions that concern everything, whose time grows with it.
var whole = []wholeAction{
	{"Export", func(ctx context.Context, w *world) (err error) {
		if _, err = w.file.Seek(0, io.SeekStart); err == nil {
			err = w.s.Export(ctx, boss, w.file)
		}
		return err
	}},
	{"Diff with nothing to do", func(ctx context.Context, w *world) error {
		d, err := appaccess.OpenDocument(w.file)
		if err != nil {
			return err
		}
		for d, err := range w.s.Diff(ctx, boss, d, appaccess.ImportRequest{Prune: true}) {
			if err != nil {
				return err
			}
			if d.ID != "suspended" {
				return fmt.Errorf("%s, expected no difference", d)
			}
		}
		return nil
	}},
	{"Import with nothing to do", func(ctx context.Context, w *world) error {
		d, err := appaccess.OpenDocument(w.file)
		if err != nil {
			return err
		}
		report, err := w.s.Import(ctx, boss, d, appaccess.ImportRequest{Prune: true})
		if err == nil && len(report.Differences) > 1 {
			err = fmt.Errorf("it changed %v, expected nothing", report.Differences)
		}
		return err
	}},
}

// benchWhole reports for each object the rows that are read and the time, how many
// times that is of the time in the small store, and how long a suspension waited
// meanwhile.
func benchWhole(b *testing.B, few, many *world) {
	b.Helper()
	for _, a := range whole {
		b.Run(a.name, func(b *testing.B) {
			for b.Loop() {
				var perObject [2]float64
				for i, w := range []*world{few, many} {
					w.store.read.Store(0)
					began := time.Now()
					var rows int
					longest := w.suspending(b, "suspended", func() {
						if err := a.do(b.Context(), w); err != nil {
							b.Fatalf("%s at %d: %v", a.name, w.n, err)
						}
						rows = int(w.store.read.Load())
					})
					perObject[i] = float64(time.Since(began).Microseconds()) / float64(w.objects())
					b.ReportMetric(float64(rows)/float64(w.objects()), "rows/object")
					b.ReportMetric(float64(longest.Milliseconds()), "ms-behind")
				}
				b.ReportMetric(perObject[1]/perObject[0], "ratio/object")
				b.ReportMetric(perObject[1], "µs/object")
			}
		})
	}
}

// measure returns the shortest time of some runs, and the rows that the last one read.
// A run by hand at a scale of its own measures short actions more often.
func (w *world) measure(b *testing.B, a action) (shortest time.Duration, rows int) {
	b.Helper()
	tries := 3
	if os.Getenv(EnvScale) != "" {
		tries = 25
	}
	for try, start := 0, time.Now(); try < 3 || try < tries && time.Since(start) < 200*time.Millisecond; try++ {
		w.store.read.Store(0)
		began := time.Now()
		if err := a.do(b.Context(), w); err != nil {
			b.Fatalf("%s at %d: %v", a.name, w.n, err)
		}
		if took := time.Since(began); try == 0 || took < shortest {
			shortest = took
		}
	}
	return shortest, int(w.store.read.Load())
}

type action struct {
	name string
	most int // rows that it may read, whatever the size
	do   func(context.Context, *world) error
}

func subscriptions(f appaccess.SubscriptionFilter, expected int) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		page, err := w.s.Subscriptions(ctx, boss, f)
		if err == nil && len(page.Items) != expected {
			err = fmt.Errorf("%d subscriptions, expected %d", len(page.Items), expected)
		}
		return err
	}
}

func audit(f appaccess.AuditFilter) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		_, err := w.s.Audit(ctx, boss, f)
		return err
	}
}

var actions = []action{
	{"get", 1, func(ctx context.Context, w *world) error {
		_, err := w.s.Subscription(ctx, boss, "sub-000007")
		return err
	}},
	{"list", 101, subscriptions(appaccess.SubscriptionFilter{}, 100)},
	{"list by owner", 101, subscriptions(appaccess.SubscriptionFilter{Filter: appaccess.Filter{OwnerID: owner}}, 100)},
	{"list by product", 51, subscriptions(appaccess.SubscriptionFilter{Scope: appaccess.ProductScope("product-3"), Filter: appaccess.Filter{Limit: 50}}, 50)},
	{"list by state", 21, subscriptions(appaccess.SubscriptionFilter{Filter: appaccess.Filter{State: string(appaccess.SubscriptionSuspended)}}, 20)},
	{"list by owner and state", 1100, subscriptions(appaccess.SubscriptionFilter{Filter: appaccess.Filter{OwnerID: owner, State: string(appaccess.SubscriptionSuspended)}}, 20)},
	{"search by name", 11, subscriptions(appaccess.SubscriptionFilter{Filter: appaccess.Filter{Search: "n00007"}}, 10)},
	{"search by a common word", 1200, subscriptions(appaccess.SubscriptionFilter{Filter: appaccess.Filter{Search: "subscr"}}, 100)},
	{"search by owner", 30, subscriptions(appaccess.SubscriptionFilter{Filter: appaccess.Filter{Search: "user-000001", Limit: 5}}, 5)},
	{"dashboard: what expires", 0, func(ctx context.Context, w *world) error {
		_, err := w.s.Expiring(ctx, boss, 30*24*time.Hour, appaccess.Filter{})
		return err
	}},
	{"audit of a day", 0, audit(appaccess.AuditFilter{From: time.Now().AddDate(0, 0, -3), To: time.Now().AddDate(0, 0, -2)})},
	{"audit by action and object", 2, audit(appaccess.AuditFilter{Action: "subscription.create", Object: "subscription/sub-000003"})},
	{"register for an owner of many", 10, func(ctx context.Context, w *world) error {
		w.made++
		_, err := w.s.CreateSubscription(ctx, boss, appaccess.SubscriptionRequest{
			ID: fmt.Sprint("made-", w.made), Name: "Made", OwnerID: owner, Scope: appaccess.ProductScope("product-1"),
		})
		return err
	}},
	{"suspend and resume", 10, func(ctx context.Context, w *world) error {
		if _, err := w.s.SetSubscriptionState(ctx, boss, "sub-000005", appaccess.SubscriptionSuspended); err != nil {
			return err
		}
		_, err := w.s.SetSubscriptionState(ctx, boss, "sub-000005", appaccess.SubscriptionActive)
		return err
	}},
	{"token access on and off", 10, func(ctx context.Context, w *world) error {
		if _, err := w.s.SetAccess(ctx, boss, "product-2", appaccess.AccessRequest{Access: appaccess.Access{Token: true, Key: true}}); err != nil {
			return err
		}
		_, err := w.s.SetAccess(ctx, boss, "product-2", appaccess.AccessRequest{Access: appaccess.Access{Key: true}})
		return err
	}},
	{"Sync with nothing to do", 0, func(ctx context.Context, w *world) error {
		_, err := w.s.Sync(ctx, boss, appaccess.SyncRequest{})
		return err
	}},
}

// instant is a Provisioner for whom every change in Entra succeeds at once.
type instant struct {
	appaccess.Provisioner
	store appaccess.Store
}

func (p instant) Store() appaccess.Store { return p.store }

func (instant) Unfinished(context.Context) (appaccess.Unfinished, error) {
	return appaccess.Unfinished{}, nil
}

func (p instant) Apply(ctx context.Context, objects appaccess.Objects, desired appaccess.DesiredState, _ func(appaccess.Progress)) (appaccess.Applied, error) {
	for _, id := range objects.Products {
		_, err := p.store.Update(ctx, func(w appaccess.Writer) error {
			d, err := desired.Product(w, id)
			if err != nil {
				return err
			}
			done := appaccess.ProductApplication{Name: d.ApplicationName, ObjectID: id, AppID: id, ServicePrincipalID: id, Roles: d.Roles}
			return desired.RecordProduct(w, id, done, appaccess.Outcome{Revision: d.Revision})
		})
		if err != nil {
			return appaccess.Applied{}, err
		}
	}
	return appaccess.Applied{}, nil
}

// counting counts the rows that are read.
type counting struct {
	appaccess.Store
	read atomic.Int64
}

func (c *counting) count(r appaccess.Reader) {
	if counts, ok := r.(interface{ RowsRead() int }); ok {
		c.read.Add(int64(counts.RowsRead()))
	}
}

func (c *counting) View(ctx context.Context, fn func(appaccess.Reader) error) error {
	return c.Store.View(ctx, func(r appaccess.Reader) error {
		defer c.count(r)
		return fn(r)
	})
}

func (c *counting) Update(ctx context.Context, fn func(appaccess.Writer) error) (appaccess.Revision, error) {
	return c.Store.Update(ctx, func(w appaccess.Writer) error {
		defer c.count(w)
		return fn(w)
	})
}
