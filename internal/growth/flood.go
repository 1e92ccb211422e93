package growth

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// Flood asks a catalog that remembers nothing for genuine keys, first alone and then
// while 10,000 invented keys a second arrive. It reports both latencies, their ratio,
// and how many invented keys a second it made. key is the hash of the key of one of n
// active subscriptions.
func Flood(b *testing.B, store appaccess.Store, n int, key func(i int) [32]byte) {
	b.Helper()
	c, err := appaccess.NewCatalog(b.Context(), appaccess.CatalogConfig{Store: store, Clients: -1, Keys: -1, Unknown: -1, UsageInterval: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	ask := func(i int) time.Duration {
		began := time.Now()
		st, err := c.Key(b.Context(), key(i*7919%n)) // a prime: neighbours are apart
		if err != nil || st.DenyReason != appaccess.NotDenied {
			b.Fatal(st.DenyReason, err)
		}
		return time.Since(began)
	}
	const asked = 200
	var alone, flooded time.Duration
	for i := range asked {
		alone += ask(i)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var invented atomic.Int64
	go func() {
		began := time.Now()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			for due := int64(time.Since(began).Seconds() * 10_000); invented.Load() < due; {
				k := appaccess.HashKey(fmt.Sprint("invented ", invented.Add(1)))
				go func() { _, _ = c.Key(ctx, k) }()
			}
		}
	}()
	began := time.Now()
	i := asked
	for b.Loop() {
		flooded += ask(i)
		i++
	}
	each := float64(i - asked)
	b.ReportMetric(float64(alone.Microseconds())/asked, "µs-alone")
	b.ReportMetric(float64(flooded.Microseconds())/each, "µs-flooded")
	b.ReportMetric(float64(flooded)/each/(float64(alone)/asked), "ratio")
	b.ReportMetric(float64(invented.Load())/time.Since(began).Seconds(), "invented/s")
}

// Subscriptions fills a store with n active subscriptions to all APIs, past the
// Service, and returns the hash of each key.
func Subscriptions(b *testing.B, store appaccess.Store) (n int, key func(i int) [32]byte) {
	b.Helper()
	n = scale(b)
	key = func(i int) [32]byte { return appaccess.HashKey("key " + strconv.Itoa(i)) }
	for from := 0; from < n; from += appaccess.MaxPage {
		_, err := store.Update(b.Context(), func(w appaccess.Writer) error {
			recs := make([]appaccess.Record, 0, appaccess.MaxPage)
			ids := make([]string, 0, appaccess.MaxPage)
			for i := from; i < min(n, from+appaccess.MaxPage); i++ {
				s := appaccess.Subscription{
					ID: fmt.Sprintf("sub-%08d", i), Name: "Subscription " + strconv.Itoa(i), Scope: appaccess.AllAPIs,
					State: appaccess.SubscriptionActive, PrimaryHash: key(i),
				}
				body, err := json.Marshal(s)
				if err != nil {
					return err
				}
				ids = append(ids, s.ID)
				recs = append(recs, appaccess.Record{Kind: appaccess.KindSubscription, ID: s.ID, Body: body,
					Index: []appaccess.IndexEntry{{Name: "key", Value: s.PrimaryHash.String(), Unique: true}}})
			}
			if _, err := w.Find(appaccess.KindSubscription, "", ids); err != nil {
				return err
			}
			for _, rec := range recs {
				if err := w.Put(rec); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return n, key
}
