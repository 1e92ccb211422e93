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
// and how many invented keys a second it made. The store has n active subscriptions;
// [Key] returns their keys.
func Flood(b *testing.B, store appaccess.Store, n int) {
	b.Helper()
	c, err := appaccess.NewCatalog(b.Context(), appaccess.CatalogConfig{Store: store, Clients: -1, Keys: -1, Unknown: -1, UsageInterval: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	ask := func(i int) time.Duration {
		began := time.Now()
		st, err := c.Key(b.Context(), Key(i*7919%n)) // a prime: neighbours are apart
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

// Key is the hash of a key of the subscription number i.
func Key(i int) [32]byte { return appaccess.HashKey("key " + strconv.Itoa(i)) }

// ClientID is the client ID of the client application number i.
func ClientID(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }

// Subscriptions fills a store with [Scale] active subscriptions to all APIs and a
// tenth as many client applications, past the Service. It returns the number of
// subscriptions.
func Subscriptions(b *testing.B, store appaccess.Store) int {
	b.Helper()
	n := Scale(b)
	put(b, store, n, func(i int) (appaccess.Record, any) {
		s := appaccess.Subscription{
			ID: fmt.Sprintf("sub-%08d", i), Name: "Subscription " + strconv.Itoa(i), Scope: appaccess.AllAPIs,
			State: appaccess.SubscriptionActive, PrimaryHash: Key(i),
		}
		return record(appaccess.KindSubscription, s.ID, "key", s.PrimaryHash.String()), s
	})
	put(b, store, n/10, func(i int) (appaccess.Record, any) {
		a := appaccess.ClientApplication{
			ID: fmt.Sprintf("app-%08d", i), Name: "Client " + strconv.Itoa(i), State: appaccess.ApplicationActive,
			Grants: appaccess.GrantsOfAll("product-1"), Entra: appaccess.ApplicationRegistration{AppID: ClientID(i)},
		}
		return record(appaccess.KindApplication, a.ID, "appid", a.Entra.AppID), a
	})
	return n
}

func record(kind appaccess.Kind, id, name, value string) appaccess.Record {
	return appaccess.Record{Kind: kind, ID: id, Index: []appaccess.IndexEntry{{Name: name, Value: value, Unique: true}}}
}

// put writes n records, many in each transaction.
func put(b *testing.B, store appaccess.Store, n int, of func(i int) (appaccess.Record, any)) {
	b.Helper()
	for from := 0; from < n; from += appaccess.MaxPage {
		_, err := store.Update(b.Context(), func(w appaccess.Writer) error {
			var recs []appaccess.Record
			var ids []string
			for i := from; i < min(n, from+appaccess.MaxPage); i++ {
				rec, v := of(i)
				var err error
				if rec.Body, err = json.Marshal(v); err != nil {
					return err
				}
				recs, ids = append(recs, rec), append(ids, rec.ID)
			}
			if _, err := w.Find(recs[0].Kind, "", ids); err != nil {
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
}
