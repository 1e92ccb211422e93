package provision_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/internal/memstore"
	"github.com/entragate/entragate/provision/entratest"
)

// many is 1,000 clients on 20 products, two each.
func many() memstore.Desired {
	var want memstore.Desired
	for i := range 20 {
		want.Products = append(want.Products, wantProduct(fmt.Sprintf("p%d", i)))
	}
	for i := range 1000 {
		want.Applications = append(want.Applications,
			wantClient(fmt.Sprintf("c%d", i), fmt.Sprintf("p%d", i%20), fmt.Sprintf("p%d", (i+7)%20)))
	}
	return want
}

// report gives what one round cost: HTTP requests (a batch is one), the
// operations in them, writes, and the time that the requests would take one
// after the other.
func (m *meter) report(b *testing.B, rounds int) entratest.Counts {
	b.Helper()
	now := m.w.tenant.Counts()
	d := entratest.Counts{Requests: now.Requests - m.since.Requests, Items: now.Items - m.since.Items, Writes: now.Writes - m.since.Writes}
	b.ReportMetric(float64(d.Requests)/float64(rounds), "requests")
	b.ReportMetric(float64(d.Items)/float64(rounds), "items")
	b.ReportMetric(float64(d.Writes)/float64(rounds), "writes")
	b.ReportMetric(m.w.clock.Now().Sub(m.start).Seconds()/float64(rounds), "latency-s")
	return d
}

// meter counts from a moment on.
type meter struct {
	w     *world
	since entratest.Counts
	start time.Time
}

func newMeter(w *world) *meter { return &meter{w: w, since: w.tenant.Counts(), start: w.clock.Now()} }

func applyMany(b *testing.B, e *engine, want memstore.Desired) {
	b.Helper()
	applied, err := e.Apply(b.Context(), want, nil)
	require.NoError(b, err)
	require.Empty(b, applied.Failed)
	require.Len(b, applied.Applications, 1000)
}

func newBench(b *testing.B) (*world, *engine) {
	b.Helper()
	w := newWorld(b, entratest.Config{Latency: 20 * time.Millisecond})
	cfg := w.config()
	cfg.Concurrency = 0
	return w, w.engineOf(cfg)
}

// BenchmarkSyncUnchanged reconciles what is in sync and looks for what the store
// does not know: at most 125 requests and no write.
func BenchmarkSyncUnchanged(b *testing.B) {
	w, e := newBench(b)
	want := many()
	applyMany(b, e, want)
	w.settle()
	m := newMeter(w)
	for b.Loop() {
		applyMany(b, e, want)
		unknown, err := e.Unknown(b.Context())
		require.NoError(b, err)
		require.Empty(b, unknown)
	}
	d := m.report(b, b.N)
	require.LessOrEqual(b, d.Requests, 125*b.N)
	require.Zero(b, d.Writes)
}

// BenchmarkSyncFirst creates everything: at most 6 writes a client.
func BenchmarkSyncFirst(b *testing.B) {
	want := many()
	for b.Loop() {
		b.StopTimer()
		w, e := newBench(b)
		m := newMeter(w)
		b.StartTimer()
		applyMany(b, e, want)
		b.StopTimer()
		d := m.report(b, 1)
		b.ReportMetric(float64(d.Writes)/1000, "writes/client")
		require.LessOrEqual(b, d.Writes, 6*1000)
		b.StartTimer()
	}
}
