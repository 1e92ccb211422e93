package growth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entragate/entragate/appaccess"
)

// EnvReplica names the store of a process that [Replica] started.
const EnvReplica = "ENTRAGATE_BENCH_REPLICA"

// Replica starts processes that open a store of n subscriptions, see [Subscriptions],
// and a catalog with its default bounds. It reports start-ms, the shortest time from
// opening to ready, and the resident memory beyond the memory of the empty process
// once ready and once the catalog remembers as much as it may. The test binary must
// call [RunReplica] if EnvReplica is set.
func Replica(b *testing.B, store string, n int) {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	var shortest, ready, full float64
	for b.Loop() {
		cmd := exec.CommandContext(b.Context(), exe)
		cmd.Env = append(os.Environ(), EnvReplica+"="+store, EnvScale+"="+strconv.Itoa(n))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			b.Fatal(err)
		}
		var r replica
		if err := json.Unmarshal(out, &r); err != nil {
			b.Fatal(err)
		}
		if shortest == 0 || r.StartMillis < shortest {
			shortest = r.StartMillis
		}
		ready, full = max(ready, r.ReadyMiB), max(full, r.FullMiB)
	}
	b.ReportMetric(shortest, "start-ms")
	b.ReportMetric(ready, "ready-MiB")
	b.ReportMetric(full, "full-MiB")
}

type replica struct{ StartMillis, ReadyMiB, FullMiB float64 }

// RunReplica is the process that [Replica] starts.
func RunReplica(open func(ctx context.Context) (appaccess.Store, error)) error {
	ctx := context.Background()
	n, err := strconv.Atoi(os.Getenv(EnvScale))
	if err != nil {
		return err
	}
	debug.FreeOSMemory()
	empty, err := resident()
	if err != nil {
		return err
	}
	start := time.Now()
	s, err := open(ctx)
	if err != nil {
		return err
	}
	c, err := appaccess.NewCatalog(ctx, appaccess.CatalogConfig{Store: s})
	if err != nil {
		return err
	}
	if err := c.Ready(ctx); err != nil {
		return err
	}
	r := replica{StartMillis: float64(time.Since(start).Microseconds()) / 1000}
	ready, err := resident()
	if err != nil {
		return err
	}
	if err := fill(ctx, c, n); err != nil {
		return err
	}
	full, err := resident()
	if err != nil {
		return err
	}
	r.ReadyMiB, r.FullMiB = ready-empty, full-empty
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	if err := c.Close(); err != nil {
		return err
	}
	return s.Close()
}

// fill asks for as many different keys and clients as there are, up to twice
// the default bounds, for the popular ones in between, and for unknown ones.
func fill(ctx context.Context, c *appaccess.Catalog, n int) (err error) {
	const workers = 64 // what is asked at the same time is one query
	errs := make(chan error, workers)
	most := min(n, 40_000)
	for w := range workers {
		go func() {
			popular := Zipf(n)
			for i := w; i < most; i += workers {
				st, err := c.Key(ctx, Key(i))
				if err == nil && i < n/10 {
					_, err = c.Client(ctx, ClientID(i))
				}
				if err == nil {
					_, err = c.Key(ctx, Key(popular()))
				}
				if err == nil && i < most/2 {
					_, err = c.Key(ctx, Key(n+i)) // unknown
				}
				if err == nil && i < most/2 {
					_, err = c.Client(ctx, ClientID(n+i))
				}
				if err != nil || st.DenyReason != appaccess.NotDenied {
					errs <- fmt.Errorf("key %d: %q: %w", i, st.DenyReason, err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range workers {
		if e := <-errs; e != nil {
			err = e
		}
	}
	return err
}

// Zipf returns numbers below n that are distributed by Zipf's law with exponent 1.1.
func Zipf(n int) func() int {
	z := rand.NewZipf(rand.New(rand.NewPCG(uint64(n), 42)), 1.1, 1, uint64(n-1))
	return func() int { return int(z.Uint64()) }
}

// resident is the memory of this process that is in RAM, in MiB; 0 where the
// system does not report it.
func resident() (float64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if rest, ok := strings.CutPrefix(string(line), "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib / 1024, err
		}
	}
	return 0, nil
}
