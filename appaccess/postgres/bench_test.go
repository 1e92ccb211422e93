package postgres_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/entragate/entragate/appaccess"
	"github.com/entragate/entragate/appaccess/postgres"
	"github.com/entragate/entragate/internal/pgtest"
)

// Benchmarks run on that many subscriptions, a tenth as many client
// applications and a hundredth as many users: 10,000 unless
// ENTRAGATE_BENCH_SCALE says otherwise. What is asked for is distributed by
// Zipf's law with exponent 1.1.
const envScale = "ENTRAGATE_BENCH_SCALE"

func scale(b *testing.B) int {
	b.Helper()
	text := os.Getenv(envScale)
	if text == "" {
		return 10_000
	}
	n, err := strconv.Atoi(text)
	require.NoError(b, err)
	return n
}

func benchKey(i int) [32]byte   { return appaccess.HashKey("key " + strconv.Itoa(i)) }
func benchClient(i int) string  { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }
func benchUser(i, n int) string { return fmt.Sprintf("user-%08d", i%max(n/100, 1)) }

// populated is a schema with subscriptions, copied in past the store, which
// would take its time.
func populated(b *testing.B) (dsn string, n int) {
	b.Helper()
	dsn, n = pgtest.Schema(b), scale(b)
	require.NoError(b, open(b, dsn).Close())
	conn := connect(b, dsn)
	c := &copier{}
	for i := range max(n/100, 1) {
		u := appaccess.User{ID: benchUser(i, n), Name: "User " + strconv.Itoa(i), State: appaccess.UserActive}
		c.add(appaccess.KindUser, u.ID, u)
	}
	for i := range 20 {
		id := fmt.Sprint("product-", i)
		p := appaccess.Product{ID: id, Name: id, State: appaccess.Published, Access: appaccess.Access{Token: true, Key: true}, APIs: []string{id}}
		c.add(appaccess.KindProduct, id, p)
		c.add(appaccess.KindAPI, id, appaccess.API{ID: id, Name: id, Path: "/" + id})
	}
	for i := range max(n/10, 1) {
		a := appaccess.ClientApplication{ID: fmt.Sprintf("app-%08d", i), Name: "Client " + strconv.Itoa(i), OwnerID: benchUser(i, n),
			State: appaccess.ApplicationActive, Grants: appaccess.GrantsOfAll(fmt.Sprint("product-", i%20), fmt.Sprint("product-", (i+7)%20)),
			Entra: appaccess.ApplicationRegistration{AppID: benchClient(i)}}
		c.add(appaccess.KindApplication, a.ID, a, "appid", a.Entra.AppID, "owner", a.OwnerID)
	}
	c.flush(b, conn)
	for i := range n {
		s := appaccess.Subscription{ID: fmt.Sprintf("sub-%08d", i), Name: "Subscription " + strconv.Itoa(i), OwnerID: benchUser(i, n),
			Scope: appaccess.ProductScope(fmt.Sprint("product-", i%20)), State: appaccess.SubscriptionActive,
			PrimaryHash: benchKey(i), SecondaryHash: benchKey(-1 - i)}
		c.add(appaccess.KindSubscription, s.ID, s, "key", s.PrimaryHash.String(), "key", s.SecondaryHash.String(),
			"owner", s.OwnerID, "scope", string(s.Scope))
		if len(c.records) == 50_000 {
			c.flush(b, conn)
		}
	}
	c.flush(b, conn)
	_, err := conn.Exec(b.Context(), "UPDATE entragate_meta SET revision = 1, number = 1, forgotten_revision = 1, forgotten_number = 1")
	require.NoError(b, err)
	_, err = conn.Exec(b.Context(), "VACUUM ANALYZE entragate_records, entragate_entries") // as the server does in time
	require.NoError(b, err)
	return dsn, n
}

type copier struct{ records, entries [][]any }

func (c *copier) add(kind appaccess.Kind, id string, v any, index ...string) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	list := []appaccess.IndexEntry{}
	for i := 0; i < len(index); i += 2 {
		unique := index[i] == "key" || index[i] == "appid"
		list = append(list, appaccess.IndexEntry{Name: index[i], Value: index[i+1], Unique: unique})
		c.entries = append(c.entries, []any{string(kind), index[i], index[i+1], id})
	}
	entries, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	c.records = append(c.records, []any{string(kind), id, body, string(entries), int64(1)})
}

func (c *copier) flush(b *testing.B, conn *pgx.Conn) {
	b.Helper()
	_, err := conn.CopyFrom(b.Context(), pgx.Identifier{"entragate_records"},
		[]string{"kind", "id", "body", "entries", "revision"}, pgx.CopyFromRows(c.records))
	require.NoError(b, err)
	_, err = conn.CopyFrom(b.Context(), pgx.Identifier{"entragate_entries"},
		[]string{"kind", "name", "value", "id"}, pgx.CopyFromRows(c.entries))
	require.NoError(b, err)
	c.records, c.entries = nil, nil
}

func zipf(n int) func() int {
	z := rand.NewZipf(rand.New(rand.NewPCG(uint64(n), 42)), 1.1, 1, uint64(n-1))
	return func() int { return int(z.Uint64()) }
}

func catalog(b testing.TB, dsn string, config appaccess.CatalogConfig) *appaccess.Catalog {
	b.Helper()
	config.Store = open(b, dsn)
	c, err := appaccess.NewCatalog(b.Context(), config)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, c.Close()) })
	return c
}

// draws are enough questions that a benchmark does not repeat itself soon.
const draws = 1 << 16

func BenchmarkCatalogToken(b *testing.B) {
	dsn, n := populated(b)
	next := zipf(max(n/10, 1))
	ids := make([]string, draws)
	for i := range ids {
		ids[i] = benchClient(next())
	}
	ask := func(b *testing.B, c *appaccess.Catalog, i int) {
		st, err := c.Client(b.Context(), ids[i%draws])
		if err != nil || st.DenyReason != appaccess.NotDenied {
			b.Fatal(st.DenyReason, err)
		}
	}
	b.Run("hit", func(b *testing.B) { hit(b, dsn, ask) })
	b.Run("miss", func(b *testing.B) { miss(b, dsn, ask) })
	b.Run("baseline", func(b *testing.B) { baseline(b, ids) })
}

func BenchmarkCatalogKey(b *testing.B) {
	dsn, n := populated(b)
	next := zipf(n)
	sums := make([][32]byte, draws)
	for i := range sums {
		sums[i] = benchKey(next())
	}
	ask := func(b *testing.B, c *appaccess.Catalog, i int) {
		st, err := c.Key(b.Context(), sums[i%draws])
		if err != nil || st.DenyReason != appaccess.NotDenied {
			b.Fatal(st.DenyReason, err)
		}
	}
	b.Run("hit", func(b *testing.B) { hit(b, dsn, ask) })
	b.Run("miss", func(b *testing.B) { miss(b, dsn, ask) })
	b.Run("baseline", func(b *testing.B) { baseline(b, sums) })
}

// hit asks for what is remembered.
func hit(b *testing.B, dsn string, ask func(*testing.B, *appaccess.Catalog, int)) {
	c := catalog(b, dsn, appaccess.CatalogConfig{})
	warm := min(draws, max(b.N, 100)) // so that one turn does not take many queries
	for i := range warm {
		ask(b, c, i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		ask(b, c, i)
		if i++; i == warm {
			i = 0
		}
	}
}

// miss asks a catalog that remembers nothing.
func miss(b *testing.B, dsn string, ask func(*testing.B, *appaccess.Catalog, int)) {
	c := catalog(b, dsn, appaccess.CatalogConfig{Clients: -1, Keys: -1, Unknown: -1})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		ask(b, c, i)
		i++
	}
}

// baseline is what a hit can be measured against: a locked map.
func baseline[K comparable](b *testing.B, keys []K) {
	type state [16]uintptr // as large as an answer
	m := map[K]state{}
	for _, k := range keys {
		m[k] = state{}
	}
	var mu sync.RWMutex
	var st state
	i := 0
	for b.Loop() {
		mu.RLock()
		st = m[keys[i%draws]]
		mu.RUnlock()
		i++
	}
	runtime.KeepAlive(st)
}

const envReplica = "ENTRAGATE_BENCH_REPLICA"

// BenchmarkReplica starts a process that opens the store and a catalog with its
// default bounds, fills the catalog, and reports start-ms, the time from opening to
// ready, and the resident memory beyond the memory of the empty process
// once ready and once full, all remembered in use.
func BenchmarkReplica(b *testing.B) {
	dsn, n := populated(b)
	exe, err := os.Executable()
	require.NoError(b, err)
	for b.Loop() {
		cmd := exec.CommandContext(b.Context(), exe)
		cmd.Env = append(os.Environ(), envReplica+"="+dsn, envScale+"="+strconv.Itoa(n))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		require.NoError(b, err)
		var f replicaResult
		require.NoError(b, json.Unmarshal(out, &f))
		b.ReportMetric(f.StartMillis, "start-ms")
		b.ReportMetric(f.ReadyMiB, "ready-MiB")
		b.ReportMetric(f.FullMiB, "full-MiB")
		b.ReportMetric(float64(f.Asked), "asked")
	}
}

type replicaResult struct {
	StartMillis, ReadyMiB, FullMiB float64
	Asked                          int
}

func replica(dsn string) error {
	ctx := context.Background()
	n, err := strconv.Atoi(os.Getenv(envScale))
	if err != nil {
		return err
	}
	debug.FreeOSMemory()
	empty, err := resident()
	if err != nil {
		return err
	}
	start := time.Now()
	s, err := postgres.Open(ctx, dsn)
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
	f := replicaResult{StartMillis: float64(time.Since(start).Microseconds()) / 1000}
	ready, err := resident()
	if err != nil {
		return err
	}
	if f.Asked, err = fill(ctx, c, n); err != nil {
		return err
	}
	full, err := resident()
	if err != nil {
		return err
	}
	f.ReadyMiB, f.FullMiB = ready-empty, full-empty
	if err := json.NewEncoder(os.Stdout).Encode(f); err != nil {
		return err
	}
	if err := c.Close(); err != nil {
		return err
	}
	return s.Close()
}

// fill asks for as many different keys and clients as there are, up to twice
// the default bounds, for the popular ones in between, and for unknown ones.
func fill(ctx context.Context, c *appaccess.Catalog, n int) (asked int, err error) {
	const workers = 64 // fill quickly: what is asked at once is one query
	errs := make(chan error, workers)
	most := min(n, 40_000)
	for w := range workers {
		go func() {
			popular := zipf(n)
			for i := w; i < most; i += workers {
				st, err := c.Key(ctx, benchKey(i))
				if err == nil && i < n/10 {
					_, err = c.Client(ctx, benchClient(i))
				}
				if err == nil {
					_, err = c.Key(ctx, benchKey(popular()))
				}
				if err == nil && i < most/2 {
					_, err = c.Key(ctx, benchKey(n+i)) // unknown
				}
				if err == nil && i < most/2 {
					_, err = c.Client(ctx, benchClient(n+i))
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
	return most + min(most, n/10), err
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
